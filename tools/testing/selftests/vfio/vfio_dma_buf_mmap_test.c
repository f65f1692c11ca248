// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap of the dma-bufs that are exported by VFIO_DEVICE_FEATURE_DMA_BUF: that it
 * is the BAR, when it can be accessed and when that is SIGBUS, and what the
 * system calls for mappings make of it.
 *
 * usage: vfio_dma_buf_mmap_test [options] exporter
 *
 * The largest BAR of the device has to have memory behind it.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

static const char *device_bdf;
static size_t page_size;

/* Where an access of this thread goes on that raises a signal */
static __thread sigjmp_buf fault_jump;

static void fault_handler(int signal)
{
	siglongjmp(fault_jump, signal);
}

/* The signal that an access raises, or 0 */
static int access_signal(volatile u32 *addr, bool write)
{
	int ret = sigsetjmp(fault_jump, 1);

	if (ret)
		return ret;
	if (write)
		*addr = 0x12345678;
	else
		(void)*addr;
	return 0;
}

#define ASSERT_READABLE(_addr) ASSERT_EQ(0, access_signal((void *)(_addr), false))
#define ASSERT_WRITABLE(_addr) ASSERT_EQ(0, access_signal((void *)(_addr), true))
#define ASSERT_SIGNAL(_signal, _addr, _write) \
	ASSERT_EQ(_signal, access_signal((void *)(_addr), _write))

FIXTURE(vfio_dma_buf_mmap)
{
	struct iommu *iommu;
	struct vfio_pci_device *device;
	u32 bar;
	u64 size;
	/* Of the BAR, by way of the device */
	u8 *native;
	int fd;
};

FIXTURE_SETUP(vfio_dma_buf_mmap)
{
	struct sigaction action = { .sa_handler = fault_handler };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);

	self->fd = -1;
	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);

	if (!vfio_pci_dma_buf_supported(self->device))
		SKIP(return, "%s does not export dma-bufs", device_bdf);

	self->bar = vfio_pci_largest_bar(self->device);
	if (self->bar == PCI_STD_NUM_BARS ||
	    self->device->bars[self->bar].info.size < 16 * page_size)
		SKIP(return, "%s has no BAR to map", device_bdf);

	self->size = self->device->bars[self->bar].info.size;
	self->native = self->device->bars[self->bar].vaddr;
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	self->fd = vfio_pci_dma_buf_export(self->device, self->bar, 0,
					   self->size);
}

FIXTURE_TEARDOWN(vfio_dma_buf_mmap)
{
	if (self->device)
		vfio_pci_device_cleanup(self->device);
	if (self->fd >= 0)
		close(self->fd);
	iommu_cleanup(self->iommu);
}

static u8 *map(int fd, size_t offset, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}

TEST_F(vfio_dma_buf_mmap, is_the_bar)
{
	u64 offsets[] = { 0, page_size + 8, self->size / 2, self->size - 4 };
	u8 *addr = map(self->fd, 0, self->size);
	int i;

	ASSERT_NE(MAP_FAILED, addr);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		volatile u32 *mine = (u32 *)(addr + offsets[i]);
		volatile u32 *native = (u32 *)(self->native + offsets[i]);

		*mine = i + 1;
		ASSERT_EQ(i + 1, *native);
		*native = ~i;
		ASSERT_EQ(~i, *mine);
	}
	ASSERT_EQ(0, munmap(addr, self->size));
}

/* Pages of the buffer, not of the BAR */
TEST_F(vfio_dma_buf_mmap, ranges)
{
	struct vfio_region_dma_range ranges[] = {
		{ .offset = 5 * page_size, .length = page_size },
		{ .offset = 0, .length = 2 * page_size },
		{ .offset = 9 * page_size, .length = 3 * page_size },
	};
	const unsigned int pages[] = { 5, 0, 1, 9, 10, 11 };
	u8 *addr, *part;
	int fd, i;

	fd = vfio_pci_dma_buf_export_ranges(self->device, self->bar, ranges,
					    ARRAY_SIZE(ranges));
	addr = map(fd, 0, ARRAY_SIZE(pages) * page_size);
	ASSERT_NE(MAP_FAILED, addr);
	part = map(fd, 2 * page_size, 2 * page_size);
	ASSERT_NE(MAP_FAILED, part);
	/* The mappings keep it */
	ASSERT_EQ(0, close(fd));

	for (i = 0; i < 16; i++)
		*(volatile u32 *)(self->native + i * page_size) = i;
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		ASSERT_EQ(pages[i], *(volatile u32 *)(addr + i * page_size));
	ASSERT_EQ(1, *(volatile u32 *)part);
	ASSERT_EQ(9, *(volatile u32 *)(part + page_size));
}

TEST_F(vfio_dma_buf_mmap, refused)
{
	int prot = PROT_READ | PROT_WRITE;

	ASSERT_EQ(MAP_FAILED, mmap(NULL, page_size, prot, MAP_PRIVATE, self->fd, 0));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ, MAP_PRIVATE,
				   self->fd, 0));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_EQ(MAP_FAILED, mmap(NULL, page_size, prot, MAP_SHARED, self->fd,
				   self->size));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_EQ(MAP_FAILED, mmap(NULL, 2 * page_size, prot, MAP_SHARED,
				   self->fd, self->size - page_size));
	ASSERT_EQ(EINVAL, errno);
}

TEST_F(vfio_dma_buf_mmap, read_only)
{
	struct vfio_region_dma_range range = { .length = 2 * page_size };
	u8 *addr;
	int fd;

	fd = __vfio_pci_dma_buf_export(self->device, self->bar, &range, 1,
				       O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(MAP_FAILED, map(fd, 0, page_size));
	ASSERT_EQ(EACCES, errno);

	addr = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	*(volatile u32 *)self->native = 0xabc;
	ASSERT_EQ(0xabc, *(volatile u32 *)addr);
	ASSERT_SIGNAL(SIGSEGV, addr, true);
	ASSERT_EQ(-1, mprotect(addr, page_size, PROT_READ | PROT_WRITE));
	ASSERT_EQ(EACCES, errno);
	ASSERT_EQ(0, close(fd));
}

TEST_F(vfio_dma_buf_mmap, decode)
{
	u8 *addr = map(self->fd, 0, self->size);
	u8 *untouched = map(self->fd, 0, page_size);
	int i;

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_NE(MAP_FAILED, untouched);
	for (i = 0; i < 3; i++) {
		*(volatile u32 *)addr = i;
		ASSERT_WRITABLE(addr + self->size - page_size);

		vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
		ASSERT_SIGNAL(SIGBUS, addr, false);
		ASSERT_SIGNAL(SIGBUS, addr, true);
		ASSERT_SIGNAL(SIGBUS, addr + self->size - page_size, true);
		ASSERT_SIGNAL(SIGBUS, addr + self->size / 2, false);

		/* Nothing has to be done to the mapping */
		vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
		ASSERT_EQ(i, *(volatile u32 *)addr);
		ASSERT_WRITABLE(addr + self->size - page_size);
	}
	ASSERT_READABLE(untouched);
}

TEST_F(vfio_dma_buf_mmap, mapped_while_revoked)
{
	u8 *addr;

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	addr = map(self->fd, 0, self->size);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_SIGNAL(SIGBUS, addr, false);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_WRITABLE(addr);

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(0, munmap(addr, self->size));
}

struct reader {
	volatile u32 *addr;
	bool stop;
	unsigned long reads;
	int signal;
};

static void *read_all_the_time(void *arg)
{
	struct reader *reader = arg;

	while (!READ_ONCE(reader->stop) && !reader->signal) {
		reader->signal = access_signal(reader->addr, false);
		WRITE_ONCE(reader->reads, reader->reads + 1);
	}

	return NULL;
}

/* An access in the middle of a reset waits for its end */
TEST_F(vfio_dma_buf_mmap, reset)
{
	struct reader reader = { .addr = (u32 *)map(self->fd, 0, page_size) };
	unsigned long reads;
	pthread_t thread;
	int i;

	ASSERT_NE(MAP_FAILED, (void *)reader.addr);
	if (!(self->device->info.flags & VFIO_DEVICE_FLAGS_RESET))
		SKIP(return, "%s cannot be reset", device_bdf);

	ASSERT_EQ(0, pthread_create(&thread, NULL, read_all_the_time, &reader));
	for (i = 0; i < 5; i++) {
		vfio_pci_device_reset(self->device);
		/* Decode stays as it was, so reads go on */
		reads = READ_ONCE(reader.reads);
		while (READ_ONCE(reader.reads) < reads + 10 &&
		       !READ_ONCE(reader.signal))
			usleep(1000);
	}
	WRITE_ONCE(reader.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, reader.signal);
}

struct writer {
	u8 *addr;
	int fds[2];
	bool stop;
	unsigned long writes;
	int error;
};

static volatile unsigned long alarms;

static void alarm_handler(int signal)
{
	alarms++;
}

/* The kernel reads the mapping, and only this thread gets the signals */
static void *write_all_the_time(void *arg)
{
	struct writer *writer = arg;
	sigset_t set;
	u32 value;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	while (!READ_ONCE(writer->stop) && !writer->error) {
		if (write(writer->fds[1], writer->addr, sizeof(value)) < 0)
			WRITE_ONCE(writer->error, errno);
		else if (read(writer->fds[0], &value, sizeof(value)) < 0)
			WRITE_ONCE(writer->error, errno);
		WRITE_ONCE(writer->writes, writer->writes + 1);
	}

	return NULL;
}

/* A signal does not make an access of the kernel fail that has to wait */
TEST_F(vfio_dma_buf_mmap, reset_with_signals)
{
	const struct itimerval timer = {
		.it_interval.tv_usec = 5000,
		.it_value.tv_usec = 5000,
	};
	const struct itimerval off = {};
	struct sigaction action = { .sa_handler = alarm_handler };
	struct writer writer = { .addr = map(self->fd, 0, page_size) };
	unsigned long writes, before;
	pthread_t thread;
	sigset_t set;
	int i;

	ASSERT_NE(MAP_FAILED, writer.addr);
	if (!(self->device->info.flags & VFIO_DEVICE_FLAGS_RESET))
		SKIP(return, "%s cannot be reset", device_bdf);

	ASSERT_EQ(0, pipe(writer.fds));
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	/* So that only waiting in the fault can be interrupted */
	action.sa_flags = SA_RESTART;
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_all_the_time, &writer));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));

	for (i = 0; i < 5; i++) {
		before = alarms;
		vfio_pci_device_reset(self->device);
		writes = READ_ONCE(writer.writes);
		while ((READ_ONCE(writer.writes) < writes + 10 ||
			alarms == before) && !READ_ONCE(writer.error))
			usleep(1000);
	}
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &off, NULL));
	WRITE_ONCE(writer.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, writer.error);
}

TEST_F(vfio_dma_buf_mmap, fd_closed_first)
{
	u8 *addr = map(self->fd, 0, self->size);

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	ASSERT_WRITABLE(addr);
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_SIGNAL(SIGBUS, addr, false);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_WRITABLE(addr);
}

TEST_F(vfio_dma_buf_mmap, device_closed_first)
{
	u8 *addr = map(self->fd, 0, self->size);

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_WRITABLE(addr);
	vfio_pci_device_cleanup(self->device);
	ASSERT_SIGNAL(SIGBUS, addr, false);

	/* For good: a new user of the device does not bring it back */
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_SIGNAL(SIGBUS, addr, false);
	ASSERT_EQ(0, munmap(addr, self->size));
}

/* The last reference of all is the mapping's */
TEST_F(vfio_dma_buf_mmap, unmapped_last)
{
	u8 *addr = map(self->fd, 0, self->size);

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_WRITABLE(addr);
	vfio_pci_device_cleanup(self->device);
	self->device = NULL;
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	ASSERT_SIGNAL(SIGBUS, addr, false);
	ASSERT_EQ(0, munmap(addr, self->size));
}

/*
 * System calls
 */
static int in_child(void (*fn)(void *arg), void *arg, pid_t *pid)
{
	*pid = fork();
	if (*pid)
		return *pid < 0 ? -errno : 0;
	fn(arg);
	_exit(0);
}

struct child {
	u8 *addr;
	int to_child[2];
	int to_parent[2];
};

/* Tells of each access when it is asked to */
static void child_accesses(void *arg)
{
	struct child *child = arg;
	u8 signal;
	char c;

	while (read(child->to_child[0], &c, 1) == 1 && c == 'a') {
		signal = access_signal((u32 *)child->addr, true);
		if (write(child->to_parent[1], &signal, 1) != 1)
			_exit(1);
	}
	munmap(child->addr, page_size);
}

static int ask_child(struct child *child)
{
	u8 signal = 255;

	if (write(child->to_child[1], "a", 1) != 1 ||
	    read(child->to_parent[0], &signal, 1) != 1)
		return -1;
	return signal;
}

TEST_F(vfio_dma_buf_mmap, fork)
{
	struct child child;
	int status;
	pid_t pid;

	child.addr = map(self->fd, 0, self->size);
	ASSERT_NE(MAP_FAILED, child.addr);
	ASSERT_WRITABLE(child.addr);
	ASSERT_EQ(0, pipe(child.to_child));
	ASSERT_EQ(0, pipe(child.to_parent));
	ASSERT_EQ(0, in_child(child_accesses, &child, &pid));

	ASSERT_EQ(0, ask_child(&child));
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(SIGBUS, ask_child(&child));
	ASSERT_SIGNAL(SIGBUS, child.addr, false);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(0, ask_child(&child));
	ASSERT_WRITABLE(child.addr);

	/* The parent's goes first */
	ASSERT_EQ(0, munmap(child.addr, self->size));
	ASSERT_EQ(0, ask_child(&child));
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(SIGBUS, ask_child(&child));
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(0, ask_child(&child));

	ASSERT_EQ(1, write(child.to_child[1], "q", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_F(vfio_dma_buf_mmap, partial_munmap)
{
	u8 *addr = map(self->fd, 0, 8 * page_size);

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_WRITABLE(addr + 7 * page_size);
	ASSERT_EQ(0, munmap(addr + 3 * page_size, page_size));
	ASSERT_SIGNAL(SIGSEGV, addr + 3 * page_size, false);

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_SIGNAL(SIGBUS, addr + 2 * page_size, false);
	ASSERT_SIGNAL(SIGBUS, addr + 7 * page_size, false);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);

	*(volatile u32 *)(self->native + 2 * page_size) = 22;
	*(volatile u32 *)(self->native + 7 * page_size) = 77;
	ASSERT_EQ(22, *(volatile u32 *)(addr + 2 * page_size));
	ASSERT_EQ(77, *(volatile u32 *)(addr + 7 * page_size));

	ASSERT_EQ(0, munmap(addr, 3 * page_size));
	ASSERT_EQ(77, *(volatile u32 *)(addr + 7 * page_size));
	ASSERT_EQ(0, munmap(addr + 4 * page_size, 4 * page_size));
}

TEST_F(vfio_dma_buf_mmap, mremap)
{
	u8 *addr = map(self->fd, 2 * page_size, 8 * page_size);
	u8 *moved;

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_WRITABLE(addr);
	*(volatile u32 *)(self->native + 4 * page_size) = 44;
	*(volatile u32 *)(self->native + 7 * page_size) = 77;

	/* From the middle, to a place that is free for sure */
	moved = mmap(NULL, 4 * page_size, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, moved);
	ASSERT_EQ(moved, mremap(addr + 2 * page_size, 4 * page_size,
				4 * page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
				moved));
	ASSERT_SIGNAL(SIGSEGV, addr + 2 * page_size, false);
	ASSERT_EQ(44, *(volatile u32 *)moved);
	ASSERT_EQ(77, *(volatile u32 *)(moved + 3 * page_size));

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_SIGNAL(SIGBUS, moved, false);
	ASSERT_SIGNAL(SIGBUS, addr, false);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(44, *(volatile u32 *)moved);
	ASSERT_EQ(77, *(volatile u32 *)(moved + 3 * page_size));

	/* It does not grow */
	ASSERT_EQ(MAP_FAILED, mremap(moved, 4 * page_size, 8 * page_size,
				     MREMAP_MAYMOVE));
	ASSERT_EQ(EFAULT, errno);
	ASSERT_EQ(0, munmap(moved, 4 * page_size));
	ASSERT_WRITABLE(addr + 7 * page_size);
}

TEST_F(vfio_dma_buf_mmap, mprotect)
{
	u8 *addr = map(self->fd, 0, 4 * page_size);

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_WRITABLE(addr);
	ASSERT_EQ(0, mprotect(addr, 2 * page_size, PROT_READ));
	ASSERT_READABLE(addr);
	ASSERT_READABLE(addr + page_size);
	ASSERT_SIGNAL(SIGSEGV, addr, true);
	ASSERT_SIGNAL(SIGSEGV, addr + page_size, true);
	ASSERT_WRITABLE(addr + 2 * page_size);

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(0, mprotect(addr, page_size, PROT_READ | PROT_WRITE));
	ASSERT_SIGNAL(SIGBUS, addr, true);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_WRITABLE(addr);
	ASSERT_SIGNAL(SIGSEGV, addr + page_size, true);
}

/* Accesses of the kernel, which find the page by themselves or not at all */
TEST_F(vfio_dma_buf_mmap, kernel_accesses)
{
	u32 value = 0x5678, got = 0;
	u8 *addr = map(self->fd, 0, self->size);
	struct iovec remote = { .iov_base = addr, .iov_len = sizeof(got) };
	struct iovec local = { .iov_base = &got, .iov_len = sizeof(got) };
	int fds[2];

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, pipe(fds));

	/* copy_from_user() and copy_to_user() fault */
	ASSERT_EQ(4, write(fds[1], &value, 4));
	ASSERT_EQ(4, read(fds[0], addr, 4));
	ASSERT_EQ(value, *(volatile u32 *)self->native);
	ASSERT_EQ(4, write(fds[1], addr, 4));
	ASSERT_EQ(4, read(fds[0], &got, 4));
	ASSERT_EQ(value, got);

	/* Who wants a struct page gets none */
	ASSERT_EQ(-1, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	ASSERT_EQ(EFAULT, errno);

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(-1, write(fds[1], addr, 4));
	ASSERT_EQ(EFAULT, errno);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(4, write(fds[1], addr, 4));
}

/* The guest's page tables follow those of userspace, as for an mmap of the BAR */
TEST_F(vfio_dma_buf_mmap, kvm)
{
	u64 size = min_t(u64, self->size, SZ_2M);
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = SZ_256M,
		.memory_size = size,
	};
	struct kvm_pre_fault_memory range;
	int kvm, vm, vcpu, i;
	u8 *addr;

	addr = map(self->fd, 0, size);
	ASSERT_NE(MAP_FAILED, addr);
	region.userspace_addr = (u64)addr;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		SKIP(return, "No KVM");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	ASSERT_LE(0, vm);
	if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY) <= 0)
		SKIP(return, "No KVM_PRE_FAULT_MEMORY");
	ASSERT_EQ(0, ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, vcpu);

#define PRE_FAULT() ({							\
	range = (struct kvm_pre_fault_memory){				\
		.gpa = region.guest_phys_addr,				\
		.size = size,						\
	};								\
	ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);			\
})
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, PRE_FAULT());
		vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
		ASSERT_EQ(-1, PRE_FAULT());
		ASSERT_EQ(EFAULT, errno);
		vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	}
	ASSERT_EQ(0, PRE_FAULT());
	ASSERT_EQ(0, munmap(addr, size));
	ASSERT_EQ(-1, PRE_FAULT());

	close(vcpu);
	close(vm);
	close(kvm);
}

/* A container would keep what the buffer's owner takes back, so it does not get it */
TEST_F(vfio_dma_buf_mmap, type1)
{
	struct iova_allocator *iova_allocator;
	struct dma_region region = { .size = page_size };

	if (access("/dev/vfio/vfio", R_OK | W_OK))
		SKIP(return, "No container (CONFIG_VFIO_CONTAINER)");

	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
	self->iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	self->fd = vfio_pci_dma_buf_export(self->device, self->bar, 0, page_size);

	region.vaddr = map(self->fd, 0, page_size);
	ASSERT_NE(MAP_FAILED, region.vaddr);
	iova_allocator = iova_allocator_init(self->iommu);
	region.iova = iova_allocator_alloc(iova_allocator, page_size);

	/* Not touched yet, touched, and revoked */
	ASSERT_EQ(-EPERM, __iommu_map(self->iommu, &region));
	(void)*(volatile u32 *)region.vaddr;
	ASSERT_EQ(-EPERM, __iommu_map(self->iommu, &region));
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(-EPERM, __iommu_map(self->iommu, &region));
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_EQ(0, munmap(region.vaddr, page_size));

	/* An mmap by way of the device is none of it */
	region.vaddr = self->device->bars[self->bar].vaddr;
	ASSERT_NE(NULL, region.vaddr);
	iommu_map(self->iommu, &region);
	iommu_unmap(self->iommu, &region);

	iova_allocator_cleanup(iova_allocator);
}

/*
 * Page table entries: as many faults as it takes to touch each page, by way of the
 * buffer and by way of the device
 */
static u8 *map_at(int fd, u64 offset, u64 size, u64 shift)
{
	u64 align = SZ_1G;
	u8 *addr;

	addr = mmap(NULL, size + 2 * align, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		return addr;
	addr = (u8 *)(((u64)addr + align - 1) & ~(align - 1)) + shift;
	return mmap(addr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    fd, offset);
}

static long count_faults(u8 *addr, u64 size, u64 step)
{
	struct rusage before, after;
	u64 offset;

	getrusage(RUSAGE_THREAD, &before);
	for (offset = 0; offset < size; offset += step)
		(void)*(volatile u32 *)(addr + offset);
	getrusage(RUSAGE_THREAD, &after);

	return after.ru_minflt - before.ru_minflt;
}

TEST_F(vfio_dma_buf_mmap, entry_sizes)
{
	u64 offset = self->device->bars[self->bar].info.offset;
	const u64 shifts[] = { 0, page_size, SZ_2M };
	int i;

	for (i = 0; i < ARRAY_SIZE(shifts); i++) {
		/* Only a part of what needs a fault for each page */
		u64 size = shifts[i] & (SZ_2M - 1) ?
			   min_t(u64, self->size, SZ_4M) : self->size;
		u64 step = size > SZ_1G ? SZ_2M : page_size;
		u8 *native = map_at(self->device->fd, offset, size, shifts[i]);
		u8 *mine = map_at(self->fd, 0, size, shifts[i]);
		long want, got, again;

		ASSERT_NE(MAP_FAILED, native);
		ASSERT_NE(MAP_FAILED, mine);
		want = count_faults(native, size, step);
		got = count_faults(mine, size, step);
		again = count_faults(mine, size, step);
		TH_LOG("shift %#llx: %ld faults for %llu steps, %ld by the device",
		       (unsigned long long)shifts[i], got,
		       (unsigned long long)(size / step), want);
		ASSERT_EQ(want, got);
		ASSERT_EQ(0, again);
#ifdef __x86_64__
		if (shifts[i] & (SZ_2M - 1)) {
			ASSERT_EQ(size / step, got);
		} else if (!shifts[i] && !(size & (SZ_1G - 1))) {
			ASSERT_EQ(size / SZ_1G, got);
		} else if (size >= SZ_2M && size < SZ_1G) {
			ASSERT_EQ(size / SZ_2M, got);
		}
#endif
		ASSERT_EQ(0, munmap(native, size));
		ASSERT_EQ(0, munmap(mine, size));
	}
}

/*
 * Races
 */
struct racer {
	int fd;
	bool stop;
	unsigned long maps, good, bad;
};

static void *race_accesses(void *arg)
{
	struct racer *racer = arg;

	while (!READ_ONCE(racer->stop)) {
		u8 *addr = map(racer->fd, 0, 16 * page_size);
		int i;

		if (addr == MAP_FAILED)
			break;
		for (i = 0; i < 32; i++) {
			if (access_signal((u32 *)(addr + (i % 16) * page_size),
					  i & 1))
				racer->bad++;
			else
				racer->good++;
		}
		munmap(addr + 4 * page_size, page_size);
		access_signal((u32 *)addr, true);
		munmap(addr, 16 * page_size);
		WRITE_ONCE(racer->maps, racer->maps + 1);
	}

	return NULL;
}

static void child_touches(void *arg)
{
	u8 *addr = arg;
	int i;

	for (i = 0; i < 16; i++)
		access_signal((u32 *)(addr + i * page_size), true);
}

TEST_F(vfio_dma_buf_mmap, races)
{
	struct racer racers[2] = { { .fd = self->fd }, { .fd = self->fd } };
	u8 *addr = map(self->fd, 0, 16 * page_size);
	pthread_t threads[2];
	int i, status;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, addr);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, race_accesses,
					    &racers[i]));
	for (i = 0; i < 20; i++) {
		vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
		ASSERT_EQ(0, in_child(child_touches, addr, &pid));
		usleep(1000);
		vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
		usleep(10000);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	for (i = 0; i < 2; i++) {
		WRITE_ONCE(racers[i].stop, true);
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		ASSERT_NE(0, racers[i].maps);
		ASSERT_NE(0, racers[i].good);
	}
	ASSERT_NE(0, racers[0].bad + racers[1].bad);
	ASSERT_WRITABLE(addr);
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	page_size = getpagesize();

	return test_harness_run(argc, argv);
}

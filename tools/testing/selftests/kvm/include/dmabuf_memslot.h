/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers for tests of memslots that are backed by a dma-buf (KVM_MEM_DMABUF).
 *
 * The buffers are exported from a BAR of a VFIO device.  The tests need a BAR
 * that behaves like memory, e.g. QEMU's ivshmem-plain has one.  No BAR is ever
 * mapped into the test, the host's side of it is read and written by means of
 * the VFIO region.
 */
#ifndef SELFTEST_KVM_DMABUF_MEMSLOT_H
#define SELFTEST_KVM_DMABUF_MEMSLOT_H

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"

/* Above everything that the KVM library puts into a VM, and 1GiB aligned. */
#define DMABUF_GPA		(64ull * SZ_1G)
#define DMABUF_SLOT		10

struct dmabuf_bar {
	struct iommu *iommu;
	struct vfio_pci_device *device;
	int index;
	u64 size;
};

struct leaves {
	u64 nr_4k;
	u64 nr_2m;
	u64 nr_1g;
};

static inline int __bar_read(struct dmabuf_bar *bar, u64 offset, u64 *val)
{
	u64 base = bar->device->bars[bar->index].info.offset;

	return pread(bar->device->fd, val, sizeof(*val), base + offset) == sizeof(*val) ? 0 : -1;
}

static inline u64 bar_read(struct dmabuf_bar *bar, u64 offset)
{
	u64 val;

	TEST_ASSERT(!__bar_read(bar, offset, &val),
		    "Can't read BAR%d at 0x%lx", bar->index, offset);
	return val;
}

static inline void bar_write(struct dmabuf_bar *bar, u64 offset, u64 val)
{
	u64 base = bar->device->bars[bar->index].info.offset;
	ssize_t r;

	r = pwrite(bar->device->fd, &val, sizeof(val), base + offset);
	TEST_ASSERT(r == sizeof(val), "Can't write BAR%d at 0x%lx", bar->index, offset);
}

static inline bool bar_is_memory(struct dmabuf_bar *bar)
{
	const u64 pattern = 0x5aa5a55a00ff1234ull;
	u64 offset = bar->size - sizeof(u64);
	u64 first = 0, last = 0;

	bar_write(bar, 0, pattern);
	bar_write(bar, offset, ~pattern);
	if (__bar_read(bar, 0, &first) || __bar_read(bar, offset, &last))
		return false;

	return first == pattern && last == ~pattern;
}

/* Returns false if the device has no BAR that the tests can use. */
static inline bool bar_open(struct dmabuf_bar *bar, const char *bdf)
{
	int i;

	bar->iommu = iommu_init(default_iommu_mode);
	bar->device = vfio_pci_device_init(bdf, bar->iommu);
	bar->index = -1;
	bar->size = 0;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		struct vfio_pci_bar *b = &bar->device->bars[i];

		if (!b->vaddr)
			continue;

		TEST_ASSERT(!munmap(b->vaddr, align_up(b->info.size, PAGE_SIZE)),
			    "munmap() of BAR%d failed", i);
		b->vaddr = NULL;

		if (b->info.size > bar->size) {
			bar->index = i;
			bar->size = b->info.size;
		}
	}

	if (bar->index < 0)
		return false;

	vfio_pci_cmd_set(bar->device, PCI_COMMAND_MEMORY);

	return bar->size >= 16 * SZ_1M && bar_is_memory(bar);
}

static inline void bar_close(struct dmabuf_bar *bar)
{
	if (bar->device)
		vfio_pci_device_cleanup(bar->device);
	if (bar->iommu)
		iommu_cleanup(bar->iommu);
	bar->device = NULL;
	bar->iommu = NULL;
}

#define BAR_SKIP_REASON "the device's largest BAR isn't 16 MiB or more of memory"

/* With memory decode off, every buffer made from the device is revoked. */
static inline void bar_set_decode(struct dmabuf_bar *bar, bool on)
{
	if (on)
		vfio_pci_cmd_set(bar->device, PCI_COMMAND_MEMORY);
	else
		vfio_pci_cmd_clear(bar->device, PCI_COMMAND_MEMORY);
}

static inline int __bar_export_ranges(struct dmabuf_bar *bar, u32 open_flags,
				      const struct vfio_region_dma_range *ranges, u32 nr)
{
	size_t argsz = sizeof(struct vfio_device_feature) +
		       sizeof(struct vfio_device_feature_dma_buf) +
		       nr * sizeof(*ranges);
	struct vfio_device_feature_dma_buf *dma_buf;
	struct vfio_device_feature *feature;
	int fd;

	feature = calloc(1, argsz);
	TEST_ASSERT(feature, "-ENOMEM when allocating a VFIO feature");

	feature->argsz = argsz;
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;

	dma_buf = (void *)feature->data;
	dma_buf->region_index = bar->index;
	dma_buf->open_flags = open_flags | O_CLOEXEC;
	dma_buf->nr_ranges = nr;
	memcpy(dma_buf->dma_ranges, ranges, nr * sizeof(*ranges));

	fd = ioctl(bar->device->fd, VFIO_DEVICE_FEATURE, feature);
	free(feature);

	return fd;
}

static inline int bar_export_ranges(struct dmabuf_bar *bar, u32 open_flags,
				    const struct vfio_region_dma_range *ranges, u32 nr)
{
	int fd = __bar_export_ranges(bar, open_flags, ranges, nr);

	TEST_ASSERT(fd >= 0, "VFIO_DEVICE_FEATURE_DMA_BUF failed, errno = %d (%s)",
		    errno, strerror(errno));
	return fd;
}

static inline int bar_export(struct dmabuf_bar *bar, u64 offset, u64 length)
{
	struct vfio_region_dma_range range = { .offset = offset, .length = length };

	return bar_export_ranges(bar, O_RDWR, &range, 1);
}

static inline int __vm_set_dmabuf(struct kvm_vm *vm, u32 slot, u32 flags, gpa_t gpa,
				  u64 size, int fd, u64 offset)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = KVM_MEM_DMABUF | flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.dmabuf_fd = fd,
		.dmabuf_offset = offset,
	};

	return __vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region);
}

static inline void vm_set_dmabuf(struct kvm_vm *vm, u32 slot, u32 flags, gpa_t gpa,
				 u64 size, int fd, u64 offset)
{
	int r = __vm_set_dmabuf(vm, slot, flags, gpa, size, fd, offset);

	TEST_ASSERT_VM_VCPU_IOCTL(!r, KVM_SET_USER_MEMORY_REGION2, r, vm);
}

static inline void vm_delete_dmabuf(struct kvm_vm *vm, u32 slot)
{
	vm_set_dmabuf(vm, slot, 0, 0, 0, 0, 0);
}

static inline struct leaves vm_get_leaves(struct kvm_vm *vm)
{
	return (struct leaves) {
		.nr_4k = vm_get_stat(vm, pages_4k),
		.nr_2m = vm_get_stat(vm, pages_2m),
		.nr_1g = vm_get_stat(vm, pages_1g),
	};
}

/* Returns 0 or an errno, doesn't retry but for signals. */
static inline int __vcpu_populate(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size)
{
	struct kvm_pre_fault_memory range = {
		.gpa = gpa,
		.size = size,
	};
	int r;

	do {
		r = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
		if (r && errno != EINTR && errno != EAGAIN)
			return errno;
	} while (range.size);

	return 0;
}

static inline void vcpu_populate(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size)
{
	int r = __vcpu_populate(vcpu, gpa, size);

	TEST_ASSERT(!r, "KVM_PRE_FAULT_MEMORY failed, errno = %d (%s)", r, strerror(r));
}

/* How many leaves of each size does populating the range add? */
static inline struct leaves vcpu_populate_leaves(struct kvm_vcpu *vcpu, gpa_t gpa,
						 u64 size)
{
	struct leaves before = vm_get_leaves(vcpu->vm), after;

	vcpu_populate(vcpu, gpa, size);

	after = vm_get_leaves(vcpu->vm);
	after.nr_4k -= before.nr_4k;
	after.nr_2m -= before.nr_2m;
	after.nr_1g -= before.nr_1g;

	return after;
}

/*
 * The guest does one access after the other, each given by the host.  It accesses
 * a gpa at the same gva.
 */
enum guest_op {
	GUEST_READ,
	GUEST_WRITE,
	/* Have KVM emulate the access. */
	GUEST_FEP_READ,
};

static enum guest_op guest_op;
static u64 guest_gva;
static u64 guest_val;

static void dmabuf_guest_code(void)
{
	for (;;) {
		u64 *ptr = (u64 *)guest_gva;

		switch (guest_op) {
		case GUEST_READ:
			asm volatile("mov (%1), %0" : "=r"(guest_val) : "r"(ptr) : "memory");
			break;
		case GUEST_WRITE:
			asm volatile("mov %0, (%1)" :: "r"(guest_val), "r"(ptr) : "memory");
			break;
		case GUEST_FEP_READ:
			asm volatile(KVM_FEP "mov (%1), %0"
				     : "=r"(guest_val) : "r"(ptr) : "memory");
			break;
		}
		GUEST_SYNC(guest_op);
	}
}

static inline void vm_map_page(struct kvm_vm *vm, gpa_t gpa)
{
	gpa &= ~((gpa_t)PAGE_SIZE - 1);

	if (!sparsebit_is_set(vm->vpages_mapped, gpa >> vm->page_shift))
		virt_map(vm, gpa, gpa, 1);
}

/* Give the guest its next access.  It is under way until guest_done(). */
static inline void guest_start(struct kvm_vcpu *vcpu, enum guest_op op, gpa_t gpa,
			       u64 val)
{
	struct kvm_vm *vm = vcpu->vm;

	vm_map_page(vm, gpa);

	guest_op = op;
	guest_gva = gpa;
	guest_val = val;
	sync_global_to_guest(vm, guest_op);
	sync_global_to_guest(vm, guest_gva);
	sync_global_to_guest(vm, guest_val);
}

static inline u64 guest_done(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	sync_global_from_guest(vcpu->vm, guest_val);

	return guest_val;
}

static inline u64 guest_read(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	guest_start(vcpu, GUEST_READ, gpa, 0);
	return guest_done(vcpu);
}

static inline void guest_write(struct kvm_vcpu *vcpu, gpa_t gpa, u64 val)
{
	guest_start(vcpu, GUEST_WRITE, gpa, val);
	guest_done(vcpu);
}

/* The access that is under way must exit with a memory fault. */
static inline void guest_faults(struct kvm_vcpu *vcpu, gpa_t gpa, u64 flags)
{
	struct kvm_run *run = vcpu->run;
	int r;

	r = _vcpu_run(vcpu);
	TEST_ASSERT(r == -1 && errno == EFAULT,
		    "Wanted KVM_RUN to fail with EFAULT, got r = %d, errno = %d, exit reason = %u (%s)",
		    r, errno, run->exit_reason, exit_reason_str(run->exit_reason));
	TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	TEST_ASSERT_EQ(run->memory_fault.flags, flags);
	TEST_ASSERT_EQ(run->memory_fault.gpa, gpa & ~((gpa_t)PAGE_SIZE - 1));
	TEST_ASSERT_EQ(run->memory_fault.size, PAGE_SIZE);
}

/* The access that is under way must exit for emulated MMIO. */
static inline void guest_exits_mmio(struct kvm_vcpu *vcpu, gpa_t gpa, bool is_write)
{
	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(vcpu->run->mmio.phys_addr, gpa);
	TEST_ASSERT_EQ(vcpu->run->mmio.len, sizeof(u64));
	TEST_ASSERT_EQ(vcpu->run->mmio.is_write, is_write);
}

static inline struct kvm_vm *dmabuf_vm_create(unsigned long type,
					      struct kvm_vcpu **vcpu)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = type,
	};

	return vm_create_shape_with_one_vcpu(shape, vcpu, dmabuf_guest_code);
}

static inline bool vm_type_is_supported(unsigned long type)
{
	return !type || (kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(type));
}

#endif /* SELFTEST_KVM_DMABUF_MEMSLOT_H */

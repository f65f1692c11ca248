// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: a VM with one vCPU, its memory slots, and what is installed for them
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "guest.h"
#include "tdi-vmm.h"

#define VM_TIMEOUT	60	/* seconds, for one KVM_RUN */

/* Makes KVM_RUN return with EINTR */
static void vm_alarm(int signal)
{
}

static int vm_capability(int fd, __u32 capability)
{
	int ret = xioctl(fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)capability);

	return ret < 0 ? 0 : ret;
}

static void vm_set_slot(struct vm *vm,
			struct kvm_userspace_memory_region2 *slot)
{
	if (xioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, slot)) {
		if (errno == EOPNOTSUPP)
			hint("the exporter has no ranges that this VM takes");
		fail("KVM_SET_USER_MEMORY_REGION2 of slot %u: %s", slot->slot,
		     strerror(errno));
	}
}

void vm_create(struct vm *vm)
{
	struct kvm_userspace_memory_region2 ram = {
		.slot = 0,
		.guest_phys_addr = 0,
		.memory_size = GUEST_RAM_SIZE,
	};
	struct sigaction action = {
		.sa_handler = vm_alarm,
	};
	unsigned long type;
	int size;

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0) {
		if (errno == ENOENT)
			hint("no KVM, or virtualization is off in the firmware");
		fail("/dev/kvm: %s", strerror(errno));
	}

	type = vm->type ? vm->type : guest_vm_type(vm->kvm);
	vm->fd = xioctl(vm->kvm, KVM_CREATE_VM, (void *)type);
	if (vm->fd < 0) {
		if (vm->type)
			hint("this type of VM may need a kernel option of its own");
		fail("KVM_CREATE_VM of type %lu: %s", type, strerror(errno));
	}
	if (!(vm_capability(vm->fd, KVM_CAP_DMABUF) & KVM_DMABUF_SHARED)) {
		hint("KVM_DMABUF comes with KVM and CONFIG_DMA_SHARED_BUFFER");
		fail("no KVM_CAP_DMABUF: this VM cannot take a dma-buf");
	}
	if (guest_can_populate &&
	    !vm_capability(vm->fd, KVM_CAP_PRE_FAULT_MEMORY))
		fail("no KVM_CAP_PRE_FAULT_MEMORY: is nested paging off?");

	/* RAM is memory of this process, and the only memory that it shares */
	vm->ram = mmap(NULL, GUEST_RAM_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (vm->ram == MAP_FAILED)
		fail("mmap of %llu bytes: %s", GUEST_RAM_SIZE, strerror(errno));
	ram.userspace_addr = (uintptr_t)vm->ram;
	vm_set_slot(vm, &ram);

	vm->vcpu = xioctl(vm->fd, KVM_CREATE_VCPU, NULL);
	if (vm->vcpu < 0)
		fail("KVM_CREATE_VCPU: %s", strerror(errno));
	size = xioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (size < (int)sizeof(*vm->run))
		fail("KVM_GET_VCPU_MMAP_SIZE: %d", size);
	vm->run_size = size;
	vm->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu,
		       0);
	if (vm->run == MAP_FAILED)
		fail("mmap of struct kvm_run: %s", strerror(errno));

	vm->stats = xioctl(vm->fd, KVM_GET_STATS_FD, NULL);
	if (vm->stats < 0)
		fail("KVM_GET_STATS_FD: %s", strerror(errno));

	guest_load(vm);
	sigaction(SIGALRM, &action, NULL);
}

void vm_destroy(struct vm *vm)
{
	munmap(vm->run, vm->run_size);
	munmap(vm->ram, GUEST_RAM_SIZE);
	close(vm->stats);
	close(vm->vcpu);
	close(vm->fd);
	close(vm->kvm);
}

/*
 * The whole of it: no mmap() and no address of this process. The slot keeps the
 * buffer alive, so its fd may be closed at once; and it may be created while
 * the owner has the buffer taken back.
 */
void vm_map_dmabuf(struct vm *vm, __u32 slot, __u64 gpa, __u64 size,
		   int dmabuf, __u64 offset)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = KVM_MEM_DMABUF,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.dmabuf_fd = dmabuf,
		.dmabuf_offset = offset,
	};

	vm_set_slot(vm, &region);
}

void vm_delete_slot(struct vm *vm, __u32 slot)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
	};

	vm_set_slot(vm, &region);
}

/* Optional: what is not populated is mapped at the guest's first access */
unsigned int vm_populate(struct vm *vm, __u64 gpa, __u64 size)
{
	struct kvm_pre_fault_memory range = {
		.gpa = gpa,
		.size = size,
	};
	unsigned int calls = 0;

	while (range.size) {
		calls++;
		if (xioctl(vm->vcpu, KVM_PRE_FAULT_MEMORY, &range) &&
		    errno != EINTR && errno != EAGAIN)
			fail("KVM_PRE_FAULT_MEMORY at 0x%llx: %s",
			     range.gpa, strerror(errno));
	}
	return calls;
}

static __u64 vm_stat(struct vm *vm, const char *name)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	__u64 value = 0;
	bool found = false;
	size_t size;

	if (pread(vm->stats, &header, sizeof(header), 0) != sizeof(header))
		fail("KVM statistics: no header");

	size = sizeof(*desc) + header.name_size;
	desc = malloc(size);
	if (!desc)
		fail("out of memory");
	for (__u32 i = 0; i < header.num_desc && !found; i++) {
		if (pread(vm->stats, desc, size, header.desc_offset + i * size) !=
		    (ssize_t)size)
			fail("KVM statistics: no descriptor %u", i);
		if (strcmp(desc->name, name))
			continue;
		if (pread(vm->stats, &value, sizeof(value),
			  header.data_offset + desc->offset) != sizeof(value))
			fail("KVM statistics: no value of %s", name);
		found = true;
	}
	free(desc);
	if (!found)
		fail("KVM statistics: there is no %s", name);
	return value;
}

/* Leaf entries of the VM's stage-2 page tables, of all slots together */
struct leaves vm_leaves(struct vm *vm)
{
	return (struct leaves){
		.known = true,
		.nr_4k = vm_stat(vm, "pages_4k"),
		.nr_2m = vm_stat(vm, "pages_2m"),
		.nr_1g = vm_stat(vm, "pages_1g"),
	};
}

static enum vm_exit vm_exit_error(struct vm *vm, int error)
{
	struct kvm_run *run = vm->run;

	if (error == EINTR)
		fail("the guest made no progress in %u s", VM_TIMEOUT);

	/* The one exit that comes with an error */
	if (error == EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
		if (run->memory_fault.flags & KVM_MEMORY_EXIT_FLAG_REVOKED)
			return VM_EXIT_REVOKED;
		fail("KVM_RUN: memory fault at 0x%llx, flags 0x%llx",
		     run->memory_fault.gpa, run->memory_fault.flags);
	}
	fail("KVM_RUN: %s", strerror(error));
}

enum vm_exit vm_run(struct vm *vm)
{
	struct kvm_run *run = vm->run;
	int ret, error;

	alarm(VM_TIMEOUT);
	ret = xioctl(vm->vcpu, KVM_RUN, NULL);
	error = errno;
	alarm(0);

	if (ret)
		return vm_exit_error(vm, error);

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		if (run->mmio.phys_addr == GUEST_DOORBELL && run->mmio.is_write)
			return VM_EXIT_DOORBELL;
		fail("the guest accessed 0x%llx, where nothing is mapped",
		     run->mmio.phys_addr);
	case KVM_EXIT_SHUTDOWN:
		fail("the guest died of a triple fault");
	case KVM_EXIT_FAIL_ENTRY:
		fail("the guest cannot be entered, hardware reason 0x%llx",
		     run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		fail("KVM gave up, suberror %u", run->internal.suberror);
	default:
		fail("KVM_RUN: unexpected exit %u", run->exit_reason);
	}
}

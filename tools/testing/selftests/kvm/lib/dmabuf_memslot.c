// SPDX-License-Identifier: GPL-2.0-only
#include <libvfio.h>

#include "dmabuf_memslot.h"

static const char *device_bdf;

void dmabuf_test_init(int *argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DMABUF));
	TEST_REQUIRE(getpagesize() == PAGE_SIZE);

	device_bdf = vfio_selftests_get_bdf(argc, argv);
}

static int __bar_read(struct dmabuf_bar *bar, u64 offset, u64 *val)
{
	u64 base = bar->device->bars[bar->index].info.offset;

	return pread(bar->device->fd, val, sizeof(*val), base + offset) == sizeof(*val) ? 0 : -1;
}

u64 bar_read(struct dmabuf_bar *bar, u64 offset)
{
	u64 val;

	TEST_ASSERT(!__bar_read(bar, offset, &val),
		    "Can't read BAR%d at 0x%lx", bar->index, offset);
	return val;
}

void bar_write(struct dmabuf_bar *bar, u64 offset, u64 val)
{
	u64 base = bar->device->bars[bar->index].info.offset;
	ssize_t r;

	r = pwrite(bar->device->fd, &val, sizeof(val), base + offset);
	TEST_ASSERT(r == sizeof(val), "Can't write BAR%d at 0x%lx", bar->index, offset);
}

static bool bar_is_memory(struct dmabuf_bar *bar)
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

const char *bar_open(struct dmabuf_bar *bar, unsigned long vm_type)
{
	int i;

	if (vm_type && !(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(vm_type)))
		return "KVM doesn't support this type of VM";

	bar->iommu = iommu_init(default_iommu_mode);
	bar->device = vfio_pci_device_init(device_bdf, bar->iommu);
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

	bar_set_decode(bar, true);

	if (bar->size < 16 * SZ_1M || !bar_is_memory(bar))
		return "the device's largest BAR isn't 16 MiB or more of memory";

	return NULL;
}

void bar_close(struct dmabuf_bar *bar)
{
	if (bar->device)
		vfio_pci_device_cleanup(bar->device);
	if (bar->iommu)
		iommu_cleanup(bar->iommu);
	bar->device = NULL;
	bar->iommu = NULL;
}

void bar_set_decode(struct dmabuf_bar *bar, bool on)
{
	if (on)
		vfio_pci_cmd_set(bar->device, PCI_COMMAND_MEMORY);
	else
		vfio_pci_cmd_clear(bar->device, PCI_COMMAND_MEMORY);
}

void bar_set_low_power(struct dmabuf_bar *bar, bool low)
{
	int r;

	if (low)
		r = vfio_pci_low_power_entry(bar->device, -1);
	else
		r = vfio_pci_low_power_exit(bar->device);

	TEST_ASSERT(!r, "VFIO_DEVICE_FEATURE_LOW_POWER_%s failed, errno = %d (%s)",
		    low ? "ENTRY" : "EXIT", -r, strerror(-r));
}

void *bar_mmap(struct dmabuf_bar *bar, u64 offset, u64 size)
{
	void *reserved, *start;

	reserved = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(reserved != MAP_FAILED, "No address space for 0x%lx bytes", size);

	start = align_ptr_up(reserved, size);
	if (start > reserved)
		kvm_munmap(reserved, start - reserved);
	kvm_munmap(start + size, reserved + size - start);

	start = mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		     bar->device->fd, bar->device->bars[bar->index].info.offset + offset);
	TEST_ASSERT(start != MAP_FAILED, "Can't map BAR%d at 0x%lx", bar->index, offset);

	return start;
}

int bar_export_ranges(struct dmabuf_bar *bar, u32 open_flags,
		      const struct vfio_region_dma_range *ranges, u32 nr)
{
	int fd = __vfio_pci_dma_buf_export(bar->device, bar->index, ranges, nr,
					   open_flags | O_CLOEXEC);

	TEST_ASSERT(fd >= 0, "VFIO_DEVICE_FEATURE_DMA_BUF failed, errno = %d (%s)",
		    -fd, strerror(-fd));
	return fd;
}

int __vm_set_dmabuf(struct kvm_vm *vm, u32 slot, u32 flags, gpa_t gpa, u64 size,
		    int fd, u64 offset)
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

void vm_set_dmabuf(struct kvm_vm *vm, u32 slot, u32 flags, gpa_t gpa, u64 size,
		   int fd, u64 offset)
{
	int r = __vm_set_dmabuf(vm, slot, flags, gpa, size, fd, offset);

	TEST_ASSERT_VM_VCPU_IOCTL(!r, KVM_SET_USER_MEMORY_REGION2, r, vm);
}

#ifdef __aarch64__
FILE *vm_open_leaves(struct kvm_vm *vm)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/stage2_page_tables",
		 getpid(), vm->fd);
	return fopen(path, "r");
}

bool vm_can_get_leaves(struct kvm_vm *vm)
{
	FILE *file = vm_open_leaves(vm);
	bool can = false;
	char line[256];

	/* The tables are EL2's with pKVM, and reading the file fails. */
	if (file) {
		can = fgets(line, sizeof(line), file);
		fclose(file);
	}

	return can;
}

/*
 * Adds up leaves from @start to @end, lines "0xSTART-0xEND SIZE LEVEL ATTRIBUTES", of
 * which the first attribute of what is not mapped is "F".
 */
static struct leaves vm_range_leaves(struct kvm_vm *vm, gpa_t start, gpa_t end)
{
	FILE *file = vm_open_leaves(vm);
	struct leaves leaves = {};
	char line[256];

	TEST_ASSERT(file, "No stage2_page_tables of the VM in debugfs");

	while (fgets(line, sizeof(line), file)) {
		unsigned long from, to;
		char size[32], attr[32];
		int level;

		if (sscanf(line, "0x%lx-0x%lx %31s %d %31s", &from, &to, size, &level, attr) != 5 ||
		    !strcmp(attr, "F"))
			continue;

		from = max_t(unsigned long, from, start);
		to = min_t(unsigned long, to, end);
		if (from >= to)
			continue;

		switch (level) {
		case 1:
			leaves.nr_1g += (to - from) / SZ_1G;
			break;
		case 2:
			leaves.nr_2m += (to - from) / SZ_2M;
			break;
		case 3:
			leaves.nr_4k += (to - from) / SZ_4K;
			break;
		default:
			TEST_FAIL("Unknown level in '%s'", line);
		}
	}
	fclose(file);

	return leaves;
}

struct leaves vm_get_leaves(struct kvm_vm *vm)
{
	return vm_range_leaves(vm, 0, -1ul);
}
#else
bool vm_can_get_leaves(struct kvm_vm *vm)
{
	return vcpu_can_prefault();
}

struct leaves vm_get_leaves(struct kvm_vm *vm)
{
	return (struct leaves) {
		.nr_4k = vm_get_stat(vm, pages_4k),
		.nr_2m = vm_get_stat(vm, pages_2m),
		.nr_1g = vm_get_stat(vm, pages_1g),
	};
}
#endif

bool vcpu_can_prefault(void)
{
	return kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY);
}

int __vcpu_prefault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size)
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

#ifdef __aarch64__
void vcpu_populate(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size)
{
	static const u64 strides[] = { SZ_1G, SZ_2M, SZ_4K };
	struct leaves leaves;
	u64 next;
	int i;

	/* Each access maps a leaf, in which the next one needn't be. */
	for (i = 0; i < ARRAY_SIZE(strides); i++) {
		for (next = gpa; next < gpa + size;
		     next = align_down(next, strides[i]) + strides[i])
			guest_read(vcpu, next);

		if (!vm_can_get_leaves(vcpu->vm))
			continue;

		leaves = vm_range_leaves(vcpu->vm, gpa, gpa + size);
		if (leaves.nr_4k * SZ_4K + leaves.nr_2m * SZ_2M + leaves.nr_1g * SZ_1G == size)
			return;
	}

	TEST_ASSERT(!vm_can_get_leaves(vcpu->vm), "The range can't be populated");
}

struct leaves vcpu_populate_leaves(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size)
{
	vcpu_populate(vcpu, gpa, size);

	return vm_range_leaves(vcpu->vm, gpa, gpa + size);
}
#else
void vcpu_populate(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size)
{
	u64 offset;
	int r;

	if (vcpu_can_prefault()) {
		r = __vcpu_prefault(vcpu, gpa, size);
		TEST_ASSERT(!r, "KVM_PRE_FAULT_MEMORY failed, errno = %d (%s)",
			    r, strerror(r));
		return;
	}

	for (offset = 0; offset < size; offset += PAGE_SIZE)
		guest_read(vcpu, gpa + offset);
}

struct leaves vcpu_populate_leaves(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size)
{
	struct leaves before = vm_get_leaves(vcpu->vm), after;

	vcpu_populate(vcpu, gpa, size);

	after = vm_get_leaves(vcpu->vm);
	after.nr_4k -= before.nr_4k;
	after.nr_2m -= before.nr_2m;
	after.nr_1g -= before.nr_1g;

	return after;
}
#endif

static enum guest_op guest_op;
static u64 guest_gva;
static u64 guest_val;

void dmabuf_guest_code(void)
{
	for (;;) {
		u64 *ptr = (u64 *)guest_gva;

		switch (guest_op) {
		case GUEST_READ:
			guest_val = guest_load(ptr);
			break;
		case GUEST_WRITE:
			guest_store(ptr, guest_val);
			break;
		case GUEST_FEP_READ:
#ifdef __x86_64__
			asm volatile(KVM_FEP "mov (%1), %0"
				     : "=r"(guest_val) : "r"(ptr) : "memory");
#endif
			break;
		}
		GUEST_SYNC(guest_op);
	}
}

const char *guest_cannot_emulate(void)
{
#ifdef __x86_64__
	return kvm_is_forced_emulation_enabled() ? NULL : "needs kvm.force_emulation_prefix=1";
#else
	return "KVM emulates accesses to holes only";
#endif
}

struct kvm_vm *dmabuf_vm_create(unsigned long type, struct kvm_vcpu **vcpu)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = type,
	};

	/* Page tables for as much as the guest itself may have to populate. */
	u64 nr_pages = vcpu_can_prefault() ? 0 : SZ_2G / PAGE_SIZE;

	return __vm_create_shape_with_one_vcpu(shape, vcpu, nr_pages, dmabuf_guest_code);
}

static void vm_map_page(struct kvm_vm *vm, gpa_t gpa)
{
	gpa &= ~((gpa_t)PAGE_SIZE - 1);

	if (!sparsebit_is_set(vm->vpages_mapped, gpa >> vm->page_shift))
		virt_map(vm, gpa, gpa, 1);
}

void guest_start(struct kvm_vcpu *vcpu, enum guest_op op, gpa_t gpa, u64 val)
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

u64 guest_result(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	sync_global_from_guest(vcpu->vm, guest_val);

	return guest_val;
}

u64 guest_done(struct kvm_vcpu *vcpu)
{
	vcpu_run(vcpu);

	return guest_result(vcpu);
}

void guest_faults(struct kvm_vcpu *vcpu, gpa_t gpa, u64 flags)
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

void guest_exits_mmio(struct kvm_vcpu *vcpu, gpa_t gpa, bool is_write)
{
	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(vcpu->run->mmio.phys_addr, gpa);
	TEST_ASSERT_EQ(vcpu->run->mmio.len, sizeof(u64));
	TEST_ASSERT_EQ(vcpu->run->mmio.is_write, is_write);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test memslots that are backed by a dma-buf (KVM_MEM_DMABUF): that the guest
 * reaches the buffer, with mappings as large as they can be, for as long as its
 * owner lets it, whoever ends first.
 *
 * See dmabuf_memslot.h for the device that is needed.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libvfio.h>

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

/* An address in the test that is an offset in a memslot as well. */
#define VMM_ADDR		(96ul * SZ_1M)

/* Populates the range in any case. */
#define EXPECT_LEAVES(_vcpu, _gpa, _size, _1g, _2m, _4k) \
do {							\
	struct kvm_vcpu *__vcpu = (_vcpu);		\
	struct leaves __leaves;				\
	u64 __size = (_size);				\
	gpa_t __gpa = (_gpa);				\
							\
	if (!vm_can_get_leaves(__vcpu->vm)) {		\
		vcpu_populate(__vcpu, __gpa, __size);	\
		break;					\
	}						\
							\
	__leaves = vcpu_populate_leaves(__vcpu, __gpa, __size); \
	EXPECT_EQ(__leaves.nr_1g, (_1g));		\
	EXPECT_EQ(__leaves.nr_2m, (_2m));		\
	EXPECT_EQ(__leaves.nr_4k, (_4k));		\
} while (0)

FIXTURE(dmabuf_memslot)
{
	struct dmabuf_bar bar;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int fd;
};

FIXTURE_VARIANT(dmabuf_memslot)
{
	unsigned long type;
};

FIXTURE_VARIANT_ADD(dmabuf_memslot, default_vm)
{
	.type = DMABUF_VM_DEFAULT,
};

FIXTURE_VARIANT_ADD(dmabuf_memslot, sw_protected_vm)
{
	.type = DMABUF_VM_SW_PROTECTED,
};

FIXTURE_SETUP(dmabuf_memslot)
{
	const char *why = bar_open(&self->bar, variant->type);

	self->fd = -1;
	if (why)
		SKIP(return, "%s", why);

	self->vm = dmabuf_vm_create(variant->type, &self->vcpu);
}

FIXTURE_TEARDOWN(dmabuf_memslot)
{
	if (self->vm)
		kvm_vm_free(self->vm);
	if (self->fd >= 0)
		close(self->fd);
	bar_close(&self->bar);
}

/* Export the start of the BAR and make a memslot of it. */
static int create_slot(struct kvm_vm *vm, struct dmabuf_bar *bar, u64 size)
{
	int fd = bar_export(bar, 0, size);

	vm_set_dmabuf(vm, DMABUF_SLOT, 0, DMABUF_GPA, size, fd, 0);

	return fd;
}

TEST_F(dmabuf_memslot, cap)
{
	EXPECT_EQ(kvm_check_cap(KVM_CAP_DMABUF), KVM_DMABUF_SHARED);
	EXPECT_TRUE(vm_check_cap(self->vm, KVM_CAP_DMABUF) & KVM_DMABUF_SHARED);
}

TEST_F(dmabuf_memslot, guest_access)
{
	const u64 size = SZ_2M + 3 * PAGE_SIZE;
	u64 offset;

	self->fd = create_slot(self->vm, &self->bar, size);

	for (offset = 0; offset < size; offset += SZ_512K) {
		guest_write(self->vcpu, DMABUF_GPA + offset, ~offset);
		EXPECT_EQ(bar_read(&self->bar, offset), ~offset);

		bar_write(&self->bar, offset, offset + 1);
		EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + offset), offset + 1);
	}

	offset = size - sizeof(u64);
	guest_write(self->vcpu, DMABUF_GPA + offset, 0x1234567887654321ull);
	EXPECT_EQ(bar_read(&self->bar, offset), 0x1234567887654321ull);
}

TEST_F(dmabuf_memslot, leaves_2m)
{
	if (!vm_can_get_leaves(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);

	self->fd = create_slot(self->vm, &self->bar, SZ_4M);
	EXPECT_LEAVES(self->vcpu, DMABUF_GPA, SZ_4M, 0, 2, 0);
}

TEST_F(dmabuf_memslot, leaves_1g)
{
	if (!vm_can_get_leaves(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);
	if (self->bar.size < SZ_1G + SZ_2M)
		SKIP(return, "the BAR is too small for mappings of 1 GiB");

	self->fd = create_slot(self->vm, &self->bar, SZ_1G + SZ_2M);
	EXPECT_LEAVES(self->vcpu, DMABUF_GPA, SZ_1G + SZ_2M, 1, 1, 0);

	bar_write(&self->bar, SZ_1G - PAGE_SIZE, 1);
	bar_write(&self->bar, SZ_1G, 2);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_1G - PAGE_SIZE), 1);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_1G), 2);
}

/* Congruent to 2 MiB, but not to 1 GiB. */
TEST_F(dmabuf_memslot, leaves_not_1g)
{
	const gpa_t gpa = DMABUF_GPA + SZ_2M;

	if (!vm_can_get_leaves(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);
	if (self->bar.size < 2ul * SZ_1G)
		SKIP(return, "the BAR is too small for mappings of 1 GiB");

	self->fd = bar_export(&self->bar, 0, SZ_2G);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, gpa, SZ_2G, self->fd, 0);
	EXPECT_LEAVES(self->vcpu, gpa, SZ_2G, 0, 1024, 0);
}

TEST_F(dmabuf_memslot, leaves_not_congruent)
{
	const gpa_t gpa = DMABUF_GPA + PAGE_SIZE;

	self->fd = bar_export(&self->bar, 0, SZ_4M);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, gpa, SZ_4M, self->fd, 0);
	EXPECT_LEAVES(self->vcpu, gpa, SZ_4M, 0, 0, 1024);

	bar_write(&self->bar, SZ_2M, 42);
	EXPECT_EQ(guest_read(self->vcpu, gpa + SZ_2M), 42);
}

/* Neither end is aligned, but gpa and buffer are congruent. */
TEST_F(dmabuf_memslot, leaves_unaligned_ends)
{
	const gpa_t gpa = DMABUF_GPA + PAGE_SIZE;

	if (!vm_can_get_leaves(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);

	self->fd = bar_export(&self->bar, 0, SZ_8M);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, gpa, SZ_4M, self->fd, PAGE_SIZE);
	EXPECT_LEAVES(self->vcpu, gpa, SZ_4M, 0, 1, 512);
}

TEST_F(dmabuf_memslot, part_of_buffer)
{
	self->fd = bar_export(&self->bar, 0, SZ_8M);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, SZ_2M);
	EXPECT_LEAVES(self->vcpu, DMABUF_GPA, SZ_4M, 0, 2, 0);

	bar_write(&self->bar, 0, 1);
	bar_write(&self->bar, SZ_2M, 2);
	bar_write(&self->bar, SZ_4M, 3);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 2);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_2M), 3);
}

/* The last page of the buffer and of the memslot. */
TEST_F(dmabuf_memslot, end_of_buffer)
{
	self->fd = bar_export(&self->bar, 0, SZ_2M + PAGE_SIZE);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, PAGE_SIZE, self->fd, SZ_2M);

	bar_write(&self->bar, SZ_2M, 7);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 7);

	/* Beyond is a hole. */
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA + PAGE_SIZE, 0);
	guest_exits_mmio(self->vcpu, DMABUF_GPA + PAGE_SIZE, false);
}

TEST_F(dmabuf_memslot, two_slots_one_buffer)
{
	self->fd = bar_export(&self->bar, 0, SZ_4M);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);
	vm_set_dmabuf(self->vm, DMABUF_SLOT + 1, 0, DMABUF_GPA + SZ_8M, SZ_2M, self->fd, SZ_2M);

	guest_write(self->vcpu, DMABUF_GPA + SZ_2M, 0x77);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_8M), 0x77);

	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_8M), 0x77);
}

/* A buffer made of a BAR with a hole, e.g. for the MSI-X table. */
TEST_F(dmabuf_memslot, ranges_hole)
{
	const struct vfio_region_dma_range ranges[] = {
		{ .offset = 0, .length = SZ_2M },
		{ .offset = SZ_4M, .length = SZ_2M },
	};

	self->fd = bar_export_ranges(&self->bar, O_RDWR, ranges, ARRAY_SIZE(ranges));
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);
	EXPECT_LEAVES(self->vcpu, DMABUF_GPA, SZ_4M, 0, 2, 0);

	bar_write(&self->bar, SZ_2M - PAGE_SIZE, 1);
	bar_write(&self->bar, SZ_2M, 2);
	bar_write(&self->bar, SZ_4M, 3);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_2M - PAGE_SIZE), 1);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_2M), 3);
}

/* A mapping never crosses from one range to the next. */
TEST_F(dmabuf_memslot, ranges_split_leaf)
{
	const struct vfio_region_dma_range ranges[] = {
		{ .offset = 0, .length = SZ_1M },
		{ .offset = SZ_2M + SZ_1M, .length = SZ_1M },
	};

	self->fd = bar_export_ranges(&self->bar, O_RDWR, ranges, ARRAY_SIZE(ranges));
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_2M, self->fd, 0);
	EXPECT_LEAVES(self->vcpu, DMABUF_GPA, SZ_2M, 0, 0, 512);

	bar_write(&self->bar, SZ_1M, 1);
	bar_write(&self->bar, SZ_2M + SZ_1M, 2);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_1M), 2);
}

/* What is contiguous is one, in however many pieces it comes. */
TEST_F(dmabuf_memslot, ranges_merge)
{
	struct vfio_region_dma_range ranges[64];
	int i;

	if (!vm_can_get_leaves(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		ranges[i].offset = i * (SZ_2M / ARRAY_SIZE(ranges));
		ranges[i].length = SZ_2M / ARRAY_SIZE(ranges);
	}

	self->fd = bar_export_ranges(&self->bar, O_RDWR, ranges, ARRAY_SIZE(ranges));
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_2M, self->fd, 0);
	EXPECT_LEAVES(self->vcpu, DMABUF_GPA, SZ_2M, 0, 1, 0);
}

/* Many ranges that can't be merged, backwards. */
TEST_F(dmabuf_memslot, ranges_many)
{
	struct vfio_region_dma_range ranges[257];
	int i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		ranges[i].offset = (ARRAY_SIZE(ranges) - 1 - i) * PAGE_SIZE;
		ranges[i].length = PAGE_SIZE;
		bar_write(&self->bar, ranges[i].offset, i);
	}

	self->fd = bar_export_ranges(&self->bar, O_RDWR, ranges, ARRAY_SIZE(ranges));
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA,
		      ARRAY_SIZE(ranges) * PAGE_SIZE, self->fd, 0);

	for (i = 0; i < ARRAY_SIZE(ranges); i += 16)
		EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + i * PAGE_SIZE), i);
}

TEST_F(dmabuf_memslot, pre_fault)
{
	if (!vcpu_can_prefault())
		SKIP(return, PREFAULT_SKIP_REASON);

	self->fd = create_slot(self->vm, &self->bar, SZ_2M + PAGE_SIZE);

	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, SZ_2M + PAGE_SIZE), 0);
	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA + SZ_2M + PAGE_SIZE, PAGE_SIZE), ENOENT);

	bar_set_decode(&self->bar, false);
	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, SZ_2M + PAGE_SIZE), EFAULT);

	bar_set_decode(&self->bar, true);
	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, SZ_2M + PAGE_SIZE), 0);
}

/* Memory decode off and on again takes no call to KVM. */
TEST_F(dmabuf_memslot, revoke)
{
	int i;

	if (!vm_can_get_mapped(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);

	self->fd = create_slot(self->vm, &self->bar, SZ_4M);
	guest_write(self->vcpu, DMABUF_GPA, 0xabc);

	for (i = 0; i < 3; i++) {
		u64 before, after;

		vcpu_populate(self->vcpu, DMABUF_GPA, SZ_4M);

		before = vm_get_mapped(self->vm);
		bar_set_decode(&self->bar, false);
		after = vm_get_mapped(self->vm);
		EXPECT_EQ(before - after, SZ_4M);

		/* However often, the access never becomes emulated MMIO. */
		guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
		guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
		guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
		EXPECT_EQ(vm_get_mapped(self->vm), after);

		/* The very access that faulted completes. */
		bar_set_decode(&self->bar, true);
		EXPECT_EQ(guest_done(self->vcpu), 0xabc);
	}

	/* The same for a write. */
	bar_set_decode(&self->bar, false);
	guest_start(self->vcpu, GUEST_WRITE, DMABUF_GPA + SZ_2M, 0xdef);
	guest_faults(self->vcpu, DMABUF_GPA + SZ_2M, KVM_MEMORY_EXIT_FLAG_REVOKED);
	bar_set_decode(&self->bar, true);
	guest_done(self->vcpu);
	EXPECT_EQ(bar_read(&self->bar, SZ_2M), 0xdef);
}

TEST_F(dmabuf_memslot, reset)
{
	if (!(self->bar.device->info.flags & VFIO_DEVICE_FLAGS_RESET))
		SKIP(return, "the device can't be reset");

	self->fd = create_slot(self->vm, &self->bar, SZ_2M);
	guest_write(self->vcpu, DMABUF_GPA, 0x1);
	vfio_pci_device_reset(self->bar.device);

	/* A reset may leave decode off, but nothing is lost for good. */
	bar_set_decode(&self->bar, true);
	bar_write(&self->bar, 0, 0x2);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x2);
}

TEST_F(dmabuf_memslot, create_while_revoked)
{
	bar_write(&self->bar, 0, 0x55);

	/* The buffer is exported while decode is off, too. */
	bar_set_decode(&self->bar, false);
	self->fd = create_slot(self->vm, &self->bar, SZ_2M);

	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);

	bar_set_decode(&self->bar, true);
	EXPECT_EQ(guest_done(self->vcpu), 0x55);
}

TEST_F(dmabuf_memslot, delete_while_revoked)
{
	self->fd = create_slot(self->vm, &self->bar, SZ_2M);
	vcpu_populate(self->vcpu, DMABUF_GPA, SZ_2M);

	bar_set_decode(&self->bar, false);
	vm_delete_dmabuf(self->vm, DMABUF_SLOT);

	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_exits_mmio(self->vcpu, DMABUF_GPA, false);

	/* A return that nobody waits for any more. */
	bar_set_decode(&self->bar, true);
}

TEST_F(dmabuf_memslot, delete)
{
	u64 before;

	if (!vm_can_get_mapped(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);

	self->fd = create_slot(self->vm, &self->bar, SZ_4M);
	bar_write(&self->bar, 0, 0x99);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x99);

	before = vm_get_mapped(self->vm);
	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	EXPECT_LT(vm_get_mapped(self->vm), before);

	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_exits_mmio(self->vcpu, DMABUF_GPA, false);
	memset(self->vcpu->run->mmio.data, 0, sizeof(u64));
	EXPECT_EQ(guest_done(self->vcpu), 0);

	/* The MMIO SPTE is gone when there is a memslot again. */
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x99);
}

TEST_F(dmabuf_memslot, close_fd_first)
{
	self->fd = create_slot(self->vm, &self->bar, SZ_2M);
	close(self->fd);
	self->fd = -1;

	bar_write(&self->bar, 0, 0x11);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x11);

	/* The memslot still hears of what happens to the buffer. */
	bar_set_decode(&self->bar, false);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
	bar_set_decode(&self->bar, true);
	EXPECT_EQ(guest_done(self->vcpu), 0x11);
}

TEST_F(dmabuf_memslot, destroy_vm_first)
{
	self->fd = create_slot(self->vm, &self->bar, SZ_2M);
	guest_write(self->vcpu, DMABUF_GPA, 0x22);

	kvm_vm_free(self->vm);
	self->vm = NULL;

	/* Nobody is left who could be called. */
	bar_set_decode(&self->bar, false);
	bar_set_decode(&self->bar, true);

	/* And the buffer is as good as new. */
	self->vm = dmabuf_vm_create(variant->type, &self->vcpu);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_2M, self->fd, 0);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x22);
}

TEST_F(dmabuf_memslot, destroy_vm_while_revoked)
{
	self->fd = create_slot(self->vm, &self->bar, SZ_2M);
	vcpu_populate(self->vcpu, DMABUF_GPA, SZ_2M);

	bar_set_decode(&self->bar, false);
	kvm_vm_free(self->vm);
	self->vm = NULL;
	bar_set_decode(&self->bar, true);
}

TEST_F(dmabuf_memslot, close_device_first)
{
	u64 before;

	if (!vm_can_get_mapped(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);

	self->fd = create_slot(self->vm, &self->bar, SZ_4M);
	vcpu_populate(self->vcpu, DMABUF_GPA, SZ_4M);

	before = vm_get_mapped(self->vm);
	bar_close(&self->bar);
	EXPECT_EQ(before - vm_get_mapped(self->vm), SZ_4M);

	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);

	/* For good: opening the device again makes new buffers only. */
	ASSERT_EQ(bar_open(&self->bar, variant->type), NULL);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);

	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	guest_exits_mmio(self->vcpu, DMABUF_GPA, false);
}

static bool vfio_has_type1(void)
{
	int fd = open("/dev/vfio/vfio", O_RDWR);
	bool has = fd >= 0 && ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU) > 0;

	if (fd >= 0)
		close(fd);
	return has;
}

/* A device that was opened by its group exports as well, without iommufd. */
TEST_F(dmabuf_memslot, device_of_group)
{
	if (!vfio_has_type1())
		SKIP(return, "VFIO has no containers with a type 1 IOMMU");

	bar_close(&self->bar);
	default_iommu_mode = MODE_VFIO_TYPE1_IOMMU;
	ASSERT_EQ(bar_open(&self->bar, variant->type), NULL);

	self->fd = create_slot(self->vm, &self->bar, SZ_4M);
	bar_write(&self->bar, 0, 0x66);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x66);

	bar_set_decode(&self->bar, false);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
	bar_set_decode(&self->bar, true);
	EXPECT_EQ(guest_done(self->vcpu), 0x66);

	bar_close(&self->bar);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
}

/* A write to a READONLY memslot is emulated MMIO, revoked or not. */
static void test_readonly(struct __test_metadata *_metadata, struct kvm_vcpu *vcpu,
			  struct dmabuf_bar *bar, int open_flags)
{
	const struct vfio_region_dma_range range = { .length = SZ_4M };
	int fd;

	fd = bar_export_ranges(bar, open_flags, &range, 1);
	vm_set_dmabuf(vcpu->vm, DMABUF_SLOT, KVM_MEM_READONLY, DMABUF_GPA, SZ_4M, fd, 0);
	close(fd);

	EXPECT_LEAVES(vcpu, DMABUF_GPA, SZ_4M, 0, 2, 0);

	bar_write(bar, 0, 0x33);
	EXPECT_EQ(guest_read(vcpu, DMABUF_GPA), 0x33);

	guest_start(vcpu, GUEST_WRITE, DMABUF_GPA, 0x44);
	guest_exits_mmio(vcpu, DMABUF_GPA, true);
	EXPECT_EQ(*(u64 *)vcpu->run->mmio.data, 0x44);
	guest_done(vcpu);
	EXPECT_EQ(bar_read(bar, 0), 0x33);

	bar_set_decode(bar, false);
	guest_start(vcpu, GUEST_WRITE, DMABUF_GPA, 0x44);
	guest_exits_mmio(vcpu, DMABUF_GPA, true);
	guest_done(vcpu);

	guest_start(vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
	bar_set_decode(bar, true);
	EXPECT_EQ(guest_done(vcpu), 0x33);
}

TEST_F(dmabuf_memslot, readonly_fd)
{
	if (!vm_check_cap(self->vm, KVM_CAP_READONLY_MEM))
		SKIP(return, "no READONLY memslots");

	test_readonly(_metadata, self->vcpu, &self->bar, O_RDONLY);
}

TEST_F(dmabuf_memslot, readonly_slot)
{
	if (!vm_check_cap(self->vm, KVM_CAP_READONLY_MEM))
		SKIP(return, "no READONLY memslots");

	test_readonly(_metadata, self->vcpu, &self->bar, O_RDWR);
}

/* A shared buffer is there only where the gfn is shared. */
TEST_F(dmabuf_memslot, private_attribute)
{
	if (!(vm_check_cap(self->vm, KVM_CAP_MEMORY_ATTRIBUTES) & KVM_MEMORY_ATTRIBUTE_PRIVATE))
		SKIP(return, "no private memory in this type of VM");

	self->fd = create_slot(self->vm, &self->bar, SZ_4M);
	bar_write(&self->bar, 0, 0x66);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x66);

	vm_mem_set_private(self->vm, DMABUF_GPA, PAGE_SIZE);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_PRIVATE);
	if (vcpu_can_prefault())
		EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, PAGE_SIZE), EFAULT);

	/* A mismatch is not a revocation, not even while revoked. */
	bar_set_decode(&self->bar, false);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_PRIVATE);
	bar_set_decode(&self->bar, true);

	/* Attributes that are mixed rule out a large mapping. */
	EXPECT_LEAVES(self->vcpu, DMABUF_GPA + PAGE_SIZE, SZ_4M - PAGE_SIZE, 0, 1, 511);

	vm_mem_set_shared(self->vm, DMABUF_GPA, PAGE_SIZE);
	EXPECT_EQ(guest_done(self->vcpu), 0x66);
}

/*
 * KVM's own accesses don't reach the buffer, and don't reach what the VMM has at
 * the offset in its memslot either.
 */
TEST_F(dmabuf_memslot, emulated_access)
{
	const gpa_t gpa = DMABUF_GPA + VMM_ADDR;
	u64 *vmm;

	if (guest_cannot_emulate())
		SKIP(return, "%s", guest_cannot_emulate());
	if (self->bar.size < VMM_ADDR + SZ_2M)
		SKIP(return, "the BAR is too small");

	vmm = mmap((void *)VMM_ADDR, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ(vmm, (void *)VMM_ADDR);
	*vmm = 0xbad;

	self->fd = create_slot(self->vm, &self->bar, VMM_ADDR + SZ_2M);
	bar_write(&self->bar, VMM_ADDR, 0x900d);
	EXPECT_EQ(guest_read(self->vcpu, gpa), 0x900d);

	guest_start(self->vcpu, GUEST_FEP_READ, gpa, 0);
	guest_exits_mmio(self->vcpu, gpa, false);
	*(u64 *)self->vcpu->run->mmio.data = 0xcafe;
	EXPECT_EQ(guest_done(self->vcpu), 0xcafe);

	EXPECT_EQ(munmap(vmm, PAGE_SIZE), 0);
}

/* What the VMM does with its address space is no concern of the memslot. */
TEST_F_TIMEOUT(dmabuf_memslot, mmu_notifier, 120)
{
	const u64 size = VMM_ADDR + SZ_2M;
	u64 before;
	char *vmm;

	if (!vm_can_get_mapped(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);
	if (self->bar.size < size)
		SKIP(return, "the BAR is too small");

	self->fd = create_slot(self->vm, &self->bar, size);
	vcpu_populate(self->vcpu, DMABUF_GPA, size);
	before = vm_get_mapped(self->vm);

	vmm = mmap((void *)VMM_ADDR, SZ_2M, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ(vmm, (void *)VMM_ADDR);
	memset(vmm, 1, SZ_2M);
	EXPECT_EQ(munmap(vmm, SZ_2M), 0);

	EXPECT_EQ(vm_get_mapped(self->vm), before);
}

/*
 * A memslot of the usual sort over an mmap() of the buffer: an access of a revoked
 * buffer fails, i.e. KVM doesn't fault in the mapping over and over again.
 */
TEST_F(dmabuf_memslot, mmap_by_vmm)
{
	void *vmm;
	int r;

	self->fd = bar_export(&self->bar, 0, SZ_2M);
	vmm = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	if (vmm == MAP_FAILED)
		SKIP(return, "the buffer can't be mapped");

	vm_set_user_memory_region(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_2M, vmm);
	bar_write(&self->bar, 0, 0x11);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x11);

	bar_set_decode(&self->bar, false);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	r = _vcpu_run(self->vcpu);
	EXPECT_EQ(r, -1);
	EXPECT_EQ(errno, EFAULT);
	if (vcpu_can_prefault())
		EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, PAGE_SIZE), EFAULT);

	bar_set_decode(&self->bar, true);
	EXPECT_EQ(guest_done(self->vcpu), 0x11);

	vm_set_user_memory_region(self->vm, DMABUF_SLOT, 0, 0, 0, NULL);
	EXPECT_EQ(munmap(vmm, SZ_2M), 0);
}

/* Counts the events that the kernel traces for this process. */
#define TRACE_DIR "/sys/kernel/tracing/instances/dmabuf_memslot_test"

static void trace_write(const char *file, const char *val)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), TRACE_DIR "/%s", file);
	fd = open(path, O_WRONLY | O_TRUNC);
	TEST_ASSERT(fd >= 0, "open(%s) failed", path);
	TEST_ASSERT(write(fd, val, strlen(val)) == strlen(val), "write(%s) failed", path);
	close(fd);
}

static int trace_count(const char *event)
{
	FILE *file = fopen(TRACE_DIR "/trace", "r");
	char line[512];
	int nr = 0;

	TEST_ASSERT(file, "Can't open the trace");
	while (fgets(line, sizeof(line), file)) {
		if (line[0] != '#' && strstr(line, event))
			nr++;
	}
	fclose(file);

	return nr;
}

/* The largest BAR that the rig has, whatever is aligned in the test. */
TEST_F_TIMEOUT(dmabuf_memslot, leaves_128g, 120)
{
	const u64 size = 128ull * SZ_1G;
	const gpa_t gpa = 2 * size;
	bool traced;
	int i;

	if (!vm_can_get_leaves(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);
	if (self->bar.size < size)
		SKIP(return, "the BAR is smaller than 128 GiB");
	if (((gpa + size) >> self->vm->page_shift) > self->vm->max_gfn)
		SKIP(return, "the guest's physical address space is too small");

	traced = !mkdir(TRACE_DIR, 0700);
	if (traced)
		trace_write("events/dma_buf_pfn/dma_buf_pfn_map/enable", "1");
	else
		TH_LOG("No tracefs, can't count map calls");

	self->fd = bar_export(&self->bar, 0, size);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, gpa, size, self->fd, 0);
	EXPECT_LEAVES(self->vcpu, gpa, size, 128, 0, 0);

	if (traced) {
		EXPECT_EQ(trace_count("dma_buf_pfn_map:"), 1);
		rmdir(TRACE_DIR);
	}

	for (i = 0; i < 128; i += 17) {
		u64 offset = i * (u64)SZ_1G + 0x123000;

		bar_write(&self->bar, offset, i + 1);
		EXPECT_EQ(guest_read(self->vcpu, gpa + offset), i + 1);
	}
}

int main(int argc, char *argv[])
{
	dmabuf_test_init(&argc, argv);

	return test_harness_run(argc, argv);
}

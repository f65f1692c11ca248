// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test memslots of private dma-bufs, i.e. buffers that the host can't access, in
 * the only type of VM that can map them without hardware: that they are mapped
 * where the gfn is private and nowhere else, and the same for shared buffers the
 * other way round.  And that VMs of all other types don't get them.
 *
 * The buffers are those of iommufd's selftest, which can be had in both kinds, and
 * can be revoked.  No device is needed.
 */
#include <pthread.h>
#include <unistd.h>

#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

#define BUF_SIZE	((u64)SZ_2M)
#define OTHER_GPA	(DMABUF_GPA + SZ_1G)
#define OTHER_SLOT	(DMABUF_SLOT + 1)

static int mock_cmd(u32 op, struct iommu_test_cmd *cmd)
{
	int iommufd = open("/dev/iommu", O_RDWR);
	int r;

	if (iommufd < 0)
		return -1;

	cmd->size = sizeof(*cmd);
	cmd->op = op;
	r = ioctl(iommufd, IOMMU_TEST_CMD, cmd);
	close(iommufd);

	return r;
}

#define MOCK_SKIP_REASON	"needs CONFIG_IOMMUFD_TEST"

/* Fails only where there are no such buffers. */
static int mock_dmabuf(u32 flags)
{
	struct iommu_test_cmd cmd = {
		.dmabuf_get = {
			.length = BUF_SIZE,
			.open_flags = O_RDWR | O_CLOEXEC,
			.flags = flags,
		},
	};
	int fd = mock_cmd(IOMMU_TEST_OP_DMABUF_GET, &cmd);

	TEST_ASSERT(fd >= 0 || errno == ENOENT || errno == ENOTTY,
		    "Can't get a buffer, errno = %d (%s)", errno, strerror(errno));
	return fd;
}

static void mock_revoke(int fd, bool revoked)
{
	struct iommu_test_cmd cmd = {
		.dmabuf_revoke = {
			.dmabuf_fd = fd,
			.revoked = revoked,
		},
	};

	TEST_ASSERT(!mock_cmd(IOMMU_TEST_OP_DMABUF_REVOKE, &cmd),
		    "Can't revoke the buffer, errno = %d (%s)", errno, strerror(errno));
}

FIXTURE(dmabuf_private)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int private_fd;
	int shared_fd;
};

FIXTURE_SETUP(dmabuf_private)
{
	self->private_fd = mock_dmabuf(MOCK_DMABUF_PRIVATE);
	self->shared_fd = mock_dmabuf(0);
	if (self->private_fd < 0 || self->shared_fd < 0)
		SKIP(return, MOCK_SKIP_REASON);

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM)))
		SKIP(return, "needs VMs of type KVM_X86_SW_PROTECTED_VM");

	self->vm = dmabuf_vm_create(KVM_X86_SW_PROTECTED_VM, &self->vcpu);
}

FIXTURE_TEARDOWN(dmabuf_private)
{
	if (self->vm)
		kvm_vm_free(self->vm);
	close(self->private_fd);
	close(self->shared_fd);
}

static void create_private(FIXTURE_DATA(dmabuf_private) *self)
{
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->private_fd, 0);
}

static void create_shared(FIXTURE_DATA(dmabuf_private) *self)
{
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->shared_fd, 0);
}

TEST_F(dmabuf_private, cap)
{
	EXPECT_EQ(kvm_check_cap(KVM_CAP_DMABUF), KVM_DMABUF_SHARED);
	EXPECT_EQ(vm_check_cap(self->vm, KVM_CAP_DMABUF),
		  KVM_DMABUF_SHARED | KVM_DMABUF_PRIVATE);
}

TEST_F(dmabuf_private, vm_without_private_memory)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = dmabuf_vm_create(KVM_X86_DEFAULT_VM, &vcpu);
	EXPECT_EQ(__vm_set_dmabuf(vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE,
				  self->private_fd, 0), -1);
	EXPECT_EQ(errno, EOPNOTSUPP);
	guest_start(vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_exits_mmio(vcpu, DMABUF_GPA, false);
	kvm_vm_free(vm);
}

/* A write would have to be emulated. */
TEST_F(dmabuf_private, readonly)
{
	EXPECT_EQ(__vm_set_dmabuf(self->vm, DMABUF_SLOT, KVM_MEM_READONLY, DMABUF_GPA,
				  BUF_SIZE, self->private_fd, 0), -1);
	EXPECT_EQ(errno, EINVAL);

	vm_set_dmabuf(self->vm, DMABUF_SLOT, KVM_MEM_READONLY, DMABUF_GPA, BUF_SIZE,
		      self->shared_fd, 0);
	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	create_private(self);
}

/* The guest sees the same bytes, wherever and whenever the buffer is mapped. */
TEST_F(dmabuf_private, guest_access)
{
	u64 offset;

	create_private(self);
	vm_set_dmabuf(self->vm, OTHER_SLOT, 0, OTHER_GPA, SZ_1M, self->private_fd, SZ_1M);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	vm_mem_set_private(self->vm, OTHER_GPA, SZ_1M);

	for (offset = 0; offset < BUF_SIZE; offset += SZ_256K)
		guest_write(self->vcpu, DMABUF_GPA + offset, ~offset);

	for (offset = SZ_1M; offset < BUF_SIZE; offset += SZ_256K)
		EXPECT_EQ(guest_read(self->vcpu, OTHER_GPA + offset - SZ_1M), ~offset);

	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	create_private(self);
	for (offset = 0; offset < BUF_SIZE; offset += SZ_256K)
		EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + offset), ~offset);
}

TEST_F(dmabuf_private, private_buffer_shared_gfn)
{
	create_private(self);

	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, 0);
	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, PAGE_SIZE), EFAULT);

	/* Nothing of that access is left. */
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	guest_done(self->vcpu);
	guest_write(self->vcpu, DMABUF_GPA, 0x1234);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x1234);
	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, BUF_SIZE), 0);
}

TEST_F(dmabuf_private, shared_buffer_private_gfn)
{
	create_shared(self);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);

	guest_start(self->vcpu, GUEST_WRITE, DMABUF_GPA, 0x1234);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_PRIVATE);
	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, PAGE_SIZE), EFAULT);

	vm_mem_set_shared(self->vm, DMABUF_GPA, BUF_SIZE);
	guest_done(self->vcpu);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x1234);
}

/* A mapping doesn't outlive a conversion, in neither direction. */
TEST_F(dmabuf_private, conversion_zaps)
{
	u64 before;

	create_private(self);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	guest_write(self->vcpu, DMABUF_GPA, 0x1234);

	before = vm_get_mapped(self->vm);
	vm_mem_set_shared(self->vm, DMABUF_GPA, BUF_SIZE);
	EXPECT_LT(vm_get_mapped(self->vm), before);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, 0);

	/* The memslot is still the same one. */
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	EXPECT_EQ(guest_done(self->vcpu), 0x1234);

	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	vm_mem_set_shared(self->vm, DMABUF_GPA, BUF_SIZE);
	create_shared(self);
	guest_write(self->vcpu, DMABUF_GPA, 0x5678);

	before = vm_get_mapped(self->vm);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	EXPECT_LT(vm_get_mapped(self->vm), before);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_PRIVATE);
	vm_mem_set_shared(self->vm, DMABUF_GPA, BUF_SIZE);
	EXPECT_EQ(guest_done(self->vcpu), 0x5678);
}

/* Page by page, and without a mapping that has pages of both. */
TEST_F(dmabuf_private, conversion_of_parts)
{
	const gpa_t hole = DMABUF_GPA + 5 * PAGE_SIZE;
	struct leaves leaves;

	create_private(self);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	if (vcpu_can_prefault()) {
		leaves = vcpu_populate_leaves(self->vcpu, DMABUF_GPA, BUF_SIZE);
		EXPECT_EQ(leaves.nr_2m, 1);
		EXPECT_EQ(leaves.nr_4k, 0);
	}

	guest_write(self->vcpu, hole - PAGE_SIZE, 1);
	guest_write(self->vcpu, hole, 2);
	guest_write(self->vcpu, hole + PAGE_SIZE, 3);

	vm_mem_set_shared(self->vm, hole, PAGE_SIZE);
	EXPECT_EQ(guest_read(self->vcpu, hole - PAGE_SIZE), 1);
	EXPECT_EQ(guest_read(self->vcpu, hole + PAGE_SIZE), 3);
	guest_start(self->vcpu, GUEST_READ, hole, 0);
	guest_faults(self->vcpu, hole, 0);

	if (vcpu_can_prefault()) {
		/* What precedes the hole is mapped by pages. */
		leaves = vcpu_populate_leaves(self->vcpu, DMABUF_GPA, 4 * PAGE_SIZE);
		EXPECT_EQ(leaves.nr_2m, 0);
		EXPECT_EQ(leaves.nr_4k, 4);
		EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, BUF_SIZE), EFAULT);
	}

	vm_mem_set_private(self->vm, hole, PAGE_SIZE);
	EXPECT_EQ(guest_done(self->vcpu), 2);
	EXPECT_EQ(guest_read(self->vcpu, hole - PAGE_SIZE), 1);
}

/* One memslot at a gpa at a time, the other buffer waits for its turn. */
TEST_F(dmabuf_private, swap)
{
	int i;

	for (i = 0; i < 3; i++) {
		create_shared(self);
		if (i)
			EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x1000 + i - 1);
		guest_write(self->vcpu, DMABUF_GPA, 0x1000 + i);
		vm_delete_dmabuf(self->vm, DMABUF_SLOT);

		vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
		create_private(self);
		if (i)
			EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x2000 + i - 1);
		guest_write(self->vcpu, DMABUF_GPA, 0x2000 + i);
		vm_delete_dmabuf(self->vm, DMABUF_SLOT);
		vm_mem_set_shared(self->vm, DMABUF_GPA, BUF_SIZE);
	}
}

/* Both at once, each at its place. */
TEST_F(dmabuf_private, side_by_side)
{
	create_private(self);
	vm_set_dmabuf(self->vm, OTHER_SLOT, 0, DMABUF_GPA + BUF_SIZE, BUF_SIZE,
		      self->shared_fd, 0);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);

	guest_write(self->vcpu, DMABUF_GPA + BUF_SIZE - PAGE_SIZE, 1);
	guest_write(self->vcpu, DMABUF_GPA + BUF_SIZE, 2);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + BUF_SIZE - PAGE_SIZE), 1);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + BUF_SIZE), 2);

	/* The one that is revoked isn't the other one. */
	mock_revoke(self->private_fd, true);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + BUF_SIZE), 2);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA,
		     KVM_MEMORY_EXIT_FLAG_PRIVATE | KVM_MEMORY_EXIT_FLAG_REVOKED);
}

TEST_F(dmabuf_private, revoke)
{
	u64 before;

	/* A private buffer is usually created before it can be used. */
	mock_revoke(self->private_fd, true);
	create_private(self);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	guest_start(self->vcpu, GUEST_WRITE, DMABUF_GPA, 0x1234);
	guest_faults(self->vcpu, DMABUF_GPA,
		     KVM_MEMORY_EXIT_FLAG_PRIVATE | KVM_MEMORY_EXIT_FLAG_REVOKED);
	EXPECT_EQ(__vcpu_prefault(self->vcpu, DMABUF_GPA, PAGE_SIZE), EFAULT);

	mock_revoke(self->private_fd, false);
	guest_done(self->vcpu);

	before = vm_get_mapped(self->vm);
	mock_revoke(self->private_fd, true);
	EXPECT_LT(vm_get_mapped(self->vm), before);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA,
		     KVM_MEMORY_EXIT_FLAG_PRIVATE | KVM_MEMORY_EXIT_FLAG_REVOKED);

	/* A gfn of the wrong kind is an error of another kind. */
	vm_mem_set_shared(self->vm, DMABUF_GPA, BUF_SIZE);
	guest_faults(self->vcpu, DMABUF_GPA, 0);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);

	mock_revoke(self->private_fd, false);
	EXPECT_EQ(guest_done(self->vcpu), 0x1234);
}

/* Private memory isn't emulated, whether or not there is a memslot. */
TEST_F(dmabuf_private, no_memslot)
{
	create_private(self);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);
	guest_write(self->vcpu, DMABUF_GPA, 0x1234);
	vm_delete_dmabuf(self->vm, DMABUF_SLOT);

	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_PRIVATE);
	create_private(self);
	EXPECT_EQ(guest_done(self->vcpu), 0x1234);
}

/* The owner takes the buffer away and userspace converts it while the guest runs. */
struct racer {
	FIXTURE_DATA(dmabuf_private) *fixture;
	pthread_t thread;
	bool *stop;
	unsigned long rounds;
};

static void *revoke_thread(void *arg)
{
	struct racer *racer = arg;

	while (!READ_ONCE(*racer->stop)) {
		mock_revoke(racer->fixture->private_fd, true);
		mock_revoke(racer->fixture->private_fd, false);
		/* Let the vCPU come that far, also where there are few CPUs. */
		usleep(racer->rounds++ % 1000);
	}

	return NULL;
}

static void *convert_thread(void *arg)
{
	struct racer *racer = arg;

	while (!READ_ONCE(*racer->stop)) {
		vm_mem_set_shared(racer->fixture->vm, DMABUF_GPA + PAGE_SIZE, SZ_1M);
		vm_mem_set_private(racer->fixture->vm, DMABUF_GPA + PAGE_SIZE, SZ_1M);
		usleep(racer->rounds++ % 1000);
	}

	return NULL;
}

TEST_F_TIMEOUT(dmabuf_private, race, 300)
{
	unsigned long nr_done = 0, nr_revoked = 0, nr_shared = 0;
	struct kvm_run *run = self->vcpu->run;
	struct racer racers[2] = {};
	bool stop = false;
	int i, r;

	create_private(self);
	vm_mem_set_private(self->vm, DMABUF_GPA, BUF_SIZE);

	for (i = 0; i < 2; i++) {
		racers[i].fixture = self;
		racers[i].stop = &stop;
		TEST_ASSERT(!pthread_create(&racers[i].thread, NULL,
					    i ? convert_thread : revoke_thread, &racers[i]),
			    "pthread_create() failed");
	}

	for (i = 0; i < 2000; i++) {
		gpa_t gpa = DMABUF_GPA + (i % 3) * PAGE_SIZE;

		guest_start(self->vcpu, GUEST_WRITE, gpa, i);
		for (;;) {
			r = _vcpu_run(self->vcpu);
			if (!r)
				break;

			TEST_ASSERT(errno == EFAULT &&
				    run->exit_reason == KVM_EXIT_MEMORY_FAULT,
				    "KVM_RUN failed, errno = %d, exit reason = %u (%s)",
				    errno, run->exit_reason,
				    exit_reason_str(run->exit_reason));

			if (run->memory_fault.flags == (KVM_MEMORY_EXIT_FLAG_PRIVATE |
							KVM_MEMORY_EXIT_FLAG_REVOKED)) {
				nr_revoked++;
				continue;
			}

			/*
			 * What is never converted is never shared.  PRIVATE alone
			 * is a conversion in the middle of the fault.
			 */
			TEST_ASSERT(!(run->memory_fault.flags & ~KVM_MEMORY_EXIT_FLAG_PRIVATE) &&
				    gpa != DMABUF_GPA,
				    "Unexpected flags 0x%llx at 0x%lx",
				    run->memory_fault.flags, gpa);
			nr_shared++;
		}
		guest_result(self->vcpu);
		nr_done++;
	}

	WRITE_ONCE(stop, true);
	for (i = 0; i < 2; i++) {
		pthread_join(racers[i].thread, NULL);
		EXPECT_NE(racers[i].rounds, 0);
	}
	TH_LOG("%lu accesses, %lu revoked, %lu shared; %lu revocations, %lu conversions",
	       nr_done, nr_revoked, nr_shared, racers[0].rounds, racers[1].rounds);
	EXPECT_NE(nr_revoked, 0);
	EXPECT_NE(nr_shared, 0);

	/* And after all of that, a conversion still leaves nothing mapped. */
	guest_write(self->vcpu, DMABUF_GPA, 0x1234);
	vm_mem_set_shared(self->vm, DMABUF_GPA, BUF_SIZE);
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(self->vcpu, DMABUF_GPA, 0);
}

/* VMs of types that can't map private buffers, see kvm_arch_dmabuf_kinds(). */
FIXTURE(dmabuf_refused)
{
	struct kvm_vm *vm;
	int fd;
};

FIXTURE_VARIANT(dmabuf_refused)
{
	unsigned long type;
};

FIXTURE_VARIANT_ADD(dmabuf_refused, default_vm)
{
	.type = KVM_X86_DEFAULT_VM,
};

FIXTURE_VARIANT_ADD(dmabuf_refused, sev_vm)
{
	.type = KVM_X86_SEV_VM,
};

FIXTURE_VARIANT_ADD(dmabuf_refused, sev_es_vm)
{
	.type = KVM_X86_SEV_ES_VM,
};

FIXTURE_VARIANT_ADD(dmabuf_refused, snp_vm)
{
	.type = KVM_X86_SNP_VM,
};

FIXTURE_VARIANT_ADD(dmabuf_refused, tdx_vm)
{
	.type = KVM_X86_TDX_VM,
};

FIXTURE_SETUP(dmabuf_refused)
{
	self->fd = mock_dmabuf(MOCK_DMABUF_PRIVATE);
	if (self->fd < 0)
		SKIP(return, MOCK_SKIP_REASON);

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(variant->type)))
		SKIP(return, "KVM doesn't support this type of VM");

	/* There's no need to initialize it, what it can map depends on the type. */
	self->vm = vm_create_barebones_type(variant->type);
}

FIXTURE_TEARDOWN(dmabuf_refused)
{
	if (self->vm)
		kvm_vm_free(self->vm);
	close(self->fd);
}

TEST_F(dmabuf_refused, private_buffer)
{
	EXPECT_EQ(vm_check_cap(self->vm, KVM_CAP_DMABUF), KVM_DMABUF_SHARED);

	EXPECT_EQ(__vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE,
				  self->fd, 0), -1);
	EXPECT_EQ(errno, EOPNOTSUPP);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DMABUF));

	return test_harness_run(argc, argv);
}

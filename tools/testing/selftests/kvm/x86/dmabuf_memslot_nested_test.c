// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test that L1 can give L2 memory of a memslot that is backed by a dma-buf
 * (KVM_MEM_DMABUF), that the memory can be taken away from L2, too, and that
 * nested page tables can't be in such a memslot.
 *
 * See dmabuf_memslot.h for the device that is needed.
 */
#include <unistd.h>

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"
#include "svm_util.h"
#include "vmx.h"

/* Where L2 has what L1 has at DMABUF_GPA, if L2 has a gpa space of its own. */
#define L2_ALIAS_GPA		(2 * DMABUF_GPA)
#define L2_ALIAS_PAGES		4

#define L1_MARK			0x5ca1ab1e

static u64 l1_tdp_root;

static u64 l1_vmx_code(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));

	if (l1_tdp_root)
		vmx->eptp_gpa = l1_tdp_root;

	prepare_vmcs(vmx, dmabuf_guest_code);
	GUEST_ASSERT(!vmlaunch());

	return vmreadz(VM_EXIT_REASON);
}

static u64 l1_svm_code(struct svm_test_data *svm)
{
	if (l1_tdp_root)
		svm->ncr3_gpa = l1_tdp_root;

	generic_svm_setup(svm, dmabuf_guest_code);
	run_guest(svm->vmcb, svm->vmcb_gpa);

	return svm->vmcb->control.exit_code;
}

/* L2 doesn't exit to L1 unless something is wrong. */
static void l1_guest_code(void *data)
{
	u64 exit_code;

	if (this_cpu_has(X86_FEATURE_VMX)) {
		exit_code = l1_vmx_code(data);
		GUEST_ASSERT_EQ(exit_code, EXIT_REASON_EPT_VIOLATION);
	} else {
		exit_code = l1_svm_code(data);
		GUEST_ASSERT_EQ(exit_code, SVM_EXIT_NPF);
	}

	/* Memory as any other, that of a table, too */
	WRITE_ONCE(*(u64 *)l1_tdp_root, L1_MARK);
	GUEST_DONE();
}

FIXTURE(dmabuf_nested)
{
	struct dmabuf_bar bar;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	gpa_t l2_gpa;
	int fd;
};

FIXTURE_VARIANT(dmabuf_nested)
{
	bool nested_tdp;
};

FIXTURE_VARIANT_ADD(dmabuf_nested, tdp)
{
	.nested_tdp = true,
};

FIXTURE_VARIANT_ADD(dmabuf_nested, shadow)
{
	.nested_tdp = false,
};

FIXTURE_SETUP(dmabuf_nested)
{
	const char *why;
	gva_t nested_gva;

	if (variant->nested_tdp && !kvm_cpu_has_tdp())
		SKIP(return, "no nested TDP");

	why = bar_open(&self->bar, KVM_X86_DEFAULT_VM);
	if (why)
		SKIP(return, "%s", why);

	self->fd = bar_export(&self->bar, 0, SZ_4M);

	self->vm = vm_create_with_one_vcpu(&self->vcpu, l1_guest_code);
	if (variant->nested_tdp)
		vm_enable_tdp(self->vm);

	if (kvm_cpu_has(X86_FEATURE_VMX))
		vcpu_alloc_vmx(self->vm, &nested_gva);
	else
		vcpu_alloc_svm(self->vm, &nested_gva);
	vcpu_args_set(self->vcpu, 1, nested_gva);

	l1_tdp_root = 0;
	sync_global_to_guest(self->vm, l1_tdp_root);

	/* L2 uses the page tables of L1.  Fill them before they are mapped. */
	self->l2_gpa = variant->nested_tdp ? L2_ALIAS_GPA : DMABUF_GPA;
	virt_map(self->vm, self->l2_gpa, self->l2_gpa, L2_ALIAS_PAGES);
	if (variant->nested_tdp) {
		virt_map(self->vm, DMABUF_GPA, DMABUF_GPA, 1);
		tdp_identity_map_default_memslots(self->vm);
		tdp_identity_map_1g(self->vm, DMABUF_GPA, SZ_1G);
		tdp_map(self->vm, L2_ALIAS_GPA, DMABUF_GPA, L2_ALIAS_PAGES * PAGE_SIZE);
	}

	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);
}

FIXTURE_TEARDOWN(dmabuf_nested)
{
	kvm_vm_free(self->vm);
	close(self->fd);
	bar_close(&self->bar);
}

TEST_F(dmabuf_nested, access)
{
	int i;

	for (i = 0; i < L2_ALIAS_PAGES; i++) {
		u64 offset = i * PAGE_SIZE;

		guest_write(self->vcpu, self->l2_gpa + offset, ~offset);
		EXPECT_EQ(bar_read(&self->bar, offset), ~offset);

		bar_write(&self->bar, offset, offset + 1);
		EXPECT_EQ(guest_read(self->vcpu, self->l2_gpa + offset), offset + 1);
	}
}

TEST_F(dmabuf_nested, revoke)
{
	int i;

	bar_write(&self->bar, PAGE_SIZE, 0xabc);

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(guest_read(self->vcpu, self->l2_gpa + PAGE_SIZE), 0xabc);

		/* The exit is to userspace, not to L1, and has L1's gpa. */
		bar_set_decode(&self->bar, false);
		guest_start(self->vcpu, GUEST_READ, self->l2_gpa + PAGE_SIZE, 0);
		guest_faults(self->vcpu, DMABUF_GPA + PAGE_SIZE,
			     KVM_MEMORY_EXIT_FLAG_REVOKED);
		guest_faults(self->vcpu, DMABUF_GPA + PAGE_SIZE,
			     KVM_MEMORY_EXIT_FLAG_REVOKED);

		bar_set_decode(&self->bar, true);
		EXPECT_EQ(guest_done(self->vcpu), 0xabc);
	}
}

TEST_F(dmabuf_nested, delete)
{
	bar_write(&self->bar, 0, 0x99);
	EXPECT_EQ(guest_read(self->vcpu, self->l2_gpa), 0x99);

	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	guest_start(self->vcpu, GUEST_READ, self->l2_gpa, 0);
	guest_exits_mmio(self->vcpu, DMABUF_GPA, false);
	memset(self->vcpu->run->mmio.data, 0, sizeof(u64));
	EXPECT_EQ(guest_done(self->vcpu), 0);

	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);
	EXPECT_EQ(guest_read(self->vcpu, self->l2_gpa), 0x99);
}

/* The largest mapping that both L1 and the buffer allow. */
TEST_F(dmabuf_nested, leaves_2m)
{
	u64 nr_2m;

	if (!variant->nested_tdp)
		SKIP(return, "L2 has no mappings larger than L1's");

	guest_read(self->vcpu, L2_ALIAS_GPA);
	nr_2m = vm_get_stat(self->vm, pages_2m);

	guest_read(self->vcpu, DMABUF_GPA);
	EXPECT_EQ(vm_get_stat(self->vm, pages_2m), nr_2m + 1);
}

/* For KVM, there's no memory in the memslot, so L1's tables map nothing. */
TEST_F(dmabuf_nested, tables_in_memslot)
{
	struct ucall uc;

	if (!variant->nested_tdp)
		SKIP(return, "L1 has no tables for L2");

	l1_tdp_root = DMABUF_GPA;
	sync_global_to_guest(self->vm, l1_tdp_root);

	vcpu_run(self->vcpu);
	switch (get_ucall(self->vcpu, &uc)) {
	case UCALL_DONE:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("Unexpected exit reason %u (%s)", self->vcpu->run->exit_reason,
			  exit_reason_str(self->vcpu->run->exit_reason));
	}

	EXPECT_EQ(bar_read(&self->bar, 0), L1_MARK);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_VMX) || kvm_cpu_has(X86_FEATURE_SVM));
	dmabuf_test_init(&argc, argv);

	return test_harness_run(argc, argv);
}

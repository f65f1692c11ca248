// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test that L1 can give L2 memory of a memslot that is backed by a dma-buf
 * (KVM_MEM_DMABUF), that L2 has no more of it than L1's stage-2 tables say, and that
 * the memory can be taken away from L2, too.
 *
 * See dmabuf_memslot.h for the device that is needed.
 */
#include <unistd.h>

#include <asm/ptrace.h>

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

#define BUF_SIZE		((u64)SZ_4M)

/* Where L2 has memory of the buffer, by each level of L1's stage-2 at another GiB. */
#define L2_GPA			(2 * DMABUF_GPA)
#define L2_NR			4

/* L1's stage-2 starts at level 1, and has a page for the table of that. */
#define S2_BITS			39
#define S2_FIRST		1
#define S2_BLOCK		2
#define S2_PAGE			3

#define S2_NORMAL		(0xful << 2)
#define S2_READ			BIT(6)
#define S2_WRITE		BIT(7)

/*
 * At its end KVM goes through each of a VM's shadow stage-2s GiB by GiB, up to the last
 * that it could have.  For a kernel with debug options, in an emulator, that's a matter
 * of many seconds.
 */
#define TIMEOUT			300

#define copy_el2_to_el1(reg)						\
	write_sysreg_s(read_sysreg_s(SYS_##reg##_EL1), SYS_##reg##_EL12)

static u64 l1_esr;
static u64 l1_ipa;
static u64 l1_tlbi_ipa;

/* L2 goes on after the access. */
static void l1_dabt_handler(struct ex_regs *regs)
{
	l1_esr = read_sysreg(esr_el2);
	l1_ipa = FIELD_GET(HPFAR_EL2_FIPA, read_sysreg(hpfar_el2)) << 12;

	if (l1_tlbi_ipa) {
		asm volatile("tlbi ipas2e1is, %0" :: "r"(l1_tlbi_ipa >> 12) : "memory");
		dsb(ish);
	}

	regs->pc += 4;
}

/* Enter L2, with the stage-1 tables of L1. */
static void l1_guest_code(u64 s2_root, u64 l2_stack)
{
	copy_el2_to_el1(SCTLR);
	copy_el2_to_el1(MAIR);
	copy_el2_to_el1(TCR);
	copy_el2_to_el1(TTBR0);
	copy_el2_to_el1(VBAR);
	copy_el2_to_el1(CPACR);

	write_sysreg(VTCR_EL2_RES1 |
		     SYS_FIELD_PREP(VTCR_EL2, T0SZ, 64 - S2_BITS) |
		     SYS_FIELD_PREP(VTCR_EL2, SL0, 2 - S2_FIRST) |
		     SYS_FIELD_PREP(VTCR_EL2, PS, ID_AA64MMFR0_EL1_PARANGE_40) |
		     SYS_FIELD_PREP_ENUM(VTCR_EL2, TG0, 4K) |
		     SYS_FIELD_PREP_ENUM(VTCR_EL2, SH0, INNER) |
		     SYS_FIELD_PREP_ENUM(VTCR_EL2, ORGN0, WBWA) |
		     SYS_FIELD_PREP_ENUM(VTCR_EL2, IRGN0, WBWA), vtcr_el2);
	write_sysreg(s2_root, vttbr_el2);
	sysreg_clear_set(hcr_el2, HCR_EL2_TGE, HCR_EL2_VM);

	write_sysreg(l2_stack, sp_el1);
	write_sysreg(dmabuf_guest_code, elr_el2);
	write_sysreg(PSR_MODE_EL1h | PSR_D_BIT | PSR_A_BIT | PSR_I_BIT | PSR_F_BIT, spsr_el2);
	isb();

	asm volatile("eret");
	__builtin_unreachable();
}

static u64 s2_size(int level)
{
	return 1ul << (12 + 9 * (S2_PAGE - level));
}

static u64 *s2_entry(struct kvm_vm *vm, gpa_t table, gpa_t ipa, int level)
{
	u64 *entry;
	int i;

	for (i = S2_FIRST; ; i++) {
		entry = addr_gpa2hva(vm, table);
		entry += ipa / s2_size(i) % (PAGE_SIZE / sizeof(u64));
		if (i == level)
			return entry;

		if (!*entry)
			*entry = vm_alloc_page_table(vm) | PMD_TYPE_TABLE | PTE_VALID;
		table = *entry & PTE_ADDR_MASK(12);
	}
}

static void s2_map(struct kvm_vm *vm, gpa_t root, gpa_t ipa, gpa_t gpa, int level, u64 perms)
{
	gpa &= ~(s2_size(level) - 1);
	*s2_entry(vm, root, ipa, level) = gpa | perms | S2_NORMAL | PTE_SHARED | PTE_AF |
					  (level == S2_PAGE ? PTE_TYPE_PAGE : 0) | PTE_VALID;
}

/* The level of what KVM has mapped at an IPA of L2, or 0. */
static int get_shadow_level(struct kvm_vm *vm, gpa_t ipa)
{
	char path[128], line[256], attr[32];
	unsigned long from, to;
	int level, found = 0;
	FILE *file;
	int i;

	/* There are two for each vCPU. */
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/nested/nested_mmu%d",
			 getpid(), vm->fd, i);
		file = fopen(path, "r");
		TEST_ASSERT(file, "Can't open '%s'", path);

		while (fgets(line, sizeof(line), file)) {
			if (sscanf(line, "0x%lx-0x%lx %*s %d %31s",
				   &from, &to, &level, attr) != 4 ||
			    !strcmp(attr, "F") || ipa < from || ipa >= to)
				continue;

			TEST_ASSERT(!found, "Two mappings of 0x%lx", ipa);
			found = level;
		}
		fclose(file);
	}

	return found;
}

FIXTURE(dmabuf_nested)
{
	struct dmabuf_bar bar;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	gpa_t s2_root;
	int fd;
};

/* What L2 accesses: L2_NR places in blocks of 2 MiB, and as many pages. */
static u64 l2_offset(int level, int i)
{
	return i * (level == S2_PAGE ? PAGE_SIZE : BUF_SIZE / L2_NR);
}

static gpa_t l2_gpa(int level, int i)
{
	return L2_GPA + level * (u64)SZ_1G + l2_offset(level, i);
}

/* Where that is in the buffer: L1 swaps neighbours. */
static u64 buf_offset(int level, int i)
{
	return l2_offset(level, i) ^ s2_size(level);
}

static void l1_map(struct kvm_vm *vm, gpa_t root, u64 perms)
{
	int level, i;

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		for (i = 0; i < L2_NR; i++)
			s2_map(vm, root, l2_gpa(level, i), DMABUF_GPA + buf_offset(level, i),
			       level, perms);
	}
}

FIXTURE_SETUP(dmabuf_nested)
{
	const char *why;
	gva_t l2_stack;

	why = bar_open(&self->bar, DMABUF_VM_DEFAULT);
	if (why)
		SKIP(return, "%s", why);

	self->fd = bar_export(&self->bar, 0, BUF_SIZE);

	self->vm = vm_create_with_one_vcpu(&self->vcpu, l1_guest_code);
	vm_init_descriptor_tables(self->vm);
	vcpu_init_descriptor_tables(self->vcpu);
	vm_install_sync_handler(self->vm, VECTOR_SYNC_LOWER_64, ESR_ELx_EC_DABT_LOW,
				l1_dabt_handler);

	l2_stack = vm_alloc_pages(self->vm, 4);
	self->s2_root = vm_alloc_page_table(self->vm);
	vcpu_args_set(self->vcpu, 2, self->s2_root, l2_stack + 4 * PAGE_SIZE);

	/* All of the VM but the buffer is in the first GiB. */
	s2_map(self->vm, self->s2_root, 0, 0, S2_FIRST, S2_READ | S2_WRITE);
	l1_map(self->vm, self->s2_root, S2_READ | S2_WRITE);

	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->fd, 0);
}

FIXTURE_TEARDOWN(dmabuf_nested)
{
	kvm_vm_free(self->vm);
	close(self->fd);
	bar_close(&self->bar);
}

/* The access must trap to L1, with a fault of this kind, and not have happened. */
static void l2_traps(struct kvm_vcpu *vcpu, enum guest_op op, gpa_t ipa, u64 fsc)
{
	l1_esr = 0;
	sync_global_to_guest(vcpu->vm, l1_esr);

	guest_start(vcpu, op, ipa, 0xbad);
	guest_done(vcpu);

	sync_global_from_guest(vcpu->vm, l1_esr);
	sync_global_from_guest(vcpu->vm, l1_ipa);
	TEST_ASSERT_EQ(ESR_ELx_EC(l1_esr), ESR_ELx_EC_DABT_LOW);
	TEST_ASSERT_EQ(l1_esr & ESR_ELx_FSC, fsc);
	TEST_ASSERT_EQ(!!(l1_esr & ESR_ELx_WNR), op == GUEST_WRITE);
	TEST_ASSERT_EQ(l1_ipa, ipa & ~((gpa_t)PAGE_SIZE - 1));
}

TEST_F_TIMEOUT(dmabuf_nested, access, TIMEOUT)
{
	int level, i;
	gpa_t gpa;
	u64 buf;

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		for (i = 0; i < L2_NR; i++) {
			gpa = l2_gpa(level, i);
			buf = buf_offset(level, i);

			guest_write(self->vcpu, gpa, ~gpa);
			EXPECT_EQ(bar_read(&self->bar, buf), ~gpa);

			bar_write(&self->bar, buf, gpa + 1);
			EXPECT_EQ(guest_read(self->vcpu, gpa), gpa + 1);

			/* KVM maps as much at once as L1 does. */
			if (vm_can_get_leaves(self->vm))
				EXPECT_EQ(get_shadow_level(self->vm, gpa), level);
		}
	}
}

TEST_F_TIMEOUT(dmabuf_nested, revoke, TIMEOUT)
{
	int level;
	u64 buf;

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		bar_write(&self->bar, buf_offset(level, 1), level);
		EXPECT_EQ(guest_read(self->vcpu, l2_gpa(level, 1)), level);
	}

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		buf = buf_offset(level, 1);

		/* The exit is to userspace, not to L1, and has L1's gpa. */
		bar_set_decode(&self->bar, false);
		guest_start(self->vcpu, GUEST_READ, l2_gpa(level, 1), 0);
		guest_faults(self->vcpu, DMABUF_GPA + buf, KVM_MEMORY_EXIT_FLAG_REVOKED);
		guest_faults(self->vcpu, DMABUF_GPA + buf, KVM_MEMORY_EXIT_FLAG_REVOKED);

		bar_set_decode(&self->bar, true);
		EXPECT_EQ(guest_done(self->vcpu), level);

		guest_write(self->vcpu, l2_gpa(level, 1), 0xabc);
		EXPECT_EQ(bar_read(&self->bar, buf), 0xabc);
	}
}

/* What L1 doesn't let L2 write is for L1 to handle, whether it's mapped or not. */
TEST_F_TIMEOUT(dmabuf_nested, readonly, TIMEOUT)
{
	int level, i;
	gpa_t gpa;
	u64 buf;

	l1_map(self->vm, self->s2_root, S2_READ);

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		for (i = 0; i < L2_NR; i++) {
			gpa = l2_gpa(level, i);
			buf = buf_offset(level, i);

			bar_write(&self->bar, buf, gpa);
			l2_traps(self->vcpu, GUEST_WRITE, gpa, ESR_ELx_FSC_PERM_L(level));
			EXPECT_EQ(guest_read(self->vcpu, gpa), gpa);
			l2_traps(self->vcpu, GUEST_WRITE, gpa, ESR_ELx_FSC_PERM_L(level));
			EXPECT_EQ(bar_read(&self->bar, buf), gpa);
		}
	}

	/* To allow more takes no invalidation, KVM finds that on the next fault. */
	l1_map(self->vm, self->s2_root, S2_READ | S2_WRITE);

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		for (i = 0; i < L2_NR; i++) {
			gpa = l2_gpa(level, i);

			guest_write(self->vcpu, gpa, ~gpa);
			EXPECT_EQ(bar_read(&self->bar, buf_offset(level, i)), ~gpa);
		}
	}
}

/* Up to the last page that L1's stage-2 can translate, and no further: not to a copy. */
TEST_F_TIMEOUT(dmabuf_nested, end, TIMEOUT)
{
	const gpa_t end = 1ull << S2_BITS, last = end - PAGE_SIZE;
	int level;
	gpa_t gpa;

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		gpa = l2_gpa(level, 0);
		bar_write(&self->bar, buf_offset(level, 0), level);
		EXPECT_EQ(guest_read(self->vcpu, gpa), level);

		l2_traps(self->vcpu, GUEST_READ, end + gpa, ESR_ELx_FSC_FAULT_L(0));
		l2_traps(self->vcpu, GUEST_WRITE, end + gpa, ESR_ELx_FSC_FAULT_L(0));
		EXPECT_EQ(bar_read(&self->bar, buf_offset(level, 0)), level);
	}

	s2_map(self->vm, self->s2_root, last, DMABUF_GPA, S2_PAGE, S2_READ | S2_WRITE);
	bar_write(&self->bar, 0, 1);
	EXPECT_EQ(guest_read(self->vcpu, last), 1);

	bar_set_decode(&self->bar, false);
	guest_start(self->vcpu, GUEST_READ, last, 0);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
	bar_set_decode(&self->bar, true);
	EXPECT_EQ(guest_done(self->vcpu), 1);
}

/* An invalidation has L1's tables read again, for all that one entry has mapped. */
TEST_F_TIMEOUT(dmabuf_nested, invalidate, TIMEOUT)
{
	u64 *entry, old, size;
	gpa_t gpa;
	int level;

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		gpa = l2_gpa(level, 0);
		size = s2_size(level);
		entry = s2_entry(self->vm, self->s2_root, gpa, level);
		old = *entry;

		bar_write(&self->bar, buf_offset(level, 0), gpa);
		EXPECT_EQ(guest_read(self->vcpu, gpa), gpa);

		*entry = 0;
		l1_tlbi_ipa = gpa + size - PAGE_SIZE;
		sync_global_to_guest(self->vm, l1_tlbi_ipa);

		/* A hole, for L1 to be entered. */
		l2_traps(self->vcpu, GUEST_READ, gpa + L2_NR * size, ESR_ELx_FSC_FAULT_L(level));
		l2_traps(self->vcpu, GUEST_READ, gpa, ESR_ELx_FSC_FAULT_L(level));

		*entry = old;
		EXPECT_EQ(guest_read(self->vcpu, gpa), gpa);
	}
}

TEST_F_TIMEOUT(dmabuf_nested, slot, TIMEOUT)
{
	int level;
	u64 buf;

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		bar_write(&self->bar, buf_offset(level, 0), level);
		EXPECT_EQ(guest_read(self->vcpu, l2_gpa(level, 0)), level);
	}

	vm_delete_dmabuf(self->vm, DMABUF_SLOT);

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		guest_start(self->vcpu, GUEST_READ, l2_gpa(level, 0), 0);
		guest_exits_mmio(self->vcpu, DMABUF_GPA + buf_offset(level, 0), false);
		memset(self->vcpu->run->mmio.data, 0, sizeof(u64));
		EXPECT_EQ(guest_done(self->vcpu), 0);
	}

	/* What userspace lets nobody write is for userspace to handle. */
	vm_set_dmabuf(self->vm, DMABUF_SLOT, KVM_MEM_READONLY, DMABUF_GPA, BUF_SIZE, self->fd, 0);

	for (level = S2_BLOCK; level <= S2_PAGE; level++) {
		buf = buf_offset(level, 0);
		EXPECT_EQ(guest_read(self->vcpu, l2_gpa(level, 0)), level);

		guest_start(self->vcpu, GUEST_WRITE, l2_gpa(level, 0), 0xbad);
		guest_exits_mmio(self->vcpu, DMABUF_GPA + buf, true);
		guest_done(self->vcpu);
		EXPECT_EQ(bar_read(&self->bar, buf), level);
	}
}

int main(int argc, char *argv[])
{
	__TEST_REQUIRE(test_supports_el2(), "no VMs with EL2, which need kvm-arm.mode=nested");
	dmabuf_test_init(&argc, argv);

	return test_harness_run(argc, argv);
}

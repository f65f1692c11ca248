// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest on arm64: EL1, the first 512 GiB mapped one to one as normal memory
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/const.h>
#include <linux/kvm.h>

#include "guest.h"
#include "tdi-vmm.h"

#define SZ_512G		(512 * SZ_1G)

/* What KVM calls the registers */
#define REG_X0		KVM_REG_ARM_CORE_REG(regs.regs[0])
#define REG_X1		KVM_REG_ARM_CORE_REG(regs.regs[1])
#define REG_PC		KVM_REG_ARM_CORE_REG(regs.pc)
#define REG_CORE(reg)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 |		\
			 KVM_REG_ARM_CORE | (reg))
#define REG_SCTLR_EL1	ARM64_SYS_REG(3, 0, 1, 0, 0)
#define REG_TTBR0_EL1	ARM64_SYS_REG(3, 0, 2, 0, 0)
#define REG_TCR_EL1	ARM64_SYS_REG(3, 0, 2, 0, 2)
#define REG_MAIR_EL1	ARM64_SYS_REG(3, 0, 10, 2, 0)

#define SCTLR_M		_BITULL(0)
#define SCTLR_C		_BITULL(2)
#define SCTLR_I		_BITULL(12)

/* 39 bits of address, tables of 4 KiB that are cached, none for TTBR1 */
#define TCR_T0SZ_39	25ULL
#define TCR_WBWA	(_BITULL(8) | _BITULL(10))
#define TCR_SHARED	(3ULL << 12)
#define TCR_EPD1	_BITULL(23)
#define TCR_IPS_40	(2ULL << 32)

#define MAIR_NORMAL	0xffULL		/* attribute 0 */

#define PTE_BLOCK	_BITULL(0)
#define PTE_SHARED	(3ULL << 8)
#define PTE_AF		_BITULL(10)

/*
 * x0 is the mailbox, x1 the doorbell. Each access is one instruction of which
 * the hypervisor can tell what it does.
 */
asm(".pushsection .rodata\n"
	".balign 4\n"
	".globl	guest_begin, guest_finish\n"	/* each has a GOT entry of its own */
	"guest_begin:\n"
	"1:	dsb	sy\n"
	"	str	w0, [x1]\n"		/* ring, and wait for a command */
	"	ldr	x2, [x0, #0x00]\n"	/* op */
	"	ldr	x3, [x0, #0x08]\n"	/* addr */
	"	ldr	x4, [x0, #0x10]\n"	/* words */
	"	ldr	x5, [x0, #0x18]\n"	/* stride */
	"	ldr	x6, [x0, #0x20]\n"	/* value */
	"	ldr	x7, [x0, #0x28]\n"	/* increment */
	"	mov	x8, #0\n"		/* result */
	"2:	cbz	x4, 5f\n"
	"	cmp	x2, #1\n"
	"	b.ne	3f\n"
	"	str	x6, [x3]\n"		/* GUEST_WRITE */
	"	b	4f\n"
	"3:	ldr	x9, [x3]\n"		/* GUEST_COMPARE */
	"	cmp	x9, x6\n"
	"	cinc	x8, x8, ne\n"
	"4:	add	x3, x3, x5\n"
	"	add	x6, x6, x7\n"
	"	sub	x4, x4, #1\n"
	"	b	2b\n"
	"5:	str	x8, [x0, #0x30]\n"
	"	b	1b\n"
	"guest_finish:\n"
	".popsection\n");

/* Only access does, see vm_populate() */
const bool guest_can_populate;

static __u64 guest_ipa_bits(int kvm)
{
	int bits = xioctl(kvm, KVM_CHECK_EXTENSION,
			  (void *)KVM_CAP_ARM_VM_IPA_SIZE);

	return bits <= 0 || bits > 40 ? 40 : bits;
}

__u64 guest_vm_type(int kvm)
{
	return KVM_VM_TYPE_ARM_IPA_SIZE(guest_ipa_bits(kvm));
}

__u64 guest_end(struct vm *vm)
{
	__u64 end = 1ULL << guest_ipa_bits(vm->kvm);

	return end < SZ_512G ? end : SZ_512G;
}

static void guest_set_reg(struct vm *vm, __u64 id, __u64 value)
{
	struct kvm_one_reg reg = {
		.id = id,
		.addr = (uintptr_t)&value,
	};

	if (xioctl(vm->vcpu, KVM_SET_ONE_REG, &reg))
		fail("KVM_SET_ONE_REG 0x%llx: %s", id, strerror(errno));
}

static __u64 guest_get_reg(struct vm *vm, __u64 id)
{
	__u64 value = 0;
	struct kvm_one_reg reg = {
		.id = id,
		.addr = (uintptr_t)&value,
	};

	if (xioctl(vm->vcpu, KVM_GET_ONE_REG, &reg))
		fail("KVM_GET_ONE_REG 0x%llx: %s", id, strerror(errno));
	return value;
}

void guest_load(struct vm *vm)
{
	char *code = vm->ram + GUEST_CODE;
	__u64 *table = vm->ram + GUEST_TABLES;
	struct kvm_vcpu_init init;

	memcpy(code, guest_begin, guest_finish - guest_begin);
	__builtin___clear_cache(code, code + (guest_finish - guest_begin));

	for (unsigned int i = 0; i < 512; i++)
		table[i] = (i * SZ_1G) | PTE_BLOCK | PTE_SHARED | PTE_AF;

	if (xioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init))
		fail("KVM_ARM_PREFERRED_TARGET: %s", strerror(errno));
	if (xioctl(vm->vcpu, KVM_ARM_VCPU_INIT, &init))
		fail("KVM_ARM_VCPU_INIT: %s", strerror(errno));

	guest_set_reg(vm, REG_MAIR_EL1, MAIR_NORMAL);
	guest_set_reg(vm, REG_TCR_EL1, TCR_T0SZ_39 | TCR_WBWA | TCR_SHARED |
				       TCR_EPD1 | TCR_IPS_40);
	guest_set_reg(vm, REG_TTBR0_EL1, GUEST_TABLES);
	guest_set_reg(vm, REG_SCTLR_EL1, guest_get_reg(vm, REG_SCTLR_EL1) |
					 SCTLR_M | SCTLR_C | SCTLR_I);
	guest_set_reg(vm, REG_CORE(REG_X0), GUEST_MAILBOX);
	guest_set_reg(vm, REG_CORE(REG_X1), GUEST_DOORBELL);
	guest_set_reg(vm, REG_CORE(REG_PC), GUEST_CODE);
}

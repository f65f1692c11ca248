// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest on x86: 64-bit mode, the first 512 GiB mapped one to one
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

#define CR0_PE		_BITULL(0)
#define CR0_ET		_BITULL(4)
#define CR0_NE		_BITULL(5)
#define CR0_PG		_BITULL(31)
#define CR4_PAE		_BITULL(5)
#define EFER_LME	_BITULL(8)
#define EFER_LMA	_BITULL(10)

#define PTE_PRESENT	_BITULL(0)
#define PTE_WRITE	_BITULL(1)
#define PTE_HUGE	_BITULL(7)

#define CPUID_GBPAGES	_BITUL(26)	/* 0x80000001, edx */

/* rdi is the mailbox, rsi the doorbell */
asm(".pushsection .rodata\n"
	"guest_begin:\n"
	"	movl	%eax, (%rsi)\n"		/* ring, and wait for a command */
	"	movq	0x00(%rdi), %rax\n"	/* op */
	"	movq	0x08(%rdi), %rdx\n"	/* addr */
	"	movq	0x10(%rdi), %rcx\n"	/* words */
	"	movq	0x18(%rdi), %r8\n"	/* stride */
	"	movq	0x20(%rdi), %r9\n"	/* value */
	"	movq	0x28(%rdi), %r10\n"	/* increment */
	"	xorl	%r11d, %r11d\n"		/* result */
	"1:	testq	%rcx, %rcx\n"
	"	jz	4f\n"
	"	cmpq	$1, %rax\n"
	"	jne	2f\n"
	"	movq	%r9, (%rdx)\n"		/* GUEST_WRITE */
	"	jmp	3f\n"
	"2:	cmpq	%r9, (%rdx)\n"		/* GUEST_COMPARE */
	"	je	3f\n"
	"	incq	%r11\n"
	"3:	addq	%r8, %rdx\n"
	"	addq	%r10, %r9\n"
	"	decq	%rcx\n"
	"	jmp	1b\n"
	"4:	movq	%r11, 0x30(%rdi)\n"
	"	jmp	guest_begin\n"
	"guest_finish:\n"
	".popsection\n");

static struct kvm_cpuid2 *guest_cpuid(struct vm *vm)
{
	const unsigned int max = 256;
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + max * sizeof(cpuid->entries[0]));
	if (!cpuid)
		fail("out of memory");
	cpuid->nent = max;
	if (xioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		fail("KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	return cpuid;
}

static const struct kvm_cpuid_entry2 *
guest_cpuid_leaf(const struct kvm_cpuid2 *cpuid, __u32 function)
{
	static const struct kvm_cpuid_entry2 none;

	for (__u32 i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	}
	return &none;
}

const bool guest_can_populate = true;

__u64 guest_vm_type(int kvm)
{
	return KVM_X86_DEFAULT_VM;
}

__u64 guest_end(struct vm *vm)
{
	struct kvm_cpuid2 *cpuid = guest_cpuid(vm);
	unsigned int bits;

	bits = guest_cpuid_leaf(cpuid, 0x80000008)->eax & 0xff;
	free(cpuid);
	return bits && bits < 39 ? 1ULL << bits : SZ_512G;
}

static void guest_set_cpuid(struct vm *vm)
{
	struct kvm_cpuid2 *cpuid = guest_cpuid(vm);

	if (!(guest_cpuid_leaf(cpuid, 0x80000001)->edx & CPUID_GBPAGES))
		fail("the guest needs a CPU with pages of 1 GiB");
	if (xioctl(vm->vcpu, KVM_SET_CPUID2, cpuid))
		fail("KVM_SET_CPUID2: %s", strerror(errno));
	free(cpuid);
}

void guest_load(struct vm *vm)
{
	__u64 *pml4 = vm->ram + GUEST_TABLES;
	__u64 *pdpt = vm->ram + GUEST_TABLES + SZ_4K;
	struct kvm_segment data = {
		.limit = 0xffffffff,
		.selector = 0x10,
		.type = 3,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
	struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = 0x8,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_regs regs = {
		.rip = GUEST_CODE,
		.rdi = GUEST_MAILBOX,
		.rsi = GUEST_DOORBELL,
		.rflags = 2,
	};
	struct kvm_sregs sregs;

	memcpy(vm->ram + GUEST_CODE, guest_begin, guest_finish - guest_begin);

	pml4[0] = (GUEST_TABLES + SZ_4K) | PTE_PRESENT | PTE_WRITE;
	for (unsigned int i = 0; i < 512; i++)
		pdpt[i] = (i * SZ_1G) | PTE_PRESENT | PTE_WRITE | PTE_HUGE;

	guest_set_cpuid(vm);

	if (xioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		fail("KVM_GET_SREGS: %s", strerror(errno));
	sregs.cr3 = GUEST_TABLES;
	sregs.cr4 = CR4_PAE;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	sregs.efer = EFER_LME | EFER_LMA;
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	if (xioctl(vm->vcpu, KVM_SET_SREGS, &sregs))
		fail("KVM_SET_SREGS: %s", strerror(errno));
	if (xioctl(vm->vcpu, KVM_SET_REGS, &regs))
		fail("KVM_SET_REGS: %s", strerror(errno));
}

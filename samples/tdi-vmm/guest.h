/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest: a loop that takes a command from a mailbox in its RAM, executes it
 * and rings the doorbell, an address with nothing behind it, which makes
 * KVM_RUN return. Everything that depends on the architecture is in
 * guest_<arch>.c.
 */
#ifndef TDI_VMM_GUEST_H
#define TDI_VMM_GUEST_H

#include <stdbool.h>

#include <linux/types.h>

struct vm;

/* Guest physical addresses */
#define GUEST_RAM_SIZE	0x10000ULL
#define GUEST_TABLES	0x1000ULL
#define GUEST_CODE	0x4000ULL
#define GUEST_MAILBOX	0x8000ULL
#define GUEST_DOORBELL	0x10000000ULL

enum guest_op {
	GUEST_WRITE = 1,
	GUEST_COMPARE = 2,
};

/*
 * @words words of 8 bytes, @stride bytes apart from @addr on. The first one is
 * @value, each further one is larger by @increment. @result is how many of them
 * a GUEST_COMPARE found different. The guest's code has the offsets.
 */
struct guest_mailbox {
	__u64 op;
	__u64 addr;
	__u64 words;
	__u64 stride;
	__u64 value;
	__u64 increment;
	__u64 result;
};

/* From one word of a pattern to the next */
#define PATTERN_STEP	0x9e3779b97f4a7c15ULL

/* mailbox.c: one command after the other */
struct guest_mailbox *guest_tell(struct vm *vm, enum guest_op op, __u64 addr,
				 __u64 words, __u64 stride, __u64 value);
__u64 guest_run(struct vm *vm, enum guest_op op, __u64 addr, __u64 words,
		__u64 stride, __u64 value);

/* Its code, independent of where it is */
extern const char guest_begin[];
extern const char guest_finish[];

/* Can the VMM have KVM map memory, or does that take the guest's accesses? */
extern const bool guest_can_populate;

/* For KVM_CREATE_VM */
__u64 guest_vm_type(int kvm);

/* First guest physical address that the guest cannot reach */
__u64 guest_end(struct vm *vm);

/* Put the guest into its RAM, and its vCPU to its first instruction */
void guest_load(struct vm *vm);

#endif /* TDI_VMM_GUEST_H */

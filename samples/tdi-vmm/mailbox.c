// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest does: a command in its mailbox, which is done when the guest's
 * next exit is the doorbell
 */
#include <linux/kvm.h>

#include "guest.h"
#include "tdi-vmm.h"

/* Give the guest a command, for the next vm_run() */
struct guest_mailbox *guest_tell(struct vm *vm, enum guest_op op, __u64 addr,
				 __u64 words, __u64 stride, __u64 value)
{
	struct guest_mailbox *mailbox = vm->ram + GUEST_MAILBOX;

	*mailbox = (struct guest_mailbox){
		.op = op,
		.addr = addr,
		.words = words,
		.stride = stride,
		.value = value,
		.increment = PATTERN_STEP,
		.result = ~0ULL,
	};
	return mailbox;
}

/* ... and let the guest execute it, where it must not be kept from doing so */
__u64 guest_run(struct vm *vm, enum guest_op op, __u64 addr, __u64 words,
		__u64 stride, __u64 value)
{
	struct guest_mailbox *mailbox;

	mailbox = guest_tell(vm, op, addr, words, stride, value);
	if (vm_run(vm) != VM_EXIT_DOORBELL)
		fail("the BAR is revoked at 0x%llx, and nobody did that",
		     vm->run->memory_fault.gpa);
	return mailbox->result;
}

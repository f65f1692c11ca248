// SPDX-License-Identifier: GPL-2.0-only
/*
 * Race vCPUs that access a memslot backed by a dma-buf against the exporter that
 * takes the buffer away and gives it back, against creation and deletion of the
 * memslot, and against the end of the VM.
 *
 * The tests can fail by themselves, but are best run with lockdep and KASAN.
 *
 * See dmabuf_memslot.h for the device that is needed.
 */
#include <pthread.h>
#include <unistd.h>

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

#define NR_VCPUS	2
#define NR_VMS		5
#define NR_PAGES	8
#define SLOT_SIZE	((u64)SZ_8M)

/* At the start of each page that the guest looks at, with its number below. */
#define PATTERN		0xbadc0ffee0000000ull

/* What emulated MMIO reads, byte by byte.  The BAR never does, on or off. */
#define MMIO_BYTE	0x5a
#define MMIO_VALUE	0x5a5a5a5a5a5a5a5aull

/* No vCPU waits for that long, in seconds. */
#define HITS_TIMEOUT	100

static bool guest_stop;
static u64 guest_hits[NR_VCPUS];

/* Look at pages in different 2MiB of the memslot, until told to stop. */
static void stress_guest_code(int id)
{
	u64 i, val;

	for (i = id; !READ_ONCE(guest_stop); i++) {
		u64 page = i % NR_PAGES;
		u64 *ptr = (u64 *)(DMABUF_GPA + page * (SLOT_SIZE / NR_PAGES));

		val = guest_load(ptr);

		if (val == PATTERN + page)
			guest_hits[id]++;
		else
			GUEST_ASSERT_EQ(val, MMIO_VALUE);
	}

	GUEST_DONE();
}

struct stress {
	struct dmabuf_bar bar;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[NR_VCPUS];
	pthread_t threads[NR_VCPUS];
	int fd;

	u64 nr_revoked[NR_VCPUS];
	u64 nr_mmio[NR_VCPUS];
};

static struct stress stress;

static void *vcpu_worker(void *data)
{
	struct kvm_vcpu *vcpu = data;
	struct kvm_run *run = vcpu->run;
	struct ucall uc;
	int r;

	for (;;) {
		r = _vcpu_run(vcpu);
		if (r) {
			TEST_ASSERT(errno == EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
				    run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_REVOKED,
				    "KVM_RUN failed, errno = %d, exit reason = %u (%s), flags = 0x%llx",
				    errno, run->exit_reason, exit_reason_str(run->exit_reason),
				    run->memory_fault.flags);
			stress.nr_revoked[vcpu->id]++;
			usleep(50);
			continue;
		}

		/* There's no memslot for the moment.  A ucall can be MMIO, too. */
		if (run->exit_reason == KVM_EXIT_MMIO &&
		    run->mmio.phys_addr >= DMABUF_GPA &&
		    run->mmio.phys_addr < DMABUF_GPA + SLOT_SIZE) {
			TEST_ASSERT(!run->mmio.is_write, "Unexpected write of 0x%llx",
				    run->mmio.phys_addr);
			memset(run->mmio.data, MMIO_BYTE, sizeof(run->mmio.data));
			stress.nr_mmio[vcpu->id]++;
			continue;
		}

		switch (get_ucall(vcpu, &uc)) {
		case UCALL_DONE:
			return NULL;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
		default:
			TEST_FAIL("Unexpected exit reason %u (%s)",
				  run->exit_reason, exit_reason_str(run->exit_reason));
		}
	}
}

static void start_vcpus(unsigned long type)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = type,
	};
	int i;

	stress.vm = __vm_create_with_vcpus(shape, NR_VCPUS, 0, stress_guest_code, stress.vcpus);
	virt_map(stress.vm, DMABUF_GPA, DMABUF_GPA, SLOT_SIZE / PAGE_SIZE);

	guest_stop = false;
	memset(guest_hits, 0, sizeof(guest_hits));
	sync_global_to_guest(stress.vm, guest_stop);
	sync_global_to_guest(stress.vm, guest_hits);

	for (i = 0; i < NR_VCPUS; i++) {
		stress.nr_revoked[i] = 0;
		stress.nr_mmio[i] = 0;
		vcpu_args_set(stress.vcpus[i], 1, i);
		kvm_pthread_create(&stress.threads[i], NULL, vcpu_worker, stress.vcpus[i]);
	}
}

static u64 nr_hits(int vcpu)
{
	return READ_ONCE(*(u64 *)addr_gva2hva(stress.vm, (gva_t)&guest_hits[vcpu]));
}

/* Every vCPU gets at the buffer, and thus isn't stuck. */
static void wait_for_hits(void)
{
	struct timespec start;
	int i;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < NR_VCPUS; i++) {
		u64 hits = nr_hits(i);

		while (nr_hits(i) == hits) {
			TEST_ASSERT(timespec_elapsed(start).tv_sec < HITS_TIMEOUT,
				    "vCPU%d is stuck after %lu hits, %lu revoked, %lu MMIO",
				    i, hits, stress.nr_revoked[i], stress.nr_mmio[i]);
			usleep(100);
		}
	}
}

static void stop_vcpus(void)
{
	int i;

	guest_stop = true;
	sync_global_to_guest(stress.vm, guest_stop);

	for (i = 0; i < NR_VCPUS; i++) {
		kvm_pthread_join(stress.threads[i], NULL);
		pr_info("vCPU%d: %lu hits, %lu revoked, %lu MMIO\n", i, nr_hits(i),
			stress.nr_revoked[i], stress.nr_mmio[i]);
	}
}

FIXTURE(dmabuf_stress)
{
};

/*
 * Low power is quick, as nothing happens to the device.  A write of the command
 * register is what guests do.
 */
FIXTURE_VARIANT(dmabuf_stress)
{
	unsigned long type;
	void (*revoke)(struct dmabuf_bar *bar, bool revoked);
	int nr_rounds;
};

static void revoke_by_decode(struct dmabuf_bar *bar, bool revoked)
{
	bar_set_decode(bar, !revoked);
}

FIXTURE_VARIANT_ADD(dmabuf_stress, default_vm)
{
	.type = DMABUF_VM_DEFAULT,
	.revoke = bar_set_low_power,
	.nr_rounds = 100,
};

FIXTURE_VARIANT_ADD(dmabuf_stress, default_vm_decode)
{
	.type = DMABUF_VM_DEFAULT,
	.revoke = revoke_by_decode,
	.nr_rounds = 10,
};

FIXTURE_VARIANT_ADD(dmabuf_stress, sw_protected_vm)
{
	.type = DMABUF_VM_SW_PROTECTED,
	.revoke = bar_set_low_power,
	.nr_rounds = 100,
};

FIXTURE_SETUP(dmabuf_stress)
{
	const char *why = bar_open(&stress.bar, variant->type);
	int i;

	if (why)
		SKIP(return, "%s", why);

	for (i = 0; i < NR_PAGES; i++)
		bar_write(&stress.bar, i * (SLOT_SIZE / NR_PAGES), PATTERN + i);

	stress.fd = bar_export(&stress.bar, 0, SLOT_SIZE);
}

FIXTURE_TEARDOWN(dmabuf_stress)
{
	close(stress.fd);
	bar_close(&stress.bar);
}

static void *revoke_worker(void *data)
{
	const FIXTURE_VARIANT(dmabuf_stress) *variant = data;
	int i;

	for (i = 0; i < variant->nr_rounds; i++) {
		variant->revoke(&stress.bar, true);
		if (i & 1)
			usleep(100);
		variant->revoke(&stress.bar, false);
		if (i & 2)
			usleep(500);
	}

	return NULL;
}

static void *slot_worker(void *data)
{
	const FIXTURE_VARIANT(dmabuf_stress) *variant = data;
	int i;

	for (i = 0; i < variant->nr_rounds; i++) {
		vm_delete_dmabuf(stress.vm, DMABUF_SLOT);
		vm_set_dmabuf(stress.vm, DMABUF_SLOT, 0, DMABUF_GPA, SLOT_SIZE, stress.fd, 0);
		if (i & 1)
			usleep(500);
	}

	return NULL;
}

TEST_F_TIMEOUT(dmabuf_stress, revoke, 300)
{
	int i;

	start_vcpus(variant->type);
	vm_set_dmabuf(stress.vm, DMABUF_SLOT, 0, DMABUF_GPA, SLOT_SIZE, stress.fd, 0);
	wait_for_hits();
	for (i = 0; i < NR_VCPUS; i++)
		stress.nr_mmio[i] = 0;

	revoke_worker((void *)variant);

	wait_for_hits();
	stop_vcpus();

	/* There's a memslot at all times, i.e. no emulated MMIO. */
	for (i = 0; i < NR_VCPUS; i++) {
		EXPECT_EQ(stress.nr_mmio[i], 0);
		EXPECT_GT(stress.nr_revoked[i], 0);
	}
	kvm_vm_free(stress.vm);
}

TEST_F_TIMEOUT(dmabuf_stress, slot, 300)
{
	start_vcpus(variant->type);
	vm_set_dmabuf(stress.vm, DMABUF_SLOT, 0, DMABUF_GPA, SLOT_SIZE, stress.fd, 0);
	wait_for_hits();

	slot_worker((void *)variant);

	wait_for_hits();
	stop_vcpus();
	kvm_vm_free(stress.vm);
}

TEST_F_TIMEOUT(dmabuf_stress, revoke_and_slot, 300)
{
	pthread_t revoke, slot;

	start_vcpus(variant->type);
	vm_set_dmabuf(stress.vm, DMABUF_SLOT, 0, DMABUF_GPA, SLOT_SIZE, stress.fd, 0);
	wait_for_hits();

	kvm_pthread_create(&revoke, NULL, revoke_worker, (void *)variant);
	kvm_pthread_create(&slot, NULL, slot_worker, (void *)variant);
	kvm_pthread_join(revoke, NULL);
	kvm_pthread_join(slot, NULL);

	wait_for_hits();
	stop_vcpus();
	kvm_vm_free(stress.vm);
}

TEST_F_TIMEOUT(dmabuf_stress, revoke_and_destroy, 300)
{
	pthread_t revoke;
	int i;

	kvm_pthread_create(&revoke, NULL, revoke_worker, (void *)variant);

	for (i = 0; i < NR_VMS; i++) {
		start_vcpus(variant->type);
		vm_set_dmabuf(stress.vm, DMABUF_SLOT, 0, DMABUF_GPA, SLOT_SIZE, stress.fd, 0);
		wait_for_hits();
		stop_vcpus();
		kvm_vm_free(stress.vm);
	}

	kvm_pthread_join(revoke, NULL);
}

int main(int argc, char *argv[])
{
	dmabuf_test_init(&argc, argv);

	return test_harness_run(argc, argv);
}

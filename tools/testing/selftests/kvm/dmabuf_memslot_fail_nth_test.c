// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let every allocation on the way to a memslot that is backed by a dma-buf, and
 * to its first mapping, fail once.
 *
 * See dmabuf_memslot.h for the device that is needed.
 */
#include <glob.h>
#include <unistd.h>

#include <libvfio.h>

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

/* Far more than the number of allocations on any of the paths. */
#define MAX_NTH		500

#ifdef __x86_64__
#define NR_CREATE	5
#else
#define NR_CREATE	3
#endif

FIXTURE(dmabuf_fail_nth)
{
	struct dmabuf_bar bar;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int nth_fd;
	int fd;
};

/*
 * kmemleak allocates beside everything else, and can do without, so that what fails
 * may be every second time its own.
 */
static bool only_kmalloc_fails(bool only)
{
	bool ok = true;
	glob_t caches;
	size_t i;

	if (glob("/sys/kernel/slab/kmalloc-*/failslab", 0, NULL, &caches))
		return false;

	for (i = 0; i < caches.gl_pathc; i++)
		ok &= !file_write(caches.gl_pathv[i], only ? "1" : "0");
	globfree(&caches);

	return !file_write("/sys/kernel/debug/failslab/cache-filter", only ? "Y" : "N") && ok;
}

FIXTURE_SETUP(dmabuf_fail_nth)
{
	/* More ranges than what KVM has room for at first. */
	struct vfio_region_dma_range ranges[16];
	const char *why;
	int i;

	/* By default only allocations that can't sleep fail. */
	if (file_write("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"))
		SKIP(return, "needs CONFIG_FAILSLAB and debugfs");
	file_write("/sys/kernel/debug/failslab/verbose", "0");
	file_write("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	file_write("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N");
	file_write("/sys/kernel/debug/fail_page_alloc/verbose", "0");

	self->nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (self->nth_fd < 0)
		SKIP(return, "needs CONFIG_FAULT_INJECTION");

	why = bar_open(&self->bar, DMABUF_VM_DEFAULT);
	if (why)
		SKIP(return, "%s", why);

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		ranges[i].offset = i * 2 * SZ_256K;
		ranges[i].length = SZ_256K;
	}

	bar_write(&self->bar, 0, 0x1234);
	self->fd = bar_export_ranges(&self->bar, O_RDWR, ranges, ARRAY_SIZE(ranges));
	self->vm = dmabuf_vm_create(DMABUF_VM_DEFAULT, &self->vcpu);
}

FIXTURE_TEARDOWN(dmabuf_fail_nth)
{
	kvm_vm_free(self->vm);
	close(self->fd);
	bar_close(&self->bar);
	close(self->nth_fd);
	EXPECT_TRUE(only_kmalloc_fails(false));
}

static void nth_arm(int fd, int nth)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%d", nth);

	TEST_ASSERT(pwrite(fd, buf, len, 0) == len, "Can't arm fail-nth");
}

/* Returns true if an allocation failed since nth_arm(). */
static bool nth_disarm(int fd)
{
	char buf[16] = {};
	ssize_t r;

	/* Reading and writing may be what fails, nothing else did in that case. */
	r = pread(fd, buf, sizeof(buf) - 1, 0);
	if (r <= 0)
		strcpy(buf, "1");

	if (pwrite(fd, "0", 1, 0) != 1)
		TEST_ASSERT(pwrite(fd, "0", 1, 0) == 1, "Can't disarm fail-nth");

	return !atoi(buf);
}

TEST_F_TIMEOUT(dmabuf_fail_nth, create, 300)
{
	int nth, r, nr_failed = 0;

	ASSERT_TRUE(only_kmalloc_fails(true));

	for (nth = 1; nth < MAX_NTH; nth++) {
		bool injected;

		nth_arm(self->nth_fd, nth);
		r = __vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);
		if (r)
			r = errno;
		injected = nth_disarm(self->nth_fd);

		if (r) {
			ASSERT_TRUE(injected);
			ASSERT_EQ(r, ENOMEM);
			nr_failed++;

			/* Nothing is left of it. */
			ASSERT_EQ(__vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, 0, 0, 0, 0), -1);
			ASSERT_EQ(errno, EINVAL);
			continue;
		}

		ASSERT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x1234);
		vm_delete_dmabuf(self->vm, DMABUF_SLOT);

		if (!injected)
			break;
	}

	/* At least the memslot, the binding, the attachment, and x86's lpage_info twice. */
	EXPECT_GE(nr_failed, NR_CREATE);
	EXPECT_LT(nth, MAX_NTH);
}

TEST_F_TIMEOUT(dmabuf_fail_nth, fault, 300)
{
	int nth, r, nr_injected = 0, nr_failed = 0;

	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);

	/* What only the first KVM_RUN allocates may be fatal for the VM. */
	ASSERT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x1234);

	for (nth = 1; nth < MAX_NTH; nth++) {
		bool injected;

		/* Have KVM map the buffer anew. */
		bar_set_decode(&self->bar, false);
		bar_set_decode(&self->bar, true);

		guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
		nth_arm(self->nth_fd, nth);
		r = __vcpu_run(self->vcpu);
		if (r)
			r = errno;
		injected = nth_disarm(self->nth_fd);
		nr_injected += injected;

		if (r) {
			ASSERT_TRUE(injected);
			ASSERT_EQ(r, ENOMEM);
			nr_failed++;

			/* The guest merely goes on. */
			ASSERT_EQ(guest_done(self->vcpu), 0x1234);
			continue;
		}

		ASSERT_EQ(guest_result(self->vcpu), 0x1234);

		if (!injected)
			break;
	}

	/* The map, and its growing twice, for which there's a second attempt. */
	EXPECT_GE(nr_failed, 1);
	EXPECT_GE(nr_injected, 3);
	EXPECT_LT(nth, MAX_NTH);
}

TEST_F_TIMEOUT(dmabuf_fail_nth, delete, 300)
{
	int nth, r, nr_failed = 0;

	for (nth = 1; nth < MAX_NTH; nth++) {
		bool injected;

		vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, SZ_4M, self->fd, 0);
		ASSERT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x1234);

		nth_arm(self->nth_fd, nth);
		r = __vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, 0, 0, 0, 0);
		if (r)
			r = errno;
		injected = nth_disarm(self->nth_fd);

		if (r) {
			ASSERT_TRUE(injected);
			ASSERT_EQ(r, ENOMEM);
			nr_failed++;

			/* The memslot is as it was. */
			ASSERT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x1234);
			bar_set_decode(&self->bar, false);
			guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);
			guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
			bar_set_decode(&self->bar, true);
			ASSERT_EQ(guest_done(self->vcpu), 0x1234);
			vm_delete_dmabuf(self->vm, DMABUF_SLOT);
		}

		if (!injected)
			break;
	}

	EXPECT_GE(nr_failed, 1);
	EXPECT_LT(nth, MAX_NTH);
}

int main(int argc, char *argv[])
{
	dmabuf_test_init(&argc, argv);

	return test_harness_run(argc, argv);
}

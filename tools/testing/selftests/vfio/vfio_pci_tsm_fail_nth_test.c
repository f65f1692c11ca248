// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let every allocation on the way into a TDI, and out of it, fail once.
 *
 * usage: vfio_pci_tsm_fail_nth_test [options] device
 *
 * See vfio_pci_tsm_test.c for the device that is needed.
 */
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_pci_tsm.h"

/* Far more than the number of allocations on any of the paths */
#define MAX_NTH		500

FIXTURE(tsm_fail_nth)
{
	struct vmm vmm;
	int nth_fd;
	int all;
	int shared;
};

/*
 * Pages are allocated for page tables, but also when a slab has no room or a page
 * of the test is touched first, at another place each time; and kmemleak, which can
 * do without, allocates beside everything else.  With all of these most allocations
 * are met, with those by kmalloc alone all.
 */
FIXTURE_VARIANT(tsm_fail_nth)
{
	bool pages;
};

FIXTURE_VARIANT_ADD(tsm_fail_nth, slab)
{
};

FIXTURE_VARIANT_ADD(tsm_fail_nth, pages)
{
	.pages = true,
};

static int only_kmalloc_fails(bool only)
{
	glob_t caches;
	int ret = 0;
	size_t i;

	if (glob("/sys/kernel/slab/kmalloc-*/failslab", 0, NULL, &caches))
		return -ENOENT;
	for (i = 0; i < caches.gl_pathc && !ret; i++)
		ret = file_write(caches.gl_pathv[i], only ? "1" : "0");
	globfree(&caches);
	return ret ?: file_write("/sys/kernel/debug/failslab/cache-filter", only ? "Y" : "N");
}

FIXTURE_SETUP(tsm_fail_nth)
{
	struct vmm *vmm = &self->vmm;

	/* By default only allocations that cannot sleep fail */
	if (file_write("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"))
		SKIP(return, "Needs CONFIG_FAILSLAB and debugfs");
	file_write("/sys/kernel/debug/failslab/verbose", "0");
	ASSERT_EQ(0, only_kmalloc_fails(!variant->pages));
	file_write("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait",
		   variant->pages ? "N" : "Y");
	file_write("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem",
		   variant->pages ? "N" : "Y");
	file_write("/sys/kernel/debug/fail_page_alloc/verbose", "0");

	self->nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (self->nth_fd < 0)
		SKIP(return, "Needs CONFIG_FAULT_INJECTION");

	if (!vmm_start(vmm))
		SKIP(return, "There is no tsm-sim");

	self->all = export(vmm, vmm->bar, 0, vmm->size, 0);
	self->shared = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	ASSERT_LE(0, self->all);
	ASSERT_LE(0, self->shared);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, self->all, 0, vmm->size,
					 SZ_1G));
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, self->shared, 0, SHARED_SIZE,
					 2ULL * SZ_1G));
}

FIXTURE_TEARDOWN(tsm_fail_nth)
{
	close(self->all);
	close(self->shared);
	vmm_close(&self->vmm);
	close(self->nth_fd);
	EXPECT_EQ(0, only_kmalloc_fails(false));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_EQ(0, violations());
}

static void nth_arm(int fd, int nth)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%d", nth);

	VFIO_ASSERT_EQ(pwrite(fd, buf, len, 0), len);
}

/* Returns true if an allocation failed since nth_arm() */
static bool nth_disarm(int fd)
{
	char buf[16] = {};

	/* Reading and writing may be what fails, nothing else did in that case */
	if (pread(fd, buf, sizeof(buf) - 1, 0) <= 0)
		strcpy(buf, "1");
	if (pwrite(fd, "0", 1, 0) != 1)
		VFIO_ASSERT_EQ(pwrite(fd, "0", 1, 0), 1);
	return !atoi(buf);
}

/*
 * A bind that succeeds although an allocation failed may have lost what is mapped
 * of the shared range.  It comes back with the memory of the device.
 */
static void heal(struct vmm *vmm, int fd)
{
	u16 command = config_read(vmm, PCI_COMMAND, 2);
	u16 off = command & ~PCI_COMMAND_MEMORY;

	if (mapped(fd))
		return;
	VFIO_ASSERT_EQ(config_write(vmm, PCI_COMMAND, &off, 2), 2);
	VFIO_ASSERT_EQ(config_write(vmm, PCI_COMMAND, &command, 2), 2);
}

TEST_F_TIMEOUT(tsm_fail_nth, bind, 600)
{
	struct vmm *vmm = &self->vmm;
	int nth, ret, nr_failed = 0;

	for (nth = 1; nth < MAX_NTH; nth++) {
		bool injected;

		nth_arm(self->nth_fd, nth);
		ret = tsm_bind(vmm);
		injected = nth_disarm(self->nth_fd);

		if (ret) {
			ASSERT_TRUE(injected);
			/* A device without memory is an error of the device */
			ASSERT_TRUE(ret == -ENOMEM || ret == -EIO) TH_LOG("%d", ret);
			nr_failed++;
			EXPECT_UNBOUND(vmm);
			ASSERT_EQ(1, mapped(self->all));
			ASSERT_EQ(1, mapped(self->shared));
			continue;
		}

		ASSERT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
		ASSERT_EQ(0, mapped(self->all));
		/* Only the IOMMU's tables can be what there was no memory for */
		if (!injected)
			ASSERT_EQ(1, mapped(self->shared));
		ASSERT_EQ(0, tsm_unbind(vmm));
		EXPECT_UNBOUND(vmm);
		if (injected)
			heal(vmm, self->shared);
		ASSERT_EQ(1, mapped(self->all));
		ASSERT_EQ(1, mapped(self->shared));
		if (!injected)
			break;
	}

	/* The TDI, its report twice, the ranges of the driver and of the core */
	EXPECT_LE(variant->pages ? 1 : 5, nr_failed);
	EXPECT_GT(MAX_NTH, nth);
	TH_LOG("%d of %d faults made the bind fail", nr_failed, nth - 1);
}

/* This cannot fail, and neither may anything stay behind */
TEST_F_TIMEOUT(tsm_fail_nth, unbind, 600)
{
	struct vmm *vmm = &self->vmm;
	int nth, nr_injected = 0;

	for (nth = 1; nth < MAX_NTH; nth++) {
		bool injected;

		ASSERT_EQ(0, tsm_bind(vmm));
		nth_arm(self->nth_fd, nth);
		ASSERT_EQ(0, tsm_unbind(vmm));
		injected = nth_disarm(self->nth_fd);
		nr_injected += injected;
		EXPECT_UNBOUND(vmm);

		/* Without memory for the IOMMU's tables there is a next time */
		if (injected) {
			ASSERT_EQ(0, tsm_bind(vmm));
			ASSERT_EQ(0, tsm_unbind(vmm));
		}
		ASSERT_EQ(1, mapped(self->all));
		ASSERT_EQ(1, mapped(self->shared));
		if (!injected)
			break;
	}
	EXPECT_GT(MAX_NTH, nth);
	TH_LOG("%d faults", nr_injected);
}

/* What a VMM does with a TDI that is bound */
TEST_F_TIMEOUT(tsm_fail_nth, use, 600)
{
	struct vmm *vmm = &self->vmm;
	int nth, ret, fd, nr_failed = 0;
	struct tdi tdi, wanted;
	u8 resp[64];
	u64 code;
	u32 len;

	ASSERT_EQ(0, tsm_bind(vmm));

	/* Have the pages of the stack: a fault of theirs is an allocation too */
	ASSERT_EQ(0, tdi_get_room(vmm, &wanted, 64));
	ASSERT_EQ(0, tdi_get_room(vmm, &tdi, 64));
	len = 64;
	ASSERT_EQ(0, tdisp(vmm, 0, 0x85, resp, &len, &code));

	for (nth = 1; nth < MAX_NTH; nth++) {
		bool injected;

		nth_arm(self->nth_fd, nth);
		ret = tdi_get_room(vmm, &tdi, 64);
		injected = nth_disarm(self->nth_fd);
		ASSERT_EQ(ret ? -ENOMEM : 0, ret);
		nr_failed += !!ret;
		/* What does not fail has the right result */
		if (!ret) {
			EXPECT_EQ(0, memcmp(&tdi, &wanted, sizeof(tdi)));
		}
		if (!injected)
			break;
	}
	EXPECT_LE(1, nr_failed);

	for (nth = 1, nr_failed = 0; nth < MAX_NTH; nth++) {
		bool injected;

		len = 64;
		nth_arm(self->nth_fd, nth);
		ret = tdisp(vmm, 0, 0x85, resp, &len, &code);
		injected = nth_disarm(self->nth_fd);
		ASSERT_EQ(ret ? -ENOMEM : 0, ret);
		nr_failed += !!ret;
		if (!injected)
			break;
	}
	/* Request and response, of VFIO and of the TSM */
	EXPECT_LE(variant->pages ? 1 : 4, nr_failed);

	for (nth = 1, nr_failed = 0; nth < MAX_NTH; nth++) {
		bool injected;

		nth_arm(self->nth_fd, nth);
		fd = export(vmm, vmm->bar, SHARED_SIZE, page_size,
			    VFIO_DMA_BUF_FLAG_PRIVATE);
		injected = nth_disarm(self->nth_fd);
		nr_failed += fd < 0;
		if (fd >= 0)
			close(fd);
		if (!injected)
			break;
	}
	ASSERT_LE(0, fd);
	EXPECT_LE(variant->pages ? 1 : 3, nr_failed);

	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_FALSE(told(vmm, 0));
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	page_size = getpagesize();
	return test_harness_run(argc, argv);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device's DMA into the BAR of another device sees when that is taken
 * away and given back: with a real IOMMU, and real accesses.
 *
 * usage: vfio_dma_buf_remap_test [options] exporter dma-master
 *
 * libvfio has to have a driver for the second device. The largest BAR of the
 * first one is written to, and has to have memory behind it.
 */
#include <stdio.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

#define PATTERN_SIZE 256

static const char *device_bdf;
static const char *master_bdf;
static size_t page_size;

/* In an order that is not that of the addresses, and with holes */
static const unsigned int pages[] = { 5, 0, 1, 3 };
#define NR_PAGES ARRAY_SIZE(pages)
#define BAR_PAGES 8

FIXTURE(vfio_dma_buf_remap)
{
	struct iommu *iommu;
	struct iova_allocator *iovas;
	struct vfio_pci_device *device;
	struct vfio_pci_device *master;
	struct dma_region ram;
	void *bar;
	iova_t iova;
	int fd;
};

/* The Persistent Memory Region of an NVMe controller has to be switched on */
static void nvme_enable_pmr(struct vfio_pci_device *device)
{
	const u32 pmrctl = 0xe04;

	if (vfio_pci_config_readl(device, PCI_CLASS_REVISION) >> 8 != 0x010802)
		return;
	*(volatile u32 *)(device->bars[0].vaddr + pmrctl) = 1;
}

static u32 largest_bar(struct vfio_pci_device *device)
{
	u32 largest = PCI_STD_NUM_BARS;
	u64 size = 0;
	u32 i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		struct vfio_pci_bar *bar = &device->bars[i];

		if (bar->vaddr && bar->info.size > size) {
			largest = i;
			size = bar->info.size;
		}
	}

	return largest;
}

static void map_region(struct iommu *iommu, struct iova_allocator *iovas,
		       struct dma_region *region, u64 size)
{
	region->size = size;
	region->iova = iova_allocator_alloc(iovas, size);
	region->vaddr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(region->vaddr, MAP_FAILED);
	iommu_map(iommu, region);
}

static void fill(volatile u32 *to, u32 seed)
{
	int i;

	for (i = 0; i < PATTERN_SIZE / 4; i++)
		to[i] = seed + i * 0x01010101;
}

static bool holds(volatile u32 *at, u32 seed)
{
	int i;

	for (i = 0; i < PATTERN_SIZE / 4; i++) {
		if (at[i] != seed + i * 0x01010101)
			return false;
	}

	return true;
}

FIXTURE_SETUP(vfio_dma_buf_remap)
{
	struct vfio_region_dma_range ranges[] = {
		{ .offset = 5 * page_size, .length = page_size },
		{ .offset = 0, .length = 2 * page_size },
		{ .offset = 3 * page_size, .length = page_size },
	};
	u32 bar;

	if (!master_bdf)
		SKIP(return, "No second device");

	self->iommu = iommu_init(MODE_IOMMUFD);
	self->iovas = iova_allocator_init(self->iommu);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	self->master = vfio_pci_device_init(master_bdf, self->iommu);
	if (!self->master->driver.ops)
		SKIP(return, "libvfio has no driver for %s", master_bdf);
	if (!vfio_pci_dma_buf_supported(self->device))
		SKIP(return, "%s does not export dma-bufs", device_bdf);

	bar = largest_bar(self->device);
	if (bar == PCI_STD_NUM_BARS ||
	    self->device->bars[bar].info.size < BAR_PAGES * page_size)
		SKIP(return, "%s has no BAR to map", device_bdf);

	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	nvme_enable_pmr(self->device);
	self->bar = self->device->bars[bar].vaddr;
	fill(self->bar, 0x5a5a);
	if (!holds(self->bar, 0x5a5a))
		SKIP(return, "%s has no memory behind BAR %u", device_bdf, bar);

	/* DMA drivers need not reach far: the regions go first */
	map_region(self->iommu, self->iovas, &self->master->driver.region, SZ_2M);
	map_region(self->iommu, self->iovas, &self->ram, page_size);
	vfio_pci_driver_init(self->master);

	self->fd = vfio_pci_dma_buf_export_ranges(self->device, bar, ranges,
						  ARRAY_SIZE(ranges));
	self->iova = iova_allocator_alloc(self->iovas, NR_PAGES * page_size);
	iommu_map_dma_buf(self->iommu, self->fd, 0, NR_PAGES * page_size,
			  self->iova);
}

FIXTURE_TEARDOWN(vfio_dma_buf_remap)
{
	if (!self->master)
		return;

	if (self->master->driver.initialized)
		vfio_pci_driver_remove(self->master);
	if (self->iova) {
		iommu_unmap_dma_buf(self->iommu, NR_PAGES * page_size,
				    self->iova);
		ASSERT_EQ(0, close(self->fd));
	}
	vfio_pci_device_cleanup(self->master);
	vfio_pci_device_cleanup(self->device);
	iova_allocator_cleanup(self->iovas);
	iommu_cleanup(self->iommu);
}

/* How many pages of the buffer the DMA reads right, and writes */
static unsigned int __reachable(FIXTURE_DATA(vfio_dma_buf_remap) *self, u32 seed)
{
	unsigned int nr = 0;
	int i;

	for (i = 0; i < BAR_PAGES; i++)
		fill(self->bar + i * page_size, seed + i * 0x100);

	for (i = 0; i < NR_PAGES; i++) {
		iova_t iova = self->iova + i * page_size;
		void *page = self->bar + pages[i] * page_size;

		memset(self->ram.vaddr, 0, PATTERN_SIZE);
		vfio_pci_driver_memcpy(self->master, iova, self->ram.iova,
				       PATTERN_SIZE);
		if (!holds(self->ram.vaddr, seed + pages[i] * 0x100))
			continue;

		fill(self->ram.vaddr, ~seed - i);
		vfio_pci_driver_memcpy(self->master, self->ram.iova, iova,
				       PATTERN_SIZE);
		if (holds(page, ~seed - i))
			nr++;
	}
	return nr;
}
#define ASSERT_REACHABLE(seed) ASSERT_EQ(NR_PAGES, __reachable(self, seed))

/* The CPU cannot get at it either, so that only DMA is left to look at */
static bool dma_reads_nothing(FIXTURE_DATA(vfio_dma_buf_remap) *self)
{
	static const u8 zero[PATTERN_SIZE];
	bool nothing = true;
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		memset(self->ram.vaddr, 0, PATTERN_SIZE);
		vfio_pci_driver_memcpy(self->master, self->iova + i * page_size,
				       self->ram.iova, PATTERN_SIZE);
		nothing &= !memcmp(self->ram.vaddr, zero, PATTERN_SIZE);
	}
	return nothing;
}

TEST_F_TIMEOUT(vfio_dma_buf_remap, decode, 120)
{
	ASSERT_REACHABLE(0x1000);
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	ASSERT_TRUE(dma_reads_nothing(self));

	/* No call of userspace to the importer */
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_REACHABLE(0x2000);
}

TEST_F_TIMEOUT(vfio_dma_buf_remap, reset, 120)
{
	if (!(self->device->info.flags & VFIO_DEVICE_FLAGS_RESET))
		SKIP(return, "%s cannot be reset", device_bdf);

	ASSERT_REACHABLE(0x1000);
	vfio_pci_device_reset(self->device);
	ASSERT_REACHABLE(0x2000);
}

static void detach(struct vfio_pci_device *device)
{
	struct vfio_device_detach_iommufd_pt args = {
		.argsz = sizeof(args),
	};

	VFIO_ASSERT_EQ(0, ioctl(device->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT,
				&args));
}

static void attach(struct vfio_pci_device *device, struct iommu *iommu)
{
	struct vfio_device_attach_iommufd_pt args = {
		.argsz = sizeof(args),
		.pt_id = iommu->ioas_id,
	};

	VFIO_ASSERT_EQ(0, ioctl(device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				&args));
}

/* The domain is made when the first device is attached, and goes with the last */
TEST_F_TIMEOUT(vfio_dma_buf_remap, attach_while_revoked, 120)
{
	ASSERT_REACHABLE(0x1000);
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	detach(self->master);
	detach(self->device);

	attach(self->master, self->iommu);
	ASSERT_TRUE(dma_reads_nothing(self));
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_REACHABLE(0x2000);

	attach(self->device, self->iommu);
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_REACHABLE(0x3000);
}

/* A mapping that was made while the buffer was away */
TEST_F_TIMEOUT(vfio_dma_buf_remap, map_while_revoked, 120)
{
	size_t size = NR_PAGES * page_size;

	iommu_unmap_dma_buf(self->iommu, size, self->iova);
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	iommu_map_dma_buf(self->iommu, self->fd, 0, size, self->iova);
	ASSERT_TRUE(dma_reads_nothing(self));
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_REACHABLE(0x1000);
}

int main(int argc, char *argv[])
{
	char **bdfs;
	int nr_bdfs;

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_bdfs);
	device_bdf = bdfs[0];
	if (nr_bdfs > 1)
		master_bdf = bdfs[1];
	page_size = getpagesize();

	return test_harness_run(argc, argv);
}

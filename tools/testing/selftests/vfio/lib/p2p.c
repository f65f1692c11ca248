// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device with memory behind a BAR, and a device that reaches it by DMA.
 */
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/types.h>

#include "../../../kselftest.h"
#include <libvfio.h>

#define PCI_CLASS_NVME		0x010802
#define NVME_PMRCTL		0xe04
#define NVME_PMRCTL_EN		1

u32 vfio_pci_largest_bar(struct vfio_pci_device *device)
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

void dma_region_init(struct iommu *iommu, struct iova_allocator *iovas,
		     struct dma_region *region, u64 size)
{
	region->size = size;
	region->iova = iova_allocator_alloc(iovas, size);
	region->vaddr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(region->vaddr, MAP_FAILED);
	iommu_map(iommu, region);
}

void dma_region_cleanup(struct iommu *iommu, struct dma_region *region)
{
	iommu_unmap(iommu, region);
	VFIO_ASSERT_EQ(munmap(region->vaddr, region->size), 0);
	region->vaddr = NULL;
}

void dma_pattern_fill(void *to, u32 seed)
{
	u32 *word = to;
	int i;

	for (i = 0; i < DMA_PATTERN_SIZE / 4; i++)
		WRITE_ONCE(word[i], seed + i * 0x01010101);
}

bool dma_pattern_holds(void *at, u32 seed)
{
	u32 *word = at;
	int i;

	for (i = 0; i < DMA_PATTERN_SIZE / 4; i++) {
		if (READ_ONCE(word[i]) != seed + i * 0x01010101)
			return false;
	}

	return true;
}

void vfio_pci_p2p_enable_memory(struct vfio_pci_p2p *p2p)
{
	struct vfio_pci_device *device = p2p->device;

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY);
	p2p->bar_vaddr = device->bars[p2p->bar].vaddr;

	/* The Persistent Memory Region of an NVMe controller is off at first */
	if (vfio_pci_config_readl(device, PCI_CLASS_REVISION) >> 8 == PCI_CLASS_NVME)
		writel(NVME_PMRCTL_EN, device->bars[0].vaddr + NVME_PMRCTL);
}

const char *vfio_pci_p2p_init(struct vfio_pci_p2p *p2p, const char *device_bdf,
			      const char *master_bdf, u64 size)
{
	struct vfio_pci_device *device, *master;

	memset(p2p, 0, sizeof(*p2p));

	if (!master_bdf)
		return "No second device";

	p2p->iommu = iommu_init(MODE_IOMMUFD);
	p2p->iovas = iova_allocator_init(p2p->iommu);
	device = vfio_pci_device_init(device_bdf, p2p->iommu);
	p2p->device = device;
	master = vfio_pci_device_init(master_bdf, p2p->iommu);
	p2p->master = master;

	if (!master->driver.ops)
		return "libvfio has no driver for the second device";
	if (!vfio_pci_dma_buf_supported(device))
		return "The first device does not export dma-bufs";

	p2p->bar = vfio_pci_largest_bar(device);
	if (p2p->bar == PCI_STD_NUM_BARS ||
	    device->bars[p2p->bar].info.size < size)
		return "The first device has no BAR that is large enough";

	vfio_pci_p2p_enable_memory(p2p);
	dma_pattern_fill(p2p->bar_vaddr, 0x5a5a);
	if (!dma_pattern_holds(p2p->bar_vaddr, 0x5a5a))
		return "The first device has no memory behind its BAR";

	/* DMA need not reach far: the regions get the first addresses */
	dma_region_init(p2p->iommu, p2p->iovas, &master->driver.region, SZ_2M);
	dma_region_init(p2p->iommu, p2p->iovas, &p2p->ram, getpagesize());
	vfio_pci_driver_init(master);

	return NULL;
}

void vfio_pci_p2p_cleanup(struct vfio_pci_p2p *p2p)
{
	struct dma_region *region;

	if (!p2p->iommu)
		return;

	region = &p2p->master->driver.region;
	if (p2p->master->driver.initialized)
		vfio_pci_driver_remove(p2p->master);
	if (p2p->ram.vaddr)
		dma_region_cleanup(p2p->iommu, &p2p->ram);
	if (region->vaddr)
		dma_region_cleanup(p2p->iommu, region);

	vfio_pci_device_cleanup(p2p->master);
	vfio_pci_device_cleanup(p2p->device);
	iova_allocator_cleanup(p2p->iovas);
	iommu_cleanup(p2p->iommu);
}

void vfio_pci_p2p_reopen_device(struct vfio_pci_p2p *p2p)
{
	const char *bdf = p2p->device->bdf;

	vfio_pci_device_cleanup(p2p->device);
	p2p->device = vfio_pci_device_init(bdf, p2p->iommu);
	vfio_pci_p2p_enable_memory(p2p);
}

bool vfio_pci_p2p_reads(struct vfio_pci_p2p *p2p, iova_t iova, u32 seed)
{
	memset(p2p->ram.vaddr, 0, DMA_PATTERN_SIZE);

	/* Not all devices notice when DMA fails: what has arrived decides */
	vfio_pci_driver_memcpy(p2p->master, iova, p2p->ram.iova,
			       DMA_PATTERN_SIZE);

	return dma_pattern_holds(p2p->ram.vaddr, seed);
}

bool vfio_pci_p2p_writes(struct vfio_pci_p2p *p2p, iova_t iova, void *vaddr,
			 u32 seed)
{
	dma_pattern_fill(p2p->ram.vaddr, seed);
	vfio_pci_driver_memcpy(p2p->master, p2p->ram.iova, iova,
			       DMA_PATTERN_SIZE);

	return dma_pattern_holds(vaddr, seed);
}

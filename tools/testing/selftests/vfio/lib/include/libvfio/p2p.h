/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_P2P_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_P2P_H

#include <linux/types.h>

#include <libvfio/iommu.h>
#include <libvfio/iova_allocator.h>
#include <libvfio/vfio_pci_device.h>

/* What a test looks for: every word of it has another value */
#define DMA_PATTERN_SIZE 256

/* Both devices are in one IOAS */
struct vfio_pci_p2p {
	struct iommu *iommu;
	struct iova_allocator *iovas;

	/* Has memory behind its largest BAR */
	struct vfio_pci_device *device;
	u32 bar;
	void *bar_vaddr;

	/* Has a driver, which is initialized */
	struct vfio_pci_device *master;

	/* A page of the test's own */
	struct dma_region ram;
};

/*
 * The largest of the BARs that are mapped, PCI_STD_NUM_BARS if there is none.
 */
u32 vfio_pci_largest_bar(struct vfio_pci_device *device);

/* Map anonymous memory, and let the IOMMU map it */
void dma_region_init(struct iommu *iommu, struct iova_allocator *iovas,
		     struct dma_region *region, u64 size);
void dma_region_cleanup(struct iommu *iommu, struct dma_region *region);

/*
 * Open two devices, one with @size bytes of memory behind a BAR and one to
 * reach it by DMA.
 *
 * Returns NULL, or why these devices do not serve. vfio_pci_p2p_cleanup() has to
 * follow in either case.
 */
const char *vfio_pci_p2p_init(struct vfio_pci_p2p *p2p, const char *device_bdf,
			      const char *master_bdf, u64 size);
void vfio_pci_p2p_cleanup(struct vfio_pci_p2p *p2p);

/* Make the memory accessible, of a device that was just opened or reset */
void vfio_pci_p2p_enable_memory(struct vfio_pci_p2p *p2p);

/* Close the device that has the memory, and open it again */
void vfio_pci_p2p_reopen_device(struct vfio_pci_p2p *p2p);

void dma_pattern_fill(void *to, u32 seed);
bool dma_pattern_holds(void *at, u32 seed);

/* Whether the master reads the pattern at @iova, and no word of something else */
bool vfio_pci_p2p_reads(struct vfio_pci_p2p *p2p, iova_t iova, u32 seed);

/* Whether the pattern that the master writes to @iova arrives at @vaddr */
bool vfio_pci_p2p_writes(struct vfio_pci_p2p *p2p, iova_t iova, void *vaddr,
			 u32 seed);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_P2P_H */

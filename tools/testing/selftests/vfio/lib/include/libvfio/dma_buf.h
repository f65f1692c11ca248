/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_DMA_BUF_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_DMA_BUF_H

#include <fcntl.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio/assert.h>
#include <libvfio/iommu.h>

struct vfio_pci_device;

/*
 * Export @nr ranges of region @index as one dma-buf.
 *
 * Returns its file descriptor, or -errno.
 */
int __vfio_pci_dma_buf_export(struct vfio_pci_device *device, u32 index,
			      const struct vfio_region_dma_range *ranges, u32 nr,
			      u32 open_flags);

static inline int
vfio_pci_dma_buf_export_ranges(struct vfio_pci_device *device, u32 index,
			       const struct vfio_region_dma_range *ranges, u32 nr)
{
	int fd;

	fd = __vfio_pci_dma_buf_export(device, index, ranges, nr,
				       O_RDWR | O_CLOEXEC);
	VFIO_ASSERT_GE(fd, 0, "Failed to export region %u\n", index);
	return fd;
}

static inline int vfio_pci_dma_buf_export(struct vfio_pci_device *device,
					  u32 index, u64 offset, u64 length)
{
	struct vfio_region_dma_range range = {
		.offset = offset,
		.length = length,
	};

	return vfio_pci_dma_buf_export_ranges(device, index, &range, 1);
}

/* Whether the driver of the device exports dma-bufs at all */
bool vfio_pci_dma_buf_supported(struct vfio_pci_device *device);

/* Map @length bytes of a dma-buf from @offset on. Only for MODE_IOMMUFD. */
int __iommu_map_dma_buf(struct iommu *iommu, int fd, u64 offset, u64 length,
			iova_t iova);

static inline void iommu_map_dma_buf(struct iommu *iommu, int fd, u64 offset,
				     u64 length, iova_t iova)
{
	VFIO_ASSERT_EQ(__iommu_map_dma_buf(iommu, fd, offset, length, iova), 0);
}

int __iommu_unmap_dma_buf(struct iommu *iommu, u64 length, iova_t iova);

static inline void iommu_unmap_dma_buf(struct iommu *iommu, u64 length,
				       iova_t iova)
{
	VFIO_ASSERT_EQ(__iommu_unmap_dma_buf(iommu, length, iova), 0);
}

/*
 * What debugfs tells about the importers of a dma-buf that take its physical
 * ranges: how many are attached, and how many of them hold a map now.
 *
 * Returns 0, or -errno: -ENOENT without debugfs.
 */
int dma_buf_importers(int fd, unsigned int *attached, unsigned int *mapped);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_DMA_BUF_H */

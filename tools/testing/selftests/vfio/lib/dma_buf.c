// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/iommufd.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include "../../../kselftest.h"
#include <libvfio.h>

#define BUFINFO "/sys/kernel/debug/dma_buf/bufinfo"

int __vfio_pci_dma_buf_export(struct vfio_pci_device *device, u32 index,
			      const struct vfio_region_dma_range *ranges, u32 nr,
			      u32 open_flags)
{
	struct vfio_device_feature_dma_buf *dma_buf;
	struct vfio_device_feature *feature;
	size_t argsz;
	int fd;

	argsz = sizeof(*feature) + sizeof(*dma_buf) + nr * sizeof(*ranges);
	feature = calloc_assert(1, argsz);
	feature->argsz = argsz;
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;

	dma_buf = (void *)feature->data;
	dma_buf->region_index = index;
	dma_buf->open_flags = open_flags;
	dma_buf->nr_ranges = nr;
	if (nr)
		memcpy(dma_buf->dma_ranges, ranges, nr * sizeof(*ranges));

	fd = ioctl(device->fd, VFIO_DEVICE_FEATURE, feature);
	if (fd < 0)
		fd = -errno;

	free(feature);
	return fd;
}

bool vfio_pci_dma_buf_supported(struct vfio_pci_device *device)
{
	struct vfio_device_feature feature = {
		.argsz = sizeof(feature),
		.flags = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET |
			 VFIO_DEVICE_FEATURE_DMA_BUF,
	};

	return !ioctl(device->fd, VFIO_DEVICE_FEATURE, &feature);
}

int __iommu_map_dma_buf(struct iommu *iommu, int fd, u64 offset, u64 length,
			iova_t iova)
{
	struct iommu_ioas_map_file args = {
		.size = sizeof(args),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = iommu->ioas_id,
		.fd = fd,
		.start = offset,
		.length = length,
		.iova = iova,
	};

	if (ioctl(iommu->iommufd, IOMMU_IOAS_MAP_FILE, &args))
		return -errno;

	return 0;
}

int __iommu_unmap_dma_buf(struct iommu *iommu, u64 length, iova_t iova)
{
	struct iommu_ioas_unmap args = {
		.size = sizeof(args),
		.ioas_id = iommu->ioas_id,
		.iova = iova,
		.length = length,
	};

	if (ioctl(iommu->iommufd, IOMMU_IOAS_UNMAP, &args))
		return -errno;

	return 0;
}

int dma_buf_importers(int fd, unsigned int *attached, unsigned int *mapped)
{
	bool found = false;
	char line[256];
	struct stat st;
	FILE *file;

	if (fstat(fd, &st))
		return -errno;

	file = fopen(BUFINFO, "r");
	if (!file)
		return -errno;

	*attached = 0;
	*mapped = 0;

	while (fgets(line, sizeof(line), file)) {
		unsigned long long ino;
		char *pfn;

		/* size, flags, mode, count, exp_name, ino: a buffer begins */
		if (sscanf(line, "%*u\t%*x\t%*x\t%*d\t%*s\t%llu", &ino) == 1)
			found = ino == st.st_ino;

		if (!found)
			continue;

		pfn = strstr(line, " (pfn");
		if (pfn) {
			(*attached)++;
			if (strstr(pfn, ", mapped"))
				(*mapped)++;
		}
	}

	fclose(file);
	return 0;
}

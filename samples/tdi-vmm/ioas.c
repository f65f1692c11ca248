// SPDX-License-Identifier: GPL-2.0-only
/*
 * iommufd: an IO address space, and what is mapped into it
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <linux/iommufd.h>

#include "tdi-vmm.h"

int iommufd_open(void)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		if (errno == ENOENT)
			hint("needs CONFIG_IOMMUFD; try modprobe iommufd");
		fail("/dev/iommu: %s", strerror(errno));
	}
	return fd;
}

__u32 ioas_alloc(int iommufd)
{
	struct iommu_ioas_alloc alloc = {
		.size = sizeof(alloc),
	};

	if (xioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc))
		fail("IOMMU_IOAS_ALLOC: %s", strerror(errno));
	return alloc.out_ioas_id;
}

/*
 * The mapping keeps the buffer alive, so its fd may be closed at once. While
 * the owner has taken the buffer back, DMA to @iova faults in the IOMMU; when
 * the buffer returns, so does the mapping.
 */
void ioas_map_dmabuf(int iommufd, __u32 ioas, __u64 iova, int dmabuf,
		     __u64 offset, __u64 size)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.fd = dmabuf,
		.start = offset,
		.length = size,
		.iova = iova,
	};

	if (xioctl(iommufd, IOMMU_IOAS_MAP_FILE, &map)) {
		if (errno == EOPNOTSUPP)
			hint("the exporter has no ranges that iommufd takes");
		fail("IOMMU_IOAS_MAP_FILE of the dma-buf: %s", strerror(errno));
	}
}

void ioas_map_memory(int iommufd, __u32 ioas, __u64 iova, void *va,
		     __u64 size)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)va,
		.length = size,
		.iova = iova,
	};

	if (xioctl(iommufd, IOMMU_IOAS_MAP, &map)) {
		if (errno == ENOMEM)
			hint("it is pinned, so see ulimit -l");
		fail("IOMMU_IOAS_MAP: %s", strerror(errno));
	}
}

__u64 ioas_unmap(int iommufd, __u32 ioas, __u64 iova, __u64 size)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = ioas,
		.iova = iova,
		.length = size,
	};

	if (xioctl(iommufd, IOMMU_IOAS_UNMAP, &unmap))
		fail("IOMMU_IOAS_UNMAP: %s", strerror(errno));
	return unmap.length;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA of a device into dma-bufs that are memory: udmabuf and the dma-buf heaps,
 * mapped by IOMMU_IOAS_MAP_FILE
 *
 * usage: vfio_dma_buf_ram_test [options] dma-master
 *
 * libvfio has to have a driver for the device.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/dma-heap.h>
#include <linux/log2.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/udmabuf.h>

#include <libvfio.h>

#include "kselftest_harness.h"

static const char *master_bdf;
static size_t page_size;

FIXTURE(vfio_dma_buf_ram)
{
	struct iommu *iommu;
	struct iova_allocator *iovas;
	struct vfio_pci_device *master;
	struct dma_region ram;
	size_t size;
	iova_t iova;
	u8 *mem;
	int fd;
};

FIXTURE_VARIANT(vfio_dma_buf_ram)
{
	/* The heap, or none for a udmabuf */
	const char *heap;
	unsigned int memfd_flags;
	unsigned int pages;
};

FIXTURE_VARIANT_ADD(vfio_dma_buf_ram, system_heap)
{
	.heap = "/dev/dma_heap/system",
	.pages = 347,
};

FIXTURE_VARIANT_ADD(vfio_dma_buf_ram, cma_heap)
{
	.heap = "/dev/dma_heap/default_cma_region",
	.pages = 61,
};

FIXTURE_VARIANT_ADD(vfio_dma_buf_ram, udmabuf)
{
	.pages = 61,
};

FIXTURE_VARIANT_ADD(vfio_dma_buf_ram, udmabuf_hugetlb)
{
	.memfd_flags = MFD_HUGETLB,
	.pages = 1024,
};

static int heap_alloc(const char *path, size_t size)
{
	struct dma_heap_allocation_data data = {
		.len = size,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int fd, ret;

	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	ret = ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &data) ? -errno : data.fd;
	close(fd);
	return ret;
}

static int udmabuf_alloc(unsigned int memfd_flags, size_t size)
{
	struct udmabuf_create create = { .size = size };
	int dev, ret;

	dev = open("/dev/udmabuf", O_RDWR);
	if (dev < 0)
		return -errno;
	ret = memfd_create("vfio_dma_buf_ram", MFD_ALLOW_SEALING | memfd_flags);
	VFIO_ASSERT_GE(ret, 0);
	create.memfd = ret;
	VFIO_ASSERT_EQ(ftruncate(create.memfd, size), 0);
	VFIO_ASSERT_EQ(fcntl(create.memfd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	ret = ioctl(dev, UDMABUF_CREATE, &create);
	if (ret < 0)
		ret = -errno;
	close(create.memfd);
	close(dev);
	return ret;
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

FIXTURE_SETUP(vfio_dma_buf_ram)
{
	self->size = variant->pages * page_size;
	if (variant->heap)
		self->fd = heap_alloc(variant->heap, self->size);
	else
		self->fd = udmabuf_alloc(variant->memfd_flags, self->size);
	if (self->fd == -ENOENT)
		SKIP(return, "There is no %s", variant->heap ?: "/dev/udmabuf");
	if (self->fd < 0 && variant->memfd_flags)
		SKIP(return, "No huge pages");
	ASSERT_LE(0, self->fd);
	self->mem = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);

	self->iommu = iommu_init(MODE_IOMMUFD);
	self->iovas = iova_allocator_init(self->iommu);
	self->master = vfio_pci_device_init(master_bdf, self->iommu);
	if (!self->master->driver.ops)
		SKIP(return, "libvfio has no driver for %s", master_bdf);

	/* DMA drivers need not reach far: the regions go first */
	map_region(self->iommu, self->iovas, &self->master->driver.region, SZ_2M);
	map_region(self->iommu, self->iovas, &self->ram, page_size);
	vfio_pci_driver_init(self->master);
	self->iova = iova_allocator_alloc(self->iovas,
					  roundup_pow_of_two(self->size));
}

FIXTURE_TEARDOWN(vfio_dma_buf_ram)
{
	if (!self->master)
		return;

	if (self->master->driver.initialized)
		vfio_pci_driver_remove(self->master);
	vfio_pci_device_cleanup(self->master);
	iova_allocator_cleanup(self->iovas);
	iommu_cleanup(self->iommu);
}

#define PATTERN_SIZE 256

static void fill(void *to, u32 seed)
{
	int i;

	for (i = 0; i < PATTERN_SIZE / 4; i++)
		WRITE_ONCE(((u32 *)to)[i], seed + i * 0x01010101);
}

static bool holds(void *at, u32 seed)
{
	int i;

	for (i = 0; i < PATTERN_SIZE / 4; i++) {
		if (READ_ONCE(((u32 *)at)[i]) != seed + i * 0x01010101)
			return false;
	}

	return true;
}

/* Whether the pattern arrives at the other end, and no word of it elsewhere */
#define DMA_READS(_iova, _seed) ({					\
	memset(self->ram.vaddr, 0, PATTERN_SIZE);			\
	vfio_pci_driver_memcpy(self->master, _iova, self->ram.iova,	\
			       PATTERN_SIZE);				\
	holds(self->ram.vaddr, _seed);					\
})

#define DMA_WRITES(_iova, _seed) ({					\
	fill(self->ram.vaddr, _seed);					\
	vfio_pci_driver_memcpy(self->master, self->ram.iova, _iova,	\
			       PATTERN_SIZE);				\
})

/* Enough pages of a large buffer to see each of its ranges, or most of them */
static unsigned int step_of(unsigned int pages)
{
	return pages > 400 ? 31 : pages > 100 ? 3 : 1;
}

TEST_F(vfio_dma_buf_ram, whole)
{
	unsigned int i, step = step_of(variant->pages);

	for (i = 0; i < variant->pages; i++)
		fill(self->mem + i * page_size, i << 8);
	iommu_map_dma_buf(self->iommu, self->fd, 0, self->size, self->iova);

	for (i = 0; i < variant->pages; i += step)
		ASSERT_TRUE(DMA_READS(self->iova + i * page_size, i << 8));
	ASSERT_TRUE(DMA_READS(self->iova + self->size - page_size,
			      (variant->pages - 1) << 8));

	for (i = 0; i < variant->pages; i += step)
		ASSERT_EQ(0, DMA_WRITES(self->iova + i * page_size, ~(i << 8)));
	for (i = 0; i < variant->pages; i++)
		ASSERT_TRUE(holds(self->mem + i * page_size,
				  i % step ? i << 8 : ~(i << 8)));

	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
	ASSERT_FALSE(DMA_READS(self->iova + page_size, 1 << 8));
}

TEST_F(vfio_dma_buf_ram, part)
{
	unsigned int first = 5, nr = 23, i;

	for (i = 0; i < variant->pages; i++)
		fill(self->mem + i * page_size, i << 8);
	iommu_map_dma_buf(self->iommu, self->fd, first * page_size,
			  nr * page_size, self->iova);
	for (i = 0; i < nr; i++)
		ASSERT_TRUE(DMA_READS(self->iova + i * page_size,
				      (first + i) << 8));
	ASSERT_FALSE(DMA_READS(self->iova + nr * page_size, (first + nr) << 8));
	iommu_unmap_dma_buf(self->iommu, nr * page_size, self->iova);
}

/* The mapping keeps the memory */
TEST_F(vfio_dma_buf_ram, closed_first)
{
	unsigned int i;

	iommu_map_dma_buf(self->iommu, self->fd, 0, self->size, self->iova);
	ASSERT_EQ(0, munmap(self->mem, self->size));
	ASSERT_EQ(0, close(self->fd));
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, DMA_WRITES(self->iova + i * page_size, i << 8));
	for (i = 0; i < 16; i++)
		ASSERT_TRUE(DMA_READS(self->iova + i * page_size, i << 8));
	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
}

int main(int argc, char *argv[])
{
	master_bdf = vfio_selftests_get_bdf(&argc, argv);
	page_size = getpagesize();

	return test_harness_run(argc, argv);
}

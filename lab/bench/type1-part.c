// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM does today for DMA between devices: the container of VFIO's type1,
 * which takes the address at which the VMM has mapped the BAR
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "bench.h"

#define BAR_IOVA	(256 * SZ_1G)

static void type1_open(struct bar *bar, const char *bdf, int *container)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[128], link[256];
	ssize_t len;
	int group;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		fail("%s: %s", path, strerror(errno));
	link[len] = 0;

	*container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (*container < 0)
		fail("/dev/vfio/vfio: %s", strerror(errno));
	snprintf(path, sizeof(path), "/dev/vfio/%s", basename(link));
	group = open(path, O_RDWR | O_CLOEXEC);
	if (group < 0)
		fail("%s: %s", path, strerror(errno));
	if (xioctl(group, VFIO_GROUP_GET_STATUS, &status) ||
	    !(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		fail("%s is not viable", path);
	if (xioctl(group, VFIO_GROUP_SET_CONTAINER, container))
		fail("VFIO_GROUP_SET_CONTAINER: %s", strerror(errno));
	if (xioctl(*container, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU))
		fail("VFIO_SET_IOMMU: %s", strerror(errno));

	bar->dev.bdf = bdf;
	bar->dev.fd = xioctl(group, VFIO_GROUP_GET_DEVICE_FD, (void *)bdf);
	if (bar->dev.fd < 0)
		fail("VFIO_GROUP_GET_DEVICE_FD: %s", strerror(errno));
}

static void type1_map(int container, void *va, __u64 size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va,
		.iova = BAR_IOVA,
		.size = size,
	};

	if (xioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		fail("VFIO_IOMMU_MAP_DMA: %s", strerror(errno));
}

static void type1_unmap(int container, __u64 size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = BAR_IOVA,
		.size = size,
	};

	if (xioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		fail("VFIO_IOMMU_UNMAP_DMA: %s", strerror(errno));
	if (unmap.size != size)
		fail("VFIO_IOMMU_UNMAP_DMA: 0x%llx bytes", unmap.size);
}

/* With and without what a fault of the whole BAR into the VMM's page tables costs */
static void type1_round(struct bar *bar, int container, const char *name,
			const struct layout *layout, __u64 misaligned,
			bool first)
{
	const char *way = misaligned ? "type1-bad" : "type1";
	__u64 size = layout_size(layout);
	struct memory before, after;
	__u64 start;
	void *va;

	if (first) {
		before = memory_used();
		trace_start();
	}
	start = now();
	va = bar_mmap(bar, layout, misaligned);
	type1_map(container, va, size);
	if (!first)
		sample(name, way, "map", start);
	if (first) {
		trace_stop();
		after = memory_used();
		value(name, way, "iommu-map-calls", trace_count("map"));
		value(name, way, "page-table-pages",
		      after.page_tables - before.page_tables);
	}

	start = now();
	type1_unmap(container, size);
	if (!first)
		sample(name, way, "unmap", start);
	bar_munmap(bar, va);
}

void bench_type1(const struct options *opt)
{
	struct bar bar = { .index = opt->bar };
	struct layout whole, part, gib, hole;
	int container;

	type1_open(&bar, opt->device, &container);
	bar_setup(&bar);
	bar_layouts(&bar, opt, &whole, &hole);
	part = whole;
	part.segments[0].size = opt->part;
	gib = whole;
	gib.segments[0].size = SZ_1G;

	trace_open();
	trace_enable("iommu/map");
	for (unsigned int i = 0; i <= opt->rounds; i++) {
		type1_round(&bar, container, "type1-part", &part, 0, !i);
		type1_round(&bar, container, "type1-part", &part, SZ_4K, !i);
		/* Unmapping looks at every page of 4 KiB: all would take a minute */
		if (i <= 3)
			type1_round(&bar, container, "type1-1g", &gib, 0, !i);
	}
	trace_close();
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A BAR in the IOMMU's page tables, by iommufd and by dma-buf. This part runs on
 * the stock kernel too, which has that for one range, and once: what it has
 * unmapped because memory decode was off it does not map again.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/iommufd.h>

#include "bench.h"

#define MEMORY_IOVA	SZ_64M

void layout_export(struct ioas_bench *b, const struct layout *layout, int *fds)
{
	/* The stock kernel takes buffers of one range only */
	if (!b->stock)
		fds[0] = bar_export(&b->bar, layout->segments, layout->nr);
	for (unsigned int i = 0; b->stock && i < layout->nr; i++)
		fds[i] = bar_export(&b->bar, &layout->segments[i], 1);
}

void layout_map(struct ioas_bench *b, const struct layout *layout,
		const int *fds)
{
	__u64 offset = 0;

	for (unsigned int i = 0; i < layout->nr; i++) {
		const struct segment *segment = &layout->segments[i];

		ioas_map_dmabuf(b->iommufd, b->ioas, BAR_IOVA + segment->offset,
				b->stock ? fds[i] : fds[0],
				b->stock ? 0 : offset, segment->size);
		offset += segment->size;
	}
}

void layout_close(struct ioas_bench *b, const struct layout *layout, int *fds)
{
	for (unsigned int i = 0; i < (b->stock ? layout->nr : 1); i++)
		close(fds[i]);
}

void layout_unmap(struct ioas_bench *b, const struct layout *layout)
{
	for (unsigned int i = 0; i < layout->nr; i++)
		ioas_unmap(b->iommufd, b->ioas,
			   BAR_IOVA + layout->segments[i].offset,
			   layout->segments[i].size);
}

/* One more set of page tables, for devices that cannot share the first one */
static __u32 domain_create(struct ioas_bench *b)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.dev_id = b->peer.devid,
		.pt_id = b->ioas,
	};

	if (xioctl(b->iommufd, IOMMU_HWPT_ALLOC, &alloc))
		fail("IOMMU_HWPT_ALLOC: %s", strerror(errno));
	return alloc.out_hwpt_id;
}

static void domain_destroy(struct ioas_bench *b, __u32 id)
{
	struct iommu_destroy destroy = {
		.size = sizeof(destroy),
		.id = id,
	};

	if (xioctl(b->iommufd, IOMMU_DESTROY, &destroy))
		fail("IOMMU_DESTROY: %s", strerror(errno));
}

/* The peer writes to both ends of each segment: does it arrive? */
static void check_dma(struct ioas_bench *b, const char *name,
		      const struct layout *layout, const char *what)
{
	__u64 right = 0, all = 0;

	for (unsigned int i = 0; i < layout->nr; i++) {
		const struct segment *segment = &layout->segments[i];

		for (unsigned int last = 0; last < 2; last++) {
			__u64 offset = segment->offset +
				       last * (segment->size - SZ_4K);
			__u64 mark = now(), found = 0;

			b->memory[0] = mark;
			b->memory[511] = ~mark;
			edu_copy_in(&b->peer, MEMORY_IOVA, SZ_4K);
			edu_copy_out(&b->peer, BAR_IOVA + offset, SZ_4K);
			vfio_bar_read(&b->bar.dev, b->bar.index, offset, &found,
				      sizeof(found));
			if (found == mark)
				vfio_bar_read(&b->bar.dev, b->bar.index,
					      offset + SZ_4K - 8, &found,
					      sizeof(found));
			right += found == ~mark;
			all++;
		}
	}
	count(name, b->way, what, right, all);
}

static void ioas_counts(struct ioas_bench *b, const char *name,
			const struct layout *layout, bool memory_behind)
{
	struct memory memory, used;
	__u32 domain;
	int fds[2];

	/* With a domain of each device, so that each counts twice */
	domain = domain_create(b);
	layout_export(b, layout, fds);
	memory = memory_used();
	trace_start();
	layout_map(b, layout, fds);
	trace_stop();
	used = memory_used();
	count(name, b->way, "iommu-map-calls", trace_count("map"),
	      2 * layout->nr);
	value(name, b->way, "iommu-pages", (__s64)(used.iommu - memory.iommu) / 2);
	if (!b->stock)
		count(name, b->way, "ranges", trace_count("dma_buf_pfn_range"),
		      layout->nr);
	if (memory_behind)
		check_dma(b, name, layout, "dma-arrives");

	trace_start();
	bar_decode(&b->bar, false);
	trace_stop();
	count(name, b->way, "iommu-unmap-calls-off", trace_count("unmap"),
	      2 * layout->nr);
	trace_start();
	bar_decode(&b->bar, true);
	trace_stop();
	count(name, b->way, "iommu-map-calls-on", trace_count("map"),
	      b->stock ? 0 : 2 * layout->nr);
	if (memory_behind && !b->stock)
		check_dma(b, name, layout, "dma-arrives-again");

	/* One that comes while the buffer is away */
	domain_destroy(b, domain);
	bar_decode(&b->bar, false);
	domain = domain_create(b);
	trace_start();
	bar_decode(&b->bar, true);
	trace_stop();
	count(name, b->way, "iommu-map-calls-domain-while-off",
	      trace_count("map"), b->stock ? 0 : 2 * layout->nr);

	trace_start();
	layout_unmap(b, layout);
	trace_stop();
	count(name, b->way, "iommu-unmap-calls", trace_count("unmap"),
	      b->stock ? 0 : 2 * layout->nr);
	domain_destroy(b, domain);
	layout_close(b, layout, fds);
}

/* Without events, of which even the ones that are off take time */
static void ioas_round(struct ioas_bench *b, const char *name,
		       const struct layout *layout)
{
	__u32 domain;
	__u64 start;
	int fds[2];

	start = now();
	bar_decode(&b->bar, false);
	sample(name, "none", "off", start);
	start = now();
	bar_decode(&b->bar, true);
	sample(name, "none", "on", start);
	start = now();
	domain = domain_create(b);
	sample(name, "none", "domain", start);
	domain_destroy(b, domain);

	/* What a VMM does for a device that comes and goes */
	layout_export(b, layout, fds);
	start = now();
	layout_map(b, layout, fds);
	sample(name, b->way, "map", start);
	start = now();
	layout_unmap(b, layout);
	sample(name, b->way, "unmap", start);

	/* And what its guest does by memory decode, as soon after the mapping */
	layout_map(b, layout, fds);
	start = now();
	bar_decode(&b->bar, false);
	sample(name, b->way, "off", start);
	start = now();
	bar_decode(&b->bar, true);
	sample(name, b->way, "on", start);

	start = now();
	domain = domain_create(b);
	sample(name, b->way, "domain", start);
	domain_destroy(b, domain);
	layout_unmap(b, layout);
	layout_close(b, layout, fds);
}

static void events_enable(struct ioas_bench *b)
{
	if (!b->stock)
		trace_enable("dma_buf_pfn");
	trace_enable("iommu/map");
	trace_enable("iommu/unmap");
}

/* A VMA of device memory is not for iommufd, so there is nothing to compare with */
static void check_vma(struct ioas_bench *b, const struct layout *whole)
{
	void *va = bar_mmap(&b->bar, whole, 0);
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = b->ioas,
		.user_va = (uintptr_t)va,
		.length = SZ_64M,
		.iova = BAR_IOVA,
	};

	value("ioas", b->way, "vma-is-refused",
	      ioctl(b->iommufd, IOMMU_IOAS_MAP, &map) && errno == EFAULT);
	bar_munmap(&b->bar, va);
}

void ioas_bench_open(struct ioas_bench *b, const struct options *opt)
{
	b->stock = opt->stock;
	b->way = opt->stock ? "stock" : "ours";
	bar_open(&b->bar, opt->device, opt->bar);
	b->iommufd = iommufd_open();
	vfio_bind(&b->bar.dev, b->iommufd);
	b->ioas = ioas_alloc(b->iommufd);
	vfio_attach(&b->bar.dev, b->ioas);
	bar_setup(&b->bar);

	b->memory = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b->memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	ioas_map_memory(b->iommufd, b->ioas, MEMORY_IOVA, b->memory, SZ_4K);
}

void bench_ioas(const struct options *opt)
{
	struct ioas_bench b = {};
	const char *hole_name;
	struct layout whole, hole;
	bool big;

	if (!opt->peer)
		fail("the ioas part needs --peer");
	ioas_bench_open(&b, opt);
	vfio_open(&b.peer, opt->peer);
	vfio_bind(&b.peer, b.iommufd);
	if (!edu_is(&b.peer))
		fail("%s is not QEMU's edu", opt->peer);
	vfio_attach(&b.peer, b.ioas);
	vfio_set_command(&b.peer, 0, 0x6);
	bar_layouts(&b.bar, opt, &whole, &hole);

	big = !strcmp(hole.name, "hole");
	hole_name = big ? "ioas-hole" : "ioas-msix";
	if (big)
		check_vma(&b, &whole);

	trace_open();
	events_enable(&b);
	/* First, as a page table keeps what it once had */
	if (big)
		ioas_counts(&b, "ioas-whole", &whole, true);
	ioas_counts(&b, hole_name, &hole, big);
	trace_close();

	for (unsigned int i = 0; i < MORE_ROUNDS * opt->rounds; i++) {
		if (big)
			ioas_round(&b, "ioas-whole", &whole);
		ioas_round(&b, hole_name, &hole);
	}
}

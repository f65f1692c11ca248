// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel itself does to map a BAR, to unmap and revoke it, and to map it
 * again: probes time the functions that do, so that neither the system call nor
 * the write to the device is part of it. Also on the stock kernel, see
 * ioas-part.c.
 */
#include <unistd.h>

#include "bench.h"

/*
 * The stock kernel has not the last one: _move() has an argument that says what to
 * do. Here memory decode off calls both, and all of that is the revoke.
 */
static const char *const functions[] = {
	"iommufd_ioas_map_file",
	"iommufd_ioas_unmap",
	"vfio_pci_dma_buf_move",
	"vfio_pci_dma_buf_revoke",
};

static void events_start(struct ioas_bench *b)
{
	trace_disable();
	trace_enable("iommu/map");
	trace_enable("iommu/unmap");
	trace_enable("intel_iommu/qi_submit");
	if (!b->stock)
		trace_enable("dma_buf_pfn");
	trace_start();
}

static void values(struct ioas_bench *b, const char *name, const char *what)
{
	char text[64];

	snprintf(text, sizeof(text), "%s-unmaps", what);
	value(name, b->way, text, trace_count("unmap"));
	snprintf(text, sizeof(text), "%s-invalidations", what);
	value(name, b->way, text, trace_count("qi_submit"));
}

/* What the IOMMU driver is told, and what it tells the IOMMU */
static void kernel_counts(struct ioas_bench *b, const char *name,
			  const struct layout *layout)
{
	int fds[2];

	layout_export(b, layout, fds);
	layout_map(b, layout, fds);
	events_start(b);
	layout_unmap(b, layout);
	trace_stop();
	values(b, name, "unmap");

	layout_map(b, layout, fds);
	events_start(b);
	bar_decode(&b->bar, false);
	trace_stop();
	values(b, name, "revoke");

	events_start(b);
	bar_decode(&b->bar, true);
	trace_stop();
	count(name, b->way, "iommu-map-calls-on", trace_count("map"),
	      b->stock ? 0 : layout->nr);
	layout_unmap(b, layout);
	layout_close(b, layout, fds);
}

/* Both ways to be rid of a mapping come as soon after it */
static void kernel_round(struct ioas_bench *b, const char *name,
			 const struct layout *layout)
{
	__u64 again;
	int fds[2];

	layout_export(b, layout, fds);
	layout_map(b, layout, fds);
	sample_ns(name, b->way, "map", probe_time());
	layout_unmap(b, layout);
	sample_ns(name, b->way, "unmap", probe_time());

	layout_map(b, layout, fds);
	probe_time();
	bar_decode(&b->bar, false);
	sample_ns(name, b->way, "revoke", probe_time());
	bar_decode(&b->bar, true);
	again = probe_time();
	if (!b->stock)
		sample_ns(name, b->way, "again", again);
	layout_unmap(b, layout);
	probe_time();
	layout_close(b, layout, fds);
}

/*
 * @nr ranges that are not contiguous, at contiguous IOVAs: map, unmap, revoke and
 * mapping again, for more and more ranges or more and more of each.
 */
static void ranges_case(struct ioas_bench *b, const struct options *opt,
			const char *name, unsigned int nr, __u64 size,
			__u64 first, __u64 stride)
{
	struct segment *segments = calloc(nr, sizeof(*segments));
	char way[32];
	int fd;

	if (!segments)
		fail("out of memory");
	for (unsigned int i = 0; i < nr; i++) {
		segments[i].offset = first + (nr - 1 - i) * stride;
		segments[i].size = size;
	}
	snprintf(way, sizeof(way), "%ux%llu", nr, size);

	/* One round to count */
	fd = bar_export(&b->bar, segments, nr);
	events_start(b);
	ioas_map_dmabuf(b->iommufd, b->ioas, BAR_IOVA, fd, 0, nr * size);
	trace_stop();
	count(name, way, "iommu-map-calls", trace_count("map"), nr);
	count(name, way, "ranges", trace_count("dma_buf_pfn_range"), nr);
	trace_start();
	bar_decode(&b->bar, false);
	bar_decode(&b->bar, true);
	ioas_unmap(b->iommufd, b->ioas, BAR_IOVA, nr * size);
	trace_stop();
	count(name, way, "iommu-map-calls-on", trace_count("map"), nr);
	count(name, way, "iommu-unmap-calls", trace_count("unmap"), 2);
	close(fd);

	probe_start();
	for (unsigned int round = 0; round < opt->rounds; round++) {
		fd = bar_export(&b->bar, segments, nr);
		ioas_map_dmabuf(b->iommufd, b->ioas, BAR_IOVA, fd, 0, nr * size);
		sample_ns(name, way, "map", probe_time());
		bar_decode(&b->bar, false);
		sample_ns(name, way, "revoke", probe_time());
		bar_decode(&b->bar, true);
		sample_ns(name, way, "again", probe_time());
		ioas_unmap(b->iommufd, b->ioas, BAR_IOVA, nr * size);
		sample_ns(name, way, "unmap", probe_time());
		close(fd);
	}
	free(segments);
}

/* The least that a call takes which finds nothing to give back: what the probes take */
static void probe_calibrate(struct ioas_bench *b)
{
	__u64 least = ~0ULL;

	for (unsigned int i = 0; i < 100; i++) {
		__u64 ns;

		bar_decode(&b->bar, false);
		probe_time();
		bar_decode(&b->bar, true);
		ns = probe_time();
		if (ns < least)
			least = ns;
	}
	probe_cost(least);
	value("kernel", b->way, "probe-ns", least);
}

void bench_kernel(const struct options *opt)
{
	struct layout whole, hole;
	struct ioas_bench b = {};

	ioas_bench_open(&b, opt);
	bar_layouts(&b.bar, opt, &whole, &hole);

	trace_open();
	kernel_counts(&b, "kernel-whole", &whole);
	kernel_counts(&b, "kernel-hole", &hole);

	probe_open();
	for (unsigned int i = 0; i < ARRAY_SIZE(functions) - b.stock; i++)
		probe_add(functions[i]);
	probe_start();
	probe_calibrate(&b);
	for (unsigned int i = 0; i < MORE_ROUNDS * opt->rounds; i++) {
		kernel_round(&b, "kernel-whole", &whole);
		kernel_round(&b, "kernel-hole", &hole);
	}

	/* More ranges of one entry each */
	for (unsigned int nr = 1; nr <= 16384 && !b.stock; nr *= 4)
		ranges_case(&b, opt, "ranges", nr, SZ_2M, 0, 2 * SZ_2M);
	/* 64 ranges of more entries each, all of 4 KiB: the IOVAs are aligned, the pages are not */
	for (unsigned int pages = 1; pages <= 1024 && !b.stock; pages *= 4)
		ranges_case(&b, opt, "entries", 64, pages * SZ_4K, SZ_4K,
			    4 * SZ_2M);
	probe_close();
	trace_close();
}

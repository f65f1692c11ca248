// SPDX-License-Identifier: GPL-2.0-only
/*
 * The physical ranges behind an iopt_pages of type IOPT_ADDRESS_DMABUF
 *
 * Each such iopt_pages is one importer of its dma-buf, see dma_buf_pfn_attach(),
 * and maps the slice of the buffer that it stands for as a whole. The ranges of
 * the slice are kept in an array, sorted by index and without gaps, as long as
 * the map lasts. The array itself lives as long as the iopt_pages, so that a
 * buffer that comes back finds the memory that it had before.
 *
 * iopt_pages_dmabuf::mapped says whether the array is valid. It is written with
 * both the reservation lock of the buffer and the pages mutex held, so either is
 * enough to read it. The array is written under the reservation lock while it is
 * not valid, and read under the pages mutex while it is.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "io_pagetable.h"

/**
 * iopt_dmabuf_record() - Take one range of the buffer
 * @attach: The attachment of the iopt_pages
 * @range: The range
 *
 * The record callback of the importer.
 *
 * Return: 0, or -ENOMEM if the array of ranges cannot grow.
 */
int iopt_dmabuf_record(struct dma_buf_pfn_attachment *attach,
		       const struct dma_buf_pfn_range *range)
{
	struct iopt_pages *pages = attach->importer_priv;
	struct iopt_pages_dmabuf *dmabuf = &pages->dmabuf;

	if (dmabuf->nr_ranges == dmabuf->max_ranges) {
		size_t max_ranges = max(2 * dmabuf->max_ranges, 1);
		struct iopt_dmabuf_range *ranges;

		ranges = kvrealloc(dmabuf->ranges,
				   array_size(max_ranges, sizeof(*ranges)),
				   GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!ranges)
			return -ENOMEM;
		dmabuf->ranges = ranges;
		dmabuf->max_ranges = max_ranges;
	}

	dmabuf->ranges[dmabuf->nr_ranges++] = (struct iopt_dmabuf_range){
		.index = (range->offset - dmabuf->start) / PAGE_SIZE,
		.npages = range->length / PAGE_SIZE,
		.pfn = PHYS_PFN(range->paddr),
		.kind = range->kind,
	};
	return 0;
}

/**
 * iopt_dmabuf_map() - Get the ranges of the buffer
 * @pages: The iopt_pages to act on, not mapped
 * @attach: Its attachment
 *
 * On success the caller has to set iopt_pages_dmabuf::mapped, and to undo this
 * with dma_buf_pfn_unmap() after it has cleared it again.
 *
 * Return: 0, or the error of dma_buf_pfn_map(); -ENODEV says that the buffer is
 * revoked.
 */
int iopt_dmabuf_map(struct iopt_pages *pages,
		    struct dma_buf_pfn_attachment *attach)
{
	dma_resv_assert_held(attach->dmabuf->resv);

	pages->dmabuf.nr_ranges = 0;
	return dma_buf_pfn_map(attach, pages->dmabuf.start,
			       (u64)pages->npages * PAGE_SIZE);
}

/**
 * iopt_dmabuf_find_range() - Find the range that holds a page
 * @pages: The iopt_pages to act on, mapped
 * @index: Index of the page
 *
 * Return: The range, an element of an array that covers all of @pages in order.
 */
const struct iopt_dmabuf_range *
iopt_dmabuf_find_range(struct iopt_pages *pages, unsigned long index)
{
	struct iopt_pages_dmabuf *dmabuf = &pages->dmabuf;
	size_t first = 0;
	size_t last;

	lockdep_assert_held(&pages->mutex);

	last = dmabuf->nr_ranges - 1;
	while (first != last) {
		size_t mid = last - (last - first) / 2;

		if (dmabuf->ranges[mid].index <= index)
			first = mid;
		else
			last = mid - 1;
	}
	return &dmabuf->ranges[first];
}

/**
 * iopt_dmabuf_release() - Undo iopt_alloc_dmabuf_pages()
 * @pages: The iopt_pages to act on, in no domain
 *
 * Also called for a failed iopt_alloc_dmabuf_pages(), which has no attachment
 * and leaves the reference on the buffer to its caller.
 */
void iopt_dmabuf_release(struct iopt_pages *pages)
{
	struct dma_buf_pfn_attachment *attach = pages->dmabuf.attach;

	if (attach) {
		struct dma_buf *dmabuf = attach->dmabuf;

		dma_resv_lock(dmabuf->resv, NULL);
		/* Nothing is mapped again from here on */
		pages->dmabuf.attach = NULL;
		if (attach->mapped)
			dma_buf_pfn_unmap(attach);
		dma_resv_unlock(dmabuf->resv);
		dma_buf_pfn_detach(attach);
		dma_buf_put(dmabuf);
	}
	WARN_ON(!list_empty(&pages->dmabuf.tracker));
	kvfree(pages->dmabuf.ranges);
}

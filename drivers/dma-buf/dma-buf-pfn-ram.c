// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ranges of memory with struct pages
 *
 * For exporters that own their pages for as long as the buffer lives: nothing is
 * ever taken away, so they are of the pinned model. What can still happen to a
 * page is that it goes bad. There is no user mapping through which
 * memory_failure() could find who uses it, so a page that is known to be bad is
 * refused when it is mapped. One that goes bad later stays mapped, as it does
 * for every other user of pinned memory.
 *
 * No importer without a device calls for cache maintenance, as it only exists
 * where DMA is coherent with the caches of the CPU. A device for which that does
 * not hold has to be synchronized with its own attachment, as before.
 *
 * Pages in high memory are not in the linear map, and the kind RAM promises that
 * they are. Such a kernel has neither KVM nor IOMMUFD to map them into.
 */
#include <linux/dma-buf-pfn-ram.h>
#include <linux/dma-resv.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/scatterlist.h>

/* Part of a map: what is physically contiguous is one range */
struct dma_buf_pfn_ram {
	struct dma_buf_pfn_attachment *attach;
	struct dma_buf_pfn_range range;
};

static int dma_buf_pfn_ram_flush(struct dma_buf_pfn_ram *ram)
{
	int ret;

	if (!ram->range.length)
		return 0;

	ret = dma_buf_pfn_emit(ram->attach, &ram->range);
	ram->range.offset += ram->range.length;
	ram->range.length = 0;
	return ret;
}

static int dma_buf_pfn_ram_add(struct dma_buf_pfn_ram *ram, struct page *page)
{
	phys_addr_t paddr = page_to_phys(page);
	int ret;

	if (is_page_hwpoison(page))
		return -EHWPOISON;

	if (ram->range.paddr + ram->range.length != paddr) {
		ret = dma_buf_pfn_ram_flush(ram);
		if (ret)
			return ret;
	}
	if (!ram->range.length)
		ram->range.paddr = paddr;
	ram->range.length += PAGE_SIZE;
	return 0;
}

/**
 * dma_buf_pfn_emit_pages - give a part of an array of pages
 * @attach: the attachment that the exporter's map callback was called with
 * @pages: the pages of the whole buffer, in order
 * @offset: first byte to give, as the map callback got it
 * @length: how many bytes to give, as the map callback got it
 *
 * For exporters that keep their buffer as an array of pages. The kind of the
 * ranges is %DMA_BUF_PFN_RAM.
 *
 * Context: as dma_buf_pfn_emit().
 *
 * Return: as dma_buf_pfn_emit(), or -EHWPOISON if one of the pages is known to
 * be bad.
 */
int dma_buf_pfn_emit_pages(struct dma_buf_pfn_attachment *attach,
			   struct page **pages, u64 offset, u64 length)
{
	struct dma_buf_pfn_ram ram = {
		.attach = attach,
		.range = { .offset = offset, .kind = DMA_BUF_PFN_RAM },
	};
	pgoff_t i, end = (offset + length) >> PAGE_SHIFT;
	int ret;

	dma_resv_assert_held(attach->dmabuf->resv);

	for (i = offset >> PAGE_SHIFT; i < end; i++) {
		if (!(i % SZ_64K))
			cond_resched();
		ret = dma_buf_pfn_ram_add(&ram, pages[i]);
		if (ret)
			return ret;
	}
	return dma_buf_pfn_ram_flush(&ram);
}
EXPORT_SYMBOL_NS_GPL(dma_buf_pfn_emit_pages, "DMA_BUF");

/**
 * dma_buf_pfn_emit_sgt - give a part of an sg table of pages
 * @attach: the attachment that the exporter's map callback was called with
 * @sgt: the pages of the whole buffer, not mapped for any device
 * @offset: first byte to give, as the map callback got it
 * @length: how many bytes to give, as the map callback got it
 *
 * As dma_buf_pfn_emit_pages(), for exporters that keep their buffer as an sg
 * table, each entry of which begins with a page and is a multiple of PAGE_SIZE
 * long.
 *
 * Context: as dma_buf_pfn_emit().
 *
 * Return: as dma_buf_pfn_emit_pages().
 */
int dma_buf_pfn_emit_sgt(struct dma_buf_pfn_attachment *attach,
			 const struct sg_table *sgt, u64 offset, u64 length)
{
	struct dma_buf_pfn_ram ram = {
		.attach = attach,
		.range = { .offset = offset, .kind = DMA_BUF_PFN_RAM },
	};
	struct scatterlist *sg;
	unsigned int i, pos;
	int ret;

	dma_resv_assert_held(attach->dmabuf->resv);

	for_each_sgtable_sg(sgt, sg, i) {
		if (!length)
			break;
		if (offset >= sg->length) {
			offset -= sg->length;
			continue;
		}

		cond_resched();
		for (pos = offset; pos < sg->length && length; pos += PAGE_SIZE) {
			ret = dma_buf_pfn_ram_add(&ram, sg_page(sg) +
						  (pos >> PAGE_SHIFT));
			if (ret)
				return ret;
			length -= PAGE_SIZE;
		}
		offset = 0;
	}
	return dma_buf_pfn_ram_flush(&ram);
}
EXPORT_SYMBOL_NS_GPL(dma_buf_pfn_emit_sgt, "DMA_BUF");

/**
 * dma_buf_pfn_unmap_ram - what an exporter of pinned memory does on unmap
 * @attach: the attachment
 *
 * The unmap callback of exporters that count nothing, because their pages stay
 * where they are until the buffer is released.
 */
void dma_buf_pfn_unmap_ram(struct dma_buf_pfn_attachment *attach)
{
}
EXPORT_SYMBOL_NS_GPL(dma_buf_pfn_unmap_ram, "DMA_BUF");

/* SPDX-License-Identifier: GPL-2.0-only */
/* For exporters whose buffers are memory: see drivers/dma-buf/dma-buf-pfn-ram.c */
#ifndef _LINUX_DMA_BUF_PFN_RAM_H
#define _LINUX_DMA_BUF_PFN_RAM_H

#include <linux/dma-buf.h>
#include <linux/kconfig.h>

struct page;
struct sg_table;

int dma_buf_pfn_emit_pages(struct dma_buf_pfn_attachment *attach,
			   struct page **pages, u64 offset, u64 length);
int dma_buf_pfn_emit_sgt(struct dma_buf_pfn_attachment *attach,
			 const struct sg_table *sgt, u64 offset, u64 length);
void dma_buf_pfn_unmap_ram(struct dma_buf_pfn_attachment *attach);

/**
 * dma_buf_pfn_offer_ram - say that a buffer has ranges, and that they are memory
 * @exp_info: what the exporter gives to dma_buf_export()
 * @ops: the exporter's callbacks
 */
static inline void
dma_buf_pfn_offer_ram(struct dma_buf_export_info *exp_info,
		      const struct dma_buf_pfn_exporter_ops *ops)
{
	/* High memory is not in the linear map */
	if (IS_ENABLED(CONFIG_HIGHMEM))
		return;

	exp_info->pfn.ops = ops;
	exp_info->pfn.model = DMA_BUF_PFN_PINNED;
	exp_info->pfn.kinds = DMA_BUF_PFN_RAM;
}

#endif /* _LINUX_DMA_BUF_PFN_RAM_H */

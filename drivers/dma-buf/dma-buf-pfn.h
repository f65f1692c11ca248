/* SPDX-License-Identifier: GPL-2.0-only */
/* What the PFN attachment and the rest of dma-buf have of each other. */
#ifndef _DMA_BUF_PFN_CORE_H
#define _DMA_BUF_PFN_CORE_H

#include <linux/dma-buf.h>

struct seq_file;

bool dma_buf_pfn_export_valid(const struct dma_buf_export_info *exp_info);
void dma_buf_pfn_invalidate(struct dma_buf *dmabuf);
int dma_buf_pfn_describe(struct dma_buf *dmabuf, struct seq_file *s);

/* Private ranges have neither a DMA address nor a place in a user's page table */
static inline bool dma_buf_pfn_private(struct dma_buf *dmabuf)
{
	return dmabuf->pfn.kinds & DMA_BUF_PFN_PRIVATE;
}

/*
 * Who can register a probe gets the addresses that the events tell, so it is for
 * tests only. Module names here are as in a Makefile, see verify_module_namespace().
 */
#define DMA_BUF_PFN_EVENT_USERS	"dmabuf_kunit,tsm-sim"

#endif /* _DMA_BUF_PFN_CORE_H */

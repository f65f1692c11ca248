/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dma_buf_pfn

#if !defined(_TRACE_DMA_BUF_PFN_SGT_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_DMA_BUF_PFN_SGT_H

#include <linux/dma-buf.h>
#include <linux/tracepoint.h>

/* Follows dma_buf_pfn_map: what that told is in an sg table, until it is freed */
TRACE_EVENT(dma_buf_pfn_sgt_map,

	TP_PROTO(struct dma_buf_pfn_attachment *pfn,
		 struct dma_buf_attachment *attach, const struct sg_table *sgt),

	TP_ARGS(pfn, attach, sgt),

	TP_STRUCT__entry(
		__string(	importer,	dev_name(attach->dev))
		__field(	u64,		ino)
		__field(	void *,		pfn)
		__field(	const void *,	sgt)
	),

	TP_fast_assign(
		__assign_str(importer);
		__entry->ino	= file_inode(attach->dmabuf->file)->i_ino;
		__entry->pfn	= pfn;
		__entry->sgt	= sgt;
	),

	TP_printk("ino=%llu importer=%s attachment=%p sgt=%p",
		  __entry->ino, __get_str(importer), __entry->pfn,
		  __entry->sgt)
);

TRACE_EVENT(dma_buf_pfn_sgt_free,

	TP_PROTO(struct dma_buf_attachment *attach, const struct sg_table *sgt),

	TP_ARGS(attach, sgt),

	TP_STRUCT__entry(
		__string(	importer,	dev_name(attach->dev))
		__field(	u64,		ino)
		__field(	const void *,	sgt)
	),

	TP_fast_assign(
		__assign_str(importer);
		__entry->ino	= file_inode(attach->dmabuf->file)->i_ino;
		__entry->sgt	= sgt;
	),

	TP_printk("ino=%llu importer=%s sgt=%p", __entry->ino,
		  __get_str(importer), __entry->sgt)
);

#endif /* _TRACE_DMA_BUF_PFN_SGT_H */

/* This part must be outside protection */
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE dma_buf_pfn_sgt
#include <trace/define_trace.h>

/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dma_buf_pfn

#if !defined(_TRACE_DMA_BUF_PFN_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_DMA_BUF_PFN_H

#include <linux/dma-buf.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(dma_buf_pfn,

	TP_PROTO(struct dma_buf_pfn_attachment *attach),

	TP_ARGS(attach),

	TP_STRUCT__entry(
		__string(	exp_name,	attach->dmabuf->exp_name)
		__string(	importer,	attach->ops->name)
		__field(	u64,		size)
		__field(	u64,		ino)
		__field(	void *,		attach)
	),

	TP_fast_assign(
		__assign_str(exp_name);
		__assign_str(importer);
		__entry->size	= attach->dmabuf->size;
		__entry->ino	= file_inode(attach->dmabuf->file)->i_ino;
		__entry->attach	= attach;
	),

	TP_printk("exp_name=%s size=%llu ino=%llu importer=%s attachment=%p",
		  __get_str(exp_name), __entry->size, __entry->ino,
		  __get_str(importer), __entry->attach)
);

DEFINE_EVENT(dma_buf_pfn, dma_buf_pfn_attach,

	TP_PROTO(struct dma_buf_pfn_attachment *attach),

	TP_ARGS(attach)
);

DEFINE_EVENT(dma_buf_pfn, dma_buf_pfn_detach,

	TP_PROTO(struct dma_buf_pfn_attachment *attach),

	TP_ARGS(attach)
);

DEFINE_EVENT(dma_buf_pfn, dma_buf_pfn_unmap,

	TP_PROTO(struct dma_buf_pfn_attachment *attach),

	TP_ARGS(attach)
);

DEFINE_EVENT(dma_buf_pfn, dma_buf_pfn_invalidate,

	TP_PROTO(struct dma_buf_pfn_attachment *attach),

	TP_ARGS(attach)
);

DEFINE_EVENT(dma_buf_pfn, dma_buf_pfn_revalidate,

	TP_PROTO(struct dma_buf_pfn_attachment *attach),

	TP_ARGS(attach)
);

TRACE_EVENT(dma_buf_pfn_map,

	TP_PROTO(struct dma_buf_pfn_attachment *attach, u64 offset, u64 length,
		 int ret),

	TP_ARGS(attach, offset, length, ret),

	TP_STRUCT__entry(
		__string(	importer,	attach->ops->name)
		__field(	u64,		ino)
		__field(	void *,		attach)
		__field(	u64,		offset)
		__field(	u64,		length)
		__field(	int,		ret)
	),

	TP_fast_assign(
		__assign_str(importer);
		__entry->ino	= file_inode(attach->dmabuf->file)->i_ino;
		__entry->attach	= attach;
		__entry->offset	= offset;
		__entry->length	= length;
		__entry->ret	= ret;
	),

	TP_printk("ino=%llu importer=%s attachment=%p offset=0x%llx length=0x%llx ret=%d",
		  __entry->ino, __get_str(importer), __entry->attach,
		  __entry->offset, __entry->length, __entry->ret)
);

TRACE_EVENT(dma_buf_pfn_range,

	TP_PROTO(struct dma_buf_pfn_attachment *attach,
		 const struct dma_buf_pfn_range *range),

	TP_ARGS(attach, range),

	TP_STRUCT__entry(
		__string(	importer,	attach->ops->name)
		__field(	u64,		ino)
		__field(	void *,		attach)
		__field(	u64,		offset)
		__field(	u64,		paddr)
		__field(	u64,		length)
		__field(	u32,		kind)
	),

	TP_fast_assign(
		__assign_str(importer);
		__entry->ino	= file_inode(attach->dmabuf->file)->i_ino;
		__entry->attach	= attach;
		__entry->offset	= range->offset;
		__entry->paddr	= range->paddr;
		__entry->length	= range->length;
		__entry->kind	= range->kind;
	),

	TP_printk("ino=%llu importer=%s attachment=%p offset=0x%llx paddr=0x%llx length=0x%llx kind=%s",
		  __entry->ino, __get_str(importer), __entry->attach,
		  __entry->offset, __entry->paddr, __entry->length,
		  __print_flags(__entry->kind, "|",
				{ DMA_BUF_PFN_MMIO, "mmio" },
				{ DMA_BUF_PFN_MMIO_ANY, "mmio-any" },
				{ DMA_BUF_PFN_DEVICE_CACHED, "device-cached" },
				{ DMA_BUF_PFN_RAM, "ram" },
				{ DMA_BUF_PFN_PRIVATE, "private" }))
);

#endif /* _TRACE_DMA_BUF_PFN_H */

/* This part must be outside protection */
#include <trace/define_trace.h>

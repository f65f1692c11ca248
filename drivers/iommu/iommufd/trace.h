/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * iommufd trace support
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommufd

#if !defined(_TRACE_IOMMUFD_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IOMMUFD_H

#include <linux/dma-buf.h>
#include <linux/tracepoint.h>

#include "io_pagetable.h"

/* A dma-buf came back and its mappings could not be established again */
TRACE_EVENT(iommufd_dmabuf_remap_failed,
	TP_PROTO(struct iopt_pages *pages, struct dma_buf *dmabuf, int rc),

	TP_ARGS(pages, dmabuf, rc),

	TP_STRUCT__entry(
		__string(exp_name, dmabuf->exp_name)
		__field(u64, ino)
		__field(u64, offset)
		__field(u64, length)
		__field(int, rc)
	),

	TP_fast_assign(
		__assign_str(exp_name);
		__entry->ino = file_inode(dmabuf->file)->i_ino;
		__entry->offset = pages->dmabuf.start;
		__entry->length = (u64)pages->npages * PAGE_SIZE;
		__entry->rc = rc;
	),

	TP_printk("exp_name=%s ino=%llu offset=0x%llx length=0x%llx rc=%d",
		  __get_str(exp_name), __entry->ino, __entry->offset,
		  __entry->length, __entry->rc)
);

#endif /* _TRACE_IOMMUFD_H */

/* This part must be outside protection */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

// SPDX-License-Identifier: GPL-2.0-only
/*
 * An sg table for a device, made from the PFN side of its exporter
 *
 * An exporter of MMIO that has PFN ops describes its memory there and only
 * there: its map_dma_buf callback is this helper. The helper takes the role of
 * an importer for as long as it runs. It is on no list and ends its map before
 * it returns, because how long the sg table lives is between the exporter and
 * the importer with the device, as for every other sg table.
 */
#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>
#include <linux/slab.h>

#include "dma-buf-pfn.h"

#define CREATE_TRACE_POINTS
#include <trace/events/dma_buf_pfn_sgt.h>

/* What the map event told is mapped from the one to the other */
EXPORT_TRACEPOINT_SYMBOL_FOR_MODULES(dma_buf_pfn_sgt_map, DMA_BUF_PFN_EVENT_USERS);
EXPORT_TRACEPOINT_SYMBOL_FOR_MODULES(dma_buf_pfn_sgt_free, DMA_BUF_PFN_EVENT_USERS);

struct dma_buf_pfn_sgt {
	struct phys_vec *phys;
	size_t nr;
	size_t max;
};

static int dma_buf_pfn_sgt_record(struct dma_buf_pfn_attachment *attach,
				  const struct dma_buf_pfn_range *range)
{
	struct dma_buf_pfn_sgt *sgt = attach->importer_priv;
	struct phys_vec *phys;

	/* A DMA address made as for MMIO is wrong for memory */
	if (range->kind & ~(DMA_BUF_PFN_MMIO | DMA_BUF_PFN_MMIO_ANY))
		return -EOPNOTSUPP;

	if (range->length > SIZE_MAX)
		return -EOVERFLOW;

	if (sgt->nr == sgt->max) {
		size_t max = max(2 * sgt->max, 8);

		phys = kvrealloc(sgt->phys, array_size(max, sizeof(*phys)),
				 GFP_KERNEL | __GFP_NOWARN);
		if (!phys)
			return -ENOMEM;
		sgt->phys = phys;
		sgt->max = max;
	}

	sgt->phys[sgt->nr++] = (struct phys_vec){
		.paddr = range->paddr,
		.len = range->length,
	};
	return 0;
}

static void dma_buf_pfn_sgt_invalidate(struct dma_buf_pfn_attachment *attach)
{
}

static const struct dma_buf_pfn_importer_ops dma_buf_pfn_sgt_ops = {
	.name = "sgt",
	.models = DMA_BUF_PFN_MODELS,
	.record = dma_buf_pfn_sgt_record,
	.invalidate = dma_buf_pfn_sgt_invalidate,
};

/**
 * dma_buf_pfn_map_sgt - make an sg table of the whole buffer from its PFN ops
 * @attach: the attachment of the device to map for
 * @provider: p2pdma provider of the memory
 * @dir: direction of DMA transfer
 *
 * For the map_dma_buf callback of exporters whose kinds are
 * %DMA_BUF_PFN_MMIO or %DMA_BUF_PFN_MMIO_ANY. To be unmapped with
 * dma_buf_free_sgt().
 *
 * The PFN attach and detach callbacks are not called. The map callback finds
 * &dma_buf_pfn_attachment.exporter_priv NULL.
 *
 * Context: The caller holds the reservation lock. May sleep.
 *
 * Return: the sg table, or an ERR_PTR(): an error of the exporter's own PFN map
 * callback, -EOPNOTSUPP for a range of another kind, or an error of
 * dma_buf_phys_vec_to_sgt().
 */
struct sg_table *dma_buf_pfn_map_sgt(struct dma_buf_attachment *attach,
				     struct p2pdma_provider *provider,
				     enum dma_data_direction dir)
{
	struct dma_buf *dmabuf = attach->dmabuf;
	struct dma_buf_pfn_sgt ranges = {};
	struct dma_buf_pfn_attachment pfn = {
		.dmabuf = dmabuf,
		.ops = &dma_buf_pfn_sgt_ops,
		.importer_priv = &ranges,
	};
	struct sg_table *sgt;
	int ret;

	dma_resv_assert_held(dmabuf->resv);

	ret = dma_buf_pfn_map(&pfn, 0, dmabuf->size);
	if (ret) {
		sgt = ERR_PTR(ret);
	} else {
		sgt = dma_buf_phys_vec_to_sgt(attach, provider, ranges.phys,
					      ranges.nr, dmabuf->size, dir);
		if (!IS_ERR(sgt))
			trace_dma_buf_pfn_sgt_map(&pfn, attach, sgt);
		dma_buf_pfn_unmap(&pfn);
	}

	kvfree(ranges.phys);
	return sgt;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_pfn_map_sgt, "DMA_BUF");

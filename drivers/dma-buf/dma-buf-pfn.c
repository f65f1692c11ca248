// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA-buf PFN attachment
 *
 * An importer that translates addresses by itself, the MMU of a virtual machine
 * or an IOMMU driver, has no struct device that a buffer could be mapped for.
 * It is handed physical ranges instead, under rules that keep the exporter the
 * owner of its memory:
 *
 * Objects. struct dma_buf_pfn_attachment ties one importer to one buffer, beside
 * struct dma_buf_attachment and on a list of its own. The importer owns it, and
 * holds a reference on the buffer for as long. An attachment is mapped or it is
 * not, and has one map at a time; a second part of the buffer is a second
 * attachment. &dma_buf_pfn_attachment.mapped is the only state.
 *
 * Who may hold an address, and until when. The exporter pushes: it emits ranges
 * one by one, the core checks each of them and passes it on to the importer's
 * record callback, and nobody is handed a list that belongs to somebody else.
 * Mapping and invalidating are ordered by the reservation lock. An importer may
 * keep its own translation between the two, as every MMU keeps page table
 * entries, and may install from it under an inner lock of its own. In that case
 * its invalidate callback
 *
 *  1. makes the translation unreachable,
 *  2. takes the inner lock and removes what is installed,
 *  3. makes every insertion that has read the old translation fail its recheck
 *     under the inner lock,
 *
 * and calls dma_buf_pfn_unmap() before it returns. When
 * dma_buf_invalidate_mappings() has returned, no PFN importer can reach the
 * memory any more; no fence and no further wait is involved.
 *
 * Agreement. Model and kinds, see the DOC sections of <linux/dma-buf-pfn.h>, are
 * constant for a buffer and compared when an importer attaches, so that a
 * refusal comes from the system call that brings the two together and not from
 * the first page fault.
 *
 * Locks. &dma_buf.resv protects the list, the state and everything in between
 * map and unmap. The inner locks of importers, KVM's mmu_lock and iommufd's
 * pages->mutex, nest inside it; mmap_lock and an exporter's own lock, such as
 * memory_lock of vfio-pci, outside.
 *
 * Fences. PFN importers add none, as they are synchronous. An exporter of the
 * movable model may have some from the move itself, and is waited for before
 * its ranges are used. An exporter that moves asynchronously to
 * dma_buf_invalidate_mappings() cannot offer ranges.
 */
#include <kunit/visibility.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/overflow.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "dma-buf-pfn.h"

#define CREATE_TRACE_POINTS
#include <trace/events/dma_buf_pfn.h>

/*
 * The KUnit tests, and a simulated TSM, look at what the events say. A map that
 * fails late has emitted ranges: only the map event tells that they are not in use.
 */
EXPORT_TRACEPOINT_SYMBOL_FOR_MODULES(dma_buf_pfn_range, DMA_BUF_PFN_EVENT_USERS);
EXPORT_TRACEPOINT_SYMBOL_FOR_MODULES(dma_buf_pfn_map, DMA_BUF_PFN_EVENT_USERS);
EXPORT_TRACEPOINT_SYMBOL_FOR_MODULES(dma_buf_pfn_unmap, DMA_BUF_PFN_EVENT_USERS);

/* A bug of the exporter or the importer, not of userspace */
#ifdef CONFIG_DMABUF_DEBUG
#define DMA_BUF_PFN_WARN_ON(cond)	WARN_ON_ONCE(cond)
#else
static inline bool DMA_BUF_PFN_WARN_ON(bool cond)
{
	return unlikely(cond);
}
#endif

/**
 * dma_buf_pfn_export_valid - is the PFN side of an exporter what it has to be
 * @exp_info: what the exporter gave to dma_buf_export()
 *
 * Return: true if it is, also for a buffer without PFN ops.
 */
bool dma_buf_pfn_export_valid(const struct dma_buf_export_info *exp_info)
{
	const struct dma_buf_pfn_export *pfn = &exp_info->pfn;

	if (!pfn->ops)
		return !pfn->model && !pfn->kinds;

	return pfn->ops->map && pfn->ops->unmap &&
	       hweight32(pfn->model) == 1 &&
	       !(pfn->model & ~DMA_BUF_PFN_MODELS) &&
	       (pfn->kinds & DMA_BUF_PFN_KINDS) &&
	       !(pfn->kinds & ~(DMA_BUF_PFN_KINDS | DMA_BUF_PFN_PRIVATE)) &&
	       exp_info->size && PAGE_ALIGNED(exp_info->size);
}

/**
 * dma_buf_pfn_attach - tie an importer to the physical ranges of a buffer
 * @dmabuf: the buffer, the caller holds a reference until it has detached
 * @ops: the importer's callbacks and the models that it can serve
 * @kinds: every kind of range that the importer can take, with
 *         %DMA_BUF_PFN_PRIVATE if it can take private ones
 * @writable: the importer wants to write, besides reading
 * @importer_priv: for &dma_buf_pfn_attachment.importer_priv
 *
 * The buffer may be revoked. Once the attachment exists, the importer's
 * callbacks can be called, possibly before this function returns.
 *
 * Context: Process context, may sleep. Takes the reservation lock.
 *
 * Return: the attachment, or an ERR_PTR(): -EOPNOTSUPP if the buffer has no
 * ranges to give, or of a model or kind that the importer does not take;
 * -EACCES if the buffer's file is not open for reading, or if @writable and it
 * is not open for writing; -ENOMEM; -EINTR if a signal came; or an error of the
 * exporter's attach callback.
 */
struct dma_buf_pfn_attachment *
dma_buf_pfn_attach(struct dma_buf *dmabuf,
		   const struct dma_buf_pfn_importer_ops *ops, u32 kinds,
		   bool writable, void *importer_priv)
{
	const struct dma_buf_pfn_export *pfn = &dmabuf->pfn;
	struct dma_buf_pfn_attachment *attach;
	int ret;

	if (WARN_ON(!ops->name || !ops->record || !ops->invalidate))
		return ERR_PTR(-EINVAL);

	/* A buffer that has no PFN ops has no model either */
	if (!(pfn->model & ops->models) || (pfn->kinds & ~kinds))
		return ERR_PTR(-EOPNOTSUPP);

	/* Every importer can read */
	if (!(dmabuf->file->f_mode & FMODE_READ) ||
	    (writable && !(dmabuf->file->f_mode & FMODE_WRITE)))
		return ERR_PTR(-EACCES);

	attach = kzalloc_obj(*attach, GFP_KERNEL_ACCOUNT);
	if (!attach)
		return ERR_PTR(-ENOMEM);

	attach->dmabuf = dmabuf;
	attach->ops = ops;
	attach->writable = writable;
	attach->importer_priv = importer_priv;

	if (pfn->ops->attach) {
		ret = pfn->ops->attach(attach);
		if (ret)
			goto err_free;
	}

	ret = dma_resv_lock_interruptible(dmabuf->resv, NULL);
	if (ret)
		goto err_detach;
	list_add_tail(&attach->node, &dmabuf->pfn_attachments);
	trace_dma_buf_pfn_attach(attach);
	dma_resv_unlock(dmabuf->resv);

	return attach;

err_detach:
	if (pfn->ops->detach)
		pfn->ops->detach(attach);
err_free:
	kfree(attach);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_pfn_attach, "iommufd,kvm,dmabuf_kunit");

/**
 * dma_buf_pfn_detach - end what dma_buf_pfn_attach() began
 * @attach: the attachment, not mapped; freed
 *
 * No callback of the importer runs any more when this returns. The importer
 * drops its reference on the buffer afterwards. Until this takes the reservation
 * lock the callbacks do run: one that maps in its revalidate callback has to keep
 * that callback from doing so, from the time of its last unmap on.
 *
 * Context: Process context, may sleep. Takes the reservation lock.
 */
void dma_buf_pfn_detach(struct dma_buf_pfn_attachment *attach)
{
	struct dma_buf *dmabuf = attach->dmabuf;

	dma_resv_lock(dmabuf->resv, NULL);
	/* The exporter counts maps, so an importer's bug must not reach it */
	if (DMA_BUF_PFN_WARN_ON(attach->mapped))
		dma_buf_pfn_unmap(attach);
	list_del(&attach->node);
	dma_resv_unlock(dmabuf->resv);

	trace_dma_buf_pfn_detach(attach);

	if (dmabuf->pfn.ops->detach)
		dmabuf->pfn.ops->detach(attach);
	kfree(attach);
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_pfn_detach, "iommufd,kvm,dmabuf_kunit");

/* Everything the core knows about what an exporter may emit */
static bool dma_buf_pfn_range_valid(struct dma_buf_pfn_attachment *attach,
				    const struct dma_buf_pfn_range *range)
{
	u32 kinds = attach->dmabuf->pfn.kinds;
	phys_addr_t last;

	/* In order, without gap or overlap, and not beyond what was asked for */
	if (range->offset != attach->next || !range->length ||
	    range->length > attach->end - attach->next)
		return false;

	if (!PAGE_ALIGNED(range->paddr) || !PAGE_ALIGNED(range->length) ||
	    check_add_overflow(range->paddr, range->length - 1, &last))
		return false;

	return hweight32(range->kind & DMA_BUF_PFN_KINDS) == 1 &&
	       !(range->kind & ~kinds) &&
	       !((range->kind ^ kinds) & DMA_BUF_PFN_PRIVATE);
}

/**
 * dma_buf_pfn_emit - give one range to the importer
 * @attach: the attachment that the exporter's map callback was called with
 * @range: the range; not used after the return
 *
 * Ranges have to come in the order of their offset and without gaps, page
 * aligned, not empty, within the part that was asked for, and of a kind that
 * the exporter has announced.
 *
 * Context: Only inside of &dma_buf_pfn_exporter_ops.map, under the reservation
 * lock. May sleep.
 *
 * Return: 0, -EIO if @range breaks a rule, or an error of the importer. After an
 * error the exporter's map callback undoes what it did and returns the error;
 * the map fails whatever it returns.
 */
int dma_buf_pfn_emit(struct dma_buf_pfn_attachment *attach,
		     const struct dma_buf_pfn_range *range)
{
	dma_resv_assert_held(attach->dmabuf->resv);

	if (DMA_BUF_PFN_WARN_ON(!attach->emitting))
		return -EIO;

	if (attach->error)
		return attach->error;

	if (DMA_BUF_PFN_WARN_ON(!dma_buf_pfn_range_valid(attach, range))) {
		attach->error = -EIO;
		return attach->error;
	}

	attach->error = attach->ops->record(attach, range);
	if (!attach->error) {
		attach->next += range->length;
		trace_dma_buf_pfn_range(attach, range);
	}
	return attach->error;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_pfn_emit, "DMA_BUF");

/**
 * dma_buf_pfn_emit_phys - give a part of an array of physical ranges
 * @attach: the attachment that the exporter's map callback was called with
 * @phys: the physical ranges of the whole buffer, in order
 * @nr: how many
 * @kind: the kind of all of them
 * @offset: first byte to give, as the map callback got it
 * @length: how many bytes to give, as the map callback got it
 *
 * For exporters that keep their buffer as an array of &struct phys_vec.
 *
 * Context: as dma_buf_pfn_emit().
 *
 * Return: as dma_buf_pfn_emit().
 */
int dma_buf_pfn_emit_phys(struct dma_buf_pfn_attachment *attach,
			  const struct phys_vec *phys, size_t nr, u32 kind,
			  u64 offset, u64 length)
{
	struct dma_buf_pfn_range range = { .offset = offset, .kind = kind };
	int ret;

	for (; nr && length; phys++, nr--) {
		if (offset >= phys->len) {
			offset -= phys->len;
			continue;
		}

		if (check_add_overflow(phys->paddr, offset, &range.paddr))
			return -EIO;
		range.length = min_t(u64, phys->len - offset, length);
		ret = dma_buf_pfn_emit(attach, &range);
		if (ret)
			return ret;

		range.offset += range.length;
		length -= range.length;
		offset = 0;
	}
	return 0;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_pfn_emit_phys, "DMA_BUF");

/**
 * dma_buf_pfn_map - record the ranges of a part of the buffer
 * @attach: the attachment, not mapped
 * @offset: first byte of the part, a multiple of PAGE_SIZE
 * @length: its length in bytes, a multiple of PAGE_SIZE and not 0
 *
 * Calls the importer's record callback for each range of the part. When this
 * has returned 0, the attachment is mapped, the ranges cover the part exactly,
 * and the importer may install them, until dma_buf_pfn_unmap(). On any error the
 * importer has to drop what it recorded.
 *
 * Context: Process context, may sleep. The caller holds the reservation lock.
 *
 * Return: 0; -EINVAL for a part that is empty, unaligned or beyond the buffer;
 * -ENODEV while the buffer is revoked, which a pinned one is never; -EHWPOISON
 * for a poisoned page; -EIO if the exporter broke a rule; -EINTR for a signal
 * while waiting for a moving buffer; or an error of the importer or the exporter,
 * such as -ENOMEM.
 */
int dma_buf_pfn_map(struct dma_buf_pfn_attachment *attach, u64 offset,
		    u64 length)
{
	struct dma_buf *dmabuf = attach->dmabuf;
	u64 end;
	int ret;

	dma_resv_assert_held(dmabuf->resv);

	if (DMA_BUF_PFN_WARN_ON(attach->mapped || attach->emitting))
		return -EINVAL;

	if (!length || !PAGE_ALIGNED(offset) || !PAGE_ALIGNED(length) ||
	    check_add_overflow(offset, length, &end) || end > dmabuf->size)
		return -EINVAL;

	if (dmabuf->pfn.model == DMA_BUF_PFN_MOVABLE) {
		long left = dma_resv_wait_timeout(dmabuf->resv,
						  DMA_RESV_USAGE_KERNEL, true,
						  MAX_SCHEDULE_TIMEOUT);
		if (left < 0)
			return left == -ERESTARTSYS ? -EINTR : left;
	}

	attach->next = offset;
	attach->end = end;
	attach->error = 0;
	attach->emitting = true;
	ret = dmabuf->pfn.ops->map(attach, offset, length);
	attach->emitting = false;

	if (!ret) {
		/* The exporter believes that all is well. Does the core? */
		ret = attach->error;
		if (!ret && DMA_BUF_PFN_WARN_ON(attach->next != end))
			ret = -EIO;
		if (ret)
			dmabuf->pfn.ops->unmap(attach);
		else
			attach->mapped = true;
	}

	/* What says that it is revoked has to come back */
	if (ret == -ENODEV &&
	    DMA_BUF_PFN_WARN_ON(dmabuf->pfn.model == DMA_BUF_PFN_PINNED))
		ret = -EIO;

	trace_dma_buf_pfn_map(attach, offset, length, ret);
	return ret;
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_pfn_map, "iommufd,kvm,dmabuf_kunit");

/**
 * dma_buf_pfn_unmap - the importer does not use the ranges any more
 * @attach: the attachment, mapped
 *
 * The importer has removed everything that it installed from the ranges, and
 * flushed it where it has to be.
 *
 * Context: The caller holds the reservation lock. May sleep.
 */
void dma_buf_pfn_unmap(struct dma_buf_pfn_attachment *attach)
{
	dma_resv_assert_held(attach->dmabuf->resv);

	if (DMA_BUF_PFN_WARN_ON(!attach->mapped))
		return;

	attach->mapped = false;
	attach->dmabuf->pfn.ops->unmap(attach);
	trace_dma_buf_pfn_unmap(attach);
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_pfn_unmap, "iommufd,kvm,dmabuf_kunit");

/**
 * dma_buf_pfn_wait - wait for what has revoked the buffer
 * @attach: the attachment
 * @killable: only a fatal signal ends the wait, for a caller whose access would
 *            fail for good because of a signal
 *
 * For importers that can wait, as a page fault can: after a dma_buf_pfn_map()
 * that failed with -ENODEV it lets an operation of the exporter that is under
 * way, such as a reset, finish. Whether the buffer is usable then, only the next
 * dma_buf_pfn_map() tells.
 *
 * Context: Process context, sleeps. The caller does not hold the reservation
 * lock, nor mmap_lock if @killable.
 *
 * Return: 0, -EINTR for a signal, or -EAGAIN if it takes long and @killable is
 * false. Then the caller drops whatever it has, and tries the whole again.
 */
int dma_buf_pfn_wait(struct dma_buf_pfn_attachment *attach, bool killable)
{
	const struct dma_buf_pfn_exporter_ops *ops = attach->dmabuf->pfn.ops;

	might_lock(&attach->dmabuf->resv->lock.base);

	return ops->wait ? ops->wait(attach, killable) : 0;
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_pfn_wait, "iommufd,kvm,dmabuf_kunit");

/**
 * dma_buf_pfn_invalidate - take the ranges away from every PFN importer
 * @dmabuf: the buffer
 *
 * The part of dma_buf_invalidate_mappings() that is for PFN importers. No map is
 * left when it returns.
 *
 * Context: The caller holds the reservation lock.
 */
void dma_buf_pfn_invalidate(struct dma_buf *dmabuf)
{
	struct dma_buf_pfn_attachment *attach;

	dma_resv_assert_held(dmabuf->resv);

	if (list_empty(&dmabuf->pfn_attachments))
		return;

	DMA_BUF_PFN_WARN_ON(dmabuf->pfn.model == DMA_BUF_PFN_PINNED);

	list_for_each_entry(attach, &dmabuf->pfn_attachments, node) {
		/* From inside of a map: what it has emitted is not valid any more */
		if (DMA_BUF_PFN_WARN_ON(attach->emitting))
			attach->error = -EIO;

		trace_dma_buf_pfn_invalidate(attach);
		attach->ops->invalidate(attach);
		/* The exporter may wait for its maps to end, so end them here */
		if (DMA_BUF_PFN_WARN_ON(attach->mapped))
			dma_buf_pfn_unmap(attach);
	}
}

/**
 * dma_buf_revalidate_mappings - tell PFN importers that the buffer is back
 * @dmabuf: the buffer
 *
 * The counterpart of dma_buf_invalidate_mappings(). The exporter calls it after
 * its state has changed, never before: its map callback must work while this
 * runs.
 *
 * Importers of the other sort, with a struct device, are not told. They map
 * again when they want to, as ever.
 *
 * Context: The caller holds the reservation lock. May sleep, and allocates
 * memory for page tables.
 */
void dma_buf_revalidate_mappings(struct dma_buf *dmabuf)
{
	struct dma_buf_pfn_attachment *attach;

	dma_resv_assert_held(dmabuf->resv);

	list_for_each_entry(attach, &dmabuf->pfn_attachments, node) {
		trace_dma_buf_pfn_revalidate(attach);
		if (attach->ops->revalidate)
			attach->ops->revalidate(attach);
	}
}
EXPORT_SYMBOL_NS_GPL(dma_buf_revalidate_mappings, "DMA_BUF");

/**
 * dma_buf_pfn_describe - print the PFN importers of a buffer
 * @dmabuf: the buffer
 * @s: where to print to
 *
 * Context: The caller holds the reservation lock.
 *
 * Return: how many there are.
 */
int dma_buf_pfn_describe(struct dma_buf *dmabuf, struct seq_file *s)
{
	struct dma_buf_pfn_attachment *attach;
	int count = 0;

	dma_resv_assert_held(dmabuf->resv);

	list_for_each_entry(attach, &dmabuf->pfn_attachments, node) {
		seq_printf(s, "\t%s (pfn%s%s)\n", attach->ops->name,
			   attach->writable ? ", writable" : "",
			   attach->mapped ? ", mapped" : "");
		count++;
	}
	return count;
}
EXPORT_SYMBOL_IF_KUNIT(dma_buf_pfn_describe);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping a dma-buf again when its exporter gives it back
 *
 * A device cannot be made to wait for a translation, as a CPU can, so what a
 * revoke has taken out of the domains is put back before anybody asks for it.
 * That is done in the revalidate callback itself: when the exporter goes on, the
 * device's next access works.
 *
 * The callback runs with the reservation lock of the buffer held, and with locks
 * of the exporter in which it nests, such as the memory_lock of vfio-pci. It may
 * allocate memory, but takes neither domains_rwsem nor iova_rwsem, since the
 * reservation lock is taken within these when an iopt_pages is released, nor
 * mmap_lock. Hence it sees a mapping from the side of the pages only: the tracker
 * knows, under the pages mutex, every area and domain that the pages have to be
 * in. That includes domains that were attached while the buffer was revoked,
 * copies of the mapping in other IOASes, and areas that are being mapped or
 * unmapped, whose iopt_area::pages is NULL.
 *
 * Mapping again is all or nothing. If it fails, the iopt_pages stays in the state
 * that the revoke has left it in, as if the buffer were revoked still, and the
 * next revalidate tries again. There is nobody who could be told but the log:
 * hence a tracepoint, and the number of failures in debugfs.
 *
 * What the page tables take is charged to whom the mapping belongs to, and not to
 * the task that gives the buffer back, which may have nothing to do with it.
 */
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/dma-buf.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>

#include "io_pagetable.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static struct dentry *iommufd_debugfs;
static atomic_t iopt_dmabuf_remap_failures;

static int iopt_dmabuf_fill_domains(struct iopt_pages *pages)
{
	struct iopt_pages_dmabuf_track *track;
	int rc;

	mutex_lock(&pages->mutex);
	pages->dmabuf.mapped = true;
	list_for_each_entry(track, &pages->dmabuf.tracker, elm) {
		rc = iopt_area_fill_domain(track->area, pages, track->domain);
		if (rc)
			goto err_unfill;
		cond_resched();
	}
	mutex_unlock(&pages->mutex);
	return 0;

err_unfill:
	list_for_each_entry_continue_reverse(track, &pages->dmabuf.tracker, elm)
		iopt_area_unfill_domain(track->area, pages, track->domain);
	pages->dmabuf.mapped = false;
	mutex_unlock(&pages->mutex);
	return rc;
}

static int iopt_dmabuf_remap(struct iopt_pages *pages,
			     struct dma_buf_pfn_attachment *attach)
{
	int rc;

	rc = iopt_dmabuf_map(pages, attach);
	/* Revoked still, or again: another revalidate follows */
	if (rc == -ENODEV)
		return 0;
	if (rc)
		return rc;

	rc = iopt_dmabuf_fill_domains(pages);
	if (rc)
		dma_buf_pfn_unmap(attach);
	return rc;
}

/**
 * iopt_dmabuf_revalidate() - Map a dma-buf that has come back
 * @attach: The attachment of the iopt_pages
 *
 * The revalidate callback of the importer.
 */
void iopt_dmabuf_revalidate(struct dma_buf_pfn_attachment *attach)
{
	struct iopt_pages *pages = attach->importer_priv;
	struct mem_cgroup *old_memcg;
	int rc;

	/* Not set up yet, being released, or nothing was taken away */
	if (!pages->dmabuf.attach || attach->mapped)
		return;

	old_memcg = set_active_memcg(pages->dmabuf.memcg);
	rc = iopt_dmabuf_remap(pages, attach);
	set_active_memcg(old_memcg);
	if (!rc)
		return;

	atomic_inc(&iopt_dmabuf_remap_failures);
	trace_iommufd_dmabuf_remap_failed(pages, attach->dmabuf, rc);
}

void __init iopt_dmabuf_init(void)
{
	iommufd_debugfs = debugfs_create_dir("iommufd", NULL);
	debugfs_create_atomic_t("dmabuf_remap_failures", 0444, iommufd_debugfs,
				&iopt_dmabuf_remap_failures);
}

void iopt_dmabuf_exit(void)
{
	debugfs_remove(iommufd_debugfs);
}

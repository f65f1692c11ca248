// SPDX-License-Identifier: GPL-2.0-only
/*
 * An importer of dma-bufs as the driver of another device is
 *
 * It gets an sg table, is told when that ends, and gives it back, at once or as
 * late as a test wants it. The exporter has to wait for that. No device uses what
 * is in the table; it is made for the function itself, which is a peer that every
 * function of PCI has.
 *
 * Locking: import_lock orders the tests, and is outside of the reservation lock,
 * which protects the table.
 */
#include <linux/cleanup.h>
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "tsm-sim.h"

struct import {
	struct sim_fn *fn;
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	/* NULL once it was given back */
	struct sg_table *sgt;
	struct delayed_work work;
};

static DEFINE_MUTEX(import_lock);

static void give_back(struct import *import)
{
	dma_resv_assert_held(import->dmabuf->resv);

	if (!import->sgt)
		return;

	dma_buf_unmap_attachment(import->attach, import->sgt,
				 DMA_BIDIRECTIONAL);
	import->sgt = NULL;
}

static void give_back_work(struct work_struct *work)
{
	struct import *import = container_of(to_delayed_work(work),
					     struct import, work);

	dma_resv_lock(import->dmabuf->resv, NULL);
	give_back(import);
	dma_resv_unlock(import->dmabuf->resv);
}

static void import_invalidate(struct dma_buf_attachment *attach)
{
	struct import *import = attach->importer_priv;
	u32 delay = READ_ONCE(import->fn->delay_import);

	/* Also called when a buffer comes back */
	if (!import->sgt)
		return;

	if (delay)
		schedule_delayed_work(&import->work, msecs_to_jiffies(delay));
	else
		give_back(import);
}

static const struct dma_buf_attach_ops import_ops = {
	.allow_peer2peer = true,
	.invalidate_mappings = import_invalidate,
};

static int import_map(struct import *import)
{
	struct sg_table *sgt;

	dma_resv_lock(import->dmabuf->resv, NULL);
	sgt = dma_buf_map_attachment(import->attach, DMA_BIDIRECTIONAL);
	if (!IS_ERR(sgt))
		import->sgt = sgt;
	dma_resv_unlock(import->dmabuf->resv);
	return PTR_ERR_OR_ZERO(sgt);
}

static void import_free(struct import *import)
{
	dma_resv_lock(import->dmabuf->resv, NULL);
	give_back(import);
	dma_resv_unlock(import->dmabuf->resv);

	/* Nobody is told any more, so that no work is queued either */
	dma_buf_detach(import->dmabuf, import->attach);
	cancel_delayed_work_sync(&import->work);
	dma_buf_put(import->dmabuf);
	kfree(import);
}

static struct import *import_alloc(struct sim_fn *fn, int fd)
{
	struct import *import;
	int rc;

	import = kzalloc_obj(*import);
	if (!import)
		return ERR_PTR(-ENOMEM);

	import->fn = fn;
	INIT_DELAYED_WORK(&import->work, give_back_work);
	import->dmabuf = dma_buf_get(fd);
	if (IS_ERR(import->dmabuf)) {
		rc = PTR_ERR(import->dmabuf);
		goto err_free;
	}

	import->attach = dma_buf_dynamic_attach(import->dmabuf,
						&sim_pdev(fn)->dev,
						&import_ops, import);
	if (IS_ERR(import->attach)) {
		rc = PTR_ERR(import->attach);
		goto err_put;
	}

	rc = import_map(import);
	if (rc) {
		import_free(import);
		return ERR_PTR(rc);
	}
	return import;

err_put:
	dma_buf_put(import->dmabuf);
err_free:
	kfree(import);
	return ERR_PTR(rc);
}

/**
 * sim_import() - get an sg table of a dma-buf, instead of the one before
 * @fn: the function that it is for
 * @fd: the dma-buf, or a negative number for none
 *
 * Return: 0 or a negative error code, then there is none.
 */
int sim_import(struct sim_fn *fn, int fd)
{
	struct import *import;

	guard(mutex)(&import_lock);
	if (fn->import)
		import_free(fn->import);
	fn->import = NULL;
	if (fd < 0)
		return 0;

	import = import_alloc(fn, fd);
	if (IS_ERR(import))
		return PTR_ERR(import);

	fn->import = import;
	return 0;
}

/**
 * sim_imported() - is there an sg table that was not given back?
 * @fn: the function that it is for
 *
 * Return: true if there is.
 */
bool sim_imported(struct sim_fn *fn)
{
	bool ret;

	guard(mutex)(&import_lock);
	if (!fn->import)
		return false;

	dma_resv_lock(fn->import->dmabuf->resv, NULL);
	ret = fn->import->sgt;
	dma_resv_unlock(fn->import->dmabuf->resv);
	return ret;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DMA-buf PFN attachment: see drivers/dma-buf/dma-buf-pfn.c for the objects,
 * who owns them, and the locking.
 */
#ifndef _LINUX_DMA_BUF_PFN_H
#define _LINUX_DMA_BUF_PFN_H

#include <linux/bits.h>
#include <linux/list.h>
#include <linux/types.h>

struct dma_buf;
struct dma_buf_pfn_attachment;
struct phys_vec;
struct vm_area_struct;

/**
 * DOC: models
 *
 * How long a range stays what it is. An exporter has exactly one model for the
 * life of a buffer, an importer names all the models that it can serve:
 *
 * %DMA_BUF_PFN_PINNED: the ranges neither go away nor change while attached.
 *
 * %DMA_BUF_PFN_REVOCABLE: the ranges may be taken away and may come back, at
 * the same place.
 *
 * %DMA_BUF_PFN_MOVABLE: the ranges may be taken away, and are somewhere else
 * when they come back.
 */
#define DMA_BUF_PFN_PINNED		BIT(0)
#define DMA_BUF_PFN_REVOCABLE		BIT(1)
#define DMA_BUF_PFN_MOVABLE		BIT(2)
#define DMA_BUF_PFN_MODELS		GENMASK(2, 0)

/**
 * DOC: kinds
 *
 * What a range is, as far as a page table entry has to know. A range has
 * exactly one kind; exporter and importer name the set that they may emit and
 * can take:
 *
 * %DMA_BUF_PFN_MMIO: device registers or memory, strictly ordered and uncached.
 *
 * %DMA_BUF_PFN_MMIO_ANY: device memory for which any uncached type is correct,
 * write-combining included.
 *
 * %DMA_BUF_PFN_DEVICE_CACHED: device memory that the hardware keeps coherent
 * with the caches of the CPU; it has no struct page.
 *
 * %DMA_BUF_PFN_RAM: memory with struct pages, in the linear map, encrypted
 * where the kernel encrypts its own memory.
 *
 * %DMA_BUF_PFN_PRIVATE goes beside one of them and is a property of the whole
 * buffer: its ranges can be reached through secure translations only, never by
 * the host, an ordinary stage-2 or an ordinary IOMMU domain.
 */
#define DMA_BUF_PFN_MMIO		BIT(0)
#define DMA_BUF_PFN_MMIO_ANY		BIT(1)
#define DMA_BUF_PFN_DEVICE_CACHED	BIT(2)
#define DMA_BUF_PFN_RAM			BIT(3)
#define DMA_BUF_PFN_KINDS		GENMASK(3, 0)
#define DMA_BUF_PFN_PRIVATE		BIT(8)

/**
 * struct dma_buf_pfn_range - a physically contiguous part of a buffer
 * @offset: where it begins, in bytes from the start of the buffer
 * @paddr: its physical address
 * @length: its length in bytes
 * @kind: one bit of DMA_BUF_PFN_KINDS, and %DMA_BUF_PFN_PRIVATE if the buffer
 *        is private
 *
 * @offset, @paddr and @length are multiples of PAGE_SIZE.
 */
struct dma_buf_pfn_range {
	u64 offset;
	phys_addr_t paddr;
	u64 length;
	u32 kind;
};

/**
 * struct dma_buf_pfn_importer_ops - what an importer gives to dma_buf_pfn_attach()
 *
 * All callbacks run with the reservation lock of the buffer held and may sleep.
 * They must not attach or detach, and must not take any lock in which the
 * reservation lock nests.
 */
struct dma_buf_pfn_importer_ops {
	/** @name: of the importer, for debugfs and the tracepoints. */
	const char *name;

	/** @models: the set of models that the importer can serve. */
	u32 models;

	/**
	 * @record:
	 *
	 * Takes one range of the part that dma_buf_pfn_map() asked for. Ranges
	 * come in the order of their offset and without gaps. The importer
	 * only records: whether the whole part is covered is known when
	 * dma_buf_pfn_map() returns 0, and on an error what was recorded has
	 * to be dropped.
	 *
	 * Return: 0, or a negative error code, which ends the map and becomes
	 * its result.
	 */
	int (*record)(struct dma_buf_pfn_attachment *attach,
		      const struct dma_buf_pfn_range *range);

	/**
	 * @invalidate:
	 *
	 * The ranges go away. Before it returns, the importer has removed
	 * everything that it installed from them, has made sure that nothing
	 * more will be installed from what it recorded, and has called
	 * dma_buf_pfn_unmap() if the attachment was mapped. Called for
	 * attachments that are not mapped, too.
	 *
	 * Must not fail, allocate memory, or wait for userspace. Mandatory.
	 */
	void (*invalidate)(struct dma_buf_pfn_attachment *attach);

	/**
	 * @revalidate:
	 *
	 * The ranges are there, or there again: dma_buf_pfn_map() can be
	 * expected to work from now on, in this callback as well. Optional: an
	 * importer that maps on demand does not need it.
	 */
	void (*revalidate)(struct dma_buf_pfn_attachment *attach);
};

/**
 * struct dma_buf_pfn_exporter_ops - what an exporter that has ranges implements
 *
 * No callback may call dma_buf_invalidate_mappings() or
 * dma_buf_revalidate_mappings().
 */
struct dma_buf_pfn_exporter_ops {
	/**
	 * @attach:
	 *
	 * Accepts or refuses a new importer, without the reservation lock. May
	 * set &dma_buf_pfn_attachment.exporter_priv. It must accept importers
	 * while the buffer is revoked. Optional.
	 */
	int (*attach)(struct dma_buf_pfn_attachment *attach);

	/**
	 * @detach:
	 *
	 * Undoes @attach, without the reservation lock. The attachment is not
	 * mapped any more. Optional.
	 */
	void (*detach)(struct dma_buf_pfn_attachment *attach);

	/**
	 * @map:
	 *
	 * Gives the ranges that make up @length bytes from @offset on to
	 * dma_buf_pfn_emit(), in order, and returns the first error of that.
	 * The bounds have been checked and are multiples of PAGE_SIZE. The
	 * ranges stay valid until @unmap or, for that importer, until
	 * dma_buf_invalidate_mappings() returns. Called with the reservation
	 * lock held.
	 *
	 * Return: 0; -ENODEV while the buffer is revoked, which tells the
	 * importer to wait for its revalidate callback, and is not for a
	 * pinned buffer; -EHWPOISON if one of the pages is poisoned; or
	 * another negative error code. On an error @unmap is not called.
	 */
	int (*map)(struct dma_buf_pfn_attachment *attach, u64 offset,
		   u64 length);

	/**
	 * @unmap:
	 *
	 * The importer does not use the ranges of its last @map any more.
	 * Called with the reservation lock held.
	 */
	void (*unmap)(struct dma_buf_pfn_attachment *attach);

	/**
	 * @wait:
	 *
	 * Waits until an operation that has revoked the buffer for its own
	 * duration, such as a reset, is over. It does not wait for the buffer
	 * to become usable. Every signal ends the wait, or only a fatal one if
	 * @killable. Called without the reservation lock. If not @killable,
	 * mmap_lock or the SRCU of a VM may be held, so must not take
	 * mmap_lock, and must not last. Optional.
	 *
	 * Return: 0, -EINTR, or, if not @killable, -EAGAIN if it takes so long
	 * that the importer should come back without the locks that it has.
	 */
	int (*wait)(struct dma_buf_pfn_attachment *attach, bool killable);
};

/**
 * struct dma_buf_pfn_export - the PFN side of a buffer, none if @ops is NULL
 * @ops: the exporter's callbacks
 * @model: one bit of DMA_BUF_PFN_MODELS
 * @kinds: every kind that @ops may ever emit for this buffer, with
 *         %DMA_BUF_PFN_PRIVATE if and only if all its ranges are private
 *
 * Part of &struct dma_buf_export_info, constant for the life of the buffer. The
 * size of a buffer with PFN ops is a multiple of PAGE_SIZE.
 */
struct dma_buf_pfn_export {
	const struct dma_buf_pfn_exporter_ops *ops;
	u32 model;
	u32 kinds;
};

/**
 * struct dma_buf_pfn_attachment - one importer's tie to a buffer
 * @dmabuf: the buffer; the importer holds a reference on it
 * @ops: the importer's callbacks
 * @importer_priv: for the importer
 * @exporter_priv: for the exporter
 * @vm: the VM that the importer maps private ranges for, by a pointer to its
 *      &struct kvm that is not followed, set before the first map; otherwise NULL
 * @writable: the importer may write
 * @mapped: the importer holds ranges of a dma_buf_pfn_map(), protected by the
 *          reservation lock
 */
struct dma_buf_pfn_attachment {
	struct dma_buf *dmabuf;
	const struct dma_buf_pfn_importer_ops *ops;
	void *importer_priv;
	void *exporter_priv;
	const void *vm;
	bool writable;
	bool mapped;

	/* private: to the core, protected by the reservation lock */

	/* in &dma_buf.pfn_attachments */
	struct list_head node;
	/* of the current map: the offset that the next range has to have */
	u64 next;
	/* of the current map: the offset at which it ends */
	u64 end;
	/* of the current map: its first error */
	int error;
	/* a map is going on */
	bool emitting;
};

/* For importers */
struct dma_buf_pfn_attachment *
dma_buf_pfn_attach(struct dma_buf *dmabuf,
		   const struct dma_buf_pfn_importer_ops *ops, u32 kinds,
		   bool writable, void *importer_priv);
void dma_buf_pfn_detach(struct dma_buf_pfn_attachment *attach);
int dma_buf_pfn_map(struct dma_buf_pfn_attachment *attach, u64 offset,
		    u64 length);
void dma_buf_pfn_unmap(struct dma_buf_pfn_attachment *attach);
int dma_buf_pfn_wait(struct dma_buf_pfn_attachment *attach, bool killable);

/* For exporters */
int dma_buf_pfn_emit(struct dma_buf_pfn_attachment *attach,
		     const struct dma_buf_pfn_range *range);
int dma_buf_pfn_emit_phys(struct dma_buf_pfn_attachment *attach,
			  const struct phys_vec *phys, size_t nr, u32 kind,
			  u64 offset, u64 length);
void dma_buf_revalidate_mappings(struct dma_buf *dmabuf);

/* For those who take physical addresses from VMAs */
#if defined(CONFIG_DMA_SHARED_BUFFER) && defined(CONFIG_MMU)
bool dma_buf_pfn_is_vma(const struct vm_area_struct *vma);
#else
static inline bool dma_buf_pfn_is_vma(const struct vm_area_struct *vma)
{
	return false;
}
#endif

#endif /* _LINUX_DMA_BUF_PFN_H */

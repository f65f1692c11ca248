// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap of a dma-buf by the PFN side of its exporter
 *
 * For exporters of device memory, which has no struct pages to put into a VMA.
 * The helper is a PFN importer: each mmap() attaches to the buffer, and all VMAs
 * that the one of the mmap() is split into, copied or moved to share that
 * attachment. The first fault maps it, and what it recorded serves the faults
 * after that, until the exporter takes the buffer back or the last VMA is gone.
 *
 * Page table entries are inserted and removed under the reservation lock, so
 * there is no inner lock and nothing to recheck. They are found by way of
 * &dma_buf.file->f_mapping, which belongs to this one buffer.
 *
 * A fault must not sleep on the reservation lock, nor wait for the exporter, with
 * the lock of the address space held, as long as it can ask to be tried again. An
 * exporter that takes its buffer away may hold the reservation lock for as long as
 * it waits for the fences of importers with a device, as vfio-pci does, and what
 * revokes a buffer for its own duration, such as a reset, takes its time as well.
 *
 * mmap(), munmap() and the exit of a process do sleep on the reservation lock, with
 * mmap_lock held for write: there is no other way to attach and to detach.
 */
#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>
#include <linux/huge_mm.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

struct dma_buf_pfn_mmap {
	/* One for each VMA, and one for each fault that waits without its lock */
	struct kref kref;
	struct dma_buf_pfn_attachment *attach;
	/* What the mmap() was for */
	u64 offset;
	u64 length;
	/* What it consists of, while the attachment is mapped; protected by resv */
	struct dma_buf_pfn_range *ranges;
	size_t nr;
	size_t max;
};

static int dma_buf_pfn_mmap_record(struct dma_buf_pfn_attachment *attach,
				   const struct dma_buf_pfn_range *range)
{
	struct dma_buf_pfn_mmap *map = attach->importer_priv;
	struct dma_buf_pfn_range *last, *ranges;

	/* They are of one kind. A large page may cover what was emitted in two */
	last = map->nr ? &map->ranges[map->nr - 1] : NULL;
	if (last && last->paddr + last->length == range->paddr) {
		last->length += range->length;
		return 0;
	}

	if (map->nr == map->max) {
		size_t max = max(2 * map->max, 4);

		ranges = kvrealloc(map->ranges, array_size(max, sizeof(*ranges)),
				   GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!ranges)
			return -ENOMEM;
		map->ranges = ranges;
		map->max = max;
	}

	map->ranges[map->nr++] = *range;
	return 0;
}

/*
 * Page table entries are removed by their place in the file, whichever mmap they
 * belong to. So the first one that is mapped does it for all, once, and leaves
 * nothing to do for the others.
 */
static void dma_buf_pfn_mmap_invalidate(struct dma_buf_pfn_attachment *attach)
{
	struct dma_buf *dmabuf = attach->dmabuf;
	struct dma_buf_pfn_attachment *each;

	if (!attach->mapped)
		return;

	unmap_mapping_range(dmabuf->file->f_mapping, 0, 0, 1);

	list_for_each_entry(each, &dmabuf->pfn_attachments, node) {
		struct dma_buf_pfn_mmap *map = each->importer_priv;

		if (each->ops != attach->ops || !each->mapped)
			continue;

		map->nr = 0;
		dma_buf_pfn_unmap(each);
	}
}

static const struct dma_buf_pfn_importer_ops dma_buf_pfn_mmap_importer_ops = {
	.name = "mmap",
	/* Moving ones would have to be waited for in a fault */
	.models = DMA_BUF_PFN_PINNED | DMA_BUF_PFN_REVOCABLE,
	.record = dma_buf_pfn_mmap_record,
	.invalidate = dma_buf_pfn_mmap_invalidate,
};

static void dma_buf_pfn_mmap_release(struct kref *kref)
{
	struct dma_buf_pfn_mmap *map =
		container_of(kref, struct dma_buf_pfn_mmap, kref);
	struct dma_buf_pfn_attachment *attach = map->attach;

	/* There is no VMA left, and so no page table entry */
	dma_resv_lock(attach->dmabuf->resv, NULL);
	if (attach->mapped)
		dma_buf_pfn_unmap(attach);
	dma_resv_unlock(attach->dmabuf->resv);

	dma_buf_pfn_detach(attach);
	kvfree(map->ranges);
	kfree(map);
}

static void dma_buf_pfn_mmap_open(struct vm_area_struct *vma)
{
	struct dma_buf_pfn_mmap *map = vma->vm_private_data;

	kref_get(&map->kref);
}

static void dma_buf_pfn_mmap_close(struct vm_area_struct *vma)
{
	struct dma_buf_pfn_mmap *map = vma->vm_private_data;

	kref_put(&map->kref, dma_buf_pfn_mmap_release);
}

static const struct dma_buf_pfn_range *
dma_buf_pfn_mmap_find(struct dma_buf_pfn_mmap *map, u64 offset)
{
	size_t low = 0, high = map->nr;

	/* The last one that does not begin after @offset; they leave no gap */
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (map->ranges[mid].offset <= offset)
			low = mid;
		else
			high = mid;
	}
	return &map->ranges[low];
}

static vm_fault_t dma_buf_pfn_mmap_insert(struct vm_fault *vmf,
					  unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long size = PAGE_SIZE << order;
	unsigned long addr = ALIGN_DOWN(vmf->address, size);
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	const struct dma_buf_pfn_range *range;
	phys_addr_t paddr;
	u64 offset;

	if (addr < vma->vm_start || vma->vm_end - addr < size)
		return VM_FAULT_FALLBACK;

	offset = (u64)linear_page_index(vma, addr) << PAGE_SHIFT;
	range = dma_buf_pfn_mmap_find(vma->vm_private_data, offset);
	if (offset < range->offset ||
	    range->length - (offset - range->offset) < size)
		return VM_FAULT_FALLBACK;

	paddr = range->paddr + (offset - range->offset);
	if (!IS_ALIGNED(paddr, size))
		return VM_FAULT_FALLBACK;

	if (!order)
		return vmf_insert_pfn(vma, addr, PHYS_PFN(paddr));

	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && order == PMD_ORDER)
		return vmf_insert_pfn_pmd(vmf, PHYS_PFN(paddr), write);

	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) && order == PUD_ORDER)
		return vmf_insert_pfn_pud(vmf, PHYS_PFN(paddr), write);

	return VM_FAULT_FALLBACK;
}

/*
 * Let whoever holds the reservation lock, or has revoked the buffer for a moment,
 * finish. The lock that keeps the VMA is dropped meanwhile, so nothing of @vmf may
 * be used afterwards. The fault starts again, and comes here at most once more: if
 * this was with the lock of the VMA, the next time is with mmap_lock.
 *
 * A signal that is not fatal must not end the wait: an access by the kernel on
 * behalf of the user would fail, as only one by the user itself is made again
 * after the signal. The reservation lock is not held for longer than fences need.
 */
static vm_fault_t dma_buf_pfn_mmap_retry(struct vm_fault *vmf)
{
	struct dma_buf_pfn_mmap *map = vmf->vma->vm_private_data;
	struct dma_buf *dmabuf = map->attach->dmabuf;

	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	get_dma_buf(dmabuf);
	kref_get(&map->kref);
	release_fault_lock(vmf);

	dma_resv_lock(dmabuf->resv, NULL);
	dma_resv_unlock(dmabuf->resv);
	/* A fatal signal is seen by who tries the fault again */
	dma_buf_pfn_wait(map->attach, true);

	kref_put(&map->kref, dma_buf_pfn_mmap_release);
	dma_buf_put(dmabuf);
	return VM_FAULT_RETRY;
}

static vm_fault_t dma_buf_pfn_mmap_huge_fault(struct vm_fault *vmf,
					      unsigned int order)
{
	struct dma_buf_pfn_mmap *map = vmf->vma->vm_private_data;
	struct dma_buf_pfn_attachment *attach = map->attach;
	struct dma_resv *resv = attach->dmabuf->resv;
	bool waited = false;
	vm_fault_t fault;
	int ret;

again:
	if (!dma_resv_trylock(resv)) {
		if (fault_flag_allow_retry_first(vmf->flags))
			return dma_buf_pfn_mmap_retry(vmf);
		dma_resv_lock(resv, NULL);
	}

	ret = 0;
	if (!attach->mapped) {
		map->nr = 0;
		ret = dma_buf_pfn_map(attach, map->offset, map->length);
	}
	fault = ret ? vmf_error(ret) : dma_buf_pfn_mmap_insert(vmf, order);
	dma_resv_unlock(resv);

	/* Revoked: for the time of a reset only, or until further notice? */
	if (ret != -ENODEV || waited)
		return fault;
	if (fault_flag_allow_retry_first(vmf->flags))
		return dma_buf_pfn_mmap_retry(vmf);

	/* The next reset after the one that was waited for, or a caller that cannot retry */
	ret = dma_buf_pfn_wait(attach, false);
	if (!ret) {
		waited = true;
		goto again;
	}

	/* The access is made again, by a user after the signal */
	if (ret == -EAGAIN || vmf->flags & FAULT_FLAG_USER)
		return VM_FAULT_NOPAGE;
	return fault;
}

static vm_fault_t dma_buf_pfn_mmap_fault(struct vm_fault *vmf)
{
	return dma_buf_pfn_mmap_huge_fault(vmf, 0);
}

static const struct vm_operations_struct dma_buf_pfn_mmap_vm_ops = {
	.open = dma_buf_pfn_mmap_open,
	.close = dma_buf_pfn_mmap_close,
	.fault = dma_buf_pfn_mmap_fault,
#ifdef CONFIG_ARCH_SUPPORTS_HUGE_PFNMAP
	.huge_fault = dma_buf_pfn_mmap_huge_fault,
#endif
};

/**
 * dma_buf_pfn_mmap - map a buffer into a user's address space by its PFN ops
 * @dmabuf: the buffer
 * @vma: where to map it, with vm_pgoff in pages from the start of the buffer
 *
 * For the mmap callback of exporters of device memory. Faults insert pages, PMDs
 * and PUDs, as the ranges of the buffer and the alignment of @vma allow. While
 * the buffer is revoked they fail with SIGBUS, after they have let an operation
 * of the exporter that is under way finish, see &dma_buf_pfn_exporter_ops.wait.
 * They work again when the buffer is back.
 *
 * The buffer has to be of the pinned or the revocable model, and of one kind,
 * which decides the memory type, other than %DMA_BUF_PFN_RAM: exporters of memory
 * know better how to map it. &dma_buf.file->f_mapping has to be the buffer's own.
 *
 * The exporter's PFN callbacks are called under mmap_lock, also
 * &dma_buf_pfn_exporter_ops.wait if it is not to wait for a fatal signal only.
 *
 * Context: By way of &dma_buf_ops.mmap, under mmap_lock. Takes the reservation
 * lock.
 *
 * Return: 0; -EINVAL for a private, i.e. copy on write, mapping; -EOPNOTSUPP for
 * a buffer without PFN ops, or of another model or kind; -EACCES if @vma could be
 * written and the buffer's file could not; or an error of dma_buf_pfn_attach().
 */
int dma_buf_pfn_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	u32 kinds = dmabuf->pfn.kinds;
	struct dma_buf_pfn_mmap *map;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	/* One of them, which a private one is not */
	if (kinds != DMA_BUF_PFN_MMIO && kinds != DMA_BUF_PFN_MMIO_ANY &&
	    kinds != DMA_BUF_PFN_DEVICE_CACHED)
		return -EOPNOTSUPP;

	map = kzalloc_obj(*map, GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;

	kref_init(&map->kref);
	map->offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	map->length = vma->vm_end - vma->vm_start;
	map->attach = dma_buf_pfn_attach(dmabuf, &dma_buf_pfn_mmap_importer_ops,
					 kinds, vma->vm_flags & VM_MAYWRITE,
					 map);
	if (IS_ERR(map->attach)) {
		int ret = PTR_ERR(map->attach);

		kfree(map);
		return ret;
	}

	if (kinds != DMA_BUF_PFN_DEVICE_CACHED) {
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
		vma->vm_page_prot = pgprot_decrypted(vma->vm_page_prot);
	}
	if (kinds == DMA_BUF_PFN_MMIO_ANY)
		vm_flags_set(vma, VM_ALLOW_ANY_UNCACHED);
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);

	vma->vm_ops = &dma_buf_pfn_mmap_vm_ops;
	vma->vm_private_data = map;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_pfn_mmap, "DMA_BUF");

/**
 * dma_buf_pfn_is_vma - is a VMA an mmap by dma_buf_pfn_mmap()?
 * @vma: any VMA
 *
 * The exporter may take the memory back at any time. An importer is told of that,
 * and the page tables of processes are emptied. Who takes physical addresses from
 * there, and keeps them, must not take these.
 *
 * Context: Under mmap_lock.
 *
 * Return: true if it is one.
 */
bool dma_buf_pfn_is_vma(const struct vm_area_struct *vma)
{
	return vma->vm_ops == &dma_buf_pfn_mmap_vm_ops;
}
EXPORT_SYMBOL_FOR_MODULES(dma_buf_pfn_is_vma, "vfio_iommu_type1");

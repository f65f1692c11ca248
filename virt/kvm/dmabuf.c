// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memslots backed by a dma-buf, KVM_MEM_DMABUF
 *
 * A dma-buf memslot has no userspace mapping.  KVM is an importer of the buffer
 * (see drivers/dma-buf/dma-buf-pfn.c) and builds SPTEs from the physical ranges
 * that the exporter hands out, until the exporter takes them back.
 *
 * A binding, struct kvm_dmabuf, ties one memslot to one buffer.  The memslot
 * owns the binding, and the binding owns a reference to the buffer and an
 * attachment to it.  It holds no reference to the VM, and the exporter may call
 * into the binding at any time.  Thus the binding ends when the memslot is
 * deleted, or as the very first step of destroying the VM.
 *
 * The map, struct kvm_dmabuf_map, is the memslot's translation, the ranges of
 * the part of the buffer that backs the memslot.  It is created by the first
 * fault that needs it and exists for as long as the exporter leaves the ranges
 * alone.  A memslot without a map has no SPTEs.
 *
 * A private buffer is mapped where the gfn is private and a shared one where it is
 * shared, the architecture's fault handler sees to that.  Converting a gfn zaps its
 * SPTE, and leaves binding and map alone: userspace replaces the memslot by one of
 * the other buffer, or converts the gfn back.
 *
 * Locking.  The map is written under the buffer's reservation lock (resv) and
 * read under RCU, i.e. vCPUs that fault on a mapped buffer share no lock but
 * mmu_lock.  The order is:
 *
 *   kvm->slots_lock -> resv -> kvm->srcu -> kvm->mmu_lock
 *   kvm->srcu -> resv (interruptible)
 *   kvm->srcu -> a lock of the exporter that is taken outside of resv, e.g.
 *                memory_lock of vfio-pci, for dma_buf_pfn_wait() (interruptible)
 *
 * As kvm->srcu is on both sides of resv, neither resv nor such a lock may be held
 * across synchronize_srcu(&kvm->srcu).  That binds exporters, too.
 */
#include <linux/dma-buf.h>
#include <linux/dma-buf-pfn.h>
#include <linux/dma-resv.h>
#include <linux/kvm_host.h>
#include <linux/log2.h>
#include <linux/nospec.h>
#include <linux/overflow.h>

#include "dmabuf.h"
#include "kvm_mm.h"

MODULE_IMPORT_NS("DMA_BUF");

/* What of a buffer's memory is cached, and may have to be flushed. */
#define KVM_DMABUF_CACHED_KINDS (DMA_BUF_PFN_DEVICE_CACHED | DMA_BUF_PFN_RAM)

struct kvm_dmabuf_range {
	gfn_t gfn;
	kvm_pfn_t pfn;
	u64 npages;
	u32 kind;
};

struct kvm_dmabuf_map {
	struct rcu_head rcu;
	unsigned int nr;
	unsigned int max;
	/* Sorted by gfn, without gaps, and covering the entire memslot. */
	struct kvm_dmabuf_range ranges[] __counted_by(max);
};

struct kvm_dmabuf {
	struct kvm *kvm;
	struct kvm_memory_slot *slot;
	struct dma_buf *dmabuf;
	struct dma_buf_pfn_attachment *attach;
	u64 offset;

	/* Written under resv, NULL while nothing of the buffer is mapped. */
	struct kvm_dmabuf_map __rcu *map;

	/* The map that is being made, protected by resv. */
	struct kvm_dmabuf_map *new_map;
};

static u64 kvm_dmabuf_slot_size(const struct kvm_memory_slot *slot)
{
	return (u64)slot->npages << PAGE_SHIFT;
}

/*
 * Can the buffer be reached by means of secure translations only?  That's so for
 * its whole life, i.e. also holds while the buffer is revoked.
 */
bool kvm_dmabuf_is_private(const struct kvm_memory_slot *slot)
{
	return slot->dmabuf->dmabuf->pfn.kinds & DMA_BUF_PFN_PRIVATE;
}

static int kvm_dmabuf_record(struct dma_buf_pfn_attachment *attach,
			     const struct dma_buf_pfn_range *range)
{
	struct kvm_dmabuf *binding = attach->importer_priv;
	struct kvm_dmabuf_map *map = binding->new_map;
	kvm_pfn_t pfn = PHYS_PFN(range->paddr);
	u64 npages = range->length >> PAGE_SHIFT;
	unsigned int nr = map->nr;

	/*
	 * Merge what is contiguous, so that the exporter's bookkeeping doesn't
	 * limit the size of mappings.  Ranges of different kinds may need
	 * different memory types, don't let a mapping cross from one to another.
	 */
	if (nr && map->ranges[nr - 1].kind == range->kind &&
	    map->ranges[nr - 1].pfn + map->ranges[nr - 1].npages == pfn) {
		map->ranges[nr - 1].npages += npages;
		return 0;
	}

	if (nr == map->max) {
		unsigned int max;

		if (check_mul_overflow(map->max, 2u, &max))
			return -ENOMEM;

		/* How many ranges there are is up to userspace. */
		map = kvrealloc(map, struct_size(map, ranges, max),
				GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!map)
			return -ENOMEM;

		map->max = max;
		binding->new_map = map;
	}

	map->ranges[nr].gfn = binding->slot->base_gfn +
			      ((range->offset - binding->offset) >> PAGE_SHIFT);
	map->ranges[nr].pfn = pfn;
	map->ranges[nr].npages = npages;
	map->ranges[nr].kind = range->kind;
	map->nr++;

	return 0;
}

/*
 * Zap all SPTEs of the memslot.  Whoever resolved a gfn before the caller hid
 * the map fails the mmu_invalidate_seq check under mmu_lock.
 */
static void kvm_dmabuf_zap(struct kvm_dmabuf *binding)
{
	struct kvm *kvm = binding->kvm;
	struct kvm_gfn_range range = {
		.start = binding->slot->base_gfn,
		.end = binding->slot->base_gfn + binding->slot->npages,
		.may_block = true,
		.attr_filter = kvm_dmabuf_is_private(binding->slot) ?
			       KVM_FILTER_PRIVATE : KVM_FILTER_SHARED,
	};
	int idx;

	/*
	 * Use the memslot that vCPUs see, i.e. not binding->slot.  While the
	 * memslot is being deleted its INVALID copy is the active one, and only
	 * the arch data of active memslots is up-to-date.  If there is no
	 * active memslot then the memslot has already been zapped for good, as
	 * the deleting task holds slots_lock until it has unbound the memslot.
	 *
	 * The copy may become the active one after the lookup, and then be the
	 * only one that gets rmaps.  A memslot without rmaps has none to zap,
	 * which KVM finds as long as the range begins at base_gfn.
	 */
	idx = srcu_read_lock(&kvm->srcu);

	range.slot = id_to_memslot(__kvm_memslots(kvm, binding->slot->as_id),
				   binding->slot->id);
	if (!range.slot)
		goto out;

	KVM_MMU_LOCK(kvm);

	/*
	 * in_progress protects against vCPUs if mmu_lock is dropped in order to
	 * yield, the bump of mmu_invalidate_seq protects against vCPUs that
	 * resolved a gfn and have yet to acquire mmu_lock.
	 */
	kvm_mmu_invalidate_start(kvm);
	if (kvm_mmu_unmap_gfn_range(kvm, &range))
		kvm_flush_remote_tlbs(kvm);
	kvm_mmu_invalidate_end(kvm);

	KVM_MMU_UNLOCK(kvm);

out:
	srcu_read_unlock(&kvm->srcu, idx);
}

static void kvm_dmabuf_invalidate(struct dma_buf_pfn_attachment *attach)
{
	struct kvm_dmabuf *binding = attach->importer_priv;
	struct kvm_dmabuf_map *map;

	/*
	 * Only a fault creates the map, i.e. there's nothing to do for a memslot
	 * that isn't visible yet, which may not even have its arch data.
	 */
	map = rcu_replace_pointer(binding->map, NULL,
				  dma_resv_held(attach->dmabuf->resv));
	if (!map)
		return;

	/*
	 * Ensure that vCPUs that observe the new mmu_invalidate_seq don't find
	 * the old map.  Pairs with the smp_rmb() between reading the sequence
	 * and resolving the gfn, e.g. in kvm_mmu_faultin_pfn().
	 */
	smp_wmb();

	kvm_dmabuf_zap(binding);

	if (attach->dmabuf->pfn.kinds & KVM_DMABUF_CACHED_KINDS)
		kvm_arch_guest_memory_reclaimed(binding->kvm);

	dma_buf_pfn_unmap(attach);
	kvfree_rcu(map, rcu);
}

/*
 * There is no revalidate(), vCPUs fault the ranges in again when they need to.
 * That works for any model, as nothing is kept across an invalidation.
 */
static const struct dma_buf_pfn_importer_ops kvm_dmabuf_ops = {
	.name = "kvm",
	.models = DMA_BUF_PFN_MODELS,
	.record = kvm_dmabuf_record,
	.invalidate = kvm_dmabuf_invalidate,
};

static int kvm_dmabuf_map(struct kvm_dmabuf *binding)
{
	struct kvm_dmabuf_map *map;
	int ret;

	map = kvzalloc_flex(*map, ranges, 4, GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;

	map->max = 4;
	binding->new_map = map;
	ret = dma_buf_pfn_map(binding->attach, binding->offset,
			      kvm_dmabuf_slot_size(binding->slot));
	map = binding->new_map;
	binding->new_map = NULL;

	if (ret)
		kvfree(map);
	else
		rcu_assign_pointer(binding->map, map);

	return ret;
}

static u8 kvm_dmabuf_max_order(const struct kvm_dmabuf_range *range, gfn_t gfn,
			       kvm_pfn_t pfn)
{
	u8 order;

	/* Grow for as long as gfn and pfn are congruent and in the range. */
	for (order = 0; order < ilog2(range->npages); order++) {
		u64 npages = BIT_ULL(order + 1);
		gfn_t start = gfn & ~(npages - 1);

		if ((gfn ^ pfn) & (npages - 1) || start < range->gfn ||
		    start - range->gfn + npages > range->npages)
			break;
	}

	return order;
}

static bool kvm_dmabuf_lookup(struct kvm_dmabuf *binding, gfn_t gfn,
			      kvm_pfn_t *pfn, u8 *max_order, u32 *kind)
{
	const struct kvm_dmabuf_range *range;
	const struct kvm_dmabuf_map *map;
	unsigned int first, last, mid;

	guard(rcu)();

	map = rcu_dereference(binding->map);
	if (!map)
		return false;

	/* Find the last range that doesn't start beyond @gfn. */
	first = 0;
	last = map->nr - 1;
	while (first < last) {
		mid = last - (last - first) / 2;
		if (map->ranges[mid].gfn <= gfn)
			first = mid;
		else
			last = mid - 1;
	}

	range = &map->ranges[array_index_nospec(first, map->nr)];
	*pfn = range->pfn + array_index_nospec(gfn - range->gfn, range->npages);
	*max_order = kvm_dmabuf_max_order(range, gfn, *pfn);
	if (kind)
		*kind = range->kind;

	return true;
}

/* Map the buffer if it isn't, and resolve @gfn before it can be taken away. */
static int kvm_dmabuf_resolve(struct kvm_dmabuf *binding, gfn_t gfn,
			      kvm_pfn_t *pfn, u8 *max_order, u32 *kind)
{
	int ret;

	ret = dma_resv_lock_interruptible(binding->dmabuf->resv, NULL);
	if (ret)
		return ret;

	/* Another vCPU may have mapped the buffer in the meantime. */
	if (!rcu_access_pointer(binding->map))
		ret = kvm_dmabuf_map(binding);

	if (!ret && WARN_ON_ONCE(!kvm_dmabuf_lookup(binding, gfn, pfn, max_order, kind)))
		ret = -EIO;

	dma_resv_unlock(binding->dmabuf->resv);

	return ret;
}

/*
 * Translate @gfn.  @max_order is the order of the largest mapping that contains
 * @gfn and that the buffer allows.  @kind, which may be NULL, is the kind of memory,
 * one of DMA_BUF_PFN_KINDS, and DMA_BUF_PFN_PRIVATE if the buffer is private, for
 * architectures that don't derive the memory type from the pfn.  The caller must have
 * read mmu_invalidate_seq beforehand and must check it under mmu_lock before
 * installing a mapping.
 *
 * Returns -ENODEV if the exporter has taken the buffer away, -EAGAIN if it is about
 * to give it back but takes too long to be waited for inside of kvm->srcu, -EINTR if
 * a signal is pending.
 */
int kvm_dmabuf_get_pfn(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn,
		       kvm_pfn_t *pfn, u8 *max_order, u32 *kind)
{
	struct kvm_dmabuf *binding = slot->dmabuf;
	int ret;

	lockdep_assert(srcu_read_lock_held(&kvm->srcu));

	if (kvm_dmabuf_lookup(binding, gfn, pfn, max_order, kind))
		return 0;

	ret = kvm_dmabuf_resolve(binding, gfn, pfn, max_order, kind);
	if (ret != -ENODEV)
		return ret;

	/*
	 * The buffer may be gone only for the duration of e.g. a reset.  Let
	 * that finish instead of making userspace retry, but wait only once, as
	 * the buffer may also be gone until userspace does something about it.
	 */
	ret = dma_buf_pfn_wait(binding->attach, false);
	if (ret)
		return ret;

	return kvm_dmabuf_resolve(binding, gfn, pfn, max_order, kind);
}

/*
 * Ensure that lockdep knows the order, whatever faults and exporters do.  It
 * doesn't matter if a signal gets in the way, there'll be other memslots.
 */
static void kvm_dmabuf_prime_lockdep(struct kvm *kvm, struct dma_buf *dmabuf)
{
	int idx;

	if (!IS_ENABLED(CONFIG_PROVE_LOCKING))
		return;

	idx = srcu_read_lock(&kvm->srcu);
	if (!dma_resv_lock_interruptible(dmabuf->resv, NULL)) {
		KVM_MMU_LOCK(kvm);
		KVM_MMU_UNLOCK(kvm);
		dma_resv_unlock(dmabuf->resv);
	}
	srcu_read_unlock(&kvm->srcu, idx);
}

int kvm_dmabuf_prepare_memory_region(struct kvm *kvm, struct kvm_memory_slot *slot,
				     const struct kvm_userspace_memory_region2 *mem)
{
	struct dma_buf_pfn_attachment *attach;
	struct kvm_dmabuf *binding;
	struct dma_buf *dmabuf;
	u64 end;
	int ret;

	lockdep_assert_held(&kvm->slots_lock);

	/* There is no userspace mapping. */
	if (mem->userspace_addr)
		return -EINVAL;

	if (!PAGE_ALIGNED(mem->dmabuf_offset) ||
	    check_add_overflow(mem->dmabuf_offset, mem->memory_size, &end))
		return -EINVAL;

	dmabuf = dma_buf_get(mem->dmabuf_fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	if (end > dmabuf->size) {
		ret = -EINVAL;
		goto err_put;
	}

	/* A write would have to be emulated, and private memory can't be. */
	if ((dmabuf->pfn.kinds & DMA_BUF_PFN_PRIVATE) &&
	    (slot->flags & KVM_MEM_READONLY)) {
		ret = -EINVAL;
		goto err_put;
	}

	binding = kzalloc_obj(*binding, GFP_KERNEL_ACCOUNT);
	if (!binding) {
		ret = -ENOMEM;
		goto err_put;
	}

	binding->kvm = kvm;
	binding->slot = slot;
	binding->dmabuf = dmabuf;
	binding->offset = mem->dmabuf_offset;

	/* The buffer may be revoked, only faults need it to be there. */
	attach = dma_buf_pfn_attach(dmabuf, &kvm_dmabuf_ops,
				    kvm_arch_dmabuf_kinds(kvm),
				    !(slot->flags & KVM_MEM_READONLY), binding);
	if (IS_ERR(attach)) {
		ret = PTR_ERR(attach);
		goto err_free;
	}

	/* Private ranges may be for one VM only. */
	attach->vm = kvm;
	binding->attach = attach;
	slot->dmabuf = binding;

	/* Not before it's known that the buffer is one that KVM can use. */
	kvm_dmabuf_prime_lockdep(kvm, dmabuf);

	return 0;

err_free:
	kfree(binding);
err_put:
	dma_buf_put(dmabuf);
	return ret;
}

/*
 * End the binding of a memslot that vCPUs can't fault on, because it never
 * became or no longer is visible or because there are no more vCPUs running.
 */
void kvm_dmabuf_unbind(struct kvm_memory_slot *slot)
{
	struct kvm_dmabuf *binding = slot->dmabuf;

	if (!binding)
		return;

	dma_resv_lock(binding->dmabuf->resv, NULL);
	kvm_dmabuf_invalidate(binding->attach);
	dma_resv_unlock(binding->dmabuf->resv);

	dma_buf_pfn_detach(binding->attach);
	dma_buf_put(binding->dmabuf);
	kfree(binding);

	slot->dmabuf = NULL;
}

void kvm_dmabuf_unbind_all(struct kvm *kvm)
{
	struct kvm_memory_slot *slot;
	int i, bkt;

	for (i = 0; i < kvm_arch_nr_memslot_as_ids(kvm); i++) {
		kvm_for_each_memslot(slot, bkt, __kvm_memslots(kvm, i))
			kvm_dmabuf_unbind(slot);
	}
}

int kvm_dmabuf_supported(struct kvm *kvm)
{
	int supported = 0;
	u32 kinds;

	/* Without a VM, report what a VM of the default type can do. */
	if (!kvm)
		return KVM_DMABUF_SHARED;

	kinds = kvm_arch_dmabuf_kinds(kvm);
	if (kinds & DMA_BUF_PFN_KINDS)
		supported |= KVM_DMABUF_SHARED;
	if (kinds & DMA_BUF_PFN_PRIVATE)
		supported |= KVM_DMABUF_PRIVATE;

	return supported;
}

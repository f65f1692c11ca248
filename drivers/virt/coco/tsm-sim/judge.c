// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who maps what, and may it be mapped?
 *
 * The rules that a bind is about are rules for page tables, and a TSM without
 * hardware has nobody who enforces them. So this looks on: tracepoints of the
 * dma-buf core tell what importers (KVM, iommufd) hold of a buffer, those of
 * VFIO what user processes have mapped, the TSM's part tells what becomes
 * private and when. What breaks a rule is counted and told, and nothing else
 * happens. The rules:
 *
 * - When a TDI is bound, no page that becomes private is mapped as anything but
 *   private, and no page of the function is mapped by a user.
 * - While it is bound, such a mapping is not made.
 * - A mapping as private is made of private pages of a bound TDI only, is not
 *   removed while the TDI runs, and is gone when the TDI is freed.
 * - A TDI is stopped before it is freed.
 *
 * VFIO is seen to remove all user mappings, never to remove one; so "is mapped"
 * means that one was made since. Where VFIO had the function before this did,
 * one may have been made, until all are removed.
 *
 * Mappings that were made before this was there cannot be told from others when
 * they go. They are counted as unseen: a test that wants to know has to load
 * this first. So is what there is no room for, and for good: it may be mapped for
 * as long as this is loaded. Importers that get an sg table, that is, drivers of
 * other devices, have mapped what is in it until they give it back.
 */
#include <linux/cleanup.h>
#include <linux/dma-buf.h>
#include <linux/list.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/tracepoint.h>
#include <trace/events/dma_buf_pfn.h>
#include <trace/events/dma_buf_pfn_sgt.h>
#if IS_ENABLED(CONFIG_VFIO_PCI_CORE)
#include <trace/events/vfio_pci_user.h>
#endif

#include "tsm-sim.h"

/* A function that is looked after */
struct watch {
	struct list_head node;
	struct pci_dev *pdev;
	/* A user process has, or may have, mapped a page */
	bool user_mapped;
	bool bound;
	bool running;
	/* While bound: what is private, by physical addresses */
	struct extent {
		u64 start;
		u64 length;
	} *private;
	unsigned int nr_private;
};

/* A range of a buffer that an importer has been told */
struct held {
	struct list_head node;
	/* Either of these two */
	struct dma_buf_pfn_attachment *attach;
	const struct sg_table *sgt;
	u64 start;
	u64 length;
	u32 kind;
	/* The map that told it has succeeded */
	bool mapped;
};

/* So many at a time; the tracepoints are no place to allocate, and to fail */
#define MAX_HELD		4096

#define LAST_VIOLATIONS		32
#define VIOLATION_LEN		160

/* Protects all that follows; a leaf, and never held for long */
static DEFINE_SPINLOCK(judge_lock);
static LIST_HEAD(watches);
static LIST_HEAD(helds);
static LIST_HEAD(spares);
static struct held *held_pool;
static char violations[LAST_VIOLATIONS][VIOLATION_LEN];
static unsigned long nr_violations;
static unsigned long nr_unseen;
/* No record was made of it, and what it was nobody knows any more: never reset */
static unsigned long nr_lost;
static unsigned long nr_maps, nr_user_maps, nr_binds;

static __printf(2, 3) void violation(struct watch *watch, const char *fmt, ...)
{
	char *text = violations[nr_violations++ % LAST_VIOLATIONS];
	va_list args;
	int len;

	lockdep_assert_held(&judge_lock);

	len = scnprintf(text, VIOLATION_LEN, "%s: ", pci_name(watch->pdev));
	va_start(args, fmt);
	vscnprintf(text + len, VIOLATION_LEN - len, fmt, args);
	va_end(args);
	pci_dbg(watch->pdev, "%s\n", text);
}

static bool overlap(u64 a, u64 a_len, u64 b, u64 b_len)
{
	return a < b + b_len && b < a + a_len;
}

static bool touches_private(struct watch *watch, u64 start, u64 length)
{
	for (unsigned int i = 0; i < watch->nr_private; i++)
		if (overlap(watch->private[i].start, watch->private[i].length,
			    start, length))
			return true;
	return false;
}

/* Private ranges do not overlap, but may be side by side, in any order */
static bool all_private(struct watch *watch, u64 start, u64 length)
{
	u64 covered = 0;

	for (unsigned int i = 0; i < watch->nr_private; i++) {
		struct extent *extent = &watch->private[i];

		if (!overlap(extent->start, extent->length, start, length))
			continue;
		covered += min(extent->start + extent->length, start + length) -
			   max(extent->start, start);
	}
	return covered == length;
}

static bool touches_bar(struct watch *watch, u64 start, u64 length)
{
	for (int bar = 0; bar < PCI_STD_NUM_BARS; bar++)
		if (pci_resource_flags(watch->pdev, bar) & IORESOURCE_MEM &&
		    overlap(pci_resource_start(watch->pdev, bar),
			    pci_resource_len(watch->pdev, bar), start, length))
			return true;
	return false;
}

static const char *importer(struct held *held)
{
	return held->sgt ? "sgt" : held->attach->ops->name;
}

static void judge_mapped(struct held *held)
{
	bool private = held->kind & DMA_BUF_PFN_PRIVATE;
	struct watch *watch;

	list_for_each_entry(watch, &watches, node) {
		if (!touches_bar(watch, held->start, held->length))
			continue;
		if (!private && touches_private(watch, held->start, held->length))
			violation(watch, "%s maps private %#llx+%#llx as shared",
				  importer(held), held->start, held->length);
		else if (private && !watch->bound)
			violation(watch, "%s maps %#llx+%#llx as private, not bound",
				  importer(held), held->start, held->length);
		else if (private &&
			 !all_private(watch, held->start, held->length))
			violation(watch, "%s maps shared %#llx+%#llx as private",
				  importer(held), held->start, held->length);
	}
}

static void judge_unmapped(struct held *held)
{
	struct watch *watch;

	if (!(held->kind & DMA_BUF_PFN_PRIVATE))
		return;

	list_for_each_entry(watch, &watches, node)
		if (watch->running &&
		    touches_private(watch, held->start, held->length))
			violation(watch, "%s unmaps private %#llx+%#llx, running",
				  importer(held), held->start, held->length);
}

static void saw_range(void *data, struct dma_buf_pfn_attachment *attach,
		      const struct dma_buf_pfn_range *range)
{
	struct held *held;

	/* Memory of the machine is none of a function's */
	if (range->kind & DMA_BUF_PFN_RAM)
		return;

	guard(spinlock_irqsave)(&judge_lock);
	held = list_first_entry_or_null(&spares, struct held, node);
	if (!held) {
		nr_lost++;
		return;
	}

	held->attach = attach;
	held->sgt = NULL;
	held->start = range->paddr;
	held->length = range->length;
	held->kind = range->kind;
	held->mapped = false;
	list_move_tail(&held->node, &helds);
}

static void saw_map(void *data, struct dma_buf_pfn_attachment *attach,
		    u64 offset, u64 length, int ret)
{
	struct held *held, *next;

	guard(spinlock_irqsave)(&judge_lock);
	list_for_each_entry_safe(held, next, &helds, node) {
		if (held->attach != attach || held->mapped)
			continue;
		if (ret) {
			list_move(&held->node, &spares);
			continue;
		}
		held->mapped = true;
		nr_maps++;
		judge_mapped(held);
	}
}

static void saw_unmap(void *data, struct dma_buf_pfn_attachment *attach)
{
	struct held *held, *next;
	bool found = false;

	guard(spinlock_irqsave)(&judge_lock);
	list_for_each_entry_safe(held, next, &helds, node) {
		if (held->attach != attach)
			continue;
		found = true;
		judge_unmapped(held);
		list_move(&held->node, &spares);
	}
	/* Perhaps all of it is memory, see saw_range() */
	if (!found && !(attach->dmabuf->pfn.kinds & DMA_BUF_PFN_RAM))
		nr_unseen++;
}

/* The attachment ends with the helper that made the table from it, see there */
static void saw_sgt_map(void *data, struct dma_buf_pfn_attachment *pfn,
			struct dma_buf_attachment *attach,
			const struct sg_table *sgt)
{
	struct held *held, *copy;

	guard(spinlock_irqsave)(&judge_lock);
	list_for_each_entry(held, &helds, node) {
		if (held->attach != pfn)
			continue;

		copy = list_first_entry_or_null(&spares, struct held, node);
		if (!copy) {
			nr_lost++;
			continue;
		}

		copy->attach = NULL;
		copy->sgt = sgt;
		copy->start = held->start;
		copy->length = held->length;
		copy->kind = held->kind;
		copy->mapped = true;
		list_move(&copy->node, &helds);
	}
}

static void saw_sgt_free(void *data, struct dma_buf_attachment *attach,
			 const struct sg_table *sgt)
{
	struct held *held, *next;
	bool found = false;

	/* Not made from what saw_range() is told */
	if (!(attach->dmabuf->pfn.kinds &
	      (DMA_BUF_PFN_MMIO | DMA_BUF_PFN_MMIO_ANY)))
		return;

	guard(spinlock_irqsave)(&judge_lock);
	list_for_each_entry_safe(held, next, &helds, node) {
		if (held->sgt != sgt)
			continue;
		found = true;
		list_move(&held->node, &spares);
	}
	if (!found)
		nr_unseen++;
}

#if IS_ENABLED(CONFIG_VFIO_PCI_CORE)
static struct watch *find_watch(struct pci_dev *pdev)
{
	struct watch *watch;

	list_for_each_entry(watch, &watches, node)
		if (watch->pdev == pdev)
			return watch;
	return NULL;
}

static void saw_user_map(void *data, struct pci_dev *pdev, phys_addr_t phys,
			 size_t length)
{
	struct watch *watch;

	guard(spinlock_irqsave)(&judge_lock);
	watch = find_watch(pdev);
	if (!watch)
		return;

	nr_user_maps++;
	watch->user_mapped = true;
	if (touches_private(watch, phys, length))
		violation(watch, "user maps private %#llx+%#zx", (u64)phys,
			  length);
}

static void saw_user_zap(void *data, struct pci_dev *pdev)
{
	struct watch *watch;

	guard(spinlock_irqsave)(&judge_lock);
	watch = find_watch(pdev);
	if (watch)
		watch->user_mapped = false;
}

static int register_user(void)
{
	int rc;

	rc = register_trace_vfio_pci_user_map(saw_user_map, NULL);
	if (rc)
		return rc;

	rc = register_trace_vfio_pci_user_zap(saw_user_zap, NULL);
	if (rc)
		unregister_trace_vfio_pci_user_map(saw_user_map, NULL);
	return rc;
}

static void unregister_user(void)
{
	unregister_trace_vfio_pci_user_zap(saw_user_zap, NULL);
	unregister_trace_vfio_pci_user_map(saw_user_map, NULL);
}
#else
static int register_user(void)
{
	return 0;
}

static void unregister_user(void)
{
}
#endif

/*
 * A driver of this kind lends the function to user processes. Somebody who has the
 * lock may be binding or unbinding one, and may wait for a lock that is held here.
 */
static bool lent_to_user(struct pci_dev *pdev)
{
	bool lent;

	if (!device_trylock(&pdev->dev))
		return true;

	lent = pdev->driver && pdev->driver->driver_managed_dma;
	device_unlock(&pdev->dev);
	return lent;
}

struct watch *sim_judge_watch(struct pci_dev *pdev)
{
	struct watch *watch = kzalloc_obj(*watch);

	if (!watch)
		return NULL;

	watch->pdev = pdev;
	watch->user_mapped = lent_to_user(pdev);
	guard(spinlock_irqsave)(&judge_lock);
	list_add_tail(&watch->node, &watches);
	return watch;
}

void sim_judge_unwatch(struct watch *watch)
{
	scoped_guard(spinlock_irqsave, &judge_lock)
		list_del(&watch->node);
	kfree(watch->private);
	kfree(watch);
}

/**
 * sim_judge_bind() - pages of a function have become private
 * @watch: the function
 * @ranges: what the report says
 *
 * Return: 0 or -ENOMEM.
 */
int sim_judge_bind(struct watch *watch, const struct pci_tdi_ranges *ranges)
{
	struct extent *private;
	unsigned int nr = 0;
	struct held *held;

	private = kcalloc(ranges->nr, sizeof(*private), GFP_KERNEL);
	if (!private)
		return -ENOMEM;

	for (unsigned int i = 0; i < ranges->nr; i++) {
		const struct pci_tdi_range *range = &ranges->range[i];

		if (!(range->flags & PCI_TDI_RANGE_PRIVATE))
			continue;
		private[nr].start = pci_resource_start(watch->pdev, range->bar) +
				    range->offset;
		private[nr++].length = range->length;
	}

	guard(spinlock_irqsave)(&judge_lock);
	nr_binds++;
	watch->private = private;
	watch->nr_private = nr;
	watch->bound = true;

	if (nr && watch->user_mapped)
		violation(watch, "bound while a user has mapped it");
	list_for_each_entry(held, &helds, node)
		if (held->mapped && !(held->kind & DMA_BUF_PFN_PRIVATE) &&
		    touches_private(watch, held->start, held->length))
			violation(watch, "bound while %s has mapped %#llx+%#llx",
				  importer(held), held->start, held->length);
	return 0;
}

void sim_judge_running(struct watch *watch, bool running)
{
	guard(spinlock_irqsave)(&judge_lock);
	watch->running = running;
}

/**
 * sim_judge_unbind() - the TDI is freed
 * @watch: the function
 * @stopped: it was stopped before, which is a step of its own
 */
void sim_judge_unbind(struct watch *watch, bool stopped)
{
	struct held *held;

	guard(spinlock_irqsave)(&judge_lock);
	if (!stopped)
		violation(watch, "freed before it was stopped");
	list_for_each_entry(held, &helds, node)
		if (held->mapped && held->kind & DMA_BUF_PFN_PRIVATE &&
		    touches_private(watch, held->start, held->length))
			violation(watch, "freed while %s has mapped %#llx+%#llx",
				  importer(held), held->start, held->length);

	watch->bound = false;
	watch->running = false;
	watch->nr_private = 0;
	kfree(watch->private);
	watch->private = NULL;
}

void sim_judge_show(struct seq_file *m)
{
	unsigned long first;

	guard(spinlock_irqsave)(&judge_lock);
	seq_printf(m, "violations %lu\n", nr_violations);
	seq_printf(m, "unseen %lu\n", nr_unseen + nr_lost);
	seq_printf(m, "maps %lu\n", nr_maps);
	seq_printf(m, "user_maps %lu\n", nr_user_maps);
	seq_printf(m, "binds %lu\n", nr_binds);

	first = nr_violations > LAST_VIOLATIONS ?
		nr_violations - LAST_VIOLATIONS : 0;
	for (unsigned long i = first; i < nr_violations; i++)
		seq_printf(m, "%s\n", violations[i % LAST_VIOLATIONS]);
}

/**
 * sim_judge_violations() - how often a rule was broken since the last reset
 * @unseen: returns how much of what was mapped, or unmapped, was not recorded; what
 *	    there was no room for counts since this was loaded
 *
 * Return: the number of violations.
 */
unsigned long sim_judge_violations(unsigned long *unseen)
{
	guard(spinlock_irqsave)(&judge_lock);
	*unseen = nr_unseen + nr_lost;
	return nr_violations;
}

void sim_judge_reset(void)
{
	guard(spinlock_irqsave)(&judge_lock);
	nr_violations = 0;
	nr_unseen = 0;
	nr_maps = 0;
	nr_user_maps = 0;
	nr_binds = 0;
}

static void free_held(void)
{
	scoped_guard(spinlock_irqsave, &judge_lock) {
		INIT_LIST_HEAD(&helds);
		INIT_LIST_HEAD(&spares);
		nr_lost = 0;
	}
	kvfree(held_pool);
	held_pool = NULL;
}

int sim_judge_init(void)
{
	int rc;

	held_pool = kvcalloc(MAX_HELD, sizeof(*held_pool), GFP_KERNEL);
	if (!held_pool)
		return -ENOMEM;
	for (int i = 0; i < MAX_HELD; i++)
		list_add(&held_pool[i].node, &spares);

	rc = register_trace_dma_buf_pfn_range(saw_range, NULL);
	if (rc)
		goto err_pool;

	rc = register_trace_dma_buf_pfn_map(saw_map, NULL);
	if (rc)
		goto err_range;

	rc = register_trace_dma_buf_pfn_unmap(saw_unmap, NULL);
	if (rc)
		goto err_map;

	rc = register_trace_dma_buf_pfn_sgt_map(saw_sgt_map, NULL);
	if (rc)
		goto err_unmap;

	rc = register_trace_dma_buf_pfn_sgt_free(saw_sgt_free, NULL);
	if (rc)
		goto err_sgt_map;

	rc = register_user();
	if (rc)
		goto err_sgt_free;

	return 0;

err_sgt_free:
	unregister_trace_dma_buf_pfn_sgt_free(saw_sgt_free, NULL);
err_sgt_map:
	unregister_trace_dma_buf_pfn_sgt_map(saw_sgt_map, NULL);
err_unmap:
	unregister_trace_dma_buf_pfn_unmap(saw_unmap, NULL);
err_map:
	unregister_trace_dma_buf_pfn_map(saw_map, NULL);
err_range:
	unregister_trace_dma_buf_pfn_range(saw_range, NULL);
	tracepoint_synchronize_unregister();
err_pool:
	free_held();
	return rc;
}

void sim_judge_exit(void)
{
	unregister_user();
	unregister_trace_dma_buf_pfn_sgt_free(saw_sgt_free, NULL);
	unregister_trace_dma_buf_pfn_sgt_map(saw_sgt_map, NULL);
	unregister_trace_dma_buf_pfn_unmap(saw_unmap, NULL);
	unregister_trace_dma_buf_pfn_map(saw_map, NULL);
	unregister_trace_dma_buf_pfn_range(saw_range, NULL);
	tracepoint_synchronize_unregister();
	free_held();
}

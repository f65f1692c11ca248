// SPDX-License-Identifier: GPL-2.0
/*
 * Which parts of a TDI's MMIO are private to the TVM
 *
 * What the TSM driver tells goes back to the report of the device, so none of it
 * is taken for granted: tdi_ranges_check() refuses what does not fit the BARs
 * of the function. Users want to know about each page, therefore the result
 * covers the memory BARs without holes, and what the TSM driver does not speak
 * of is not private.
 *
 * A TSM driver that cannot tell makes everything private but the pages with the
 * MSI-X table and the pending bit array, that the PCI core accesses.
 */

#define dev_fmt(fmt) "PCI/TSM: " fmt

#include <linux/align.h>
#include <linux/bitops.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/pci-tsm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include "pci.h"

/* The granule of TDISP, whatever that of the host is */
#define TDI_PAGE_SIZE SZ_4K

#define TDI_RANGE_FLAGS                                         \
	(PCI_TDI_RANGE_PRIVATE | PCI_TDI_RANGE_MSIX_TABLE |     \
	 PCI_TDI_RANGE_MSIX_PBA)

/* Segments of one BAR are at most these: before, table, both, PBA, after */
#define MSIX_SEGMENTS 5

static u64 memory_bar_len(struct pci_dev *pdev, u32 bar)
{
	if (bar >= PCI_STD_NUM_BARS ||
	    !(pci_resource_flags(pdev, bar) & IORESOURCE_MEM))
		return 0;
	return pci_resource_len(pdev, bar);
}

/*
 * Find the host pages that the PCI core's mapping of the MSI-X table, and that
 * the pending bit array, touches. Return the number of entries in @range.
 */
static int msix_ranges(struct pci_dev *pdev, struct pci_tdi_range range[2])
{
	u64 len[2], end, start;
	u32 where[2];
	u16 control;
	int nr = 0;

	if (!pdev->msix_cap)
		return 0;

	if (pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
				 &control) ||
	    pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE,
				  &where[0]) ||
	    pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_PBA,
				  &where[1]))
		return -EIO;

	control = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
	len[0] = control * PCI_MSIX_ENTRY_SIZE;
	len[1] = BITS_TO_U64(control) * sizeof(u64);

	for (int i = 0; i < 2; i++) {
		u32 bar = where[i] & PCI_MSIX_TABLE_BIR;
		u64 bar_len = memory_bar_len(pdev, bar);
		phys_addr_t base;

		if (!bar_len)
			continue;

		/* Round by address, a small BAR may begin within a page */
		base = pci_resource_start(pdev, bar);
		start = where[i] & PCI_MSIX_TABLE_OFFSET;
		end = ALIGN(base + start + len[i], PAGE_SIZE) - base;
		start = max(ALIGN_DOWN(base + start, PAGE_SIZE), base) - base;
		end = min(end, bar_len);
		if (start >= end)
			continue;

		range[nr++] = (struct pci_tdi_range) {
			.bar = bar,
			.offset = start,
			.length = end - start,
			.flags = i ? PCI_TDI_RANGE_MSIX_PBA :
				     PCI_TDI_RANGE_MSIX_TABLE,
		};
	}

	return nr;
}

static int range_cmp(const void *a, const void *b)
{
	const struct pci_tdi_range *l = a, *r = b;

	return cmp_int(l->bar, r->bar) ?: cmp_int(l->offset, r->offset);
}

static bool range_ok(struct pci_dev *pdev, const struct pci_tdi_range *range,
		     const struct pci_tdi_range *prev)
{
	u64 bar_len = memory_bar_len(pdev, range->bar);
	u64 end;

	if (!range->length || range->flags & ~TDI_RANGE_FLAGS)
		return false;

	if (check_add_overflow(range->offset, range->length, &end) ||
	    end > bar_len)
		return false;

	/* A BAR can be smaller than the granule */
	if (!IS_ALIGNED(range->offset, TDI_PAGE_SIZE) ||
	    (!IS_ALIGNED(end, TDI_PAGE_SIZE) && end != bar_len))
		return false;

	return !prev || prev->bar != range->bar ||
	       prev->offset + prev->length <= range->offset;
}

/* Sort @ranges, and check that they describe memory of @pdev */
static int tdi_ranges_check(struct pci_dev *pdev, struct pci_tdi_ranges *ranges)
{
	const struct pci_tdi_range *prev = NULL;

	sort(ranges->range, ranges->nr, sizeof(ranges->range[0]), range_cmp,
	     NULL);

	for (unsigned int i = 0; i < ranges->nr; i++) {
		const struct pci_tdi_range *range = &ranges->range[i];

		if (!range_ok(pdev, range, prev)) {
			pci_warn_ratelimited(pdev, "bad TDI range: BAR %u offset %#llx length %#llx flags %#x\n",
					     range->bar, range->offset,
					     range->length, range->flags);
			return -EPROTO;
		}
		prev = range;
	}

	return 0;
}

/* Append a range, or make the last one longer; there is room for it */
static void tdi_ranges_add(struct pci_tdi_ranges *ranges, u32 bar, u64 offset,
			   u64 end, u32 flags)
{
	struct pci_tdi_range *last;

	if (offset == end)
		return;

	if (ranges->nr) {
		last = &ranges->range[ranges->nr - 1];
		if (last->bar == bar && last->flags == flags) {
			last->length += end - offset;
			return;
		}
	}

	ranges->nr++;
	ranges->range[ranges->nr - 1] = (struct pci_tdi_range) {
		.bar = bar,
		.offset = offset,
		.length = end - offset,
		.flags = flags,
	};
}

static struct pci_tdi_ranges *tdi_ranges_alloc(unsigned int nr)
{
	struct pci_tdi_ranges *ranges = kvzalloc_flex(*ranges, range, nr);

	if (ranges)
		ranges->nr = 0;
	return ranges;
}

static struct pci_tdi_ranges *
tdi_ranges_fill(struct pci_dev *pdev, const struct pci_tdi_ranges *given)
{
	struct pci_tdi_ranges *ranges;
	unsigned int i = 0;

	/* Each of @given with a hole before it, and a hole after the last */
	ranges = tdi_ranges_alloc(2 * given->nr + PCI_STD_NUM_BARS);
	if (!ranges)
		return NULL;

	for (u32 bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		u64 pos = 0;

		for (; i < given->nr && given->range[i].bar == bar; i++) {
			const struct pci_tdi_range *range = &given->range[i];

			tdi_ranges_add(ranges, bar, pos, range->offset, 0);
			pos = range->offset + range->length;
			tdi_ranges_add(ranges, bar, range->offset, pos,
				       range->flags);
		}
		tdi_ranges_add(ranges, bar, pos, memory_bar_len(pdev, bar), 0);
	}

	return ranges;
}

static struct pci_tdi_ranges *
tdi_ranges_default(struct pci_dev *pdev, const struct pci_tdi_range *msix,
		   int nr_msix)
{
	struct pci_tdi_ranges *ranges;

	ranges = tdi_ranges_alloc(PCI_STD_NUM_BARS * MSIX_SEGMENTS);
	if (!ranges)
		return NULL;

	for (u32 bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		u64 len = memory_bar_len(pdev, bar);
		u64 end;

		for (u64 pos = 0; pos < len; pos = end) {
			u32 flags = 0;

			end = len;
			for (int i = 0; i < nr_msix; i++) {
				u64 start = msix[i].offset;

				if (msix[i].bar != bar)
					continue;
				if (pos < start) {
					end = min(end, start);
				} else if (pos < start + msix[i].length) {
					end = min(end, start + msix[i].length);
					flags |= msix[i].flags;
				}
			}
			tdi_ranges_add(ranges, bar, pos, end,
				       flags ?: PCI_TDI_RANGE_PRIVATE);
		}
	}

	return ranges;
}

static bool ranges_overlap(const struct pci_tdi_range *a,
			   const struct pci_tdi_range *b)
{
	return a->bar == b->bar && a->offset < b->offset + b->length &&
	       b->offset < a->offset + a->length;
}

/**
 * pci_tdi_ranges_complete() - check ranges, and make them cover all memory BARs
 * @pdev: PCI device function of the TDI
 * @given: what the TSM driver says, gets sorted, or NULL for the default
 *
 * Return: ranges that cover the memory BARs, by ascending BAR and offset,
 * neighbours with the same flags merged, to be freed with kvfree(). Or an error
 * pointer: -EPROTO if @given does not fit @pdev, -EOPNOTSUPP if it makes a page
 * of the MSI-X table or pending bit array private, -ENOMEM, or -EIO.
 */
struct pci_tdi_ranges *pci_tdi_ranges_complete(struct pci_dev *pdev,
					       struct pci_tdi_ranges *given)
{
	struct pci_tdi_range msix[2];
	int nr_msix, rc;

	nr_msix = msix_ranges(pdev, msix);
	if (nr_msix < 0)
		return ERR_PTR(nr_msix);

	if (!given)
		return tdi_ranges_default(pdev, msix, nr_msix) ?:
		       ERR_PTR(-ENOMEM);

	rc = tdi_ranges_check(pdev, given);
	if (rc)
		return ERR_PTR(rc);

	for (unsigned int i = 0; i < given->nr; i++) {
		if (!(given->range[i].flags & PCI_TDI_RANGE_PRIVATE))
			continue;
		for (int j = 0; j < nr_msix; j++)
			if (ranges_overlap(&given->range[i], &msix[j]))
				return ERR_PTR(-EOPNOTSUPP);
	}

	return tdi_ranges_fill(pdev, given) ?: ERR_PTR(-ENOMEM);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The interface report of a function, from its real BARs.
 *
 * Every whole page of memory BARs is in it. The pages with the MSI-X table and
 * the pending bit array are open to the host unless the table was locked, and a
 * test can mark parts as it likes. The attributes of each page follow from
 * these alone; a range ends where the next page has others.
 */
#include <linux/cleanup.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "tsm-sim.h"

/* Where the attributes may change within a BAR */
struct cuts {
	u64 *at;
	unsigned int nr;
};

struct msix {
	struct pci_tdi_range table;
	struct pci_tdi_range pba;
};

static bool has_memory(struct pci_dev *pdev, int bar)
{
	return pci_resource_flags(pdev, bar) & IORESOURCE_MEM &&
	       pci_resource_len(pdev, bar) >= SZ_4K;
}

static void find_msix(struct pci_dev *pdev, struct msix *msix)
{
	u16 control;
	u32 where;
	int nr;

	memset(msix, 0, sizeof(*msix));
	if (!pdev->msix_cap)
		return;

	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &control);
	nr = (control & PCI_MSIX_FLAGS_QSIZE) + 1;

	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_TABLE, &where);
	msix->table.bar = where & PCI_MSIX_TABLE_BIR;
	msix->table.offset = where & PCI_MSIX_TABLE_OFFSET;
	msix->table.length = nr * PCI_MSIX_ENTRY_SIZE;

	pci_read_config_dword(pdev, pdev->msix_cap + PCI_MSIX_PBA, &where);
	msix->pba.bar = where & PCI_MSIX_PBA_BIR;
	msix->pba.offset = where & PCI_MSIX_PBA_OFFSET;
	msix->pba.length = DIV_ROUND_UP(nr, 64) * 8;
}

/* Does @range touch the page at @page? */
static bool touches(const struct pci_tdi_range *range, int bar, u64 page)
{
	return range->length && range->bar == bar &&
	       range->offset < page + SZ_4K &&
	       page < range->offset + range->length;
}

static u16 attributes(struct sim_fn *fn, const struct msix *msix, int bar,
		      u64 page)
{
	struct sim_mark *mark;
	u16 attrs = 0;

	if (touches(&msix->table, bar, page))
		attrs |= TDISP_RANGE_MSIX_TABLE;
	if (touches(&msix->pba, bar, page))
		attrs |= TDISP_RANGE_MSIX_PBA;
	if (attrs && !(fn->device.lock_flags & TDISP_LOCK_MSIX))
		attrs |= TDISP_RANGE_NON_TEE;

	list_for_each_entry(mark, &fn->marks, node) {
		if (!touches(&mark->range, bar, page))
			continue;
		if (mark->range.flags & PCI_TDI_RANGE_PRIVATE)
			attrs &= ~TDISP_RANGE_NON_TEE;
		else
			attrs |= TDISP_RANGE_NON_TEE;
	}

	return attrs;
}

static void add_cuts(struct cuts *cuts, const struct pci_tdi_range *range,
		     int bar, u64 len)
{
	u64 end;

	if (!range->length || range->bar != bar)
		return;

	cuts->at[cuts->nr++] = min(ALIGN_DOWN(range->offset, SZ_4K), len);
	end = min(range->length, len) + min(range->offset, len);
	cuts->at[cuts->nr++] = min(ALIGN(end, SZ_4K), len);
}

static int cut_cmp(const void *a, const void *b)
{
	return cmp_int(*(const u64 *)a, *(const u64 *)b);
}

/* Append the ranges of a BAR, as many as there are cuts in it at most */
static unsigned int add_bar(struct sim_fn *fn, const struct msix *msix,
			    struct cuts *cuts, int bar,
			    struct tdisp_range *ranges)
{
	struct pci_dev *pdev = sim_pdev(fn);
	u64 len = pci_resource_len(pdev, bar);
	struct tdisp_range *range = NULL;
	struct pci_bus_region region;
	struct sim_mark *mark;
	unsigned int nr = 0;

	pcibios_resource_to_bus(pdev->bus, &region, pci_resource_n(pdev, bar));

	cuts->nr = 0;
	cuts->at[cuts->nr++] = 0;
	cuts->at[cuts->nr++] = len;
	add_cuts(cuts, &msix->table, bar, len);
	add_cuts(cuts, &msix->pba, bar, len);
	list_for_each_entry(mark, &fn->marks, node)
		add_cuts(cuts, &mark->range, bar, len);
	sort(cuts->at, cuts->nr, sizeof(cuts->at[0]), cut_cmp, NULL);

	for (unsigned int i = 0; i + 1 < cuts->nr; i++) {
		u64 start = cuts->at[i], end = cuts->at[i + 1];
		u64 pages = (end - start) / SZ_4K;
		u16 attrs;

		if (!pages)
			continue;

		attrs = attributes(fn, msix, bar, start);
		if (range && le16_to_cpu(range->attributes) == attrs) {
			le32_add_cpu(&range->nr_pages, pages);
			continue;
		}

		range = &ranges[nr++];
		range->first_page = cpu_to_le64(region.start + start +
						fn->device.reporting_offset);
		range->nr_pages = cpu_to_le32(pages);
		range->attributes = cpu_to_le16(attrs);
		range->id = cpu_to_le16(bar);
	}

	return nr;
}

/**
 * sim_report_build() - make the report of a function that is being locked
 * @fn: the function
 * @len: length of the report
 *
 * Return: the report, to be freed with kvfree(), or NULL without memory.
 */
void *sim_report_build(struct sim_fn *fn, size_t *len)
{
	struct pci_dev *pdev = sim_pdev(fn);
	struct tdisp_report *report;
	struct tdisp_range *ranges;
	unsigned int nr = 0, max;
	struct msix msix;
	struct cuts cuts;
	u16 control = 0;

	if (fn->report_len) {
		*len = fn->report_len;
		return kvmemdup(fn->report, fn->report_len, GFP_KERNEL);
	}

	/* Both ends of the BAR, the table, the bits, and of each mark */
	max = 2 * (3 + list_count_nodes(&fn->marks));
	u64 *at __free(kvfree) = kvcalloc(max, sizeof(*at), GFP_KERNEL);
	if (!at)
		return NULL;
	cuts.at = at;

	report = kvzalloc(sizeof(*report) + sizeof(__le32) +
			  PCI_STD_NUM_BARS * max * sizeof(*ranges), GFP_KERNEL);
	if (!report)
		return NULL;

	find_msix(pdev, &msix);
	ranges = (void *)(report + 1);
	for (int bar = 0; bar < PCI_STD_NUM_BARS; bar++)
		if (has_memory(pdev, bar))
			nr += add_bar(fn, &msix, &cuts, bar, ranges + nr);

	if (pdev->msix_cap)
		pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
				     &control);
	report->info = cpu_to_le16(TDISP_INFO_DMA);
	report->msix_control = cpu_to_le16(control);
	report->nr_ranges = cpu_to_le32(nr);
	/* No device specific information follows the ranges: a length of 0 */
	*len = sizeof(*report) + nr * sizeof(*ranges) + sizeof(__le32);
	return report;
}

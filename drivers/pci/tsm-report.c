// SPDX-License-Identifier: GPL-2.0
/*
 * The MMIO ranges of a TDI's interface report, PCIe r7.0 section 11.3.11
 *
 * TSM drivers get this report from the device by way of their firmware. It has
 * the addresses of pages, moved by an offset that the TSM gave the device when
 * it locked the interface, and what is where in a BAR follows from that alone:
 * the range ids of the report are numbers without a meaning for the host.
 *
 * The report is input from a device that is not trusted by the host. It may be
 * of any length, and have any content.
 */

#define dev_fmt(fmt) "PCI/TSM: " fmt

#include <linux/cleanup.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/pci-tsm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

/* Offsets of what is read of the fixed part, and its size */
#define REPORT_RANGE_COUNT	12
#define REPORT_RANGES		16

/* One range */
#define RANGE_FIRST_PAGE	0
#define RANGE_NR_PAGES		8
#define RANGE_ATTRIBUTES	12
#define RANGE_SIZE		16

#define RANGE_ATTR_MSIX_TABLE	BIT(0)
#define RANGE_ATTR_MSIX_PBA	BIT(1)
#define RANGE_ATTR_NON_TEE	BIT(2)
#define RANGE_ATTR_UPDATABLE	BIT(3)
#define RANGE_ATTRS		GENMASK(3, 0)

/* The device specific information behind the ranges begins with its length */
#define REPORT_INFO_LEN_SIZE	4

static int find_bar(struct pci_dev *pdev, u64 start, u64 length,
		    struct pci_tdi_range *range)
{
	struct pci_bus_region region;
	u64 end;

	if (!length || check_add_overflow(start, length - 1, &end))
		return -EPROTO;

	for (int bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		if (!(pci_resource_flags(pdev, bar) & IORESOURCE_MEM) ||
		    !pci_resource_len(pdev, bar))
			continue;

		pcibios_resource_to_bus(pdev->bus, &region,
					pci_resource_n(pdev, bar));
		if (start < region.start || end > region.end)
			continue;

		range->bar = bar;
		range->offset = start - region.start;
		range->length = length;
		return 0;
	}

	return -EPROTO;
}

static int parse_range(struct pci_dev *pdev, const u8 *entry, u64 offset,
		       struct pci_tdi_range *range)
{
	u64 start = get_unaligned_le64(entry + RANGE_FIRST_PAGE) - offset;
	u64 length = get_unaligned_le32(entry + RANGE_NR_PAGES) * (u64)SZ_4K;
	u16 attrs = get_unaligned_le16(entry + RANGE_ATTRIBUTES);

	/* What is not known may make the others mean something else */
	if (attrs & ~RANGE_ATTRS)
		return -EPROTO;

	/*
	 * The TVM can make an updatable range private by its TSM, at any time
	 * and without the host. So nobody else may have mapped it.
	 */
	range->flags = 0;
	if (!(attrs & RANGE_ATTR_NON_TEE) || attrs & RANGE_ATTR_UPDATABLE)
		range->flags |= PCI_TDI_RANGE_PRIVATE;
	if (attrs & RANGE_ATTR_MSIX_TABLE)
		range->flags |= PCI_TDI_RANGE_MSIX_TABLE;
	if (attrs & RANGE_ATTR_MSIX_PBA)
		range->flags |= PCI_TDI_RANGE_MSIX_PBA;

	return find_bar(pdev, start, length, range);
}

/**
 * pci_tdi_report_ranges() - read the MMIO ranges of a TDI's interface report
 * @pdev: PCI device function of the TDI
 * @report: the report, as the device gave it
 * @len: its length in bytes; what is behind the report's end is ignored
 * @offset: the MMIO reporting offset that the interface was locked with
 *
 * For TSM drivers, as the result of tdi_ranges(). The ranges are in the order of
 * the report, and the PCI core checks them further: here, each of them lies in
 * one BAR.
 *
 * Return: the ranges, to be freed with kvfree(), or an error pointer: -EPROTO if
 * the report is cut off, or makes no sense for @pdev, or -ENOMEM.
 *
 * Context: Process context, may sleep.
 */
struct pci_tdi_ranges *pci_tdi_report_ranges(struct pci_dev *pdev,
					     const void *report, size_t len,
					     u64 offset)
{
	struct pci_tdi_ranges *ranges __free(kvfree) = NULL;
	const u8 *data = report;
	size_t left, size;
	u32 nr;

	if (len < REPORT_RANGES + REPORT_INFO_LEN_SIZE) {
		pci_warn_ratelimited(pdev, "TDI report cut off at %zu bytes\n",
				     len);
		return ERR_PTR(-EPROTO);
	}

	left = len - REPORT_RANGES - REPORT_INFO_LEN_SIZE;
	nr = get_unaligned_le32(data + REPORT_RANGE_COUNT);
	if (nr > left / RANGE_SIZE) {
		pci_warn_ratelimited(pdev, "TDI report of %zu bytes has %u ranges\n",
				     len, nr);
		return ERR_PTR(-EPROTO);
	}

	data += REPORT_RANGES;
	size = array_size(nr, RANGE_SIZE);
	if (get_unaligned_le32(data + size) > left - size) {
		pci_warn_ratelimited(pdev, "TDI report cut off at %zu bytes\n",
				     len);
		return ERR_PTR(-EPROTO);
	}

	ranges = kvzalloc_flex(*ranges, range, nr);
	if (!ranges)
		return ERR_PTR(-ENOMEM);

	ranges->nr = nr;
	for (u32 i = 0; i < nr; i++) {
		const u8 *entry = data + array_size(i, RANGE_SIZE);
		int rc;

		rc = parse_range(pdev, entry, offset, &ranges->range[i]);
		if (rc) {
			pci_warn_ratelimited(pdev, "bad range %u of TDI report: %*ph\n",
					     i, RANGE_SIZE, entry);
			return ERR_PTR(rc);
		}
	}

	return no_free_ptr(ranges);
}
EXPORT_SYMBOL_GPL(pci_tdi_report_ranges);

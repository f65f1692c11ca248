// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the MMIO ranges of a TDI: what the core makes of those that the
 * TSM driver gives, and what it reads in an interface report.
 */
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include "../pci.h"
#include "tsm_mock.h"

#define PRIV	PCI_TDI_RANGE_PRIVATE
#define TABLE	PCI_TDI_RANGE_MSIX_TABLE
#define PBA	PCI_TDI_RANGE_MSIX_PBA

/* BAR0: 64 KiB with the MSI-X table, BAR2: 64-bit, 1 MiB, BAR4: I/O ports */
#define BAR0	0x40000000UL
#define BAR2	0x60000000UL
#define TABLE_AT	0x4000
#define PBA_AT		0x6000

static int ranges_init(struct kunit *test)
{
	struct mock_tsm *mock;
	struct mock_fn *fn;
	int rc;

	rc = mock_tsm_init(test);
	if (rc)
		return rc;

	mock = test->priv;
	fn = mock->fn[0];
	mock_bar(fn, 0, BAR0, SZ_64K, IORESOURCE_MEM);
	mock_bar(fn, 2, BAR2, SZ_1M, IORESOURCE_MEM | IORESOURCE_MEM_64);
	mock_bar(fn, 4, 0x1000, 32, IORESOURCE_IO);
	mock_msix(fn, 16, TABLE_AT, PBA_AT);

	return pci_tsm_bind(&fn->pdev, (void *)0x1000, 1, &mock->owner.owner);
}

static void ranges_exit(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	if (mock && mock->fn[0])
		pci_tsm_unbind(&mock->fn[0]->pdev, &mock->owner.owner);
	mock_tsm_exit(test);
}

static struct pci_tdi_ranges *get_ranges(struct mock_tsm *mock)
{
	return pci_tsm_tdi_ranges(&mock->fn[0]->pdev, &mock->owner.owner);
}

/* What every result has to be: memory BARs only, in order, without holes */
static void check_complete(struct kunit *test, struct pci_dev *pdev,
			   const struct pci_tdi_ranges *ranges)
{
	const struct pci_tdi_range *range = ranges->range;
	const struct pci_tdi_range *end = range + ranges->nr;

	for (int bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		bool mem = pci_resource_flags(pdev, bar) & IORESOURCE_MEM;
		u64 len = mem ? pci_resource_len(pdev, bar) : 0;
		u32 last_flags = U32_MAX;
		u64 pos = 0;

		for (; range < end && range->bar == bar; range++) {
			KUNIT_EXPECT_EQ(test, range->offset, pos);
			KUNIT_EXPECT_GT(test, range->length, 0);
			KUNIT_EXPECT_NE(test, range->flags, last_flags);
			last_flags = range->flags;
			pos += range->length;
		}
		KUNIT_EXPECT_EQ(test, pos, len);
	}
	KUNIT_EXPECT_PTR_EQ(test, range, end);
}

/* The ranges must be those of @expected, which ends with a length of 0 */
static void expect_ranges(struct kunit *test,
			  const struct pci_tdi_range *expected)
{
	struct mock_tsm *mock = test->priv;
	struct pci_tdi_ranges *ranges = get_ranges(mock);
	unsigned int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ranges);
	check_complete(test, &mock->fn[0]->pdev, ranges);
	for (i = 0; i < ranges->nr && expected[i].length; i++) {
		const struct pci_tdi_range *range = &ranges->range[i];

		KUNIT_EXPECT_EQ_MSG(test, range->bar, expected[i].bar, "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, range->offset, expected[i].offset,
				    "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, range->length, expected[i].length,
				    "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, range->flags, expected[i].flags,
				    "%u", i);
	}
	KUNIT_EXPECT_EQ(test, i, ranges->nr);
	KUNIT_EXPECT_EQ(test, expected[i].length, 0);
	kvfree(ranges);
}

#define RANGES(...) ((const struct pci_tdi_range[]) { __VA_ARGS__, {} })

static void __give_ranges(struct kunit *test, const struct pci_tdi_range *range,
			  unsigned int nr)
{
	struct mock_tsm *mock = test->priv;
	struct pci_tdi_ranges *ranges;

	ranges = kunit_kzalloc(test, struct_size(ranges, range, nr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ranges);
	ranges->nr = nr;
	memcpy(ranges->range, range, flex_array_size(ranges, range, nr));
	mock->ranges = ranges;
}

/* Let the TSM driver give these */
#define give_ranges(test, ...)                                                \
	do {                                                                  \
		const struct pci_tdi_range _range[] = { __VA_ARGS__ };        \
									      \
		__give_ranges(test, _range, ARRAY_SIZE(_range));              \
	} while (0)

/* The ranges given last must be refused */
#define expect_ranges_error(test, error, ...)                                 \
	do {                                                                  \
		struct kunit *_test = (test);                                 \
									      \
		give_ranges(_test, __VA_ARGS__);                              \
		KUNIT_EXPECT_EQ(_test, PTR_ERR(get_ranges(_test->priv)), error); \
	} while (0)

static void default_msix_apart(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	if (PAGE_SIZE != SZ_4K)
		kunit_skip(test, "written for pages of 4 KiB");

	mock->ops.tdi_ranges = NULL;
	expect_ranges(test, RANGES({ 0, 0x4000, 0, PRIV },
				   { 0x4000, 0x1000, 0, TABLE },
				   { 0x5000, 0x1000, 0, PRIV },
				   { 0x6000, 0x1000, 0, PBA },
				   { 0x7000, 0x9000, 0, PRIV },
				   { 0, SZ_1M, 2, PRIV }));
}

static void default_msix_in_one_page(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	if (PAGE_SIZE != SZ_4K)
		kunit_skip(test, "written for pages of 4 KiB");

	mock->ops.tdi_ranges = NULL;
	mock_msix(mock->fn[0], 16, 0x0, 0x800);
	expect_ranges(test, RANGES({ 0, 0x1000, 0, TABLE | PBA },
				   { 0x1000, 0xf000, 0, PRIV },
				   { 0, SZ_1M, 2, PRIV }));
}

static void default_msix_overlap(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	if (PAGE_SIZE != SZ_4K)
		kunit_skip(test, "written for pages of 4 KiB");

	/* 512 vectors are two pages; the bits begin in the second, BAR2 */
	mock->ops.tdi_ranges = NULL;
	mock_msix(mock->fn[0], 512, 0x1802, 0x3802);
	expect_ranges(test, RANGES({ 0, SZ_64K, 0, PRIV },
				   { 0, 0x1000, 2, PRIV },
				   { 0x1000, 0x2000, 2, TABLE },
				   { 0x3000, 0x1000, 2, TABLE | PBA },
				   { 0x4000, SZ_1M - 0x4000, 2, PRIV }));
}

static void default_no_msix(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->ops.tdi_ranges = NULL;
	mock->fn[0]->pdev.msix_cap = 0;
	expect_ranges(test, RANGES({ 0, SZ_64K, 0, PRIV },
				   { 0, SZ_1M, 2, PRIV }));
}

static void default_small_bar(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	/* Part of a page, not at its begin */
	mock->ops.tdi_ranges = NULL;
	mock_bar(mock->fn[0], 0, BAR0 + 0x200, 0x200, IORESOURCE_MEM);
	mock_msix(mock->fn[0], 16, 0x0, 0x100);
	expect_ranges(test, RANGES({ 0, 0x200, 0, TABLE | PBA },
				   { 0, SZ_1M, 2, PRIV }));
}

static void msix_beyond_bar(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	/* A function may say what it wants: outside of a BAR, in no BAR */
	mock->ops.tdi_ranges = NULL;
	mock_msix(mock->fn[0], 2048, 0xfffffff8, 0x6);
	expect_ranges(test, RANGES({ 0, SZ_64K, 0, PRIV },
				   { 0, SZ_1M, 2, PRIV }));
}

static void holes_are_shared(struct kunit *test)
{
	give_ranges(test, { 0x1000, 0x1000, 0, PRIV },
		    { 0x8000, 0x1000, 0, PRIV });
	expect_ranges(test, RANGES({ 0, 0x1000, 0, 0 },
				   { 0x1000, 0x1000, 0, PRIV },
				   { 0x2000, 0x6000, 0, 0 },
				   { 0x8000, 0x1000, 0, PRIV },
				   { 0x9000, 0x7000, 0, 0 },
				   { 0, SZ_1M, 2, 0 }));
}

static void nothing_is_private(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	static const struct pci_tdi_ranges none;

	mock->ranges = &none;
	expect_ranges(test, RANGES({ 0, SZ_64K, 0, 0 }, { 0, SZ_1M, 2, 0 }));
}

static void sorted_and_merged(struct kunit *test)
{
	give_ranges(test, { 0x80000, 0x80000, 2, PRIV },
		    { 0x2000, 0x1000, 0, PRIV }, { 0, 0x80000, 2, PRIV },
		    { 0x1000, 0x1000, 0, PRIV }, { 0x4000, 0x1000, 0, TABLE });
	expect_ranges(test, RANGES({ 0, 0x1000, 0, 0 },
				   { 0x1000, 0x2000, 0, PRIV },
				   { 0x3000, 0x1000, 0, 0 },
				   { 0x4000, 0x1000, 0, TABLE },
				   { 0x5000, 0xb000, 0, 0 },
				   { 0, SZ_1M, 2, PRIV }));
}

static void bad_ranges(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	/* No bytes */
	expect_ranges_error(test, -EPROTO, { 0, 0, 0, PRIV });
	/* Not in whole pages of TDISP */
	expect_ranges_error(test, -EPROTO, { 0x800, 0x1000, 0, PRIV });
	expect_ranges_error(test, -EPROTO, { 0x800, 0x800, 0, PRIV });
	expect_ranges_error(test, -EPROTO, { 0, 0x800, 0, PRIV });
	/* Beyond the end, by a little, by a lot, and around */
	expect_ranges_error(test, -EPROTO, { 0, SZ_64K + SZ_4K, 0, PRIV });
	expect_ranges_error(test, -EPROTO, { SZ_64K, SZ_4K, 0, PRIV });
	expect_ranges_error(test, -EPROTO, { SZ_1M, SZ_4K, 0, PRIV });
	expect_ranges_error(test, -EPROTO,
			    { SZ_4K, (u64)-SZ_4K, 0, PRIV });
	expect_ranges_error(test, -EPROTO, { (u64)-SZ_4K, SZ_8K, 0, PRIV });
	/* A BAR that has no memory, is not there, cannot be there */
	expect_ranges_error(test, -EPROTO, { 0, 32, 4, PRIV });
	expect_ranges_error(test, -EPROTO, { 0, SZ_4K, 1, PRIV });
	expect_ranges_error(test, -EPROTO, { 0, SZ_4K, 6, PRIV });
	expect_ranges_error(test, -EPROTO, { 0, SZ_4K, U32_MAX, PRIV });
	/* An unknown flag */
	expect_ranges_error(test, -EPROTO, { 0, SZ_4K, 0, PRIV | 8 });
	/* The same page twice */
	expect_ranges_error(test, -EPROTO, { 0, SZ_8K, 0, PRIV },
			    { SZ_4K, SZ_4K, 0, 0 });
	expect_ranges_error(test, -EPROTO, { 0, SZ_4K, 2, PRIV },
			    { 0, SZ_4K, 2, PRIV });

	/* A BAR that is smaller than a page is one range */
	mock_bar(mock->fn[0], 0, BAR0 + 0x200, 0x200, IORESOURCE_MEM);
	expect_ranges_error(test, -EPROTO, { 0, 0x100, 0, 0 });
	expect_ranges_error(test, -EPROTO, { 0, 0x1000, 0, 0 });
	give_ranges(test, { 0, 0x200, 0, 0 });
	expect_ranges(test, RANGES({ 0, 0x200, 0, 0 }, { 0, SZ_1M, 2, 0 }));
}

static void msix_is_private(struct kunit *test)
{
	expect_ranges_error(test, -EOPNOTSUPP, { 0, SZ_64K, 0, PRIV });
	expect_ranges_error(test, -EOPNOTSUPP,
			    { TABLE_AT, SZ_4K, 0, PRIV | TABLE });
	expect_ranges_error(test, -EOPNOTSUPP,
			    { PBA_AT, SZ_4K, 0, PRIV | PBA });
	/* Not those, if they are in another BAR */
	give_ranges(test, { 0, SZ_64K, 2, PRIV });
	expect_ranges(test, RANGES({ 0, SZ_64K, 0, 0 },
				   { 0, SZ_64K, 2, PRIV },
				   { SZ_64K, SZ_1M - SZ_64K, 2, 0 }));
}

static void driver_error(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	pci_tsm_unbind(&mock->fn[0]->pdev, &mock->owner.owner);
	KUNIT_EXPECT_EQ(test, PTR_ERR(get_ranges(mock)), -ENXIO);
}

static struct kunit_case ranges_cases[] = {
	KUNIT_CASE(default_msix_apart),
	KUNIT_CASE(default_msix_in_one_page),
	KUNIT_CASE(default_msix_overlap),
	KUNIT_CASE(default_no_msix),
	KUNIT_CASE(default_small_bar),
	KUNIT_CASE(msix_beyond_bar),
	KUNIT_CASE(holes_are_shared),
	KUNIT_CASE(nothing_is_private),
	KUNIT_CASE(sorted_and_merged),
	KUNIT_CASE(bad_ranges),
	KUNIT_CASE(msix_is_private),
	KUNIT_CASE(driver_error),
	{}
};

static struct kunit_suite ranges_suite = {
	.name = "pci_tdi_ranges",
	.init = ranges_init,
	.exit = ranges_exit,
	.test_cases = ranges_cases,
};

/* What the interface was locked with */
#define OFFSET	0xfedc000000000000ULL

/* The address of a page of a BAR in the report */
#define AT(bar, offset)	((bar) - MOCK_BUS_OFFSET + (offset) + OFFSET)

struct report {
	u8 data[512];
	size_t len;
	u32 nr;
};

static void report_begin(struct report *report)
{
	memset(report, 0, sizeof(*report));
	/* All but the number of ranges means nothing to the host */
	memset(report->data, 0x5a, 12);
	report->len = 16;
}

static void report_add(struct report *report, u64 addr, u32 pages, u16 attrs)
{
	u8 *entry = report->data + report->len;

	put_unaligned_le64(addr, entry);
	put_unaligned_le32(pages, entry + 8);
	put_unaligned_le16(attrs, entry + 12);
	/* A range id that is no BAR */
	put_unaligned_le16(0xabcd, entry + 14);
	report->len += 16;
	put_unaligned_le32(++report->nr, report->data + 12);
}

static void report_end(struct report *report, u32 info_len)
{
	put_unaligned_le32(info_len, report->data + report->len);
	report->len += 4 + info_len;
}

static struct pci_tdi_ranges *parse(struct kunit *test,
				    const struct report *report, size_t len)
{
	struct mock_tsm *mock = test->priv;
	struct pci_tdi_ranges *ranges;
	void *data;

	/* Not a byte more, so that KASAN sees a read behind the end */
	data = kmemdup(report->data, len, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, data);
	ranges = pci_tdi_report_ranges(&mock->fn[0]->pdev, data, len, OFFSET);
	kfree(data);
	return ranges;
}

/* The report must make @expected of the BARs */
static void expect_report(struct kunit *test, const struct report *report,
			  const struct pci_tdi_range *expected)
{
	struct pci_tdi_ranges *ranges = parse(test, report, report->len);
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ranges);
	KUNIT_EXPECT_EQ(test, ranges->nr, report->nr);
	mock->ranges = ranges;
	expect_ranges(test, expected);
	mock->ranges = NULL;
	kvfree(ranges);
}

static void report_good(struct kunit *test)
{
	struct report report;

	report_begin(&report);
	report_add(&report, AT(BAR2, 0), 256, 0);
	report_add(&report, AT(BAR0, 0), 4, 0);
	report_add(&report, AT(BAR0, 0x4000), 1, BIT(0) | BIT(2));
	report_add(&report, AT(BAR0, 0x6000), 1, BIT(1) | BIT(2));
	/* Shared, until the TVM wants to have it private */
	report_add(&report, AT(BAR0, 0x5000), 1, BIT(2) | BIT(3));
	report_add(&report, AT(BAR0, 0x7000), 9, BIT(2));
	report_end(&report, 7);
	expect_report(test, &report, RANGES({ 0, 0x4000, 0, PRIV },
					    { 0x4000, 0x1000, 0, TABLE },
					    { 0x5000, 0x1000, 0, PRIV },
					    { 0x6000, 0x1000, 0, PBA },
					    { 0x7000, 0x9000, 0, 0 },
					    { 0, SZ_1M, 2, PRIV }));
}

static void report_without_ranges(struct kunit *test)
{
	struct report report;

	report_begin(&report);
	report_end(&report, 0);
	expect_report(test, &report, RANGES({ 0, SZ_64K, 0, 0 },
					    { 0, SZ_1M, 2, 0 }));
}

static void report_cut_off(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *pdev = &mock->fn[0]->pdev;
	struct report report;

	report_begin(&report);
	report_add(&report, AT(BAR2, 0), 256, 0);
	report_add(&report, AT(BAR0, 0), 1, 0);
	report_end(&report, 5);
	for (size_t len = 1; len < report.len; len++)
		KUNIT_EXPECT_EQ_MSG(test, PTR_ERR(parse(test, &report, len)),
				    -EPROTO, "%zu bytes", len);
	KUNIT_EXPECT_EQ(test, PTR_ERR(pci_tdi_report_ranges(pdev, NULL, 0, 0)),
			-EPROTO);

	/* A longer one is fine */
	report.len += 64;
	expect_report(test, &report, RANGES({ 0, 0x1000, 0, PRIV },
					    { 0x1000, 0xf000, 0, 0 },
					    { 0, SZ_1M, 2, PRIV }));
}

static void report_count(struct kunit *test)
{
	static const u32 counts[] = { 2, 3, 0x0fffffff, 0x10000000,
				      0x10000001, 0x7fffffff, U32_MAX };
	struct report report;

	report_begin(&report);
	report_add(&report, AT(BAR2, 0), 1, 0);
	report_end(&report, 0);
	for (int i = 0; i < ARRAY_SIZE(counts); i++) {
		put_unaligned_le32(counts[i], report.data + 12);
		KUNIT_EXPECT_EQ_MSG(test, PTR_ERR(parse(test, &report,
							report.len)),
				    -EPROTO, "%u ranges", counts[i]);
	}
}

static void report_info_len(struct kunit *test)
{
	struct report report;

	report_begin(&report);
	report_end(&report, 0);
	put_unaligned_le32(1, report.data + 16);
	KUNIT_EXPECT_EQ(test, PTR_ERR(parse(test, &report, report.len)),
			-EPROTO);
	put_unaligned_le32(U32_MAX, report.data + 16);
	KUNIT_EXPECT_EQ(test, PTR_ERR(parse(test, &report, report.len)),
			-EPROTO);
}

static void report_bad_range(struct kunit *test)
{
	static const struct {
		u64 addr;
		u32 pages;
		u16 attrs;
	} bad[] = {
		/* No pages */
		{ AT(BAR0, 0), 0, 0 },
		/* Before, behind, and across the end of a BAR */
		{ AT(BAR0, -0x1000), 1, 0 },
		{ AT(BAR0, -0x1000), 2, 0 },
		{ AT(BAR0, SZ_64K), 1, 0 },
		{ AT(BAR0, 0xf000), 2, 0 },
		{ AT(BAR2, 0), 257, 0 },
		{ AT(BAR2, 0), U32_MAX, 0 },
		/* Around the end of the address space */
		{ OFFSET - 0x1000, 1, 0 },
		{ OFFSET - 0x1000, U32_MAX, 0 },
		{ OFFSET - 0x1000, (BAR0 - MOCK_BUS_OFFSET) / SZ_4K + 2, 0 },
		/* Without the reporting offset, and by the CPU's address */
		{ BAR0 - MOCK_BUS_OFFSET, 1, 0 },
		{ AT(BAR0, MOCK_BUS_OFFSET), 1, 0 },
		/* An attribute that is not defined */
		{ AT(BAR0, 0), 1, BIT(4) },
		{ AT(BAR0, 0), 1, BIT(15) },
	};
	struct report report;

	for (int i = 0; i < ARRAY_SIZE(bad); i++) {
		report_begin(&report);
		report_add(&report, AT(BAR2, 0), 1, 0);
		report_add(&report, bad[i].addr, bad[i].pages, bad[i].attrs);
		report_end(&report, 0);
		KUNIT_EXPECT_EQ_MSG(test, PTR_ERR(parse(test, &report,
							report.len)),
				    -EPROTO, "range %d", i);
	}
}

/* These are in a BAR each, the rest is for the core to see */
static void report_bad_for_core(struct kunit *test)
{
	static const struct {
		u64 addr;
		u32 pages;
	} bad[] = {
		{ AT(BAR2, 0x2000), 1 },
		{ AT(BAR2, 0x800), 1 },
	};
	struct mock_tsm *mock = test->priv;
	struct report report;

	for (int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct pci_tdi_ranges *ranges;

		report_begin(&report);
		report_add(&report, AT(BAR2, 0x1000), 4, 0);
		report_add(&report, bad[i].addr, bad[i].pages, 0);
		report_end(&report, 0);
		ranges = parse(test, &report, report.len);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ranges);
		mock->ranges = ranges;
		KUNIT_EXPECT_EQ_MSG(test, PTR_ERR(get_ranges(mock)), -EPROTO,
				    "range %d", i);
		mock->ranges = NULL;
		kvfree(ranges);
	}
}

/* Whatever a report says, it is refused or describes the BARs */
static void report_random(struct kunit *test)
{
	static const u64 base[] = { AT(BAR0, 0), AT(BAR2, 0), OFFSET, 0 };
	struct mock_tsm *mock = test->priv;
	unsigned int refused = 0, taken = 0;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 20260101);
	/* Nothing is in the way of the ranges */
	mock->fn[0]->pdev.msix_cap = 0;
	for (int i = 0; i < 5000; i++) {
		struct pci_tdi_ranges *given, *ranges;
		struct report report;

		report_begin(&report);
		for (u32 nr = prandom_u32_state(&rnd) % 4; nr; nr--) {
			u32 r = prandom_u32_state(&rnd);

			report_add(&report, base[r & (r >> 2) & 3] +
				   (((r >> 4) & 0x1f) << 12), (r >> 9) & 7,
				   (r >> 12) & 0xf);
		}
		report_end(&report, 4);
		/* Half of them with a damage */
		if (i & 1)
			report.data[prandom_u32_state(&rnd) % report.len] ^=
				BIT(prandom_u32_state(&rnd) % 8);

		given = parse(test, &report, report.len);
		if (IS_ERR(given)) {
			refused++;
			continue;
		}
		mock->ranges = given;
		ranges = get_ranges(mock);
		mock->ranges = NULL;
		kvfree(given);
		if (IS_ERR(ranges)) {
			refused++;
			continue;
		}
		taken++;
		check_complete(test, &mock->fn[0]->pdev, ranges);
		kvfree(ranges);
	}

	/* Neither all nor none, or this would have shown nothing */
	KUNIT_EXPECT_GT(test, refused, 500);
	KUNIT_EXPECT_GT(test, taken, 500);
}

static struct kunit_case report_cases[] = {
	KUNIT_CASE(report_good),
	KUNIT_CASE(report_without_ranges),
	KUNIT_CASE(report_cut_off),
	KUNIT_CASE(report_count),
	KUNIT_CASE(report_info_len),
	KUNIT_CASE(report_bad_range),
	KUNIT_CASE(report_bad_for_core),
	KUNIT_CASE(report_random),
	{}
};

static struct kunit_suite report_suite = {
	.name = "pci_tdi_report",
	.init = ranges_init,
	.exit = ranges_exit,
	.test_cases = report_cases,
};

kunit_test_suites(&ranges_suite, &report_suite);

MODULE_DESCRIPTION("KUnit tests of the MMIO ranges of TDIs");
MODULE_LICENSE("GPL");

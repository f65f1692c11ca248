// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state of an attachment: mapped or not, taken away and given back, and what
 * the core says to those who get it wrong
 *
 * st-dma-buf-pfn-model.c checks what random sequences of calls lead to.
 */
#include <linux/dma-resv.h>
#include <linux/seq_file.h>

#include "dma-buf-pfn.h"
#include "st-dma-buf-pfn-mock.h"

static void test_map_twice(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	int ret = 0;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 2);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	MOCK_EXPECT_WARNING(test, MOCK_WARN_MAP_TWICE,
			    ret = mock_map_pages(imp, 1, 1));
	KUNIT_EXPECT_EQ(test, -EINVAL, ret);
	KUNIT_EXPECT_TRUE(test, imp->attach->mapped);
	KUNIT_EXPECT_EQ(test, 1, exp->map_calls);
	KUNIT_EXPECT_EQ(test, 1, exp->maps);
	mock_unmap(imp);
	mock_detach(imp);
}

static void test_map_in_record(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	int ret = 0;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 2);
	imp = mock_attached(test, exp);
	imp->map_in_record = true;
	MOCK_EXPECT_WARNING(test, MOCK_WARN_MAP_TWICE,
			    ret = mock_map_pages(imp, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, ret);
	KUNIT_EXPECT_EQ(test, -EINVAL, imp->nested_ret);
	KUNIT_EXPECT_EQ(test, 1, exp->map_calls);
	KUNIT_EXPECT_EQ(test, imp->reach[1], SZ_1G + PAGE_SIZE);
	mock_unmap(imp);
	mock_detach(imp);
}

static void test_unmap_twice(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	mock_unmap(imp);
	KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
	MOCK_EXPECT_WARNING(test, MOCK_WARN_UNMAP_TWICE, mock_unmap(imp));
	KUNIT_EXPECT_EQ(test, 1, exp->unmap_calls);
	mock_detach(imp);
}

static void test_detach_mapped(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	MOCK_EXPECT_WARNING(test, MOCK_WARN_DETACH_MAPPED, mock_detach(imp));
	KUNIT_EXPECT_EQ(test, 1, exp->unmap_calls);
	KUNIT_EXPECT_EQ(test, 0, exp->maps);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&exp->detach_calls));
}

/* Invalidate and revalidate */

static void test_invalidate(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp[3];
	unsigned int i;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 2);
	for (i = 0; i < ARRAY_SIZE(imp); i++)
		imp[i] = mock_attached(test, exp);

	/* The one in the middle is not mapped */
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp[0], 0, 2));
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp[2], 1, 1));
	KUNIT_EXPECT_EQ(test, 2, exp->maps);

	mock_revoke(exp);
	KUNIT_EXPECT_EQ(test, 0, exp->maps);
	for (i = 0; i < ARRAY_SIZE(imp); i++) {
		KUNIT_EXPECT_EQ(test, 1, imp[i]->invalidates);
		KUNIT_EXPECT_EQ(test, i + 1, imp[i]->invalidated_at);
		KUNIT_EXPECT_EQ(test, i != 1, imp[i]->mapped_at_invalidate);
		KUNIT_EXPECT_FALSE(test, imp[i]->attach->mapped);
		KUNIT_EXPECT_EQ(test, 0, imp[i]->revalidates);
	}

	/* Once more, with nothing left to take away */
	mock_revoke(exp);
	for (i = 0; i < ARRAY_SIZE(imp); i++) {
		KUNIT_EXPECT_EQ(test, 2, imp[i]->invalidates);
		mock_detach(imp[i]);
	}
}

static void test_invalidate_forgotten_unmap(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	imp->forget_unmap = true;
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	MOCK_EXPECT_WARNING(test, MOCK_WARN_STILL_MAPPED, mock_revoke(exp));
	KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
	KUNIT_EXPECT_EQ(test, 0, exp->maps);
	mock_detach(imp);
}

static void test_invalidate_pinned(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	int ret = 0;

	exp = mock_export(test, DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO, 1);
	/* While nobody is attached, it may do what it wants */
	mock_revoke(exp);
	mock_restore(exp);

	imp = mock_attached(test, exp);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	MOCK_EXPECT_WARNING(test, MOCK_WARN_INVALIDATE_PINNED, mock_revoke(exp));
	/* The importer is safe all the same */
	KUNIT_EXPECT_EQ(test, 1, imp->invalidates);
	KUNIT_EXPECT_FALSE(test, imp->attach->mapped);

	/* And does not wait for what may never come back */
	MOCK_EXPECT_WARNING(test, MOCK_WARN_REVOKED_PINNED,
			    ret = mock_map_pages(imp, 0, 1));
	KUNIT_EXPECT_EQ(test, -EIO, ret);
	KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
	mock_detach(imp);
}

static void test_invalidate_in_map(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	int ret = 0;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 2);
	mock_place(exp, 1, 1, SZ_2M, DMA_BUF_PFN_MMIO);
	imp = mock_attached(test, exp);
	exp->invalidate_in_map = true;
	MOCK_EXPECT_WARNING(test, MOCK_WARN_INVALIDATE_IN_MAP,
			    ret = mock_map_pages(imp, 0, 2));
	KUNIT_EXPECT_EQ(test, -EIO, ret);
	KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
	KUNIT_EXPECT_EQ(test, 1, imp->nr_ranges);
	KUNIT_EXPECT_EQ(test, 0, exp->maps);
	mock_detach(imp);
}

static void test_revalidate(struct kunit *test)
{
	struct dma_buf_pfn_importer_ops ops = mock_importer_ops;
	struct dma_buf_pfn_attachment *attach;
	struct mock_exporter *exp;
	struct mock_importer *imp[3];
	unsigned int i;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 2);
	exp->revoked = true;

	/* Importers may come while the buffer is revoked */
	for (i = 0; i < ARRAY_SIZE(imp); i++) {
		imp[i] = mock_attached(test, exp);
		KUNIT_EXPECT_EQ(test, -ENODEV, mock_map_pages(imp[i], 0, 2));
		imp[i]->eager = i != 1;
		imp[i]->eager_length = PAGES(2);
	}
	/* One that does not want to be told */
	ops.revalidate = NULL;
	attach = dma_buf_pfn_attach(exp->dmabuf, &ops, ALL_KINDS, true, imp[0]);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, attach);

	mock_restore(exp);
	for (i = 0; i < ARRAY_SIZE(imp); i++) {
		KUNIT_EXPECT_EQ(test, 1, imp[i]->revalidates);
		KUNIT_EXPECT_EQ(test, i + 1, imp[i]->revalidated_at);
		KUNIT_EXPECT_EQ(test, 0, imp[i]->eager_ret);
		KUNIT_EXPECT_EQ(test, imp[i]->eager, imp[i]->attach->mapped);
		KUNIT_EXPECT_EQ(test, 0, imp[i]->invalidates);
	}
	KUNIT_EXPECT_EQ(test, 2, exp->maps);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp[1], 0, 2));
	dma_buf_pfn_detach(attach);

	for (i = 0; i < ARRAY_SIZE(imp); i++) {
		mock_unmap(imp[i]);
		mock_detach(imp[i]);
	}
}

static void test_move(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_MOVABLE,
			  DMA_BUF_PFN_MMIO | DMA_BUF_PFN_RAM, 2);
	imp = mock_attached(test, exp);
	imp->eager = true;
	imp->eager_length = PAGES(2);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 2));
	KUNIT_EXPECT_EQ(test, imp->reach[1], SZ_1G + PAGE_SIZE);

	mock_revoke(exp);
	KUNIT_EXPECT_EQ(test, imp->reach[1], 0);
	mock_place(exp, 0, 1, SZ_2M, DMA_BUF_PFN_RAM);
	mock_place(exp, 1, 1, SZ_1M, DMA_BUF_PFN_MMIO);
	mock_restore(exp);
	KUNIT_EXPECT_EQ(test, imp->eager_ret, 0);
	KUNIT_EXPECT_EQ(test, imp->reach[0], SZ_2M);
	KUNIT_EXPECT_EQ(test, imp->reach[1], SZ_1M);
	KUNIT_EXPECT_EQ(test, imp->ranges[0].kind, DMA_BUF_PFN_RAM);
	KUNIT_EXPECT_EQ(test, imp->ranges[1].kind, DMA_BUF_PFN_MMIO);
	mock_unmap(imp);
	mock_detach(imp);
}

/* Without the reservation lock. Only lockdep can tell. */
static void test_lock(struct kunit *test)
{
#ifdef CONFIG_LOCKDEP
	struct seq_file seq = { .size = 64 };
	struct dma_buf_pfn_range range = {};
	struct mock_exporter *exp;
	struct mock_importer *imp;
	int ret = 0;

	if (!debug_locks)
		kunit_skip(test, "lockdep has turned itself off");

	seq.buf = kunit_kzalloc(test, seq.size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, seq.buf);
	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);

	kunit_warning_suppress(test) {
		ret = dma_buf_pfn_map(imp->attach, 0, 0);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_EQ(test, -EINVAL, ret);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	kunit_warning_suppress(test) {
		/* The core, and the exporter */
		dma_buf_pfn_unmap(imp->attach);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 2);
	}
	kunit_warning_suppress(test) {
		dma_buf_pfn_emit(imp->attach, &range);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1 +
			mock_expected_warnings(MOCK_WARN_EMIT_OUTSIDE));
	}
	kunit_warning_suppress(test) {
		/* In dma-buf.c, and for the PFN importers */
		dma_buf_invalidate_mappings(exp->dmabuf);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 2);
	}
	kunit_warning_suppress(test) {
		dma_buf_revalidate_mappings(exp->dmabuf);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	kunit_warning_suppress(test) {
		dma_buf_pfn_describe(exp->dmabuf, &seq);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	mock_detach(imp);
#else
	kunit_skip(test, "needs LOCKDEP");
#endif
}

static struct kunit_case dma_buf_pfn_state_cases[] = {
	KUNIT_CASE(test_map_twice),
	KUNIT_CASE(test_map_in_record),
	KUNIT_CASE(test_unmap_twice),
	KUNIT_CASE(test_detach_mapped),
	KUNIT_CASE(test_invalidate),
	KUNIT_CASE(test_invalidate_forgotten_unmap),
	KUNIT_CASE(test_invalidate_pinned),
	KUNIT_CASE(test_invalidate_in_map),
	KUNIT_CASE(test_revalidate),
	KUNIT_CASE(test_move),
	KUNIT_CASE(test_lock),
	{}
};

static struct kunit_suite dma_buf_pfn_state_suite = {
	.name = "dma_buf_pfn_state",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_state_cases,
};

kunit_test_suite(dma_buf_pfn_state_suite);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of the PFN attachment: one rule, and one way to break it, at a time
 *
 * st-dma-buf-pfn-model.c checks what random sequences of calls lead to.
 */
#include <kunit/device.h>
#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>
#include <linux/kthread.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/workqueue.h>
#include <trace/events/dma_buf_pfn.h>

#include "dma-buf-pfn.h"
#include "st-dma-buf-pfn-mock.h"

#define ALL_KINDS	(DMA_BUF_PFN_KINDS | DMA_BUF_PFN_PRIVATE)
#define NR_KINDS	BIT(5)

/* The Nth of all sets of kinds */
static u32 nth_kinds(unsigned int n)
{
	return (n & DMA_BUF_PFN_KINDS) | (n & BIT(4) ? DMA_BUF_PFN_PRIVATE : 0);
}

/* Negotiation */

static void test_attach_models(struct kunit *test)
{
	struct dma_buf_pfn_importer_ops ops = mock_importer_ops;
	struct dma_buf_pfn_attachment *attach;
	struct mock_exporter *exp;
	struct mock_importer *imp;
	u32 model;

	for (model = BIT(0); model & DMA_BUF_PFN_MODELS; model <<= 1) {
		exp = mock_export(test, model, DMA_BUF_PFN_MMIO, 1);
		imp = mock_importer(test, exp);

		for (ops.models = 0; ops.models <= DMA_BUF_PFN_MODELS;
		     ops.models++) {
			attach = dma_buf_pfn_attach(exp->dmabuf, &ops,
						    ALL_KINDS, true, imp);
			if (!(ops.models & model)) {
				KUNIT_EXPECT_EQ_MSG(test, -EOPNOTSUPP,
						    PTR_ERR_OR_ZERO(attach),
						    "exporter %#x importer %#x",
						    model, ops.models);
				continue;
			}
			KUNIT_ASSERT_NOT_ERR_OR_NULL(test, attach);
			KUNIT_EXPECT_EQ(test, 1, atomic_read(&exp->attachments));
			dma_buf_pfn_detach(attach);
		}
	}
}

static void test_attach_kinds(struct kunit *test)
{
	unsigned int i, j;

	for (i = 0; i < NR_KINDS; i++) {
		u32 emits = nth_kinds(i);
		struct mock_exporter *exp;
		struct mock_importer *imp;

		if (!(emits & DMA_BUF_PFN_KINDS))
			continue;
		exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, emits, 1);
		imp = mock_importer(test, exp);

		for (j = 0; j < NR_KINDS; j++) {
			u32 takes = nth_kinds(j);
			int ret = mock_attach(imp, takes, false);

			KUNIT_EXPECT_EQ_MSG(test, ret,
					    (emits & takes) == emits ?
					    0 : -EOPNOTSUPP,
					    "exporter %#x importer %#x",
					    emits, takes);
			if (!ret)
				mock_detach(imp);
		}
	}
}

static void test_attach_no_ranges(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export_with(test, NULL, 0, DMA_BUF_PFN_MMIO, 1, O_RDWR);
	imp = mock_importer(test, exp);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, mock_attach(imp, ALL_KINDS, false));

	/* It has no PFN importers to tell, which must not be a problem */
	mock_revoke(exp);
	mock_restore(exp);
}

static void test_attach_access(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export_with(test, &mock_exporter_ops, DMA_BUF_PFN_REVOCABLE,
			       DMA_BUF_PFN_MMIO, 1, O_RDONLY);
	imp = mock_importer(test, exp);
	KUNIT_EXPECT_EQ(test, -EACCES, mock_attach(imp, ALL_KINDS, true));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&exp->attachments));
	KUNIT_ASSERT_EQ(test, 0, mock_attach(imp, ALL_KINDS, false));
	KUNIT_EXPECT_FALSE(test, imp->attach->writable);
	mock_detach(imp);

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_TRUE(test, imp->attach->writable);
	mock_detach(imp);
	KUNIT_ASSERT_EQ(test, 0, mock_attach(imp, ALL_KINDS, false));
	KUNIT_EXPECT_FALSE(test, imp->attach->writable);
	mock_detach(imp);
}

static void test_attach_object(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_PTR_EQ(test, imp->attach->dmabuf, exp->dmabuf);
	KUNIT_EXPECT_PTR_EQ(test, imp->attach->ops, &mock_importer_ops);
	KUNIT_EXPECT_PTR_EQ(test, imp->attach->importer_priv, (void *)imp);
	KUNIT_EXPECT_PTR_EQ(test, imp->attach->exporter_priv, (void *)exp);
	KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
	KUNIT_EXPECT_EQ(test, 0, exp->map_calls);
	mock_detach(imp);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&exp->detach_calls));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&exp->attachments));

	/* Nothing is told to an importer that has left */
	mock_revoke(exp);
	mock_restore(exp);
	KUNIT_EXPECT_EQ(test, 0, imp->invalidates);
	KUNIT_EXPECT_EQ(test, 0, imp->revalidates);
}

static void test_attach_refused_by_exporter(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_importer(test, exp);
	exp->attach_ret = -ENOSPC;
	KUNIT_EXPECT_EQ(test, -ENOSPC, mock_attach(imp, ALL_KINDS, true));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&exp->detach_calls));

	mock_revoke(exp);
	KUNIT_EXPECT_EQ(test, 0, imp->invalidates);
}

static void test_attach_importer_ops(struct kunit *test)
{
	struct dma_buf_pfn_importer_ops ops;
	struct dma_buf_pfn_attachment *attach;
	struct mock_exporter *exp;
	unsigned int i;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	for (i = 0; i < 3; i++) {
		ops = mock_importer_ops;
		if (i == 0)
			ops.name = NULL;
		else if (i == 1)
			ops.record = NULL;
		else
			ops.invalidate = NULL;

		kunit_warning_suppress(test) {
			attach = dma_buf_pfn_attach(exp->dmabuf, &ops,
						    ALL_KINDS, true, NULL);
			KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test,
							      IS_ENABLED(CONFIG_BUG));
		}
		KUNIT_EXPECT_EQ(test, -EINVAL, PTR_ERR_OR_ZERO(attach));
	}
}

static void test_plain_exporter(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export_with(test, &mock_plain_exporter_ops,
			       DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 2,
			       O_RDWR);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_NULL(test, imp->attach->exporter_priv);
	KUNIT_EXPECT_EQ(test, 0, dma_buf_pfn_wait(imp->attach));
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 2));
	mock_unmap(imp);
	mock_detach(imp);
}

/* What dma_buf_export() takes */

struct export_param {
	const char *desc;
	struct dma_buf_pfn_export pfn;
	size_t size;
	bool valid;
};

static const struct dma_buf_pfn_exporter_ops export_no_map = {
	.unmap = (void *)1,
};

static const struct dma_buf_pfn_exporter_ops export_no_unmap = {
	.map = (void *)1,
};

#define EXPORT_PARAM(_desc, _ops, _model, _kinds, _size, _valid)		\
	{ .desc = _desc, .pfn = { .ops = _ops, .model = _model,			\
	  .kinds = _kinds }, .size = _size, .valid = _valid }

static const struct export_param export_params[] = {
	EXPORT_PARAM("no_ranges", NULL, 0, 0, 4097, true),
	EXPORT_PARAM("one_kind", &mock_plain_exporter_ops, DMA_BUF_PFN_PINNED,
		     DMA_BUF_PFN_RAM, PAGE_SIZE, true),
	EXPORT_PARAM("private", &mock_plain_exporter_ops, DMA_BUF_PFN_REVOCABLE,
		     DMA_BUF_PFN_MMIO | DMA_BUF_PFN_PRIVATE, PAGE_SIZE, true),
	EXPORT_PARAM("all_kinds", &mock_plain_exporter_ops, DMA_BUF_PFN_MOVABLE,
		     DMA_BUF_PFN_KINDS, PAGE_SIZE, true),
	EXPORT_PARAM("model_without_ops", NULL, DMA_BUF_PFN_PINNED, 0, PAGE_SIZE,
		     false),
	EXPORT_PARAM("kinds_without_ops", NULL, 0, DMA_BUF_PFN_MMIO, PAGE_SIZE,
		     false),
	EXPORT_PARAM("no_map", &export_no_map, DMA_BUF_PFN_PINNED,
		     DMA_BUF_PFN_MMIO, PAGE_SIZE, false),
	EXPORT_PARAM("no_unmap", &export_no_unmap, DMA_BUF_PFN_PINNED,
		     DMA_BUF_PFN_MMIO, PAGE_SIZE, false),
	EXPORT_PARAM("no_model", &mock_plain_exporter_ops, 0, DMA_BUF_PFN_MMIO,
		     PAGE_SIZE, false),
	EXPORT_PARAM("two_models", &mock_plain_exporter_ops,
		     DMA_BUF_PFN_PINNED | DMA_BUF_PFN_MOVABLE, DMA_BUF_PFN_MMIO,
		     PAGE_SIZE, false),
	EXPORT_PARAM("unknown_model", &mock_plain_exporter_ops, BIT(3),
		     DMA_BUF_PFN_MMIO, PAGE_SIZE, false),
	EXPORT_PARAM("no_kind", &mock_plain_exporter_ops, DMA_BUF_PFN_PINNED, 0,
		     PAGE_SIZE, false),
	EXPORT_PARAM("private_alone", &mock_plain_exporter_ops,
		     DMA_BUF_PFN_PINNED, DMA_BUF_PFN_PRIVATE, PAGE_SIZE, false),
	EXPORT_PARAM("unknown_kind", &mock_plain_exporter_ops,
		     DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO | BIT(4), PAGE_SIZE,
		     false),
	EXPORT_PARAM("empty", &mock_plain_exporter_ops, DMA_BUF_PFN_PINNED,
		     DMA_BUF_PFN_MMIO, 0, false),
	EXPORT_PARAM("unaligned", &mock_plain_exporter_ops, DMA_BUF_PFN_PINNED,
		     DMA_BUF_PFN_MMIO, PAGE_SIZE + 1, false),
};

KUNIT_ARRAY_PARAM_DESC(export, export_params, desc);

static void export_release(struct dma_buf *dmabuf)
{
}

static void test_export(struct kunit *test)
{
	static const struct dma_buf_ops ops = {
		.map_dma_buf = (void *)1,
		.unmap_dma_buf = (void *)1,
		.release = export_release,
	};
	const struct export_param *param = test->param_value;
	int warnings = !param->valid && IS_ENABLED(CONFIG_BUG);
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	struct dma_buf *dmabuf;

	exp_info.ops = &ops;
	exp_info.size = param->size;
	exp_info.pfn = param->pfn;
	exp_info.priv = test;

	kunit_warning_suppress(test) {
		dmabuf = dma_buf_export(&exp_info);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, warnings);
	}
	if (!param->valid) {
		KUNIT_EXPECT_EQ(test, -EINVAL, PTR_ERR_OR_ZERO(dmabuf));
		return;
	}
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dmabuf);
	KUNIT_EXPECT_MEMEQ(test, &dmabuf->pfn, &param->pfn, sizeof(param->pfn));
	dma_buf_put(dmabuf);
}

/* The part of the buffer that a map asks for */

struct bounds_param {
	const char *desc;
	u64 offset;
	u64 length;
	int ret;
};

#define BOUNDS_PAGES	8
#define PAGES(n)	((u64)(n) * PAGE_SIZE)

static const struct bounds_param bounds_params[] = {
	{ "all", 0, PAGES(BOUNDS_PAGES), 0 },
	{ "first", 0, PAGES(1), 0 },
	{ "last", PAGES(BOUNDS_PAGES - 1), PAGES(1), 0 },
	{ "middle", PAGES(3), PAGES(2), 0 },
	{ "empty", PAGES(1), 0, -EINVAL },
	{ "empty_at_the_end", PAGES(BOUNDS_PAGES), 0, -EINVAL },
	{ "offset_unaligned", 1, PAGES(1), -EINVAL },
	{ "length_unaligned", 0, PAGES(1) + 1, -EINVAL },
	{ "one_too_many", PAGES(1), PAGES(BOUNDS_PAGES), -EINVAL },
	{ "at_the_end", PAGES(BOUNDS_PAGES), PAGES(1), -EINVAL },
	{ "beyond_the_end", PAGES(BOUNDS_PAGES + 1), PAGES(1), -EINVAL },
	{ "overflow_to_0", -PAGES(1), PAGES(1), -EINVAL },
	{ "overflow_to_inside", -PAGES(1), PAGES(2), -EINVAL },
	{ "longest", PAGES(1), -PAGES(1), -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(bounds, bounds_params, desc);

static void test_map_bounds(struct kunit *test)
{
	const struct bounds_param *param = test->param_value;
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO,
			  BOUNDS_PAGES);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_EQ(test, param->ret,
			mock_map(imp, param->offset, param->length));
	KUNIT_EXPECT_EQ(test, !param->ret, exp->map_calls);
	KUNIT_EXPECT_EQ(test, !param->ret, imp->attach->mapped);
	KUNIT_EXPECT_EQ(test, !param->ret, imp->nr_ranges);
	if (imp->attach->mapped) {
		KUNIT_EXPECT_EQ(test, imp->ranges[0].offset, param->offset);
		KUNIT_EXPECT_EQ(test, imp->ranges[0].length, param->length);
		KUNIT_EXPECT_EQ(test, imp->ranges[0].paddr,
				SZ_1G + param->offset);
		KUNIT_EXPECT_EQ(test, imp->ranges[0].kind, DMA_BUF_PFN_MMIO);
		mock_unmap(imp);
	}
	mock_detach(imp);
}

/*
 * What an exporter emits. Each script is for a map of pages 2 to 5 of a buffer
 * of 8 pages, whose kinds are MMIO and RAM, or the same and private.
 */

#define SCRIPT_FIRST	2
#define SCRIPT_PAGES	4
#define LAST_PAGE	((phys_addr_t)PAGE_MASK)

struct script_param {
	const char *desc;
	u32 private;
	/* How many of the ranges the importer gets to see */
	unsigned int good;
	unsigned int nr;
	struct dma_buf_pfn_range ranges[4];
	int ret;
	enum mock_warning warning;
};

#define R(_offset, _paddr, _length, _kind)					\
	{ .offset = PAGES(_offset), .paddr = _paddr, .length = _length,		\
	  .kind = _kind }
#define MMIO	DMA_BUF_PFN_MMIO
#define RAM	DMA_BUF_PFN_RAM
#define PRIVATE	DMA_BUF_PFN_PRIVATE
#define SCRIPT(_desc, _private, _good, _ret, _warning, ...)			\
	{ .desc = _desc, .private = _private, .good = _good, .ret = _ret,	\
	  .warning = _warning, .ranges = { __VA_ARGS__ },			\
	  .nr = sizeof((struct dma_buf_pfn_range[]){ __VA_ARGS__ }) /		\
		sizeof(struct dma_buf_pfn_range) }
#define GOOD(_desc, _private, _good, ...)					\
	SCRIPT(_desc, _private, _good, 0, MOCK_NR_WARNINGS, __VA_ARGS__)
#define BAD(_desc, _private, _good, ...)					\
	SCRIPT(_desc, _private, _good, -EIO, MOCK_WARN_RANGE, __VA_ARGS__)
#define SHORT(_desc, _good, ...)						\
	SCRIPT(_desc, 0, _good, -EIO, MOCK_WARN_NOT_COVERED, __VA_ARGS__)

static const struct script_param script_params[] = {
	GOOD("one", 0, 1, R(2, SZ_1M, PAGES(4), MMIO)),
	GOOD("four", 0, 4, R(2, SZ_1M, PAGES(1), MMIO),
	     R(3, SZ_2M, PAGES(1), RAM), R(4, SZ_1M, PAGES(1), MMIO),
	     R(5, 0, PAGES(1), RAM)),
	GOOD("last_page_of_all", 0, 2, R(2, SZ_1M, PAGES(3), MMIO),
	     R(5, LAST_PAGE, PAGES(1), MMIO)),
	GOOD("private", PRIVATE, 2, R(2, SZ_1M, PAGES(1), MMIO | PRIVATE),
	     R(3, SZ_2M, PAGES(3), RAM | PRIVATE)),
	BAD("empty", 0, 0, R(2, SZ_1M, 0, MMIO), R(2, SZ_1M, PAGES(4), MMIO)),
	BAD("empty_at_0", 0, 0, R(2, 0, 0, MMIO), R(2, 0, PAGES(4), MMIO)),
	BAD("empty_later", 0, 1, R(2, SZ_1M, PAGES(2), MMIO),
	    R(4, SZ_1M, 0, MMIO), R(4, SZ_1M, PAGES(2), MMIO)),
	BAD("empty_at_the_end", 0, 1, R(2, SZ_1M, PAGES(4), MMIO),
	    R(6, SZ_1M, 0, MMIO)),
	BAD("paddr_unaligned", 0, 0, R(2, SZ_1M + 8, PAGES(4), MMIO)),
	BAD("length_unaligned", 0, 0, R(2, SZ_1M, PAGES(1) + 8, MMIO),
	    R(3, SZ_1M, PAGES(3) - 8, MMIO)),
	BAD("paddr_overflow", 0, 0, R(2, LAST_PAGE, PAGES(4), MMIO)),
	BAD("paddr_overflow_by_one", 0, 1, R(2, SZ_1M, PAGES(2), MMIO),
	    R(4, LAST_PAGE, PAGES(2), MMIO)),
	BAD("gap_at_the_start", 0, 0, R(3, SZ_1M, PAGES(3), MMIO)),
	BAD("gap", 0, 1, R(2, SZ_1M, PAGES(1), MMIO),
	    R(4, SZ_1M, PAGES(2), MMIO)),
	BAD("overlap", 0, 1, R(2, SZ_1M, PAGES(2), MMIO),
	    R(3, SZ_1M, PAGES(3), MMIO)),
	BAD("twice", 0, 1, R(2, SZ_1M, PAGES(2), MMIO),
	    R(2, SZ_1M, PAGES(2), MMIO)),
	BAD("out_of_order", 0, 0, R(4, SZ_1M, PAGES(2), MMIO),
	    R(2, SZ_1M, PAGES(2), MMIO)),
	BAD("before_the_part", 0, 0, R(1, SZ_1M, PAGES(5), MMIO)),
	BAD("from_0", 0, 0, R(0, SZ_1M, PAGES(4), MMIO)),
	BAD("offset_unaligned", 0, 0, { .offset = PAGES(2) + 8, .paddr = SZ_1M,
	    .length = PAGES(4), .kind = MMIO }),
	BAD("beyond_the_part", 0, 0, R(2, SZ_1M, PAGES(5), MMIO)),
	BAD("last_beyond_the_part", 0, 1, R(2, SZ_1M, PAGES(3), MMIO),
	    R(5, SZ_2M, PAGES(2), MMIO)),
	BAD("beyond_the_buffer", 0, 0, R(2, SZ_1M, PAGES(7), MMIO)),
	BAD("endless", 0, 0, R(2, 0, -PAGES(1), MMIO)),
	BAD("after_the_end", 0, 1, R(2, SZ_1M, PAGES(4), MMIO),
	    R(6, SZ_2M, PAGES(1), MMIO)),
	BAD("no_kind", 0, 0, R(2, SZ_1M, PAGES(4), 0)),
	BAD("kind_not_announced", 0, 0,
	    R(2, SZ_1M, PAGES(4), DMA_BUF_PFN_DEVICE_CACHED)),
	BAD("kind_unknown", 0, 0, R(2, SZ_1M, PAGES(4), MMIO | BIT(4))),
	BAD("two_kinds", 0, 0, R(2, SZ_1M, PAGES(4), MMIO | RAM)),
	BAD("private_of_shared", 0, 0, R(2, SZ_1M, PAGES(4), MMIO | PRIVATE)),
	BAD("shared_of_private", PRIVATE, 0, R(2, SZ_1M, PAGES(4), MMIO)),
	BAD("private_no_kind", PRIVATE, 0, R(2, SZ_1M, PAGES(4), PRIVATE)),
	SHORT("short", 1, R(2, SZ_1M, PAGES(3), MMIO)),
	SHORT("short_of_two", 2, R(2, SZ_1M, PAGES(1), MMIO),
	      R(3, SZ_2M, PAGES(2), RAM)),
	{ .desc = "nothing", .ret = -EIO, .warning = MOCK_WARN_NOT_COVERED },
};

KUNIT_ARRAY_PARAM_DESC(script, script_params, desc);

static int map_script(struct kunit *test, struct mock_importer *imp,
		      const struct script_param *param)
{
	int ret = 0;

	if (!param->ret)
		return mock_map_pages(imp, SCRIPT_FIRST, SCRIPT_PAGES);

	MOCK_EXPECT_WARNING(test, param->warning,
			    ret = mock_map_pages(imp, SCRIPT_FIRST,
						 SCRIPT_PAGES));
	return ret;
}

static void test_ranges(struct kunit *test)
{
	const struct script_param *param = test->param_value;
	struct mock_exporter *exp;
	struct mock_importer *imp;
	unsigned int i, pass;

	exp = mock_export(test, DMA_BUF_PFN_PINNED,
			  MMIO | RAM | param->private, BOUNDS_PAGES);
	imp = mock_attached(test, exp);

	/* An exporter that listens to the core, and one that does not */
	for (pass = 0; pass < 2; pass++) {
		exp->script = param->ranges;
		exp->nr_script = param->nr;
		exp->ignore_error = pass;

		KUNIT_EXPECT_EQ(test, param->ret, map_script(test, imp, param));
		KUNIT_EXPECT_EQ(test, imp->attach->mapped, !param->ret);
		KUNIT_EXPECT_EQ(test, exp->maps, !param->ret);
		KUNIT_ASSERT_EQ(test, imp->nr_ranges, param->good);
		for (i = 0; i < param->good; i++)
			KUNIT_EXPECT_MEMEQ(test, &imp->ranges[i],
					   &param->ranges[i],
					   sizeof(param->ranges[i]));

		/* After the first error nothing helps any more */
		if (pass)
			KUNIT_EXPECT_EQ(test, exp->nr_emit, param->nr);
		for (i = 0; i < exp->nr_emit; i++)
			KUNIT_EXPECT_EQ(test, exp->emit_ret[i],
					i < param->good ? 0 : -EIO);

		if (imp->attach->mapped)
			mock_unmap(imp);

		/* And the next map is as if nothing had happened */
		exp->script = NULL;
		KUNIT_EXPECT_EQ(test, 0,
				mock_map_pages(imp, SCRIPT_FIRST, SCRIPT_PAGES));
		KUNIT_EXPECT_EQ(test, imp->nr_ranges, 1);
		KUNIT_EXPECT_EQ(test, exp->maps, 1);
		mock_unmap(imp);
		KUNIT_EXPECT_EQ(test, exp->maps, 0);
	}
	mock_detach(imp);
}

static void test_record_fails(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	unsigned int i, pass;

	exp = mock_export(test, DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO, 6);
	/* Every page a range */
	for (i = 0; i < exp->nr_pages; i++)
		exp->paddr[i] = SZ_1G + i * SZ_1M;
	imp = mock_attached(test, exp);

	for (pass = 0; pass < 2; pass++) {
		exp->ignore_error = pass;
		for (i = 0; i < exp->nr_pages; i++) {
			imp->fail_at = i;
			imp->fail_ret = -ENOSPC;
			KUNIT_EXPECT_EQ(test, -ENOSPC,
					mock_map_pages(imp, 0, exp->nr_pages));
			KUNIT_EXPECT_EQ(test, imp->nr_ranges, i);
			KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
			KUNIT_EXPECT_EQ(test, exp->maps, 0);
			/* It is not asked again */
			KUNIT_EXPECT_EQ(test, exp->nr_emit,
					pass ? exp->nr_pages : i + 1);
		}
		imp->fail_at = -1;
		KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, exp->nr_pages));
		KUNIT_EXPECT_EQ(test, imp->nr_ranges, exp->nr_pages);
		mock_unmap(imp);
	}
	mock_detach(imp);
}

static void test_exporter_fails(struct kunit *test)
{
	static const int errors[] = { -ENODEV, -EHWPOISON, -ENOMEM };
	struct mock_exporter *exp;
	struct mock_importer *imp;
	unsigned int i;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		exp->map_ret = errors[i];
		KUNIT_EXPECT_EQ(test, errors[i], mock_map_pages(imp, 0, 1));
		KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
		KUNIT_EXPECT_EQ(test, 0, exp->unmap_calls);
	}
	exp->map_ret = 0;
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	mock_unmap(imp);
	mock_detach(imp);
}

static void test_emit_outside(struct kunit *test)
{
	struct dma_buf_pfn_range range = {
		.paddr = SZ_1M, .length = PAGE_SIZE, .kind = DMA_BUF_PFN_MMIO,
	};
	struct phys_vec phys = { .paddr = SZ_1M, .len = PAGE_SIZE };
	struct mock_exporter *exp;
	struct mock_importer *imp;
	int before = 0, mapped = 0, after = 0, vec = 0;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);

	dma_resv_lock(exp->dmabuf->resv, NULL);
	MOCK_EXPECT_WARNING(test, MOCK_WARN_EMIT_OUTSIDE,
			    before = dma_buf_pfn_emit(imp->attach, &range));
	mock_map_locked(imp, 0, PAGE_SIZE);
	imp->nr_ranges = 0;
	MOCK_EXPECT_WARNING(test, MOCK_WARN_EMIT_OUTSIDE,
			    mapped = dma_buf_pfn_emit(imp->attach, &range));
	mock_unmap_locked(imp);
	MOCK_EXPECT_WARNING(test, MOCK_WARN_EMIT_OUTSIDE,
			    after = dma_buf_pfn_emit(imp->attach, &range));
	MOCK_EXPECT_WARNING(test, MOCK_WARN_EMIT_OUTSIDE,
			    vec = dma_buf_pfn_emit_phys(imp->attach, &phys, 1,
							DMA_BUF_PFN_MMIO, 0,
							PAGE_SIZE));
	dma_resv_unlock(exp->dmabuf->resv);

	KUNIT_EXPECT_EQ(test, -EIO, before);
	KUNIT_EXPECT_EQ(test, -EIO, mapped);
	KUNIT_EXPECT_EQ(test, -EIO, after);
	KUNIT_EXPECT_EQ(test, -EIO, vec);
	KUNIT_EXPECT_EQ(test, 0, imp->nr_ranges);
	mock_detach(imp);
}

/* The state of an attachment */

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

	exp = mock_export(test, DMA_BUF_PFN_MOVABLE, MMIO | RAM, 2);
	imp = mock_attached(test, exp);
	imp->eager = true;
	imp->eager_length = PAGES(2);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 2));
	KUNIT_EXPECT_EQ(test, imp->reach[1], SZ_1G + PAGE_SIZE);

	mock_revoke(exp);
	KUNIT_EXPECT_EQ(test, imp->reach[1], 0);
	mock_place(exp, 0, 1, SZ_2M, RAM);
	mock_place(exp, 1, 1, SZ_1M, MMIO);
	mock_restore(exp);
	KUNIT_EXPECT_EQ(test, imp->eager_ret, 0);
	KUNIT_EXPECT_EQ(test, imp->reach[0], SZ_2M);
	KUNIT_EXPECT_EQ(test, imp->reach[1], SZ_1M);
	KUNIT_EXPECT_EQ(test, imp->ranges[0].kind, RAM);
	KUNIT_EXPECT_EQ(test, imp->ranges[1].kind, MMIO);
	mock_unmap(imp);
	mock_detach(imp);
}

static void test_wait(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_EQ(test, 0, dma_buf_pfn_wait(imp->attach));
	exp->wait_ret = -EINTR;
	KUNIT_EXPECT_EQ(test, -EINTR, dma_buf_pfn_wait(imp->attach));
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&exp->wait_calls));
	mock_detach(imp);
}

/* What a buffer of 128 GiB needs, without the memory */
static int big_map(struct dma_buf_pfn_attachment *attach, u64 offset, u64 length)
{
	struct phys_vec phys[] = {
		{ .paddr = (phys_addr_t)SZ_4G, .len = (size_t)(SZ_64G - PAGE_SIZE) },
		{ .paddr = SZ_1M, .len = (size_t)(SZ_64G + PAGE_SIZE) },
	};

	return dma_buf_pfn_emit_phys(attach, phys, ARRAY_SIZE(phys),
				     DMA_BUF_PFN_MMIO, offset, length);
}

static void big_unmap(struct dma_buf_pfn_attachment *attach)
{
}

static int big_record(struct dma_buf_pfn_attachment *attach,
		      const struct dma_buf_pfn_range *range)
{
	struct mock_importer *imp = attach->importer_priv;

	imp->ranges[imp->nr_ranges++] = *range;
	return 0;
}

static void test_big_buffer(struct kunit *test)
{
	static const struct dma_buf_pfn_exporter_ops big_ops = {
		.map = big_map,
		.unmap = big_unmap,
	};
	struct dma_buf_pfn_importer_ops ops = mock_importer_ops;
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	struct dma_buf_pfn_attachment *attach;
	struct mock_exporter *exp;
	struct mock_importer *imp;
	struct dma_buf *dmabuf;
	int ret;

	if (!IS_ENABLED(CONFIG_64BIT))
		kunit_skip(test, "a size_t has no room for 128 GiB");

	/* For the record of the importer only, and for the callbacks of release */
	exp = mock_export(test, DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO, 1);
	imp = mock_importer(test, exp);

	exp_info.ops = &mock_dma_buf_ops;
	exp_info.size = (size_t)SZ_128G;
	exp_info.pfn.ops = &big_ops;
	exp_info.pfn.model = DMA_BUF_PFN_PINNED;
	exp_info.pfn.kinds = DMA_BUF_PFN_MMIO;
	exp_info.priv = kunit_kzalloc(test, sizeof(*exp), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, exp_info.priv);
	init_completion(&((struct mock_exporter *)exp_info.priv)->released);
	dmabuf = dma_buf_export(&exp_info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dmabuf);

	ops.record = big_record;
	attach = dma_buf_pfn_attach(dmabuf, &ops, ALL_KINDS, false, imp);
	if (!IS_ERR(attach)) {
		dma_resv_lock(dmabuf->resv, NULL);
		ret = dma_buf_pfn_map(attach, SZ_4G, SZ_128G - SZ_4G);
		if (!ret)
			dma_buf_pfn_unmap(attach);
		dma_resv_unlock(dmabuf->resv);
		dma_buf_pfn_detach(attach);

		KUNIT_EXPECT_EQ(test, 0, ret);
		KUNIT_EXPECT_EQ(test, 2, imp->nr_ranges);
		KUNIT_EXPECT_EQ(test, imp->ranges[0].paddr, 2 * SZ_4G);
		KUNIT_EXPECT_EQ(test, imp->ranges[0].length,
				SZ_64G - PAGE_SIZE - SZ_4G);
		KUNIT_EXPECT_EQ(test, imp->ranges[1].offset, SZ_64G - PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, imp->ranges[1].paddr, SZ_1M);
		KUNIT_EXPECT_EQ(test, imp->ranges[1].length, SZ_64G + PAGE_SIZE);
	}
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, attach);

	exp = exp_info.priv;
	dma_buf_put(dmabuf);
	KUNIT_EXPECT_NE(test, 0,
			wait_for_completion_timeout(&exp->released, 10 * HZ));
}

/* Fences */

static DEFINE_SPINLOCK(fence_lock);

static const char *fence_name(struct dma_fence *fence)
{
	return "dma_buf_pfn";
}

static const struct dma_fence_ops fence_ops = {
	.get_driver_name = fence_name,
	.get_timeline_name = fence_name,
};

static struct dma_fence *add_fence(struct kunit *test, struct dma_buf *dmabuf,
				   enum dma_resv_usage usage)
{
	struct dma_fence *fence;
	int ret;

	fence = kmalloc_obj(*fence);
	KUNIT_ASSERT_NOT_NULL(test, fence);
	dma_fence_init(fence, &fence_ops, &fence_lock, 0, 0);

	dma_resv_lock(dmabuf->resv, NULL);
	ret = dma_resv_reserve_fences(dmabuf->resv, 1);
	if (!ret)
		dma_resv_add_fence(dmabuf->resv, fence, usage);
	dma_resv_unlock(dmabuf->resv);
	KUNIT_EXPECT_EQ(test, 0, ret);
	return fence;
}

struct late_fence {
	struct delayed_work work;
	struct dma_fence *fence;
};

static void signal_late_fence(struct work_struct *work)
{
	struct late_fence *late = container_of(to_delayed_work(work),
					       struct late_fence, work);

	dma_fence_signal(late->fence);
}

static void test_fence_of_move(struct kunit *test)
{
	struct late_fence late;
	struct mock_exporter *exp;
	struct mock_importer *imp;
	bool signaled;
	int ret;

	exp = mock_export(test, DMA_BUF_PFN_MOVABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	late.fence = add_fence(test, exp->dmabuf, DMA_RESV_USAGE_KERNEL);
	INIT_DELAYED_WORK_ONSTACK(&late.work, signal_late_fence);
	schedule_delayed_work(&late.work, HZ / 10);

	ret = mock_map_pages(imp, 0, 1);
	signaled = dma_fence_is_signaled(late.fence);

	flush_delayed_work(&late.work);
	destroy_delayed_work_on_stack(&late.work);
	dma_fence_put(late.fence);
	KUNIT_EXPECT_EQ(test, 0, ret);
	KUNIT_EXPECT_TRUE(test, signaled);
	if (!ret)
		mock_unmap(imp);
	mock_detach(imp);
}

/* A fence that nobody signals is not waited for: the test would not end */
static void test_fence_of_others(struct kunit *test)
{
	static const struct {
		u32 model;
		enum dma_resv_usage usage;
	} cases[] = {
		{ DMA_BUF_PFN_PINNED, DMA_RESV_USAGE_KERNEL },
		{ DMA_BUF_PFN_REVOCABLE, DMA_RESV_USAGE_KERNEL },
		{ DMA_BUF_PFN_MOVABLE, DMA_RESV_USAGE_WRITE },
		{ DMA_BUF_PFN_MOVABLE, DMA_RESV_USAGE_READ },
		{ DMA_BUF_PFN_MOVABLE, DMA_RESV_USAGE_BOOKKEEP },
	};
	struct mock_exporter *exp;
	struct mock_importer *imp;
	struct dma_fence *fence;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		exp = mock_export(test, cases[i].model, DMA_BUF_PFN_MMIO, 1);
		imp = mock_attached(test, exp);
		fence = add_fence(test, exp->dmabuf, cases[i].usage);
		KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(fence));
		mock_unmap(imp);
		mock_detach(imp);
		dma_fence_signal(fence);
		dma_fence_put(fence);
	}
}

/* Signals */

static void signal_me(void)
{
	allow_signal(SIGUSR1);
	send_sig(SIGUSR1, current, 1);
}

static void forget_signal(void)
{
	flush_signals(current);
	disallow_signal(SIGUSR1);
}

static void test_fence_interrupted(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	struct dma_fence *fence;
	int ret;

	exp = mock_export(test, DMA_BUF_PFN_MOVABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	fence = add_fence(test, exp->dmabuf, DMA_RESV_USAGE_KERNEL);

	signal_me();
	ret = mock_map_pages(imp, 0, 1);
	forget_signal();

	KUNIT_EXPECT_EQ(test, -EINTR, ret);
	KUNIT_EXPECT_EQ(test, 0, exp->map_calls);
	KUNIT_EXPECT_FALSE(test, imp->attach->mapped);
	dma_fence_signal(fence);
	dma_fence_put(fence);

	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 1));
	mock_unmap(imp);
	mock_detach(imp);
}

struct lock_holder {
	struct dma_resv *resv;
	struct completion locked;
	struct completion go;
};

static int hold_lock(void *data)
{
	struct lock_holder *holder = data;

	dma_resv_lock(holder->resv, NULL);
	complete(&holder->locked);
	wait_for_completion(&holder->go);
	dma_resv_unlock(holder->resv);
	return 0;
}

static void test_attach_interrupted(struct kunit *test)
{
	struct lock_holder holder;
	struct mock_exporter *exp;
	struct mock_importer *imp;
	struct task_struct *task;
	int ret;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_importer(test, exp);

	holder.resv = exp->dmabuf->resv;
	init_completion(&holder.locked);
	init_completion(&holder.go);
	task = kthread_create(hold_lock, &holder, "dma_buf_pfn");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	wake_up_process(task);
	wait_for_completion(&holder.locked);

	signal_me();
	ret = mock_attach(imp, ALL_KINDS, true);
	forget_signal();

	complete(&holder.go);
	kthread_stop_put(task);

	KUNIT_EXPECT_EQ(test, -EINTR, ret);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&exp->detach_calls));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&exp->attachments));
}

/* dma_buf_pfn_emit_phys() */

#define NR_PHYS		12

struct phys_exporter {
	struct phys_vec phys[NR_PHYS];
	size_t nr;
};

static struct phys_exporter phys_exporter;

static int phys_map(struct dma_buf_pfn_attachment *attach, u64 offset,
		    u64 length)
{
	return dma_buf_pfn_emit_phys(attach, phys_exporter.phys,
				     phys_exporter.nr, DMA_BUF_PFN_MMIO, offset,
				     length);
}

static void phys_unmap(struct dma_buf_pfn_attachment *attach)
{
}

static const struct dma_buf_pfn_exporter_ops phys_exporter_ops = {
	.map = phys_map,
	.unmap = phys_unmap,
};

/* One page after the other, as slowly and as simply as can be */
static phys_addr_t phys_of_page(unsigned int page, unsigned int *vec)
{
	unsigned int i, seen = 0;
	size_t j;

	for (i = 0; i < phys_exporter.nr; i++) {
		for (j = 0; j < phys_exporter.phys[i].len; j += PAGE_SIZE) {
			if (seen++ == page) {
				*vec = i;
				return phys_exporter.phys[i].paddr + j;
			}
		}
	}
	return 0;
}

static void test_emit_phys(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	struct rnd_state rnd;
	unsigned int round, i, first, nr;

	prandom_seed_state(&rnd, 20);
	for (round = 0; round < 100; round++) {
		unsigned int pages = 0;

		/* One in four is empty, the last one is not */
		phys_exporter.nr = 1 + prandom_u32_state(&rnd) % NR_PHYS;
		for (i = 0; i < phys_exporter.nr; i++) {
			unsigned int len = prandom_u32_state(&rnd) % 4;

			if (i == phys_exporter.nr - 1)
				len++;
			phys_exporter.phys[i].paddr = SZ_1G + i * SZ_1M;
			phys_exporter.phys[i].len = len * PAGE_SIZE;
			pages += len;
		}
		exp = mock_export_with(test, &phys_exporter_ops,
				       DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO,
				       pages, O_RDWR);
		imp = mock_attached(test, exp);

		for (first = 0; first < pages; first++) {
			for (nr = 1; nr <= pages - first; nr++) {
				unsigned int vec, last = NR_PHYS, vecs = 0;
				unsigned int wrong = 0;

				KUNIT_ASSERT_EQ(test, 0,
						mock_map_pages(imp, first, nr));
				for (i = 0; i < pages; i++) {
					phys_addr_t want = 0;

					if (i >= first && i < first + nr) {
						want = phys_of_page(i, &vec);
						vecs += vec != last;
						last = vec;
					}
					wrong += imp->reach[i] != want;
				}
				KUNIT_EXPECT_EQ_MSG(test, wrong, 0,
						    "round %u pages %u + %u",
						    round, first, nr);
				/* Not cut where it is contiguous */
				KUNIT_EXPECT_EQ(test, imp->nr_ranges, vecs);
				mock_unmap(imp);
			}
		}
		mock_detach(imp);
	}
}

static void test_emit_phys_broken(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;
	int ret = 0;

	exp = mock_export_with(test, &phys_exporter_ops, DMA_BUF_PFN_PINNED,
			       DMA_BUF_PFN_MMIO, 4, O_RDWR);
	imp = mock_attached(test, exp);

	/* Shorter than the buffer */
	phys_exporter.nr = 1;
	phys_exporter.phys[0].paddr = SZ_1G;
	phys_exporter.phys[0].len = PAGES(3);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 3));
	mock_unmap(imp);
	MOCK_EXPECT_WARNING(test, MOCK_WARN_NOT_COVERED,
			    ret = mock_map_pages(imp, 0, 4));
	KUNIT_EXPECT_EQ(test, -EIO, ret);
	MOCK_EXPECT_WARNING(test, MOCK_WARN_NOT_COVERED,
			    ret = mock_map_pages(imp, 3, 1));
	KUNIT_EXPECT_EQ(test, -EIO, ret);

	/* Wraps: the last two pages would be at 0 */
	phys_exporter.phys[0].paddr = LAST_PAGE - PAGE_SIZE;
	phys_exporter.phys[0].len = PAGES(4);
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 2));
	mock_unmap(imp);
	MOCK_EXPECT_WARNING(test, MOCK_WARN_RANGE,
			    ret = mock_map_pages(imp, 0, 4));
	KUNIT_EXPECT_EQ(test, -EIO, ret);
	KUNIT_EXPECT_EQ(test, -EIO, mock_map_pages(imp, 2, 2));
	KUNIT_EXPECT_EQ(test, 0, imp->nr_ranges);

	/* Not in pages */
	phys_exporter.phys[0].paddr = SZ_1G;
	phys_exporter.phys[0].len = PAGES(4) - 8;
	MOCK_EXPECT_WARNING(test, MOCK_WARN_RANGE,
			    ret = mock_map_pages(imp, 0, 4));
	KUNIT_EXPECT_EQ(test, -EIO, ret);

	/* None at all */
	phys_exporter.nr = 0;
	MOCK_EXPECT_WARNING(test, MOCK_WARN_NOT_COVERED,
			    ret = mock_map_pages(imp, 0, 4));
	KUNIT_EXPECT_EQ(test, -EIO, ret);
	mock_detach(imp);
}

/* Importers with a device */

#define NR_SGT_PAGES	40

/* Ranges that cannot be merged */
static struct mock_exporter *export_scattered(struct kunit *test, u32 model,
					      u32 kinds)
{
	struct mock_exporter *exp;
	unsigned int i;

	exp = mock_export(test, model, kinds, NR_SGT_PAGES);
	for (i = 0; i < NR_SGT_PAGES; i++)
		exp->paddr[i] = SZ_1G + (phys_addr_t)i * SZ_1M;
	return exp;
}

static int map_sgt(struct mock_exporter *exp, struct device *dev,
		   struct p2pdma_provider *provider)
{
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	int ret;

	attach = dma_buf_attach(exp->dmabuf, dev);
	if (IS_ERR(attach))
		return PTR_ERR(attach);

	attach->importer_priv = provider;
	dma_resv_lock(exp->dmabuf->resv, NULL);
	sgt = dma_buf_pfn_map_sgt(attach, provider, DMA_BIDIRECTIONAL);
	ret = PTR_ERR_OR_ZERO(sgt);
	if (!ret)
		dma_buf_free_sgt(attach, sgt, DMA_BIDIRECTIONAL);
	dma_resv_unlock(exp->dmabuf->resv);
	dma_buf_detach(exp->dmabuf, attach);
	return ret;
}

static void test_sgt_refused(struct kunit *test)
{
	static const struct {
		u32 kind;
		int ret;
		unsigned int nr_emit;
	} cases[] = {
		{ DMA_BUF_PFN_RAM, -EOPNOTSUPP, 1 },
		{ DMA_BUF_PFN_DEVICE_CACHED, -EOPNOTSUPP, 1 },
		/* These get to pci_p2pdma_map_type(), which knows no such device */
		{ DMA_BUF_PFN_MMIO, -EINVAL, NR_SGT_PAGES },
		{ DMA_BUF_PFN_MMIO_ANY, -EINVAL, NR_SGT_PAGES },
	};
	struct p2pdma_provider *provider;
	struct mock_exporter *exp;
	struct pci_dev *owner;
	struct device *dev;
	unsigned int i;

	dev = kunit_device_register(test, "dma_buf_pfn");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	provider = kunit_kzalloc(test, sizeof(*provider), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, provider);
	owner = kunit_kzalloc(test, sizeof(*owner), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, owner);
	provider->owner = &owner->dev;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		exp = export_scattered(test, DMA_BUF_PFN_REVOCABLE,
				       cases[i].kind);
		KUNIT_EXPECT_EQ(test, cases[i].ret,
				map_sgt(exp, dev, provider));
		KUNIT_EXPECT_EQ(test, 1, exp->map_calls);
		KUNIT_EXPECT_EQ(test, cases[i].nr_emit, exp->nr_emit);
		KUNIT_EXPECT_EQ(test, 0, exp->maps);

		/* The error of the exporter comes first */
		exp->revoked = true;
		KUNIT_EXPECT_EQ(test, -ENODEV, map_sgt(exp, dev, provider));
	}
}

#ifdef CONFIG_PCI_P2PDMA
/* As much of a PCI device as P2PDMA looks at */
struct fake_pci {
	struct pci_dev pdev;
	struct pci_bus bus;
	struct pci_host_bridge bridge;
	struct completion released;
};

static void fake_pci_release(struct device *dev)
{
	struct fake_pci *fake = container_of(dev, struct fake_pci, pdev.dev);

	complete(&fake->released);
}

static void test_sgt(struct kunit *test)
{
	struct dma_buf_attachment *attach;
	struct p2pdma_provider *provider;
	unsigned int i = 0, wrong = 0;
	struct mock_exporter *exp;
	struct scatterlist *sg;
	struct fake_pci *fake;
	struct sg_table *sgt;
	struct device *dev;

	fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fake);
	init_completion(&fake->released);
	dev = &fake->pdev.dev;
	device_initialize(dev);
	dev->bus = &pci_bus_type;
	dev->release = fake_pci_release;
	dev_set_name(dev, "dma_buf_pfn");
	INIT_LIST_HEAD(&fake->bridge.windows);
	fake->bus.bridge = &fake->bridge.dev;
	fake->pdev.bus = &fake->bus;
	fake->pdev.resource[0] = DEFINE_RES_MEM(SZ_1G, SZ_64M);
	if (pcim_p2pdma_init(&fake->pdev)) {
		KUNIT_FAIL(test, "no P2PDMA");
		goto out_put;
	}
	provider = pcim_p2pdma_provider(&fake->pdev, 0);
	provider->bus_offset = SZ_2G;

	/* Its own peer, so that the bus address is what it has to use */
	exp = export_scattered(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO);
	mock_place(exp, 2, 2, SZ_1G, DMA_BUF_PFN_MMIO);
	attach = dma_buf_attach(exp->dmabuf, dev);
	if (IS_ERR(attach)) {
		KUNIT_FAIL(test, "attach failed: %pe", attach);
		goto out_put;
	}
	dma_resv_lock(exp->dmabuf->resv, NULL);
	sgt = dma_buf_pfn_map_sgt(attach, provider, DMA_BIDIRECTIONAL);
	if (IS_ERR(sgt)) {
		KUNIT_FAIL(test, "map failed: %pe", sgt);
	} else {
		for_each_sgtable_dma_sg(sgt, sg, i) {
			unsigned int page = i < 3 ? i : i + 1;

			wrong += sg_dma_address(sg) != exp->paddr[page] + SZ_2G;
			wrong += sg_dma_len(sg) != (i == 2 ? 2 : 1) * PAGE_SIZE;
		}
		KUNIT_EXPECT_EQ(test, i, NR_SGT_PAGES - 1);
		KUNIT_EXPECT_EQ(test, wrong, 0);
		/* The map of the helper has ended, the sg table lives */
		KUNIT_EXPECT_EQ(test, exp->maps, 0);
		KUNIT_EXPECT_EQ(test, exp->unmap_calls, 1);
		KUNIT_EXPECT_TRUE(test,
				  list_empty(&exp->dmabuf->pfn_attachments));
		dma_buf_free_sgt(attach, sgt, DMA_BIDIRECTIONAL);
	}
	dma_resv_unlock(exp->dmabuf->resv);
	dma_buf_detach(exp->dmabuf, attach);
out_put:
	put_device(dev);
	wait_for_completion(&fake->released);
}
#else
static void test_sgt(struct kunit *test)
{
	kunit_skip(test, "an sg table of MMIO needs PCI_P2PDMA");
}
#endif

static void test_private(struct kunit *test)
{
	struct vm_area_struct *vma;
	struct mock_exporter *exp;
	struct device *dev;
	struct file *file;
	int attach[2], internal[2], other[2];
	unsigned int i;

	dev = kunit_device_register(test, "dma_buf_pfn");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	vma = kunit_kzalloc(test, sizeof(*vma), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vma);

	/* A shared one and a private one that do not differ otherwise */
	for (i = 0; i < 2; i++) {
		struct dma_buf_attachment *sg;

		exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO |
				  (i ? DMA_BUF_PFN_PRIVATE : 0), 1);
		file = exp->dmabuf->file;
		sg = dma_buf_attach(exp->dmabuf, dev);
		attach[i] = PTR_ERR_OR_ZERO(sg);
		if (!IS_ERR(sg))
			dma_buf_detach(exp->dmabuf, sg);
		internal[i] = file->f_op->mmap(file, vma);
		vma->vm_file = get_file(file);
		other[i] = dma_buf_mmap(exp->dmabuf, vma, 0);
		fput(vma->vm_file);
		vma->vm_file = NULL;
	}
	KUNIT_EXPECT_EQ(test, 0, attach[0]);
	KUNIT_EXPECT_EQ(test, 0, internal[0]);
	KUNIT_EXPECT_EQ(test, 0, other[0]);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, attach[1]);
	KUNIT_EXPECT_EQ(test, -EACCES, internal[1]);
	KUNIT_EXPECT_EQ(test, -EACCES, other[1]);
}

/* What the user of a machine can see */

static void test_describe(struct kunit *test)
{
	struct seq_file seq = { .size = PAGE_SIZE };
	struct mock_exporter *exp;
	struct mock_importer *imp[3];
	unsigned int i;
	int count;

	seq.buf = kunit_kzalloc(test, seq.size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, seq.buf);

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	for (i = 0; i < ARRAY_SIZE(imp); i++) {
		imp[i] = mock_importer(test, exp);
		KUNIT_ASSERT_EQ(test, 0,
				mock_attach(imp[i], ALL_KINDS, i == 1));
	}
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp[1], 0, 1));
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp[2], 0, 1));

	dma_resv_lock(exp->dmabuf->resv, NULL);
	count = dma_buf_pfn_describe(exp->dmabuf, &seq);
	dma_resv_unlock(exp->dmabuf->resv);
	KUNIT_EXPECT_EQ(test, 3, count);
	KUNIT_EXPECT_STREQ(test, seq.buf,
			   "\tmock (pfn)\n\tmock (pfn, writable, mapped)\n\tmock (pfn, mapped)\n");

	mock_unmap(imp[1]);
	mock_unmap(imp[2]);
	for (i = 0; i < ARRAY_SIZE(imp); i++)
		mock_detach(imp[i]);

	seq.count = 0;
	memset(seq.buf, 0, seq.size);
	dma_resv_lock(exp->dmabuf->resv, NULL);
	count = dma_buf_pfn_describe(exp->dmabuf, &seq);
	dma_resv_unlock(exp->dmabuf->resv);
	KUNIT_EXPECT_EQ(test, 0, count);
	KUNIT_EXPECT_STREQ(test, seq.buf, "");
}

#ifdef CONFIG_TRACEPOINTS
struct trace_log {
	struct dma_buf *dmabuf;
	char events[32];
	unsigned int nr;
};

static void log_event(struct trace_log *log,
		      struct dma_buf_pfn_attachment *attach, char event)
{
	if (attach->dmabuf == log->dmabuf && log->nr < sizeof(log->events) - 1)
		log->events[log->nr++] = event;
}

static void probe_range(void *data, struct dma_buf_pfn_attachment *attach,
			const struct dma_buf_pfn_range *range)
{
	log_event(data, attach, 'r');
}

static void probe_map(void *data, struct dma_buf_pfn_attachment *attach,
		      u64 offset, u64 length, int ret)
{
	log_event(data, attach, ret ? 'f' : 'm');
}

static void probe_unmap(void *data, struct dma_buf_pfn_attachment *attach)
{
	log_event(data, attach, 'u');
}

/*
 * Who watches the events knows what is mapped: ranges count from the map event
 * that follows them if it says success, until the unmap event.
 */
static void test_trace(struct kunit *test)
{
	struct trace_log *log;
	struct mock_exporter *exp;
	struct mock_importer *imp;

	log = kunit_kzalloc(test, sizeof(*log), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, log);
	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 2);
	mock_place(exp, 1, 1, SZ_2M, DMA_BUF_PFN_MMIO);
	imp = mock_attached(test, exp);
	log->dmabuf = exp->dmabuf;

	KUNIT_ASSERT_EQ(test, 0,
			register_trace_dma_buf_pfn_range(probe_range, log));
	KUNIT_ASSERT_EQ(test, 0,
			register_trace_dma_buf_pfn_map(probe_map, log));
	KUNIT_ASSERT_EQ(test, 0,
			register_trace_dma_buf_pfn_unmap(probe_unmap, log));

	mock_map_pages(imp, 0, 2);
	mock_unmap(imp);
	mock_map_pages(imp, 0, 1);
	mock_revoke(exp);
	/* Revoked, and an error in the middle */
	mock_map_pages(imp, 0, 2);
	mock_restore(exp);
	imp->fail_at = 1;
	imp->fail_ret = -ENOSPC;
	mock_map_pages(imp, 0, 2);

	unregister_trace_dma_buf_pfn_range(probe_range, log);
	unregister_trace_dma_buf_pfn_map(probe_map, log);
	unregister_trace_dma_buf_pfn_unmap(probe_unmap, log);
	tracepoint_synchronize_unregister();

	KUNIT_EXPECT_STREQ(test, log->events, "rrmurmufrf");
	mock_detach(imp);
}
#else
static void test_trace(struct kunit *test)
{
	kunit_skip(test, "needs TRACEPOINTS");
}
#endif

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

static struct kunit_case dma_buf_pfn_cases[] = {
	KUNIT_CASE(test_attach_models),
	KUNIT_CASE(test_attach_kinds),
	KUNIT_CASE(test_attach_no_ranges),
	KUNIT_CASE(test_attach_access),
	KUNIT_CASE(test_attach_object),
	KUNIT_CASE(test_attach_refused_by_exporter),
	KUNIT_CASE(test_attach_importer_ops),
	KUNIT_CASE(test_attach_interrupted),
	KUNIT_CASE(test_plain_exporter),
	KUNIT_CASE_PARAM(test_export, export_gen_params),
	KUNIT_CASE_PARAM(test_map_bounds, bounds_gen_params),
	KUNIT_CASE_PARAM(test_ranges, script_gen_params),
	KUNIT_CASE(test_record_fails),
	KUNIT_CASE(test_exporter_fails),
	KUNIT_CASE(test_emit_outside),
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
	KUNIT_CASE(test_wait),
	KUNIT_CASE(test_big_buffer),
	KUNIT_CASE(test_fence_of_move),
	KUNIT_CASE(test_fence_of_others),
	KUNIT_CASE(test_fence_interrupted),
	KUNIT_CASE(test_emit_phys),
	KUNIT_CASE(test_emit_phys_broken),
	KUNIT_CASE(test_sgt_refused),
	KUNIT_CASE(test_sgt),
	KUNIT_CASE(test_private),
	KUNIT_CASE(test_describe),
	KUNIT_CASE(test_trace),
	KUNIT_CASE(test_lock),
	{}
};

static struct kunit_suite dma_buf_pfn_suite = {
	.name = "dma_buf_pfn",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_cases,
};

kunit_test_suite(dma_buf_pfn_suite);

MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an importer may ask for, and what an exporter may emit: one rule, and one
 * way to break it, at a time
 */
#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>

#include "st-dma-buf-pfn-mock.h"

/* The part of the buffer that a map asks for */

struct bounds_param {
	const char *desc;
	u64 offset;
	u64 length;
	int ret;
};

#define BOUNDS_PAGES	8

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
	  .nr = ARRAY_SIZE(((struct dma_buf_pfn_range[]){ __VA_ARGS__ })) }
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

static struct kunit_case dma_buf_pfn_ranges_cases[] = {
	KUNIT_CASE_PARAM(test_map_bounds, bounds_gen_params),
	KUNIT_CASE_PARAM(test_ranges, script_gen_params),
	KUNIT_CASE(test_record_fails),
	KUNIT_CASE(test_exporter_fails),
	KUNIT_CASE(test_emit_outside),
	KUNIT_CASE(test_emit_phys),
	KUNIT_CASE(test_emit_phys_broken),
	KUNIT_CASE(test_big_buffer),
	{}
};

static struct kunit_suite dma_buf_pfn_ranges_suite = {
	.name = "dma_buf_pfn_ranges",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_ranges_cases,
};

kunit_test_suite(dma_buf_pfn_ranges_suite);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of the ranges that are made from pages
 *
 * The pages are real ones. What an importer may reach is compared to them page
 * by page, for every part of the buffer.
 */
#include <linux/dma-buf-pfn-ram.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/scatterlist.h>

#include "st-dma-buf-pfn-mock.h"

#define NR_CHUNKS	5
#define NR_PAGES	12

static const unsigned int chunk_order[NR_CHUNKS] = { 0, 2, 0, 2, 1 };

struct ram {
	struct page *chunks[NR_CHUNKS];
	struct page *pages[NR_PAGES];
	struct sg_table sgt;
};

/* There is one test at a time */
static struct ram *ram;

static int ram_map_pages(struct dma_buf_pfn_attachment *attach, u64 offset,
			 u64 length)
{
	return dma_buf_pfn_emit_pages(attach, ram->pages, offset, length);
}

static int ram_map_sgt(struct dma_buf_pfn_attachment *attach, u64 offset,
		       u64 length)
{
	return dma_buf_pfn_emit_sgt(attach, &ram->sgt, offset, length);
}

static const struct dma_buf_pfn_exporter_ops ram_pages_ops = {
	.map = ram_map_pages,
	.unmap = dma_buf_pfn_unmap_ram,
};

static const struct dma_buf_pfn_exporter_ops ram_sgt_ops = {
	.map = ram_map_sgt,
	.unmap = dma_buf_pfn_unmap_ram,
};

struct ram_param {
	const char *desc;
	const struct dma_buf_pfn_exporter_ops *ops;
};

static const struct ram_param ram_params[] = {
	{ "pages", &ram_pages_ops },
	{ "sgt", &ram_sgt_ops },
};

KUNIT_ARRAY_PARAM_DESC(ram, ram_params, desc);

static int ram_init(struct kunit *test)
{
	unsigned int i, j, page = 0;
	struct scatterlist *sg;
	int ret;

	ret = mock_init(test);
	if (ret)
		return ret;

	ram = kunit_kzalloc(test, sizeof(*ram), GFP_KERNEL);
	if (!ram)
		return -ENOMEM;

	if (sg_alloc_table(&ram->sgt, NR_CHUNKS, GFP_KERNEL))
		return -ENOMEM;
	sg = ram->sgt.sgl;
	for (i = 0; i < NR_CHUNKS; i++) {
		ram->chunks[i] = alloc_pages(GFP_KERNEL | __GFP_COMP,
					     chunk_order[i]);
		if (!ram->chunks[i])
			return -ENOMEM;
		sg_set_page(sg, ram->chunks[i], PAGE_SIZE << chunk_order[i], 0);
		sg = sg_next(sg);
		for (j = 0; j < BIT(chunk_order[i]); j++)
			ram->pages[page++] = ram->chunks[i] + j;
	}
	return page == NR_PAGES ? 0 : -EINVAL;
}

static void ram_exit(struct kunit *test)
{
	unsigned int i;

	mock_exit(test);
	if (!ram)
		return;

	for (i = 0; i < NR_CHUNKS; i++)
		if (ram->chunks[i])
			__free_pages(ram->chunks[i], chunk_order[i]);
	sg_free_table(&ram->sgt);
	ram = NULL;
}

static struct mock_importer *ram_attached(struct kunit *test,
					  const struct dma_buf_pfn_exporter_ops *ops)
{
	return mock_attached(test, mock_export_with(test, ops,
						    DMA_BUF_PFN_PINNED,
						    DMA_BUF_PFN_RAM, NR_PAGES,
						    O_RDWR));
}

static void test_ram(struct kunit *test)
{
	const struct ram_param *param = test->param_value;
	unsigned int first, nr, i, wrong, ranges;
	struct mock_importer *imp;

	imp = ram_attached(test, param->ops);
	for (first = 0; first < NR_PAGES; first++) {
		for (nr = 1; nr <= NR_PAGES - first; nr++) {
			KUNIT_ASSERT_EQ(test, 0, mock_map_pages(imp, first, nr));

			wrong = 0;
			ranges = 0;
			for (i = 0; i < NR_PAGES; i++) {
				phys_addr_t paddr = page_to_phys(ram->pages[i]);

				if (i < first || i >= first + nr) {
					wrong += imp->reach[i] != 0;
					continue;
				}
				wrong += imp->reach[i] != paddr;
				/* As few ranges as there can be */
				ranges += i == first || paddr !=
					page_to_phys(ram->pages[i - 1]) + PAGE_SIZE;
			}
			KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "pages %u + %u",
					    first, nr);
			KUNIT_EXPECT_EQ(test, imp->nr_ranges, ranges);
			for (i = 0; i < imp->nr_ranges; i++)
				KUNIT_EXPECT_EQ(test, imp->ranges[i].kind,
						DMA_BUF_PFN_RAM);
			mock_unmap(imp);
		}
	}
	mock_detach(imp);
}

/* One bad page at a time, a tail page of a compound page included */
static void test_ram_hwpoison(struct kunit *test)
{
	const struct ram_param *param = test->param_value;
	unsigned int bad, first, nr;
	struct mock_importer *imp;
	int ret;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "needs MEMORY_FAILURE");

	imp = ram_attached(test, param->ops);
	for (bad = 0; bad < NR_PAGES; bad++) {
		for (first = 0; first < NR_PAGES; first++) {
			for (nr = 1; nr <= NR_PAGES - first; nr++) {
				bool hit = bad >= first && bad < first + nr;

				SetPageHWPoison(ram->pages[bad]);
				ret = mock_map_pages(imp, first, nr);
				ClearPageHWPoison(ram->pages[bad]);

				KUNIT_EXPECT_EQ_MSG(test, ret,
						    hit ? -EHWPOISON : 0,
						    "bad %u pages %u + %u", bad,
						    first, nr);
				KUNIT_EXPECT_EQ(test, imp->attach->mapped, !ret);
				if (!ret)
					mock_unmap(imp);
			}
		}
	}
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, NR_PAGES));
	mock_unmap(imp);
	mock_detach(imp);
}

static void test_ram_record_fails(struct kunit *test)
{
	const struct ram_param *param = test->param_value;
	struct mock_importer *imp;
	unsigned int i, ranges;

	imp = ram_attached(test, param->ops);
	KUNIT_ASSERT_EQ(test, 0, mock_map_pages(imp, 0, NR_PAGES));
	ranges = imp->nr_ranges;
	mock_unmap(imp);

	for (i = 0; i < ranges; i++) {
		imp->fail_at = i;
		imp->fail_ret = -ENOSPC;
		KUNIT_EXPECT_EQ(test, -ENOSPC, mock_map_pages(imp, 0, NR_PAGES));
		KUNIT_EXPECT_EQ(test, imp->nr_ranges, i);
	}
	mock_detach(imp);
}

static void test_ram_offer(struct kunit *test)
{
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);

	dma_buf_pfn_offer_ram(&exp_info, &ram_pages_ops);
	if (IS_ENABLED(CONFIG_HIGHMEM)) {
		KUNIT_EXPECT_NULL(test, exp_info.pfn.ops);
		KUNIT_EXPECT_EQ(test, exp_info.pfn.kinds, 0);
		return;
	}
	KUNIT_EXPECT_PTR_EQ(test, exp_info.pfn.ops, &ram_pages_ops);
	KUNIT_EXPECT_EQ(test, exp_info.pfn.model, DMA_BUF_PFN_PINNED);
	KUNIT_EXPECT_EQ(test, exp_info.pfn.kinds, DMA_BUF_PFN_RAM);
}

static struct kunit_case dma_buf_pfn_ram_cases[] = {
	KUNIT_CASE_PARAM(test_ram, ram_gen_params),
	KUNIT_CASE_PARAM(test_ram_hwpoison, ram_gen_params),
	KUNIT_CASE_PARAM(test_ram_record_fails, ram_gen_params),
	KUNIT_CASE(test_ram_offer),
	{}
};

static struct kunit_suite dma_buf_pfn_ram_suite = {
	.name = "dma_buf_pfn_ram",
	.init = ram_init,
	.exit = ram_exit,
	.test_cases = dma_buf_pfn_ram_cases,
};

kunit_test_suite(dma_buf_pfn_ram_suite);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mock exporter and a mock importer for the tests of the PFN attachment
 *
 * A fixture owns all of them. Its exit checks that nothing of the test is left,
 * and takes down what is left, so that a failed test does not make others fail.
 */
#include <linux/bug.h>
#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/pci-p2pdma.h>

#include "st-dma-buf-pfn-mock.h"

static struct mock_fixture *mock_fixture(struct kunit *test)
{
	return test->priv;
}

/*
 * How many warnings the misuse that @warning stands for causes now. Where
 * WARN_ON_ONCE() is not a trap, a warning that is suppressed is used up all the
 * same, and only the first one of each place is seen.
 */
unsigned int mock_expected_warnings(enum mock_warning warning)
{
#ifndef __WARN_FLAGS
	static bool seen[MOCK_NR_WARNINGS];
#endif

	if (!IS_ENABLED(CONFIG_DMABUF_DEBUG) || !IS_ENABLED(CONFIG_BUG))
		return 0;
#ifndef __WARN_FLAGS
	if (seen[warning])
		return 0;
	seen[warning] = true;
#endif
	return 1;
}

/* The exporter */

static int mock_exporter_attach(struct dma_buf_pfn_attachment *attach)
{
	struct mock_exporter *exp = attach->dmabuf->priv;

	if (exp->attach_ret)
		return exp->attach_ret;

	attach->exporter_priv = exp;
	atomic_inc(&exp->attachments);
	return 0;
}

static void mock_exporter_detach(struct dma_buf_pfn_attachment *attach)
{
	struct mock_exporter *exp = attach->dmabuf->priv;

	KUNIT_EXPECT_PTR_EQ(exp->test, attach->exporter_priv, (void *)exp);
	KUNIT_EXPECT_FALSE(exp->test, attach->mapped);
	atomic_dec(&exp->attachments);
	atomic_inc(&exp->detach_calls);
}

static int mock_emit(struct mock_exporter *exp,
		     struct dma_buf_pfn_attachment *attach,
		     const struct dma_buf_pfn_range *range)
{
	int ret;

	ret = dma_buf_pfn_emit(attach, range);
	if (exp->nr_emit < ARRAY_SIZE(exp->emit_ret))
		exp->emit_ret[exp->nr_emit] = ret;
	exp->nr_emit++;

	if (exp->invalidate_in_map && exp->nr_emit == 1)
		dma_buf_invalidate_mappings(exp->dmabuf);

	return exp->ignore_error ? 0 : ret;
}

static int mock_emit_script(struct mock_exporter *exp,
			    struct dma_buf_pfn_attachment *attach)
{
	unsigned int i;
	int ret;

	for (i = 0; i < exp->nr_script; i++) {
		ret = mock_emit(exp, attach, &exp->script[i]);
		if (ret)
			return ret;
	}
	return 0;
}

/* Emits what is contiguous and of one kind as one range */
static int mock_emit_pages(struct mock_exporter *exp,
			   struct dma_buf_pfn_attachment *attach,
			   unsigned int first, unsigned int end)
{
	struct dma_buf_pfn_range range;
	unsigned int i, next;
	int ret;

	for (i = first; i < end; i = next) {
		next = i + 1;
		while (next < end && exp->kind[next] == exp->kind[i] &&
		       exp->paddr[next] == exp->paddr[next - 1] + PAGE_SIZE &&
		       !(exp->cut && !(prandom_u32_state(exp->cut) & 3)))
			next++;

		range.offset = (u64)i << PAGE_SHIFT;
		range.paddr = exp->paddr[i];
		range.length = (u64)(next - i) << PAGE_SHIFT;
		range.kind = exp->kind[i];
		ret = mock_emit(exp, attach, &range);
		if (ret)
			return ret;
	}
	return 0;
}

static int mock_exporter_map(struct dma_buf_pfn_attachment *attach, u64 offset,
			     u64 length)
{
	struct mock_exporter *exp = attach->dmabuf->priv;
	int ret;

	dma_resv_assert_held(exp->dmabuf->resv);

	exp->map_calls++;
	exp->nr_emit = 0;

	if (exp->revoked)
		return -ENODEV;
	if (exp->map_ret)
		return exp->map_ret;

	if (exp->script)
		ret = mock_emit_script(exp, attach);
	else
		ret = mock_emit_pages(exp, attach, offset >> PAGE_SHIFT,
				      (offset + length) >> PAGE_SHIFT);
	if (!ret)
		exp->maps++;
	return ret;
}

static void mock_exporter_unmap(struct dma_buf_pfn_attachment *attach)
{
	struct mock_exporter *exp = attach->dmabuf->priv;

	dma_resv_assert_held(exp->dmabuf->resv);

	exp->unmap_calls++;
	exp->maps--;
}

static int mock_exporter_wait(struct dma_buf_pfn_attachment *attach,
			      bool killable)
{
	struct mock_exporter *exp = attach->dmabuf->priv;

	atomic_inc(&exp->wait_calls);
	exp->wait_killable = killable;
	if (exp->wait_restores)
		mock_restore(exp);
	return exp->wait_ret;
}

const struct dma_buf_pfn_exporter_ops mock_exporter_ops = {
	.attach = mock_exporter_attach,
	.detach = mock_exporter_detach,
	.map = mock_exporter_map,
	.unmap = mock_exporter_unmap,
	.wait = mock_exporter_wait,
};

/* What an exporter has to implement, and nothing else */
const struct dma_buf_pfn_exporter_ops mock_plain_exporter_ops = {
	.map = mock_exporter_map,
	.unmap = mock_exporter_unmap,
};

static struct sg_table *mock_map_dma_buf(struct dma_buf_attachment *attach,
					 enum dma_data_direction dir)
{
	struct p2pdma_provider *provider = attach->importer_priv;

	return dma_buf_pfn_map_sgt(attach, provider, dir);
}

static void mock_unmap_dma_buf(struct dma_buf_attachment *attach,
			       struct sg_table *sgt,
			       enum dma_data_direction dir)
{
	dma_buf_free_sgt(attach, sgt, dir);
}

static int mock_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct mock_exporter *exp = dmabuf->priv;

	return exp->mmap ? exp->mmap(dmabuf, vma) : 0;
}

static void mock_release(struct dma_buf *dmabuf)
{
	struct mock_exporter *exp = dmabuf->priv;

	complete(&exp->released);
}

const struct dma_buf_ops mock_dma_buf_ops = {
	.map_dma_buf = mock_map_dma_buf,
	.unmap_dma_buf = mock_unmap_dma_buf,
	.mmap = mock_mmap,
	.release = mock_release,
};

struct mock_exporter *
mock_export_with(struct kunit *test, const struct dma_buf_pfn_exporter_ops *ops,
		 u32 model, u32 kinds, unsigned int nr_pages, int flags)
{
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	struct mock_exporter *exp;

	KUNIT_ASSERT_LE(test, nr_pages, MOCK_MAX_PAGES);

	exp = kunit_kzalloc(test, sizeof(*exp), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, exp);
	exp->test = test;
	exp->nr_pages = nr_pages;
	init_completion(&exp->released);
	mock_place(exp, 0, nr_pages, SZ_1G,
		   BIT(__ffs(kinds)) | (kinds & DMA_BUF_PFN_PRIVATE));

	exp_info.ops = &mock_dma_buf_ops;
	exp_info.size = (size_t)nr_pages << PAGE_SHIFT;
	exp_info.flags = flags;
	exp_info.priv = exp;
	exp_info.pfn.ops = ops;
	exp_info.pfn.model = ops ? model : 0;
	exp_info.pfn.kinds = ops ? kinds : 0;
	exp->dmabuf = dma_buf_export(&exp_info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, exp->dmabuf);

	list_add_tail(&exp->node, &mock_fixture(test)->exporters);
	return exp;
}

struct mock_exporter *mock_export(struct kunit *test, u32 model, u32 kinds,
				  unsigned int nr_pages)
{
	return mock_export_with(test, &mock_exporter_ops, model, kinds, nr_pages,
				O_RDWR);
}

/* Says where @nr_pages pages of the buffer are, and what they are */
void mock_place(struct mock_exporter *exp, unsigned int page,
		unsigned int nr_pages, phys_addr_t paddr, u32 kind)
{
	for (; nr_pages; nr_pages--, page++, paddr += PAGE_SIZE) {
		exp->paddr[page] = paddr;
		exp->kind[page] = kind;
	}
}

void mock_revoke(struct mock_exporter *exp)
{
	dma_resv_lock(exp->dmabuf->resv, NULL);
	exp->revoked = true;
	dma_buf_invalidate_mappings(exp->dmabuf);
	dma_resv_unlock(exp->dmabuf->resv);
}

void mock_restore(struct mock_exporter *exp)
{
	dma_resv_lock(exp->dmabuf->resv, NULL);
	exp->revoked = false;
	dma_buf_revalidate_mappings(exp->dmabuf);
	dma_resv_unlock(exp->dmabuf->resv);
}

/* The importer */

static int mock_record(struct dma_buf_pfn_attachment *attach,
		       const struct dma_buf_pfn_range *range)
{
	struct mock_importer *imp = attach->importer_priv;

	if (imp->map_in_record) {
		imp->map_in_record = false;
		imp->nested_ret = dma_buf_pfn_map(attach, 0, PAGE_SIZE);
	}

	if (imp->fail_at >= 0 && imp->nr_ranges == imp->fail_at)
		return imp->fail_ret;
	if (imp->nr_ranges == ARRAY_SIZE(imp->ranges))
		return -E2BIG;

	imp->ranges[imp->nr_ranges++] = *range;
	return 0;
}

static void mock_invalidate(struct dma_buf_pfn_attachment *attach)
{
	struct mock_importer *imp = attach->importer_priv;
	struct mock_fixture *fixture = mock_fixture(imp->exp->test);

	imp->invalidates++;
	imp->invalidated_at = ++fixture->clock;
	imp->mapped_at_invalidate = attach->mapped;
	memset(imp->reach, 0, sizeof(imp->reach));
	if (attach->mapped && !imp->forget_unmap)
		dma_buf_pfn_unmap(attach);
}

static void mock_revalidate(struct dma_buf_pfn_attachment *attach)
{
	struct mock_importer *imp = attach->importer_priv;
	struct mock_fixture *fixture = mock_fixture(imp->exp->test);

	imp->revalidates++;
	imp->revalidated_at = ++fixture->clock;
	if (imp->eager && !attach->mapped)
		imp->eager_ret = mock_map_locked(imp, imp->eager_offset,
						 imp->eager_length);
}

const struct dma_buf_pfn_importer_ops mock_importer_ops = {
	.name = "mock",
	.models = DMA_BUF_PFN_MODELS,
	.record = mock_record,
	.invalidate = mock_invalidate,
	.revalidate = mock_revalidate,
};

struct mock_importer *mock_importer(struct kunit *test,
				    struct mock_exporter *exp)
{
	struct mock_importer *imp;

	imp = kunit_kzalloc(test, sizeof(*imp), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, imp);
	imp->exp = exp;
	imp->fail_at = -1;
	list_add_tail(&imp->node, &mock_fixture(test)->importers);
	return imp;
}

int mock_attach(struct mock_importer *imp, u32 kinds, bool writable)
{
	struct dma_buf_pfn_attachment *attach;

	attach = dma_buf_pfn_attach(imp->exp->dmabuf, &mock_importer_ops, kinds,
				    writable, imp);
	if (IS_ERR(attach))
		return PTR_ERR(attach);

	imp->attach = attach;
	return 0;
}

void mock_detach(struct mock_importer *imp)
{
	dma_buf_pfn_detach(imp->attach);
	imp->attach = NULL;
}

/* An importer that takes everything */
struct mock_importer *mock_attached(struct kunit *test,
				    struct mock_exporter *exp)
{
	struct mock_importer *imp = mock_importer(test, exp);

	KUNIT_ASSERT_EQ(test, 0, mock_attach(imp, ALL_KINDS, true));
	return imp;
}

/* Nothing of the ranges is used before the core has agreed to all of them */
int mock_map_locked(struct mock_importer *imp, u64 offset, u64 length)
{
	unsigned int i;
	u64 done;
	int ret;

	imp->nr_ranges = 0;
	ret = dma_buf_pfn_map(imp->attach, offset, length);
	if (ret)
		return ret;

	for (i = 0; i < imp->nr_ranges; i++) {
		const struct dma_buf_pfn_range *range = &imp->ranges[i];

		for (done = 0; done < range->length; done += PAGE_SIZE)
			imp->reach[(range->offset + done) >> PAGE_SHIFT] =
				range->paddr + done;
	}
	return 0;
}

int mock_map(struct mock_importer *imp, u64 offset, u64 length)
{
	struct dma_resv *resv = imp->exp->dmabuf->resv;
	int ret;

	dma_resv_lock(resv, NULL);
	ret = mock_map_locked(imp, offset, length);
	dma_resv_unlock(resv);
	return ret;
}

int mock_map_pages(struct mock_importer *imp, unsigned int page,
		   unsigned int nr_pages)
{
	return mock_map(imp, (u64)page << PAGE_SHIFT,
			(u64)nr_pages << PAGE_SHIFT);
}

void mock_unmap_locked(struct mock_importer *imp)
{
	memset(imp->reach, 0, sizeof(imp->reach));
	dma_buf_pfn_unmap(imp->attach);
}

void mock_unmap(struct mock_importer *imp)
{
	struct dma_resv *resv = imp->exp->dmabuf->resv;

	dma_resv_lock(resv, NULL);
	mock_unmap_locked(imp);
	dma_resv_unlock(resv);
}

/* The fixture */

int mock_init(struct kunit *test)
{
	struct mock_fixture *fixture;

	fixture = kunit_kzalloc(test, sizeof(*fixture), GFP_KERNEL);
	if (!fixture)
		return -ENOMEM;

	INIT_LIST_HEAD(&fixture->exporters);
	INIT_LIST_HEAD(&fixture->importers);
	test->priv = fixture;
	return 0;
}

void mock_exit(struct kunit *test)
{
	struct mock_fixture *fixture = mock_fixture(test);
	struct mock_exporter *exp;
	struct mock_importer *imp;

	if (!fixture)
		return;

	list_for_each_entry(imp, &fixture->importers, node) {
		KUNIT_EXPECT_NULL_MSG(test, imp->attach, "importer left behind");
		if (!imp->attach)
			continue;
		if (imp->attach->mapped)
			mock_unmap(imp);
		mock_detach(imp);
	}

	list_for_each_entry(exp, &fixture->exporters, node) {
		KUNIT_EXPECT_TRUE_MSG(test,
				      list_empty(&exp->dmabuf->pfn_attachments),
				      "attachment left in the list");
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&exp->attachments), 0,
				    "attach and detach not balanced");
		KUNIT_EXPECT_EQ_MSG(test, exp->maps, 0,
				    "map and unmap not balanced");
		KUNIT_EXPECT_EQ_MSG(test, file_count(exp->dmabuf->file), 1,
				    "reference on the buffer left");
		dma_buf_put(exp->dmabuf);
	}

	/* The last reference of a kernel thread is dropped by a work item */
	flush_delayed_fput();
	list_for_each_entry(exp, &fixture->exporters, node)
		KUNIT_EXPECT_NE_MSG(test, 0,
				    wait_for_completion_timeout(&exp->released,
								10 * HZ),
				    "buffer not released");
}

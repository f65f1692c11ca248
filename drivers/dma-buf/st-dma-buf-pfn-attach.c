// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may attach to a buffer, and what dma_buf_export() takes
 */
#include <kunit/device.h>
#include <linux/file.h>
#include <linux/path.h>

#include "dma-buf-pfn.h"
#include "st-dma-buf-pfn-mock.h"

#define NR_KINDS	BIT(5)

/* The Nth of all sets of kinds */
static u32 nth_kinds(unsigned int n)
{
	return (n & DMA_BUF_PFN_KINDS) | (n & BIT(4) ? DMA_BUF_PFN_PRIVATE : 0);
}

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

	/* There is no importer that only writes */
	exp = mock_export_with(test, &mock_exporter_ops, DMA_BUF_PFN_REVOCABLE,
			       DMA_BUF_PFN_MMIO, 1, O_WRONLY);
	imp = mock_importer(test, exp);
	KUNIT_EXPECT_EQ(test, -EACCES, mock_attach(imp, ALL_KINDS, true));
	KUNIT_EXPECT_EQ(test, -EACCES, mock_attach(imp, ALL_KINDS, false));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&exp->attachments));

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
	KUNIT_EXPECT_EQ(test, 0, dma_buf_pfn_wait(imp->attach, false));
	KUNIT_EXPECT_EQ(test, 0, mock_map_pages(imp, 0, 2));
	mock_unmap(imp);
	mock_detach(imp);
}

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

/* Who keeps the path only, as O_PATH does, keeps the buffer, and not the file */
static void test_path_outlives_file(struct kunit *test)
{
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	struct mock_exporter *exp;
	struct dma_buf *dmabuf;
	struct path path;

	exp = kunit_kzalloc(test, sizeof(*exp), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, exp);
	init_completion(&exp->released);
	exp_info.ops = &mock_dma_buf_ops;
	exp_info.size = PAGE_SIZE;
	exp_info.priv = exp;
	dmabuf = dma_buf_export(&exp_info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dmabuf);

	path = dmabuf->file->f_path;
	path_get(&path);
	dma_buf_put(dmabuf);
	flush_delayed_fput();
	KUNIT_EXPECT_FALSE(test, completion_done(&exp->released));
	KUNIT_EXPECT_NULL(test, dmabuf->file);
	KUNIT_EXPECT_NULL(test, get_file_active(&dmabuf->file));

	path_put(&path);
	KUNIT_EXPECT_TRUE(test, completion_done(&exp->released));
}

static struct kunit_case dma_buf_pfn_attach_cases[] = {
	KUNIT_CASE(test_attach_models),
	KUNIT_CASE(test_attach_kinds),
	KUNIT_CASE(test_attach_no_ranges),
	KUNIT_CASE(test_attach_access),
	KUNIT_CASE(test_attach_object),
	KUNIT_CASE(test_attach_refused_by_exporter),
	KUNIT_CASE(test_attach_importer_ops),
	KUNIT_CASE(test_plain_exporter),
	KUNIT_CASE(test_private),
	KUNIT_CASE_PARAM(test_export, export_gen_params),
	KUNIT_CASE(test_path_outlives_file),
	{}
};

static struct kunit_suite dma_buf_pfn_attach_suite = {
	.name = "dma_buf_pfn_attach",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_attach_cases,
};

kunit_test_suite(dma_buf_pfn_attach_suite);

MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the user of a machine can see: debugfs and the tracepoints
 */
#include <linux/dma-resv.h>
#include <linux/seq_file.h>
#include <trace/events/dma_buf_pfn.h>

#include "dma-buf-pfn.h"
#include "st-dma-buf-pfn-mock.h"

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

static struct kunit_case dma_buf_pfn_trace_cases[] = {
	KUNIT_CASE(test_describe),
	KUNIT_CASE(test_trace),
	{}
};

static struct kunit_suite dma_buf_pfn_trace_suite = {
	.name = "dma_buf_pfn_trace",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_trace_cases,
};

kunit_test_suite(dma_buf_pfn_trace_suite);

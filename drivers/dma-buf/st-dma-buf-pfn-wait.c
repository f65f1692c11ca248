// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is waited for, and what is not: the fence of a move, the reservation lock,
 * the exporter; and signals
 */
#include <linux/dma-resv.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "st-dma-buf-pfn-mock.h"

static void test_wait(struct kunit *test)
{
	struct mock_exporter *exp;
	struct mock_importer *imp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, 1);
	imp = mock_attached(test, exp);
	KUNIT_EXPECT_EQ(test, 0, dma_buf_pfn_wait(imp->attach, true));
	KUNIT_EXPECT_TRUE(test, exp->wait_killable);
	exp->wait_ret = -EINTR;
	KUNIT_EXPECT_EQ(test, -EINTR, dma_buf_pfn_wait(imp->attach, false));
	KUNIT_EXPECT_FALSE(test, exp->wait_killable);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&exp->wait_calls));
	mock_detach(imp);
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

static struct kunit_case dma_buf_pfn_wait_cases[] = {
	KUNIT_CASE(test_wait),
	KUNIT_CASE(test_fence_of_move),
	KUNIT_CASE(test_fence_of_others),
	KUNIT_CASE(test_fence_interrupted),
	KUNIT_CASE(test_attach_interrupted),
	{}
};

static struct kunit_suite dma_buf_pfn_wait_suite = {
	.name = "dma_buf_pfn_wait",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_wait_cases,
};

kunit_test_suite(dma_buf_pfn_wait_suite);

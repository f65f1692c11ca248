// SPDX-License-Identifier: GPL-2.0-only
/*
 * Importers that fault against an exporter that takes away and gives back
 *
 * Each importer does what KVM does: it keeps a translation, reads it without the
 * reservation lock, and installs from it under an inner lock if no invalidate
 * has come between. The exporter looks, after each invalidate and as long as it
 * does not give the buffer back, whether anybody can reach it.
 */
#include <linux/delay.h>
#include <linux/dma-resv.h>
#include <linux/kthread.h>
#include <linux/spinlock.h>

#include "st-dma-buf-pfn-mock.h"

#define NR_RACERS	4
#define NR_ROUNDS	100

struct racer {
	struct mock_exporter *exp;
	struct task_struct *task;
	unsigned int nr;

	/* The inner lock, and what it protects */
	spinlock_t lock;
	unsigned long seq;
	phys_addr_t translation;
	phys_addr_t installed;

	/* Of the map that is going on, protected by resv */
	phys_addr_t recorded;

	unsigned int installs;
	unsigned int stale;
	int error;
};

static int race_record(struct dma_buf_pfn_attachment *attach,
		       const struct dma_buf_pfn_range *range)
{
	struct racer *racer = attach->importer_priv;

	racer->recorded = range->paddr;
	return 0;
}

static void race_invalidate(struct dma_buf_pfn_attachment *attach)
{
	struct racer *racer = attach->importer_priv;

	spin_lock(&racer->lock);
	racer->translation = 0;
	racer->installed = 0;
	racer->seq++;
	spin_unlock(&racer->lock);

	if (attach->mapped)
		dma_buf_pfn_unmap(attach);
}

static const struct dma_buf_pfn_importer_ops race_importer_ops = {
	.name = "race",
	.models = DMA_BUF_PFN_MODELS,
	.record = race_record,
	.invalidate = race_invalidate,
};

static int race_resolve(struct racer *racer,
			struct dma_buf_pfn_attachment *attach)
{
	struct dma_resv *resv = racer->exp->dmabuf->resv;
	int ret = 0;

	dma_resv_lock(resv, NULL);
	if (!attach->mapped) {
		ret = dma_buf_pfn_map(attach, 0, PAGE_SIZE);
		if (!ret) {
			spin_lock(&racer->lock);
			racer->translation = racer->recorded;
			spin_unlock(&racer->lock);
		}
	}
	dma_resv_unlock(resv);
	return ret;
}

static int race_fault(struct racer *racer, struct dma_buf_pfn_attachment *attach)
{
	phys_addr_t translation;
	unsigned long seq;
	int ret;

	spin_lock(&racer->lock);
	seq = racer->seq;
	translation = racer->translation;
	spin_unlock(&racer->lock);

	if (!translation) {
		ret = race_resolve(racer, attach);
		if (ret == -ENODEV)
			ret = dma_buf_pfn_wait(attach, false);
		return ret;
	}

	/* Now would be a good moment to take the buffer away */
	usleep_range(1, 20);

	spin_lock(&racer->lock);
	if (racer->seq == seq) {
		racer->installed = translation;
		racer->installs++;
	} else {
		racer->stale++;
	}
	spin_unlock(&racer->lock);
	return 0;
}

static int race_import(void *data)
{
	struct racer *racer = data;
	struct dma_buf *dmabuf = racer->exp->dmabuf;
	struct dma_buf_pfn_attachment *attach;
	unsigned int i;

	while (!kthread_should_stop()) {
		attach = dma_buf_pfn_attach(dmabuf, &race_importer_ops,
					    DMA_BUF_PFN_MMIO, true, racer);
		if (IS_ERR(attach)) {
			racer->error = PTR_ERR(attach);
			break;
		}
		for (i = 0; i < 20 + racer->nr && !racer->error; i++) {
			racer->error = race_fault(racer, attach);
			usleep_range(1, 20);
		}
		dma_resv_lock(dmabuf->resv, NULL);
		race_invalidate(attach);
		dma_resv_unlock(dmabuf->resv);
		dma_buf_pfn_detach(attach);
		if (racer->error)
			break;
	}
	while (!kthread_should_stop())
		msleep(20);
	return 0;
}

/* How many importers can reach what they must not */
static unsigned int race_reached(struct racer *racers, phys_addr_t allowed)
{
	unsigned int i, reached = 0;

	for (i = 0; i < NR_RACERS; i++) {
		spin_lock(&racers[i].lock);
		if (racers[i].installed && racers[i].installed != allowed)
			reached++;
		if (racers[i].translation && racers[i].translation != allowed)
			reached++;
		spin_unlock(&racers[i].lock);
	}
	return reached;
}

static void test_race(struct kunit *test)
{
	unsigned int i, round, away = 0, maps = 0, back = 0;
	unsigned int installs = 0, stale = 0;
	struct mock_exporter *exp;
	struct racer *racers;

	racers = kunit_kcalloc(test, NR_RACERS, sizeof(*racers), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, racers);
	exp = mock_export(test, DMA_BUF_PFN_MOVABLE, DMA_BUF_PFN_MMIO, 1);

	for (i = 0; i < NR_RACERS; i++) {
		spin_lock_init(&racers[i].lock);
		racers[i].exp = exp;
		racers[i].nr = i;
		racers[i].task = kthread_run(race_import, &racers[i],
					     "dma_buf_pfn:%u", i);
		if (IS_ERR(racers[i].task)) {
			KUNIT_FAIL(test, "no thread: %pe", racers[i].task);
			break;
		}
	}

	for (round = 0; round < NR_ROUNDS; round++) {
		mock_revoke(exp);
		away += race_reached(racers, 0);
		usleep_range(1, 20);

		dma_resv_lock(exp->dmabuf->resv, NULL);
		away += race_reached(racers, 0);
		maps += exp->maps;
		mock_place(exp, 0, 1, SZ_1G + (phys_addr_t)round * PAGE_SIZE,
			   DMA_BUF_PFN_MMIO);
		exp->revoked = false;
		dma_buf_revalidate_mappings(exp->dmabuf);
		dma_resv_unlock(exp->dmabuf->resv);
		usleep_range(1, 20);
		back += race_reached(racers, exp->paddr[0]);
		usleep_range(1, 20);
	}

	for (i = 0; i < NR_RACERS && !IS_ERR(racers[i].task); i++) {
		kthread_stop(racers[i].task);
		KUNIT_EXPECT_EQ(test, 0, racers[i].error);
		installs += racers[i].installs;
		stale += racers[i].stale;
	}
	KUNIT_EXPECT_EQ_MSG(test, 0, away, "reached while revoked");
	KUNIT_EXPECT_EQ_MSG(test, 0, maps, "mapped while revoked");
	KUNIT_EXPECT_EQ_MSG(test, 0, back, "reached where it was before");
	KUNIT_EXPECT_GT_MSG(test, installs, 0, "nothing was ever installed");
	KUNIT_EXPECT_GT_MSG(test, stale, 0, "nobody was ever too late");
}

static struct kunit_case dma_buf_pfn_race_cases[] = {
	KUNIT_CASE(test_race),
	{}
};

static struct kunit_suite dma_buf_pfn_race_suite = {
	.name = "dma_buf_pfn_race",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_race_cases,
};

kunit_test_suite(dma_buf_pfn_race_suite);

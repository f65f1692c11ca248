// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sg table that an importer with a device gets
 */
#include <kunit/device.h>
#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>
#include <linux/pci-p2pdma.h>
#include <trace/events/dma_buf_pfn.h>
#include <trace/events/dma_buf_pfn_sgt.h>

#include "st-dma-buf-pfn-mock.h"

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

#ifdef CONFIG_TRACEPOINTS
struct sgt_log {
	struct dma_buf *dmabuf;
	/* What the helper is to the exporter */
	struct dma_buf_pfn_attachment *pfn;
	const struct sg_table *sgt;
	char events[8];
	unsigned int nr;
};

static void log_event(struct sgt_log *log, struct dma_buf *dmabuf, char event)
{
	if (dmabuf == log->dmabuf && log->nr < sizeof(log->events) - 1)
		log->events[log->nr++] = event;
}

static void probe_map(void *data, struct dma_buf_pfn_attachment *attach,
		      u64 offset, u64 length, int ret)
{
	struct sgt_log *log = data;

	if (attach->dmabuf == log->dmabuf)
		log->pfn = attach;
	log_event(log, attach->dmabuf, ret ? 'f' : 'm');
}

static void probe_unmap(void *data, struct dma_buf_pfn_attachment *attach)
{
	log_event(data, attach->dmabuf, 'u');
}

/* Capitals for what is the same attachment, or table, as in the event before */
static void probe_sgt_map(void *data, struct dma_buf_pfn_attachment *pfn,
			  struct dma_buf_attachment *attach,
			  const struct sg_table *sgt)
{
	struct sgt_log *log = data;

	if (attach->dmabuf == log->dmabuf)
		log->sgt = sgt;
	log_event(log, attach->dmabuf, pfn == log->pfn ? 'S' : 's');
}

static void probe_sgt_free(void *data, struct dma_buf_attachment *attach,
			   const struct sg_table *sgt)
{
	struct sgt_log *log = data;

	log_event(log, attach->dmabuf, sgt == log->sgt ? 'F' : 'x');
}

static void begin_log(struct kunit *test, struct sgt_log *log)
{
	KUNIT_EXPECT_EQ(test, 0, register_trace_dma_buf_pfn_map(probe_map, log));
	KUNIT_EXPECT_EQ(test, 0,
			register_trace_dma_buf_pfn_unmap(probe_unmap, log));
	KUNIT_EXPECT_EQ(test, 0,
			register_trace_dma_buf_pfn_sgt_map(probe_sgt_map, log));
	KUNIT_EXPECT_EQ(test, 0,
			register_trace_dma_buf_pfn_sgt_free(probe_sgt_free, log));
}

static void end_log(struct kunit *test, struct sgt_log *log,
		    const char *expected)
{
	unregister_trace_dma_buf_pfn_map(probe_map, log);
	unregister_trace_dma_buf_pfn_unmap(probe_unmap, log);
	unregister_trace_dma_buf_pfn_sgt_map(probe_sgt_map, log);
	unregister_trace_dma_buf_pfn_sgt_free(probe_sgt_free, log);
	tracepoint_synchronize_unregister();

	KUNIT_EXPECT_STREQ(test, log->events, expected);
}
#else
struct sgt_log {
	struct dma_buf *dmabuf;
};

static void begin_log(struct kunit *test, struct sgt_log *log)
{
}

static void end_log(struct kunit *test, struct sgt_log *log,
		    const char *expected)
{
}
#endif

static void test_sgt_refused(struct kunit *test)
{
	static const struct {
		u32 kind;
		int ret;
		unsigned int nr_emit;
		const char *events;
	} cases[] = {
		{ DMA_BUF_PFN_RAM, -EOPNOTSUPP, 1, "f" },
		{ DMA_BUF_PFN_DEVICE_CACHED, -EOPNOTSUPP, 1, "f" },
		/* These get to pci_p2pdma_map_type(), which knows no such device */
		{ DMA_BUF_PFN_MMIO, -EINVAL, NR_SGT_PAGES, "mu" },
		{ DMA_BUF_PFN_MMIO_ANY, -EINVAL, NR_SGT_PAGES, "mu" },
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
		struct sgt_log log = {};

		exp = export_scattered(test, DMA_BUF_PFN_REVOCABLE,
				       cases[i].kind);
		log.dmabuf = exp->dmabuf;
		begin_log(test, &log);
		KUNIT_EXPECT_EQ(test, cases[i].ret,
				map_sgt(exp, dev, provider));
		/* Without a table there is nothing to be told of one */
		end_log(test, &log, cases[i].events);
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
	/* Where some architectures keep the domain of a bus, which is 0 */
	u64 sysdata[16];
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
	struct sgt_log log = {};
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
	fake->bus.sysdata = fake->sysdata;
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
	log.dmabuf = exp->dmabuf;
	begin_log(test, &log);
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
	/* Who follows the events has it from one or the other at any time */
	end_log(test, &log, "mSuF");
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

static struct kunit_case dma_buf_pfn_sgt_cases[] = {
	KUNIT_CASE(test_sgt_refused),
	KUNIT_CASE(test_sgt),
	{}
};

static struct kunit_suite dma_buf_pfn_sgt_suite = {
	.name = "dma_buf_pfn_sgt",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_sgt_cases,
};

kunit_test_suite(dma_buf_pfn_sgt_suite);

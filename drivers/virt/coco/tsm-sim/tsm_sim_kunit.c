// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the simulated TSM: does its device refuse what a device with
 * TDISP refuses, does the PCI core read in its reports what is in them, and does
 * its judge see each rule broken, and none that is not?
 */
#include <kunit/test.h>
#include <linux/bitfield.h>
#include <linux/dma-buf.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include <trace/events/dma_buf_pfn.h>
#include <trace/events/dma_buf_pfn_sgt.h>
#if IS_ENABLED(CONFIG_VFIO_PCI_CORE)
#include <trace/events/vfio_pci_user.h>
#endif

#include "tsm-sim.h"

#define BAR0		0x40000000UL
#define BAR2		0x50000000UL
#define MSIX_CAP	0x40
#define MSIX_VECTORS	300
#define TABLE_AT	0x2000
#define PBA_AT		0x4800
#define TDI_ID		0x10208

/* A function that is a part of no bus that the kernel knows */
struct sim_test {
	struct pci_host_bridge *bridge;
	struct pci_bus bus;
	/* Of the architecture, which may look for the domain here: all 0 */
	u8 sysdata[256] __aligned(8);
	struct pci_dev *pdev;
	struct sim_fn *fn;
	struct pci_tdi *tdi;
	u8 config[256];
	u8 rsp[SIM_MESSAGE_MAX];
	size_t rsp_len;
};

static int config_read(struct pci_bus *bus, unsigned int devfn, int where,
		       int size, u32 *val)
{
	struct sim_test *sim = container_of(bus, struct sim_test, bus);

	*val = 0;
	memcpy(val, sim->config + where, size);
	*val = le32_to_cpu((__force __le32)*val);
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops sim_test_ops = {
	.read = config_read,
};

static void pdev_release(struct device *dev)
{
	kfree(to_pci_dev(dev));
}

static int sim_test_init(struct kunit *test)
{
	struct sim_test *sim = kunit_kzalloc(test, sizeof(*sim), GFP_KERNEL);
	struct pci_dev *pdev;

	KUNIT_ASSERT_NOT_NULL(test, sim);
	test->priv = sim;

	sim->bridge = pci_alloc_host_bridge(0);
	KUNIT_ASSERT_NOT_NULL(test, sim->bridge);
	sim->bus.bridge = &sim->bridge->dev;
	sim->bus.ops = &sim_test_ops;
	sim->bus.sysdata = sim->sysdata;
	sim->bus.number = 3;
	INIT_LIST_HEAD(&sim->bus.devices);

	pdev = kzalloc_obj(*pdev);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	sim->pdev = pdev;
	device_initialize(&pdev->dev);
	pdev->dev.release = pdev_release;
	dev_set_name(&pdev->dev, "sim-test");
	pdev->bus = &sim->bus;
	pdev->devfn = PCI_DEVFN(4, 0);
	pdev->pcie_cap = 0x80;
	pdev->msix_cap = MSIX_CAP;
	pdev->resource[0] = DEFINE_RES_MEM(BAR0, SZ_32K);
	pdev->resource[2] = DEFINE_RES_MEM(BAR2, SZ_1M);
	pdev->resource[4] = DEFINE_RES_MEM(0x60000000, 0x100);
	pdev->resource[5] = DEFINE_RES_IO(0x1000, 0x100);

	put_unaligned_le16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY,
			   sim->config + PCI_COMMAND);
	put_unaligned_le16(MSIX_VECTORS - 1,
			   sim->config + MSIX_CAP + PCI_MSIX_FLAGS);
	put_unaligned_le32(TABLE_AT, sim->config + MSIX_CAP + PCI_MSIX_TABLE);
	put_unaligned_le32(PBA_AT, sim->config + MSIX_CAP + PCI_MSIX_PBA);

	sim->fn = sim_fn_alloc();
	KUNIT_ASSERT_NOT_NULL(test, sim->fn);
	sim->fn->pf0.base_tsm.pdev = pdev;
	sim->fn->pf0.base_tsm.dsm_dev = pdev;
	pdev->tsm = &sim->fn->pf0.base_tsm;
	sim->fn->watch = sim_judge_watch(pdev);
	KUNIT_ASSERT_NOT_NULL(test, sim->fn->watch);
	return 0;
}

static void end(struct sim_test *sim)
{
	if (!IS_ERR_OR_NULL(sim->tdi)) {
		sim_stop(sim->tdi);
		sim_unbind(sim->tdi);
	}
	sim->tdi = NULL;
}

static void sim_test_exit(struct kunit *test)
{
	struct sim_test *sim = test->priv;

	if (!sim)
		return;

	if (sim->fn) {
		end(sim);
		if (sim->fn->watch)
			sim_judge_unwatch(sim->fn->watch);
		sim_fn_free(sim->fn);
	}
	if (sim->pdev)
		put_device(&sim->pdev->dev);
	if (sim->bridge)
		pci_free_host_bridge(sim->bridge);
}

/* The owner of the TDI counts its errors */
struct counting_owner {
	struct pci_tdi_owner owner;
	unsigned int errors;
};

static void count_error(struct pci_tdi_owner *owner)
{
	container_of(owner, struct counting_owner, owner)->errors++;
}

static const struct pci_tdi_owner_ops counting_ops = {
	.error = count_error,
};

static void begin(struct kunit *test, struct counting_owner *owner)
{
	struct sim_test *sim = test->priv;

	owner->owner.ops = &counting_ops;
	owner->errors = 0;
	sim->pdev->tsm->tdi_owner = &owner->owner;
	sim->tdi = sim_bind(sim->pdev, (struct kvm *)0x1000, TDI_ID);
	KUNIT_ASSERT_FALSE(test, IS_ERR(sim->tdi));
}

/* Send a message to the device; return the type of the response */
static u8 message(struct sim_test *sim, u8 type, size_t len, const void *rest)
{
	struct tdisp_header *rsp = (void *)sim->rsp;
	union {
		struct tdisp_header hdr;
		u8 bytes[128];
	} msg = {};

	msg.hdr.version = TDISP_VERSION_1_0;
	msg.hdr.type = type;
	msg.hdr.function = cpu_to_le32(sim_device_function(sim->pdev));
	if (rest)
		memcpy(&msg.hdr + 1, rest, len - sizeof(msg.hdr));

	scoped_guard(mutex, &sim->fn->lock)
		sim->rsp_len = sim_device_message(sim->fn, &msg, len, sim->rsp,
						  sizeof(sim->rsp));
	return rsp->type;
}

static u32 error_code(struct sim_test *sim)
{
	return le32_to_cpu(((struct tdisp_error_rsp *)sim->rsp)->code);
}

#define HDR	sizeof(struct tdisp_header)

static const u8 *nonce(struct sim_test *sim)
{
	return ((struct tdisp_lock_rsp *)sim->rsp)->nonce;
}

static u8 lock(struct sim_test *sim)
{
	return message(sim, TDISP_LOCK_INTERFACE, sizeof(struct tdisp_lock_req),
		       NULL);
}

static u8 start(struct sim_test *sim, const u8 *with)
{
	u8 copy[TDISP_NONCE_SIZE];

	memcpy(copy, with, sizeof(copy));
	return message(sim, TDISP_START_INTERFACE,
		       sizeof(struct tdisp_start_req), copy);
}

static u8 stop(struct sim_test *sim)
{
	return message(sim, TDISP_STOP_INTERFACE, HDR, NULL);
}

static u8 report(struct sim_test *sim, u16 offset, u16 length)
{
	__le16 rest[2] = { cpu_to_le16(offset), cpu_to_le16(length) };

	return message(sim, TDISP_GET_REPORT, sizeof(struct tdisp_report_req),
		       rest);
}

static u8 state(struct sim_test *sim)
{
	if (message(sim, TDISP_GET_STATE, HDR, NULL) !=
	    TDISP_RESPONSE(TDISP_GET_STATE))
		return 0xff;
	return ((struct tdisp_state_rsp *)sim->rsp)->state;
}

static void bring_to(struct kunit *test, enum tdisp_state to)
{
	struct sim_test *sim = test->priv;

	stop(sim);
	if (to != TDISP_CONFIG_UNLOCKED)
		KUNIT_ASSERT_EQ(test, lock(sim),
				TDISP_RESPONSE(TDISP_LOCK_INTERFACE));
	if (to == TDISP_RUN)
		KUNIT_ASSERT_EQ(test, start(sim, nonce(sim)),
				TDISP_RESPONSE(TDISP_START_INTERFACE));
	if (to == TDISP_IN_ERROR) {
		mutex_lock(&sim->fn->lock);
		KUNIT_EXPECT_EQ(test, sim_device_error(sim->fn), 0);
		mutex_unlock(&sim->fn->lock);
	}
	KUNIT_ASSERT_EQ(test, state(sim), to);
}

/* Each request in each state: is it answered, and what is the state then? */
static void each_request_in_each_state(struct kunit *test)
{
	static const struct {
		u8 request;
		/* By the state it comes in, and the state it leads to */
		bool ok[4];
		u8 to[4];
	} cases[] = {
		{ TDISP_LOCK_INTERFACE, { 1, 0, 0, 0 }, { 1, 1, 2, 3 } },
		{ TDISP_START_INTERFACE, { 0, 1, 0, 0 }, { 0, 2, 2, 3 } },
		{ TDISP_STOP_INTERFACE, { 1, 1, 1, 1 }, { 0, 0, 0, 0 } },
		{ TDISP_GET_REPORT, { 0, 1, 1, 0 }, { 0, 1, 2, 3 } },
		{ TDISP_GET_STATE, { 1, 1, 1, 1 }, { 0, 1, 2, 3 } },
		{ TDISP_GET_VERSION, { 1, 1, 1, 1 }, { 0, 1, 2, 3 } },
	};
	struct sim_test *sim = test->priv;

	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		u8 request = cases[i].request;

		for (int from = 0; from < 4; from++) {
			u8 type, expected = TDISP_ERROR;

			if (cases[i].ok[from])
				expected = TDISP_RESPONSE(request);

			bring_to(test, from);
			if (request == TDISP_START_INTERFACE)
				type = start(sim, sim->fn->device.nonce);
			else if (request == TDISP_LOCK_INTERFACE)
				type = lock(sim);
			else if (request == TDISP_GET_REPORT)
				type = report(sim, 0, 100);
			else
				type = message(sim, request, HDR, NULL);

			KUNIT_EXPECT_EQ_MSG(test, type, expected,
					    "%#x in state %d", request, from);
			if (type == TDISP_ERROR)
				KUNIT_EXPECT_EQ(test, error_code(sim),
						TDISP_INVALID_INTERFACE_STATE);
			KUNIT_EXPECT_EQ_MSG(test, state(sim), cases[i].to[from],
					    "%#x in state %d", request, from);
		}
	}
}

static void nonce_is_checked(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	u8 wrong[TDISP_NONCE_SIZE], first[TDISP_NONCE_SIZE];

	lock(sim);
	memcpy(first, nonce(sim), sizeof(first));
	memcpy(wrong, first, sizeof(wrong));
	wrong[TDISP_NONCE_SIZE - 1] ^= 0x80;
	KUNIT_EXPECT_EQ(test, start(sim, wrong), TDISP_ERROR);
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_INVALID_NONCE);
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_LOCKED);

	/* One of an earlier lock does not work either */
	stop(sim);
	lock(sim);
	KUNIT_EXPECT_NE(test, memcmp(nonce(sim), first, sizeof(first)), 0);
	KUNIT_EXPECT_EQ(test, start(sim, first), TDISP_ERROR);
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_INVALID_NONCE);
}

static void bad_messages(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	struct tdisp_header msg = {
		.version = TDISP_VERSION_1_0,
		.type = TDISP_GET_STATE,
		.function = cpu_to_le32(sim_device_function(sim->pdev)),
	};

	KUNIT_EXPECT_EQ(test, message(sim, 0x8b, HDR, NULL), TDISP_ERROR);
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_UNSUPPORTED_REQUEST);
	KUNIT_EXPECT_EQ(test, message(sim, TDISP_GET_STATE, HDR + 1, NULL),
			TDISP_ERROR);
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_INVALID_REQUEST);
	KUNIT_EXPECT_EQ(test, message(sim, TDISP_START_INTERFACE, HDR, NULL),
			TDISP_ERROR);
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_INVALID_REQUEST);

	guard(mutex)(&sim->fn->lock);
	msg.version = 0x20;
	sim_device_message(sim->fn, &msg, HDR, sim->rsp, sizeof(sim->rsp));
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_VERSION_MISMATCH);
	msg.version = TDISP_VERSION_1_0;
	msg.function ^= cpu_to_le32(1);
	sim_device_message(sim->fn, &msg, HDR, sim->rsp, sizeof(sim->rsp));
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_INVALID_INTERFACE);
}

static void config_is_locked(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	u8 *command = sim->config + PCI_COMMAND;
	u8 *devctl = sim->config + sim->pdev->pcie_cap + PCI_EXP_DEVCTL;
	u8 *bar = sim->config + PCI_BASE_ADDRESS_2;
	struct counting_owner owner;

	for (int i = 0; i < 4; i++) {
		begin(test, &owner);
		switch (i) {
		case 0:
			*command &= ~PCI_COMMAND_MASTER;
			break;
		case 1:
			*command &= ~PCI_COMMAND_MEMORY;
			break;
		case 2:
			*devctl ^= PCI_EXP_DEVCTL_PAYLOAD_256B;
			break;
		case 3:
			bar[3] ^= 1;
			break;
		}
		KUNIT_EXPECT_EQ_MSG(test, state(sim), TDISP_IN_ERROR, "%d", i);
		KUNIT_EXPECT_EQ(test, owner.errors, 1);
		*command |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
		KUNIT_EXPECT_EQ(test, state(sim), TDISP_IN_ERROR);
		end(sim);
		KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_UNLOCKED);
	}

	/* To set a bit is no change of what was locked, nor is an unlocked one */
	*command &= ~PCI_COMMAND_MASTER;
	begin(test, &owner);
	*command |= PCI_COMMAND_MASTER;
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_LOCKED);
	command[1] |= PCI_COMMAND_INTX_DISABLE >> 8;
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_LOCKED);
	KUNIT_EXPECT_EQ(test, owner.errors, 0);
}

static ssize_t request(struct sim_test *sim, enum pci_tsm_req_scope scope,
		       u8 type, u32 function, size_t len, u64 *code)
{
	struct tdisp_report_req msg = {
		.hdr.version = TDISP_VERSION_1_0,
		.hdr.type = type,
		.hdr.function = cpu_to_le32(function),
		.length = cpu_to_le16(100),
	};

	return sim_request(sim->fn, scope, &msg, len, sim->rsp,
			   sizeof(sim->rsp), code);
}

static void guest_requests(struct kunit *test)
{
	const u32 me = FIELD_PREP(TDISP_FUNCTION_RID, TDI_ID & 0xffff) |
		       FIELD_PREP(TDISP_FUNCTION_SEGMENT, TDI_ID >> 16) |
		       TDISP_FUNCTION_SEGMENT_VALID;
	struct sim_test *sim = test->priv;
	struct tdisp_header *rsp = (void *)sim->rsp;
	struct counting_owner owner;
	u64 code;

	begin(test, &owner);

	/* What the guest may not do, or not so */
	KUNIT_EXPECT_EQ(test, request(sim, PCI_TSM_REQ_STATE_CHANGE,
				      TDISP_LOCK_INTERFACE, me, HDR, &code),
			-EPERM);
	KUNIT_EXPECT_EQ(test, request(sim, PCI_TSM_REQ_INFO,
				      TDISP_START_INTERFACE, me, HDR, &code),
			-EPERM);
	KUNIT_EXPECT_EQ(test, request(sim, PCI_TSM_REQ_STATE_CHANGE,
				      TDISP_GET_STATE, me, HDR, &code), -EPERM);
	KUNIT_EXPECT_EQ(test, request(sim, PCI_TSM_REQ_INFO, TDISP_GET_STATE,
				      me, HDR - 1, &code), -EINVAL);

	/* It is known by the id of the bind, not by that of the host */
	KUNIT_EXPECT_EQ(test, request(sim, PCI_TSM_REQ_INFO, TDISP_GET_STATE,
				      sim_device_function(sim->pdev), HDR, &code),
			sizeof(struct tdisp_error_rsp));
	KUNIT_EXPECT_EQ(test, code, TDISP_INVALID_INTERFACE);
	KUNIT_EXPECT_EQ(test, request(sim, PCI_TSM_REQ_INFO, TDISP_GET_STATE,
				      me, HDR, &code),
			sizeof(struct tdisp_state_rsp));
	KUNIT_EXPECT_EQ(test, code, 0);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(rsp->function), me);

	KUNIT_EXPECT_GT(test, request(sim, PCI_TSM_REQ_INFO, TDISP_GET_REPORT,
				      me, sizeof(struct tdisp_report_req), &code),
			(ssize_t)sizeof(struct tdisp_report_rsp));

	/* The TSM adds the nonce, and may be made to take a wrong one */
	sim->fn->bad_nonce = true;
	request(sim, PCI_TSM_REQ_STATE_CHANGE, TDISP_START_INTERFACE, me, HDR,
		&code);
	KUNIT_EXPECT_EQ(test, code, TDISP_INVALID_NONCE);
	sim->fn->bad_nonce = false;
	request(sim, PCI_TSM_REQ_STATE_CHANGE, TDISP_START_INTERFACE, me, HDR,
		&code);
	KUNIT_EXPECT_EQ(test, code, 0);
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_RUN);
	request(sim, PCI_TSM_REQ_STATE_CHANGE, TDISP_START_INTERFACE, me, HDR,
		&code);
	KUNIT_EXPECT_EQ(test, code, TDISP_INVALID_INTERFACE_STATE);
	KUNIT_EXPECT_EQ(test, owner.errors, 0);

	request(sim, PCI_TSM_REQ_STATE_CHANGE, TDISP_STOP_INTERFACE, me, HDR,
		&code);
	KUNIT_EXPECT_EQ(test, code, 0);
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_UNLOCKED);
	KUNIT_EXPECT_EQ(test, owner.errors, 1);
}

static void faults(struct kunit *test)
{
	static const enum sim_step steps[] = { SIM_BIND, SIM_LOCK, SIM_REPORT };
	struct sim_test *sim = test->priv;
	struct counting_owner owner;

	for (int i = 0; i < ARRAY_SIZE(steps); i++) {
		sim->fn->fail[steps[i]] = EILSEQ;
		KUNIT_EXPECT_EQ(test, PTR_ERR(sim_bind(sim->pdev, (void *)1, 1)),
				-EILSEQ);
		KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_UNLOCKED);
		KUNIT_EXPECT_NULL(test, sim->fn->tdi);
		sim->fn->fail[steps[i]] = 0;
	}

	/* A report of nothing, of another device */
	sim->fn->report = kzalloc(20, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sim->fn->report);
	sim->fn->report_len = 20;
	put_unaligned_le32(1, sim->fn->report + 12);
	KUNIT_EXPECT_EQ(test, PTR_ERR(sim_bind(sim->pdev, (void *)1, 1)),
			-EPROTO);
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_UNLOCKED);
	sim->fn->report_len = 0;

	begin(test, &owner);
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_LOCKED);
	sim_stop(sim->tdi);
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_UNLOCKED);
}

/* What the report has to say of a page, found out page by page */
static u32 flags_of_page(struct sim_fn *fn, u32 bar, u64 page)
{
	bool table = bar == 0 && page + SZ_4K > TABLE_AT &&
		     page < TABLE_AT + MSIX_VECTORS * 16;
	bool pba = bar == 0 && page + SZ_4K > PBA_AT &&
		   page < PBA_AT + (MSIX_VECTORS + 63) / 64 * 8;
	bool private = fn->lock_msix || !(table || pba);
	struct sim_mark *mark;

	list_for_each_entry(mark, &fn->marks, node)
		if (mark->range.bar == bar &&
		    mark->range.offset < page + SZ_4K &&
		    mark->range.offset + mark->range.length > page)
			private = mark->range.flags;

	return (private ? PCI_TDI_RANGE_PRIVATE : 0) |
	       (table ? PCI_TDI_RANGE_MSIX_TABLE : 0) |
	       (pba ? PCI_TDI_RANGE_MSIX_PBA : 0);
}

static void check_ranges(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	const struct pci_tdi_ranges *ranges = sim->fn->tdi->ranges;
	const struct pci_tdi_range *range = ranges->range;
	unsigned int pages = 0;

	for (; range < ranges->range + ranges->nr; range++) {
		KUNIT_EXPECT_TRUE(test, range->bar == 0 || range->bar == 2);
		for (u64 page = 0; page < range->length; page += SZ_4K) {
			u64 offset = range->offset + page;
			u32 flags = flags_of_page(sim->fn, range->bar, offset);

			KUNIT_EXPECT_EQ_MSG(test, range->flags, flags,
					    "BAR %u offset %#llx", range->bar,
					    offset);
			pages++;
		}
	}
	/* Each page of both BARs, and none of those that have none */
	KUNIT_EXPECT_EQ(test, pages, (SZ_32K + SZ_1M) / SZ_4K);
}

static void reports(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	struct counting_owner owner;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 20260102);
	for (int i = 0; i < 200; i++) {
		u32 bar = prandom_u32_state(&rnd) & 2;
		u32 len = bar ? SZ_1M : SZ_32K;
		struct sim_mark *mark;
		u32 offset;

		sim->fn->lock_msix = prandom_u32_state(&rnd) & 1;
		begin(test, &owner);
		check_ranges(test);
		end(sim);

		mark = kzalloc_obj(*mark);
		KUNIT_ASSERT_NOT_NULL(test, mark);
		/* The ranges have 64 bits, which not everyone can divide */
		offset = prandom_u32_state(&rnd) % len;
		mark->range.bar = bar;
		mark->range.offset = offset;
		mark->range.length = 1 + prandom_u32_state(&rnd) % (len - offset);
		mark->range.flags = prandom_u32_state(&rnd) & 1;
		list_add_tail(&mark->node, &sim->fn->marks);
	}
}

static void report_in_parts(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	struct tdisp_report_rsp *rsp = (void *)sim->rsp;
	size_t len = 0, total;
	u8 *whole, *part;

	whole = kunit_kzalloc(test, SIM_MESSAGE_MAX, GFP_KERNEL);
	part = kunit_kzalloc(test, SIM_MESSAGE_MAX, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, whole);
	KUNIT_ASSERT_NOT_NULL(test, part);

	lock(sim);
	KUNIT_ASSERT_EQ(test, report(sim, 0, U16_MAX),
			TDISP_RESPONSE(TDISP_GET_REPORT));
	total = le16_to_cpu(rsp->portion);
	KUNIT_ASSERT_EQ(test, le16_to_cpu(rsp->remainder), 0);
	memcpy(whole, rsp->data, total);

	while (len < total) {
		KUNIT_ASSERT_EQ(test, report(sim, len, 7),
				TDISP_RESPONSE(TDISP_GET_REPORT));
		memcpy(part + len, rsp->data, le16_to_cpu(rsp->portion));
		len += le16_to_cpu(rsp->portion);
		KUNIT_ASSERT_EQ(test, le16_to_cpu(rsp->remainder), total - len);
	}
	KUNIT_EXPECT_MEMEQ(test, whole, part, total);

	KUNIT_EXPECT_EQ(test, report(sim, total, 1), TDISP_ERROR);
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_INVALID_REQUEST);
	KUNIT_EXPECT_EQ(test, report(sim, 0, 0), TDISP_ERROR);
	KUNIT_EXPECT_EQ(test, error_code(sim), TDISP_INVALID_REQUEST);
}

/* A buffer, and an importer of it, as the tracepoints of the core show them */
struct mapping {
	struct dma_buf dmabuf;
	struct dma_buf_pfn_attachment attach;
};

static const struct dma_buf_pfn_importer_ops mapping_ops = {
	.name = "test",
};

static struct mapping *new_mapping(struct kunit *test, u32 kinds)
{
	struct mapping *mapping = kunit_kzalloc(test, sizeof(*mapping),
						GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mapping);
	mapping->dmabuf.pfn.kinds = kinds;
	mapping->attach.dmabuf = &mapping->dmabuf;
	mapping->attach.ops = &mapping_ops;
	return mapping;
}

/* Map one range; @ret is what becomes of it */
static struct mapping *map_ret(struct kunit *test, u64 start, u64 length,
			       u32 kind, int ret)
{
	struct mapping *mapping = new_mapping(test, kind);
	struct dma_buf_pfn_range range = {
		.paddr = start,
		.length = length,
		.kind = kind,
	};

	trace_dma_buf_pfn_range(&mapping->attach, &range);
	trace_dma_buf_pfn_map(&mapping->attach, 0, length, ret);
	return mapping;
}

#define SHARED	DMA_BUF_PFN_MMIO
#define PRIVATE	(DMA_BUF_PFN_MMIO | DMA_BUF_PFN_PRIVATE)

static struct mapping *map(struct kunit *test, u64 start, u64 length, u32 kind)
{
	return map_ret(test, start, length, kind, 0);
}

static void unmap(struct mapping *mapping)
{
	trace_dma_buf_pfn_unmap(&mapping->attach);
}

/* So many new violations, and everything was recorded */
#define EXPECT_VIOLATIONS(test, nr)					\
	do {								\
		struct kunit *_test = (test);				\
		unsigned long _unseen;					\
									\
		KUNIT_EXPECT_EQ(_test, nr,				\
				sim_judge_violations(&_unseen));	\
		KUNIT_EXPECT_EQ(_test, 0, _unseen);			\
		sim_judge_reset();					\
	} while (0)

/* BAR2 is private, and so is BAR0 but for the MSI-X table and bits */
static void judge_importers(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	struct counting_owner owner;
	struct mapping *shared, *private, *table, *other, *mixed;

	sim_judge_reset();

	/* What is there when it is bound */
	shared = map(test, BAR2, SZ_4K, SHARED);
	table = map(test, BAR0 + TABLE_AT, SZ_4K, SHARED);
	other = map(test, BAR2 + SZ_1M, SZ_1M, SHARED);
	EXPECT_VIOLATIONS(test, 0);
	begin(test, &owner);
	EXPECT_VIOLATIONS(test, 1);
	end(sim);
	unmap(shared);
	begin(test, &owner);
	EXPECT_VIOLATIONS(test, 0);

	/* What comes while it is bound: the first page, the last, all, parts */
	unmap(map(test, BAR2, SZ_4K, SHARED));
	EXPECT_VIOLATIONS(test, 1);
	unmap(map(test, BAR2 + SZ_1M - SZ_4K, SZ_4K, SHARED));
	EXPECT_VIOLATIONS(test, 1);
	unmap(map(test, BAR2 - SZ_1M, SZ_4M, SHARED));
	EXPECT_VIOLATIONS(test, 1);
	unmap(map(test, BAR0 + TABLE_AT - SZ_4K, SZ_8K, SHARED));
	EXPECT_VIOLATIONS(test, 1);
	unmap(map(test, BAR0 + TABLE_AT, SZ_4K, SHARED));
	unmap(map(test, BAR2, SZ_1M, PRIVATE));
	EXPECT_VIOLATIONS(test, 0);
	unmap(map(test, BAR0 + TABLE_AT, SZ_4K, PRIVATE));
	EXPECT_VIOLATIONS(test, 1);
	unmap(map(test, BAR0, SZ_32K, PRIVATE));
	EXPECT_VIOLATIONS(test, 1);

	/* What is none: it failed, or is memory of the machine */
	map_ret(test, BAR2, SZ_4K, SHARED, -ENOMEM);
	map_ret(test, BAR2, SZ_4K, DMA_BUF_PFN_RAM, 0);
	EXPECT_VIOLATIONS(test, 0);

	/* A buffer that has both is mapped until it is unmapped */
	end(sim);
	mixed = map(test, BAR2, SZ_4K, SHARED);
	mixed->dmabuf.pfn.kinds |= DMA_BUF_PFN_RAM;
	unmap(mixed);
	begin(test, &owner);
	EXPECT_VIOLATIONS(test, 0);

	/* To remove a private mapping is wrong while the TDI runs */
	private = map(test, BAR2, SZ_1M, PRIVATE);
	bring_to(test, TDISP_RUN);
	unmap(table);
	EXPECT_VIOLATIONS(test, 0);
	unmap(private);
	EXPECT_VIOLATIONS(test, 1);
	private = map(test, BAR2, SZ_1M, PRIVATE);
	sim_stop(sim->tdi);
	unmap(private);
	EXPECT_VIOLATIONS(test, 0);

	/* And to have one is, when the TDI is freed, or there is none */
	private = map(test, BAR2, SZ_1M, PRIVATE);
	end(sim);
	EXPECT_VIOLATIONS(test, 1);
	unmap(private);
	unmap(map(test, BAR2, SZ_4K, PRIVATE));
	EXPECT_VIOLATIONS(test, 1);

	unmap(other);
	EXPECT_VIOLATIONS(test, 0);
}

/* What the driver of another device has is mapped for as long as its sg table is */
static void judge_sg_tables(struct kunit *test)
{
	static struct dma_buf_attachment attach[2];
	static struct sg_table sgt[2];
	struct sim_test *sim = test->priv;
	struct counting_owner owner;
	struct mapping *mapping[2];

	sim_judge_reset();
	mapping[0] = map(test, BAR2, SZ_4K, SHARED);
	mapping[1] = map(test, BAR0 + TABLE_AT, SZ_4K, SHARED);
	for (int i = 0; i < ARRAY_SIZE(mapping); i++) {
		attach[i].dmabuf = &mapping[i]->dmabuf;
		attach[i].dev = &sim->pdev->dev;
		trace_dma_buf_pfn_sgt_map(&mapping[i]->attach, &attach[i],
					  &sgt[i]);
		unmap(mapping[i]);
	}
	EXPECT_VIOLATIONS(test, 0);

	/* One of two is private then */
	begin(test, &owner);
	EXPECT_VIOLATIONS(test, 1);
	end(sim);
	trace_dma_buf_pfn_sgt_free(&attach[0], &sgt[0]);
	begin(test, &owner);
	EXPECT_VIOLATIONS(test, 0);

	/* And one that is made while it is bound is seen to be, once */
	mapping[0] = map(test, BAR2, SZ_4K, SHARED);
	attach[0].dmabuf = &mapping[0]->dmabuf;
	trace_dma_buf_pfn_sgt_map(&mapping[0]->attach, &attach[0], &sgt[0]);
	unmap(mapping[0]);
	EXPECT_VIOLATIONS(test, 1);
	end(sim);
	trace_dma_buf_pfn_sgt_free(&attach[0], &sgt[0]);
	trace_dma_buf_pfn_sgt_free(&attach[1], &sgt[1]);
	EXPECT_VIOLATIONS(test, 0);
}

static void judge_stop(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	struct counting_owner owner;

	sim_judge_reset();
	begin(test, &owner);
	end(sim);
	EXPECT_VIOLATIONS(test, 0);

	begin(test, &owner);
	sim_unbind(sim->tdi);
	sim->tdi = NULL;
	EXPECT_VIOLATIONS(test, 1);
	KUNIT_EXPECT_EQ(test, state(sim), TDISP_CONFIG_UNLOCKED);
}

static void judge_unseen(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	struct dma_buf_attachment attach = { .dev = &sim->pdev->dev };
	struct sg_table sgt = {};
	struct mapping *mapping;
	unsigned long unseen;

	sim_judge_reset();
	unmap(new_mapping(test, SHARED));
	KUNIT_EXPECT_EQ(test, 0, sim_judge_violations(&unseen));
	KUNIT_EXPECT_EQ(test, 1, unseen);
	unmap(new_mapping(test, DMA_BUF_PFN_RAM));
	sim_judge_violations(&unseen);
	KUNIT_EXPECT_EQ(test, 1, unseen);

	/* An sg table that is older than this, and one of memory */
	mapping = new_mapping(test, SHARED);
	attach.dmabuf = &mapping->dmabuf;
	trace_dma_buf_pfn_sgt_free(&attach, &sgt);
	sim_judge_violations(&unseen);
	KUNIT_EXPECT_EQ(test, 2, unseen);
	mapping->dmabuf.pfn.kinds = DMA_BUF_PFN_RAM;
	trace_dma_buf_pfn_sgt_free(&attach, &sgt);
	sim_judge_violations(&unseen);
	KUNIT_EXPECT_EQ(test, 2, unseen);
	sim_judge_reset();
}

/* As there is no room for it, or for the copy of it that an sg table is */
static void judge_lost(struct kunit *test)
{
	struct sim_test *sim = test->priv;
	struct dma_buf_attachment attach = { .dev = &sim->pdev->dev };
	struct dma_buf_pfn_range range = { .length = SZ_4K, .kind = SHARED };
	struct mapping *mapping = new_mapping(test, SHARED);
	struct sg_table sgt = {};
	unsigned long unseen = 0;
	int room = 0;

	sim_judge_reset();
	attach.dmabuf = &mapping->dmabuf;
	while (!unseen && room < SZ_1M) {
		trace_dma_buf_pfn_range(&mapping->attach, &range);
		sim_judge_violations(&unseen);
		room++;
	}
	KUNIT_EXPECT_EQ(test, 1, unseen);
	KUNIT_EXPECT_GT(test, room, 2);
	trace_dma_buf_pfn_map(&mapping->attach, 0, SZ_4K, 0);
	trace_dma_buf_pfn_sgt_map(&mapping->attach, &attach, &sgt);
	sim_judge_violations(&unseen);
	KUNIT_EXPECT_EQ(test, room, unseen);

	/* It may still be mapped when all that is known of is not */
	unmap(mapping);
	sim_judge_reset();
	KUNIT_EXPECT_EQ(test, 0, sim_judge_violations(&unseen));
	KUNIT_EXPECT_EQ(test, room, unseen);
	mapping = map(test, BAR2, SZ_4K, SHARED);
	unmap(mapping);
	sim_judge_reset();
	sim_judge_violations(&unseen);
	KUNIT_EXPECT_EQ(test, room, unseen);

	/* Until this is loaded again */
	sim_judge_exit();
	KUNIT_ASSERT_EQ(test, 0, sim_judge_init());
	EXPECT_VIOLATIONS(test, 0);
}

static void judge_users(struct kunit *test)
{
#if IS_ENABLED(CONFIG_VFIO_PCI_CORE)
	struct sim_test *sim = test->priv;
	struct counting_owner owner;

	sim_judge_reset();
	trace_vfio_pci_user_map(sim->pdev, BAR2, SZ_4K);
	begin(test, &owner);
	EXPECT_VIOLATIONS(test, 1);
	end(sim);
	trace_vfio_pci_user_zap(sim->pdev);
	begin(test, &owner);
	EXPECT_VIOLATIONS(test, 0);
	trace_vfio_pci_user_map(sim->pdev, BAR0 + TABLE_AT, SZ_4K);
	EXPECT_VIOLATIONS(test, 0);
	trace_vfio_pci_user_map(sim->pdev, BAR2 + SZ_1M - SZ_4K, SZ_4K);
	EXPECT_VIOLATIONS(test, 1);
	end(sim);

	/* All of it is allowed without a TDI */
	trace_vfio_pci_user_map(sim->pdev, BAR2, SZ_4K);
	EXPECT_VIOLATIONS(test, 0);
#else
	kunit_skip(test, "VFIO is not there");
#endif
}

static struct kunit_case sim_cases[] = {
	KUNIT_CASE(each_request_in_each_state),
	KUNIT_CASE(nonce_is_checked),
	KUNIT_CASE(bad_messages),
	KUNIT_CASE(config_is_locked),
	KUNIT_CASE(guest_requests),
	KUNIT_CASE(faults),
	KUNIT_CASE_SLOW(reports),
	KUNIT_CASE(report_in_parts),
	KUNIT_CASE(judge_importers),
	KUNIT_CASE(judge_sg_tables),
	KUNIT_CASE(judge_stop),
	KUNIT_CASE(judge_unseen),
	KUNIT_CASE(judge_lost),
	KUNIT_CASE(judge_users),
	{}
};

static struct kunit_suite sim_suite = {
	.name = "tsm_sim",
	.init = sim_test_init,
	.exit = sim_test_exit,
	.test_cases = sim_cases,
};

kunit_test_suite(sim_suite);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TSM's side: the operations of a TSM driver, and what its firmware would
 * do. It knows of the device what TDISP messages say.
 *
 * Requests of a guest are TDISP messages as well, addressed by the id that the
 * TDI was bound with. What only a TSM may know or do is left out or refused: the
 * nonce of START is added here, and LOCK comes with the bind.
 *
 * Locking: the operations run under the DSM lock, so they do not meet each
 * other. sim_fn::lock is for those that are not operations, specifically tests
 * that break something; it is released between two messages.
 */
#include <linux/bitfield.h>
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "tsm-sim.h"

const char * const sim_step_name[SIM_NR_STEPS] = {
	[SIM_BIND] = "bind",
	[SIM_LOCK] = "lock",
	[SIM_REPORT] = "report",
	[SIM_RANGES] = "ranges",
	[SIM_START] = "start",
	[SIM_STOP] = "stop",
	[SIM_UNBIND] = "unbind",
	[SIM_GUEST_REQ] = "guest_req",
};

/* errno, as a positive number, that the next connect fails with */
u32 sim_fail_connect;

/*
 * Lose time and fail, as a test wants it. What cannot fail ignores the result. The
 * test can end it early by taking the delay away.
 */
static int step(struct sim_fn *fn, enum sim_step step)
{
	ktime_t start = ktime_get();
	u32 error;

	while (ktime_ms_delta(ktime_get(), start) < READ_ONCE(fn->delay[step])) {
		if (fatal_signal_pending(current) && !READ_ONCE(fn->stubborn))
			return -EINTR;
		msleep(20);
	}
	error = READ_ONCE(fn->fail[step]);
	return error <= MAX_ERRNO ? -(int)error : -EIO;
}

/*
 * Send a message to the device, and expect the response to it, of @rsp_len at
 * least. @rsp has room for @rsp_size bytes.
 */
static int send(struct sim_fn *fn, u8 type, void *req, size_t req_len,
		void *rsp, size_t rsp_size, size_t rsp_len)
{
	struct tdisp_header *hdr = req, *rsp_hdr = rsp;
	size_t len;

	hdr->version = TDISP_VERSION_1_0;
	hdr->type = type;
	hdr->function = cpu_to_le32(sim_device_function(sim_pdev(fn)));

	scoped_guard(mutex, &fn->lock)
		len = sim_device_message(fn, req, req_len, rsp, rsp_size);

	if (rsp_hdr->type == TDISP_RESPONSE(type) && len >= rsp_len)
		return 0;

	if (rsp_hdr->type == TDISP_ERROR) {
		struct tdisp_error_rsp *error = rsp;

		pci_dbg(sim_pdev(fn), "request %#x: error %#x\n", type,
			le32_to_cpu(error->code));
	}
	return -EIO;
}

static int send_lock(struct sim_fn *fn, struct sim_tdi *tdi, void *rsp)
{
	struct tdisp_lock_rsp *lock_rsp = rsp;
	struct tdisp_lock_req req = {};
	int rc;

	/* Any page will do, so that nobody can take addresses for real ones */
	tdi->reporting_offset = get_random_u64() & ~(u64)(SZ_4K - 1);
	req.flags = cpu_to_le16(READ_ONCE(fn->lock_msix) ? TDISP_LOCK_MSIX : 0);
	req.reporting_offset = cpu_to_le64(tdi->reporting_offset);
	rc = send(fn, TDISP_LOCK_INTERFACE, &req, sizeof(req), rsp,
		  SIM_MESSAGE_MAX, sizeof(*lock_rsp));
	if (rc)
		return rc;

	memcpy(tdi->nonce, lock_rsp->nonce, sizeof(tdi->nonce));
	return 0;
}

/* Works in each state */
static void send_stop(struct sim_fn *fn)
{
	struct tdisp_error_rsp rsp;
	struct tdisp_header req = {};

	send(fn, TDISP_STOP_INTERFACE, &req, sizeof(req), &rsp, sizeof(rsp),
	     sizeof(rsp.hdr));
}

/* Fetch the report in as many parts as it takes */
static int send_report(struct sim_fn *fn, struct sim_tdi *tdi, void *rsp)
{
	u8 *report __free(kvfree) = NULL;
	struct tdisp_report_rsp *report_rsp = rsp;
	struct pci_tdi_ranges *ranges;
	size_t len = 0, size = 0;

	do {
		struct tdisp_report_req req = {
			.offset = cpu_to_le16(len),
			.length = cpu_to_le16(U16_MAX),
		};
		size_t portion;
		int rc;

		rc = send(fn, TDISP_GET_REPORT, &req, sizeof(req), rsp,
			  SIM_MESSAGE_MAX, sizeof(*report_rsp));
		if (rc)
			return rc;

		portion = le16_to_cpu(report_rsp->portion);
		if (!report) {
			size = portion + le16_to_cpu(report_rsp->remainder);
			report = kvzalloc(size, GFP_KERNEL);
			if (!report)
				return -ENOMEM;
		}
		if (!portion || portion > size - len)
			return -EPROTO;
		memcpy(report + len, report_rsp->data, portion);
		len += portion;
	} while (report_rsp->remainder);

	ranges = pci_tdi_report_ranges(sim_pdev(fn), report, len,
				       tdi->reporting_offset);
	if (IS_ERR(ranges))
		return PTR_ERR(ranges);

	tdi->ranges = ranges;
	return 0;
}

static void set_tdi(struct sim_fn *fn, struct sim_tdi *tdi)
{
	guard(mutex)(&fn->lock);
	fn->tdi = tdi;
}

static void sim_tdi_free(struct sim_tdi *tdi)
{
	kvfree(tdi->ranges);
	kfree_sensitive(tdi);
}

struct pci_tdi *sim_bind(struct pci_dev *pdev, struct kvm *kvm, u32 tdi_id)
{
	void *rsp __free(kfree) = kzalloc(SIM_MESSAGE_MAX, GFP_KERNEL);
	struct sim_fn *fn = to_sim_fn(pdev->tsm);
	struct sim_tdi *tdi;
	int rc;

	if (!rsp)
		return ERR_PTR(-ENOMEM);

	rc = step(fn, SIM_BIND);
	if (rc)
		return ERR_PTR(rc);

	tdi = kzalloc_obj(*tdi);
	if (!tdi)
		return ERR_PTR(-ENOMEM);

	pci_tsm_tdi_constructor(pdev, &tdi->tdi, kvm, tdi_id);
	set_tdi(fn, tdi);

	rc = step(fn, SIM_LOCK) ?: send_lock(fn, tdi, rsp);
	if (!rc) {
		rc = step(fn, SIM_REPORT) ?: send_report(fn, tdi, rsp) ?:
		     sim_judge_bind(fn->watch, tdi->ranges);
		if (rc)
			send_stop(fn);
	}
	if (rc) {
		set_tdi(fn, NULL);
		sim_tdi_free(tdi);
		return ERR_PTR(rc);
	}

	return &tdi->tdi;
}

void sim_stop(struct pci_tdi *pci_tdi)
{
	struct sim_tdi *tdi = container_of(pci_tdi, struct sim_tdi, tdi);
	struct sim_fn *fn = to_sim_fn(pci_tdi->pdev->tsm);

	step(fn, SIM_STOP);
	send_stop(fn);
	tdi->stopped = true;
}

void sim_unbind(struct pci_tdi *pci_tdi)
{
	struct sim_tdi *tdi = container_of(pci_tdi, struct sim_tdi, tdi);
	struct sim_fn *fn = to_sim_fn(pci_tdi->pdev->tsm);

	step(fn, SIM_UNBIND);
	/* Who did not stop it is told so, but the device has to work again */
	if (!tdi->stopped)
		send_stop(fn);
	/* No error of the TDI is reported from here on */
	set_tdi(fn, NULL);
	sim_judge_unbind(fn->watch, tdi->stopped);
	sim_tdi_free(tdi);
}

static struct pci_tdi_ranges *sim_tdi_ranges(struct pci_tdi *pci_tdi)
{
	struct sim_tdi *tdi = container_of(pci_tdi, struct sim_tdi, tdi);
	struct pci_tdi_ranges *ranges;
	int rc;

	rc = step(to_sim_fn(pci_tdi->pdev->tsm), SIM_RANGES);
	if (rc)
		return ERR_PTR(rc);

	ranges = kvmemdup(tdi->ranges, struct_size(ranges, range, tdi->ranges->nr),
			  GFP_KERNEL);
	return ranges ?: ERR_PTR(-ENOMEM);
}

static bool request_allowed(enum pci_tsm_req_scope scope, u8 type)
{
	switch (type) {
	case TDISP_GET_VERSION:
	case TDISP_GET_CAPABILITIES:
	case TDISP_GET_REPORT:
	case TDISP_GET_STATE:
		return scope == PCI_TSM_REQ_INFO;
	case TDISP_START_INTERFACE:
	case TDISP_STOP_INTERFACE:
		return scope == PCI_TSM_REQ_STATE_CHANGE;
	default:
		return false;
	}
}

/* How the guest addresses a TDI that was bound by this id */
static u32 guest_function(u32 tdi_id)
{
	return FIELD_PREP(TDISP_FUNCTION_RID, tdi_id & U16_MAX) |
	       FIELD_PREP(TDISP_FUNCTION_SEGMENT, (tdi_id >> 16) & U8_MAX) |
	       TDISP_FUNCTION_SEGMENT_VALID;
}

/**
 * sim_request() - pass a TDISP message of the guest to the device
 * @fn: the function, which is bound
 * @scope: what the caller takes it for
 * @req: the message
 * @req_len: its length
 * @rsp: the response, if this does not fail
 * @rsp_size: room for it, SIM_MESSAGE_MAX or more
 * @code: the code of an error response, 0 for others
 *
 * Return: the length of the response, or a negative error code: -EINVAL for what
 * is no message, -EPERM for one that the guest may not send or that is not in
 * @scope, or the one that a test wants.
 */
ssize_t sim_request(struct sim_fn *fn, enum pci_tsm_req_scope scope,
		    const void *req, size_t req_len, void *rsp, size_t rsp_size,
		    u64 *code)
{
	union {
		struct tdisp_header hdr;
		struct tdisp_start_req start;
		struct tdisp_report_req report;
		struct tdisp_capabilities_req capabilities;
	} msg = {};
	struct tdisp_header *rsp_hdr = rsp;
	__le32 function;
	ssize_t len;
	int rc;

	if (req_len < sizeof(msg.hdr) || req_len > sizeof(msg))
		return -EINVAL;

	memcpy(&msg, req, req_len);
	if (!request_allowed(scope, msg.hdr.type))
		return -EPERM;

	if (msg.hdr.type == TDISP_START_INTERFACE) {
		rc = step(fn, SIM_START);
		if (rc)
			return rc;
	}

	guard(mutex)(&fn->lock);

	/* The device knows itself by its own id, and nobody by the inverse */
	function = msg.hdr.function;
	msg.hdr.function = cpu_to_le32(sim_device_function(sim_pdev(fn)));
	if (le32_to_cpu(function) != guest_function(fn->tdi->tdi.tdi_id))
		msg.hdr.function = ~msg.hdr.function;

	if (msg.hdr.type == TDISP_START_INTERFACE) {
		if (req_len != sizeof(msg.hdr))
			return -EINVAL;
		memcpy(msg.start.nonce, fn->tdi->nonce, sizeof(msg.start.nonce));
		if (READ_ONCE(fn->bad_nonce))
			msg.start.nonce[0] ^= 1;
		req_len = sizeof(msg.start);
	}

	len = sim_device_message(fn, &msg, req_len, rsp, rsp_size);
	memzero_explicit(&msg, sizeof(msg));
	rsp_hdr->function = function;

	*code = 0;
	if (rsp_hdr->type == TDISP_ERROR) {
		struct tdisp_error_rsp *error = rsp;

		*code = le32_to_cpu(error->code);
	} else if (rsp_hdr->type == TDISP_RESPONSE(TDISP_STOP_INTERFACE)) {
		/* The guest has ended it, for the owner that is no RUN either */
		pci_tsm_tdi_error(&fn->tdi->tdi);
	}
	return len;
}

static ssize_t sim_guest_req(struct pci_tdi *tdi, enum pci_tsm_req_scope scope,
			     sockptr_t req_in, size_t in_len,
			     sockptr_t req_out, size_t out_len, u64 *tsm_code)
{
	void *req __free(kfree) = NULL;
	void *rsp __free(kfree) = NULL;
	struct sim_fn *fn = to_sim_fn(tdi->pdev->tsm);
	u64 code = 0;
	ssize_t len;
	int rc;

	if (in_len > SIM_MESSAGE_MAX)
		return -EINVAL;

	rc = step(fn, SIM_GUEST_REQ);
	if (rc)
		return rc;

	req = kzalloc(max(in_len, sizeof(u64)), GFP_KERNEL);
	rsp = kzalloc(SIM_MESSAGE_MAX, GFP_KERNEL);
	if (!req || !rsp)
		return -ENOMEM;

	if (copy_from_sockptr(req, req_in, in_len))
		return -EFAULT;

	len = sim_request(fn, scope, req, in_len, rsp, SIM_MESSAGE_MAX, &code);
	if (len < 0)
		return len;

	if (tsm_code)
		*tsm_code = code;
	if (len > out_len)
		return -EMSGSIZE;
	if (copy_to_sockptr(req_out, rsp, len))
		return -EFAULT;
	return out_len - len;
}

struct sim_fn *sim_fn_alloc(void)
{
	struct sim_fn *fn = kzalloc_obj(*fn);

	if (!fn)
		return NULL;

	mutex_init(&fn->pf0.lock);
	mutex_init(&fn->lock);
	INIT_LIST_HEAD(&fn->marks);
	return fn;
}

void sim_fn_free(struct sim_fn *fn)
{
	struct sim_mark *mark, *next;

	list_for_each_entry_safe(mark, next, &fn->marks, node)
		kfree(mark);
	kvfree(fn->device.report);
	kvfree(fn->report);
	mutex_destroy(&fn->lock);
	mutex_destroy(&fn->pf0.lock);
	kfree(fn);
}

static struct pci_tsm *sim_probe(struct tsm_dev *tsm_dev, struct pci_dev *pdev)
{
	struct sim_fn *fn = sim_fn_alloc();

	if (!fn)
		return NULL;

	/* Has no mailbox, so not pci_tsm_pf0_constructor() */
	if (pci_tsm_link_constructor(pdev, &fn->pf0.base_tsm, tsm_dev) ||
	    !sim_takes_part(fn->pf0.base_tsm.dsm_dev))
		goto err_free;

	fn->watch = sim_judge_watch(pdev);
	if (!fn->watch)
		goto err_free;

	sim_debugfs_add(fn);
	return &fn->pf0.base_tsm;

err_free:
	sim_fn_free(fn);
	return NULL;
}

static void sim_remove(struct pci_tsm *tsm)
{
	struct sim_fn *fn = to_sim_fn(tsm);

	sim_debugfs_remove(fn);
	sim_judge_unwatch(fn->watch);
	sim_fn_free(fn);
}

static int sim_connect(struct pci_dev *pdev)
{
	u32 error = READ_ONCE(sim_fail_connect);

	return error <= MAX_ERRNO ? -(int)error : -EIO;
}

static void sim_disconnect(struct pci_dev *pdev)
{
}

struct pci_tsm_ops sim_tsm_ops = {
	.owner = THIS_MODULE,
	.tvm_arch = PCI_TSM_TVM_ARCH_SIM,
	.viommu_types = BIT(IOMMU_VIOMMU_TYPE_DEFAULT),
	.probe = sim_probe,
	.remove = sim_remove,
	.connect = sim_connect,
	.disconnect = sim_disconnect,
	.bind = sim_bind,
	.stop = sim_stop,
	.unbind = sim_unbind,
	.tdi_ranges = sim_tdi_ranges,
	.guest_req = sim_guest_req,
};

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device's side of TDISP, for a function that has none.
 *
 * A state machine for each function answers the messages of TDISP, and refuses
 * what is out of order. As a device would, it falls from its locked states into
 * ERROR if the configuration that was locked is changed; but it has no way to
 * see that happen, and looks at the next occasion.
 *
 * Locking: sim_fn::lock is held for all that is called here.
 */
#include <linux/bitfield.h>
#include <linux/cleanup.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "tsm-sim.h"

/* Cleared by a reset as well */
#define LOCKED_COMMAND	(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
#define LOCKED_DEVCTL	(PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ | \
			 PCI_EXP_DEVCTL_EXT_TAG | PCI_EXP_DEVCTL_PHANTOM)

u32 sim_device_function(struct pci_dev *pdev)
{
	return FIELD_PREP(TDISP_FUNCTION_RID, pci_dev_id(pdev)) |
	       FIELD_PREP(TDISP_FUNCTION_SEGMENT, pci_domain_nr(pdev->bus)) |
	       TDISP_FUNCTION_SEGMENT_VALID;
}

/* What is reserved in Device Control of a VF, nearly all, is that of its PF */
static void if_read_config(struct sim_fn *fn, u16 *command, u16 *devctl,
			   u32 *bar)
{
	struct pci_dev *pdev = sim_pdev(fn);

	pci_read_config_word(pdev, PCI_COMMAND, command);
	pcie_capability_read_word(pci_physfn(pdev), PCI_EXP_DEVCTL, devctl);
	for (int i = 0; i < PCI_STD_NUM_BARS; i++)
		pci_read_config_dword(pdev, PCI_BASE_ADDRESS_0 + i * 4,
				      &bar[i]);
}

static bool if_locked(struct sim_device *device)
{
	return device->state == TDISP_CONFIG_LOCKED ||
	       device->state == TDISP_RUN;
}

static void if_unlock(struct sim_fn *fn, enum tdisp_state state)
{
	struct sim_device *device = &fn->device;

	kvfree(device->report);
	device->report = NULL;
	device->report_len = 0;
	memzero_explicit(device->nonce, sizeof(device->nonce));
	device->state = state;
	sim_judge_running(fn->watch, false);
}

/**
 * sim_device_error() - let a function fall into ERROR
 * @fn: the function
 *
 * Return: 0, or -ENXIO if it is not locked, where nothing can fall.
 */
int sim_device_error(struct sim_fn *fn)
{
	lockdep_assert_held(&fn->lock);

	if (!if_locked(&fn->device))
		return -ENXIO;

	if_unlock(fn, TDISP_IN_ERROR);
	if (fn->tdi)
		pci_tsm_tdi_error(&fn->tdi->tdi);
	return 0;
}

/**
 * sim_device_check() - look whether the locked configuration has changed
 * @fn: the function
 *
 * Return: false if it had, and the function is in ERROR now.
 */
bool sim_device_check(struct sim_fn *fn)
{
	struct sim_device *device = &fn->device;
	u16 command, devctl, locked = LOCKED_COMMAND;
	u32 bar[PCI_STD_NUM_BARS];

	lockdep_assert_held(&fn->lock);

	if (!if_locked(device))
		return true;

	/* The memory enable of a VF is one of its PF */
	if (sim_pdev(fn)->no_command_memory)
		locked &= ~PCI_COMMAND_MEMORY;

	if_read_config(fn, &command, &devctl, bar);
	/* What was off when it was locked can be set */
	if (!(device->command & ~command & locked) &&
	    !((device->devctl ^ devctl) & LOCKED_DEVCTL) &&
	    !memcmp(device->bar, bar, sizeof(bar)))
		return true;

	pci_info(sim_pdev(fn), "locked configuration was changed\n");
	sim_device_error(fn);
	return false;
}

static u32 if_lock(struct sim_fn *fn, const struct tdisp_lock_req *req,
		   struct tdisp_lock_rsp *rsp)
{
	struct sim_device *device = &fn->device;

	if (device->state != TDISP_CONFIG_UNLOCKED)
		return TDISP_INVALID_INTERFACE_STATE;

	if (!IS_ALIGNED(le64_to_cpu(req->reporting_offset), SZ_4K))
		return TDISP_INVALID_REQUEST;

	device->lock_flags = le16_to_cpu(req->flags);
	device->reporting_offset = le64_to_cpu(req->reporting_offset);
	if_read_config(fn, &device->command, &device->devctl, device->bar);
	device->report = sim_report_build(fn, &device->report_len);
	if (!device->report)
		return TDISP_UNSPECIFIED;

	get_random_bytes(device->nonce, sizeof(device->nonce));
	memcpy(rsp->nonce, device->nonce, sizeof(rsp->nonce));
	device->state = TDISP_CONFIG_LOCKED;
	return 0;
}

static u32 if_start(struct sim_fn *fn, const struct tdisp_start_req *req)
{
	struct sim_device *device = &fn->device;

	if (device->state != TDISP_CONFIG_LOCKED)
		return TDISP_INVALID_INTERFACE_STATE;

	if (memcmp(device->nonce, req->nonce, sizeof(req->nonce)))
		return TDISP_INVALID_NONCE;

	/* It works once */
	memzero_explicit(device->nonce, sizeof(device->nonce));
	device->state = TDISP_RUN;
	sim_judge_running(fn->watch, true);
	return 0;
}

static u32 if_report(struct sim_fn *fn, const struct tdisp_report_req *req,
		     struct tdisp_report_rsp *rsp, size_t room, size_t *rsp_len)
{
	struct sim_device *device = &fn->device;
	u16 offset = le16_to_cpu(req->offset);
	size_t portion, remainder;

	if (!if_locked(device))
		return TDISP_INVALID_INTERFACE_STATE;

	if (offset >= device->report_len || !req->length)
		return TDISP_INVALID_REQUEST;

	portion = min3((size_t)le16_to_cpu(req->length),
		       device->report_len - offset, room - sizeof(*rsp));
	remainder = device->report_len - offset - portion;
	rsp->portion = cpu_to_le16(portion);
	rsp->remainder = cpu_to_le16(remainder);
	memcpy(rsp->data, device->report + offset, portion);
	*rsp_len = sizeof(*rsp) + portion;
	return 0;
}

static void if_capabilities(struct tdisp_capabilities_rsp *rsp)
{
	static const u8 known[] = {
		TDISP_GET_VERSION, TDISP_GET_CAPABILITIES,
		TDISP_LOCK_INTERFACE, TDISP_GET_REPORT, TDISP_GET_STATE,
		TDISP_START_INTERFACE, TDISP_STOP_INTERFACE,
	};

	for (int i = 0; i < ARRAY_SIZE(known); i++) {
		u8 bit = TDISP_RESPONSE(known[i]);

		rsp->requests[bit / 8] |= BIT(bit % 8);
	}
	rsp->lock_flags = cpu_to_le16(TDISP_LOCK_MSIX);
	rsp->address_width = 64;
	rsp->requests_this = 1;
	rsp->requests_all = 1;
}

/* How long a request is, or 0 if it is not known */
static size_t request_size(u8 type)
{
	switch (type) {
	case TDISP_GET_VERSION:
	case TDISP_GET_STATE:
	case TDISP_STOP_INTERFACE:
		return sizeof(struct tdisp_header);
	case TDISP_GET_CAPABILITIES:
		return sizeof(struct tdisp_capabilities_req);
	case TDISP_LOCK_INTERFACE:
		return sizeof(struct tdisp_lock_req);
	case TDISP_GET_REPORT:
		return sizeof(struct tdisp_report_req);
	case TDISP_START_INTERFACE:
		return sizeof(struct tdisp_start_req);
	default:
		return 0;
	}
}

static u32 if_request(struct sim_fn *fn, const void *req, size_t req_len,
		      void *rsp, size_t rsp_size, size_t *rsp_len)
{
	const struct tdisp_header *hdr = req;

	if (hdr->version != TDISP_VERSION_1_0)
		return TDISP_VERSION_MISMATCH;

	if (le32_to_cpu(hdr->function) != sim_device_function(sim_pdev(fn)))
		return TDISP_INVALID_INTERFACE;

	if (!request_size(hdr->type))
		return TDISP_UNSUPPORTED_REQUEST;

	if (req_len != request_size(hdr->type))
		return TDISP_INVALID_REQUEST;

	switch (hdr->type) {
	case TDISP_GET_VERSION: {
		struct tdisp_version_rsp *version = rsp;

		version->count = 1;
		version->version = TDISP_VERSION_1_0;
		*rsp_len = sizeof(*version);
		return 0;
	}
	case TDISP_GET_CAPABILITIES:
		if_capabilities(rsp);
		*rsp_len = sizeof(struct tdisp_capabilities_rsp);
		return 0;
	case TDISP_LOCK_INTERFACE:
		*rsp_len = sizeof(struct tdisp_lock_rsp);
		return if_lock(fn, req, rsp);
	case TDISP_GET_REPORT:
		return if_report(fn, req, rsp, rsp_size, rsp_len);
	case TDISP_GET_STATE: {
		struct tdisp_state_rsp *state = rsp;

		state->state = fn->device.state;
		*rsp_len = sizeof(*state);
		return 0;
	}
	case TDISP_START_INTERFACE:
		return if_start(fn, req);
	default:
		/* STOP leads from each state to the same one */
		if_unlock(fn, TDISP_CONFIG_UNLOCKED);
		return 0;
	}
}

/**
 * sim_device_message() - let the device of a function answer a TDISP message
 * @fn: the function
 * @req: the request
 * @req_len: its length, of a header at least
 * @rsp: the response
 * @rsp_size: room for it, of SIM_MESSAGE_MAX, or of an error where the request is
 *	      known to have no more to be answered
 *
 * Return: the length of the response.
 */
size_t sim_device_message(struct sim_fn *fn, const void *req, size_t req_len,
			  void *rsp, size_t rsp_size)
{
	const struct tdisp_header *hdr = req;
	struct tdisp_header *rsp_hdr = rsp;
	size_t rsp_len = sizeof(*rsp_hdr);
	u32 error;

	lockdep_assert_held(&fn->lock);

	memset(rsp, 0, rsp_size);
	sim_device_check(fn);
	error = if_request(fn, req, req_len, rsp, rsp_size, &rsp_len);
	if (error) {
		struct tdisp_error_rsp *error_rsp = rsp;

		memset(rsp, 0, rsp_size);
		error_rsp->code = cpu_to_le32(error);
		rsp_len = sizeof(*error_rsp);
	}

	rsp_hdr->version = TDISP_VERSION_1_0;
	rsp_hdr->type = error ? TDISP_ERROR : TDISP_RESPONSE(hdr->type);
	rsp_hdr->function = hdr->function;
	return rsp_len;
}

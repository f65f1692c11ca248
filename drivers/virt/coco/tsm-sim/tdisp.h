/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages of the TEE Device Interface Security Protocol, PCIe r7.0 section 11.
 * Written for the simulation alone: the PCI core reads reports with code of its
 * own, so that a mistake in one of them shows.
 */
#ifndef _TSM_SIM_TDISP_H
#define _TSM_SIM_TDISP_H

#include <linux/types.h>

#define TDISP_VERSION_1_0	0x10

enum tdisp_request {
	TDISP_GET_VERSION		= 0x81,
	TDISP_GET_CAPABILITIES		= 0x82,
	TDISP_LOCK_INTERFACE		= 0x83,
	TDISP_GET_REPORT		= 0x84,
	TDISP_GET_STATE			= 0x85,
	TDISP_START_INTERFACE		= 0x86,
	TDISP_STOP_INTERFACE		= 0x87,
};

/* The response to a request has its code without the top bit, or this one */
#define TDISP_RESPONSE(request)	((request) & 0x7f)
#define TDISP_ERROR		0x7f

enum tdisp_error {
	TDISP_INVALID_REQUEST			= 0x01,
	TDISP_BUSY				= 0x03,
	TDISP_INVALID_INTERFACE_STATE		= 0x04,
	TDISP_UNSPECIFIED			= 0x05,
	TDISP_UNSUPPORTED_REQUEST		= 0x07,
	TDISP_VERSION_MISMATCH			= 0x41,
	TDISP_INVALID_INTERFACE			= 0x101,
	TDISP_INVALID_NONCE			= 0x102,
	TDISP_INSUFFICIENT_ENTROPY		= 0x103,
	TDISP_INVALID_DEVICE_CONFIGURATION	= 0x104,
};

enum tdisp_state {
	TDISP_CONFIG_UNLOCKED	= 0,
	TDISP_CONFIG_LOCKED	= 1,
	TDISP_RUN		= 2,
	TDISP_IN_ERROR		= 3,
};

/* The requester id of a function in the low half, its segment if that is valid */
#define TDISP_FUNCTION_RID		GENMASK(15, 0)
#define TDISP_FUNCTION_SEGMENT		GENMASK(23, 16)
#define TDISP_FUNCTION_SEGMENT_VALID	BIT(24)

struct tdisp_header {
	u8 version;
	u8 type;
	__le16 reserved;
	__le32 function;
	u8 reserved2[8];
} __packed;

#define TDISP_NONCE_SIZE	32

#define TDISP_LOCK_MSIX		BIT(2)

struct tdisp_lock_req {
	struct tdisp_header hdr;
	__le16 flags;
	u8 stream_id;
	u8 reserved;
	__le64 reporting_offset;
	__le64 p2p_mask;
} __packed;

struct tdisp_lock_rsp {
	struct tdisp_header hdr;
	u8 nonce[TDISP_NONCE_SIZE];
} __packed;

struct tdisp_start_req {
	struct tdisp_header hdr;
	u8 nonce[TDISP_NONCE_SIZE];
} __packed;

struct tdisp_report_req {
	struct tdisp_header hdr;
	__le16 offset;
	__le16 length;
} __packed;

struct tdisp_report_rsp {
	struct tdisp_header hdr;
	__le16 portion;
	__le16 remainder;
	u8 data[];
} __packed;

struct tdisp_state_rsp {
	struct tdisp_header hdr;
	u8 state;
} __packed;

struct tdisp_version_rsp {
	struct tdisp_header hdr;
	u8 count;
	u8 version;
} __packed;

struct tdisp_capabilities_req {
	struct tdisp_header hdr;
	__le32 tsm;
} __packed;

struct tdisp_capabilities_rsp {
	struct tdisp_header hdr;
	__le32 dsm;
	u8 requests[16];
	__le16 lock_flags;
	u8 reserved[3];
	u8 address_width;
	u8 requests_this;
	u8 requests_all;
} __packed;

struct tdisp_error_rsp {
	struct tdisp_header hdr;
	__le32 code;
	__le32 data;
} __packed;

/* A report, and a range of it */
#define TDISP_INFO_DMA		BIT(1)

struct tdisp_report {
	__le16 info;
	__le16 reserved;
	__le16 msix_control;
	__le16 lnr_control;
	__le32 tph_control;
	__le32 nr_ranges;
} __packed;

#define TDISP_RANGE_MSIX_TABLE	BIT(0)
#define TDISP_RANGE_MSIX_PBA	BIT(1)
#define TDISP_RANGE_NON_TEE	BIT(2)

struct tdisp_range {
	__le64 first_page;
	__le32 nr_pages;
	__le16 attributes;
	__le16 id;
} __packed;

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __SELFTEST_IOMMUFD_TSM_H
#define __SELFTEST_IOMMUFD_TSM_H

#include <sys/ioctl.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"

struct tdi_state {
	__u32 bound;
	__u32 tdi_id;
	/* Of all mock devices */
	__u32 nr_bound;
};

/* The state of a mock device, or without one the number of those that are bound */
static int _test_cmd_tdi_state(int fd, __u32 stdev_id, struct tdi_state *state)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TDI_STATE,
		.id = stdev_id,
	};
	int ret;

	ret = ioctl(fd, IOMMU_TEST_CMD, &cmd);
	if (ret)
		return ret;

	state->bound = cmd.tdi_state.out_bound;
	state->tdi_id = cmd.tdi_state.out_tdi_id;
	state->nr_bound = cmd.tdi_state.out_nr_bound;
	return 0;
}

static int _test_cmd_tsm_op(int fd, __u32 vdev_id, __u32 op)
{
	struct iommu_vdevice_tsm_op cmd = {
		.size = sizeof(cmd),
		.vdevice_id = vdev_id,
		.op = op,
	};

	return ioctl(fd, IOMMU_VDEVICE_TSM_OP, &cmd);
}

static int _test_cmd_tsm_req(int fd, __u32 vdev_id,
			     struct iommu_test_tdi_req *req, void *resp,
			     __u32 resp_len)
{
	struct iommu_vdevice_tsm_req cmd = {
		.size = sizeof(cmd),
		.vdevice_id = vdev_id,
		.tvm_arch = IOMMU_TVM_ARCH_SIM,
		.req_len = sizeof(*req),
		.resp_len = resp_len,
		.req_uptr = (uintptr_t)req,
		.resp_uptr = (uintptr_t)resp,
	};

	return ioctl(fd, IOMMU_VDEVICE_TSM_REQ, &cmd);
}

#endif

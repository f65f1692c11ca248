/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The mock of a device that can be bound to a confidential VM
 */
#ifndef __SELFTEST_TSM_H
#define __SELFTEST_TSM_H

#include <linux/types.h>

struct device;
struct iommu_test_cmd;
struct iommufd_ctx;
struct iommufd_device;
struct iommufd_test_tdi;

struct iommufd_device *
iommufd_test_tdi_device_bind(struct iommufd_ctx *ictx, struct device *dev,
			     u32 dev_flags, struct iommufd_test_tdi **ptdi,
			     u32 *id);
void iommufd_test_tdi_free(struct iommufd_test_tdi *tdi);
void iommufd_test_tdi_state(struct iommufd_test_tdi *tdi,
			    struct iommu_test_cmd *cmd);

#endif

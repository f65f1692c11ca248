/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices that can be bound to a confidential VM: see tsm.c
 */
#ifndef __IOMMUFD_TSM_H
#define __IOMMUFD_TSM_H

#include <linux/types.h>
#include <uapi/linux/iommufd.h>

struct iommufd_device;
struct iommufd_device_tdi_ops;
struct iommufd_ucmd;
struct iommufd_vdevice;

int iommufd_tdi_init(struct iommufd_device *idev,
		     const struct iommufd_device_tdi_ops *ops, void *data);
void iommufd_tdi_pre_destroy(struct iommufd_device *idev);
void iommufd_tdi_destroy(struct iommufd_device *idev);
int iommufd_tdi_hold_unbound(struct iommufd_device *idev);
void iommufd_tdi_unhold(struct iommufd_device *idev);
void iommufd_tdi_add_vdevice(struct iommufd_vdevice *vdev);
void iommufd_tdi_remove_vdevice(struct iommufd_vdevice *vdev);
int iommufd_tdi_check_viommu(struct iommufd_ucmd *ucmd, u32 dev_id,
			     enum iommu_viommu_type type);

int iommufd_vdevice_tsm_op_ioctl(struct iommufd_ucmd *ucmd);
int iommufd_vdevice_tsm_req_ioctl(struct iommufd_ucmd *ucmd);

#endif

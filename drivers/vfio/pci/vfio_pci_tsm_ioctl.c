// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO's own interface to bind a device to a confidential VM, for a VMM that
 * does not give its VM a vIOMMU and so has no vdevice to do it with.
 */
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vfio_pci_priv.h"
#include "vfio_pci_tdi.h"

#define VFIO_PCI_TSM_MAX_LEN	SZ_1M

static int vfio_pci_ioctl_tsm_bind(struct vfio_pci_core_device *vdev,
				   struct vfio_device_tsm_bind __user *arg)
{
	unsigned long minsz = offsetofend(struct vfio_device_tsm_bind, reserved);
	struct vfio_device_tsm_bind bind;

	if (copy_from_user(&bind, arg, minsz))
		return -EFAULT;

	if (bind.argsz < minsz || bind.flags || bind.reserved)
		return -EINVAL;

	return vfio_pci_tdi_bind(vdev, bind.tdi_id, vdev);
}

static int vfio_pci_ioctl_tsm_unbind(struct vfio_pci_core_device *vdev,
				     struct vfio_device_tsm_unbind __user *arg)
{
	unsigned long minsz = offsetofend(struct vfio_device_tsm_unbind, flags);
	struct vfio_device_tsm_unbind unbind;

	if (copy_from_user(&unbind, arg, minsz))
		return -EFAULT;

	if (unbind.argsz < minsz || unbind.flags)
		return -EINVAL;

	return vfio_pci_tdi_unbind_interruptible(vdev, vdev);
}

static int
vfio_pci_ioctl_tsm_guest_req(struct vfio_pci_core_device *vdev,
			     struct vfio_device_tsm_guest_request __user *arg)
{
	void *resp __free(kvfree) = NULL;
	void *req __free(kvfree) = NULL;
	unsigned long minsz =
		offsetofend(struct vfio_device_tsm_guest_request, tsm_code);
	struct vfio_device_tsm_guest_request guest;
	u64 tsm_code = 0;
	ssize_t ret;

	if (copy_from_user(&guest, arg, minsz))
		return -EFAULT;

	if (guest.argsz < minsz || guest.flags ||
	    guest.req_len > VFIO_PCI_TSM_MAX_LEN ||
	    guest.resp_len > VFIO_PCI_TSM_MAX_LEN)
		return -EINVAL;

	/* Here, because a copy inside of the TSM's locks can take forever */
	if (guest.req_len) {
		req = kvmalloc(guest.req_len, GFP_KERNEL_ACCOUNT);
		if (!req)
			return -ENOMEM;
		if (copy_from_user(req, u64_to_user_ptr(guest.req_uptr),
				   guest.req_len))
			return -EFAULT;
	}
	if (guest.resp_len) {
		resp = kvzalloc(guest.resp_len, GFP_KERNEL_ACCOUNT);
		if (!resp)
			return -ENOMEM;
	}

	ret = vfio_pci_tdi_guest_req(vdev, vdev, guest.tvm_arch, guest.op, req,
				     guest.req_len, resp, guest.resp_len,
				     &tsm_code);

	/* The VM gets to see the result of a request that its TSM has refused */
	if (put_user(tsm_code, &arg->tsm_code))
		return -EFAULT;
	if (ret < 0)
		return ret;

	if (ret && copy_to_user(u64_to_user_ptr(guest.resp_uptr), resp, ret))
		return -EFAULT;
	if (put_user((u32)ret, &arg->resp_len))
		return -EFAULT;
	return 0;
}

long vfio_pci_tsm_ioctl(struct vfio_pci_core_device *vdev, unsigned int cmd,
			void __user *arg)
{
	if (!vfio_pci_tdi_supported(vdev))
		return -ENOTTY;

	switch (cmd) {
	case VFIO_DEVICE_TSM_BIND:
		return vfio_pci_ioctl_tsm_bind(vdev, arg);
	case VFIO_DEVICE_TSM_UNBIND:
		return vfio_pci_ioctl_tsm_unbind(vdev, arg);
	case VFIO_DEVICE_TSM_GUEST_REQUEST:
		return vfio_pci_ioctl_tsm_guest_req(vdev, arg);
	default:
		return -ENOTTY;
	}
}

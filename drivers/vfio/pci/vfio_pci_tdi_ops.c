// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TDI that a vfio-pci device is, for VFIO's core and for the iommufd that
 * the device is bound to: a vdevice of it is one of the interfaces to bind it.
 */
#include <linux/iommufd.h>
#include <linux/pci-tsm.h>
#include <linux/sockptr.h>

#include "vfio_pci_priv.h"
#include "vfio_pci_tdi.h"

static struct vfio_pci_core_device *to_vdev(struct vfio_device *core_vdev)
{
	return container_of(core_vdev, struct vfio_pci_core_device, vdev);
}

static int vfio_pci_tdi_takes_viommu(void *data, enum iommu_viommu_type type)
{
	struct vfio_pci_core_device *vdev = to_vdev(data);
	struct vfio_pci_tdi *tdi = vdev->tdi;
	int ret;

	ret = mutex_lock_interruptible(&tdi->lock);
	if (ret)
		return ret;

	/* Once the device is closed nobody waits for the TSM on behalf of it */
	ret = tdi->open ? pci_tsm_takes_viommu(vdev->pdev, type) : -ENODEV;
	mutex_unlock(&tdi->lock);
	return ret;
}

static int vfio_pci_tdi_vdevice_bind(void *data, u32 tdi_id, const void *user)
{
	return vfio_pci_tdi_bind(to_vdev(data), tdi_id, user);
}

static int vfio_pci_tdi_vdevice_unbind(void *data, const void *user)
{
	return vfio_pci_tdi_unbind(to_vdev(data), user);
}

static int vfio_pci_tdi_vdevice_unbind_interruptible(void *data,
						     const void *user)
{
	return vfio_pci_tdi_unbind_interruptible(to_vdev(data), user);
}

static ssize_t vfio_pci_tdi_vdevice_guest_req(void *data, const void *user,
					      u32 tvm_arch, u32 op, void *req,
					      size_t req_len, void *resp,
					      size_t resp_len, u64 *tsm_code)
{
	return vfio_pci_tdi_guest_req(to_vdev(data), user, tvm_arch, op, req,
				      req_len, resp, resp_len, tsm_code);
}

static int vfio_pci_tdi_vdevice_hold_unbound(void *data)
{
	return vfio_pci_tdi_try_hold_unbound(to_vdev(data));
}

static void vfio_pci_tdi_vdevice_unhold(void *data)
{
	vfio_pci_tdi_unhold(to_vdev(data));
}

static const struct iommufd_device_tdi_ops vfio_pci_tdi_iommufd_ops = {
	.takes_viommu = vfio_pci_tdi_takes_viommu,
	.bind = vfio_pci_tdi_vdevice_bind,
	.unbind = vfio_pci_tdi_vdevice_unbind,
	.unbind_interruptible = vfio_pci_tdi_vdevice_unbind_interruptible,
	.guest_req = vfio_pci_tdi_vdevice_guest_req,
	.hold_unbound = vfio_pci_tdi_vdevice_hold_unbound,
	.unhold = vfio_pci_tdi_vdevice_unhold,
};

static bool vfio_pci_tdi_core_take_pfns(struct vfio_device *core_vdev)
{
	return vfio_pci_tdi_take_pfns(to_vdev(core_vdev));
}

static int vfio_pci_tdi_core_hold_unbound(struct vfio_device *core_vdev)
{
	return vfio_pci_tdi_try_hold_unbound(to_vdev(core_vdev));
}

static void vfio_pci_tdi_core_unhold(struct vfio_device *core_vdev)
{
	vfio_pci_tdi_unhold(to_vdev(core_vdev));
}

static const struct vfio_tdi_ops vfio_pci_tdi_ops = {
	.take_pfns = vfio_pci_tdi_core_take_pfns,
	.hold_unbound = vfio_pci_tdi_core_hold_unbound,
	.unhold = vfio_pci_tdi_core_unhold,
	.iommufd = &vfio_pci_tdi_iommufd_ops,
};

void vfio_pci_tdi_set_ops(struct vfio_pci_core_device *vdev)
{
	if (vfio_pci_tdi_supported(vdev))
		vdev->vdev.tdi_ops = &vfio_pci_tdi_ops;
}

/**
 * vfio_pci_tdi_guest_req() - pass a request of the VM on to the TSM
 * @vdev: the device
 * @user: as given to vfio_pci_tdi_bind()
 * @tvm_arch: whose format the request has, an enum pci_tsm_tvm_arch
 * @op: %PCI_TSM_REQ_INFO or %PCI_TSM_REQ_STATE_CHANGE
 * @req: the request, in memory of the kernel
 * @req_len: its length
 * @resp: where the response goes to
 * @resp_len: room for it
 * @tsm_code: the result for the VM
 *
 * Return: the length of the response. -EOPNOTSUPP if the TSM knows no requests of
 * @tvm_arch, or if there is no such @op, -ENXIO if the device is not bound, -EBUSY
 * if another interface has bound it. Or an error of the TSM, with which @tsm_code
 * may be set as well.
 *
 * Context: process context, takes the locks of PCI/TSM, interruptibly.
 */
ssize_t vfio_pci_tdi_guest_req(struct vfio_pci_core_device *vdev,
			       const void *user, u32 tvm_arch, u32 op, void *req,
			       size_t req_len, void *resp, size_t resp_len,
			       u64 *tsm_code)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	ssize_t ret;

	if (op > PCI_TSM_REQ_STATE_CHANGE)
		return -EOPNOTSUPP;

	/* Not before the bind is complete, with all its mappings gone */
	if (READ_ONCE(tdi->state) != VFIO_PCI_TDI_BOUND)
		return -ENXIO;
	if (READ_ONCE(tdi->user) != user)
		return -EBUSY;

	ret = pci_tsm_guest_req(vdev->pdev, &tdi->owner, tvm_arch, op,
				KERNEL_SOCKPTR(req), req_len,
				KERNEL_SOCKPTR(resp), resp_len, tsm_code);
	if (ret < 0)
		return ret;

	/* Without a response, a part of the request that was not read */
	if (!resp_len)
		return 0;

	if (WARN_ON_ONCE(ret > resp_len))
		return -EIO;
	return resp_len - ret;
}

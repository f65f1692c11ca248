// SPDX-License-Identifier: GPL-2.0-only
/*
 * Binding a vDEVICE to a confidential VM, as a TDI (TEE device interface)
 *
 * iommufd knows which device is called what in the VM, and nothing else that it
 * takes to bind one. All of that is done by the driver that has given operations
 * for it to iommufd_device_bind().
 *
 * These operations last as long as the TEE security manager (TSM) of the platform
 * does, while the wait_cnt of an object is for short times only: the destruction
 * of a device gives up on it after a minute, and leaks. So what an operation holds
 * is not an object but struct iommufd_tdi, the driver's side of one device, which
 * has a reference count of its own. It is locked for read while the driver is
 * asked, and for write when the vDEVICE or the device goes, which waits for that.
 * A device waits there before it waits for the end of a vDEVICE that userspace
 * destroys at the same time, which is a matter of moments then. A driver that has
 * closed the device has ended its operations before.
 *
 * Locks: iommufd_tdi::rwsem is outside of whatever the operations take, and never
 * taken with igroup->lock held. No user memory is touched under it, a VMM could
 * have it wait forever. The two operations that keep a device from being bound for a
 * moment are the exception: they are called with igroup->lock, and wait for nothing.
 */
#include <linux/iommufd.h>
#include <linux/kref.h>
#include <linux/rwsem.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "iommufd_private.h"
#include "tsm.h"

#define IOMMUFD_TSM_MAX_LEN	SZ_1M

struct iommufd_tdi {
	struct kref kref;
	struct rw_semaphore rwsem;
	/* NULL if the device is gone, changes with rwsem held for write */
	const struct iommufd_device_tdi_ops *ops;
	void *data;
	/* There is one at most. Set before userspace can know it, reset as ops is. */
	struct iommufd_vdevice *vdev;
};

static void iommufd_tdi_free(struct kref *kref)
{
	kfree(container_of(kref, struct iommufd_tdi, kref));
}

static void iommufd_tdi_put(struct iommufd_tdi *tdi)
{
	kref_put(&tdi->kref, iommufd_tdi_free);
}

/**
 * iommufd_tdi_init() - a driver binds a device
 * @idev: the device
 * @ops: what the driver gave to iommufd_device_bind(), may be NULL
 * @data: for @ops
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_tdi_init(struct iommufd_device *idev,
		     const struct iommufd_device_tdi_ops *ops, void *data)
{
	struct iommufd_tdi *tdi;

	if (!ops)
		return 0;

	tdi = kzalloc_obj(*tdi, GFP_KERNEL_ACCOUNT);
	if (!tdi)
		return -ENOMEM;

	kref_init(&tdi->kref);
	init_rwsem(&tdi->rwsem);
	tdi->ops = ops;
	tdi->data = data;
	idev->tdi = tdi;
	return 0;
}

/**
 * iommufd_tdi_pre_destroy() - the driver wants its device back
 * @idev: the device, which has no vDEVICE any more, or one that userspace is
 *	  destroying
 *
 * The destruction of a vDEVICE waits for the operations that are running, and has
 * a wait_cnt of the device meanwhile. Waits for these operations, however long it
 * takes. Those that come later do not find the vDEVICE.
 */
void iommufd_tdi_pre_destroy(struct iommufd_device *idev)
{
	struct iommufd_tdi *tdi = idev->tdi;

	if (!tdi)
		return;

	guard(rwsem_write)(&tdi->rwsem);
	WRITE_ONCE(tdi->vdev, NULL);
}

/**
 * iommufd_tdi_destroy() - the driver gets its device back
 * @idev: the device, which has no vDEVICE any more
 *
 * No operation of the driver is running when this returns, and none will be.
 */
void iommufd_tdi_destroy(struct iommufd_device *idev)
{
	struct iommufd_tdi *tdi = idev->tdi;

	if (!tdi)
		return;

	scoped_guard(rwsem_write, &tdi->rwsem)
		tdi->ops = NULL;
	iommufd_tdi_put(tdi);
	idev->tdi = NULL;
}

/**
 * iommufd_tdi_hold_unbound() - begin something that a bound device does not survive
 * @idev: the device, which is attached to a page table
 *
 * Return: 0 if the device is not bound, and is not until iommufd_tdi_unhold().
 * -EBUSY if it is, or is about to be.
 *
 * Context: Caller holds igroup->lock, with which the device stays attached, so that
 * the driver does not get it back. Does not wait.
 */
int iommufd_tdi_hold_unbound(struct iommufd_device *idev)
{
	struct iommufd_tdi *tdi = idev->tdi;

	lockdep_assert_held(&idev->igroup->lock);

	return tdi ? tdi->ops->hold_unbound(tdi->data) : 0;
}

/**
 * iommufd_tdi_unhold() - the end of what iommufd_tdi_hold_unbound() begins
 * @idev: the device
 */
void iommufd_tdi_unhold(struct iommufd_device *idev)
{
	struct iommufd_tdi *tdi = idev->tdi;

	lockdep_assert_held(&idev->igroup->lock);

	if (tdi)
		tdi->ops->unhold(tdi->data);
}

/**
 * iommufd_tdi_add_vdevice() - a vDEVICE is complete, and will not be aborted
 * @vdev: the vDEVICE, not finalized
 */
void iommufd_tdi_add_vdevice(struct iommufd_vdevice *vdev)
{
	struct iommufd_tdi *tdi = vdev->idev->tdi;

	/* The last vDEVICE is history, but who asked for it may not know yet */
	if (tdi)
		WRITE_ONCE(tdi->vdev, vdev);
}

/**
 * iommufd_tdi_remove_vdevice() - a vDEVICE goes, and unbinds what it has bound
 * @vdev: the vDEVICE, which userspace cannot find any more
 *
 * Waits for the operations that are running. Those that come later do not find
 * the vDEVICE.
 */
void iommufd_tdi_remove_vdevice(struct iommufd_vdevice *vdev)
{
	struct iommufd_tdi *tdi = vdev->idev->tdi;

	if (!tdi)
		return;

	guard(rwsem_write)(&tdi->rwsem);
	/* Fails if something else has bound the device, whose it stays */
	tdi->ops->unbind(tdi->data, vdev);
	WRITE_ONCE(tdi->vdev, NULL);
}

static struct iommufd_tdi *iommufd_tdi_get(struct iommufd_device *idev)
{
	if (!idev->tdi)
		return ERR_PTR(-EOPNOTSUPP);

	kref_get(&idev->tdi->kref);
	return idev->tdi;
}

static struct iommufd_tdi *iommufd_get_device_tdi(struct iommufd_ucmd *ucmd,
						  u32 id)
{
	struct iommufd_device *idev;
	struct iommufd_tdi *tdi;

	idev = iommufd_get_device(ucmd, id);
	if (IS_ERR(idev))
		return ERR_CAST(idev);

	tdi = iommufd_tdi_get(idev);
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return tdi;
}

static struct iommufd_tdi *iommufd_get_vdevice_tdi(struct iommufd_ucmd *ucmd,
						   u32 id)
{
	struct iommufd_vdevice *vdev;
	struct iommufd_object *obj;
	struct iommufd_tdi *tdi;

	obj = iommufd_get_object(ucmd->ictx, id, IOMMUFD_OBJ_VDEVICE);
	if (IS_ERR(obj))
		return ERR_CAST(obj);

	vdev = container_of(obj, struct iommufd_vdevice, obj);
	tdi = iommufd_tdi_get(vdev->idev);
	iommufd_put_object(ucmd->ictx, obj);
	return tdi;
}

/* Takes over the reference, or the error */
static struct iommufd_tdi *iommufd_tdi_lock(struct iommufd_tdi *tdi)
{
	int rc;

	if (IS_ERR(tdi))
		return tdi;

	rc = down_read_interruptible(&tdi->rwsem);
	if (rc) {
		iommufd_tdi_put(tdi);
		return ERR_PTR(rc);
	}
	return tdi;
}

static void iommufd_tdi_unlock(struct iommufd_tdi *tdi)
{
	up_read(&tdi->rwsem);
	iommufd_tdi_put(tdi);
}

/* tdi->vdev is the vDEVICE, and stays until iommufd_tdi_unlock() */
static struct iommufd_tdi *iommufd_lock_vdevice_tdi(struct iommufd_ucmd *ucmd,
						    u32 id)
{
	struct iommufd_vdevice *vdev;
	struct iommufd_tdi *tdi;

	tdi = iommufd_tdi_lock(iommufd_get_vdevice_tdi(ucmd, id));
	if (IS_ERR(tdi))
		return tdi;

	/* It may be gone by now, and another one be there */
	vdev = READ_ONCE(tdi->vdev);
	if (!vdev || vdev->obj.id != id) {
		iommufd_tdi_unlock(tdi);
		return ERR_PTR(-ENOENT);
	}
	return tdi;
}

static int iommufd_tdi_takes_viommu(struct iommufd_tdi *tdi,
				    enum iommu_viommu_type type)
{
	int rc = tdi->ops->takes_viommu(tdi->data, type);

	if (rc < 0)
		return rc;
	return rc ? 0 : -EOPNOTSUPP;
}

/**
 * iommufd_tdi_check_viommu() - may a device be behind a kind of vIOMMU, as a TDI?
 * @ucmd: the ioctl
 * @dev_id: the ID of the device
 * @type: of the vIOMMU
 *
 * The caller holds no reference to the device.
 *
 * Return: 0, -ENOENT if there is no such device, -EOPNOTSUPP if it is no TDI or
 * its TSM cannot work with such a vIOMMU, -EINTR, or another error of the driver.
 */
int iommufd_tdi_check_viommu(struct iommufd_ucmd *ucmd, u32 dev_id,
			     enum iommu_viommu_type type)
{
	struct iommufd_tdi *tdi;
	int rc;

	tdi = iommufd_tdi_lock(iommufd_get_device_tdi(ucmd, dev_id));
	if (IS_ERR(tdi))
		return PTR_ERR(tdi);

	if (!tdi->ops)
		rc = -ENOENT;
	else
		rc = iommufd_tdi_takes_viommu(tdi, type);
	iommufd_tdi_unlock(tdi);
	return rc;
}

static int iommufd_tdi_bind(struct iommufd_tdi *tdi)
{
	struct iommufd_vdevice *vdev = tdi->vdev;
	int rc;

	/* What PCI/TSM calls a TDI */
	if (vdev->virt_id > U32_MAX)
		return -EINVAL;

	rc = iommufd_tdi_takes_viommu(tdi, vdev->viommu->type);
	if (rc)
		return rc;

	return tdi->ops->bind(tdi->data, vdev->virt_id, vdev);
}

int iommufd_vdevice_tsm_op_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_vdevice_tsm_op *cmd = ucmd->cmd;
	struct iommufd_tdi *tdi;
	int rc;

	if (cmd->flags || cmd->op > IOMMU_VDEVICE_TSM_UNBIND)
		return -EOPNOTSUPP;

	tdi = iommufd_lock_vdevice_tdi(ucmd, cmd->vdevice_id);
	if (IS_ERR(tdi))
		return PTR_ERR(tdi);

	if (cmd->op == IOMMU_VDEVICE_TSM_BIND)
		rc = iommufd_tdi_bind(tdi);
	else
		rc = tdi->ops->unbind_interruptible(tdi->data, tdi->vdev);
	iommufd_tdi_unlock(tdi);
	return rc;
}

static ssize_t iommufd_tdi_guest_req(struct iommufd_ucmd *ucmd, void *req,
				     void *resp, u64 *tsm_code)
{
	struct iommu_vdevice_tsm_req *cmd = ucmd->cmd;
	struct iommufd_tdi *tdi;
	ssize_t rc;

	tdi = iommufd_lock_vdevice_tdi(ucmd, cmd->vdevice_id);
	if (IS_ERR(tdi))
		return PTR_ERR(tdi);

	rc = tdi->ops->guest_req(tdi->data, tdi->vdev, cmd->tvm_arch, cmd->op,
				 req, cmd->req_len, resp, cmd->resp_len,
				 tsm_code);
	iommufd_tdi_unlock(tdi);

	/* No driver, nor a TSM behind it, is believed to have had more room */
	if (rc > (ssize_t)cmd->resp_len)
		return -EIO;
	return rc;
}

static int iommufd_vdevice_tsm_req(struct iommufd_ucmd *ucmd)
{
	struct iommu_vdevice_tsm_req *cmd = ucmd->cmd;
	ssize_t len;

	void *resp __free(kvfree) = NULL;
	void *req __free(kvfree) = NULL;

	if (cmd->req_len > IOMMUFD_TSM_MAX_LEN ||
	    cmd->resp_len > IOMMUFD_TSM_MAX_LEN)
		return -EINVAL;

	if (cmd->req_len) {
		req = kvmalloc(cmd->req_len, GFP_KERNEL_ACCOUNT);
		if (!req)
			return -ENOMEM;
		if (copy_from_user(req, u64_to_user_ptr(cmd->req_uptr),
				   cmd->req_len))
			return -EFAULT;
	}
	if (cmd->resp_len) {
		resp = kvzalloc(cmd->resp_len, GFP_KERNEL_ACCOUNT);
		if (!resp)
			return -ENOMEM;
	}

	len = iommufd_tdi_guest_req(ucmd, req, resp, &cmd->tsm_code);

	/* resp_len stays on failure, for userspace that tries again */
	if (len < 0)
		return len;
	if (len && copy_to_user(u64_to_user_ptr(cmd->resp_uptr), resp, len))
		return -EFAULT;

	cmd->resp_len = len;
	return 0;
}

int iommufd_vdevice_tsm_req_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_vdevice_tsm_req *cmd = ucmd->cmd;
	int rc;

	cmd->tsm_code = 0;
	rc = iommufd_vdevice_tsm_req(ucmd);

	/* The VM gets to see the result of a request that its TSM has refused */
	if (iommufd_ucmd_respond(ucmd, sizeof(*cmd)))
		return -EFAULT;
	return rc;
}

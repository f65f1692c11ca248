// SPDX-License-Identifier: GPL-2.0-only
/*
 * What userspace is told about the TDI that a vfio-pci device is
 */
#include <linux/eventfd.h>
#include <linux/pci-tsm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vfio_pci_priv.h"
#include "vfio_pci_tdi.h"

static_assert((int)VFIO_PCI_TDI_UNBOUND == VFIO_DEVICE_TDI_UNBOUND);
static_assert((int)VFIO_PCI_TDI_BINDING == VFIO_DEVICE_TDI_BINDING);
static_assert((int)VFIO_PCI_TDI_BOUND == VFIO_DEVICE_TDI_BOUND);
static_assert((int)VFIO_PCI_TDI_UNBINDING == VFIO_DEVICE_TDI_UNBINDING);
static_assert((int)VFIO_PCI_TDI_ERROR == VFIO_DEVICE_TDI_ERROR);

static_assert(PCI_TDI_RANGE_PRIVATE == VFIO_DEVICE_TDI_RANGE_PRIVATE);
static_assert(PCI_TDI_RANGE_MSIX_TABLE == VFIO_DEVICE_TDI_RANGE_MSIX_TABLE);
static_assert(PCI_TDI_RANGE_MSIX_PBA == VFIO_DEVICE_TDI_RANGE_MSIX_PBA);

/* Returns the ranges for userspace, NULL if there are none, or an ERR_PTR() */
static struct vfio_device_tdi_range *
vfio_pci_tdi_snapshot(struct vfio_pci_core_device *vdev,
		      struct vfio_device_feature_tdi *info)
{
	struct vfio_device_tdi_range *ranges;
	struct vfio_pci_tdi *tdi = vdev->tdi;
	unsigned int i;

	guard(rwsem_read)(&vdev->memory_lock);

	info->state = READ_ONCE(tdi->state);
	info->tdi_id = tdi->tdi_id;
	info->nr_ranges = tdi->ranges ? tdi->ranges->nr : 0;
	if (!info->nr_ranges)
		return NULL;

	ranges = kvzalloc_objs(*ranges, info->nr_ranges, GFP_KERNEL_ACCOUNT);
	if (!ranges)
		return ERR_PTR(-ENOMEM);

	for (i = 0; i < info->nr_ranges; i++) {
		ranges[i].offset = tdi->ranges->range[i].offset;
		ranges[i].length = tdi->ranges->range[i].length;
		ranges[i].region_index = tdi->ranges->range[i].bar;
		ranges[i].flags = tdi->ranges->range[i].flags;
	}
	return ranges;
}

static int vfio_pci_tdi_get(struct vfio_pci_core_device *vdev,
			    struct vfio_device_feature_tdi __user *arg,
			    size_t argsz)
{
	struct vfio_device_tdi_range *ranges __free(kvfree) = NULL;
	struct vfio_device_feature_tdi info;
	u32 room;

	if (copy_from_user(&info, arg, sizeof(info)))
		return -EFAULT;

	room = info.nr_ranges;
	if (info.reserved ||
	    argsz < struct_size_t(struct vfio_device_feature_tdi, ranges, room))
		return -EINVAL;

	ranges = vfio_pci_tdi_snapshot(vdev, &info);
	if (IS_ERR(ranges))
		return PTR_ERR(ranges);

	if (copy_to_user(arg, &info, sizeof(info)))
		return -EFAULT;

	if (info.nr_ranges > room)
		return -ENOSPC;

	if (copy_to_user(arg->ranges, ranges,
			 array_size(info.nr_ranges, sizeof(*ranges))))
		return -EFAULT;

	return 0;
}

static int vfio_pci_tdi_set(struct vfio_pci_core_device *vdev,
			    struct vfio_device_feature_tdi_eventfd __user *arg)
{
	struct vfio_device_feature_tdi_eventfd set;
	struct eventfd_ctx *ctx = NULL;
	int ret;

	if (copy_from_user(&set, arg, sizeof(set)))
		return -EFAULT;

	if (set.flags || set.eventfd < -1)
		return -EINVAL;

	if (set.eventfd >= 0) {
		ctx = eventfd_ctx_fdget(set.eventfd);
		if (IS_ERR(ctx))
			return PTR_ERR(ctx);
	}

	mutex_lock(&vdev->igate);
	ret = vfio_pci_eventfd_replace_locked(vdev, &vdev->tdi->trigger, ctx);
	mutex_unlock(&vdev->igate);

	if (ret && ctx)
		eventfd_ctx_put(ctx);
	return ret;
}

int vfio_pci_core_feature_tdi(struct vfio_pci_core_device *vdev, u32 flags,
			      void __user *arg, size_t argsz)
{
	size_t minsz = flags & VFIO_DEVICE_FEATURE_SET ?
		sizeof(struct vfio_device_feature_tdi_eventfd) :
		sizeof(struct vfio_device_feature_tdi);
	int ret;

	if (!vfio_pci_tdi_supported(vdev))
		return -ENOTTY;

	ret = vfio_check_feature(flags, argsz,
				 VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_SET, minsz);
	if (ret != 1)
		return ret;

	if (flags & VFIO_DEVICE_FEATURE_SET)
		return vfio_pci_tdi_set(vdev, arg);

	return vfio_pci_tdi_get(vdev, arg, argsz);
}

// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>

#include <sys/ioctl.h>

#include <linux/pci_regs.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include "../../../kselftest.h"
#include <libvfio.h>

u8 vfio_pci_find_capability(struct vfio_pci_device *device, u8 id)
{
	int ttl = 48;
	u8 pos;

	if (!(vfio_pci_config_readw(device, PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return 0;

	pos = vfio_pci_config_readb(device, PCI_CAPABILITY_LIST) & ~3;
	while (pos && ttl--) {
		if (vfio_pci_config_readb(device, pos + PCI_CAP_LIST_ID) == id)
			return pos;
		pos = vfio_pci_config_readb(device, pos + PCI_CAP_LIST_NEXT) & ~3;
	}

	return 0;
}

void vfio_pci_set_power_state(struct vfio_pci_device *device, u16 state)
{
	u8 pm = vfio_pci_find_capability(device, PCI_CAP_ID_PM);
	u16 pmcsr;

	VFIO_ASSERT_NE(pm, 0);

	pmcsr = vfio_pci_config_readw(device, pm + PCI_PM_CTRL);
	pmcsr &= ~PCI_PM_CTRL_STATE_MASK;
	vfio_pci_config_writew(device, pm + PCI_PM_CTRL, pmcsr | state);
}

static int low_power(struct vfio_pci_device *device, u16 feature, int eventfd)
{
	struct {
		struct vfio_device_feature header;
		struct vfio_device_low_power_entry_with_wakeup entry;
	} args = {
		.header.flags = VFIO_DEVICE_FEATURE_SET | feature,
		.header.argsz = sizeof(args.header),
		.entry.wakeup_eventfd = eventfd,
	};

	if (feature == VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP)
		args.header.argsz += sizeof(args.entry);

	return ioctl(device->fd, VFIO_DEVICE_FEATURE, &args) ? -errno : 0;
}

int vfio_pci_low_power_entry(struct vfio_pci_device *device, int eventfd)
{
	if (eventfd < 0)
		return low_power(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, -1);

	return low_power(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
			 eventfd);
}

int vfio_pci_low_power_exit(struct vfio_pci_device *device)
{
	return low_power(device, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, -1);
}

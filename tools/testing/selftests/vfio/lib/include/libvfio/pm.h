/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_PM_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_PM_H

#include <stdbool.h>

#include <linux/types.h>

struct vfio_pci_device;

/* Where the capability @id begins in config space, 0 if there is none */
u8 vfio_pci_find_capability(struct vfio_pci_device *device, u8 id);

/* Write 0 to 3, for D0 to D3hot, into the PM capability, which has to exist */
void vfio_pci_set_power_state(struct vfio_pci_device *device, u16 state);

/*
 * Let the host suspend the device. With an @eventfd that is not -1, the first
 * access wakes the device, ends low power mode and is signalled.
 *
 * Returns 0, or -errno: -ENOTTY if vfio-pci does not manage its power.
 */
int vfio_pci_low_power_entry(struct vfio_pci_device *device, int eventfd);
int vfio_pci_low_power_exit(struct vfio_pci_device *device);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_PM_H */

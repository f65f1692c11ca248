// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's educational device: it copies between a 4 KiB buffer of its own and
 * any address below 256 MiB that it can reach by DMA
 */
#include <unistd.h>

#include "tdi-vmm.h"

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

#define EDU_BAR		0
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_CMD_RUN	0x1
#define EDU_CMD_OUT	0x2	/* from the device's buffer to memory */

#define EDU_BUF		0x40000

bool edu_is(struct vfio_pci *dev)
{
	return dev->vendor == EDU_VENDOR && dev->device == EDU_DEVICE;
}

static void edu_set(struct vfio_pci *dev, __u64 reg, __u64 value)
{
	vfio_bar_write(dev, EDU_BAR, reg, &value, sizeof(value));
}

static void edu_copy(struct vfio_pci *dev, __u64 src, __u64 dst,
		     __u64 size, __u64 direction)
{
	__u64 cmd;

	edu_set(dev, EDU_DMA_SRC, src);
	edu_set(dev, EDU_DMA_DST, dst);
	edu_set(dev, EDU_DMA_COUNT, size);
	edu_set(dev, EDU_DMA_CMD, EDU_CMD_RUN | direction);

	/* The device takes a tenth of a second */
	for (unsigned int ms = 0; ms < 10000; ms += 10) {
		vfio_bar_read(dev, EDU_BAR, EDU_DMA_CMD, &cmd, sizeof(cmd));
		if (!(cmd & EDU_CMD_RUN))
			return;
		usleep(10 * 1000);
	}
	fail("%s did not finish a copy of %llu bytes in 10 s", dev->bdf,
	     size);
}

void edu_copy_in(struct vfio_pci *dev, __u64 iova, __u64 size)
{
	edu_copy(dev, iova, EDU_BUF, size, 0);
}

void edu_copy_out(struct vfio_pci *dev, __u64 iova, __u64 size)
{
	edu_copy(dev, EDU_BUF, iova, size, EDU_CMD_OUT);
}

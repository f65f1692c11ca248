// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's educational device (docs/specs/edu.rst there): it copies between a
 * buffer of its own and memory, and reaches as far as its property "dma_mask"
 * says, 256 MiB if nobody sets it.
 */
#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include <linux/io.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/types.h>

#include <libvfio.h>

#define EDU_VENDOR_ID		0x1234
#define EDU_DEVICE_ID		0x11e8

#define EDU_IRQ_RAISE		0x60
#define EDU_IRQ_ACK		0x64
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98
#define EDU_DMA_CMD_RUN		0x1
#define EDU_DMA_CMD_TO_MEMORY	0x2

/* Where the DMA engine has the buffer; it is not in the BAR */
#define EDU_BUFFER		0x40000
#define EDU_BUFFER_SIZE		SZ_4K

/* A copy takes the device 100 ms in each direction */
#define EDU_MAX_COUNT		16
#define EDU_TIMEOUT_MS		10000

/* The copies that memcpy_start() has begun and memcpy_wait() will finish */
struct edu {
	void *bar0;
	iova_t src;
	iova_t dst;
	u64 size;
	u64 count;
};

static struct edu *to_edu(struct vfio_pci_device *device)
{
	return device->driver.region.vaddr;
}

static int edu_probe(struct vfio_pci_device *device)
{
	if (!vfio_pci_device_match(device, EDU_VENDOR_ID, EDU_DEVICE_ID))
		return -EINVAL;

	return 0;
}

static int edu_dma_wait(struct edu *edu)
{
	int i;

	for (i = 0; i < EDU_TIMEOUT_MS; i++) {
		if (!(readq(edu->bar0 + EDU_DMA_CMD) & EDU_DMA_CMD_RUN))
			return 0;
		usleep(1000);
	}

	return -ETIMEDOUT;
}

static void edu_dma_start(struct edu *edu, u64 src, u64 dst, u64 cmd)
{
	writeq(src, edu->bar0 + EDU_DMA_SRC);
	writeq(dst, edu->bar0 + EDU_DMA_DST);
	writeq(edu->size, edu->bar0 + EDU_DMA_COUNT);
	writeq(cmd | EDU_DMA_CMD_RUN, edu->bar0 + EDU_DMA_CMD);
}

static void edu_init(struct vfio_pci_device *device)
{
	struct edu *edu = to_edu(device);

	VFIO_ASSERT_GE(device->driver.region.size, sizeof(*edu));

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	edu->bar0 = device->bars[0].vaddr;

	/* Nothing stops a copy: let the one of an earlier user end */
	VFIO_ASSERT_EQ(edu_dma_wait(edu), 0);

	vfio_pci_msi_enable(device, 0, 1);

	device->driver.max_memcpy_size = EDU_BUFFER_SIZE;
	device->driver.max_memcpy_count = EDU_MAX_COUNT;
	device->driver.msi = 0;
}

static void edu_remove(struct vfio_pci_device *device)
{
	vfio_pci_msi_disable(device);
	vfio_pci_cmd_clear(device, PCI_COMMAND_MASTER);
}

static void edu_memcpy_start(struct vfio_pci_device *device, iova_t src,
			     iova_t dst, u64 size, u64 count)
{
	struct edu *edu = to_edu(device);

	edu->src = src;
	edu->dst = dst;
	edu->size = size;
	edu->count = count;

	edu_dma_start(edu, src, EDU_BUFFER, 0);
}

static int edu_memcpy_wait(struct vfio_pci_device *device)
{
	struct edu *edu = to_edu(device);
	int ret;

	for (;;) {
		ret = edu_dma_wait(edu);
		if (ret)
			return ret;

		edu_dma_start(edu, EDU_BUFFER, edu->dst, EDU_DMA_CMD_TO_MEMORY);
		ret = edu_dma_wait(edu);
		if (ret || !--edu->count)
			return ret;

		edu_dma_start(edu, edu->src, EDU_BUFFER, 0);
	}
}

static void edu_send_msi(struct vfio_pci_device *device)
{
	struct edu *edu = to_edu(device);

	writel(1, edu->bar0 + EDU_IRQ_RAISE);
	writel(1, edu->bar0 + EDU_IRQ_ACK);
}

const struct vfio_pci_driver_ops edu_ops = {
	.name = "edu",
	.probe = edu_probe,
	.init = edu_init,
	.remove = edu_remove,
	.memcpy_start = edu_memcpy_start,
	.memcpy_wait = edu_memcpy_wait,
	.send_msi = edu_send_msi,
};

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A PCI function through VFIO's character device: open, bind, look at the
 * regions, export a part of a BAR as a dma-buf
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "tdi-vmm.h"

void vfio_open(struct vfio_pci *dev, const char *bdf)
{
	char path[64];

	pci_vfio_cdev(bdf, path, sizeof(path));
	dev->bdf = bdf;
	dev->fd = open(path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0) {
		if (errno == ENOENT)
			hint("needs CONFIG_VFIO_DEVICE_CDEV");
		fail("%s of %s: %s", path, bdf, strerror(errno));
	}
	say("%s is %s", bdf, path);
}

static __u64 vfio_region(struct vfio_pci *dev, __u32 index, __u64 *offset)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	if (xioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		fail("VFIO_DEVICE_GET_REGION_INFO %u of %s: %s", index,
		     dev->bdf, strerror(errno));
	*offset = info.offset;
	return info.size;
}

static void vfio_read(struct vfio_pci *dev, __u32 index, __u64 offset,
		      void *buf, __u64 size)
{
	__u64 base;
	ssize_t ret;

	vfio_region(dev, index, &base);
	ret = pread(dev->fd, buf, size, base + offset);
	if (ret != (ssize_t)size)
		fail("%s: read of region %u at 0x%llx: %s", dev->bdf, index,
		     offset, ret < 0 ? strerror(errno) : "short");
}

static void vfio_write(struct vfio_pci *dev, __u32 index, __u64 offset,
		       const void *buf, __u64 size)
{
	__u64 base;
	ssize_t ret;

	vfio_region(dev, index, &base);
	ret = pwrite(dev->fd, buf, size, base + offset);
	if (ret != (ssize_t)size)
		fail("%s: write of region %u at 0x%llx: %s", dev->bdf, index,
		     offset, ret < 0 ? strerror(errno) : "short");
}

/*
 * The device is usable from here on. A VMM that will bind a device interface to
 * a confidential VM gives the device's file to KVM's VFIO device before this.
 */
void vfio_bind(struct vfio_pci *dev, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};

	if (xioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
		if (errno == EPERM)
			hint("the IOMMU must isolate interrupts: CONFIG_IRQ_REMAP");
		if (errno == EBUSY)
			hint("somebody has it, or another one of its IOMMU group");
		fail("VFIO_DEVICE_BIND_IOMMUFD of %s: %s", dev->bdf,
		     strerror(errno));
	}
	dev->devid = bind.out_devid;

	vfio_read(dev, VFIO_PCI_CONFIG_REGION_INDEX, PCI_VENDOR_ID,
		  &dev->vendor, sizeof(dev->vendor));
	vfio_read(dev, VFIO_PCI_CONFIG_REGION_INDEX, PCI_DEVICE_ID,
		  &dev->device, sizeof(dev->device));
	say("%s is %04x:%04x, bound to iommufd as device %u", dev->bdf,
	    dev->vendor, dev->device, dev->devid);
}

/* What the device reaches by DMA is the IOAS from here on */
void vfio_attach(struct vfio_pci *dev, __u32 ioas)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = ioas,
	};

	if (xioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		fail("VFIO_DEVICE_ATTACH_IOMMUFD_PT of %s: %s", dev->bdf,
		     strerror(errno));
}

/* 0 if there is no memory BAR of this number */
__u64 vfio_bar_size(struct vfio_pci *dev, unsigned int bar)
{
	__u64 offset;
	__u32 value;

	vfio_read(dev, VFIO_PCI_CONFIG_REGION_INDEX,
		  PCI_BASE_ADDRESS_0 + 4 * bar, &value, sizeof(value));
	if ((value & PCI_BASE_ADDRESS_SPACE) == PCI_BASE_ADDRESS_SPACE_IO)
		return 0;
	return vfio_region(dev, VFIO_PCI_BAR0_REGION_INDEX + bar, &offset);
}

void vfio_bar_read(struct vfio_pci *dev, unsigned int bar, __u64 offset,
		   void *buf, __u64 size)
{
	vfio_read(dev, VFIO_PCI_BAR0_REGION_INDEX + bar, offset, buf, size);
}

void vfio_bar_write(struct vfio_pci *dev, unsigned int bar, __u64 offset,
		    const void *buf, __u64 size)
{
	vfio_write(dev, VFIO_PCI_BAR0_REGION_INDEX + bar, offset, buf, size);
}

__u16 vfio_command(struct vfio_pci *dev)
{
	__u16 command;

	vfio_read(dev, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command,
		  sizeof(command));
	return command;
}

/* This is all that a VMM does when its guest writes to the command register */
void vfio_set_command(struct vfio_pci *dev, __u16 clear, __u16 set)
{
	__u16 command = (vfio_command(dev) & ~clear) | set;

	vfio_write(dev, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command,
		   sizeof(command));
}

/*
 * Returns the dma-buf's fd. One range here; a BAR of which a part cannot be
 * given away, such as the pages of an MSI-X table, has several.
 */
int vfio_export_bar(struct vfio_pci *dev, unsigned int bar, __u64 offset,
		    __u64 size, __u32 flags)
{
	struct vfio_device_feature_dma_buf *export;
	struct vfio_device_feature *feature;
	size_t argsz;
	int fd;

	argsz = sizeof(*feature) + sizeof(*export) +
		sizeof(export->dma_ranges[0]);
	feature = calloc(1, argsz);
	if (!feature)
		fail("out of memory");
	export = (void *)feature->data;

	feature->argsz = argsz;
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	export->region_index = VFIO_PCI_BAR0_REGION_INDEX + bar;
	export->open_flags = O_RDWR | O_CLOEXEC;
	export->flags = flags;
	export->nr_ranges = 1;
	export->dma_ranges[0].offset = offset;
	export->dma_ranges[0].length = size;

	fd = xioctl(dev->fd, VFIO_DEVICE_FEATURE, feature);
	if (fd < 0) {
		if (errno == ENOTTY)
			hint("the kernel needs CONFIG_PCI_P2PDMA");
		if (errno == EOPNOTSUPP)
			hint("the driver does not export or, for private, no TSM is connected");
		fail("VFIO_DEVICE_FEATURE_DMA_BUF of BAR%u of %s: %s", bar,
		     dev->bdf, strerror(errno));
	}
	free(feature);
	return fd;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The BAR: its layout, memory decode, and the two ways to give it away, by mmap()
 * and by dma-buf
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "bench.h"

static __u64 region_of(struct bar *bar, __u32 index, __u64 *size)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	if (xioctl(bar->dev.fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		fail("VFIO_DEVICE_GET_REGION_INFO %u: %s", index,
		     strerror(errno));
	if (size)
		*size = info.size;
	return info.offset;
}

void bar_open(struct bar *bar, const char *bdf, unsigned int index)
{
	bar->index = index;
	vfio_open(&bar->dev, bdf);
}

/* The device is bound to iommufd, or in a container */
void bar_setup(struct bar *bar)
{
	bar->region = region_of(bar, VFIO_PCI_BAR0_REGION_INDEX + bar->index,
				&bar->size);
	bar->config = region_of(bar, VFIO_PCI_CONFIG_REGION_INDEX, NULL);
	if (!bar->size)
		fail("%s has no BAR%u", bar->dev.bdf, bar->index);
	bar->command = vfio_command(&bar->dev) | PCI_COMMAND_MASTER;
	bar_decode(bar, true);
}

/* What a VMM does when its guest writes to the command register */
void bar_decode(struct bar *bar, bool on)
{
	if (on)
		bar->command |= PCI_COMMAND_MEMORY;
	else
		bar->command &= ~PCI_COMMAND_MEMORY;

	if (pwrite(bar->dev.fd, &bar->command, sizeof(bar->command),
		   bar->config + PCI_COMMAND) != sizeof(bar->command))
		fail("write of the command register: %s", strerror(errno));
}

int bar_export(struct bar *bar, const struct segment *segments, unsigned int nr)
{
	struct vfio_device_feature_dma_buf *export;
	struct vfio_device_feature *feature;
	size_t argsz;
	int fd;

	argsz = sizeof(*feature) + sizeof(*export) +
		nr * sizeof(export->dma_ranges[0]);
	feature = calloc(1, argsz);
	if (!feature)
		fail("out of memory");
	export = (void *)feature->data;

	feature->argsz = argsz;
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	export->region_index = VFIO_PCI_BAR0_REGION_INDEX + bar->index;
	export->open_flags = O_RDWR | O_CLOEXEC;
	export->nr_ranges = nr;
	for (unsigned int i = 0; i < nr; i++) {
		export->dma_ranges[i].offset = segments[i].offset;
		export->dma_ranges[i].length = segments[i].size;
	}

	fd = xioctl(bar->dev.fd, VFIO_DEVICE_FEATURE, feature);
	if (fd < 0)
		fail("VFIO_DEVICE_FEATURE_DMA_BUF, %u ranges: %s", nr,
		     strerror(errno));
	free(feature);
	return fd;
}

static __u64 bar_reserve(struct bar *bar)
{
	return ALIGN_UP(bar->size, SZ_1G) + 2 * SZ_1G;
}

/*
 * The segments, each as far from the address that is returned as it is from the
 * BAR's beginning. That address is a multiple of 1 GiB, but for @misaligned.
 */
void *bar_mmap(struct bar *bar, const struct layout *layout, __u64 misaligned)
{
	__u64 base;
	void *addr;

	addr = mmap(NULL, bar_reserve(bar), PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		fail("mmap of nothing: %s", strerror(errno));
	base = ALIGN_UP((__u64)(uintptr_t)addr, SZ_1G);
	/* bar_munmap() finds in this way what is reserved */
	if (base != (uintptr_t)addr)
		munmap(addr, base - (uintptr_t)addr);
	munmap((void *)(uintptr_t)(base + bar_reserve(bar) - SZ_1G),
	       SZ_1G - (base - (uintptr_t)addr));
	base += misaligned;

	for (unsigned int i = 0; i < layout->nr; i++) {
		const struct segment *segment = &layout->segments[i];

		addr = mmap((void *)(uintptr_t)(base + segment->offset),
			    segment->size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED, bar->dev.fd,
			    bar->region + segment->offset);
		if (addr == MAP_FAILED)
			fail("mmap of the BAR: %s", strerror(errno));
	}
	return (void *)(uintptr_t)base;
}

void bar_munmap(struct bar *bar, void *addr)
{
	__u64 base = (uintptr_t)addr / SZ_1G * SZ_1G;

	munmap((void *)(uintptr_t)base, bar_reserve(bar) - SZ_1G);
}

__u64 layout_size(const struct layout *layout)
{
	__u64 size = 0;

	for (unsigned int i = 0; i < layout->nr; i++)
		size += layout->segments[i].size;
	return size;
}

static void layout_around(struct layout *layout, const char *name, __u64 size,
			  __u64 hole, __u64 end)
{
	layout->name = name;
	layout->nr = 0;
	if (hole)
		layout->segments[layout->nr++] = (struct segment){ 0, hole };
	if (end < size)
		layout->segments[layout->nr++] =
			(struct segment){ end, size - end };
}

/* The pages of the MSI-X table and PBA, if they are in this BAR */
static bool bar_msix(struct bar *bar, __u64 *first, __u64 *end)
{
	__u8 pos, id, next;
	__u16 flags;
	__u32 where;

	if (pread(bar->dev.fd, &pos, 1, bar->config + PCI_CAPABILITY_LIST) != 1)
		fail("read of the config space: %s", strerror(errno));
	for (;; pos = next) {
		if (!pos)
			return false;
		if (pread(bar->dev.fd, &id, 1, bar->config + pos) != 1 ||
		    pread(bar->dev.fd, &next, 1, bar->config + pos + 1) != 1)
			fail("read of the config space: %s", strerror(errno));
		if (id == PCI_CAP_ID_MSIX)
			break;
	}

	if (pread(bar->dev.fd, &flags, 2, bar->config + pos + PCI_MSIX_FLAGS) != 2)
		fail("read of the config space: %s", strerror(errno));
	flags = (flags & PCI_MSIX_FLAGS_QSIZE) + 1;
	*first = ~0ULL;
	*end = 0;
	for (unsigned int i = 0; i < 2; i++) {
		__u64 offset, size;

		if (pread(bar->dev.fd, &where, 4, bar->config + pos +
			  (i ? PCI_MSIX_PBA : PCI_MSIX_TABLE)) != 4)
			fail("read of the config space: %s", strerror(errno));
		if ((where & PCI_MSIX_PBA_BIR) != bar->index)
			continue;
		offset = where & PCI_MSIX_PBA_OFFSET;
		size = i ? ALIGN_UP(flags, 64) / 8 : flags * PCI_MSIX_ENTRY_SIZE;
		if (offset < *first)
			*first = offset;
		if (offset + size > *end)
			*end = offset + size;
	}
	*first = *first / SZ_4K * SZ_4K;
	*end = ALIGN_UP(*end, SZ_4K);
	return *end != 0;
}

/* Where the device has none, a table of 2048 entries in the way that a NIC has it */
#define HOLE_FIRST	0x81000ULL
#define HOLE_END	0x8a000ULL

void bar_layouts(struct bar *bar, const struct options *opt,
		 struct layout *whole, struct layout *hole)
{
	__u64 first = HOLE_FIRST, end = HOLE_END;
	bool msix = bar_msix(bar, &first, &end);

	layout_around(whole, "whole", bar->size, 0, 0);
	layout_around(hole, msix ? "msix" : "hole", bar->size, first, end);
	if (whole->nr != 1 || hole->nr != 2)
		fail("BAR%u of %s has no room for a hole", bar->index,
		     bar->dev.bdf);
	value("bar", opt->stock ? "stock" : "ours", "size", bar->size);
	if (msix)
		value("bar", opt->stock ? "stock" : "ours", "msix", first);
}

/* BAR and gpa are congruent: the bench places them so */
__u64 next_leaf(__u64 gpa, __u64 end)
{
	if (!(gpa % SZ_1G) && end - gpa >= SZ_1G)
		return SZ_1G;
	if (!(gpa % SZ_2M) && end - gpa >= SZ_2M)
		return SZ_2M;
	return SZ_4K;
}

struct leaves count_leaves(const struct layout *layout)
{
	struct leaves leaves = {};

	for (unsigned int i = 0; i < layout->nr; i++) {
		__u64 at = layout->segments[i].offset;
		__u64 end = at + layout->segments[i].size;

		while (at < end) {
			__u64 step = next_leaf(at, end);

			leaves.nr_4k += step == SZ_4K;
			leaves.nr_2m += step == SZ_2M;
			leaves.nr_1g += step == SZ_1G;
			at += step;
		}
	}
	return leaves;
}

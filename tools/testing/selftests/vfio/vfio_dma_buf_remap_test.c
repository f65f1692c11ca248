// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device's DMA into the BAR of another device sees when that is taken
 * away and given back: with a real IOMMU, and real accesses.
 *
 * usage: vfio_dma_buf_remap_test [options] exporter dma-master
 *
 * libvfio has to have a driver for the second device. The largest BAR of the
 * first one is written to, and has to have memory behind it.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <sys/ioctl.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

static const char *device_bdf;
static const char *master_bdf;
static size_t page_size;

/* In an order that is not that of the addresses, and with holes */
static const unsigned int pages[] = { 5, 0, 1, 3 };
#define NR_PAGES ARRAY_SIZE(pages)
#define BAR_PAGES 8

FIXTURE(vfio_dma_buf_remap)
{
	struct vfio_pci_p2p p2p;
	iova_t iova;
	int fd;
};

FIXTURE_SETUP(vfio_dma_buf_remap)
{
	struct vfio_region_dma_range ranges[] = {
		{ .offset = 5 * page_size, .length = page_size },
		{ .offset = 0, .length = 2 * page_size },
		{ .offset = 3 * page_size, .length = page_size },
	};
	struct vfio_pci_p2p *p2p = &self->p2p;
	const char *why;

	self->fd = -1;
	why = vfio_pci_p2p_init(p2p, device_bdf, master_bdf,
				BAR_PAGES * page_size);
	if (why)
		SKIP(return, "%s", why);

	self->fd = vfio_pci_dma_buf_export_ranges(p2p->device, p2p->bar, ranges,
						  ARRAY_SIZE(ranges));
	self->iova = iova_allocator_alloc(p2p->iovas, NR_PAGES * page_size);
	iommu_map_dma_buf(p2p->iommu, self->fd, 0, NR_PAGES * page_size,
			  self->iova);
}

FIXTURE_TEARDOWN(vfio_dma_buf_remap)
{
	if (self->fd >= 0) {
		iommu_unmap_dma_buf(self->p2p.iommu, NR_PAGES * page_size,
				    self->iova);
		ASSERT_EQ(0, close(self->fd));
	}
	vfio_pci_p2p_cleanup(&self->p2p);
}

/* How many pages of the buffer the DMA reads right, and writes */
static unsigned int reachable(struct vfio_pci_p2p *p2p, iova_t iova, u32 seed)
{
	unsigned int nr = 0;
	int i;

	for (i = 0; i < BAR_PAGES; i++)
		dma_pattern_fill(p2p->bar_vaddr + i * page_size,
				 seed + i * 0x100);

	for (i = 0; i < NR_PAGES; i++) {
		void *page = p2p->bar_vaddr + pages[i] * page_size;

		if (vfio_pci_p2p_reads(p2p, iova, seed + pages[i] * 0x100) &&
		    vfio_pci_p2p_writes(p2p, iova, page, ~seed - i))
			nr++;
		iova += page_size;
	}
	return nr;
}

#define ASSERT_REACHABLE(seed) \
	ASSERT_EQ(NR_PAGES, reachable(&self->p2p, self->iova, seed))

/* The CPU cannot get at it either, so that only DMA is left to look at */
static bool reads_nothing(struct vfio_pci_p2p *p2p, iova_t iova)
{
	static const u8 zero[DMA_PATTERN_SIZE];
	bool nothing = true;
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		vfio_pci_p2p_reads(p2p, iova + i * page_size, 0);
		nothing &= !memcmp(p2p->ram.vaddr, zero, sizeof(zero));
	}
	return nothing;
}

#define ASSERT_UNREACHABLE() \
	ASSERT_TRUE(reads_nothing(&self->p2p, self->iova))

static void decode_off(struct vfio_pci_p2p *p2p)
{
	vfio_pci_cmd_clear(p2p->device, PCI_COMMAND_MEMORY);
}

static void decode_on(struct vfio_pci_p2p *p2p)
{
	vfio_pci_cmd_set(p2p->device, PCI_COMMAND_MEMORY);
}

TEST_F_TIMEOUT(vfio_dma_buf_remap, decode, 120)
{
	ASSERT_REACHABLE(0x1000);
	decode_off(&self->p2p);
	ASSERT_UNREACHABLE();

	/* No call of userspace to the importer */
	decode_on(&self->p2p);
	ASSERT_REACHABLE(0x2000);
}

TEST_F_TIMEOUT(vfio_dma_buf_remap, reset, 120)
{
	struct vfio_pci_device *device = self->p2p.device;

	if (!(device->info.flags & VFIO_DEVICE_FLAGS_RESET))
		SKIP(return, "%s cannot be reset", device_bdf);

	ASSERT_REACHABLE(0x1000);
	vfio_pci_device_reset(device);
	ASSERT_REACHABLE(0x2000);

	/* Not with the reset, but with the decode after it */
	decode_off(&self->p2p);
	vfio_pci_device_reset(device);
	ASSERT_UNREACHABLE();
	decode_on(&self->p2p);
	ASSERT_REACHABLE(0x3000);
}

static void detach(struct vfio_pci_device *device)
{
	struct vfio_device_detach_iommufd_pt args = {
		.argsz = sizeof(args),
	};

	VFIO_ASSERT_EQ(0, ioctl(device->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT,
				&args));
}

static void attach(struct vfio_pci_device *device, u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt args = {
		.argsz = sizeof(args),
		.pt_id = pt_id,
	};

	VFIO_ASSERT_EQ(0, ioctl(device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
				&args));
}

/* The domain is made when the first device is attached, and goes with the last */
TEST_F_TIMEOUT(vfio_dma_buf_remap, attach_while_revoked, 120)
{
	struct vfio_pci_p2p *p2p = &self->p2p;

	ASSERT_REACHABLE(0x1000);
	decode_off(&self->p2p);
	detach(p2p->master);
	detach(p2p->device);

	attach(p2p->master, p2p->iommu->ioas_id);
	ASSERT_UNREACHABLE();
	decode_on(&self->p2p);
	ASSERT_REACHABLE(0x2000);

	attach(p2p->device, p2p->iommu->ioas_id);
	decode_off(&self->p2p);
	decode_on(&self->p2p);
	ASSERT_REACHABLE(0x3000);
}

/* A mapping that was made while the buffer was away */
TEST_F_TIMEOUT(vfio_dma_buf_remap, map_while_revoked, 120)
{
	struct iommu *iommu = self->p2p.iommu;
	size_t size = NR_PAGES * page_size;

	iommu_unmap_dma_buf(iommu, size, self->iova);
	decode_off(&self->p2p);
	iommu_map_dma_buf(iommu, self->fd, 0, size, self->iova);
	ASSERT_UNREACHABLE();
	decode_on(&self->p2p);
	ASSERT_REACHABLE(0x1000);
}

static u32 ioas_alloc(int iommufd)
{
	struct iommu_ioas_alloc args = {
		.size = sizeof(args),
	};

	VFIO_ASSERT_EQ(0, ioctl(iommufd, IOMMU_IOAS_ALLOC, &args));
	return args.out_ioas_id;
}

/* To the same IOVA in another IOAS */
static void ioas_copy(struct iommu *iommu, u32 dst_ioas_id, iova_t iova, u64 size)
{
	struct iommu_ioas_copy args = {
		.size = sizeof(args),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.src_ioas_id = iommu->ioas_id,
		.dst_ioas_id = dst_ioas_id,
		.src_iova = iova,
		.dst_iova = iova,
		.length = size,
	};

	VFIO_ASSERT_EQ(0, ioctl(iommu->iommufd, IOMMU_IOAS_COPY, &args));
}

/*
 * The master moves to an IOAS that has a copy of all mappings, made while the
 * buffer was away, and back
 */
TEST_F_TIMEOUT(vfio_dma_buf_remap, copy_while_revoked, 120)
{
	struct vfio_pci_p2p *p2p = &self->p2p;
	struct dma_region *region = &p2p->master->driver.region;
	struct iommu *iommu = p2p->iommu;
	u32 copy = ioas_alloc(iommu->iommufd);

	ASSERT_REACHABLE(0x1000);
	decode_off(&self->p2p);
	ioas_copy(iommu, copy, region->iova, region->size);
	ioas_copy(iommu, copy, p2p->ram.iova, p2p->ram.size);
	ioas_copy(iommu, copy, self->iova, NR_PAGES * page_size);

	attach(p2p->master, copy);
	ASSERT_UNREACHABLE();
	decode_on(&self->p2p);
	ASSERT_REACHABLE(0x2000);

	/* The first mapping goes, and the copy stays and comes back */
	iommu_unmap_dma_buf(iommu, NR_PAGES * page_size, self->iova);
	ASSERT_REACHABLE(0x3000);
	decode_off(&self->p2p);
	ASSERT_UNREACHABLE();
	decode_on(&self->p2p);
	ASSERT_REACHABLE(0x4000);

	/* No mapping, no access */
	attach(p2p->master, iommu->ioas_id);
	ASSERT_UNREACHABLE();
	iommu_map_dma_buf(iommu, self->fd, 0, NR_PAGES * page_size, self->iova);
	ASSERT_REACHABLE(0x5000);
}

/* A page table that another can be nested in: stage-2 of those with two stages */
static u32 nest_parent_alloc(struct vfio_pci_p2p *p2p)
{
	struct iommu_hwpt_alloc args = {
		.size = sizeof(args),
		.flags = IOMMU_HWPT_ALLOC_NEST_PARENT,
		.dev_id = p2p->master->dev_id,
		.pt_id = p2p->iommu->ioas_id,
	};

	if (!ioctl(p2p->iommu->iommufd, IOMMU_HWPT_ALLOC, &args))
		return args.out_hwpt_id;
	VFIO_ASSERT_EQ(EOPNOTSUPP, errno);
	return 0;
}

static void hwpt_destroy(struct iommu *iommu, u32 id)
{
	struct iommu_destroy args = {
		.size = sizeof(args),
		.id = id,
	};

	VFIO_ASSERT_EQ(0, ioctl(iommu->iommufd, IOMMU_DESTROY, &args));
}

TEST_F_TIMEOUT(vfio_dma_buf_remap, nest_parent, 120)
{
	struct vfio_pci_p2p *p2p = &self->p2p;
	u32 hwpt_id = nest_parent_alloc(p2p);

	if (!hwpt_id)
		SKIP(return, "The IOMMU has no page tables to nest others in");

	attach(p2p->master, hwpt_id);
	ASSERT_REACHABLE(0x1000);
	decode_off(p2p);
	ASSERT_UNREACHABLE();
	decode_on(p2p);
	ASSERT_REACHABLE(0x2000);
	attach(p2p->master, p2p->iommu->ioas_id);
	hwpt_destroy(p2p->iommu, hwpt_id);

	/* One that is made while the buffer is away */
	decode_off(p2p);
	hwpt_id = nest_parent_alloc(p2p);
	ASSERT_NE(0, hwpt_id);
	attach(p2p->master, hwpt_id);
	ASSERT_UNREACHABLE();
	decode_on(p2p);
	ASSERT_REACHABLE(0x3000);
	attach(p2p->master, p2p->iommu->ioas_id);
	hwpt_destroy(p2p->iommu, hwpt_id);
}

/* The whole slot; the device that is in it is reset by its bridge */
TEST_F_TIMEOUT(vfio_dma_buf_remap, hot_reset, 120)
{
	struct vfio_pci_device *device = self->p2p.device;
	struct vfio_pci_hot_reset args = {
		.argsz = sizeof(args),
	};

	ASSERT_REACHABLE(0x1000);

	/*
	 * A reset that fails is over, too. Root ports of QEMU are reset, but then
	 * the kernel waits for a link that they do not report, for an -ENOTTY.
	 */
	if (ioctl(device->fd, VFIO_DEVICE_PCI_HOT_RESET, &args)) {
		if (errno == ENODEV)
			SKIP(return, "%s has no hot reset", device_bdf);
		TH_LOG("The reset fails: %s", strerror(errno));
	}
	vfio_pci_p2p_enable_memory(&self->p2p);
	ASSERT_REACHABLE(0x2000);
}

TEST_F_TIMEOUT(vfio_dma_buf_remap, power_state, 120)
{
	struct vfio_pci_device *device = self->p2p.device;

	if (!vfio_pci_find_capability(device, PCI_CAP_ID_PM))
		SKIP(return, "%s has no power management capability", device_bdf);

	ASSERT_REACHABLE(0x1000);
	vfio_pci_set_power_state(device, 3);
	ASSERT_UNREACHABLE();
	vfio_pci_set_power_state(device, 0);
	ASSERT_REACHABLE(0x2000);
}

TEST_F_TIMEOUT(vfio_dma_buf_remap, low_power, 120)
{
	struct vfio_pci_device *device = self->p2p.device;
	int ret;

	ASSERT_REACHABLE(0x1000);
	ret = vfio_pci_low_power_entry(device, -1);
	if (ret == -ENOTTY)
		SKIP(return, "No low power mode");
	ASSERT_EQ(0, ret);
	ASSERT_UNREACHABLE();
	ASSERT_EQ(0, vfio_pci_low_power_exit(device));
	ASSERT_REACHABLE(0x2000);
}

int main(int argc, char *argv[])
{
	char **bdfs;
	int nr_bdfs;

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_bdfs);
	device_bdf = bdfs[0];
	if (nr_bdfs > 1)
		master_bdf = bdfs[1];
	page_size = getpagesize();

	return test_harness_run(argc, argv);
}

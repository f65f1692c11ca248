// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device as a TDI: who may access what in which state, what is refused, what
 * is undone when a bind fails, and what ends a TDI against the will of the VMM.
 *
 * usage: vfio_pci_tsm_test [options] device [other device [SR-IOV device]]
 *
 * There has to be a simulated TSM that the device is connected to, and its
 * largest BAR has to have memory behind it, 4 MiB at least:
 *
 *	insmod tsm-sim.ko devices=0000:01:00.0
 *	echo tsm0 > /sys/bus/pci/devices/0000:01:00.0/tsm/connect
 *
 * The third device, if there is one, is connected as well. Two of its virtual
 * functions are bound, for which vfio_pci.enable_sriov has to be set.
 *
 * The simulation watches who maps what. That it has nothing to complain about is
 * a part of each test.
 */
#include <stdatomic.h>

#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <linux/userfaultfd.h>

#include "vfio_pci_tsm.h"

FIXTURE(tsm)
{
	struct vmm vmm;
};

FIXTURE_SETUP(tsm)
{
	if (!vmm_start(&self->vmm))
		SKIP(return, "There is no tsm-sim");
}

FIXTURE_TEARDOWN(tsm)
{
	vmm_close(&self->vmm);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_EQ(0, violations());
}

TEST_F(tsm, state)
{
	struct vmm *vmm = &self->vmm;
	struct tdi tdi;

	ASSERT_EQ(0, tdi_get_room(vmm, &tdi, 64));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi.info.state);
	EXPECT_EQ(0, tdi.info.tdi_id);
	EXPECT_EQ(0, tdi.info.nr_ranges);
	EXPECT_EQ(0, tsm_unbind(vmm));

	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(0, tdi_get_room(vmm, &tdi, 64));
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi.info.state);
	EXPECT_EQ(TDI_ID, tdi.info.tdi_id);
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());

	EXPECT_EQ(-EBUSY, tsm_bind(vmm));
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));

	EXPECT_EQ(0, tsm_unbind(vmm));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(0, tsm_unbind(vmm));

	/* And that was all on request */
	EXPECT_FALSE(told(vmm, 0));
}

TEST_F(tsm, ranges)
{
	struct vmm *vmm = &self->vmm;
	u64 end[PCI_STD_NUM_BARS] = {};
	u32 i, bar = 0, msix = 0;
	struct tdi tdi;

	ASSERT_EQ(0, tsm_bind(vmm));

	ASSERT_EQ(-ENOSPC, tdi_get_room(vmm, &tdi, 1));
	EXPECT_LT(1, tdi.info.nr_ranges);
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi.info.state);
	EXPECT_EQ(~0ULL, tdi.ranges[0].offset);
	ASSERT_EQ(-ENOSPC, tdi_get_room(vmm, &tdi, 0));
	i = tdi.info.nr_ranges;
	ASSERT_EQ(0, tdi_get_room(vmm, &tdi, i));
	ASSERT_EQ(i, tdi.info.nr_ranges);

	for (i = 0; i < tdi.info.nr_ranges; i++) {
		struct vfio_device_tdi_range *range = &tdi.ranges[i];

		ASSERT_GT(PCI_STD_NUM_BARS, range->region_index);
		EXPECT_LE(bar, range->region_index);
		bar = range->region_index;
		EXPECT_EQ(end[bar], range->offset);
		end[bar] += range->length;

		if (range->flags & VFIO_DEVICE_TDI_RANGE_MSIX_TABLE) {
			EXPECT_FALSE(range->flags & VFIO_DEVICE_TDI_RANGE_PRIVATE);
			msix++;
		}
		if (bar == vmm->bar)
			EXPECT_EQ(range->offset >= SHARED_SIZE,
				  range->flags & VFIO_DEVICE_TDI_RANGE_PRIVATE);
	}
	EXPECT_EQ(1, msix);

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		struct vfio_region_info info;

		ASSERT_EQ(0, region_info(vmm, i, &info));
		EXPECT_EQ(info.size, end[i]);
	}

	/* They are not known any more */
	ASSERT_EQ(0, tsm_unbind(vmm));
	ASSERT_EQ(0, tdi_get_room(vmm, &tdi, 0));
	EXPECT_EQ(0, tdi.info.nr_ranges);
}

TEST_F(tsm, bad_arguments)
{
	struct vfio_device_tsm_bind bind = { .argsz = sizeof(bind) };
	struct vfio_device_tsm_unbind unbind = { .argsz = sizeof(unbind) };
	struct vmm *vmm = &self->vmm;
	int fd = vmm->device->fd;
	struct tdi tdi;

#define err_ioctl(_errno, _cmd, _arg, _field, _value) do {	\
	__auto_type _bad = *(_arg);				\
								\
	_bad._field = _value;					\
	EXPECT_EQ(-1, ioctl(fd, _cmd, &_bad));			\
	EXPECT_EQ(_errno, errno);				\
} while (0)

	err_ioctl(EINVAL, VFIO_DEVICE_TSM_BIND, &bind, argsz, sizeof(bind) - 1);
	err_ioctl(EINVAL, VFIO_DEVICE_TSM_BIND, &bind, flags, 1);
	err_ioctl(EINVAL, VFIO_DEVICE_TSM_BIND, &bind, reserved, 1);
	err_ioctl(EINVAL, VFIO_DEVICE_TSM_UNBIND, &unbind, argsz, 7);
	err_ioctl(EINVAL, VFIO_DEVICE_TSM_UNBIND, &unbind, flags, 1);
	EXPECT_EQ(-1, ioctl(fd, VFIO_DEVICE_TSM_BIND, NULL));
	EXPECT_EQ(EFAULT, errno);

	memset(&tdi, 0, sizeof(tdi));
	tdi.feature.argsz = offsetof(struct tdi, ranges) + 24;
	tdi.feature.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_TDI;
	tdi.info.nr_ranges = 1;
	EXPECT_EQ(0, ioctl(fd, VFIO_DEVICE_FEATURE, &tdi));
	err_ioctl(EINVAL, VFIO_DEVICE_FEATURE, &tdi, info.reserved, 1);
	tdi.info.nr_ranges = 1;
	err_ioctl(EINVAL, VFIO_DEVICE_FEATURE, &tdi, feature.argsz,
		  tdi.feature.argsz - 1);

	EXPECT_EQ(-EINVAL, tdi_set_eventfd(vmm, vmm->eventfd, 1));
	EXPECT_EQ(-EINVAL, tdi_set_eventfd(vmm, -2, 0));
	EXPECT_EQ(-EINVAL, tdi_set_eventfd(vmm, fd, 0));
	EXPECT_EQ(0, tdi_set_eventfd(vmm, -1, 0));

	EXPECT_UNBOUND(vmm);
}

TEST_F(tsm, no_vm)
{
	vmm_close(&self->vmm);
	vmm_open(&self->vmm, false);
	EXPECT_EQ(-ENXIO, tsm_bind(&self->vmm));
	EXPECT_UNBOUND(&self->vmm);
}

TEST_F(tsm, memory_disabled)
{
	struct vmm *vmm = &self->vmm;
	u16 command = config_read(vmm, PCI_COMMAND, 2) & ~PCI_COMMAND_MEMORY;

	ASSERT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	EXPECT_EQ(-EIO, tsm_bind(vmm));
	command |= PCI_COMMAND_MEMORY;
	ASSERT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

TEST_F(tsm, access)
{
	struct vmm *vmm = &self->vmm;
	u64 private = SHARED_SIZE;
	u32 value = 0;

	/* As impolite as it gets: everything is mapped, and in use */
	vmm->map[0] = 1;
	vmm->map[private / 4] = 2;

	ASSERT_EQ(0, tsm_bind(vmm));

	EXPECT_TRUE(touch(vmm->map, 0, &value));
	EXPECT_EQ(1, value);
	EXPECT_TRUE(touch(vmm->map, private - page_size, &value));
	EXPECT_FALSE(touch(vmm->map, private, &value));
	EXPECT_FALSE(touch(vmm->map, vmm->size - 4, &value));

	EXPECT_EQ(4, bar_write(vmm, vmm->bar, 0, 3));
	EXPECT_EQ(4, bar_read(vmm, vmm->bar, private - 4, &value));
	EXPECT_EQ(-EBUSY, bar_read(vmm, vmm->bar, private, &value));
	EXPECT_EQ(-EBUSY, bar_write(vmm, vmm->bar, private, 4));
	EXPECT_EQ(-EBUSY, bar_read(vmm, vmm->bar, vmm->size - 4, &value));

	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(3, vmm->map[0]);
	EXPECT_EQ(2, vmm->map[private / 4]);
}

TEST_F(tsm, ioeventfd)
{
	struct vmm *vmm = &self->vmm;
	int fd = eventfd(0, EFD_CLOEXEC);
	struct vfio_device_ioeventfd arg = {
		.argsz = sizeof(arg),
		.flags = VFIO_DEVICE_IOEVENTFD_32,
		.offset = region_offset(vmm->bar) + SHARED_SIZE,
		.data = 0xabcd,
		.fd = fd,
	};
	u64 one = 1;

	vmm->map[SHARED_SIZE / 4] = 5;
	ASSERT_EQ(0, ioctl(vmm->device->fd, VFIO_DEVICE_IOEVENTFD, &arg));

	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(8, write(fd, &one, 8));
	usleep(100000);
	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(5, vmm->map[SHARED_SIZE / 4]);

	ASSERT_EQ(8, write(fd, &one, 8));
	usleep(100000);
	EXPECT_EQ(0xabcd, vmm->map[SHARED_SIZE / 4]);
	close(fd);
}

TEST_F(tsm, importer)
{
	struct vmm *vmm = &self->vmm;
	int all = export(vmm, vmm->bar, 0, vmm->size, 0);
	int shared = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);

	ASSERT_LE(0, all);
	ASSERT_LE(0, shared);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, all, 0, vmm->size, SZ_1G));
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, shared, 0, SHARED_SIZE,
					 2ULL * SZ_1G));
	ASSERT_EQ(1, mapped(all));
	ASSERT_EQ(1, mapped(shared));

	ASSERT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(0, mapped(all));
	EXPECT_EQ(1, mapped(shared));

	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(1, mapped(all));
	EXPECT_EQ(1, mapped(shared));
	close(all);
	close(shared);
}

TEST_F(tsm, export)
{
	const u32 flag = VFIO_DMA_BUF_FLAG_PRIVATE;
	struct vmm *vmm = &self->vmm;
	u64 private = SHARED_SIZE;
	int fd;

	EXPECT_EQ(-EINVAL, export(vmm, vmm->bar, 0, page_size, 2));

	/* Unbound, anything goes */
	fd = export(vmm, vmm->bar, 0, vmm->size, flag);
	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-EOPNOTSUPP, __iommu_map_dma_buf(vmm->iommu, fd, 0, vmm->size,
						   SZ_1G));
	close(fd);
	fd = export(vmm, vmm->bar, private, page_size, flag);
	ASSERT_LE(0, fd);

	ASSERT_EQ(0, tsm_bind(vmm));
	close(fd);
	EXPECT_EQ(-EINVAL, export(vmm, vmm->bar, 0, page_size, flag));
	EXPECT_EQ(-EINVAL, export(vmm, vmm->bar, private - page_size,
				  2 * page_size, flag));
	EXPECT_EQ(-EBUSY, export(vmm, vmm->bar, private, page_size, 0));
	EXPECT_EQ(-EBUSY, export(vmm, vmm->bar, private - page_size,
				 2 * page_size, 0));
	fd = export(vmm, vmm->bar, private, vmm->size - private, flag);
	EXPECT_LE(0, fd);
	close(fd);
	fd = export(vmm, vmm->bar, 0, private, 0);
	EXPECT_LE(0, fd);
	ASSERT_EQ(0, tsm_unbind(vmm));
	close(fd);
}

/* What a write of config space returns, which must not change anything */
static ssize_t try_config_write(struct vmm *vmm, u32 pos, size_t size, u64 value)
{
	u64 offset = region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + pos;
	u64 before = 0, after = 0;
	ssize_t ret;

	VFIO_ASSERT_EQ(pread(vmm->device->fd, &before, size, offset), size);
	ret = config_write(vmm, pos, &value, size);
	VFIO_ASSERT_EQ(pread(vmm->device->fd, &after, size, offset), size);
	VFIO_ASSERT_EQ(before, after);
	return ret;
}

/* Refused, and the register, a mapping, and the TDI are as they were */
#define EXPECT_REFUSED(_vmm, _pos, _size, _data) do {				\
	EXPECT_EQ(-EBUSY, try_config_write(_vmm, _pos, _size, _data));		\
	EXPECT_EQ(1, mapped(shared));						\
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());				\
} while (0)

TEST_F(tsm, config)
{
	struct vmm *vmm = &self->vmm;
	u32 exp = find_cap(vmm, PCI_CAP_ID_EXP);
	u32 pm = find_cap(vmm, PCI_CAP_ID_PM);
	u32 command, devctl, bar, status, readrq, other;
	int shared;

	shared = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	ASSERT_LE(0, shared);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, shared, 0, SHARED_SIZE,
					 SZ_1G));

	/* Whether the size of read requests is more than virtual */
	ASSERT_NE(0, exp);
	devctl = config_read(vmm, exp + PCI_EXP_DEVCTL, 2);
	readrq = real_config(device_bdf, exp + PCI_EXP_DEVCTL) &
		 PCI_EXP_DEVCTL_READRQ;
	other = readrq == PCI_EXP_DEVCTL_READRQ_1024B ?
		PCI_EXP_DEVCTL_READRQ_512B : PCI_EXP_DEVCTL_READRQ_1024B;
	status = (devctl & ~PCI_EXP_DEVCTL_READRQ) | other;
	ASSERT_EQ(2, config_write(vmm, exp + PCI_EXP_DEVCTL, &status, 2));
	if ((real_config(device_bdf, exp + PCI_EXP_DEVCTL) &
	     PCI_EXP_DEVCTL_READRQ) != other)
		other = readrq;
	ASSERT_EQ(2, config_write(vmm, exp + PCI_EXP_DEVCTL, &devctl, 2));

	ASSERT_EQ(0, tsm_bind(vmm));
	command = config_read(vmm, PCI_COMMAND, 2);

	EXPECT_REFUSED(vmm, PCI_COMMAND, 2, command & ~PCI_COMMAND_MEMORY);
	EXPECT_REFUSED(vmm, PCI_COMMAND, 2, command & ~PCI_COMMAND_MASTER);
	EXPECT_REFUSED(vmm, PCI_COMMAND, 1, 0);
	EXPECT_REFUSED(vmm, PCI_COMMAND, 4, 0);
	/* A register that could be written comes before the one that cannot */
	EXPECT_REFUSED(vmm, PCI_ROM_ADDRESS - 4, 8, 0x1ULL << 32);
	/* The last byte of a write that is not aligned */
	EXPECT_REFUSED(vmm, PCI_COMMAND - 1, 2, 0);
	/* Self test, cache line size; both in one, with the header type */
	EXPECT_REFUSED(vmm, PCI_BIST, 1, PCI_BIST_START);
	status = config_read(vmm, PCI_CACHE_LINE_SIZE, 4);
	EXPECT_REFUSED(vmm, PCI_CACHE_LINE_SIZE, 1, (status ^ 0x10) & 0xff);
	EXPECT_REFUSED(vmm, PCI_CACHE_LINE_SIZE, 4, status ^ 0x10);
	EXPECT_EQ(4, config_write(vmm, PCI_CACHE_LINE_SIZE, &status, 4));

	if (pm) {
		EXPECT_REFUSED(vmm, pm + PCI_PM_CTRL, 2, 3);
		EXPECT_REFUSED(vmm, pm + PCI_PM_CTRL, 4, 1);
	}

	EXPECT_REFUSED(vmm, exp + PCI_EXP_DEVCTL, 2,
		       devctl | PCI_EXP_DEVCTL_BCR_FLR);
	EXPECT_REFUSED(vmm, exp + PCI_EXP_DEVCTL + 1, 1,
		       (devctl | PCI_EXP_DEVCTL_BCR_FLR) >> 8);
	EXPECT_REFUSED(vmm, exp + PCI_EXP_DEVCTL, 2, devctl ^ PCI_EXP_DEVCTL_CERE);

	/* No change, and what is virtual */
	EXPECT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	command |= PCI_COMMAND_INTX_DISABLE;
	EXPECT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	command &= ~PCI_COMMAND_INTX_DISABLE;
	EXPECT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	status = 0xffff;
	EXPECT_EQ(2, config_write(vmm, PCI_STATUS, &status, 2));
	bar = config_read(vmm, PCI_BASE_ADDRESS_0, 4);
	status = ~0;
	EXPECT_EQ(4, config_write(vmm, PCI_BASE_ADDRESS_0, &status, 4));
	EXPECT_NE(bar, config_read(vmm, PCI_BASE_ADDRESS_0, 4));
	EXPECT_EQ(4, config_write(vmm, PCI_BASE_ADDRESS_0, &bar, 4));
	devctl = (devctl & ~PCI_EXP_DEVCTL_READRQ) | other;
	EXPECT_EQ(2, config_write(vmm, exp + PCI_EXP_DEVCTL, &devctl, 2));
	EXPECT_EQ(readrq, real_config(device_bdf, exp + PCI_EXP_DEVCTL) &
			  PCI_EXP_DEVCTL_READRQ);
	status = 0;
	if (pm)
		EXPECT_EQ(2, config_write(vmm, pm + PCI_PM_CTRL, &status, 2));

	EXPECT_EQ(1, mapped(shared));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));

	/* The way of a VMM: unbind, and write again */
	ASSERT_EQ(0, tsm_unbind(vmm));
	/* What could not be passed on is by now */
	EXPECT_EQ(other,
		  real_config(device_bdf, exp + PCI_EXP_DEVCTL) &
		  PCI_EXP_DEVCTL_READRQ);
	command &= ~(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	EXPECT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	EXPECT_EQ(0, mapped(shared));
	command |= PCI_COMMAND_MEMORY;
	EXPECT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	EXPECT_EQ(1, mapped(shared));
	close(shared);
}

static u32 real_config32(const char *bdf, u32 offset)
{
	return real_config(bdf, offset) | (u32)real_config(bdf, offset + 2) << 16;
}

/* In the PCI core's view; 0 if there is none */
static u32 find_ext_cap(const char *bdf, u16 id)
{
	u32 pos = PCI_CFG_SPACE_SIZE, header;
	int i;

	for (i = 0; pos && i < 480; i++) {
		header = real_config32(bdf, pos);
		if (!header || header == ~0U)
			break;
		if (PCI_EXT_CAP_ID(header) == id)
			return pos;
		pos = PCI_EXT_CAP_NEXT(header);
	}
	return 0;
}

/* What the TSM talks to the device by, and has the keys of the link in, is not VFIO's */
TEST_F(tsm, config_of_tsm)
{
	static const struct {
		u16 id;
		u32 size;
	} caps[] = {
		{ PCI_EXT_CAP_ID_DOE, PCI_DOE_READ },
		/* Up to where the first stream is, in any case */
		{ PCI_EXT_CAP_ID_IDE, PCI_IDE_CTL + 4 },
	};
	/* All that there is to set, but not the bit by which DOE is aborted */
	u32 ones = ~1, before, pos, at;
	struct vmm *vmm = &self->vmm;
	bool any = false;
	int i, bound;

	for (bound = 0; bound < 2; bound++) {
		for (i = 0; i < ARRAY_SIZE(caps); i++) {
			pos = find_ext_cap(device_bdf, caps[i].id);
			any |= pos;
			for (at = 4; pos && at < caps[i].size; at += 4) {
				before = real_config32(device_bdf, pos + at);
				EXPECT_EQ(4, config_write(vmm, pos + at, &ones, 4));
				EXPECT_EQ(before, real_config32(device_bdf, pos + at)) {
					TH_LOG("capability %#x, at %#x", caps[i].id, at);
				}
			}
		}
		if (!any)
			SKIP(return, "%s has neither DOE nor IDE", device_bdf);
		if (!bound)
			ASSERT_EQ(0, tsm_bind(vmm));
	}
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
}

static int feature_set(struct vmm *vmm, u32 feature)
{
	struct vfio_device_feature arg = {
		.argsz = sizeof(arg),
		.flags = VFIO_DEVICE_FEATURE_SET | feature,
	};

	return ioctl(vmm->device->fd, VFIO_DEVICE_FEATURE, &arg) ? -errno : 0;
}

static int detach(struct vmm *vmm)
{
	struct vfio_device_detach_iommufd_pt arg = { .argsz = sizeof(arg) };

	return ioctl(vmm->device->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &arg) ?
	       -errno : 0;
}

static int attach(struct vmm *vmm, u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt arg = {
		.argsz = sizeof(arg),
		.pt_id = pt_id,
	};

	return ioctl(vmm->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg) ?
	       -errno : 0;
}

TEST_F(tsm, requests)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct vfio_pci_hot_reset hot = { .argsz = sizeof(hot) };
	struct vmm *vmm = &self->vmm;
	struct vfio_region_info info;
	int shared, ret;
	u32 value;

	shared = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	ASSERT_LE(0, shared);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, shared, 0, SHARED_SIZE,
					 SZ_1G));
	ioctl_assert(vmm->iommu->iommufd, IOMMU_IOAS_ALLOC, &ioas);
	ASSERT_EQ(0, tsm_bind(vmm));

	EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(vmm->device));
	EXPECT_EQ(-1, ioctl(vmm->device->fd, VFIO_DEVICE_PCI_HOT_RESET, &hot));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(-EBUSY, feature_set(vmm, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));
	EXPECT_EQ(-EBUSY, detach(vmm));
	EXPECT_EQ(-EBUSY, attach(vmm, ioas.out_ioas_id));
	/* The one that it has is no other one */
	EXPECT_EQ(0, attach(vmm, vmm->iommu->ioas_id));
	ret = region_info(vmm, VFIO_PCI_ROM_REGION_INDEX, &info);
	EXPECT_TRUE(ret == -EBUSY || (!ret && !info.size));
	if (ret) {
		EXPECT_EQ(-1, pread(vmm->device->fd, &value, sizeof(value),
				    region_offset(VFIO_PCI_ROM_REGION_INDEX)));
		EXPECT_EQ(EBUSY, errno);
	}

	EXPECT_EQ(1, mapped(shared));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));

	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(0, attach(vmm, ioas.out_ioas_id));
	EXPECT_EQ(0, detach(vmm));
	EXPECT_EQ(0, attach(vmm, vmm->iommu->ioas_id));
	EXPECT_EQ(0, __vfio_pci_device_reset(vmm->device));
	EXPECT_EQ(0, ioctl(vmm->device->fd, VFIO_DEVICE_PCI_HOT_RESET, &hot));
	EXPECT_EQ(0, feature_set(vmm, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));
	EXPECT_EQ(-EIO, tsm_bind(vmm));
	EXPECT_EQ(0, feature_set(vmm, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));
	close(shared);
}

/* What attaching changes in the device has to be done before the bind */
TEST_F(tsm, not_attached)
{
	struct vmm *vmm = &self->vmm;

	ASSERT_EQ(0, detach(vmm));
	EXPECT_EQ(-ENXIO, tsm_bind(vmm));
	EXPECT_UNBOUND(vmm);
	ASSERT_EQ(0, attach(vmm, vmm->iommu->ioas_id));
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* What a bound device is attached to stays, also where userspace cannot be told so */
TEST_F(tsm, attach_that_cannot_be_told)
{
	struct vfio_device_attach_iommufd_pt *arg;
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_destroy destroy = { .size = sizeof(destroy) };
	struct vmm *vmm = &self->vmm;

	arg = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)arg);
	ioctl_assert(vmm->iommu->iommufd, IOMMU_IOAS_ALLOC, &ioas);
	arg->argsz = sizeof(*arg);
	arg->pt_id = ioas.out_ioas_id;
	ASSERT_EQ(0, mprotect(arg, page_size, PROT_READ));

	ASSERT_EQ(0, attach(vmm, ioas.out_ioas_id));
	ASSERT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(-1, ioctl(vmm->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, arg));
	EXPECT_EQ(EFAULT, errno);

	/* In use by the device */
	destroy.id = ioas.out_ioas_id;
	EXPECT_EQ(-1, ioctl(vmm->iommu->iommufd, IOMMU_DESTROY, &destroy));
	EXPECT_EQ(EBUSY, errno);

	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(-1, ioctl(vmm->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, arg));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, ioctl(vmm->iommu->iommufd, IOMMU_DESTROY, &destroy));
	EXPECT_EQ(0, attach(vmm, vmm->iommu->ioas_id));
	munmap(arg, page_size);
}

TEST_F(tsm, bind_fails)
{
	static const char * const step[] = { "fail_bind", "fail_lock",
					     "fail_report", "fail_ranges" };
	struct vmm *vmm = &self->vmm;
	int fd, i;

	fd = export(vmm, vmm->bar, 0, vmm->size, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, fd, 0, vmm->size, SZ_1G));
	vmm->map[SHARED_SIZE / 4] = 6;

	for (i = 0; i < ARRAY_SIZE(step); i++) {
		ASSERT_EQ(0, put_fn(step[i], "71"));
		EXPECT_EQ(-71, tsm_bind(vmm)) TH_LOG("%s", step[i]);
		ASSERT_EQ(0, put_fn(step[i], "0"));
		EXPECT_UNBOUND(vmm);
		EXPECT_EQ(1, mapped(fd));
		EXPECT_EQ(6, vmm->map[SHARED_SIZE / 4]);
	}

	/* The kernel has to access the MSI-X table */
	ASSERT_EQ(0, put_fn("lock_msix", "1"));
	EXPECT_EQ(-EOPNOTSUPP, tsm_bind(vmm));
	ASSERT_EQ(0, put_fn("lock_msix", "0"));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(1, mapped(fd));

	EXPECT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(0, mapped(fd));
	close(fd);
}

TEST_F(tsm, error)
{
	struct vmm *vmm = &self->vmm;
	u32 value;

	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(0, put_fn("error", "1"));
	EXPECT_TRUE(told(vmm, 10000));
	EXPECT_EQ(VFIO_DEVICE_TDI_ERROR, tdi_state(vmm));

	/* Still nobody's, and nothing but an unbind helps */
	EXPECT_FALSE(touch(vmm->map, SHARED_SIZE, &value));
	EXPECT_EQ(-EBUSY, bar_read(vmm, vmm->bar, SHARED_SIZE, &value));
	EXPECT_EQ(-EBUSY, tsm_bind(vmm));
	EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(vmm->device));

	EXPECT_EQ(0, tsm_unbind(vmm));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
}

static void reconnect(void)
{
	put_sim("gone", "0");
	put_pci(device_bdf, "tsm/connect", "tsm0");
	if (sriov_bdf)
		put_pci(sriov_bdf, "tsm/connect", "tsm0");
}

TEST_F(tsm, tsm_gone)
{
	struct vmm *vmm = &self->vmm;
	u32 value;

	ASSERT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(-EBUSY, put_pci(device_bdf, "tsm/disconnect", "tsm0"));

	ASSERT_EQ(0, put_sim("gone", "1"));
	EXPECT_TRUE(told(vmm, 10000));
	EXPECT_EQ(VFIO_DEVICE_TDI_ERROR, tdi_state(vmm));
	EXPECT_FALSE(touch(vmm->map, SHARED_SIZE, &value));
	EXPECT_NE(0, tsm_bind(vmm));

	EXPECT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(vmm));
	EXPECT_TRUE(touch(vmm->map, SHARED_SIZE, &value));
	EXPECT_EQ(-EOPNOTSUPP, tsm_bind(vmm));
	EXPECT_EQ(-EOPNOTSUPP, export(vmm, vmm->bar, 0, page_size,
				      VFIO_DMA_BUF_FLAG_PRIVATE));

	reconnect();
	EXPECT_EQ(0, tsm_bind(vmm));
}

TEST_F(tsm, sysfs_reset)
{
	struct vmm *vmm = &self->vmm;
	u16 command;

	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(0, put_pci(device_bdf, "reset", "1"));
	EXPECT_TRUE(told(vmm, 0));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());

	command = config_read(vmm, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY;
	ASSERT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	EXPECT_EQ(0, tsm_bind(vmm));
}

TEST_F(tsm, close)
{
	struct vmm *vmm = &self->vmm;
	int fd;

	fd = export(vmm, vmm->bar, SHARED_SIZE, page_size,
		    VFIO_DMA_BUF_FLAG_PRIVATE);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, tsm_bind(vmm));
	vmm_close(vmm);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());

	vmm_open(vmm, true);
	EXPECT_UNBOUND(vmm);
	close(fd);
}

TEST_F(tsm, killed)
{
	int ready[2], status;
	char c;
	pid_t pid;

	vmm_close(&self->vmm);
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		vmm_open(&self->vmm, true);
		if (!tsm_bind(&self->vmm))
			write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	close(ready[0]);
}

TEST_F(tsm, guest_request)
{
	struct vfio_device_tsm_guest_request arg = {
		.argsz = sizeof(arg),
		.tvm_arch = ARCH_SIM,
	};
	struct vmm *vmm = &self->vmm;
	int fd = vmm->device->fd;
	u32 len = 64;
	u64 code;
	u8 resp[64];

	EXPECT_EQ(-ENXIO, tdisp(vmm, 0, 0x85, resp, &len, &code));
	ASSERT_EQ(0, tsm_bind(vmm));

	memset(resp, 0xff, sizeof(resp));
	ASSERT_EQ(0, tdisp(vmm, 0, 0x85, resp, &len, &code));
	EXPECT_EQ(17, len);
	EXPECT_EQ(0x05, resp[1]);
	EXPECT_EQ(1, resp[16]);
	EXPECT_EQ(0xff, resp[17]);

	/* Not with the wrong scope */
	len = 64;
	EXPECT_NE(0, tdisp(vmm, 0, 0x86, resp, &len, &code));
	len = 64;
	EXPECT_EQ(-EOPNOTSUPP, tdisp(vmm, 2, 0x85, resp, &len, &code));

	err_ioctl(EINVAL, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg, argsz,
		  sizeof(arg) - 1);
	err_ioctl(EINVAL, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg, flags, 1);
	err_ioctl(EINVAL, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg, req_len,
		  SZ_1M + 1);
	err_ioctl(EINVAL, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg, resp_len,
		  SZ_1M + 1);
	err_ioctl(EFAULT, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg, req_len, 16);
	err_ioctl(EOPNOTSUPP, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg, tvm_arch, 1);
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());

	len = 64;
	ASSERT_EQ(0, tdisp(vmm, 1, 0x86, resp, &len, &code));
	EXPECT_STREQ("RUN", sim_state());

	/* Twice is an error of the device, not of the request */
	len = 64;
	EXPECT_EQ(0, tdisp(vmm, 1, 0x86, resp, &len, &code));
	EXPECT_EQ(0x7f, resp[1]);
	EXPECT_EQ(4, code);

	ASSERT_EQ(0, tsm_unbind(vmm));
	len = 64;
	EXPECT_EQ(-ENXIO, tdisp(vmm, 0, 0x85, resp, &len, &code));
	EXPECT_UNBOUND(vmm);
}

/* A TSM that takes its time holds up the bind, and nobody else */
TEST_F(tsm, slow)
{
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };
	u32 command = 0, value;
	struct vfio_device_bind_iommufd other;
	const char *path;
	u64 start;
	int fd, i;

	ASSERT_EQ(0, put_fn("delay_lock", "20000"));
	start = now_ms();
	ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
	for (i = 0; i < 2000 && tdi_state(vmm) != VFIO_DEVICE_TDI_BINDING; i++)
		usleep(5000);
	ASSERT_EQ(VFIO_DEVICE_TDI_BINDING, tdi_state(vmm));

	EXPECT_EQ(-EBUSY, bar_read(vmm, vmm->bar, 0, &value));
	EXPECT_EQ(-EBUSY, config_write(vmm, PCI_COMMAND, &command, 2));
	EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(vmm->device));
	EXPECT_EQ(-EBUSY, detach(vmm));
	fd = export(vmm, vmm->bar, 0, vmm->size, 0);
	EXPECT_LE(0, fd);

	if (other_bdf) {
		memset(&other, 0, sizeof(other));
		other.argsz = sizeof(other);
		other.iommufd = vmm->iommu->iommufd;
		path = vfio_pci_get_cdev_path(other_bdf);
		i = open(path, O_RDWR);
		ASSERT_LE(0, i);
		EXPECT_EQ(0, ioctl(i, VFIO_DEVICE_BIND_IOMMUFD, &other));
		EXPECT_EQ(0, close(i));
	}
	EXPECT_EQ(VFIO_DEVICE_TDI_BINDING, tdi_state(vmm));
	EXPECT_GT(20000, now_ms() - start);

	/* A shared page is worth waiting for */
	EXPECT_TRUE(touch(vmm->map, 0, &value));
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
	EXPECT_LE(20000, now_ms() - start);
	EXPECT_FALSE(touch(vmm->map, SHARED_SIZE, &value));

	ASSERT_EQ(0, pthread_join(bind.thread, NULL));
	EXPECT_EQ(0, bind.ret);
	put_fn("delay_lock", "0");
	close(fd);
}

/* A page that is there when somebody resolves the fault; -errno or the fd for it */
static int slow_page(void **page)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	int fd;

	fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*page = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(*page, MAP_FAILED);
	reg.range.start = (u64)*page;
	reg.range.len = page_size;
	VFIO_ASSERT_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	VFIO_ASSERT_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	return fd;
}

struct writer {
	struct vmm *vmm;
	void *page;
	ssize_t ret;
};

static void *writer(void *arg)
{
	struct writer *writer = arg;

	writer->ret = config_write(writer->vmm, PCI_STATUS, writer->page, 2);
	return NULL;
}

/* Userspace decides how long a copy from it takes, and nobody else waits for that */
TEST_F(tsm, slow_copy)
{
	struct vmm *vmm = &self->vmm;
	struct writer write = { .vmm = vmm };
	struct uffdio_zeropage zero = {};
	struct uffd_msg msg;
	pthread_t thread;
	int fd;

	fd = slow_page(&write.page);
	if (fd < 0)
		SKIP(return, "No userfaultfd: %d", fd);

	ASSERT_EQ(0, pthread_create(&thread, NULL, writer, &write));
	/* It is in the copy */
	ASSERT_EQ(sizeof(msg), read(fd, &msg, sizeof(msg)));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);

	EXPECT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(-EBUSY, detach(vmm));
	EXPECT_EQ(0, tsm_unbind(vmm));

	zero.range.start = (u64)write.page;
	zero.range.len = page_size;
	ASSERT_EQ(0, ioctl(fd, UFFDIO_ZEROPAGE, &zero));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(2, write.ret);
	EXPECT_EQ(0, munmap(write.page, page_size));
	close(fd);
}

static void nothing(int sig)
{
}

/* It fails, or goes, while it is being bound */
TEST_F(tsm, lost_while_binding)
{
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };
	u32 value;
	int i;

	ASSERT_EQ(0, put_fn("delay_ranges", "10000"));
	ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
	for (i = 0; i < 2000 && strcmp(sim_state(), "CONFIG_LOCKED"); i++)
		usleep(5000);
	ASSERT_STREQ("CONFIG_LOCKED", sim_state());
	ASSERT_EQ(0, put_fn("error", "1"));
	EXPECT_TRUE(told(vmm, 10000));
	/* A shared page comes back, as from any bind that fails */
	EXPECT_EQ(VFIO_DEVICE_TDI_ERROR, tdi_state(vmm));
	EXPECT_TRUE(touch(vmm->map, 0, &value));
	ASSERT_EQ(0, pthread_join(bind.thread, NULL));
	EXPECT_EQ(-EIO, bind.ret);
	ASSERT_EQ(0, put_fn("delay_ranges", "0"));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* Who unbinds while a bind takes its time can be interrupted, by both interfaces */
TEST_F(tsm, unbind_while_binding)
{
	struct sigaction action = { .sa_handler = nothing }, old;
	struct itimerval timer = { .it_value.tv_sec = 1,
				   .it_interval.tv_sec = 1 };
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };
	u32 vdevice = vdevice_alloc(vmm);
	sigset_t set;
	u64 start;
	int i;

	/* For this thread only */
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	ASSERT_EQ(0, put_fn("delay_lock", "20000"));
	start = now_ms();
	ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	for (i = 0; i < 2000 && tdi_state(vmm) != VFIO_DEVICE_TDI_BINDING; i++)
		usleep(5000);
	ASSERT_EQ(VFIO_DEVICE_TDI_BINDING, tdi_state(vmm));

	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &timer, NULL);
	EXPECT_EQ(-EINTR, tsm_unbind(vmm));
	EXPECT_EQ(-EINTR, vdevice_op(vmm, vdevice, IOMMU_VDEVICE_TSM_UNBIND));
	memset(&timer, 0, sizeof(timer));
	setitimer(ITIMER_REAL, &timer, NULL);
	sigaction(SIGALRM, &old, NULL);
	EXPECT_GT(20000, now_ms() - start);
	EXPECT_EQ(VFIO_DEVICE_TDI_BINDING, tdi_state(vmm));

	ASSERT_EQ(0, put_fn("delay_lock", "0"));
	ASSERT_EQ(0, pthread_join(bind.thread, NULL));
	EXPECT_EQ(0, bind.ret);
	EXPECT_EQ(-EBUSY, vdevice_op(vmm, vdevice, IOMMU_VDEVICE_TSM_UNBIND));
	EXPECT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(0, vdevice_op(vmm, vdevice, IOMMU_VDEVICE_TSM_BIND));
	EXPECT_EQ(0, vdevice_op(vmm, vdevice, IOMMU_VDEVICE_TSM_UNBIND));
	EXPECT_UNBOUND(vmm);
}

/* A container of VFIO keeps what it maps, so it does not get it */
TEST_F(tsm, container)
{
	struct vfio_pci_device *device;
	struct vmm *vmm = &self->vmm;
	struct dma_region region[] = {
		{
			.vaddr = (void *)vmm->map,
			.iova = SZ_1G,
			.size = page_size,
		},
		{
			.iova = 2ULL * SZ_1G,
			.size = page_size,
		},
	};
	struct iommu *iommu;
	u32 value;
	int fd, i;

	if (!other_bdf)
		SKIP(return, "No second device");

	fd = export(vmm, vmm->bar, SHARED_SIZE, page_size, 0);
	ASSERT_LE(0, fd);
	region[1].vaddr = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			       fd, 0);
	ASSERT_NE(MAP_FAILED, region[1].vaddr);

	iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	device = vfio_pci_device_init(other_bdf, iommu);
	for (i = 0; i < ARRAY_SIZE(region); i++) {
		/* Mapped already, or not */
		EXPECT_EQ(-EPERM, __iommu_map(iommu, &region[i]));
		EXPECT_TRUE(touch(region[i].vaddr, 0, &value));
		EXPECT_EQ(-EPERM, __iommu_map(iommu, &region[i]));
	}

	/* What was refused is not held against the device */
	EXPECT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(0, tsm_unbind(vmm));

	/* What has no TSM can be mapped as ever, but by way of a dma-buf */
	ASSERT_EQ(0, put_pci(device_bdf, "tsm/disconnect", "tsm0"));
	EXPECT_EQ(-EPERM, __iommu_map(iommu, &region[1]));
	EXPECT_EQ(0, __iommu_map(iommu, &region[0]));
	reconnect();

	/* And is there still, so that the device cannot be a TDI */
	EXPECT_EQ(-EBUSY, tsm_bind(vmm));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(0, __iommu_unmap(iommu, &region[0], NULL));

	EXPECT_EQ(0, munmap(region[1].vaddr, page_size));
	close(fd);
	vmm_close(vmm);
	ASSERT_EQ(0, rebind_driver(device_bdf));
	vmm_open(vmm, true);
	EXPECT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(0, tsm_unbind(vmm));

	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);
}

/* The same if it was opened by its group, of which nothing is left but the map */
TEST_F(tsm, group)
{
	struct vfio_pci_device *device, *other;
	struct vmm *vmm = &self->vmm;
	struct dma_region region = {
		.iova = SZ_1G,
		.size = page_size,
	};
	struct iommu *iommu, *other_iommu;
	u32 bar = vmm->bar;
	u16 command;

	if (!other_bdf)
		SKIP(return, "No second device");

	vmm_close(vmm);
	other_iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	other = vfio_pci_device_init(other_bdf, other_iommu);
	iommu = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	device = vfio_pci_device_init(device_bdf, iommu);

	command = vfio_pci_config_readw(device, PCI_COMMAND);
	vfio_pci_config_writew(device, PCI_COMMAND, command | PCI_COMMAND_MEMORY);
	region.vaddr = device->bars[bar].vaddr;
	ASSERT_NE(NULL, region.vaddr);
	EXPECT_EQ(0, __iommu_map(other_iommu, &region));
	vfio_pci_device_cleanup(device);
	iommu_cleanup(iommu);

	vmm_open(vmm, true);
	EXPECT_EQ(-EBUSY, tsm_bind(vmm));
	EXPECT_UNBOUND(vmm);

	EXPECT_EQ(0, __iommu_unmap(other_iommu, &region, NULL));
	vfio_pci_device_cleanup(other);
	iommu_cleanup(other_iommu);
	vmm_close(vmm);
	ASSERT_EQ(0, rebind_driver(device_bdf));
	vmm_open(vmm, true);
	EXPECT_EQ(0, tsm_bind(vmm));
}

static atomic_bool stop;

static void *race_fault(void *arg)
{
	struct vmm *vmm = arg;
	u32 value;
	int i;

	/* SIGBUS comes to the thread, but on_sigbus is for one of them */
	for (i = 0; !stop; i++)
		touch(vmm->map, (i * 0x11000ULL) % vmm->size, &value);
	return NULL;
}

static void *race_config(void *arg)
{
	struct vmm *vmm = arg;
	u16 command = config_read(vmm, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY |
		      PCI_COMMAND_MASTER;
	u16 off = command & ~PCI_COMMAND_MEMORY;

	while (!stop) {
		config_write(vmm, PCI_COMMAND, &off, 2);
		config_write(vmm, PCI_COMMAND, &command, 2);
		__vfio_pci_device_reset(vmm->device);
		config_write(vmm, PCI_COMMAND, &command, 2);
	}
	return NULL;
}

static void *race_export(void *arg)
{
	struct vmm *vmm = arg;
	u32 value;
	int fd, i;

	for (i = 0; !stop; i++) {
		fd = export(vmm, vmm->bar, i % 2 ? SHARED_SIZE : 0, SHARED_SIZE,
			    i % 4 / 2);
		if (fd >= 0) {
			if (!__iommu_map_dma_buf(vmm->iommu, fd, 0, SHARED_SIZE,
						 SZ_1G))
				__iommu_unmap_dma_buf(vmm->iommu, SHARED_SIZE,
						      SZ_1G);
			close(fd);
		}
		bar_read(vmm, vmm->bar, i % 2 ? SHARED_SIZE : 0, &value);
	}
	return NULL;
}

static void *race_bind(void *arg)
{
	struct vmm *vmm = arg;

	while (!stop) {
		tsm_bind(vmm);
		tsm_unbind(vmm);
	}
	return NULL;
}

TEST_F_TIMEOUT(tsm, race, 600)
{
	static void *(* const racer[])(void *) = {
		race_fault, race_config, race_export, race_bind, race_bind,
	};
	pthread_t thread[ARRAY_SIZE(racer)];
	struct vmm *vmm = &self->vmm;
	int all, i, bound = 0;
	u64 end;
	u16 command;

	all = export(vmm, vmm->bar, 0, vmm->size, 0);
	ASSERT_LE(0, all);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, all, 0, vmm->size,
					 4ULL * SZ_1G));

	stop = false;
	for (i = 0; i < ARRAY_SIZE(racer); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, racer[i], vmm));
	for (end = now_ms() + 5000; now_ms() < end; usleep(1000)) {
		bound += tdi_state(vmm) == VFIO_DEVICE_TDI_BOUND;
		if (!(i++ % 64))
			put_fn("error", "1");
	}
	stop = true;
	for (i = 0; i < ARRAY_SIZE(racer); i++)
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	EXPECT_LT(0, bound);

	command = config_read(vmm, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY;
	ASSERT_EQ(2, config_write(vmm, PCI_COMMAND, &command, 2));
	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(1, mapped(all));
	close(all);
}

/* A name in /proc/lockdep, where several locks that have it are told apart */
static bool is_lock(const char *name, const char *lock)
{
	size_t len = strlen(lock);

	return !strncmp(name, lock, len) && strchr("#/\n", name[len]);
}

/*
 * In which order locks nest that meet when a TDI is bound, or even only when it is
 * taken away. Lockdep knows without that: from the time that the driver has the
 * device, as locks that were taken one right after the other.
 */
TEST(lock_order)
{
	static const struct {
		const char *outer, *inner;
	} nests[] = {
		{ "&tdi->lock", "&tdi->bind_sem" },
		{ "&tdi->bind_sem", "pci_tsm_rwsem" },
		/* As no bind does it, but a revoke, with another lock in between */
		{ "pci_tsm_rwsem", "&vdev->memory_lock" },
	};
	bool known[ARRAY_SIZE(nests)] = {};
	char line[512], outer[512] = "";
	bool proves = false;
	FILE *file;
	int i;

	file = fopen("/proc/lockdep", "r");
	if (!file)
		SKIP(return, "Needs CONFIG_LOCKDEP");

	while (fgets(line, sizeof(line), file)) {
		char *pos = strstr(line, " BD:");

		/* A lock, then those that are taken with it held */
		if (pos && strstr(pos + 4, ": ")) {
			proves = true;
			strcpy(outer, strstr(pos + 4, ": ") + 2);
			continue;
		}
		if (strncmp(line, " -> [", 5) || !strstr(line, "] "))
			continue;
		pos = strstr(line, "] ") + 2;
		for (i = 0; i < ARRAY_SIZE(nests); i++)
			known[i] |= is_lock(outer, nests[i].outer) &&
				    is_lock(pos, nests[i].inner);
	}
	fclose(file);
	if (!proves)
		SKIP(return, "Needs CONFIG_PROVE_LOCKING");

	for (i = 0; i < ARRAY_SIZE(nests); i++) {
		EXPECT_TRUE(known[i]) {
			TH_LOG("%s -> %s", nests[i].outer, nests[i].inner);
		}
	}
}

/* Where a page table is that of both */
static bool same_iommu_group(const char *bdf, const char *other)
{
	char path[PATH_MAX], group[2][PATH_MAX] = {};
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group",
			 i ? other : bdf);
		if (readlink(path, group[i], sizeof(group[i]) - 1) < 0)
			return false;
	}
	return !strcmp(group[0], group[1]);
}

/* Two TDIs of one device, that two VMs have */
TEST(vf)
{
	struct sigaction action = { .sa_handler = sigbus };
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	const char *bdf = device_bdf;
	struct vmm pf, vf[2];
	u32 command, value, exp, pm;
	char *vf_bdf[2];
	int shared, i;

	if (!sriov_bdf || violations() < 0)
		SKIP(return, "No device with SR-IOV, or no tsm-sim");

	sigaction(SIGBUS, &action, NULL);
	put_sim("violations", "0");
	vmm_open_device(&pf, sriov_bdf, NULL, VF_TOKEN, true);
	sysfs_sriov_numvfs_set(sriov_bdf, 2);
	for (i = 0; i < 2; i++) {
		vf_bdf[i] = sysfs_sriov_vf_bdf_get(sriov_bdf, i);
		vmm_open_device(&vf[i], vf_bdf[i], pf.iommu, VF_TOKEN, true);
		vf[i].tdi_id = TDI_ID + i;
	}

	/* Not while it has VFs */
	EXPECT_EQ(-EBUSY, tsm_bind(&pf));

	for (i = 0; i < 2; i++) {
		device_bdf = vf_bdf[i];
		EXPECT_TRUE(touch(vf[i].map, 0, &value));
		ASSERT_EQ(0, tsm_bind(&vf[i]));
		EXPECT_STREQ("CONFIG_LOCKED", sim_state());
		EXPECT_FALSE(touch(vf[i].map, 0, &value));
		EXPECT_EQ(-EBUSY, bar_read(&vf[i], vf[i].bar, 0, &value));
	}

	/* Its memory enable is not a real one */
	device_bdf = vf_bdf[0];
	command = config_read(&vf[0], PCI_COMMAND, 2);
	EXPECT_TRUE(command & PCI_COMMAND_MEMORY);
	command &= ~PCI_COMMAND_MEMORY;
	EXPECT_EQ(2, config_write(&vf[0], PCI_COMMAND, &command, 2));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	command |= PCI_COMMAND_MEMORY;
	EXPECT_EQ(2, config_write(&vf[0], PCI_COMMAND, &command, 2));
	command &= ~PCI_COMMAND_MASTER;
	EXPECT_EQ(-EBUSY, config_write(&vf[0], PCI_COMMAND, &command, 2));
	EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(vf[0].device));

	/* Nor is one of the PF that resets it, and others with it */
	EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(pf.device));
	EXPECT_EQ(-EBUSY, feature_set(&pf, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));
	exp = find_cap(&pf, PCI_CAP_ID_EXP);
	ASSERT_NE(0, exp);
	command = config_read(&pf, exp + PCI_EXP_DEVCTL, 2) |
		  PCI_EXP_DEVCTL_BCR_FLR;
	EXPECT_EQ(-EBUSY, config_write(&pf, exp + PCI_EXP_DEVCTL, &command, 2));
	/* What VFs do not have themselves: the same as before, and another size */
	command = config_read(&pf, exp + PCI_EXP_DEVCTL, 2);
	EXPECT_EQ(2, config_write(&pf, exp + PCI_EXP_DEVCTL, &command, 2));
	command ^= PCI_EXP_DEVCTL_READRQ_256B;
	EXPECT_EQ(-EBUSY, config_write(&pf, exp + PCI_EXP_DEVCTL, &command, 2));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	pm = find_cap(&pf, PCI_CAP_ID_PM);
	command = 3;
	if (pm)
		EXPECT_EQ(-EBUSY,
			  config_write(&pf, pm + PCI_PM_CTRL, &command, 2));
	command = PCI_BIST_START;
	EXPECT_EQ(-EBUSY, config_write(&pf, PCI_BIST, &command, 1));
	/* Of no capability that VFIO knows */
	command = config_read(&pf, PCI_CFG_SPACE_EXP_SIZE - 4, 4);
	EXPECT_EQ(-EBUSY, config_write(&pf, PCI_CFG_SPACE_EXP_SIZE - 4,
				       &command, 4));
	command = config_read(&pf, PCI_COMMAND, 2) | PCI_COMMAND_INTX_DISABLE;
	EXPECT_EQ(2, config_write(&pf, PCI_COMMAND, &command, 2));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());

	/* One goes, the other stays */
	shared = export(&vf[0], vf[0].bar, 0, page_size, 0);
	EXPECT_EQ(-EBUSY, shared);
	ASSERT_EQ(0, tsm_unbind(&vf[0]));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_TRUE(touch(vf[0].map, 0, &value));
	device_bdf = vf_bdf[1];
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_FALSE(touch(vf[1].map, 0, &value));

	/* With its page table, if it is that of the other as well */
	ioctl_assert(pf.iommu->iommufd, IOMMU_IOAS_ALLOC, &ioas);
	EXPECT_EQ(same_iommu_group(vf_bdf[0], vf_bdf[1]) ? -EBUSY : 0,
		  attach(&vf[0], ioas.out_ioas_id));
	EXPECT_EQ(0, attach(&vf[0], pf.iommu->ioas_id));

	/* The host resets what it likes, and the TDI goes first */
	EXPECT_FALSE(told(&vf[1], 0));
	ASSERT_EQ(0, put_pci(sriov_bdf, "reset", "1"));
	EXPECT_TRUE(told(&vf[1], 0));
	EXPECT_FALSE(told(&vf[0], 0));
	EXPECT_EQ(VFIO_DEVICE_TDI_ERROR, tdi_state(&vf[1]));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_EQ(0, tsm_unbind(&vf[1]));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(&vf[1]));
	EXPECT_EQ(0, __vfio_pci_device_reset(pf.device));

	vmm_close(&vf[1]);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	vmm_close(&vf[0]);
	device_bdf = bdf;
	sysfs_sriov_numvfs_set(sriov_bdf, 0);

	/* And the other way round */
	ASSERT_EQ(0, tsm_bind(&pf));
	EXPECT_EQ(-EBUSY, put_pci(sriov_bdf, "sriov_numvfs", "1"));
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(&pf));
	vmm_close(&pf);
	EXPECT_EQ(0, violations());
	for (i = 0; i < 2; i++)
		free(vf_bdf[i]);
}

/* Who has lost the TDI that a VF was, and does not care, is in nobody's way */
TEST(vf_revoked)
{
	struct sigaction action = { .sa_handler = sigbus };
	const char *bdf = device_bdf;
	struct iommu *iommu;
	struct vmm pf, vf;
	u16 command;
	char *vf_bdf;
	int i;

	if (!sriov_bdf || violations() < 0)
		SKIP(return, "No device with SR-IOV, or no tsm-sim");

	sigaction(SIGBUS, &action, NULL);
	put_sim("violations", "0");
	/* They may be in one group, and one of them goes before the other */
	iommu = iommu_init(MODE_IOMMUFD);
	vmm_open_device(&pf, sriov_bdf, iommu, VF_TOKEN, true);
	sysfs_sriov_numvfs_set(sriov_bdf, 1);
	vf_bdf = sysfs_sriov_vf_bdf_get(sriov_bdf, 0);
	vmm_open_device(&vf, vf_bdf, iommu, VF_TOKEN, true);
	device_bdf = vf_bdf;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tsm_bind(&vf));
		EXPECT_STREQ("CONFIG_LOCKED", sim_state());
		EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(pf.device));

		EXPECT_FALSE(told(&vf, 0));
		vmm_close(&pf);
		EXPECT_TRUE(told(&vf, 0));
		EXPECT_EQ(VFIO_DEVICE_TDI_ERROR, tdi_state(&vf));
		EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());

		vmm_open_device(&pf, sriov_bdf, iommu, VF_TOKEN, true);
		EXPECT_EQ(VFIO_DEVICE_TDI_ERROR, tdi_state(&vf));
		EXPECT_EQ(0, __vfio_pci_device_reset(pf.device));

		/* The PF does not count it any more, nor once less than it did */
		EXPECT_EQ(0, tsm_unbind(&vf));
		EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(&vf));
		EXPECT_EQ(0, __vfio_pci_device_reset(pf.device));
		command = config_read(&vf, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY |
			  PCI_COMMAND_MASTER;
		EXPECT_EQ(2, config_write(&vf, PCI_COMMAND, &command, 2));
	}

	vmm_close(&vf);
	device_bdf = bdf;
	sysfs_sriov_numvfs_set(sriov_bdf, 0);
	vmm_close(&pf);
	iommu_cleanup(iommu);
	EXPECT_EQ(0, violations());
	free(vf_bdf);
}

/* The DSM of @bdf, or "none" without its files in sysfs */
static const char *dsm_of(const char *bdf)
{
	static char buf[64];
	char path[PATH_MAX];
	bool authenticated;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/authenticated", bdf);
	authenticated = !access(path, F_OK);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/tsm/dsm", bdf);
	if (get(path, buf, sizeof(buf)))
		return authenticated ? "only authenticated" : "none";
	buf[strcspn(buf, "\n")] = '\0';
	return authenticated ? buf : "only dsm";
}

/* The files of a VF come and go with its context */
TEST(vf_sysfs)
{
	struct vmm pf;
	char *vf_bdf;
	int i;

	if (!sriov_bdf || violations() < 0)
		SKIP(return, "No device with SR-IOV, or no tsm-sim");

	put_sim("violations", "0");
	vmm_open_device(&pf, sriov_bdf, NULL, VF_TOKEN, true);
	sysfs_sriov_numvfs_set(sriov_bdf, 1);
	vf_bdf = sysfs_sriov_vf_bdf_get(sriov_bdf, 0);

	for (i = 0; i < 2; i++) {
		EXPECT_STREQ(sriov_bdf, dsm_of(vf_bdf));
		EXPECT_EQ(0, put_pci(sriov_bdf, "tsm/disconnect", "tsm0"));
		EXPECT_STREQ("none", dsm_of(vf_bdf));
		reconnect();
		EXPECT_STREQ(sriov_bdf, dsm_of(vf_bdf));

		EXPECT_EQ(0, put_sim("gone", "1"));
		EXPECT_STREQ("none", dsm_of(vf_bdf));
		reconnect();
	}

	sysfs_sriov_numvfs_set(sriov_bdf, 0);
	vmm_close(&pf);
	EXPECT_EQ(0, violations());
	free(vf_bdf);
}

int main(int argc, char *argv[])
{
	get_devices(&argc, argv);
	return test_harness_run(argc, argv);
}

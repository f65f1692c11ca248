/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VMM that binds its device, and what the simulated TSM tells of that, for the
 * tests of TDIs. See vfio_pci_tsm_test.c for the devices that are needed.
 */
#ifndef SELFTESTS_VFIO_VFIO_PCI_TSM_H
#define SELFTESTS_VFIO_VFIO_PCI_TSM_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/kvm.h>
#include <linux/limits.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

/* On an emulated machine with a debug kernel it takes long to open a device */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#define SIM		"/sys/kernel/debug/tsm-sim"
#define TDI_ID		0x10
#define VF_TOKEN	"52ac9bff-3a88-4fbd-901a-0d767c3b6c97"
#define ARCH_SIM	0xffff

/* Of the largest BAR, by a mark of the simulation; the rest is private */
#define SHARED_SIZE	SZ_2M

#define NVME_CLASS	0x010802
#define NVME_PMRCTL	0xe04

static const char *device_bdf;
static const char *other_bdf;
static const char *sriov_bdf;
static size_t page_size;

/* Take the devices from the command line; only the first has to be there */
static inline void get_devices(int *argc, char *argv[])
{
	int nr_bdfs;
	char **bdfs = vfio_selftests_get_bdfs(argc, argv, &nr_bdfs);

	device_bdf = bdfs[0];
	if (nr_bdfs > 1)
		other_bdf = bdfs[1];
	if (nr_bdfs > 2)
		sriov_bdf = bdfs[2];
	page_size = getpagesize();
}

/* 0, or -errno */
static inline int get(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t ret;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	ret = read(fd, buf, size - 1);
	if (ret >= 0)
		buf[ret] = '\0';
	close(fd);
	return ret < 0 ? -errno : 0;
}

static inline int put_sim(const char *name, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), SIM "/%s", name);
	return file_write(path, value);
}

/* A knob of the simulation for the device */
static inline int put_fn(const char *name, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), SIM "/%s/%s", device_bdf, name);
	return file_write(path, value);
}

static inline const char *sim_state(void)
{
	static char buf[64];
	char path[PATH_MAX];

	snprintf(path, sizeof(path), SIM "/%s/state", device_bdf);
	if (get(path, buf, sizeof(buf)))
		return "none";
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

static inline int put_pci(const char *bdf, const char *name, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	return file_write(path, value);
}

/*
 * -1 if there is no simulation to tell; what it complains about is printed. What
 * it could not see is as bad, as it may have been anything.
 */
static inline long violations(void)
{
	long n = -1, unseen = 0;
	char buf[8192];

	if (get(SIM "/violations", buf, sizeof(buf)))
		return -1;
	if (sscanf(buf, "violations %ld\nunseen %ld", &n, &unseen) == 2 &&
	    n + unseen)
		printf("# %s\n", buf);
	return n < 0 ? n : n + unseen;
}

/* Forget what VFIO remembers of a device, which nobody has open */
static inline int rebind_driver(const char *bdf)
{
	return file_write("/sys/bus/pci/drivers/vfio-pci/unbind", bdf) ?:
	       file_write("/sys/bus/pci/drivers/vfio-pci/bind", bdf);
}

/* In the PCI core's view, past what VFIO makes of it; ~0 if it cannot be read */
static inline u16 real_config(const char *bdf, u32 offset)
{
	char path[PATH_MAX];
	u16 value;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return ~0;
	if (pread(fd, &value, sizeof(value), offset) != sizeof(value))
		value = ~0;
	close(fd);
	return value;
}

/* The VMM */
struct vmm {
	struct iommu *iommu;
	bool own_iommu;
	u32 tdi_id;
	/* What the iommufd calls it; 0 if it was opened with a token */
	u32 devid;
	struct vfio_pci_device *device;
	int kvm, vm, kvm_vfio;
	u32 bar;
	u64 size;
	/* Of the largest BAR */
	volatile u32 *map;
	int eventfd;
};

static inline int region_info(struct vmm *vmm, u32 index, struct vfio_region_info *info)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	info->index = index;
	return ioctl(vmm->device->fd, VFIO_DEVICE_GET_REGION_INFO, info) ?
	       -errno : 0;
}

static inline u64 region_offset(u32 index)
{
	return (u64)index << 40;
}

static inline ssize_t bar_read(struct vmm *vmm, u32 bar, u64 offset, u32 *value)
{
	ssize_t ret = pread(vmm->device->fd, value, sizeof(*value),
			    region_offset(bar) + offset);

	return ret < 0 ? -errno : ret;
}

static inline ssize_t bar_write(struct vmm *vmm, u32 bar, u64 offset, u32 value)
{
	ssize_t ret = pwrite(vmm->device->fd, &value, sizeof(value),
			     region_offset(bar) + offset);

	return ret < 0 ? -errno : ret;
}

static inline ssize_t config_write(struct vmm *vmm, u32 offset, const void *data,
				   size_t size)
{
	ssize_t ret = pwrite(vmm->device->fd, data, size,
			     region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + offset);

	return ret < 0 ? -errno : ret;
}

static inline u32 config_read(struct vmm *vmm, u32 offset, size_t size)
{
	u32 value = 0;

	if (pread(vmm->device->fd, &value, size,
		  region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + offset) != size)
		return ~0;
	return value;
}

static inline u32 find_cap(struct vmm *vmm, u8 id)
{
	u32 pos = config_read(vmm, PCI_CAPABILITY_LIST, 1);
	int i;

	for (i = 0; pos && i < 48; i++) {
		if (config_read(vmm, pos, 1) == id)
			return pos;
		pos = config_read(vmm, pos + 1, 1);
	}
	return 0;
}

static inline int tsm_bind(struct vmm *vmm)
{
	struct vfio_device_tsm_bind bind = {
		.argsz = sizeof(bind),
		.tdi_id = vmm->tdi_id,
	};

	return ioctl(vmm->device->fd, VFIO_DEVICE_TSM_BIND, &bind) ? -errno : 0;
}

static inline int tsm_unbind(struct vmm *vmm)
{
	struct vfio_device_tsm_unbind unbind = {
		.argsz = sizeof(unbind),
	};

	return ioctl(vmm->device->fd, VFIO_DEVICE_TSM_UNBIND, &unbind) ?
	       -errno : 0;
}

/* The other interface; what it takes stays until the iommufd is closed */
static inline u32 vdevice_alloc(struct vmm *vmm)
{
	struct iommu_hwpt_alloc hwpt = {
		.size = sizeof(hwpt),
		.dev_id = vmm->devid,
		.pt_id = vmm->iommu->ioas_id,
	};
	struct iommu_viommu_alloc viommu = {
		.size = sizeof(viommu),
		.type = IOMMU_VIOMMU_TYPE_DEFAULT,
		.dev_id = vmm->devid,
	};
	struct iommu_vdevice_alloc vdevice = {
		.size = sizeof(vdevice),
		.dev_id = vmm->devid,
		.virt_id = vmm->tdi_id,
	};

	ioctl_assert(vmm->iommu->iommufd, IOMMU_HWPT_ALLOC, &hwpt);
	viommu.hwpt_id = hwpt.out_hwpt_id;
	ioctl_assert(vmm->iommu->iommufd, IOMMU_VIOMMU_ALLOC, &viommu);
	vdevice.viommu_id = viommu.out_viommu_id;
	ioctl_assert(vmm->iommu->iommufd, IOMMU_VDEVICE_ALLOC, &vdevice);
	return vdevice.out_vdevice_id;
}

static inline int vdevice_op(struct vmm *vmm, u32 vdevice, u32 op)
{
	struct iommu_vdevice_tsm_op cmd = {
		.size = sizeof(cmd),
		.vdevice_id = vdevice,
		.op = op,
	};

	return ioctl(vmm->iommu->iommufd, IOMMU_VDEVICE_TSM_OP, &cmd) ? -errno : 0;
}

struct tdi {
	struct vfio_device_feature feature;
	struct vfio_device_feature_tdi info;
	struct vfio_device_tdi_range ranges[64];
};

static inline int tdi_get_room(struct vmm *vmm, struct tdi *tdi, u32 room)
{
	memset(tdi, 0xff, sizeof(*tdi));
	tdi->feature.argsz = offsetof(struct tdi, ranges) +
			     room * sizeof(tdi->ranges[0]);
	tdi->feature.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_TDI;
	tdi->info.nr_ranges = room;
	tdi->info.reserved = 0;
	return ioctl(vmm->device->fd, VFIO_DEVICE_FEATURE, tdi) ? -errno : 0;
}

static inline u32 tdi_state(struct vmm *vmm)
{
	static struct tdi tdi;

	return tdi_get_room(vmm, &tdi, 64) ? ~0 : tdi.info.state;
}

static inline int tdi_set_eventfd(struct vmm *vmm, int eventfd, u32 flags)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_tdi_eventfd set;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_SET |
				 VFIO_DEVICE_FEATURE_TDI,
		.set.eventfd = eventfd,
		.set.flags = flags,
	};

	return ioctl(vmm->device->fd, VFIO_DEVICE_FEATURE, &arg) ? -errno : 0;
}

/* Whether the eventfd is signalled, by now or within @ms */
static inline bool told(struct vmm *vmm, int ms)
{
	struct pollfd pfd = { .fd = vmm->eventfd, .events = POLLIN };
	u64 count;

	if (poll(&pfd, 1, ms) != 1)
		return false;
	return read(vmm->eventfd, &count, sizeof(count)) == sizeof(count);
}

static inline int export(struct vmm *vmm, u32 bar, u64 offset, u64 length, u32 flags)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_dma_buf dma_buf;
		struct vfio_region_dma_range range;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_DMA_BUF,
		.dma_buf.region_index = bar,
		.dma_buf.open_flags = O_RDWR | O_CLOEXEC,
		.dma_buf.flags = flags,
		.dma_buf.nr_ranges = 1,
		.range.offset = offset,
		.range.length = length,
	};
	int fd = ioctl(vmm->device->fd, VFIO_DEVICE_FEATURE, &arg);

	return fd < 0 ? -errno : fd;
}

/* The number of importers that have the ranges of a dma-buf */
static inline int mapped(int fd)
{
	unsigned int attached, mapped;

	return dma_buf_importers(fd, &attached, &mapped) ? -1 : mapped;
}

static sigjmp_buf on_sigbus;

static inline void sigbus(int sig)
{
	siglongjmp(on_sigbus, 1);
}

/* Returns false if the access is a SIGBUS */
static inline bool touch(volatile u32 *map, u64 offset, u32 *value)
{
	if (sigsetjmp(on_sigbus, 1))
		return false;
	*value = map[offset / sizeof(*map)];
	return true;
}

static inline void give_to_vm(struct vmm *vmm)
{
	struct kvm_create_device create = { .type = KVM_DEV_TYPE_VFIO };
	s32 fd = vmm->device->fd;
	struct kvm_device_attr attr = {
		.group = KVM_DEV_VFIO_FILE,
		.attr = KVM_DEV_VFIO_FILE_ADD,
		.addr = (u64)&fd,
	};

	vmm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	VFIO_ASSERT_GE(vmm->kvm, 0, "There is no KVM\n");
	vmm->vm = ioctl(vmm->kvm, KVM_CREATE_VM, 0);
	VFIO_ASSERT_GE(vmm->vm, 0);
	ioctl_assert(vmm->vm, KVM_CREATE_DEVICE, &create);
	vmm->kvm_vfio = create.fd;
	ioctl_assert(vmm->kvm_vfio, KVM_SET_DEVICE_ATTR, &attr);
}

static inline void vmm_open_device(struct vmm *vmm, const char *bdf,
				   struct iommu *iommu, const char *vf_token,
				   bool vm)
{
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_region_info info;
	u16 command;
	u32 i;

	memset(vmm, 0, sizeof(*vmm));
	vmm->kvm = -1;
	vmm->vm = -1;
	vmm->kvm_vfio = -1;
	vmm->tdi_id = TDI_ID;
	vmm->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vmm->own_iommu = !iommu;
	vmm->iommu = iommu ?: iommu_init(MODE_IOMMUFD);
	vmm->device = vfio_pci_device_alloc(bdf, vmm->iommu);
	vfio_pci_cdev_open(vmm->device, bdf);
	if (vm)
		give_to_vm(vmm);
	if (vf_token) {
		VFIO_ASSERT_EQ(__vfio_device_bind_iommufd(vmm->device->fd,
							  vmm->iommu->iommufd,
							  vf_token), 0);
	} else {
		bind.iommufd = vmm->iommu->iommufd;
		ioctl_assert(vmm->device->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
		vmm->devid = bind.out_devid;
	}
	attach.pt_id = vmm->iommu->ioas_id;
	ioctl_assert(vmm->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		VFIO_ASSERT_EQ(region_info(vmm, i, &info), 0);
		if (info.size > vmm->size) {
			vmm->bar = i;
			vmm->size = info.size;
		}
	}

	command = config_read(vmm, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY |
		  PCI_COMMAND_MASTER;
	VFIO_ASSERT_EQ(config_write(vmm, PCI_COMMAND, &command, 2), 2);

	vmm->map = mmap(NULL, vmm->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			vmm->device->fd, region_offset(vmm->bar));
	VFIO_ASSERT_NE((void *)vmm->map, MAP_FAILED);
	VFIO_ASSERT_EQ(tdi_set_eventfd(vmm, vmm->eventfd, 0), 0);
}

static inline void vmm_open(struct vmm *vmm, bool vm)
{
	char mark[64];

	vmm_open_device(vmm, device_bdf, NULL, NULL, vm);
	VFIO_ASSERT_GE(vmm->size, 2 * SHARED_SIZE);

	/* Without that the memory of an nvme does not work */
	if (config_read(vmm, PCI_CLASS_REVISION, 4) >> 8 == NVME_CLASS)
		VFIO_ASSERT_EQ(bar_write(vmm, 0, NVME_PMRCTL, 1), 4);

	snprintf(mark, sizeof(mark), "%u 0 %#x shared", vmm->bar, SHARED_SIZE);
	put_fn("marks", "clear");
	VFIO_ASSERT_EQ(put_fn("marks", mark), 0, "Is %s connected?\n", device_bdf);
}

/* What each test begins with; false if there is no simulation to watch it */
static inline bool vmm_start(struct vmm *vmm)
{
	struct sigaction action = { .sa_handler = sigbus };

	if (violations() < 0)
		return false;
	sigaction(SIGBUS, &action, NULL);
	put_sim("violations", "0");
	vmm_open(vmm, true);
	return true;
}

static inline void vmm_close(struct vmm *vmm)
{
	if (!vmm->device)
		return;

	munmap((void *)vmm->map, vmm->size);
	close(vmm->device->fd);
	vfio_pci_device_free(vmm->device);
	if (vmm->own_iommu)
		iommu_cleanup(vmm->iommu);
	close(vmm->eventfd);
	if (vmm->kvm_vfio >= 0)
		close(vmm->kvm_vfio);
	if (vmm->vm >= 0)
		close(vmm->vm);
	if (vmm->kvm >= 0)
		close(vmm->kvm);
	vmm->device = NULL;
}

/* All that there is to see of a device that was not bound, or not for long */
#define EXPECT_UNBOUND(_vmm) do {						\
	struct vmm *_v = (_vmm);						\
	u32 _value;								\
										\
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(_v));			\
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());				\
	EXPECT_TRUE(touch(_v->map, 0, &_value));				\
	EXPECT_TRUE(touch(_v->map, SHARED_SIZE, &_value));			\
	EXPECT_EQ(4, bar_read(_v, _v->bar, SHARED_SIZE, &_value));		\
} while (0)

/* What the simulation takes for a request of the VM */
static inline int tdisp(struct vmm *vmm, u32 op, u8 type, u8 *resp, u32 *resp_len,
			u64 *tsm_code)
{
	u8 req[16] = { 0x10, type, 0, 0, TDI_ID, 0, 0, 1 };
	struct vfio_device_tsm_guest_request arg = {
		.argsz = sizeof(arg),
		.op = op,
		.tvm_arch = ARCH_SIM,
		.req_len = sizeof(req),
		.resp_len = *resp_len,
		.req_uptr = (u64)req,
		.resp_uptr = (u64)resp,
	};
	int ret;

	ret = ioctl(vmm->device->fd, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg);
	*resp_len = arg.resp_len;
	*tsm_code = arg.tsm_code;
	return ret ? -errno : 0;
}

struct binder {
	struct vmm *vmm;
	pthread_t thread;
	int ret;
};

static inline void *binder(void *arg)
{
	struct binder *binder = arg;

	binder->ret = tsm_bind(binder->vmm);
	return NULL;
}

static inline u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

#endif /* SELFTESTS_VFIO_VFIO_PCI_TSM_H */

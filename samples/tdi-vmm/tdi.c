// SPDX-License-Identifier: GPL-2.0-only
/*
 * Binding a function to a VM: the calls, of VFIO or of iommufd, and what VFIO
 * tells about it
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "tdi.h"

/* After this many milliseconds the thread looks for changes that were asked for */
#define TDI_WATCH_MS	10

/* Not every type of VM that has private memory can map MMIO there */
void vm_check_private(struct vm *vm)
{
	int ret = xioctl(vm->fd, KVM_CHECK_EXTENSION,
			 (void *)(uintptr_t)KVM_CAP_DMABUF);

	if (ret < 0 || !(ret & KVM_DMABUF_PRIVATE))
		fail("no KVM_DMABUF_PRIVATE: this VM cannot take a private dma-buf");
}

/*
 * Before VFIO_DEVICE_BIND_IOMMUFD, from where on VFIO knows which VM it is. Returns
 * the fd of the KVM-VFIO device, which has to be open until then.
 */
int vm_add_device(struct vm *vm, struct vfio_pci *dev)
{
	struct kvm_create_device create = {
		.type = KVM_DEV_TYPE_VFIO,
	};
	__s32 fd = dev->fd;
	struct kvm_device_attr attr = {
		.group = KVM_DEV_VFIO_FILE,
		.attr = KVM_DEV_VFIO_FILE_ADD,
		.addr = (uintptr_t)&fd,
	};

	if (xioctl(vm->fd, KVM_CREATE_DEVICE, &create))
		fail("KVM_CREATE_DEVICE of KVM-VFIO: %s", strerror(errno));
	if (xioctl(create.fd, KVM_SET_DEVICE_ATTR, &attr))
		fail("KVM_DEV_VFIO_FILE_ADD: %s", strerror(errno));
	return create.fd;
}

void vm_set_private(struct vm *vm, __u64 gpa, __u64 size, bool private)
{
	struct kvm_memory_attributes attributes = {
		.address = gpa,
		.size = size,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	if (xioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attributes))
		fail("KVM_SET_MEMORY_ATTRIBUTES at 0x%llx: %s", gpa,
		     strerror(errno));
}

/*
 * The vDEVICE is what the VM calls the function. The vIOMMU that it has to be
 * part of has nothing in it, as the VM sees no IOMMU.
 */
static void tdi_init_vdevice(struct tdi *tdi, __u32 ioas)
{
	struct iommu_hwpt_alloc hwpt = {
		.size = sizeof(hwpt),
		.dev_id = tdi->dev->devid,
		.pt_id = ioas,
	};
	struct iommu_viommu_alloc viommu = {
		.size = sizeof(viommu),
		.type = IOMMU_VIOMMU_TYPE_DEFAULT,
		.dev_id = tdi->dev->devid,
	};
	struct iommu_vdevice_alloc vdevice = {
		.size = sizeof(vdevice),
		.dev_id = tdi->dev->devid,
		.virt_id = tdi->id,
	};

	if (xioctl(tdi->iommufd, IOMMU_HWPT_ALLOC, &hwpt))
		fail("IOMMU_HWPT_ALLOC: %s", strerror(errno));
	viommu.hwpt_id = hwpt.out_hwpt_id;
	if (xioctl(tdi->iommufd, IOMMU_VIOMMU_ALLOC, &viommu)) {
		if (errno == EOPNOTSUPP)
			hint("the device is not connected to a TSM, or that takes no such vIOMMU");
		fail("IOMMU_VIOMMU_ALLOC: %s", strerror(errno));
	}
	vdevice.viommu_id = viommu.out_viommu_id;
	if (xioctl(tdi->iommufd, IOMMU_VDEVICE_ALLOC, &vdevice))
		fail("IOMMU_VDEVICE_ALLOC: %s", strerror(errno));
	tdi->vdevice = vdevice.out_vdevice_id;

	say("vDEVICE %u is device 0x%x in the VM, of vIOMMU %u", tdi->vdevice,
	    tdi->id, viommu.out_viommu_id);
}

void tdi_init(struct tdi *tdi, __u32 ioas)
{
	if (tdi->door == TDI_BY_VDEVICE)
		tdi_init_vdevice(tdi, ioas);
}

static int tdi_vdevice_op(struct tdi *tdi, __u32 op)
{
	struct iommu_vdevice_tsm_op cmd = {
		.size = sizeof(cmd),
		.vdevice_id = tdi->vdevice,
		.op = op,
	};

	return xioctl(tdi->iommufd, IOMMU_VDEVICE_TSM_OP, &cmd) ? errno : 0;
}

int tdi_bind(struct tdi *tdi)
{
	struct vfio_device_tsm_bind bind = {
		.argsz = sizeof(bind),
		.tdi_id = tdi->id,
	};

	if (tdi->door == TDI_BY_VDEVICE)
		return tdi_vdevice_op(tdi, IOMMU_VDEVICE_TSM_BIND);
	return xioctl(tdi->dev->fd, VFIO_DEVICE_TSM_BIND, &bind) ? errno : 0;
}

int tdi_unbind(struct tdi *tdi)
{
	struct vfio_device_tsm_unbind unbind = {
		.argsz = sizeof(unbind),
	};

	if (tdi->door == TDI_BY_VDEVICE)
		return tdi_vdevice_op(tdi, IOMMU_VDEVICE_TSM_UNBIND);
	return xioctl(tdi->dev->fd, VFIO_DEVICE_TSM_UNBIND, &unbind) ? errno : 0;
}

/*
 * The VMM is the messenger of a request, which is between the guest and the TSM.
 * The code is for the guest, and is set when the request fails as well.
 */
int tdi_request(struct tdi *tdi, bool state_change, const void *request,
		__u32 request_size, void *response, __u32 *response_size,
		__u64 *code)
{
	struct iommu_vdevice_tsm_req cmd = {
		.size = sizeof(cmd),
		.vdevice_id = tdi->vdevice,
		.op = state_change ? IOMMU_VDEVICE_TSM_STATE_CHANGE :
				     IOMMU_VDEVICE_TSM_INFO,
		.tvm_arch = IOMMU_TVM_ARCH_SIM,
		.req_len = request_size,
		.resp_len = *response_size,
		.req_uptr = (uintptr_t)request,
		.resp_uptr = (uintptr_t)response,
	};
	struct vfio_device_tsm_guest_request vfio = {
		.argsz = sizeof(vfio),
		.op = cmd.op,
		.tvm_arch = cmd.tvm_arch,
		.req_len = request_size,
		.resp_len = *response_size,
		.req_uptr = (uintptr_t)request,
		.resp_uptr = (uintptr_t)response,
	};
	int ret;

	if (tdi->door == TDI_BY_VDEVICE) {
		ret = xioctl(tdi->iommufd, IOMMU_VDEVICE_TSM_REQ, &cmd);
		*code = cmd.tsm_code;
		if (ret)
			return errno;
		*response_size = cmd.resp_len;
		return 0;
	}

	ret = xioctl(tdi->dev->fd, VFIO_DEVICE_TSM_GUEST_REQUEST, &vfio);
	*code = vfio.tsm_code;
	if (ret)
		return errno;
	*response_size = vfio.resp_len;
	return 0;
}

/* The state, and which parts of the BARs are private to the VM */
void tdi_get(struct tdi *tdi, struct tdi_info *info)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_tdi tdi;
		struct vfio_device_tdi_range ranges[TDI_MAX_RANGES];
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_TDI,
		.tdi.nr_ranges = TDI_MAX_RANGES,
	};

	if (xioctl(tdi->dev->fd, VFIO_DEVICE_FEATURE, &arg)) {
		if (errno == ENOTTY || errno == EOPNOTSUPP)
			hint("needs CONFIG_VFIO_PCI_TSM");
		fail("VFIO_DEVICE_FEATURE_TDI: %s", strerror(errno));
	}

	info->state = arg.tdi.state;
	info->nr = arg.tdi.nr_ranges;
	for (unsigned int i = 0; i < info->nr; i++) {
		const struct vfio_device_tdi_range *range = &arg.ranges[i];

		info->ranges[i] = (struct tdi_range){
			.bar = range->region_index,
			.offset = range->offset,
			.size = range->length,
			.private = range->flags & VFIO_DEVICE_TDI_RANGE_PRIVATE,
			.msix_table = range->flags & VFIO_DEVICE_TDI_RANGE_MSIX_TABLE,
			.msix_pba = range->flags & VFIO_DEVICE_TDI_RANGE_MSIX_PBA,
		};
	}
}

const char *tdi_state_name(__u32 state)
{
	static const char * const names[] = {
		[VFIO_DEVICE_TDI_UNBOUND] = "UNBOUND",
		[VFIO_DEVICE_TDI_BINDING] = "BINDING",
		[VFIO_DEVICE_TDI_BOUND] = "BOUND",
		[VFIO_DEVICE_TDI_UNBINDING] = "UNBINDING",
		[VFIO_DEVICE_TDI_ERROR] = "ERROR",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "?";
}

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t seen;
	struct tdi *tdi;
	int eventfd;
	unsigned int events;
	__u32 state;
	bool stop;
} watch = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.seen = PTHREAD_COND_INITIALIZER,
};

/* VFIO signals it when the state changes without having been asked for */
static void tdi_set_eventfd(struct tdi *tdi, int fd)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_tdi_eventfd set;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_SET |
				 VFIO_DEVICE_FEATURE_TDI,
		.set.eventfd = fd,
	};

	if (xioctl(tdi->dev->fd, VFIO_DEVICE_FEATURE, &arg))
		fail("the eventfd of VFIO_DEVICE_FEATURE_TDI: %s",
		     strerror(errno));
}

/* Returns whether there was such a change */
static bool tdi_watch_wait(void)
{
	struct pollfd pollfd = {
		.fd = watch.eventfd,
		.events = POLLIN,
	};
	__u64 count;

	if (poll(&pollfd, 1, TDI_WATCH_MS) != 1)
		return false;
	return read(watch.eventfd, &count, sizeof(count)) == sizeof(count);
}

static void *tdi_watch_thread(void *arg)
{
	struct tdi_info info;
	bool event;

	for (;;) {
		event = tdi_watch_wait();
		tdi_get(watch.tdi, &info);

		pthread_mutex_lock(&watch.lock);
		watch.events += event;
		if (watch.stop) {
			pthread_mutex_unlock(&watch.lock);
			return NULL;
		}
		if (info.state != watch.state) {
			say("TDI: %s -> %s%s", tdi_state_name(watch.state),
			    tdi_state_name(info.state),
			    event ? ", and nobody asked for it" : "");
			watch.state = info.state;
			pthread_cond_broadcast(&watch.seen);
		}
		pthread_mutex_unlock(&watch.lock);
	}
}

void tdi_watch(struct tdi *tdi)
{
	int error;

	watch.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watch.eventfd < 0)
		fail("eventfd: %s", strerror(errno));
	tdi_set_eventfd(tdi, watch.eventfd);

	watch.tdi = tdi;
	watch.stop = false;
	watch.events = 0;
	watch.state = VFIO_DEVICE_TDI_UNBOUND;
	error = pthread_create(&watch.thread, NULL, tdi_watch_thread, NULL);
	if (error)
		fail("pthread_create: %s", strerror(error));
}

/* So that what is printed next comes after it */
void tdi_watch_until(__u32 state)
{
	pthread_mutex_lock(&watch.lock);
	while (watch.state != state)
		pthread_cond_wait(&watch.seen, &watch.lock);
	pthread_mutex_unlock(&watch.lock);
}

unsigned int tdi_watch_end(void)
{
	pthread_mutex_lock(&watch.lock);
	watch.stop = true;
	pthread_mutex_unlock(&watch.lock);
	pthread_join(watch.thread, NULL);
	tdi_set_eventfd(watch.tdi, -1);
	close(watch.eventfd);
	return watch.events;
}

static __u64 tdi_region(struct tdi *tdi, __u32 index)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	if (xioctl(tdi->dev->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		fail("VFIO_DEVICE_GET_REGION_INFO %u: %s", index,
		     strerror(errno));
	return info.offset;
}

int tdi_bar_read(struct tdi *tdi, unsigned int bar, __u64 offset, void *buf,
		 __u64 size)
{
	ssize_t ret = pread(tdi->dev->fd, buf, size, tdi_region(tdi, bar) + offset);

	if (ret < 0)
		return errno;
	return ret == (ssize_t)size ? 0 : EIO;
}

static void tdi_config_read(struct tdi *tdi, __u32 offset, void *buf, __u64 size)
{
	__u64 base = tdi_region(tdi, VFIO_PCI_CONFIG_REGION_INDEX);

	if (pread(tdi->dev->fd, buf, size, base + offset) != (ssize_t)size)
		fail("config space at 0x%x: %s", offset, strerror(errno));
}

/* A function level reset, by the register that the guest's driver writes to */
int tdi_reset(struct tdi *tdi)
{
	__u64 base = tdi_region(tdi, VFIO_PCI_CONFIG_REGION_INDEX);
	__u8 pos, id;
	__u16 devctl;

	tdi_config_read(tdi, PCI_CAPABILITY_LIST, &pos, sizeof(pos));
	for (;;) {
		if (!pos)
			fail("%s has no PCI Express capability", tdi->dev->bdf);
		tdi_config_read(tdi, pos, &id, sizeof(id));
		if (id == PCI_CAP_ID_EXP)
			break;
		tdi_config_read(tdi, pos + 1, &pos, sizeof(pos));
	}

	tdi_config_read(tdi, pos + PCI_EXP_DEVCTL, &devctl, sizeof(devctl));
	devctl |= PCI_EXP_DEVCTL_BCR_FLR;
	if (pwrite(tdi->dev->fd, &devctl, sizeof(devctl),
		   base + pos + PCI_EXP_DEVCTL) != sizeof(devctl))
		return errno;
	return 0;
}

void *tdi_mmap(struct tdi *tdi, unsigned int bar, __u64 offset, __u64 size)
{
	void *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  tdi->dev->fd, tdi_region(tdi, bar) + offset);

	if (addr == MAP_FAILED)
		fail("mmap of BAR%u: %s", bar, strerror(errno));
	return addr;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test memslots of the private MMIO of a device that is bound to the VM as a TDI:
 * that the guest reaches it while the device is bound, and only then, that
 * nobody else does meanwhile, and that shared MMIO and private MMIO get along.
 *
 * usage: dmabuf_memslot_tdi_test [options] device
 *
 * There has to be a simulated TSM that the device is connected to, and its largest
 * BAR has to have memory behind it, 8 MiB at least:
 *
 *	insmod tsm-sim.ko devices=0000:01:00.0
 *	echo tsm0 > /sys/bus/pci/devices/0000:01:00.0/tsm/connect
 *
 * The simulation sees who maps what when.  That it has nothing to complain about is
 * a part of each test.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include <sys/mman.h>

#include <linux/pci_regs.h>

#include <libvfio.h>

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

#define SIM		"/sys/kernel/debug/tsm-sim"
#define TDI_ID		0x10

#define NVME_CLASS	0x010802
#define NVME_PMRCTL	0xe04

/* In the largest BAR, by a mark of the simulation.  The rest of it is private. */
#define SHARED_SIZE	((u64)SZ_2M)
#define PRIVATE_OFFSET	SHARED_SIZE
#define PRIVATE_SIZE	((u64)SZ_4M)

#define SHARED_GPA	DMABUF_GPA
#define PRIVATE_GPA	(DMABUF_GPA + SZ_1G)
#define SHARED_SLOT	DMABUF_SLOT
#define PRIVATE_SLOT	(DMABUF_SLOT + 1)

#define REVOKED		KVM_MEMORY_EXIT_FLAG_REVOKED
#define PRIVATE		KVM_MEMORY_EXIT_FLAG_PRIVATE

static const char *device_bdf;

static int put_fn(const char *name, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), SIM "/%s/%s", device_bdf, name);

	return file_write(path, value);
}

static int put_pci(const char *name, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device_bdf, name);

	return file_write(path, value);
}

static int reset_device(void)
{
	return put_pci("reset", "1");
}

static int connect_device(void)
{
	return put_pci("tsm/connect", "tsm0");
}

static long nr_violations(void)
{
	char buf[8192] = "";
	long n = -1, unseen = 0;
	int fd;

	fd = open(SIM "/violations", O_RDONLY);
	if (fd < 0)
		return -1;
	if (read(fd, buf, sizeof(buf) - 1) > 0 &&
	    sscanf(buf, "violations %ld\nunseen %ld", &n, &unseen) == 2 && n + unseen)
		printf("# %s\n", buf);
	close(fd);

	/* What wasn't seen may have been anything. */
	return n < 0 ? n : n + unseen;
}

FIXTURE(dmabuf_tdi)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	int kvm_vfio;
	u32 bar;
	u64 size;
	int shared_fd;
	int private_fd;
};

static u64 region_offset(u32 index, u64 offset)
{
	return ((u64)index << 40) + offset;
}

/* The host's side of the largest BAR. */
static int host_read(FIXTURE_DATA(dmabuf_tdi) *self, u64 offset, u64 *val)
{
	ssize_t r = pread(self->device->fd, val, sizeof(*val),
			  region_offset(self->bar, offset));

	return r == sizeof(*val) ? 0 : r < 0 ? errno : EIO;
}

static int host_write(FIXTURE_DATA(dmabuf_tdi) *self, u64 offset, u64 val)
{
	ssize_t r = pwrite(self->device->fd, &val, sizeof(val),
			   region_offset(self->bar, offset));

	return r == sizeof(val) ? 0 : r < 0 ? errno : EIO;
}

static u32 config_read(FIXTURE_DATA(dmabuf_tdi) *self, u32 offset, size_t size)
{
	u32 val = 0;

	TEST_ASSERT(pread(self->device->fd, &val, size,
			  region_offset(VFIO_PCI_CONFIG_REGION_INDEX, offset)) == size,
		    "Can't read config space at 0x%x", offset);
	return val;
}

static int config_write(FIXTURE_DATA(dmabuf_tdi) *self, u32 offset, u32 val, size_t size)
{
	ssize_t r = pwrite(self->device->fd, &val, size,
			   region_offset(VFIO_PCI_CONFIG_REGION_INDEX, offset));

	return r == size ? 0 : r < 0 ? errno : EIO;
}

static int export(FIXTURE_DATA(dmabuf_tdi) *self, u64 offset, u64 length, u32 flags)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_dma_buf dma_buf;
		struct vfio_region_dma_range range;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF,
		.dma_buf.region_index = self->bar,
		.dma_buf.open_flags = O_RDWR | O_CLOEXEC,
		.dma_buf.flags = flags,
		.dma_buf.nr_ranges = 1,
		.range.offset = offset,
		.range.length = length,
	};
	int fd = ioctl(self->device->fd, VFIO_DEVICE_FEATURE, &arg);

	TEST_ASSERT(fd >= 0, "VFIO_DEVICE_FEATURE_DMA_BUF failed, errno = %d (%s)",
		    errno, strerror(errno));
	return fd;
}

static int tsm_bind(FIXTURE_DATA(dmabuf_tdi) *self)
{
	struct vfio_device_tsm_bind bind = {
		.argsz = sizeof(bind),
		.tdi_id = TDI_ID,
	};

	return ioctl(self->device->fd, VFIO_DEVICE_TSM_BIND, &bind) ? errno : 0;
}

static int tsm_unbind(FIXTURE_DATA(dmabuf_tdi) *self)
{
	struct vfio_device_tsm_unbind unbind = { .argsz = sizeof(unbind) };

	return ioctl(self->device->fd, VFIO_DEVICE_TSM_UNBIND, &unbind) ? errno : 0;
}

/* What the guest does once it trusts the device.  From then on it may use it. */
static int tsm_start(FIXTURE_DATA(dmabuf_tdi) *self)
{
	/* A TDISP message, START_INTERFACE_REQUEST to the function TDI_ID */
	u8 req[16] = { 0x10, 0x86, 0, 0, TDI_ID, 0, 0, 1 };
	u8 resp[64];
	struct vfio_device_tsm_guest_request arg = {
		.argsz = sizeof(arg),
		.op = 1,
		.tvm_arch = 0xffff,
		.req_len = sizeof(req),
		.resp_len = sizeof(resp),
		.req_uptr = (u64)req,
		.resp_uptr = (u64)resp,
	};

	return ioctl(self->device->fd, VFIO_DEVICE_TSM_GUEST_REQUEST, &arg) ? errno :
	       arg.tsm_code;
}

static void open_device(FIXTURE_DATA(dmabuf_tdi) *self)
{
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct vfio_region_info info;
	s32 fd;
	int i;

	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_alloc(device_bdf, self->iommu);
	vfio_pci_cdev_open(self->device, device_bdf);

	/* The VM is the one that the device knows when it's opened. */
	fd = self->device->fd;
	self->kvm_vfio = kvm_create_device(self->vm, KVM_DEV_TYPE_VFIO);
	kvm_device_attr_set(self->kvm_vfio, KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, &fd);

	TEST_ASSERT(!__vfio_device_bind_iommufd(fd, self->iommu->iommufd, NULL),
		    "VFIO_DEVICE_BIND_IOMMUFD failed");
	attach.pt_id = self->iommu->ioas_id;
	TEST_ASSERT(!ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach),
		    "VFIO_DEVICE_ATTACH_IOMMUFD_PT failed");

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		info = (struct vfio_region_info) { .argsz = sizeof(info), .index = i };
		TEST_ASSERT(!ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info),
			    "VFIO_DEVICE_GET_REGION_INFO failed");
		if (info.size > self->size) {
			self->bar = i;
			self->size = info.size;
		}
	}
}

/* The memory of an nvme is off by default. */
static void enable_memory(FIXTURE_DATA(dmabuf_tdi) *self)
{
	u32 enable = 1;

	if (config_read(self, PCI_CLASS_REVISION, 4) >> 8 != NVME_CLASS)
		return;

	TEST_ASSERT(pwrite(self->device->fd, &enable, sizeof(enable),
			   region_offset(0, NVME_PMRCTL)) == sizeof(enable),
		    "Can't enable the PMR");
}

static void mark_shared(FIXTURE_DATA(dmabuf_tdi) *self)
{
	char mark[64];

	snprintf(mark, sizeof(mark), "%u 0 %#lx shared", self->bar, SHARED_SIZE);
	TEST_ASSERT(!put_fn("marks", mark), "Is %s connected to the simulated TSM?", device_bdf);
}

FIXTURE_SETUP(dmabuf_tdi)
{
	u64 val;

	self->kvm_vfio = -1;
	self->shared_fd = -1;
	self->private_fd = -1;

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM)))
		SKIP(return, "needs VMs of type KVM_X86_SW_PROTECTED_VM");

	file_write(SIM "/violations", "0");
	put_fn("marks", "clear");

	self->vm = dmabuf_vm_create(KVM_X86_SW_PROTECTED_VM, &self->vcpu);
	open_device(self);
	TEST_ASSERT(self->size >= PRIVATE_OFFSET + PRIVATE_SIZE, "The largest BAR is too small");

	TEST_ASSERT(!config_write(self, PCI_COMMAND, config_read(self, PCI_COMMAND, 2) |
				  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2),
		    "Can't enable memory decode");

	enable_memory(self);

	TEST_ASSERT(!host_write(self, PRIVATE_OFFSET, 0x1234) &&
		    !host_read(self, PRIVATE_OFFSET, &val) && val == 0x1234,
		    "The largest BAR isn't memory");

	mark_shared(self);

	self->shared_fd = export(self, 0, SHARED_SIZE, 0);
	self->private_fd = export(self, PRIVATE_OFFSET, PRIVATE_SIZE, VFIO_DMA_BUF_FLAG_PRIVATE);
	vm_mem_set_private(self->vm, PRIVATE_GPA, PRIVATE_SIZE);
}

static void close_device(FIXTURE_DATA(dmabuf_tdi) *self)
{
	if (!self->device)
		return;

	/* KVM has the file of the device, too. */
	close(self->kvm_vfio);
	close(self->device->fd);
	vfio_pci_device_free(self->device);
	iommu_cleanup(self->iommu);
	self->device = NULL;
}

FIXTURE_TEARDOWN(dmabuf_tdi)
{
	if (!self->vm)
		return;

	close_device(self);
	kvm_vm_free(self->vm);
	close(self->shared_fd);
	close(self->private_fd);
	EXPECT_EQ(nr_violations(), 0);
}

static void create_private(FIXTURE_DATA(dmabuf_tdi) *self)
{
	vm_set_dmabuf(self->vm, PRIVATE_SLOT, 0, PRIVATE_GPA, PRIVATE_SIZE, self->private_fd, 0);
}

static void create_shared(FIXTURE_DATA(dmabuf_tdi) *self)
{
	vm_set_dmabuf(self->vm, SHARED_SLOT, 0, SHARED_GPA, SHARED_SIZE, self->shared_fd, 0);
}

static void expect_faults(FIXTURE_DATA(dmabuf_tdi) *self, gpa_t gpa, u64 flags)
{
	guest_start(self->vcpu, GUEST_READ, gpa, 0);
	guest_faults(self->vcpu, gpa, flags);
}

/* The memslot may be there before the device is bound, and stays for the next time. */
TEST_F(dmabuf_tdi, slot_before_bind)
{
	u64 val;

	create_private(self);
	expect_faults(self, PRIVATE_GPA, PRIVATE | REVOKED);

	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_done(self->vcpu), 0x1234);
	guest_write(self->vcpu, PRIVATE_GPA + PRIVATE_SIZE - sizeof(u64), 0x5678);
	EXPECT_EQ(host_read(self, PRIVATE_OFFSET, &val), EBUSY);
	EXPECT_EQ(host_write(self, PRIVATE_OFFSET, 0), EBUSY);

	ASSERT_EQ(tsm_unbind(self), 0);
	expect_faults(self, PRIVATE_GPA, PRIVATE | REVOKED);
	EXPECT_EQ(host_read(self, PRIVATE_OFFSET + PRIVATE_SIZE - sizeof(u64), &val), 0);
	EXPECT_EQ(val, 0x5678);
	EXPECT_EQ(host_write(self, PRIVATE_OFFSET, 0x9abc), 0);

	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_done(self->vcpu), 0x9abc);
}

TEST_F(dmabuf_tdi, slot_after_bind)
{
	struct leaves leaves;

	ASSERT_EQ(tsm_bind(self), 0);
	create_private(self);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

	if (vcpu_can_prefault()) {
		vcpu_populate(self->vcpu, PRIVATE_GPA, PRIVATE_SIZE);
		leaves = vm_get_leaves(self->vm);
		EXPECT_LE(PRIVATE_SIZE / SZ_2M, leaves.nr_2m);
	}
}

/* VMs without private memory don't get it, whether or not the device is bound. */
TEST_F(dmabuf_tdi, default_vm)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	vm = dmabuf_vm_create(KVM_X86_DEFAULT_VM, &vcpu);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(__vm_set_dmabuf(vm, PRIVATE_SLOT, 0, PRIVATE_GPA, PRIVATE_SIZE,
					  self->private_fd, 0), -1);
		EXPECT_EQ(errno, EOPNOTSUPP);
		ASSERT_EQ(tsm_bind(self), i ? EBUSY : 0);
	}
	kvm_vm_free(vm);
}

/* Nor do those that have it, but not the device. */
TEST_F(dmabuf_tdi, other_vm)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = dmabuf_vm_create(KVM_X86_SW_PROTECTED_VM, &vcpu);
	vm_mem_set_private(vm, PRIVATE_GPA, PRIVATE_SIZE);
	vm_set_dmabuf(vm, PRIVATE_SLOT, 0, PRIVATE_GPA, PRIVATE_SIZE, self->private_fd, 0);
	create_private(self);

	/* It's revoked for everybody. */
	guest_start(vcpu, GUEST_READ, PRIVATE_GPA, 0);
	guest_faults(vcpu, PRIVATE_GPA, PRIVATE | REVOKED);

	ASSERT_EQ(tsm_bind(self), 0);
	guest_faults(vcpu, PRIVATE_GPA, PRIVATE);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);
	guest_faults(vcpu, PRIVATE_GPA, PRIVATE);
	if (vcpu_can_prefault())
		EXPECT_EQ(__vcpu_prefault(vcpu, PRIVATE_GPA, PRIVATE_SIZE), EFAULT);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

	ASSERT_EQ(tsm_unbind(self), 0);
	guest_faults(vcpu, PRIVATE_GPA, PRIVATE | REVOKED);
	kvm_vm_free(vm);
}

TEST_F(dmabuf_tdi, shared_gfn)
{
	ASSERT_EQ(host_write(self, PRIVATE_OFFSET + PAGE_SIZE, 0x5678), 0);
	ASSERT_EQ(tsm_bind(self), 0);
	create_private(self);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

	vm_mem_set_shared(self->vm, PRIVATE_GPA, PAGE_SIZE);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA + PAGE_SIZE), 0x5678);
	expect_faults(self, PRIVATE_GPA, 0);

	vm_mem_set_private(self->vm, PRIVATE_GPA, PAGE_SIZE);
	EXPECT_EQ(guest_done(self->vcpu), 0x1234);
}

/* Shared MMIO of a shared range is usable before, while and after it's bound. */
TEST_F(dmabuf_tdi, shared_slot)
{
	u64 val;

	create_shared(self);
	create_private(self);
	guest_write(self->vcpu, SHARED_GPA, 1);
	EXPECT_EQ(host_read(self, 0, &val), 0);
	EXPECT_EQ(val, 1);

	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_read(self->vcpu, SHARED_GPA), 1);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);
	EXPECT_EQ(host_write(self, 0, 2), 0);
	EXPECT_EQ(guest_read(self->vcpu, SHARED_GPA), 2);

	ASSERT_EQ(tsm_unbind(self), 0);
	EXPECT_EQ(guest_read(self->vcpu, SHARED_GPA), 2);
	expect_faults(self, PRIVATE_GPA, PRIVATE | REVOKED);
}

/* A shared buffer of what becomes private: the VMM that doesn't unmap loses it. */
TEST_F(dmabuf_tdi, shared_slot_of_private_range)
{
	int fd = export(self, PRIVATE_OFFSET, PRIVATE_SIZE, 0);
	u64 before;

	vm_set_dmabuf(self->vm, SHARED_SLOT, 0, SHARED_GPA, PRIVATE_SIZE, fd, 0);
	create_private(self);
	EXPECT_EQ(guest_read(self->vcpu, SHARED_GPA), 0x1234);

	before = vm_get_mapped(self->vm);
	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_LT(vm_get_mapped(self->vm), before);
	expect_faults(self, SHARED_GPA, REVOKED);
	guest_faults(self->vcpu, SHARED_GPA, REVOKED);

	ASSERT_EQ(tsm_unbind(self), 0);
	EXPECT_EQ(guest_done(self->vcpu), 0x1234);
	close(fd);
}

/* One gpa, two buffers: what a VMM does that follows the guest. */
TEST_F(dmabuf_tdi, swap_at_one_gpa)
{
	int fd = export(self, PRIVATE_OFFSET, PRIVATE_SIZE, 0);
	int i;

	for (i = 0; i < 3; i++) {
		vm_mem_set_shared(self->vm, PRIVATE_GPA, PRIVATE_SIZE);
		vm_set_dmabuf(self->vm, PRIVATE_SLOT, 0, PRIVATE_GPA, PRIVATE_SIZE, fd, 0);
		guest_write(self->vcpu, PRIVATE_GPA, i);
		vm_delete_dmabuf(self->vm, PRIVATE_SLOT);

		ASSERT_EQ(tsm_bind(self), 0);
		create_private(self);
		vm_mem_set_private(self->vm, PRIVATE_GPA, PRIVATE_SIZE);
		EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), i);
		guest_write(self->vcpu, PRIVATE_GPA, i + 1);

		ASSERT_EQ(tsm_unbind(self), 0);
		vm_delete_dmabuf(self->vm, PRIVATE_SLOT);
	}
	close(fd);
}

/* The guest's attempt to turn memory decode off is refused, and hurts nobody. */
TEST_F(dmabuf_tdi, config_write)
{
	u32 command = config_read(self, PCI_COMMAND, 2);

	create_private(self);
	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

	EXPECT_EQ(config_write(self, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY, 2), EBUSY);
	EXPECT_EQ(config_read(self, PCI_COMMAND, 2), command);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

	ASSERT_EQ(tsm_unbind(self), 0);
	EXPECT_EQ(config_write(self, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY, 2), 0);
	EXPECT_EQ(tsm_bind(self), EIO);
	EXPECT_EQ(config_write(self, PCI_COMMAND, command, 2), 0);
	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);
}

/* The TDI fails while the guest uses it. */
TEST_F(dmabuf_tdi, error)
{
	int i;

	create_private(self);
	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

	ASSERT_EQ(put_fn("error", "1"), 0);
	/* What is mapped goes in a work of its own. */
	for (i = 0; i < 100 && vm_get_mapped(self->vm); i++) {
		guest_start(self->vcpu, GUEST_READ, PRIVATE_GPA, 0);
		if (_vcpu_run(self->vcpu))
			break;
		guest_result(self->vcpu);
		usleep(20000);
	}
	guest_faults(self->vcpu, PRIVATE_GPA, PRIVATE | REVOKED);

	ASSERT_EQ(tsm_unbind(self), 0);
	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_done(self->vcpu), 0x1234);
}

/*
 * Stopped, then unmapped, then freed, whoever ends it: the simulation complains if
 * private MMIO of a TDI that runs is unmapped, or of one that is freed isn't.
 */
TEST_F(dmabuf_tdi, order)
{
	int i;

	create_private(self);

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(tsm_bind(self), 0);
		EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);
		ASSERT_EQ(tsm_start(self), 0);
		EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

		switch (i) {
		case 0:
			ASSERT_EQ(tsm_unbind(self), 0);
			break;
		case 1:
			ASSERT_EQ(reset_device(), 0);
			ASSERT_EQ(config_write(self, PCI_COMMAND,
					       config_read(self, PCI_COMMAND, 2) |
					       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2), 0);
			enable_memory(self);
			break;
		case 2:
			ASSERT_EQ(file_write(SIM "/gone", "1"), 0);
			expect_faults(self, PRIVATE_GPA, PRIVATE | REVOKED);
			ASSERT_EQ(tsm_unbind(self), 0);
			ASSERT_EQ(file_write(SIM "/gone", "0"), 0);
			ASSERT_EQ(connect_device(), 0);
			mark_shared(self);
			break;
		default:
			close_device(self);
			break;
		}
		EXPECT_EQ(nr_violations(), 0);
		if (i < 3)
			ASSERT_EQ(host_write(self, PRIVATE_OFFSET, 0x1234), 0);
	}
}

/* A TDI that has failed keeps its mappings until it's stopped, whatever else happens. */
TEST_F(dmabuf_tdi, error_then_config_write)
{
	u32 command = config_read(self, PCI_COMMAND, 2);
	u64 before;
	int i;

	create_private(self);
	before = vm_get_mapped(self->vm);
	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);
	EXPECT_GT(vm_get_mapped(self->vm), before);

	ASSERT_EQ(put_fn("delay_stop", "600000"), 0);
	before = vm_get_mapped(self->vm);
	ASSERT_EQ(put_fn("error", "1"), 0);
	EXPECT_EQ(config_write(self, PCI_COMMAND, command ^ PCI_COMMAND_INTX_DISABLE, 2), 0);
	EXPECT_EQ(config_write(self, PCI_COMMAND, command, 2), 0);
	EXPECT_EQ(vm_get_mapped(self->vm), before);
	ASSERT_EQ(put_fn("delay_stop", "0"), 0);

	for (i = 0; i < 1000 && vm_get_mapped(self->vm) >= before; i++)
		usleep(10000);
	EXPECT_LT(vm_get_mapped(self->vm), before);
	ASSERT_EQ(tsm_unbind(self), 0);
}

TEST_F(dmabuf_tdi, device_closes_first)
{
	create_private(self);
	ASSERT_EQ(tsm_bind(self), 0);
	EXPECT_EQ(guest_read(self->vcpu, PRIVATE_GPA), 0x1234);

	close_device(self);
	expect_faults(self, PRIVATE_GPA, PRIVATE | REVOKED);
	vm_delete_dmabuf(self->vm, PRIVATE_SLOT);
}

/* The guest accesses the MMIO all the time while the VMM binds and unbinds. */
struct racer {
	FIXTURE_DATA(dmabuf_tdi) *fixture;
	pthread_t thread;
	unsigned long rounds;
	bool stop;
	int error;
};

static void *bind_thread(void *arg)
{
	struct racer *racer = arg;

	while (!READ_ONCE(racer->stop) && !racer->error) {
		racer->error = tsm_bind(racer->fixture);
		if (!racer->error)
			racer->error = tsm_unbind(racer->fixture);
		racer->rounds++;
	}

	return NULL;
}

TEST_F_TIMEOUT(dmabuf_tdi, race, 300)
{
	struct racer racer = { .fixture = self };
	struct kvm_run *run = self->vcpu->run;
	unsigned long nr_revoked = 0;
	int fd, i;

	fd = export(self, PRIVATE_OFFSET, PRIVATE_SIZE, 0);
	create_private(self);
	vm_set_dmabuf(self->vm, SHARED_SLOT, 0, SHARED_GPA, PRIVATE_SIZE, fd, 0);

	TEST_ASSERT(!pthread_create(&racer.thread, NULL, bind_thread, &racer),
		    "pthread_create() failed");

	/* One is there exactly while the other one isn't. */
	for (i = 0; i < 400; i++) {
		gpa_t gpa = i & 1 ? PRIVATE_GPA : SHARED_GPA;

		guest_start(self->vcpu, GUEST_READ, gpa, 0);
		while (_vcpu_run(self->vcpu)) {
			TEST_ASSERT(errno == EFAULT &&
				    run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
				    run->memory_fault.flags ==
				    (gpa == PRIVATE_GPA ? PRIVATE | REVOKED : REVOKED),
				    "errno = %d, exit reason = %u (%s), flags = 0x%llx",
				    errno, run->exit_reason,
				    exit_reason_str(run->exit_reason),
				    run->memory_fault.flags);
			nr_revoked++;
		}
		TEST_ASSERT_EQ(guest_result(self->vcpu), 0x1234);
	}

	WRITE_ONCE(racer.stop, true);
	pthread_join(racer.thread, NULL);
	EXPECT_EQ(racer.error, 0);
	EXPECT_NE(racer.rounds, 0);
	EXPECT_NE(nr_revoked, 0);
	TH_LOG("%lu binds, %lu accesses had to wait", racer.rounds, nr_revoked);
	close(fd);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DMABUF));

	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	TEST_REQUIRE(!access(SIM "/violations", R_OK));

	return test_harness_run(argc, argv);
}

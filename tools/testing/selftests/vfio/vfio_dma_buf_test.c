// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dma-bufs exported by VFIO_DEVICE_FEATURE_DMA_BUF: what can be exported, when
 * an importer has the ranges and when it has not, and who may go first.
 *
 * usage: vfio_dma_buf_test [options] exporter [dma-master]
 *
 * Whether an importer has the ranges is read from debugfs. With the address of a
 * second device, which libvfio can drive, it is also seen from its DMA: those
 * tests write to the largest BAR of the first device, which has to have memory
 * behind it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <linux/compiler.h>
#include <linux/dma-buf.h>
#include <linux/limits.h>
#include <linux/pci_regs.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

static const char *device_bdf;
static const char *master_bdf;
static size_t page_size;

/* As __vfio_pci_dma_buf_export() with one range, but free to say nonsense */
static int raw_export(struct vfio_pci_device *device, u32 feature_flags,
		      const struct vfio_device_feature_dma_buf *args,
		      const struct vfio_region_dma_range *range)
{
	u8 buf[sizeof(struct vfio_device_feature) + sizeof(*args) +
	       sizeof(*range)] __aligned(8) = {};
	struct vfio_device_feature *feature = (void *)buf;
	int fd;

	feature->argsz = sizeof(buf);
	feature->flags = feature_flags | VFIO_DEVICE_FEATURE_DMA_BUF;
	memcpy(feature->data, args, sizeof(*args));
	memcpy(feature->data + sizeof(*args), range, sizeof(*range));

	fd = ioctl(device->fd, VFIO_DEVICE_FEATURE, feature);
	return fd < 0 ? -errno : fd;
}

/* The size of a dma-buf is where lseek() finds its end */
static off_t dma_buf_size(int fd)
{
	return lseek(fd, 0, SEEK_END);
}

/*
 * Exports
 */
FIXTURE(vfio_dma_buf)
{
	struct iommu *iommu;
	struct vfio_pci_device *device;
	u32 bar;
	u64 size;
};

FIXTURE_SETUP(vfio_dma_buf)
{
	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);

	if (!vfio_pci_dma_buf_supported(self->device))
		SKIP(return, "%s does not export dma-bufs", device_bdf);

	self->bar = vfio_pci_largest_bar(self->device);
	if (self->bar == PCI_STD_NUM_BARS)
		SKIP(return, "%s has no BAR that can be mapped", device_bdf);

	self->size = self->device->bars[self->bar].info.size;
	if (self->size < 4 * page_size)
		SKIP(return, "The BARs of %s are too small", device_bdf);

	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
}

FIXTURE_TEARDOWN(vfio_dma_buf)
{
	if (self->device)
		vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
}

TEST_F(vfio_dma_buf, export_whole_bar)
{
	int fd = vfio_pci_dma_buf_export(self->device, self->bar, 0, self->size);

	ASSERT_EQ(self->size, dma_buf_size(fd));
	ASSERT_EQ(0, close(fd));
}

TEST_F(vfio_dma_buf, export_last_page)
{
	int fd = vfio_pci_dma_buf_export(self->device, self->bar,
					 self->size - page_size, page_size);

	ASSERT_EQ(page_size, dma_buf_size(fd));
	ASSERT_EQ(0, close(fd));
}

/* In any order, with gaps, and overlapping */
TEST_F(vfio_dma_buf, export_ranges)
{
	struct vfio_region_dma_range ranges[] = {
		{ .offset = 3 * page_size, .length = page_size },
		{ .offset = 0, .length = 2 * page_size },
		{ .offset = page_size, .length = page_size },
	};
	int fd = vfio_pci_dma_buf_export_ranges(self->device, self->bar, ranges,
						ARRAY_SIZE(ranges));

	ASSERT_EQ(4 * page_size, dma_buf_size(fd));
	ASSERT_EQ(0, close(fd));
}

TEST_F(vfio_dma_buf, export_many_times)
{
	int fds[16];
	int i;

	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = vfio_pci_dma_buf_export(self->device, self->bar, 0,
						 2 * page_size);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		ASSERT_EQ(0, close(fds[i]));
}

TEST_F(vfio_dma_buf, export_without_decode)
{
	int fd;

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	fd = vfio_pci_dma_buf_export(self->device, self->bar, 0, page_size);
	ASSERT_EQ(page_size, dma_buf_size(fd));
	ASSERT_EQ(0, close(fd));
}

/*
 * The buffer lives on without its file. What looks at the file is not told of it,
 * only KASAN might tell: it takes some time until a freed one is known to be.
 */
TEST_F(vfio_dma_buf, file_closed_path_open)
{
	char path[32];
	int fds[64];
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fd = vfio_pci_dma_buf_export(self->device, self->bar, 0,
					     page_size);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		fds[i] = open(path, O_PATH | O_CLOEXEC);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, close(fd));
	}

	for (i = 0; i < 10; i++) {
		usleep(20000);
		vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
		vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	}

	/* The device is gone, and another user is there, before the buffers */
	vfio_pci_device_cleanup(self->device);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		ASSERT_EQ(0, close(fds[i]));
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
}

/* What may take longer than it should, in a thread of its own */
struct task {
	pthread_t thread;
	struct vfio_pci_device *device;
	int ret;
	bool done;
};

static bool is_done_soon(struct task *task)
{
	int i;

	for (i = 0; i < 100 && !READ_ONCE(task->done); i++)
		usleep(100000);
	return READ_ONCE(task->done);
}

static void *unbind_driver(void *arg)
{
	struct task *task = arg;

	task->ret = file_write("/sys/bus/pci/drivers/vfio-pci/unbind", device_bdf);
	WRITE_ONCE(task->done, true);
	return NULL;
}

/* Nor does the driver wait for such a buffer */
TEST_F(vfio_dma_buf, path_open_driver_unbound)
{
	struct task task = {};
	char path[32];
	int fd, path_fd;

	fd = vfio_pci_dma_buf_export(self->device, self->bar, 0, page_size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	path_fd = open(path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, path_fd);
	ASSERT_EQ(0, close(fd));
	vfio_pci_device_cleanup(self->device);
	self->device = NULL;

	ASSERT_EQ(0, pthread_create(&task.thread, NULL, unbind_driver, &task));
	EXPECT_TRUE(is_done_soon(&task));
	ASSERT_EQ(0, close(path_fd));
	ASSERT_EQ(0, pthread_join(task.thread, NULL));
	EXPECT_EQ(0, task.ret);
	ASSERT_EQ(0, file_write("/sys/bus/pci/drivers/vfio-pci/bind", device_bdf));
}

#define EXPECT_EXPORT_ERRNO(_errno, _index, ...) do {			\
	struct vfio_region_dma_range __ranges[] = { __VA_ARGS__ };	\
									\
	EXPECT_EQ(-(_errno),						\
		  __vfio_pci_dma_buf_export(self->device, _index, __ranges, \
					    ARRAY_SIZE(__ranges),	\
					    O_RDWR | O_CLOEXEC));	\
} while (0)

TEST_F(vfio_dma_buf, no_ranges)
{
	EXPECT_EQ(-EINVAL, __vfio_pci_dma_buf_export(self->device, self->bar,
						     NULL, 0, O_RDWR));
}

TEST_F(vfio_dma_buf, too_many_ranges)
{
	struct vfio_device_feature_dma_buf args = {
		.region_index = self->bar,
		.open_flags = O_RDWR,
		.nr_ranges = UINT32_MAX,
	};
	struct vfio_region_dma_range range = { .length = page_size };

	EXPECT_EQ(-ENOMEM, raw_export(self->device, VFIO_DEVICE_FEATURE_GET,
				      &args, &range));
}

TEST_F(vfio_dma_buf, offset_unaligned)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar, { page_size / 2, page_size });
}

TEST_F(vfio_dma_buf, length_unaligned)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar, { 0, page_size + 1 });
}

TEST_F(vfio_dma_buf, length_zero)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar, { 0, 0 });
}

TEST_F(vfio_dma_buf, offset_beyond_bar)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar, { self->size, page_size });
}

TEST_F(vfio_dma_buf, end_beyond_bar)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar,
			    { self->size - page_size, 2 * page_size });
}

TEST_F(vfio_dma_buf, second_range_beyond_bar)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar,
			    { 0, page_size }, { self->size, page_size });
}

TEST_F(vfio_dma_buf, address_overflow)
{
	EXPECT_EXPORT_ERRNO(EOVERFLOW, self->bar, { -page_size, page_size });
}

/* Each length is good for an address, the sum is good for nothing */
TEST_F(vfio_dma_buf, size_overflow)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar,
			    { 0, 1ULL << 63 }, { 0, 1ULL << 63 });
}

TEST_F(vfio_dma_buf, size_of_no_iova)
{
	EXPECT_EXPORT_ERRNO(EINVAL, self->bar, { 0, 1ULL << 63 });
}

TEST_F(vfio_dma_buf, unknown_flags)
{
	struct vfio_device_feature_dma_buf args = {
		.region_index = self->bar,
		.open_flags = O_RDWR,
		.nr_ranges = 1,
	};
	struct vfio_region_dma_range range = { .length = page_size };
	int i, fd;

	/* The rest is right */
	fd = raw_export(self->device, VFIO_DEVICE_FEATURE_GET, &args, &range);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(fd));

	/* Bit 0 has a meaning where the device has a TSM context */
	for (i = 1; i < 32; i++) {
		args.flags = 1U << i;
		EXPECT_EQ(-EINVAL,
			  raw_export(self->device, VFIO_DEVICE_FEATURE_GET,
				     &args, &range));
	}
}

TEST_F(vfio_dma_buf, set_instead_of_get)
{
	struct vfio_device_feature_dma_buf args = {
		.region_index = self->bar,
		.open_flags = O_RDWR,
		.nr_ranges = 1,
	};
	struct vfio_region_dma_range range = { .length = page_size };

	EXPECT_EQ(-EINVAL, raw_export(self->device, VFIO_DEVICE_FEATURE_SET,
				      &args, &range));
}

TEST_F(vfio_dma_buf, argsz_too_small)
{
	struct vfio_device_feature feature = {
		.argsz = sizeof(feature) +
			 sizeof(struct vfio_device_feature_dma_buf) - 1,
		.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF,
	};

	EXPECT_EQ(-1, ioctl(self->device->fd, VFIO_DEVICE_FEATURE, &feature));
	EXPECT_EQ(EINVAL, errno);
}

struct closer {
	int fd;
	bool stop;
};

/* Somebody else in the process closes the new fd before its owner knows it */
static void *close_ahead(void *arg)
{
	struct closer *closer = arg;

	while (!READ_ONCE(closer->stop))
		close(closer->fd);

	return NULL;
}

TEST_F(vfio_dma_buf, fd_closed_at_once)
{
	struct vfio_region_dma_range range = { .length = page_size };
	struct closer closer = {};
	int i, fd, ahead = 0;
	pthread_t thread;

	/* The fd that all exports below will get */
	fd = vfio_pci_dma_buf_export(self->device, self->bar, 0, page_size);
	closer.fd = fd;
	ASSERT_EQ(0, close(fd));

	ASSERT_EQ(0, pthread_create(&thread, NULL, close_ahead, &closer));
	for (i = 0; i < 500; i++) {
		fd = __vfio_pci_dma_buf_export(self->device, self->bar, &range,
					       1, O_RDWR);
		if (fd != closer.fd)
			break;
		if (close(fd))
			ahead++;
	}
	WRITE_ONCE(closer.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));

	EXPECT_EQ(500, i);
	TH_LOG("%d of %d closed by the other thread", ahead, i);
}

TEST_F(vfio_dma_buf, device_closed_first)
{
	int fd = vfio_pci_dma_buf_export(self->device, self->bar, 0, page_size);

	vfio_pci_device_cleanup(self->device);
	self->device = NULL;
	ASSERT_EQ(page_size, dma_buf_size(fd));

	/* The device is free for the next user, who has a buffer of his own */
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	ASSERT_EQ(0, close(vfio_pci_dma_buf_export(self->device, self->bar, 0,
						   page_size)));
	ASSERT_EQ(0, close(fd));
}

/*
 * Regions that cannot be exported
 */
FIXTURE(vfio_dma_buf_region)
{
	struct iommu *iommu;
	struct vfio_pci_device *device;
};

FIXTURE_SETUP(vfio_dma_buf_region)
{
	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);

	if (!vfio_pci_dma_buf_supported(self->device))
		SKIP(return, "%s does not export dma-bufs", device_bdf);
}

FIXTURE_TEARDOWN(vfio_dma_buf_region)
{
	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
}

TEST_F(vfio_dma_buf_region, region_is_no_bar)
{
	EXPECT_EXPORT_ERRNO(ENODEV, VFIO_PCI_ROM_REGION_INDEX, { 0, page_size });
	EXPECT_EXPORT_ERRNO(ENODEV, VFIO_PCI_CONFIG_REGION_INDEX, { 0, page_size });
	EXPECT_EXPORT_ERRNO(ENODEV, VFIO_PCI_VGA_REGION_INDEX, { 0, page_size });
	EXPECT_EXPORT_ERRNO(ENODEV, VFIO_PCI_NUM_REGIONS, { 0, page_size });
	EXPECT_EXPORT_ERRNO(ENODEV, UINT32_MAX, { 0, page_size });
}

TEST_F(vfio_dma_buf_region, bar_without_resource)
{
	u32 i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (!self->device->bars[i].info.size)
			break;
	}
	if (i == PCI_STD_NUM_BARS)
		SKIP(return, "The device has all BARs");

	EXPECT_EXPORT_ERRNO(ENODEV, i, { 0, page_size });
}

TEST_F(vfio_dma_buf_region, io_bar)
{
	char path[PATH_MAX], line[128];
	bool found = false;
	FILE *file;
	u32 i;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/resource",
			device_bdf);
	file = fopen(path, "r");
	ASSERT_NE(NULL, file);

	for (i = 0; i < PCI_STD_NUM_BARS && fgets(line, sizeof(line), file); i++) {
		unsigned long long flags;

		/* IORESOURCE_IO */
		if (sscanf(line, "%*x %*x %llx", &flags) != 1 ||
		    !(flags & 0x100))
			continue;

		found = true;
		EXPECT_EXPORT_ERRNO(EINVAL, i, { 0, page_size });
	}
	fclose(file);

	if (!found)
		SKIP(return, "The device has no I/O BAR");
}

/*
 * An importer, and the device under it
 */
FIXTURE(vfio_dma_buf_importer)
{
	struct iommu *iommu;
	struct iova_allocator *iovas;
	struct vfio_pci_device *device;
	u32 bar;
	u64 size;
	iova_t iova;
	int fd;
};

FIXTURE_SETUP(vfio_dma_buf_importer)
{
	struct vfio_region_dma_range ranges[] = {
		{ .offset = 2 * page_size, .length = page_size },
		{ .offset = 0, .length = page_size },
	};
	unsigned int attached, mapped;

	self->fd = -1;
	self->iommu = iommu_init(MODE_IOMMUFD);
	self->iovas = iova_allocator_init(self->iommu);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);

	if (!vfio_pci_dma_buf_supported(self->device))
		SKIP(return, "%s does not export dma-bufs", device_bdf);

	self->bar = vfio_pci_largest_bar(self->device);
	if (self->bar == PCI_STD_NUM_BARS ||
	    self->device->bars[self->bar].info.size < 4 * page_size)
		SKIP(return, "%s has no BAR to map", device_bdf);

	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);

	self->size = 2 * page_size;
	self->fd = vfio_pci_dma_buf_export_ranges(self->device, self->bar,
						  ranges, ARRAY_SIZE(ranges));
	if (dma_buf_importers(self->fd, &attached, &mapped))
		SKIP(return, "No debugfs to see the importers in");

	self->iova = iova_allocator_alloc(self->iovas, self->size);
	iommu_map_dma_buf(self->iommu, self->fd, 0, self->size, self->iova);
}

FIXTURE_TEARDOWN(vfio_dma_buf_importer)
{
	if (self->device)
		vfio_pci_device_cleanup(self->device);
	if (self->fd >= 0)
		close(self->fd);
	iova_allocator_cleanup(self->iovas);
	iommu_cleanup(self->iommu);
}

#define ASSERT_IMPORTERS(_attached, _mapped) do {			\
	unsigned int __attached, __mapped;				\
									\
	ASSERT_EQ(0, dma_buf_importers(self->fd, &__attached, &__mapped)); \
	ASSERT_EQ(_attached, __attached);				\
	ASSERT_EQ(_mapped, __mapped);					\
} while (0)

TEST_F(vfio_dma_buf_importer, map_unmap)
{
	ASSERT_IMPORTERS(1, 1);
	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
	ASSERT_IMPORTERS(0, 0);
}

TEST_F(vfio_dma_buf_importer, decode)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_IMPORTERS(1, 1);
		vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
		ASSERT_IMPORTERS(1, 0);
		vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
		ASSERT_IMPORTERS(1, 0);
		vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
		ASSERT_IMPORTERS(1, 1);
		vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	}
}

/* Of the debugfs interface of sw_sync */
struct sw_sync_create_fence_data {
	__u32 value;
	char name[32];
	__s32 fence;
};

#define SW_SYNC_IOC_CREATE_FENCE _IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC		 _IOW('W', 1, __u32)

static void *clear_decode(void *arg)
{
	struct task *task = arg;

	vfio_pci_cmd_clear(task->device, PCI_COMMAND_MEMORY);
	WRITE_ONCE(task->done, true);
	return NULL;
}

/* Whoever has the buffer can add a fence. Nobody is there whom it could be of. */
TEST_F(vfio_dma_buf_importer, fence_of_nobody)
{
	struct sw_sync_create_fence_data data = { .value = 1 };
	struct dma_buf_import_sync_file import = { .flags = DMA_BUF_SYNC_RW };
	struct task task = { .device = self->device };
	__u32 inc = 1;
	int timeline;

	timeline = open("/sys/kernel/debug/sync/sw_sync", O_RDWR | O_CLOEXEC);
	if (timeline < 0)
		SKIP(return, "No fences by sw_sync (CONFIG_SW_SYNC)");
	ASSERT_EQ(0, ioctl(timeline, SW_SYNC_IOC_CREATE_FENCE, &data));
	import.fd = data.fence;
	ASSERT_EQ(0, ioctl(self->fd, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &import));

	ASSERT_EQ(0, pthread_create(&task.thread, NULL, clear_decode, &task));
	EXPECT_TRUE(is_done_soon(&task));
	ASSERT_EQ(0, ioctl(timeline, SW_SYNC_IOC_INC, &inc));
	ASSERT_EQ(0, pthread_join(task.thread, NULL));
	ASSERT_IMPORTERS(1, 0);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 1);

	ASSERT_EQ(0, close(data.fence));
	ASSERT_EQ(0, close(timeline));
}

TEST_F(vfio_dma_buf_importer, map_while_revoked)
{
	iova_t iova = iova_allocator_alloc(self->iovas, self->size);

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	iommu_map_dma_buf(self->iommu, self->fd, 0, self->size, iova);
	ASSERT_IMPORTERS(2, 0);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(2, 2);
}

TEST_F(vfio_dma_buf_importer, unmap_while_revoked)
{
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
	ASSERT_IMPORTERS(0, 0);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(0, 0);
}

TEST_F(vfio_dma_buf_importer, created_revoked)
{
	int fd = self->fd;

	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
	ASSERT_EQ(0, close(fd));

	self->fd = vfio_pci_dma_buf_export(self->device, self->bar, 0,
					   self->size);
	iommu_map_dma_buf(self->iommu, self->fd, 0, self->size, self->iova);
	ASSERT_IMPORTERS(1, 0);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 1);
}

TEST_F(vfio_dma_buf_importer, reset)
{
	if (!(self->device->info.flags & VFIO_DEVICE_FLAGS_RESET))
		SKIP(return, "%s cannot be reset", device_bdf);

	vfio_pci_device_reset(self->device);
	ASSERT_IMPORTERS(1, 1);

	/* Decode stays as it was */
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	vfio_pci_device_reset(self->device);
	ASSERT_IMPORTERS(1, 0);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 1);
}

TEST_F(vfio_dma_buf_importer, power_state)
{
	if (!vfio_pci_find_capability(self->device, PCI_CAP_ID_PM))
		SKIP(return, "%s has no power management capability", device_bdf);

	vfio_pci_set_power_state(self->device, 3);
	ASSERT_IMPORTERS(1, 0);

	/* Decode alone is not enough in D3 */
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 0);

	vfio_pci_set_power_state(self->device, 0);
	ASSERT_IMPORTERS(1, 1);
}

#define FAIL_FUNCTION "/sys/kernel/debug/fail_function"

/* Not every compiler keeps @function under its name */
static bool can_fail_function(const char *function)
{
	FILE *file = fopen(FAIL_FUNCTION "/injectable", "r");
	char line[256];
	bool found = false;

	if (!file)
		return false;

	while (!found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, " \t\n")] = '\0';
		found = !strcmp(line, function);
	}
	fclose(file);

	return found;
}

/* The next call of @function fails with -EIO */
static int fail_function(const char *function)
{
	static const char * const files[][2] = {
		{ FAIL_FUNCTION "/task-filter", "N" },
		{ FAIL_FUNCTION "/probability", "100" },
		{ FAIL_FUNCTION "/interval", "1" },
		{ FAIL_FUNCTION "/space", "0" },
		{ FAIL_FUNCTION "/verbose", "0" },
		{ FAIL_FUNCTION "/times", "1" },
	};
	char path[PATH_MAX], value[32];
	int i, ret;

	ret = file_write(FAIL_FUNCTION "/inject", function);
	if (ret)
		return ret;

	snprintf_assert(path, sizeof(path), FAIL_FUNCTION "/%s/retval", function);
	snprintf_assert(value, sizeof(value), "%#llx", (unsigned long long)-EIO);
	ret = file_write(path, value);
	for (i = 0; !ret && i < ARRAY_SIZE(files); i++)
		ret = file_write(files[i][0], files[i][1]);

	return ret;
}

/* Decode stays on if it could not be turned off, and so does the buffer */
TEST_F(vfio_dma_buf_importer, command_write_fails)
{
	struct vfio_pci_device *device = self->device;
	u16 cmd = vfio_pci_config_readw(device, PCI_COMMAND);
	ssize_t written;
	int err;

	ASSERT_TRUE(cmd & PCI_COMMAND_MEMORY);
	cmd &= ~PCI_COMMAND_MEMORY;

	if (!can_fail_function("vfio_user_config_write"))
		SKIP(return, "No error injection (CONFIG_FAIL_FUNCTION)");
	ASSERT_EQ(0, fail_function("vfio_user_config_write"));

	written = pwrite(device->fd, &cmd, sizeof(cmd),
			 device->config_space.offset + PCI_COMMAND);
	err = errno;
	ASSERT_EQ(0, file_write(FAIL_FUNCTION "/inject", "\n"));

	ASSERT_EQ(-1, written);
	ASSERT_EQ(EIO, err);
	ASSERT_TRUE(vfio_pci_config_readw(device, PCI_COMMAND) &
		    PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 1);
}

/* The PF is in D0 while it has VFs */
TEST_F(vfio_dma_buf_importer, sriov_in_d3)
{
	unsigned int attached, mapped;
	char enabled = 'N';
	FILE *file;

	file = fopen("/sys/module/vfio_pci/parameters/enable_sriov", "r");
	if (file) {
		enabled = fgetc(file);
		fclose(file);
	}
	if (enabled != 'Y')
		SKIP(return, "vfio_pci.enable_sriov is not set");
	if (sysfs_sriov_totalvfs_get(device_bdf) <= 0 ||
	    !vfio_pci_find_capability(self->device, PCI_CAP_ID_PM))
		SKIP(return, "%s has no VFs, or is always in D0", device_bdf);
	if (sysfs_sriov_numvfs_get(device_bdf))
		SKIP(return, "%s has VFs already", device_bdf);

	vfio_pci_set_power_state(self->device, 3);
	ASSERT_IMPORTERS(1, 0);

	sysfs_sriov_numvfs_set(device_bdf, 1);
	ASSERT_EQ(0, dma_buf_importers(self->fd, &attached, &mapped));
	sysfs_sriov_numvfs_set(device_bdf, 0);

	ASSERT_EQ(1, attached);
	ASSERT_EQ(1, mapped);
}

static bool wait_for_runtime_status(const char *wanted)
{
	char path[PATH_MAX], status[32];
	int i, fd, len;

	snprintf_assert(path, sizeof(path),
			"/sys/bus/pci/devices/%s/power/runtime_status", device_bdf);

	for (i = 0; i < 100; i++) {
		fd = open(path, O_RDONLY);
		if (fd < 0)
			return false;
		len = read(fd, status, sizeof(status) - 1);
		close(fd);
		if (len > 0 && !strncmp(status, wanted, strlen(wanted)))
			return true;
		usleep(50000);
	}

	return false;
}

TEST_F(vfio_dma_buf_importer, low_power)
{
	struct vfio_pci_device *device = self->device;
	int ret;

	ret = vfio_pci_low_power_entry(device, -1);
	if (ret == -ENOTTY)
		SKIP(return, "No low power mode");
	ASSERT_EQ(0, ret);
	ASSERT_IMPORTERS(1, 0);

	/* Once is enough, and a second time changes nothing */
	ASSERT_EQ(-EINVAL, vfio_pci_low_power_entry(device, -1));
	ASSERT_IMPORTERS(1, 0);

	ASSERT_EQ(0, vfio_pci_low_power_exit(device));
	ASSERT_IMPORTERS(1, 1);
}

/* An access wakes the device for its own time, and the buffer stays away */
TEST_F(vfio_dma_buf_importer, low_power_config_write)
{
	struct vfio_pci_device *device = self->device;
	int ret, fd;

	ret = vfio_pci_low_power_entry(device, -1);
	if (ret == -ENOTTY)
		SKIP(return, "No low power mode");
	ASSERT_EQ(0, ret);

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 0);

	/* Nor does a new one begin with a map */
	fd = self->fd;
	self->fd = vfio_pci_dma_buf_export(device, self->bar, 0, self->size);
	iommu_map_dma_buf(self->iommu, self->fd, 0, self->size,
			  iova_allocator_alloc(self->iovas, self->size));
	ASSERT_IMPORTERS(1, 0);

	ASSERT_EQ(0, vfio_pci_low_power_exit(device));
	ASSERT_IMPORTERS(1, 1);
	ASSERT_EQ(0, close(self->fd));
	self->fd = fd;
	ASSERT_IMPORTERS(1, 1);
}

/* Low power mode without decode does not end with a usable buffer */
TEST_F(vfio_dma_buf_importer, low_power_without_decode)
{
	struct vfio_pci_device *device = self->device;
	int ret;

	vfio_pci_cmd_clear(device, PCI_COMMAND_MEMORY);
	ret = vfio_pci_low_power_entry(device, -1);
	if (ret == -ENOTTY)
		SKIP(return, "No low power mode");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vfio_pci_low_power_exit(device));
	ASSERT_IMPORTERS(1, 0);
	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 1);
}

/* The wake-up ends low power mode without a call from userspace */
TEST_F(vfio_dma_buf_importer, low_power_wakeup)
{
	struct vfio_pci_device *device = self->device;
	struct pollfd wake = { .events = POLLIN };
	int ret;

	wake.fd = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, wake.fd);

	ret = vfio_pci_low_power_entry(device, wake.fd);
	if (ret == -ENOTTY)
		SKIP(return, "No low power mode");
	ASSERT_EQ(0, ret);
	ASSERT_IMPORTERS(1, 0);

	if (!wait_for_runtime_status("suspended"))
		SKIP(return, "%s does not suspend", device_bdf);
	ASSERT_EQ(0, poll(&wake, 1, 0));

	vfio_pci_config_readw(device, PCI_VENDOR_ID);
	ASSERT_EQ(1, poll(&wake, 1, 1000));
	ASSERT_IMPORTERS(1, 1);
	ASSERT_EQ(0, close(wake.fd));
}

TEST_F(vfio_dma_buf_importer, fd_closed_first)
{
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
}

TEST_F(vfio_dma_buf_importer, device_closed_first)
{
	vfio_pci_device_cleanup(self->device);
	ASSERT_IMPORTERS(1, 0);

	/* For good: a new user of the device does not bring it back */
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	vfio_pci_cmd_clear(self->device, PCI_COMMAND_MEMORY);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	ASSERT_IMPORTERS(1, 0);

	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
	ASSERT_IMPORTERS(0, 0);
}

TEST_F(vfio_dma_buf_importer, device_and_fd_closed_first)
{
	vfio_pci_device_cleanup(self->device);
	self->device = NULL;
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	iommu_unmap_dma_buf(self->iommu, self->size, self->iova);
}

struct toggler {
	struct vfio_pci_device *device;
	unsigned int count;
};

/* Not in a tight loop: a VM is busy for long when the address of a BAR moves */
static void *toggle_decode(void *arg)
{
	struct toggler *toggler = arg;

	while (toggler->count < 20) {
		vfio_pci_cmd_clear(toggler->device, PCI_COMMAND_MEMORY);
		usleep(1000);
		vfio_pci_cmd_set(toggler->device, PCI_COMMAND_MEMORY);
		usleep(10000);
		WRITE_ONCE(toggler->count, toggler->count + 1);
	}

	return NULL;
}

/* Revokes against everything that has a beginning and an end */
TEST_F(vfio_dma_buf_importer, decode_races)
{
	struct toggler toggler = { .device = self->device };
	iova_t iova = iova_allocator_alloc(self->iovas, self->size);
	unsigned int i = 0;
	pthread_t thread;
	int fd;

	ASSERT_EQ(0, pthread_create(&thread, NULL, toggle_decode, &toggler));
	do {
		fd = vfio_pci_dma_buf_export(self->device, self->bar, 0,
					     self->size);
		iommu_map_dma_buf(self->iommu, fd, 0, self->size, iova);
		if (i & 1)
			ASSERT_EQ(0, close(fd));
		iommu_unmap_dma_buf(self->iommu, self->size, iova);
		if (!(i & 1))
			ASSERT_EQ(0, close(fd));
		i++;
	} while (READ_ONCE(toggler.count) < 20);
	ASSERT_EQ(0, pthread_join(thread, NULL));

	TH_LOG("%u buffers came and went", i);
	ASSERT_IMPORTERS(1, 1);
}

/*
 * DMA of another device into the buffer
 */
FIXTURE(vfio_dma_buf_p2p)
{
	struct vfio_pci_p2p p2p;
};

FIXTURE_SETUP(vfio_dma_buf_p2p)
{
	const char *why = vfio_pci_p2p_init(&self->p2p, device_bdf, master_bdf,
					    8 * page_size);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(vfio_dma_buf_p2p)
{
	vfio_pci_p2p_cleanup(&self->p2p);
}

static int p2p_export(struct vfio_pci_p2p *p2p, u64 length)
{
	return vfio_pci_dma_buf_export(p2p->device, p2p->bar, 0, length);
}

TEST_F(vfio_dma_buf_p2p, read_and_write)
{
	struct vfio_pci_p2p *p2p = &self->p2p;
	iova_t iova = iova_allocator_alloc(p2p->iovas, page_size);
	int fd = p2p_export(p2p, page_size);

	iommu_map_dma_buf(p2p->iommu, fd, 0, page_size, iova);

	dma_pattern_fill(p2p->bar_vaddr, 0x1000);
	ASSERT_TRUE(vfio_pci_p2p_reads(p2p, iova, 0x1000));
	ASSERT_TRUE(vfio_pci_p2p_writes(p2p, iova, p2p->bar_vaddr, 0x2000));

	iommu_unmap_dma_buf(p2p->iommu, page_size, iova);
	ASSERT_EQ(0, close(fd));
}

/* The order is that of the ranges, not that of the addresses */
TEST_F(vfio_dma_buf_p2p, ranges)
{
	struct vfio_region_dma_range ranges[] = {
		{ .offset = 5 * page_size, .length = page_size },
		{ .offset = 0, .length = 2 * page_size },
		{ .offset = 3 * page_size, .length = page_size },
	};
	const unsigned int pages[] = { 5, 0, 1, 3 };
	u64 size = ARRAY_SIZE(pages) * page_size;
	struct vfio_pci_p2p *p2p = &self->p2p;
	iova_t iova = iova_allocator_alloc(p2p->iovas, size);
	int i, fd;

	fd = vfio_pci_dma_buf_export_ranges(p2p->device, p2p->bar, ranges,
					    ARRAY_SIZE(ranges));
	iommu_map_dma_buf(p2p->iommu, fd, 0, size, iova);

	for (i = 0; i < 8; i++)
		dma_pattern_fill(p2p->bar_vaddr + i * page_size, i << 8);
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		ASSERT_TRUE(vfio_pci_p2p_reads(p2p, iova + i * page_size,
					       pages[i] << 8));

	iommu_unmap_dma_buf(p2p->iommu, size, iova);

	/* And a part of it, over the border of two ranges */
	iommu_map_dma_buf(p2p->iommu, fd, 2 * page_size, 2 * page_size, iova);
	ASSERT_TRUE(vfio_pci_p2p_reads(p2p, iova, 1 << 8));
	ASSERT_TRUE(vfio_pci_p2p_reads(p2p, iova + page_size, 3 << 8));
	iommu_unmap_dma_buf(p2p->iommu, 2 * page_size, iova);
	ASSERT_EQ(0, close(fd));
}

TEST_F(vfio_dma_buf_p2p, decode)
{
	struct vfio_pci_p2p *p2p = &self->p2p;
	iova_t iova = iova_allocator_alloc(p2p->iovas, page_size);
	int fd = p2p_export(p2p, page_size);

	iommu_map_dma_buf(p2p->iommu, fd, 0, page_size, iova);
	dma_pattern_fill(p2p->bar_vaddr, 0x3000);
	ASSERT_TRUE(vfio_pci_p2p_reads(p2p, iova, 0x3000));

	vfio_pci_cmd_clear(p2p->device, PCI_COMMAND_MEMORY);
	ASSERT_FALSE(vfio_pci_p2p_reads(p2p, iova, 0x3000));

	/* No call to the importer in between */
	vfio_pci_cmd_set(p2p->device, PCI_COMMAND_MEMORY);
	ASSERT_TRUE(vfio_pci_p2p_reads(p2p, iova, 0x3000));
	ASSERT_TRUE(vfio_pci_p2p_writes(p2p, iova, p2p->bar_vaddr, 0x4000));

	iommu_unmap_dma_buf(p2p->iommu, page_size, iova);
	ASSERT_EQ(0, close(fd));
}

TEST_F(vfio_dma_buf_p2p, device_closed_first)
{
	struct vfio_pci_p2p *p2p = &self->p2p;
	iova_t iova = iova_allocator_alloc(p2p->iovas, page_size);
	int fd = p2p_export(p2p, page_size);

	iommu_map_dma_buf(p2p->iommu, fd, 0, page_size, iova);
	dma_pattern_fill(p2p->bar_vaddr, 0x4000);
	ASSERT_TRUE(vfio_pci_p2p_reads(p2p, iova, 0x4000));

	vfio_pci_p2p_reopen_device(p2p);
	dma_pattern_fill(p2p->bar_vaddr, 0x4000);
	ASSERT_FALSE(vfio_pci_p2p_reads(p2p, iova, 0x4000));

	iommu_unmap_dma_buf(p2p->iommu, page_size, iova);
	ASSERT_EQ(0, close(fd));
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

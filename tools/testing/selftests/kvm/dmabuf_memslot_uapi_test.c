// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test what KVM_SET_USER_MEMORY_REGION2 refuses for a memslot that is backed by a
 * dma-buf (KVM_MEM_DMABUF).  Each test has one thing wrong with what is otherwise
 * the region that the first test shows to be right.
 *
 * See dmabuf_memslot.h for the device that is needed.
 */
#include <unistd.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

#define BUF_SIZE	((u64)SZ_4M)

FIXTURE(dmabuf_uapi)
{
	struct kvm_userspace_memory_region2 region;
	struct dmabuf_bar bar;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int fd;
};

FIXTURE_SETUP(dmabuf_uapi)
{
	const char *why = bar_open(&self->bar, DMABUF_VM_DEFAULT);

	if (why)
		SKIP(return, "%s", why);

	self->fd = bar_export(&self->bar, 0, BUF_SIZE);
	self->vm = dmabuf_vm_create(DMABUF_VM_DEFAULT, &self->vcpu);
	self->region = (struct kvm_userspace_memory_region2) {
		.slot = DMABUF_SLOT,
		.flags = KVM_MEM_DMABUF,
		.guest_phys_addr = DMABUF_GPA,
		.memory_size = SZ_2M,
		.dmabuf_offset = SZ_1M,
		.dmabuf_fd = self->fd,
	};
}

FIXTURE_TEARDOWN(dmabuf_uapi)
{
	kvm_vm_free(self->vm);
	close(self->fd);
	bar_close(&self->bar);
}

static int set_region(struct kvm_vm *vm, struct kvm_userspace_memory_region2 *region)
{
	if (__vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, region))
		return errno;
	return 0;
}

/* The region is right, whatever was wrong with it before. */
#define EXPECT_ACCEPTED()							\
do {										\
	EXPECT_EQ(set_region(self->vm, &self->region), 0);			\
	vm_delete_dmabuf(self->vm, self->region.slot);				\
} while (0)

/* Nothing must be left of a memslot that could not be created. */
#define EXPECT_REFUSED(_errno)							\
do {										\
	EXPECT_EQ(set_region(self->vm, &self->region), (_errno));		\
	guest_start(self->vcpu, GUEST_READ, DMABUF_GPA, 0);			\
	guest_exits_mmio(self->vcpu, DMABUF_GPA, false);			\
	guest_done(self->vcpu);							\
} while (0)

TEST_F(dmabuf_uapi, valid)
{
	EXPECT_ACCEPTED();
	EXPECT_ACCEPTED();
}

TEST_F(dmabuf_uapi, valid_whole_buffer)
{
	self->region.memory_size = BUF_SIZE;
	self->region.dmabuf_offset = 0;
	EXPECT_ACCEPTED();
}

TEST_F(dmabuf_uapi, valid_smm)
{
	if (vm_check_cap(self->vm, KVM_CAP_MULTI_ADDRESS_SPACE) < 2)
		SKIP(return, "one address space only");

	self->region.slot |= 1 << 16;
	EXPECT_ACCEPTED();
}

TEST_F(dmabuf_uapi, fd_negative)
{
	self->region.dmabuf_fd = -1;
	EXPECT_REFUSED(EBADF);
}

TEST_F(dmabuf_uapi, fd_closed)
{
	int fd = dup(self->fd);

	close(fd);
	self->region.dmabuf_fd = fd;
	EXPECT_REFUSED(EBADF);
}

TEST_F(dmabuf_uapi, fd_memfd)
{
	int fd = memfd_create("dmabuf_uapi", 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, BUF_SIZE), 0);
	self->region.dmabuf_fd = fd;
	EXPECT_REFUSED(EINVAL);
	close(fd);
}

TEST_F(dmabuf_uapi, fd_guest_memfd)
{
	int fd;

	if (!vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD))
		SKIP(return, "no guest_memfd");

	fd = vm_create_guest_memfd(self->vm, BUF_SIZE, 0);
	self->region.dmabuf_fd = fd;
	EXPECT_REFUSED(EINVAL);
	close(fd);
}

/* Returns a dma-buf of iommufd's selftest, or -1 if there are none. */
static int mock_dmabuf(u32 flags)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_GET,
		.dmabuf_get = {
			.length = SZ_2M,
			.open_flags = O_RDWR | O_CLOEXEC,
			.nr_ranges = 1,
			.flags = flags,
		},
	};
	int iommufd = open("/dev/iommu", O_RDWR);
	int fd = -1;

	if (iommufd >= 0) {
		fd = ioctl(iommufd, IOMMU_TEST_CMD, &cmd);
		close(iommufd);
	}

	return fd;
}

#define MOCK_SKIP_REASON	"needs CONFIG_IOMMUFD_TEST"

TEST_F(dmabuf_uapi, fd_mock)
{
	int fd = mock_dmabuf(0);

	if (fd < 0)
		SKIP(return, MOCK_SKIP_REASON);

	self->region.dmabuf_offset = 0;
	self->region.dmabuf_fd = fd;
	EXPECT_ACCEPTED();
	close(fd);
}

/* A dma-buf whose exporter has no physical ranges to give. */
TEST_F(dmabuf_uapi, fd_no_ranges)
{
	int fd = mock_dmabuf(MOCK_DMABUF_NO_PFN);

	if (fd < 0)
		SKIP(return, MOCK_SKIP_REASON);

	self->region.dmabuf_offset = 0;
	self->region.dmabuf_fd = fd;
	EXPECT_REFUSED(EOPNOTSUPP);
	close(fd);
}

/* A dma-buf that the host can't access. */
TEST_F(dmabuf_uapi, fd_private)
{
	int fd = mock_dmabuf(MOCK_DMABUF_PRIVATE);

	if (fd < 0)
		SKIP(return, MOCK_SKIP_REASON);

	self->region.dmabuf_offset = 0;
	self->region.dmabuf_fd = fd;
	EXPECT_REFUSED(EOPNOTSUPP);
	close(fd);
}

TEST_F(dmabuf_uapi, offset_unaligned)
{
	self->region.dmabuf_offset += 1;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, offset_half_page)
{
	self->region.dmabuf_offset += PAGE_SIZE / 2;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, size_unaligned)
{
	self->region.memory_size -= PAGE_SIZE / 2;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, gpa_unaligned)
{
	self->region.guest_phys_addr += PAGE_SIZE / 2;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, size_beyond_buffer)
{
	self->region.memory_size = BUF_SIZE - self->region.dmabuf_offset + PAGE_SIZE;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, offset_beyond_buffer)
{
	self->region.dmabuf_offset = BUF_SIZE;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, offset_overflow)
{
	self->region.dmabuf_offset = -self->region.memory_size;
	EXPECT_REFUSED(EINVAL);

	/* Wraps to within the buffer. */
	self->region.dmabuf_offset += PAGE_SIZE;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, userspace_addr)
{
	void *addr = mmap(NULL, self->region.memory_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(addr, MAP_FAILED);
	self->region.userspace_addr = (u64)addr;
	EXPECT_REFUSED(EINVAL);
	munmap(addr, self->region.memory_size);
}

TEST_F(dmabuf_uapi, flag_guest_memfd)
{
	self->region.flags |= KVM_MEM_GUEST_MEMFD;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, flag_log_dirty_pages)
{
	self->region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	EXPECT_REFUSED(EINVAL);
}

TEST_F(dmabuf_uapi, flag_unknown)
{
	self->region.flags |= KVM_MEM_DMABUF << 1;
	EXPECT_REFUSED(EINVAL);
}

/* The old ioctl has no room for the buffer. */
TEST_F(dmabuf_uapi, ioctl_v1)
{
	EXPECT_EQ(__vm_set_user_memory_region(self->vm, DMABUF_SLOT, KVM_MEM_DMABUF,
					      DMABUF_GPA, SZ_2M, NULL), -1);
	EXPECT_EQ(errno, EINVAL);
}

TEST_F(dmabuf_uapi, readonly_fd)
{
	const struct vfio_region_dma_range range = { .length = BUF_SIZE };
	int fd = bar_export_ranges(&self->bar, O_RDONLY, &range, 1);

	self->region.dmabuf_fd = fd;
	EXPECT_REFUSED(EACCES);

	if (vm_check_cap(self->vm, KVM_CAP_READONLY_MEM)) {
		self->region.flags |= KVM_MEM_READONLY;
		EXPECT_ACCEPTED();
	}
	close(fd);
}

TEST_F(dmabuf_uapi, overlap)
{
	EXPECT_EQ(set_region(self->vm, &self->region), 0);
	self->region.slot++;
	EXPECT_EQ(set_region(self->vm, &self->region), EEXIST);

	self->region.guest_phys_addr += self->region.memory_size;
	EXPECT_ACCEPTED();
}

TEST_F(dmabuf_uapi, delete_twice)
{
	EXPECT_ACCEPTED();
	EXPECT_EQ(__vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, 0, 0, 0, 0), -1);
	EXPECT_EQ(errno, EINVAL);
}

FIXTURE(dmabuf_immutable)
{
	FIXTURE_DATA(dmabuf_uapi) uapi;
};

FIXTURE_SETUP(dmabuf_immutable)
{
	dmabuf_uapi_setup(_metadata, &self->uapi, NULL);
	if (_metadata->exit_code)
		return;

	bar_write(&self->uapi.bar, SZ_1M, 0x42);
	ASSERT_EQ(set_region(self->uapi.vm, &self->uapi.region), 0);
	ASSERT_EQ(guest_read(self->uapi.vcpu, DMABUF_GPA), 0x42);
}

/* A live memslot can only be deleted, and is unharmed by an attempt to change it. */
FIXTURE_TEARDOWN(dmabuf_immutable)
{
	EXPECT_EQ(set_region(self->uapi.vm, &self->uapi.region), EINVAL);
	EXPECT_EQ(guest_read(self->uapi.vcpu, DMABUF_GPA), 0x42);
	vm_delete_dmabuf(self->uapi.vm, DMABUF_SLOT);
	dmabuf_uapi_teardown(_metadata, &self->uapi, NULL);
}

TEST_F(dmabuf_immutable, unchanged)
{
}

TEST_F(dmabuf_immutable, gpa)
{
	self->uapi.region.guest_phys_addr += SZ_1G;
}

TEST_F(dmabuf_immutable, size)
{
	self->uapi.region.memory_size -= PAGE_SIZE;
}

TEST_F(dmabuf_immutable, offset)
{
	self->uapi.region.dmabuf_offset += PAGE_SIZE;
}

TEST_F(dmabuf_immutable, flag_readonly)
{
	self->uapi.region.flags |= KVM_MEM_READONLY;
}

/* The new flags alone don't tell what the memslot is. */
TEST_F(dmabuf_immutable, no_flag)
{
	self->uapi.region.flags = 0;
}

TEST_F(dmabuf_immutable, no_flag_gpa)
{
	self->uapi.region.flags = 0;
	self->uapi.region.guest_phys_addr += SZ_1G;
}

TEST_F(dmabuf_immutable, no_flag_log_dirty_pages)
{
	self->uapi.region.flags = KVM_MEM_LOG_DIRTY_PAGES;
}

TEST_F(dmabuf_immutable, no_flag_guest_memfd)
{
	self->uapi.region.flags = KVM_MEM_GUEST_MEMFD;
}

int main(int argc, char *argv[])
{
	dmabuf_test_init(&argc, argv);

	return test_harness_run(argc, argv);
}

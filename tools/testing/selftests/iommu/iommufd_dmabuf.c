// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE of dma-bufs
 *
 * The buffers are those of the mock exporter, which can be asked for many ranges
 * of different kinds, to take a buffer away and give it back, and to put new
 * memory under it. The kernel checks what is mapped, page by page.
 */
#include <asm/unistd.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define __EXPORTED_HEADERS__

#include "iommufd_utils.h"

static __attribute__((constructor)) void setup_sizes(void)
{
	setup_page_buffer();
}

#define MAX_DOMAINS 3

FIXTURE(iommufd_dmabuf)
{
	int fd;
	int dfd;
	size_t size;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 idev_id;
	__u32 hwpt_ids[MAX_DOMAINS];
	unsigned int nr_hwpts;
};

FIXTURE_VARIANT(iommufd_dmabuf)
{
	unsigned int domains;
	unsigned int memory_limit;
	unsigned int npages;
	unsigned int nr_ranges;
	unsigned int flags;
	/* How many iommu_map() calls it takes to map the whole buffer */
	unsigned int nr_calls;
};

FIXTURE_SETUP(iommufd_dmabuf)
{
	unsigned int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);

	/* 65536 is test_ioctl_set_default_memory_limit() */
	test_ioctl_set_temp_memory_limit(variant->memory_limit ?: 65536);

	test_cmd_mock_domain(self->ioas_id, &self->stdev_id,
			     &self->hwpt_ids[0], &self->idev_id);
	for (i = 1; i < variant->domains; i++)
		test_cmd_hwpt_alloc(self->idev_id, self->ioas_id, 0,
				    &self->hwpt_ids[i]);
	self->nr_hwpts = variant->domains;

	self->size = variant->npages * PAGE_SIZE;
	test_cmd_get_dmabuf_ranges(self->size, O_RDWR, variant->nr_ranges,
				   variant->flags, &self->dfd);
}

FIXTURE_TEARDOWN(iommufd_dmabuf)
{
	EXPECT_EQ(0, close(self->dfd));
	test_ioctl_set_default_memory_limit();
	teardown_iommufd(self->fd, _metadata);
}

FIXTURE_VARIANT_ADD(iommufd_dmabuf, one_range)
{
	.domains = 1,
	.npages = 61,
	.nr_ranges = 1,
	.nr_calls = 1,
};

/* One range, as large as the mock exporter has any: large pages */
FIXTURE_VARIANT_ADD(iommufd_dmabuf, large_range)
{
	.domains = 2,
	.npages = 512,
	.nr_ranges = 1,
	.nr_calls = 1,
};

FIXTURE_VARIANT_ADD(iommufd_dmabuf, scattered)
{
	.domains = 1,
	.npages = 61,
	.nr_ranges = 7,
	.nr_calls = 7,
};

/* Many ranges in many small batches */
FIXTURE_VARIANT_ADD(iommufd_dmabuf, scattered_limit)
{
	.domains = 2,
	.memory_limit = 16,
	.npages = 500,
	.nr_ranges = 64,
	.nr_calls = 64,
};

FIXTURE_VARIANT_ADD(iommufd_dmabuf, scattered_three_domains)
{
	.domains = 3,
	.npages = 61,
	.nr_ranges = 61,
	.nr_calls = 61,
};

/* What is of one kind and adjacent is one mapping, however it was emitted */
FIXTURE_VARIANT_ADD(iommufd_dmabuf, adjacent)
{
	.domains = 2,
	.npages = 61,
	.nr_ranges = 7,
	.flags = MOCK_DMABUF_ADJACENT,
	.nr_calls = 1,
};

/* What differs in kind is not */
FIXTURE_VARIANT_ADD(iommufd_dmabuf, mixed_adjacent)
{
	.domains = 2,
	.npages = 61,
	.nr_ranges = 7,
	.flags = MOCK_DMABUF_ADJACENT | MOCK_DMABUF_MIXED,
	.nr_calls = 7,
};

FIXTURE_VARIANT_ADD(iommufd_dmabuf, mixed_limit)
{
	.domains = 1,
	.memory_limit = 16,
	.npages = 61,
	.nr_ranges = 9,
	.flags = MOCK_DMABUF_MIXED,
	.nr_calls = 9,
};

static void __check_mapped(struct __test_metadata *_metadata,
			   FIXTURE_DATA(iommufd_dmabuf) *self, __u64 iova,
			   size_t offset, size_t length, __u32 expect_calls)
{
	unsigned int i;

	for (i = 0; i != self->nr_hwpts; i++) {
		__u32 nr_calls = 0;

		ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, self->hwpt_ids[i],
						    self->dfd, iova, offset,
						    length, &nr_calls))
		{
			TH_LOG("domain %u: %s", i, strerror(errno));
		}
		if (expect_calls)
			ASSERT_EQ(expect_calls, nr_calls);
	}
}

#define check_mapped(iova, offset, length, expect_calls)           \
	__check_mapped(_metadata, self, iova, offset, length, \
		       expect_calls)

static void __check_unmapped(struct __test_metadata *_metadata,
			     FIXTURE_DATA(iommufd_dmabuf) *self, __u64 iova,
			     size_t offset, size_t length)
{
	unsigned int i;

	for (i = 0; i != self->nr_hwpts; i++)
		EXPECT_ERRNO(ENOENT,
			     _test_cmd_check_dmabuf(self->fd, self->hwpt_ids[i],
						    self->dfd, iova, offset,
						    length, NULL));
}

#define check_unmapped(iova, offset, length) \
	__check_unmapped(_metadata, self, iova, offset, length)

/* What is mapped has to be right at any time in the life of the buffer */
static void __check_life(struct __test_metadata *_metadata,
			 FIXTURE_DATA(iommufd_dmabuf) *self, __u64 iova,
			 size_t offset, size_t length, __u32 expect_calls)
{
	check_mapped(iova, offset, length, expect_calls);

	test_cmd_revoke_dmabuf(self->dfd, true);
	check_unmapped(iova, offset, length);
	/* Revoking twice is nothing new */
	test_cmd_revoke_dmabuf(self->dfd, true);
	check_unmapped(iova, offset, length);
	test_cmd_revoke_dmabuf(self->dfd, false);
	check_mapped(iova, offset, length, expect_calls);
	/* And so is giving back */
	test_cmd_revoke_dmabuf(self->dfd, false);
	check_mapped(iova, offset, length, expect_calls);

	test_cmd_move_dmabuf(self->dfd);
	check_mapped(iova, offset, length, expect_calls);

	test_cmd_revoke_dmabuf(self->dfd, true);
	test_cmd_move_dmabuf(self->dfd);
	check_unmapped(iova, offset, length);
	test_cmd_revoke_dmabuf(self->dfd, false);
	check_mapped(iova, offset, length, expect_calls);
}

#define check_life(iova, offset, length, expect_calls) \
	__check_life(_metadata, self, iova, offset, length, expect_calls)

TEST_F(iommufd_dmabuf, whole)
{
	__u64 iova;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);
	check_life(iova, 0, self->size, variant->nr_calls);
	test_ioctl_ioas_unmap(iova, self->size);
	check_unmapped(iova, 0, self->size);

	/* Nothing is left that a move could bring back */
	test_cmd_move_dmabuf(self->dfd);
	check_unmapped(iova, 0, self->size);
}

TEST_F(iommufd_dmabuf, parts)
{
	size_t part = 5 * PAGE_SIZE;
	size_t offset;
	__u64 iova;

	/* Begins and ends in every position in a range of the small buffers */
	for (offset = 0; offset <= 12 * PAGE_SIZE; offset += PAGE_SIZE) {
		test_ioctl_ioas_map_file(self->dfd, offset, part, &iova);
		check_life(iova, offset, part, 0);
		test_ioctl_ioas_unmap(iova, part);
		check_unmapped(iova, offset, part);
	}
}

/* The IO page size of the mock domain is half of PAGE_SIZE or less */
TEST_F(iommufd_dmabuf, sub_page)
{
	size_t offset = 3 * PAGE_SIZE + MOCK_PAGE_SIZE;
	size_t length = 40 * PAGE_SIZE;
	__u64 iova;

	test_ioctl_ioas_map_file(self->dfd, offset, length, &iova);
	check_life(iova, offset, length, 0);
	test_ioctl_ioas_unmap(iova, length);

	length += MOCK_PAGE_SIZE;
	test_ioctl_ioas_map_file(self->dfd, offset, length, &iova);
	check_life(iova, offset, length, 0);
	test_ioctl_ioas_unmap(iova, length);
}

/* An option of the IOAS counts whenever the buffer is mapped, not only at first */
TEST_F(iommufd_dmabuf, small_pages)
{
	struct iommu_option cmd = {
		.size = sizeof(cmd),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
	};
	__u64 iova = MOCK_APERTURE_START;
	__u32 stdev_id;
	__u32 ioas_id;

	test_ioctl_ioas_alloc(&ioas_id);
	cmd.object_id = ioas_id;
	ASSERT_EQ(0, ioctl(self->fd, IOMMU_OPTION, &cmd));
	test_cmd_mock_domain(ioas_id, &stdev_id, &self->hwpt_ids[0], NULL);
	self->nr_hwpts = 1;

	ASSERT_EQ(0, _test_ioctl_ioas_map_file(self->fd, ioas_id, self->dfd, 0,
					       self->size, &iova,
					       IOMMU_IOAS_MAP_FIXED_IOVA |
						       IOMMU_IOAS_MAP_READABLE));
	check_life(iova, 0, self->size, variant->npages);

	cmd.val64 = 1;
	ASSERT_EQ(0, ioctl(self->fd, IOMMU_OPTION, &cmd));
	check_mapped(iova, 0, self->size, variant->npages);
	test_cmd_move_dmabuf(self->dfd);
	check_life(iova, 0, self->size, variant->nr_calls);
}

/* Several mappings of one buffer live and die on their own */
TEST_F(iommufd_dmabuf, several)
{
	size_t half = self->size / 2 / PAGE_SIZE * PAGE_SIZE;
	__u64 iova[3];

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova[0]);
	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova[1]);
	test_ioctl_ioas_map_file(self->dfd, half, half, &iova[2]);

	check_life(iova[0], 0, self->size, variant->nr_calls);
	check_life(iova[1], 0, self->size, variant->nr_calls);
	check_life(iova[2], half, half, 0);

	test_ioctl_ioas_unmap(iova[1], self->size);
	check_life(iova[0], 0, self->size, variant->nr_calls);
	check_unmapped(iova[1], 0, self->size);
	check_life(iova[2], half, half, 0);
}

TEST_F(iommufd_dmabuf, map_while_revoked)
{
	__u64 iova;

	test_cmd_revoke_dmabuf(self->dfd, true);
	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);
	check_unmapped(iova, 0, self->size);
	test_cmd_revoke_dmabuf(self->dfd, false);
	check_life(iova, 0, self->size, variant->nr_calls);
}

TEST_F(iommufd_dmabuf, unmap_while_revoked)
{
	__u64 iova[2];

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova[0]);
	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova[1]);
	test_cmd_revoke_dmabuf(self->dfd, true);
	test_ioctl_ioas_unmap(iova[0], self->size);
	test_cmd_revoke_dmabuf(self->dfd, false);
	check_unmapped(iova[0], 0, self->size);
	check_life(iova[1], 0, self->size, variant->nr_calls);
}

/* The fd is of no use once the mapping exists */
TEST_F(iommufd_dmabuf, close_fd)
{
	size_t size = 4 * PAGE_SIZE;
	__u64 iova;
	int dfd;

	test_cmd_get_dmabuf_ranges(size, O_RDWR, 2, 0, &dfd);
	test_ioctl_ioas_map_file(dfd, 0, size, &iova);
	ASSERT_EQ(0, close(dfd));
	test_ioctl_ioas_unmap(iova, size);

	/* And goes away with the iommufd */
	test_cmd_get_dmabuf_ranges(size, O_RDWR, 2, 0, &dfd);
	test_ioctl_ioas_map_file(dfd, 0, size, &iova);
	test_cmd_revoke_dmabuf(dfd, true);
	ASSERT_EQ(0, close(dfd));
}

/* A domain that comes finds the buffer as it is, and as it will be */
TEST_F(iommufd_dmabuf, attach_domain)
{
	__u32 hwpt_id;
	__u64 iova;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);

	test_cmd_hwpt_alloc(self->idev_id, self->ioas_id, 0, &hwpt_id);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));
	test_ioctl_destroy(hwpt_id);

	test_cmd_revoke_dmabuf(self->dfd, true);
	test_cmd_hwpt_alloc(self->idev_id, self->ioas_id, 0, &hwpt_id);
	EXPECT_ERRNO(ENOENT,
		     _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));
	test_cmd_revoke_dmabuf(self->dfd, false);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));
	check_life(iova, 0, self->size, variant->nr_calls);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));

	/* Nothing is put into a domain that has gone */
	test_cmd_revoke_dmabuf(self->dfd, true);
	test_ioctl_destroy(hwpt_id);
	test_cmd_revoke_dmabuf(self->dfd, false);
	check_life(iova, 0, self->size, variant->nr_calls);
}

/* The same for the first domain, and for the last */
TEST_F(iommufd_dmabuf, first_domain)
{
	__u64 iova = MOCK_APERTURE_START;
	__u32 hwpt_id = 0;
	__u32 stdev_id;
	__u32 ioas_id;

	test_ioctl_ioas_alloc(&ioas_id);
	ASSERT_EQ(0, _test_ioctl_ioas_map_file(self->fd, ioas_id, self->dfd, 0,
					       self->size, &iova,
					       IOMMU_IOAS_MAP_FIXED_IOVA |
						       IOMMU_IOAS_MAP_READABLE));
	test_cmd_revoke_dmabuf(self->dfd, true);
	test_cmd_revoke_dmabuf(self->dfd, false);

	test_cmd_mock_domain(ioas_id, &stdev_id, &hwpt_id, NULL);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));
	test_ioctl_destroy(stdev_id);

	test_cmd_move_dmabuf(self->dfd);
	test_cmd_mock_domain(ioas_id, &stdev_id, &hwpt_id, NULL);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));
	test_cmd_move_dmabuf(self->dfd);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));
	test_ioctl_destroy(stdev_id);

	test_cmd_revoke_dmabuf(self->dfd, true);
	test_cmd_mock_domain(ioas_id, &stdev_id, &hwpt_id, NULL);
	test_cmd_revoke_dmabuf(self->dfd, false);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));

	test_cmd_revoke_dmabuf(self->dfd, true);
	test_ioctl_destroy(stdev_id);
	test_cmd_revoke_dmabuf(self->dfd, false);

	test_cmd_mock_domain(ioas_id, &stdev_id, &hwpt_id, NULL);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd, iova,
					    0, self->size, NULL));
	test_ioctl_destroy(stdev_id);
	test_ioctl_destroy(ioas_id);
}

static int ioas_copy(int fd, __u32 dst_ioas_id, __u32 src_ioas_id,
		     __u64 src_iova, size_t length, __u32 flags,
		     __u64 *dst_iova)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dst_ioas_id = dst_ioas_id,
		.src_ioas_id = src_ioas_id,
		.length = length,
		.src_iova = src_iova,
	};
	int ret;

	ret = ioctl(fd, IOMMU_IOAS_COPY, &cmd);
	*dst_iova = cmd.dst_iova;
	return ret;
}

TEST_F(iommufd_dmabuf, copy)
{
	const __u32 flags = IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE;
	size_t offset = 2 * PAGE_SIZE;
	size_t part = 11 * PAGE_SIZE;
	__u64 copy_iova[2];
	__u32 stdev_id;
	__u32 hwpt_id;
	__u32 ioas_id;
	__u64 iova;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);
	test_ioctl_ioas_alloc(&ioas_id);
	test_cmd_mock_domain(ioas_id, &stdev_id, &hwpt_id, NULL);

	ASSERT_EQ(0, ioas_copy(self->fd, ioas_id, self->ioas_id, iova + offset,
			       part, flags, &copy_iova[0]));
	test_cmd_revoke_dmabuf(self->dfd, true);
	ASSERT_EQ(0, ioas_copy(self->fd, ioas_id, self->ioas_id, iova,
			       self->size, flags, &copy_iova[1]));
	EXPECT_ERRNO(ENOENT, _test_cmd_check_dmabuf(self->fd, hwpt_id,
						    self->dfd, copy_iova[0],
						    offset, part, NULL));
	EXPECT_ERRNO(ENOENT, _test_cmd_check_dmabuf(self->fd, hwpt_id,
						    self->dfd, copy_iova[1], 0,
						    self->size, NULL));
	test_cmd_revoke_dmabuf(self->dfd, false);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd,
					    copy_iova[0], offset, part, NULL));
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd,
					    copy_iova[1], 0, self->size, NULL));

	/* A copy does not need its origin */
	check_life(iova, 0, self->size, variant->nr_calls);
	test_ioctl_ioas_unmap(iova, self->size);
	test_cmd_move_dmabuf(self->dfd);
	check_unmapped(iova, 0, self->size);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd,
					    copy_iova[0], offset, part, NULL));
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_id, self->dfd,
					    copy_iova[1], 0, self->size, NULL));

	test_ioctl_destroy(stdev_id);
	test_ioctl_destroy(ioas_id);
}

/* A page of ordinary memory, the dma-buf, and another page, without a gap */
static void map_between_pages(struct __test_metadata *_metadata,
			      FIXTURE_DATA(iommufd_dmabuf) *self, int dfd,
			      __u64 iova)
{
	test_ioctl_ioas_map_fixed(buffer, PAGE_SIZE, iova);
	test_ioctl_ioas_map_fixed_file(dfd, 0, self->size, iova + PAGE_SIZE);
	test_ioctl_ioas_map_fixed(buffer, PAGE_SIZE,
				  iova + PAGE_SIZE + self->size);
}

/* Returns the number of the first bit that is wrong, or -1 */
static int find_wrong_bit(FIXTURE_DATA(iommufd_dmabuf) *self,
			  __u64 *bitmap, bool pages, bool between)
{
	unsigned int page_bits = PAGE_SIZE / MOCK_PAGE_SIZE;
	unsigned int nbits = self->size / MOCK_PAGE_SIZE + 2 * page_bits;
	unsigned int i;

	for (i = 0; i != nbits; i++) {
		bool is_page = i < page_bits || i >= nbits - page_bits;

		if (test_bit(i, (unsigned long *)bitmap) !=
		    (is_page ? pages : between))
			return i;
	}
	return -1;
}

#define DIRTY_BITMAP_WORDS 32

static void __check_dirty(struct __test_metadata *_metadata,
			  FIXTURE_DATA(iommufd_dmabuf) *self, __u32 hwpt_id,
			  __u64 iova, bool between)
{
	size_t length = self->size + 2 * PAGE_SIZE;
	__u64 bitmap[DIRTY_BITMAP_WORDS];

	ASSERT_GE(sizeof(bitmap) * BITS_PER_BYTE, length / MOCK_PAGE_SIZE);

	/* That nothing is mapped at some of these is not minded */
	memset(bitmap, 0xff, sizeof(bitmap));
	test_cmd_mock_domain_set_dirty(self->fd, hwpt_id, length, iova,
				       MOCK_PAGE_SIZE, bitmap, NULL);

	memset(bitmap, 0, sizeof(bitmap));
	test_cmd_get_dirty_bitmap(self->fd, hwpt_id, length, iova,
				  MOCK_PAGE_SIZE, bitmap, 0);
	ASSERT_EQ(-1, find_wrong_bit(self, bitmap, true, between));

	memset(bitmap, 0, sizeof(bitmap));
	test_cmd_get_dirty_bitmap(self->fd, hwpt_id, length, iova,
				  MOCK_PAGE_SIZE, bitmap, 0);
	ASSERT_EQ(-1, find_wrong_bit(self, bitmap, false, false));

	/* Enabling begins with a clean page table */
	memset(bitmap, 0xff, sizeof(bitmap));
	test_cmd_mock_domain_set_dirty(self->fd, hwpt_id, length, iova,
				       MOCK_PAGE_SIZE, bitmap, NULL);
	test_cmd_set_dirty_tracking(hwpt_id, true);
	memset(bitmap, 0, sizeof(bitmap));
	test_cmd_get_dirty_bitmap(self->fd, hwpt_id, length, iova,
				  MOCK_PAGE_SIZE, bitmap, 0);
	ASSERT_EQ(-1, find_wrong_bit(self, bitmap, false, false));
}

#define check_dirty(hwpt_id, iova, between) \
	__check_dirty(_metadata, self, hwpt_id, iova, between)

/* What can be revoked is not looked at, and does not keep others from that */
TEST_F(iommufd_dmabuf, dirty)
{
	__u64 iova = MOCK_APERTURE_START;
	__u32 hwpt_id;

	map_between_pages(_metadata, self, self->dfd, iova);
	test_cmd_hwpt_alloc(self->idev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id);
	test_cmd_set_dirty_tracking(hwpt_id, true);
	check_dirty(hwpt_id, iova, false);

	test_cmd_revoke_dmabuf(self->dfd, true);
	check_dirty(hwpt_id, iova, false);
	test_cmd_revoke_dmabuf(self->dfd, false);
	check_dirty(hwpt_id, iova, false);
	test_cmd_move_dmabuf(self->dfd);
	check_dirty(hwpt_id, iova, false);

	test_ioctl_destroy(hwpt_id);
}

/* What is as good as memory is tracked as such */
TEST_F(iommufd_dmabuf, dirty_pinned)
{
	__u64 iova = MOCK_APERTURE_START;
	__u32 hwpt_id;
	int dfd;

	test_cmd_get_dmabuf_ranges(self->size, O_RDWR, variant->nr_ranges,
				   variant->flags | MOCK_DMABUF_PINNED, &dfd);
	map_between_pages(_metadata, self, dfd, iova);
	test_cmd_hwpt_alloc(self->idev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id);
	test_cmd_set_dirty_tracking(hwpt_id, true);
	check_dirty(hwpt_id, iova, true);

	test_ioctl_destroy(hwpt_id);
	ASSERT_EQ(0, close(dfd));
}

#define DIRTY_RACE_LOOPS 300

static void race_revoke(int fd, int dfd)
{
	int i;

	for (i = 0; i != DIRTY_RACE_LOOPS; i++)
		if (_test_cmd_revoke_dmabuf(fd, dfd, true) ||
		    _test_cmd_revoke_dmabuf(fd, dfd, false))
			_exit(1);
	_exit(0);
}

static void race_set_dirty_tracking(int fd, __u32 hwpt_id)
{
	int i;

	for (i = 0; i != DIRTY_RACE_LOOPS; i++)
		if (_test_cmd_set_dirty_tracking(fd, hwpt_id, false) ||
		    _test_cmd_set_dirty_tracking(fd, hwpt_id, true))
			_exit(1);
	_exit(0);
}

/* Where whole IO page tables come and go, nobody may be looking at them */
TEST_F_TIMEOUT(iommufd_dmabuf, race_dirty, 120)
{
	__u64 iova = MOCK_APERTURE_START + MOCK_HUGE_PAGE_SIZE - PAGE_SIZE;
	size_t length = self->size + 2 * PAGE_SIZE;
	__u64 bitmap[DIRTY_BITMAP_WORDS];
	__u32 hwpt_ids[2];
	unsigned int i;
	pid_t pids[2];
	int status;

	map_between_pages(_metadata, self, self->dfd, iova);
	for (i = 0; i != ARRAY_SIZE(hwpt_ids); i++) {
		test_cmd_hwpt_alloc(self->idev_id, self->ioas_id,
				    IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				    &hwpt_ids[i]);
		test_cmd_set_dirty_tracking(hwpt_ids[i], true);
	}

	/* Only the pages: what is being unmapped cannot be made dirty */
	memset(bitmap, 0xff, sizeof(bitmap));
	test_cmd_mock_domain_set_dirty(self->fd, hwpt_ids[0], PAGE_SIZE, iova,
				       MOCK_PAGE_SIZE, bitmap, NULL);
	test_cmd_mock_domain_set_dirty(self->fd, hwpt_ids[0], PAGE_SIZE,
				       iova + PAGE_SIZE + self->size,
				       MOCK_PAGE_SIZE, bitmap, NULL);

	for (i = 0; i != ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		ASSERT_NE(-1, pids[i]);
		if (pids[i])
			continue;
		if (i == 0)
			race_revoke(self->fd, self->dfd);
		else
			race_set_dirty_tracking(self->fd, hwpt_ids[1]);
	}

	for (i = 0; i != DIRTY_RACE_LOOPS; i++) {
		memset(bitmap, 0, sizeof(bitmap));
		test_cmd_get_dirty_bitmap(self->fd, hwpt_ids[0], length, iova,
					  MOCK_PAGE_SIZE, bitmap,
					  IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR);
		ASSERT_EQ(-1, find_wrong_bit(self, bitmap, true, false));
	}

	for (i = 0; i != ARRAY_SIZE(pids); i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		ASSERT_EQ(0, status);
	}

	for (i = 0; i != ARRAY_SIZE(hwpt_ids); i++)
		ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, hwpt_ids[i],
						    self->dfd, iova + PAGE_SIZE,
						    0, self->size, NULL));
	for (i = 0; i != ARRAY_SIZE(hwpt_ids); i++)
		test_ioctl_destroy(hwpt_ids[i]);
}

#define RACE_LOOPS 40

static void race_map(int fd, __u32 ioas_id, int dfd, size_t size)
{
	__u64 iova;
	int i;

	for (i = 0; i != RACE_LOOPS; i++) {
		if (_test_ioctl_ioas_map_file(fd, ioas_id, dfd, 0, size, &iova,
					      IOMMU_IOAS_MAP_READABLE))
			_exit(1);
		if (_test_ioctl_ioas_unmap(fd, ioas_id, iova, size, NULL))
			_exit(1);
	}
	_exit(0);
}

static void race_attach(int fd, __u32 ioas_id, __u32 idev_id)
{
	__u32 hwpt_id;
	int i;

	for (i = 0; i != RACE_LOOPS; i++) {
		if (_test_cmd_hwpt_alloc(fd, idev_id, ioas_id, 0, 0, &hwpt_id,
					 IOMMU_HWPT_DATA_NONE, NULL, 0))
			_exit(1);
		if (_test_ioctl_destroy(fd, hwpt_id))
			_exit(1);
	}
	_exit(0);
}

static void race_move(int fd, int dfd)
{
	int i;

	for (i = 0; i != RACE_LOOPS; i++)
		if (_test_cmd_move_dmabuf(fd, dfd))
			_exit(1);
	_exit(0);
}

/* Whatever comes first, what is left in the end is right */
TEST_F_TIMEOUT(iommufd_dmabuf, race, 120)
{
	pid_t pids[4];
	unsigned int i;
	__u64 iova;
	int status;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);

	for (i = 0; i != ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		ASSERT_NE(-1, pids[i]);
		if (pids[i])
			continue;
		if (i < 2)
			race_map(self->fd, self->ioas_id, self->dfd,
				 self->size);
		else if (i == 2)
			race_attach(self->fd, self->ioas_id, self->idev_id);
		else
			race_move(self->fd, self->dfd);
	}

	for (i = 0; i != RACE_LOOPS; i++) {
		test_cmd_revoke_dmabuf(self->dfd, true);
		test_cmd_revoke_dmabuf(self->dfd, false);
	}

	for (i = 0; i != ARRAY_SIZE(pids); i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		ASSERT_EQ(0, WEXITSTATUS(status));
	}
	check_life(iova, 0, self->size, variant->nr_calls);
}

FIXTURE(iommufd_dmabuf_arg)
{
	int fd;
	int dfd;
	size_t size;
	__u32 ioas_id;
	__u32 hwpt_id;
};

FIXTURE_SETUP(iommufd_dmabuf_arg)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_cmd_mock_domain(self->ioas_id, NULL, &self->hwpt_id, NULL);
	self->size = 8 * PAGE_SIZE;
	test_cmd_get_dmabuf_ranges(self->size, O_RDWR, 3, 0, &self->dfd);
}

FIXTURE_TEARDOWN(iommufd_dmabuf_arg)
{
	EXPECT_EQ(0, close(self->dfd));
	teardown_iommufd(self->fd, _metadata);
}

#define test_err_map_flags(_errno, dmabuf_fd, iova_p, flags)                  \
	EXPECT_ERRNO(_errno,                                                  \
		     _test_ioctl_ioas_map_file(self->fd, self->ioas_id,       \
					       dmabuf_fd, 0, self->size,      \
					       iova_p, flags))

/* All else in this fixture is this with one thing wrong */
TEST_F(iommufd_dmabuf_arg, good)
{
	__u64 iova;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, self->hwpt_id, self->dfd,
					    iova, 0, self->size, NULL));
	test_ioctl_ioas_unmap(iova, self->size);
	test_ioctl_ioas_map_fixed_file(self->dfd, 0, self->size,
				       MOCK_APERTURE_START);
}

TEST_F(iommufd_dmabuf_arg, fd)
{
	int efd = eventfd(0, 0);
	int closed = dup(efd);
	__u64 iova;

	ASSERT_NE(-1, efd);
	ASSERT_NE(-1, closed);
	ASSERT_EQ(0, close(closed));

	/* Neither a dma-buf nor a memfd */
	test_err_ioctl_ioas_map_file(EINVAL, efd, 0, self->size, &iova);
	test_err_ioctl_ioas_map_file(EBADF, closed, 0, self->size, &iova);
	ASSERT_EQ(0, close(efd));
}

TEST_F(iommufd_dmabuf_arg, exporter)
{
	static const struct {
		unsigned int flags;
		int err;
	} tests[] = {
		{ 0, 0 },
		{ MOCK_DMABUF_PINNED, 0 },
		{ MOCK_DMABUF_MIXED, 0 },
		{ MOCK_DMABUF_NO_PFN, EOPNOTSUPP },
		{ MOCK_DMABUF_MOVABLE, EOPNOTSUPP },
		{ MOCK_DMABUF_PRIVATE, EOPNOTSUPP },
	};
	unsigned int i;
	__u64 iova;
	int dfd;

	for (i = 0; i != ARRAY_SIZE(tests); i++) {
		test_cmd_get_dmabuf_ranges(self->size, O_RDWR, 3,
					   tests[i].flags, &dfd);
		if (tests[i].err)
			test_err_ioctl_ioas_map_file(tests[i].err, dfd, 0,
						     self->size, &iova);
		else
			test_ioctl_ioas_map_file(dfd, 0, self->size, &iova);
		ASSERT_EQ(0, close(dfd));
	}
}

/* A buffer that has promised to stay cannot be made to go */
TEST_F(iommufd_dmabuf_arg, pinned)
{
	__u64 iova;
	int dfd;

	test_cmd_get_dmabuf_ranges(self->size, O_RDWR, 3, MOCK_DMABUF_PINNED,
				   &dfd);
	test_ioctl_ioas_map_file(dfd, 0, self->size, &iova);
	EXPECT_ERRNO(EINVAL, _test_cmd_revoke_dmabuf(self->fd, dfd, true));
	EXPECT_ERRNO(EINVAL, _test_cmd_revoke_dmabuf(self->fd, dfd, false));
	EXPECT_ERRNO(EINVAL, _test_cmd_move_dmabuf(self->fd, dfd));
	ASSERT_EQ(0, _test_cmd_check_dmabuf(self->fd, self->hwpt_id, dfd, iova,
					    0, self->size, NULL));
	ASSERT_EQ(0, close(dfd));
}

TEST_F(iommufd_dmabuf_arg, bounds)
{
	__u64 iova;

	test_err_ioctl_ioas_map_file(EINVAL, self->dfd, 0, 0, &iova);
	test_err_ioctl_ioas_map_file(EINVAL, self->dfd, 0,
				     self->size + PAGE_SIZE, &iova);
	test_err_ioctl_ioas_map_file(EINVAL, self->dfd, PAGE_SIZE, self->size,
				     &iova);
	test_err_ioctl_ioas_map_file(EINVAL, self->dfd, self->size, PAGE_SIZE,
				     &iova);
	test_err_ioctl_ioas_map_file(EOVERFLOW, self->dfd, -PAGE_SIZE,
				     2 * PAGE_SIZE, &iova);
	test_err_ioctl_ioas_map_file(EOVERFLOW, self->dfd, 2 * PAGE_SIZE,
				     -PAGE_SIZE, &iova);
	/* The last that is right */
	test_ioctl_ioas_map_file(self->dfd, self->size - PAGE_SIZE, PAGE_SIZE,
				 &iova);
}

TEST_F(iommufd_dmabuf_arg, alignment)
{
	__u64 iova;

	test_err_ioctl_ioas_map_file(EINVAL, self->dfd, 0,
				     PAGE_SIZE + MOCK_PAGE_SIZE / 2, &iova);
	test_err_ioctl_ioas_map_file(EINVAL, self->dfd, MOCK_PAGE_SIZE / 2,
				     PAGE_SIZE, &iova);
	iova = MOCK_APERTURE_START + MOCK_PAGE_SIZE / 2;
	test_err_map_flags(EINVAL, self->dfd, &iova,
			   IOMMU_IOAS_MAP_FIXED_IOVA |
				   IOMMU_IOAS_MAP_READABLE);
}

TEST_F(iommufd_dmabuf_arg, iova)
{
	const __u32 flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE;
	__u64 iova;

	/* Within the aperture, over its end, and beyond it */
	iova = MOCK_APERTURE_LAST + 1UL - self->size;
	ASSERT_EQ(0, _test_ioctl_ioas_map_file(self->fd, self->ioas_id,
					       self->dfd, 0, self->size, &iova,
					       flags));
	test_ioctl_ioas_unmap(iova, self->size);
	iova += PAGE_SIZE;
	test_err_map_flags(EINVAL, self->dfd, &iova, flags);
	iova = MOCK_APERTURE_LAST + 1UL;
	test_err_map_flags(EINVAL, self->dfd, &iova, flags);
}

TEST_F(iommufd_dmabuf_arg, read_only)
{
	__u64 copy_iova;
	__u32 ioas_id;
	__u64 iova;
	int dfd;

	test_cmd_get_dmabuf_ranges(self->size, O_RDONLY, 3, 0, &dfd);
	test_err_ioctl_ioas_map_file(EACCES, dfd, 0, self->size, &iova);
	test_err_map_flags(EACCES, dfd, &iova, IOMMU_IOAS_MAP_WRITEABLE);
	ASSERT_EQ(0, _test_ioctl_ioas_map_file(self->fd, self->ioas_id, dfd, 0,
					       self->size, &iova,
					       IOMMU_IOAS_MAP_READABLE));

	/* A copy gives no rights that its origin does not have */
	test_ioctl_ioas_alloc(&ioas_id);
	EXPECT_ERRNO(EPERM, ioas_copy(self->fd, ioas_id, self->ioas_id, iova,
				      self->size, IOMMU_IOAS_MAP_WRITEABLE,
				      &copy_iova));
	ASSERT_EQ(0, ioas_copy(self->fd, ioas_id, self->ioas_id, iova,
			       self->size, IOMMU_IOAS_MAP_READABLE,
			       &copy_iova));
	ASSERT_EQ(0, close(dfd));
}

/* In-kernel accesses need struct pages, which not even RAM ranges offer here */
TEST_F(iommufd_dmabuf_arg, access)
{
	struct iommu_test_cmd rw_cmd = {
		.size = sizeof(rw_cmd),
		.op = IOMMU_TEST_OP_ACCESS_RW,
	};
	struct iommu_test_cmd pages_cmd = {
		.size = sizeof(pages_cmd),
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
	};
	char buf[16] = {};
	__u32 access_id;
	__u64 iova;
	int dfd;

	test_cmd_get_dmabuf_ranges(self->size, O_RDWR, 3, MOCK_DMABUF_MIXED,
				   &dfd);
	test_ioctl_ioas_map_file(dfd, 0, self->size, &iova);
	test_cmd_create_access(self->ioas_id, &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);

	rw_cmd.id = access_id;
	rw_cmd.access_rw.iova = iova;
	rw_cmd.access_rw.length = sizeof(buf);
	rw_cmd.access_rw.uptr = (uintptr_t)buf;
	EXPECT_ERRNO(EINVAL,
		     ioctl(self->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_RW),
			   &rw_cmd));

	pages_cmd.id = access_id;
	pages_cmd.access_pages.iova = iova;
	pages_cmd.access_pages.length = PAGE_SIZE;
	pages_cmd.access_pages.uptr = (uintptr_t)buffer;
	EXPECT_ERRNO(EINVAL,
		     ioctl(self->fd,
			   _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_PAGES),
			   &pages_cmd));

	test_cmd_destroy_access(access_id);
	ASSERT_EQ(0, close(dfd));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE of dma-bufs that are memory: udmabuf and the dma-buf heaps
 *
 * What a mock domain has of a udmabuf is compared with the memfd that it was made
 * from, page by page, by the kernel. Pages can be looked at with the help of
 * /proc/self/pagemap and /proc/kpageflags, and be declared bad through debugfs.
 */
#include <asm/unistd.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <linux/dma-heap.h>
#include <linux/udmabuf.h>

#define __EXPORTED_HEADERS__

#include "iommufd_utils.h"

#define HEAPS		"/dev/dma_heap"
#define HWPOISON	"/sys/kernel/debug/hwpoison"

#define KPF_DIRTY	4
#define KPF_HWPOISON	19

#define MAP_RW	(IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)

static __attribute__((constructor)) void setup_sizes(void)
{
	setup_page_buffer();
}

/* 8 bytes of a file of /proc, one for each page */
static int read_entry(const char *path, __u64 index, __u64 *entry)
{
	int fd = open(path, O_RDONLY);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = pread(fd, entry, sizeof(*entry), index * sizeof(*entry));
	close(fd);
	return got == sizeof(*entry) ? 0 : -EIO;
}

/* The page frame behind an address that has been touched */
static int pfn_of(void *addr, __u64 *pfn)
{
	__u64 entry;
	int ret;

	ret = read_entry("/proc/self/pagemap", (uintptr_t)addr / PAGE_SIZE,
			 &entry);
	if (ret)
		return ret;
	*pfn = entry & ((1ULL << 55) - 1);
	return *pfn && entry >> 63 ? 0 : -ENOENT;
}

static int page_flag(__u64 pfn, unsigned int flag)
{
	__u64 flags;
	int ret;

	ret = read_entry("/proc/kpageflags", pfn, &flags);
	return ret ? ret : (flags >> flag) & 1;
}

static int hwpoison(const char *file, __u64 pfn)
{
	char path[64], number[32];
	int fd, len, ret;

	snprintf(path, sizeof(path), HWPOISON "/%s", file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	len = snprintf(number, sizeof(number), "%llu",
		       (unsigned long long)pfn);
	/* Its result says what became of the page's users, too */
	ret = write(fd, number, len) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/*
 * udmabuf
 */
FIXTURE(udmabuf)
{
	int fd;
	int udev;
	int mfd;
	int dfd;
	size_t size;
	void *mem;
	__u64 bad_pfn;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 idev_id;
	__u32 hwpt_ids[2];
};

FIXTURE_VARIANT(udmabuf)
{
	unsigned int memfd_flags;
	unsigned int npages;
	unsigned int memory_limit;
	/* The items that the memfd is taken in, the last one first */
	unsigned int nr_items;
};

FIXTURE_VARIANT_ADD(udmabuf, small)
{
	.npages = 13,
	.nr_items = 1,
};

FIXTURE_VARIANT_ADD(udmabuf, items)
{
	.npages = 12,
	.nr_items = 4,
};

/* Many ranges in many small batches */
FIXTURE_VARIANT_ADD(udmabuf, limit)
{
	.npages = 300,
	.memory_limit = 16,
	.nr_items = 100,
};

FIXTURE_VARIANT_ADD(udmabuf, hugetlb)
{
	.memfd_flags = MFD_HUGETLB,
	.npages = 1024,
	.nr_items = 2,
};

static int make_udmabuf(int udev, int mfd, size_t size, unsigned int nr_items)
{
	struct udmabuf_create_list *list;
	unsigned int i;
	int fd;

	list = calloc(1, sizeof(*list) + nr_items * sizeof(list->list[0]));
	assert(list);
	list->flags = UDMABUF_FLAGS_CLOEXEC;
	list->count = nr_items;
	for (i = 0; i != nr_items; i++) {
		list->list[i].memfd = mfd;
		list->list[i].offset = (nr_items - 1 - i) * (size / nr_items);
		list->list[i].size = size / nr_items;
	}
	fd = ioctl(udev, UDMABUF_CREATE_LIST, list);
	free(list);
	return fd;
}

FIXTURE_SETUP(udmabuf)
{
	self->fd = -1;
	self->size = variant->npages * PAGE_SIZE;
	self->mfd = memfd_create("iommufd_dmabuf_ram",
				 MFD_ALLOW_SEALING | variant->memfd_flags);
	ASSERT_NE(-1, self->mfd);
	ASSERT_EQ(0, ftruncate(self->mfd, self->size));
	ASSERT_EQ(0, fcntl(self->mfd, F_ADD_SEALS, F_SEAL_SHRINK));

	self->udev = open("/dev/udmabuf", O_RDWR);
	if (self->udev < 0)
		SKIP(return, "No udmabuf");
	self->dfd = make_udmabuf(self->udev, self->mfd, self->size,
				 variant->nr_items);
	if (self->dfd < 0 && variant->memfd_flags & MFD_HUGETLB)
		SKIP(return, "No huge pages");
	ASSERT_LE(0, self->dfd);

	self->mem = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->mfd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	if (variant->memory_limit) {
		test_ioctl_set_temp_memory_limit(variant->memory_limit);
	} else {
		test_ioctl_set_default_memory_limit();
	}
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id,
			     &self->hwpt_ids[0], &self->idev_id);
	test_cmd_hwpt_alloc(self->idev_id, self->ioas_id, 0,
			    &self->hwpt_ids[1]);
}

FIXTURE_TEARDOWN(udmabuf)
{
	if (self->mem)
		EXPECT_EQ(0, munmap(self->mem, self->size));
	close(self->dfd);
	close(self->mfd);
	close(self->udev);
	if (self->fd < 0)
		return;
	test_ioctl_set_default_memory_limit();
	teardown_iommufd(self->fd, _metadata);

	/* Or it is given to somebody else, when the pool of huge pages shrinks */
	if (self->bad_pfn) {
		EXPECT_EQ(0, hwpoison("unpoison-pfn", self->bad_pfn));
		EXPECT_EQ(0, page_flag(self->bad_pfn, KPF_HWPOISON));
	}
}

/* The offset into the memfd of an offset into the buffer */
static size_t mem_offset(FIXTURE_DATA(udmabuf) *self,
			 const FIXTURE_VARIANT(udmabuf) *variant, size_t offset)
{
	size_t item = self->size / variant->nr_items;

	return (variant->nr_items - 1 - offset / item) * item + offset % item;
}

static int check_page(int fd, __u32 hwpt_id, __u64 iova, void *mem)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_CHECK_MAP,
		.id = hwpt_id,
		.check_map = { .iova = iova,
			       .length = PAGE_SIZE,
			       .uptr = (uintptr_t)mem },
	};

	return ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_MD_CHECK_MAP), &cmd);
}

#define check_udmabuf(_iova, _offset, _length) ({                              \
	size_t __i;                                                            \
	unsigned int __d;                                                      \
									       \
	for (__d = 0; __d != ARRAY_SIZE(self->hwpt_ids); __d++)                \
		for (__i = 0; __i != (_length); __i += PAGE_SIZE)              \
			ASSERT_EQ(0, check_page(self->fd, self->hwpt_ids[__d], \
						(_iova) + __i,                 \
						self->mem +                    \
						mem_offset(self, variant,      \
							   (_offset) + __i))); \
})

TEST_F(udmabuf, whole)
{
	__u64 iova = 0;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);
	check_udmabuf(iova, 0, self->size);
	test_ioctl_ioas_unmap(iova, self->size);
	/* Nothing is there */
	ASSERT_EQ(-1, check_page(self->fd, self->hwpt_ids[0], iova, self->mem));
}

TEST_F(udmabuf, parts)
{
	size_t offset, length = 5 * PAGE_SIZE;
	__u64 iova = 0;

	for (offset = 0; offset <= 7 * PAGE_SIZE; offset += PAGE_SIZE) {
		test_ioctl_ioas_map_file(self->dfd, offset, length, &iova);
		check_udmabuf(iova, offset, length);
		test_ioctl_ioas_unmap(iova, length);
	}
	offset = self->size - length;
	test_ioctl_ioas_map_file(self->dfd, offset, length, &iova);
	check_udmabuf(iova, offset, length);
	test_err_ioctl_ioas_map_file(EINVAL, self->dfd, offset,
				     length + PAGE_SIZE, &iova);
}

/* A domain that comes later, and one that goes */
TEST_F(udmabuf, domains)
{
	__u32 stdev_id, hwpt_id;
	__u64 iova = 0;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);
	test_cmd_mock_domain(self->ioas_id, &stdev_id, &hwpt_id, NULL);
	ASSERT_EQ(0, check_page(self->fd, hwpt_id, iova,
				self->mem + mem_offset(self, variant, 0)));
	test_ioctl_destroy(stdev_id);
	check_udmabuf(iova, 0, self->size);
}

/* The mapping keeps the buffer, and the buffer the pages */
TEST_F(udmabuf, close_first)
{
	__u64 iova = 0;

	test_ioctl_ioas_map_file(self->dfd, 0, self->size, &iova);
	ASSERT_EQ(0, close(self->dfd));
	self->dfd = -1;
	memset(self->mem, 0x5a, self->size);
	ASSERT_EQ(0, munmap(self->mem, self->size));
	self->mem = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->mfd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	check_udmabuf(iova, 0, self->size);
}

/* The buffer may be written by other ways than a page table that reclaim sees */
TEST_F(udmabuf, dirty)
{
	static const struct {
		/* 0 to attach nobody */
		unsigned int flags;
		int dirty;
	} cases[] = {
		{ 0, 0 },
		{ IOMMU_IOAS_MAP_READABLE, 0 },
		{ MAP_RW, 1 },
	};
	unsigned int i, page;
	char *mem;
	int mfd, dfd;
	__u64 iova = 0, pfn;

	if (variant->memfd_flags & MFD_HUGETLB)
		SKIP(return, "Huge pages of hugetlbfs have no such state");

	for (i = 0; i != ARRAY_SIZE(cases); i++) {
		mfd = memfd_create("dirty", MFD_ALLOW_SEALING);
		ASSERT_NE(-1, mfd);
		ASSERT_EQ(0, ftruncate(mfd, self->size));
		ASSERT_EQ(0, fcntl(mfd, F_ADD_SEALS, F_SEAL_SHRINK));
		dfd = make_udmabuf(self->udev, mfd, self->size, 1);
		ASSERT_LE(0, dfd);
		if (cases[i].flags) {
			ASSERT_EQ(0, _test_ioctl_ioas_map_file(self->fd,
							       self->ioas_id,
							       dfd, 0,
							       self->size,
							       &iova,
							       cases[i].flags));
			test_ioctl_ioas_unmap(iova, self->size);
		}

		/* Reading makes nothing dirty */
		mem = mmap(NULL, self->size, PROT_READ, MAP_SHARED, mfd, 0);
		ASSERT_NE(MAP_FAILED, mem);
		for (page = 0; page != variant->npages; page++) {
			ASSERT_EQ(0, mem[page * PAGE_SIZE]);
			if (pfn_of(mem + page * PAGE_SIZE, &pfn) ||
			    page_flag(pfn, KPF_DIRTY) < 0)
				SKIP(return, "No page flags to look at");
			ASSERT_EQ(0, page_flag(pfn, KPF_DIRTY));
		}

		ASSERT_EQ(0, close(dfd));
		for (page = 0; page != variant->npages; page++) {
			ASSERT_EQ(0, pfn_of(mem + page * PAGE_SIZE, &pfn));
			ASSERT_EQ(cases[i].dirty, page_flag(pfn, KPF_DIRTY));
		}
		ASSERT_EQ(0, munmap(mem, self->size));
		ASSERT_EQ(0, close(mfd));
	}
}

TEST_F(udmabuf, hwpoison)
{
	size_t bad = self->size / 2 & ~(PAGE_SIZE - 1), offset;
	size_t bad_start = bad, bad_end = bad + PAGE_SIZE;
	__u64 iova = 0, pfn;
	void *mem;

	if (variant->memory_limit)
		SKIP(return, "One bad page is enough");
	if (access(HWPOISON "/corrupt-pfn", W_OK))
		SKIP(return, "No hwpoison-inject");

	/* All of a huge page is bad */
	if (variant->memfd_flags & MFD_HUGETLB) {
		bad_start = bad & ~(self->size / 2 - 1);
		bad_end = bad_start + self->size / 2;
	}
	mem = self->mem + mem_offset(self, variant, bad);
	memset(mem, 1, PAGE_SIZE);
	ASSERT_EQ(0, pfn_of(mem, &pfn));
	hwpoison("corrupt-pfn", pfn);
	self->bad_pfn = pfn;
	ASSERT_EQ(1, page_flag(pfn, KPF_HWPOISON));

	test_err_ioctl_ioas_map_file(EHWPOISON, self->dfd, 0, self->size, &iova);
	for (offset = 0; offset < self->size; offset += PAGE_SIZE) {
		if (offset >= bad_start && offset < bad_end) {
			test_err_ioctl_ioas_map_file(EHWPOISON, self->dfd,
						     offset, PAGE_SIZE, &iova);
		} else {
			test_ioctl_ioas_map_file(self->dfd, offset, PAGE_SIZE,
						 &iova);
			test_ioctl_ioas_unmap(iova, PAGE_SIZE);
		}
	}
	test_ioctl_ioas_map_file(self->dfd, 0, bad_start, &iova);
	test_err_ioctl_ioas_map_file(EHWPOISON, self->dfd, 0,
				     bad_start + PAGE_SIZE, &iova);
}

/*
 * Heaps
 */
FIXTURE(heap)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 hwpt_id;
	char names[8][64];
	unsigned int nr;
};

FIXTURE_SETUP(heap)
{
	struct dirent *entry;
	DIR *dir;

	self->fd = -1;
	dir = opendir(HEAPS);
	if (!dir)
		SKIP(return, "No dma-buf heaps");
	while (self->nr != ARRAY_SIZE(self->names) && (entry = readdir(dir))) {
		/* Its buffers are decrypted, and nobody may map them as RAM */
		if (entry->d_name[0] == '.' ||
		    !strcmp(entry->d_name, "system_cc_shared"))
			continue;
		snprintf(self->names[self->nr++], sizeof(self->names[0]),
			 "%.63s", entry->d_name);
	}
	closedir(dir);
	if (!self->nr)
		SKIP(return, "No dma-buf heaps");

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_ioctl_set_default_memory_limit();
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, &self->hwpt_id,
			     NULL);
}

FIXTURE_TEARDOWN(heap)
{
	teardown_iommufd(self->fd, _metadata);
}

static int heap_alloc(const char *name, size_t size, unsigned int flags)
{
	struct dma_heap_allocation_data data = {
		.len = size,
		.fd_flags = flags | O_CLOEXEC,
	};
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), HEAPS "/%s", name);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	ret = ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &data);
	if (ret)
		ret = -errno;
	close(fd);
	return ret ? ret : data.fd;
}

/* Of a size that is made of pieces of several orders */
#define HEAP_SIZE (347 * PAGE_SIZE)

TEST_F(heap, parts)
{
	size_t offset, length;
	unsigned int i;
	__u64 iova = 0;
	int dfd;

	for (i = 0; i != self->nr; i++) {
		TH_LOG("heap %s", self->names[i]);
		dfd = heap_alloc(self->names[i], HEAP_SIZE, O_RDWR);
		ASSERT_LE(0, dfd);
		for (offset = 0; offset < HEAP_SIZE; offset += 17 * PAGE_SIZE) {
			for (length = PAGE_SIZE; offset + length <= HEAP_SIZE;
			     length = 3 * length + PAGE_SIZE) {
				test_ioctl_ioas_map_file(dfd, offset, length,
							 &iova);
				test_ioctl_ioas_unmap(iova, length);
			}
		}
		test_err_ioctl_ioas_map_file(EINVAL, dfd, PAGE_SIZE, HEAP_SIZE,
					     &iova);
		test_ioctl_ioas_map_file(dfd, 0, HEAP_SIZE, &iova);
		ASSERT_EQ(0, close(dfd));
		test_ioctl_ioas_unmap(iova, HEAP_SIZE);
	}
}

/* How the file is open decides */
TEST_F(heap, access)
{
	static const struct {
		unsigned int file;
		unsigned int map;
		bool ok;
	} cases[] = {
		{ O_RDWR, MAP_RW, true },
		{ O_RDWR, IOMMU_IOAS_MAP_READABLE, true },
		{ O_RDONLY, IOMMU_IOAS_MAP_READABLE, true },
		{ O_RDONLY, MAP_RW, false },
		{ O_RDONLY, IOMMU_IOAS_MAP_WRITEABLE, false },
		{ O_WRONLY, IOMMU_IOAS_MAP_READABLE, false },
		{ O_WRONLY, IOMMU_IOAS_MAP_WRITEABLE, false },
		{ O_WRONLY, MAP_RW, false },
		{ O_ACCMODE, IOMMU_IOAS_MAP_READABLE, false },
	};
	unsigned int i;
	__u64 iova = 0;
	int dfd, ret;

	for (i = 0; i != ARRAY_SIZE(cases); i++) {
		dfd = heap_alloc(self->names[0], PAGE_SIZE, cases[i].file);
		ASSERT_LE(0, dfd);
		ret = _test_ioctl_ioas_map_file(self->fd, self->ioas_id, dfd, 0,
						PAGE_SIZE, &iova, cases[i].map);
		ASSERT_EQ(cases[i].ok, !ret)
		{
			TH_LOG("case %u", i);
		}
		if (!cases[i].ok)
			ASSERT_EQ(EACCES, errno);
		ASSERT_EQ(0, close(dfd));
	}
}

TEST_HARNESS_MAIN

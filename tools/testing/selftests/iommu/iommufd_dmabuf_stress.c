// SPDX-License-Identifier: GPL-2.0-only
/*
 * Race everything that can happen to a dma-buf in an IOAS
 *
 *   iommufd_dmabuf_stress [harness options] [rounds]
 *
 * Buffers of the mock exporter are mapped, copied and unmapped, revoked, given
 * back, moved, and replaced by others, while domains come and go, dirty bits are
 * read, an access tries to get at the memory, and other iommufds are closed with
 * all of that in them. Each thread does its part for a number of rounds.
 *
 * Any page that an IOVA translates to at any time has to be the page of the
 * buffer that is mapped there, and in the end all of them have to be mapped.
 * Nothing may be left when all is closed. Run it on a kernel with lockdep, and
 * with KASAN or KCSAN.
 */
#include <asm/unistd.h>
#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#define __EXPORTED_HEADERS__

#include "iommufd_utils.h"

#define NR_IOAS 3
#define NR_SLOTS 4
#define NR_MAPPERS 2
#define NR_REVOKERS 2
#define NR_MAPPINGS 6
#define NR_COPIES 6
#define MAX_PAGES 300

static unsigned int nr_rounds = 200;
static unsigned int nr_errors;

static __attribute__((constructor)) void setup_sizes(void)
{
	setup_page_buffer();
}

/* What is wrong in a thread cannot end the test there and then */
static void complain(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	if (__atomic_fetch_add(&nr_errors, 1, __ATOMIC_RELAXED) >= 20)
		return;
	flockfile(stdout);
	printf("# ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(": %s\n", strerror(err));
	funlockfile(stdout);
}

/* A buffer that threads get hold of, and that may be another the next time */
struct slot {
	pthread_mutex_t lock;
	size_t npages;
	int dfd;
};

struct mapping {
	/* Taken by the owner to write, by others to read */
	pthread_mutex_t lock;
	/* Odd while it is mapped */
	unsigned int seq;
	unsigned int ioas;
	__u64 iova;
	size_t offset;
	size_t length;
	/* Its own */
	int dfd;
};

struct domain {
	__u32 stdev_id;
	__u32 hwpt_id;
	__u32 idev_id;
};

struct state;

struct worker {
	struct state *state;
	unsigned int rand;
	unsigned int nr;
};

struct state {
	int fd;
	__u32 ioas_ids[NR_IOAS];
	/* The last IOAS has none that stays */
	struct domain domains[NR_IOAS - 1];
	/* One more of the first IOAS, for the dirty bits */
	__u32 dirty_hwpt_id;
	struct slot slots[NR_SLOTS];
	struct mapping mappings[NR_MAPPERS][NR_MAPPINGS];
	struct mapping copies[NR_COPIES];
	/* A page, the first slot's buffer, a page; stays for good */
	__u64 fixed_iova;
	struct mapping fixed;
};

FIXTURE(dmabuf_stress)
{
	struct state *state;
	int nr_dmabufs;
};

static unsigned int next_rand(struct worker *worker, unsigned int limit)
{
	worker->rand = worker->rand * 1103515245 + 12345;
	return (worker->rand >> 16) % limit;
}

/* The number of all dma-bufs in the system, -1 if it cannot be told */
static int count_dmabufs(void)
{
	char line[256];
	int nr = -1;
	FILE *fp;

	fp = fopen("/sys/kernel/debug/dma_buf/bufinfo", "r");
	if (!fp)
		return -1;
	while (fgets(line, sizeof(line), fp))
		if (strstr(line, " objects, "))
			sscanf(line, "Total %d objects", &nr);
	fclose(fp);
	return nr;
}

static int new_buffer(struct worker *worker, int fd, size_t *npages)
{
	static const unsigned int flags[] = {
		0,
		MOCK_DMABUF_MIXED,
		MOCK_DMABUF_ADJACENT,
		MOCK_DMABUF_ADJACENT | MOCK_DMABUF_MIXED,
	};
	int dfd;

	*npages = 1 + next_rand(worker, MAX_PAGES);
	if (_test_cmd_get_dmabuf_ranges(fd, *npages * PAGE_SIZE, O_RDWR,
					1 + next_rand(worker, *npages),
					flags[next_rand(worker,
							ARRAY_SIZE(flags))],
					&dfd))
		return -1;
	return dfd;
}

static int get_slot(struct slot *slot, size_t *npages)
{
	int dfd;

	pthread_mutex_lock(&slot->lock);
	*npages = slot->npages;
	dfd = dup(slot->dfd);
	pthread_mutex_unlock(&slot->lock);
	if (dfd == -1)
		complain("dup");
	return dfd;
}

static int get_any_slot(struct worker *worker, size_t *npages)
{
	return get_slot(&worker->state->slots[next_rand(worker, NR_SLOTS)],
			npages);
}

/* Of another thread, which may be about to change it */
static struct mapping *get_any_mapping(struct worker *worker)
{
	unsigned int owner = next_rand(worker, NR_MAPPERS);
	unsigned int nr = next_rand(worker, NR_MAPPINGS);

	return &worker->state->mappings[owner][nr];
}

/* Others may revoke the buffer meanwhile, but it is all there or not at all */
static void check_one(struct state *state, __u32 hwpt_id, struct mapping *map,
		      bool has_to_be)
{
	if (!_test_cmd_check_dmabuf(state->fd, hwpt_id, map->dfd, map->iova,
				    map->offset, map->length, NULL))
		return;
	if (errno != ENOENT || has_to_be)
		complain("%zx bytes at %llx of hwpt %u", map->length,
			 (unsigned long long)map->iova, hwpt_id);
}

static void check_mapping(struct state *state, struct mapping *map,
			  bool has_to_be)
{
	if (map->ioas == NR_IOAS - 1)
		return;
	check_one(state, state->domains[map->ioas].hwpt_id, map, has_to_be);
	if (map->ioas == 0)
		check_one(state, state->dirty_hwpt_id, map, has_to_be);
}

static bool is_live(struct mapping *map)
{
	return __atomic_load_n(&map->seq, __ATOMIC_ACQUIRE) & 1;
}

static void map_publish(struct mapping *map, const struct mapping *new)
{
	pthread_mutex_lock(&map->lock);
	map->ioas = new->ioas;
	map->iova = new->iova;
	map->offset = new->offset;
	map->length = new->length;
	map->dfd = new->dfd;
	__atomic_fetch_add(&map->seq, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&map->lock);
}

static void unmap(struct state *state, struct mapping *map)
{
	/* From here on a copy may be one of something else */
	pthread_mutex_lock(&map->lock);
	__atomic_fetch_add(&map->seq, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&map->lock);

	if (_test_ioctl_ioas_unmap(state->fd, state->ioas_ids[map->ioas],
				   map->iova, map->length, NULL))
		complain("unmapping %llx", (unsigned long long)map->iova);
	close(map->dfd);
}

static void *do_map(void *arg)
{
	const unsigned int flags = IOMMU_IOAS_MAP_READABLE |
				   IOMMU_IOAS_MAP_WRITEABLE;
	struct worker *worker = arg;
	struct state *state = worker->state;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		unsigned int nr = next_rand(worker, NR_MAPPINGS);
		struct mapping *map = &state->mappings[worker->nr][nr];
		struct mapping new;
		size_t npages;
		size_t first;

		if (is_live(map)) {
			check_mapping(state, map, false);
			if (next_rand(worker, 2))
				unmap(state, map);
			continue;
		}

		new.dfd = get_any_slot(worker, &npages);
		if (new.dfd == -1)
			break;
		new.ioas = next_rand(worker, NR_IOAS);
		first = next_rand(worker, 3) ? 0 : next_rand(worker, npages);
		new.offset = first * PAGE_SIZE;
		new.length = (npages - first) * PAGE_SIZE;
		if (_test_ioctl_ioas_map_file(state->fd,
					      state->ioas_ids[new.ioas],
					      new.dfd, new.offset, new.length,
					      &new.iova, flags)) {
			complain("map");
			close(new.dfd);
			continue;
		}
		map_publish(map, &new);
		check_mapping(state, map, false);
	}
	return NULL;
}

static void *do_copy(void *arg)
{
	struct worker *worker = arg;
	struct state *state = worker->state;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		struct mapping *copy =
			&state->copies[next_rand(worker, NR_COPIES)];
		struct mapping *map = get_any_mapping(worker);
		struct iommu_ioas_copy cmd = {
			.size = sizeof(cmd),
			.flags = IOMMU_IOAS_MAP_READABLE |
				 IOMMU_IOAS_MAP_WRITEABLE,
		};
		struct mapping new;
		unsigned int seq;
		unsigned int src;

		if (is_live(copy)) {
			check_mapping(state, copy, false);
			unmap(state, copy);
			continue;
		}

		pthread_mutex_lock(&map->lock);
		seq = __atomic_load_n(&map->seq, __ATOMIC_ACQUIRE);
		if (!(seq & 1)) {
			pthread_mutex_unlock(&map->lock);
			continue;
		}
		src = map->ioas;
		cmd.src_iova = map->iova;
		new.offset = map->offset;
		new.length = map->length;
		new.dfd = dup(map->dfd);
		pthread_mutex_unlock(&map->lock);

		/* Here it may be unmapped, and another mapped in its place */
		new.ioas = next_rand(worker, NR_IOAS);
		cmd.dst_ioas_id = state->ioas_ids[new.ioas];
		cmd.src_ioas_id = state->ioas_ids[src];
		cmd.length = new.length;
		if (ioctl(state->fd, IOMMU_IOAS_COPY, &cmd)) {
			if (errno != ENOENT)
				complain("copy");
			close(new.dfd);
			continue;
		}

		new.iova = cmd.dst_iova;
		map_publish(copy, &new);
		if (__atomic_load_n(&map->seq, __ATOMIC_ACQUIRE) != seq)
			unmap(state, copy);
		else
			check_mapping(state, copy, false);
	}
	return NULL;
}

static void *do_revoke(void *arg)
{
	struct worker *worker = arg;
	struct state *state = worker->state;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		size_t npages;
		int dfd;
		int rc;

		dfd = get_any_slot(worker, &npages);
		if (dfd == -1)
			break;
		switch (next_rand(worker, 4)) {
		case 0:
			rc = _test_cmd_revoke_dmabuf(state->fd, dfd, true);
			break;
		case 1:
			rc = _test_cmd_move_dmabuf(state->fd, dfd);
			break;
		default:
			rc = _test_cmd_revoke_dmabuf(state->fd, dfd, false);
			break;
		}
		if (rc)
			complain("revoke, revalidate or move");
		close(dfd);
	}
	return NULL;
}

/* The first slot's buffer stays */
static void *do_replace(void *arg)
{
	struct worker *worker = arg;
	struct state *state = worker->state;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		struct slot *slot =
			&state->slots[1 + next_rand(worker, NR_SLOTS - 1)];
		size_t npages;
		int old;
		int dfd;

		dfd = new_buffer(worker, state->fd, &npages);
		if (dfd == -1) {
			complain("new buffer");
			break;
		}
		pthread_mutex_lock(&slot->lock);
		old = slot->dfd;
		slot->dfd = dfd;
		slot->npages = npages;
		pthread_mutex_unlock(&slot->lock);
		close(old);
	}
	return NULL;
}

/* A domain beside those that are there, whose device has none of its own */
static void *do_hwpt(void *arg)
{
	struct worker *worker = arg;
	struct state *state = worker->state;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		unsigned int ioas = next_rand(worker, NR_IOAS - 1);
		__u32 hwpt_id;

		if (_test_cmd_hwpt_alloc(state->fd, state->domains[ioas].idev_id,
					 state->ioas_ids[ioas], 0, 0, &hwpt_id,
					 IOMMU_HWPT_DATA_NONE, NULL, 0)) {
			complain("new hwpt");
			break;
		}
		if (ioas == 0)
			check_one(state, hwpt_id, &state->fixed, false);
		if (_test_ioctl_destroy(state->fd, hwpt_id))
			complain("destroy hwpt");
	}
	return NULL;
}

/* The first domain of an IOAS, and the last */
static void *do_device(void *arg)
{
	struct worker *worker = arg;
	struct state *state = worker->state;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		struct domain domain;

		if (_test_cmd_mock_domain(state->fd,
					  state->ioas_ids[NR_IOAS - 1],
					  &domain.stdev_id, &domain.hwpt_id,
					  &domain.idev_id)) {
			complain("new device");
			break;
		}
		if (next_rand(worker, 2) &&
		    _test_cmd_mock_domain_replace(state->fd, domain.stdev_id,
						  state->ioas_ids[0], NULL))
			complain("replace domain");
		if (_test_ioctl_destroy(state->fd, domain.stdev_id))
			complain("destroy device");
	}
	return NULL;
}

/* A dma-buf is not what an access can use; the pages beside it are */
static void *do_access(void *arg)
{
	struct worker *worker = arg;
	struct state *state = worker->state;
	__u32 access_id;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		unsigned int flags = next_rand(worker, 2) ?
			MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES : 0;
		struct iommu_test_cmd cmd = {
			.size = sizeof(cmd),
			.op = IOMMU_TEST_OP_ACCESS_RW,
		};
		struct mapping *map = get_any_mapping(worker);
		unsigned int val = 0;
		unsigned int ioas;
		__u64 iova;

		pthread_mutex_lock(&map->lock);
		ioas = map->ioas;
		iova = map->iova;
		pthread_mutex_unlock(&map->lock);

		if (_test_cmd_create_access(state->fd, state->ioas_ids[ioas],
					    &access_id, flags)) {
			complain("new access");
			break;
		}

		cmd.id = access_id;
		cmd.access_rw.uptr = (uintptr_t)&val;
		cmd.access_rw.length = sizeof(val);
		cmd.access_rw.iova = iova;
		/* Mapped at the time, or not */
		if (!ioctl(state->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_RW),
			   &cmd) ||
		    (errno != EINVAL && errno != ENOENT))
			complain("access to a dma-buf");

		if (ioas == 0) {
			cmd.access_rw.iova = state->fixed_iova;
			if (ioctl(state->fd,
				  _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_RW),
				  &cmd) ||
			    val != *(unsigned int *)buffer)
				complain("access to memory");
		}
		_test_cmd_destroy_access(access_id);
	}
	return NULL;
}

/* The pages on both sides of the buffer are dirty, whatever it does */
static void *do_dirty(void *arg)
{
	size_t nbits = 2 * MAX_PAGES * PAGE_SIZE / MOCK_PAGE_SIZE;
	struct worker *worker = arg;
	struct state *state = worker->state;
	size_t length = state->fixed.length + 2 * PAGE_SIZE;
	unsigned int i;
	__u64 *bitmap;

	bitmap = calloc(DIV_ROUND_UP(nbits, 64), sizeof(*bitmap));
	if (!bitmap) {
		complain("bitmap");
		return NULL;
	}

	for (i = 0; i != nr_rounds; i++) {
		bitmap[0] = ~0ULL;
		if (_test_cmd_set_dirty_tracking(state->fd,
						 state->dirty_hwpt_id, true))
			complain("set dirty tracking");
		if (_test_cmd_mock_domain_set_dirty(state->fd,
						    state->dirty_hwpt_id,
						    PAGE_SIZE,
						    state->fixed_iova,
						    MOCK_PAGE_SIZE, bitmap,
						    NULL))
			complain("set dirty");
		bitmap[0] = 0;
		if (_test_cmd_get_dirty_bitmap(state->fd, state->dirty_hwpt_id,
					       length, state->fixed_iova,
					       MOCK_PAGE_SIZE, bitmap, 0))
			complain("get dirty bitmap");
		if (bitmap[0] != (1ULL << (PAGE_SIZE / MOCK_PAGE_SIZE)) - 1)
			complain("dirty bits %llx",
				 (unsigned long long)bitmap[0]);
	}
	free(bitmap);
	return NULL;
}

/* An iommufd that ends with everything in it, now and then with the buffer */
static void *do_close(void *arg)
{
	struct worker *worker = arg;
	struct state *state = worker->state;
	unsigned int i;

	for (i = 0; i != nr_rounds; i++) {
		__u32 stdev_id;
		size_t npages;
		__u32 ioas_id;
		__u64 iova;
		int dfd;
		int fd;

		fd = open("/dev/iommu", O_RDWR);
		if (fd == -1) {
			complain("open");
			break;
		}
		if (next_rand(worker, 2))
			dfd = get_any_slot(worker, &npages);
		else
			dfd = new_buffer(worker, state->fd, &npages);
		if (dfd == -1) {
			close(fd);
			break;
		}

		iova = MOCK_APERTURE_START;
		if (_test_ioctl_ioas_alloc(fd, &ioas_id) ||
		    _test_ioctl_ioas_map_file(fd, ioas_id, dfd, 0,
					      npages * PAGE_SIZE, &iova,
					      IOMMU_IOAS_MAP_FIXED_IOVA |
						      IOMMU_IOAS_MAP_READABLE) ||
		    _test_cmd_mock_domain(fd, ioas_id, &stdev_id, NULL, NULL))
			complain("own iommufd");
		close(dfd);
		/* The mock device goes first, as a device of VFIO does */
		if (next_rand(worker, 2) && _test_ioctl_destroy(fd, stdev_id))
			complain("destroy own device");
		close(fd);
	}
	return NULL;
}

FIXTURE_SETUP(dmabuf_stress)
{
	const unsigned int flags = IOMMU_IOAS_MAP_FIXED_IOVA |
				   IOMMU_IOAS_MAP_READABLE |
				   IOMMU_IOAS_MAP_WRITEABLE;
	struct iommu_iova_range range = {
		.start = MOCK_APERTURE_START,
		.last = MOCK_APERTURE_LAST,
	};
	struct iommu_ioas_allow_iovas allow_cmd = {
		.size = sizeof(allow_cmd),
		.num_iovas = 1,
		.allowed_iovas = (uintptr_t)&range,
	};
	struct worker worker = { .rand = 1 };
	struct state *state;
	unsigned int i;
	unsigned int j;
	__u64 iova;

	self->nr_dmabufs = count_dmabufs();

	state = calloc(1, sizeof(*state));
	ASSERT_NE(NULL, state);
	self->state = state;

	state->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, state->fd);
	for (i = 0; i != NR_IOAS; i++)
		ASSERT_EQ(0, _test_ioctl_ioas_alloc(state->fd,
						    &state->ioas_ids[i]));
	for (i = 0; i != NR_IOAS - 1; i++)
		ASSERT_EQ(0, _test_cmd_mock_domain(state->fd,
						   state->ioas_ids[i],
						   &state->domains[i].stdev_id,
						   &state->domains[i].hwpt_id,
						   &state->domains[i].idev_id));
	/* No domain says where in this one the mappings may be */
	allow_cmd.ioas_id = state->ioas_ids[NR_IOAS - 1];
	ASSERT_EQ(0, ioctl(state->fd, IOMMU_IOAS_ALLOW_IOVAS, &allow_cmd));
	ASSERT_EQ(0, _test_cmd_hwpt_alloc(state->fd, state->domains[0].idev_id,
					  state->ioas_ids[0], 0,
					  IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
					  &state->dirty_hwpt_id,
					  IOMMU_HWPT_DATA_NONE, NULL, 0));

	for (i = 0; i != NR_SLOTS; i++) {
		pthread_mutex_init(&state->slots[i].lock, NULL);
		state->slots[i].dfd = new_buffer(&worker, state->fd,
						 &state->slots[i].npages);
		ASSERT_NE(-1, state->slots[i].dfd);
	}
	for (i = 0; i != NR_COPIES; i++)
		pthread_mutex_init(&state->copies[i].lock, NULL);
	for (i = 0; i != NR_MAPPERS; i++)
		for (j = 0; j != NR_MAPPINGS; j++)
			pthread_mutex_init(&state->mappings[i][j].lock, NULL);

	*(unsigned int *)buffer = 0xdab0f;
	state->fixed_iova = MOCK_APERTURE_START;
	state->fixed = (struct mapping){
		.seq = 1,
		.iova = state->fixed_iova + PAGE_SIZE,
		.length = state->slots[0].npages * PAGE_SIZE,
		.dfd = state->slots[0].dfd,
	};
	iova = state->fixed_iova;
	ASSERT_EQ(0, _test_ioctl_ioas_map(state->fd, state->ioas_ids[0], buffer,
					  PAGE_SIZE, &iova, flags));
	iova += PAGE_SIZE;
	ASSERT_EQ(0, _test_ioctl_ioas_map_file(state->fd, state->ioas_ids[0],
					       state->fixed.dfd, 0,
					       state->fixed.length, &iova,
					       flags));
	iova += state->fixed.length;
	ASSERT_EQ(0, _test_ioctl_ioas_map(state->fd, state->ioas_ids[0], buffer,
					  PAGE_SIZE, &iova, flags));
}

FIXTURE_TEARDOWN(dmabuf_stress)
{
	struct state *state = self->state;
	unsigned int i;

	for (i = 0; i != NR_SLOTS; i++)
		EXPECT_EQ(0, close(state->slots[i].dfd));
	teardown_iommufd(state->fd, _metadata);
	free(state);
	EXPECT_EQ(self->nr_dmabufs, count_dmabufs());
}

/* Give the buffer back for good, and then it has to be there */
static unsigned int finish(struct state *state, struct mapping *map)
{
	if (!is_live(map))
		return 0;
	if (_test_cmd_revoke_dmabuf(state->fd, map->dfd, false))
		complain("revalidate");
	check_mapping(state, map, true);
	return 1;
}

TEST_F_TIMEOUT(dmabuf_stress, race, 1800)
{
	static const struct {
		void *(*fn)(void *arg);
		unsigned int nr;
	} jobs[] = {
		{ do_map, NR_MAPPERS },
		{ do_revoke, NR_REVOKERS },
		{ do_copy, 1 },
		{ do_replace, 1 },
		{ do_hwpt, 1 },
		{ do_device, 1 },
		{ do_access, 1 },
		{ do_dirty, 1 },
		{ do_close, 1 },
	};
	struct worker workers[16] = {};
	struct state *state = self->state;
	struct domain domain;
	pthread_t threads[16];
	unsigned int nr_live;
	unsigned int nr = 0;
	unsigned int i;
	unsigned int j;

	for (i = 0; i != ARRAY_SIZE(jobs); i++) {
		for (j = 0; j != jobs[i].nr; j++, nr++) {
			ASSERT_GT(ARRAY_SIZE(workers), nr);
			workers[nr].state = state;
			workers[nr].rand = 12345 * (nr + 1);
			workers[nr].nr = j;
			ASSERT_EQ(0, pthread_create(&threads[nr], NULL,
						    jobs[i].fn, &workers[nr]));
		}
	}
	for (i = 0; i != nr; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));

	/* What is in no domain can be checked as soon as it is in one */
	ASSERT_EQ(0, _test_cmd_mock_domain(state->fd,
					   state->ioas_ids[NR_IOAS - 1],
					   &domain.stdev_id, &domain.hwpt_id,
					   &domain.idev_id));

	nr_live = finish(state, &state->fixed);
	for (i = 0; i != NR_MAPPERS; i++)
		for (j = 0; j != NR_MAPPINGS; j++)
			nr_live += finish(state, &state->mappings[i][j]);
	for (i = 0; i != NR_COPIES; i++)
		nr_live += finish(state, &state->copies[i]);
	TH_LOG("%u rounds, %u mappings in the end", nr_rounds, nr_live);

	for (i = 0; i != NR_MAPPERS; i++) {
		for (j = 0; j != NR_MAPPINGS; j++) {
			struct mapping *map = &state->mappings[i][j];

			if (!is_live(map))
				continue;
			if (map->ioas == NR_IOAS - 1)
				check_one(state, domain.hwpt_id, map, true);
			unmap(state, map);
		}
	}
	for (i = 0; i != NR_COPIES; i++) {
		struct mapping *copy = &state->copies[i];

		if (!is_live(copy))
			continue;
		if (copy->ioas == NR_IOAS - 1)
			check_one(state, domain.hwpt_id, copy, true);
		unmap(state, copy);
	}

	ASSERT_EQ(0, nr_errors);
}

int main(int argc, char **argv)
{
	/* The harness leaves alone what is not an option */
	if (argc > 1 && isdigit(argv[argc - 1][0]))
		nr_rounds = strtoul(argv[argc - 1], NULL, 0);
	return test_harness_run(argc, argv);
}

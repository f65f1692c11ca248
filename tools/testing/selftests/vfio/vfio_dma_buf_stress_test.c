// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that can happen to a dma-buf of a device and to its importers, at
 * the same time, while another device has DMA under way into it.
 *
 * usage: vfio_dma_buf_stress_test [options] [rounds] exporter dma-master
 *
 * libvfio has to have a driver for the second device, and the first one needs
 * memory behind its largest BAR.
 *
 * In each round the threads run against each other for some time; then all that
 * use the exporter are held at a point where the buffer has to be there, and
 * that is looked at: the DMA arrives in the right place, and debugfs has the map.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/ioctl.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

#define BAR_PAGES	16
#define NR_DEVICE	2
#define NR_MAPPERS	2
#define NR_THREADS	(NR_DEVICE + NR_MAPPERS + 2)

static const char *device_bdf;
static const char *master_bdf;
static unsigned int rounds = 20;
static size_t page_size;

struct stress {
	struct vfio_pci_p2p p2p;
	u64 size;

	/* The buffer that the DMA goes to, and its mapping */
	int fd;
	iova_t iova;

	/* Another IOAS, with a domain whenever the exporter is attached to it */
	u32 other_ioas_id;

	/* What the threads that map have for themselves */
	iova_t mapper_iova[NR_MAPPERS];
	iova_t copy_iova;

	/*
	 * Held for reading while something is done to the exporter that leaves
	 * it usable in the end, for writing to look at the buffer, and to close
	 * the exporter.
	 */
	pthread_rwlock_t device_lock;
	/* One user of the master at a time */
	pthread_mutex_t dma_lock;
	bool stop;

	/* How often each thing was done, and was not refused */
	unsigned long decode, reset, power, low_power, attach, detach;
	unsigned long map, copy, dma, reopen;
};

struct stress_thread {
	struct stress *stress;
	pthread_t thread;
	unsigned int seed;
	int nr;
};

#define COUNT(_counter) __atomic_add_fetch(&(_counter), 1, __ATOMIC_RELAXED)

static bool stopped(struct stress *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_RELAXED);
}

static void pause_us(struct stress_thread *t, unsigned int max)
{
	usleep(rand_r(&t->seed) % max);
}

static int ioas_copy(struct stress *s, iova_t src, iova_t dst, u64 size)
{
	struct iommu_ioas_copy args = {
		.size = sizeof(args),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.src_ioas_id = s->p2p.iommu->ioas_id,
		.dst_ioas_id = s->other_ioas_id,
		.src_iova = src,
		.dst_iova = dst,
		.length = size,
	};

	return ioctl(s->p2p.iommu->iommufd, IOMMU_IOAS_COPY, &args) ? -errno : 0;
}

static void other_unmap(struct stress *s, iova_t iova, u64 size)
{
	struct iommu_ioas_unmap args = {
		.size = sizeof(args),
		.ioas_id = s->other_ioas_id,
		.iova = iova,
		.length = size,
	};

	VFIO_ASSERT_EQ(0, ioctl(s->p2p.iommu->iommufd, IOMMU_IOAS_UNMAP, &args));
}

static void decode(struct stress_thread *t)
{
	struct vfio_pci_device *device = t->stress->p2p.device;

	vfio_pci_cmd_clear(device, PCI_COMMAND_MEMORY);
	pause_us(t, 2000);
	/* The last to write the register is a thread that sets the bit */
	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY);
	COUNT(t->stress->decode);
}

static void reset(struct stress_thread *t)
{
	struct vfio_pci_device *device = t->stress->p2p.device;

	/* The other thread may have the device locked */
	if ((device->info.flags & VFIO_DEVICE_FLAGS_RESET) &&
	    !__vfio_pci_device_reset(device))
		COUNT(t->stress->reset);
}

static void power(struct stress_thread *t)
{
	struct vfio_pci_device *device = t->stress->p2p.device;

	if (!vfio_pci_find_capability(device, PCI_CAP_ID_PM))
		return;

	vfio_pci_set_power_state(device, 3);
	pause_us(t, 2000);
	vfio_pci_set_power_state(device, 0);
	COUNT(t->stress->power);
}

static void low_power(struct stress_thread *t)
{
	struct vfio_pci_device *device = t->stress->p2p.device;

	/* Who gets in is who gets out */
	if (vfio_pci_low_power_entry(device, -1))
		return;

	pause_us(t, 20000);
	VFIO_ASSERT_EQ(0, vfio_pci_low_power_exit(device));
	COUNT(t->stress->low_power);
}

static void attach(struct stress_thread *t)
{
	struct vfio_device_attach_iommufd_pt args = {
		.argsz = sizeof(args),
	};
	struct stress *s = t->stress;

	args.pt_id = rand_r(&t->seed) % 4 ? s->other_ioas_id :
					    s->p2p.iommu->ioas_id;
	VFIO_ASSERT_EQ(0, ioctl(s->p2p.device->fd,
				VFIO_DEVICE_ATTACH_IOMMUFD_PT, &args));
	COUNT(s->attach);
}

static void detach(struct stress_thread *t)
{
	struct vfio_device_detach_iommufd_pt args = {
		.argsz = sizeof(args),
	};
	struct stress *s = t->stress;

	VFIO_ASSERT_EQ(0, ioctl(s->p2p.device->fd,
				VFIO_DEVICE_DETACH_IOMMUFD_PT, &args));
	COUNT(s->detach);
}

/* All of them in turn, and each thread in another order */
static void *device_thread(void *arg)
{
	static void (*const ops[])(struct stress_thread *t) = {
		decode, attach, reset, power, decode, detach, low_power,
	};
	struct stress_thread *t = arg;
	struct stress *s = t->stress;
	unsigned int i;

	for (i = 0; !stopped(s); i++) {
		pthread_rwlock_rdlock(&s->device_lock);
		ops[i * (t->nr + 1) % ARRAY_SIZE(ops)](t);
		pthread_rwlock_unlock(&s->device_lock);

		/* A VM is busy for long when a BAR moves: leave time to others */
		pause_us(t, 10000);
	}

	return NULL;
}

/* A buffer of its own, from the beginning to the end, which is one of several */
static void *map_thread(void *arg)
{
	struct stress_thread *t = arg;
	struct stress *s = t->stress;
	struct iommu *iommu = s->p2p.iommu;
	iova_t iova = s->mapper_iova[t->nr];

	while (!stopped(s)) {
		unsigned int how = rand_r(&t->seed);
		u64 first = how % BAR_PAGES;
		u64 size = (BAR_PAGES - first) * page_size;
		bool copied;
		int fd;

		pthread_rwlock_rdlock(&s->device_lock);
		fd = vfio_pci_dma_buf_export(s->p2p.device, s->p2p.bar, 0,
					     s->size);
		pthread_rwlock_unlock(&s->device_lock);

		iommu_map_dma_buf(iommu, fd, first * page_size, size, iova);
		copied = (how & 0x100) && !ioas_copy(s, iova, iova, size);
		if (how & 0x200)
			VFIO_ASSERT_EQ(0, close(fd));
		pause_us(t, 4000);

		if (how & 0x400)
			iommu_unmap_dma_buf(iommu, size, iova);
		if (copied)
			other_unmap(s, iova, size);
		if (!(how & 0x400))
			iommu_unmap_dma_buf(iommu, size, iova);
		if (!(how & 0x200))
			VFIO_ASSERT_EQ(0, close(fd));
		COUNT(s->map);
	}

	return NULL;
}

/* Copies of the mapping that the DMA uses, which is away for moments */
static void *copy_thread(void *arg)
{
	struct stress_thread *t = arg;
	struct stress *s = t->stress;

	while (!stopped(s)) {
		int ret = ioas_copy(s, s->iova, s->copy_iova, s->size);

		if (ret) {
			VFIO_ASSERT_EQ(-ENOENT, ret);
		} else {
			pause_us(t, 4000);
			other_unmap(s, s->copy_iova, s->size);
			COUNT(s->copy);
		}
		pause_us(t, 2000);
	}

	return NULL;
}

/* All of the buffer but the first page, which is looked at */
static void *dma_thread(void *arg)
{
	struct stress_thread *t = arg;
	struct stress *s = t->stress;
	struct vfio_pci_p2p *p2p = &s->p2p;

	while (!stopped(s)) {
		u64 offset = (1 + rand_r(&t->seed) % (BAR_PAGES - 1)) * page_size;

		pthread_mutex_lock(&s->dma_lock);
		if (rand_r(&t->seed) % 2)
			vfio_pci_driver_memcpy(p2p->master, p2p->ram.iova,
					       s->iova + offset,
					       DMA_PATTERN_SIZE);
		else
			vfio_pci_driver_memcpy(p2p->master, s->iova + offset,
					       p2p->ram.iova, DMA_PATTERN_SIZE);
		pthread_mutex_unlock(&s->dma_lock);
		COUNT(s->dma);

		/* A mutex is not fair */
		usleep(100);
	}

	return NULL;
}

static void export_and_map(struct stress *s)
{
	s->fd = vfio_pci_dma_buf_export(s->p2p.device, s->p2p.bar, 0, s->size);
	iommu_map_dma_buf(s->p2p.iommu, s->fd, 0, s->size, s->iova);
}

static void unmap_and_close(struct stress *s)
{
	iommu_unmap_dma_buf(s->p2p.iommu, s->size, s->iova);
	VFIO_ASSERT_EQ(0, close(s->fd));
}

/* With DMA into the old mapping, and into none */
static void reopen(struct stress *s, unsigned int how)
{
	if (how & 1)
		unmap_and_close(s);
	vfio_pci_p2p_reopen_device(&s->p2p);
	if (!(how & 1))
		unmap_and_close(s);
	export_and_map(s);
	COUNT(s->reopen);
}

/* Nobody else does anything to the exporter now */
static bool __works(struct __test_metadata *_metadata, struct stress *s, u32 seed)
{
	struct vfio_pci_p2p *p2p = &s->p2p;
	unsigned int attached, mapped;
	bool ret;

	/*
	 * The mapping that the DMA uses, and a copy of it while there is one,
	 * are one attachment.
	 */
	if (!dma_buf_importers(s->fd, &attached, &mapped) &&
	    (attached != 1 || mapped != 1)) {
		TH_LOG("%u attached, %u mapped", attached, mapped);
		return false;
	}

	pthread_mutex_lock(&s->dma_lock);
	dma_pattern_fill(p2p->bar_vaddr, seed);
	ret = vfio_pci_p2p_reads(p2p, s->iova, seed) &&
	      vfio_pci_p2p_writes(p2p, s->iova, p2p->bar_vaddr, ~seed);
	pthread_mutex_unlock(&s->dma_lock);
	if (!ret)
		TH_LOG("The DMA does not arrive");

	return ret;
}

#define works(_s, _seed) __works(_metadata, _s, _seed)

FIXTURE(vfio_dma_buf_stress)
{
	struct stress stress;
};

FIXTURE_SETUP(vfio_dma_buf_stress)
{
	struct stress *s = &self->stress;
	struct vfio_pci_p2p *p2p = &s->p2p;
	struct iommu_ioas_alloc args = {
		.size = sizeof(args),
	};
	const int kind = PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
	pthread_rwlockattr_t attr;
	const char *why;
	int i;

	s->size = BAR_PAGES * page_size;
	why = vfio_pci_p2p_init(p2p, device_bdf, master_bdf, s->size);
	if (why)
		SKIP(return, "%s", why);

	/* Or the threads that read leave no gap for the one that writes */
	ASSERT_EQ(0, pthread_rwlockattr_init(&attr));
	ASSERT_EQ(0, pthread_rwlockattr_setkind_np(&attr, kind));
	ASSERT_EQ(0, pthread_rwlock_init(&s->device_lock, &attr));
	ASSERT_EQ(0, pthread_mutex_init(&s->dma_lock, NULL));

	ASSERT_EQ(0, ioctl(p2p->iommu->iommufd, IOMMU_IOAS_ALLOC, &args));
	s->other_ioas_id = args.out_ioas_id;

	s->iova = iova_allocator_alloc(p2p->iovas, s->size);
	s->copy_iova = iova_allocator_alloc(p2p->iovas, s->size);
	for (i = 0; i < NR_MAPPERS; i++)
		s->mapper_iova[i] = iova_allocator_alloc(p2p->iovas, s->size);

	export_and_map(s);
	ASSERT_TRUE(works(s, 0x1000));
}

FIXTURE_TEARDOWN(vfio_dma_buf_stress)
{
	if (self->stress.iova)
		unmap_and_close(&self->stress);
	vfio_pci_p2p_cleanup(&self->stress.p2p);
}

TEST_F_TIMEOUT(vfio_dma_buf_stress, all_at_once, 3600)
{
	struct stress_thread threads[NR_THREADS] = {};
	struct stress *s = &self->stress;
	unsigned int round, seed = 1;
	unsigned int broken = 0;
	int i;

	for (i = 0; i < NR_THREADS; i++) {
		struct stress_thread *t = &threads[i];
		void *(*function)(void *arg);

		t->stress = s;
		t->seed = i;

		if (i < NR_DEVICE) {
			function = device_thread;
			t->nr = i;
		} else if (i < NR_DEVICE + NR_MAPPERS) {
			function = map_thread;
			t->nr = i - NR_DEVICE;
		} else if (i == NR_DEVICE + NR_MAPPERS) {
			function = copy_thread;
		} else {
			function = dma_thread;
		}
		ASSERT_EQ(0, pthread_create(&t->thread, NULL, function, t));
	}

	for (round = 0; round < rounds; round++) {
		usleep(50000 + rand_r(&seed) % 200000);

		pthread_rwlock_wrlock(&s->device_lock);
		if (!works(s, round << 8)) {
			TH_LOG("in round %u", round);
			broken++;
		}
		if (round % 4 == 3)
			reopen(s, round / 4);
		pthread_rwlock_unlock(&s->device_lock);
	}

	__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_join(threads[i].thread, NULL));

	TH_LOG("decode %lu, reset %lu, D3 %lu, low power %lu, attach %lu, detach %lu",
	       s->decode, s->reset, s->power, s->low_power, s->attach, s->detach);
	TH_LOG("map %lu, copy %lu, DMA %lu, reopen %lu",
	       s->map, s->copy, s->dma, s->reopen);

	EXPECT_EQ(0, broken);
	ASSERT_TRUE(works(s, 0x2000));

	/* What every device can do was done */
	EXPECT_LT(0, s->decode);
	EXPECT_LT(0, s->attach);
	EXPECT_LT(0, s->detach);
	EXPECT_LT(0, s->map);
	EXPECT_LT(0, s->copy);
	EXPECT_LT(0, s->dma);
	EXPECT_EQ(rounds / 4, s->reopen);
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

	if (argc > 1 && atoi(argv[argc - 1]) > 0)
		rounds = atoi(argv[--argc]);

	return test_harness_run(argc, argv);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of the mmap of a buffer by its PFN ops
 *
 * Nothing is read or written: faults are made as GUP makes them, and the page
 * tables are looked at. So the buffers need no memory behind their addresses.
 */
#include <kunit/test.h>
#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>
#include <linux/huge_mm.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/pgtable.h>

#include "st-dma-buf-pfn-mock.h"

#define NR_PAGES	12

static struct mock_exporter *mmap_export(struct kunit *test, u32 kinds)
{
	struct mock_exporter *exp;

	exp = mock_export(test, DMA_BUF_PFN_REVOCABLE, kinds, NR_PAGES);
	exp->mmap = dma_buf_pfn_mmap;
	return exp;
}

/* A mapping of pages of a buffer, or an error as a pointer would say it */
static unsigned long mmap_pages(struct kunit *test, struct dma_buf *dmabuf,
				unsigned int page, unsigned int nr_pages,
				unsigned long prot, unsigned long flags)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, dmabuf->file, 0, PAGES(nr_pages), prot, flags,
			     PAGES(page));
	KUNIT_ASSERT_NE(test, 0, addr);
	return addr;
}

static unsigned long mmap_shared(struct kunit *test, struct dma_buf *dmabuf,
				 unsigned int page, unsigned int nr_pages)
{
	unsigned long addr;

	addr = mmap_pages(test, dmabuf, page, nr_pages, PROT_READ | PROT_WRITE,
			  MAP_SHARED);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return addr;
}

/* The physical address and the size of what is in the page table, or 0 */
static phys_addr_t mmap_look(unsigned long addr, unsigned long *size)
{
	struct follow_pfnmap_args args = { .address = addr };
	phys_addr_t paddr = 0;

	mmap_read_lock(current->mm);
	args.vma = vma_lookup(current->mm, addr);
	if (args.vma && !follow_pfnmap_start(&args)) {
		paddr = PFN_PHYS(args.pfn);
		if (size)
			*size = ~args.addr_mask + 1;
		follow_pfnmap_end(&args);
	}
	mmap_read_unlock(current->mm);
	return paddr;
}

static int mmap_touch(unsigned long addr, unsigned int flags)
{
	bool unlocked;
	int ret;

	mmap_read_lock(current->mm);
	ret = fixup_user_fault(current->mm, addr, flags, &unlocked);
	mmap_read_unlock(current->mm);
	return ret;
}

/* What the page tables have of @nr_pages pages at @addr, after all are touched */
static void mmap_expect(struct kunit *test, struct mock_exporter *exp,
			unsigned long addr, unsigned int page,
			unsigned int nr_pages)
{
	unsigned int i;

	for (i = 0; i < nr_pages; i++) {
		unsigned int flags = i & 1 ? FAULT_FLAG_WRITE : 0;

		KUNIT_EXPECT_EQ_MSG(test, 0, mmap_touch(addr + PAGES(i), flags),
				    "page %u", page + i);
	}
	for (i = 0; i < nr_pages; i++)
		KUNIT_EXPECT_EQ_MSG(test, exp->paddr[page + i],
				    mmap_look(addr + PAGES(i), NULL),
				    "page %u", page + i);
}

static void mmap_expect_gone(struct kunit *test, unsigned long addr,
			     unsigned int nr_pages)
{
	unsigned int i;

	for (i = 0; i < nr_pages; i++)
		KUNIT_EXPECT_EQ_MSG(test, 0, mmap_look(addr + PAGES(i), NULL),
				    "page %u", i);
}

static unsigned int mmap_attachments(struct mock_exporter *exp)
{
	return atomic_read(&exp->attachments);
}

static void test_mmap(struct kunit *test)
{
	struct mock_exporter *exp = mmap_export(test, DMA_BUF_PFN_MMIO);
	unsigned long addr, part;

	/* Ranges that begin and end everywhere */
	mock_place(exp, 1, 2, SZ_2M, DMA_BUF_PFN_MMIO);
	mock_place(exp, 4, 1, SZ_1M, DMA_BUF_PFN_MMIO);
	mock_place(exp, 7, 5, SZ_4M, DMA_BUF_PFN_MMIO);

	addr = mmap_shared(test, exp->dmabuf, 0, NR_PAGES);
	part = mmap_shared(test, exp->dmabuf, 2, 6);
	KUNIT_EXPECT_EQ(test, 2, mmap_attachments(exp));
	/* On demand */
	KUNIT_EXPECT_EQ(test, 0, exp->map_calls);
	mmap_expect_gone(test, addr, NR_PAGES);

	mmap_expect(test, exp, addr, 0, NR_PAGES);
	/* Once for all faults */
	KUNIT_EXPECT_EQ(test, 1, exp->map_calls);
	mmap_expect(test, exp, part, 2, 6);
	KUNIT_EXPECT_EQ(test, 2, exp->map_calls);
	KUNIT_EXPECT_EQ(test, 2, exp->maps);

	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGES(NR_PAGES)));
	KUNIT_EXPECT_EQ(test, 1, mmap_attachments(exp));
	KUNIT_EXPECT_EQ(test, 1, exp->maps);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(part, PAGES(6)));
	KUNIT_EXPECT_EQ(test, 0, mmap_attachments(exp));
	KUNIT_EXPECT_EQ(test, 0, exp->maps);
}

static void test_mmap_revoke(struct kunit *test)
{
	struct mock_exporter *exp = mmap_export(test, DMA_BUF_PFN_MMIO);
	unsigned long addr, part;
	unsigned int i;

	mock_place(exp, 5, 3, SZ_2M, DMA_BUF_PFN_MMIO);
	addr = mmap_shared(test, exp->dmabuf, 0, NR_PAGES);
	part = mmap_shared(test, exp->dmabuf, 4, 4);
	mmap_expect(test, exp, addr, 0, NR_PAGES);
	mmap_expect(test, exp, part, 4, 4);

	for (i = 0; i < 3; i++) {
		mock_revoke(exp);
		mmap_expect_gone(test, addr, NR_PAGES);
		mmap_expect_gone(test, part, 4);
		KUNIT_EXPECT_EQ(test, 0, exp->maps);
		KUNIT_EXPECT_EQ(test, -EFAULT, mmap_touch(addr, 0));
		KUNIT_EXPECT_EQ(test, -EFAULT,
				mmap_touch(part + PAGES(3), FAULT_FLAG_WRITE));
		mmap_expect_gone(test, addr, NR_PAGES);

		mock_restore(exp);
		/* On demand */
		mmap_expect_gone(test, addr, NR_PAGES);
		/* The second one may never be touched again */
		mmap_expect(test, exp, addr, 0, NR_PAGES);
		if (i != 1)
			mmap_expect(test, exp, part, 4, 4);
		KUNIT_EXPECT_EQ(test, i == 1 ? 1 : 2, exp->maps);
	}
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGES(NR_PAGES)));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(part, PAGES(4)));
}

#ifdef CONFIG_MMU_NOTIFIER

#define NR_MMAPS	64

struct zap_counter {
	struct mmu_notifier notifier;
	unsigned int zaps;
};

static int zap_counter_start(struct mmu_notifier *notifier,
			     const struct mmu_notifier_range *range)
{
	container_of(notifier, struct zap_counter, notifier)->zaps++;
	return 0;
}

static const struct mmu_notifier_ops zap_counter_ops = {
	.invalidate_range_start = zap_counter_start,
};

/* Each mapping is zapped once, and not once for each of them */
static void test_mmap_revoke_many(struct kunit *test)
{
	static const unsigned int touched[] = { NR_MMAPS, NR_MMAPS / 2, 1, 0 };
	struct mock_exporter *exp = mmap_export(test, DMA_BUF_PFN_MMIO);
	unsigned long addr[NR_MMAPS];
	struct zap_counter *counter;
	unsigned int i, j, unmaps;

	counter = kunit_kzalloc(test, sizeof(*counter), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, counter);
	counter->notifier.ops = &zap_counter_ops;

	for (i = 0; i < NR_MMAPS; i++)
		addr[i] = mmap_shared(test, exp->dmabuf, 0, NR_PAGES);
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&counter->notifier,
						       current->mm));

	for (i = 0; i < ARRAY_SIZE(touched); i++) {
		/* Not always the first ones that were attached */
		for (j = 0; j < touched[i]; j++)
			KUNIT_EXPECT_EQ(test, 0,
					mmap_touch(addr[NR_MMAPS - 1 - j], 0));
		KUNIT_EXPECT_EQ(test, touched[i], exp->maps);

		unmaps = exp->unmap_calls;
		counter->zaps = 0;
		mock_revoke(exp);
		KUNIT_EXPECT_EQ(test, touched[i] ? NR_MMAPS : 0, counter->zaps);
		KUNIT_EXPECT_EQ(test, touched[i], exp->unmap_calls - unmaps);
		KUNIT_EXPECT_EQ(test, 0, exp->maps);
		for (j = 0; j < NR_MMAPS; j++)
			mmap_expect_gone(test, addr[j], NR_PAGES);
		mock_restore(exp);
	}

	mmu_notifier_unregister(&counter->notifier, current->mm);
	for (i = 0; i < NR_MMAPS; i++)
		KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr[i], PAGES(NR_PAGES)));
	KUNIT_EXPECT_EQ(test, 0, mmap_attachments(exp));
}

#else

static void test_mmap_revoke_many(struct kunit *test)
{
	kunit_skip(test, "needs MMU_NOTIFIER");
}

#endif

/* It can be mapped while it is revoked, and unmapped as well */
static void test_mmap_revoked(struct kunit *test)
{
	struct mock_exporter *exp = mmap_export(test, DMA_BUF_PFN_MMIO);
	unsigned long addr;

	mock_revoke(exp);
	addr = mmap_shared(test, exp->dmabuf, 0, NR_PAGES);
	KUNIT_EXPECT_EQ(test, -EFAULT, mmap_touch(addr, 0));
	mock_restore(exp);
	mmap_expect(test, exp, addr, 0, NR_PAGES);
	mock_revoke(exp);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGES(NR_PAGES)));
	KUNIT_EXPECT_EQ(test, 0, mmap_attachments(exp));
}

/* Holes make VMAs of one mmap() that live on by themselves */
static void test_mmap_split(struct kunit *test)
{
	struct mock_exporter *exp = mmap_export(test, DMA_BUF_PFN_MMIO);
	unsigned long addr;

	mock_place(exp, 8, 3, SZ_2M, DMA_BUF_PFN_MMIO);
	addr = mmap_shared(test, exp->dmabuf, 1, 10);
	mmap_expect(test, exp, addr, 1, 10);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr + PAGES(3), PAGES(1)));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr + PAGES(6), PAGES(1)));
	KUNIT_EXPECT_EQ(test, 1, mmap_attachments(exp));
	KUNIT_EXPECT_EQ(test, -EFAULT, mmap_touch(addr + PAGES(3), 0));

	mock_revoke(exp);
	mmap_expect_gone(test, addr, 10);
	KUNIT_EXPECT_EQ(test, -EFAULT, mmap_touch(addr + PAGES(9), 0));
	mock_restore(exp);
	mmap_expect(test, exp, addr, 1, 3);
	mmap_expect(test, exp, addr + PAGES(4), 5, 2);
	mmap_expect(test, exp, addr + PAGES(7), 8, 3);
	KUNIT_EXPECT_EQ(test, 1, exp->maps);

	/* First, last, middle */
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGES(3)));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr + PAGES(7), PAGES(3)));
	KUNIT_EXPECT_EQ(test, 1, exp->maps);
	mmap_expect(test, exp, addr + PAGES(4), 5, 2);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr + PAGES(4), PAGES(2)));
	KUNIT_EXPECT_EQ(test, 0, exp->maps);
	KUNIT_EXPECT_EQ(test, 0, mmap_attachments(exp));
}

static void test_mmap_refused(struct kunit *test)
{
	static const struct {
		u32 model;
		u32 kinds;
		unsigned long flags;
		long ret;
	} cases[] = {
		{ DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO, MAP_SHARED, 0 },
		{ DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO, MAP_PRIVATE, -EINVAL },
		{ DMA_BUF_PFN_MOVABLE, DMA_BUF_PFN_MMIO, MAP_SHARED, -EOPNOTSUPP },
		{ DMA_BUF_PFN_PINNED, DMA_BUF_PFN_RAM, MAP_SHARED, -EOPNOTSUPP },
		{ DMA_BUF_PFN_PINNED, DMA_BUF_PFN_MMIO | DMA_BUF_PFN_MMIO_ANY,
		  MAP_SHARED, -EOPNOTSUPP },
		{ DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO | DMA_BUF_PFN_PRIVATE,
		  MAP_SHARED, -EACCES },
	};
	struct mock_exporter *exp;
	unsigned long addr;
	unsigned int i;
	long ret;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		exp = mock_export(test, cases[i].model, cases[i].kinds, 2);
		exp->mmap = dma_buf_pfn_mmap;
		addr = mmap_pages(test, exp->dmabuf, 0, 2, PROT_READ,
				  cases[i].flags);
		ret = 0;
		if (IS_ERR_VALUE(addr))
			ret = addr;
		else
			vm_munmap(addr, PAGES(2));
		KUNIT_EXPECT_EQ_MSG(test, cases[i].ret, ret, "case %u", i);
		KUNIT_EXPECT_EQ(test, 0, mmap_attachments(exp));
	}

	exp = mock_export_with(test, NULL, 0, DMA_BUF_PFN_MMIO, 2, O_RDWR);
	exp->mmap = dma_buf_pfn_mmap;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			mmap_pages(test, exp->dmabuf, 0, 2, PROT_READ,
				   MAP_SHARED));

	/* Beyond the end */
	exp = mmap_export(test, DMA_BUF_PFN_MMIO);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			mmap_pages(test, exp->dmabuf, 1, NR_PAGES, PROT_READ,
				   MAP_SHARED));
	exp->attach_ret = -ENOSPC;
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			mmap_pages(test, exp->dmabuf, 0, NR_PAGES, PROT_READ,
				   MAP_SHARED));
}

/* Of a file that is read-only there are only mappings that can never be written */
static void test_mmap_read_only(struct kunit *test)
{
	struct mock_exporter *exp;
	struct vm_area_struct *vma;
	unsigned long addr;

	exp = mock_export_with(test, &mock_exporter_ops, DMA_BUF_PFN_REVOCABLE,
			       DMA_BUF_PFN_MMIO, 1, O_RDONLY);
	exp->mmap = dma_buf_pfn_mmap;
	KUNIT_EXPECT_EQ(test, -EACCES,
			mmap_pages(test, exp->dmabuf, 0, 1,
				   PROT_READ | PROT_WRITE, MAP_SHARED));
	addr = mmap_pages(test, exp->dmabuf, 0, 1, PROT_READ, MAP_SHARED);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, addr);
	KUNIT_EXPECT_FALSE(test, vma->vm_flags & VM_MAYWRITE);
	mmap_read_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, -EFAULT, mmap_touch(addr, FAULT_FLAG_WRITE));
	mmap_expect(test, exp, addr, 0, 1);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGE_SIZE));
}

static void test_mmap_memory_type(struct kunit *test)
{
	static const u32 kinds[] = {
		DMA_BUF_PFN_MMIO, DMA_BUF_PFN_MMIO_ANY, DMA_BUF_PFN_DEVICE_CACHED,
	};
	const vm_flags_t flags = VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct mock_exporter *exp = mmap_export(test, kinds[i]);
		unsigned long addr = mmap_shared(test, exp->dmabuf, 0, 1);
		struct vm_area_struct *vma;
		pgprot_t prot;

		mmap_read_lock(current->mm);
		vma = vma_lookup(current->mm, addr);
		prot = vm_get_page_prot(vma->vm_flags);
		if (kinds[i] != DMA_BUF_PFN_DEVICE_CACHED)
			prot = pgprot_decrypted(pgprot_noncached(prot));
		KUNIT_EXPECT_EQ(test, pgprot_val(prot),
				pgprot_val(vma->vm_page_prot));
		KUNIT_EXPECT_EQ(test, flags, vma->vm_flags & flags);
		KUNIT_EXPECT_EQ(test, kinds[i] == DMA_BUF_PFN_MMIO_ANY,
				!!(vma->vm_flags & VM_ALLOW_ANY_UNCACHED));
		mmap_read_unlock(current->mm);
		KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGE_SIZE));
	}
}

/* It fails after a range that the one of the next map would seem to go on with */
static int mmap_map_fails_late(struct dma_buf_pfn_attachment *attach, u64 offset,
			       u64 length)
{
	struct mock_exporter *exp = attach->dmabuf->priv;
	struct dma_buf_pfn_range range = {
		.offset = offset,
		.paddr = exp->paddr[0] - PAGE_SIZE,
		.length = PAGE_SIZE,
		.kind = DMA_BUF_PFN_MMIO,
	};

	if (!exp->map_ret)
		return mock_exporter_ops.map(attach, offset, length);

	dma_buf_pfn_emit(attach, &range);
	return exp->map_ret;
}

/* Errors of the exporter, and what becomes of them */
static void test_mmap_errors(struct kunit *test)
{
	static const struct {
		int map_ret;
		int ret;
	} cases[] = {
		{ -ENOMEM, -ENOMEM },
		{ -EIO, -EFAULT },
		{ -EHWPOISON, -EFAULT },
	};
	struct dma_buf_pfn_exporter_ops *ops;
	struct mock_exporter *exp;
	unsigned long addr;
	unsigned int i;

	ops = kunit_kzalloc(test, sizeof(*ops), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ops);
	*ops = mock_exporter_ops;
	ops->map = mmap_map_fails_late;
	exp = mock_export_with(test, ops, DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_MMIO,
			       NR_PAGES, O_RDWR);
	exp->mmap = dma_buf_pfn_mmap;
	addr = mmap_shared(test, exp->dmabuf, 0, NR_PAGES);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		exp->map_ret = cases[i].map_ret;
		KUNIT_EXPECT_EQ(test, cases[i].ret, mmap_touch(addr, 0));
		KUNIT_EXPECT_EQ(test, 0, exp->maps);
		exp->map_ret = 0;
		mmap_expect(test, exp, addr, 0, NR_PAGES);
		mock_revoke(exp);
		mock_restore(exp);
	}
	/* It is told to wait for a revoked buffer only */
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&exp->wait_calls));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGES(NR_PAGES)));
}

/*
 * One fault, with exactly these flags. Says whether mmap_lock was still held when
 * it returned, which is part of what a fault promises.
 */
static vm_fault_t mmap_fault(unsigned long addr, unsigned int flags, bool *held)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	vm_fault_t fault;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	fault = handle_mm_fault(vma, addr, flags, NULL);
	*held = rwsem_is_locked(&mm->mmap_lock);
	if (*held)
		mmap_read_unlock(mm);
	return fault;
}

/* Somebody else who has the reservation lock */
struct holder {
	struct dma_buf *dmabuf;
	struct completion held, drop;
};

static int holder_fn(void *data)
{
	struct holder *holder = data;

	dma_resv_lock(holder->dmabuf->resv, NULL);
	complete(&holder->held);
	wait_for_completion(&holder->drop);
	dma_resv_unlock(holder->dmabuf->resv);
	return 0;
}

static vm_fault_t mmap_fault_locked(struct kunit *test, struct dma_buf *dmabuf,
				    unsigned long addr, unsigned int flags,
				    bool *held)
{
	struct holder holder = { .dmabuf = dmabuf };
	struct task_struct *task;
	vm_fault_t fault;

	init_completion(&holder.held);
	init_completion(&holder.drop);
	task = kthread_create(holder_fn, &holder, "dma_buf_pfn_holder");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	wake_up_process(task);
	wait_for_completion(&holder.held);

	fault = mmap_fault(addr, flags, held);

	complete(&holder.drop);
	kthread_stop_put(task);
	return fault;
}

static void test_mmap_retry(struct kunit *test)
{
	static const struct {
		unsigned int flags;
		vm_fault_t revoked, locked;
		bool held;
		unsigned int waits;
		int wait_ret;
		bool restores;
	} cases[] = {
		/* It drops the lock and waits, once for as long as it takes */
		{ FAULT_FLAG_ALLOW_RETRY, VM_FAULT_RETRY, VM_FAULT_RETRY, false, 1 },
		{ FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED, VM_FAULT_SIGBUS, 0,
		  true, 1 },
		/* It must not wait: somebody else does, and comes back */
		{ FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT,
		  VM_FAULT_RETRY, VM_FAULT_RETRY, true, 0 },
		/* It cannot be tried again, and waits with the lock */
		{ 0, VM_FAULT_SIGBUS, 0, true, 1 },
		{ 0, VM_FAULT_NOPAGE, 0, true, 1, 0, true },
		/* But not for long, nor with a signal for a user */
		{ 0, VM_FAULT_NOPAGE, 0, true, 1, -EAGAIN },
		{ FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED | FAULT_FLAG_USER,
		  VM_FAULT_NOPAGE, 0, true, 1, -EINTR },
		{ 0, VM_FAULT_SIGBUS, 0, true, 1, -EINTR },
	};
	struct mock_exporter *exp = mmap_export(test, DMA_BUF_PFN_MMIO);
	unsigned long addr = mmap_shared(test, exp->dmabuf, 0, NR_PAGES);
	unsigned int i, waits;
	vm_fault_t fault;
	bool held;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		mock_revoke(exp);
		waits = atomic_read(&exp->wait_calls);
		exp->wait_ret = cases[i].wait_ret;
		exp->wait_restores = cases[i].restores;
		fault = mmap_fault(addr, cases[i].flags, &held);
		KUNIT_EXPECT_TRUE_MSG(test, cases[i].revoked == fault,
				      "case %u: %#x", i, (__force u32)fault);
		KUNIT_EXPECT_EQ_MSG(test, cases[i].held, held, "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, cases[i].waits,
				    atomic_read(&exp->wait_calls) - waits,
				    "case %u", i);
		/* With the lock, not for as long as only a fatal signal ends it */
		if (cases[i].waits)
			KUNIT_EXPECT_EQ_MSG(test, !cases[i].held,
					    exp->wait_killable, "case %u", i);
		if (!cases[i].restores)
			mock_restore(exp);

		/* Those that wait for the lock would wait for ever */
		if (!cases[i].locked || !cases[i].held)
			continue;
		fault = mmap_fault_locked(test, exp->dmabuf, addr,
					  cases[i].flags, &held);
		KUNIT_EXPECT_TRUE_MSG(test, cases[i].locked == fault,
				      "case %u: %#x", i, (__force u32)fault);
		KUNIT_EXPECT_EQ_MSG(test, cases[i].held, held, "case %u", i);
		mmap_expect_gone(test, addr, NR_PAGES);
	}
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGES(NR_PAGES)));
}

/* Sizes of page table entries */

#define NR_BIG		6

/* More than an address of 32 bits can be; the test is skipped there */
#define BIG_PADDR(gib, offset)	((phys_addr_t)((gib) * (u64)SZ_1G + (offset)))

static const struct phys_vec big_phys[NR_BIG] = {
	{ .paddr = BIG_PADDR(4, 0), .len = SZ_1G + SZ_2M },
	/* Touches the one before, so that both are one */
	{ .paddr = BIG_PADDR(5, SZ_2M), .len = SZ_1G - SZ_2M },
	/* Begins in the middle of a large page */
	{ .paddr = BIG_PADDR(8, SZ_1M), .len = SZ_4M },
	/* A large page, and a page more */
	{ .paddr = BIG_PADDR(9, 0), .len = SZ_2M + PAGE_SIZE },
	/* Off by a page */
	{ .paddr = BIG_PADDR(10, PAGE_SIZE), .len = SZ_4M },
	{ .paddr = BIG_PADDR(12, 0), .len = SZ_8M - 2 * PAGE_SIZE },
};

#define BIG_SIZE	(2 * (u64)SZ_1G + SZ_4M + SZ_2M + SZ_4M + SZ_8M - PAGE_SIZE)

static int big_map(struct dma_buf_pfn_attachment *attach, u64 offset, u64 length)
{
	return dma_buf_pfn_emit_phys(attach, big_phys, NR_BIG, DMA_BUF_PFN_MMIO,
				     offset, length);
}

static void big_unmap(struct dma_buf_pfn_attachment *attach)
{
}

static const struct dma_buf_pfn_exporter_ops big_ops = {
	.map = big_map,
	.unmap = big_unmap,
};

static phys_addr_t big_paddr(u64 offset)
{
	unsigned int i;

	for (i = 0; i < NR_BIG && offset >= big_phys[i].len; i++)
		offset -= big_phys[i].len;
	return i < NR_BIG ? big_phys[i].paddr + offset : 0;
}

/* By trying all pages of it */
static bool big_fits(u64 offset, unsigned long addr, unsigned long vma_start,
		     unsigned long size)
{
	unsigned long start = ALIGN_DOWN(addr, size), i;
	u64 first = offset - (addr - start);
	phys_addr_t paddr;

	if (start < vma_start || start - vma_start + size > BIG_SIZE)
		return false;
	paddr = big_paddr(first);
	if (!IS_ALIGNED(paddr, size))
		return false;
	for (i = 0; i < size; i += PAGE_SIZE)
		if (big_paddr(first + i) != paddr + i)
			return false;
	return true;
}

static unsigned long big_size(u64 offset, unsigned long addr,
			      unsigned long vma_start)
{
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) &&
	    big_fits(offset, addr, vma_start, PUD_SIZE))
		return PUD_SIZE;
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) &&
	    big_fits(offset, addr, vma_start, PMD_SIZE))
		return PMD_SIZE;
	return PAGE_SIZE;
}

static void test_mmap_sizes(struct kunit *test)
{
	static const unsigned long shifts[] = { 0, PAGE_SIZE, SZ_1M, SZ_2M };
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	unsigned int i, j, side, seen[3] = {};
	struct mock_exporter *exp;
	struct dma_buf *dmabuf;
	unsigned long addr;

	if (!IS_ENABLED(CONFIG_64BIT))
		kunit_skip(test, "needs room for some GiB");
	if (!IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP))
		kunit_skip(test, "needs ARCH_SUPPORTS_PMD_PFNMAP");

	/* What the callbacks of the mock need, and a release that can be waited for */
	exp = kunit_kzalloc(test, sizeof(*exp), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, exp);
	exp->mmap = dma_buf_pfn_mmap;
	init_completion(&exp->released);
	exp_info.ops = &mock_dma_buf_ops;
	exp_info.size = BIG_SIZE;
	exp_info.flags = O_RDWR;
	exp_info.priv = exp;
	exp_info.pfn.ops = &big_ops;
	exp_info.pfn.model = DMA_BUF_PFN_REVOCABLE;
	exp_info.pfn.kinds = DMA_BUF_PFN_MMIO;
	dmabuf = dma_buf_export(&exp_info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dmabuf);

	for (i = 0; i < ARRAY_SIZE(shifts); i++) {
		unsigned long room = 8 * (unsigned long)SZ_1G;
		u64 offset, end = 0;

		addr = kunit_vm_mmap(test, NULL, 0, room, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 0);
		if (!addr || IS_ERR_VALUE(addr)) {
			KUNIT_FAIL(test, "no room: %ld", (long)addr);
			break;
		}
		addr = ALIGN(addr, SZ_1G) + shifts[i];
		addr = kunit_vm_mmap(test, dmabuf->file, addr, BIG_SIZE,
				     PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_FIXED, 0);
		if (!addr || IS_ERR_VALUE(addr)) {
			KUNIT_FAIL(test, "mmap: %ld", (long)addr);
			break;
		}

		/* Both sides of every place where the size can change */
		for (j = 0; j < NR_BIG; j++) {
			end += big_phys[j].len;
			for (side = 0; side < 6; side++) {
				static const long delta[] = {
					-SZ_4M, -SZ_2M, -(long)PAGE_SIZE, 0,
					SZ_1M, SZ_2M
				};
				unsigned long size = 0, want, at;

				offset = end + delta[side];
				if (offset >= BIG_SIZE)
					continue;
				at = addr + offset;
				want = big_size(offset, at, addr);

				/* From an empty page table on */
				dma_resv_lock(dmabuf->resv, NULL);
				dma_buf_invalidate_mappings(dmabuf);
				dma_resv_unlock(dmabuf->resv);
				KUNIT_EXPECT_EQ(test, 0, mmap_look(at, NULL));
				KUNIT_EXPECT_EQ(test, 0, mmap_touch(at, 0));
				KUNIT_EXPECT_EQ_MSG(test, big_paddr(offset),
						    mmap_look(at, &size),
						    "shift %#lx offset %#llx",
						    shifts[i], offset);
				KUNIT_EXPECT_EQ_MSG(test, want, size,
						    "shift %#lx offset %#llx",
						    shifts[i], offset);
				seen[0] += size == PAGE_SIZE;
				seen[1] += size == PMD_SIZE;
				seen[2] += size == PUD_SIZE;
			}
		}
		vm_munmap(addr, BIG_SIZE);
	}
	/* All of them have been seen at all */
	KUNIT_EXPECT_NE(test, 0, seen[0]);
	KUNIT_EXPECT_NE(test, 0, seen[1]);
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP))
		KUNIT_EXPECT_NE(test, 0, seen[2]);

	dma_buf_put(dmabuf);
	KUNIT_EXPECT_NE(test, 0,
			wait_for_completion_timeout(&exp->released, 10 * HZ));
}

static struct kunit_case dma_buf_pfn_mmap_cases[] = {
	KUNIT_CASE(test_mmap),
	KUNIT_CASE(test_mmap_revoke),
	KUNIT_CASE(test_mmap_revoke_many),
	KUNIT_CASE(test_mmap_revoked),
	KUNIT_CASE(test_mmap_split),
	KUNIT_CASE(test_mmap_refused),
	KUNIT_CASE(test_mmap_read_only),
	KUNIT_CASE(test_mmap_memory_type),
	KUNIT_CASE(test_mmap_errors),
	KUNIT_CASE(test_mmap_retry),
	KUNIT_CASE(test_mmap_sizes),
	{}
};

static struct kunit_suite dma_buf_pfn_mmap_suite = {
	.name = "dma_buf_pfn_mmap",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_mmap_cases,
};

kunit_test_suite(dma_buf_pfn_mmap_suite);

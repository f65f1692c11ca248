// SPDX-License-Identifier: GPL-2.0-only
/*
 * A BAR in KVM's page tables: a memslot of an address at which the VMM has mapped
 * the BAR, well or badly aligned, and a memslot of a dma-buf
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "bench.h"
#include "guest.h"

#define BAR_GPA		(256 * SZ_1G)
#define BAR_SLOT	1

enum way {
	VMA_GOOD,
	VMA_BAD,
	DMABUF,
};

static const char *const ways[] = {
	[VMA_GOOD] = "vma",
	[VMA_BAD] = "vma-bad",
	[DMABUF] = "dmabuf",
};

/* One case: what of the BAR, and how far the guest is to step while it touches it */
struct kcase {
	const char *name;
	struct layout layout;
	__u64 stride;		/* 0: one access for each leaf that there can be */
	bool bad_too;
	bool memory;		/* behind the BAR: its content can be checked */
	struct leaves leaves;	/* of the ways that are well aligned */
};

struct kvm_bench {
	struct bar *bar;
	struct vm vm;
	struct layout *layout;
	void *va;
	int fd;
};

static __u64 leaves_sum(struct leaves leaves)
{
	return leaves.nr_4k + leaves.nr_2m + leaves.nr_1g;
}

static void slots_create(struct kvm_bench *b, enum way way,
			 const struct layout *layout)
{
	__u64 offset = 0;

	if (way == DMABUF)
		b->fd = bar_export(b->bar, layout->segments, layout->nr);
	else
		b->va = bar_mmap(b->bar, layout, way == VMA_BAD ? SZ_4K : 0);

	for (unsigned int i = 0; i < layout->nr; i++) {
		const struct segment *segment = &layout->segments[i];
		struct kvm_userspace_memory_region2 region = {
			.slot = BAR_SLOT + i,
			.guest_phys_addr = BAR_GPA + segment->offset,
			.memory_size = segment->size,
		};

		if (way == DMABUF) {
			region.flags = KVM_MEM_DMABUF;
			region.dmabuf_fd = b->fd;
			region.dmabuf_offset = offset;
		} else {
			region.userspace_addr = (uintptr_t)b->va + segment->offset;
		}
		offset += segment->size;
		if (xioctl(b->vm.fd, KVM_SET_USER_MEMORY_REGION2, &region))
			fail("memslot %u by %s: %s", i, ways[way],
			     strerror(errno));
	}
}

static void slots_delete(struct kvm_bench *b, enum way way,
			 const struct layout *layout)
{
	for (unsigned int i = 0; i < layout->nr; i++)
		vm_delete_slot(&b->vm, BAR_SLOT + i);
	if (way == DMABUF)
		close(b->fd);
	else
		bar_munmap(b->bar, b->va);
}

static void slots_populate(struct kvm_bench *b, const struct layout *layout)
{
	for (unsigned int i = 0; i < layout->nr; i++)
		vm_populate(&b->vm, BAR_GPA + layout->segments[i].offset,
			    layout->segments[i].size);
}

/* The guest reads words, and tells how many are not @value + n * @increment */
static __u64 guest_compare(struct kvm_bench *b, __u64 gpa, __u64 words,
			   __u64 stride, __u64 value, __u64 increment)
{
	struct guest_mailbox *mailbox = b->vm.ram + GUEST_MAILBOX;

	mailbox->op = GUEST_COMPARE;
	mailbox->addr = gpa;
	mailbox->words = words;
	mailbox->stride = stride;
	mailbox->value = value;
	mailbox->increment = increment;
	if (vm_run(&b->vm) != VM_EXIT_DOORBELL)
		fail("the guest did not reach 0x%llx", gpa);
	return mailbox->result;
}

/* A deletion takes the guest's own memory out of the page tables, too */
static void guest_nothing(struct kvm_bench *b)
{
	guest_compare(b, 0, 0, 0, 0, 0);
}

/* In each run of leaves of one size, or of @stride, one access for each */
static void guest_touch(struct kvm_bench *b, const struct layout *layout,
			__u64 stride)
{
	for (unsigned int i = 0; i < layout->nr; i++) {
		__u64 at = BAR_GPA + layout->segments[i].offset;
		__u64 end = at + layout->segments[i].size;

		while (at < end) {
			__u64 step = stride ?: next_leaf(at, end);
			__u64 words = 0;
			__u64 from = at;

			while (at < end && step == (stride ?: next_leaf(at, end))) {
				words++;
				at += step;
			}
			guest_compare(b, from, words, step, 0, 0);
		}
	}
}

#define MARKS	8

/* Different values at the ends of segments and between: the guest has to see them */
static void check_content(struct kvm_bench *b, const struct kcase *c,
			  const char *way, const char *what)
{
	__u64 right = 0, all = 0;

	if (!c->memory)
		return;
	for (unsigned int i = 0; i < c->layout.nr; i++) {
		const struct segment *segment = &c->layout.segments[i];

		for (unsigned int m = 0; m < MARKS; m++) {
			__u64 offset = segment->offset +
				       segment->size / SZ_4K * m / (MARKS - 1) * SZ_4K;
			__u64 mark = now() ^ (__u64)m << 56;

			if (m == MARKS - 1)
				offset -= sizeof(mark);
			vfio_bar_write(&b->bar->dev, b->bar->index, offset,
				       &mark, sizeof(mark));
			right += !guest_compare(b, BAR_GPA + offset, 1, 0, mark,
						0);
			all++;
		}
	}
	count(c->name, way, what, right, all);
}

/* Between two segments nothing is mapped */
static void check_hole(struct kvm_bench *b, const struct kcase *c,
		       const char *way)
{
	struct guest_mailbox *mailbox = b->vm.ram + GUEST_MAILBOX;
	struct kvm_run *run = b->vm.run;
	unsigned int exits = 0;
	__u64 hole;

	if (c->layout.nr < 2)
		return;
	hole = BAR_GPA + c->layout.segments[0].size;
	mailbox->op = GUEST_COMPARE;
	mailbox->addr = hole;
	mailbox->words = 1;
	mailbox->value = 0;
	mailbox->increment = 0;
	if (!xioctl(b->vm.vcpu, KVM_RUN, NULL) &&
	    run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == hole &&
	    !run->mmio.is_write) {
		exits++;
		memset(run->mmio.data, 0, sizeof(run->mmio.data));
		if (vm_run(&b->vm) != VM_EXIT_DOORBELL)
			fail("the guest did not come back from the hole");
	}
	count(c->name, way, "exits-in-hole", exits, 1);
}

static struct leaves leaves_since(struct kvm_bench *b, struct leaves before)
{
	struct leaves leaves = vm_leaves(&b->vm);

	leaves.nr_4k -= before.nr_4k;
	leaves.nr_2m -= before.nr_2m;
	leaves.nr_1g -= before.nr_1g;
	return leaves;
}

static void count_leaf_sizes(const struct kcase *c, const char *way,
			     struct leaves got, struct leaves want)
{
	count(c->name, way, "leaves-4k", got.nr_4k, want.nr_4k);
	count(c->name, way, "leaves-2m", got.nr_2m, want.nr_2m);
	count(c->name, way, "leaves-1g", got.nr_1g, want.nr_1g);
}

/* Everything that is no time, and warms up what is measured after it */
static void kvm_counts(struct kvm_bench *b, const struct kcase *c, enum way way)
{
	const struct layout *layout = &c->layout;
	const char *name = ways[way];
	struct memory used, memory;
	struct leaves want = c->leaves;
	struct leaves before;
	unsigned int faults;

	if (way == VMA_BAD)
		want = (struct leaves){ .nr_4k = layout_size(layout) / SZ_4K };

	/* By KVM_PRE_FAULT_MEMORY */
	memory = memory_used();
	before = vm_leaves(&b->vm);
	trace_start();
	slots_create(b, way, layout);
	slots_populate(b, layout);
	trace_stop();
	count_leaf_sizes(c, name, leaves_since(b, before), want);
	used = memory_used();
	value(c->name, name, "stage2-pages", used.secondary - used.iommu -
	      (memory.secondary - memory.iommu));
	value(c->name, name, "page-table-pages",
	      used.page_tables - memory.page_tables);
	if (way == DMABUF) {
		count(c->name, name, "map-calls",
		      trace_count("dma_buf_pfn_map"), layout->nr);
		count(c->name, name, "ranges",
		      trace_count("dma_buf_pfn_range"), layout->nr);
	}
	check_content(b, c, name, "words-right");
	check_hole(b, c, name);

	/* Off: nothing is left. On: everything comes back */
	trace_start();
	bar_decode(b->bar, false);
	trace_stop();
	count(c->name, name, "leaves-off", leaves_sum(leaves_since(b, before)),
	      0);
	if (way == DMABUF)
		count(c->name, name, "invalidate-calls",
		      trace_count("dma_buf_pfn_invalidate"), layout->nr);
	bar_decode(b->bar, true);
	slots_populate(b, layout);
	count(c->name, name, "leaves-on-again",
	      leaves_sum(leaves_since(b, before)), leaves_sum(want));
	check_content(b, c, name, "words-right-again");
	slots_delete(b, way, layout);
	guest_nothing(b);
	count(c->name, name, "leaves-deleted",
	      leaves_sum(leaves_since(b, before)), 0);

	/* By access */
	slots_create(b, way, layout);
	trace_start();
	guest_touch(b, layout, c->stride);
	trace_stop();
	faults = trace_count_between("kvm_page_fault", "address ", BAR_GPA,
				     BAR_GPA + b->bar->size);
	if (way == DMABUF)
		count(c->name, name, "faults", faults, leaves_sum(want));
	else
		value(c->name, name, "faults", faults);
	count(c->name, name, "leaves-by-access",
	      leaves_sum(leaves_since(b, before)), leaves_sum(want));
	slots_delete(b, way, layout);
	guest_nothing(b);
}

static void kvm_round(struct kvm_bench *b, const struct kcase *c, enum way way)
{
	const struct layout *layout = &c->layout;
	const char *name = ways[way];
	__u64 first = BAR_GPA + layout->segments[0].offset;
	__u64 start;

	start = now();
	slots_create(b, way, layout);
	sample(c->name, name, "create", start);

	start = now();
	slots_populate(b, layout);
	sample(c->name, name, "populate", start);

	start = now();
	bar_decode(b->bar, false);
	sample(c->name, name, "off", start);

	start = now();
	bar_decode(b->bar, true);
	sample(c->name, name, "on", start);
	/* From the start of decode on to the end of the guest's access */
	guest_compare(b, first, 1, 0, 0, 0);
	sample(c->name, name, "on-access", start);

	start = now();
	slots_populate(b, layout);
	sample(c->name, name, "populate-again", start);

	start = now();
	slots_delete(b, way, layout);
	sample(c->name, name, "delete", start);
	guest_nothing(b);

	slots_create(b, way, layout);
	start = now();
	guest_touch(b, layout, c->stride);
	sample(c->name, name, "access", start);
	slots_delete(b, way, layout);
	guest_nothing(b);
}

static void kvm_case(struct kvm_bench *b, const struct options *opt,
		     struct kcase *c)
{
	c->leaves = count_leaves(&c->layout);

	for (enum way way = VMA_GOOD; way <= DMABUF; way++) {
		if (way != VMA_BAD || c->bad_too)
			kvm_counts(b, c, way);
	}

	for (unsigned int round = 0; round < opt->rounds; round++) {
		__u64 start = now();

		/* What a decode costs of which nobody has to be told */
		bar_decode(b->bar, false);
		sample(c->name, "none", "off", start);
		start = now();
		bar_decode(b->bar, true);
		sample(c->name, "none", "on", start);

		for (enum way way = VMA_GOOD; way <= DMABUF; way++) {
			if (way != VMA_BAD || c->bad_too)
				kvm_round(b, c, way);
		}
	}
}

void bench_kvm(const struct options *opt)
{
	struct bar bar;
	struct kvm_bench b = { .bar = &bar };
	struct kcase cases[3] = {};
	struct layout whole, hole;
	unsigned int nr = 0;
	int iommufd;
	bool big;

	bar_open(&bar, opt->device, opt->bar);
	iommufd = iommufd_open();
	vfio_bind(&bar.dev, iommufd);
	bar_setup(&bar);
	bar_layouts(&bar, opt, &whole, &hole);
	vm_create(&b.vm);
	if (vm_run(&b.vm) != VM_EXIT_DOORBELL)
		fail("the guest does not run");
	guest_nothing(&b);

	trace_open();
	trace_enable("dma_buf_pfn");
	trace_enable("kvm/kvm_page_fault");

	/* A BAR with an MSI-X table is registers: only mapped, and not compared */
	big = !strcmp(hole.name, "hole");
	if (big) {
		cases[nr++] = (struct kcase){
			.name = "kvm-whole", .layout = whole, .memory = true,
		};
		cases[nr] = (struct kcase){
			.name = "kvm-part", .layout = whole, .memory = true,
			.bad_too = true, .stride = SZ_4K,
		};
		cases[nr].layout.segments[0].size = opt->part;
		nr++;
	}
	cases[nr++] = (struct kcase){
		.name = big ? "kvm-hole" : "kvm-msix", .layout = hole,
		.memory = big, .bad_too = !big,
	};
	for (unsigned int i = 0; i < nr; i++)
		kvm_case(&b, opt, &cases[i]);
	trace_close();
}

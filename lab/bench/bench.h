/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `kseries bench` runs in the machine
 *
 * It measures and counts, and judges counts only. Each line that begins with @
 * is for lab/tool/bench.py, which makes medians, ratios and the plot of them:
 *
 *	@sample NAME NS		one measurement of many
 *	@count NAME GOT WANT	has to be equal
 *	@value NAME VALUE	a number to be shown
 *
 * A NAME is CASE.WAY.WHAT. It is built with the files of samples/tdi-vmm, which
 * has the calls of a VMM.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>

#include <linux/types.h>

#include "tdi-vmm.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(x, a)	(((x) + (a) - 1) / (a) * (a))

struct options {
	const char *device;
	const char *peer;
	unsigned int bar;
	unsigned int rounds;
	__u64 part;
	bool stock;
};

/* A BAR as a VMM gives it away: all of it, or what is around its MSI-X table */
struct segment {
	__u64 offset;
	__u64 size;
};

struct layout {
	const char *name;
	unsigned int nr;
	struct segment segments[2];
};

/* bar.c */
struct bar {
	struct vfio_pci dev;
	unsigned int index;
	__u64 size;
	__u64 region;	/* of the BAR, in the device's file */
	__u64 config;	/* of the config space */
	__u16 command;
};

void bar_open(struct bar *bar, const char *bdf, unsigned int index);
void bar_setup(struct bar *bar);
void bar_decode(struct bar *bar, bool on);
int bar_export(struct bar *bar, const struct segment *segments,
	       unsigned int nr);
void *bar_mmap(struct bar *bar, const struct layout *layout, __u64 misaligned);
void bar_munmap(struct bar *bar, void *addr);
void bar_layouts(struct bar *bar, const struct options *opt,
		 struct layout *whole, struct layout *hole);
__u64 layout_size(const struct layout *layout);

/* A step from one leaf to the next, with the largest leaves that there can be */
__u64 next_leaf(__u64 gpa, __u64 end);
struct leaves count_leaves(const struct layout *layout);

/* measure.c */
__u64 now(void);
void sample(const char *name, const char *way, const char *what, __u64 start);
void sample_ns(const char *name, const char *way, const char *what, __u64 ns);
void count(const char *name, const char *way, const char *what, __u64 got,
	   __u64 want);
void value(const char *name, const char *way, const char *what, __s64 val);
bool all_counts_right(void);

struct memory {
	__u64 page_tables;	/* of processes */
	__u64 secondary;	/* of KVM and of IOMMUs */
	__u64 iommu;
};

struct memory memory_used(void);

/* Counts events of the kernel, of everybody */
void trace_open(void);
void trace_enable(const char *event);
void trace_disable(void);
void trace_start(void);
void trace_stop(void);
unsigned int trace_count(const char *event);
unsigned int trace_count_between(const char *event, const char *field,
				 __u64 first, __u64 end);
void trace_close(void);

/* Times functions of the kernel, between trace_open() and trace_close() */
void probe_open(void);
void probe_add(const char *function);
void probe_start(void);
__u64 probe_time(void);
void probe_cost(__u64 ns);
void probe_close(void);

/* ioas-part.c, for kernel-part.c as well */
#define BAR_IOVA	(256 * SZ_1G)

struct ioas_bench {
	struct bar bar;
	struct vfio_pci peer;
	int iommufd;
	__u32 ioas;
	__u64 *memory;		/* a page that the peer reads */
	bool stock;
	const char *way;
};

void ioas_bench_open(struct ioas_bench *b, const struct options *opt);
void layout_export(struct ioas_bench *b, const struct layout *layout, int *fds);
void layout_map(struct ioas_bench *b, const struct layout *layout,
		const int *fds);
void layout_unmap(struct ioas_bench *b, const struct layout *layout);
void layout_close(struct ioas_bench *b, const struct layout *layout, int *fds);

/* Rounds of what is short, for each one of --rounds. Also in bench.py. */
#define MORE_ROUNDS	20

/* The parts */
void bench_kvm(const struct options *opt);
void bench_ioas(const struct options *opt);
void bench_kernel(const struct options *opt);
void bench_type1(const struct options *opt);

#endif /* BENCH_H */

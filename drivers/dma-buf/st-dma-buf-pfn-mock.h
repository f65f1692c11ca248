/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mock exporter and a mock importer for the tests of the PFN attachment
 *
 * The exporter has an array that says for each page of its buffer where it is
 * and what it is, and can be told to break every rule. The importer keeps, as an
 * MMU does, what it may reach of the buffer, and can be told to break the rules
 * as well.
 */
#ifndef _ST_DMA_BUF_PFN_MOCK_H
#define _ST_DMA_BUF_PFN_MOCK_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/dma-buf.h>
#include <linux/prandom.h>

#define ALL_KINDS		(DMA_BUF_PFN_KINDS | DMA_BUF_PFN_PRIVATE)
#define PAGES(n)		((u64)(n) * PAGE_SIZE)

#define MOCK_MAX_PAGES		64
#define MOCK_MAX_IMPORTERS	16

/* Every place of dma-buf-pfn.c that warns of a bug under DMABUF_DEBUG */
enum mock_warning {
	MOCK_WARN_DETACH_MAPPED,
	MOCK_WARN_EMIT_OUTSIDE,
	MOCK_WARN_RANGE,
	MOCK_WARN_MAP_TWICE,
	MOCK_WARN_NOT_COVERED,
	MOCK_WARN_REVOKED_PINNED,
	MOCK_WARN_UNMAP_TWICE,
	MOCK_WARN_INVALIDATE_PINNED,
	MOCK_WARN_INVALIDATE_IN_MAP,
	MOCK_WARN_STILL_MAPPED,
	MOCK_NR_WARNINGS,
};

struct mock_exporter {
	struct kunit *test;
	struct dma_buf *dmabuf;
	struct list_head node;
	struct completion released;

	/* What the buffer is made of, protected by resv */
	unsigned int nr_pages;
	phys_addr_t paddr[MOCK_MAX_PAGES];
	u32 kind[MOCK_MAX_PAGES];
	bool revoked;
	/* Cuts what is contiguous at random, if not NULL */
	struct rnd_state *cut;
	/* Its mmap callback does this, and nothing if it is NULL */
	int (*mmap)(struct dma_buf *dmabuf, struct vm_area_struct *vma);

	/* How it misbehaves: emits these ranges and nothing else ... */
	const struct dma_buf_pfn_range *script;
	unsigned int nr_script;
	/* ... goes on after an error, and returns 0 ... */
	bool ignore_error;
	/* ... invalidates after the first range */
	bool invalidate_in_map;
	/* Results of its callbacks */
	int attach_ret;
	int map_ret;
	int wait_ret;
	bool wait_restores;

	/* What it has seen, protected by resv or by the order of the test */
	atomic_t attachments;
	unsigned int maps;
	unsigned int map_calls;
	unsigned int unmap_calls;
	atomic_t detach_calls;
	atomic_t wait_calls;
	bool wait_killable;
	/* What dma_buf_pfn_emit() has returned in the last map */
	int emit_ret[8];
	unsigned int nr_emit;
};

struct mock_importer {
	struct mock_exporter *exp;
	struct dma_buf_pfn_attachment *attach;
	struct list_head node;

	/* Ranges of the last map, complete or not */
	struct dma_buf_pfn_range ranges[MOCK_MAX_PAGES];
	unsigned int nr_ranges;
	/* What can be reached, 0 where nothing is */
	phys_addr_t reach[MOCK_MAX_PAGES];

	/* How it behaves: record fails at this range, with this error */
	int fail_at;
	int fail_ret;
	/* It maps once more from inside of record */
	bool map_in_record;
	/* It forgets dma_buf_pfn_unmap() in invalidate */
	bool forget_unmap;
	/* It maps this part when it is told to revalidate */
	bool eager;
	u64 eager_offset;
	u64 eager_length;

	/* What it has seen */
	unsigned int invalidates;
	unsigned int revalidates;
	/* Number of the call among all calls to all importers of the test */
	unsigned int invalidated_at;
	unsigned int revalidated_at;
	bool mapped_at_invalidate;
	int eager_ret;
	int nested_ret;
};

struct mock_fixture {
	struct list_head exporters;
	struct list_head importers;
	unsigned int clock;
};

extern const struct dma_buf_pfn_exporter_ops mock_exporter_ops;
extern const struct dma_buf_pfn_exporter_ops mock_plain_exporter_ops;
extern const struct dma_buf_pfn_importer_ops mock_importer_ops;
extern const struct dma_buf_ops mock_dma_buf_ops;

int mock_init(struct kunit *test);
void mock_exit(struct kunit *test);

unsigned int mock_expected_warnings(enum mock_warning warning);

struct mock_exporter *mock_export(struct kunit *test, u32 model, u32 kinds,
				  unsigned int nr_pages);
struct mock_exporter *
mock_export_with(struct kunit *test, const struct dma_buf_pfn_exporter_ops *ops,
		 u32 model, u32 kinds, unsigned int nr_pages, int flags);
void mock_place(struct mock_exporter *exp, unsigned int page,
		unsigned int nr_pages, phys_addr_t paddr, u32 kind);
void mock_revoke(struct mock_exporter *exp);
void mock_restore(struct mock_exporter *exp);

struct mock_importer *mock_importer(struct kunit *test,
				    struct mock_exporter *exp);
int mock_attach(struct mock_importer *imp, u32 kinds, bool writable);
void mock_detach(struct mock_importer *imp);
struct mock_importer *mock_attached(struct kunit *test,
				    struct mock_exporter *exp);
int mock_map_locked(struct mock_importer *imp, u64 offset, u64 length);
int mock_map(struct mock_importer *imp, u64 offset, u64 length);
int mock_map_pages(struct mock_importer *imp, unsigned int page,
		   unsigned int nr_pages);
void mock_unmap_locked(struct mock_importer *imp);
void mock_unmap(struct mock_importer *imp);

/* Runs @stmt and expects exactly the warning that it has to cause */
#define MOCK_EXPECT_WARNING(_test, warning, stmt)				\
do {										\
	struct kunit *__test = (_test);						\
										\
	kunit_warning_suppress(__test) {					\
		stmt;								\
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(__test,			\
				mock_expected_warnings(warning));		\
	}									\
} while (0)

#endif /* _ST_DMA_BUF_PFN_MOCK_H */

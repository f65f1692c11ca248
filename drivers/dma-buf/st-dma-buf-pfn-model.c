// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random sequences of calls against a model of the PFN attachment
 *
 * The model is a few flags for each buffer and each importer, and says what each
 * call has to return and what each importer may reach afterwards. It has no
 * lists, no ranges and no callbacks. After every step everything that can be
 * seen is compared: state, counts, and each page of each importer.
 *
 * A failure prints the seed, the number of the step and the last steps. The
 * seed of the last sequence is new in every run.
 */
#include <linux/dma-resv.h>
#include <linux/random.h>

#include "st-dma-buf-pfn-mock.h"

#define NR_BUFFERS	3
#define NR_IMPORTERS	5
#define NR_PAGES	16
#define NR_STEPS	4000
#define NR_HISTORY	16

struct model_importer {
	bool attached;
	bool mapped;
	bool eager;
	unsigned int first, nr;
	unsigned int invalidates;
	unsigned int revalidates;
};

struct model_buffer {
	u32 model;
	u32 kinds;
	bool revoked;
	phys_addr_t paddr[NR_PAGES];
	u32 kind[NR_PAGES];
	struct model_importer imp[NR_IMPORTERS];
};

struct model_call {
	const char *name;
	unsigned int buffer, importer, first, nr;
	int ret;
};

struct model {
	struct kunit *test;
	struct rnd_state rnd;
	u32 seed;
	unsigned int step;
	bool failed;
	struct model_call history[NR_HISTORY];

	struct model_buffer buffer[NR_BUFFERS];
	struct mock_exporter *exp[NR_BUFFERS];
	struct mock_importer *imp[NR_BUFFERS][NR_IMPORTERS];
	/* That something has happened at all */
	unsigned int nr_maps, nr_taken, nr_eager;
	/* Where the next backing store is placed: none is used twice */
	phys_addr_t next;
};

static unsigned int rnd(struct model *m, unsigned int limit)
{
	return prandom_u32_state(&m->rnd) % limit;
}

static void note(struct model *m, const char *name, unsigned int b,
		 unsigned int i, unsigned int first, unsigned int nr, int ret)
{
	struct model_call *h = &m->history[m->step % NR_HISTORY];

	h->name = name;
	h->buffer = b;
	h->importer = i;
	h->first = first;
	h->nr = nr;
	h->ret = ret;
}

static void complain(struct model *m, const char *what, unsigned int b,
		     unsigned int i, u64 is, u64 should)
{
	unsigned int n;

	if (m->failed)
		return;
	m->failed = true;

	KUNIT_FAIL(m->test, "seed %#x step %u: %s of buffer %u importer %u: %#llx, not %#llx",
		   m->seed, m->step, what, b, i, is, should);
	for (n = m->step < NR_HISTORY ? 0 : m->step - NR_HISTORY + 1;
	     n <= m->step; n++) {
		struct model_call *h = &m->history[n % NR_HISTORY];

		kunit_info(m->test, "step %u: %s buffer %u importer %u pages %u + %u: %d",
			   n, h->name, h->buffer, h->importer, h->first, h->nr,
			   h->ret);
	}
}

static void expect(struct model *m, const char *what, unsigned int b,
		   unsigned int i, u64 is, u64 should)
{
	if (is != should)
		complain(m, what, b, i, is, should);
}

/* The model: what the importer may reach, page by page */
static phys_addr_t model_reach(struct model_buffer *buf,
			       struct model_importer *imp, unsigned int page)
{
	if (!imp->attached || !imp->mapped || buf->revoked)
		return 0;
	if (page < imp->first || page >= imp->first + imp->nr)
		return 0;
	return buf->paddr[page];
}

static u32 model_kind(struct mock_importer *imp, unsigned int page)
{
	u64 offset = (u64)page << PAGE_SHIFT;
	unsigned int i;

	for (i = 0; i < imp->nr_ranges; i++)
		if (offset >= imp->ranges[i].offset &&
		    offset - imp->ranges[i].offset < imp->ranges[i].length)
			return imp->ranges[i].kind;
	return 0;
}

static void model_check(struct model *m)
{
	unsigned int b, i, page;

	for (b = 0; b < NR_BUFFERS; b++) {
		struct model_buffer *buf = &m->buffer[b];
		unsigned int attached = 0, mapped = 0;

		for (i = 0; i < NR_IMPORTERS; i++) {
			struct model_importer *should = &buf->imp[i];
			struct mock_importer *is = m->imp[b][i];

			attached += should->attached;
			mapped += should->mapped;
			expect(m, "invalidates", b, i, is->invalidates,
			       should->invalidates);
			expect(m, "revalidates", b, i, is->revalidates,
			       should->revalidates);
			expect(m, "attached", b, i, !!is->attach,
			       should->attached);
			if (is->attach)
				expect(m, "mapped", b, i, is->attach->mapped,
				       should->mapped);

			for (page = 0; page < NR_PAGES; page++) {
				phys_addr_t reach = model_reach(buf, should,
								page);

				expect(m, "reach", b, i, is->reach[page],
				       reach);
				if (reach)
					expect(m, "kind", b, i,
					       model_kind(is, page),
					       buf->kind[page]);
			}
		}
		expect(m, "attachments", b, NR_IMPORTERS,
		       atomic_read(&m->exp[b]->attachments), attached);
		expect(m, "list", b, NR_IMPORTERS,
		       list_count_nodes(&m->exp[b]->dmabuf->pfn_attachments),
		       attached);
		expect(m, "maps", b, NR_IMPORTERS, m->exp[b]->maps, mapped);
	}
}

static void step_attach(struct model *m, unsigned int b, unsigned int i)
{
	struct model_importer *model = &m->buffer[b].imp[i];
	struct mock_importer *imp = m->imp[b][i];
	u32 kinds = m->buffer[b].kinds;
	int ret, should = 0;

	m->exp[b]->attach_ret = rnd(m, 8) ? 0 : -EBUSY;
	if (!rnd(m, 8)) {
		/* One kind that it has to take, it does not */
		kinds &= ~BIT(__fls(kinds));
		should = -EOPNOTSUPP;
	} else {
		should = m->exp[b]->attach_ret;
	}

	imp->eager = rnd(m, 2);
	imp->eager_length = (u64)NR_PAGES << PAGE_SHIFT;
	ret = mock_attach(imp, kinds, rnd(m, 2));
	m->exp[b]->attach_ret = 0;
	note(m, "attach", b, i, imp->eager, kinds, ret);
	expect(m, "result of attach", b, i, ret, should);
	if (!should) {
		model->attached = true;
		model->eager = imp->eager;
	}
}

static void step_detach(struct model *m, unsigned int b, unsigned int i)
{
	struct model_importer *model = &m->buffer[b].imp[i];
	struct mock_importer *imp = m->imp[b][i];

	if (model->mapped)
		mock_unmap(imp);
	mock_detach(imp);
	note(m, "detach", b, i, 0, 0, 0);
	model->attached = false;
	model->mapped = false;
}

static void step_map(struct model *m, unsigned int b, unsigned int i)
{
	struct model_buffer *buf = &m->buffer[b];
	struct model_importer *model = &buf->imp[i];
	struct mock_importer *imp = m->imp[b][i];
	unsigned int first = rnd(m, NR_PAGES + 2);
	unsigned int nr = rnd(m, NR_PAGES + 2);
	int ret, should = 0;

	if (!nr || first + nr > NR_PAGES) {
		should = -EINVAL;
	} else if (buf->revoked) {
		should = -ENODEV;
	} else if (!rnd(m, 6)) {
		/* There is a first range always */
		imp->fail_at = 0;
		imp->fail_ret = -ENOMEM;
		should = -ENOMEM;
	}

	m->exp[b]->ignore_error = rnd(m, 2);
	ret = mock_map_pages(imp, first, nr);
	m->exp[b]->ignore_error = false;
	imp->fail_at = -1;
	note(m, "map", b, i, first, nr, ret);
	expect(m, "result of map", b, i, ret, should);
	if (!should) {
		model->mapped = true;
		model->first = first;
		model->nr = nr;
		m->nr_maps++;
	}
}

/* The exporter breaks one range, in one of the ways that there are */
static void step_map_broken(struct model *m, unsigned int b, unsigned int i)
{
	struct model_buffer *buf = &m->buffer[b];
	struct mock_importer *imp = m->imp[b][i];
	struct dma_buf_pfn_range script[NR_PAGES];
	unsigned int page, victim = rnd(m, NR_PAGES);
	unsigned int how = rnd(m, 7);
	int ret = 0;

	if (buf->revoked)
		return;

	for (page = 0; page < NR_PAGES; page++) {
		script[page].offset = (u64)page << PAGE_SHIFT;
		script[page].paddr = buf->paddr[page];
		script[page].length = PAGE_SIZE;
		script[page].kind = buf->kind[page];
	}
	switch (how) {
	case 0:
		script[victim].offset += PAGE_SIZE;
		break;
	case 1:
		script[victim].length = 0;
		break;
	case 2:
		script[victim].length = 2 * PAGE_SIZE;
		break;
	case 3:
		script[victim].paddr++;
		break;
	case 4:
		script[victim].kind ^= DMA_BUF_PFN_PRIVATE;
		break;
	case 5:
		script[victim].kind = ~buf->kinds & DMA_BUF_PFN_KINDS;
		break;
	case 6:
		script[victim].length = -PAGE_SIZE;
		break;
	}

	m->exp[b]->script = script;
	m->exp[b]->nr_script = NR_PAGES;
	m->exp[b]->ignore_error = rnd(m, 2);
	MOCK_EXPECT_WARNING(m->test, MOCK_WARN_RANGE,
			    ret = mock_map_pages(imp, 0, NR_PAGES));
	m->exp[b]->script = NULL;
	m->exp[b]->ignore_error = false;
	note(m, "broken map", b, i, victim, how, ret);
	expect(m, "result of broken map", b, i, ret, -EIO);
	/* All in front of it, and nothing behind, but for one that is long */
	expect(m, "ranges of broken map", b, i, imp->nr_ranges,
	       how == 2 && victim != NR_PAGES - 1 ? victim + 1 : victim);
}

static void step_unmap(struct model *m, unsigned int b, unsigned int i)
{
	mock_unmap(m->imp[b][i]);
	note(m, "unmap", b, i, 0, 0, 0);
	m->buffer[b].imp[i].mapped = false;
}

static void model_invalidate(struct model *m, struct model_buffer *buf)
{
	unsigned int i;

	for (i = 0; i < NR_IMPORTERS; i++) {
		if (!buf->imp[i].attached)
			continue;
		m->nr_taken += buf->imp[i].mapped;
		buf->imp[i].invalidates++;
		buf->imp[i].mapped = false;
	}
}

static void model_revalidate(struct model *m, struct model_buffer *buf)
{
	unsigned int i;

	for (i = 0; i < NR_IMPORTERS; i++) {
		struct model_importer *imp = &buf->imp[i];

		if (!imp->attached)
			continue;
		imp->revalidates++;
		if (imp->eager && !imp->mapped && !buf->revoked) {
			imp->mapped = true;
			imp->first = 0;
			imp->nr = NR_PAGES;
			m->nr_eager++;
		}
	}
}

/* Places each page of the buffer anew, some of them side by side */
static void place(struct model *m, unsigned int b)
{
	struct model_buffer *buf = &m->buffer[b];
	unsigned int page;

	for (page = 0; page < NR_PAGES; page++) {
		u32 kind;

		do {
			kind = BIT(rnd(m, 4));
		} while (!(kind & buf->kinds));

		m->next += PAGE_SIZE;
		if (rnd(m, 3))
			kind = page ? buf->kind[page - 1] : kind;
		else
			m->next += PAGE_SIZE;
		kind |= buf->kinds & DMA_BUF_PFN_PRIVATE;

		buf->paddr[page] = m->next;
		buf->kind[page] = kind;
		mock_place(m->exp[b], page, 1, m->next, kind);
	}
}

static void step_revoke(struct model *m, unsigned int b)
{
	struct model_buffer *buf = &m->buffer[b];

	buf->revoked = true;
	model_invalidate(m, buf);
	mock_revoke(m->exp[b]);
	note(m, "revoke", b, 0, 0, 0, 0);
}

static void step_restore(struct model *m, unsigned int b)
{
	struct model_buffer *buf = &m->buffer[b];

	/* Whatever comes back may be somewhere else, if the model says so */
	if (buf->revoked && buf->model == DMA_BUF_PFN_MOVABLE)
		place(m, b);
	buf->revoked = false;
	model_revalidate(m, buf);
	mock_restore(m->exp[b]);
	note(m, "restore", b, 0, 0, 0, 0);
}

/* Away and back in one go, as the move of a buffer between two memories */
static void step_move(struct model *m, unsigned int b)
{
	struct model_buffer *buf = &m->buffer[b];
	struct mock_exporter *exp = m->exp[b];

	model_invalidate(m, buf);
	dma_resv_lock(exp->dmabuf->resv, NULL);
	exp->revoked = true;
	dma_buf_invalidate_mappings(exp->dmabuf);
	place(m, b);
	exp->revoked = false;
	buf->revoked = false;
	dma_buf_revalidate_mappings(exp->dmabuf);
	dma_resv_unlock(exp->dmabuf->resv);
	model_revalidate(m, buf);
	note(m, "move", b, 0, 0, 0, 0);
}

static void model_step(struct model *m)
{
	unsigned int b = rnd(m, NR_BUFFERS), i = rnd(m, NR_IMPORTERS);
	struct model_buffer *buf = &m->buffer[b];
	struct model_importer *imp = &buf->imp[i];

	note(m, "nothing", b, i, 0, 0, 0);

	if (!rnd(m, 6)) {
		if (buf->model == DMA_BUF_PFN_PINNED)
			return;
		if (buf->model == DMA_BUF_PFN_MOVABLE && !rnd(m, 3))
			step_move(m, b);
		else if (rnd(m, 2))
			step_revoke(m, b);
		else
			step_restore(m, b);
	} else if (!imp->attached) {
		step_attach(m, b, i);
	} else if (!rnd(m, 8)) {
		step_detach(m, b, i);
	} else if (imp->mapped) {
		step_unmap(m, b, i);
	} else if (!rnd(m, 8)) {
		step_map_broken(m, b, i);
	} else {
		step_map(m, b, i);
	}
}

struct model_param {
	const char *desc;
	u32 models[NR_BUFFERS];
	/* 0: a new one */
	u32 seed;
};

static const struct model_param model_params[] = {
	{ "pinned", { DMA_BUF_PFN_PINNED, DMA_BUF_PFN_PINNED,
		      DMA_BUF_PFN_PINNED }, 1 },
	{ "revocable", { DMA_BUF_PFN_REVOCABLE, DMA_BUF_PFN_REVOCABLE,
			 DMA_BUF_PFN_REVOCABLE }, 2 },
	{ "movable", { DMA_BUF_PFN_MOVABLE, DMA_BUF_PFN_MOVABLE,
		       DMA_BUF_PFN_MOVABLE }, 3 },
	{ "mixed", { DMA_BUF_PFN_PINNED, DMA_BUF_PFN_REVOCABLE,
		     DMA_BUF_PFN_MOVABLE }, 4 },
	{ "mixed_random", { DMA_BUF_PFN_PINNED, DMA_BUF_PFN_REVOCABLE,
			    DMA_BUF_PFN_MOVABLE }, 0 },
};

KUNIT_ARRAY_PARAM_DESC(model, model_params, desc);

static void test_model(struct kunit *test)
{
	static const u32 kinds[NR_BUFFERS] = {
		DMA_BUF_PFN_MMIO,
		DMA_BUF_PFN_MMIO | DMA_BUF_PFN_MMIO_ANY | DMA_BUF_PFN_RAM,
		DMA_BUF_PFN_MMIO | DMA_BUF_PFN_DEVICE_CACHED |
		DMA_BUF_PFN_PRIVATE,
	};
	const struct model_param *param = test->param_value;
	unsigned int b, i;
	struct model *m;

	m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m);
	m->test = test;
	m->seed = param->seed ?: get_random_u32();
	prandom_seed_state(&m->rnd, m->seed);
	m->next = SZ_1G;

	for (b = 0; b < NR_BUFFERS; b++) {
		m->buffer[b].model = param->models[b];
		m->buffer[b].kinds = kinds[b];
		m->exp[b] = mock_export(test, param->models[b], kinds[b],
					NR_PAGES);
		m->exp[b]->cut = &m->rnd;
		place(m, b);
		for (i = 0; i < NR_IMPORTERS; i++)
			m->imp[b][i] = mock_importer(test, m->exp[b]);
	}

	for (m->step = 0; m->step < NR_STEPS && !m->failed; m->step++) {
		model_step(m);
		model_check(m);
	}

	KUNIT_EXPECT_GE(test, m->nr_maps, NR_STEPS / 20);
	if (param->models[NR_BUFFERS - 1] != DMA_BUF_PFN_PINNED) {
		KUNIT_EXPECT_GE(test, m->nr_taken, NR_STEPS / 100);
		KUNIT_EXPECT_GE(test, m->nr_eager, NR_STEPS / 100);
	}

	/* Everything ends, in whatever state it is */
	for (b = 0; b < NR_BUFFERS; b++)
		for (i = 0; i < NR_IMPORTERS; i++)
			if (m->imp[b][i]->attach && !m->failed)
				step_detach(m, b, i);
}

static struct kunit_case dma_buf_pfn_model_cases[] = {
	KUNIT_CASE_PARAM(test_model, model_gen_params),
	{}
};

static struct kunit_suite dma_buf_pfn_model_suite = {
	.name = "dma_buf_pfn_model",
	.init = mock_init,
	.exit = mock_exit,
	.test_cases = dma_buf_pfn_model_cases,
};

kunit_test_suite(dma_buf_pfn_model_suite);

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mock dma-buf exporter for tools/testing/selftests/iommu
 *
 * Its buffers have physical ranges only, as many as the test asks for, laid out
 * so that each of them shows: in descending order of their addresses, so that no
 * two can be one mapping, or ascending without gaps, so that all could be. The
 * ranges differ in length by a page where the length of the buffer does not
 * divide.
 *
 * The buffers are revocable: a revoke takes the ranges away until the test gives
 * them back. By the model they come back at the same place. A move breaks that
 * promise on purpose, it puts new memory under the buffer between the one and the
 * other. iommufd does not take buffers of the movable model, since a device whose
 * DMA arrives in the middle of a move cannot be made to wait for its end; but it
 * has to look at nothing that it recorded before an invalidate, and whether it
 * does so cannot be told as long as the ranges are the same.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/iommu.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "iommufd_private.h"
#include "iommufd_test.h"
#include "selftest_dmabuf.h"

struct iommufd_test_dma_buf {
	void *memory;
	size_t npages;
	unsigned int nr_ranges;
	unsigned int flags;
	bool revoked;
};

/* First page of a range; the end of the buffer for the range after the last */
static size_t range_first(struct iommufd_test_dma_buf *priv, unsigned int nr)
{
	return priv->npages * nr / priv->nr_ranges;
}

static unsigned int range_of_page(struct iommufd_test_dma_buf *priv,
				  size_t page)
{
	unsigned int nr = 0;

	while (page >= range_first(priv, nr + 1))
		nr++;
	return nr;
}

static u32 range_kind(struct iommufd_test_dma_buf *priv, unsigned int nr)
{
	static const u32 kinds[] = {
		DMA_BUF_PFN_RAM,
		DMA_BUF_PFN_MMIO,
		DMA_BUF_PFN_MMIO_ANY,
		DMA_BUF_PFN_DEVICE_CACHED,
	};
	u32 kind = DMA_BUF_PFN_MMIO;

	if (priv->flags & MOCK_DMABUF_MIXED)
		kind = kinds[nr % ARRAY_SIZE(kinds)];
	if (priv->flags & MOCK_DMABUF_PRIVATE)
		kind |= DMA_BUF_PFN_PRIVATE;
	return kind;
}

static phys_addr_t page_to_paddr(struct iommufd_test_dma_buf *priv, size_t page)
{
	if (!(priv->flags & MOCK_DMABUF_ADJACENT)) {
		unsigned int nr = range_of_page(priv, page);

		page += priv->npages - range_first(priv, nr + 1) -
			range_first(priv, nr);
	}
	return virt_to_phys(priv->memory) + page * PAGE_SIZE;
}

static int iommufd_test_dma_buf_pfn_map(struct dma_buf_pfn_attachment *attach,
					u64 offset, u64 length)
{
	struct iommufd_test_dma_buf *priv = attach->dmabuf->priv;
	size_t page = offset / PAGE_SIZE;
	size_t end = page + length / PAGE_SIZE;
	int rc;

	if (priv->revoked)
		return -ENODEV;

	while (page != end) {
		unsigned int nr = range_of_page(priv, page);
		size_t range_end = min(end, range_first(priv, nr + 1));
		struct dma_buf_pfn_range range = {
			.offset = (u64)page * PAGE_SIZE,
			.paddr = page_to_paddr(priv, page),
			.length = (u64)(range_end - page) * PAGE_SIZE,
			.kind = range_kind(priv, nr),
		};

		rc = dma_buf_pfn_emit(attach, &range);
		if (rc)
			return rc;
		page = range_end;
	}
	return 0;
}

static void iommufd_test_dma_buf_pfn_unmap(struct dma_buf_pfn_attachment *attach)
{
}

static const struct dma_buf_pfn_exporter_ops iommufd_test_dmabuf_pfn_ops = {
	.map = iommufd_test_dma_buf_pfn_map,
	.unmap = iommufd_test_dma_buf_pfn_unmap,
};

static struct sg_table *
iommufd_test_dma_buf_map(struct dma_buf_attachment *attachment,
			 enum dma_data_direction dir)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void iommufd_test_dma_buf_unmap(struct dma_buf_attachment *attachment,
				       struct sg_table *sgt,
				       enum dma_data_direction dir)
{
}

static void iommufd_test_dma_buf_release(struct dma_buf *dmabuf)
{
	struct iommufd_test_dma_buf *priv = dmabuf->priv;

	kfree(priv->memory);
	kfree(priv);
}

static const struct dma_buf_ops iommufd_test_dmabuf_ops = {
	.map_dma_buf = iommufd_test_dma_buf_map,
	.release = iommufd_test_dma_buf_release,
	.unmap_dma_buf = iommufd_test_dma_buf_unmap,
};

int iommufd_test_dmabuf_get(struct iommu_test_cmd *cmd)
{
	const u32 valid_flags = MOCK_DMABUF_ADJACENT | MOCK_DMABUF_MIXED |
				MOCK_DMABUF_PINNED | MOCK_DMABUF_MOVABLE |
				MOCK_DMABUF_PRIVATE | MOCK_DMABUF_NO_PFN;
	size_t len = ALIGN((size_t)cmd->dmabuf_get.length, PAGE_SIZE);
	unsigned int flags = cmd->dmabuf_get.flags;
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	struct iommufd_test_dma_buf *priv;
	struct dma_buf *dmabuf;
	unsigned int nr;
	int rc;

	if (len == 0 || len > PAGE_SIZE * 512 || (flags & ~valid_flags) ||
	    cmd->dmabuf_get.nr_ranges > len / PAGE_SIZE)
		return -EINVAL;

	priv = kzalloc_obj(*priv);
	if (!priv)
		return -ENOMEM;

	priv->npages = len / PAGE_SIZE;
	priv->nr_ranges = max(cmd->dmabuf_get.nr_ranges, 1);
	priv->flags = flags;
	priv->memory = kzalloc(len, GFP_KERNEL);
	if (!priv->memory) {
		rc = -ENOMEM;
		goto err_free;
	}

	if (!(flags & MOCK_DMABUF_NO_PFN)) {
		exp_info.pfn.ops = &iommufd_test_dmabuf_pfn_ops;
		exp_info.pfn.model = DMA_BUF_PFN_REVOCABLE;
		if (flags & MOCK_DMABUF_PINNED)
			exp_info.pfn.model = DMA_BUF_PFN_PINNED;
		if (flags & MOCK_DMABUF_MOVABLE)
			exp_info.pfn.model = DMA_BUF_PFN_MOVABLE;
		for (nr = 0; nr != priv->nr_ranges; nr++)
			exp_info.pfn.kinds |= range_kind(priv, nr);
	}

	exp_info.ops = &iommufd_test_dmabuf_ops;
	exp_info.size = len;
	exp_info.flags = cmd->dmabuf_get.open_flags;
	exp_info.priv = priv;

	dmabuf = dma_buf_export(&exp_info);
	if (IS_ERR(dmabuf)) {
		rc = PTR_ERR(dmabuf);
		goto err_free;
	}

	rc = dma_buf_fd(dmabuf, cmd->dmabuf_get.open_flags);
	if (rc < 0)
		dma_buf_put(dmabuf);
	return rc;

err_free:
	kfree(priv->memory);
	kfree(priv);
	return rc;
}

static struct dma_buf *iommufd_test_dmabuf_from_fd(int fd)
{
	struct dma_buf *dmabuf;

	dmabuf = dma_buf_get(fd);
	if (!IS_ERR(dmabuf) && dmabuf->ops != &iommufd_test_dmabuf_ops) {
		dma_buf_put(dmabuf);
		return ERR_PTR(-EOPNOTSUPP);
	}
	return dmabuf;
}

int iommufd_test_dmabuf_revoke(int fd, bool revoked)
{
	struct iommufd_test_dma_buf *priv;
	struct dma_buf *dmabuf;
	int rc = 0;

	dmabuf = iommufd_test_dmabuf_from_fd(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	priv = dmabuf->priv;
	if (priv->flags & MOCK_DMABUF_PINNED) {
		rc = -EINVAL;
		goto out_put;
	}

	dma_resv_lock(dmabuf->resv, NULL);
	priv->revoked = revoked;
	if (revoked)
		dma_buf_invalidate_mappings(dmabuf);
	else
		dma_buf_revalidate_mappings(dmabuf);
	dma_resv_unlock(dmabuf->resv);

out_put:
	dma_buf_put(dmabuf);
	return rc;
}

int iommufd_test_dmabuf_move(int fd)
{
	struct iommufd_test_dma_buf *priv;
	struct dma_buf *dmabuf;
	bool was_revoked;
	void *memory;
	int rc = 0;

	dmabuf = iommufd_test_dmabuf_from_fd(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	priv = dmabuf->priv;
	if (priv->flags & MOCK_DMABUF_PINNED) {
		rc = -EINVAL;
		goto out_put;
	}

	memory = kzalloc(priv->npages * PAGE_SIZE, GFP_KERNEL);
	if (!memory) {
		rc = -ENOMEM;
		goto out_put;
	}

	dma_resv_lock(dmabuf->resv, NULL);
	was_revoked = priv->revoked;
	priv->revoked = true;
	dma_buf_invalidate_mappings(dmabuf);
	swap(priv->memory, memory);
	priv->revoked = was_revoked;
	if (!was_revoked)
		dma_buf_revalidate_mappings(dmabuf);
	dma_resv_unlock(dmabuf->resv);
	kfree(memory);

out_put:
	dma_buf_put(dmabuf);
	return rc;
}

/*
 * Check that each page under the IOVA is the one of the dma-buf and mapped for
 * what it is. -ENOENT if nothing is mapped there at all.
 */
int iommufd_test_dmabuf_check(struct iommu_test_cmd *cmd,
			      struct iommu_domain *domain,
			      struct mock_map_log *log)
{
	unsigned int page_size = 1 << __ffs(domain->pgsize_bitmap);
	unsigned long length = cmd->check_dmabuf.length;
	unsigned long offset = cmd->check_dmabuf.offset;
	unsigned long iova = cmd->check_dmabuf.iova;
	struct iommufd_test_dma_buf *priv;
	unsigned long next_call = iova;
	unsigned long nr_missing = 0;
	unsigned long nr_pages = 0;
	struct dma_buf *dmabuf;
	unsigned long last;
	unsigned long end;
	int rc = 0;

	if (!length || iova % page_size || length % page_size ||
	    offset % page_size || check_add_overflow(iova, length - 1, &last) ||
	    check_add_overflow(offset, length, &end))
		return -EINVAL;

	dmabuf = iommufd_test_dmabuf_from_fd(cmd->check_dmabuf.dmabuf_fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	priv = dmabuf->priv;
	dma_resv_lock(dmabuf->resv, NULL);

	if (end > dmabuf->size) {
		rc = -EINVAL;
		goto out_unlock;
	}

	cmd->check_dmabuf.out_nr_calls = 0;
	for (; length; length -= page_size) {
		MA_STATE(mas, &log->calls, iova, iova);
		size_t page = offset / PAGE_SIZE;
		phys_addr_t io_phys;
		unsigned long prot;
		bool is_ram;

		nr_pages++;
		io_phys = domain->ops->iova_to_phys(domain, iova);
		if (!io_phys) {
			nr_missing++;
			goto next;
		}

		if (io_phys != page_to_paddr(priv, page) + offset % PAGE_SIZE) {
			rc = -EFAULT;
			goto out_unlock;
		}

		mas_lock(&mas);
		prot = xa_to_value(mas_walk(&mas));
		if (iova >= next_call) {
			cmd->check_dmabuf.out_nr_calls++;
			next_call = mas.last + 1;
		}
		mas_unlock(&mas);

		is_ram = range_kind(priv, range_of_page(priv, page)) ==
			 DMA_BUF_PFN_RAM;
		if (!!(prot & IOMMU_CACHE) != is_ram ||
		    !!(prot & IOMMU_MMIO) == is_ram) {
			rc = -EPROTO;
			goto out_unlock;
		}
next:
		offset += page_size;
		iova += page_size;
	}

	if (nr_missing == nr_pages)
		rc = -ENOENT;
	else if (nr_missing)
		rc = -EFAULT;

out_unlock:
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
	return rc;
}

static int mock_map_range(struct pt_iommu *iommu_table, dma_addr_t iova,
			  phys_addr_t paddr, dma_addr_t len, unsigned int prot,
			  gfp_t gfp, size_t *mapped)
{
	struct mock_map_log *log =
		container_of(iommu_table->ops, struct mock_map_log, ops);
	int rc;

	/* Overwrites what was here. Nobody looks where nothing is mapped. */
	rc = mtree_store_range(&log->calls, iova, iova + len - 1,
			       xa_mk_value(prot), gfp);
	if (rc)
		return rc;
	return log->real_ops->map_range(iommu_table, iova, paddr, len, prot,
					gfp, mapped);
}

void mock_map_log_init(struct mock_map_log *log, struct pt_iommu *iommu)
{
	mt_init(&log->calls);
	log->real_ops = iommu->ops;
	log->ops = *iommu->ops;
	log->ops.map_range = mock_map_range;
	iommu->ops = &log->ops;
}

void mock_map_log_destroy(struct mock_map_log *log)
{
	mtree_destroy(&log->calls);
}

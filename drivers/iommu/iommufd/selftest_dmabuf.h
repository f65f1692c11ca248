/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The mock dma-buf exporter of the selftest
 */
#ifndef __SELFTEST_DMABUF_H
#define __SELFTEST_DMABUF_H

#include <linux/generic_pt/iommu.h>
#include <linux/maple_tree.h>
#include <linux/types.h>

struct iommu_domain;
struct iommu_test_cmd;

/*
 * Embedded in a mock domain, notes which part of it was mapped by which call of
 * iommu_map() and with which prot.
 */
struct mock_map_log {
	struct maple_tree calls;
	struct pt_iommu_ops ops;
	const struct pt_iommu_ops *real_ops;
};

void mock_map_log_init(struct mock_map_log *log, struct pt_iommu *iommu);
void mock_map_log_destroy(struct mock_map_log *log);

int iommufd_test_dmabuf_get(struct iommu_test_cmd *cmd);
int iommufd_test_dmabuf_revoke(int fd, bool revoked);
int iommufd_test_dmabuf_move(int fd);
int iommufd_test_dmabuf_check(struct iommu_test_cmd *cmd,
			      struct iommu_domain *domain,
			      struct mock_map_log *log);

#endif

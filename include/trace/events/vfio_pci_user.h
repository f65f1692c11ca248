/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mappings of a VFIO PCI device's BARs in the page tables of user processes.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vfio_pci_user

#if !defined(_TRACE_VFIO_PCI_USER_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_VFIO_PCI_USER_H

#include <linux/pci.h>
#include <linux/tracepoint.h>

/* A page of a BAR was mapped. The device's memory_lock is held for read. */
TRACE_EVENT(vfio_pci_user_map,

	TP_PROTO(struct pci_dev *pdev, phys_addr_t phys, size_t length),

	TP_ARGS(pdev, phys, length),

	TP_STRUCT__entry(
		__string(	device,		pci_name(pdev))
		__field(	u64,		phys)
		__field(	size_t,		length)
	),

	TP_fast_assign(
		__assign_str(device);
		__entry->phys	= phys;
		__entry->length	= length;
	),

	TP_printk("device=%s phys=0x%llx length=0x%zx",
		  __get_str(device), __entry->phys, __entry->length)
);

/* No page of a BAR is mapped. The device's memory_lock is held for write. */
TRACE_EVENT(vfio_pci_user_zap,

	TP_PROTO(struct pci_dev *pdev),

	TP_ARGS(pdev),

	TP_STRUCT__entry(
		__string(	device,		pci_name(pdev))
	),

	TP_fast_assign(
		__assign_str(device);
	),

	TP_printk("device=%s", __get_str(device))
);

#endif /* _TRACE_VFIO_PCI_USER_H */

/* This part must be outside protection */
#include <trace/define_trace.h>

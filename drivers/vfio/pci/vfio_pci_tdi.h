/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The TDI that a vfio-pci device can be for a confidential VM: see
 * vfio_pci_tdi.c for its states, who writes them, and the locking.
 */
#ifndef VFIO_PCI_TDI_H
#define VFIO_PCI_TDI_H

#include <linux/mm_types.h>
#include <linux/types.h>

struct vfio_pci_core_device;
struct vm_fault;

#ifdef CONFIG_VFIO_PCI_TSM
#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/pci-tsm.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

struct vfio_pci_eventfd;

enum vfio_pci_tdi_state {
	VFIO_PCI_TDI_UNBOUND,
	VFIO_PCI_TDI_BINDING,
	VFIO_PCI_TDI_BOUND,
	VFIO_PCI_TDI_UNBINDING,
	VFIO_PCI_TDI_ERROR,
};

struct vfio_pci_tdi {
	struct vfio_pci_core_device *vdev;
	struct pci_tdi_owner owner;
	/* Orders bind, unbind and close */
	struct mutex lock;
	/* Held for read by what must not run while a TDI is, or gets, bound */
	struct rw_semaphore bind_sem;
	/* Written under memory_lock, but any context can make it an ERROR */
	enum vfio_pci_tdi_state state;
	/* The following five are written under memory_lock */
	u32 tdi_id;
	struct pci_tdi_ranges *ranges;
	/* Private MMIO can be unmapped */
	bool stopped;
	/* vfs_bound of the PF, if that is VFIO's, counts this one */
	bool pf_counts;
	/* Who asked for the bind */
	const void *user;
	/* Between open and close of the device, written under lock */
	bool open;
	/* The TDI shall be unbound as soon as that is possible */
	bool force_unbind;
	/* Somebody may have MMIO mapped who cannot be told to unmap it, for good */
	bool pfns_taken;
	/* Resets that are under way */
	atomic_t resets;
	/* VFs that get, or have, a TDI; grows under bind_sem and memory_lock */
	atomic_t vfs_bound;
	/* To be signalled when the state changes without a request, under igate */
	struct vfio_pci_eventfd __rcu *trigger;
	/* Those who wait for the end of a bind */
	wait_queue_head_t wait;
	struct work_struct work;
};

int vfio_pci_tdi_init(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_release(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_prime_lockdep(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_unregister(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_open(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_close(struct vfio_pci_core_device *vdev);

bool vfio_pci_tdi_supported(struct vfio_pci_core_device *vdev);
int vfio_pci_tdi_check(struct vfio_pci_core_device *vdev);
int vfio_pci_tdi_bind(struct vfio_pci_core_device *vdev, u32 tdi_id,
		      const void *user);
int vfio_pci_tdi_unbind(struct vfio_pci_core_device *vdev, const void *user);
int vfio_pci_tdi_unbind_interruptible(struct vfio_pci_core_device *vdev,
				      const void *user);

bool vfio_pci_tdi_busy(struct vfio_pci_core_device *vdev);
bool vfio_pci_tdi_reset_busy(struct vfio_pci_core_device *vdev);
int vfio_pci_tdi_try_begin_reset(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_end_reset(struct vfio_pci_core_device *vdev);
int vfio_pci_tdi_hold_reset(struct vfio_pci_core_device *vdev);
int vfio_pci_tdi_try_hold_unbound(struct vfio_pci_core_device *vdev);
int vfio_pci_tdi_hold_unbound(struct vfio_pci_core_device *vdev);
int vfio_pci_tdi_hold_config(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_unhold(struct vfio_pci_core_device *vdev);
bool vfio_pci_tdi_asks_reset(u8 cap_id, int pos, int offset, int count,
			     u32 val);
int vfio_pci_tdi_check_config(struct vfio_pci_core_device *vdev, u8 cap_id,
			      int pos, int offset, int count, u32 val);
bool vfio_pci_tdi_owns_config(struct vfio_pci_core_device *vdev, int pos);

bool vfio_pci_tdi_has_ranges(struct vfio_pci_core_device *vdev);
bool vfio_pci_tdi_allows(struct vfio_pci_core_device *vdev, phys_addr_t phys,
			 u64 length, bool private);
int vfio_pci_tdi_check_io(struct vfio_pci_core_device *vdev,
			  const void __iomem *io, size_t size);
vm_fault_t vfio_pci_tdi_check_fault(struct vfio_pci_core_device *vdev,
				    unsigned long pfn, unsigned int order);
vm_fault_t vfio_pci_tdi_wait_fault(struct vfio_pci_core_device *vdev,
				   struct vm_fault *vmf);
int vfio_pci_tdi_wait(struct vfio_pci_core_device *vdev, bool killable);
bool vfio_pci_tdi_must_stop(struct vfio_pci_core_device *vdev);
bool vfio_pci_tdi_take_pfns(struct vfio_pci_core_device *vdev);

void vfio_pci_tdi_aer_error(struct vfio_pci_core_device *vdev);
void vfio_pci_tdi_reset_prepare(struct vfio_pci_core_device *vdev);
#else
static inline int vfio_pci_tdi_init(struct vfio_pci_core_device *vdev)
{
	return 0;
}

static inline void vfio_pci_tdi_release(struct vfio_pci_core_device *vdev)
{
}

static inline void vfio_pci_tdi_prime_lockdep(struct vfio_pci_core_device *vdev)
{
}

static inline void vfio_pci_tdi_unregister(struct vfio_pci_core_device *vdev)
{
}

static inline void vfio_pci_tdi_open(struct vfio_pci_core_device *vdev)
{
}

static inline void vfio_pci_tdi_close(struct vfio_pci_core_device *vdev)
{
}

static inline bool vfio_pci_tdi_supported(struct vfio_pci_core_device *vdev)
{
	return false;
}

static inline int vfio_pci_tdi_check(struct vfio_pci_core_device *vdev)
{
	return -EOPNOTSUPP;
}

static inline bool vfio_pci_tdi_busy(struct vfio_pci_core_device *vdev)
{
	return false;
}

static inline bool vfio_pci_tdi_reset_busy(struct vfio_pci_core_device *vdev)
{
	return false;
}

static inline int
vfio_pci_tdi_try_begin_reset(struct vfio_pci_core_device *vdev)
{
	return 0;
}

static inline void vfio_pci_tdi_end_reset(struct vfio_pci_core_device *vdev)
{
}

static inline int vfio_pci_tdi_hold_reset(struct vfio_pci_core_device *vdev)
{
	return 0;
}

static inline int vfio_pci_tdi_hold_unbound(struct vfio_pci_core_device *vdev)
{
	return 0;
}

static inline int vfio_pci_tdi_hold_config(struct vfio_pci_core_device *vdev)
{
	return 0;
}

static inline void vfio_pci_tdi_unhold(struct vfio_pci_core_device *vdev)
{
}

static inline bool vfio_pci_tdi_asks_reset(u8 cap_id, int pos, int offset,
					   int count, u32 val)
{
	return false;
}

static inline int vfio_pci_tdi_check_config(struct vfio_pci_core_device *vdev,
					    u8 cap_id, int pos, int offset,
					    int count, u32 val)
{
	return 0;
}

static inline bool vfio_pci_tdi_owns_config(struct vfio_pci_core_device *vdev,
					    int pos)
{
	return false;
}

static inline bool vfio_pci_tdi_has_ranges(struct vfio_pci_core_device *vdev)
{
	return false;
}

static inline bool vfio_pci_tdi_allows(struct vfio_pci_core_device *vdev,
				       phys_addr_t phys, u64 length,
				       bool private)
{
	return !private;
}

static inline int vfio_pci_tdi_check_io(struct vfio_pci_core_device *vdev,
					const void __iomem *io, size_t size)
{
	return 0;
}

static inline vm_fault_t
vfio_pci_tdi_check_fault(struct vfio_pci_core_device *vdev, unsigned long pfn,
			 unsigned int order)
{
	return 0;
}

static inline vm_fault_t
vfio_pci_tdi_wait_fault(struct vfio_pci_core_device *vdev, struct vm_fault *vmf)
{
	return 0;
}

static inline int vfio_pci_tdi_wait(struct vfio_pci_core_device *vdev,
				    bool killable)
{
	return 0;
}

static inline bool vfio_pci_tdi_must_stop(struct vfio_pci_core_device *vdev)
{
	return false;
}

static inline void vfio_pci_tdi_aer_error(struct vfio_pci_core_device *vdev)
{
}

static inline void vfio_pci_tdi_reset_prepare(struct vfio_pci_core_device *vdev)
{
}
#endif

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vfio-pci device as the TEE device interface (TDI) of a confidential VM
 *
 * TDI: the device, or function, as the TEE Security Manager (TSM) of the
 * platform knows it. Binding it splits the MMIO of the device in two: private
 * ranges, which only the VM may access, through secure translations, and shared
 * ranges, for which nothing changes. Who breaks that is stopped by the hardware,
 * in ways that the host may not survive, so it is the kernel that sees to it:
 * before a bind returns there is no mapping of a private page that a user, a
 * shared stage-2 or an IOMMU domain could use, and no access of VFIO's own to
 * one, and none is made while the TDI is bound. VFIO's ioremap() of the BARs
 * stays, unused where they are private. Those who take PFNs from page tables and
 * keep them, as the type1 IOMMU backend does, cannot be told to let go of them:
 * a device whose MMIO they may have is not bound.
 *
 * States, and what may be accessed or mapped:
 *
 *   UNBOUND    shared: everything
 *   BINDING    nothing: it is not known yet what becomes private
 *   BOUND      shared: shared ranges; private: private ranges, by dma-bufs that
 *              were exported as private
 *   UNBINDING, shared: shared ranges; nothing if they were never known. The
 *   ERROR      private ranges wait for the TDI to be freed.
 *
 *   UNBOUND -> BINDING -> BOUND -> UNBINDING -> UNBOUND
 *
 * A bind that fails goes back from BINDING. ERROR is where BINDING and BOUND go
 * if the TDI fails, or is taken away; an unbind leads out of it.
 *
 * In units of the host's pages: one that is private in part is neither private
 * nor shared.
 *
 * Who unbinds: the one that bound, an interface of VFIO or an iommufd vdevice;
 * the close of the device; a reset, if it does not come from here, where it is
 * refused; an error of the PCI bus. The latter, and a reset of the bus, only say so,
 * and it is done as soon as that is possible. pci_tsm_stop() comes before the private
 * mappings are removed, pci_tsm_unbind() after, and the gate opens last.
 *
 * A reset of the PF breaks the TDIs that its VFs are, one of the function with the
 * DSM those of the other functions, and so does a low power state of either. If the
 * PF is VFIO's as well, it counts them, and refuses for them what it would refuse
 * for itself; the others PCI/TSM counts. Where nobody can refuse, PCI/TSM revokes
 * them: the PCI core sees to that for a reset that userspace asks for and for a
 * recovery from an error. If a driver resets the PF on its own, or the bus, the
 * TDIs become an ERROR, unless it calls pci_tsm_begin_reset() and
 * pci_tsm_revoke_dependents() first.
 *
 * Locks, outer to inner; dev_set->lock can be outside of all of them. Nobody who has
 * it waits for tdi->bind_sem, but who closes a VF waits for a bind of it, and that
 * for the bind_sem of the PF, for as long as the user of the PF lets a copy last. A
 * fatal signal to either of them ends that.
 *
 *   tdi->lock      held over a whole bind or unbind. Inside of it, either of:
 *
 *     pci_tsm_rwsem, and the lock of the DSM, in pci_tsm_*()
 *
 *     tdi->bind_sem  for write while the state becomes BINDING, of the PF as well
 *                    but not at the same time. Whatever breaks a TDI holds it for
 *                    read, and fails if the state is not UNBOUND, or looks at the
 *                    state under memory_lock. It may copy to userspace, so
 *                    mmap_lock nests inside, and so does pci_tsm_rwsem.
 *
 *   mmap_lock      in a fault
 *   memory_lock    for write where the state changes, so that any access under
 *                  memory_lock sees a state that lasts
 *   the reservation lock of a dma-buf; config space, which is blocked while the
 *                  device is reset
 *
 * The exception is a change to ERROR, which comes from any context. It needs no
 * ordering: who reads BOUND a moment before is let through as any moment before,
 * and what is mapped is removed under memory_lock afterwards, when the TDI is
 * stopped.
 *
 * There are those who keep a bind out and can wait for no lock to do so: a reset,
 * an error of the bus, and who takes PFNs. They say that they are there, and then
 * look at the state; a bind that has become BINDING looks whether they are.
 */
#include <linux/bitfield.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/pci-tsm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

#include "vfio_pci_priv.h"
#include "vfio_pci_tdi.h"

/* How long a fault waits for a bind to end with locks, before it is retried */
#define VFIO_PCI_TDI_FAULT_WAIT		(HZ / 10)

static enum vfio_pci_tdi_state vfio_pci_tdi_state(struct vfio_pci_tdi *tdi)
{
	return READ_ONCE(tdi->state);
}

static void vfio_pci_tdi_set_state(struct vfio_pci_tdi *tdi,
				   enum vfio_pci_tdi_state state)
{
	lockdep_assert_held_write(&tdi->vdev->memory_lock);

	WRITE_ONCE(tdi->state, state);
}

/*
 * A bind is under way, or failed on its way and is about to be undone: what is
 * shared can be used again, soon.
 */
static bool vfio_pci_tdi_pending(struct vfio_pci_tdi *tdi)
{
	enum vfio_pci_tdi_state state = vfio_pci_tdi_state(tdi);

	return state == VFIO_PCI_TDI_BINDING ||
	       (state == VFIO_PCI_TDI_ERROR && !READ_ONCE(tdi->ranges));
}

static void vfio_pci_tdi_signal(struct vfio_pci_tdi *tdi)
{
	struct vfio_pci_eventfd *eventfd;

	guard(rcu)();
	eventfd = rcu_dereference(tdi->trigger);
	if (eventfd)
		eventfd_signal(eventfd->ctx);
}

/* Returns false if there is nothing, or nothing left, that could fail */
static bool vfio_pci_tdi_fail(struct vfio_pci_tdi *tdi)
{
	enum vfio_pci_tdi_state state = vfio_pci_tdi_state(tdi);

	do {
		if (state != VFIO_PCI_TDI_BINDING && state != VFIO_PCI_TDI_BOUND)
			return false;
	} while (!try_cmpxchg(&tdi->state, &state, VFIO_PCI_TDI_ERROR));

	wake_up_all(&tdi->wait);
	return true;
}

/*
 * The TDI is not operational. That does not endanger anybody, but its private
 * MMIO is of no use to the VM, and the VMM has to know.
 */
static void vfio_pci_tdi_owner_error(struct pci_tdi_owner *owner)
{
	struct vfio_pci_tdi *tdi =
		container_of(owner, struct vfio_pci_tdi, owner);

	if (!vfio_pci_tdi_fail(tdi))
		return;

	vfio_pci_tdi_signal(tdi);
	queue_work(system_dfl_wq, &tdi->work);
}

static void vfio_pci_tdi_put_pf(struct vfio_pci_tdi *tdi)
{
	struct vfio_pci_core_device *pf = tdi->vdev->sriov_pf_core_dev;

	if (pf)
		atomic_dec(&pf->tdi->vfs_bound);
}

/*
 * There is no TDI that the PF could break. Not only when the device is UNBOUND: in
 * ERROR, when the TDI was taken away, it is up to the user for how long, and the PF
 * could not be opened meanwhile.
 */
static void vfio_pci_tdi_drop_pf(struct vfio_pci_tdi *tdi)
{
	lockdep_assert_held_write(&tdi->vdev->memory_lock);

	if (tdi->pf_counts)
		vfio_pci_tdi_put_pf(tdi);
	tdi->pf_counts = false;
}

/*
 * The TDI is stopped and about to be freed. Called with the locks of PCI/TSM
 * held, so not with tdi->lock: a bind or an unbind may be under way.
 */
static void vfio_pci_tdi_owner_revoke(struct pci_tdi_owner *owner)
{
	struct vfio_pci_tdi *tdi =
		container_of(owner, struct vfio_pci_tdi, owner);
	struct vfio_pci_core_device *vdev = tdi->vdev;

	scoped_guard(rwsem_write, &vdev->memory_lock) {
		vfio_pci_tdi_fail(tdi);
		tdi->stopped = true;
		vfio_pci_dma_buf_move(vdev);
		vfio_pci_tdi_drop_pf(tdi);
	}
	vfio_pci_tdi_signal(tdi);
}

static const struct pci_tdi_owner_ops vfio_pci_tdi_owner_ops = {
	.revoke = vfio_pci_tdi_owner_revoke,
	.error = vfio_pci_tdi_owner_error,
};

/* If this is a VF of a PF that is VFIO's too, keep that from being reset */
static int vfio_pci_tdi_get_pf(struct vfio_pci_tdi *tdi)
{
	struct vfio_pci_core_device *pf = tdi->vdev->sriov_pf_core_dev;
	int ret;

	if (!pf)
		return 0;

	ret = down_write_killable(&pf->tdi->bind_sem);
	if (ret)
		return ret;
	scoped_guard(rwsem_write, &pf->memory_lock)
		atomic_inc(&pf->tdi->vfs_bound);
	up_write(&pf->tdi->bind_sem);

	/* Pairs with vfio_pci_tdi_begin_reset() */
	smp_mb();
	/* Pairs with vfio_pci_tdi_end_reset() */
	if (!atomic_read_acquire(&pf->tdi->resets))
		return 0;

	vfio_pci_tdi_put_pf(tdi);
	return -EBUSY;
}

/* Those who have to see BINDING where they are not seen here, see above */
static int vfio_pci_tdi_look_again(struct vfio_pci_tdi *tdi)
{
	/*
	 * Pairs with vfio_pci_tdi_begin_reset(), vfio_pci_tdi_aer_error(), and
	 * vfio_pci_tdi_take_pfns()
	 */
	smp_mb();

	/* Pairs with vfio_pci_tdi_end_reset() */
	if (atomic_read_acquire(&tdi->resets) || READ_ONCE(tdi->pfns_taken))
		return -EBUSY;

	return pci_channel_offline(tdi->vdev->pdev) ? -EIO : 0;
}

static int vfio_pci_tdi_shut_gate(struct vfio_pci_tdi *tdi, u32 tdi_id,
				  const void *user)
{
	struct vfio_pci_core_device *vdev = tdi->vdev;
	int ret;

	ret = down_write_killable(&tdi->bind_sem);
	if (ret)
		return ret;
	down_write(&vdev->memory_lock);

	/* The VFs depend on registers of the PF, and the PF on none of theirs */
	if (vfio_pci_tdi_state(tdi) != VFIO_PCI_TDI_UNBOUND ||
	    vdev->sriov_active)
		ret = -EBUSY;
	/*
	 * To attach a device turns ATS on, and it stays attached while it is bound.
	 * One that is attached meanwhile may be seen as not attached.
	 */
	else if (data_race(!vdev->vdev.iommufd_attached))
		ret = -ENXIO;
	else if (vdev->pm_runtime_engaged || vdev->pdev->current_state != PCI_D0 ||
		 !__vfio_pci_memory_enabled(vdev))
		ret = -EIO;

	if (!ret) {
		WRITE_ONCE(tdi->force_unbind, false);
		tdi->stopped = false;
		vfio_pci_tdi_set_state(tdi, VFIO_PCI_TDI_BINDING);
		ret = vfio_pci_tdi_look_again(tdi);
		if (ret)
			vfio_pci_tdi_set_state(tdi, VFIO_PCI_TDI_UNBOUND);
	}
	if (!ret) {
		tdi->tdi_id = tdi_id;
		tdi->pf_counts = true;
		WRITE_ONCE(tdi->user, user);
	}
	up_write(&tdi->bind_sem);

	if (!ret) {
		vfio_pci_zap_bars(vdev);
		vfio_pci_dma_buf_move(vdev);
	}
	up_write(&vdev->memory_lock);
	if (ret)
		wake_up_all(&tdi->wait);
	return ret;
}

/* What the user has written while it was not passed on, see config space */
static void vfio_pci_tdi_set_readrq(struct vfio_pci_core_device *vdev)
{
	struct pci_dev *pdev = vdev->pdev;
	int readrq;
	u16 ctrl;

	if (pdev->is_virtfn)
		return;

	ctrl = get_unaligned_le16(vdev->vconfig + pdev->pcie_cap +
				  PCI_EXP_DEVCTL);
	readrq = 128 << FIELD_GET(PCI_EXP_DEVCTL_READRQ, ctrl);
	readrq = max(readrq, pcie_get_mps(pdev));
	if (readrq != pcie_get_readrq(pdev))
		pcie_set_readrq(pdev, readrq);
}

static void vfio_pci_tdi_open_gate(struct vfio_pci_tdi *tdi)
{
	struct vfio_pci_core_device *vdev = tdi->vdev;
	struct pci_tdi_ranges *ranges;

	scoped_guard(rwsem_write, &vdev->memory_lock) {
		ranges = tdi->ranges;
		tdi->ranges = NULL;
		tdi->tdi_id = 0;
		WRITE_ONCE(tdi->user, NULL);
		vfio_pci_tdi_set_state(tdi, VFIO_PCI_TDI_UNBOUND);
		vfio_pci_dma_buf_move(vdev);
		vfio_pci_tdi_drop_pf(tdi);
	}
	wake_up_all(&tdi->wait);
	kvfree(ranges);
	vfio_pci_tdi_set_readrq(vdev);
}

static int vfio_pci_tdi_bound(struct vfio_pci_tdi *tdi,
			      struct pci_tdi_ranges *ranges)
{
	enum vfio_pci_tdi_state state = VFIO_PCI_TDI_BINDING;
	struct vfio_pci_core_device *vdev = tdi->vdev;

	scoped_guard(rwsem_write, &vdev->memory_lock) {
		/* It may have been lost since pci_tsm_bind() returned */
		if (!try_cmpxchg(&tdi->state, &state, VFIO_PCI_TDI_BOUND))
			return -EIO;

		tdi->ranges = ranges;
		vfio_pci_dma_buf_move(vdev);
	}
	wake_up_all(&tdi->wait);
	return 0;
}

static int __vfio_pci_tdi_bind(struct vfio_pci_tdi *tdi, u32 tdi_id,
			       const void *user)
{
	struct vfio_pci_core_device *vdev = tdi->vdev;
	struct pci_dev *pdev = vdev->pdev;
	struct pci_tdi_ranges *ranges;
	int ret;

	lockdep_assert_held(&tdi->lock);

	if (!tdi->open)
		return -ENODEV;

	if (!vfio_device_cdev_opened(&vdev->vdev))
		return -EOPNOTSUPP;

	ret = pci_tsm_check_bind(pdev);
	if (ret)
		return ret;

	/* From the open to the close of the device, and a reference to it */
	if (!vdev->vdev.kvm)
		return -ENXIO;

	/*
	 * It stays UNBOUND while tdi->lock is held. If it is not, then a reset may be
	 * waiting for that lock, with accesses to the config space of the PF blocked,
	 * and for one of these somebody with the PF's bind_sem.
	 */
	if (vfio_pci_tdi_state(tdi) != VFIO_PCI_TDI_UNBOUND)
		return -EBUSY;

	ret = vfio_pci_tdi_get_pf(tdi);
	if (ret)
		return ret;

	ret = vfio_pci_tdi_shut_gate(tdi, tdi_id, user);
	if (ret) {
		vfio_pci_tdi_put_pf(tdi);
		return ret;
	}

	ret = pci_tsm_bind(pdev, vdev->vdev.kvm, tdi_id, &tdi->owner);
	if (ret)
		goto err_open_gate;

	ranges = pci_tsm_tdi_ranges(pdev, &tdi->owner);
	if (IS_ERR(ranges)) {
		ret = PTR_ERR(ranges);
		goto err_unbind;
	}

	ret = vfio_pci_tdi_bound(tdi, ranges);
	if (ret)
		goto err_free_ranges;

	return 0;

err_free_ranges:
	kvfree(ranges);
err_unbind:
	/* Nothing private was ever usable, so there is nothing in between */
	pci_tsm_stop(pdev, &tdi->owner);
	pci_tsm_unbind(pdev, &tdi->owner);
err_open_gate:
	/* Whatever PCI/TSM says of a TDI, or a TSM, that is not there any more */
	if (vfio_pci_tdi_state(tdi) == VFIO_PCI_TDI_ERROR ||
	    !READ_ONCE(pdev->tsm))
		ret = -EIO;
	vfio_pci_tdi_open_gate(tdi);
	return ret;
}

static void __vfio_pci_tdi_unbind(struct vfio_pci_tdi *tdi)
{
	struct vfio_pci_core_device *vdev = tdi->vdev;

	lockdep_assert_held(&tdi->lock);

	if (vfio_pci_tdi_state(tdi) == VFIO_PCI_TDI_UNBOUND)
		return;

	/* There are platforms that cannot unmap the MMIO of a running TDI */
	pci_tsm_stop(vdev->pdev, &tdi->owner);

	scoped_guard(rwsem_write, &vdev->memory_lock) {
		vfio_pci_tdi_set_state(tdi, VFIO_PCI_TDI_UNBINDING);
		tdi->stopped = true;
		vfio_pci_dma_buf_move(vdev);
	}

	pci_tsm_unbind(vdev->pdev, &tdi->owner);
	vfio_pci_tdi_open_gate(tdi);
}

/**
 * vfio_pci_tdi_bind() - bind the device to the VM that it was opened for
 * @vdev: the device
 * @tdi_id: how the VM and the TSM call it
 * @user: the interface that the request came by, any pointer that is its own
 *
 * On success, private dma-bufs inside of private ranges are usable, and mappings
 * of shared ranges come back. On failure everything comes back.
 *
 * Return: 0 on success. -EBUSY if it is bound already, or not unbound after an
 * error, or if SR-IOV is enabled, while it or its PF is being reset or recovers
 * from an error of the bus, while another VF of its PF is being opened, or once its
 * MMIO was mapped by who cannot be told to unmap it. -EOPNOTSUPP without a TSM that
 * can bind the device, if its driver is not made for it, if it was not opened by its
 * cdev, or if a page of the MSI-X table would become private. -ENXIO if the file was
 * not given to a VM before the device was opened, or if the device is not attached to
 * a page table. -EIO while memory decode is disabled, while the device, its PF or its
 * DSM is in a low power state, after an error of the bus, or if the TDI failed or was
 * taken away. -ENODEV if the device is closed. -EINTR. Or an error of the TSM.
 *
 * Context: process context, takes tdi->lock, see the head of the file. Lasts as
 * long as the TSM does.
 */
int vfio_pci_tdi_bind(struct vfio_pci_core_device *vdev, u32 tdi_id,
		      const void *user)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	struct pci_dev *dsm;
	int ret;

	if (!vfio_pci_tdi_supported(vdev))
		return -EOPNOTSUPP;

	/* Once the device is closed nobody waits for the TSM on behalf of it */
	if (!READ_ONCE(tdi->open))
		return -ENODEV;

	/* Not with tdi->lock, for which a reset waits with the lock of the device */
	dsm = pci_tsm_wake_dsm(vdev->pdev);
	if (IS_ERR(dsm))
		return PTR_ERR(dsm);

	ret = mutex_lock_interruptible(&tdi->lock);
	if (!ret) {
		ret = __vfio_pci_tdi_bind(tdi, tdi_id, user);
		mutex_unlock(&tdi->lock);
	}
	pci_tsm_release_dsm(vdev->pdev, dsm);
	return ret;
}

static int vfio_pci_tdi_unbind_locked(struct vfio_pci_tdi *tdi,
				      const void *user)
{
	if (vfio_pci_tdi_state(tdi) != VFIO_PCI_TDI_UNBOUND && tdi->user != user)
		return -EBUSY;

	__vfio_pci_tdi_unbind(tdi);
	return 0;
}

/**
 * vfio_pci_tdi_unbind() - unbind the device
 * @vdev: the device
 * @user: as given to vfio_pci_tdi_bind()
 *
 * Return: 0, also if it is not bound. -EBUSY if another interface has bound it.
 *
 * Context: process context, takes tdi->lock, see the head of the file. Lasts as
 * long as the TSM does, and does not give up for a signal.
 */
int vfio_pci_tdi_unbind(struct vfio_pci_core_device *vdev, const void *user)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;

	if (!vfio_pci_tdi_supported(vdev))
		return 0;

	guard(mutex)(&tdi->lock);

	return vfio_pci_tdi_unbind_locked(tdi, user);
}

/**
 * vfio_pci_tdi_unbind_interruptible() - unbind the device for who can ask again
 * @vdev: the device
 * @user: as given to vfio_pci_tdi_bind()
 *
 * Return: as vfio_pci_tdi_unbind(), or -EINTR if a signal came while a bind was
 * under way.
 *
 * Context: as vfio_pci_tdi_unbind(), but for the wait.
 */
int vfio_pci_tdi_unbind_interruptible(struct vfio_pci_core_device *vdev,
				      const void *user)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	int ret;

	if (!vfio_pci_tdi_supported(vdev))
		return 0;

	ret = mutex_lock_interruptible(&tdi->lock);
	if (ret)
		return ret;

	ret = vfio_pci_tdi_unbind_locked(tdi, user);
	mutex_unlock(&tdi->lock);
	return ret;
}

/* After an error */
static void vfio_pci_tdi_work(struct work_struct *work)
{
	struct vfio_pci_tdi *tdi =
		container_of(work, struct vfio_pci_tdi, work);
	struct vfio_pci_core_device *vdev = tdi->vdev;

	guard(mutex)(&tdi->lock);

	if (vfio_pci_tdi_state(tdi) != VFIO_PCI_TDI_ERROR)
		return;

	if (READ_ONCE(tdi->force_unbind)) {
		__vfio_pci_tdi_unbind(tdi);
		vfio_pci_tdi_signal(tdi);
		return;
	}

	pci_tsm_stop(vdev->pdev, &tdi->owner);
	guard(rwsem_write)(&vdev->memory_lock);
	tdi->stopped = true;
	vfio_pci_dma_buf_move(vdev);
}

/* For who cannot wait until it is unbound, and has kept a new bind out */
static void vfio_pci_tdi_lost(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;

	WRITE_ONCE(tdi->force_unbind, true);
	if (vfio_pci_tdi_fail(tdi))
		vfio_pci_tdi_signal(tdi);
	queue_work(system_dfl_wq, &tdi->work);
}

/* Called with pci_bus_sem held, outside of which PCI/TSM takes its locks */
void vfio_pci_tdi_aer_error(struct vfio_pci_core_device *vdev)
{
	/* Pairs with vfio_pci_tdi_look_again() */
	smp_mb();
	if (vfio_pci_tdi_busy(vdev))
		vfio_pci_tdi_lost(vdev);
}

/*
 * Neither the device nor one of its VFs, nor another function whose DSM is in this
 * one, gets bound until vfio_pci_tdi_end_reset(). Returns whether one of the first
 * two is.
 */
static bool vfio_pci_tdi_begin_reset(struct vfio_pci_core_device *vdev)
{
	pci_tsm_begin_reset(vdev->pdev);
	atomic_inc(&vdev->tdi->resets);
	/* Pairs with vfio_pci_tdi_look_again() and vfio_pci_tdi_get_pf() */
	smp_mb__after_atomic();

	return vfio_pci_tdi_reset_busy(vdev);
}

/**
 * vfio_pci_tdi_try_begin_reset() - begin a reset, unless that breaks something
 * @vdev: the device
 *
 * Return: 0 if neither the device nor one of its VFs, nor another function whose
 * DSM is in this one, is bound, or gets bound until vfio_pci_tdi_end_reset(). -EBUSY
 * if one is.
 *
 * Context: Process context, takes pci_tsm_rwsem for read. With tdi->bind_sem or
 * not, but not with memory_lock.
 */
int vfio_pci_tdi_try_begin_reset(struct vfio_pci_core_device *vdev)
{
	if (!vfio_pci_tdi_begin_reset(vdev) &&
	    !pci_tsm_dependents_bound(vdev->pdev))
		return 0;

	vfio_pci_tdi_end_reset(vdev);
	return -EBUSY;
}

/**
 * vfio_pci_tdi_end_reset() - the end of a reset
 * @vdev: the device
 */
void vfio_pci_tdi_end_reset(struct vfio_pci_core_device *vdev)
{
	/* Who does not see it any more comes after the reset */
	smp_mb__before_atomic();
	atomic_dec(&vdev->tdi->resets);
	pci_tsm_end_reset(vdev->pdev);
}

/*
 * A reset that VFIO starts itself comes with memory_lock held, but VFIO has
 * found the device unbound before. The others come with the device lock, which
 * stays, and with accesses to config space blocked: somebody may be waiting there
 * with the locks that an unbind takes.
 *
 * If it is a reset of the bus, that goes for the other functions as well: one of
 * their owners may wait there with its memory_lock, and for that one somebody who
 * has pci_tsm_rwsem. So nobody is waited for.
 *
 * TDIs that depend on the device are PCI/TSM's: it has taken them away before, or
 * tells their owners of the reset when that comes.
 */
void vfio_pci_tdi_reset_prepare(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	bool bound;

	vfio_pci_tdi_begin_reset(vdev);
	if (!vfio_pci_tdi_busy(vdev))
		return;

	if (pci_tsm_bus_in_reset(vdev->pdev)) {
		vfio_pci_tdi_lost(vdev);
		return;
	}

	pci_cfg_access_unlock(vdev->pdev);
	scoped_guard(mutex, &tdi->lock) {
		bound = vfio_pci_tdi_busy(vdev);
		__vfio_pci_tdi_unbind(tdi);
	}
	pci_cfg_access_lock(vdev->pdev);

	if (bound)
		vfio_pci_tdi_signal(tdi);
}

/**
 * vfio_pci_tdi_busy() - is there anything of a TDI?
 * @vdev: the device
 *
 * Return: false if the device is UNBOUND. It stays so as long as the caller
 * holds memory_lock, in whatever mode.
 */
bool vfio_pci_tdi_busy(struct vfio_pci_core_device *vdev)
{
	return vfio_pci_tdi_state(vdev->tdi) != VFIO_PCI_TDI_UNBOUND;
}

/**
 * vfio_pci_tdi_reset_busy() - is there anything that a reset would break?
 * @vdev: the device
 *
 * Return: false if the device is UNBOUND, and so are all its VFs. That stays so
 * as long as the caller holds memory_lock, in whatever mode.
 */
bool vfio_pci_tdi_reset_busy(struct vfio_pci_core_device *vdev)
{
	return vfio_pci_tdi_busy(vdev) || atomic_read(&vdev->tdi->vfs_bound);
}

/**
 * vfio_pci_tdi_hold_reset() - begin something that also VFs do not survive
 * @vdev: the device
 *
 * Nor do other functions, if the DSM is in this one. Of these it is only known
 * whether one is bound now. For low power that is enough: PCI/TSM keeps the DSM from
 * it while something is bound. A reset is vfio_pci_tdi_try_begin_reset()'s.
 *
 * Return: 0 if the device and its VFs are UNBOUND and stay so until
 * vfio_pci_tdi_unhold(), otherwise -EBUSY, or -EINTR.
 *
 * Context: as vfio_pci_tdi_hold_unbound(), and takes pci_tsm_rwsem.
 */
int vfio_pci_tdi_hold_reset(struct vfio_pci_core_device *vdev)
{
	int ret;

	ret = vfio_pci_tdi_hold_config(vdev);
	if (ret)
		return ret;

	if (!vfio_pci_tdi_reset_busy(vdev) &&
	    !pci_tsm_dependents_bound(vdev->pdev))
		return 0;

	vfio_pci_tdi_unhold(vdev);
	return -EBUSY;
}

/**
 * vfio_pci_tdi_try_hold_unbound() - the same as the next one, without a wait
 * @vdev: the device
 *
 * For who has locks that others need, as the time that a holder takes is up to
 * userspace.
 *
 * Return: 0 or -EBUSY, as vfio_pci_tdi_hold_unbound(), where -EBUSY is also that
 * a bind is about to begin.
 */
int vfio_pci_tdi_try_hold_unbound(struct vfio_pci_core_device *vdev)
{
	if (!down_read_trylock(&vdev->tdi->bind_sem))
		return -EBUSY;

	if (!vfio_pci_tdi_busy(vdev))
		return 0;

	vfio_pci_tdi_unhold(vdev);
	return -EBUSY;
}

/**
 * vfio_pci_tdi_hold_unbound() - begin something that a TDI does not survive
 * @vdev: the device
 *
 * Return: 0 if the device is UNBOUND and stays so until vfio_pci_tdi_unhold(),
 * otherwise -EBUSY, or -EINTR.
 *
 * Context: takes tdi->bind_sem for read, in which memory_lock and mmap_lock nest.
 */
int vfio_pci_tdi_hold_unbound(struct vfio_pci_core_device *vdev)
{
	int ret;

	ret = vfio_pci_tdi_hold_config(vdev);
	if (ret)
		return ret;

	if (!vfio_pci_tdi_busy(vdev))
		return 0;

	vfio_pci_tdi_unhold(vdev);
	return -EBUSY;
}

/**
 * vfio_pci_tdi_hold_config() - begin an access that a TDI may not survive
 * @vdev: the device
 *
 * Return: 0 if no bind begins until vfio_pci_tdi_unhold(), or -EINTR for a fatal
 * signal. A vCPU thread gets others all the time, and a write to config space that
 * fails for one is lost for the guest.
 *
 * Context: as vfio_pci_tdi_hold_unbound().
 */
int vfio_pci_tdi_hold_config(struct vfio_pci_core_device *vdev)
{
	return down_read_killable(&vdev->tdi->bind_sem);
}

/**
 * vfio_pci_tdi_unhold() - the end of what the functions above begin
 * @vdev: the device
 */
void vfio_pci_tdi_unhold(struct vfio_pci_core_device *vdev)
{
	up_read(&vdev->tdi->bind_sem);
}

/* The register of two bytes at @reg, with what a write puts into it */
static u16 vfio_pci_tdi_overlay(u16 value, int reg, int offset, int count,
				u32 val)
{
	int i;

	for (i = 0; i < count; i++) {
		int shift = (offset + i - reg) * BITS_PER_BYTE;

		if (shift != 0 && shift != BITS_PER_BYTE)
			continue;

		value &= ~(0xff << shift);
		value |= ((val >> (i * BITS_PER_BYTE)) & 0xff) << shift;
	}
	return value;
}

/**
 * vfio_pci_tdi_asks_reset() - is a write to config space as good as a reset?
 * @cap_id: the capability that is written to
 * @pos: where the write goes to
 * @offset: that, from the begin of the capability
 * @count: number of bytes, up to four
 * @val: what is written
 *
 * A self-test is one, too, and ends with a reset if it takes too long.
 *
 * Return: true if a TDI that depends on the function would not survive it. The
 * write is between vfio_pci_tdi_try_begin_reset() and vfio_pci_tdi_end_reset()
 * then. In a low power state, which lasts, PCI/TSM does not bind one either.
 */
bool vfio_pci_tdi_asks_reset(u8 cap_id, int pos, int offset, int count, u32 val)
{
	/* An extended capability with the number of another one */
	if (pos >= PCI_CFG_SPACE_SIZE)
		return false;

	switch (cap_id) {
	case PCI_CAP_ID_BASIC:
		return vfio_pci_tdi_overlay(0, PCI_HEADER_TYPE, offset, count,
					    val) & (PCI_BIST_START << 8);
	case PCI_CAP_ID_PM:
		return vfio_pci_tdi_overlay(0, PCI_PM_CTRL, offset, count,
					    val) & PCI_PM_CTRL_STATE_MASK;
	case PCI_CAP_ID_EXP:
		return vfio_pci_tdi_overlay(0, PCI_EXP_DEVCTL, offset, count,
					    val) & PCI_EXP_DEVCTL_BCR_FLR;
	case PCI_CAP_ID_AF:
		return vfio_pci_tdi_overlay(0, PCI_AF_CTRL, offset, count,
					    val) & PCI_AF_CTRL_FLR;
	default:
		return false;
	}
}

/**
 * vfio_pci_tdi_check_config() - would a TDI survive a write to config space?
 * @vdev: the device
 * @cap_id: the capability that is written to
 * @pos: where the write goes to
 * @offset: that, from the begin of the capability
 * @count: number of bytes, up to four
 * @val: what is written
 *
 * What a register that VFIO knows is set to already is no change. Registers that
 * are virtual, or that the TSM does not lock, may change: INTx disable, the BARs, the
 * status bits, the sizes of payload and read request, MSI. A VF does not have a memory
 * enable of its own. For a PF of bound VFs only these count: Device Control, with the
 * size of read requests, and Device Control 2, which are theirs as well, and what VFIO
 * does not know. Resets are not looked at, see vfio_pci_tdi_asks_reset().
 *
 * Return: 0 or -EBUSY.
 *
 * Context: Caller holds tdi->bind_sem, by vfio_pci_tdi_hold_config().
 */
int vfio_pci_tdi_check_config(struct vfio_pci_core_device *vdev, u8 cap_id,
			      int pos, int offset, int count, u32 val)
{
	u16 locked = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct pci_dev *pdev = vdev->pdev;
	u16 old, new;

	if (!vfio_pci_tdi_reset_busy(vdev))
		return 0;

	/*
	 * An extended capability with the number of another one.  What VFIO does not
	 * know of could be anything, e.g. PASID or the BARs of VFs.
	 */
	if (pos >= PCI_CFG_SPACE_SIZE)
		return cap_id == PCI_CAP_ID_INVALID ? -EBUSY : 0;

	if (!vfio_pci_tdi_busy(vdev) && cap_id != PCI_CAP_ID_EXP)
		return 0;

	switch (cap_id) {
	case PCI_CAP_ID_BASIC:
		pci_user_read_config_word(pdev, PCI_COMMAND, &old);
		new = vfio_pci_tdi_overlay(old, PCI_COMMAND, offset, count, val);
		/* Not implemented, though it may look as if it were */
		if (pdev->no_command_memory)
			locked &= ~PCI_COMMAND_MEMORY;
		if (old & ~new & locked)
			return -EBUSY;

		old = vdev->vconfig[PCI_ROM_ADDRESS];
		new = vfio_pci_tdi_overlay(old, PCI_ROM_ADDRESS, offset, count,
					   val);
		if (~old & new & PCI_ROM_ADDRESS_ENABLE)
			return -EBUSY;

		/* The lower of two bytes, and the upper */
		pci_user_read_config_word(pdev, PCI_CACHE_LINE_SIZE, &old);
		new = vfio_pci_tdi_overlay(old, PCI_CACHE_LINE_SIZE, offset,
					   count, val);
		return (old ^ new) & 0xff ? -EBUSY : 0;

	case PCI_CAP_ID_EXP:
		pci_user_read_config_word(pdev, pos - offset + PCI_EXP_DEVCTL,
					  &old);
		new = vfio_pci_tdi_overlay(old, PCI_EXP_DEVCTL, offset, count,
					   val);
		if ((old ^ new) & ~(PCI_EXP_DEVCTL_PAYLOAD |
				    PCI_EXP_DEVCTL_READRQ |
				    PCI_EXP_DEVCTL_PHANTOM))
			return -EBUSY;

		/* It is passed on if it changes, but for a TDI not before the end */
		old = get_unaligned_le16(vdev->vconfig + pos - offset +
					 PCI_EXP_DEVCTL);
		new = vfio_pci_tdi_overlay(old, PCI_EXP_DEVCTL, offset, count,
					   val);
		if (!vfio_pci_tdi_busy(vdev) &&
		    (old ^ new) & PCI_EXP_DEVCTL_READRQ)
			return -EBUSY;

		pci_user_read_config_word(pdev, pos - offset + PCI_EXP_DEVCTL2,
					  &old);
		new = vfio_pci_tdi_overlay(old, PCI_EXP_DEVCTL2, offset, count,
					   val);
		return (old ^ new) & ~PCI_EXP_DEVCTL2_ARI ? -EBUSY : 0;

	default:
		return 0;
	}
}

/**
 * vfio_pci_tdi_owns_config() - is a register of config space the TSM's alone?
 * @vdev: the device
 * @pos: where the register is
 *
 * VFIO shows its user neither the capability of DOE nor that of IDE. But what it does
 * not show is, as any part of config space that it does not know, written as the user
 * likes. These two are what the TSM talks to the device by, and what has the keys of
 * the link: a write ends every TDI that has its DSM in this function, whosever it is,
 * and what the TSM needs for the next one.
 *
 * Return: true if the device is connected to a TSM, and @pos belongs to one of the
 * two, as far as the next capability. A write is dropped then, as that to a read-only
 * register is.
 */
bool vfio_pci_tdi_owns_config(struct vfio_pci_core_device *vdev, int pos)
{
	int epos = PCI_CFG_SPACE_SIZE, begin = 0;
	struct pci_dev *pdev = vdev->pdev;
	u32 header;
	u16 id = 0;
	int loops;

	if (pos < PCI_CFG_SPACE_SIZE || !READ_ONCE(pdev->tsm))
		return false;

	loops = (pdev->cfg_size - PCI_CFG_SPACE_SIZE) / PCI_CAP_SIZEOF;
	while (loops-- > 0 && epos >= PCI_CFG_SPACE_SIZE) {
		/* Waits while the device is reset, and there is nothing to read */
		if (pci_user_read_config_dword(pdev, epos, &header))
			break;

		/* They can be in any order */
		if (epos <= pos && epos >= begin) {
			begin = epos;
			id = PCI_EXT_CAP_ID(header);
		}
		epos = PCI_EXT_CAP_NEXT(header);
	}

	return id == PCI_EXT_CAP_ID_DOE || id == PCI_EXT_CAP_ID_IDE;
}

/**
 * vfio_pci_tdi_has_ranges() - is it known what is private and what is shared?
 * @vdev: the device
 *
 * Return: true from when a bind has worked until the device is UNBOUND.
 *
 * Context: Caller holds memory_lock.
 */
bool vfio_pci_tdi_has_ranges(struct vfio_pci_core_device *vdev)
{
	lockdep_assert_held(&vdev->memory_lock);

	return vdev->tdi->ranges;
}

static bool vfio_pci_tdi_range_allows(struct vfio_pci_tdi *tdi, u32 bar,
				      u64 offset, u64 length, bool private)
{
	const struct pci_tdi_ranges *ranges = tdi->ranges;
	u64 start = ALIGN_DOWN(offset, PAGE_SIZE);
	u64 end = ALIGN(offset + length, PAGE_SIZE);
	const struct pci_tdi_range *range;
	unsigned int i = 0, last = ranges->nr;

	/* The first one that does not end before: they are in order */
	while (i < last) {
		unsigned int mid = i + (last - i) / 2;

		range = &ranges->range[mid];
		if (range->bar < bar || (range->bar == bar &&
					 range->offset + range->length <= start))
			i = mid + 1;
		else
			last = mid;
	}

	for (; i < ranges->nr; i++) {
		range = &ranges->range[i];
		if (range->bar != bar || range->offset >= end)
			break;
		if (!!(range->flags & PCI_TDI_RANGE_PRIVATE) != private)
			return false;
	}
	return true;
}

static bool vfio_pci_tdi_state_allows(struct vfio_pci_tdi *tdi, bool private)
{
	lockdep_assert_held(&tdi->vdev->memory_lock);

	if (private && vfio_pci_tdi_state(tdi) != VFIO_PCI_TDI_BOUND)
		return false;

	return tdi->ranges;
}

/**
 * vfio_pci_tdi_allows() - may a part of a BAR be mapped?
 * @vdev: the device
 * @phys: its physical address
 * @length: its length in bytes
 * @private: for the VM alone, by secure translations
 *
 * Return: true if all of it is such that it may be mapped that way. In BINDING
 * nothing is.
 *
 * Context: Caller holds memory_lock, until which is released the answer is good
 * enough: see the head of the file.
 */
bool vfio_pci_tdi_allows(struct vfio_pci_core_device *vdev, phys_addr_t phys,
			 u64 length, bool private)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	int bar;

	if (!vfio_pci_tdi_busy(vdev))
		return !private;

	if (!vfio_pci_tdi_state_allows(tdi, private))
		return false;

	for (bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		phys_addr_t start = pci_resource_start(vdev->pdev, bar);

		if (phys >= start &&
		    phys - start < pci_resource_len(vdev->pdev, bar))
			return vfio_pci_tdi_range_allows(tdi, bar, phys - start,
							 length, private);
	}
	return false;
}

/**
 * vfio_pci_tdi_check_io() - may the kernel access a part of a BAR?
 * @vdev: the device
 * @io: where, in VFIO's mapping of the BAR
 * @size: of the access
 *
 * Return: 0 or -EBUSY.
 *
 * Context: Caller holds memory_lock.
 */
int vfio_pci_tdi_check_io(struct vfio_pci_core_device *vdev,
			  const void __iomem *io, size_t size)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	int bar;

	if (!vfio_pci_tdi_busy(vdev))
		return 0;

	if (!vfio_pci_tdi_state_allows(tdi, false))
		return -EBUSY;

	for (bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		const void __iomem *start = vdev->barmap[bar];

		if (IS_ERR_OR_NULL((__force const void *)start))
			continue;

		if (io >= start &&
		    io < start + pci_resource_len(vdev->pdev, bar))
			return vfio_pci_tdi_range_allows(tdi, bar, io - start,
							 size, false) ?
			       0 : -EBUSY;
	}
	return -EBUSY;
}

/**
 * vfio_pci_tdi_check_fault() - may a page fault be served?
 * @vdev: the device
 * @pfn: that it would map
 * @order: of the mapping
 *
 * Return: 0 if it may, otherwise what the fault handler has to return.
 *
 * Context: Caller holds memory_lock.
 */
vm_fault_t vfio_pci_tdi_check_fault(struct vfio_pci_core_device *vdev,
				    unsigned long pfn, unsigned int order)
{
	if (vfio_pci_tdi_allows(vdev, PFN_PHYS(pfn), PAGE_SIZE << order, false))
		return 0;

	/* Perhaps a smaller one may */
	if (order)
		return VM_FAULT_FALLBACK;

	/* Nothing is mapped, so that the access faults again */
	if (vfio_pci_tdi_pending(vdev->tdi))
		return VM_FAULT_NOPAGE;

	return VM_FAULT_SIGBUS;
}

/**
 * vfio_pci_tdi_wait_fault() - wait a while for a bind to end
 * @vdev: the device
 * @vmf: the fault
 *
 * An access to a shared page must not be the end of a VMM, or of a VM, that
 * happens to make it while the device is being bound. But a bind can take long,
 * so this waits without the locks of the address space if it may, and if not for
 * a while only: the access faults again, as nothing was mapped for it. Who
 * resolves a fault to use what was mapped, as KVM does, gets to know of the first
 * kind that it has to try again, but not of the second.
 *
 * Return: 0, or what the fault handler has to return.
 *
 * Context: with mmap_lock, or the lock of the VMA, but without memory_lock.
 */
vm_fault_t vfio_pci_tdi_wait_fault(struct vfio_pci_core_device *vdev,
				   struct vm_fault *vmf)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	bool retry = fault_flag_allow_retry_first(vmf->flags);
	struct file *file = NULL;
	long ret;

	if (!vfio_pci_tdi_pending(tdi))
		return 0;

	if (retry && vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	if (retry) {
		/* The VMA can go, and with it what keeps the device */
		file = get_file(vmf->vma->vm_file);
		release_fault_lock(vmf);
	}

	ret = wait_event_killable_timeout(tdi->wait, !vfio_pci_tdi_pending(tdi),
					  VFIO_PCI_TDI_FAULT_WAIT);
	if (retry) {
		fput(file);
		/* A fatal signal is seen by who tries the fault again */
		return VM_FAULT_RETRY;
	}

	return ret < 0 ? VM_FAULT_SIGBUS : 0;
}

/**
 * vfio_pci_tdi_wait() - wait for a bind to end
 * @vdev: the device
 * @killable: only a fatal signal ends the wait; if false any does, and it does not
 *	      last long, for a caller that has locks of its own
 *
 * Return: 0, -EINTR, or -EAGAIN.
 *
 * Context: without memory_lock, and without what a bind, or an unbind, needs.
 */
int vfio_pci_tdi_wait(struct vfio_pci_core_device *vdev, bool killable)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;
	long ret;

	if (killable)
		return wait_event_killable(tdi->wait,
					   !vfio_pci_tdi_pending(tdi)) ?
		       -EINTR : 0;

	ret = wait_event_interruptible_timeout(tdi->wait,
					       !vfio_pci_tdi_pending(tdi),
					       VFIO_PCI_TDI_FAULT_WAIT);
	if (ret < 0)
		return -EINTR;
	return ret ? 0 : -EAGAIN;
}

/**
 * vfio_pci_tdi_must_stop() - has the TDI to be stopped before it loses its MMIO?
 * @vdev: the device
 *
 * Return: true while private dma-bufs must not be revoked, as somebody is about
 * to stop the TDI and does it then.
 *
 * Context: Caller holds memory_lock.
 */
bool vfio_pci_tdi_must_stop(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;

	lockdep_assert_held(&vdev->memory_lock);

	return vfio_pci_tdi_busy(vdev) && !tdi->stopped;
}

/* MMIO of the device may become private, and is in the page tables of users */
static bool vfio_pci_tdi_possible(struct vfio_pci_core_device *vdev)
{
	/* Not pci_tsm_check_bind(), the caller may have mmap_lock */
	return vfio_device_cdev_opened(&vdev->vdev) &&
	       READ_ONCE(vdev->pdev->tsm);
}

/**
 * vfio_pci_tdi_take_pfns() - somebody wants to keep PFNs of the MMIO
 * @vdev: the device
 *
 * Return: false if that must not be, because the device could be bound. If true,
 * it cannot be bound any more: nobody tells when the PFNs are given back.
 */
bool vfio_pci_tdi_take_pfns(struct vfio_pci_core_device *vdev)
{
	/* What is refused leaves no trace */
	if (vfio_pci_tdi_possible(vdev))
		return false;

	WRITE_ONCE(vdev->tdi->pfns_taken, true);
	/* Pairs with vfio_pci_tdi_look_again() */
	smp_mb();
	return !vfio_pci_tdi_possible(vdev);
}

/**
 * vfio_pci_tdi_supported() - is the driver of the device made for TDIs?
 * @vdev: the device
 *
 * Return: true if it says so in its &vfio_pci_device_ops.
 */
bool vfio_pci_tdi_supported(struct vfio_pci_core_device *vdev)
{
	return vdev->pci_ops && vdev->pci_ops->tdi;
}

/**
 * vfio_pci_tdi_check() - is there a TSM that could bind the device?
 * @vdev: the device
 *
 * Return: 0, which can change, or -EOPNOTSUPP, or -EINTR.
 *
 * Context: process context, takes pci_tsm_rwsem for read.
 */
int vfio_pci_tdi_check(struct vfio_pci_core_device *vdev)
{
	if (!vfio_pci_tdi_supported(vdev))
		return -EOPNOTSUPP;

	return pci_tsm_check_bind(vdev->pdev);
}

int vfio_pci_tdi_init(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_tdi *tdi;

	tdi = kzalloc_obj(*tdi);
	if (!tdi)
		return -ENOMEM;

	tdi->vdev = vdev;
	tdi->owner.ops = &vfio_pci_tdi_owner_ops;
	mutex_init(&tdi->lock);
	init_rwsem(&tdi->bind_sem);
	init_waitqueue_head(&tdi->wait);
	INIT_WORK(&tdi->work, vfio_pci_tdi_work);

	vdev->tdi = tdi;
	return 0;
}

void vfio_pci_tdi_release(struct vfio_pci_core_device *vdev)
{
	if (!vdev->tdi)
		return;

	mutex_destroy(&vdev->tdi->lock);
	kfree(vdev->tdi);
}

/* Teach lockdep before the first bind, at which some of it comes late */
void vfio_pci_tdi_prime_lockdep(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;

	if (!IS_ENABLED(CONFIG_LOCKDEP))
		return;

	guard(mutex)(&tdi->lock);
	guard(rwsem_write)(&tdi->bind_sem);
	pci_tsm_prime_lockdep(&vdev->memory_lock);
	guard(rwsem_write)(&vdev->memory_lock);
}

/* Called under the device lock, as the error handlers that queue the work are */
void vfio_pci_tdi_unregister(struct vfio_pci_core_device *vdev)
{
	cancel_work_sync(&vdev->tdi->work);
}

void vfio_pci_tdi_open(struct vfio_pci_core_device *vdev)
{
	guard(mutex)(&vdev->tdi->lock);
	WRITE_ONCE(vdev->tdi->open, true);
}

/*
 * The device is closed. iommufd's objects that can bind it exist until after
 * that. And it will be reset: vfio_pci_tdi_end_reset() follows. Whether it can be,
 * and whether all of its bus is, turns out when it is too late to revoke anything:
 * TDIs that depend on it may go for a reset that does not come.
 */
void vfio_pci_tdi_close(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_tdi *tdi = vdev->tdi;

	vfio_pci_tdi_begin_reset(vdev);
	pci_tsm_revoke_dependents(vdev->pdev);

	scoped_guard(mutex, &tdi->lock) {
		WRITE_ONCE(tdi->open, false);
		__vfio_pci_tdi_unbind(tdi);
	}
	cancel_work_sync(&tdi->work);

	guard(mutex)(&vdev->igate);
	vfio_pci_eventfd_replace_locked(vdev, &tdi->trigger, NULL);
}

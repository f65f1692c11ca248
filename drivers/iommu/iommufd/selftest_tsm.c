// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mock of what a driver does to bind its device to a confidential VM, for
 * tools/testing/selftests/iommu
 *
 * There is neither a VM nor a TSM. It keeps the account of who has bound the
 * device, which a test can ask for, and answers a request with what the request
 * says that it shall answer. It has no way to be closed before the device is
 * unbound from iommufd, as a real device is, so it depends on the vDEVICE to do
 * that.
 */
#include <linux/atomic.h>
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/iommufd.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "iommufd_private.h"
#include "iommufd_test.h"
#include "selftest_tsm.h"

struct iommufd_test_tdi {
	/* Protects user and tdi_id */
	struct mutex lock;
	struct iommufd_device *idev;
	bool takes_viommu;
	const void *user;
	u32 tdi_id;
};

/* Of all devices, the number of those that are bound */
static atomic_t iommufd_test_tdis_bound;

static void iommufd_test_tdi_assert_locks(struct iommufd_test_tdi *tdi)
{
	/* The state machine of a real driver is outside of it */
	if (tdi->idev)
		lockdep_assert_not_held(&tdi->idev->igroup->lock);
}

static int iommufd_test_tdi_takes_viommu(void *data,
					 enum iommu_viommu_type type)
{
	struct iommufd_test_tdi *tdi = data;

	iommufd_test_tdi_assert_locks(tdi);

	/* As if there were a signal */
	if (iommufd_should_fail())
		return -EINTR;

	return tdi->takes_viommu && type == IOMMU_VIOMMU_TYPE_DEFAULT;
}

static int iommufd_test_tdi_bind(void *data, u32 tdi_id, const void *user)
{
	struct iommufd_test_tdi *tdi = data;

	iommufd_test_tdi_assert_locks(tdi);
	guard(mutex)(&tdi->lock);

	if (iommufd_should_fail())
		return -EIO;

	if (tdi->user)
		return -EBUSY;

	tdi->user = user;
	tdi->tdi_id = tdi_id;
	atomic_inc(&iommufd_test_tdis_bound);
	return 0;
}

static int iommufd_test_tdi_unbind_locked(struct iommufd_test_tdi *tdi,
					  const void *user)
{
	if (!tdi->user)
		return 0;

	if (tdi->user != user)
		return -EBUSY;

	tdi->user = NULL;
	atomic_dec(&iommufd_test_tdis_bound);
	return 0;
}

static int iommufd_test_tdi_unbind(void *data, const void *user)
{
	struct iommufd_test_tdi *tdi = data;

	iommufd_test_tdi_assert_locks(tdi);
	guard(mutex)(&tdi->lock);

	return iommufd_test_tdi_unbind_locked(tdi, user);
}

static int iommufd_test_tdi_unbind_interruptible(void *data, const void *user)
{
	struct iommufd_test_tdi *tdi = data;
	int rc;

	iommufd_test_tdi_assert_locks(tdi);

	/* As if there were a signal */
	if (iommufd_should_fail())
		return -EINTR;

	rc = mutex_lock_interruptible(&tdi->lock);
	if (rc)
		return rc;

	rc = iommufd_test_tdi_unbind_locked(tdi, user);
	mutex_unlock(&tdi->lock);
	return rc;
}

static ssize_t iommufd_test_tdi_guest_req(void *data, const void *user,
					  u32 tvm_arch, u32 op, void *req,
					  size_t req_len, void *resp,
					  size_t resp_len, u64 *tsm_code)
{
	struct iommu_test_tdi_req *test = req;
	struct iommufd_test_tdi *tdi = data;

	iommufd_test_tdi_assert_locks(tdi);

	if (tvm_arch != IOMMU_TVM_ARCH_SIM ||
	    op > IOMMU_VDEVICE_TSM_STATE_CHANGE)
		return -EOPNOTSUPP;

	scoped_guard(mutex, &tdi->lock) {
		if (!tdi->user)
			return -ENXIO;
		if (tdi->user != user)
			return -EBUSY;
	}

	if (req_len < sizeof(*test))
		return -EINVAL;

	if (test->error > MAX_ERRNO || test->delay_ms > IOMMU_TEST_TDI_MAX_DELAY)
		return -EINVAL;

	if (msleep_interruptible(test->delay_ms))
		return -EINTR;

	/* Whoever destroys the vDEVICE has to wait for this before the unbind */
	scoped_guard(mutex, &tdi->lock) {
		if (!tdi->user)
			return -ENXIO;
	}

	*tsm_code = test->tsm_code;
	if (test->error)
		return -(int)test->error;

	resp_len = min(resp_len, test->resp_len);
	if (resp_len)
		memset(resp, test->resp_byte, resp_len);
	return resp_len + test->excess;
}

static int iommufd_test_tdi_hold_unbound(void *data)
{
	struct iommufd_test_tdi *tdi = data;

	if (!mutex_trylock(&tdi->lock))
		return -EBUSY;

	if (!tdi->user)
		return 0;

	mutex_unlock(&tdi->lock);
	return -EBUSY;
}

static void iommufd_test_tdi_unhold(void *data)
{
	struct iommufd_test_tdi *tdi = data;

	mutex_unlock(&tdi->lock);
}

static const struct iommufd_device_tdi_ops iommufd_test_tdi_ops = {
	.takes_viommu = iommufd_test_tdi_takes_viommu,
	.bind = iommufd_test_tdi_bind,
	.unbind = iommufd_test_tdi_unbind,
	.unbind_interruptible = iommufd_test_tdi_unbind_interruptible,
	.guest_req = iommufd_test_tdi_guest_req,
	.hold_unbound = iommufd_test_tdi_hold_unbound,
	.unhold = iommufd_test_tdi_unhold,
};

/**
 * iommufd_test_tdi_device_bind() - iommufd_device_bind() of a mock device
 * @ictx: to what
 * @dev: the mock device
 * @dev_flags: as userspace gave them
 * @ptdi: to be kept until iommufd_device_unbind(), for iommufd_test_tdi_free()
 * @id: of the device
 *
 * Return: as iommufd_device_bind().
 */
struct iommufd_device *
iommufd_test_tdi_device_bind(struct iommufd_ctx *ictx, struct device *dev,
			     u32 dev_flags, struct iommufd_test_tdi **ptdi,
			     u32 *id)
{
	struct iommufd_test_tdi *tdi;
	struct iommufd_device *idev;

	*ptdi = NULL;
	if (!(dev_flags & MOCK_FLAGS_DEVICE_TDI))
		return iommufd_device_bind(ictx, dev, NULL, NULL, id);

	tdi = kzalloc_obj(*tdi);
	if (!tdi)
		return ERR_PTR(-ENOMEM);

	mutex_init(&tdi->lock);
	tdi->takes_viommu = !(dev_flags & MOCK_FLAGS_DEVICE_TDI_NO_VIOMMU);

	idev = iommufd_device_bind(ictx, dev, &iommufd_test_tdi_ops, tdi, id);
	if (IS_ERR(idev)) {
		kfree(tdi);
		return idev;
	}

	tdi->idev = idev;
	*ptdi = tdi;
	return idev;
}

/* After iommufd_device_unbind() */
void iommufd_test_tdi_free(struct iommufd_test_tdi *tdi)
{
	if (!tdi)
		return;

	WARN_ON(tdi->user);
	mutex_destroy(&tdi->lock);
	kfree(tdi);
}

/**
 * iommufd_test_tdi_state() - tell a test what is bound
 * @tdi: of the mock device, may be NULL
 * @cmd: where it goes to
 */
void iommufd_test_tdi_state(struct iommufd_test_tdi *tdi,
			    struct iommu_test_cmd *cmd)
{
	cmd->tdi_state.out_nr_bound = atomic_read(&iommufd_test_tdis_bound);
	cmd->tdi_state.out_bound = 0;
	cmd->tdi_state.out_tdi_id = 0;
	if (!tdi)
		return;

	guard(mutex)(&tdi->lock);
	if (!tdi->user)
		return;
	cmd->tdi_state.out_bound = 1;
	cmd->tdi_state.out_tdi_id = tdi->tdi_id;
}

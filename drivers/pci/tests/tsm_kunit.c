// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what PCI/TSM promises to the owner of a TDI and to TSM drivers.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "../pci.h"
#include "tsm_mock.h"

/* The core looks at nothing behind these pointers */
#define VM_A	((struct kvm *)0x1000)
#define VM_B	((struct kvm *)0x2000)

static int mock_refs(struct mock_tsm *mock)
{
	return module_refcount(&mock->module);
}

static int bind(struct mock_tsm *mock, int fn)
{
	return pci_tsm_bind(&mock->fn[fn]->pdev, VM_A, 5, &mock->owner.owner);
}

static void unbind(struct mock_tsm *mock, int fn)
{
	pci_tsm_unbind(&mock->fn[fn]->pdev, &mock->owner.owner);
}

static ssize_t guest_req(struct mock_tsm *mock, enum pci_tsm_tvm_arch arch)
{
	return pci_tsm_guest_req(&mock->fn[0]->pdev, &mock->owner.owner, arch,
				 PCI_TSM_REQ_INFO, KERNEL_SOCKPTR(NULL), 0,
				 KERNEL_SOCKPTR(NULL), 0, NULL);
}

static void bind_unbind(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_EXPECT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, bind(mock, 1), 0);
	EXPECT_LOG(test, "bb");
	unbind(mock, 0);
	unbind(mock, 1);
	EXPECT_LOG(test, "uu");

	/* Unbound is unbound, and can be bound again */
	unbind(mock, 0);
	EXPECT_LOG(test, "");
	KUNIT_EXPECT_EQ(test, bind(mock, 0), 0);
	unbind(mock, 0);
	EXPECT_LOG(test, "bu");
}

static void bind_needs_kvm(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_EXPECT_EQ(test, pci_tsm_bind(&mock->fn[0]->pdev, NULL, 5,
					   &mock->owner.owner), -EINVAL);
	EXPECT_LOG(test, "");
}

static void bind_needs_context(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->fn[0]->pdev.tsm = NULL;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -EINVAL);
	unbind(mock, 0);
	pci_tsm_stop(&mock->fn[0]->pdev, &mock->owner.owner);
	KUNIT_EXPECT_EQ(test, guest_req(mock, PCI_TSM_TVM_ARCH_SIM), -ENXIO);
	EXPECT_LOG(test, "");
}

static void no_bind_op(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->ops.bind = NULL;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -EOPNOTSUPP);
}

static void no_unbind_op(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->ops.unbind = NULL;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -EOPNOTSUPP);
	EXPECT_LOG(test, "");
}

static void no_guest_req_op(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->ops.guest_req = NULL;
	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, guest_req(mock, PCI_TSM_TVM_ARCH_SIM), -EOPNOTSUPP);
	unbind(mock, 0);
}

static void bind_again(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *pdev = &mock->fn[0]->pdev;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, pci_tsm_bind(pdev, VM_B, 5, &mock->owner.owner),
			-EBUSY);
	KUNIT_EXPECT_EQ(test, pci_tsm_bind(pdev, VM_A, 6, &mock->owner.owner),
			-EBUSY);
	KUNIT_EXPECT_EQ(test, pci_tsm_bind(pdev, VM_A, 5, &mock->other.owner),
			-EBUSY);
	EXPECT_LOG(test, "b");
	KUNIT_EXPECT_EQ(test, pdev->tsm->tdi->tdi_id, 5);
	unbind(mock, 0);
	EXPECT_LOG(test, "u");
}

static void bind_fails(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->bind_error = -EIO;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -EIO);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 0);
	unbind(mock, 0);
	EXPECT_LOG(test, "b");

	/* Nothing of the first owner is left */
	mock->bind_error = 0;
	KUNIT_EXPECT_EQ(test, pci_tsm_bind(&mock->fn[0]->pdev, VM_B, 6,
					   &mock->other.owner), 0);
	pci_tsm_unbind(&mock->fn[0]->pdev, &mock->other.owner);
	EXPECT_LOG(test, "bu");
}

static void bind_pins_module(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 1);
	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 1);
	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 2);
	unbind(mock, 0);
	unbind(mock, 0);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 1);

	/* Taken away, it is not pinned either */
	pci_tsm_destroy(&mock->fn[1]->pdev);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 0);
}

/* The function itself, and the one that has the DSM; whatever else is reset */
static void bind_in_reset(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *dsm = &mock->fn[0]->pdev;
	struct pci_dev *fn = &mock->fn[1]->pdev;

	pci_tsm_begin_reset(dsm);
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EBUSY);
	/* There can be two */
	pci_tsm_begin_reset(dsm);
	pci_tsm_end_reset(dsm);
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EBUSY);
	pci_tsm_end_reset(dsm);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 0);
	EXPECT_LOG(test, "");

	pci_tsm_begin_reset(fn);
	KUNIT_EXPECT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EBUSY);
	pci_tsm_end_reset(fn);
	KUNIT_EXPECT_EQ(test, bind(mock, 1), 0);
	EXPECT_LOG(test, "bb");

	/* Who is bound is not unbound by that, nor by asking again */
	pci_tsm_begin_reset(dsm);
	KUNIT_EXPECT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_NOT_NULL(test, dsm->tsm->tdi);
	unbind(mock, 0);
	unbind(mock, 1);
	pci_tsm_end_reset(dsm);
	EXPECT_LOG(test, "uu");
}

static int reset_by(struct pci_dev *pdev, const char *method)
{
	int rc;

	for (int i = 1; i < PCI_NUM_RESET_METHODS; i++)
		if (!strcmp(pci_reset_fn_methods[i].name, method))
			pdev->reset_methods[0] = i;
	device_lock(&pdev->dev);
	rc = __pci_reset_function_locked(pdev);
	device_unlock(&pdev->dev);
	return rc;
}

/* By a driver that tells nobody: its owner is told, and no other */
static void reset_of_function(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *fn = &mock->fn[1]->pdev;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	EXPECT_LOG(test, "bb");
	KUNIT_EXPECT_EQ(test, pcie_flr(fn), 0);
	EXPECT_LOG(test, "ef");
	KUNIT_EXPECT_EQ(test, reset_by(fn, "pm"), 0);
	EXPECT_LOG(test, "ef");
	KUNIT_EXPECT_NOT_NULL(test, fn->tsm->tdi);

	/* Nobody is left who has to be told, or the context is not */
	unbind(mock, 1);
	EXPECT_LOG(test, "u");
	KUNIT_EXPECT_EQ(test, pcie_flr(fn), 0);
	EXPECT_LOG(test, "f");
	pci_tsm_destroy(fn);
	KUNIT_EXPECT_EQ(test, pcie_flr(fn), 0);
	EXPECT_LOG(test, "xf");

	/* It is over */
	KUNIT_EXPECT_EQ(test, atomic_read(&fn->tsm_resets), 0);
	unbind(mock, 0);
}

/* One of the function with the DSM breaks all that this is responsible for */
static void reset_of_dsm(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *dsm = &mock->fn[0]->pdev;

	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	KUNIT_EXPECT_EQ(test, pcie_flr(dsm), 0);
	EXPECT_LOG(test, "bef");
	KUNIT_EXPECT_EQ(test, reset_by(dsm, "pm"), 0);
	EXPECT_LOG(test, "ef");
	KUNIT_EXPECT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, pcie_flr(dsm), 0);
	EXPECT_LOG(test, "beef");
	unbind(mock, 0);
	unbind(mock, 1);
}

static void reset_of_bus(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *bridge = &mock->above->pdev;
	struct pci_dev *fn = &mock->fn[1]->pdev;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	EXPECT_LOG(test, "bb");

	/* They are not below it */
	KUNIT_EXPECT_EQ(test, pci_bridge_secondary_bus_reset(bridge), 0);
	EXPECT_LOG(test, "f");

	mock_below(mock);
	KUNIT_EXPECT_EQ(test, pci_bridge_secondary_bus_reset(bridge), 0);
	EXPECT_LOG(test, "eef");
	unbind(mock, 1);
	KUNIT_EXPECT_EQ(test, pci_bridge_secondary_bus_reset(bridge), 0);
	EXPECT_LOG(test, "uef");
	KUNIT_EXPECT_EQ(test, atomic_read(&bridge->tsm_resets), 0);

	/* A driver can tell such a reset from others */
	pci_tsm_begin_reset(fn);
	KUNIT_EXPECT_FALSE(test, pci_tsm_bus_in_reset(fn));
	pci_tsm_begin_reset(bridge);
	pci_tsm_end_reset(fn);
	KUNIT_EXPECT_TRUE(test, pci_tsm_bus_in_reset(fn));
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EBUSY);
	pci_tsm_end_reset(bridge);
	KUNIT_EXPECT_FALSE(test, pci_tsm_bus_in_reset(fn));
	unbind(mock, 0);
}

static void reset_of_physfn(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *pf = &mock->above->pdev;

	if (!mock_virtfn(mock, 1, mock->above))
		kunit_skip(test, "Needs CONFIG_PCI_IOV");

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	EXPECT_LOG(test, "bb");
	KUNIT_EXPECT_EQ(test, pcie_flr(pf), 0);
	EXPECT_LOG(test, "ef");
	KUNIT_EXPECT_EQ(test, reset_by(pf, "pm"), 0);
	EXPECT_LOG(test, "ef");
	unbind(mock, 0);
	unbind(mock, 1);
}

static int pm_refs(struct pci_dev *pdev)
{
#ifdef CONFIG_PM
	return atomic_read(&pdev->dev.power.usage_count);
#else
	return 0;
#endif
}

/* Nothing is bound while the DSM is not in D0, and it stays there while one is */
static void bind_in_low_power(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *dsm = &mock->fn[0]->pdev;
	struct pci_dev *fn = &mock->fn[1]->pdev;
	int refs = pm_refs(dsm);

	dsm->current_state = PCI_D3hot;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -EIO);
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EIO);
	dsm->current_state = PCI_D1;
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EIO);
	dsm->current_state = PCI_D0;
	fn->current_state = PCI_D3hot;
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EIO);
	KUNIT_EXPECT_EQ(test, mock_refs(mock), 0);
	KUNIT_EXPECT_EQ(test, pm_refs(dsm), refs);
	EXPECT_LOG(test, "");

	/* As it is without a driver */
	dsm->current_state = PCI_UNKNOWN;
	fn->current_state = PCI_D0;
	KUNIT_EXPECT_EQ(test, bind(mock, 1), 0);
	KUNIT_EXPECT_EQ(test, bind(mock, 1), 0);
	KUNIT_EXPECT_EQ(test, pm_refs(dsm), refs + IS_ENABLED(CONFIG_PM));
	KUNIT_EXPECT_EQ(test, pm_refs(fn), refs);
	unbind(mock, 1);
	unbind(mock, 1);
	KUNIT_EXPECT_EQ(test, pm_refs(dsm), refs);
	EXPECT_LOG(test, "bu");

	/* Neither does it keep that if the bind fails, or the TDI is taken away */
	mock->bind_error = -EIO;
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EIO);
	KUNIT_EXPECT_EQ(test, pm_refs(dsm), refs);
	mock->bind_error = 0;
	KUNIT_EXPECT_EQ(test, bind(mock, 1), 0);
	pci_tsm_destroy(fn);
	KUNIT_EXPECT_EQ(test, pm_refs(dsm), refs);
	EXPECT_LOG(test, "bbsrux");
}

/* The same goes for the physical function of a virtual one */
static void bind_virtfn_in_low_power(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *dsm = &mock->fn[0]->pdev;
	struct pci_dev *pf = &mock->above->pdev;
	struct pci_dev *vf = &mock->fn[1]->pdev;
	int dsm_refs = pm_refs(dsm);
	int vf_refs = pm_refs(vf);
	int refs = pm_refs(pf);

	if (!mock_virtfn(mock, 1, mock->above))
		kunit_skip(test, "Needs CONFIG_PCI_IOV");

	pf->current_state = PCI_D3hot;
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -EIO);
	KUNIT_EXPECT_EQ(test, pm_refs(pf), refs);
	pf->current_state = PCI_D0;
	mock->bind_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, bind(mock, 1), -ENOMEM);
	KUNIT_EXPECT_EQ(test, pm_refs(pf), refs);
	mock->bind_error = 0;

	for (int i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, bind(mock, 1), 0);
		KUNIT_EXPECT_EQ(test, bind(mock, 1), 0);
		KUNIT_EXPECT_EQ(test, pm_refs(pf), refs + IS_ENABLED(CONFIG_PM));
		KUNIT_EXPECT_EQ(test, pm_refs(dsm),
				dsm_refs + IS_ENABLED(CONFIG_PM));
		KUNIT_EXPECT_EQ(test, pm_refs(vf), vf_refs);
		if (i)
			pci_tsm_destroy(vf);
		else
			unbind(mock, 1);
		KUNIT_EXPECT_EQ(test, pm_refs(pf), refs);
		KUNIT_EXPECT_EQ(test, pm_refs(dsm), dsm_refs);
	}
	EXPECT_LOG(test, "bbubsrux");
}

static void bind_leaving_module(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->module.state = MODULE_STATE_GOING;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -ENXIO);
	EXPECT_LOG(test, "");
}

static void bind_needs_owner(struct kunit *test)
{
	static const struct pci_tdi_owner_ops incomplete[] = {
		{ .revoke = NULL },
		{ .revoke = (void *)1 },
		{ .error = (void *)1 },
	};
	struct mock_tsm *mock = test->priv;
	struct pci_dev *pdev = &mock->fn[0]->pdev;

	KUNIT_EXPECT_EQ(test, pci_tsm_bind(pdev, VM_A, 5, NULL), -EINVAL);
	for (int i = 0; i < ARRAY_SIZE(incomplete); i++) {
		mock->owner.owner.ops = &incomplete[i];
		KUNIT_EXPECT_EQ(test, bind(mock, 0), -EINVAL);
	}
	EXPECT_LOG(test, "");
}

static void unbind_by_another(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *pdev = &mock->fn[0]->pdev;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	pci_tsm_stop(pdev, &mock->other.owner);
	pci_tsm_unbind(pdev, &mock->other.owner);
	KUNIT_EXPECT_EQ(test, PTR_ERR(pci_tsm_tdi_ranges(pdev, &mock->other.owner)),
			-ENXIO);
	EXPECT_LOG(test, "b");
	KUNIT_EXPECT_NOT_NULL(test, pdev->tsm->tdi);
	unbind(mock, 0);
	EXPECT_LOG(test, "u");
}

static void stop_then_unbind(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	pci_tsm_stop(&mock->fn[0]->pdev, &mock->owner.owner);
	KUNIT_EXPECT_NOT_NULL(test, mock->fn[0]->pdev.tsm->tdi);
	unbind(mock, 0);
	EXPECT_LOG(test, "bsu");
	pci_tsm_stop(&mock->fn[0]->pdev, &mock->owner.owner);
	EXPECT_LOG(test, "");
}

static void no_stop_op(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->ops.stop = NULL;
	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	pci_tsm_stop(&mock->fn[0]->pdev, &mock->owner.owner);
	KUNIT_EXPECT_NOT_NULL(test, mock->fn[0]->pdev.tsm->tdi);
	pci_tsm_destroy(&mock->fn[0]->pdev);
	EXPECT_LOG(test, "bruxdx");
}

static void device_goes_away(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	pci_tsm_destroy(&mock->fn[1]->pdev);
	EXPECT_LOG(test, "bsrux");

	/* The owner ends its part later */
	pci_tsm_stop(&mock->fn[1]->pdev, &mock->owner.owner);
	unbind(mock, 1);
	EXPECT_LOG(test, "");
}

static void dsm_goes_away(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	EXPECT_LOG(test, "bb");
	/* Both lose their TDI, then function 1 its context, then the DSM */
	pci_tsm_destroy(&mock->fn[0]->pdev);
	EXPECT_LOG(test, "srusruxdx");
	unbind(mock, 0);
	unbind(mock, 1);
	EXPECT_LOG(test, "");
}

static void tdi_error(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	pci_tsm_tdi_error(mock->fn[0]->pdev.tsm->tdi);
	pci_tsm_tdi_error(mock->fn[0]->pdev.tsm->tdi);
	KUNIT_EXPECT_NOT_NULL(test, mock->fn[0]->pdev.tsm->tdi);
	unbind(mock, 0);
	EXPECT_LOG(test, "beeu");
}

static void tdi_error_in_bind(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	mock->bind_tdi_error = true;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), 0);
	EXPECT_LOG(test, "be");
	unbind(mock, 0);

	mock->bind_error = -EIO;
	KUNIT_EXPECT_EQ(test, bind(mock, 0), -EIO);
	EXPECT_LOG(test, "ube");
}

static ssize_t sysfs_connect(struct mock_tsm *mock, struct mock_fn *fn)
{
	return mock_store(mock, fn, "connect");
}

static ssize_t sysfs_disconnect_fn(struct mock_tsm *mock, struct mock_fn *fn)
{
	return mock_store(mock, fn, "disconnect");
}

static ssize_t sysfs_disconnect(struct mock_tsm *mock)
{
	return sysfs_disconnect_fn(mock, mock->fn[0]);
}

/* The system call would be made again, which this thread cannot */
static ssize_t not_restarted(ssize_t ret)
{
	if (ret == -ERESTARTNOINTR)
		clear_thread_flag(TIF_SIGPENDING);
	return ret;
}

static ssize_t sysfs_show(struct mock_tsm *mock, const char *name, char *buf)
{
	return not_restarted(mock_show(mock, mock->fn[0], name, buf));
}

static void read_all_in_unbind(struct kunit *test)
{
	static const char * const name[] = { "connect", "bound", "dsm" };
	struct mock_tsm *mock = test->priv;
	char *buf = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	for (int i = 0; i < ARRAY_SIZE(name); i++)
		KUNIT_EXPECT_EQ(test, sysfs_show(mock, name[i], buf),
				-ERESTARTNOINTR);
	KUNIT_EXPECT_EQ(test, not_restarted(sysfs_disconnect(mock)),
			-ERESTARTNOINTR);
}

/* Who removes the files waits for those in them, which wait for nobody */
static void sysfs_does_not_wait(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	char *buf = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);

	/* Neither for the lock of the DSM */
	mutex_lock(&mock->fn[0]->tsm.lock);
	KUNIT_EXPECT_GT(test, sysfs_show(mock, "bound", buf), 1);
	mutex_unlock(&mock->fn[0]->tsm.lock);

	/* Nor for the one that is held for write here */
	mock->in_unbind = read_all_in_unbind;
	pci_tsm_destroy(&mock->fn[0]->pdev);
	mock->in_unbind = NULL;
	EXPECT_LOG(test, "bsruxdx");
}

static int request_all_the_time(void *data)
{
	while (!kthread_should_stop())
		guest_req(data, PCI_TSM_TVM_ARCH_SIM);
	return 0;
}

/* Requests of which there is always one do not keep a writer in sysfs out */
static void requests_let_sysfs_in(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct task_struct *task[2];
	ssize_t ret = -ERESTARTNOINTR;

	mock->request_ms = 20;
	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	for (int i = 0; i < ARRAY_SIZE(task); i++)
		task[i] = kthread_run(request_all_the_time, mock, "tsm-kunit");
	/* Until one of them waits for the other, with the lock for read */
	msleep(100);

	for (int n = 0; n < 300 && ret == -ERESTARTNOINTR; n++)
		ret = not_restarted(sysfs_disconnect(mock));

	for (int i = 0; i < ARRAY_SIZE(task); i++)
		if (!IS_ERR(task[i]))
			kthread_stop(task[i]);
	KUNIT_EXPECT_EQ(test, ret, -EBUSY);
	unbind(mock, 0);
}

struct waiter {
	struct mock_tsm *mock;
	struct completion done;
	bool request;
	int rc;
};

static int wait_for_dsm(void *data)
{
	struct waiter *waiter = data;

	allow_signal(SIGINT);
	waiter->rc = waiter->request ?
		     guest_req(waiter->mock, PCI_TSM_TVM_ARCH_SIM) :
		     bind(waiter->mock, 1);
	complete(&waiter->done);
	return 0;
}

/* A bind, and a request, that wait for somebody else's give up for a signal */
static void signal_ends_wait(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	for (int i = 0; i < 2; i++) {
		struct waiter waiter = { .mock = mock, .request = i };
		struct task_struct *task;
		bool done = false;

		init_completion(&waiter.done);
		mutex_lock(&mock->fn[0]->tsm.lock);
		task = kthread_create(wait_for_dsm, &waiter, "tsm-kunit");
		if (!IS_ERR(task)) {
			get_task_struct(task);
			wake_up_process(task);
			/* It may come before the thread takes it */
			for (int n = 0; n < 500 && !done; n++) {
				send_sig(SIGINT, task, 1);
				done = wait_for_completion_timeout(&waiter.done,
								   HZ / 50);
			}
		}
		mutex_unlock(&mock->fn[0]->tsm.lock);

		KUNIT_ASSERT_FALSE(test, IS_ERR(task));
		if (!done)
			wait_for_completion(&waiter.done);
		put_task_struct(task);
		KUNIT_EXPECT_TRUE(test, done);
		KUNIT_EXPECT_EQ(test, waiter.rc, -EINTR);
	}
	EXPECT_LOG(test, "b");
	unbind(mock, 0);
}

static void disconnect_while_bound(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	for (int fn = 0; fn < ARRAY_SIZE(mock->fn); fn++) {
		KUNIT_ASSERT_EQ(test, bind(mock, fn), 0);
		KUNIT_EXPECT_EQ(test, sysfs_disconnect(mock), -EBUSY);
		EXPECT_LOG(test, "b");
		unbind(mock, fn);
		EXPECT_LOG(test, "u");
	}

	KUNIT_EXPECT_GT(test, sysfs_disconnect(mock), 0);
	EXPECT_LOG(test, "xdx");
	KUNIT_EXPECT_NULL(test, mock->fn[0]->pdev.tsm);
}

/* Not before all virtual functions are added does the physical one know of any */
static void disconnect_while_enabling_sriov(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	if (!mock_virtfn(mock, 1, mock->fn[0]))
		kunit_skip(test, "Needs CONFIG_PCI_IOV");

	KUNIT_ASSERT_EQ(test, pci_num_vf(&mock->fn[0]->pdev), 0);
	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	KUNIT_EXPECT_EQ(test, sysfs_disconnect(mock), -EBUSY);
	EXPECT_LOG(test, "b");
	unbind(mock, 1);
	EXPECT_LOG(test, "u");

	KUNIT_EXPECT_GT(test, sysfs_disconnect(mock), 0);
	EXPECT_LOG(test, "xdx");
	KUNIT_EXPECT_NULL(test, mock->fn[1]->pdev.tsm);
}

/* Both a switch and function 0 below it have a DSM: function 1 stays with the first */
static void switch_before_function(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *fn = &mock->fn[1]->pdev;

	KUNIT_ASSERT_GT(test, sysfs_disconnect(mock), 0);
	EXPECT_LOG(test, "xdx");
	mock_below_switch(mock);

	KUNIT_ASSERT_GT(test, sysfs_connect(mock, mock->above), 0);
	KUNIT_ASSERT_GT(test, sysfs_connect(mock, mock->fn[0]), 0);
	EXPECT_LOG(test, "pcppc");
	KUNIT_ASSERT_PTR_EQ(test, fn->tsm->dsm_dev, &mock->above->pdev);

	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	KUNIT_EXPECT_EQ(test, sysfs_disconnect_fn(mock, mock->above), -EBUSY);
	EXPECT_LOG(test, "b");
	unbind(mock, 1);
	EXPECT_LOG(test, "u");

	KUNIT_EXPECT_GT(test, sysfs_disconnect(mock), 0);
	EXPECT_LOG(test, "dx");
	KUNIT_EXPECT_NOT_NULL(test, fn->tsm);
	KUNIT_EXPECT_GT(test, sysfs_disconnect_fn(mock, mock->above), 0);
	EXPECT_LOG(test, "xdx");
	KUNIT_EXPECT_NULL(test, fn->tsm);
}

static void function_before_switch(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *fn = &mock->fn[1]->pdev;

	mock_below_switch(mock);
	KUNIT_ASSERT_GT(test, sysfs_connect(mock, mock->above), 0);
	EXPECT_LOG(test, "pc");
	KUNIT_ASSERT_PTR_EQ(test, fn->tsm->dsm_dev, &mock->fn[0]->pdev);

	KUNIT_ASSERT_EQ(test, bind(mock, 1), 0);
	KUNIT_EXPECT_GT(test, sysfs_disconnect_fn(mock, mock->above), 0);
	EXPECT_LOG(test, "bdx");
	KUNIT_EXPECT_EQ(test, sysfs_disconnect(mock), -EBUSY);
	unbind(mock, 1);
	KUNIT_EXPECT_GT(test, sysfs_disconnect(mock), 0);
	EXPECT_LOG(test, "uxdx");
	KUNIT_EXPECT_NULL(test, fn->tsm);
}

static struct removal {
	struct pci_dev *pdev;
	struct completion done;
} removal;

static int remove_device(void *data)
{
	pci_tsm_destroy(removal.pdev);
	complete_all(&removal.done);
	return 0;
}

/* Does the removal end while pci_tsm_rwsem is held for write here? */
static bool remove_in_remove(struct mock_tsm *mock)
{
	struct task_struct *task;

	mock->in_remove = NULL;
	reinit_completion(&removal.done);
	task = kthread_run(remove_device, NULL, "tsm-kunit");
	if (IS_ERR(task)) {
		KUNIT_FAIL(mock->test, "no thread");
		complete_all(&removal.done);
	}
	return wait_for_completion_timeout(&removal.done, HZ);
}

static void removal_waits(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, remove_in_remove(test->priv));
}

static void removal_does_not_wait(struct kunit *test)
{
	KUNIT_EXPECT_TRUE(test, remove_in_remove(test->priv));
}

/* The device is not removed while the TSM driver is still at the end of its context */
static void remove_while_disconnecting(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *pdev = &mock->fn[1]->pdev;

	init_completion(&removal.done);
	removal.pdev = pdev;
	mock->in_remove = removal_waits;
	KUNIT_ASSERT_GT(test, sysfs_disconnect(mock), 0);
	wait_for_completion(&removal.done);
	EXPECT_LOG(test, "xdx");

	KUNIT_ASSERT_GT(test, sysfs_connect(mock, mock->fn[0]), 0);
	pci_tsm_destroy(pdev);
	EXPECT_LOG(test, "pcpx");
	KUNIT_ASSERT_GT(test, sysfs_disconnect(mock), 0);
	EXPECT_LOG(test, "dx");

	/* Who was removed gets no context, and without one waits for nobody */
	set_bit(PCI_DEV_REMOVED, &pdev->priv_flags);
	KUNIT_ASSERT_GT(test, sysfs_connect(mock, mock->fn[0]), 0);
	EXPECT_LOG(test, "pc");
	mock->in_remove = removal_does_not_wait;
	KUNIT_ASSERT_GT(test, sysfs_disconnect(mock), 0);
	wait_for_completion(&removal.done);
	EXPECT_LOG(test, "dx");
}

static void guest_req_arch(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_EXPECT_EQ(test, guest_req(mock, PCI_TSM_TVM_ARCH_SIM), -ENXIO);
	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test, guest_req(mock, PCI_TSM_TVM_ARCH_SIM), 0);
	KUNIT_EXPECT_EQ(test, guest_req(mock, PCI_TSM_TVM_ARCH_TDX), -EOPNOTSUPP);
	EXPECT_LOG(test, "bg");

	mock->ops.tvm_arch = PCI_TSM_TVM_ARCH_NONE;
	KUNIT_EXPECT_EQ(test, guest_req(mock, PCI_TSM_TVM_ARCH_NONE), -EOPNOTSUPP);
	EXPECT_LOG(test, "");
	unbind(mock, 0);
}

static void guest_req_by_another(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	KUNIT_ASSERT_EQ(test, bind(mock, 0), 0);
	KUNIT_EXPECT_EQ(test,
			pci_tsm_guest_req(&mock->fn[0]->pdev, &mock->other.owner,
					  PCI_TSM_TVM_ARCH_SIM, PCI_TSM_REQ_INFO,
					  KERNEL_SOCKPTR(NULL), 0,
					  KERNEL_SOCKPTR(NULL), 0, NULL), -ENXIO);
	EXPECT_LOG(test, "b");
	unbind(mock, 0);
}

static void what_can_be_bound(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;
	struct pci_dev *pdev = &mock->fn[0]->pdev;

	KUNIT_EXPECT_EQ(test, pci_tsm_check_bind(pdev), 0);
	KUNIT_EXPECT_TRUE(test, pci_tsm_takes_viommu(pdev, 0));
	KUNIT_EXPECT_FALSE(test, pci_tsm_takes_viommu(pdev, 1));
	KUNIT_EXPECT_TRUE(test, pci_tsm_takes_viommu(pdev, 31));
	KUNIT_EXPECT_FALSE(test, pci_tsm_takes_viommu(pdev, 32));
	KUNIT_EXPECT_FALSE(test, pci_tsm_takes_viommu(pdev, U32_MAX));

	mock->ops.unbind = NULL;
	KUNIT_EXPECT_EQ(test, pci_tsm_check_bind(pdev), -EOPNOTSUPP);
	pdev->tsm = NULL;
	KUNIT_EXPECT_EQ(test, pci_tsm_check_bind(pdev), -EOPNOTSUPP);
	KUNIT_EXPECT_FALSE(test, pci_tsm_takes_viommu(pdev, 0));
}

static struct kunit_case tsm_cases[] = {
	KUNIT_CASE(bind_unbind),
	KUNIT_CASE(bind_needs_kvm),
	KUNIT_CASE(bind_needs_context),
	KUNIT_CASE(no_bind_op),
	KUNIT_CASE(no_unbind_op),
	KUNIT_CASE(no_guest_req_op),
	KUNIT_CASE(bind_again),
	KUNIT_CASE(bind_fails),
	KUNIT_CASE(bind_pins_module),
	KUNIT_CASE(bind_in_reset),
	KUNIT_CASE(reset_of_function),
	KUNIT_CASE(reset_of_dsm),
	KUNIT_CASE(reset_of_bus),
	KUNIT_CASE(reset_of_physfn),
	KUNIT_CASE(bind_in_low_power),
	KUNIT_CASE(bind_virtfn_in_low_power),
	KUNIT_CASE(bind_leaving_module),
	KUNIT_CASE(bind_needs_owner),
	KUNIT_CASE(unbind_by_another),
	KUNIT_CASE(stop_then_unbind),
	KUNIT_CASE(no_stop_op),
	KUNIT_CASE(device_goes_away),
	KUNIT_CASE(dsm_goes_away),
	KUNIT_CASE(tdi_error),
	KUNIT_CASE(tdi_error_in_bind),
	KUNIT_CASE(disconnect_while_bound),
	KUNIT_CASE(disconnect_while_enabling_sriov),
	KUNIT_CASE(switch_before_function),
	KUNIT_CASE(function_before_switch),
	KUNIT_CASE(remove_while_disconnecting),
	KUNIT_CASE(sysfs_does_not_wait),
	KUNIT_CASE(requests_let_sysfs_in),
	KUNIT_CASE(signal_ends_wait),
	KUNIT_CASE(guest_req_arch),
	KUNIT_CASE(guest_req_by_another),
	KUNIT_CASE(what_can_be_bound),
	{}
};

static struct kunit_suite tsm_suite = {
	.name = "pci_tsm",
	.init = mock_tsm_init,
	.exit = mock_tsm_exit,
	.test_cases = tsm_cases,
};

kunit_test_suite(tsm_suite);

MODULE_DESCRIPTION("KUnit tests of PCI/TSM");
MODULE_LICENSE("GPL");

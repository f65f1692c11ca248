// SPDX-License-Identifier: GPL-2.0
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include "../pci.h"
#include "tsm_mock.h"

#define MSIX_CAP	0x40
#define PM_CAP		0x60
#define PCIE_CAP	0x80

static void mock_log(struct mock_tsm *mock, char call)
{
	size_t len = strlen(mock->log);

	if (len + 1 < sizeof(mock->log)) {
		mock->log[len] = call;
		mock->log[len + 1] = '\0';
	}
}

static struct mock_fn *to_mock_fn(struct pci_dev *pdev)
{
	return container_of(pdev, struct mock_fn, pdev);
}

static struct mock_tsm *to_mock(struct pci_dev *pdev)
{
	return to_mock_fn(pdev)->mock;
}

static int mock_fn_read(struct mock_fn *fn, int where, int size, u32 *val)
{
	if (where + size > sizeof(fn->config))
		return PCIBIOS_BAD_REGISTER_NUMBER;

	switch (size) {
	case 1:
		*val = fn->config[where];
		break;
	case 2:
		*val = get_unaligned_le16(&fn->config[where]);
		break;
	default:
		*val = get_unaligned_le32(&fn->config[where]);
		break;
	}
	return PCIBIOS_SUCCESSFUL;
}

/* Nothing is kept, only resets are seen */
static int mock_fn_write(struct mock_tsm *mock, struct mock_fn *fn, int where,
			 u32 val)
{
	bool reset;

	switch (where) {
	case PCIE_CAP + PCI_EXP_DEVCTL:
		reset = val & PCI_EXP_DEVCTL_BCR_FLR;
		break;
	case PM_CAP + PCI_PM_CTRL:
		reset = (val & PCI_PM_CTRL_STATE_MASK) == (__force u32)PCI_D3hot;
		break;
	case PCI_BRIDGE_CONTROL:
		reset = val & PCI_BRIDGE_CTL_BUS_RESET;
		break;
	default:
		reset = false;
	}

	if (reset)
		mock_log(mock, atomic_read(&fn->pdev.tsm_resets) ? 'f' : 'F');
	return PCIBIOS_SUCCESSFUL;
}

static int mock_config_read(struct pci_bus *bus, unsigned int devfn, int where,
			    int size, u32 *val)
{
	struct mock_tsm *mock = container_of(bus, struct mock_tsm, bus);

	return mock_fn_read(mock->fn[PCI_FUNC(devfn)], where, size, val);
}

static int mock_config_write(struct pci_bus *bus, unsigned int devfn, int where,
			     int size, u32 val)
{
	struct mock_tsm *mock = container_of(bus, struct mock_tsm, bus);

	return mock_fn_write(mock, mock->fn[PCI_FUNC(devfn)], where, val);
}

static struct pci_ops mock_pci_ops = {
	.read = mock_config_read,
	.write = mock_config_write,
};

static int mock_root_read(struct pci_bus *bus, unsigned int devfn, int where,
			  int size, u32 *val)
{
	struct mock_tsm *mock = container_of(bus, struct mock_tsm, root);

	return mock_fn_read(mock->above, where, size, val);
}

static int mock_root_write(struct pci_bus *bus, unsigned int devfn, int where,
			   int size, u32 val)
{
	struct mock_tsm *mock = container_of(bus, struct mock_tsm, root);

	return mock_fn_write(mock, mock->above, where, val);
}

static struct pci_ops mock_root_ops = {
	.read = mock_root_read,
	.write = mock_root_write,
};

/* The functions are on the bus behind a bridge */
void mock_below(struct mock_tsm *mock)
{
	mock->bus.parent = &mock->root;
	mock->bus.self = &mock->above->pdev;
}

/* They are behind the downstream port of a switch that has TEE, as function 0 has */
void mock_below_switch(struct mock_tsm *mock)
{
	struct pci_dev *up = &mock->above->pdev, *down = &mock->port->pdev;

	up->pcie_flags_reg = FIELD_PREP(PCI_EXP_FLAGS_TYPE, PCI_EXP_TYPE_UPSTREAM);
	up->dev.bus = &pci_bus_type;
	mock->inside.self = up;

	down->bus = &mock->inside;
	down->dev.parent = &up->dev;
	mock->bus.self = down;

	for (int i = 0; i < ARRAY_SIZE(mock->fn); i++)
		mock->fn[i]->pdev.dev.parent = &down->dev;
}

/* A function is a virtual one */
bool mock_virtfn(struct mock_tsm *mock, int nr, struct mock_fn *physfn)
{
#ifdef CONFIG_PCI_IOV
	mock->fn[nr]->pdev.is_virtfn = 1;
	mock->fn[nr]->pdev.physfn = &physfn->pdev;
	return true;
#else
	return false;
#endif
}

void mock_bar(struct mock_fn *fn, int bar, u64 start, u64 len,
	      unsigned long flags)
{
	fn->pdev.resource[bar] = len ?
		DEFINE_RES_NAMED(start, len, "mock", flags) :
		(struct resource) {};
}

void mock_msix(struct mock_fn *fn, u16 vectors, u32 table, u32 pba)
{
	u8 *cap = fn->config + MSIX_CAP;

	fn->pdev.msix_cap = MSIX_CAP;
	put_unaligned_le16(vectors - 1, cap + PCI_MSIX_FLAGS);
	put_unaligned_le32(table, cap + PCI_MSIX_TABLE);
	put_unaligned_le32(pba, cap + PCI_MSIX_PBA);
}

static struct pci_tsm *mock_probe(struct tsm_dev *tsm_dev, struct pci_dev *pdev)
{
	struct pci_tsm *tsm = &to_mock_fn(pdev)->tsm.base_tsm;

	mock_log(to_mock(pdev), 'p');
	return pci_tsm_link_constructor(pdev, tsm, tsm_dev) ? NULL : tsm;
}

static void mock_remove(struct pci_tsm *tsm)
{
	struct mock_tsm *mock = to_mock(tsm->pdev);

	mock_log(mock, 'x');
	if (mock->in_remove)
		mock->in_remove(mock->test);
}

static int mock_fn_connect(struct pci_dev *pdev)
{
	mock_log(to_mock(pdev), 'c');
	return 0;
}

static void mock_fn_disconnect(struct pci_dev *pdev)
{
	mock_log(to_mock(pdev), 'd');
}

static struct pci_tdi *mock_bind(struct pci_dev *pdev, struct kvm *kvm,
				 u32 tdi_id)
{
	struct pci_tdi *tdi = &to_mock_fn(pdev)->tdi;
	struct mock_tsm *mock = to_mock(pdev);

	mock_log(mock, 'b');
	pci_tsm_tdi_constructor(pdev, tdi, kvm, tdi_id);
	if (mock->bind_tdi_error)
		pci_tsm_tdi_error(tdi);
	return mock->bind_error ? ERR_PTR(mock->bind_error) : tdi;
}

static void mock_stop(struct pci_tdi *tdi)
{
	mock_log(to_mock(tdi->pdev), 's');
}

static void mock_unbind(struct pci_tdi *tdi)
{
	struct mock_tsm *mock = to_mock(tdi->pdev);

	mock_log(mock, 'u');
	if (mock->in_unbind)
		mock->in_unbind(mock->test);
}

static struct pci_tdi_ranges *mock_tdi_ranges(struct pci_tdi *tdi)
{
	const struct pci_tdi_ranges *ranges = to_mock(tdi->pdev)->ranges;

	return kmemdup(ranges, struct_size(ranges, range, ranges->nr),
		       GFP_KERNEL) ?: ERR_PTR(-ENOMEM);
}

static ssize_t mock_guest_req(struct pci_tdi *tdi, enum pci_tsm_req_scope scope,
			      sockptr_t req_in, size_t in_len,
			      sockptr_t req_out, size_t out_len, u64 *tsm_code)
{
	mock_log(to_mock(tdi->pdev), 'g');
	msleep(to_mock(tdi->pdev)->request_ms);
	return 0;
}

static void mock_owner_revoke(struct pci_tdi_owner *owner)
{
	mock_log(container_of(owner, struct mock_owner, owner)->mock, 'r');
}

static void mock_owner_error(struct pci_tdi_owner *owner)
{
	mock_log(container_of(owner, struct mock_owner, owner)->mock, 'e');
}

static const struct pci_tdi_owner_ops mock_owner_ops = {
	.revoke = mock_owner_revoke,
	.error = mock_owner_error,
};

static struct pci_dev *mock_get_fn(struct pci_dev *pdev, unsigned int nr)
{
	struct mock_tsm *mock = to_mock(pdev);

	/* The number of a virtual function begins elsewhere */
	return nr < ARRAY_SIZE(mock->fn) && !mock->fn[nr]->pdev.is_virtfn ?
	       pci_dev_get(&mock->fn[nr]->pdev) : NULL;
}

static struct pci_dev *mock_next_dev(struct pci_dev *from, bool reverse)
{
	struct mock_tsm *mock = kunit_get_current_test()->priv;
	int nr = reverse ? ARRAY_SIZE(mock->fn) - 1 : 0;

	if (from)
		nr = PCI_FUNC(from->devfn) + (reverse ? -1 : 1);
	pci_dev_put(from);
	return nr >= 0 && nr < ARRAY_SIZE(mock->fn) ?
	       pci_dev_get(&mock->fn[nr]->pdev) : NULL;
}

static void mock_fn_release(struct device *dev)
{
	kfree(to_mock_fn(to_pci_dev(dev)));
}

static struct mock_fn *mock_fn_alloc(struct mock_tsm *mock,
				     struct pci_bus *bus, int nr)
{
	struct mock_fn *fn = kzalloc_obj(*fn);
	struct pci_dev *pdev;

	if (!fn)
		return NULL;

	fn->mock = mock;
	mutex_init(&fn->tsm.lock);
	pdev = &fn->pdev;
	device_initialize(&pdev->dev);
	pdev->dev.release = mock_fn_release;
	dev_set_name(&pdev->dev, "mock.%d", nr);
	pdev->bus = bus;
	pdev->devfn = PCI_DEVFN(0, nr);
	/* PCIe, an endpoint */
	pdev->pcie_cap = PCIE_CAP;
	pdev->devcap = PCI_EXP_DEVCAP_TEE;
	pdev->pm_cap = PM_CAP;
	/* A reset takes no time, and is made with config space blocked */
	pdev->imm_ready = 1;
	pdev->block_cfg_access = 1;
	return fn;
}

static struct device_attribute *sysfs_attr(const char *name)
{
	struct attribute **attr = pci_tsm_attr_group.attrs;

	while (*attr && strcmp((*attr)->name, name))
		attr++;
	return *attr ? container_of(*attr, struct device_attribute, attr) : NULL;
}

ssize_t mock_store(struct mock_tsm *mock, struct mock_fn *fn, const char *name)
{
	struct device_attribute *attr = sysfs_attr(name);
	const char *tsm = dev_name(&mock->tsm_dev->dev);

	if (!attr)
		return -ENOENT;

	return attr->store(&fn->pdev.dev, attr, tsm, strlen(tsm));
}

ssize_t mock_show(struct mock_tsm *mock, struct mock_fn *fn, const char *name,
		  char *buf)
{
	struct device_attribute *attr = sysfs_attr(name);

	if (!attr)
		return -ENOENT;

	return attr->show(&fn->pdev.dev, attr, buf);
}

static void mock_owner_init(struct mock_tsm *mock, struct mock_owner *owner)
{
	owner->owner.ops = &mock_owner_ops;
	owner->mock = mock;
}

int mock_tsm_init(struct kunit *test)
{
	struct mock_tsm *mock = kunit_kzalloc(test, sizeof(*mock), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mock);
	test->priv = mock;
	mock->test = test;

	mock->bridge = pci_alloc_host_bridge(0);
	KUNIT_ASSERT_NOT_NULL(test, mock->bridge);
	mock->window = DEFINE_RES_MEM(0, SZ_2G);
	pci_add_resource_offset(&mock->bridge->windows, &mock->window,
				MOCK_BUS_OFFSET);
	mock->bus.bridge = &mock->bridge->dev;
	mock->bus.ops = &mock_pci_ops;
	mock->bus.sysdata = mock->sysdata;
	mock->root.bridge = &mock->bridge->dev;
	mock->root.ops = &mock_root_ops;
	mock->root.sysdata = mock->sysdata;

	/* They are on no list of devices */
	kunit_activate_static_stub(test, pci_tsm_get_fn, mock_get_fn);
	kunit_activate_static_stub(test, pci_tsm_next_dev, mock_next_dev);
	for (int i = 0; i < ARRAY_SIZE(mock->fn); i++) {
		mock->fn[i] = mock_fn_alloc(mock, &mock->bus, i);
		KUNIT_ASSERT_NOT_NULL(test, mock->fn[i]);
	}
	mock->above = mock_fn_alloc(mock, &mock->root, 0);
	KUNIT_ASSERT_NOT_NULL(test, mock->above);
	mock->port = mock_fn_alloc(mock, &mock->root, 1);
	KUNIT_ASSERT_NOT_NULL(test, mock->port);

	mock_owner_init(mock, &mock->owner);
	mock_owner_init(mock, &mock->other);

	/* A module as it is when loaded and nobody uses it */
	mock->module.state = MODULE_STATE_LIVE;
	atomic_set(&mock->module.refcnt, 1);
	mock->ops.owner = &mock->module;
	mock->ops.tvm_arch = PCI_TSM_TVM_ARCH_SIM;
	mock->ops.viommu_types = BIT(0) | BIT(31);
	mock->ops.probe = mock_probe;
	mock->ops.remove = mock_remove;
	mock->ops.connect = mock_fn_connect;
	mock->ops.disconnect = mock_fn_disconnect;
	mock->ops.bind = mock_bind;
	mock->ops.stop = mock_stop;
	mock->ops.unbind = mock_unbind;
	mock->ops.tdi_ranges = mock_tdi_ranges;
	mock->ops.guest_req = mock_guest_req;

	mock->tsm_dev = tsm_register(NULL, &mock->ops);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, mock->tsm_dev);
	KUNIT_ASSERT_GT(test, mock_store(mock, mock->fn[0], "connect"), 0);
	KUNIT_ASSERT_STREQ(test, mock->log, "pcp");
	mock->log[0] = '\0';
	return 0;
}

void mock_tsm_exit(struct kunit *test)
{
	struct mock_tsm *mock = test->priv;

	if (!mock)
		return;

	if (!IS_ERR_OR_NULL(mock->tsm_dev))
		tsm_unregister(mock->tsm_dev);
	for (int i = 0; i < ARRAY_SIZE(mock->fn); i++)
		if (mock->fn[i])
			put_device(&mock->fn[i]->pdev.dev);
	if (mock->above)
		put_device(&mock->above->pdev.dev);
	if (mock->port)
		put_device(&mock->port->pdev.dev);
	if (mock->bridge)
		pci_free_host_bridge(mock->bridge);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * A TEE Security Manager without hardware, for tests of those who bind device
 * interfaces to VMs: what network device drivers have in netdevsim.
 *
 * It takes part of a device's life where it was named at load time. PCI/TSM
 * looks for a bit of the device capabilities that such a device does not have;
 * the kernel keeps a copy of that register, and reads it once, so the bit is set
 * in the copy. From then on the device is as one with TDISP to the kernel:
 *
 *	insmod tsm-sim.ko devices=0000:01:00.0
 *	echo tsm0 > /sys/bus/pci/devices/0000:01:00.0/tsm/connect
 *
 * There is no link encryption, no attestation, and nothing is protected.
 */
#include <linux/cleanup.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/tsm.h>

#include "tsm-sim.h"

#define MAX_DEVICES	16

static char *devices = "";
module_param(devices, charp, 0444);
MODULE_PARM_DESC(devices, "PCIe functions 0 that take part, as 0000:01:00.0, separated by commas");

static struct pci_dev *taking_part[MAX_DEVICES];
/* The bit was not there before */
static bool bit_was_set[MAX_DEVICES];
static int nr_taking_part;

/* Protects the registration against changes by tests */
static DEFINE_MUTEX(sim_lock);
static struct tsm_dev *sim_tsm;

bool sim_takes_part(struct pci_dev *pdev)
{
	for (int i = 0; i < nr_taking_part; i++)
		if (taking_part[i] == pdev)
			return true;
	return false;
}

static int add_device(const char *name)
{
	unsigned int domain, bus, slot, func;
	struct pci_dev *pdev;
	char end;

	if (sscanf(name, "%x:%x:%x.%x%c", &domain, &bus, &slot, &func,
		   &end) != 4) {
		pr_err("not a PCI address: %s\n", name);
		return -EINVAL;
	}

	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, func));
	if (!pdev) {
		pr_err("no device %s\n", name);
		return -ENODEV;
	}

	if (nr_taking_part == MAX_DEVICES || sim_takes_part(pdev)) {
		pr_err("too many devices, or %s twice\n", name);
		pci_dev_put(pdev);
		return -EINVAL;
	}

	bit_was_set[nr_taking_part] = pdev->devcap & PCI_EXP_DEVCAP_TEE;
	taking_part[nr_taking_part++] = pdev;
	pdev->devcap |= PCI_EXP_DEVCAP_TEE;
	if (!is_pci_tsm_pf0(pdev)) {
		pci_err(pdev, "not function 0 of a PCIe endpoint\n");
		return -EINVAL;
	}

	return 0;
}

static void remove_devices(void)
{
	while (nr_taking_part--) {
		struct pci_dev *pdev = taking_part[nr_taking_part];

		if (!bit_was_set[nr_taking_part])
			pdev->devcap &= ~PCI_EXP_DEVCAP_TEE;
		pci_dev_put(pdev);
	}
	nr_taking_part = 0;
}

static int add_devices(void)
{
	char *list __free(kfree) = kstrdup(devices, GFP_KERNEL);
	char *rest = list, *name;
	int rc;

	if (!list)
		return -ENOMEM;

	while ((name = strsep(&rest, ",\n"))) {
		if (!*name)
			continue;

		rc = add_device(name);
		if (rc)
			return rc;
	}

	return 0;
}

bool sim_is_gone(void)
{
	guard(mutex)(&sim_lock);
	return !sim_tsm;
}

/**
 * sim_set_gone() - let the TSM go away, or come back
 * @gone: whether it is to be gone
 *
 * Return: 0, also if nothing was to be done, or a negative error code.
 */
int sim_set_gone(bool gone)
{
	struct tsm_dev *tsm;

	guard(mutex)(&sim_lock);

	if (gone == !sim_tsm)
		return 0;

	if (gone) {
		tsm_unregister(sim_tsm);
		sim_tsm = NULL;
		return 0;
	}

	tsm = tsm_register(NULL, &sim_tsm_ops);
	if (IS_ERR(tsm))
		return PTR_ERR(tsm);

	sim_tsm = tsm;
	return 0;
}

static int __init sim_init(void)
{
	int rc;

	add_taint(TAINT_TEST, LOCKDEP_STILL_OK);

	rc = add_devices();
	if (rc)
		goto err_devices;

	rc = sim_judge_init();
	if (rc)
		goto err_devices;

	/* Needed as soon as a function is probed */
	sim_debugfs_init();
	rc = sim_set_gone(false);
	if (rc)
		goto err_judge;

	return 0;

err_judge:
	sim_debugfs_exit();
	sim_judge_exit();
err_devices:
	remove_devices();
	return rc;
}
module_init(sim_init);

static void __exit sim_exit(void)
{
	/*
	 * No TDI is bound, it would hold the module, and neither is a file open,
	 * or can be opened, that could do something about that. The directories
	 * of the functions go with these, the one that they are in after that.
	 */
	sim_set_gone(true);
	sim_debugfs_exit();
	sim_judge_exit();
	remove_devices();
}
module_exit(sim_exit);

MODULE_DESCRIPTION("Simulated TEE Security Manager");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_LICENSE("GPL");

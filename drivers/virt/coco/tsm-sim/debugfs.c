// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a test can see and break. In /sys/kernel/debug/tsm-sim:
 *
 * violations	what the judge has to say, a name and a number in each line, then
 *		the last violations. A write makes all numbers 0.
 * gone		1 lets the TSM go away, 0 lets it come back
 * fail_connect	errno that the next connects fail with, 0 for none
 * bind		"0000:01:00.0 5" binds a function by that id to no VM, as VFIO does
 *		to a real one
 * unbind	"0000:01:00.0" ends this
 * bound	the functions that were bound so, their ids, what came: how often
 *		the TDI was revoked, and was said to be in error; then the ranges
 *		of each as the PCI core tells them, in hexadecimal
 *
 * and in a directory for each function of a connected device:
 *
 * state	the TDISP state. The device looks after its configuration.
 * error	a write lets it fall into ERROR
 * fail_*	errno that the step fails with, 0 for none
 * delay_*	milliseconds that the step loses, or until a 0 is written
 * stubborn	no signal ends a delay, without it a fatal one does
 * block_config	1 keeps others from config space, a reset in particular, until a 0.
 *		EBUSY while somebody else does
 * import	a file descriptor of a dma-buf gets an sg table of it, a negative
 *		number gives it back. 1 as long as it is not given back.
 * delay_import	milliseconds that this takes when the exporter asks for it
 * lock_msix	the next bind locks the MSI-X table
 * bad_nonce	the next start uses a wrong nonce
 * marks	"BAR offset length private" or "shared" marks a part for the next
 *		report, "clear" removes all marks. Numbers as in C.
 * report	the report while locked; what is written replaces the next ones,
 *		a write of one byte ends that
 *
 * Locking: the directories come and go with pci_tsm_rwsem held for write, so the
 * files in them cannot wait for that. Those of the top can.
 */
#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "tsm-sim.h"

#define MAX_MARKS	256

static struct dentry *sim_dir;

/* Binds a function without a VM, for tests that are not about VMs */
struct self_owner {
	struct pci_tdi_owner owner;
	struct list_head node;
	struct pci_dev *pdev;
	u32 tdi_id;
	struct pci_tdi_ranges *ranges;
	atomic_t revoked;
	atomic_t errors;
};

/* Protects the list, and orders bind and unbind */
static DEFINE_MUTEX(self_lock);
static LIST_HEAD(self_owners);

/* Nobody looks behind the pointer to the VM, it has to be one */
static u8 no_vm;

static void self_revoke(struct pci_tdi_owner *owner)
{
	atomic_inc(&container_of(owner, struct self_owner, owner)->revoked);
}

static void self_error(struct pci_tdi_owner *owner)
{
	atomic_inc(&container_of(owner, struct self_owner, owner)->errors);
}

static const struct pci_tdi_owner_ops self_ops = {
	.revoke = self_revoke,
	.error = self_error,
};

/* Take a reference of the function that @name begins with */
static struct pci_dev *get_function(const char *name, int *used)
{
	unsigned int domain, bus, slot, func;

	if (sscanf(name, "%x:%x:%x.%x%n", &domain, &bus, &slot, &func,
		   used) < 4)
		return NULL;
	return pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, func));
}

static struct self_owner *find_self(struct pci_dev *pdev)
{
	struct self_owner *self;

	list_for_each_entry(self, &self_owners, node)
		if (self->pdev == pdev)
			return self;
	return NULL;
}

static ssize_t bind_write(struct file *file, const char __user *buf, size_t len,
			  loff_t *ppos)
{
	u32 tdi_id;
	int rc, used;

	char *line __free(kfree) = memdup_user_nul(buf, min(len, PAGE_SIZE));
	if (IS_ERR(line))
		return PTR_ERR(line);

	struct pci_dev *pdev __free(pci_dev_put) = get_function(line, &used);
	if (!pdev)
		return -ENODEV;

	rc = kstrtou32(strim(line + used), 0, &tdi_id);
	if (rc)
		return rc;

	struct self_owner *self __free(kfree) = kzalloc_obj(*self);
	if (!self)
		return -ENOMEM;

	self->owner.ops = &self_ops;
	self->tdi_id = tdi_id;

	guard(mutex)(&self_lock);
	if (find_self(pdev))
		return -EBUSY;

	rc = pci_tsm_bind(pdev, (struct kvm *)&no_vm, tdi_id, &self->owner);
	if (rc)
		return rc;

	self->ranges = pci_tsm_tdi_ranges(pdev, &self->owner);
	if (IS_ERR(self->ranges)) {
		pci_tsm_stop(pdev, &self->owner);
		pci_tsm_unbind(pdev, &self->owner);
		return PTR_ERR(self->ranges);
	}

	self->pdev = no_free_ptr(pdev);
	list_add_tail(&no_free_ptr(self)->node, &self_owners);
	return len;
}

static void self_end(struct self_owner *self)
{
	pci_tsm_stop(self->pdev, &self->owner);
	pci_tsm_unbind(self->pdev, &self->owner);
	list_del(&self->node);
	pci_dev_put(self->pdev);
	kvfree(self->ranges);
	kfree(self);
}

static ssize_t unbind_write(struct file *file, const char __user *buf,
			    size_t len, loff_t *ppos)
{
	struct self_owner *self;
	int used;

	char *line __free(kfree) = memdup_user_nul(buf, min(len, PAGE_SIZE));
	if (IS_ERR(line))
		return PTR_ERR(line);

	struct pci_dev *pdev __free(pci_dev_put) = get_function(line, &used);
	if (!pdev)
		return -ENODEV;

	guard(mutex)(&self_lock);
	self = find_self(pdev);
	if (!self)
		return -ENXIO;

	self_end(self);
	return len;
}

static int bound_show(struct seq_file *m, void *unused)
{
	struct self_owner *self;

	guard(mutex)(&self_lock);
	list_for_each_entry(self, &self_owners, node) {
		seq_printf(m, "%s %#x revoked %d errors %d\n",
			   pci_name(self->pdev), self->tdi_id,
			   atomic_read(&self->revoked),
			   atomic_read(&self->errors));
		for (unsigned int i = 0; i < self->ranges->nr; i++) {
			const struct pci_tdi_range *range =
				&self->ranges->range[i];

			seq_printf(m, " %x %llx %llx %x\n", range->bar,
				   range->offset, range->length, range->flags);
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(bound);

static const struct file_operations bind_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = bind_write,
};

static const struct file_operations unbind_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = unbind_write,
};

static int violations_show(struct seq_file *m, void *unused)
{
	sim_judge_show(m);
	return 0;
}

static ssize_t violations_write(struct file *file, const char __user *buf,
				size_t len, loff_t *ppos)
{
	sim_judge_reset();
	return len;
}
DEFINE_SHOW_STORE_ATTRIBUTE(violations);

static int gone_get(void *data, u64 *val)
{
	*val = sim_is_gone();
	return 0;
}

static int gone_set(void *data, u64 val)
{
	return sim_set_gone(val);
}
DEFINE_DEBUGFS_ATTRIBUTE(gone_fops, gone_get, gone_set, "%llu\n");

static int state_show(struct seq_file *m, void *unused)
{
	static const char * const name[] = {
		[TDISP_CONFIG_UNLOCKED] = "CONFIG_UNLOCKED",
		[TDISP_CONFIG_LOCKED] = "CONFIG_LOCKED",
		[TDISP_RUN] = "RUN",
		[TDISP_IN_ERROR] = "ERROR",
	};
	struct sim_fn *fn = m->private;

	guard(mutex)(&fn->lock);
	sim_device_check(fn);
	seq_printf(m, "%s\n", name[fn->device.state]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

static int error_set(void *data, u64 val)
{
	struct sim_fn *fn = data;

	guard(mutex)(&fn->lock);
	return sim_device_error(fn);
}
DEFINE_DEBUGFS_ATTRIBUTE(error_fops, NULL, error_set, "%llu\n");

static int block_config_set(void *data, u64 val)
{
	struct sim_fn *fn = data;

	guard(mutex)(&fn->lock);
	if (fn->config_blocked == !!val)
		return 0;

	if (!val)
		pci_cfg_access_unlock(sim_pdev(fn));
	else if (!pci_cfg_access_trylock(sim_pdev(fn)))
		return -EBUSY;

	fn->config_blocked = val;
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(block_config_fops, NULL, block_config_set, "%llu\n");

static int import_get(void *data, u64 *val)
{
	*val = sim_imported(data);
	return 0;
}

static int import_set(void *data, u64 val)
{
	return sim_import(data, val);
}
DEFINE_DEBUGFS_ATTRIBUTE_SIGNED(import_fops, import_get, import_set, "%lld\n");

static int marks_show(struct seq_file *m, void *unused)
{
	struct sim_fn *fn = m->private;
	struct sim_mark *mark;

	guard(mutex)(&fn->lock);
	list_for_each_entry(mark, &fn->marks, node)
		seq_printf(m, "%u %#llx %#llx %s\n", mark->range.bar,
			   mark->range.offset, mark->range.length,
			   mark->range.flags ? "private" : "shared");
	return 0;
}

static int parse_mark(struct sim_fn *fn, const char *line,
		      struct pci_tdi_range *range)
{
	char how[8];
	u64 end;

	if (sscanf(line, "%i %lli %lli %7s", (int *)&range->bar,
		   (s64 *)&range->offset, (s64 *)&range->length, how) != 4)
		return -EINVAL;

	if (!strcmp(how, "private"))
		range->flags = PCI_TDI_RANGE_PRIVATE;
	else if (!strcmp(how, "shared"))
		range->flags = 0;
	else
		return -EINVAL;

	if (range->bar >= PCI_STD_NUM_BARS || !range->length ||
	    check_add_overflow(range->offset, range->length, &end) ||
	    end > pci_resource_len(sim_pdev(fn), range->bar))
		return -ERANGE;
	return 0;
}

static ssize_t marks_write(struct file *file, const char __user *buf,
			   size_t len, loff_t *ppos)
{
	struct sim_fn *fn = file_inode(file)->i_private;
	struct sim_mark *old, *next;
	int rc;

	char *line __free(kfree) = memdup_user_nul(buf, min(len, PAGE_SIZE));
	if (IS_ERR(line))
		return PTR_ERR(line);

	guard(mutex)(&fn->lock);
	if (sysfs_streq(line, "clear")) {
		list_for_each_entry_safe(old, next, &fn->marks, node) {
			list_del(&old->node);
			kfree(old);
		}
		return len;
	}

	/* More would not fit the 16 bits of the offset in a report */
	if (list_count_nodes(&fn->marks) == MAX_MARKS)
		return -ENOSPC;

	struct sim_mark *mark __free(kfree) = kzalloc_obj(*mark);
	if (!mark)
		return -ENOMEM;

	rc = parse_mark(fn, line, &mark->range);
	if (rc)
		return rc;

	list_add_tail(&no_free_ptr(mark)->node, &fn->marks);
	return len;
}
DEFINE_SHOW_STORE_ATTRIBUTE(marks);

static ssize_t report_read(struct file *file, char __user *buf, size_t len,
			   loff_t *ppos)
{
	struct sim_fn *fn = file_inode(file)->i_private;

	guard(mutex)(&fn->lock);
	return simple_read_from_buffer(buf, len, ppos, fn->device.report,
				       fn->device.report_len);
}

static ssize_t report_write(struct file *file, const char __user *buf,
			    size_t len, loff_t *ppos)
{
	struct sim_fn *fn = file_inode(file)->i_private;
	void *report = NULL;

	if (len > U16_MAX)
		return -EFBIG;

	if (len > 1) {
		report = vmemdup_user(buf, len);
		if (IS_ERR(report))
			return PTR_ERR(report);
	}

	guard(mutex)(&fn->lock);
	kvfree(fn->report);
	fn->report = report;
	fn->report_len = report ? len : 0;
	return len;
}

static const struct file_operations report_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = report_read,
	.write = report_write,
	.llseek = default_llseek,
};

void sim_debugfs_add(struct sim_fn *fn)
{
	char name[16];

	fn->dir = debugfs_create_dir(pci_name(sim_pdev(fn)), sim_dir);
	debugfs_create_file("state", 0400, fn->dir, fn, &state_fops);
	debugfs_create_file_unsafe("error", 0200, fn->dir, fn, &error_fops);
	debugfs_create_file_unsafe("block_config", 0200, fn->dir, fn,
				   &block_config_fops);
	debugfs_create_file_unsafe("import", 0600, fn->dir, fn, &import_fops);
	debugfs_create_u32("delay_import", 0600, fn->dir, &fn->delay_import);
	debugfs_create_bool("lock_msix", 0600, fn->dir, &fn->lock_msix);
	debugfs_create_bool("bad_nonce", 0600, fn->dir, &fn->bad_nonce);
	debugfs_create_bool("stubborn", 0600, fn->dir, &fn->stubborn);
	debugfs_create_file("marks", 0600, fn->dir, fn, &marks_fops);
	debugfs_create_file("report", 0600, fn->dir, fn, &report_fops);
	for (int i = 0; i < SIM_NR_STEPS; i++) {
		scnprintf(name, sizeof(name), "delay_%s", sim_step_name[i]);
		debugfs_create_u32(name, 0600, fn->dir, &fn->delay[i]);
		/* These have no result */
		if (i == SIM_STOP || i == SIM_UNBIND)
			continue;
		scnprintf(name, sizeof(name), "fail_%s", sim_step_name[i]);
		debugfs_create_u32(name, 0600, fn->dir, &fn->fail[i]);
	}
}

void sim_debugfs_remove(struct sim_fn *fn)
{
	debugfs_remove(fn->dir);
	block_config_set(fn, 0);
	sim_import(fn, -1);
}

void sim_debugfs_init(void)
{
	sim_dir = debugfs_create_dir("tsm-sim", NULL);
	debugfs_create_file("violations", 0600, sim_dir, NULL,
			    &violations_fops);
	debugfs_create_file_unsafe("gone", 0600, sim_dir, NULL, &gone_fops);
	debugfs_create_u32("fail_connect", 0600, sim_dir, &sim_fail_connect);
	debugfs_create_file("bind", 0200, sim_dir, NULL, &bind_fops);
	debugfs_create_file("unbind", 0200, sim_dir, NULL, &unbind_fops);
	debugfs_create_file("bound", 0400, sim_dir, NULL, &bound_fops);
}

void sim_debugfs_exit(void)
{
	struct self_owner *self, *next;

	debugfs_remove(sim_dir);

	/* Those whose TDI was revoked, the others hold the module */
	list_for_each_entry_safe(self, next, &self_owners, node)
		self_end(self);
}

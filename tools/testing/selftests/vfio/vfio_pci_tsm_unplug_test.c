// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device of a TDI is taken from VFIO, and then from the machine, while it is
 * bound: somebody asks for it, the VMM gives it back, in its own time.
 *
 * usage: vfio_pci_tsm_unplug_test [options] device
 *
 * See vfio_pci_tsm_test.c for the device that is needed. It has to be in a slot
 * with a power controller, and is gone after this.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_pci_tsm.h"

struct taker {
	pthread_t thread;
	char path[PATH_MAX];
	const char *value;
	int ret;
	bool done;
};

static void *taker(void *arg)
{
	struct taker *taker = arg;

	taker->ret = file_write(taker->path, taker->value);
	WRITE_ONCE(taker->done, true);
	return NULL;
}

/* Asked for by whoever takes the device, of the VMM */
static int request_eventfd(struct vmm *vmm)
{
	struct {
		struct vfio_irq_set set;
		s32 fd;
	} arg = {
		.set.argsz = sizeof(arg),
		.set.flags = VFIO_IRQ_SET_DATA_EVENTFD |
			     VFIO_IRQ_SET_ACTION_TRIGGER,
		.set.index = VFIO_PCI_REQ_IRQ_INDEX,
		.set.count = 1,
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};

	ioctl_assert(vmm->device->fd, VFIO_DEVICE_SET_IRQS, &arg);
	return arg.fd;
}

/* The file of the slot that the device is in */
static bool find_slot(char *path, size_t size)
{
	struct dirent *entry;
	DIR *dir = opendir("/sys/bus/pci/slots");
	char address[32], file[PATH_MAX];
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		snprintf(file, sizeof(file), "/sys/bus/pci/slots/%s/address",
			 entry->d_name);
		if (get(file, address, sizeof(address)))
			continue;
		address[strcspn(address, "\n")] = '\0';
		found = address[0] &&
			!strncmp(address, device_bdf, strlen(address));
		if (found)
			snprintf(path, size, "/sys/bus/pci/slots/%s/power",
				 entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found && !access(path, W_OK);
}

FIXTURE(tsm_unplug)
{
	struct vmm vmm;
	struct taker taker;
	int request;
};

FIXTURE_SETUP(tsm_unplug)
{
	if (!vmm_start(&self->vmm))
		SKIP(return, "There is no tsm-sim");
	self->request = request_eventfd(&self->vmm);
}

FIXTURE_TEARDOWN(tsm_unplug)
{
	vmm_close(&self->vmm);
	EXPECT_EQ(0, violations());
}

/* Whoever wants it waits, and the TDI is as it was, until the VMM is done */
static void take(struct __test_metadata *_metadata, FIXTURE_DATA(tsm_unplug) *self)
{
	struct pollfd pfd = { .fd = self->request, .events = POLLIN };
	struct vmm *vmm = &self->vmm;

	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(0, pthread_create(&self->taker.thread, NULL, taker, &self->taker));
	EXPECT_EQ(1, poll(&pfd, 1, 20000));
	usleep(500000);
	EXPECT_FALSE(READ_ONCE(self->taker.done));
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_FALSE(told(vmm, 0));

	vmm_close(vmm);
	ASSERT_EQ(0, pthread_join(self->taker.thread, NULL));
	EXPECT_EQ(0, self->taker.ret);
	close(self->request);
}

TEST_F_TIMEOUT(tsm_unplug, driver, 600)
{
	snprintf(self->taker.path, PATH_MAX, "/sys/bus/pci/devices/%s/driver/unbind",
		 device_bdf);
	self->taker.value = device_bdf;
	take(_metadata, self);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());

	ASSERT_EQ(0, file_write("/sys/bus/pci/drivers_probe", device_bdf));
	vmm_open(&self->vmm, true);
	self->request = request_eventfd(&self->vmm);
	EXPECT_EQ(0, tsm_bind(&self->vmm));
}

/* Last, as there is no device after it */
TEST_F_TIMEOUT(tsm_unplug, slot, 600)
{
	char path[PATH_MAX];
	int i;

	if (!find_slot(self->taker.path, PATH_MAX))
		SKIP(return, "%s is in no slot with a power controller", device_bdf);
	self->taker.value = "0";
	take(_metadata, self);

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", device_bdf);
	for (i = 0; i < 1000 && !access(path, F_OK); i++)
		usleep(10000);
	EXPECT_NE(0, access(path, F_OK));
	/* What the simulation had of it went with it */
	EXPECT_STREQ("none", sim_state());
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	page_size = getpagesize();
	return test_harness_run(argc, argv);
}

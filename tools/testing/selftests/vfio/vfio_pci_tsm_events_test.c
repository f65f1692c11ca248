// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens to a TDI that its VMM did not ask for: resets, errors of the bus, a
 * system that wants to sleep, a TSM that hangs, another owner, a VMM that is killed
 * at each point; and whether the simulation sees somebody who breaks the rules.
 *
 * usage: vfio_pci_tsm_events_test [options] device [other device [AER device]]
 *
 * See vfio_pci_tsm_test.c for the first two. The third, if there is one, is
 * connected to the simulated TSM as well, and has Advanced Error Reporting.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/bits.h>

#include "vfio_pci_tsm.h"

/* Longer than any test lasts */
#define FOREVER_MS	"600000"

FIXTURE(tsm_events)
{
	struct vmm vmm;
};

FIXTURE_SETUP(tsm_events)
{
	if (!vmm_start(&self->vmm))
		SKIP(return, "There is no tsm-sim");
}

FIXTURE_TEARDOWN(tsm_events)
{
	/* What a test that failed has left, and nothing gets on with */
	put_fn("block_config", "0");
	put_fn("import", "-1");
	vmm_close(&self->vmm);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_EQ(0, violations());
}

/* After a reset the device has to be set up anew */
static void enable(struct vmm *vmm)
{
	u16 command = config_read(vmm, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY |
		      PCI_COMMAND_MASTER;

	VFIO_ASSERT_EQ(config_write(vmm, PCI_COMMAND, &command, 2), 2);
}

static bool wait_state(struct vmm *vmm, u32 state, int ms)
{
	u64 end = now_ms() + ms;

	while (tdi_state(vmm) != state) {
		if (now_ms() > end)
			return false;
		usleep(5000);
	}
	return true;
}

/* How often the simulation complains of something that has @what in it */
static int complaints(const char *what)
{
	char buf[8192], *pos = buf;
	int nr = 0;

	if (get(SIM "/violations", buf, sizeof(buf)))
		return -1;
	while ((pos = strstr(pos, what))) {
		pos++;
		nr++;
	}
	return nr;
}

static int sim_bind(const char *bdf, u32 id)
{
	char line[64];

	snprintf(line, sizeof(line), "%s %#x", bdf, id);
	return put_sim("bind", line);
}

/*
 * Somebody who binds the device and takes no mapping away: the simulation's own
 * owner, which VFIO knows nothing of. Everything that it must see is there.
 */
TEST_F(tsm_events, broken_rules)
{
	struct vmm *vmm = &self->vmm;
	u64 size = vmm->size - SHARED_SIZE;
	int private, shared, more;
	volatile u32 *map;
	u32 value;

	shared = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	private = export(vmm, vmm->bar, SHARED_SIZE, size, 0);
	ASSERT_LE(0, shared);
	ASSERT_LE(0, private);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, shared, 0, SHARED_SIZE,
					 SZ_1G));
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, private, 0, size,
					 2ULL * SZ_1G));
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, private, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	ASSERT_TRUE(touch(map, 0, &value));
	ASSERT_TRUE(touch(vmm->map, SHARED_SIZE, &value));
	ASSERT_EQ(0, violations());

	ASSERT_EQ(0, sim_bind(device_bdf, 5));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_EQ(1, complaints("bound while a user has mapped it"));
	EXPECT_EQ(1, complaints("bound while iommufd has mapped"));
	EXPECT_EQ(1, complaints("bound while mmap has mapped"));
	EXPECT_EQ(3, violations());

	/* What is mapped from now on; by a fault of another page of the BAR */
	EXPECT_EQ(0, munmap((void *)vmm->map, vmm->size));
	vmm->map = mmap(NULL, vmm->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			vmm->device->fd, region_offset(vmm->bar));
	ASSERT_NE(MAP_FAILED, (void *)vmm->map);
	EXPECT_TRUE(touch(vmm->map, 0, &value));
	EXPECT_EQ(3, violations());
	EXPECT_TRUE(touch(vmm->map, SHARED_SIZE, &value));
	EXPECT_EQ(1, complaints("user maps private"));
	more = export(vmm, vmm->bar, SHARED_SIZE, page_size, 0);
	ASSERT_LE(0, more);
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, more, 0, page_size,
					 3ULL * SZ_1G));
	EXPECT_EQ(1, complaints("iommufd maps private"));
	EXPECT_EQ(5, violations());

	/* One owner at a time, and the other one's attempt changes nothing */
	EXPECT_EQ(-EBUSY, tsm_bind(vmm));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_EQ(1, mapped(shared));

	EXPECT_EQ(0, put_sim("unbind", device_bdf));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_EQ(0, munmap((void *)map, size));
	close(shared);
	close(private);
	close(more);

	/* That was wanted; what comes now is not */
	put_sim("violations", "0");
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* Have a driver of another device get an sg table */
static int import(int fd)
{
	char value[16];

	snprintf(value, sizeof(value), "%d", fd);
	return put_fn("import", value);
}

static bool imported(void)
{
	char path[PATH_MAX], buf[16];

	snprintf(path, sizeof(path), SIM "/%s/import", device_bdf);
	return !get(path, buf, sizeof(buf)) && buf[0] == '1';
}

/*
 * An importer that has an sg table, and gives it back when it is asked to. That can
 * take time, for which the bind waits; and while bound it gets none of what is
 * private. Who does not care for importers is seen not to.
 */
TEST_F(tsm_events, sg_table)
{
	struct vmm *vmm = &self->vmm;
	int all, shared, private;
	u64 start;

	all = export(vmm, vmm->bar, 0, vmm->size, 0);
	shared = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	private = export(vmm, vmm->bar, SHARED_SIZE, page_size,
			 VFIO_DMA_BUF_FLAG_PRIVATE);
	ASSERT_LE(0, all);
	ASSERT_LE(0, shared);
	ASSERT_LE(0, private);

	/* From a time on at which no user has mapped anything */
	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(0, tsm_unbind(vmm));
	ASSERT_EQ(0, import(all));
	EXPECT_TRUE(imported());
	EXPECT_EQ(0, violations());

	/* Mapped long before, and still */
	ASSERT_EQ(0, sim_bind(device_bdf, 5));
	EXPECT_EQ(1, complaints("bound while sgt has mapped"));
	EXPECT_EQ(1, violations());
	ASSERT_EQ(0, put_sim("unbind", device_bdf));
	put_sim("violations", "0");

	ASSERT_EQ(0, put_fn("delay_import", "3000"));
	start = now_ms();
	ASSERT_EQ(0, tsm_bind(vmm));
	EXPECT_LE(3000, now_ms() - start);
	EXPECT_FALSE(imported());
	EXPECT_EQ(0, violations());

	EXPECT_EQ(-ENODEV, import(all));
	EXPECT_EQ(-EOPNOTSUPP, import(private));
	EXPECT_EQ(0, import(shared));
	EXPECT_TRUE(imported());
	EXPECT_EQ(0, violations());

	/* What is shared stays with who has it */
	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_TRUE(imported());
	EXPECT_EQ(0, import(all));
	EXPECT_TRUE(imported());
	EXPECT_EQ(-EOPNOTSUPP, import(private));

	ASSERT_EQ(0, import(all));
	ASSERT_EQ(0, put_fn("delay_import", "0"));
	ASSERT_EQ(0, tsm_bind(vmm));
	EXPECT_FALSE(imported());
	ASSERT_EQ(0, import(-1));
	close(all);
	close(shared);
	close(private);
}

TEST_F(tsm_events, two_owners)
{
	struct vmm *vmm = &self->vmm;

	ASSERT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(-EBUSY, sim_bind(device_bdf, TDI_ID));
	EXPECT_EQ(-EBUSY, sim_bind(device_bdf, 5));
	EXPECT_EQ(-ENXIO, put_sim("unbind", device_bdf));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
	EXPECT_FALSE(told(vmm, 0));

	/* Nobody has mapped anything since the bind */
	ASSERT_EQ(0, tsm_unbind(vmm));
	ASSERT_EQ(0, sim_bind(device_bdf, 5));
	EXPECT_EQ(-EBUSY, tsm_bind(vmm));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(vmm));
	/* Nothing to unbind, and that is no way to the other's TDI */
	EXPECT_EQ(0, tsm_unbind(vmm));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	ASSERT_EQ(0, put_sim("unbind", device_bdf));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* The bind has the module, not its having been loaded */
TEST_F(tsm_events, unload)
{
	ASSERT_EQ(0, tsm_bind(&self->vmm));
	EXPECT_EQ(-1, syscall(SYS_delete_module, "tsm_sim", O_NONBLOCK));
	if (errno == ENOSYS)
		SKIP(return, "Modules cannot be unloaded");
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(&self->vmm));
}

/* The VM stays as long as its TDI does */
TEST_F(tsm_events, vm_closed)
{
	struct vmm *vmm = &self->vmm;

	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(0, close(vmm->kvm_vfio));
	ASSERT_EQ(0, close(vmm->vm));
	ASSERT_EQ(0, close(vmm->kvm));
	vmm->kvm_vfio = -1;
	vmm->vm = -1;
	vmm->kvm = -1;
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_FALSE(told(vmm, 0));

	/* And until the device is closed, for another bind */
	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_UNBOUND(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* A reset of the bus that the device is on, by the bridge to it */
TEST_F(tsm_events, bus_reset)
{
	struct vmm *vmm = &self->vmm;
	char path[PATH_MAX];
	int ret;

	ASSERT_EQ(0, tsm_bind(vmm));
	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/../reset_subordinate", device_bdf);
	ret = file_write(path, "1");
	if (ret == -ENOENT)
		SKIP(return, "%s is not below a bridge", device_bdf);
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(told(vmm, 10000));
	/* The reset does not wait for that */
	EXPECT_TRUE(wait_state(vmm, VFIO_DEVICE_TDI_UNBOUND, 10000));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());

	enable(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* A reset that comes while a bind is under way waits for it, and undoes it */
TEST_F(tsm_events, reset_while_binding)
{
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };

	ASSERT_EQ(0, put_fn("delay_lock", "3000"));
	ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
	ASSERT_TRUE(wait_state(vmm, VFIO_DEVICE_TDI_BINDING, 10000));
	ASSERT_EQ(0, put_pci(device_bdf, "reset", "1"));
	ASSERT_EQ(0, pthread_join(bind.thread, NULL));
	ASSERT_EQ(0, put_fn("delay_lock", "0"));
	EXPECT_EQ(0, bind.ret);
	EXPECT_TRUE(told(vmm, 10000));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	enable(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

static void *resetter(void *arg)
{
	put_pci(arg, "reset", "1");
	return NULL;
}

/*
 * A reset that has unbound the device, and is not over: it waits for config space.
 * Who binds from now on fails, and so does who waited for the unbind to end.
 */
TEST_F(tsm_events, bind_in_reset)
{
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };
	pthread_t thread;
	int i;

	ASSERT_EQ(0, tsm_bind(vmm));
	ASSERT_EQ(0, put_fn("delay_unbind", FOREVER_MS));
	ASSERT_EQ(0, pthread_create(&thread, NULL, resetter, (void *)device_bdf));
	ASSERT_TRUE(wait_state(vmm, VFIO_DEVICE_TDI_UNBINDING, 10000));
	ASSERT_EQ(0, put_fn("block_config", "1"));
	ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
	usleep(300000);
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBINDING, tdi_state(vmm));
	ASSERT_EQ(0, put_fn("delay_unbind", "0"));
	ASSERT_EQ(0, pthread_join(bind.thread, NULL));
	EXPECT_EQ(-EBUSY, bind.ret);

	for (i = 0; i < 10; i++) {
		EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(vmm));
		EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
		EXPECT_EQ(-EBUSY, tsm_bind(vmm));
		usleep(50000);
	}
	/* The reset was not over before, or it would have told */
	EXPECT_FALSE(told(vmm, 0));

	ASSERT_EQ(0, put_fn("block_config", "0"));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(told(vmm, 10000));
	EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_EQ(0, violations());
	enable(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

static atomic_bool stop;

static void *race_intx(void *arg)
{
	u16 command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct vmm *vmm = arg;

	while (!stop) {
		command ^= PCI_COMMAND_INTX_DISABLE;
		config_write(vmm, PCI_COMMAND, &command, 2);
	}
	return NULL;
}

static void *race_bind(void *arg)
{
	struct vmm *vmm = arg;

	while (!stop)
		tsm_bind(vmm);
	return NULL;
}

/*
 * The host resets a device whose VMM binds it, and writes to its config space,
 * all the time: nobody waits for the other for good, and what is bound at the end
 * was not reset since.
 */
TEST_F_TIMEOUT(tsm_events, reset_races, 900)
{
	static void *(* const racer[])(void *) = {
		race_intx, race_intx, race_bind,
	};
	pthread_t thread[ARRAY_SIZE(racer)];
	struct vmm *vmm = &self->vmm;
	char path[PATH_MAX];
	bool bound;
	int i, ret;

	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/../reset_subordinate", device_bdf);
	stop = false;
	for (i = 0; i < ARRAY_SIZE(racer); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, racer[i], vmm));
	for (i = 0; i < 30; i++) {
		ret = i % 3 ? put_pci(device_bdf, "reset", "1") : file_write(path, "1");
		EXPECT_TRUE(!ret || ret == -EAGAIN || ret == -ENOENT) {
			TH_LOG("%d", ret);
		}
		usleep(i * 3000);
	}
	stop = true;
	for (i = 0; i < ARRAY_SIZE(racer); i++)
		ASSERT_EQ(0, pthread_join(thread[i], NULL));

	bound = tdi_state(vmm) == VFIO_DEVICE_TDI_BOUND;
	EXPECT_STREQ(bound ? "CONFIG_LOCKED" : "CONFIG_UNLOCKED", sim_state());
	ASSERT_EQ(0, tsm_unbind(vmm));
	enable(vmm);
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* Goes through all devices, and back, without that the machine sleeps */
static int suspend_devices(void)
{
	int ret;

	ret = file_write("/sys/power/pm_test", "devices");
	if (ret)
		return ret;
	file_write("/sys/module/suspend/parameters/pm_test_delay", "0");
	ret = file_write("/sys/power/state", "freeze");
	file_write("/sys/power/pm_test", "none");
	return ret;
}

TEST_F_TIMEOUT(tsm_events, suspend, 600)
{
	struct vmm *vmm = &self->vmm;
	int ret;

	ret = suspend_devices();
	if (ret == -ENOENT)
		SKIP(return, "Needs CONFIG_PM_DEBUG");
	ASSERT_EQ(0, ret);
	EXPECT_UNBOUND(vmm);

	ASSERT_EQ(0, tsm_bind(vmm));
	EXPECT_EQ(-EBUSY, suspend_devices());
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	EXPECT_FALSE(told(vmm, 0));

	ASSERT_EQ(0, tsm_unbind(vmm));
	EXPECT_EQ(0, suspend_devices());
	EXPECT_UNBOUND(vmm);
}

/* As drivers/pci/pcie/aer_inject.c has it */
struct aer_error {
	u8 bus;
	u8 dev;
	u8 fn;
	u32 uncor_status;
	u32 cor_status;
	u32 header_log[4];
	u32 domain;
};

static int aer_inject(const char *bdf, u32 uncor, u32 cor)
{
	struct aer_error error = { .uncor_status = uncor, .cor_status = cor };
	unsigned int domain, bus, dev, fn;
	int fd, ret = 0;

	if (sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		return -EINVAL;
	error.domain = domain;
	error.bus = bus;
	error.dev = dev;
	error.fn = fn;

	fd = open("/dev/aer_inject", O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, &error, sizeof(error)) != sizeof(error))
		ret = -errno;
	close(fd);
	return ret;
}

/* Until the recovery from an error is over, the device cannot be bound */
static int bind_recovered(struct vmm *vmm)
{
	int i, ret = -EIO;

	for (i = 0; i < 200 && (ret == -EIO || ret == -EBUSY); i++) {
		if (i)
			usleep(100000);
		enable(vmm);
		ret = tsm_bind(vmm);
	}
	return ret;
}

/* The error handlers of the PCI core, by an error that it is told of */
TEST_F_TIMEOUT(tsm_events, aer, 600)
{
	const u32 uncor[] = { PCI_ERR_UNC_COMP_ABORT, PCI_ERR_UNC_MALF_TLP };
	const char *bdf = device_bdf;
	struct vmm vmm;
	int i, ret;

	if (!sriov_bdf)
		SKIP(return, "No device with AER");

	vmm_close(&self->vmm);
	device_bdf = sriov_bdf;
	vmm_open_device(&vmm, sriov_bdf, NULL, "52ac9bff-3a88-4fbd-901a-0d767c3b6c97",
			true);
	for (i = 0; i < ARRAY_SIZE(uncor); i++) {
		ASSERT_EQ(0, bind_recovered(&vmm));
		EXPECT_STREQ("CONFIG_LOCKED", sim_state());

		/* One that is corrected is nobody's business */
		ret = aer_inject(sriov_bdf, 0, PCI_ERR_COR_BAD_TLP);
		if (ret) {
			vmm_close(&vmm);
			device_bdf = bdf;
			SKIP(return, "Needs CONFIG_PCIEAER_INJECT, and AER: %d", ret);
		}
		EXPECT_FALSE(told(&vmm, 500));
		EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(&vmm));

		ASSERT_EQ(0, aer_inject(sriov_bdf, uncor[i], 0));
		EXPECT_TRUE(told(&vmm, 20000)) TH_LOG("error %#x", uncor[i]);
		EXPECT_TRUE(wait_state(&vmm, VFIO_DEVICE_TDI_UNBOUND, 20000));
		EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
		/*
		 * Until the recovery is over, or at least well under way; the
		 * state may have changed more than once
		 */
		sleep(2);
		told(&vmm, 0);
	}
	EXPECT_EQ(0, bind_recovered(&vmm));
	vmm_close(&vmm);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	device_bdf = bdf;
}

/* Has the device lock from when it takes the link away, and waits for the user */
static void *driver_unbinder(void *arg)
{
	file_write("/sys/bus/pci/drivers/vfio-pci/unbind", arg);
	return NULL;
}

static bool wait_unbinding(const char *bdf)
{
	char path[PATH_MAX];
	int i;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", bdf);
	for (i = 0; i < 2000 && !access(path, F_OK); i++)
		usleep(5000);
	return access(path, F_OK);
}

/*
 * Of an error that is not fatal all devices on the bus are told, one by one, and
 * then it is known whether there is a reset. Here one of them lets the others
 * wait, who have been unbound: what has to wait as well is the next bind.
 */
TEST_F_TIMEOUT(tsm_events, bind_in_recovery, 600)
{
	const char *bdf = device_bdf;
	struct vmm pf, vf[2];
	pthread_t thread;
	char *vf_bdf[2];
	int i;

	if (!sriov_bdf)
		SKIP(return, "No device with AER");

	vmm_close(&self->vmm);
	vmm_open_device(&pf, sriov_bdf, NULL, VF_TOKEN, true);
	if (aer_inject(sriov_bdf, 0, PCI_ERR_COR_BAD_TLP)) {
		vmm_close(&pf);
		SKIP(return, "Needs CONFIG_PCIEAER_INJECT, and AER");
	}
	sysfs_sriov_numvfs_set(sriov_bdf, 2);
	for (i = 0; i < 2; i++) {
		vf_bdf[i] = sysfs_sriov_vf_bdf_get(sriov_bdf, i);
		vmm_open_device(&vf[i], vf_bdf[i], pf.iommu, VF_TOKEN, !i);
	}
	device_bdf = vf_bdf[0];
	EXPECT_EQ(0, tsm_bind(&vf[0]));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());

	ASSERT_EQ(0, pthread_create(&thread, NULL, driver_unbinder, vf_bdf[1]));
	EXPECT_TRUE(wait_unbinding(vf_bdf[1]));
	EXPECT_EQ(0, aer_inject(sriov_bdf, PCI_ERR_UNC_COMP_ABORT, 0));
	EXPECT_TRUE(told(&vf[0], 20000));
	EXPECT_TRUE(wait_state(&vf[0], VFIO_DEVICE_TDI_UNBOUND, 20000));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(-EBUSY, tsm_bind(&vf[0]));
		EXPECT_EQ(VFIO_DEVICE_TDI_UNBOUND, tdi_state(&vf[0]));
		EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
		usleep(50000);
	}

	/* That one has no driver any more, so there is no reset in the end */
	vmm_close(&vf[1]);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, bind_recovered(&vf[0]));
	EXPECT_STREQ("CONFIG_LOCKED", sim_state());
	vmm_close(&vf[0]);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());

	device_bdf = bdf;
	sysfs_sriov_numvfs_set(sriov_bdf, 0);
	vmm_close(&pf);
	for (i = 0; i < 2; i++)
		free(vf_bdf[i]);
}

/* Start a VMM that does @what with the device, and say when it is about to */
static pid_t start_vmm(void (*what)(struct vmm *vmm), int *ready)
{
	static struct vmm vmm;
	int fds[2];
	pid_t pid;
	char c;

	VFIO_ASSERT_EQ(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		close(fds[0]);
		vmm_open(&vmm, true);
		if (write(fds[1], "x", 1) == 1)
			what(&vmm);
		for (;;)
			pause();
	}
	close(fds[1]);
	*ready = read(fds[0], &c, 1) == 1;
	close(fds[0]);
	return pid;
}

/* Kill it; return in how many milliseconds it was gone */
static u64 kill_vmm(pid_t pid)
{
	u64 start = now_ms();
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return now_ms() - start;
}

static bool wait_sim_state(const char *state)
{
	int i;

	for (i = 0; i < 4000 && strcmp(sim_state(), state); i++)
		usleep(5000);
	return !strcmp(sim_state(), state);
}

static void vmm_bind(struct vmm *vmm)
{
	tsm_bind(vmm);
}

/* Everything is mapped by everybody, and the TDI runs */
static void vmm_run(struct vmm *vmm)
{
	u64 code;
	u32 len = 64;
	u8 resp[64];
	int fd;

	fd = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	__iommu_map_dma_buf(vmm->iommu, fd, 0, SHARED_SIZE, SZ_1G);
	fd = export(vmm, vmm->bar, 0, vmm->size, 0);
	__iommu_map_dma_buf(vmm->iommu, fd, 0, vmm->size, 2ULL * SZ_1G);
	export(vmm, vmm->bar, SHARED_SIZE, page_size, VFIO_DMA_BUF_FLAG_PRIVATE);
	vmm->map[SHARED_SIZE / 4] = 1;
	tsm_bind(vmm);
	vmm->map[0] = 1;
	tdisp(vmm, 1, 0x86, resp, &len, &code);
}

/* A TSM that hangs in the bind hangs for as long as the VMM wants to wait */
TEST_F(tsm_events, killed_while_binding)
{
	static const char * const step[] = { "delay_bind", "delay_lock",
					     "delay_report", "delay_ranges" };
	struct vmm *vmm = &self->vmm;
	int i, ready;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(step); i++) {
		vmm_close(vmm);
		ASSERT_EQ(0, put_fn(step[i], FOREVER_MS));
		pid = start_vmm(vmm_bind, &ready);
		ASSERT_TRUE(ready);
		if (i < 2)
			usleep(300000);
		else
			EXPECT_TRUE(wait_sim_state("CONFIG_LOCKED"));
		EXPECT_GT(60000, kill_vmm(pid)) TH_LOG("%s", step[i]);
		EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
		ASSERT_EQ(0, put_fn(step[i], "0"));
		vmm_open(vmm, true);
		EXPECT_UNBOUND(vmm);
		ASSERT_EQ(0, tsm_bind(vmm));
	}
}

TEST_F(tsm_events, killed_while_running)
{
	int ready;
	pid_t pid;

	vmm_close(&self->vmm);
	pid = start_vmm(vmm_run, &ready);
	ASSERT_TRUE(ready);
	EXPECT_TRUE(wait_sim_state("RUN"));
	kill_vmm(pid);
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	EXPECT_EQ(0, violations());
	vmm_open(&self->vmm, true);
	EXPECT_UNBOUND(&self->vmm);
	EXPECT_EQ(0, tsm_bind(&self->vmm));
}

/* A signal that is not fatal ends nothing that would have to be undone */
static void nothing(int sig)
{
}

TEST_F(tsm_events, signals)
{
	struct sigaction action = { .sa_handler = nothing };
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };
	int i;

	sigaction(SIGUSR1, &action, NULL);
	ASSERT_EQ(0, put_fn("delay_lock", "3000"));
	ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
	ASSERT_TRUE(wait_state(vmm, VFIO_DEVICE_TDI_BINDING, 10000));
	for (i = 0; i < 50; i++) {
		pthread_kill(bind.thread, SIGUSR1);
		usleep(10000);
	}
	ASSERT_EQ(0, pthread_join(bind.thread, NULL));
	ASSERT_EQ(0, put_fn("delay_lock", "0"));
	EXPECT_EQ(0, bind.ret);
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
}

static void *remover(void *arg)
{
	put_pci(arg, "remove", "1");
	return NULL;
}

static int open_and_close(struct vmm *vmm, const char *bdf)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = vmm->iommu->iommufd,
	};
	const char *path = vfio_pci_get_cdev_path(bdf);
	int fd, ret;

	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	ret = ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) ? -errno : 0;
	close(fd);
	return ret;
}

/*
 * A TSM that hangs and listens to no signal, a device that is removed, for which
 * somebody has to wait for the lock that is global to PCI/TSM, and those who have
 * nothing to do with either: another TDI, and a device without a TSM
 */
TEST_F_TIMEOUT(tsm_events, hang_is_not_contagious, 900)
{
	struct vmm *vmm = &self->vmm;
	struct vmm pf, vf;
	char *vf_bdf[2];
	pthread_t thread;
	int ready, status, i;
	u64 start;
	pid_t pid;

	if (!other_bdf || !sriov_bdf)
		SKIP(return, "Needs three devices");

	vmm_close(vmm);
	ASSERT_EQ(0, put_fn("stubborn", "1"));
	ASSERT_EQ(0, put_fn("delay_lock", FOREVER_MS));
	/* Before the others, so that it does not keep them open */
	pid = start_vmm(vmm_bind, &ready);
	ASSERT_TRUE(ready);
	usleep(300000);

	start = now_ms();
	vmm_open_device(&pf, sriov_bdf, NULL, VF_TOKEN, true);
	sysfs_sriov_numvfs_set(sriov_bdf, 2);
	for (i = 0; i < 2; i++)
		vf_bdf[i] = sysfs_sriov_vf_bdf_get(sriov_bdf, i);
	vmm_open_device(&vf, vf_bdf[0], pf.iommu, VF_TOKEN, true);
	EXPECT_EQ(0, tsm_bind(&vf));

	/* It has a context of the TSM, so this takes until the end */
	ASSERT_EQ(0, pthread_create(&thread, NULL, remover, vf_bdf[1]));
	usleep(1000000);
	EXPECT_EQ(0, tsm_unbind(&vf));
	vmm_close(&vf);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, open_and_close(&pf, other_bdf));

	kill(pid, SIGKILL);
	usleep(1000000);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	EXPECT_GT(300000, now_ms() - start);

	ASSERT_EQ(0, put_fn("delay_lock", "0"));
	ASSERT_EQ(0, put_fn("stubborn", "0"));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_STREQ("CONFIG_UNLOCKED", sim_state());
	sysfs_sriov_numvfs_set(sriov_bdf, 0);
	vmm_close(&pf);
	for (i = 0; i < 2; i++)
		free(vf_bdf[i]);
	vmm_open(vmm, true);
	EXPECT_EQ(0, tsm_bind(vmm));
}

/* What maps BARs, found where it ends: in page tables */

static u64 bar_address(const char *bdf, u32 bar)
{
	char path[PATH_MAX], line[128];
	u64 start = 0;
	FILE *file;
	u32 i;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", bdf);
	file = fopen(path, "r");
	if (!file)
		return 0;
	for (i = 0; i <= bar && fgets(line, sizeof(line), file); i++)
		start = strtoull(line, NULL, 16);
	fclose(file);
	return start;
}

/*
 * The bytes of @start to @end that the IOMMU translates to for the device; -1 if
 * that cannot be seen. Each line has the entries of all levels for one IOVA.
 */
static s64 iommu_translates(const char *bdf, u64 start, u64 end)
{
	static const u64 level[] = { 0, SZ_1G, SZ_2M, SZ_4K };
	char path[PATH_MAX], line[256];
	s64 bytes = 0;
	FILE *file;

	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/iommu/intel/%s/domain_translation_struct", bdf);
	file = fopen(path, "r");
	if (!file)
		return -1;

	while (fgets(line, sizeof(line), file)) {
		unsigned long long iova, entry[5];
		u64 from, to;
		int nr;

		nr = sscanf(line, "0x%llx | %llx %llx %llx %llx %llx", &iova,
			    &entry[0], &entry[1], &entry[2], &entry[3], &entry[4]);
		/* The first is of level 5; a page of 1 GiB, 2 MiB, or 4 KiB is last */
		if (nr < 4 || !(entry[nr - 2] & 3))
			continue;
		from = entry[nr - 2] & GENMASK_ULL(51, 12);
		to = from + level[nr - 3];
		from = from > start ? from : start;
		to = to < end ? to : end;
		if (from < to)
			bytes += to - from;
	}
	fclose(file);
	return bytes;
}

/* The same for this process, and a part of a mapping */
static s64 user_translates(volatile void *map, u64 offset, u64 size)
{
	unsigned long start = (unsigned long)map + offset, end = start + size;
	unsigned long first, last;
	s64 bytes = 0;
	char line[256];
	FILE *f;

	/* /proc/self/pagemap leaves out what has no struct page */
	f = fopen("/sys/kernel/debug/page_tables/current_kernel", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "0x%lx-0x%lx", &first, &last) != 2 ||
		    !strstr(line, " USR "))
			continue;
		first = max(first, start);
		last = min(last, end);
		if (first < last)
			bytes += last - first;
	}
	fclose(f);
	return bytes;
}

static bool can_pre_fault(struct vmm *vmm)
{
	return ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY) > 0;
}

/* Have KVM map all of a memslot that there is to map */
static int pre_fault(int vcpu, u64 gpa, u64 size)
{
	struct kvm_pre_fault_memory range = { .gpa = gpa, .size = size };

	return ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range) ? -errno : 0;
}

/* Pages in the page tables of KVM, by the statistics of the VM */
static s64 kvm_translates(int vm)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	s64 bytes = -1;
	char *descs;
	size_t size;
	int fd;
	u32 i;

	fd = ioctl(vm, KVM_GET_STATS_FD, NULL);
	if (fd < 0)
		return -1;
	if (read(fd, &header, sizeof(header)) != sizeof(header))
		goto out_close;

	size = sizeof(*desc) + header.name_size;
	descs = calloc(header.num_desc, size);
	if (pread(fd, descs, header.num_desc * size, header.desc_offset) !=
	    header.num_desc * size)
		goto out_free;

	for (i = 0; i < header.num_desc; i++) {
		u64 value, page;

		desc = (void *)(descs + i * size);
		if (!strcmp(desc->name, "pages_4k"))
			page = SZ_4K;
		else if (!strcmp(desc->name, "pages_2m"))
			page = SZ_2M;
		else if (!strcmp(desc->name, "pages_1g"))
			page = SZ_1G;
		else
			continue;
		if (pread(fd, &value, 8, header.data_offset + desc->offset) != 8)
			break;
		bytes = (bytes < 0 ? 0 : bytes) + value * page;
	}
out_free:
	free(descs);
out_close:
	close(fd);
	return bytes;
}

/* A vCPU that gets to a shared page, by an mmap, during a bind waits for its end */
TEST_F(tsm_events, vcpu_while_binding)
{
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };
	struct kvm_userspace_memory_region2 slot = {
		.slot = 1,
		.guest_phys_addr = 4ULL * SZ_1G,
		.memory_size = SHARED_SIZE,
		.userspace_addr = (u64)vmm->map,
	};
	u64 start;
	int vcpu;

	if (!can_pre_fault(vmm))
		SKIP(return, "No KVM_PRE_FAULT_MEMORY");

	ASSERT_EQ(0, ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION2, &slot));
	vcpu = ioctl(vmm->vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, vcpu);

	ASSERT_EQ(0, put_fn("delay_lock", "3000"));
	start = now_ms();
	ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
	ASSERT_TRUE(wait_state(vmm, VFIO_DEVICE_TDI_BINDING, 10000));
	EXPECT_EQ(0, pre_fault(vcpu, slot.guest_phys_addr, page_size));
	EXPECT_LE(3000, now_ms() - start);
	EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
	EXPECT_LT(0, kvm_translates(vmm->vm));
	ASSERT_EQ(0, pthread_join(bind.thread, NULL));
	ASSERT_EQ(0, put_fn("delay_lock", "0"));
	EXPECT_EQ(0, bind.ret);
	close(vcpu);
}

/* The same by a dma-buf: with its memslot, and with an mmap */
TEST_F(tsm_events, dma_buf_while_binding)
{
	struct vmm *vmm = &self->vmm;
	struct binder bind = { .vmm = vmm };
	struct kvm_userspace_memory_region2 slot = {
		.slot = 1,
		.flags = KVM_MEM_DMABUF,
		.guest_phys_addr = 4ULL * SZ_1G,
		.memory_size = SHARED_SIZE,
	};
	int fd, vcpu, i, ret;
	volatile u32 *map;
	u32 value;
	u64 start;

	fd = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	ASSERT_LE(0, fd);
	map = mmap(NULL, SHARED_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	slot.dmabuf_fd = fd;
	ASSERT_EQ(0, ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION2, &slot));
	vcpu = ioctl(vmm->vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, vcpu);

	/* Who has no way to have KVM map it has the mmap only */
	for (i = can_pre_fault(vmm) ? 0 : 1; i < 2; i++) {
		ASSERT_EQ(0, put_fn("delay_lock", "3000"));
		start = now_ms();
		ASSERT_EQ(0, pthread_create(&bind.thread, NULL, binder, &bind));
		ASSERT_TRUE(wait_state(vmm, VFIO_DEVICE_TDI_BINDING, 10000));
		if (i) {
			EXPECT_TRUE(touch(map, 0, &value));
		} else {
			/* It does not wait that long with a lock of the VM's */
			EXPECT_EQ(-EAGAIN, pre_fault(vcpu, slot.guest_phys_addr,
						     page_size));
			EXPECT_EQ(VFIO_DEVICE_TDI_BINDING, tdi_state(vmm));
			do
				ret = pre_fault(vcpu, slot.guest_phys_addr,
						page_size);
			while (ret == -EAGAIN);
			EXPECT_EQ(0, ret);
		}
		EXPECT_LE(3000, now_ms() - start);
		EXPECT_EQ(VFIO_DEVICE_TDI_BOUND, tdi_state(vmm));
		ASSERT_EQ(0, pthread_join(bind.thread, NULL));
		ASSERT_EQ(0, put_fn("delay_lock", "0"));
		EXPECT_EQ(0, bind.ret);
		ASSERT_EQ(0, tsm_unbind(vmm));
	}
	EXPECT_EQ(0, munmap((void *)map, SHARED_SIZE));
	close(vcpu);
	close(fd);
}

TEST_F_TIMEOUT(tsm_events, page_tables, 600)
{
	struct vmm *vmm = &self->vmm;
	u64 bar = bar_address(device_bdf, vmm->bar);
	u64 private = bar + SHARED_SIZE, end = bar + vmm->size;
	struct kvm_userspace_memory_region2 slot[] = {
		{	/* By the dma-buf of all, by that of the shared part */
			.slot = 1,
			.flags = KVM_MEM_DMABUF,
			.guest_phys_addr = 4ULL * SZ_1G,
			.memory_size = vmm->size,
		},
		{
			.slot = 2,
			.flags = KVM_MEM_DMABUF,
			.guest_phys_addr = 5ULL * SZ_1G,
			.memory_size = SHARED_SIZE,
		},
		{	/* By the mmap of the device */
			.slot = 3,
			.guest_phys_addr = 6ULL * SZ_1G,
			.memory_size = vmm->size,
			.userspace_addr = (u64)vmm->map,
		},
	};
	int all, shared, vcpu, round, i;
	u32 value;

	all = export(vmm, vmm->bar, 0, vmm->size, 0);
	shared = export(vmm, vmm->bar, 0, SHARED_SIZE, 0);
	ASSERT_LE(0, all);
	ASSERT_LE(0, shared);
	slot[0].dmabuf_fd = all;
	slot[1].dmabuf_fd = shared;
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, all, 0, vmm->size, SZ_1G));
	ASSERT_EQ(0, __iommu_map_dma_buf(vmm->iommu, shared, 0, SHARED_SIZE,
					 2ULL * SZ_1G));
	if (iommu_translates(device_bdf, bar, end) < 0)
		SKIP(return, "Needs CONFIG_INTEL_IOMMU_DEBUGFS, and that IOMMU");
	if (user_translates(vmm->map, 0, vmm->size) < 0)
		SKIP(return, "Needs CONFIG_PTDUMP_DEBUGFS");
	for (i = 0; i < ARRAY_SIZE(slot); i++)
		ASSERT_EQ(0, ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION2, &slot[i]));
	vcpu = ioctl(vmm->vm, KVM_CREATE_VCPU, 0);
	ASSERT_LE(0, vcpu);

	for (round = 0; round < 2; round++) {
		/* Everybody maps everything */
		for (i = 0; i < vmm->size / page_size; i++)
			ASSERT_TRUE(touch(vmm->map, i * page_size, &value));
		for (i = 0; i < ARRAY_SIZE(slot); i++)
			ASSERT_EQ(0, pre_fault(vcpu, slot[i].guest_phys_addr,
					       slot[i].memory_size));
		EXPECT_EQ(vmm->size - SHARED_SIZE,
			  iommu_translates(device_bdf, private, end));
		EXPECT_EQ(2 * SHARED_SIZE, iommu_translates(device_bdf, bar, private));
		EXPECT_EQ(vmm->size - SHARED_SIZE,
			  user_translates(vmm->map, SHARED_SIZE,
					  vmm->size - SHARED_SIZE));
		EXPECT_EQ(2 * vmm->size + SHARED_SIZE, kvm_translates(vmm->vm));

		ASSERT_EQ(0, tsm_bind(vmm));
		EXPECT_EQ(0, iommu_translates(device_bdf, private, end));
		EXPECT_EQ(SHARED_SIZE, iommu_translates(device_bdf, bar, private));
		EXPECT_EQ(0, user_translates(vmm->map, 0, vmm->size));
		EXPECT_EQ(0, kvm_translates(vmm->vm));

		/* Each of them tries to map everything again */
		for (i = 0; i < SHARED_SIZE / page_size; i++)
			EXPECT_TRUE(touch(vmm->map, i * page_size, &value));
		for (; i < vmm->size / page_size; i += 511)
			EXPECT_FALSE(touch(vmm->map, i * page_size, &value));
		EXPECT_EQ(-EFAULT, pre_fault(vcpu, slot[0].guest_phys_addr,
					     slot[0].memory_size));
		EXPECT_EQ(0, pre_fault(vcpu, slot[1].guest_phys_addr,
				       slot[1].memory_size));
		/* Returns how far it came, and no more the next time */
		pre_fault(vcpu, slot[2].guest_phys_addr, slot[2].memory_size);
		EXPECT_EQ(-EFAULT, pre_fault(vcpu, slot[2].guest_phys_addr +
					     SHARED_SIZE, page_size));
		EXPECT_EQ(0, iommu_translates(device_bdf, private, end));
		EXPECT_EQ(SHARED_SIZE, user_translates(vmm->map, 0, vmm->size));
		EXPECT_EQ(SHARED_SIZE, user_translates(vmm->map, 0, SHARED_SIZE));
		EXPECT_EQ(2 * SHARED_SIZE, kvm_translates(vmm->vm));

		ASSERT_EQ(0, tsm_unbind(vmm));
		EXPECT_EQ(vmm->size - SHARED_SIZE,
			  iommu_translates(device_bdf, private, end));
	}
	close(vcpu);
	close(all);
	close(shared);
}

int main(int argc, char *argv[])
{
	get_devices(&argc, argv);
	return test_harness_run(argc, argv);
}

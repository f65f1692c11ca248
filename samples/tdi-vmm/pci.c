// SPDX-License-Identifier: GPL-2.0-only
/*
 * A PCI function in sysfs: which driver has it, and where VFIO's cdev of it is
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tdi-vmm.h"

#define SYS_PCI	"/sys/bus/pci"

static int pci_write(const char *path, const char *value)
{
	int fd, ret;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* Name of the driver, or "none" */
static void pci_driver(const char *bdf, char *name, unsigned int size)
{
	char path[PATH_MAX], link[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), SYS_PCI "/devices/%s/driver", bdf);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0) {
		snprintf(name, size, "none");
		return;
	}
	link[len] = 0;
	snprintf(name, size, "%s", basename(link));
}

void pci_check_bdf(const char *bdf)
{
	unsigned int domain, bus, device, function;
	char path[PATH_MAX];
	int len = 0;

	if (sscanf(bdf, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function,
		   &len) != 4 || bdf[len])
		fail("'%s' is not a PCI address such as 0000:00:05.0", bdf);

	snprintf(path, sizeof(path), SYS_PCI "/devices/%s", bdf);
	if (access(path, F_OK))
		fail("there is no PCI function %s: see 'ls " SYS_PCI "/devices'",
		     bdf);
}

bool pci_is_bound_to_vfio(const char *bdf)
{
	char path[PATH_MAX];

	/* vfio-pci and its variant drivers all make this folder */
	snprintf(path, sizeof(path), SYS_PCI "/devices/%s/vfio-dev", bdf);
	return !access(path, F_OK);
}

void pci_bind_to_vfio(const char *bdf)
{
	char path[PATH_MAX];
	char driver[64];
	int ret;

	snprintf(path, sizeof(path), SYS_PCI "/devices/%s/driver_override",
		 bdf);
	ret = pci_write(path, "vfio-pci");
	if (ret)
		fail("%s: %s", path, strerror(-ret));

	pci_driver(bdf, driver, sizeof(driver));
	if (strcmp(driver, "none")) {
		snprintf(path, sizeof(path),
			 SYS_PCI "/devices/%s/driver/unbind", bdf);
		ret = pci_write(path, bdf);
		if (ret)
			fail("%s: %s", path, strerror(-ret));
	}

	ret = pci_write(SYS_PCI "/drivers_probe", bdf);
	if (ret || !pci_is_bound_to_vfio(bdf)) {
		hint("is vfio-pci loaded? modprobe vfio-pci");
		hint("is there an IOMMU? ls /sys/kernel/iommu_groups");
		fail("vfio-pci did not take %s", bdf);
	}
}

void pci_vfio_cdev(const char *bdf, char *path, unsigned int size)
{
	char dir[PATH_MAX], driver[64];
	struct dirent *entry;
	DIR *d;

	if (!pci_is_bound_to_vfio(bdf)) {
		pci_driver(bdf, driver, sizeof(driver));
		hint("--bind does this");
		say("  cd " SYS_PCI "/devices/%s", bdf);
		say("  echo vfio-pci > driver_override");
		if (strcmp(driver, "none"))
			say("  echo %s > driver/unbind", bdf);
		say("  echo %s > " SYS_PCI "/drivers_probe", bdf);
		fail("%s has the driver '%s' and not vfio-pci", bdf, driver);
	}

	snprintf(dir, sizeof(dir), SYS_PCI "/devices/%s/vfio-dev", bdf);
	d = opendir(dir);
	if (!d)
		fail("%s: %s", dir, strerror(errno));
	while ((entry = readdir(d))) {
		if (strncmp(entry->d_name, "vfio", 4))
			continue;
		snprintf(path, size, "/dev/vfio/devices/%s", entry->d_name);
		closedir(d);
		return;
	}
	fail("%s is empty", dir);
}

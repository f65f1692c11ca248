// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is mapped in this process, and whether a device is among it
 */
#include <errno.h>
#include <string.h>

#include "tdi-vmm.h"

/*
 * A BAR gets into an address space by a file: VFIO's cdev, the dma-buf itself,
 * resourceN of sysfs, or /dev/mem. vCPUs are mapped for their struct kvm_run.
 */
static bool maps_is_device(const char *path)
{
	return !strncmp(path, "/dev/", 5) || !strncmp(path, "/sys/", 5) ||
	       !strncmp(path, "/dmabuf:", 8) || strstr(path, "vfio") ||
	       (!strncmp(path, "anon_inode:", 11) && !strstr(path, "kvm-vcpu"));
}

struct maps maps_read(void)
{
	unsigned long long start, end;
	struct maps maps = {};
	char line[sizeof(maps.device)];
	int path;
	FILE *f;

	f = fopen("/proc/self/maps", "re");
	if (!f)
		fail("/proc/self/maps: %s: is procfs mounted?",
		     strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		path = 0;
		if (sscanf(line, "%llx-%llx %*s %*s %*s %*s %n", &start, &end,
			   &path) != 2 || !path)
			fail("/proc/self/maps: cannot read '%s'", line);
		maps.nr++;
		maps.size += end - start;
		if (!maps_is_device(line + path))
			continue;
		if (!maps.nr_device++)
			snprintf(maps.device, sizeof(maps.device), "%s", line);
	}
	fclose(f);
	return maps;
}

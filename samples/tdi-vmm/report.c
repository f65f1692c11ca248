// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the user sees, and a count of the ioctls
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "tdi-vmm.h"

const char *current_step = "start";

static unsigned int ioctls;

void step(const char *name)
{
	static unsigned int nr;

	current_step = name;
	printf("[%2u] %s\n", ++nr, name);
}

/* What to do about an error that comes next; keeps errno for it */
void hint(const char *text)
{
	int error = errno;

	printf("     (%s)\n", text);
	errno = error;
}

int xioctl(int fd, unsigned long request, void *arg)
{
	ioctls++;
	return ioctl(fd, request, arg);
}

unsigned int nr_ioctls(void)
{
	return ioctls;
}

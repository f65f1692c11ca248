// SPDX-License-Identifier: GPL-2.0-only
/*
 * PCI/TSM as userspace sees it, with the simulated TSM: connect and bind, what
 * is refused while a TDI is bound, and what its owner is told when it fails or
 * goes away. The owner is the simulation's own, no VM is needed.
 *
 * The module has to be loaded, with at least one device. The first one must not
 * be in use:
 *
 *	insmod tsm-sim.ko devices=0000:01:00.0
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define SIM		"/sys/kernel/debug/tsm-sim"
#define DEVICES		"/sys/module/tsm_sim/parameters/devices"

#define COMMAND		4
#define COMMAND_MEMORY	0x2
#define COMMAND_MASTER	0x4

#define PRIVATE		1
#define MSIX_TABLE	2
#define MSIX_PBA	4

/* 0, or a negative errno */
static int put(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY);
	ssize_t ret;

	if (fd < 0)
		return -errno;

	ret = write(fd, data, len);
	ret = ret < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* The number of bytes, or a negative errno; @buf is a string then */
static int get(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t len = 0, ret;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;

	do {
		ret = read(fd, buf + len, size - 1 - len);
		if (ret > 0)
			len += ret;
	} while (ret > 0);
	if (ret < 0)
		len = -errno;
	else
		buf[len] = '\0';
	close(fd);
	return len;
}

FIXTURE(tsm_sim) {
	char bdf[16];
	char tsm[16];
	char buf[8192];
	uint16_t command;
};

static const char *pci_path(FIXTURE_DATA(tsm_sim) *self, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", self->bdf,
		 name);
	return path;
}

static const char *fn_path(FIXTURE_DATA(tsm_sim) *self, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), SIM "/%s/%s", self->bdf, name);
	return path;
}

static int put_fn(FIXTURE_DATA(tsm_sim) *self, const char *name,
		  const char *value)
{
	return put(fn_path(self, name), value, strlen(value));
}

static int put_sim(const char *name, const char *value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), SIM "/%s", name);
	return put(path, value, strlen(value));
}

static int _connect(FIXTURE_DATA(tsm_sim) *self)
{
	return put(pci_path(self, "tsm/connect"), self->tsm, strlen(self->tsm));
}

static int _disconnect(FIXTURE_DATA(tsm_sim) *self)
{
	return put(pci_path(self, "tsm/disconnect"), self->tsm,
		   strlen(self->tsm));
}

static int _bind(FIXTURE_DATA(tsm_sim) *self)
{
	char line[64];

	snprintf(line, sizeof(line), "%s 0x108", self->bdf);
	return put_sim("bind", line);
}

static int _unbind(FIXTURE_DATA(tsm_sim) *self)
{
	return put_sim("unbind", self->bdf);
}

/* The name of a file's content, without the newline */
static const char *line_of(FIXTURE_DATA(tsm_sim) *self, const char *path)
{
	get(path, self->buf, sizeof(self->buf));
	self->buf[strcspn(self->buf, "\n")] = '\0';
	return self->buf;
}

static const char *state(FIXTURE_DATA(tsm_sim) *self)
{
	return line_of(self, fn_path(self, "state"));
}

/* How often the owner was told; -1 if it owns nothing */
static int told(FIXTURE_DATA(tsm_sim) *self, int *revoked, int *errors)
{
	const char *line;
	unsigned int id;

	get(SIM "/bound", self->buf, sizeof(self->buf));
	line = strstr(self->buf, self->bdf);
	if (!line)
		return -1;
	return sscanf(line + strlen(self->bdf), " %x revoked %d errors %d", &id,
		      revoked, errors) == 3 && id == 0x108 ? 0 : -2;
}

static long number_of(FIXTURE_DATA(tsm_sim) *self, const char *name)
{
	const char *line;
	char key[32];
	long number;

	get(SIM "/violations", self->buf, sizeof(self->buf));
	snprintf(key, sizeof(key), "%s ", name);
	line = self->buf;
	while (line && strncmp(line, key, strlen(key))) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	if (!line || sscanf(line + strlen(key), "%ld", &number) != 1)
		return -1;
	return number;
}

static int set_command(FIXTURE_DATA(tsm_sim) *self, uint16_t command)
{
	int fd = open(pci_path(self, "config"), O_RDWR);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (pwrite(fd, &command, sizeof(command), COMMAND) != sizeof(command))
		ret = -EIO;
	close(fd);
	return ret;
}

static int find_tsm(FIXTURE_DATA(tsm_sim) *self)
{
	DIR *dir = opendir("/sys/class/tsm");
	struct dirent *entry;

	self->tsm[0] = '\0';
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "tsm", 3))
			snprintf(self->tsm, sizeof(self->tsm), "%.15s",
				 entry->d_name);
	if (dir)
		closedir(dir);
	return self->tsm[0] ? 0 : -ENOENT;
}

FIXTURE_SETUP(tsm_sim)
{
	int fd;

	if (get(DEVICES, self->buf, sizeof(self->buf)) <= 0)
		SKIP(return, "tsm-sim is not loaded");
	self->buf[strcspn(self->buf, ",\n")] = '\0';
	if (sscanf(self->buf, "%15s", self->bdf) != 1)
		SKIP(return, "tsm-sim has no device");
	if (access(pci_path(self, "driver"), F_OK) == 0)
		SKIP(return, "%s has a driver", self->bdf);

	ASSERT_EQ(0, put_sim("violations", "0"));
	ASSERT_EQ(0, find_tsm(self));

	/* Both bits set, so that they can be cleared */
	fd = open(pci_path(self, "config"), O_RDONLY);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(sizeof(self->command),
		  pread(fd, &self->command, sizeof(self->command), COMMAND));
	close(fd);
	ASSERT_EQ(0, set_command(self, self->command | COMMAND_MEMORY |
				 COMMAND_MASTER));
	ASSERT_EQ(0, _connect(self));
}

FIXTURE_TEARDOWN(tsm_sim)
{
	/* What a test broke comes back with the next connect */
	_unbind(self);
	put_sim("gone", "0");
	put_sim("fail_connect", "0");
	if (!find_tsm(self))
		_disconnect(self);
	set_command(self, self->command);

	EXPECT_EQ(0, number_of(self, "violations"));
	EXPECT_EQ(0, number_of(self, "unseen"));
}

TEST_F(tsm_sim, connect)
{
	EXPECT_STREQ(self->tsm, line_of(self, pci_path(self, "tsm/connect")));
	EXPECT_STREQ(self->bdf, line_of(self, pci_path(self, "tsm/dsm")));
	EXPECT_STREQ("", line_of(self, pci_path(self, "tsm/bound")));
	EXPECT_STREQ("CONFIG_UNLOCKED", state(self));

	EXPECT_EQ(-EBUSY, _connect(self));
	EXPECT_EQ(0, _disconnect(self));
	EXPECT_EQ(-ENXIO, _disconnect(self));
	EXPECT_EQ(-ENOENT, put_fn(self, "error", "1"));
	EXPECT_EQ(-EINVAL, _bind(self));

	EXPECT_EQ(0, put_sim("fail_connect", "5"));
	EXPECT_EQ(-EIO, _connect(self));
	EXPECT_STREQ("", line_of(self, pci_path(self, "tsm/connect")));
	EXPECT_EQ(0, put_sim("fail_connect", "0"));
	EXPECT_EQ(0, _connect(self));
}

TEST_F(tsm_sim, bind)
{
	int revoked, errors;

	EXPECT_EQ(-1, told(self, &revoked, &errors));
	ASSERT_EQ(0, _bind(self));
	EXPECT_STREQ(self->tsm, line_of(self, pci_path(self, "tsm/bound")));
	EXPECT_STREQ("CONFIG_LOCKED", state(self));
	EXPECT_EQ(-EBUSY, _bind(self));

	ASSERT_EQ(0, _unbind(self));
	EXPECT_STREQ("", line_of(self, pci_path(self, "tsm/bound")));
	EXPECT_STREQ("CONFIG_UNLOCKED", state(self));
	EXPECT_EQ(-ENXIO, _unbind(self));
	EXPECT_EQ(1, number_of(self, "binds"));
}

TEST_F(tsm_sim, disconnect_while_bound)
{
	ASSERT_EQ(0, _bind(self));
	EXPECT_EQ(-EBUSY, _disconnect(self));
	EXPECT_STREQ("CONFIG_LOCKED", state(self));
	ASSERT_EQ(0, _unbind(self));
	EXPECT_EQ(0, _disconnect(self));
}

TEST_F(tsm_sim, unload_while_bound)
{
	/* Nothing but the bind keeps it: the flags do not let it wait */
	ASSERT_EQ(0, _bind(self));
	EXPECT_EQ(-1, syscall(SYS_delete_module, "tsm_sim", O_NONBLOCK));
	if (errno == ENOSYS)
		SKIP(return, "modules cannot be unloaded");
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("CONFIG_LOCKED", state(self));
}

TEST_F(tsm_sim, bind_fails)
{
	static const char * const step[] = { "fail_bind", "fail_lock",
					     "fail_report", "fail_ranges" };
	int revoked, errors;

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, put_fn(self, step[i], "84"));
		EXPECT_EQ(-EILSEQ, _bind(self));
		EXPECT_EQ(-1, told(self, &revoked, &errors));
		EXPECT_STREQ("", line_of(self, pci_path(self, "tsm/bound")));
		EXPECT_STREQ("CONFIG_UNLOCKED", state(self));
		ASSERT_EQ(0, put_fn(self, step[i], "0"));
		EXPECT_EQ(0, _bind(self));
		EXPECT_EQ(0, _unbind(self));
	}
}

TEST_F(tsm_sim, error)
{
	int revoked, errors;

	EXPECT_EQ(-ENXIO, put_fn(self, "error", "1"));
	ASSERT_EQ(0, _bind(self));
	EXPECT_EQ(0, put_fn(self, "error", "1"));
	EXPECT_STREQ("ERROR", state(self));
	ASSERT_EQ(0, told(self, &revoked, &errors));
	EXPECT_EQ(0, revoked);
	EXPECT_EQ(1, errors);
	/* It stays bound until its owner ends it */
	EXPECT_EQ(-EBUSY, _disconnect(self));
	ASSERT_EQ(0, _unbind(self));
	EXPECT_STREQ("CONFIG_UNLOCKED", state(self));
	EXPECT_EQ(0, _bind(self));
}

TEST_F(tsm_sim, config_is_locked)
{
	static const uint16_t bit[] = { COMMAND_MEMORY, COMMAND_MASTER };
	const uint16_t on = self->command | COMMAND_MEMORY | COMMAND_MASTER;
	int revoked, errors;

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, _bind(self));
		EXPECT_STREQ("CONFIG_LOCKED", state(self));
		ASSERT_EQ(0, set_command(self, on & ~bit[i]));
		EXPECT_STREQ("ERROR", state(self));
		ASSERT_EQ(0, told(self, &revoked, &errors));
		EXPECT_EQ(1, errors);
		ASSERT_EQ(0, set_command(self, on));
		EXPECT_STREQ("ERROR", state(self));
		ASSERT_EQ(0, _unbind(self));
	}
}

TEST_F(tsm_sim, tsm_goes_away)
{
	int revoked, errors;

	ASSERT_EQ(0, _bind(self));
	ASSERT_EQ(0, put_sim("gone", "1"));
	ASSERT_EQ(0, told(self, &revoked, &errors));
	EXPECT_EQ(1, revoked);
	EXPECT_NE(0, find_tsm(self));
	EXPECT_NE(0, access(fn_path(self, "state"), F_OK));
	EXPECT_NE(0, access(pci_path(self, "tsm/connect"), F_OK));
	/* The owner's end of it comes after the TSM's */
	EXPECT_EQ(0, _unbind(self));

	ASSERT_EQ(0, put_sim("gone", "0"));
	ASSERT_EQ(0, find_tsm(self));
	ASSERT_EQ(0, _connect(self));
	EXPECT_EQ(0, _bind(self));
}

TEST_F(tsm_sim, tsm_comes_back_before_the_unbind)
{
	ASSERT_EQ(0, _bind(self));
	ASSERT_EQ(0, put_sim("gone", "1"));
	ASSERT_EQ(0, put_sim("gone", "0"));
	ASSERT_EQ(0, find_tsm(self));
	ASSERT_EQ(0, _connect(self));
	/* That of the TSM that went: nothing is bound now */
	EXPECT_STREQ("", line_of(self, pci_path(self, "tsm/bound")));
	EXPECT_EQ(0, _unbind(self));
	EXPECT_EQ(0, _bind(self));
}

struct range {
	unsigned int bar;
	unsigned long long offset, length;
	unsigned int flags;
};

/* The ranges of the bound function, and their number */
static int get_ranges(FIXTURE_DATA(tsm_sim) *self, struct range *range, int max)
{
	char *line;
	int nr = 0;

	get(SIM "/bound", self->buf, sizeof(self->buf));
	line = strstr(self->buf, self->bdf);
	while (line && (line = strchr(line, '\n')) && nr < max) {
		line++;
		if (sscanf(line, " %x %llx %llx %x", &range[nr].bar,
			   &range[nr].offset, &range[nr].length,
			   &range[nr].flags) != 4)
			break;
		nr++;
	}
	return nr;
}

/* The size of a memory BAR as sysfs has it, 0 for others */
static unsigned long long bar_size(FIXTURE_DATA(tsm_sim) *self, int bar)
{
	unsigned long long start, end, flags;
	char *line = self->buf;

	get(pci_path(self, "resource"), self->buf, sizeof(self->buf));
	while (bar--)
		line = strchr(line, '\n') + 1;
	if (sscanf(line, "%llx %llx %llx", &start, &end, &flags) != 3 ||
	    !(flags & 0x200) || !end)
		return 0;
	return end - start + 1;
}

TEST_F(tsm_sim, ranges)
{
	unsigned int seen = 0, pages = 0;
	struct range range[64];
	int nr, i = 0;

	ASSERT_EQ(0, _bind(self));
	nr = get_ranges(self, range, 64);
	ASSERT_GT(nr, 1);

	for (unsigned int bar = 0; bar < 6; bar++) {
		unsigned long long pos = 0;

		for (; i < nr && range[i].bar == bar; i++) {
			EXPECT_EQ(pos, range[i].offset);
			pos += range[i].length;
			seen |= range[i].flags;
			/* The host keeps what has interrupts */
			if (range[i].flags & PRIVATE) {
				EXPECT_FALSE(range[i].flags &
					     (MSIX_TABLE | MSIX_PBA));
				pages += range[i].length >> 12;
			}
		}
		EXPECT_EQ(bar_size(self, bar), pos);
	}
	EXPECT_EQ(nr, i);
	EXPECT_EQ(PRIVATE | MSIX_TABLE | MSIX_PBA, seen);
	EXPECT_GT(pages, 0);
}

TEST_F(tsm_sim, marked_ranges)
{
	struct range range[64];
	unsigned int bar = 0;
	char line[64];
	int nr, found = 0;

	/* A BAR with three pages at least */
	while (bar < 6 && bar_size(self, bar) < 3 * 4096)
		bar++;
	ASSERT_LT(bar, 6);
	snprintf(line, sizeof(line), "%u 0x1000 0x1000 shared", bar);
	ASSERT_EQ(0, put_fn(self, "marks", line));
	ASSERT_EQ(0, _bind(self));
	nr = get_ranges(self, range, 64);
	for (int i = 0; i < nr; i++)
		if (range[i].bar == bar && range[i].offset <= 0x1000 &&
		    range[i].offset + range[i].length > 0x1000) {
			EXPECT_FALSE(range[i].flags & PRIVATE);
			found++;
		}
	EXPECT_EQ(1, found);

	snprintf(line, sizeof(line), "%u 0 0x7fffffffffffffff shared", bar);
	EXPECT_EQ(-ERANGE, put_fn(self, "marks", line));
	EXPECT_EQ(-EINVAL, put_fn(self, "marks", "0 0 0x1000 mine"));
	EXPECT_EQ(0, put_fn(self, "marks", "clear"));
}

TEST_F(tsm_sim, locked_msix)
{
	ASSERT_EQ(0, put_fn(self, "lock_msix", "1"));
	/* The kernel's own mapping of the table would be of private memory */
	EXPECT_EQ(-EOPNOTSUPP, _bind(self));
	EXPECT_STREQ("CONFIG_UNLOCKED", state(self));
	ASSERT_EQ(0, put_fn(self, "lock_msix", "0"));
	EXPECT_EQ(0, _bind(self));
}

TEST_F(tsm_sim, bad_report)
{
	char report[4096];
	int len;

	ASSERT_EQ(0, _bind(self));
	len = get(fn_path(self, "report"), report, sizeof(report));
	ASSERT_GT(len, 20);
	ASSERT_EQ(0, _unbind(self));

	/* Cut off; then whole, but of the addresses of another lock */
	ASSERT_EQ(0, put(fn_path(self, "report"), report, len - 8));
	EXPECT_EQ(-EPROTO, _bind(self));
	ASSERT_EQ(0, put(fn_path(self, "report"), report, len));
	EXPECT_EQ(-EPROTO, _bind(self));
	EXPECT_STREQ("CONFIG_UNLOCKED", state(self));
	ASSERT_EQ(0, put_fn(self, "report", "0"));
	EXPECT_EQ(0, _bind(self));
}

TEST_HARNESS_MAIN

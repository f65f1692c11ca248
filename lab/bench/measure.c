// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clock, what is printed, the memory used for page tables, and the kernel's
 * trace events
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static unsigned int wrong;

__u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

void sample_ns(const char *name, const char *way, const char *what, __u64 ns)
{
	printf("@sample %s.%s.%s %llu\n", name, way, what, ns);
}

void sample(const char *name, const char *way, const char *what, __u64 start)
{
	sample_ns(name, way, what, now() - start);
}

void count(const char *name, const char *way, const char *what, __u64 got,
	   __u64 want)
{
	if (got != want)
		wrong++;
	printf("@count %s.%s.%s %llu %llu\n", name, way, what, got, want);
}

void value(const char *name, const char *way, const char *what, __s64 val)
{
	printf("@value %s.%s.%s %lld\n", name, way, what, val);
}

bool all_counts_right(void)
{
	return !wrong;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

struct memory memory_used(void)
{
	struct memory memory = {};
	unsigned long long val;
	unsigned int found = 0;
	char name[64];
	FILE *file;

	/* What was freed by RCU is counted until it is gone */
	usleep(200 * 1000);
	write_file("/proc/sys/vm/stat_refresh", "1");
	file = fopen("/proc/vmstat", "re");
	if (!file)
		fail("/proc/vmstat: %s", strerror(errno));
	while (fscanf(file, "%63s %llu", name, &val) == 2) {
		if (!strcmp(name, "nr_page_table_pages"))
			memory.page_tables = val;
		else if (!strcmp(name, "nr_sec_page_table_pages"))
			memory.secondary = val;
		else if (!strcmp(name, "nr_iommu_pages"))
			memory.iommu = val;
		else
			continue;
		found++;
	}
	fclose(file);
	if (found != 3)
		fail("/proc/vmstat does not count page tables");
	return memory;
}

#define INSTANCE "/sys/kernel/tracing/instances/kseries-bench"

void trace_open(void)
{
	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		fail(INSTANCE ": %s", strerror(errno));
	write_file(INSTANCE "/tracing_on", "0");
	write_file(INSTANCE "/buffer_size_kb", "8192");
	write_file(INSTANCE "/trace_clock", "mono");
}

void trace_enable(const char *event)
{
	char path[256];

	snprintf(path, sizeof(path), INSTANCE "/events/%s/enable", event);
	write_file(path, "1");
}

void trace_disable(void)
{
	write_file(INSTANCE "/events/enable", "0");
}

void trace_start(void)
{
	write_file(INSTANCE "/trace", "");
	write_file(INSTANCE "/tracing_on", "1");
}

void trace_stop(void)
{
	write_file(INSTANCE "/tracing_on", "0");
}

/* Those of which the number after @field is in [first, end), if there is one */
unsigned int trace_count_between(const char *event, const char *field,
				 __u64 first, __u64 end)
{
	unsigned int nr = 0;
	char line[1024];
	char name[128];
	FILE *file;

	snprintf(name, sizeof(name), " %s: ", event);
	file = fopen(INSTANCE "/trace", "re");
	if (!file)
		fail(INSTANCE "/trace: %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		char *text = strstr(line, name);
		__u64 val;

		if (strstr(line, "LOST"))
			fail("the trace buffer is too small");
		if (!text)
			continue;
		if (field) {
			text = strstr(text, field);
			if (!text)
				fail("no %s in: %s", field, line);
			val = strtoull(text + strlen(field), NULL, 0);
			if (val < first || val >= end)
				continue;
		}
		nr++;
	}
	fclose(file);
	return nr;
}

/* From the first @begin to the last @end. The kernel prints microseconds */
__u64 trace_time(const char *begin, const char *end)
{
	double first = 0, last = 0, at;
	char line[1024], name[128];
	FILE *file;

	file = fopen(INSTANCE "/trace", "re");
	if (!file)
		fail(INSTANCE "/trace: %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		/* TASK-PID [CPU] FLAGS SECONDS: EVENT: */
		char *text = strchr(line, ']');

		if (*line == '#' || !text ||
		    sscanf(text, "] %*s %lf: %127[^:]", &at, name) != 2)
			continue;
		if (!strcmp(name, begin) && !first)
			first = at;
		if (!strcmp(name, end))
			last = at;
	}
	fclose(file);
	if (!first || last < first)
		fail("no %s and %s in the trace", begin, end);
	return (last - first) * 1e9;
}

unsigned int trace_count(const char *event)
{
	return trace_count_between(event, NULL, 0, 0);
}

void trace_close(void)
{
	trace_disable();
	rmdir(INSTANCE);
}

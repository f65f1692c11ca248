// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clock, what is printed, the memory used for page tables, the kernel's
 * trace events, and probes of its functions
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

static void write_how(const char *path, const char *text, int how)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | how);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

static void write_file(const char *path, const char *text)
{
	write_how(path, text, O_TRUNC);
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

#define TRACING "/sys/kernel/tracing"
#define INSTANCE TRACING "/instances/kseries-bench"

void trace_open(void)
{
	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		fail(INSTANCE ": %s", strerror(errno));
	write_file(INSTANCE "/tracing_on", "0");
	write_file(INSTANCE "/buffer_size_kb", "8192");
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

unsigned int trace_count(const char *event)
{
	return trace_count_between(event, NULL, 0, 0);
}

void trace_close(void)
{
	trace_disable();
	rmdir(INSTANCE);
}

/* The probes' clock: one that the kernel prints in full. Only x86 has it, see PARTS of bench.py */
#ifdef __x86_64__
#define PROBE_CLOCK	"x86-tsc"

static __u64 probe_clock(void)
{
	return __builtin_ia32_rdtsc();
}
#else
#define PROBE_CLOCK	"none"

static __u64 probe_clock(void)
{
	return now();
}
#endif

static struct {
	int pipe;
	__u64 cycles, ns;	/* when it was opened */
	__u64 cost;		/* of the probes of one call, in ns */
} probes;

void probe_open(void)
{
	write_file(TRACING "/kprobe_events", "");
	/* By traps all of them, which take the same of each */
	write_file("/proc/sys/debug/kprobes-optimization", "0");
	/* The kernel prints no more than microseconds of the other clocks */
	write_file(INSTANCE "/trace_clock", PROBE_CLOCK);
	probes.pipe = open(INSTANCE "/trace_pipe",
			   O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (probes.pipe < 0)
		fail(INSTANCE "/trace_pipe: %s", strerror(errno));
	probes.cycles = probe_clock();
	probes.ns = now();
}

/* Of the probes of a place the latest is called first: _in comes after what _out has to prepare */
void probe_add(const char *function)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "p:kseries/%s_in %s\nr:kseries/%s_out %s\n", function,
		 function, function, function);
	write_how(TRACING "/kprobe_events", text, O_APPEND);
}

/* The cycles between each FUNCTION_in and its FUNCTION_out, and how many there are */
static __u64 probe_cycles(char *text, unsigned int *calls)
{
	__u64 sum = 0, begin = 0;
	char *line, *rest;

	*calls = 0;
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		/* TASK-PID [CPU] FLAGS CYCLES: EVENT: */
		char *where = strchr(line, ']');
		unsigned long long at;
		char name[128];
		size_t len;

		if (strstr(line, "LOST"))
			fail("the trace buffer is too small");
		if (!where ||
		    sscanf(where, "] %*s %llu: %127[^:]", &at, name) != 2)
			continue;
		len = strlen(name);
		if (len > 3 && !strcmp(name + len - 3, "_in")) {
			begin = at;
		} else if (begin) {
			sum += at - begin;
			begin = 0;
			++*calls;
		}
	}
	return sum;
}

/* What the calls since the last call of this took, without what the probes take, in ns */
__u64 probe_time(void)
{
	static char text[1 << 16];
	unsigned int calls;
	double ns_per_cycle;
	size_t used = 0;
	ssize_t got;
	__u64 ns;

	do {
		got = read(probes.pipe, text + used, sizeof(text) - 1 - used);
		used += got > 0 ? got : 0;
	} while (got > 0);
	if (!got)
		fail("more calls than were expected");
	if (errno != EAGAIN)
		fail(INSTANCE "/trace_pipe: %s", strerror(errno));
	text[used] = 0;

	ns_per_cycle = (double)(now() - probes.ns) /
		       (probe_clock() - probes.cycles);
	ns = probe_cycles(text, &calls) * ns_per_cycle;
	if (!calls)
		fail("no function with a probe was called");
	return ns > calls * probes.cost ? ns - calls * probes.cost : 0;
}

void probe_cost(__u64 ns)
{
	probes.cost = ns;
}

/* From here on, and no events */
void probe_start(void)
{
	trace_disable();
	trace_start();
	trace_enable("kseries");
}

void probe_close(void)
{
	trace_disable();
	close(probes.pipe);
}

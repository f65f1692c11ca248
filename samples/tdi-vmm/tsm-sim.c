// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated TSM: what a guest that has a driver for it would say to its
 * device, as TDISP messages, and what the simulation has seen
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tdi.h"

#define SIM	"/sys/kernel/debug/tsm-sim"

#define TDISP_VERSION		0x10
#define TDISP_GET_REPORT	0x84
#define TDISP_START		0x86
#define TDISP_RESPONSE(type)	((type) & 0x7f)

#define TDISP_SEGMENT_VALID	0x1000000

#define TDISP_RANGE_NON_TEE	0x4

struct tdisp_header {
	__u8 version;
	__u8 type;
	__u16 reserved;
	__u32 function;
	__u8 reserved2[8];
} __attribute__((packed));

struct tdisp_get_report {
	struct tdisp_header header;
	__u16 offset;
	__u16 length;
} __attribute__((packed));

struct tdisp_report_part {
	struct tdisp_header header;
	__u16 portion;
	__u16 remainder;
	__u8 data[4000];
} __attribute__((packed));

struct tdisp_report_head {
	__u16 info;
	__u16 reserved;
	__u16 msix_control;
	__u16 lnr_control;
	__u32 tph_control;
	__u32 nr_ranges;
} __attribute__((packed));

struct tdisp_report_range {
	__u64 first_page;
	__u32 nr_pages;
	__u16 attributes;
	__u16 id;
} __attribute__((packed));

static struct tdisp_header tdisp_header(struct tdi *tdi, __u8 type)
{
	return (struct tdisp_header){
		.version = TDISP_VERSION,
		.type = type,
		.function = (tdi->id & 0xffffff) | TDISP_SEGMENT_VALID,
	};
}

/* Which addresses the device will answer as the VM's own, says the device */
void tdisp_read_report(struct tdi *tdi, struct tdisp_report *report)
{
	struct tdisp_get_report request = {
		.header = tdisp_header(tdi, TDISP_GET_REPORT),
		.length = sizeof(((struct tdisp_report_part *)0)->data),
	};
	struct tdisp_report_part part;
	const struct tdisp_report_range *range;
	const struct tdisp_report_head *head;
	__u32 size = sizeof(part);
	__u64 code;
	int error;

	error = tdi_request(tdi, false, &request, sizeof(request), &part, &size,
			    &code);
	if (error)
		fail("request for the report: %s", strerror(error));
	if (code || part.header.type != TDISP_RESPONSE(TDISP_GET_REPORT))
		fail("request for the report: TDISP error 0x%llx", code);
	if (part.remainder || part.portion < sizeof(*head))
		fail("the report has %u bytes, and %u more", part.portion,
		     part.remainder);

	head = (const void *)part.data;
	range = (const void *)(head + 1);
	if (head->nr_ranges > (part.portion - sizeof(*head)) / sizeof(*range))
		fail("the report says it has %u ranges", head->nr_ranges);

	report->nr_ranges = head->nr_ranges;
	report->nr_tee = 0;
	for (unsigned int i = 0; i < head->nr_ranges; i++)
		report->nr_tee += !(range[i].attributes & TDISP_RANGE_NON_TEE);
}

/* The guest trusts the device. The nonce that goes with it has the TSM. */
int tdisp_start(struct tdi *tdi)
{
	struct tdisp_header request = tdisp_header(tdi, TDISP_START);
	__u8 response[64];
	__u32 size = sizeof(response);
	__u64 code;
	int error;

	error = tdi_request(tdi, true, &request, sizeof(request), response,
			    &size, &code);
	if (!error && code)
		fail("request to start: TDISP error 0x%llx", code);
	return error;
}

static int sim_read(const char *name, char *buf, size_t size)
{
	char path[128];
	ssize_t ret;
	int fd;

	snprintf(path, sizeof(path), SIM "/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = read(fd, buf, size - 1);
	close(fd);
	if (ret < 0)
		return -1;
	buf[ret] = 0;
	return 0;
}

static int sim_write(const char *name, const char *value)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), SIM "/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = write(fd, value, strlen(value)) < 0 ? -1 : 0;
	close(fd);
	return ret;
}

bool sim_is_there(const char *bdf)
{
	return strcmp(sim_state(bdf), "none");
}

/* Steps of a TSM take their time, and here they shall be seen */
void sim_slow_down(const char *bdf, unsigned int ms)
{
	char name[64], value[16];

	snprintf(value, sizeof(value), "%u", ms);
	snprintf(name, sizeof(name), "%s/delay_lock", bdf);
	sim_write(name, value);
	snprintf(name, sizeof(name), "%s/delay_unbind", bdf);
	sim_write(name, value);
}

void sim_reset_violations(void)
{
	if (sim_write("violations", "0"))
		fail("the simulated TSM does not let its violations be reset");
}

/* How often somebody mapped, or unmapped, what must not be; -1 without an answer */
long sim_violations(void)
{
	char buf[8192];
	long nr = -1;

	if (sim_read("violations", buf, sizeof(buf)) ||
	    sscanf(buf, "violations %ld", &nr) != 1)
		return -1;
	if (nr)
		say("%s", buf);
	return nr;
}

const char *sim_state(const char *bdf)
{
	static char buf[64];
	char name[64];

	snprintf(name, sizeof(name), "%s/state", bdf);
	if (sim_read(name, buf, sizeof(buf)))
		return "none";
	buf[strcspn(buf, "\n")] = 0;
	return buf;
}

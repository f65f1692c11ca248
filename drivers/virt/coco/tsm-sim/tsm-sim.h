/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of the simulation, from the outside to the inside:
 *
 * main.c	which devices take part, registers the TSM
 * tsm.c	what firmware would do: the operations of a TSM driver. It talks to
 *		the device by TDISP messages only.
 * device.c	what the device would do: one state machine for each function
 * report.c	the interface report of a function
 * judge.c	looks what is mapped while all that happens
 * import.c	maps something itself, as the driver of another device does
 * debugfs.c	lets tests break it, and bind without a VM
 */
#ifndef _TSM_SIM_H
#define _TSM_SIM_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-tsm.h>

#include "tdisp.h"

struct dentry;
struct import;
struct watch;

/* Where a fault can be made, and time be lost */
enum sim_step {
	SIM_BIND,
	SIM_LOCK,
	SIM_REPORT,
	SIM_RANGES,
	SIM_START,
	SIM_STOP,
	SIM_UNBIND,
	SIM_GUEST_REQ,
	SIM_NR_STEPS,
};

extern const char * const sim_step_name[SIM_NR_STEPS];

/* How a test wants a part of a BAR to be reported, the last mark counts */
struct sim_mark {
	struct list_head node;
	struct pci_tdi_range range;
};

/* The device's part of a function */
struct sim_device {
	enum tdisp_state state;
	u64 reporting_offset;
	u16 lock_flags;
	u8 nonce[TDISP_NONCE_SIZE];
	/* The configuration that was locked */
	u16 command;
	u16 devctl;
	u32 bar[PCI_STD_NUM_BARS];
	/* Of CONFIG_LOCKED and RUN */
	void *report;
	size_t report_len;
};

struct sim_tdi {
	struct pci_tdi tdi;
	/* What the TSM keeps of the lock */
	u64 reporting_offset;
	u8 nonce[TDISP_NONCE_SIZE];
	/* What the report says */
	struct pci_tdi_ranges *ranges;
	/* By its owner */
	bool stopped;
};

/**
 * struct sim_fn - a function that takes part
 * @pf0: PCI/TSM's context; for a subfunction only the base part is used
 * @dir: its directory in debugfs
 * @watch: the judge's part of it
 * @fail: errno, as a positive number, that a step fails with
 * @delay: milliseconds that a step loses
 * @stubborn: no signal ends a delay
 * @lock_msix: the TSM locks the MSI-X table too
 * @bad_nonce: the TSM starts the interface with a nonce that is wrong
 * @delay_import: milliseconds until @import is given back
 * @import: the sg table of a test, see import.c
 * @lock: protects all below; innermost but for the judge's
 * @device: the device's part
 * @tdi: the bound TDI
 * @config_blocked: a test has locked accesses to config space
 * @marks: of struct sim_mark
 * @report: instead of the real one, of @report_len bytes
 * @report_len: not 0 if there is a @report
 */
struct sim_fn {
	struct pci_tsm_pf0 pf0;
	struct dentry *dir;
	struct watch *watch;
	u32 fail[SIM_NR_STEPS];
	u32 delay[SIM_NR_STEPS];
	bool stubborn;
	bool lock_msix;
	bool bad_nonce;
	u32 delay_import;
	struct import *import;

	/* innermost but for the judge's */
	struct mutex lock;
	struct sim_device device;
	struct sim_tdi *tdi;
	bool config_blocked;
	struct list_head marks;
	void *report;
	size_t report_len;
};

static inline struct pci_dev *sim_pdev(struct sim_fn *fn)
{
	return fn->pf0.base_tsm.pdev;
}

static inline struct sim_fn *to_sim_fn(struct pci_tsm *tsm)
{
	return container_of(tsm, struct sim_fn, pf0.base_tsm);
}

/* Large enough for each message but a report, which comes in parts of this */
#define SIM_MESSAGE_MAX		4096

/* main.c */
bool sim_takes_part(struct pci_dev *pdev);
int sim_set_gone(bool gone);
bool sim_is_gone(void);

/* tsm.c */
extern u32 sim_fail_connect;
extern struct pci_tsm_ops sim_tsm_ops;
struct sim_fn *sim_fn_alloc(void);
void sim_fn_free(struct sim_fn *fn);
struct pci_tdi *sim_bind(struct pci_dev *pdev, struct kvm *kvm, u32 tdi_id);
void sim_stop(struct pci_tdi *tdi);
void sim_unbind(struct pci_tdi *tdi);
ssize_t sim_request(struct sim_fn *fn, enum pci_tsm_req_scope scope,
		    const void *req, size_t req_len, void *rsp, size_t rsp_size,
		    u64 *code);

/* device.c */
size_t sim_device_message(struct sim_fn *fn, const void *req, size_t req_len,
			  void *rsp, size_t rsp_size);
bool sim_device_check(struct sim_fn *fn);
int sim_device_error(struct sim_fn *fn);
u32 sim_device_function(struct pci_dev *pdev);

/* report.c */
void *sim_report_build(struct sim_fn *fn, size_t *len);

/* judge.c */
int sim_judge_init(void);
void sim_judge_exit(void);
struct watch *sim_judge_watch(struct pci_dev *pdev);
void sim_judge_unwatch(struct watch *watch);
int sim_judge_bind(struct watch *watch, const struct pci_tdi_ranges *ranges);
void sim_judge_running(struct watch *watch, bool running);
void sim_judge_unbind(struct watch *watch, bool stopped);
void sim_judge_show(struct seq_file *m);
unsigned long sim_judge_violations(unsigned long *unseen);
void sim_judge_reset(void);

/* import.c */
int sim_import(struct sim_fn *fn, int fd);
bool sim_imported(struct sim_fn *fn);

/* debugfs.c */
void sim_debugfs_init(void);
void sim_debugfs_exit(void);
void sim_debugfs_add(struct sim_fn *fn);
void sim_debugfs_remove(struct sim_fn *fn);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A PCI function that is bound to a confidential VM, as a TDI
 */
#ifndef TDI_VMM_TDI_H
#define TDI_VMM_TDI_H

#include "tdi-vmm.h"

/* The two interfaces of the kernel that bind, which do the same */
enum tdi_door {
	TDI_BY_VFIO,		/* VFIO_DEVICE_TSM_* */
	TDI_BY_VDEVICE,		/* IOMMU_VDEVICE_TSM_* of iommufd */
};

struct tdi {
	struct vfio_pci *dev;
	enum tdi_door door;
	__u32 id;		/* the routing ID of the function in the VM */
	int iommufd;
	__u32 vdevice;		/* for TDI_BY_VDEVICE */
};

#define TDI_MAX_RANGES	64

struct tdi_range {
	unsigned int bar;
	__u64 offset;
	__u64 size;
	bool private;
	bool msix_table;
	bool msix_pba;
};

struct tdi_info {
	__u32 state;
	unsigned int nr;
	struct tdi_range ranges[TDI_MAX_RANGES];
};

/* tdi.c: before the device is opened, what its VM is */
void vm_check_private(struct vm *vm);
int vm_add_device(struct vm *vm, struct vfio_pci *dev);
void vm_set_private(struct vm *vm, __u64 gpa, __u64 size, bool private);

/* tdi.c: the operations; tdi_bind() and tdi_unbind() return an errno */
void tdi_init(struct tdi *tdi, __u32 ioas);
int tdi_bind(struct tdi *tdi);
int tdi_unbind(struct tdi *tdi);
int tdi_request(struct tdi *tdi, bool state_change, const void *request,
		__u32 request_size, void *response, __u32 *response_size,
		__u64 *code);
void tdi_get(struct tdi *tdi, struct tdi_info *info);
const char *tdi_state_name(__u32 state);

/*
 * tdi.c: the states of a TDI as they change, printed by a thread; tdi_watch_end()
 * returns how often that was without having been asked for
 */
void tdi_watch(struct tdi *tdi);
void tdi_watch_until(__u32 state);
unsigned int tdi_watch_end(void);

/* tdi.c: accesses of the host that may be refused, they return an errno */
int tdi_bar_read(struct tdi *tdi, unsigned int bar, __u64 offset, void *buf,
		 __u64 size);
int tdi_reset(struct tdi *tdi);
void *tdi_mmap(struct tdi *tdi, unsigned int bar, __u64 offset, __u64 size);

/* tsm-sim.c: what the guest says to its device, and what the simulation says */
struct tdisp_report {
	unsigned int nr_ranges;
	unsigned int nr_tee;		/* which only the VM can access */
};

void tdisp_read_report(struct tdi *tdi, struct tdisp_report *report);
int tdisp_start(struct tdi *tdi);
bool sim_is_there(const char *bdf);
void sim_slow_down(const char *bdf, unsigned int ms);
void sim_reset_violations(void);
long sim_violations(void);
const char *sim_state(const char *bdf);

#endif /* TDI_VMM_TDI_H */

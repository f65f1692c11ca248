/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VMM that gives the BAR of a VFIO device to a guest by file descriptor
 *
 * Each .c file does one thing and can be read alone; main.c has the order of
 * the calls. What fails is fatal: fail() says in which step, and what to do.
 */
#ifndef TDI_VMM_H
#define TDI_VMM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <linux/types.h>

#define SZ_4K	0x1000ULL
#define SZ_2M	0x200000ULL
#define SZ_64M	0x4000000ULL
#define SZ_1G	0x40000000ULL
#define SZ_4G	0x100000000ULL

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* report.c: numbered steps, below each what was found, and one last line */
extern const char *program;
extern const char *current_step;

void step(const char *name);
void hint(const char *text);

#define say(fmt, ...)	printf("     " fmt "\n", ##__VA_ARGS__)

#define fail(fmt, ...) do {						\
	printf("%s: FAIL %s: " fmt "\n", program, current_step,		\
	       ##__VA_ARGS__);						\
	exit(EXIT_FAILURE);						\
} while (0)

/* report.c: ioctl(), counted so that a step can prove how few it needed */
int xioctl(int fd, unsigned long request, void *arg);
unsigned int nr_ioctls(void);

/* pci.c: a PCI function, before and without VFIO */
void pci_check_bdf(const char *bdf);
bool pci_is_bound_to_vfio(const char *bdf);
void pci_bind_to_vfio(const char *bdf);
void pci_vfio_cdev(const char *bdf, char *path, unsigned int size);

/* vfio.c: a PCI function, opened through VFIO */
struct vfio_pci {
	const char *bdf;
	int fd;
	__u32 devid;		/* what iommufd calls it */
	__u16 vendor;
	__u16 device;
};

void vfio_open(struct vfio_pci *dev, const char *bdf);
void vfio_bind(struct vfio_pci *dev, int iommufd);
void vfio_attach(struct vfio_pci *dev, __u32 ioas);
__u64 vfio_bar_size(struct vfio_pci *dev, unsigned int bar);
void vfio_bar_read(struct vfio_pci *dev, unsigned int bar, __u64 offset,
		   void *buf, __u64 size);
void vfio_bar_write(struct vfio_pci *dev, unsigned int bar, __u64 offset,
		    const void *buf, __u64 size);
__u16 vfio_command(struct vfio_pci *dev);
void vfio_set_command(struct vfio_pci *dev, __u16 clear, __u16 set);
int vfio_export_bar(struct vfio_pci *dev, unsigned int bar, __u64 offset,
		    __u64 size, __u32 flags);

/* ioas.c: what devices can reach by DMA */
int iommufd_open(void);
__u32 ioas_alloc(int iommufd);
void ioas_map_dmabuf(int iommufd, __u32 ioas, __u64 iova, int dmabuf,
		     __u64 offset, __u64 size);
void ioas_map_memory(int iommufd, __u32 ioas, __u64 iova, void *va,
		     __u64 size);
__u64 ioas_unmap(int iommufd, __u32 ioas, __u64 iova, __u64 size);

/* kvm.c: what the guest can reach */
struct kvm_run;

struct vm {
	unsigned long type;	/* 0 is an ordinary VM, see guest_vm_type() */
	int kvm;
	int fd;
	int vcpu;
	int stats;
	struct kvm_run *run;
	size_t run_size;
	void *ram;
};

struct leaves {
	bool known;
	__u64 nr_4k;
	__u64 nr_2m;
	__u64 nr_1g;
};

enum vm_exit {
	VM_EXIT_DOORBELL,
	VM_EXIT_REVOKED,
};

void vm_create(struct vm *vm);
void vm_destroy(struct vm *vm);
void vm_map_dmabuf(struct vm *vm, __u32 slot, __u64 gpa, __u64 size,
		   int dmabuf, __u64 offset);
void vm_delete_slot(struct vm *vm, __u32 slot);
unsigned int vm_populate(struct vm *vm, __u64 gpa, __u64 size);
struct leaves vm_leaves(struct vm *vm);
enum vm_exit vm_run(struct vm *vm);

/* stage2.c: the same, where it is told in another way */
struct leaves stage2_leaves(struct vm *vm, __u64 gpa, __u64 size);

/* edu.c: a device that copies by DMA, QEMU's "edu" */
#define EDU_BUF_SIZE	SZ_4K

bool edu_is(struct vfio_pci *dev);
void edu_copy_in(struct vfio_pci *dev, __u64 iova, __u64 size);
void edu_copy_out(struct vfio_pci *dev, __u64 iova, __u64 size);

/* maps.c: what is mapped in this process */
struct maps {
	unsigned int nr;
	unsigned int nr_device;
	__u64 size;
	char device[1024];	/* the first device mapping */
};

struct maps maps_read(void);

#endif /* TDI_VMM_H */

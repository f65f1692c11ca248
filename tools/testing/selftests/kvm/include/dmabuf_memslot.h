/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers for tests of memslots that are backed by a dma-buf (KVM_MEM_DMABUF).
 *
 * The buffers are exported from a BAR of a VFIO device.  The tests need a BAR
 * that behaves like memory, e.g. QEMU's ivshmem-plain has one.  No BAR is mapped
 * into the test unless it says so with bar_mmap(), the host's side of it is read
 * and written by means of the VFIO region.
 */
#ifndef SELFTEST_KVM_DMABUF_MEMSLOT_H
#define SELFTEST_KVM_DMABUF_MEMSLOT_H

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/sizes.h>
#include <linux/vfio.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"

struct iommu;
struct vfio_pci_device;

/* The host's pages; arm64 has others, too, for which there's no test. */
#ifndef PAGE_SIZE
#define PAGE_SIZE		((unsigned long)SZ_4K)
#endif

#ifdef __x86_64__
#define DMABUF_VM_DEFAULT	KVM_X86_DEFAULT_VM
#define DMABUF_VM_SW_PROTECTED	KVM_X86_SW_PROTECTED_VM
#else
#define DMABUF_VM_DEFAULT	VM_TYPE_DEFAULT
/* A type that KVM_CAP_VM_TYPES has on x86 only. */
#define DMABUF_VM_SW_PROTECTED	1
#endif

/* Above everything that the KVM library puts into a VM, and 1GiB aligned. */
#define DMABUF_GPA		(64ull * SZ_1G)
#define DMABUF_SLOT		10

/* Skip the whole program unless KVM has such memslots, find the device. */
void dmabuf_test_init(int *argc, char *argv[]);

struct dmabuf_bar {
	struct iommu *iommu;
	struct vfio_pci_device *device;
	int index;
	u64 size;
};

/*
 * Open the device for a test with a VM of @vm_type, with memory decode on.
 * Returns NULL, or why the test has to be skipped.
 */
const char *bar_open(struct dmabuf_bar *bar, unsigned long vm_type);
void bar_close(struct dmabuf_bar *bar);

u64 bar_read(struct dmabuf_bar *bar, u64 offset);
void bar_write(struct dmabuf_bar *bar, u64 offset, u64 val);

/* With memory decode off, every buffer made from the device is revoked. */
void bar_set_decode(struct dmabuf_bar *bar, bool on);

/* And so it is in low power, which takes no access to the device. */
void bar_set_low_power(struct dmabuf_bar *bar, bool low);

/* As VMs have it without buffers, aligned to its size. */
void *bar_mmap(struct dmabuf_bar *bar, u64 offset, u64 size);

int bar_export_ranges(struct dmabuf_bar *bar, u32 open_flags,
		      const struct vfio_region_dma_range *ranges, u32 nr);

static inline int bar_export(struct dmabuf_bar *bar, u64 offset, u64 length)
{
	struct vfio_region_dma_range range = { .offset = offset, .length = length };

	return bar_export_ranges(bar, O_RDWR, &range, 1);
}

int __vm_set_dmabuf(struct kvm_vm *vm, u32 slot, u32 flags, gpa_t gpa, u64 size,
		    int fd, u64 offset);
void vm_set_dmabuf(struct kvm_vm *vm, u32 slot, u32 flags, gpa_t gpa, u64 size,
		   int fd, u64 offset);

static inline void vm_delete_dmabuf(struct kvm_vm *vm, u32 slot)
{
	vm_set_dmabuf(vm, slot, 0, 0, 0, 0, 0);
}

struct leaves {
	u64 nr_4k;
	u64 nr_2m;
	u64 nr_1g;
};

/*
 * Is the size of leaves KVM's choice, and can it be seen?  It's the guest's choice
 * with shadow paging, and arm64 needs CONFIG_PTDUMP_STAGE2_DEBUGFS.
 */
bool vm_can_get_leaves(struct kvm_vm *vm);
#ifdef __aarch64__
/* Their text in debugfs, NULL if there's none. */
FILE *vm_open_leaves(struct kvm_vm *vm);
#endif
#define LEAVES_SKIP_REASON	"KVM doesn't choose or doesn't show the size of leaves"

struct leaves vm_get_leaves(struct kvm_vm *vm);

/*
 * How much memory has the VM mapped, whatever the size of the leaves?  Only arm64
 * may be unable to tell.
 */
static inline bool vm_can_get_mapped(struct kvm_vm *vm)
{
#ifdef __aarch64__
	return vm_can_get_leaves(vm);
#else
	return true;
#endif
}

static inline u64 vm_get_mapped(struct kvm_vm *vm)
{
	struct leaves leaves = vm_get_leaves(vm);

	return leaves.nr_4k * SZ_4K + leaves.nr_2m * SZ_2M + leaves.nr_1g * SZ_1G;
}

/*
 * Map the range without the guest, which takes page tables that are indexed by
 * gpa.  Returns 0 or an errno, doesn't retry but for signals.
 */
bool vcpu_can_prefault(void);
#define PREFAULT_SKIP_REASON	"no KVM_CAP_PRE_FAULT_MEMORY"

int __vcpu_prefault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size);

/* Map the range, and let the guest do that if there's no other way. */
void vcpu_populate(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size);

/* How many leaves of each size does the range have then? */
struct leaves vcpu_populate_leaves(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size);

/*
 * The guest does one access after the other, each given by the host.  It accesses
 * a gpa at the same gva.
 */
enum guest_op {
	GUEST_READ,
	GUEST_WRITE,
	/* Have KVM emulate the access. */
	GUEST_FEP_READ,
};

/* Returns NULL, or why KVM can't be made to emulate an access to memory. */
const char *guest_cannot_emulate(void);

/* One access with a single instruction, of which KVM can tell what it does. */
static inline u64 guest_load(u64 *ptr)
{
	u64 val;

#if defined(__x86_64__)
	asm volatile("mov (%1), %0" : "=r"(val) : "r"(ptr) : "memory");
#elif defined(__aarch64__)
	asm volatile("ldr %0, [%1]" : "=r"(val) : "r"(ptr) : "memory");
#endif
	return val;
}

static inline void guest_store(u64 *ptr, u64 val)
{
#if defined(__x86_64__)
	asm volatile("mov %0, (%1)" :: "r"(val), "r"(ptr) : "memory");
#elif defined(__aarch64__)
	asm volatile("str %0, [%1]" :: "r"(val), "r"(ptr) : "memory");
#endif
}

void dmabuf_guest_code(void);
struct kvm_vm *dmabuf_vm_create(unsigned long type, struct kvm_vcpu **vcpu);

/* Give the guest its next access.  It is under way until guest_done(). */
void guest_start(struct kvm_vcpu *vcpu, enum guest_op op, gpa_t gpa, u64 val);
u64 guest_result(struct kvm_vcpu *vcpu);
u64 guest_done(struct kvm_vcpu *vcpu);

/* The access that is under way must exit with a memory fault... */
void guest_faults(struct kvm_vcpu *vcpu, gpa_t gpa, u64 flags);
/* ...or for emulated MMIO. */
void guest_exits_mmio(struct kvm_vcpu *vcpu, gpa_t gpa, bool is_write);

static inline u64 guest_read(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	guest_start(vcpu, GUEST_READ, gpa, 0);
	return guest_done(vcpu);
}

static inline void guest_write(struct kvm_vcpu *vcpu, gpa_t gpa, u64 val)
{
	guest_start(vcpu, GUEST_WRITE, gpa, val);
	guest_done(vcpu);
}

#endif /* SELFTEST_KVM_DMABUF_MEMSLOT_H */

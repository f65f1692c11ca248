// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test what is particular to arm64 about memslots that are backed by a dma-buf
 * (KVM_MEM_DMABUF): memory types, as they are in the stage-2 tables, faults of the
 * guest that must not be resolved, and the VMs that can't have such memslots.
 *
 * See dmabuf_memslot.h for the device that is needed.
 */
#include <signal.h>
#include <unistd.h>

#include <sys/time.h>

#include <asm/barrier.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>

#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

#define BUF_SIZE		((u64)SZ_2M)

#define RING_SIZE		((u32)SZ_64K)

#define INSN_RET		0xd65f03c0

/* A page of the guest's address space, far from everything else. */
#define GUEST_TABLE_GVA		(0x40ull * SZ_1G)
#define PTE_TABLE		3ull

static int heap_alloc(u64 size)
{
	struct dma_heap_allocation_data alloc = {
		.len = size,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int heap = open("/dev/dma_heap/system", O_RDWR);

	if (heap < 0)
		return -1;

	TEST_ASSERT(!ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &alloc),
		    "DMA_HEAP_IOCTL_ALLOC failed, errno = %d (%s)", errno, strerror(errno));
	close(heap);

	return alloc.fd;
}

#define HEAP_SKIP_REASON	"no system heap"

/*
 * A buffer of iommufd's selftest: it is of zeros, and says that it is registers.
 * Returns -1 if the kernel doesn't have that selftest.
 */
static int mock_dmabuf(void)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_GET,
		.dmabuf_get = {
			.length = BUF_SIZE,
			.open_flags = O_RDWR | O_CLOEXEC,
			.nr_ranges = 1,
		},
	};
	int iommufd = open("/dev/iommu", O_RDWR);
	int fd;

	if (iommufd < 0)
		return -1;

	fd = ioctl(iommufd, IOMMU_TEST_CMD, &cmd);
	TEST_ASSERT(fd >= 0 || errno == ENOTTY,
		    "Can't get a buffer, errno = %d (%s)", errno, strerror(errno));
	close(iommufd);

	return fd;
}

#define MOCK_SKIP_REASON	"needs CONFIG_IOMMUFD_TEST"

/*
 * The line of stage2_page_tables that has the gpa, or an empty one if it isn't mapped: then
 * it has a line, too, but one without "AF".
 */
static void get_leaf(struct kvm_vm *vm, gpa_t gpa, char *line, int size)
{
	FILE *file = vm_open_leaves(vm);
	unsigned long from, to;

	TEST_ASSERT(file, "No stage2_page_tables of the VM in debugfs");

	while (fgets(line, size, file)) {
		if (sscanf(line, "0x%lx-0x%lx", &from, &to) == 2 && from <= gpa && gpa < to &&
		    strstr(line, " AF "))
			goto out;
	}
	line[0] = '\0';
out:
	fclose(file);
}

#define EXPECT_LEAF(_gpa, _writable, _executable, _type)			\
do {										\
	char __line[256];							\
										\
	get_leaf(self->vm, _gpa, __line, sizeof(__line));			\
	TH_LOG("%s", __line);							\
	EXPECT_NE(strstr(__line, (_writable) ? " R W " : " R   "), NULL);	\
	EXPECT_NE(strstr(__line, (_executable) ? " px ux " : " PXNUXN "), NULL);	\
	EXPECT_NE(strstr(__line, " " _type "\n"), NULL);			\
} while (0)

static u64 guest_esr;

/* Go on where the function that can't be called would have returned to. */
static void guest_iabt_handler(struct ex_regs *regs)
{
	guest_esr = read_sysreg(esr_el1);
	regs->pc = regs->regs[30];
}

static void guest_dabt_handler(struct ex_regs *regs)
{
	guest_esr = read_sysreg(esr_el1);
	regs->pc += 4;
}

/* What was executed is data afterwards, i.e. is mapped when it's executed again. */
static void guest_call_code(u64 gva)
{
	for (;;) {
		guest_esr = 0;
		asm volatile("blr %0" :: "r"(gva) : "x30", "memory");
		GUEST_SYNC(guest_esr);
		guest_load((u64 *)gva);
	}
}

static void guest_load_code(u64 gva)
{
	for (;;) {
		guest_esr = 0;
		guest_load((u64 *)gva);
		GUEST_SYNC(guest_esr);
	}
}

static u64 guest_failed;

/* Increment once, unless the store never succeeds. */
static void guest_exclusive_code(u64 gva)
{
	u64 *ptr = (u64 *)gva;

	for (;;) {
		u32 failed = 1;
		u64 val;
		int i;

		guest_esr = 0;
		for (i = 0; i < 1000 && failed && !guest_esr; i++) {
			asm volatile("ldxr %0, [%2]\n\t"
				     "add %0, %0, #1\n\t"
				     "stxr %w1, %0, [%2]"
				     : "=&r"(val), "+&r"(failed) : "r"(ptr) : "memory");
		}
		guest_failed = failed;
		GUEST_SYNC(guest_esr);
	}
}

static int create_vm(unsigned long type)
{
	int kvm = open_kvm_dev_path_or_exit();
	int fd = ioctl(kvm, KVM_CREATE_VM, type);

	close(kvm);
	return fd;
}

static bool host_is_protected(void)
{
	int fd = create_vm(KVM_VM_TYPE_ARM_PROTECTED);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

FIXTURE(dmabuf_stage2)
{
	struct dmabuf_bar bar;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int fd;
};

FIXTURE_SETUP(dmabuf_stage2)
{
	const char *why = bar_open(&self->bar, DMABUF_VM_DEFAULT);

	self->fd = -1;
	if (why)
		SKIP(return, "%s", why);
	if (host_is_protected())
		SKIP(return, "VMs of this host can't have a BAR");

	self->vm = dmabuf_vm_create(DMABUF_VM_DEFAULT, &self->vcpu);
	self->fd = bar_export(&self->bar, 0, BUF_SIZE);

	if (!vm_can_get_leaves(self->vm))
		SKIP(return, "needs CONFIG_PTDUMP_STAGE2_DEBUGFS");
}

FIXTURE_TEARDOWN(dmabuf_stage2)
{
	if (self->vm)
		kvm_vm_free(self->vm);
	if (self->fd >= 0)
		close(self->fd);
	bar_close(&self->bar);
}

/* Another guest instead, with handlers for what it may not do. */
static void create_guest(FIXTURE_DATA(dmabuf_stage2) *self, void *code, gva_t gva)
{
	kvm_vm_free(self->vm);
	self->vm = vm_create_with_one_vcpu(&self->vcpu, code);
	vm_init_descriptor_tables(self->vm);
	vcpu_init_descriptor_tables(self->vcpu);
	vm_install_sync_handler(self->vm, VECTOR_SYNC_CURRENT, ESR_ELx_EC_IABT_CUR,
				guest_iabt_handler);
	vm_install_sync_handler(self->vm, VECTOR_SYNC_CURRENT, ESR_ELx_EC_DABT_CUR,
				guest_dabt_handler);
	virt_map(self->vm, DMABUF_GPA, DMABUF_GPA, 1);
	vcpu_args_set(self->vcpu, 1, gva);
}

/*
 * A guest with a dirty ring, in a VM that splits blocks of what is logged page by page, as
 * userspace resets entries of the ring.
 */
static void create_logged_guest(FIXTURE_DATA(dmabuf_stage2) *self)
{
	struct kvm_userspace_memory_region2 slot0;
	u64 size;

	kvm_vm_free(self->vm);
	self->vm = vm_create(1);

	/* Blocks are to be split from the first memslot on. */
	slot0 = memslot2region(self->vm, 0)->region;
	size = slot0.memory_size;
	slot0.memory_size = 0;
	vm_ioctl(self->vm, KVM_SET_USER_MEMORY_REGION2, &slot0);
	vm_enable_cap(self->vm, KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE, BUF_SIZE);
	slot0.memory_size = size;
	vm_ioctl(self->vm, KVM_SET_USER_MEMORY_REGION2, &slot0);

	vm_enable_cap(self->vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
	vm_enable_dirty_ring(self->vm, RING_SIZE);

	self->vcpu = vm_vcpu_add(self->vm, 0, dmabuf_guest_code);
	kvm_arch_vm_finalize_vcpus(self->vm);
}

/* Reset the first page of the memslot, whether or not KVM has put it into the ring. */
static void reset_first_page(struct kvm_vcpu *vcpu, u32 slot)
{
	struct kvm_dirty_gfn *gfn = vcpu_map_dirty_ring(vcpu);

	gfn->slot = slot;
	gfn->offset = 0;
	/* Pairs with the smp_load_acquire() in kvm_dirty_gfn_harvested() */
	smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_RESET);
	TEST_ASSERT_EQ(kvm_vm_reset_dirty_ring(vcpu->vm), 1);
}

/* Returns the exception that the guest took, zero for none. */
static u64 run_guest(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);

	return uc.args[1];
}

/* A BAR of vfio-pci may be write-combined, stage-1 of the guest decides. */
TEST_F(dmabuf_stage2, type_bar)
{
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->fd, 0);

	guest_write(self->vcpu, DMABUF_GPA, 0x1);
	EXPECT_LEAF(DMABUF_GPA, true, false, "MEM/NORMAL-NC");
}

TEST_F(dmabuf_stage2, type_readonly)
{
	vm_set_dmabuf(self->vm, DMABUF_SLOT, KVM_MEM_READONLY, DMABUF_GPA, BUF_SIZE, self->fd, 0);

	guest_read(self->vcpu, DMABUF_GPA);
	EXPECT_LEAF(DMABUF_GPA, false, false, "MEM/NORMAL-NC");
}

TEST_F(dmabuf_stage2, type_registers)
{
	int fd = mock_dmabuf();

	if (fd < 0)
		SKIP(return, MOCK_SKIP_REASON);

	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0);
	close(fd);

	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0);
	EXPECT_LEAF(DMABUF_GPA, true, false, "DEVICE/nGnRE");
}

TEST_F(dmabuf_stage2, type_ram)
{
	char line[256];
	int fd = heap_alloc(BUF_SIZE);

	if (fd < 0)
		SKIP(return, HEAP_SKIP_REASON);

	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0);
	close(fd);

	/* Whether it's executable before it's executed depends on the CPU. */
	guest_write(self->vcpu, DMABUF_GPA, 0x1);
	get_leaf(self->vm, DMABUF_GPA, line, sizeof(line));
	EXPECT_NE(strstr(line, " MEM/NORMAL\n"), NULL);
}

/*
 * A vCPU that starts over must not see what is older in memory than in the caches, and
 * does so if KVM unmaps RAM for lack of FEAT_S2FWB.  Then a buffer is to go as well.
 */
TEST_F(dmabuf_stage2, restart)
{
	struct kvm_vcpu_init init;
	int fd = heap_alloc(BUF_SIZE);
	char line[256];
	bool ram, buf;

	if (fd < 0)
		SKIP(return, HEAP_SKIP_REASON);

	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0);
	close(fd);

	guest_write(self->vcpu, DMABUF_GPA, 0x1);
	get_leaf(self->vm, DMABUF_GPA, line, sizeof(line));
	ASSERT_NE(line[0], '\0');

	kvm_get_default_vcpu_target(self->vm, &init);
	vcpu_ioctl(self->vcpu, KVM_ARM_VCPU_INIT, &init);

	get_leaf(self->vm, self->vm->mmu.pgd, line, sizeof(line));
	ram = line[0];
	get_leaf(self->vm, DMABUF_GPA, line, sizeof(line));
	buf = line[0];
	TH_LOG("RAM %s mapped", ram ? "stays" : "isn't");
	EXPECT_EQ(buf, ram);
}

/* Nothing of a buffer is ever logged, whatever userspace writes to the ring. */
TEST_F(dmabuf_stage2, reset_not_logged)
{
	create_logged_guest(self);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->fd, 0);

	guest_write(self->vcpu, DMABUF_GPA, 0x1);
	EXPECT_LEAF(DMABUF_GPA, true, false, "BLK MEM/NORMAL-NC");

	reset_first_page(self->vcpu, DMABUF_SLOT);
	EXPECT_LEAF(DMABUF_GPA, true, false, "BLK MEM/NORMAL-NC");

	/* Without FEAT_S2FWB, the caches would be cleaned of what is mapped as memory. */
	bar_set_decode(&self->bar, false);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
}

/* Nor can the mmap of a BAR be logged. */
TEST_F(dmabuf_stage2, reset_vma)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = DMABUF_SLOT,
		.guest_phys_addr = DMABUF_GPA,
		.memory_size = BUF_SIZE,
	};
	void *hva;

	hva = bar_mmap(&self->bar, 0, BUF_SIZE);
	create_logged_guest(self);
	region.userspace_addr = (unsigned long)hva;
	vm_ioctl(self->vm, KVM_SET_USER_MEMORY_REGION2, &region);

	guest_write(self->vcpu, DMABUF_GPA, 0x1);
	EXPECT_LEAF(DMABUF_GPA, true, false, "BLK MEM/NORMAL-NC");

	reset_first_page(self->vcpu, DMABUF_SLOT);
	EXPECT_LEAF(DMABUF_GPA, true, false, "BLK MEM/NORMAL-NC");

	munmap(hva, BUF_SIZE);
}

/* An attempt to execute from a BAR is the guest's fault, and never makes it executable. */
TEST_F(dmabuf_stage2, exec_bar)
{
	u64 esr;
	int i;

	bar_write(&self->bar, 0, INSN_RET);
	create_guest(self, guest_call_code, DMABUF_GPA);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->fd, 0);

	for (i = 0; i < 3; i++) {
		esr = run_guest(self->vcpu);
		EXPECT_EQ(ESR_ELx_EC(esr), ESR_ELx_EC_IABT_CUR);
		EXPECT_EQ(esr & ESR_ELx_FSC, ESR_ELx_FSC_EXTABT);
	}

	/* Mapped as data, and nothing else. */
	EXPECT_LEAF(DMABUF_GPA, true, false, "MEM/NORMAL-NC");
}

/* That nothing is there is the VMM's business, whatever the access. */
TEST_F(dmabuf_stage2, exec_revoked)
{
	create_guest(self, guest_call_code, DMABUF_GPA);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->fd, 0);

	bar_set_decode(&self->bar, false);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);
	guest_faults(self->vcpu, DMABUF_GPA, KVM_MEMORY_EXIT_FLAG_REVOKED);

	bar_set_decode(&self->bar, true);
	EXPECT_EQ(ESR_ELx_EC(run_guest(self->vcpu)), ESR_ELx_EC_IABT_CUR);
}

TEST_F(dmabuf_stage2, exec_ram)
{
	int fd = heap_alloc(BUF_SIZE);
	u32 *mem;

	if (fd < 0)
		SKIP(return, HEAP_SKIP_REASON);

	mem = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	*mem = INSN_RET;
	__builtin___clear_cache((void *)mem, (void *)mem + sizeof(*mem));

	create_guest(self, guest_call_code, DMABUF_GPA);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0);
	close(fd);

	EXPECT_EQ(run_guest(self->vcpu), 0);
	EXPECT_LEAF(DMABUF_GPA, true, true, "MEM/NORMAL");
	munmap(mem, BUF_SIZE);
}

/* Page tables of the guest can't be in registers, and KVM must not try forever. */
TEST_F_TIMEOUT(dmabuf_stage2, tables_in_registers, 60)
{
	int fd = mock_dmabuf();
	u64 esr;

	if (fd < 0)
		SKIP(return, MOCK_SKIP_REASON);

	create_guest(self, guest_load_code, GUEST_TABLE_GVA);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0);
	close(fd);

	virt_map(self->vm, GUEST_TABLE_GVA, DMABUF_GPA, 1);
	*virt_get_pte_hva_at_level(self->vm, GUEST_TABLE_GVA, 2) = DMABUF_GPA | PTE_TABLE;

	esr = run_guest(self->vcpu);
	EXPECT_EQ(ESR_ELx_EC(esr), ESR_ELx_EC_DABT_CUR);
	EXPECT_EQ(esr & ESR_ELx_FSC, ESR_ELx_FSC_SEA_TTW(3));
}

/*
 * Whether exclusives work in uncached memory is up to the CPU.  If they don't, the
 * guest is told.
 */
TEST_F(dmabuf_stage2, exclusive)
{
	u64 esr;

	bar_write(&self->bar, 0, 41);
	create_guest(self, guest_exclusive_code, DMABUF_GPA);
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->fd, 0);

	esr = run_guest(self->vcpu);
	if (esr) {
		EXPECT_EQ(ESR_ELx_EC(esr), ESR_ELx_EC_DABT_CUR);
	} else {
		sync_global_from_guest(self->vm, guest_failed);
		EXPECT_EQ(bar_read(&self->bar, 0), guest_failed ? 41 : 42);
	}
}

/* Nobody but the exporter could look after the tags of memory. */
TEST_F(dmabuf_stage2, mte)
{
	int fd = heap_alloc(BUF_SIZE);

	if (fd < 0)
		SKIP(return, HEAP_SKIP_REASON);
	if (!kvm_has_cap(KVM_CAP_ARM_MTE)) {
		close(fd);
		SKIP(return, "no VMs with MTE");
	}

	kvm_vm_free(self->vm);
	self->vm = vm_create_barebones();
	vm_enable_cap(self->vm, KVM_CAP_ARM_MTE, 0);

	EXPECT_EQ(__vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0), -1);
	EXPECT_EQ(errno, EOPNOTSUPP);

	/* There are no tags in a BAR. */
	EXPECT_EQ(__vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, self->fd, 0), 0);

	/* Not the other way round either. */
	kvm_vm_free(self->vm);
	self->vm = vm_create_barebones();
	vm_set_dmabuf(self->vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0);
	EXPECT_EQ(__vm_enable_cap(self->vm, KVM_CAP_ARM_MTE, 0), -1);
	EXPECT_EQ(errno, EINVAL);
	close(fd);
}

FIXTURE(dmabuf_pkvm)
{
	struct dmabuf_bar bar;
	int ram_fd;
	int bar_fd;
	int vm_fd;
};

FIXTURE_SETUP(dmabuf_pkvm)
{
	const char *why;

	self->ram_fd = -1;
	self->bar_fd = -1;
	self->vm_fd = -1;
	if (!host_is_protected())
		SKIP(return, "needs kvm-arm.mode=protected");

	why = bar_open(&self->bar, DMABUF_VM_DEFAULT);
	if (why)
		SKIP(return, "%s", why);

	self->bar_fd = bar_export(&self->bar, 0, BUF_SIZE);
	self->ram_fd = heap_alloc(BUF_SIZE);
	if (self->ram_fd < 0)
		SKIP(return, HEAP_SKIP_REASON);
}

FIXTURE_TEARDOWN(dmabuf_pkvm)
{
	if (self->vm_fd >= 0)
		close(self->vm_fd);
	if (self->ram_fd >= 0)
		close(self->ram_fd);
	if (self->bar_fd >= 0)
		close(self->bar_fd);
	bar_close(&self->bar);
}

static int set_slot(int vm_fd, u32 slot, int fd)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = KVM_MEM_DMABUF,
		.guest_phys_addr = DMABUF_GPA + slot * BUF_SIZE,
		.memory_size = BUF_SIZE,
		.dmabuf_fd = fd,
	};

	return ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION2, &region) ? errno : 0;
}

TEST_F(dmabuf_pkvm, protected_vm)
{
	self->vm_fd = create_vm(KVM_VM_TYPE_ARM_PROTECTED);
	ASSERT_GE(self->vm_fd, 0);

	EXPECT_EQ(ioctl(self->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DMABUF), 0);
	EXPECT_EQ(set_slot(self->vm_fd, 0, self->bar_fd), EOPNOTSUPP);
	EXPECT_EQ(set_slot(self->vm_fd, 0, self->ram_fd), EOPNOTSUPP);
}

/* EL2 shares memory with such a VM, but no devices. */
TEST_F(dmabuf_pkvm, other_vm)
{
	self->vm_fd = create_vm(0);
	ASSERT_GE(self->vm_fd, 0);

	EXPECT_EQ(ioctl(self->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DMABUF), KVM_DMABUF_SHARED);
	EXPECT_EQ(set_slot(self->vm_fd, 0, self->bar_fd), EOPNOTSUPP);
	EXPECT_EQ(set_slot(self->vm_fd, 0, self->ram_fd), 0);
}

static int udmabuf_create(int memfd)
{
	struct udmabuf_create create = { .memfd = memfd, .size = BUF_SIZE };
	int dev = open("/dev/udmabuf", O_RDWR);
	int fd;

	if (dev < 0)
		return -1;

	fd = ioctl(dev, UDMABUF_CREATE, &create);
	TEST_ASSERT(fd >= 0, "UDMABUF_CREATE failed, errno = %d (%s)", errno, strerror(errno));
	close(dev);

	return fd;
}

static void do_nothing(int sig)
{
}

/*
 * Let a protected VM run from the memory, whatever is in there: all that counts is that
 * the page isn't the host's any more.
 */
static void donate_first_page(int vm_fd, void *mem)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = BUF_SIZE,
		.userspace_addr = (unsigned long)mem,
	};
	struct itimerval timer = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct sigaction action = { .sa_handler = do_nothing };
	struct kvm_vcpu_init init;
	int vcpu_fd, i;

	TEST_ASSERT(!ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region),
		    "No memory for the protected VM, errno = %d (%s)", errno, strerror(errno));
	vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	TEST_ASSERT(vcpu_fd >= 0, "No vCPU, errno = %d (%s)", errno, strerror(errno));
	TEST_ASSERT(!ioctl(vm_fd, KVM_ARM_PREFERRED_TARGET, &init) &&
		    !ioctl(vcpu_fd, KVM_ARM_VCPU_INIT, &init),
		    "KVM_ARM_VCPU_INIT failed, errno = %d (%s)", errno, strerror(errno));

	/* An instruction that doesn't exist, at the vector of that exception as well. */
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	/* One signal may have come before the guest was entered. */
	for (i = 0; i < 3; i++)
		TEST_ASSERT(ioctl(vcpu_fd, KVM_RUN, NULL) == -1 && errno == EINTR,
			    "The protected VM has stopped, errno = %d (%s)",
			    errno, strerror(errno));
	timer = (struct itimerval){};
	setitimer(ITIMER_REAL, &timer, NULL);
	close(vcpu_fd);
}

/* What a protected VM has nobody else gets, and the VMM is told where the guest was. */
TEST_F(dmabuf_pkvm, page_of_protected_vm)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int memfd, fd;
	void *mem;

	memfd = memfd_create("dmabuf_memslot_stage2", MFD_ALLOW_SEALING);
	ASSERT_GE(memfd, 0);
	ASSERT_EQ(ftruncate(memfd, BUF_SIZE), 0);
	ASSERT_EQ(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	mem = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	memset(mem, 0, BUF_SIZE);
	fd = udmabuf_create(memfd);
	if (fd < 0)
		SKIP(return, "no udmabuf");

	self->vm_fd = create_vm(KVM_VM_TYPE_ARM_PROTECTED);
	ASSERT_GE(self->vm_fd, 0);
	donate_first_page(self->vm_fd, mem);

	vm = dmabuf_vm_create(DMABUF_VM_DEFAULT, &vcpu);
	vm_set_dmabuf(vm, DMABUF_SLOT, 0, DMABUF_GPA, BUF_SIZE, fd, 0);
	guest_start(vcpu, GUEST_READ, DMABUF_GPA, 0);
	guest_faults(vcpu, DMABUF_GPA, 0);

	/* It's gone, and the page is anybody's. */
	close(self->vm_fd);
	self->vm_fd = -1;
	EXPECT_EQ(guest_read(vcpu, DMABUF_GPA), 0);

	kvm_vm_free(vm);
	close(fd);
	munmap(mem, BUF_SIZE);
	close(memfd);
}

int main(int argc, char *argv[])
{
	dmabuf_test_init(&argc, argv);

	return test_harness_run(argc, argv);
}

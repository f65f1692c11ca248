// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test memslots that are backed by a dma-buf (KVM_MEM_DMABUF) of ordinary memory,
 * i.e. of a DMA heap or of udmabuf: the guest can run from it.
 */
#include <unistd.h>

#include <asm-generic/hugetlb_encode.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>

#include "kvm_test_harness.h"
#include "dmabuf_memslot.h"

#define BUF_SIZE		((u64)SZ_4M)

/* Code, stack and data are in different 2MiB mappings where there are any. */
#define CODE_OFFSET		0
#define STACK_OFFSET		((u64)SZ_1M)
#define DATA_OFFSET		((u64)SZ_2M)
#define COUNT_OFFSET		((u64)SZ_2M + SZ_1M)

#define NR_DATA			(SZ_64K / sizeof(u64))

enum exporter {
	SYSTEM_HEAP,
	CMA_HEAP,
	UDMABUF,
	UDMABUF_2M,
};

struct ram {
	int fd;
	u8 *mem;
};

static int heap_alloc(const char *path, u32 fd_flags)
{
	struct dma_heap_allocation_data alloc = {
		.len = BUF_SIZE,
		.fd_flags = fd_flags | O_CLOEXEC,
	};
	int heap = open(path, O_RDWR);

	if (heap < 0)
		return -1;

	TEST_ASSERT(!ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &alloc),
		    "DMA_HEAP_IOCTL_ALLOC failed, errno = %d (%s)", errno, strerror(errno));
	close(heap);

	return alloc.fd;
}

static int udmabuf_create(unsigned int memfd_flags)
{
	struct udmabuf_create create = { .size = BUF_SIZE };
	int dev, fd;

	dev = open("/dev/udmabuf", O_RDWR);
	if (dev < 0)
		return -1;

	create.memfd = memfd_create("dmabuf_memslot_ram", MFD_ALLOW_SEALING | memfd_flags);
	if (create.memfd < 0 || ftruncate(create.memfd, BUF_SIZE) ||
	    fcntl(create.memfd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		fd = -1;
		goto out;
	}

	/* Fails if there are no huge pages. */
	fd = ioctl(dev, UDMABUF_CREATE, &create);
out:
	close(create.memfd);
	close(dev);
	return fd;
}

/* Returns NULL, or why the test has to be skipped. */
static const char *ram_create(struct ram *ram, enum exporter exporter)
{
	ram->mem = MAP_FAILED;

	switch (exporter) {
	case SYSTEM_HEAP:
		ram->fd = heap_alloc("/dev/dma_heap/system", O_RDWR);
		if (ram->fd < 0)
			return "no system heap";
		break;
	case CMA_HEAP:
		ram->fd = heap_alloc("/dev/dma_heap/default_cma_region", O_RDWR);
		if (ram->fd < 0)
			return "no CMA heap";
		break;
	case UDMABUF:
		ram->fd = udmabuf_create(0);
		if (ram->fd < 0)
			return "no udmabuf";
		break;
	case UDMABUF_2M:
		ram->fd = udmabuf_create(MFD_HUGETLB | HUGETLB_FLAG_ENCODE_2MB);
		if (ram->fd < 0)
			return "no udmabuf, or too few huge pages of 2 MiB";
		break;
	}

	ram->mem = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ram->fd, 0);
	TEST_ASSERT(ram->mem != MAP_FAILED, "mmap() of the dma-buf failed");

	return NULL;
}

static u64 *ram_ptr(struct ram *ram, u64 offset)
{
	return (u64 *)(ram->mem + offset);
}

/*
 * The part of the guest that's copied to the buffer, it can be anywhere:
 *
 * u64 payload(u64 *data, u64 nr, u64 *count)
 *
 * returns the sum of the data, with a call, and thus two uses of the stack and an
 * increment of the counter, for each u64.
 */
extern const char ram_payload[], ram_payload_end[];

asm(".pushsection .text\n"
	"ram_payload:\n"
#if defined(__x86_64__)
	"	xor	%eax, %eax\n"
	"1:	call	2f\n"
	"	add	$8, %rdi\n"
	"	dec	%rsi\n"
	"	jnz	1b\n"
	"	ret\n"
	"2:	push	%rsi\n"
	"	add	(%rdi), %rax\n"
	"	incq	(%rdx)\n"
	"	pop	%rsi\n"
	"	ret\n"
#elif defined(__aarch64__)
	"	mov	x3, #0\n"
	"	mov	x6, x30\n"
	"1:	bl	2f\n"
	"	add	x0, x0, #8\n"
	"	subs	x1, x1, #1\n"
	"	b.ne	1b\n"
	"	mov	x0, x3\n"
	"	ret	x6\n"
	"2:	stp	x30, x1, [sp, #-16]!\n"
	"	ldr	x4, [x0]\n"
	"	add	x3, x3, x4\n"
	"	ldr	x5, [x2]\n"
	"	add	x5, x5, #1\n"
	"	str	x5, [x2]\n"
	"	ldp	x30, x1, [sp], #16\n"
	"	ret\n"
#endif
	"ram_payload_end:\n"
	".popsection\n");

/* Call the payload on a stack that is in the buffer, too. */
static void ram_guest_code(u64 base)
{
	for (;;) {
#if defined(__x86_64__)
		u64 data = base + DATA_OFFSET;
		u64 nr = NR_DATA;
		u64 sum;

		asm volatile("mov %%rsp, %%rbx\n\t"
			     "mov %[stack], %%rsp\n\t"
			     "call *%[code]\n\t"
			     "mov %%rbx, %%rsp"
			     : "=&a"(sum), "+D"(data), "+S"(nr)
			     : "d"(base + COUNT_OFFSET),
			       [code]"r"(base + CODE_OFFSET),
			       [stack]"r"(base + STACK_OFFSET + PAGE_SIZE)
			     : "rbx", "memory", "cc");
#elif defined(__aarch64__)
		register u64 sum asm("x0") = base + DATA_OFFSET;
		register u64 nr asm("x1") = NR_DATA;
		register u64 count asm("x2") = base + COUNT_OFFSET;

		asm volatile("mov x19, sp\n\t"
			     "mov sp, %[stack]\n\t"
			     "blr %[code]\n\t"
			     "mov sp, x19"
			     : "+r"(sum), "+r"(nr)
			     : "r"(count), [code]"r"(base + CODE_OFFSET),
			       [stack]"r"(base + STACK_OFFSET + PAGE_SIZE)
			     : "x3", "x4", "x5", "x6", "x19", "x30", "memory", "cc");
#endif
		GUEST_SYNC(sum);
	}
}

FIXTURE(dmabuf_ram)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ram ram;
};

FIXTURE_VARIANT(dmabuf_ram)
{
	enum exporter exporter;
};

FIXTURE_VARIANT_ADD(dmabuf_ram, system_heap)
{
	.exporter = SYSTEM_HEAP,
};

FIXTURE_VARIANT_ADD(dmabuf_ram, cma_heap)
{
	.exporter = CMA_HEAP,
};

FIXTURE_VARIANT_ADD(dmabuf_ram, udmabuf)
{
	.exporter = UDMABUF,
};

FIXTURE_VARIANT_ADD(dmabuf_ram, udmabuf_2m)
{
	.exporter = UDMABUF_2M,
};

FIXTURE_SETUP(dmabuf_ram)
{
	const char *why = ram_create(&self->ram, variant->exporter);

	if (why)
		SKIP(return, "%s", why);

	self->vm = dmabuf_vm_create(DMABUF_VM_DEFAULT, &self->vcpu);
}

FIXTURE_TEARDOWN(dmabuf_ram)
{
	kvm_vm_free(self->vm);
	munmap(self->ram.mem, BUF_SIZE);
	if (self->ram.fd >= 0)
		close(self->ram.fd);
}

static void set_slot(struct kvm_vm *vm, struct ram *ram, u32 flags)
{
	vm_set_dmabuf(vm, DMABUF_SLOT, flags, DMABUF_GPA, BUF_SIZE, ram->fd, 0);
}

/* Nothing but the memslot is left of the buffer. */
static void forget_fd(struct ram *ram)
{
	close(ram->fd);
	ram->fd = -1;
}

TEST_F(dmabuf_ram, access)
{
	u64 offset;

	set_slot(self->vm, &self->ram, 0);
	forget_fd(&self->ram);

	for (offset = 0; offset < BUF_SIZE; offset += SZ_64K + PAGE_SIZE) {
		guest_write(self->vcpu, DMABUF_GPA + offset, ~offset);
		EXPECT_EQ(*ram_ptr(&self->ram, offset), ~offset);

		*ram_ptr(&self->ram, offset) = offset + 1;
		EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + offset), offset + 1);
	}
}

TEST_F(dmabuf_ram, run_from_buffer)
{
	u64 sum = 0, round, i;
	struct ucall uc;

	memcpy(self->ram.mem + CODE_OFFSET, ram_payload, ram_payload_end - ram_payload);
	__builtin___clear_cache((void *)self->ram.mem, (void *)self->ram.mem + PAGE_SIZE);
	for (i = 0; i < NR_DATA; i++) {
		ram_ptr(&self->ram, DATA_OFFSET)[i] = i * i;
		sum += i * i;
	}
	*ram_ptr(&self->ram, COUNT_OFFSET) = 0;

	kvm_vm_free(self->vm);
	self->vm = vm_create_with_one_vcpu(&self->vcpu, ram_guest_code);
	set_slot(self->vm, &self->ram, 0);
	forget_fd(&self->ram);
	virt_map(self->vm, DMABUF_GPA, DMABUF_GPA, BUF_SIZE / PAGE_SIZE);
	vcpu_args_set(self->vcpu, 1, DMABUF_GPA);

	for (round = 1; round <= 3; round++) {
		vcpu_run(self->vcpu);
		ASSERT_EQ(get_ucall(self->vcpu, &uc), UCALL_SYNC);
		EXPECT_EQ(uc.args[1], sum);
		EXPECT_EQ(*ram_ptr(&self->ram, COUNT_OFFSET), round * NR_DATA);

		/* What the host writes is what the guest reads next. */
		ram_ptr(&self->ram, DATA_OFFSET)[NR_DATA - 1] += round;
		sum += round;
	}

	/* The return address of the payload's own call. */
	EXPECT_GE(*ram_ptr(&self->ram, STACK_OFFSET + PAGE_SIZE - 2 * sizeof(u64)), DMABUF_GPA);
}

TEST_F(dmabuf_ram, leaves)
{
	struct leaves leaves;

	u64 before;

	if (!vm_can_get_leaves(self->vm))
		SKIP(return, LEAVES_SKIP_REASON);

	set_slot(self->vm, &self->ram, 0);
	leaves = vcpu_populate_leaves(self->vcpu, DMABUF_GPA, BUF_SIZE);

	EXPECT_EQ(leaves.nr_1g, 0);
	EXPECT_EQ(leaves.nr_4k * SZ_4K + leaves.nr_2m * SZ_2M, BUF_SIZE);
	if (variant->exporter == UDMABUF_2M)
		EXPECT_EQ(leaves.nr_2m, BUF_SIZE / SZ_2M);

	/* Whether other memslots stay mapped is up to the architecture. */
	before = vm_get_mapped(self->vm);
	vm_delete_dmabuf(self->vm, DMABUF_SLOT);
	EXPECT_LE(vm_get_mapped(self->vm), before - BUF_SIZE);
}

TEST_F(dmabuf_ram, readonly)
{
	if (!vm_check_cap(self->vm, KVM_CAP_READONLY_MEM))
		SKIP(return, "no READONLY memslots");

	set_slot(self->vm, &self->ram, KVM_MEM_READONLY);

	*ram_ptr(&self->ram, 0) = 0x33;
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA), 0x33);

	guest_start(self->vcpu, GUEST_WRITE, DMABUF_GPA, 0x44);
	guest_exits_mmio(self->vcpu, DMABUF_GPA, true);
	EXPECT_EQ(*(u64 *)self->vcpu->run->mmio.data, 0x44);
	guest_done(self->vcpu);
	EXPECT_EQ(*ram_ptr(&self->ram, 0), 0x33);
}

/* Two VMs that share a buffer, of which one ends. */
TEST_F(dmabuf_ram, two_vms)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	set_slot(self->vm, &self->ram, 0);
	vm = dmabuf_vm_create(DMABUF_VM_DEFAULT, &vcpu);
	set_slot(vm, &self->ram, 0);

	guest_write(vcpu, DMABUF_GPA + SZ_2M, 0x77);
	EXPECT_EQ(guest_read(self->vcpu, DMABUF_GPA + SZ_2M), 0x77);

	kvm_vm_free(vm);
	guest_write(self->vcpu, DMABUF_GPA + SZ_2M, 0x78);
	EXPECT_EQ(*ram_ptr(&self->ram, SZ_2M), 0x78);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DMABUF));
	TEST_REQUIRE(getpagesize() == PAGE_SIZE);

	return test_harness_run(argc, argv);
}

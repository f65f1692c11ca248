// SPDX-License-Identifier: GPL-2.0-only
/*
 * One BAR, one file descriptor, and two who use it without any mapping in this
 * process: a guest, through KVM's page tables, and another device, through the
 * IOMMU's.
 *
 *	VFIO device --VFIO_DEVICE_FEATURE_DMA_BUF--> dma-buf fd
 *	  dma-buf fd --KVM_SET_USER_MEMORY_REGION2--> guest physical addresses
 *	  dma-buf fd --IOMMU_IOAS_MAP_FILE---------> IO virtual addresses
 *
 * main() is the order of the calls. Documentation/userspace-api/dma-buf-vm.rst
 * is the guide that goes with it.
 */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/pci_regs.h>

#include "guest.h"
#include "tdi-vmm.h"

#define SLOT_BAR	1

/* A device with few address bits can reach these */
#define IOVA_BUFFER	0x2000000ULL
#define IOVA_BAR	0x4000000ULL
#define IOVA_BAR_MAX	SZ_64M

#define PATTERN_SIZE	EDU_BUF_SIZE
#define PATTERN_WORDS	(PATTERN_SIZE / 8)
#define SWEEP_WORDS	128

const char *program = "tdi-vmm";

struct options {
	const char *device;
	const char *peer;
	int bar;
	bool bind;
	__u64 offset;
	__u64 size;
	__u64 gpa;
};

/* Everything that the steps share */
struct demo {
	struct options opt;
	struct vfio_pci device;
	struct vfio_pci peer;
	struct vm vm;
	struct leaves before;
	int iommufd;
	__u32 ioas;
	__u64 iova_size;
	__u64 *buffer;
	int dmabuf;
	unsigned int checks;
};

static const char usage[] =
	"usage: tdi-vmm --device BDF [options]\n"
	"\n"
	"Gives the BAR of a VFIO device to a small guest and to the IO address space of\n"
	"another device by file descriptor, and checks that both reach it.\n"
	"The content of the BAR is OVERWRITTEN: take a BAR that is memory.\n"
	"\n"
	"  -d, --device BDF   the device whose BAR it is, such as 0000:00:05.0\n"
	"  -b, --bar N        which BAR (default: the largest)\n"
	"  -o, --offset BYTES first byte of the part to use (default: 0)\n"
	"  -s, --size BYTES   size of the part to use (default: to the end)\n"
	"  -g, --gpa ADDRESS  where the guest sees it (default: above 4 GiB, aligned)\n"
	"  -p, --peer BDF     the device that copies by DMA: QEMU's edu; any other one\n"
	"                     gets the BAR into its IOAS, and copies nothing\n"
	"      --bind         bind both to vfio-pci first\n"
	"  -h, --help         this\n"
	"\n"
	"Numbers may be decimal or 0x...; addresses and sizes are multiples of 4096.\n"
	"The last line says PASS or FAIL, and so does the exit status.\n";

static __u64 parse_number(const char *name, const char *text, bool aligned)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || *end || end == text || *text == '-')
		fail("--%s: '%s' is not a number", name, text);
	if (aligned && value % SZ_4K)
		fail("--%s: '%s' is not a multiple of 4096", name, text);
	return value;
}

static void parse_options(struct options *opt, int argc, char **argv)
{
	enum { OPT_BIND = 256 };
	static const struct option table[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "bar", required_argument, NULL, 'b' },
		{ "offset", required_argument, NULL, 'o' },
		{ "size", required_argument, NULL, 's' },
		{ "gpa", required_argument, NULL, 'g' },
		{ "peer", required_argument, NULL, 'p' },
		{ "bind", no_argument, NULL, OPT_BIND },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int c;

	opt->bar = -1;
	while ((c = getopt_long(argc, argv, "d:b:o:s:g:p:h", table, NULL)) != -1) {
		switch (c) {
		case 'd':
			opt->device = optarg;
			break;
		case 'b':
			if (optarg[0] < '0' || optarg[0] > '5' || optarg[1])
				fail("--bar: '%s' is not 0 to 5", optarg);
			opt->bar = optarg[0] - '0';
			break;
		case 'o':
			opt->offset = parse_number("offset", optarg, true);
			break;
		case 's':
			opt->size = parse_number("size", optarg, true);
			if (!opt->size)
				fail("--size: is 0");
			break;
		case 'g':
			opt->gpa = parse_number("gpa", optarg, true);
			break;
		case 'p':
			opt->peer = optarg;
			break;
		case OPT_BIND:
			opt->bind = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		default:
			fail("see --help");
		}
	}
	if (optind != argc)
		fail("'%s' is one argument too many: see --help", argv[optind]);
	if (!opt->device)
		fail("--device is missing: see --help");
	if (opt->peer && !strcmp(opt->peer, opt->device))
		fail("--peer is the device itself");
}

/* What a step has to establish; each one counts */
#define check(demo, cond, fmt, ...) do {				\
	if (!(cond))							\
		fail(fmt, ##__VA_ARGS__);				\
	(demo)->checks++;						\
} while (0)

static void open_device(struct demo *demo, struct vfio_pci *dev,
			const char *bdf)
{
	pci_check_bdf(bdf);
	if (demo->opt.bind && !pci_is_bound_to_vfio(bdf))
		pci_bind_to_vfio(bdf);
	vfio_open(dev, bdf);
	vfio_bind(dev, demo->iommufd);
}

static void open_devices(struct demo *demo)
{
	step("open the devices");
	demo->iommufd = iommufd_open();
	open_device(demo, &demo->device, demo->opt.device);
	if (demo->opt.peer)
		open_device(demo, &demo->peer, demo->opt.peer);
}

static void choose_bar(struct demo *demo)
{
	struct options *opt = &demo->opt;
	__u64 size, bar_size = 0;
	__u64 align = SZ_4G;
	__u64 end;

	if (opt->bar >= 0) {
		bar_size = vfio_bar_size(&demo->device, opt->bar);
	} else {
		for (int bar = 0; bar < 6; bar++) {
			size = vfio_bar_size(&demo->device, bar);
			if (size <= bar_size)
				continue;
			bar_size = size;
			opt->bar = bar;
		}
	}
	if (!bar_size) {
		hint("'resource' of the device in sysfs lists its BARs");
		if (opt->bar < 0)
			fail("%s has no memory BAR", opt->device);
		fail("BAR%d of %s is not a memory BAR", opt->bar, opt->device);
	}
	if (bar_size < SZ_4K)
		fail("BAR%d has %llu bytes, less than a page", opt->bar,
		     bar_size);

	if (opt->offset >= bar_size)
		fail("--offset is beyond the %llu bytes of BAR%d", bar_size,
		     opt->bar);
	if (!opt->size)
		opt->size = bar_size - opt->offset;
	if (opt->size > bar_size - opt->offset)
		fail("--size goes beyond the %llu bytes of BAR%d", bar_size,
		     opt->bar);

	/*
	 * A BAR is aligned to its size. A guest address that is as well gets
	 * the largest leaves, and nothing else has to be aligned for that.
	 */
	while (align < bar_size)
		align *= 2;
	if (!opt->gpa)
		opt->gpa = align + opt->offset;

	end = guest_end(&demo->vm);
	if (opt->gpa < GUEST_DOORBELL + SZ_4K || opt->gpa >= end ||
	    opt->size > end - opt->gpa)
		fail("--gpa and --size: the guest has room from 0x%llx to 0x%llx",
		     GUEST_DOORBELL + SZ_4K, end);
}

static void export_bar(struct demo *demo)
{
	const struct options *opt = &demo->opt;
	off_t size;

	step("export the BAR as a dma-buf");
	choose_bar(demo);
	vfio_set_command(&demo->device, 0, PCI_COMMAND_MEMORY);

	demo->dmabuf = vfio_export_bar(&demo->device, opt->bar, opt->offset,
				       opt->size, 0);
	size = lseek(demo->dmabuf, 0, SEEK_END);
	check(demo, size == (off_t)opt->size, "the dma-buf has %lld bytes",
	      (long long)size);
	say("BAR%d from 0x%llx on: fd %d, %lld bytes", opt->bar, opt->offset,
	    demo->dmabuf, (long long)size);
}

static void start_vm(struct demo *demo)
{
	struct vm *vm = &demo->vm;

	step("start a VM");
	vm_create(vm);
	check(demo, vm_run(vm) == VM_EXIT_DOORBELL, "the guest did not start");
	if (guest_can_populate) {
		vm_populate(vm, 0, GUEST_RAM_SIZE);
		demo->before = vm_leaves(vm);
	}
	say("the guest runs in %llu bytes of RAM", GUEST_RAM_SIZE);
}

/*
 * All RAM was mapped before there was a BAR, so what is more is the BAR's. RAM
 * is mapped again here, as KVM zaps every slot when one is deleted.
 */
static struct leaves bar_leaves(struct demo *demo)
{
	struct leaves leaves;

	if (!guest_can_populate)
		return stage2_leaves(&demo->vm, demo->opt.gpa, demo->opt.size);

	vm_populate(&demo->vm, 0, GUEST_RAM_SIZE);
	leaves = vm_leaves(&demo->vm);
	leaves.nr_4k -= demo->before.nr_4k;
	leaves.nr_2m -= demo->before.nr_2m;
	leaves.nr_1g -= demo->before.nr_1g;
	return leaves;
}

static __u64 leaves_size(const struct leaves *leaves)
{
	return leaves->nr_4k * SZ_4K + leaves->nr_2m * SZ_2M +
	       leaves->nr_1g * SZ_1G;
}

/* Where the kernel does not tell them, nothing is checked */
static void check_no_leaves(struct demo *demo, const struct leaves *leaves)
{
	if (leaves->known)
		check(demo, !leaves_size(leaves), "%llu bytes are still mapped",
		      leaves_size(leaves));
}

static void say_leaves(const char *when, const struct leaves *leaves)
{
	if (!leaves->known) {
		say("leaves of the BAR %s: this kernel does not tell", when);
		return;
	}
	say("leaves of the BAR %s: %llu of 4 KiB, %llu of 2 MiB, %llu of 1 GiB",
	    when, leaves->nr_4k, leaves->nr_2m, leaves->nr_1g);
}

/* Returns by how many calls */
static unsigned int populate_bar(struct demo *demo)
{
	const struct options *opt = &demo->opt;
	__u64 stride = SZ_2M;

	if (guest_can_populate)
		return vm_populate(&demo->vm, opt->gpa, opt->size);

	if ((opt->gpa | opt->offset | opt->size) % SZ_2M)
		stride = SZ_4K;
	guest_run(&demo->vm, GUEST_COMPARE, opt->gpa, opt->size / stride, stride,
		  0);
	return 1;
}

static void map_guest(struct demo *demo)
{
	const struct options *opt = &demo->opt;
	struct leaves leaves;
	unsigned int calls;

	step("give the dma-buf to the guest");
	vm_map_dmabuf(&demo->vm, SLOT_BAR, opt->gpa, opt->size, demo->dmabuf,
		      0);
	say("memory slot %u at 0x%llx, %llu bytes", SLOT_BAR, opt->gpa,
	    opt->size);

	calls = populate_bar(demo);
	leaves = bar_leaves(demo);
	say_leaves("after population", &leaves);
	if (!leaves.known)
		return;
	check(demo, leaves_size(&leaves) == opt->size,
	      "the leaves cover %llu bytes and not %llu",
	      leaves_size(&leaves), opt->size);
	if (!((opt->gpa | opt->offset | opt->size) % SZ_2M))
		check(demo, !leaves.nr_4k,
		      "everything is aligned to 2 MiB, and there are leaves of 4 KiB");
	say("they cover all %llu bytes, by %u %s%s", opt->size, calls,
	    guest_can_populate ? "call" : "run of the guest",
	    calls == 1 ? "" : "s");
}

static void map_peer(struct demo *demo)
{
	__u64 size = demo->opt.size;

	step("give the dma-buf to the peer device");
	demo->ioas = ioas_alloc(demo->iommufd);
	vfio_attach(&demo->peer, demo->ioas);

	demo->iova_size = size < IOVA_BAR_MAX ? size : IOVA_BAR_MAX;
	ioas_map_dmabuf(demo->iommufd, demo->ioas, IOVA_BAR, demo->dmabuf, 0,
			demo->iova_size);
	say("IOAS %u at 0x%llx: the first %llu bytes of the dma-buf",
	    demo->ioas, IOVA_BAR, demo->iova_size);

	demo->buffer = mmap(NULL, PATTERN_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (demo->buffer == MAP_FAILED)
		fail("mmap of %llu bytes: %s", PATTERN_SIZE, strerror(errno));
	ioas_map_memory(demo->iommufd, demo->ioas, IOVA_BUFFER, demo->buffer,
			PATTERN_SIZE);
	say("IOAS %u at 0x%llx: %llu bytes of this process", demo->ioas,
	    IOVA_BUFFER, PATTERN_SIZE);

	/* For edu's registers, and its DMA */
	vfio_set_command(&demo->peer, 0,
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* The slot and the IOAS hold the buffer: userspace has no need to */
static void close_dmabuf(struct demo *demo)
{
	step("close the dma-buf's fd");
	if (close(demo->dmabuf))
		fail("close: %s", strerror(errno));
	say("fd %d is gone, everything below works without it", demo->dmabuf);
	demo->dmabuf = -1;
}

/* How many of the pattern's words are not in @words */
static unsigned int differ(const __u64 *words, __u64 value)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < PATTERN_WORDS; i++)
		nr += words[i] != value + i * PATTERN_STEP;
	return nr;
}

/* What is in the device, read from its region and not through a mapping */
static unsigned int differ_in_device(struct demo *demo, __u64 value)
{
	__u64 words[PATTERN_WORDS];

	vfio_bar_read(&demo->device, demo->opt.bar, demo->opt.offset, words,
		      sizeof(words));
	return differ(words, value);
}

static void guest_writes(struct demo *demo)
{
	const struct options *opt = &demo->opt;
	const __u64 value = 0x1111, sweep = 0x2222;
	__u64 stride, words, bad;
	unsigned int nr;

	step("the guest writes to the BAR");
	guest_run(&demo->vm, GUEST_WRITE, opt->gpa, PATTERN_WORDS, 8, value);
	nr = differ_in_device(demo, value);
	check(demo, !nr, "%u of %llu words in the device are not the guest's",
	      nr, PATTERN_WORDS);
	say("%llu words written by the guest, %llu found in the device",
	    PATTERN_WORDS, PATTERN_WORDS - nr);

	words = opt->size / SZ_4K < SWEEP_WORDS ? opt->size / SZ_4K :
						  SWEEP_WORDS;
	stride = opt->size / words & ~(SZ_4K - 1);
	guest_run(&demo->vm, GUEST_WRITE, opt->gpa + SZ_4K - 8, words, stride,
		  sweep);
	bad = guest_run(&demo->vm, GUEST_COMPARE, opt->gpa + SZ_4K - 8, words,
			stride, sweep);
	check(demo, !bad, "the guest reads %llu of %llu words wrong", bad,
	      words);
	say("%llu words written all over the BAR, %llu KiB apart, %llu read back",
	    words, stride / 1024, words - bad);
}

/* BAR to the peer's own buffer, from there to memory of this process */
static void copy_from_bar(struct demo *demo, __u64 value)
{
	unsigned int nr;

	memset(demo->buffer, 0xff, PATTERN_SIZE);
	edu_copy_in(&demo->peer, IOVA_BAR, PATTERN_SIZE);
	edu_copy_out(&demo->peer, IOVA_BUFFER, PATTERN_SIZE);
	nr = differ(demo->buffer, value);
	check(demo, !nr, "%u of %llu words are not what the guest wrote", nr,
	      PATTERN_WORDS);
	say("BAR -> edu -> VMM: %llu of %llu words are what the guest wrote",
	    PATTERN_WORDS - nr, PATTERN_WORDS);
}

static void copy_to_bar(struct demo *demo, __u64 value)
{
	__u64 bad;

	for (unsigned int i = 0; i < PATTERN_WORDS; i++)
		demo->buffer[i] = value + i * PATTERN_STEP;
	edu_copy_in(&demo->peer, IOVA_BUFFER, PATTERN_SIZE);
	edu_copy_out(&demo->peer, IOVA_BAR, PATTERN_SIZE);
	bad = guest_run(&demo->vm, GUEST_COMPARE, demo->opt.gpa, PATTERN_WORDS, 8,
			value);
	check(demo, !bad, "the guest reads %llu of %llu words wrong", bad,
	      PATTERN_WORDS);
	say("VMM -> edu -> BAR: the guest reads %llu of %llu words right",
	    PATTERN_WORDS - bad, PATTERN_WORDS);
}

static void peer_copies(struct demo *demo)
{
	const __u64 value = 0x3333;

	step("the peer device copies by DMA, through the IOMMU");
	guest_run(&demo->vm, GUEST_WRITE, demo->opt.gpa, PATTERN_WORDS, 8, value);
	copy_from_bar(demo, value);
	copy_to_bar(demo, 0x4444);
}

/*
 * What a guest's PCI driver does when it sizes a BAR: memory decode goes off,
 * and on again. The VMM writes the command register and does nothing else.
 */
static void toggle_decode(struct demo *demo)
{
	const struct options *opt = &demo->opt;
	const __u64 value = 0x5555;
	struct guest_mailbox *mailbox;
	struct vm *vm = &demo->vm;
	struct leaves leaves;
	unsigned int calls;
	unsigned int nr;

	step("memory decode off");
	vfio_set_command(&demo->device, PCI_COMMAND_MEMORY, 0);
	leaves = bar_leaves(demo);
	say_leaves("when the write has returned", &leaves);
	check_no_leaves(demo, &leaves);

	mailbox = guest_tell(vm, GUEST_WRITE, opt->gpa, PATTERN_WORDS, 8, value);
	for (unsigned int i = 0; i < 2; i++) {
		check(demo, vm_run(vm) == VM_EXIT_REVOKED,
		      "the guest got through to the BAR");
		check(demo, vm->run->memory_fault.gpa == opt->gpa,
		      "the exit is for 0x%llx", vm->run->memory_fault.gpa);
		say("KVM_RUN: memory fault at 0x%llx, flags 0x%llx (REVOKED)",
		    vm->run->memory_fault.gpa, vm->run->memory_fault.flags);
	}

	step("memory decode on");
	vfio_set_command(&demo->device, 0, PCI_COMMAND_MEMORY);
	calls = nr_ioctls();
	check(demo, vm_run(vm) == VM_EXIT_DOORBELL && !mailbox->result,
	      "the guest is still kept from the BAR");
	calls = nr_ioctls() - calls;
	check(demo, calls == 1, "it took %u ioctls", calls);
	say("KVM_RUN: the guest finished its write, by %u ioctl", calls);

	nr = differ_in_device(demo, value);
	check(demo, !nr, "%u of %llu words in the device are not the guest's",
	      nr, PATTERN_WORDS);
	leaves = bar_leaves(demo);
	say_leaves("now", &leaves);
	if (leaves.known)
		check(demo, leaves_size(&leaves), "nothing is mapped");
	say("%llu of %llu words found in the device", PATTERN_WORDS - nr,
	    PATTERN_WORDS);
	if (edu_is(&demo->peer))
		copy_from_bar(demo, value);
}

static void check_maps(struct demo *demo)
{
	struct maps maps;

	step("look for the BAR in this process");
	maps = maps_read();
	check(demo, !maps.nr_device, "/proc/self/maps has a device: %s",
	      maps.device);
	say("/proc/self/maps: %u mappings of %llu KiB in all, %u of a device or dma-buf",
	    maps.nr, maps.size / 1024, maps.nr_device);
}

static void take_down(struct demo *demo)
{
	struct leaves leaves;
	__u64 size;

	step("take it down");
	vm_delete_slot(&demo->vm, SLOT_BAR);
	leaves = bar_leaves(demo);
	say_leaves("without the slot", &leaves);
	check_no_leaves(demo, &leaves);

	if (!demo->opt.peer)
		return;
	size = ioas_unmap(demo->iommufd, demo->ioas, IOVA_BAR, demo->iova_size);
	check(demo, size == demo->iova_size, "%llu bytes were unmapped", size);
	say("%llu bytes unmapped from the IOAS", size);
}

int main(int argc, char **argv)
{
	struct demo demo = {};

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse_options(&demo.opt, argc, argv);

	open_devices(&demo);
	start_vm(&demo);
	export_bar(&demo);
	map_guest(&demo);
	if (demo.opt.peer)
		map_peer(&demo);
	close_dmabuf(&demo);

	guest_writes(&demo);
	if (edu_is(&demo.peer))
		peer_copies(&demo);
	toggle_decode(&demo);
	check_maps(&demo);
	take_down(&demo);

	printf("tdi-vmm: PASS %u checks, BAR%d of %s, %llu bytes%s\n",
	       demo.checks, demo.opt.bar, demo.opt.device, demo.opt.size,
	       edu_is(&demo.peer) ? "" : ", without DMA as there is no edu");
	return EXIT_SUCCESS;
}

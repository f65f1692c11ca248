// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device becomes part of a VM: its BAR is memory that anybody can map, then it
 * is private MMIO that only the VM can access, and then the former again.
 *
 * The calls are in the order of Documentation/userspace-api/tdi-vm.rst, the guide
 * that goes with it. polite_vmm() is what costs nothing: unmap what is shared, bind,
 * map what is private. impolite_vmm() forgets the first, loses what it had
 * mapped for as long as the device is bound, and nothing else.
 *
 * The VM is one that KVM protects by software alone, and the TSM is the simulated
 * one, tsm-sim, so that neither takes any hardware. The simulation sees all
 * mappings, and counts those that must not be.
 */
#include <errno.h>
#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "guest.h"
#include "tdi.h"

#define SLOT_BAR	1
#define SLOT_PRIVATE	2
#define SLOT_MSIX	3

#define GPA_MSIX	0x20000000ULL
#define IOVA_BAR	0x4000000ULL
#define IOVA_SIZE	SZ_2M

/* Bus 0, device 3 of the VM */
#define TDI_ID		0x18

#define WORDS		512
#define SIM_DELAY_MS	50

const char *program = "tdi-bind";

struct demo {
	const char *bdf;
	struct vfio_pci device;
	struct vm vm;
	struct tdi tdi;
	struct tdi_range private;	/* of the BAR, once it is known */
	unsigned int bar;
	__u64 size;
	__u64 gpa;
	__u32 ioas;
	int shared_fd;
	int private_fd;
	unsigned int checks;
};

#define check(demo, cond, fmt, ...) do {				\
	if (!(cond))							\
		fail(fmt, ##__VA_ARGS__);				\
	(demo)->checks++;						\
} while (0)

static const char usage[] =
	"usage: tdi-bind --device BDF\n"
	"\n"
	"Binds a function to a small VM, by VFIO and by iommufd, and checks who can access\n"
	"its largest BAR meanwhile, which is 4 MiB or more. The content of the BAR is\n"
	"OVERWRITTEN.\n"
	"The function has vfio-pci as its driver and is connected to the simulated TSM:\n"
	"\n"
	"  modprobe tsm-sim devices=BDF\n"
	"  echo tsm0 > /sys/bus/pci/devices/BDF/tsm/connect\n";

/* Of a dma-buf: which importers have it, and whether they have it mapped */
static unsigned int importers(int fd, const char *name, char *text, size_t size)
{
	unsigned int mapped = 0;
	unsigned long long ino;
	bool found = false;
	char line[256];
	struct stat st;
	size_t len = 0;
	FILE *f;

	text[0] = 0;
	f = fopen("/sys/kernel/debug/dma_buf/bufinfo", "re");
	if (!f || fstat(fd, &st))
		fail("/sys/kernel/debug/dma_buf/bufinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*u\t%*x\t%*x\t%*d\t%*s\t%llu", &ino) == 1)
			found = ino == st.st_ino;
		if (!found || !strstr(line, " (pfn"))
			continue;
		if (strstr(line, ", mapped") && strstr(line, name))
			mapped++;
		line[strcspn(line, " ")] = 0;
		len += snprintf(text + len, len < size ? size - len : 0,
				"%s%s", len ? ", " : "", line + 1);
	}
	fclose(f);
	return mapped;
}

/* Who has which of the buffers mapped now: KVM, the IOMMU, and this process */
static void expect_maps(struct demo *demo, const char *when, unsigned int kvm,
			unsigned int iommufd, unsigned int private,
			unsigned int process)
{
	unsigned int nr[3] = {};
	struct maps maps;
	char text[128];

	if (demo->shared_fd >= 0) {
		nr[0] = importers(demo->shared_fd, "kvm", text, sizeof(text));
		nr[1] = importers(demo->shared_fd, "iommufd", text, sizeof(text));
	}
	if (demo->private_fd >= 0)
		nr[2] = importers(demo->private_fd, "kvm", text, sizeof(text));
	maps = maps_read();

	say("mapped %s: shared by KVM %u, by the IOMMU %u, by this process %u; private by KVM %u",
	    when, nr[0], nr[1], maps.nr_device, nr[2]);
	check(demo, nr[0] == kvm && nr[1] == iommufd && nr[2] == private &&
	      maps.nr_device == process, "who maps what is not as it has to be");
}

static void expect_state(struct demo *demo, __u32 state)
{
	struct tdi_info info;

	tdi_get(&demo->tdi, &info);
	tdi_watch_until(info.state);
	check(demo, info.state == state, "the TDI is %s and not %s",
	      tdi_state_name(info.state), tdi_state_name(state));
}

static void open_all(struct demo *demo)
{
	int kvm_vfio;
	__u64 size;

	step("a VM that has private memory, and the device");
	demo->vm.type = KVM_X86_SW_PROTECTED_VM;
	vm_create(&demo->vm);
	vm_check_private(&demo->vm);
	check(demo, vm_run(&demo->vm) == VM_EXIT_DOORBELL,
	      "the guest did not start");

	/* This order: the VM, the device's file to the VM, the device */
	demo->tdi.iommufd = iommufd_open();
	vfio_open(&demo->device, demo->bdf);
	kvm_vfio = vm_add_device(&demo->vm, &demo->device);
	vfio_bind(&demo->device, demo->tdi.iommufd);
	close(kvm_vfio);
	demo->ioas = ioas_alloc(demo->tdi.iommufd);
	vfio_attach(&demo->device, demo->ioas);

	demo->tdi.dev = &demo->device;
	demo->tdi.id = TDI_ID;
	tdi_init(&demo->tdi, demo->ioas);
	tdi_watch(&demo->tdi);

	demo->size = 0;
	for (unsigned int bar = 0; bar < 6; bar++) {
		size = vfio_bar_size(&demo->device, bar);
		if (size <= demo->size)
			continue;
		demo->size = size;
		demo->bar = bar;
	}
	if (demo->size < 2 * IOVA_SIZE)
		fail("the largest BAR of %s is smaller than 4 MiB", demo->bdf);

	demo->gpa = SZ_4G;
	while (demo->gpa < demo->size)
		demo->gpa *= 2;
	if (demo->size > guest_end(&demo->vm) - demo->gpa)
		fail("the guest has no room for %llu bytes", demo->size);

	/* As a guest does that uses its device before it asks for the bind */
	vfio_set_command(&demo->device, 0, PCI_COMMAND_MEMORY);
	/* QEMU's nvme has memory behind that BAR, which is off until this */
	if (demo->device.vendor == 0x1b36 && demo->device.device == 0x0010)
		vfio_bar_write(&demo->device, 0, 0xe04, &(__u32){ 1 }, 4);
	expect_state(demo, VFIO_DEVICE_TDI_UNBOUND);
}

static void close_all(struct demo *demo)
{
	if (demo->shared_fd >= 0)
		close(demo->shared_fd);
	if (demo->private_fd >= 0)
		close(demo->private_fd);
	check(demo, !tdi_watch_end(), "the TDI has failed, or was taken away");
	close(demo->device.fd);
	close(demo->tdi.iommufd);
	vm_destroy(&demo->vm);
}

static void map_shared(struct demo *demo, bool iommu)
{
	demo->shared_fd = vfio_export_bar(&demo->device, demo->bar, 0,
					  demo->size, 0);
	vm_map_dmabuf(&demo->vm, SLOT_BAR, demo->gpa, demo->size,
		      demo->shared_fd, 0);
	if (iommu)
		ioas_map_dmabuf(demo->tdi.iommufd, demo->ioas, IOVA_BAR,
				demo->shared_fd, 0, IOVA_SIZE);
}

static void unmap_shared(struct demo *demo)
{
	vm_delete_slot(&demo->vm, SLOT_BAR);
	ioas_unmap(demo->tdi.iommufd, demo->ioas, IOVA_BAR, IOVA_SIZE);
}

static __u64 word(__u64 value, unsigned int i)
{
	return value + i * PATTERN_STEP;
}

/* How many words of a part of the BAR the host finds different */
static unsigned int host_compares(struct demo *demo, __u64 offset, __u64 value)
{
	unsigned int differ = 0;
	__u64 words[WORDS];

	vfio_bar_read(&demo->device, demo->bar, offset, words, sizeof(words));
	for (unsigned int i = 0; i < WORDS; i++)
		differ += words[i] != word(value, i);
	return differ;
}

static void guest_writes(struct demo *demo, __u64 gpa, __u64 value)
{
	guest_run(&demo->vm, GUEST_WRITE, gpa, WORDS, 8, value);
}

static void guest_reads(struct demo *demo, __u64 gpa, __u64 value)
{
	__u64 differ;

	differ = guest_run(&demo->vm, GUEST_COMPARE, gpa, WORDS, 8, value);
	check(demo, !differ, "the guest reads %llu of %u words wrong", differ,
	      WORDS);
}

static void expect_revoked(struct demo *demo, __u64 gpa, __u64 flags)
{
	struct kvm_run *run = demo->vm.run;

	guest_tell(&demo->vm, GUEST_COMPARE, gpa, 1, 8, 0);
	check(demo, vm_run(&demo->vm) == VM_EXIT_REVOKED,
	      "the guest got through to 0x%llx", gpa);
	check(demo, run->memory_fault.gpa == gpa &&
	      run->memory_fault.flags == flags,
	      "the exit is for 0x%llx, flags 0x%llx", run->memory_fault.gpa,
	      run->memory_fault.flags);
	say("KVM_RUN: memory fault at 0x%llx, flags 0x%llx (REVOKED%s)", gpa,
	    flags, flags & KVM_MEMORY_EXIT_FLAG_PRIVATE ? ", PRIVATE" : "");
}

static void bind_device(struct demo *demo)
{
	struct tdi_info info;
	const char *what;
	int error;

	/* A bind takes memory decode; bus mastering could be set later, too */
	vfio_set_command(&demo->device, 0,
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	error = tdi_bind(&demo->tdi);
	if (error == ENXIO)
		hint("VFIO does not know the VM: KVM_DEV_VFIO_FILE_ADD comes first");
	check(demo, !error, "bind: %s", strerror(error));
	expect_state(demo, VFIO_DEVICE_TDI_BOUND);

	demo->private.size = 0;
	tdi_get(&demo->tdi, &info);
	for (unsigned int i = 0; i < info.nr; i++) {
		const struct tdi_range *range = &info.ranges[i];

		what = range->msix_table ? ", MSI-X table" :
		       range->msix_pba ? ", MSI-X pending bits" : "";
		say("  BAR%u 0x%06llx + 0x%07llx %s%s", range->bar,
		    range->offset, range->size,
		    range->private ? "private" : "shared", what);
		if (range->bar == demo->bar && range->private &&
		    range->size > demo->private.size)
			demo->private = *range;
	}
	check(demo, demo->private.size && !demo->private.offset,
	      "BAR%u does not begin with private MMIO", demo->bar);
}

static void unbind_device(struct demo *demo)
{
	int error = tdi_unbind(&demo->tdi);

	check(demo, !error, "unbind: %s", strerror(error));
	expect_state(demo, VFIO_DEVICE_TDI_UNBOUND);
}

/* Everything that a guest's driver would do before it uses the device */
static void guest_accepts(struct demo *demo)
{
	struct tdisp_report report;
	int error;

	tdisp_read_report(&demo->tdi, &report);
	say("the device reports %u ranges, %u of them for the VM alone",
	    report.nr_ranges, report.nr_tee);
	check(demo, report.nr_tee, "the report has nothing for the VM");

	error = tdisp_start(&demo->tdi);
	check(demo, !error, "request to start: %s", strerror(error));
	say("the device is in %s", sim_state(demo->bdf));
	check(demo, !strcmp(sim_state(demo->bdf), "RUN"),
	      "the device did not start");
}

static void map_private(struct demo *demo)
{
	const struct tdi_range *private = &demo->private;

	demo->private_fd = vfio_export_bar(&demo->device, demo->bar,
					   private->offset, private->size,
					   VFIO_DMA_BUF_FLAG_PRIVATE);
	vm_map_dmabuf(&demo->vm, SLOT_PRIVATE, demo->gpa + private->offset,
		      private->size, demo->private_fd, 0);
	vm_set_private(&demo->vm, demo->gpa + private->offset, private->size,
		       true);
}

/* The page of the MSI-X table is the host's business, and the guest's to see */
static bool map_msix(struct demo *demo)
{
	struct tdi_info info;
	__u64 differ;
	int fd;

	tdi_get(&demo->tdi, &info);
	for (unsigned int i = 0; i < info.nr; i++) {
		const struct tdi_range *range = &info.ranges[i];

		if (!range->msix_table)
			continue;

		check(demo, !range->private, "the MSI-X table is private");
		fd = vfio_export_bar(&demo->device, range->bar, range->offset,
				     SZ_4K, 0);
		vm_map_dmabuf(&demo->vm, SLOT_MSIX, GPA_MSIX, SZ_4K, fd, 0);
		close(fd);

		/* Nobody has set an interrupt up: the address is 0 */
		differ = guest_run(&demo->vm, GUEST_COMPARE, GPA_MSIX, 1, 8, 0);
		check(demo, !differ, "the first MSI-X entry is in use");
		say("MSI-X table of BAR%u mapped shared, and read by the guest",
		    range->bar);
		return true;
	}
	say("the device has no MSI-X table");
	return false;
}

static void host_is_refused(struct demo *demo)
{
	__u64 value;
	int error;

	error = tdi_bar_read(&demo->tdi, demo->bar, demo->private.offset,
			     &value, sizeof(value));
	check(demo, error == EBUSY, "a read by the host: %s",
	      error ? strerror(error) : "succeeds");
	say("a read of private MMIO by the host: %s", strerror(error));
}

/* A VMM unbinds, and does then what the guest wants; the guest notices both */
static void guest_resets(struct demo *demo)
{
	int error;

	error = tdi_reset(&demo->tdi);
	check(demo, error == EBUSY, "the reset of a bound device: %s",
	      error ? strerror(error) : "succeeds");
	expect_state(demo, VFIO_DEVICE_TDI_BOUND);
	say("a reset, as the guest's driver would write it: %s, and the device is still in %s",
	    strerror(error), sim_state(demo->bdf));

	unbind_device(demo);
	error = tdi_reset(&demo->tdi);
	check(demo, !error, "the reset of an unbound device: %s",
	      strerror(error));
	say("unbound, and reset by the same write");
}

static void polite_vmm(struct demo *demo)
{
	bool msix;
	__u64 gpa;

	step("shared: the guest and the IOMMU map the BAR by a dma-buf");
	map_shared(demo, true);
	guest_writes(demo, demo->gpa, 0x1111);
	check(demo, !host_compares(demo, 0, 0x1111),
	      "the host reads something else than the guest wrote");
	expect_maps(demo, "before", 1, 1, 0, 0);

	step("unmap what is shared, and bind");
	unmap_shared(demo);
	expect_maps(demo, "then", 0, 0, 0, 0);
	close(demo->shared_fd);
	demo->shared_fd = -1;
	bind_device(demo);

	step("map what is private, and the MSI-X table shared");
	gpa = demo->gpa + demo->private.offset;
	map_private(demo);
	msix = map_msix(demo);

	step("accept the device on behalf of the guest, which uses it");
	guest_accepts(demo);
	guest_reads(demo, gpa, 0x1111);
	say("the guest reads what it wrote before");
	guest_writes(demo, gpa, 0x2222);
	guest_reads(demo, gpa, 0x2222);
	expect_maps(demo, "while bound", 0, 0, 1, 0);
	host_is_refused(demo);

	step("reset the device, as the guest's driver would");
	guest_resets(demo);
	expect_maps(demo, "while unbound", 0, 0, 0, 0);
	expect_revoked(demo, gpa, KVM_MEMORY_EXIT_FLAG_REVOKED |
		       KVM_MEMORY_EXIT_FLAG_PRIVATE);
	bind_device(demo);
	guest_accepts(demo);
	check(demo, vm_run(&demo->vm) == VM_EXIT_DOORBELL,
	      "the guest is still kept from the device");
	guest_reads(demo, gpa, 0x2222);
	say("the access that was refused has succeeded, in the same memslot");

	step("unbind, and shared again");
	unbind_device(demo);
	vm_delete_slot(&demo->vm, SLOT_PRIVATE);
	if (msix)
		vm_delete_slot(&demo->vm, SLOT_MSIX);
	vm_set_private(&demo->vm, gpa, demo->private.size, false);
	close(demo->private_fd);
	demo->private_fd = -1;

	map_shared(demo, true);
	guest_reads(demo, gpa, 0x2222);
	check(demo, !host_compares(demo, demo->private.offset, 0x2222),
	      "the host reads something else than the guest wrote");
	expect_maps(demo, "after", 1, 1, 0, 0);
	unmap_shared(demo);
}

static sigjmp_buf on_sigbus;

static void sigbus(int sig)
{
	siglongjmp(on_sigbus, 1);
}

static bool process_reads(const volatile __u64 *addr, __u64 *value)
{
	if (sigsetjmp(on_sigbus, 1))
		return false;
	*value = *addr;
	return true;
}

static void impolite_vmm(struct demo *demo)
{
	struct sigaction action = {
		.sa_handler = sigbus,
	};
	__u64 *map, value;

	step("impolite: everybody maps the BAR, and nobody unmaps it");
	sigaction(SIGBUS, &action, NULL);
	map_shared(demo, true);
	map = tdi_mmap(&demo->tdi, demo->bar, 0, IOVA_SIZE);
	guest_writes(demo, demo->gpa, 0x3333);
	check(demo, process_reads(map, &value) && value == 0x3333,
	      "this process reads something else than the guest wrote");
	expect_maps(demo, "before", 1, 1, 0, 1);

	step("bind all the same");
	bind_device(demo);
	/* The mmap is an address range still, with nothing behind it */
	expect_maps(demo, "while bound", 0, 0, 0, 1);
	expect_revoked(demo, demo->gpa, KVM_MEMORY_EXIT_FLAG_REVOKED);
	check(demo, !process_reads(map, &value),
	      "this process can read private MMIO");
	say("a read of this process: SIGBUS");
	host_is_refused(demo);

	step("unbind, and all is as it was");
	unbind_device(demo);
	check(demo, vm_run(&demo->vm) == VM_EXIT_DOORBELL,
	      "the guest is still kept from the device");
	guest_reads(demo, demo->gpa, 0x3333);
	check(demo, process_reads(map, &value) && value == 0x3333,
	      "the mmap does not come back");
	expect_maps(demo, "after", 1, 1, 0, 1);
	munmap(map, IOVA_SIZE);
	unmap_shared(demo);
}

static void run(struct demo *demo, enum tdi_door door,
		void (*sequence)(struct demo *demo))
{
	printf("--- bound by %s\n", door == TDI_BY_VFIO ?
	       "VFIO: VFIO_DEVICE_TSM_BIND" : "iommufd: IOMMU_VDEVICE_TSM_OP");
	memset(&demo->vm, 0, sizeof(demo->vm));
	demo->tdi = (struct tdi){ .door = door };
	demo->shared_fd = -1;
	demo->private_fd = -1;
	open_all(demo);
	sequence(demo);
	close_all(demo);
}

int main(int argc, char **argv)
{
	static const struct option table[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct demo demo = {};
	long violations;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((c = getopt_long(argc, argv, "d:h", table, NULL)) != -1) {
		switch (c) {
		case 'd':
			demo.bdf = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			fail("see --help");
		}
	}
	if (!demo.bdf || optind != argc)
		fail("--device is missing, or more is given: see --help");

	pci_check_bdf(demo.bdf);
	if (!sim_is_there(demo.bdf)) {
		hint("see --help");
		fail("%s is not connected to the simulated TSM", demo.bdf);
	}
	sim_slow_down(demo.bdf, SIM_DELAY_MS);
	sim_reset_violations();

	run(&demo, TDI_BY_VFIO, polite_vmm);
	run(&demo, TDI_BY_VFIO, impolite_vmm);
	run(&demo, TDI_BY_VDEVICE, polite_vmm);
	run(&demo, TDI_BY_VDEVICE, impolite_vmm);

	sim_slow_down(demo.bdf, 0);
	violations = sim_violations();
	if (violations < 0)
		fail("the simulated TSM does not tell its violations");
	printf("violations: %ld\n", violations);
	if (violations)
		fail("somebody had private MMIO mapped who must not");

	printf("tdi-bind: PASS %u checks, BAR%u of %s, %llu bytes\n",
	       demo.checks, demo.bar, demo.bdf, demo.size);
	return EXIT_SUCCESS;
}

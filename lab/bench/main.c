// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <string.h>

#include "bench.h"

const char *program = "dmabuf-bench";

static const char usage[] =
	"usage: dmabuf-bench kvm|ioas|kernel|type1 --device BDF [options]\n"
	"  --device BDF   whose BAR it is\n"
	"  --bar N        which one (default: 2); its content is OVERWRITTEN\n"
	"  --peer BDF     QEMU's edu, with all address bits, for ioas\n"
	"  --rounds N     measurements of each (default: 9)\n"
	"  --part BYTES   how much where all of it would take too long (default: 16 MiB)\n"
	"  --stock        the kernel is the stock one\n";

static char output[2 * SZ_2M];

int main(int argc, char **argv)
{
	enum { DEVICE = 1, BAR, PEER, ROUNDS, PART, STOCK };
	static const struct option table[] = {
		{ "device", required_argument, NULL, DEVICE },
		{ "bar", required_argument, NULL, BAR },
		{ "peer", required_argument, NULL, PEER },
		{ "rounds", required_argument, NULL, ROUNDS },
		{ "part", required_argument, NULL, PART },
		{ "stock", no_argument, NULL, STOCK },
		{}
	};
	struct options opt = {
		.bar = 2,
		.rounds = 9,
		.part = 8 * SZ_2M,
	};
	const char *what;
	int c;

	/* A serial port that still sends would be part of the next measurement */
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (c) {
		case DEVICE:
			opt.device = optarg;
			break;
		case BAR:
			opt.bar = strtoul(optarg, NULL, 0);
			break;
		case PEER:
			opt.peer = optarg;
			break;
		case ROUNDS:
			opt.rounds = strtoul(optarg, NULL, 0);
			break;
		case PART:
			opt.part = strtoull(optarg, NULL, 0);
			break;
		case STOCK:
			opt.stock = true;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc - 1 || !opt.device || !opt.rounds) {
		fputs(usage, stderr);
		return 2;
	}

	what = argv[optind];
	current_step = what;
	if (!strcmp(what, "kvm")) {
		bench_kvm(&opt);
	} else if (!strcmp(what, "ioas")) {
		bench_ioas(&opt);
	} else if (!strcmp(what, "kernel")) {
		bench_kernel(&opt);
	} else if (!strcmp(what, "type1")) {
		bench_type1(&opt);
	} else {
		fputs(usage, stderr);
		return 2;
	}
	printf("@end %s\n", what);
	return all_counts_right() ? 0 : 1;
}

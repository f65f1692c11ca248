// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leaf entries of a VM's stage-2 page tables, for architectures whose KVM has no
 * statistics of them but a text in debugfs
 */
#include <string.h>
#include <unistd.h>

#include "tdi-vmm.h"

/*
 * A line for each run of equal leaves: 0xSTART-0xEND SIZE LEVEL ATTRIBUTES, of
 * which the first attribute of what is not mapped is "F". What is returned is
 * not known if the kernel does not tell.
 */
struct leaves stage2_leaves(struct vm *vm, __u64 gpa, __u64 size)
{
	struct leaves leaves = {};
	unsigned long long start, end;
	char line[256], attr[32];
	FILE *file;
	int level;

	snprintf(line, sizeof(line),
		 "/sys/kernel/debug/kvm/%d-%d/stage2_page_tables", getpid(),
		 vm->fd);
	file = fopen(line, "r");
	if (!file)
		return (struct leaves){};

	while (fgets(line, sizeof(line), file)) {
		leaves.known = true;
		if (sscanf(line, "0x%llx-0x%llx %*s %d %31s", &start, &end,
			   &level, attr) != 4 || !strcmp(attr, "F"))
			continue;
		if (start < gpa)
			start = gpa;
		if (end > gpa + size)
			end = gpa + size;
		if (start >= end)
			continue;
		if (level == 1)
			leaves.nr_1g += (end - start) / SZ_1G;
		else if (level == 2)
			leaves.nr_2m += (end - start) / SZ_2M;
		else
			leaves.nr_4k += (end - start) / SZ_4K;
	}
	fclose(file);
	return leaves;
}

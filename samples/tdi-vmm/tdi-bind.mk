# SPDX-License-Identifier: GPL-2.0-only
# It makes a VM of a type that only x86 has.
ifeq ($(tdi-vmm-arch),x86)
programs += tdi-bind
tdi-bind-objs := bind.o tdi.o tsm-sim.o $(common-objs)
endif

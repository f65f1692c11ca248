/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A function with BARs and a multifunction neighbour on a bus of their own, a
 * device on another bus that they can be made to depend on, or a switch with a DSM, a
 * TSM driver for them that keeps a log of what is called, and owners for TDIs.
 */
#ifndef PCI_TSM_MOCK_H
#define PCI_TSM_MOCK_H

#include <kunit/test.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci-tsm.h>
#include <linux/tsm.h>

/* What the bus address of a BAR is off its physical address */
#define MOCK_BUS_OFFSET		0x10000000UL

struct mock_fn {
	struct mock_tsm *mock;
	struct pci_dev pdev;
	struct pci_tsm_pf0 tsm;
	struct pci_tdi tdi;
	u8 config[256];
};

struct mock_owner {
	struct pci_tdi_owner owner;
	struct mock_tsm *mock;
};

struct mock_tsm {
	struct pci_host_bridge *bridge;
	struct resource window;
	struct pci_bus bus;
	struct pci_bus root;
	/* Between the two ports of the switch, see mock_below_switch() */
	struct pci_bus inside;
	/* Of the architecture, which may look for the domain here: all 0 */
	u8 sysdata[256] __aligned(8);
	struct mock_fn *fn[2];
	/*
	 * Without a TSM context as long as it is not connected: see mock_below(),
	 * mock_below_switch(), and mock_virtfn()
	 */
	struct mock_fn *above;
	struct mock_fn *port;
	struct tsm_dev *tsm_dev;
	struct pci_tsm_ops ops;
	struct module module;
	struct mock_owner owner;
	struct mock_owner other;

	/*
	 * One letter for each call of an operation, in the order of the calls. And
	 * for each reset: F, or f if binds were kept out
	 */
	char log[64];
	/* What the next bind returns, if not 0 */
	int bind_error;
	/* The next bind reports an error of the TDI */
	bool bind_tdi_error;
	/* How long a request of the guest takes, in ms */
	unsigned int request_ms;
	/* Called where the next unbind is, with all the locks that it has */
	void (*in_unbind)(struct kunit *test);
	/* The same, for the end of a context */
	void (*in_remove)(struct kunit *test);
	struct kunit *test;
	/* What tdi_ranges returns a copy of */
	const struct pci_tdi_ranges *ranges;
};

int mock_tsm_init(struct kunit *test);
void mock_tsm_exit(struct kunit *test);
void mock_bar(struct mock_fn *fn, int bar, u64 start, u64 len,
	      unsigned long flags);
void mock_msix(struct mock_fn *fn, u16 vectors, u32 table, u32 pba);
void mock_below(struct mock_tsm *mock);
void mock_below_switch(struct mock_tsm *mock);
ssize_t mock_store(struct mock_tsm *mock, struct mock_fn *fn, const char *name);
ssize_t mock_show(struct mock_tsm *mock, struct mock_fn *fn, const char *name,
		  char *buf);
bool mock_virtfn(struct mock_tsm *mock, int nr, struct mock_fn *physfn);

/* The log must be @expected, and is empty afterwards */
#define EXPECT_LOG(test, expected)                                     \
	do {                                                           \
		struct kunit *_test = (test);                          \
		struct mock_tsm *_mock = _test->priv;                  \
								       \
		KUNIT_EXPECT_STREQ(_test, _mock->log, expected);       \
		_mock->log[0] = '\0';                                  \
	} while (0)

#endif

# SPDX-License-Identifier: GPL-2.0-only
"""
`kseries bench`: lab/bench in the machine, and medians, ratios, counts and a plot of
what it says.

Times are of an emulated machine: they mean something beside each other only. What is
compared stands in one boot, but for what needs the stock kernel, which has a boot of its
own, with the same measurements of type1 in both to tell how far the two can be compared.

What must hold is counted, by boots of a machine whose clock counts instructions: what a
function of the kernel takes there does not depend on how busy the host is.
"""

import csv
import io
import json
import re
import statistics

from tool import benchplot, boot, build, packages, paths, splats
from tool.run import Fail, clear_stamp, clock, logged, output, say, set_stamp, stamp, step, write

ARCH, CONFIG, MACHINE = 'x86_64', 'base', 'bench'
# What is measured. The parts of KVM and of the kernel are made for x86: KVM_PRE_FAULT_MEMORY, a clock
# of the tracer that it prints in full, and the events of Intel's IOMMU.
PARTS = {'x86_64': ['kvm', 'ioas', 'kernel', 'type1'], 'arm64': ['ioas', 'type1']}
SAMPLE_FILES = ['report', 'pci', 'vfio', 'ioas', 'kvm', 'edu']
GUEST = {'x86_64': ['guest_x86'], 'arm64': ['guest_arm64', 'stage2']}
BIG, MSIX, EDU = '0000:00:05.0', '0000:01:00.0', '0000:00:03.0'
COUNTER = 'count'       # the machine that counts instructions, and the prefix of what is measured there
LIMIT = 900 * boot.SLOWDOWN
ROUNDS, COUNTER_ROUNDS = 15, 5
PART = 16 << 20         # of a BAR, where all of it would take minutes
OUT = paths.OUT / 'bench'


def program(arch_name=ARCH, headers=None):
    """lab/bench with the files of the sample VMM, static: its path."""
    arch = build.arch_of(arch_name)
    packages.need('user', *arch.packages)
    sources = sorted((paths.LAB / 'bench').glob('*.[ch]'))
    sample = paths.ROOT / 'samples/tdi-vmm'
    sources += sorted(sample.glob('*.h')) + [sample / f'{name}.c' for name in SAMPLE_FILES + GUEST[arch_name]]
    headers = headers or build.headers(arch_name)
    target = paths.BUILD / 'user' / arch_name / 'bench' / 'dmabuf-bench'
    key = build.fingerprint(*(p.read_bytes() for p in sources), *((headers / 'linux' / name).read_bytes() for name in
                            ('kvm.h', 'vfio.h', 'iommufd.h')), output(f'{arch.cross}gcc', '--version'))
    mark = f'user-{arch_name}-bench'
    if stamp(mark) == key and target.exists():
        return target
    clear_stamp(mark)
    with step('build lab/bench'):
        target.parent.mkdir(parents=True, exist_ok=True)
        logged('build lab/bench', [f'{arch.cross}gcc', '-O2', '-g', '-std=gnu11', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Werror',
                                   '-isystem', headers, '-I', sample, '-static', '-o', target,
                                   *(p for p in sources if p.suffix == '.c')], paths.LOGS / f'{mark}.log')
        output(f'{arch.cross}strip', '--strip-debug', target)
    set_stamp(mark, key)
    return target


def part_of(case):
    """Of the name of a case, or of a command: kvm-hole, kernel."""
    return 'kernel' if case in ('ranges', 'entries') else case.partition('-')[0]


def job(machine, stock, rounds, parts):
    bench = f'/bin/dmabuf-bench --rounds {rounds} --part {PART}' + (' --stock' if stock else '')
    devices, runs = [BIG], [('kernel', f'kernel --device {BIG}')]
    if machine == MACHINE:
        devices += [EDU, MSIX]
        runs = [('type1', f'type1 --device {BIG}'),
                ('ioas', f'ioas --device {BIG} --peer {EDU}'),
                ('ioas-msix', f'ioas --device {MSIX} --bar 0 --peer {EDU}')] + runs
        if not stock:
            runs = [('kvm', f'kvm --device {BIG}'), ('kvm-msix', f'kvm --device {MSIX} --bar 0')] + runs
    return boot.Job('bench', f'vfio-bind {" ".join(devices)}',
                    [(name, LIMIT, f'{bench} {rest}') for name, rest in runs if part_of(name) in parts])


def prefix_of(machine, stock):
    return (f'{COUNTER}:' if machine == COUNTER else '') + ('stock:' if stock else '')


class Results:
    """What the program said: samples in ns, counts as (got, want), values."""

    def __init__(self):
        self.samples, self.counts, self.values = {}, {}, {}

    def read(self, text, prefix=''):
        for line in text.splitlines():
            if match := re.fullmatch(r'@sample (\S+) (\d+)', line):
                self.samples.setdefault(prefix + match[1], []).append(int(match[2]))
            elif match := re.fullmatch(r'@count (\S+) (\d+) (\d+)', line):
                self.counts[prefix + match[1]] = int(match[2]), int(match[3])
            elif match := re.fullmatch(r'@value (\S+) (-?\d+)', line):
                self.values[prefix + match[1]] = int(match[2])

    def median(self, name):
        return statistics.median(self.samples[name])

    def spread(self, name):
        return min(self.samples[name]), max(self.samples[name])

    def wrong(self):
        return [f'{name}: {got}, should be {want}' for name, (got, want) in sorted(self.counts.items()) if got != want]


def measure(kernel, machine, rounds, binary, results):
    """One boot."""
    arch = kernel.arch.name
    todo = job(machine, kernel.stock, rounds, PARTS[arch])
    place = '-'.join([arch] * (arch != ARCH) + ['bench'] + [machine] * (machine != MACHINE) + ['stock'] * kernel.stock)
    outcome = boot.jobs(kernel, machine, place, [todo], {'/bin/dmabuf-bench': binary})
    console = paths.display(outcome.folder / 'console.log')
    for name, (text, _, _) in outcome.outputs.items():
        (outcome.folder / f'{name}.log').write_text(text)
    if outcome.trouble:
        raise Fail(f'{outcome.trouble}\nconsole: {console}')
    said, setup = outcome.setups.get('bench', ('', None))
    if setup:
        raise Fail(f'the devices could not be given to vfio-pci:\n{said}console: {console}')
    if outcome.splats:
        during, _, lines = outcome.splats[0]
        raise Fail(f'the kernel complained during {during}:\n' + '\n'.join('    | ' + l for l in splats.essence(lines)) + f'\nconsole: {console}')
    for name, _, _ in todo.tests:
        text, code, _ = outcome.outputs.get(name, ('', None, 0))
        before = sum(len(v) for v in results.samples.values())
        results.read(text, prefix_of(machine, kernel.stock))
        if not re.search(r'^@end ', text, re.M) or sum(len(v) for v in results.samples.values()) == before:
            last = [line for line in text.splitlines() if line.strip() and not line.startswith('@')]
            raise Fail(f'{name} did not come to its end (exit {code}): {last[-1] if last else "it said nothing"}\n'
                       f'log: {paths.display(outcome.folder / f"{name}.log")}')
    return outcome


# ---------------------------------------------------------------- the table

def shown(results, name):
    """(median, least, most) in ns, or None."""
    return (results.median(name), *results.spread(name)) if name in results.samples else None


def duration(ns):
    if ns is None:
        return '-'
    return f'{ns / 1e6:.3f}' if abs(ns) < 1e8 else f'{ns / 1e6:.0f}'


def cell(value):
    return '-' if value is None else f'{duration(value[0])} ({duration(value[1])}..{duration(value[2])})'


def ratio(value, base):
    return '-' if not value or not base or base[0] <= 0 else f'{value[0] / base[0]:.3g}'


def table(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ['']
    for number, row in enumerate(rows):
        lines.append('  ' + '  '.join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())
        if not number:
            lines.append('  ' + '  '.join('-' * w for w in widths))
    return lines


KVM_ROWS = [
    ('mmap or export, and memslot', 'create'),
    ('populate (KVM_PRE_FAULT_MEMORY)', 'populate'),
    ('populate by the guest\'s accesses', 'access'),
    ('memory decode off', 'off'),
    ('memory decode on', 'on'),
    ('memory decode on, until an access works', 'on-access'),
    ('populate again', 'populate-again'),
    ('delete memslot', 'delete'),
]
KVM_CASES = [
    ('kvm-whole', 'KVM, 128 GiB BAR', False),
    ('kvm-part', f'KVM, {PART >> 20} MiB of it (every 4 KiB accessed)', True),
    ('kvm-hole', 'KVM, 128 GiB BAR with a hole of 36 KiB (2 memslots)', False),
    ('kvm-msix', 'KVM, 1 MiB BAR with an MSI-X table in its middle (2 memslots)', True),
]
IOAS_ROWS = [
    ('map (IOMMU_IOAS_MAP_FILE)', 'map'),
    ('unmap (IOMMU_IOAS_UNMAP)', 'unmap'),
    ('one more domain (IOMMU_HWPT_ALLOC)', 'domain'),
    ('memory decode off', 'off'),
    ('memory decode on', 'on'),
]
IOAS_CASES = [
    ('ioas-whole', 'IOAS, 128 GiB BAR'),
    ('ioas-hole', 'IOAS, 128 GiB BAR with a hole of 36 KiB (ours: one buffer, stock: two)'),
    ('ioas-msix', 'IOAS, 1 MiB BAR with an MSI-X table in its middle (ours: one buffer, stock: two)'),
]
KERNEL_ROWS = [
    ('map', 'map'),
    ('unmap', 'unmap'),
    ('revoke, at memory decode off', 'revoke'),
    ('mapping again, at memory decode on', 'again'),
]
KERNEL_CASES = [
    ('kernel-whole', 'In the kernel: IOAS, 128 GiB BAR'),
    ('kernel-hole', 'In the kernel: IOAS, 128 GiB BAR with a hole of 36 KiB'),
]
KERNEL_COUNTS = [
    ('IOMMU unmap calls of the unmap', 'unmap-unmaps'),
    ('IOMMU unmap calls of the revoke', 'revoke-unmaps'),
    ('IOTLB invalidations of the unmap', 'unmap-invalidations'),
    ('IOTLB invalidations of the revoke', 'revoke-invalidations'),
]


def leaves(results, name):
    found = [(size, results.counts.get(f'{name}.leaves-{key}', (0, 0))[0]) for size, key in
             (('1G', '1g'), ('2M', '2m'), ('4K', '4k'))]
    return ' + '.join(f'{n} x {size}' for size, n in found if n) or '0'


def kvm_table(results, case, title, bad):
    ways = [('vma', 'mmap, aligned')] + ([('vma-bad', 'mmap, off by 4 KiB')] if bad else []) + [('dmabuf', 'dma-buf')]
    head = ([f'{title}; ms, median (least..most)', 'nothing mapped'] + [name for _, name in ways] +
            [f'dma-buf / {name.split(", ")[1]}' for _, name in ways[:-1]])
    rows = []
    for label, what in KVM_ROWS:
        values = [shown(results, f'{case}.{way}.{what}') for way, _ in ways]
        rows.append([label, cell(shown(results, f'{case}.none.{what}'))] + [cell(v) for v in values] +
                    [ratio(values[-1], v) for v in values[:-1]])
    rows.append(['leaves', ''] + [leaves(results, f'{case}.{way}') for way, _ in ways] + [''] * (len(ways) - 1))
    for label, key in (('faults of the accesses', 'faults'), ('stage-2 pages', 'stage2-pages'),
                       ('page-table pages of the VMM', 'page-table-pages'), ('map calls', 'map-calls')):
        rows.append([label, ''] + [number(results, f'{case}.{way}.{key}') for way, _ in ways] + [''] * (len(ways) - 1))
    return table(head, rows)


def number(results, name):
    if name in results.counts:
        return str(results.counts[name][0])
    return str(results.values[name]) if name in results.values else '-'


def ioas_table(results, case, title):
    ways = [('', 'ours', 'dma-buf'), ('stock:', 'stock', 'stock kernel (own boot)')]
    head = [f'{title}; ms, median (least..most)', 'nothing mapped'] + [w[2] for w in ways] + ['ratio']
    rows = []
    for label, what in IOAS_ROWS:
        values = [shown(results, f'{prefix}{case}.{way}.{what}') for prefix, way, _ in ways]
        rows.append([label, cell(shown(results, f'{case}.none.{what}'))] + [cell(v) for v in values] + [ratio(*values)])
    for label, key in (('map calls, two domains', 'iommu-map-calls'), ('mapped again, two domains', 'iommu-map-calls-on'),
                       ('unmap calls at decode off', 'iommu-unmap-calls-off'), ('pages of a page table', 'iommu-pages'),
                       ('DMA that arrived', 'dma-arrives'), ('DMA that arrived after off and on', 'dma-arrives-again')):
        rows.append([label, ''] + [number(results, f'{prefix}{case}.{way}.{key}') for prefix, way, _ in ways] + [''])
    return table(head, rows)


def instructions(value):
    return '-' if value is None else f'{value[0]:.0f} ({value[1]}..{value[2]})'


def kernel_table(results, case, title):
    """By the probes of kernel-part.c: what both kernels take, in ms on one machine and in instructions on the other."""
    head = [f'{title}; median (least..most)', 'ms', 'ms, stock kernel', 'instructions', 'instructions, stock kernel', 'ratio']
    ways = [(prefix_of(machine, stock), 'stock' if stock else 'ours') for machine in (MACHINE, COUNTER) for stock in (False, True)]
    rows = []
    for label, what in KERNEL_ROWS:
        values = [shown(results, f'{prefix}{case}.{way}.{what}') for prefix, way in ways]
        rows.append([label] + [cell(v) for v in values[:2]] + [instructions(v) for v in values[2:]] + [ratio(*values[2:])])
    for label, key in KERNEL_COUNTS:
        rows.append([label] + [number(results, f'{prefix}{case}.{way}.{key}') for prefix, way in ways] + [''])
    return table(head, rows)


def type1_table(results):
    head = ['type1 container and mmap (today\'s other way); ms, median (least..most)', 'map', 'unmap', 'map calls',
            'page-table pages', 'map, stock kernel']
    rows = []
    for label, name in (('1 GiB, aligned', 'type1-1g.type1'), (f'{PART >> 20} MiB, aligned', 'type1-part.type1'),
                        (f'{PART >> 20} MiB, off by 4 KiB', 'type1-part.type1-bad')):
        rows.append([label, cell(shown(results, f'{name}.map')), cell(shown(results, f'{name}.unmap')),
                     number(results, f'{name}.iommu-map-calls'), number(results, f'{name}.page-table-pages'),
                     cell(shown(results, f'stock:{name}.map'))])
    return table(head, rows)


RANGES = [4 ** i for i in range(8)]
ENTRIES = [4 ** i for i in range(6)]


def ranges_way(case, n):
    return f'ranges.{n}x{2 << 20}' if case == 'ranges' else f'entries.64x{n * 4096}'


RANGES_WHAT = [('map', 'map', 'blue'), ('revoke', 'revoke', 'red'), ('mapping again', 'again', 'green'), ('unmap', 'unmap', 'violet')]


def ranges_points(results, case, what, machine=MACHINE):
    """[(n, median, least, most)]"""
    return [(n, *shown(results, f'{prefix_of(machine, False)}{ranges_way(case, n)}.{what}'))
            for n in (RANGES if case == 'ranges' else ENTRIES)]


def ranges_table(results):
    lines = []
    for case, title in (('ranges', 'One mapping of n ranges of 2 MiB'), ('entries', 'One mapping of 64 ranges of n pages')):
        head = [f'{title}; ms and instructions, medians'] + [f'{name}{unit}' for unit in ('', ', instr.') for name, _, _ in RANGES_WHAT]
        rows = []
        points = [ranges_points(results, case, what, machine) for machine in (MACHINE, COUNTER) for _, what, _ in RANGES_WHAT]
        for row in zip(*points):
            way = ranges_way(case, row[0][0])
            rows.append([f'n = {row[0][0]}'] + [duration(p[1]) for p in row[:4]] + [f'{p[1]:.0f}' for p in row[4:]] +
                        [number(results, f'{way}.{key}') for key in ('iommu-map-calls', 'iommu-map-calls-on')])
        lines += table(head + ['map calls', 'mapped again'], rows)
    return lines


MORE_ROUNDS = 20        # lab/bench/bench.h


def rounds_of(name, rounds):
    """How many samples there have to be."""
    prefix, _, name = name.rpartition(':')
    more = name.split('.')[0] in [case for case, _ in IOAS_CASES + KERNEL_CASES]
    return (COUNTER_ROUNDS if COUNTER in prefix else rounds) * (MORE_ROUNDS if more else 1)


def missing(results, rounds, arch=ARCH):
    """What the tables want and the program did not say."""
    names = [f'{case}.{way}.{what}' for case, _, bad in KVM_CASES for way in ['vma', 'dmabuf'] + ['vma-bad'] * bad for _, what in KVM_ROWS]
    names += [f'{prefix}{case}.{way}.{what}' for case, _ in IOAS_CASES for prefix, way in (('', 'ours'), ('stock:', 'stock'))
              for _, what in IOAS_ROWS]
    names += [f'{case}.none.{what}' for case, _ in IOAS_CASES for what in ('off', 'on')]
    values = []
    for machine in (MACHINE, COUNTER):
        for stock in (False, True):
            ways = [f'{prefix_of(machine, stock)}{case}.{"stock" if stock else "ours"}' for case, _ in KERNEL_CASES]
            names += [f'{way}.{what}' for way in ways for _, what in KERNEL_ROWS if not stock or what != 'again']
            values += [f'{way}.{what}' for way in ways for _, what in KERNEL_COUNTS]
        names += [f'{prefix_of(machine, False)}{ranges_way(case, n)}.{what}' for case, ns in (('ranges', RANGES), ('entries', ENTRIES))
                  for n in ns for _, what, _ in RANGES_WHAT]
    names, values = ([name for name in each if part_of(name.rpartition(':')[2].split('.')[0]) in PARTS[arch]] for each in (names, values))
    lacking = [name for name in names if len(results.samples.get(name, [])) != rounds_of(name, rounds)]
    lacking += [name for name in values if name not in results.values]
    counted = {'.'.join(name.split('.')[:2]) for name in results.counts}
    return lacking + sorted({'.'.join(name.split('.')[:2]) + ': no counts' for name in names
                             if '.none.' not in name and '.'.join(name.split('.')[:2]) not in counted})


# ---------------------------------------------------------------- what must hold

class Verdict:
    def __init__(self, what, value, limit, detail):
        self.what, self.value, self.limit, self.detail = what, value, limit, detail
        self.holds = value <= limit

    def line(self):
        return f'  {"holds" if self.holds else "DOES NOT HOLD":13}  {self.what}: {self.value:.2f}, at most {self.limit:g}  ({self.detail})'


def quotient(value, by):
    """Of two times. One that is a difference and not above zero says nothing, and must not hold."""
    return value / by if value > 0 and by > 0 else float('inf')


def growth(points):
    """
    What each one of the last three quarters costs, of what each one of the first quarter does. Where
    the cost is linear that is 1, where it is n log n at most 1.3, with n^1.5 it is 2.3, and with the square 5.
    """
    (n0, cost0, *_), (n1, cost1, *_), (n2, cost2, *_) = points[0], *points[-2:]
    return quotient((cost2 - cost1) / (n2 - n1), (cost1 - cost0) / (n1 - n0))


def verdicts(results):
    def of(what, machine=COUNTER, stock=False):
        name = f'{prefix_of(machine, stock)}kernel-whole.{"stock" if stock else "ours"}.{what}'
        return results.values[name] if name in results.values else results.median(name)

    def verdict(what, name, by, stock, limit=1):
        times = ', '.join(duration(of(*each)) for each in ((name, MACHINE), (by, MACHINE, stock)))
        return Verdict(what, quotient(of(name), of(by, stock=stock)), limit,
                       f'{of(name):.0f}, {of(by, stock=stock):.0f} instructions, {"two boots" if stock else "one boot"}; {times} ms')

    def counted(what, kind):
        got, want = of(f'revoke-{kind}'), of(f'unmap-{kind}', stock=True)
        return Verdict(f'{what}: revoke of 128 GiB / unmap of it by the stock kernel', quotient(got, want), 1, f'{got}, {want}')

    found = [
        verdict('revoke of 128 GiB / unmap of it', 'revoke', 'unmap', False),
        verdict('revoke of 128 GiB / unmap of it by the stock kernel', 'revoke', 'unmap', True),
        # Which is for good there. Giving a buffer back has its price here, too: who has it, is it usable after the write.
        verdict('revoke of 128 GiB / revoke of it by the stock kernel', 'revoke', 'revoke', True, 1.1),
        counted('IOMMU unmap calls', 'unmaps'),
        counted('IOTLB invalidations', 'invalidations'),
        verdict('mapping 128 GiB again / first map', 'again', 'map', False, 1.2),
    ]
    for case, what in (('ranges', 'ranges'), ('entries', 'pages in each of 64 ranges')):
        for name, key, _ in RANGES_WHAT:
            points = ranges_points(results, case, key, COUNTER)
            ns = [p[0] for p in points]
            found.append(Verdict(f'{name}, each of {ns[-2]} to {ns[-1]} {what} / of {ns[0]} to {ns[-2]}', growth(points), 1.5,
                                 ', '.join(f'{p[0]}: {p[1]:.0f}' for p in (points[0], *points[-2:])) + ' instructions'))
    return found


# ---------------------------------------------------------------- the plot

def plot(results, about):
    def group(rows, names):
        return [(label, [shown(results, name.format(what)) for name in names]) for label, what in rows]

    kvm = [('create memslot', 'create'), ('populate', 'populate'), ('populate by access', 'access'), ('decode off', 'off'),
           ('on, until access', 'on-access'), ('populate again', 'populate-again'), ('delete memslot', 'delete')]
    kernel = [('map', 'map'), ('mapping again', 'again'), ('revoke', 'revoke'), ('unmap', 'unmap')]
    panels = [
        benchplot.bars(30, 150, 560, 300, 'KVM, a BAR of 128 GiB', [('nothing mapped', 'light'), ('mmap, aligned', 'grey'), ('dma-buf', 'blue')],
                       group(kvm, ['kvm-whole.none.{}', 'kvm-whole.vma.{}', 'kvm-whole.dmabuf.{}'])),
        benchplot.bars(630, 150, 560, 300, f'KVM, {PART >> 20} MiB of it, every 4 KiB accessed',
                       [('mmap, aligned', 'grey'), ('mmap, off by 4 KiB', 'red'), ('dma-buf', 'blue')],
                       group(kvm, ['kvm-part.vma.{}', 'kvm-part.vma-bad.{}', 'kvm-part.dmabuf.{}'])),
        benchplot.bars(30, 560, 560, 250, 'IOAS, a BAR of 128 GiB', [('dma-buf', 'blue'), ('dma-buf, stock kernel (a boot of its own)', 'grey')],
                       group(kernel, ['kernel-whole.ours.{}', 'stock:kernel-whole.stock.{}']) +
                       group([('one more domain', 'domain')], ['ioas-whole.ours.{}', 'stock:ioas-whole.stock.{}'])),
        benchplot.lines(630, 560, 560, 250, 'IOAS, one mapping of n ranges of 2 MiB', 'ranges (dashed: linear)',
                        [(name, colour, ranges_points(results, 'ranges', key)) for name, key, colour in RANGES_WHAT]),
    ]
    return benchplot.page(1220, 880, 'Device memory by dma-buf, and by mmap', about, panels)


# ---------------------------------------------------------------- all of it

def about(rounds, arch=ARCH):
    if arch != ARCH:
        return [f'Medians of {rounds} rounds in one boot under emulation (QEMU TCG): compare them with each other, not with a real machine. Of what',
                f'is short, in the IOAS, there are {MORE_ROUNDS} times as many. Of {arch} there are these parts alone: {", ".join(PARTS[arch])}.']
    return [f'Medians of {rounds} rounds in one boot under emulation (QEMU TCG): compare them with each other, not with a real machine. Of what',
            f'is short, in the IOAS, there are {MORE_ROUNDS} times as many. What has to do with memory decode is the write to the command register as',
            'a VMM does it, most of which is the device\'s own. What the kernel does for it, and to map and unmap, is timed by probes of its',
            'functions; and in boots of a machine that does nothing else, counted in instructions, which do not depend on how busy the host is.']


def save(results, found, text, rounds, arch=ARCH):
    """The files that were written."""
    document = {
        'about': about(rounds, arch),
        'wrong': results.wrong(),
        'must_hold': [{'what': v.what, 'value': v.value, 'limit': v.limit, 'holds': v.holds} for v in found],
        'counts': {name: {'got': got, 'want': want} for name, (got, want) in sorted(results.counts.items())},
        'values': dict(sorted(results.values.items())),
        'samples_ns': dict(sorted(results.samples.items())),
    }
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator='\n')
    writer.writerow(['name', 'rounds', 'median_ns', 'least_ns', 'most_ns'])
    for name in sorted(results.samples):
        writer.writerow([name, len(results.samples[name]), int(results.median(name)), *results.spread(name)])
    files = {'bench.txt': text, 'bench.csv': sheet.getvalue(), 'bench.json': json.dumps(document, indent=1) + '\n'}
    if arch == ARCH:
        files['bench.svg'] = plot(results, about(rounds))
    folder = OUT if arch == ARCH else OUT / arch
    for name, content in files.items():
        write(folder / name, content)
    return [folder / name for name in files]


def report(results, found, rounds, arch=ARCH):
    lines, parts = list(about(rounds, arch)), PARTS[arch]
    for case, title, bad in KVM_CASES if 'kvm' in parts else []:
        lines += kvm_table(results, case, title, bad)
    for case, title in IOAS_CASES:
        lines += ioas_table(results, case, title)
    for case, title in KERNEL_CASES if 'kernel' in parts else []:
        lines += kernel_table(results, case, title)
    lines += type1_table(results)
    if 'kernel' in parts:
        lines += ranges_table(results) + ['', 'What must hold', ''] + [v.line() for v in found]
    lines += ['', f'Counts that are as they have to be: {len(results.counts) - len(results.wrong())} of {len(results.counts)}']
    lines += [f'  WRONG {what}' for what in results.wrong()]
    return '\n'.join(lines) + '\n'


def conclude(results, rounds, arch=ARCH):
    lacking = missing(results, rounds, arch)
    if lacking:
        raise Fail(f'{len(lacking)} measurements are missing or incomplete, the first one is {lacking[0]}')
    found = verdicts(results) if 'kernel' in PARTS[arch] else []
    text = report(results, found, rounds, arch)
    files = save(results, found, text, rounds, arch)
    print(text, flush=True)
    for file in files:
        say(f'    {paths.display(file)}')
    bad = [v for v in found if not v.holds]
    wrong = results.wrong()
    if wrong:
        raise Fail(f'{len(wrong)} of {len(results.counts)} counts are wrong, the first one is {wrong[0]}')
    print(f'bench{f" of {arch}" if arch != ARCH else ""}: {len(results.counts)} counts right, {len(found) - len(bad)} of {len(found)} ratios hold')
    return 1 if bad else 0


def bench(rounds=ROUNDS, archs=()):
    return max([run(build.arch_of(arch), rounds) for arch in archs or [ARCH]])


def run(arch, rounds):
    packages.need_qemu(arch.qemu)
    results = Results()
    for stock in (False, True):
        kernel = build.kernel(arch.name, CONFIG, stock)
        measure(kernel, MACHINE, rounds, program(arch.name), results)
        if 'kernel' in PARTS[arch.name]:
            measure(kernel, COUNTER, COUNTER_ROUNDS, program(arch.name), results)
    return conclude(results, rounds, arch.name)

# SPDX-License-Identifier: GPL-2.0-only
"""Machines: QEMU lines, a boot with jobs, a boot with a shell."""

import contextlib
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import time

from tool import build, initramfs, packages, paths, splats
from tool.run import Fail, clock, environment, group, jobs as cores, say, step, tail, unlock

# no_timer_check: on a busy host the kernel's own test of the timer interrupt through the
# IOMMU's remapping comes out negative, and the kernel panics.
# nohz=off highres=off: a CPU that has lost a one-shot timer sleeps for the 65 s of the longest, and
# one that has lost a tick of many goes on. (lab/machines/x86_64/common.args says how they got lost,
# and what keeps them from it. It has not been tried without these.)
APPEND = {
    'x86_64': 'console=ttyS0 panic=-1 printk.devkmsg=on iommu.strict=1 kvm.force_emulation_prefix=1 no_timer_check nohz=off highres=off mitigations=off kasan_multi_shot',
    'arm64': 'console=ttyAMA0 panic=-1 printk.devkmsg=on iommu.strict=1 nohz=off highres=off mitigations=off',
}
SLOWDOWN = int(os.environ.get('KSERIES_SLOWDOWN') or 1)     # a busy machine: every limit times this
BOOT_LIMIT = 300 * SLOWDOWN         # until the first job begins
ATTEMPTS = 3                        # when QEMU itself fails, which says nothing about the kernel
SLACK = 120                         # beyond a test's own limit: the guest should have ended it


def arguments(arch, machine):
    """The QEMU arguments of lab/machines/ARCH/MACHINE.args."""
    file = paths.LAB / 'machines' / arch.name / f'{machine}.args'
    if not file.exists():
        have = sorted(p.stem for p in file.parent.glob('*.args') if p.stem != 'common')
        raise Fail(f'There is no machine {machine!r} for {arch.name}; lab/machines has: {", ".join(have)}')
    words = []
    for line in file.read_text().splitlines():
        if line.startswith('@include '):
            words += arguments(arch, line.split()[1])
        elif line.startswith('@threads'):
            if 'tcg,thread=single' not in words:
                raise Fail(f'{paths.display(file)}: nothing before @threads says thread=single')
            words = [word.replace('tcg,thread=single', 'tcg,thread=multi') for word in words]
        elif line.startswith('@append '):
            continue
        elif line.strip() and not line.startswith('#'):
            words += shlex.split(line)
    return words


def append(arch, machine):
    """The `@append` lines of a machine, and of those it includes: what its kernel is told in addition."""
    words = ''
    for line in (paths.LAB / 'machines' / arch.name / f'{machine}.args').read_text().splitlines():
        if line.startswith('@include '):
            words += append(arch, line.split()[1])
        elif line.startswith('@append '):
            words += ' ' + line[8:].strip()
    return words


class Job:
    """Commands for one boot: `setup`, then tests of (name, limit, command)."""

    def __init__(self, name, setup='', tests=()):
        self.name, self.setup, self.tests = name, setup, list(tests)

    def listing(self):
        return ''.join(f'{name} {limit} {command}\n' for name, limit, command in self.tests)


class Outcome:
    def __init__(self):
        self.outputs = {}       # name -> (text, code, seconds)
        self.setups = {}        # job -> (text, code)
        self.splats = []
        self.leaks = ''
        self.trouble = None     # why the boot as a whole is no good
        self.folder = None
        self.seconds = 0


# Of devices that have `romfile=rom`: an image of 512 bytes, the last one, and where it says so.
ROM = struct.pack('<3s21xH2x4s6xH4xH3xB', b'\x55\xaa\x01', 0x1c, b'PCIR', 0x18, 1, 0x80).ljust(512, b'\0')


def run_folder(name):
    folder = paths.BUILD / 'run' / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def concatenate(target, *parts):
    with open(target, 'wb') as stream:
        for part in parts:
            with open(part, 'rb') as source:
                shutil.copyfileobj(source, stream)
            stream.write(b'\0' * (-stream.tell() % 4))


def command(kernel, machine, folder, mode, *extra):
    shutil.copyfile(kernel.image, folder / 'kernel')
    (folder / 'rom').write_bytes(ROM)
    return [kernel.arch.qemu, *arguments(kernel.arch, machine), '-kernel', str(folder / 'kernel'),
            '-initrd', str(folder / 'initrd'),
            '-append', f'{APPEND[kernel.arch.name]}{append(kernel.arch, machine)} kseries={mode}', *extra]


def threads(words):
    """How many processors a machine can keep busy."""
    return 2 if 'tcg,thread=multi' in words else 1


@contextlib.contextmanager
def spdm(words):
    """
    The words with a port in place of @spdm. QEMU's nvme has a mailbox for DOE if it can connect to
    somebody who speaks SPDM. Nobody answers here: the discovery of protocols is QEMU's own, and
    nothing in the machine asks for more.
    """
    try:
        server = socket.create_server(('127.0.0.1', 0), backlog=ATTEMPTS)
    except OSError as error:
        raise Fail(f'no socket at 127.0.0.1, which the machine\'s nvme has to connect to: {error}') from None
    with server:
        yield [word.replace('@spdm', str(server.getsockname()[1])) for word in words]


def shell(arch_name, config_name, machine, stock):
    arch = build.arch_of(arch_name)
    arguments(arch, machine)
    packages.need_qemu(arch.qemu)
    kernel = build.kernel(arch_name, config_name, stock)
    folder = run_folder(f'shell-{os.getpid()}')
    try:
        programs = {}
        for place, _, files in os.walk(paths.BUILD / 'user' / f'{arch_name}{"-stock" if stock else ""}'):
            for name in files:
                path = os.path.join(place, name)
                if '.' not in name and os.access(path, os.X_OK):
                    programs[f'/tests/{os.path.relpath(path, paths.BUILD / "user" / arch_name)}'] = path
        concatenate(folder / 'initrd', initramfs.base(kernel, programs))
        words = command(kernel, machine, folder, 'shell', '-serial', 'mon:stdio')
        unlock()
        say(f'==> boot {kernel}, machine {machine}; Ctrl-A X ends QEMU')
        with spdm(words) as words:
            subprocess.run(words, env=environment())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def jobs(kernel, machine, name, todo, programs, stream=None):
    """
    Boot, run the jobs, and read what they said. `stream` is called with each new
    piece of output of a job.
    """
    return together([(running(kernel, machine, name, todo, programs, stream), 1)])[0]


def together(machines):
    """
    The outcomes of several machines: (running(), how many processors it can keep busy, by
    threads()). Machines often wait, so together they may have one more than there are.
    """
    outcomes, waiting, alive = {}, list(enumerate(machines)), {}
    while waiting or alive:
        for number, (machine, weight) in list(waiting):
            if not alive or sum(w for _, w in alive.values()) + weight <= cores() + 1:
                alive[number] = machine, weight
                waiting.remove((number, (machine, weight)))
        for number, (machine, _) in list(alive.items()):
            try:
                next(machine)
            except StopIteration as end:
                outcomes[number] = end.value
                del alive[number]
        time.sleep(0.3)
    return [outcomes[number] for number in sorted(outcomes)]


def running(kernel, machine, name, todo, programs, stream=None):
    """A machine as a generator that yields while it runs; its value is the outcome."""
    packages.need_qemu(kernel.arch.qemu)
    folder = run_folder(name)
    outcome = Outcome()
    outcome.folder = folder
    concatenate(folder / 'initrd', initramfs.base(kernel, programs), initramfs.jobs(folder, todo))
    console, results = folder / 'console.log', folder / 'results.log'
    words = command(kernel, machine, folder, 'jobs', '-serial', f'file:{console}', '-serial', f'file:{results}',
                    '-monitor', 'unix:monitor,server=on,wait=off')
    (folder / 'command').write_text(shlex.join(word.replace(',spdm_port=@spdm', '') for word in words) + '\n')
    limits = {test: limit for job in todo for test, limit, _ in job.tests}
    total = len(limits)
    start = time.monotonic()
    with step(f'boot {name}: {kernel} on the machine {machine}, {total} programs'), spdm(words) as words:
        for attempt in range(1, ATTEMPTS + 1):
            outcome.trouble = yield from watch(kernel, words, name, folder, console, results, limits, total, stream)
            found = splats.find(text_of(console))
            fault = outcome.trouble and threads(words) > 1 and (
                emulator_fault(text_of(folder / 'qemu.log')) or iommu_fault(outcome.trouble, found))
            # What the kernel did wrong before that must not be forgotten. Where it hangs a test gets too late.
            before = text_of(results).rpartition('@@begin ')[0]
            if not fault or attempt == ATTEMPTS or found and not iommu_fault(outcome.trouble, found) or \
                    re.search(r'^not ok', before, re.M):
                break
            say(f'    {name}: QEMU failed by itself, attempt {attempt} of {ATTEMPTS}: {fault}')
            for log in (console, results):
                if log.exists():
                    log.replace(log.with_name(f'{log.stem}-{attempt}.log'))
    outcome.seconds = int(time.monotonic() - start)
    # A machine that ran is not needed any more; what it said is.
    for leftover in ('kernel', 'initrd'):
        (folder / leftover).unlink(missing_ok=True)
    collect(outcome, text_of(console), text_of(results), limits)
    return outcome


def emulator_fault(log):
    """
    What QEMU says of the one error of its own that is known, or None. It finds the device
    that an access leads to by a number in the map of memory, which another thread replaces when
    memory decode is turned off or on (lab/machines/x86_64/common.args); an assertion fails when
    the number is not in the new map. Any other assertion counts: it may be the kernel that
    drives a device into it.
    """
    match = re.search(r'^qemu-system-\S+: (\S+\.c:\d+: iotlb_to_section: Assertion .* failed)', log, re.M)
    return match and match[1]


def iommu_fault(trouble, found):
    """
    Whether a machine hangs because QEMU has lost a command for the IOMMU, by the error of its
    that emulator_fault() is about: the driver waits in qi_submit_sync(), and RCU and other
    processors for it. The series touches neither the driver nor its queue. Anything else in the console counts.
    """
    stalls = all(re.search(r'^rcu:.*stall|soft lockup', line) for _, line, _ in found)
    # A frame with a question mark may be left from an earlier call.
    waits = any(re.search(r'(RIP=.*|^ ?|RIP: \S+:)qi_submit_sync', text, re.M)
                for text in (trouble, *('\n'.join(lines) for _, _, lines in found)))
    if trouble.startswith('the machine hangs') and stalls and waits:
        return 'the IOMMU has not seen a command, and qi_submit_sync() waits for it'
    return None


def text_of(path):
    return path.read_bytes().decode(errors='replace').replace('\r\n', '\n') if path.exists() else ''


def watch(kernel, words, name, folder, console, results, limits, total, stream):
    """Yields until the machine's end; what is wrong with it, or None."""
    with open(folder / 'qemu.log', 'wb') as log, group(words, cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
                                                       stdout=log, stderr=subprocess.STDOUT) as process:
        start = told = moved = time.monotonic()
        seen, running, done = 0, None, 0
        while True:
            ended = process.poll() is not None
            fresh = text_of(results)[seen:]
            fresh = fresh[:fresh.rfind('\n') + 1]
            if fresh:
                seen += len(fresh)
                if stream:
                    stream(fresh)
                for order in re.findall(r'^@@monitor (.*)$', fresh, re.M):
                    ask(folder, order)
                for mark, test in re.findall(r'@@(begin|end) (\S+)', fresh):
                    running = test if mark == 'begin' else None
                    done += mark == 'end'
                    moved = time.monotonic()
                if running is None:
                    moved = time.monotonic()
            if ended:
                break
            now = time.monotonic()
            limit = limits.get(running, BOOT_LIMIT) + (SLACK if running else 0)
            state = None
            if now - moved > limit:
                state = processors(kernel, process.pid, folder)
            elif threads(words) > 1 and now - told >= 20 and (found := splats.find(text_of(console))):
                # What QEMU has lost does not come any more, so there is no need to wait for the limit.
                seen_at = processors(kernel, process.pid, folder)
                state = seen_at if iommu_fault(f'the machine hangs:\n{seen_at}', found) else None
            if state:
                where = f'{running} (limit {limits[running]} s)' if running else 'boot, set-up or end'
                return f'the machine hangs in {where}:\n{state}\n  last lines of its console:\n{tail(console)}'
            if now - told >= 20:
                told = now
                say(f'    ... {name}, {clock(now - start)}: {done} of {total} done' + (f', running {running}' if running else ''))
            yield
    if process.returncode:
        return f'QEMU ended with {process.returncode}: {text_of(folder / "qemu.log").strip()[-600:]}'
    if not re.search(r'^@@done$', text_of(results), re.M):
        where = f'in {running}' if running else 'before the first job' if not seen else 'between jobs'
        return f'the machine died {where}; last lines of its console:\n{tail(console)}'
    return None


def processors(kernel, pid, folder):
    """
    What the processors of a machine that hangs are at, by QEMU's monitor: all of it, twice, in
    hang.log, and what tells most as text. A processor with an interrupt in service (ISR) that
    waits for one (HLT) has lost the end of that interrupt: a fault of the emulator's.
    """
    before = processor_seconds(pid)
    texts = ask(folder, *('info registers -a', 'info lapic 0', 'info lapic 1') * 2)
    (folder / 'hang.log').write_text(''.join(texts))
    lines = [f'QEMU took {processor_seconds(pid) - before:.1f} s of processor time in 6 s; {paths.display(folder / "hang.log")}']
    lines += [line.strip() for text in texts for line in text.splitlines()
              if re.match(r'CPU#|RIP=|CR0=|ISR\b|IRR\b|dumping local APIC', line)] or ['its monitor does not answer']
    return '\n'.join('    | ' + symbol_of(kernel, line) for line in lines)


def ask(folder, *commands):
    """What QEMU's monitor says to each of some commands; less of them, if it does not."""
    texts = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
        # A path through /proc, as that of a socket must be short.
        place = os.open(folder, os.O_PATH)
        try:
            monitor.settimeout(5)
            monitor.connect(f'/proc/self/fd/{place}/monitor')
            for command in commands:
                monitor.sendall(command.encode() + b'\n')
                time.sleep(1)
                texts.append(monitor.recv(1 << 20).decode(errors='replace').replace('\r', ''))
        finally:
            os.close(place)
    return texts


def symbol_of(kernel, line):
    """The line with the function that its RIP is in."""
    match = re.match(r'RIP=([0-9a-f]{16})', line)
    if match:
        map_file = kernel.out / 'System.map'
        symbols = [entry.split() for entry in map_file.read_text().splitlines()] if map_file.exists() else []
        below = [(int(address, 16), name) for address, _, name in symbols if int(address, 16) <= int(match[1], 16)]
        if below and int(match[1], 16) >> 63:
            line += f' {max(below)[1]}'
    return line


def processor_seconds(pid):
    with open(f'/proc/{pid}/stat') as stat:
        fields = stat.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def collect(outcome, console, results, limits):
    name, job, begun = None, None, []
    for line in results.splitlines(keepends=True):
        mark = re.match(r'(.*?)@@(setup|ready|begin|end|kmemleak|scanned|done)\b ?(.*)\n?$', line)
        if not mark or mark[2] in ('done',):
            begun.append(line)
            continue
        if mark[1]:
            begun.append(mark[1] + '\n')
        kind, rest = mark[2], mark[3].split()
        if kind in ('setup', 'begin', 'kmemleak'):
            begun = []
            name = rest[0] if rest else None
        elif kind == 'ready':
            # Its folder begins with a number, for their order
            outcome.setups[rest[0].partition('-')[2]] = (''.join(begun), int(rest[1]))
        elif kind == 'end':
            outcome.outputs[rest[0]] = (''.join(begun), int(rest[1]), int(rest[2]))
        elif kind == 'scanned':
            outcome.leaks = ''.join(begun).strip()
    outcome.splats = splats.find(console)
    if outcome.leaks:
        count = outcome.leaks.count('unreferenced object')
        outcome.splats.append(('the end', f'kmemleak: {count} unreferenced objects', outcome.leaks.splitlines()[:60]))

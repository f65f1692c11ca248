# SPDX-License-Identifier: GPL-2.0-only
"""`kseries demo`: the sample VMMs in the machine, with what they say as they say it."""

import re

from tool import boot, build, packages, paths, splats, users
from tool.run import Fail, say

SAMPLE = 'tdi-vmm'
# Of lab/machines/ARCH/vfio: a BAR that is memory, a DMA master, and a PCIe function.
DEVICE, PEER, TDI = '0000:00:05.0', '0000:00:03.0', '0000:01:00.0'
LIMIT = 300 * boot.SLOWDOWN

# Its programs: what has to be there, its arguments, and a line that it has to say.
PROGRAMS = [
    ('tdi-vmm', f'vfio-bind {DEVICE} {PEER}', f'--device {DEVICE} --peer {PEER}', None),
    ('tdi-bind', f'vfio-bind {TDI}; tsm-sim {TDI}; tsm-connect {TDI}', f'--device {TDI}', 'violations: 0'),
]


# What does not run on an architecture, and why.
WITHOUT = {('arm64', 'tdi-bind'): 'it makes a VM of a type that only x86 has'}


def demo(archs=()):
    archs = [build.arch_of(arch) for arch in archs or build.ARCHS]
    say(f'==> demo on {" and ".join(arch.name for arch in archs)}')
    for arch in archs:
        say(f'==> demo on {arch.name}')
        run(arch)
    return 0


def run(arch):
    packages.need_qemu(arch.qemu)
    kernel = build.kernel(arch.name, 'base')
    folder = users.sample(kernel, SAMPLE)
    chosen = [program for program in PROGRAMS if (arch.name, program[0]) not in WITHOUT]
    programs = {f'/bin/{name}-demo': folder / name for name, *_ in chosen}
    jobs = [boot.Job(name, setup, [(name, LIMIT, f'/bin/{name}-demo {arguments}')])
            for name, setup, arguments, _ in chosen]

    def stream(text):
        for line in text.splitlines():
            if not line.startswith('@@'):
                print(f'  {line}', flush=True)

    name = 'demo' if arch.name == 'x86_64' else f'demo-{arch.name}'
    outcome = boot.jobs(kernel, 'vfio', name, jobs, programs, stream)
    console = paths.display(outcome.folder / 'console.log')
    if outcome.trouble:
        raise Fail(f'{outcome.trouble}\nconsole: {console}')
    for name, *_ in chosen:
        said, setup = outcome.setups.get(name, ('', None))
        if setup:
            raise Fail(f'{name}: its devices could not be prepared:\n{said}console: {console}')
    if outcome.splats:
        during, line, lines = outcome.splats[0]
        raise Fail(f'the kernel complained during {during}:\n' + '\n'.join('    | ' + l for l in splats.essence(lines)) + f'\nconsole: {console}')
    for name, _, _, wanted in chosen:
        print(f'{arch.name}: {judge(name, wanted, *outcome.outputs[name][:2], console)}')
    for name in (name for name, *_ in PROGRAMS if (arch.name, name) in WITHOUT):
        print(f'{arch.name}: {name} is not run: {WITHOUT[arch.name, name]}')


def judge(name, wanted, text, code, console):
    """The last line of a program, which says that all went well, or a failure."""
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else f'{name} said nothing'
    if code or not re.match(rf'{name}: PASS\b', last):
        raise Fail(f'{last} (exit {code})\nconsole: {console}')
    if wanted and wanted not in lines:
        raise Fail(f'{name} did not say "{wanted}"\nconsole: {console}')
    return last

# SPDX-License-Identifier: GPL-2.0-only
"""`kseries demo`: the sample VMM in the machine, with what it says as it says it."""

import re

from tool import boot, build, packages, paths, users
from tool.run import Fail

SAMPLE = 'tdi-vmm'
# Of lab/machines/x86_64/vfio: a BAR that is memory, and a DMA master.
DEVICE, PEER = '0000:00:05.0', '0000:00:03.0'
LIMIT = 300 * boot.SLOWDOWN


def demo():
    packages.need('qemu')
    kernel = build.kernel('x86_64', 'base')
    folder = users.sample(kernel, SAMPLE)
    programs = {'/bin/tdi-vmm-demo': folder / SAMPLE}
    job = boot.Job('demo', f'vfio-bind {DEVICE} {PEER}',
                   [('tdi-vmm', LIMIT, f'/bin/tdi-vmm-demo --device {DEVICE} --peer {PEER}')])

    def stream(text):
        for line in text.splitlines():
            if not line.startswith('@@'):
                print(f'  {line}', flush=True)

    outcome = boot.jobs(kernel, 'vfio', 'demo', [job], programs, stream)
    said, setup = outcome.setups.get('demo', ('', None))
    console = paths.display(outcome.folder / 'console.log')
    if outcome.trouble:
        raise Fail(f'{outcome.trouble}\nconsole: {console}')
    if setup:
        raise Fail(f'the devices could not be given to vfio-pci:\n{said}console: {console}')
    if outcome.splats:
        during, line, lines = outcome.splats[0]
        raise Fail(f'the kernel complained during {during}:\n' + '\n'.join('    | ' + l for l in lines) + f'\nconsole: {console}')
    text, code, seconds = outcome.outputs['tdi-vmm']
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else 'the sample said nothing'
    if code or not re.match(rf'{SAMPLE}: PASS\b', last):
        raise Fail(f'{last} (exit {code})\nconsole: {console}')
    print(last)
    return 0

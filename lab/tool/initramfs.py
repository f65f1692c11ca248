# SPDX-License-Identifier: GPL-2.0-only
"""Initial ramdisks, made without root by the kernel's own gen_init_cpio."""

from pathlib import Path

from tool import build, packages, paths, source
from tool.run import Fail, logged, output, set_stamp, stamp

BUSYBOX = ['bin/busybox', 'usr/bin/busybox']


def generator():
    """usr/gen_init_cpio.c of the stock tree as a program."""
    program = paths.BUILD / 'bin' / 'gen_init_cpio'
    commit = source.stock()
    if stamp('gen_init_cpio') != commit or not program.exists():
        code = source.git('show', f'{commit}:usr/gen_init_cpio.c', raw=True)
        program.parent.mkdir(parents=True, exist_ok=True)
        output('gcc', '-O2', '-o', program, '-x', 'c', '-', stdin=code)
        set_stamp('gen_init_cpio', commit)
    return program


class List:
    """What gen_init_cpio reads: folders before what is in them, each once."""

    def __init__(self):
        self.lines, self.folders = [], set()

    def folder(self, name):
        name = name.rstrip('/')
        if name and name not in self.folders:
            self.folder(name.rpartition('/')[0])
            self.folders.add(name)
            self.lines.append(f'dir {name} 0755 0 0')

    def file(self, name, path, mode='0755'):
        self.folder(name.rpartition('/')[0])
        self.lines.append(f'file {name} {path} {mode} 0 0')

    def node(self, name, kind, major, minor):
        self.folder(name.rpartition('/')[0])
        self.lines.append(f'nod {name} 0600 0 0 {kind} {major} {minor}')

    def write(self, target):
        listing = target.with_suffix('.list')
        listing.write_text('\n'.join(self.lines) + '\n')
        temporary = target.with_suffix('.new')
        logged(f'make {target.name}', [generator(), '-t', str(source.EPOCH), '-o', temporary, listing],
               target.with_suffix('.log'))
        temporary.chmod(0o644)
        temporary.replace(target)
        return target


def base(kernel, programs):
    """busybox, init, the kernel's modules, and programs as {name in the machine: path}."""
    packages.need('user')
    root = packages.foreign(kernel.arch.name) if kernel.arch.cross else Path('/')
    busybox = next((root / name for name in BUSYBOX if (root / name).exists()), None)
    if not busybox:
        raise Fail(f'{paths.display(root)} has no bin/busybox, though it has busybox-static')
    made = List()
    for name in ('proc', 'sys', 'dev', 'tmp', 'jobs', 'tests', 'bin', 'sbin'):
        made.folder(f'/{name}')
    made.node('/dev/console', 'c', 5, 1)
    made.node('/dev/null', 'c', 1, 3)
    made.file('/init', paths.LAB / 'init')
    made.file('/bin/busybox', busybox)
    for script in sorted((paths.LAB / 'bin').iterdir()):
        made.file(f'/bin/{script.name}', script)
    for module in build.modules(kernel):
        made.file(f'/lib/modules/{module.name}', module, '0644')
    for name, path in sorted(programs.items()):
        made.file(name, path)
    target = kernel.out / 'kseries.cpio'
    return made.write(target)


def jobs(folder, jobs):
    """The second archive, which only holds what this boot is to do."""
    made = List()
    for number, job in enumerate(jobs):
        place = folder / f'job-{number}'
        place.mkdir(parents=True, exist_ok=True)
        for name, text in (('setup', job.setup), ('list', job.listing())):
            (place / name).write_text(text if text.endswith('\n') else text + '\n')
            made.file(f'/jobs/{number:02}-{job.name}/{name}', place / name, '0644')
    return made.write(folder / 'jobs.cpio')

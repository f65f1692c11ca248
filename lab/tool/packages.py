# SPDX-License-Identifier: GPL-2.0-only
"""What is missing on this machine is installed, by package name."""

import os
import re
import shutil
import subprocess

from tool import apt, paths
from tool.run import Fail, clear_stamp, environment, logged, set_stamp, stamp, step

SETS = {
    'compose': ['git', 'xz-utils', 'bzip2', 'tar'],
    'kernel': ['gcc', 'libc6-dev', 'make', 'flex', 'bison', 'bc', 'perl', 'libelf-dev', 'rsync', 'xz-utils',
               'gzip', 'cpio', 'kmod', 'ccache'],
    'user': ['gcc', 'libc6-dev', 'make', 'rsync', 'libcap-dev', 'uuid-dev', 'busybox-static'],
    'cross-arm64': ['gcc-aarch64-linux-gnu', 'libc6-dev-arm64-cross'],
    'cross-riscv64': ['gcc-riscv64-linux-gnu'],
    # spatch loads libpython by the name that only the -dev package has.
    'check': ['g++', 'coccinelle', 'libpython3-dev', 'perl'],
}

QEMU_OLDEST = 9
QEMU = {'qemu-system-x86_64': 'qemu-system-x86', 'qemu-system-aarch64': 'qemu-system-arm'}

# User space of another architecture: files of its packages, unpacked and not installed.
FOREIGN = ['busybox-static', 'libcap-dev', 'uuid-dev']


def installed(names):
    result = subprocess.run(['dpkg-query', '-W', '-f', '${binary:Package} ${db:Status-Status}\n', *names],
                            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = (line.split() for line in result.stdout.splitlines())
    return {name.split(':')[0] for name, *status in found if status == ['installed']}


def root_command():
    if os.geteuid() == 0:
        return []
    if shutil.which('sudo') and subprocess.run(['sudo', '-n', 'true'], stdin=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL).returncode == 0:
        return ['sudo', '-n']
    return None


def need(*sets):
    """Make sure that the packages of these sets are there."""
    for name in sets:
        install(SETS[name])


def install(names, suite=None):
    missing = sorted(set(names) - installed(names)) if not suite else names
    if not missing:
        return
    become = root_command()
    if become is None or not shutil.which('apt-get'):
        where = f' (of {suite})' if suite else ''
        raise Fail(f'Packages are missing{where}, and installing them needs root or sudo. As root, run:\n'
                   f'    apt-get install --no-install-recommends {"-t " + suite + " " if suite else ""}'
                   f'{" ".join(missing)}')
    private = apt.Private('own', apt.own())
    with step(f'install {" ".join(missing)}'):
        private.update()
        options = ['-t', suite] if suite else []
        # apt reads its configuration as root too, so it is named on the command line for sudo.
        logged(f'install {" ".join(missing)}',
               [*become, 'env', f'APT_CONFIG={private.folder}/apt.conf', 'DEBIAN_FRONTEND=noninteractive',
                'apt-get', '-q', '-y', *options, 'install', *missing],
               paths.LOGS / 'install.log', env=private.env(), count='^Unpacking ')


def qemu_version(program):
    try:
        text = subprocess.run([program, '--version'], capture_output=True, text=True, env=environment()).stdout
    except OSError:
        return None
    match = re.search(r'version (\d+)\.(\d+)', text)
    return (int(match[1]), int(match[2])) if match else None


def need_qemu(program='qemu-system-x86_64'):
    version = qemu_version(program)
    if version and version[0] >= QEMU_OLDEST:
        return
    name = apt.release()[0]
    install([QEMU[program]], f'{name}-backports' if name == 'bookworm' else name)
    version = qemu_version(program)
    if not version or version[0] < QEMU_OLDEST:
        raise Fail(f'QEMU {QEMU_OLDEST} or later is needed, and {program} is '
                   f'{"version %d.%d" % version if version else "not there"}. '
                   'bookworm has it in bookworm-backports, trixie in its main archive.')


def foreign(arch):
    """
    A folder with FOREIGN of another of Debian's architectures. Neither dpkg nor the machine's apt
    has to know that architecture.
    """
    folder = paths.BUILD / 'foreign' / arch
    key = f'{apt.release()[0]} {" ".join(FOREIGN)}'
    if stamp(f'foreign-{arch}') == key and folder.is_dir():
        return folder
    clear_stamp(f'foreign-{arch}')
    private = apt.Private(arch, apt.own(), arch=arch)
    with step(f'unpack {" ".join(FOREIGN)} of {arch}'):
        private.update()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for package in FOREIGN:
            archive = private.download(package, private.folder / 'download')
            logged(f'unpack {archive.name}', ['dpkg-deb', '-x', archive, folder], private.log, append=True)
    set_stamp(f'foreign-{arch}', key)
    return folder

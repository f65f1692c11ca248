# SPDX-License-Identifier: GPL-2.0-only
"""What is missing on this machine is installed, by package name."""

import os
import re
import shutil
import subprocess

from tool import apt, paths
from tool.run import Fail, environment, logged, step

SETS = {
    'compose': ['git', 'xz-utils', 'bzip2', 'tar'],
    'kernel': ['gcc', 'libc6-dev', 'make', 'flex', 'bison', 'bc', 'perl', 'libelf-dev', 'rsync', 'xz-utils',
               'gzip', 'cpio', 'kmod', 'ccache'],
    'user': ['gcc', 'libc6-dev', 'make', 'rsync', 'libcap-dev', 'uuid-dev', 'busybox-static'],
    'qemu': ['qemu-system-x86'],
    'check': ['g++', 'coccinelle', 'perl'],
}

QEMU_OLDEST = 9


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
        if name == 'qemu':
            need_qemu()
        else:
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


def qemu_version(program='qemu-system-x86_64'):
    try:
        text = subprocess.run([program, '--version'], capture_output=True, text=True, env=environment()).stdout
    except OSError:
        return None
    match = re.search(r'version (\d+)\.(\d+)', text)
    return (int(match[1]), int(match[2])) if match else None


def need_qemu():
    version = qemu_version()
    if version and version[0] >= QEMU_OLDEST:
        return
    name = apt.release()[0]
    install(SETS['qemu'], f'{name}-backports' if name == 'bookworm' else name)
    version = qemu_version()
    if not version or version[0] < QEMU_OLDEST:
        raise Fail(f'QEMU {QEMU_OLDEST} or later is needed, and qemu-system-x86_64 is '
                   f'{"version %d.%d" % version if version else "not there"}. '
                   'bookworm has it in bookworm-backports, trixie in its main archive.')

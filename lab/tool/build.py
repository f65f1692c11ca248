# SPDX-License-Identifier: GPL-2.0-only
"""Kernels, their user headers, and the programs that run on them."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from tool import compose, config, packages, paths, source
from tool.run import Fail, clear_stamp, environment, jobs, logged, output, set_stamp, stamp, step
from tool.source import git


class Arch:
    """What kbuild calls it and makes of it, its QEMU, and its compiler: packages.SETS and prefix."""

    def __init__(self, name, kernel, image=None, qemu=None, packages=(), cross=''):
        self.name, self.kernel, self.image, self.cross = name, kernel, image, cross
        self.qemu, self.packages = qemu, packages
        self.source = f'arch/{"x86" if kernel == "i386" else kernel}'


ARCHS = {arch.name: arch for arch in (
    Arch('x86_64', 'x86', 'arch/x86/boot/bzImage', 'qemu-system-x86_64'),
    Arch('arm64', 'arm64', 'arch/arm64/boot/Image', 'qemu-system-aarch64', ['cross-arm64'], 'aarch64-linux-gnu-'))}

# What folders.py compiles for; nothing boots.
OTHERS = {arch.name: arch for arch in (
    Arch('i386', 'i386'),
    Arch('riscv64', 'riscv', packages=['cross-riscv64'], cross='riscv64-linux-gnu-'))}


def arch_of(name):
    if name not in ARCHS:
        raise Fail(f'There is no architecture {name!r}; kseries knows: {", ".join(ARCHS)}')
    return ARCHS[name]


class Kernel:
    """A built kernel: its source tree, its output folder, its image."""

    def __init__(self, arch, config_name, tree, commit, stock):
        self.arch, self.config, self.tree, self.commit, self.stock = arch, config_name, tree, commit, stock
        self.out = tree / f'o-{arch.name}-{config_name}'
        self.image = self.out / arch.image
        self.partial = False        # the tree of `bisect`, in the middle of the series
        self.log = paths.LOGS / f'build-{arch.name}-{config_name}{"-stock" if stock else ""}.log'

    def __str__(self):
        return f'{self.arch.name} {self.config}{" (stock)" if self.stock else ""}'


def tree_of(stock):
    """(work tree, commit) of the composed or the stock kernel, checked out."""
    if not stock:
        tree = compose.tree()
        return tree, git('rev-parse', 'HEAD')
    commit = source.stock()
    folder = paths.STOCK
    if not (folder / 'Makefile').exists():
        with step(f'check out the stock kernel into {paths.display(folder)}'):
            paths.need_room(2500, 'The stock tree')
            shutil.rmtree(folder, ignore_errors=True)
            git('worktree', 'prune')
            git('worktree', 'add', '-q', '--force', '--detach', folder, commit)
    if git('rev-parse', 'HEAD', tree=folder) != commit or git('status', '--porcelain', '--untracked-files=no', tree=folder):
        git('checkout', '-q', '-f', '--detach', commit, tree=folder)
    return folder, commit


def build_environment(tree):
    """
    Nothing of place and time goes into an object, so that the compiler cache
    serves every tree and every output folder at the same depth.
    """
    cache = os.environ.get('CCACHE_DIR') or paths.BUILD / 'ccache'
    return environment(CCACHE_DIR=cache, CCACHE_BASEDIR=tree, CCACHE_NOHASHDIR=1, CCACHE_MAXSIZE='10G', CCACHE_DEPEND=1,
                       CCACHE_SLOPPINESS='time_macros,include_file_mtime,include_file_ctime',
                       KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026', KBUILD_BUILD_USER='kseries',
                       KBUILD_BUILD_HOST='kseries', KBUILD_BUILD_VERSION='1')


def make_command(arch, out):
    command = ['make', f'-j{jobs()}', f'ARCH={arch.kernel}', f'CC=ccache {arch.cross}gcc', 'HOSTCC=ccache gcc',
               f'O={out.name}', 'LOCALVERSION=']
    return command + ([f'CROSS_COMPILE={arch.cross}'] if arch.cross else [])


def fingerprint(*things):
    digest = hashlib.sha256()
    for thing in things:
        digest.update(thing if isinstance(thing, bytes) else str(thing).encode())
        digest.update(b'\0')
    return digest.hexdigest()


def kernel(arch_name, config_name, stock=False):
    """Build one kernel, where that is not done."""
    arch = arch_of(arch_name)
    config.fragments(arch_name, config_name)
    tree, commit = tree_of(stock)
    packages.need('kernel', *arch.packages)
    return build(Kernel(arch, config_name, tree, commit, stock))


def build(built):
    arch, tree, out = built.arch, built.tree, built.out
    mark = f'kernel-{tree.name}-{arch.name}-{built.config}'
    key = fingerprint(built.commit, *(p.read_bytes() for p in config.fragments(arch.name, built.config)),
                      output(f'{arch.cross}gcc', '--version'))
    if stamp(mark) == key and built.image.exists():
        return built
    clear_stamp(mark)
    with step(f'build {built}'):
        paths.need_room(1500, 'A kernel build')
        command = make_command(arch, out)
        log = built.log
        config.configure(arch.name, built.config, tree, out, command, log, built.partial)
        targets = [Path(arch.image).name]
        if re.search(r'^CONFIG_MODULES=y$', (out / '.config').read_text(), re.M):
            targets.append('modules')
        logged(f'build {built}', [*command, *targets], log, cwd=tree, env=build_environment(tree), append=True,
               count=r'^  (CC|AS|LD|AR)\b')
        if not built.image.exists():
            raise Fail(f'build {built}: make made no {arch.image}\nlog: {paths.display(log)}')
    set_stamp(mark, key)
    return built


def modules(built):
    return sorted(p for p in built.out.rglob('*.ko'))


def headers(arch_name, stock=False):
    """The installed user headers: the folder that holds linux/kvm.h's folder."""
    arch = arch_of(arch_name)
    tree, commit = tree_of(stock)
    return install_headers(arch, tree, commit, f'{arch.name}{"-stock" if stock else ""}')


def install_headers(arch, tree, commit, name):
    packages.need('kernel', *arch.packages)
    folder = paths.BUILD / 'headers' / name
    mark = f'headers-{name}'
    if stamp(mark) != commit or not (folder / 'include/linux/kvm.h').exists():
        clear_stamp(mark)
        with step(f'install the user headers ({name})'):
            out = tree / f'o-{arch.name}-headers'
            log = paths.LOGS / f'{mark}.log'
            logged('make headers', [*make_command(arch, out), 'headers'], log, cwd=tree, env=build_environment(tree))
            # By content, so that an unchanged header makes nobody compile again.
            (folder / 'include').mkdir(parents=True, exist_ok=True)
            logged('copy the headers', ['rsync', '-rc', '--delete', '--prune-empty-dirs', '--include=*/', '--include=*.h',
                                        '--exclude=*', f'{out}/usr/include/', f'{folder}/include/'], log, append=True)
        set_stamp(mark, commit)
    return folder / 'include'

# SPDX-License-Identifier: GPL-2.0-only
"""The stock kernel: where its source comes from, and branch `stock` of build/linux."""

import hashlib
import os
import re
import shutil
import tarfile
from pathlib import Path

from tool import apt, packages, paths
from tool.run import Fail, environment, logged, output, set_stamp, stamp, step, say

PACKAGE = 'linux-source-7.3'
IDENTITY = {'GIT_AUTHOR_NAME': 'kseries', 'GIT_AUTHOR_EMAIL': 'kseries@localhost',
            'GIT_COMMITTER_NAME': 'kseries', 'GIT_COMMITTER_EMAIL': 'kseries@localhost'}
EPOCH = 1767225600          # 2026-01-01: the date of the stock commit, one minute more for each patch


def git(*args, tree=None, env=None, **kwargs):
    return output('git', '-C', tree or paths.LINUX, *args, env=env or environment(), **kwargs)


def dated(number):
    when = f'{EPOCH + 60 * number} +0000'
    return dict(IDENTITY, GIT_AUTHOR_DATE=when, GIT_COMMITTER_DATE=when)


def base():
    """series/base: the version the series is made on, and the line of it that is accepted."""
    try:
        text = (paths.SERIES / 'base').read_text().strip()
    except FileNotFoundError:
        raise Fail('series/base is missing: it names the kernel version, such as 7.3.4') from None
    match = re.fullmatch(r'(\d+\.\d+)(\.\d+)?', text)
    if not match:
        raise Fail(f'series/base: {text!r} is not a kernel version, such as 7.3.4')
    return text, match[1]


def version(makefile, where):
    """The version that a kernel's Makefile tells, checked against series/base."""
    fields = dict(re.findall(r'^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)$', makefile, re.M))
    if not {'VERSION', 'PATCHLEVEL', 'SUBLEVEL'} <= fields.keys():
        raise Fail(f'{where}: its Makefile is not that of a Linux kernel')
    found = '{VERSION}.{PATCHLEVEL}.{SUBLEVEL}'.format(**fields)
    wanted, line = base()
    if f'{fields["VERSION"]}.{fields["PATCHLEVEL"]}' != line:
        raise Fail(f'{where} is Linux {found}; the series is for {line}.y (made on {wanted}).\n'
                   f'Give a {line}.y tree or tarball with LINUX=, or none to use Debian\'s {PACKAGE}.')
    return found


class Tarball:
    def __init__(self, path):
        self.path = path
        stat = path.stat()
        self.key = f'tarball {path} {stat.st_size} {stat.st_mtime_ns}'

    def unpack(self, folder):
        logged('unpack the kernel source', ['tar', '-x', '--strip-components=1', '-C', folder, '-f', self.path],
               paths.LOGS / 'source.log')


class Checkout:
    def __init__(self, path):
        self.path = path
        self.head = git('rev-parse', 'HEAD', tree=path)
        self.key = f'git {path} {self.head}'
        if git('status', '--porcelain', '--untracked-files=no', tree=path):
            say(f'    note: {path} has uncommitted changes; its HEAD is used, without them')

    def unpack(self, folder):
        archive = folder.with_name(folder.name + '.tar')
        try:
            git('archive', '--format=tar', '-o', archive, self.head, tree=self.path)
            logged('unpack the kernel source', ['tar', '-x', '-C', folder, '-f', archive],
                   paths.LOGS / 'source.log')
        finally:
            archive.unlink(missing_ok=True)


class Folder:
    def __init__(self, path):
        self.path = path
        for built in ('.config', 'include/config', 'include/generated'):
            if (path / built).exists():
                raise Fail(f'LINUX={path} has been built in ({built} is there) and is no git checkout, so what is '
                           'source and what is not cannot be told. Run "make mrproper" in it, or give a clean tree.')
        digest = hashlib.sha256()
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                stat = os.lstat(os.path.join(folder, name))
                digest.update(f'{folder}/{name} {stat.st_size} {stat.st_mtime_ns}\n'.encode())
        self.key = f'folder {path} {digest.hexdigest()}'

    def unpack(self, folder):
        logged('copy the kernel source', ['cp', '-a', '--reflink=auto', f'{self.path}/.', folder],
               paths.LOGS / 'source.log')


class Package:
    """Debian's linux-source, from the suite that has it; only unpacked, not installed."""
    key = f'package {PACKAGE}'

    def unpack(self, folder):
        found = sorted((paths.BUILD / 'source').glob('usr/src/linux-source-*.tar.*'))
        Tarball(found[0] if found else self.fetch()).unpack(folder)

    def fetch(self):
        name = apt.release()[0]
        suites = [f'{r}-backports' for r in apt.RELEASES[apt.RELEASES.index(name):]]
        suites = suites[:2] if name == 'bookworm' else suites[:1]
        suite = suites[-1]
        with step(f'download {PACKAGE} from {suite}'):
            private = apt.Private('source', apt.derived(suite), stale=True)
            private.update()
            if not private.candidate(PACKAGE):
                raise Fail(f'{suite} has no package {PACKAGE} any more. Give a kernel tree or tarball '
                           f'of {base()[1]}.y with LINUX=.')
            paths.need_room(500, 'The kernel source package')
            deb = private.download(PACKAGE, paths.BUILD / 'apt' / 'source' / 'download')
            target = paths.BUILD / 'source'
            temporary = paths.BUILD / 'source.new'
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            logged(f'unpack {deb.name}', ['dpkg-deb', '-x', deb, temporary], paths.LOGS / 'source.log')
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
            deb.unlink()
            return next(iter(sorted(target.glob('usr/src/linux-source-*.tar.*'))))


def chosen():
    """What LINUX= says, or Debian's package."""
    name = os.environ.get('LINUX')
    if not name:
        return Package()
    path = Path(name).absolute()
    if not path.exists():
        raise Fail(f'LINUX={name}: there is no such file or folder')
    if path.is_file():
        if not tarfile_like(path):
            raise Fail(f'LINUX={name} is a file, and not a tarball that tar can read')
        return Tarball(path)
    if not (path / 'Makefile').is_file() or not (path / 'Kbuild').is_file():
        raise Fail(f'LINUX={name} is not a kernel tree: it has no '
                   f'{"Kbuild" if (path / "Makefile").is_file() else "Makefile"}')
    version((path / 'Makefile').read_text(errors='replace'), f'LINUX={name}')
    return Checkout(path) if (path / '.git').exists() else Folder(path)


def tarfile_like(path):
    try:
        with tarfile.open(path) as tar:
            return tar.next() is not None
    except (tarfile.TarError, OSError, EOFError):
        return False


def exists(ref):
    return git('rev-parse', '-q', '--verify', f'{ref}^{{commit}}', check=False) or None


def stock():
    """The id of the stock commit; imports the source where that is not done."""
    source = chosen()
    have = exists('stock') if (paths.LINUX / '.git').exists() else None
    if have and stamp('source') == f'{source.key}\n{have}':
        return have
    packages.need('compose')
    with step(f'import the kernel source ({source.key.split()[0]}) into {paths.display(paths.LINUX)}'):
        first = not (paths.LINUX / '.git').exists()
        paths.need_room(4500 if first else 2500, 'The kernel source')
        folder = paths.BUILD / 'linux.new'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        source.unpack(folder)
        if not (folder / 'Makefile').is_file():
            raise Fail('What was unpacked is no kernel source: it has no Makefile')
        found = version((folder / 'Makefile').read_text(errors='replace'), f'The source ({source.key.split()[0]})')
        if first:
            git('init', '-q', '-b', 'series', tree=folder)
            for name, value in {'gc.auto': '0', 'core.looseCompression': '1', 'core.autocrlf': 'false',
                                'advice.addIgnoredFile': 'false', 'user.name': 'kseries',
                                'user.email': 'kseries@localhost'}.items():
                git('config', name, value, tree=folder)
            (folder / '.git/info/exclude').write_text('/o-*/\n')
        commit = import_tree(folder, found, first)
        if first:
            git('update-ref', 'refs/heads/stock', commit, tree=folder)
            git('update-ref', 'refs/heads/series', commit, tree=folder)
            git('update-ref', 'refs/kseries/composed', commit, tree=folder)
            shutil.rmtree(paths.LINUX, ignore_errors=True)
            folder.rename(paths.LINUX)
        else:
            git('update-ref', 'refs/heads/stock', commit)
            shutil.rmtree(folder)
        set_stamp('source', f'{source.key}\n{commit}')
    return commit


def import_tree(folder, found, first):
    """One commit of everything in a folder, with an id that depends on nothing else."""
    env = environment(**dated(0))
    if not first:
        env.update(GIT_DIR=str(paths.LINUX / '.git'), GIT_WORK_TREE=str(folder),
                   GIT_INDEX_FILE=str(paths.BUILD / 'import.index'))
        (paths.BUILD / 'import.index').unlink(missing_ok=True)
        shutil.rmtree(folder / '.git', ignore_errors=True)
    logged('git add', ['git', '-C', folder, '-c', 'core.fileMode=true', 'add', '-A', '-f', '.'],
           paths.LOGS / 'source.log', env=env, append=True)
    tree = git('write-tree', tree=folder, env=env)
    commit = git('commit-tree', tree, '-m', f'Linux {found}', tree=folder, env=env)
    (paths.BUILD / 'import.index').unlink(missing_ok=True)
    return commit

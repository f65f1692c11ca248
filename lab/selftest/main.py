# SPDX-License-Identifier: GPL-2.0-only
"""
The tool's own tests. Each makes a repository with a copy of the tool and a
kernel tree of a few files, does one thing to it, and looks at what ./kseries
says and leaves behind. Prints `@pass NAME`, `@fail NAME why`, `@skip NAME why`
for each, and `@end`.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HERE / 'lab'))
PLACE = Path(os.environ.get('KSERIES_SELFTEST') or tempfile.mkdtemp(prefix='kseries-selftest-'))

TREE = {
    'Makefile': 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = {sublevel}\nEXTRAVERSION =\n',
    'Kbuild': '# Kbuild\n',
    'Kconfig': '# Kconfig\n',
    '.gitignore': '*.ignored\n',
    'kept.ignored': 'a file of the source that its .gitignore names\n',
    'drivers/a/Makefile': 'obj-y += a.o\n',
    'drivers/a/a.c': ''.join(f'int line{n};\n' for n in range(1, 41)),
    'virt/b.c': ''.join(f'int other{n};\n' for n in range(1, 21)),
}

FIRST = '''Subject: a: Add a helper

The first patch adds a file and hooks it in.

It has "quotes", a tab\there and trailing dots...
---
Adds: drivers/a/helper.c

diff --git a/drivers/a/Makefile b/drivers/a/Makefile
--- a/drivers/a/Makefile
+++ b/drivers/a/Makefile
@@ -1 +1,2 @@
 obj-y += a.o
+obj-y += helper.o
'''

SECOND = '''Subject: a: Use the helper

One hook.
---

diff --git a/drivers/a/a.c b/drivers/a/a.c
--- a/drivers/a/a.c
+++ b/drivers/a/a.c
@@ -18,6 +18,7 @@ int line17;
 int line18;
 int line19;
 int line20;
+int hook;
 int line21;
 int line22;
 int line23;
'''

ONE, TWO = '0001-a-Add-a-helper.patch', '0002-a-Use-the-helper.patch'
TESTS = []


class Skip(Exception):
    pass


def test(function):
    TESTS.append(function)
    return function


class Repo:
    """A repository of its own, in a folder of its own."""

    def __init__(self, name):
        self.top = PLACE / name
        shutil.rmtree(self.top, ignore_errors=True)
        self.root = self.top / 'repo'
        self.linux = self.top / 'src'
        self.build = self.root / 'build'
        self.tree = self.build / 'linux'
        self.root.mkdir(parents=True)
        shutil.copy2(HERE / 'kseries', self.root)
        shutil.copytree(HERE / 'lab', self.root / 'lab', ignore=shutil.ignore_patterns('__pycache__', 'selftest'))
        self.kernel(self.linux)
        self.write('series/base', '7.3.4\n')
        self.write('series/cover-letter', 'a: a helper\n\nWhat it is for.\n')
        self.write(f'series/{ONE}', FIRST)
        self.write(f'series/{TWO}', SECOND)
        self.write('series/order', f'{ONE}\n{TWO}\n')
        self.write('drivers/a/helper.c', 'int helper;\n')
        self.env = {'LINUX': str(self.linux)}

    @staticmethod
    def kernel(folder, sublevel=4):
        for name, text in TREE.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace('{sublevel}', str(sublevel)))

    def write(self, name, text):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, name):
        return (self.root / name).read_text()

    def edit(self, name, old, new):
        text = self.read(name)
        assert old in text, f'{old!r} is not in {name}'
        self.write(name, text.replace(old, new))

    def environment(self, **extra):
        env = {k: v for k, v in os.environ.items() if k not in ('LINUX', 'KSERIES_BUILD') and not k.startswith('GIT_')}
        env.update(self.env)
        env.update({k: str(v) for k, v in extra.items()})
        return {k: v for k, v in env.items() if v != ''}

    def run(self, *args, **env):
        return subprocess.run([str(self.root / 'kseries'), *args], cwd=self.root, env=self.environment(**env),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def ok(self, *args, **env):
        result = self.run(*args, **env)
        assert result.returncode == 0, f'{args}: exit {result.returncode}: {result.stderr[-400:]}'
        return result

    def refused(self, *expected, verb=('compose',), **env):
        result = self.run(*verb, **env)
        assert result.returncode == 1, f'{verb} was not refused (exit {result.returncode}): {result.stdout}{result.stderr[-400:]}'
        assert 'Traceback' not in result.stderr, result.stderr[-600:]
        for text in expected:
            assert text in result.stderr, f'{text!r} is not in what it said: {result.stderr[-600:]}'
        return result

    def git(self, *args, tree=None):
        result = subprocess.run(['git', '-C', str(tree or self.tree), '-c', 'user.name=t', '-c', 'user.email=t@example.org', *args],
                                capture_output=True, text=True)
        assert result.returncode == 0, f'git {args}: {result.stderr}'
        return result.stdout.strip()

    def commit(self, message, **files):
        for name, text in files.items():
            file = self.tree / name.replace('__', '/').replace('_DOT_', '.')
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git('add', '-A', '-f', '.')
        self.git('commit', '-q', '-m', message)

    def state(self):
        """Everything of the repository that is not below build/."""
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob('*')
                if p.is_file() and not p.is_relative_to(self.build) and '__pycache__' not in p.parts}


def stub_path(repo, *without, **scripts):
    """A PATH with everything but some programs, and with others in their place."""
    folder = repo.top / 'path'
    folder.mkdir(exist_ok=True)
    for place in os.environ['PATH'].split(':'):
        if os.path.isdir(place):
            for name in os.listdir(place):
                target = folder / name
                if name not in without and not target.is_symlink() and not target.exists():
                    target.symlink_to(os.path.join(place, name))
    real = shutil.which('python3')
    (folder / 'python3').unlink(missing_ok=True)
    (folder / 'python3').symlink_to(os.path.realpath(real) if 'shims' not in real else sys.executable)
    for name, text in scripts.items():
        script = folder / name.replace('_', '-').replace('x86-64', 'x86_64')
        script.unlink(missing_ok=True)
        script.write_text('#!/bin/sh\n' + text)
        script.chmod(0o755)
    return str(folder)


# What compose makes.

@test
def compose_makes_one_commit_per_patch(repo):
    result = repo.ok('compose')
    assert result.stdout.splitlines()[-1] == str(repo.tree), result.stdout
    assert repo.git('log', '--format=%s', 'stock..series').splitlines() == ['a: Use the helper', 'a: Add a helper']
    assert repo.git('symbolic-ref', 'HEAD') == 'refs/heads/series'
    assert (repo.tree / 'drivers/a/helper.c').read_text() == 'int helper;\n'
    assert 'int hook;' in (repo.tree / 'drivers/a/a.c').read_text()
    assert (repo.tree / 'kept.ignored').exists()
    body = repo.git('log', '-1', '--format=%B', 'series~1')
    assert body == 'a: Add a helper\n\nThe first patch adds a file and hooks it in.\n\nIt has "quotes", a tab\there and trailing dots...'


@test
def compose_is_deterministic(repo):
    repo.ok('compose')
    first = repo.git('rev-parse', 'stock', 'series')
    shutil.rmtree(repo.build)
    time.sleep(1.1)
    repo.ok('compose')
    assert repo.git('rev-parse', 'stock', 'series') == first
    # The same content from elsewhere, as a checkout and as a tarball.
    repo.git('init', '-q', '.', tree=repo.linux)
    repo.git('add', '-A', '-f', '.', tree=repo.linux)
    repo.git('commit', '-q', '-m', 'x', tree=repo.linux)
    shutil.rmtree(repo.build)
    repo.ok('compose')
    assert repo.git('rev-parse', 'stock', 'series') == first, 'a git checkout gives other ids'
    tarball = repo.top / 'linux.tar.xz'
    subprocess.run(['tar', '-C', repo.top, '-cJf', tarball, '--exclude=.git', '--transform=s/^src/linux-7.3.4/', 'src'], check=True)
    shutil.rmtree(repo.build)
    repo.ok('compose', LINUX=tarball)
    assert repo.git('rev-parse', 'stock', 'series') == first, 'a tarball gives other ids'


@test
def compose_leaves_unchanged_files_alone(repo):
    repo.ok('compose')
    file, other = repo.tree / 'virt/b.c', repo.tree / 'drivers/a/a.c'
    before = file.stat().st_mtime_ns, other.stat().st_mtime_ns
    time.sleep(0.05)
    repo.edit(f'series/{TWO}', '+int hook;', '+int hook2;')
    repo.ok('compose')
    assert 'hook2' in other.read_text()
    assert file.stat().st_mtime_ns == before[0], 'an unchanged file was written'
    assert other.stat().st_mtime_ns != before[1]


@test
def compose_keeps_commits_that_are_not_refreshed(repo):
    repo.ok('compose')
    repo.commit('a: More', drivers__a__more_DOT_c='int more;\n')
    head = repo.git('rev-parse', 'series')
    repo.edit(f'series/{TWO}', '+int hook;', '+int hook2;')
    repo.refused('has commits that kseries did not make', './kseries refresh')
    assert repo.git('rev-parse', 'series') == head


@test
def compose_keeps_uncommitted_edits(repo):
    repo.ok('compose')
    (repo.tree / 'virt/b.c').write_text('int mine;\n')
    repo.edit(f'series/{TWO}', '+int hook;', '+int hook2;')
    repo.refused('not committed', 'virt/b.c')
    assert (repo.tree / 'virt/b.c').read_text() == 'int mine;\n'


@test
def compose_follows_another_LINUX(repo):
    repo.ok('compose')
    other = repo.top / 'other'
    repo.kernel(other, 9)
    repo.ok('compose', LINUX=other)
    assert 'SUBLEVEL = 9' in (repo.tree / 'Makefile').read_text()
    assert repo.git('log', '-1', '--format=%s', 'stock') == 'Linux 7.3.9'
    repo.ok('compose')
    assert 'SUBLEVEL = 4' in (repo.tree / 'Makefile').read_text()


# The rules of the repository.

@test
def rule1_a_file_is_added_once(repo):
    repo.edit(f'series/{TWO}', '---\n\n', '---\nAdds: drivers/a/helper.c\n\n')
    repo.refused('adds drivers/a/helper.c, which', 'rule 1')


@test
def rule1_no_hunk_for_a_new_file(repo):
    repo.edit(f'series/{TWO}', 'a/drivers/a/a.c b/drivers/a/a.c', 'a/drivers/a/helper.c b/drivers/a/helper.c')
    repo.refused('has a hunk for drivers/a/helper.c', 'rule 1')


@test
def rule1_every_file_at_the_root_is_added(repo):
    repo.write('drivers/a/orphan.c', 'int orphan;\n')
    repo.refused('No patch adds drivers/a/orphan.c', 'rule 1')


@test
def rule1_an_added_file_is_there(repo):
    (repo.root / 'drivers/a/helper.c').unlink()
    repo.refused('adds drivers/a/helper.c, which is not at the root')


@test
def rule1_no_file_of_the_kernel_at_the_root(repo):
    repo.edit(f'series/{ONE}', 'Adds: drivers/a/helper.c', 'Adds: drivers/a/helper.c\nAdds: virt/b.c')
    repo.write('virt/b.c', 'int copy;\n')
    repo.refused('virt/b.c, which the kernel already has')


@test
def rule2_a_hunk_that_does_not_apply_is_named(repo):
    repo.edit(f'series/{TWO}', ' int line21;', ' int line21x;')
    repo.refused(TWO, 'hunk 1 of 1 for drivers/a/a.c', 'does not apply', 'int line21x;')
    repo.edit(f'series/{TWO}', ' int line21x;', ' int line21;')
    repo.ok('compose')


@test
def rule2_no_fuzz(repo):
    # patch(1) would take this hunk: only its outermost context line differs.
    repo.edit(f'series/{TWO}', ' int line23;', ' int line23x;')
    repo.refused(TWO, 'does not apply')


@test
def rule2_an_offset_is_told_and_no_error(repo):
    file = repo.linux / 'drivers/a/a.c'
    file.write_text('int before;\nint before2;\n' + file.read_text())
    result = repo.ok('compose')
    assert 'offset of 2 lines' in result.stderr and TWO in result.stderr, result.stderr


@test
def rule4_hunks_stay_small(repo):
    more = ''.join(f'+int more{n};\n' for n in range(250))
    repo.edit(f'series/{TWO}', '+int hook;\n', '+int hook;\n' + more)
    repo.edit(f'series/{TWO}', '@@ -18,6 +18,7 @@', '@@ -18,6 +18,257 @@')
    repo.refused('adds 251 lines to drivers/a/a.c', 'rule 4')
    repo.write('lab/large-hunks', 'drivers/a/a.c 300 a table of the hardware\n')
    repo.ok('compose')


@test
def rule6_no_tags(repo):
    for tag in ('Signed-off-by: A <a@b.c>', 'Reviewed-by: A <a@b.c>', 'Tested-by: A <a@b.c>', 'Cc: A <a@b.c>',
                'Change-Id: I1234', 'Co-developed-by: A <a@b.c>'):
        repo.write(f'series/{TWO}', SECOND.replace('One hook.\n', f'One hook.\n\n{tag}\n'))
        repo.refused(tag.split(':')[0], 'rule 6')
    repo.write(f'series/{TWO}', SECOND.replace('One hook.\n', 'One hook.\n\nFixes: 0123456789ab ("a: b")\n'))
    repo.ok('compose')


@test
def order_and_files_agree(repo):
    repo.write('series/order', f'{ONE}\n')
    repo.refused(f'does not list {TWO}')
    repo.write('series/order', f'{ONE}\n{TWO}\n0003-gone.patch\n')
    repo.refused('names 0003-gone.patch', 'no such file')


@test
def a_malformed_patch_is_named(repo):
    repo.write(f'series/{TWO}', 'From: x\n\ntext\n---\n')
    repo.refused(TWO, 'Subject:')
    repo.write(f'series/{TWO}', SECOND.replace('---\n\n', '---\nAnd now?\n\n'))
    repo.refused(TWO, 'And now?')


# refresh and series.

@test
def refresh_gives_the_same_bytes(repo):
    repo.ok('compose')
    repo.ok('refresh')
    before = repo.state()
    repo.ok('compose')
    repo.ok('refresh')
    assert repo.state() == before
    head = repo.git('rev-parse', 'series')
    repo.ok('compose')
    assert repo.git('rev-parse', 'series') == head


@test
def refresh_takes_edits_back(repo):
    repo.ok('compose')
    repo.commit('virt: A change\n\nWith a body,\n\n  indented.', virt__b_DOT_c='int changed;\n' + TREE['virt/b.c'],
                virt__new_DOT_c='int new;\n')
    tree = repo.git('rev-parse', 'series^{tree}')
    repo.ok('refresh')
    assert repo.read('virt/new.c') == 'int new;\n'
    assert not (repo.root / 'virt/b.c').exists()
    patch = repo.read('series/0003-virt-A-change.patch')
    assert 'Adds: virt/new.c' in patch and '+int changed;' in patch and 'index ' not in patch, patch
    repo.ok('compose')
    assert repo.git('rev-parse', 'series^{tree}') == tree
    assert repo.git('log', '-1', '--format=%B') == 'virt: A change\n\nWith a body,\n\n  indented.'
    # A commit that goes takes its files along.
    repo.git('reset', '-q', '--hard', 'HEAD~1')
    repo.ok('refresh')
    assert not (repo.root / 'virt/new.c').exists() and not (repo.root / 'series/0003-virt-A-change.patch').exists()


@test
def refresh_takes_deletions_and_modes(repo):
    repo.ok('compose')
    repo.git('rm', '-q', 'virt/b.c')
    (repo.tree / 'drivers/a/run.sh').write_text('#!/bin/sh\n')
    (repo.tree / 'drivers/a/run.sh').chmod(0o755)
    repo.commit('virt: Drop b')
    tree = repo.git('rev-parse', 'series^{tree}')
    repo.ok('refresh')
    assert os.access(repo.root / 'drivers/a/run.sh', os.X_OK)
    repo.ok('compose')
    assert repo.git('rev-parse', 'series^{tree}') == tree


@test
def refresh_refuses_a_new_file_changed_later(repo):
    repo.ok('compose')
    before = repo.state()
    repo.commit('a: Grow the helper', drivers__a__helper_DOT_c='int helper, more;\n')
    repo.refused('changes drivers/a/helper.c', 'a: Add a helper', verb=('refresh',))
    assert repo.state() == before


@test
def refresh_refuses_a_fixup_and_tags(repo):
    repo.ok('compose')
    repo.commit('fixup! a: Use the helper', virt__b_DOT_c='int changed;\n')
    repo.refused('not squashed', verb=('refresh',))
    repo.git('commit', '-q', '--amend', '-m', 'virt: A change\n\nSigned-off-by: A <a@b.c>')
    repo.refused('Signed-off-by', 'rule 6', verb=('refresh',))


@test
def series_is_what_git_am_takes(repo):
    result = repo.ok('series')
    out = Path(result.stdout.strip())
    mails = sorted(out.glob('*.patch'))
    assert len(mails) == 3, mails
    cover = mails[0].read_text()
    assert 'a: a helper' in cover and 'What it is for.' in cover and 'base-commit: ' in cover and '***' not in cover, cover
    fresh = repo.top / 'fresh'
    repo.kernel(fresh)
    repo.git('init', '-q', '.', tree=fresh)
    repo.git('add', '-A', '-f', '.', tree=fresh)
    repo.git('commit', '-q', '-m', 'base', tree=fresh)
    repo.git('am', '-q', *map(str, mails[1:]), tree=fresh)
    assert repo.git('rev-parse', 'HEAD^{tree}', tree=fresh) == repo.git('rev-parse', 'series^{tree}')
    assert not any('Signed-off-by' in mail.read_text() for mail in mails)


@test
def series_signs_off_for_the_poster(repo):
    repo.write('home/.gitconfig', '[user]\n\tname = P Oster\n\temail = p@example.org\n')
    shutil.move(repo.root / 'home', repo.top / 'home')
    result = repo.ok('series', '--signoff', HOME=repo.top / 'home')
    mails = sorted(Path(result.stdout.strip()).glob('*.patch'))[1:]
    assert all('Signed-off-by: P Oster <p@example.org>' in mail.read_text() for mail in mails)
    assert 'Signed-off-by' not in repo.read(f'series/{ONE}')


# Bad input.

@test
def linux_of_another_version(repo):
    (repo.linux / 'Makefile').write_text('VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n')
    repo.refused('is Linux 6.12.1', '7.3.y', 'LINUX=')


@test
def linux_that_is_not_a_kernel(repo):
    (repo.linux / 'Makefile').unlink()
    repo.refused('is not a kernel tree', 'Makefile')
    repo.refused('no such file or folder', LINUX='/nowhere/at/all')
    repo.write('text', 'no tarball')
    shutil.move(repo.root / 'text', repo.top / 'text')
    repo.refused('not a tarball', LINUX=repo.top / 'text')


@test
def linux_that_was_built_in(repo):
    (repo.linux / '.config').write_text('CONFIG_X=y\n')
    repo.refused('has been built in', 'make mrproper')
    (repo.linux / '.config').unlink()
    repo.ok('compose')


@test
def no_network(repo):
    path = stub_path(repo, 'apt-get', apt_get='echo "Err:1 http://deb.debian.org Could not resolve" >&2; exit 100\n')
    result = repo.refused('package source cannot be used', 'network', 'LINUX=', 'Could not resolve', LINUX='', PATH=path)
    assert 'log:' in result.stderr
    repo.ok('compose')


@test
def no_qemu(repo):
    path = stub_path(repo, 'apt-get', 'qemu-system-x86_64', apt_get='echo "E: Unable to fetch" >&2; exit 100\n')
    result = repo.refused(verb=('boot', 'x86_64', 'base'), PATH=path)
    assert 'qemu' in result.stderr.lower() or 'package source' in result.stderr, result.stderr
    old = stub_path(repo, 'apt-get', apt_get='exit 0\n', qemu_system_x86_64='echo "QEMU emulator version 7.2.1"\n')
    repo.refused('QEMU 9 or later', '7.2', verb=('boot', 'x86_64', 'base'), PATH=old)


@test
def no_root_and_no_sudo(repo):
    if os.geteuid():
        raise Skip('runs as root only, where it can become somebody else')
    sys.dont_write_bytecode = True
    from tool import packages
    from tool.run import Fail
    keep = packages.root_command, packages.installed
    packages.root_command, packages.installed = (lambda: None), (lambda names: set())
    try:
        packages.install(['gcc', 'flex'])
        raise AssertionError('it installed something without root')
    except Fail as fail:
        assert 'apt-get install --no-install-recommends flex gcc' in str(fail), fail
    finally:
        packages.root_command, packages.installed = keep


@test
def disk_full(repo):
    if os.geteuid():
        raise Skip('mounting a small file system needs root')
    small = repo.top / 'small'
    small.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small], capture_output=True).returncode:
        raise Skip('mounting a tmpfs is not allowed here')
    try:
        repo.refused('MiB', 'KSERIES_BUILD=DIR', KSERIES_BUILD=small)
        # Full in the middle, past the check that comes first.
        (small / 'filler').write_bytes(bytes(1900 << 10))
        from tool import paths
        from tool.run import Fail, logged
        keep, paths.BUILD = paths.BUILD, small
        try:
            logged('write much', ['dd', 'if=/dev/zero', f'of={small}/big', 'bs=64k', 'count=100'], small / 'x.log')
            raise AssertionError('writing to a full disk worked')
        except Fail as fail:
            assert 'KSERIES_BUILD=DIR' in str(fail) and 'is full' in str(fail), fail
        finally:
            paths.BUILD = keep
    finally:
        subprocess.run(['umount', small], check=True)
    repo.ok('compose')


@test
def unknown_names_are_told(repo):
    repo.refused('no architecture', 'x86_64', verb=('build', 'pdp11', 'base'))
    repo.refused('no configuration', 'debug', verb=('build', 'x86_64', 'nonsense'))
    repo.refused('no machine', 'vfio', verb=('boot', 'x86_64', 'base', '--machine', 'nonsense'))
    assert repo.run().returncode == 2
    assert 'demo' in repo.run('--help').stdout


# Interruptions, and two runs at once.

@test
def interrupted_import_goes_on(repo):
    path = stub_path(repo, 'cp', cp='sleep 60\n')
    process = subprocess.Popen([repo.root / 'kseries', 'compose'], cwd=repo.root, env=repo.environment(PATH=path),
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 30
    while not (repo.build / 'linux.new').exists() and time.time() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130, f'exit {process.returncode}: {said}'
    assert 'interrupted in: import the kernel source' in said, said
    repo.ok('compose')


@test
def killed_checkout_goes_on(repo):
    repo.ok('compose')
    repo.edit(f'series/{TWO}', '+int hook;', '+int hook2;')
    head = repo.git('rev-parse', 'series')
    # What a kill in the middle of the checkout leaves: the mark, a half-written file, a lock.
    repo.git('update-ref', 'refs/kseries/checkout', head)
    (repo.tree / 'drivers/a/a.c').write_text('int half')
    (repo.tree / '.git/index.lock').write_text('')
    repo.ok('compose')
    assert 'hook2' in (repo.tree / 'drivers/a/a.c').read_text()
    assert repo.git('status', '--porcelain') == ''


@test
def two_runs_wait_for_each_other(repo):
    processes = [subprocess.Popen([repo.root / 'kseries', 'compose'], cwd=repo.root, env=repo.environment(), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [p.communicate(timeout=60) for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], said
    assert any('waiting for another run' in err for _, err in said), said
    assert len({out for out, _ in said}) == 1


# What judges the others.

@test
def results_are_read_right(repo):
    from tool import ktap
    text = 'TAP version 13\n1..3\n# a\nok 1 f.v.one\nnot ok 2 f.v.two\nok 3 f.three # SKIP no device\n'
    found = {r.name: r.status for r in ktap.binary('s/b', text, 1)}
    assert found == {'s/b/f.v.one': 'pass', 's/b/f.v.two': 'fail', 's/b/f.three': 'skip'}, found

    def fails(text, code, **kw):
        return [r for r in ktap.binary('s/b', text, code, **kw) if r.status == 'fail']
    assert fails('1..3\nok 1 a\n', 0), 'a missing test is not noticed'
    assert fails('1..1\nok 1 a\n', 1), 'a bad exit after good tests is not noticed'
    assert fails('', 1) and fails('', 139) and not fails('', 0)
    assert fails('1..1\nok 1 a\n', 137, seconds=9, limit=9), 'a timeout is not noticed'
    assert ktap.binary('s/b', 'requires /dev/x\n', 4)[0].status == 'skip'
    assert ktap.binary('s/b', '1..0 # SKIP no\n', 4)[0].status == 'skip'
    text = ('1..2\n# a.c:1:one:Expected 1 (1) == f() (1)\nok 1 one\n#  RUN           two ...\n# a.c:2:two:Expected 1 (1) == f() (0)\n'
            '# two: Test terminated by assertion\n#          FAIL  two\nnot ok 2 two\n')
    assert fails(text, 1)[0].why == 'a.c:2:two:Expected 1 (1) == f() (0)\ntwo: Test terminated by assertion'
    text = ('1..1\n\n==== Test Assertion Failure ====\n  a.c:3: false\n  pid=7 tid=7 errno=4 - Interrupted\n'
            '     1\t0x000000000040: ?? at ??:0\n  Unexpected exit reason 8 (SHUTDOWN)\n  another line\nnot ok 1 one\n')
    assert fails(text, 254)[0].why == 'a.c:3: false\nUnexpected exit reason 8 (SHUTDOWN)', fails(text, 254)[0].why
    nested = ('KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: suite\n    1..2\n    ok 1 good\n'
              '    # bad: EXPECTATION FAILED at a.c:3\n    Expected err == 0, but\n        err == -4 (0xfffffffc)\n    not ok 2 bad\n'
              'not ok 1 suite\n')
    assert ktap.kunit(nested)[1].why == 'bad: EXPECTATION FAILED at a.c:3\nExpected err == 0, but', ktap.kunit(nested)[1].why
    found = {r.name: r.status for r in ktap.kunit(nested)}
    assert found == {'kunit/suite/good': 'pass', 'kunit/suite/bad': 'fail'}, found


@test
def splats_are_found(repo):
    from tool import splats
    for line in ('[    1.234567] BUG: KASAN: slab-use-after-free in f+0x1/0x2',
                 '[   12.000001] WARNING: possible circular locking dependency detected',
                 '[   12.000001][  T123] WARNING: CPU: 1 PID: 7 at a.c:1 f+0x1/0x2',
                 '[    2.000000] kmemleak: Kernel memory leak detector disabled',
                 '[    2.000000] BUG: KCSAN: data-race in kvm_dmabuf_lookup / kvm_dmabuf_map',
                 '[    2.000000] INFO: task x:1 blocked for more than 120 seconds.',
                 '[    2.000000] refcount_t: underflow; use-after-free.',
                 '[    2.000000] Kernel panic - not syncing: x',
                 'Oops: 0000 [#1] SMP', '[    3.0] UBSAN: shift-out-of-bounds in a.c:1:2'):
        assert splats.find(line), f'not found: {line}'
    for line in ('[    1.0] pci 0000:00:01.0: BUG-free', '[    1.0] BUG: KCSAN: data-race in tick_sched / tick_nohz', '[    1.0] kseries: begin kvm/WARNING', '[    1.0] Run /init as init process'):
        assert not splats.find(line), f'found: {line}'
    lists = splats.load()
    lists[1].append((re.compile('^WARNING: of'), re.compile('^its cause', re.M)))
    assert not splats.find('[ 1.0] WARNING: of something\n[ 1.0] its cause\n', lists)
    assert splats.find('[ 1.0] WARNING: of something\n[ 1.0] not its cause\n', lists), 'an exception is for its cause alone'
    during = splats.find('[ 1.0] kseries: begin kvm/x\n[ 2.0] BUG: bad\n')
    assert during[0][0] == 'kvm/x', during

    # Who waits is below the functions by which all wait.
    stack = ['Call Trace:', ' ? left+0x1/0x2', *(f' f{n}+0x1/0x2' for n in range(20)), '', 'held:', ' g+0x1/0x2']
    assert splats.essence(stack) == ['Call Trace:', *(f' f{n}+0x1/0x2' for n in range(8)), 'held:', ' g+0x1/0x2']
    assert len(splats.essence(['text'] * 100)) == 60


@test
def only_errors_of_qemu_itself_are_tried_again(repo):
    from tool import boot
    assert 'iotlb_to_section' in boot.emulator_fault(
        'qemu-system-x86_64: warning: nic igb.0 has no peer\n'
        "qemu-system-x86_64: system/physmem.c:2678: iotlb_to_section: Assertion `section_index < n' failed.\n")
    for text in ('', 'qemu-system-x86_64: warning: nic igb.0 has no peer\n', 'qemu-system-x86_64: -device x: no such device\n',
                 "qemu-system-x86_64: hw/i386/intel_iommu.c:1: vtd: Assertion `x' failed.\n"):
        assert not boot.emulator_fault(text), text


@test
def a_lost_command_of_the_iommu_is_tried_again(repo):
    from tool import boot, splats
    stall = ('[ 9.1] kseries: begin vfio/x\n[ 9.2] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n' +
             '[ 9.3]  ? lock_acquire+0x1/0x2\n' * 20 + '[ 9.4]  qi_submit_sync+0x977/0xa7f\n' + '[ 9.5]  last\n' * 40)
    hang = 'the machine hangs in vfio/x (limit 300 s):\n'
    assert boot.iommu_fault(hang, splats.find(stall))
    assert boot.iommu_fault('the machine hangs', splats.find(stall)) and not boot.iommu_fault('the machine hangs', [])
    assert boot.iommu_fault(hang + '    | RIP=ffffffff81686a1a qi_submit_sync\n', [])
    for trouble, console in ((hang, ''), ('the machine died in vfio/x', stall), (hang, stall.replace('qi_submit_sync', 'iopt_map')),
                             (hang, stall.replace(' qi_submit_sync', ' ? qi_submit_sync')),
                             (hang, stall + '[ 9.6] BUG: KASAN: slab-use-after-free in iopt_map\n')):
        assert not boot.iommu_fault(trouble, splats.find(console)), (trouble, console)


@test
def a_hang_names_the_function(repo):
    import types
    from tool import boot
    (repo.root / 'out').mkdir(parents=True)
    (repo.root / 'out/System.map').write_text('ffffffff81000000 T _text\nffffffff81000100 T qi_submit_sync\nffffffff81000200 T after\n')
    kernel = types.SimpleNamespace(out=repo.root / 'out')
    assert boot.symbol_of(kernel, 'RIP=ffffffff810001f0 RFL=00000246 HLT=0') == 'RIP=ffffffff810001f0 RFL=00000246 HLT=0 qi_submit_sync'
    for line in ('RIP=0000000000401000 RFL=00000246', 'ISR\t 236', 'RIP=ffffffff80000000 RFL=00000002'):
        assert boot.symbol_of(kernel, line) == line, line


@test
def leaks_are_found(repo):
    from tool import boot

    def splats_of(listing):
        outcome = boot.Outcome()
        boot.collect(outcome, '[    9.0] kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)\n',
                     f'@@begin kvm/x\nok\n@@end kvm/x 0 1\n@@kmemleak\n{listing}@@scanned\n@@done\n', {'kvm/x': 9})
        assert outcome.outputs['kvm/x'] == ('ok\n', 0, 1)
        return outcome.splats
    found = splats_of('unreferenced object 0xffff888000000000 (size 64):\n  backtrace (crc 0):\n    f+0x1/0x2\n')
    assert found and '1 unreferenced' in found[0][1] and 'f+0x1/0x2' in found[0][2][2], found
    assert not splats_of(''), 'a scan that the last one did not confirm counts as a leak'


@test
def stock_is_compared_by_name(repo):
    from tool.ktap import FAIL, PASS, SKIP, Result
    from tool.test import compare

    class T:
        name = 'kvm/x'

    class J:
        must_pass = False

    def judged(result, stock):
        return {r.name: r.status for r in compare([Result('kvm/x/a', result)] if result else [], [(J, [T])], stock)}
    assert judged(PASS, {'kvm/x/a': PASS}) == {'kvm/x/a': PASS}
    assert judged(FAIL, {'kvm/x/a': PASS}) == {'kvm/x/a': FAIL}
    assert judged(SKIP, {'kvm/x/a': PASS}) == {'kvm/x/a': FAIL}
    assert judged(FAIL, {'kvm/x/a': FAIL}) == {'kvm/x/a': SKIP}
    assert judged(FAIL, {}) == {'kvm/x/a': FAIL}
    assert judged(None, {'kvm/x/a': PASS}) == {'kvm/x/missing': FAIL}, 'a test that is gone is not noticed'
    J.must_pass = True
    assert judged(FAIL, {'kvm/x/a': FAIL}) == {'kvm/x/a': FAIL}


@test
def machines_of_all_architectures_run_together(repo):
    import types
    from tool import boot, test
    from tool.ktap import FAIL, PASS, Result
    from tool.run import Fail

    class Fake:
        def __init__(self, config, machine, name, group, stock, arch):
            if config == 'broken':
                raise Fail('does not build')
            self.name, self.tests = f'{arch}-{name}', [each for _, tests in group for each in tests]
            self.todo = [each for each in self.tests if not each.skip]
            self.results = [Result(f'{arch}/{each.name}', 'skip') for each in self.tests if each.skip]

        def running(self):
            order.append(self.name)

        def judge(self, outcome):
            return [*self.results, Result(self.name, outcome.status)]

    def job(config, *limits):
        return (types.SimpleNamespace(config=config, machine='vfio', boot=''),
                [types.SimpleNamespace(name=f'kvm/{limit}', limit=limit, skip=not limit) for limit in limits])
    order, keep = [], (test.Boot, boot.together, test.SECONDS)
    test.Boot, test.SECONDS = Fake, repo.top / 'seconds'
    boot.together = lambda machines: [types.SimpleNamespace(status=PASS, seconds=number) for number, _ in enumerate(machines)]
    chosen = {'x86_64': [job('debug', 10, 20), job('broken', 5)], 'arm64': [job('debug', 40, 0), job('race', 0)]}
    try:
        found = test.machine_runs(chosen, False)
        # The second time by how long they took.
        test.machine_runs(chosen, False)
    finally:
        test.Boot, boot.together, test.SECONDS = keep
    assert order == ['arm64-debug-vfio', 'x86_64-debug-vfio', 'x86_64-debug-vfio', 'arm64-debug-vfio'], order
    assert {arch: [(r.name, r.status) for r in results] for arch, results in found.items()} == {
        'x86_64': [('boot/broken-vfio', FAIL), ('x86_64-debug-vfio', PASS)],
        'arm64': [('arm64/kvm/0', 'skip'), ('arm64/kvm/0', 'skip'), ('arm64-debug-vfio', PASS)]}, found


@test
def both_architectures_are_tested(repo):
    import types
    from tool import paths, test
    assert test.split([]) == ([], []) and test.split(['kvm', 'iommu/x']) == ([], ['kvm', 'iommu/x'])
    assert test.split(['arm64', 'kvm']) == (['arm64'], ['kvm']) and test.split(['arm64/kvm/x']) == (['arm64'], ['kvm/x'])
    assert test.split(['arm64', 'x86_64']) == (['x86_64', 'arm64'], [])

    # Without a list, an architecture runs what has to pass in any case; only the first has to have one.
    keep, paths.LAB = paths.LAB, repo.top / 'lab'
    job = types.SimpleNamespace
    try:
        for arch, must_pass, held, why in (('x86_64', False, '', ''), ('arm64', True, '', ''), ('arm64', False, '', '--record-stock arm64'),
                                           ('x86_64', True, 'slow', 'slow'), ('arm64', False, 'slow', 'slow')):
            said = test.withheld(job(must_pass=must_pass, held=held), arch)
            assert bool(said) == bool(why) and why in said, (arch, must_pass, held, said)
        (repo.top / 'lab/stock').mkdir(parents=True)
        (repo.top / 'lab/stock/arm64.txt').write_text('pass kvm/x\n')
        assert not test.withheld(job(must_pass=False, held=''), 'arm64')
    finally:
        paths.LAB = keep

    result = repo.run('test', 'held')
    assert 'test on x86_64 and arm64' in result.stderr and 'nothing matches held' in result.stderr, result.stderr
    # What is withheld or skipped needs no kernel, and is told by the names of its tests.
    repo.write('lab/tests/kvm.toml', '[[job]]\nname = "fast"\nskip = "no reason"\ntests = ["kvm/a"]\n'
               '[[job]]\nname = "slow"\nheld = "slow"\nmust_pass = true\ntests = ["kvm/b", "kvm/c"]\nx86_64.skip = "is not there"\n')
    for file in ('cma', 'dma-buf', 'iommufd', 'race', 'tsm', 'vfio'):
        (repo.root / f'lab/tests/{file}.toml').unlink()
    (repo.root / 'lab/stock/arm64.txt').unlink(missing_ok=True)
    result = repo.ok('test', 'kvm')
    assert result.stdout.splitlines() == [
        'SKIP arm64/kvm/a: no reason', 'SKIP arm64/kvm/b: slow', 'SKIP arm64/kvm/c: slow', 'SKIP kvm/a: no reason',
        'SKIP kvm/b: is not there', 'SKIP kvm/c: is not there', '0 passed, 0 failed, 6 skipped'], result.stdout
    assert 'x86_64: 0 passed, 0 failed, 3 skipped' in result.stderr and 'arm64: 0 passed, 0 failed, 3 skipped' in result.stderr


@test
def stock_is_recorded_for_one_architecture(repo):
    from tool import build, paths, test
    from tool.ktap import FAIL, PASS, SKIP, Result
    from tool.run import Fail
    chosen = test.recorded('arm64')
    assert chosen and not [t for _, tests in chosen for t in tests if t.kunit or t.skip]
    assert 'iommu/iommufd' in [t.name for _, tests in chosen for t in tests]

    asked, keep = [], (test.machine_runs, paths.LAB, paths.STOCK)
    said = {'arm64': [Result('kvm/x/a', PASS), Result('kvm/x/b', FAIL), Result('kvm/y', SKIP, 'the tree has no such program'),
                      Result('boot/m/console', FAIL)], 'x86_64': [Result('boot/m', FAIL, 'died')]}
    test.machine_runs = lambda wanted, stock: asked.append((list(wanted), stock)) or {arch: said[arch] for arch in wanted}
    paths.LAB, paths.STOCK = repo.top / 'lab', repo.linux
    try:
        test.record_stock(['arm64'])
        assert asked == [(['arm64'], True)], asked
        text = (repo.top / 'lab/stock/arm64.txt').read_text()
        assert text.splitlines()[1:] == ['# Made by: ./kseries test --record-stock arm64', 'fail kvm/x/b', 'pass kvm/x/a'], text
        (repo.top / 'lab/stock/arm64.txt').unlink()
        for archs, why in (([], 'x86_64: the stock'), (['arm65'], 'no architecture')):
            try:
                test.record_stock(archs)
                raise AssertionError('a run that is no good was recorded')
            except Fail as fail:
                assert why in str(fail), fail
        assert [p.name for p in (repo.top / 'lab/stock').iterdir()] == ['arm64.txt'], 'what is good has to be kept'
    finally:
        test.machine_runs, paths.LAB, paths.STOCK = keep


@test
def package_sources_are_derived(repo):
    from tool import apt
    etc = repo.top / 'apt'
    (etc / 'sources.list.d').mkdir(parents=True)
    (etc / 'sources.list.d/debian.sources').write_text(
        'Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n'
        'Signed-By: /k.gpg\n\nTypes: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\n'
        'Signed-By: /k.gpg\n')
    (etc / 'sources.list.d/other.list').write_text('deb [arch=amd64] http://other.example/apt nodistro main\n')
    assert apt.release(etc)[0] == 'bookworm'
    text = apt.derived('trixie-backports', etc=etc)
    assert text.count('URIs') == 1 and 'URIs: http://mirror.example/debian\n' in text and 'Suites: trixie-backports\n' in text
    assert 'Signed-By: /k.gpg' in text and 'other.example' not in text and 'security' not in text
    own = apt.own(etc)
    assert 'bookworm-backports' in own and 'trixie' not in own and 'bookworm-security' in own and 'other' not in own, own
    (etc / 'sources.list.d/debian.sources').unlink()
    (etc / 'sources.list').write_text('deb [signed-by=/k.gpg check-valid-until=no] http://m.example/debian trixie main contrib # x\n'
                                      'deb http://m.example/security trixie-security main\ndeb-src http://m.example/debian trixie main\n')
    assert apt.release(etc)[0] == 'trixie'
    text = apt.derived('trixie-backports', etc=etc)
    assert 'Check-Valid-Until: no' in text and 'Signed-By: /k.gpg' in text and 'Components: main\n' in text, text


@test
def another_architecture_has_its_own(repo):
    from tool import apt, boot, build, config, jobs, paths, users
    arm = build.arch_of('arm64')
    assert build.make_command(arm, Path('o'))[-1] == 'CROSS_COMPILE=aarch64-linux-gnu-'
    assert not [word for word in build.make_command(build.arch_of('x86_64'), Path('o')) if 'CROSS' in word]

    # Each fragment's own part follows it, and no part is another architecture's.
    for arch, other in (('x86_64', 'arm64'), ('arm64', 'x86_64')):
        for name in config.names():
            found = [p.stem for p in config.fragments(arch, name)]
            assert not [p for p in found if p.startswith(other)], found
            own = f'{arch}-{name}'
            assert own not in found or found.index(own) == found.index(name) + 1, found

    assert users.archs('kvm/x86/foo') == ['x86_64'] and users.archs('kvm/arm64/foo') == ['arm64']
    assert users.archs('kvm/foo') == ['x86_64', 'arm64']
    for arch in build.ARCHS:
        chosen = [t for _, tests in jobs.matching([], arch=arch) for t in tests]
        assert chosen and all(not t.program or arch in users.archs(t.program) for t in chosen)
    assert not [t for _, tests in jobs.matching(['kvm/x86/'], arch='arm64') for t in tests]

    # What is said of an architecture counts there, and no test is silently another's.
    spec = {'name': 'j', 'config': 'race', 'tests': ['kvm/foo', {'run': 'kvm/bar', 'arm64': {'skip': 'no bar'}}, 'kvm/x86/foo'],
            'arm64': {'config': 'debug', 'held': 'slow'}}
    here, there = jobs.Job(spec, 'x', 'x86_64'), jobs.Job(spec, 'x', 'arm64')
    assert (here.config, here.held, there.config, there.held) == ('race', '', 'debug', 'slow')
    assert [(t.here, t.skip) for t in here.tests] == [(True, ''), (True, ''), (True, '')]
    assert [(t.here, t.skip) for t in there.tests] == [(True, ''), (True, 'no bar'), (False, '')]
    assert [t.skip for t in jobs.Job(spec | {'skip': 'no job'}, 'x', 'x86_64').tests] == ['no job'] * 3
    names = [{t.name for _, tests in jobs.matching([], arch=arch) for t in tests if not t.program or len(users.archs(t.program)) > 1}
             for arch in build.ARCHS]
    assert names[0] == names[1], names[0] ^ names[1]

    # A line for the kernel is none for QEMU.
    kernel = build.Kernel(arm, 'base', repo.top, 'commit', False)
    kernel.image = repo.top / 'Image'
    kernel.image.write_text('')
    words = boot.command(kernel, 'pkvm', repo.top, 'jobs')
    assert words[0] == 'qemu-system-aarch64' and '@append' not in words and '-m' in words, words
    line = words[words.index('-append') + 1]
    assert 'kvm-arm.mode=protected' in line and 'ttyAMA0' in line and 'kseries=jobs' in line, line

    # Only what races on purpose has a thread for each processor.
    for arch in build.ARCHS.values():
        for file in (paths.LAB / 'machines' / arch.name).glob('*.args'):
            words = boot.arguments(arch, file.stem)
            assert ('tcg,thread=multi' in words) == (file.stem == 'smp'), file
            assert boot.threads(words) == (2 if file.stem == 'smp' else 1)
            assert not [word for word in words if word.startswith('@')], words

    # Packages of another architecture, in an apt of their own.
    keep, paths.BUILD = paths.BUILD, repo.top
    try:
        private = apt.Private('arm64', 'Types: deb\nURIs: http://m.example/debian\nArchitectures: amd64\n', arch='arm64')
        text = (private.folder / 'apt.conf').read_text()
        assert 'APT::Architecture "arm64"' in text and 'Dir::State::status "/dev/null"' in text, text
        assert 'Architectures' not in (private.folder / 'sources.list.d/kseries.sources').read_text()
        assert 'arm64' not in (apt.Private('own', '').folder / 'apt.conf').read_text()
    finally:
        paths.BUILD = keep


@test
def what_would_not_link_is_told(repo):
    from tool import build, config, folders
    text = ('virt/built-in.a:virt/a.o:00000000 T a\nvirt/built-in.a:virt/a.o:         U kfree\n'
            'virt/built-in.a:virt/a.o:         U other_map\nvirt/built-in.a:virt/a.o:         U b\nvirt/built-in.a:virt/b.o:00000010 t b\n')
    assert folders.unresolved(text, '') == []
    absent = 'static int kfree(int x)\n{\n\tkfree(x);\nout:\n}\n\nint b(void)\n{\n}\n'
    assert folders.unresolved(text, absent) == [], 'what is in no file that is missing, or is elsewhere, is missed'
    absent += 'struct x *other_map(struct y *y,\n\t\t    int z)\n{\n}\n'
    assert folders.unresolved(text, absent) == ['virt/a.o wants other_map']
    for name, found in (('__umoddi3', True), ('__udivti3', True), ('__divmoddi4', True), ('__div64_32', False), ('__ashldi3', False)):
        assert bool(folders.unresolved(f'a.a:a.o:         U {name}\n', '')) == found, name

    for arch in build.OTHERS:
        options = {}
        for path in config.fragments(arch, 'others'):
            options.update(config.parse(path.read_text(), path.name))
        found = [options[option][0] for option in ('KVM', 'VFIO_PCI', 'IOMMUFD', 'UDMABUF', 'WERROR', 'KVM_DMABUF')]
        assert found == ['y', 'y', 'y', 'y', 'y', 'n'], (arch, found)


@test
def a_fragment_line_that_does_not_survive_is_named(repo):
    from tool import config
    from tool.run import Fail
    tree = repo.top / 'kconfig'
    tree.mkdir()
    # A make that drops one option, as olddefconfig does with one whose dependency is off.
    fake = repo.top / 'make'
    fake.write_text('#!/bin/sh\nfor a; do case $a in KCONFIG_CONFIG=*) f=${a#*=} ;; olddefconfig) '
                    'sed -i /CONFIG_IOMMUFD=/d "$f" ;; allnoconfig) : >"$f" ;; esac; done\n')
    fake.chmod(0o755)
    repo.git('init', '-q', '.', tree=tree)
    try:
        config.configure('x86_64', 'base', tree, tree / 'o', [str(fake)], repo.top / 'log')
        raise AssertionError('a lost line was not noticed')
    except Fail as fail:
        assert 'CONFIG_IOMMUFD=y' in str(fail) and 'lab/configs/base.config:' in str(fail), fail
        assert 'CONFIG_KVM=y' not in str(fail), fail
    assert not (tree / 'o/.config').exists()

    # An option of the series that nothing selects yet, in the middle of the series, and at its end.
    fake.write_text(fake.read_text().replace('CONFIG_IOMMUFD', 'CONFIG_KVM_DMABUF'))
    (tree / 'Kconfig').write_text('config KVM_DMABUF\n')
    repo.git('add', 'Kconfig', tree=tree)
    repo.git('commit', '-q', '-m', 'x', tree=tree)
    config.configure('x86_64', 'base', tree, tree / 'o', [str(fake)], repo.top / 'log', True)
    assert (tree / 'o/.config').exists()
    try:
        config.configure('x86_64', 'base', tree, tree / 'o', [str(fake)], repo.top / 'log')
        raise AssertionError('a lost line of the whole series was not noticed')
    except Fail as fail:
        assert 'CONFIG_KVM_DMABUF=y' in str(fail), fail


@test
def bench_judges_counts_and_growth(repo):
    import xml.dom.minidom
    from tool import bench
    results = bench.Results()
    results.read('noise\n@sample a.b.c 30\n@sample a.b.c 10\n@sample a.b.c 20\n@count a.b.leaves 1 1\n@value a.b.v -3\n')
    assert bench.shown(results, 'a.b.c') == (20, 10, 30) and results.values == {'a.b.v': -3} and not results.wrong()
    assert bench.missing(results, 3), 'a bench that measured nothing is not noticed'
    results.read('@count a.b.leaves 2 1\n')
    assert results.wrong() == ['a.b.leaves: 2, should be 1'], results.wrong()

    assert bench.quotient(3, 2) == 1.5 and bench.quotient(3, -2) > 9 and bench.quotient(-3, 2) > 9, 'noise is taken for a result'

    def grown(cost):
        return bench.growth([(n, cost(n)) for n in bench.RANGES])
    assert 0.99 < grown(lambda n: 90000 + 700 * n) < 1.01
    assert grown(lambda n: 90000 + 7 * n * n.bit_length()) < 1.5
    assert grown(lambda n: 90000 + 7 * n ** 1.5) > 1.5, 'what grows faster than its size is taken for linear'
    assert grown(lambda n: 90000) > 9, 'what was not measured is taken for linear'
    panel = bench.benchplot.bars(0, 0, 500, 100, 'a < b', [('one', 'blue')], [('x', [(20, 10, 30)]), ('y', [None])])
    xml.dom.minidom.parseString(bench.benchplot.page(600, 200, 'title', ['note'], [panel]))


@test
def bench_holds_a_revoke_against_the_unmap(repo):
    import xml.dom.minidom
    from tool import bench
    rounds = 2

    def said(**changes):
        """All that a bench says, where what is mapped costs 1000 and each range and page 10 more."""
        results = bench.Results()

        def tell(name, ns):
            text = f'@sample {name} {changes.get(name.replace(".", "_").replace(":", "_").replace("-", "_"), ns)}\n'
            results.read(text * bench.rounds_of(name, rounds))
        for name in bench.missing(results, rounds):
            if name.endswith(' no counts'):
                results.read(f'@count {name.partition(": no")[0]}.all 1 1\n')
                continue
            case, way, what = name.rpartition(':')[2].split('.')
            if case in ('ranges', 'entries'):
                nr, size = (int(part) for part in way.split('x'))
                tell(name, 1000 + 10 * nr * (size >> 12 if case == 'entries' else 1))
            elif what in dict(bench.KERNEL_COUNTS).values():
                results.read(f'@value {name} {changes.get(what.replace("-", "_"), 1) if "stock:" not in name else 1}\n')
            else:
                tell(name, 1000)
        assert not bench.missing(results, rounds), bench.missing(results, rounds)
        return results

    def broken(**changes):
        return [v.what for v in bench.verdicts(said(**changes)) if not v.holds]
    assert broken() == [], broken()
    assert len(broken(count_kernel_whole_ours_revoke=1200)) == 3
    assert len(broken(count_kernel_whole_ours_revoke=1050)) == 2
    assert broken(count_stock_kernel_whole_stock_unmap=990) == ['revoke of 128 GiB / unmap of it by the stock kernel']
    assert broken(kernel_whole_ours_revoke=9000) == [], 'what the host was busy with is judged'
    assert len(broken(count_kernel_whole_ours_again=1201)) == 1
    assert len(broken(revoke_unmaps=2)) == 1 and len(broken(revoke_invalidations=2)) == 1
    assert len(broken(revoke_invalidations=0)) == 1, 'an IOMMU that was told nothing is taken for a good one'

    # Of another architecture some parts are measured, and neither wanted nor shown are the others.
    results, parts = said(), bench.PARTS['arm64']
    results.samples = {name: times for name, times in results.samples.items() if bench.part_of(name.rpartition(':')[2].split('.')[0]) in parts}
    results.values = {}
    assert results.samples and not bench.missing(results, rounds, 'arm64'), bench.missing(results, rounds, 'arm64')
    assert bench.missing(bench.Results(), rounds, 'arm64') and bench.missing(results, rounds)
    text = bench.report(results, [], rounds, 'arm64')
    assert 'IOAS, 128 GiB BAR' in text and 'KVM,' not in text and 'What must hold' not in text, text
    assert [name for name, *_ in bench.job(bench.MACHINE, False, rounds, parts).tests] == ['type1', 'ioas', 'ioas-msix']

    results = said()
    text = bench.report(results, bench.verdicts(results), rounds)
    assert 'DOES NOT HOLD' not in text and 'WRONG' not in text, text
    xml.dom.minidom.parseString(bench.plot(results, bench.about(rounds)))


def main():
    chosen = [t for t in TESTS if not sys.argv[1:] or any(a in t.__name__ for a in sys.argv[1:])]
    failed = 0
    for function in chosen:
        name = function.__name__
        repo = Repo(name)
        try:
            function(repo)
            print(f'@pass {name}', flush=True)
        except Skip as why:
            print(f'@skip {name} {why}', flush=True)
        except Exception as error:
            failed += 1
            print(traceback.format_exc(), flush=True)
            print(f'@fail {name} {" ".join(str(error).split())[:300] or type(error).__name__}', flush=True)
        with contextlib.suppress(OSError):
            shutil.rmtree(repo.top)
    print('@end', flush=True)
    return 1 if failed else 0


sys.exit(main())

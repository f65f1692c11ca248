# SPDX-License-Identifier: GPL-2.0-only
"""series/ and the root's files become branch `series` of build/linux."""

import os
import re
import subprocess

from tool import packages, patches, paths, source
from tool.run import Fail, environment, output, say, step
from tool.source import git

COMPOSED = 'refs/kseries/composed'      # what compose made last
_made = {}                              # by stock commit: a run has one series, as it was at first


def tree():
    """Compose, check out, and return the path of the tree."""
    packages.need('compose')
    series = patches.load()
    stock = source.stock()
    head = commits(stock, series)[-1]
    checkout(head)
    return paths.LINUX


def commits(stock, series):
    """The ids of the composed commits, the stock commit first. Changes no branch."""
    if stock not in _made:
        _made[stock] = make(stock, series)
    return _made[stock]


def make(stock, series):
    index = paths.BUILD / 'compose.index'
    (paths.BUILD / 'compose.index.lock').unlink(missing_ok=True)
    env = environment(GIT_INDEX_FILE=index)
    git('read-tree', stock, env=env)
    ids = [stock]
    for number, patch in enumerate(series, 1):
        apply(patch, env)
        add(patch, stock, env)
        ids.append(git('commit-tree', git('write-tree', env=env), '-p', ids[-1], '-F', '-', env=environment(**source.dated(number)),
                       stdin=patch.message().encode()))
        if git('rev-parse', f'{ids[-1]}^{{tree}}') == git('rev-parse', f'{ids[-2]}^{{tree}}'):
            raise Fail(f'series/{patch.name}: changes nothing')
    index.unlink(missing_ok=True)
    return ids


def apply(patch, env):
    """Rule 2: every hunk applies, with its whole context; a moved one is told."""
    if not patch.diff:
        return
    result = subprocess.run(['git', '-C', str(paths.LINUX), 'apply', '--cached', '--verbose', '--whitespace=nowarn', '-'],
                            env=env, input=patch.diff.encode(), capture_output=True)
    said = result.stderr.decode(errors='replace')
    if result.returncode:
        raise Fail(rejected(patch, said))
    for match in re.finditer(r'^Hunk #(\d+) succeeded at \d+ \(offset (-?\d+) lines?\)', said, re.M):
        before = said[:match.start()]
        name = re.findall(r'^Checking patch (\S+?)\.\.\.', before, re.M)
        say(f'    series/{patch.name}: {name[-1] if name else ""} hunk {match[1]} applies with an offset of {match[2]} lines')


def rejected(patch, said):
    """git names a line; a reader wants the hunk."""
    where = f'series/{patch.name}'
    match = re.search(r'^error: patch failed: (.+):(\d+)$', said, re.M)
    if not match:
        corrupt = re.search(r'^error: (.*)$', said, re.M)
        return f'{where} does not apply: {corrupt[1] if corrupt else said.strip()}'
    path, line = match[1], int(match[2])
    for old, new, hunks in patches.touched(patch.diff):
        if new != path and old != path:
            continue
        for number, (first, _, text) in enumerate(hunks, 1):
            if first == line:
                shown = '\n'.join('    | ' + l for l in text.splitlines()[:14])
                return (f'{where}: hunk {number} of {len(hunks)} for {path} (line {line}) does not apply (rule 2: no fuzz).\n'
                        f'{shown}\nMake the hunk anew on this base: edit the tree, commit, ./kseries refresh.')
    return f'{where}: the hunk at {path}:{line} does not apply (rule 2: no fuzz)'


def add(patch, stock, env):
    """The patch's whole files, from the root of the repository."""
    if not patch.adds:
        return
    there = set(git('ls-tree', '--name-only', '-r', stock, '--', *patch.adds).splitlines())
    if there:
        raise Fail(f'series/{patch.name}: adds {", ".join(sorted(there))}, which the kernel already has (rule 1). '
                   'A change to a file of the kernel is a hunk.')
    files = [paths.ROOT / path for path in patch.adds]
    blobs = output('git', '-C', paths.LINUX, 'hash-object', '-w', '--no-filters', '--stdin-paths', env=env,
                   stdin=''.join(f'{file}\n' for file in files).encode()).split()
    lines = ''.join(f'{"100755" if os.access(file, os.X_OK) else "100644"} {blob}\t{path}\n'
                    for file, blob, path in zip(files, blobs, patch.adds))
    git('update-index', '--add', '--index-info', env=env, stdin=lines.encode())


def checkout(head):
    """Put the branch there without touching what does not change, nor anybody's work."""
    now = source.exists('series')
    last = source.exists(COMPOSED)
    ours = {last, source.exists('stock'), head}
    if now and now not in ours and git('rev-parse', f'{now}^{{tree}}') != git('rev-parse', f'{head}^{{tree}}'):
        raise Fail(f'Branch series of {paths.display(paths.LINUX)} has commits that kseries did not make.\n'
                   'Take them into series/ with ./kseries refresh, or drop them with:\n'
                   f'    git -C {paths.display(paths.LINUX)} branch -f keep series && '
                   f'git -C {paths.display(paths.LINUX)} reset --hard {head[:12]}')
    (paths.LINUX / '.git' / 'index.lock').unlink(missing_ok=True)
    branch = git('symbolic-ref', '-q', 'HEAD', check=False)
    if branch == 'refs/heads/series' and now == head and not half_done():
        git('update-ref', COMPOSED, head)
        return
    if not half_done():
        dirty = git('status', '--porcelain', '--untracked-files=no')
        if dirty:
            raise Fail(f'{paths.display(paths.LINUX)} has changes that are not committed:\n    ' +
                       '\n    '.join(dirty.splitlines()[:8]) +
                       '\nCommit them and run ./kseries refresh, or drop them with git checkout.')
    with step('check out the composed branch'):
        # From here until the mark is gone the work tree may be half way between two commits of ours.
        git('update-ref', 'refs/kseries/checkout', head)
        git('checkout', '-q', '-f', '-B', 'series', head)
        git('update-ref', COMPOSED, head)
        git('update-ref', '-d', 'refs/kseries/checkout')


def half_done():
    return bool(source.exists('refs/kseries/checkout'))

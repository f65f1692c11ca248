# SPDX-License-Identifier: GPL-2.0-only
"""The commits of a branch become the root's files and series/ again."""

import os
import re

from tool import packages, patches, paths, source
from tool.compose import COMPOSED
from tool.run import Fail, say, step, write
from tool.source import git


def refresh(branch=None):
    packages.need('compose')
    branch = branch or 'series'
    if not (paths.LINUX / '.git').exists():
        raise Fail(f'{paths.display(paths.LINUX)} is not there: run ./kseries compose first')
    head = source.exists(branch)
    if not head:
        raise Fail(f'{paths.display(paths.LINUX)} has no branch {branch}')
    if branch == 'series' and git('status', '--porcelain', '--untracked-files=no'):
        raise Fail(f'{paths.display(paths.LINUX)} has changes that are not committed: commit them first')
    with step(f'take branch {branch} back into series/'):
        taken, files = export(head)
        store(taken, files)
        if branch == 'series':
            git('update-ref', COMPOSED, head)
    say(f'    {len(taken)} patches, {len(files)} files at the root')


def chain(head):
    """The commits of a branch above the stock tree, oldest first."""
    stock = git('rev-parse', 'stock^{tree}')
    ids = []
    for line in git('log', '--first-parent', '--format=%H %T %P', head).splitlines():
        commit, tree, *parents = line.split()
        if tree == stock:
            return ids[::-1]
        if len(parents) > 1:
            raise Fail(f'{commit[:12]} is a merge; the series is a straight line of commits')
        ids.append(commit)
    raise Fail('The branch does not start at the stock tree (LINUX= another one now?): rebase it onto branch stock')


def export(head):
    """Patches and new files of a branch: ([Patch], {path: (mode, content)})."""
    taken, files, owner = [], {}, {}
    for number, commit in enumerate(chain(head), 1):
        name = None
        text = git('log', '-1', '--format=%B', commit, raw=True).decode()
        subject, _, body = text.rstrip('\n').partition('\n')
        body = body.lstrip('\n')
        if not subject.strip():
            raise Fail(f'{commit[:12]} has no message')
        if subject.startswith(('fixup! ', 'squash! ', 'amend! ')):
            raise Fail(f'{commit[:12]} "{subject}" is not squashed yet: git rebase -i --autosquash')
        body = body + '\n' if body else ''
        name = f'{number:04}-{slug(subject)}.patch'
        patches.check_message(f'{commit[:12]} "{subject}"', subject, body)
        adds, changed = [], []
        raw = git('diff-tree', '-r', '--no-renames', '-z', f'{commit}^', commit)
        fields = raw.split('\0')
        for meta, path in zip(fields[0::2], fields[1::2]):
            _, mode, _, blob, status = meta.split()
            if path in owner:
                raise Fail(f'{commit[:12]} "{subject}" changes {path}, a new file that "{owner[path]}" adds (rule 1).\n'
                           'A new file is added whole by one patch: move the change into that commit, or make it two files.')
            if status == 'A':
                if mode == '120000':
                    raise Fail(f'{commit[:12]}: {path} is a symbolic link')
                adds.append(path)
                owner[path] = subject
                files[path] = (mode, git('cat-file', 'blob', blob, raw=True))
            else:
                changed.append(path)
        diff = ''
        if changed:
            diff = git('-c', 'core.quotePath=false', 'diff', '--no-renames', '--no-ext-diff', '--no-textconv', '--no-color', '-U3',
                       '--diff-algorithm=myers', '--no-indent-heuristic', '--src-prefix=a/', '--dst-prefix=b/', f'{commit}^', commit, '--',
                       *(f':(literal){path}' for path in changed), raw=True).decode()
            # Blob ids say nothing here and differ on another 7.3.y.
            diff = re.sub(r'^index [0-9a-f]+\.\.[0-9a-f]+(?: \d+)?\n', '', diff, flags=re.M)
            if re.search(r'^Binary files ', diff, re.M):
                raise Fail(f'{commit[:12]} "{subject}" changes a binary file')
        taken.append(patches.Patch(name, subject, body, sorted(adds), diff))
    return taken, files


def slug(subject):
    """As git format-patch names its files."""
    return re.sub(r'\.+', '.', re.sub(r'[^A-Za-z0-9._]+', '-', subject)).strip('-.')[:52].rstrip('-.')


def store(taken, files):
    before = set()
    for name in (patches.order() if (paths.SERIES / 'order').exists() else []):
        try:
            before |= set(patches.parse(name, (paths.SERIES / name).read_text()).adds)
        except (Fail, FileNotFoundError):
            continue
    for path, (mode, content) in files.items():
        file = paths.ROOT / path
        write(file, content)
        wanted = 0o755 if mode == '100755' else 0o644
        if bool(file.stat().st_mode & 0o111) != bool(wanted & 0o111):
            os.chmod(file, wanted)
    for patch in taken:
        write(paths.SERIES / patch.name, patch.render())
    write(paths.SERIES / 'order', ''.join(f'{patch.name}\n' for patch in taken))
    for old in paths.SERIES.glob('*.patch'):
        if old.name not in {patch.name for patch in taken}:
            old.unlink()
    for path in before - files.keys():
        file = paths.ROOT / path
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == paths.ROOT or any(folder.iterdir()):
                break
            folder.rmdir()

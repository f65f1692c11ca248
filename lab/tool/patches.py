# SPDX-License-Identifier: GPL-2.0-only
"""
The files of series/, and the rules that need nothing but them.

A patch is a mail without its head:

    Subject: dma-buf: one line

    The message.
    ---
    Adds: drivers/dma-buf/a-new-file.c

    diff --git a/drivers/dma-buf/Makefile b/drivers/dma-buf/Makefile
    ...

The files of its `Adds:` lines lie whole at the root of the repository.
"""

import re
import subprocess
from pathlib import PurePosixPath

from tool import paths
from tool.run import Fail, environment

# What at the root is the project's, and not part of the kernel tree.
OWN = {'README.md', 'kseries', 'series', 'lab', '.ci', '.gitignore', '.gitattributes', '.git', '.github',
       'COPYING', 'LICENSES', 'CONTRIBUTING.md'}

# Trailers that certify or credit are whoever posts the series' to give.
TAG = re.compile(r'^\s*((?:[A-Z][a-z]+-)+by|Signed-off-by|Cc|Change-Id|Message-ID|Generated-with):', re.I)

# Rule 4: the lines one patch may add to one existing file. What is more is a file of its own.
HUNKS_MAX = 200


class Patch:
    def __init__(self, name, subject, body, adds, diff):
        self.name, self.subject, self.body, self.adds, self.diff = name, subject, body, adds, diff

    def message(self):
        return f'{self.subject}\n\n{self.body}' if self.body else f'{self.subject}\n'

    def render(self):
        adds = ''.join(f'Adds: {path}\n' for path in self.adds)
        return f'Subject: {self.subject}\n\n{self.body}---\n{adds}' + (f'\n{self.diff}' if self.diff else '')


def parse(name, text):
    where = f'series/{name}'
    head, blank, rest = text.partition('\n\n')
    match = re.fullmatch(r'Subject: (\S.*)', head)
    if not match or not blank:
        raise Fail(f'{where}: its first line must be "Subject: ..." and an empty line must follow')
    subject = match[1].strip()
    if rest.startswith('---\n'):
        body, rest = '', rest[4:]
    else:
        body, separator, rest = rest.partition('\n---\n')
        if not separator:
            raise Fail(f'{where}: no line "---" between message and changes')
        body += '\n'
    check_message(where, subject, body)
    notes, diff = rest, ''
    at = re.search(r'^diff --git ', rest, re.M)
    if at:
        notes, diff = rest[:at.start()], rest[at.start():]
    adds = []
    for line in notes.splitlines():
        if line.startswith('Adds: '):
            adds.append(line[6:].strip())
        elif line.strip():
            raise Fail(f'{where}: {line!r} under "---" is neither "Adds: path" nor a diff')
    if not adds and not diff:
        raise Fail(f'{where}: changes nothing')
    return Patch(name, subject, body, adds, diff)


def check_message(where, subject, body):
    """Rule 6, and what `git am` would not take."""
    for line in body.splitlines():
        match = TAG.match(line)
        if match:
            raise Fail(f'{where}: the message carries "{match[1]}:" (rule 6). Whoever posts the series certifies it: '
                       './kseries series --signoff adds the poster\'s own.')
        if line == '---' or line.startswith('diff --git '):
            raise Fail(f'{where}: the message has a line {line!r}, at which git am would cut it off')
    if TAG.match(subject):
        raise Fail(f'{where}: the subject is a tag')


def touched(diff):
    """(old path, new path, hunks) of each file of a diff; a hunk is (first line, lines added, text)."""
    files = []
    for line in diff.splitlines(keepends=True):
        match = re.match(r'diff --git a/(\S+) b/(\S+)\n', line)
        if match:
            files.append((match[1], match[2], []))
            continue
        match = re.match(r'@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@', line)
        if match:
            files[-1][2].append([int(match[1]), 0, line])
        elif files and files[-1][2]:
            hunk = files[-1][2][-1]
            hunk[1] += line.startswith('+')
            hunk[2] += line
    return files


def order():
    try:
        text = (paths.SERIES / 'order').read_text()
    except FileNotFoundError:
        raise Fail('series/order is missing: it lists the patches, one file name in each line') from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith('#')]


def load():
    """The patches in order, after the rules that need no kernel tree."""
    names = order()
    for name in names:
        if names.count(name) > 1:
            raise Fail(f'series/order names {name} twice')
        if not re.fullmatch(r'\d{4}-[\w.+-]+\.patch', name):
            raise Fail(f'series/order: {name!r} is not of the form NNNN-subject.patch')
    lost = {p.name for p in paths.SERIES.glob('*.patch')} - set(names)
    if lost:
        raise Fail(f'series/order does not list {", ".join(sorted(lost))}')
    patches = []
    for name in names:
        try:
            patches.append(parse(name, (paths.SERIES / name).read_text()))
        except FileNotFoundError:
            raise Fail(f'series/order names {name}, and there is no such file in series/') from None
    check_files(patches)
    return patches


def root_files():
    """Every in-tree file at the root of the repository."""
    if (paths.ROOT / '.git').exists():
        text = subprocess.run(['git', '-C', str(paths.ROOT), 'ls-files', '-z', '-c', '-o', '--exclude-standard'],
                              env=environment(), capture_output=True, text=True).stdout
        names = {name for name in text.split('\0') if name}
    else:
        names = {str(path.relative_to(paths.ROOT)) for path in paths.ROOT.rglob('*') if path.is_file()}
    build = f'{paths.BUILD.relative_to(paths.ROOT)}/' if paths.BUILD.is_relative_to(paths.ROOT) else 'build/'
    return {name for name in names
            if PurePosixPath(name).parts[0] not in OWN and not name.startswith((build, 'build/')) and
            '__pycache__' not in name and (paths.ROOT / name).is_file()}


def check_files(patches):
    """Rules 1 and 4, as far as they can be told without the kernel tree."""
    added = {}
    for patch in patches:
        where = f'series/{patch.name}'
        for path in patch.adds:
            if path in added:
                raise Fail(f'{where}: adds {path}, which {added[path]} adds already (rule 1)')
            pure = PurePosixPath(path)
            if pure.is_absolute() or '..' in pure.parts or pure.parts[0] in OWN:
                raise Fail(f'{where}: Adds: {path} is not a path of the kernel tree')
            if not (paths.ROOT / path).is_file():
                raise Fail(f'{where}: adds {path}, which is not at the root of the repository (rule 1)')
            added[path] = patch.name
    for patch in patches:
        where = f'series/{patch.name}'
        seen = set()
        for old, new, hunks in touched(patch.diff):
            for path in {old, new} & added.keys():
                raise Fail(f'{where}: has a hunk for {path}, a file of the series that {added[path]} adds whole '
                           '(rule 1). A file that has to grow later is two files.')
            if new in seen:
                raise Fail(f'{where}: has two diffs of {new}')
            seen.add(new)
            lines = sum(hunk[1] for hunk in hunks)
            if lines > allowed(new):
                raise Fail(f'{where}: adds {lines} lines to {new} (rule 4: at most {allowed(new)}). What is more than '
                           'a hook goes into a file of its own; an exception stands in lab/large-hunks with its reason.')
    lost = root_files() - added.keys()
    if lost:
        raise Fail('No patch adds ' + ', '.join(sorted(lost)[:5]) + (', ...' if len(lost) > 5 else '') +
                   ' (rule 1: every in-tree file at the root is added by exactly one patch)')


def allowed(path):
    """HUNKS_MAX, or what lab/large-hunks gives a file, one `path lines reason` in each line."""
    try:
        text = (paths.LAB / 'large-hunks').read_text()
    except FileNotFoundError:
        return HUNKS_MAX
    for line in text.splitlines():
        fields = line.split(None, 2)
        if line.startswith('#') or not fields:
            continue
        if len(fields) < 3 or not fields[1].isdigit():
            raise Fail(f'lab/large-hunks: {line!r} is not "path lines reason"')
        if fields[0] == path:
            return int(fields[1])
    return HUNKS_MAX

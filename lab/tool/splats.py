# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's console must not show: lab/splats."""

import re

from tool import paths
from tool.run import Fail

STAMP = re.compile(r'^(?:\[\s*\d+\.\d+\])?(?:\[\s*[TC]\d+\])?\s?')
CONTEXT = 150                       # lines: a report of lockdep with the stack of each lock
FRAME = re.compile(r'\s+(\? )?[\w.]+\+0x')


def load(path=None):
    path = path or paths.LAB / 'splats'
    patterns, exceptions = [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith('#'):
            continue
        if line.startswith('- '):
            pattern, separator, reason = line[2:].partition('  #')
            if not separator or not reason.strip():
                raise Fail(f'lab/splats:{number}: an exception needs a reason, after two spaces and "#"')
            pattern, _, context = pattern.partition(' && ')
            exceptions.append((re.compile(pattern), re.compile(context, re.M)))
        else:
            patterns.append(re.compile(line))
    if not patterns:
        raise Fail('lab/splats has no pattern: nothing would ever be found')
    return patterns, exceptions


def find(console, lists=None):
    """[(job that ran, line, what follows)] of a console's text."""
    patterns, exceptions = lists or load()
    found, during = [], 'boot'
    lines = [STAMP.sub('', line.rstrip('\r')) for line in console.splitlines()]
    for number, line in enumerate(lines):
        if line.startswith('kseries: begin '):
            during = line[15:].strip()
        elif line.startswith('kseries: end'):
            during = 'the end'
        follows = lines[number:number + CONTEXT]
        excepted = any(e.search(line) and c.search('\n'.join(follows)) for e, c in exceptions)
        if any(p.search(line) for p in patterns) and not excepted:
            # "cut here" says nothing; the next line does, and is found for itself.
            if 'cut here' in line and number + 1 < len(lines) and any(p.search(lines[number + 1]) for p in patterns):
                continue
            found.append((during, line, follows))
    return found


def essence(lines, most=60):
    """A report without the depths of its stacks."""
    kept, depth = [], 0
    for line in lines:
        frame = FRAME.match(line)
        # One with a question mark may be left from an earlier call.
        if line.strip() and not (frame and frame[1]):
            depth = depth + 1 if frame else 0
            if depth <= 8:
                kept.append(line)
    return kept[:most]

# SPDX-License-Identifier: GPL-2.0-only
"""Results by name, from TAP, KTAP and plain exit codes."""

import re

PASS, FAIL, SKIP = 'pass', 'fail', 'skip'
LINE = re.compile(r'^(\s*)(not ok|ok)\s+(\d+)\s*(?:-\s+)?(.*?)\s*(?:#\s*(SKIP|TODO)?\b\s*(.*))?$', re.I)
PLAN = re.compile(r'^(\s*)1\.\.(\d+)\s*(?:#\s*SKIP\s*(.*))?$')
# What the harness says of an expectation and of a time limit, and KUnit in lines of its own
WHY = re.compile(r'^\s*#?\s*(\S+\.[ch]:\d+:.*|\S+: Test terminated .*|\S+: (?:EXPECTATION|ASSERTION) FAILED.*|Expected .*)$')
# The message of KVM's TEST_ASSERT(), which comes after its expression, the process, and a stack of calls
ASSERTION = '==== Test Assertion Failure ===='
MESSAGE = re.compile(r'^  (?!pid=|\(stack trace|\S+\.[ch]:\d+: )(\S.*)$')
LINES = 10
KSFT_SKIP = 4


class Result:
    def __init__(self, name, status, why='', seconds=None):
        self.name, self.status, self.why, self.seconds = name, status, why, seconds

    def __repr__(self):
        return f'{self.status} {self.name}{" # " + self.why if self.why else ""}'


def unique(name, taken):
    """Two tests of one name get numbers, so that none hides another."""
    number, new = 2, name
    while new in taken:
        new, number = f'{name}#{number}', number + 1
    taken.add(new)
    return new


def binary(name, text, code, seconds=None, limit=None):
    """The results of one selftest program: its own TAP lines, and its exit code."""
    results, taken, planned, seen, said, asserted = [], set(), None, 0, [], False
    for line in text.splitlines():
        said += WHY.findall(line)
        message = MESSAGE.match(line) if asserted else None
        if message:
            said.append(message[1])
        asserted = line == ASSERTION or asserted and not message
        plan = PLAN.match(line)
        if plan and not plan[1] and planned is None:
            planned = int(plan[2])
            if planned == 0:
                return [Result(name, SKIP, plan[3] or 'nothing planned')]
            continue
        match = LINE.match(line)
        if not match or match[1]:
            continue
        seen += 1
        status = SKIP if (match[5] or '').upper() == 'SKIP' else PASS if match[2].lower() == 'ok' else FAIL
        test = match[4].strip() or match[3]
        results.append(Result(unique(f'{name}/{test}'.replace(' ', '_'), taken), status, why(status, match[6], said)))
        said, asserted = [], False
    if code in (124, 137, 143) and limit and seconds is not None and seconds >= limit:
        results.append(Result(name, FAIL, f'not done after {limit} s', seconds))
    elif planned is not None and seen < planned:
        results.append(Result(name, FAIL, f'planned {planned} tests and reported {seen} (exit {code})', seconds))
    elif not results:
        if code == KSFT_SKIP:
            results.append(Result(name, SKIP, reason(text), seconds))
        else:
            results.append(Result(name, PASS if code == 0 else FAIL, '' if code == 0 else f'exit {code}: {reason(text)}',
                                  seconds))
    elif code not in (0, KSFT_SKIP) and not any(r.status == FAIL for r in results):
        results.append(Result(name, FAIL, f'exit {code}, and no test of it failed: {reason(text)}', seconds))
    return results


def why(status, comment, said):
    """The comment of a result, and what was not as expected, for who has no other log."""
    return comment or ('\n'.join(said[:LINES]) if status == FAIL else '')


def reason(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if re.search(r'skip|requir|not (available|supported)', line, re.I):
            return line[:160]
    return lines[-1][:160] if lines else 'it said nothing'


def kunit(text, prefix='kunit'):
    """The leaves of nested KTAP, as prefix/suite/case."""
    results, taken, stack, said = [], set(), {}, []
    for line in text.splitlines():
        sub = re.match(r'^(\s*)# Subtest: (.*)$', line)
        if sub:
            depth = len(sub[1])
            stack = {d: n for d, n in stack.items() if d < depth}
            stack[depth] = sub[2].strip()
            continue
        said += WHY.findall(line)
        match = LINE.match(line)
        if not match:
            continue
        depth, name = len(match[1]), match[4].strip()
        if any(d > depth for d in stack):
            # The line that closes a subtest: its cases have been counted.
            closed = [n for d, n in stack.items() if d > depth]
            stack = {d: n for d, n in stack.items() if d <= depth}
            if name in closed:
                if match[2].lower() == 'not ok' and not any(r.status == FAIL and f'/{name}/' in f'{r.name}/' for r in results):
                    results.append(Result(unique(f'{prefix}/{name}', taken), FAIL, 'the suite failed'))
                continue
        parents = [stack[d] for d in sorted(stack) if d <= depth]
        status = SKIP if (match[5] or '').upper() == 'SKIP' else PASS if match[2].lower() == 'ok' else FAIL
        path = '/'.join([prefix, *parents, name]).replace(' ', '_')
        results.append(Result(unique(path, taken), status, why(status, match[6], said)))
        said = []
    return results

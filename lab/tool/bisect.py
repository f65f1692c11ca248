# SPDX-License-Identifier: GPL-2.0-only
"""`kseries bisect`: each commit builds and, if wanted, boots and passes."""

import contextlib
import re
import shutil

from tool import boot, build, compose, config, jobs, ktap, packages, patches, paths, source, users
from tool.run import Fail, output, say, step, write
from tool.source import git

FOLDER = paths.BUILD / 'bisect'
PASSED = paths.BUILD / 'state' / 'bisect-passed'     # a fingerprint of a commit and of how it was tried, in each line


def bisect(config_name, boots, some=None):
    packages.need('kernel')
    if boots:
        packages.need_qemu()
    loaded = patches.load()
    stock = source.stock()
    ids = compose.commits(stock, loaded)
    if len(ids) == 1:
        raise Fail('series/order lists no patch')
    chosen = numbers(some, len(loaded))
    arch = build.arch_of('x86_64')
    if not (FOLDER / 'Makefile').exists():
        with step(f'check out the stock kernel into {paths.display(FOLDER)}'):
            paths.need_room(2500, 'The bisect tree')
            shutil.rmtree(FOLDER, ignore_errors=True)
            git('worktree', 'prune')
            git('worktree', 'add', '-q', '--force', '--detach', FOLDER, stock)
    bad = []
    for number in chosen:
        commit, patch = ids[number], loaded[number - 1]
        say(f'==> {number} of {len(loaded)}: {patch.subject}')
        line = build.fingerprint(commit, boots, *(p.read_bytes() for p in config.fragments(arch.name, config_name)),
                                 output(f'{arch.cross}gcc', '--version'))
        if line in passed():
            say('    nothing has changed since it passed')
            continue
        git('checkout', '-q', '-f', '--detach', commit, tree=FOLDER)
        kernel = build.Kernel(arch, config_name, FOLDER, commit, False)
        kernel.log = paths.LOGS / f'bisect-{number:04}.log'
        kernel.partial = number < len(loaded)
        try:
            built = touched(kernel, commit, boots) + elsewhere(kernel, commit)
            say(f'    built: {", ".join(built) or "nothing, as it touches documentation alone"}')
            if boots:
                smoke(kernel, number)
            write(PASSED, '\n'.join([*passed(), line]))
        except Fail as fail:
            bad.append(patch.name)
            say(f'    {patch.name}: {fail}')
    print(f'{len(chosen) - len(bad)} of {len(chosen)} commits build{" and boot" if boots else ""}')
    if bad:
        raise Fail('these do not: ' + ', '.join(bad))


def numbers(some, last):
    """The patches that "FIRST-LAST" or "NUMBER" means; all where it is None."""
    if some is None:
        return range(1, last + 1)
    match = re.fullmatch(r'(\d+)(?:-(\d+))?', some)
    first, end = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= end <= last:
        raise Fail(f'{some!r} is no patch and no range of patches; give N or N-M, from 1 to {last}')
    return range(first, end + 1)


def passed():
    with contextlib.suppress(OSError):
        return PASSED.read_text().splitlines()
    return []


def touched(kernel, commit, boots):
    """Build what a commit can break: the kernel, selftests, samples. What that was."""
    files = git('diff-tree', '--no-commit-id', '--name-only', '-r', commit).splitlines()
    built = []
    if boots or any(not f.startswith(('tools/testing/', 'Documentation/', 'samples/')) for f in files):
        build.build(kernel)
        no_warning(kernel.log)
        built.append('kernel')
    place = f'bisect-{kernel.config}'
    programs = [t.program for job in jobs.load(kernel.arch.name) for t in job.tests if t.program]
    for unit in users.SELFTESTS:
        folders = [f'tools/testing/selftests/{unit}/'] + (['tools/testing/selftests/vfio/lib/'] if unit == 'kvm' else [])
        if any(f.startswith(tuple(folders)) for f in files):
            users.tests(kernel, [p for p in programs if users.unit_of(p)[0] == unit], place)
            no_warning(paths.LOGS / f'user-{place}-{unit}.log'.replace('/', '-'), [f.rpartition('/')[2] for f in files])
            built.append(f'selftests/{unit}')
    for name in users.SAMPLES:
        if any(f.startswith(f'samples/{name}/') for f in files):
            users.sample(kernel, name, place)
            built.append(f'samples/{name}')
    return built


def elsewhere(kernel, commit):
    """Build the kernel of arm64, too, where a commit can break that one and not x86's."""
    files = git('diff-tree', '--no-commit-id', '--name-only', '-r', commit).splitlines()
    if not any(f.startswith(('arch/arm64/', 'virt/kvm/')) for f in files):
        return []
    arch = build.arch_of('arm64')
    packages.need(*arch.packages)
    other = build.Kernel(arch, kernel.config, FOLDER, commit, False)
    other.log, other.partial = kernel.log.with_suffix('.arm64.log'), kernel.partial
    build.build(other)
    no_warning(other.log)
    return ['kernel of arm64']


def no_warning(log, files=('',)):
    lines = log.read_text().splitlines() if log.exists() else []
    # kconfig says "override" of what a fragment sets and another had set before.
    warned = [line for line in lines if re.search(r'\bwarning: (?!override: )', line) and any(f in line for f in files)]
    if warned:
        raise Fail(f'it builds with warnings:\n    {warned[0]}\nlog: {paths.display(log)}')


def smoke(kernel, number):
    """The tests marked `smoke`, as far as this commit has them."""
    chosen = jobs.matching([], smoke=True)
    for (_, machine, _), group in jobs.boots(chosen).items():
        todo, have = [], []
        for job, tests in group:
            there = [t for t in tests if not t.skip and t.in_tree(kernel.tree)]
            have += there
            if there:
                todo.append(job.boot_job(there))
        programs = users.tests(kernel, [t.program for t in have if t.program], f'bisect-{kernel.config}')
        outcome = boot.jobs(kernel, machine, f'bisect-{number:04}', todo, programs)
        if outcome.trouble:
            raise Fail(outcome.trouble)
        if outcome.splats:
            raise Fail(f'splat during {outcome.splats[0][0]}: {outcome.splats[0][1]}')
        for test in have:
            text, code, seconds = outcome.outputs[test.name]
            for result in test.results(text, code, seconds):
                if result.status == ktap.FAIL:
                    raise Fail(f'{result.name}: {result.why}')

# SPDX-License-Identifier: GPL-2.0-only
"""`kseries test`: the tool itself, KUnit, machines, the stock list, the static checks."""

import contextlib
import json
import re
import sys
import time

from tool import boot, build, check, compose, folders, jobs, ktap, packages, paths, splats, users
from tool.ktap import FAIL, PASS, SKIP, Result
from tool.run import Fail, clock, environment, jobs as run_jobs, logged, say, step, write

ARCH = 'x86_64'
KUNIT_SUITES = ['drivers/dma-buf', 'drivers/pci/tests', 'drivers/virt/coco/tsm-sim']
BUILDS = ['min']
SECONDS = paths.BUILD / 'state' / 'boot-seconds.json'
WHY = 70                            # lines of a failure at the end, where whoever cuts a log leaves them


def stock_list(arch=ARCH):
    return paths.LAB / 'stock' / f'{arch}.txt'


def report(results):
    for result in results:
        if result.status != PASS:
            print(f'{result.status.upper()} {result.name}{": " + result.why if result.why else ""}', flush=True)


def guarded(name, function, *args):
    """A part that breaks is a failure of that part; the others still run."""
    try:
        return function(*args)
    except Fail as fail:
        return [Result(name, FAIL, str(fail))]


def named(name, arch):
    return name if arch == ARCH else f'{arch}/{name}'


def listing():
    print('tool     the tool\'s own tests (lab/selftest)')
    print(f'kunit    KUnit on user-mode Linux, {", ".join(KUNIT_SUITES)}')
    print('build    ' + ', '.join([*BUILDS, *build.OTHERS]))
    for arch in build.ARCHS:
        for job, tests in jobs.matching([], arch=arch):
            print(f'{named(job.name, arch)}  ({job.config} kernel, machine {job.machine}){", must pass" if job.must_pass else ""}')
            for test in tests:
                why = f'not here: {test.skip}' if test.skip else withheld(job, arch) and f'if asked for: {withheld(job, arch)}'
                print(f'         {test.name}: {why or f"{test.command()} (limit {test.limit} s)"}')
    print('check    ' + ', '.join(check.NAMES))


def wanted(name, filters):
    return not filters or any(f in name or name in f.split('/')[0] for f in filters)


def split(words):
    """(architectures, filters): a word is a filter, an architecture, or both, as in the name of a result. No word, no limit."""
    found = [word.partition('/') if word.split('/')[0] in build.ARCHS else ('', '', word) for word in words]
    return [arch for arch in build.ARCHS if arch in [f[0] for f in found]], [rest for _, _, rest in found if rest]


def withheld(job, arch):
    """Why a job runs only if it is asked for, by a filter and, where that means two, by its architecture."""
    if not job.held and not job.must_pass and arch != ARCH and not stock_list(arch).exists():
        return f'there is no {paths.display(stock_list(arch))} to compare it with; ./kseries test --record-stock {arch} makes it'
    return job.held


def test(filters):
    start = time.monotonic()
    results = []
    words = list(filters)
    asked, filters = split(words)
    archs = asked or list(build.ARCHS)
    say(f'==> test on {" and ".join(archs)}')

    def part(name, function, *args, arch=ARCH):
        found = guarded(name, function, *args)
        found = [Result(named(r.name, arch), r.status, r.why) for r in found]
        report(found)
        results.extend(found)

    chosen = {arch: jobs.matching(filters, arch=arch) for arch in archs}
    parts = [p for p in ('tool', 'kunit', 'check') if wanted(p, filters) and ARCH in archs]
    built = [(f'build/{name}', arch, builds, name, arch, name) for arch in archs for name in BUILDS]
    built += [(f'build/{name}', ARCH, builds, name, name, 'others') for name in build.OTHERS if ARCH in archs]
    built = [each for each in built if not filters or any(f in each[0] for f in filters)]
    for arch in archs:
        if not filters or arch != ARCH and not asked:
            part('held', lambda: [Result(test.name, SKIP, test.skip or withheld(job, arch))
                                  for job, tests in chosen[arch] if withheld(job, arch) for test in tests], arch=arch)
            chosen[arch] = [(job, tests) for job, tests in chosen[arch] if not withheld(job, arch)]
    if not any(chosen.values()) and not parts and not built and not results:
        raise Fail(f'nothing matches {" ".join(words)}; see ./kseries test --list')
    if 'tool' in parts:
        part('tool', tool)
    compose.tree()
    if 'kunit' in parts:
        part('kunit', kunit, compose.tree())
    for name, arch, function, *args in built:
        part(name, function, *args, arch=arch)
    machines = {}
    part('boot', lambda: machines.update(machine_runs(chosen, False)) or [])
    for arch in (arch for arch in archs if chosen[arch]):
        stock = {}
        missing = guarded('stock', lambda: stock.update(stock_results(arch)) or [])
        # The stock kernel does not excuse a job that must pass, which needs no list therefore.
        if all(job.must_pass for job, _ in chosen[arch]):
            missing = []
        part('stock', lambda: compare(machines.get(arch, []), chosen[arch], stock) + missing, arch=arch)
    if 'check' in parts:
        part('check', check.results_or_last)
    return conclude(results, start, archs)


def count(results):
    return {status: sum(r.status == status for r in results) for status in (PASS, FAIL, SKIP)}


def conclude(results, start, archs):
    counts = count(results)
    if not results:
        counts[FAIL] = 1
        say('no test ran')
    failed = [r for r in results if r.status == FAIL]
    if failed:
        print('\nfailed:')
        for result in failed:
            print(f'  {result.name}: ' + '\n    | '.join(result.why.splitlines()[:WHY]))
    for arch in archs:
        some = count([r for r in results if (split([r.name])[0] or [ARCH]) == [arch]])
        say(f'    {arch}: {some[PASS]} passed, {some[FAIL]} failed, {some[SKIP]} skipped')
    say(f'    all of it took {clock(time.monotonic() - start)}')
    print(f'{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIP]} skipped', flush=True)
    return 1 if counts[FAIL] else 0


def tool():
    """lab/selftest, each test of which makes a repository and a small kernel tree of its own."""
    log = paths.LOGS / 'selftest.log'
    with step('the tool\'s own tests'):
        logged('lab/selftest', [sys.executable, '-B', paths.LAB / 'selftest' / 'main.py'], log, ok=range(256), timeout=900,
               env=environment(KSERIES_SELFTEST=paths.BUILD / 'selftest'))
    results = []
    for match in re.finditer(r'^@(pass|fail|skip) (\S+) ?(.*)$', log.read_text(), re.M):
        results.append(Result(f'tool/{match[2]}', match[1], match[3]))
    if not re.search(r'^@end$', log.read_text(), re.M) or not results:
        results.append(Result('tool', FAIL, f'did not come to its end; log: {paths.display(log)}'))
    return results


def kunit(tree):
    packages.need('kernel')
    log = paths.LOGS / 'kunit.log'
    out = tree / 'o-uml'
    with step(f'KUnit on user-mode Linux: {", ".join(KUNIT_SUITES)}'):
        missing = [suite for suite in KUNIT_SUITES if not (tree / suite / '.kunitconfig').exists()]
        if missing:
            raise Fail(f'{", ".join(missing)}: no .kunitconfig in the tree')
        options = [f'--kconfig_add={line}' for line in (paths.LAB / 'configs' / 'uml').read_text().splitlines()
                   if line.startswith('CONFIG_')]
        logged('kunit.py', [sys.executable, '-B', 'tools/testing/kunit/kunit.py', 'run', f'--build_dir={out.name}',
                            *(f'--kunitconfig={suite}' for suite in KUNIT_SUITES), f'--jobs={run_jobs()}',
                            '--make_options=CC=ccache gcc', '--raw_output=all', '--timeout=600', *options],
               log, cwd=tree, env=build.build_environment(tree), ok=range(256), count=r'^  (CC|LD|AR)\b')
    text = log.read_text(errors='replace')
    results = ktap.kunit(text)
    if not results:
        raise Fail(f'KUnit ran no test\nlog: {paths.display(log)}\n' + '\n'.join(text.splitlines()[-15:]))
    if not re.search(r'Elapsed time|Kernel panic|reboot: System halted|Restarting system', text):
        results.append(Result('kunit', FAIL, f'the kernel did not come to its end; log: {paths.display(log)}'))
    return results


def builds(name, arch, config_name):
    folders.compiled((build.ARCHS | build.OTHERS)[arch], config_name)
    return [Result(f'build/{name}', PASS)]


class Boot:
    """One machine: what it runs, and after it ran, the results of that."""

    def __init__(self, config_name, machine, name, group, stock, arch=ARCH):
        self.name = '-'.join([arch] * (arch != ARCH) + [name] + ['stock'] * stock)
        self.machine = machine
        self.results, self.todo, self.tests = [], [], []
        tree, _ = build.tree_of(stock)
        for job, tests in group:
            self.results += [Result(t.name, SKIP, t.skip) for t in tests if t.skip]
            tests = [t for t in tests if not t.skip]
            there = [t for t in tests if t.in_tree(tree)]
            self.results += [Result(t.name, SKIP, 'the tree has no such program') for t in tests if t not in there]
            if there:
                self.tests += there
                self.todo.append(job.boot_job(there))
        if self.todo:
            packages.need_qemu(build.arch_of(arch).qemu)
            self.kernel = build.kernel(arch, config_name, stock)
            self.programs = users.tests(self.kernel, [t.program for t in self.tests if t.program])

    def running(self):
        """One of the machines of boot.together()"""
        return boot.running(self.kernel, self.machine, self.name, self.todo, self.programs), boot.threads(
            boot.arguments(self.kernel.arch, self.machine))

    def judge(self, outcome):
        """The results of its programs, its splats, its leaks."""
        for job in self.todo:
            said, code = outcome.setups.get(job.name, ('', 0))
            if code:
                self.results.append(Result(f'{job.name}/setup', FAIL, f'exit {code}: {" ".join(said.split())[-200:]}'))
        for test in self.tests:
            if test.name not in outcome.outputs:
                self.results.append(Result(test.name, FAIL, 'did not run to its end, because the machine did not'))
                continue
            text, code, seconds = outcome.outputs[test.name]
            self.results += test.results(text, code, seconds)
            write(outcome.folder / 'output' / f'{test.name.replace("/", "-")}.log', text)
        self.results.append(self.console(outcome))
        times = sorted(((s, n) for n, (_, _, s) in outcome.outputs.items()), reverse=True)[:5]
        say(f'    longest of {self.name}: ' + ', '.join(f'{n} {s} s' for s, n in times))
        return self.results

    def console(self, outcome):
        where = paths.display(outcome.folder / 'console.log')
        if outcome.trouble:
            return Result(f'boot/{self.name}', FAIL, f'{outcome.trouble}\nconsole: {where}')
        if not outcome.splats:
            return Result(f'boot/{self.name}/console', PASS)
        for during, _, lines in outcome.splats[1:5]:
            say(f'    splat during {during}:\n' + '\n'.join('    | ' + text for text in splats.essence(lines)))
        during, _, lines = outcome.splats[0]
        return Result(f'boot/{self.name}/console', FAIL,
                      '\n'.join([f'{len(outcome.splats)} splats; console: {where}; the first, during {during}:',
                                 *splats.essence(lines)]))


def machine_runs(chosen, stock):
    """
    {architecture: results} of all boots that the chosen jobs of each need: first what they are made
    of, then the machines of all side by side.
    """
    results, ready = {arch: [] for arch in chosen}, []
    for arch in chosen:
        for (config_name, machine, name), group in jobs.boots(chosen[arch]).items():
            try:
                each = Boot(config_name, machine, name, group, stock, arch)
            except Fail as fail:
                results[arch].append(Result(f'boot/{name}', FAIL, str(fail)))
                continue
            if each.todo:
                ready.append((arch, each))
            else:
                results[arch] += each.results
    # The long ones first, so that no processor waits for the last of them.
    took = seconds_taken()
    ready.sort(key=lambda each: -took.get(each[1].name, sum(test.limit for test in each[1].tests)))
    for (arch, each), outcome in zip(ready, boot.together([each.running() for _, each in ready])):
        results[arch] += each.judge(outcome)
        took[each.name] = max(outcome.seconds, took.get(each.name, 0))
    write(SECONDS, json.dumps(took, indent=1))
    return results


def seconds_taken():
    """{boot: the most seconds}, as a filter makes one short; one whose limits are all that is known comes before these."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(SECONDS.read_text())
    return {}


def stock_results(arch=ARCH):
    """{name: status} of the recorded stock run."""
    try:
        lines = stock_list(arch).read_text().splitlines()
    except FileNotFoundError:
        raise Fail(f'{paths.display(stock_list(arch))} is missing; make it with ./kseries test --record-stock {arch}') from None
    found = {}
    for line in lines:
        status, _, name = line.partition(' ')
        if status in (PASS, FAIL, SKIP):
            found[name] = status
    return found


def program_of(name, programs):
    return max((p for p in programs if name == p or name.startswith(p + '/')), key=len, default=None)


def compare(results, chosen, stock):
    """
    By name: what passes on the stock kernel passes here. What fails there and
    here is told as skipped, unless its job must pass.
    """
    programs = {t.name: job for job, tests in chosen for t in tests}
    have = {r.name for r in results}
    judged = []
    for result in results:
        program = program_of(result.name, programs)
        then = stock.get(result.name)
        if result.status != PASS and then == PASS:
            judged.append(Result(result.name, FAIL, f'passes on the stock kernel; here: {result.status} {result.why}'))
        elif result.status == FAIL and then == FAIL and program and not programs[program].must_pass:
            judged.append(Result(result.name, SKIP, f'fails on the stock kernel too: {result.why}'))
        else:
            judged.append(result)
    missing = {}
    for name, status in stock.items():
        program = program_of(name, programs)
        if status == PASS and name not in have and program:
            missing.setdefault(program, []).append(name)
    for program, names in missing.items():
        judged.append(Result(f'{program}/missing', FAIL, f'{len(names)} of its tests pass on the stock kernel and were not '
                             f'reported here: {", ".join(n[len(program) + 1:] or n for n in names[:3])}{", ..." if names[3:] else ""}'))
    return judged


def record_stock(archs=()):
    """Run the same jobs on the stock kernel and its own programs, for some architectures or all."""
    archs = [build.arch_of(arch).name for arch in archs or build.ARCHS]
    found, bad = machine_runs({arch: recorded(arch) for arch in archs}, True), []
    for arch in archs:
        try:
            record(arch, found[arch])
        except Fail as fail:
            bad.append(str(fail))
    if bad:
        raise Fail('\n'.join(bad))


def recorded(arch):
    """What the stock kernel can be asked: not KUnit, whose suites here are the series' own, nor what runs nowhere by itself."""
    chosen = [(job, [t for t in tests if not t.kunit and not t.skip]) for job, tests in jobs.matching([], arch=arch) if not job.held]
    return [(job, tests) for job, tests in chosen if tests]


def record(arch, results):
    report(results)
    # What the stock kernel complains of does not make its results wrong; a machine that died does.
    broken = [r for r in results if r.name.startswith('boot/') and not r.name.endswith('/console') and r.status == FAIL]
    if broken:
        raise Fail(f'{arch}: the stock kernel\'s run is no good to compare with: ' + '; '.join(f'{r.name}: {r.why}' for r in broken))
    makefile = (paths.STOCK / 'Makefile').read_text()
    kernel_version = '.'.join(re.search(rf'^{field} = (\d+)$', makefile, re.M)[1]
                              for field in ('VERSION', 'PATCHLEVEL', 'SUBLEVEL'))
    lines = sorted(f'{r.status} {r.name}' for r in results
                   if not r.name.startswith('boot/') and r.why != 'the tree has no such program')
    write(stock_list(arch), f'# What the selftests of Linux {kernel_version} report on that kernel, without the series.\n'
          f'# Made by: ./kseries test --record-stock {arch}\n' + ''.join(line + '\n' for line in lines))
    print(f'{len(lines)} results in {paths.display(stock_list(arch))}')

# SPDX-License-Identifier: GPL-2.0-only
"""
What runs in machines: lab/tests/*.toml.

    [[job]]
    name = "iommufd"            a part of it can be given as FILTER
    config = "debug"
    machine = "vfio"
    boot = "kvm"                a name for a boot of its own
    must_pass = true            no excuse in failing on the stock kernel too
    smoke = true                also run by `bisect --boot`
    skip = "why"                does not run, and every test of it is told as skipped
    held = "why"                the same, but it runs if it is asked for by FILTER
    setup = "vfio-bind ..."     a shell script; if it fails, so does every test
    tests = [
      "iommu/iommufd",          a program of selftests; the name of its results
      { run = "kvm/foo -x 3", limit = 300, as = "kvm/foo.long", skip = "why" },
      { kunit = "foo_kunit 'bar*'" },   a module with KUnit tests, and its suites, as kunit/foo_kunit
    ]
    arm64.machine = "big"       in place of what the job, or in its place a test, says, on this architecture

A test is of all architectures, unless a folder of its name (kvm/x86/) says that it is for one.

Jobs of one configuration and machine share a boot, unless `boot` tells them
apart; boots run side by side.
"""

import tomllib

from tool import boot, build, ktap, paths, users
from tool.run import Fail

LIMIT = 120


def on(spec, arch):
    """A job or a test with what it says of an architecture in place of what it says of all."""
    return {key: value for key, value in (spec | spec.get(arch, {})).items() if key not in build.ARCHS}


class Test:
    def __init__(self, spec, arch, skip=''):
        spec = on({'run': spec} if isinstance(spec, str) else spec, arch)
        unknown = spec.keys() - {'run', 'kunit', 'limit', 'as', 'env', 'skip'}
        if unknown or ('run' in spec) == ('kunit' in spec):
            raise Fail(f'lab/tests: {spec} has to have `run` or `kunit`, and no {sorted(unknown)}')
        self.kunit = 'kunit' in spec
        if self.kunit:
            self.program, self.arguments = None, spec['kunit']
        else:
            self.program, _, self.arguments = spec['run'].partition(' ')
            users.unit_of(self.program)
        self.skip = skip or spec.get('skip', '')
        self.here = not self.program or arch in users.archs(self.program)
        self.name = spec.get('as', self.program or f'kunit/{self.arguments.split()[0]}')
        self.limit = spec.get('limit', LIMIT) * boot.SLOWDOWN
        self.env = spec.get('env', '')

    def command(self):
        program = 'kunit-module' if self.kunit else f'/tests/{self.program}'
        return f'{self.env} {program} {self.arguments}'.strip()

    def in_tree(self, tree):
        return self.kunit or users.in_tree(tree, self.program)

    def results(self, text, code, seconds):
        if self.kunit:
            return ktap.kunit(text, self.name) or [ktap.Result(self.name, ktap.FAIL, f'exit {code}: {ktap.reason(text)}')]
        return ktap.binary(self.name, text, code, seconds, self.limit)


class Job:
    def __init__(self, spec, where, arch):
        spec = on(spec, arch)
        unknown = spec.keys() - {'name', 'config', 'machine', 'boot', 'setup', 'tests', 'must_pass', 'smoke', 'skip', 'held'}
        if unknown or not {'name', 'tests'} <= spec.keys():
            raise Fail(f'{where}: a job has a name and tests, and no {sorted(unknown)}')
        self.name, self.setup = spec['name'], spec.get('setup', '')
        self.config, self.machine = spec.get('config', 'debug'), spec.get('machine', 'vfio')
        self.boot, self.must_pass, self.smoke = spec.get('boot', ''), spec.get('must_pass', False), spec.get('smoke', False)
        self.held = spec.get('held', '')
        self.tests = [Test(test, arch, spec.get('skip', '')) for test in spec['tests']]

    def boot_job(self, tests):
        return boot.Job(self.name, self.setup, [(t.name, t.limit, t.command()) for t in tests])


def load(arch):
    found, names = [], {}
    for file in sorted((paths.LAB / 'tests').glob('*.toml')):
        try:
            table = tomllib.loads(file.read_text())
        except tomllib.TOMLDecodeError as error:
            raise Fail(f'lab/tests/{file.name}: {error}') from None
        for spec in table.get('job', []):
            job = Job(spec, f'lab/tests/{file.name}', arch)
            for test in job.tests:
                if test.name in names:
                    raise Fail(f'lab/tests/{file.name}: {test.name} is in {names[test.name]} and in {job.name}; '
                               'give one of them another name with `as`')
                names[test.name] = job.name
            found.append(job)
    return found


def matching(filters, smoke=False, arch='x86_64'):
    """[(job, its tests that are wanted)]"""
    chosen = []
    for job in load(arch):
        if smoke and not job.smoke:
            continue
        tests = [t for t in job.tests if t.here and
                 (not filters or any(f in job.name or f in t.name for f in filters))]
        if tests:
            chosen.append((job, tests))
    return chosen


def boots(chosen):
    """Those that share a boot, by (configuration, machine, its name)."""
    groups = {}
    for job, tests in chosen:
        name = '-'.join(filter(None, (job.config, job.machine, job.boot)))
        groups.setdefault((job.config, job.machine, name), []).append((job, tests))
    return groups

# SPDX-License-Identifier: GPL-2.0-only
"""User space: selftests and the sample, static, from the tree that they belong to."""

import shutil

from tool import build, packages, paths
from tool.run import Fail, clear_stamp, jobs, logged, output, set_stamp, stamp, step

# Name in the machine, and the folder of the tree; the longest name decides.
SELFTESTS = ['kvm', 'iommu', 'vfio', 'dmabuf-heaps', 'drivers/dma-buf', 'drivers/tsm_sim']
SAMPLES = ['tdi-vmm']


def unit_of(test):
    """('kvm', 'x86/foo_test') of kvm/x86/foo_test."""
    for unit in SELFTESTS:
        if test.startswith(unit + '/'):
            return unit, test[len(unit) + 1:]
    raise Fail(f'{test}: no folder of selftests that kseries knows ({", ".join(SELFTESTS)})')


def archs(test):
    """The architectures that a program is for: a folder may say."""
    folder = unit_of(test)[1].partition('/')[0]
    return [arch.name for arch in build.ARCHS.values() if folder == arch.kernel] or list(build.ARCHS)


def in_tree(tree, test):
    unit, program = unit_of(test)
    return (tree / 'tools/testing/selftests' / unit / f'{program}.c').exists()


def tree_id(tree, *folders):
    return output('git', '-C', tree, 'ls-tree', 'HEAD', *folders)


def compiler(arch):
    """As CC of a makefile: the compiler, with the libraries that selftests link."""
    if not arch.cross:
        return 'ccache gcc'
    usr = packages.foreign(arch.name) / 'usr'
    library = next((usr / 'lib').glob('*/libcap.a')).parent
    return f'ccache {arch.cross}gcc -isystem {usr}/include -isystem {usr}/include/{library.name} -L{library}'


def tests(kernel, wanted, place=None):
    """
    Build the programs of a list of tests; {name in the machine: path}. A program
    that the tree does not have is left out, and the caller tells. So is one for another architecture.
    """
    packages.need('user', *kernel.arch.packages)
    place = place or f'{kernel.arch.name}{"-stock" if kernel.stock else ""}'
    headers = build.install_headers(kernel.arch, kernel.tree, kernel.commit, place)
    units = {}
    for test in sorted(set(wanted)):
        if in_tree(kernel.tree, test) and kernel.arch.name in archs(test):
            unit, program = unit_of(test)
            units.setdefault(unit, []).append(program)
    built = {}
    for unit, programs in units.items():
        out = paths.BUILD / 'user' / place / unit
        make(kernel, unit, programs, out, headers)
        for program in programs:
            built[f'/tests/{unit}/{program}'] = out / program
    return built


def make(kernel, unit, programs, out, headers):
    """
    The makefiles of selftests do not know every header they use, so a change in
    the unit's folder or in what it includes makes the whole unit anew.
    """
    mark = f'user-{out.relative_to(paths.BUILD / "user")}'.replace('/', '-')
    sources = tree_id(kernel.tree, 'tools/testing/selftests/' + unit, 'tools/testing/selftests/lib.mk',
                      'tools/testing/selftests/kselftest.h', 'tools/testing/selftests/kselftest_harness.h', 'tools/include',
                      'tools/testing/selftests/vfio/lib')
    include = output('sh', '-c', 'cd "$1" && find . -type f -print0 | sort -z | xargs -0 cat | sha256sum', 'sh', headers)
    key = build.fingerprint(sources, include, output(f'{kernel.arch.cross}gcc', '--version'))
    have = (stamp(mark) or '').split('\n')
    done = set(have[1:]) if have[0] == key else set()
    missing = [p for p in programs if p not in done or not (out / p).exists()]
    if not missing:
        return
    log = paths.LOGS / f'{mark}.log'
    with step(f'build {len(missing)} programs of selftests/{unit}{" (stock)" if kernel.stock else ""}'):
        clear_stamp(mark)
        if not done:
            shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        command = ['make', f'-j{jobs()}', '-C', kernel.tree / 'tools/testing/selftests' / unit, f'OUTPUT={out}',
                   f'ARCH={kernel.arch.kernel}', f'KHDR_INCLUDES=-isystem {headers}', 'USERLDFLAGS=-static',
                   f'CC={compiler(kernel.arch)}', f'CROSS_COMPILE={kernel.arch.cross}', *(str(out / p) for p in missing)]
        logged(f'build selftests/{unit}', command, log, env=build.build_environment(kernel.tree), count=r'gcc ')
        for program in missing:
            if not (out / program).exists():
                raise Fail(f'selftests/{unit}: make made no {program}\nlog: {paths.display(log)}')
            output(f'{kernel.arch.cross}strip', '--strip-debug', out / program)
        set_stamp(mark, '\n'.join([key, *sorted(done | set(missing))]))


def sample(kernel, name, place=None):
    """One of samples/, by its own makefile: the path of the program."""
    packages.need('user', *kernel.arch.packages)
    folder = kernel.tree / 'samples' / name
    if not (folder / 'Makefile').exists():
        raise Fail(f'samples/{name} is not in the composed tree: the series has no patch that adds it')
    place = place or kernel.arch.name
    headers = build.install_headers(kernel.arch, kernel.tree, kernel.commit, place)
    out = paths.BUILD / 'user' / place / 'samples' / name
    mark = f'sample-{place}-{name}'
    include = output('sh', '-c', 'cd "$1" && find . -type f -print0 | sort -z | xargs -0 cat | sha256sum', 'sh', headers)
    key = build.fingerprint(tree_id(kernel.tree, f'samples/{name}'), include, output(f'{kernel.arch.cross}gcc', '--version'))
    if stamp(mark) == key and any(out.iterdir()):
        return out
    clear_stamp(mark)
    with step(f'build samples/{name}'):
        # Its makefile builds beside its sources, so it gets a copy of them.
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder, out)
        logged(f'build samples/{name}', ['make', '-C', out, f'CC={kernel.arch.cross}gcc', f'ARCH={kernel.arch.kernel}',
                                         f'KHDR_INCLUDES=-isystem {headers}'],
               paths.LOGS / f'{mark}.log')
    set_stamp(mark, key)
    return out

# SPDX-License-Identifier: GPL-2.0-only
"""
Kernel configurations: allnoconfig and the fragments of lab/configs/. A fragment
may start from others (`#uses: NAME`); a line of its own replaces theirs. A line
that the tree's Kconfig does not let stand fails the build.
"""

import re

from tool import paths
from tool.run import Fail, logged, output

FOLDER = paths.LAB / 'configs'
LINE = re.compile(r'CONFIG_(\w+)=(.+)|# CONFIG_(\w+) is not set')


def names():
    return sorted(p.stem for p in FOLDER.glob('*.config') if p.stem != 'series' and '-' not in p.stem)


def fragments(arch, name):
    """The fragments of a configuration, in the order in which they count."""
    if name not in names():
        raise Fail(f'There is no configuration {name!r}; lab/configs has: {", ".join(names())}')
    found = []

    def walk(fragment):
        file = FOLDER / f'{fragment}.config'
        for used in re.findall(r'^#uses: (.*)$', file.read_text(), re.M):
            for each in used.split():
                walk(each)
        for path in (file, FOLDER / f'{arch}-{fragment}.config'):
            if path.exists() and path not in found:
                found.append(path)

    walk(name)
    return found


def parse(text, where):
    """{option: (value, where)} of a fragment or a .config; n for `is not set`."""
    options = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        match = LINE.fullmatch(line)
        if match:
            options[match[1] or match[3]] = (match[2] if match[1] else 'n', f'{where}:{number}: {line}')
        elif line and not line.startswith('#'):
            raise Fail(f'{where}:{number}: {line!r} is no line of a kernel configuration')
    return options


def wanted(arch, name, tree):
    options = {}
    for path in fragments(arch, name):
        found = parse(path.read_text(), f'lab/configs/{path.name}')
        if path.stem.startswith('series'):
            found = {option: value for option, value in found.items() if defined(tree, option)}
        options.update(found)
    return options


def defined(tree, option):
    return bool(output('git', '-C', tree, 'grep', '-l', '-E', rf'^[[:space:]]*(menu)?config[[:space:]]+{option}$', 'HEAD', '--',
                       '*Kconfig*', check=False))


def configure(arch, name, tree, out, make, log, partial=False):
    """
    Write out/.config, and leave it alone where nothing changes: kbuild then has
    nothing to do again. With a part of the series, an option of it may not be there to be chosen yet.
    """
    options = wanted(arch, name, tree)
    out.mkdir(parents=True, exist_ok=True)
    new = out / '.config.kseries'
    for leftover in (new, out / '.config.kseries.old'):
        leftover.unlink(missing_ok=True)
    command = [*make, f'KCONFIG_CONFIG={new}']
    logged('allnoconfig', [*command, 'allnoconfig'], log, cwd=tree)
    with open(new, 'a') as stream:
        for option, (value, _) in options.items():
            stream.write(f'CONFIG_{option}={value}\n' if value != 'n' else f'# CONFIG_{option} is not set\n')
    logged('olddefconfig', [*command, 'olddefconfig'], log, cwd=tree, append=True)
    result = parse(new.read_text(), '.config')
    lost = [f'{where}   (it became {result.get(option, ("n",))[0]})' for option, (value, where) in options.items()
            if result.get(option, ('n',))[0] != value and not (partial and where.startswith('lab/configs/series'))]
    if lost:
        raise Fail(f'configuration {name} for {arch}: these lines do not survive in this tree (a dependency is off, or '
                   'the option has another name):\n    ' + '\n    '.join(lost) + f'\nlog: {paths.display(log)}')
    text = new.read_text()
    current = out / '.config'
    if not current.exists() or current.read_text() != text:
        new.replace(current)
    else:
        new.unlink()

# SPDX-License-Identifier: GPL-2.0-only
"""
`kseries test`: with the option off, and on architectures that boot nowhere here, what the series
touches compiles. Folders, and not a kernel, which would take five times as long: what only its link
would tell is asked of their symbols.
"""

import os
import re

from tool import build, compose, config, packages, paths, source
from tool.run import Fail, clear_stamp, logged, output, say, set_stamp, stamp, step
from tool.source import git

FOLDERS = ['drivers/iommu/', 'drivers/pci/', 'drivers/vfio/', 'drivers/virt/']
OPTIONAL = {'DMA_SHARED_BUFFER': 'drivers/dma-buf/'}
DIVISION = re.compile(r'__(u?divmod|u?div|u?mod)[sdt]i[34]')       # of libgcc's, which no kernel links


def compiled(arch, name):
    """Compile for an architecture, of build.OTHERS too, with a configuration, where that is not done."""
    tree = compose.tree()
    packages.need('kernel', *arch.packages)
    mark = f'folders-{arch.name}-{name}'
    key = build.fingerprint(git('rev-parse', 'HEAD'), *FOLDERS, *(p.read_bytes() for p in config.fragments(arch.name, name)),
                            output(f'{arch.cross}gcc', '--version'))
    if stamp(mark) == key:
        return
    clear_stamp(mark)
    what = f'compile for {arch.name}, {name}, what the series touches'
    with step(what):
        paths.need_room(500, 'It')
        out = tree / f'o-{arch.name}-{name}'
        log = paths.LOGS / f'build-{arch.name}-{name}.log'
        command = build.make_command(arch, out)
        config.configure(arch.name, name, tree, out, command, log)
        options = config.parse((out / '.config').read_text(), '.config')
        folders = [*FOLDERS, f'{arch.source}/kvm/', *(folder for option, folder in OPTIONAL.items() if options.get(option, 'n')[0] == 'y')]
        for goals in (['prepare', 'modules_prepare'], folders):
            logged(what, [*command, *goals], log, cwd=tree, env=build.build_environment(tree), append=True,
                   count=r'^  CC\b')
        archives = [f'{folder}built-in.a' for folder in folders]
        objects = {os.path.normpath(line) for archive in archives for line in output('ar', 't', archive, cwd=out).splitlines()}
        symbols = output(f'{arch.cross}nm', '-A', *archives, cwd=out)
        touched = [p for p in git('diff', '--name-only', '--no-renames', '--diff-filter=d', source.stock(), 'HEAD').splitlines()
                   if re.match(r'(arch|drivers|virt)/.*\.c$', p)]
        absent = [p for p in touched if f'{p[:-2]}.o' not in objects]
        wrong = unresolved(symbols, '\n'.join((tree / p).read_text() for p in absent))
        if wrong:
            raise Fail(f'{arch.name}, {name}: it would not link: ' + '; '.join(wrong[:5]))
        say(f'    {len(touched) - len(absent)} of {len(touched)} touched files')
        with open(log, 'a') as stream:
            stream.writelines(f'# not compiled: {path}\n' for path in absent)
    set_stamp(mark, key)


def unresolved(symbols, absent):
    """
    What would not link, by `nm -A` of archives: a division that the compiler leaves to libgcc, and a
    function of a file that is not compiled, by the text of those.
    """
    used, have = {}, set()
    for line in symbols.splitlines():
        match = re.match(r'(\S+):[0-9a-f ]* (\w) (\S+)$', line)
        if match and match[2] == 'U':
            used.setdefault(match[3], match[1])
        elif match:
            have.add(match[3])
    defined = set(re.findall(r'^(?!static\b|typedef\b)[a-z][^:;={}#/()\n]*?\b(\w+)\(', absent, re.M))
    return [f'{file.rpartition(":")[2]} wants {name}' for name, file in sorted(used.items())
            if name not in have and (DIVISION.fullmatch(name) or name in defined)]

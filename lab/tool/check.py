# SPDX-License-Identifier: GPL-2.0-only
"""
`kseries check`: static checks on what the series adds. A new file has to be clean;
in a patched file what counts is on the lines that the series adds. Each check
first proves on a control with a known fault that it finds anything at all.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch

from tool import apt, build, compose, mails, packages, patches, paths, source
from tool.ktap import FAIL, PASS, SKIP, Result
from tool.run import Fail, environment, jobs, logged, output, say, set_stamp, stamp, step, write
from tool.source import git

ARCH, CONFIG = 'x86_64', 'check'
NAMES = ['checkpatch', 'sparse and W=1', 'kernel-doc', 'coccinelle', 'uapi headers']
SPARSE_OLDEST = (0, 6, 5)


class Series:
    """The composed commits, and which lines of which files they add."""

    def __init__(self):
        self.patches = patches.load()
        self.tree = compose.tree()
        self.stock = source.stock()
        self.ids = compose.commits(self.stock, self.patches)
        self.new = {path for patch in self.patches for path in patch.adds}
        status = git('diff', '--name-status', '--no-renames', self.stock, self.ids[-1]).splitlines()
        self.touched = [path for kind, path in (line.split('\t') for line in status) if kind != 'D']
        self.lines = {path: self.added(path) for path in self.touched if path not in self.new}

    def added(self, path):
        numbers, line = set(), 0
        for text in git('diff', '-U0', self.stock, self.ids[-1], '--', path).splitlines():
            match = re.match(r'@@ -\S+ \+(\d+)', text)
            if match:
                line = int(match[1])
            elif text.startswith('+') and not text.startswith('+++'):
                numbers.add(line)
                line += 1
        return numbers

    def ours(self, path, line):
        return path in self.new or line in self.lines.get(path, ())

    def share(self, path):
        """How much of a file is ours, from 0 to 1."""
        return 1 if path in self.new else len(self.lines[path]) / max(1, len((self.tree / path).read_text().splitlines()))

    def existing(self, *suffixes):
        return [p for p in self.touched if p.endswith(suffixes)]


def check():
    outcome = results()
    for result in outcome:
        print(f'{result.status.upper():5} {result.name}{": " + result.why if result.why else ""}')
    failed = sum(r.status == FAIL for r in outcome)
    print(f'{sum(r.status == PASS for r in outcome)} passed, {failed} failed, '
          f'{sum(r.status == SKIP for r in outcome)} skipped')
    return 1 if failed else 0


def results_or_last():
    """For `kseries test`: the last results, if nothing failed and nothing that decides has changed since."""
    packages.need('kernel', 'check')
    place = paths.BUILD / 'state' / 'check-passed'
    what = hashlib.sha256(compose.commits(source.stock(), patches.load())[-1].encode())
    for file in (paths.LAB / 'tool' / 'check.py', paths.LAB / 'checkpatch-ignore', paths.LAB / 'unbuilt',
                 *sorted((paths.LAB / 'configs').iterdir())):
        what.update(file.read_bytes())
    for program in ('gcc', 'spatch'):
        what.update(output(program, '--version').encode())
    with contextlib.suppress(OSError, ValueError):
        last = json.loads(place.read_text())
        if last['of'] == what.hexdigest():
            say('==> check: nothing has changed since it passed')
            return [Result(*result) for result in last['results']]
    found = results()
    if not any(r.status == FAIL for r in found):
        write(place, json.dumps({'of': what.hexdigest(), 'results': [(r.name, r.status, r.why) for r in found]}))
    return found


def results():
    packages.need('kernel', 'check')
    series = Series()
    if not series.patches:
        return [Result('check', SKIP, 'series/order lists no patch')]
    found = []
    for name, function in (('checkpatch', checkpatch), ('sparse', compiled), ('kernel-doc', kernel_doc),
                           ('coccinelle', coccinelle), ('uapi', uapi)):
        try:
            with step(f'check: {name}'):
                found += function(series)
        except Fail as fail:
            found.append(Result(f'check/{name}', FAIL, str(fail)))
    return found


def verdict(name, complaints):
    if not complaints:
        return Result(f'check/{name}', PASS)
    return Result(f'check/{name}', FAIL, f'{len(complaints)}: ' + '\n    '.join([''] + complaints[:12]))


# checkpatch

def exceptions():
    """[(type, pattern of paths)] of lab/checkpatch-ignore."""
    found = []
    for line in (paths.LAB / 'checkpatch-ignore').read_text().splitlines():
        if line and not line.startswith('#'):
            kind, pattern, reason = (line.split(None, 2) + ['', ''])[:3]
            if not reason:
                raise Fail(f'lab/checkpatch-ignore: {line!r} is not TYPE PATHS REASON')
            found.append((kind, pattern))
    return found


def run_checkpatch(tree, *args):
    command = ['perl', str(tree / 'scripts/checkpatch.pl'), '--strict', '--no-signoff', '--terse', '--showfile', '--show-types',
               '--no-summary', '--color=never', f'--root={tree}', *args]
    return subprocess.run(command, cwd=tree, env=environment(), capture_output=True, text=True).stdout


def complaints_of(said, excepted):
    """What checkpatch said, less what is excepted for the file that it speaks of."""
    found = []
    for line in filter(str.strip, said.splitlines()):
        match = re.match(r'(.*?):(?:\d+:)? \w+:(\w+): ', line)
        if not match or not any(kind.partition('/')[0] == match[2] and kind.partition('/')[2] in line and
                                fnmatch(match[1], pattern) for kind, pattern in excepted):
            found.append(line)
    return found


CONTROL_PATCH = '''From: Control <c@example.org>
Date: Thu, 1 Jan 2026 00:00:00 +0000
Subject: [PATCH] control

Text.
---
diff --git a/lib/control.c b/lib/control.c
index 1111111..2222222 100644
--- a/lib/control.c
+++ b/lib/control.c
@@ -1,2 +1,3 @@
 int a;
+int  f(int x){return(x) ;}
 int b;
'''


def checkpatch(series):
    control = paths.BUILD / 'check' / 'control.patch'
    control.parent.mkdir(parents=True, exist_ok=True)
    control.write_text(CONTROL_PATCH)
    if 'ERROR' not in run_checkpatch(series.tree, str(control)):
        raise Fail('checkpatch finds nothing in a patch that is wrong on purpose: it does not run')
    files, _ = mails.write(series.ids, paths.BUILD / 'check' / 'mails')
    excepted = exceptions()
    with ThreadPoolExecutor(jobs()) as pool:
        said = pool.map(lambda mail: run_checkpatch(series.tree, str(mail)), files[1:])
        return [verdict(f'checkpatch/{patch.name}', complaints_of(text, excepted)) for patch, text in zip(series.patches, said)]


# sparse and W=1

def sparse():
    """A sparse that understands this kernel, built from Debian's source where needed."""
    own = paths.BUILD / 'bin' / 'sparse'
    for program in ('sparse', str(own)):
        if understands(program):
            return program
    with step('build sparse (Debian\'s is too old for this kernel)'):
        name, private, errors = apt.release()[0], None, []
        for suite in [*apt.RELEASES[apt.RELEASES.index(name) + 1:], 'testing', 'unstable']:
            candidate = apt.Private(f'sparse-{suite}', apt.derived(suite, 'deb-src'), stale=True)
            try:
                candidate.update()
            except Fail as fail:
                errors.append(str(fail))
                continue
            said = output('apt-cache', 'showsrc', 'sparse', env=candidate.env(), check=False)
            if any(number(v) >= SPARSE_OLDEST for v in re.findall(r'^Version: (\S+)', said, re.M)):
                private = candidate
                break
        if not private:
            raise Fail('\n'.join([*errors[-1:], 'No Debian suite that can be reached has the source of sparse 0.6.5 or later. '
                                  'Install one yourself, in PATH.']))
        folder = paths.BUILD / 'sparse'
        shutil.rmtree(folder, ignore_errors=True)
        private.source('sparse', folder / 'package')
        archive = sorted((folder / 'package').glob('sparse_*.orig.tar.*'))
        if not archive:
            raise Fail('the source package of sparse has no .orig.tar')
        (folder / 'source').mkdir()
        log = paths.LOGS / 'sparse.log'
        logged('unpack sparse', ['tar', '-x', '--strip-components=1', '-C', folder / 'source', '-f', archive[-1]], log)
        logged('build sparse', ['make', f'-j{jobs()}', '-C', folder / 'source', 'sparse', 'HAVE_SQLITE=no', 'HAVE_GTK=no',
                                'HAVE_LLVM=no', 'HAVE_LIBXML=no'], log, append=True)
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / 'source' / 'sparse', own)
    if not understands(str(own)):
        raise Fail(f'the sparse that was built from {archive[-1].name} does not understand this kernel either')
    return str(own)


def number(text):
    match = re.match(r'[v]?(\d+)\.(\d+)(?:\.(\d+))?', text)
    return tuple(int(part or 0) for part in match.groups()) if match else (0,)


def understands(program):
    """What the kernel's scripts/checker-valid.sh asks; a sparse that fails there is skipped by make, silently."""
    probe = paths.BUILD / 'check' / 'probe.c'
    probe.parent.mkdir(parents=True, exist_ok=True)
    probe.write_text('static inline int u(const int *q)\n{\n\t__typeof_unqual__(*q) v = *q;\n\treturn v;\n}\n')
    try:
        result = subprocess.run([program, str(probe)], capture_output=True, text=True, env=environment())
    except OSError:
        return False
    return result.returncode == 0 and 'error' not in result.stdout + result.stderr


def unbuilt():
    files = {}
    for line in (paths.LAB / 'unbuilt').read_text().splitlines():
        if line and not line.startswith('#'):
            path, _, reason = line.partition(' ')
            if not reason.strip():
                raise Fail(f'lab/unbuilt: {path} has no reason')
            files[path] = reason.strip()
    return files


def compiled(series):
    program = sparse()
    control = paths.BUILD / 'check' / 'control.c'
    control.write_text('static int f(int __attribute__((noderef, address_space(1))) *p) { return *p; }\nint g(void) { return f(0); }\n')
    if 'dereference of noderef' not in subprocess.run([program, str(control)], capture_output=True, text=True).stderr:
        raise Fail('sparse finds nothing in a file that is wrong on purpose')
    arch = build.arch_of(ARCH)
    out = series.tree / f'o-{ARCH}-check'
    log = paths.LOGS / 'check-compile.log'
    known = unbuilt()
    sources = [p for p in series.existing('.c') if not p.startswith(('tools/', 'samples/', 'Documentation/')) and p not in known]
    if not sources:
        return [Result('check/sparse', SKIP, 'no kernel .c file is touched')]
    from tool import config
    command = [*build.make_command(arch, out), 'W=1']
    config.configure(ARCH, CONFIG, series.tree, out, build.make_command(arch, out), log)
    env = build.build_environment(series.tree)
    objects = sorted({'arch/x86/kvm/' if p.startswith(('virt/kvm/', 'arch/x86/kvm/')) else f'{p[:-2]}.o' for p in sources})
    logged('compile what is touched', [*command, 'prepare', 'modules_prepare'], log, cwd=series.tree, env=env, append=True,
           count=r'^  CC\b')
    # What is up to date is not checked.
    for path in sources:
        for place in (path, f'arch/x86/kvm/{os.path.basename(path)}' if path.startswith('virt/kvm/') else path):
            (out / place).with_suffix('.o').unlink(missing_ok=True)
    log = paths.LOGS / 'check-sparse.log'
    logged('sparse and W=1', [*command, 'C=1', f'CHECK={program}', 'CC=gcc', *objects], log, cwd=series.tree, env=env,
           count=r'^  CHECK\b')
    text = log.read_text(errors='replace')
    checked = {os.path.normpath(line.split()[1]) for line in text.splitlines() if line.startswith('  CHECK ')}
    checked = {os.path.relpath(p, series.tree) if os.path.isabs(p) else re.sub(r'^(\.\./)+', '', p) for p in checked}
    missing = [p for p in sources if p not in checked]
    warnings = []
    for line in text.splitlines():
        match = re.match(r'(\S+?\.[ch]):(\d+):(?:\d+:)? (warning|error): ?(.*)', line)
        if match:
            path = os.path.normpath(match[1])
            path = os.path.relpath(path, series.tree) if os.path.isabs(path) else re.sub(r'^(\.\./)+', '', path)
            if series.ours(path, int(match[2])):
                warnings.append(f'{path}:{match[2]}: {match[4]}')
    say(f'    {len(checked & set(sources))} of {len(sources)} files went through sparse and W=1')
    return [verdict('sparse-and-W1', sorted(set(warnings))),
            verdict('sparse-ran', [f'{p}: no CHECK line, so nothing was checked; if no x86 configuration builds it, say so in lab/unbuilt'
                                   for p in missing])]


# kernel-doc

def run_kernel_doc(tree, path):
    result = subprocess.run([str(tree / 'tools/docs/kernel-doc'), '-none', '-Wall', str(path)], cwd=tree, env=environment(),
                            capture_output=True, text=True)
    said = (result.stdout + result.stderr).splitlines()
    # Without path and line, so that two versions of a file can be compared.
    return [re.sub(r'^((warning|error): *)?(\S+?:\d+:? *)?((warning|error): *)?', '', line, flags=re.I)
            for line in said if re.search(r'warning|error', line, re.I)]


def kernel_doc(series):
    control = paths.BUILD / 'check' / 'doc.c'
    control.write_text('/**\n * f - text\n * @x: text\n */\nint f(int y)\n{\n\treturn y;\n}\n')
    if not run_kernel_doc(series.tree, control):
        raise Fail('kernel-doc finds nothing in a file that is wrong on purpose')
    complaints = []
    for path in series.existing('.c', '.h'):
        now = run_kernel_doc(series.tree, series.tree / path)
        if path not in series.new:
            before = paths.BUILD / 'check' / 'before' / os.path.basename(path)
            before.parent.mkdir(parents=True, exist_ok=True)
            before.write_bytes(git('show', f'{series.stock}:{path}', raw=True))
            for message in run_kernel_doc(series.tree, before):
                if message in now:
                    now.remove(message)
        complaints += [f'{path}: {message}' for message in now]
    return [verdict('kernel-doc', sorted(set(complaints)))]


# coccinelle

COCCI_LIMIT = 300
COCCI_KERNEL = ('api/', 'misc/minmax.cocci')      # propose helpers that a program of user space does not have
COCCI_SHARE = 0.1         # of a file's lines: in x86.c spatch looks for a long time at what is not ours


def coccinelle(series):
    """Each semantic patch of scripts/coccinelle on the files that are ours in good part, in report mode."""
    if not shutil.which('spatch'):
        raise Fail('spatch is not there, though coccinelle is installed')
    scripts = sorted(p for p in (series.tree / 'scripts/coccinelle').rglob('*.cocci') if 'virtual report' in p.read_text())
    if len(scripts) < 30:
        raise Fail(f'scripts/coccinelle has {len(scripts)} semantic patches with a report mode; many more were expected')
    control = paths.BUILD / 'check' / 'control-cocci.c'
    control.write_text('void f(void *p)\n{\n\tif (p)\n\t\tkfree(p);\n}\n')
    found = spatch(series.tree, series.tree / 'scripts/coccinelle/free/ifnullfree.cocci', [str(control)])
    if 'control-cocci.c:' not in found[1]:
        raise Fail(f'spatch finds nothing in a file that is wrong on purpose: {found[1][-300:]}')
    files = [p for p in series.existing('.c', '.h') if not p.startswith('Documentation/') and series.share(p) >= COCCI_SHARE]
    ocaml = [p for p in scripts if ':ocaml' in p.read_text()]
    scripts = [p for p in scripts if p not in ocaml]
    known = Remembered('coccinelle', output('spatch', '--version'))
    complaints, dead = [], []
    with ThreadPoolExecutor(jobs()) as pool:
        for script, (why, said) in zip(scripts, pool.map(lambda s: semantic_patch(series.tree, s, files, known), scripts)):
            name = script.relative_to(series.tree / 'scripts/coccinelle')
            if why:
                dead.append(f'{name}: {why}')
            complaints += [f'{path}:{line}: {message} ({name})' for path, line, message in said if series.ours(path, line)]
    known.keep()
    say(f'    {len(scripts) - len(dead)} of {len(scripts)} semantic patches ran on {len(files)} files')
    return [verdict('coccinelle', sorted(set(complaints))), verdict('coccinelle-ran', dead),
            *(Result(f'check/coccinelle/{p.name}', SKIP, 'is written in OCaml, and Debian\'s spatch has no compiler for it')
              for p in ocaml)]


class Remembered:
    """What was found in a file by a script, by the content of both, from run to run."""

    def __init__(self, name, version):
        self.name, self.version = name, version
        self.old, self.new = json.loads(stamp(name) or '{}'), {}

    def key(self, *contents):
        return build.fingerprint(self.version, *contents)[:32]

    def get(self, key):
        if key in self.old:
            self.new[key] = self.old[key]
        return self.new.get(key)

    def put(self, key, value):
        self.new[key] = value

    def keep(self):
        set_stamp(self.name, json.dumps(self.new))


def semantic_patch(tree, script, files, known):
    """(why it did not run, or None; [(path, line, message)])"""
    if str(script.relative_to(tree / 'scripts/coccinelle')).startswith(COCCI_KERNEL):
        files = [p for p in files if not p.startswith(('tools/', 'samples/'))]
    keys = {path: known.key(script.read_bytes(), (tree / path).read_bytes()) for path in files}
    found = {path: known.get(key) for path, key in keys.items()}
    missing = [path for path in files if found[path] is None]
    if missing:
        code, text = spatch(tree, script, missing)
        if code:
            return text.strip().splitlines()[-1][:150] if text.strip() else f'exit {code}', []
        for path in missing:
            found[path] = []
        for line in text.splitlines():
            match = re.match(r'(\S+?\.[ch]):(\d+)[-:](.*)', line)
            path = match and os.path.relpath(os.path.join(tree, match[1]), tree)
            if path in found:
                found[path].append((int(match[2]), match[3].strip()))
        for path in missing:
            known.put(keys[path], found[path])
    return None, [(path, line, message) for path in files for line, message in found[path]]


def spatch(tree, script, files):
    options = re.findall(r'^(?:///?|//#?) ?Options: (.*)$', script.read_text(), re.M)
    words = [w for line in options for w in line.split()]
    try:
        result = subprocess.run(['spatch', '-D', 'report', '--very-quiet', '--no-show-diff', *words, '-I', 'include', '--cocci-file',
                                 str(script), *files], cwd=tree, env=environment(), capture_output=True, text=True,
                                timeout=COCCI_LIMIT, errors='replace')
    except subprocess.TimeoutExpired:
        return 1, f'not done after {COCCI_LIMIT} s'
    return result.returncode, result.stdout + (result.stderr if result.returncode else '')


# user headers

def uapi(series):
    """Each installed header the series touches, alone, as C and as C++."""
    include = build.headers(ARCH)
    control = paths.BUILD / 'check' / 'control.h'
    control.write_text('#include <linux/types.h>\nstruct control { __u32 class; };\n')
    if not syntax('g++', 'c++', include, control):
        raise Fail('g++ finds nothing in a header that is wrong on purpose')
    complaints, count = [], 0
    for path in series.touched:
        match = re.match(r'(?:include/uapi|arch/x86/include/uapi)/(.*\.h)$', path)
        if not match:
            continue
        count += 1
        header = include / match[1]
        if not header.exists():
            complaints.append(f'{path}: not among the installed headers')
            continue
        for compiler, language in (('gcc', 'c'), ('g++', 'c++')):
            said = syntax(compiler, language, include, header)
            if said:
                complaints.append(f'{path} as {language}: {said.splitlines()[0]}')
    say(f'    {count} headers')
    return [verdict('uapi-headers', complaints)]


def syntax(compiler, language, include, header):
    flags = {'c': ['-std=c90', '-Wall', '-Werror=implicit-function-declaration'], 'c++': ['-std=c++98', '-Wall']}[language]
    result = subprocess.run([compiler, *flags, '-isystem', '/usr/include', '-I', str(include), '-fsyntax-only', '-x', language,
                             '-include', str(header), '/dev/null'], env=environment(), capture_output=True, text=True)
    return result.stderr if result.returncode or 'warning' in result.stderr else ''

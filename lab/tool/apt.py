# SPDX-License-Identifier: GPL-2.0-only
"""
Private apt configurations under build/apt/. Each is derived from the machine's
own package sources by replacing the suite, and has its own lists and cache:
/etc/apt and /var/lib/apt/lists stay as they are.
"""

import os
import re
import time
from pathlib import Path

from tool import paths
from tool.run import Fail, environment, logged, output

RELEASES = ['bookworm', 'trixie', 'forky']
ALIASES = ['oldstable', 'stable', 'testing', 'unstable', 'sid']
ETC = Path('/etc/apt')


class Source:
    """One entry of the machine's sources: where, how it is trusted, which suites."""

    def __init__(self, uri, suites, components, options):
        self.uri, self.suites, self.components, self.options = uri, suites, components, options

    def __repr__(self):
        return f'{self.uri} {" ".join(self.suites)}'

    def stanza(self, suites, types='deb'):
        fields = {'Types': types, 'URIs': self.uri, 'Suites': ' '.join(suites),
                  'Components': ' '.join(self.components)}
        fields.update(self.options)
        return ''.join(f'{name}: {value}\n' for name, value in fields.items()) + '\n'


# One-line options and the deb822 fields that they are.
OPTIONS = {'signed-by': 'Signed-By', 'trusted': 'Trusted', 'arch': 'Architectures',
           'check-valid-until': 'Check-Valid-Until', 'valid-until-max': 'Valid-Until-Max',
           'allow-insecure': 'Allow-Insecure', 'by-hash': 'By-Hash'}


def parse_list(text):
    """sources.list(5), one line each: deb [options] uri suite component..."""
    for line in text.splitlines():
        line = line.split('#')[0].strip()
        match = re.match(r'deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$', line)
        if not match:
            continue
        options = {}
        for option in (match[1] or '').split():
            name, _, value = option.partition('=')
            if name.lower() in OPTIONS:
                options[OPTIONS[name.lower()]] = value.replace(',', ' ')
        yield Source(match[2], [match[3]], match[4].split(), options)


def parse_deb822(text):
    """sources.list(5), stanzas."""
    lines = [line for line in text.splitlines() if not line.startswith('#')]
    for stanza in re.split(r'\n[ \t]*\n', '\n'.join(lines)):
        fields, name = {}, None
        for line in stanza.splitlines():
            if line[:1] in (' ', '\t') and name:
                fields[name] += '\n' + line
            elif ':' in line:
                name, _, value = line.partition(':')
                name = name.strip().lower()
                fields[name] = value.strip()
        if 'deb' not in fields.get('types', '').split() or fields.get('enabled', 'yes').lower() in ('no', 'false'):
            continue
        options = {field: fields[field.lower()] for field in OPTIONS.values() if field.lower() in fields}
        for uri in fields.get('uris', '').split():
            yield Source(uri, fields.get('suites', '').split(), fields.get('components', '').split(), options)


def machine_sources(etc=ETC):
    sources = []
    for path in [etc / 'sources.list', *sorted((etc / 'sources.list.d').glob('*'))]:
        try:
            if path.suffix == '.list':
                sources += parse_list(path.read_text())
            elif path.suffix == '.sources':
                sources += parse_deb822(path.read_text())
        except (OSError, UnicodeDecodeError):
            continue
    return sources


def codename_of(suite):
    """bookworm for bookworm and for bookworm-updates; None for others."""
    name = suite.rstrip('/').split('/')[0].split('-')[0]
    return name if name in RELEASES + ALIASES else None


def release(etc=ETC, os_release=Path('/etc/os-release')):
    """
    The machine's release and its main archives. The sources decide: they say
    where packages come from. An alias such as `stable` is what os-release says.
    """
    archives = [(suite, source) for source in machine_sources(etc) for suite in source.suites
                if suite in RELEASES + ALIASES and 'main' in source.components]
    if not archives:
        raise Fail(f'No Debian archive in {etc}/sources.list or sources.list.d '
                   f'(a suite out of: {", ".join(RELEASES)}). kseries runs on Debian bookworm and trixie.')
    first = min(archives, key=lambda a: (RELEASES + ALIASES).index(a[0]))[0]
    name = first
    if name in ALIASES:
        match = re.search(r'^VERSION_CODENAME=(\w+)', os_release.read_text(), re.M)
        name = match[1] if match else name
    if name not in RELEASES:
        raise Fail(f'The package sources are of {name}; kseries knows {", ".join(RELEASES)}.')
    return name, first, [source for suite, source in archives if suite == first]


def derived(suite, types='deb', etc=ETC):
    """Entries for another suite of the machine's own archives."""
    _, _, archives = release(etc)
    seen, text = set(), ''
    for source in archives:
        if source.uri not in seen:
            seen.add(source.uri)
            main = Source(source.uri, [], ['main'], source.options)
            text += main.stanza([suite], types)
    return text


def own(etc=ETC):
    """The machine's own release with its updates and security, and backports."""
    name, suite, _ = release(etc)
    text = ''
    for source in machine_sources(etc):
        suites = [s for s in source.suites if codename_of(s) == suite and not s.endswith('-backports')]
        if suites:
            text += source.stanza(suites)
    return text + derived(f'{name}-backports', etc=etc)


class Private:
    """An apt configuration of its own, in build/apt/NAME."""

    def __init__(self, name, sources, stale=False, arch=None):
        # What an entry says of architectures is said of the machine's own.
        self.sources = re.sub(r'^Architectures: .*\n', '', sources, flags=re.M) if arch else sources
        self.name = name
        self.folder = paths.BUILD / 'apt' / name
        self.log = paths.LOGS / f'apt-{name}.log'
        for sub in ('sources.list.d', 'preferences.d', 'lists/partial', 'archives/partial'):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        (self.folder / 'sources.list.d' / 'kseries.sources').write_text(self.sources)
        # A mirror that lags behind still serves a source, signed, that only has to be of some version.
        old = 'Acquire::Check-Valid-Until "false";\n' if stale else ''
        other = f'APT::Architecture "{arch}";\nAPT::Architectures {{ "{arch}"; }};\nDir::State::status "/dev/null";\n' if arch else ''
        user = 'APT::Sandbox::User "root";\n' if os.geteuid() == 0 else ''
        (self.folder / 'apt.conf').write_text(
            f'Dir::Etc::sourcelist "/dev/null";\n'
            f'Dir::Etc::sourceparts "{self.folder}/sources.list.d";\n'
            f'Dir::Etc::preferences "/dev/null";\n'
            f'Dir::Etc::preferencesparts "{self.folder}/preferences.d";\n'
            f'Dir::State::lists "{self.folder}/lists";\n'
            f'Dir::Cache::archives "{self.folder}/archives";\n'
            f'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
            f'Acquire::Languages "none";\nAcquire::Retries "2";\n'
            f'APT::Install-Recommends "false";\nAPT::Update::Error-Mode "any";\n{old}{other}{user}')

    def env(self, **extra):
        return environment(APT_CONFIG=self.folder / 'apt.conf', DEBIAN_FRONTEND='noninteractive', **extra)

    def update(self):
        """Fetch the lists, if that was not done within the last hours."""
        done = self.folder / 'updated'
        if done.exists() and done.read_text() == self.sources and time.time() - done.stat().st_mtime < 6 * 3600:
            return
        done.unlink(missing_ok=True)
        try:
            logged(f'fetch package lists ({self.name})', ['apt-get', '-q', 'update'], self.log, env=self.env())
        except Fail as fail:
            uris = sorted(set(re.findall(r'^URIs: (\S+)', self.sources, re.M)))
            raise Fail(f'{fail}\nThe package source cannot be used: {", ".join(uris)}\n'
                       'Is the network up? Check /etc/apt, or give a kernel tree with LINUX=DIR-OR-TARBALL '
                       'if only the kernel source is missing. A later run goes on here.') from None
        done.write_text(self.sources)

    def candidate(self, package):
        match = re.search(r'^\s*Candidate: (\S+)', output('apt-cache', 'policy', package, env=self.env()), re.M)
        return match[1] if match and match[1] != '(none)' else None

    def download(self, package, folder):
        """A binary package as a file, not installed."""
        folder.mkdir(parents=True, exist_ok=True)
        logged(f'download {package}', ['apt-get', '-q', 'download', package], self.log, cwd=folder, env=self.env())
        found = sorted(folder.glob(f'{package}_*.deb'), key=lambda p: p.stat().st_mtime)
        if not found:
            raise Fail(f'apt-get download {package} brought no file\nlog: {paths.display(self.log)}')
        return found[-1]

    def source(self, package, folder):
        """The files of a source package, checked by apt, not unpacked."""
        folder.mkdir(parents=True, exist_ok=True)
        logged(f'download the source of {package}', ['apt-get', '-q', 'source', '--download-only', package],
               self.log, cwd=folder, env=self.env())

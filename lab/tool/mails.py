# SPDX-License-Identifier: GPL-2.0-only
"""The series as mails, and the proof that git am of them gives the same tree."""

import re
import shutil
import subprocess

from tool import compose, packages, patches, paths, source
from tool.run import Fail, environment, say, step
from tool.source import git


def poster():
    """Whoever runs this, as git knows him; None where git does not."""
    fields = []
    for name in ('user.name', 'user.email'):
        result = subprocess.run(['git', '-C', str(paths.ROOT), 'config', name], capture_output=True, text=True)
        fields.append(result.stdout.strip())
    return fields if all(fields) else None


def posted(ids, signoff):
    """The composed commits with the poster as author."""
    who = poster()
    if signoff and not who:
        raise Fail('--signoff needs to know who you are: git config --global user.name and user.email')
    name, email = who or (source.IDENTITY['GIT_AUTHOR_NAME'], source.IDENTITY['GIT_AUTHOR_EMAIL'])
    if not who:
        say(f'    note: git does not know your name, so the mails are from {name} <{email}>')
    parent = ids[0]
    for number, commit in enumerate(ids[1:], 1):
        message = git('log', '-1', '--format=%B', commit, raw=True).decode().rstrip('\n') + '\n'
        if signoff:
            trailer = re.search(r'\n\n(?:[A-Z][\w-]+: .*\n)+$', message)
            message += ('' if trailer else '\n') + f'Signed-off-by: {name} <{email}>\n'
        env = environment(**dict(source.dated(number), GIT_AUTHOR_NAME=name, GIT_AUTHOR_EMAIL=email))
        parent = git('commit-tree', f'{commit}^{{tree}}', '-p', parent, '-F', '-', env=env, stdin=message.encode())
    return parent


def write(ids, folder, signoff=False):
    """The mails in a folder; returns their files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tip = posted(ids, signoff)
    git('-c', 'format.useAutoBase=false', 'format-patch', '-q', '--no-renames', '-U3', '--diff-algorithm=myers', '--no-indent-heuristic',
        '--full-index', '--cover-letter', '--stat=72', '--thread=shallow', '--subject-prefix=PATCH', f'--base={ids[0]}',
        '-o', folder, f'{ids[0]}..{tip}')
    return sorted(folder.glob('*.patch')), tip


def series(signoff=False):
    packages.need('compose')
    loaded = patches.load()
    if not loaded:
        raise Fail('series/order lists no patch')
    try:
        subject, _, blurb = (paths.SERIES / 'cover-letter').read_text().strip().partition('\n')
    except FileNotFoundError:
        raise Fail('series/cover-letter is missing: a subject line, an empty line, the text') from None
    subject = re.sub(r'^Subject: ', '', subject)
    blurb = blurb.strip()
    if not subject or not blurb:
        raise Fail('series/cover-letter: needs a subject line, an empty line and a text')
    for line in blurb.splitlines():
        if patches.TAG.match(line):
            raise Fail(f'series/cover-letter carries a tag (rule 6): {line.strip()}')
    compose.tree()
    stock = source.stock()
    ids = compose.commits(stock, loaded)
    with step(f'write {len(loaded)} mails'):
        folder = paths.BUILD / 'out.new'
        mails, tip = write(ids, folder, signoff)
        cover = mails[0]
        text = cover.read_text()
        text = text.replace('*** SUBJECT HERE ***', subject).replace('*** BLURB HERE ***', blurb)
        head = upstream_base()
        if head:
            text = re.sub(r'^base-commit: .*$', f'base-commit: {head}', text, flags=re.M)
        if '***' in text or 'base-commit: ' not in text:
            raise Fail(f'{cover.name}: git format-patch made a cover letter of another form')
        cover.write_text(text)
    with step('check that git am of the mails gives the composed tree'):
        proof(stock, mails[1:], ids[-1])
    shutil.rmtree(paths.OUT, ignore_errors=True)
    folder.rename(paths.OUT)
    print(paths.OUT)


def upstream_base():
    """The id everybody knows the base by, where LINUX= is a checkout of it."""
    chosen = source.chosen()
    return chosen.head if isinstance(chosen, source.Checkout) else None


def proof(stock, mails, head):
    """git am in a work tree that holds the touched folders only."""
    folder = paths.BUILD / 'am'
    shutil.rmtree(folder, ignore_errors=True)
    git('worktree', 'prune')
    env = environment(**source.dated(0))
    try:
        git('worktree', 'add', '-q', '--detach', '--no-checkout', folder, stock)
        touched = git('diff', '--name-only', '--no-renames', stock, head).splitlines()
        git('sparse-checkout', 'set', '--no-cone', *(f'/{path}' for path in touched), tree=folder)
        git('checkout', '-q', stock, tree=folder)
        git('am', '-q', '--keep-cr', *mails, tree=folder, env=env)
        if git('rev-parse', 'HEAD^{tree}', tree=folder) != git('rev-parse', f'{head}^{{tree}}'):
            raise Fail('git am of the mails gives another tree than compose')
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        git('worktree', 'prune')

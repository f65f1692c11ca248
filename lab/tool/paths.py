# SPDX-License-Identifier: GPL-2.0-only
"""Where things are, and how a lack of room is told."""

import errno
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / 'lab'
SERIES = ROOT / 'series'
BUILD = Path(os.environ.get('KSERIES_BUILD') or ROOT / 'build').absolute()

LINUX = BUILD / 'linux'          # the git tree: branches stock and series
STOCK = BUILD / 'stock'          # a second work tree, for --stock
LOGS = BUILD / 'log'
STATE = BUILD / 'state'          # stamps
OUT = BUILD / 'out'              # the mails


def display(path):
    """A path as short as it can be said from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def explain(error):
    text = f'{error.strerror or error}'
    if error.filename:
        text = f'{display(error.filename)}: {text}'
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f'{text}\n{no_room()}'
    return text


def no_room():
    where = BUILD if BUILD.exists() else BUILD.parent
    free = shutil.disk_usage(where).free
    return (f'The disk of {display(BUILD)} is full ({free >> 20} MiB left). Make room there, or put '
            'everything elsewhere with KSERIES_BUILD=DIR, and start again.')


def need_room(mib, what):
    from tool.run import Fail
    BUILD.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(BUILD).free >> 20
    if free < mib:
        raise Fail(f'{what} needs {mib} MiB in {display(BUILD)}, and {free} MiB are left.\n'
                   'Make room there, or put everything elsewhere with KSERIES_BUILD=DIR, and start again.')

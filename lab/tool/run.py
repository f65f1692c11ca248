# SPDX-License-Identifier: GPL-2.0-only
"""Running things: steps with their time, logged commands, the lock, stamps."""

import contextlib
import ctypes
import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import time

from tool import paths


class Fail(Exception):
    """Something is wrong that the user can do something about."""


def say(*text):
    print(*text, file=sys.stderr, flush=True)


def clock(seconds):
    seconds = int(seconds)
    return f'{seconds // 60} min {seconds % 60:02} s' if seconds >= 60 else f'{seconds} s'


_steps = []


def current_step():
    return _steps[-1] if _steps else None


@contextlib.contextmanager
def step(what):
    say(f'==> {what}')
    start = time.monotonic()
    _steps.append(what)
    yield
    _steps.remove(what)         # machines that run side by side end in any order
    say(f'    {what}: {clock(time.monotonic() - start)}')


def environment(**extra):
    """What every command gets: no locale, and git without anybody's configuration."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(('GIT_', 'KBUILD_', 'KCONFIG_')) and
           k not in ('MAKEFLAGS', 'MAKEOVERRIDES', 'MAKELEVEL', 'ARCH', 'CROSS_COMPILE', 'LINUX')}
    env.update(LC_ALL='C.UTF-8', GIT_CONFIG_NOSYSTEM='1', GIT_CONFIG_GLOBAL='/dev/null',
               GIT_TERMINAL_PROMPT='0', GIT_PAGER='cat', TZ='UTC',
               GIT_CONFIG_COUNT='1', GIT_CONFIG_KEY_0='safe.directory', GIT_CONFIG_VALUE_0='*')
    env.update({k: str(v) for k, v in extra.items()})
    return env


PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def group(command, **kwargs):
    """A process in a group of its own, which does not outlive us."""
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_parent, **kwargs)
    try:
        yield process
    finally:
        if process.poll() is None:
            for sig in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sig)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                    break


def output(*command, cwd=None, env=None, stdin=None, check=True, raw=False):
    """The standard output of a short command."""
    result = subprocess.run([str(c) for c in command], cwd=cwd, env=env or environment(), input=stdin,
                            stdin=None if stdin is not None else subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and result.returncode:
        error = result.stderr.decode(errors='replace').strip()
        if 'No space left' in error:
            error += '\n' + paths.no_room()
        raise Fail(f'{" ".join(shlex.quote(str(c)) for c in command[:6])}: exit {result.returncode}\n{error}')
    return result.stdout if raw else result.stdout.decode(errors='replace').rstrip('\n')


def tail(log, lines=20):
    try:
        text = log.read_bytes()[-20000:].decode(errors='replace')
    except OSError:
        return ''
    return '\n'.join('    | ' + line for line in text.splitlines()[-lines:])


ERRORS = re.compile(r'(\berror\b|Error \d|undefined reference|\*\*\*|No space left)', re.I)


def failed(what, log, why=None):
    """The failure of a logged step: its name, its log and what stands there."""
    text = log.read_text(errors='replace') if log.exists() else ''
    said = [line for line in text.splitlines() if ERRORS.search(line)]
    message = f'{what}{": " + why if why else ""}\nlog: {paths.display(log)}\n'
    if said and said[0] not in text.splitlines()[-20:]:
        message += 'first error:\n    | ' + said[0] + '\n'
    message += 'last lines:\n' + tail(log)
    if 'No space left' in text[-20000:] or 'Disk quota exceeded' in text[-20000:]:
        message += '\n' + paths.no_room()
    return Fail(message)


def logged(what, command, log, cwd=None, env=None, timeout=None, count=None, ok=(0,), append=False):
    """
    Run a long command with its output in a log. Every 20 seconds one line tells
    how long it runs and, if `count` is a regex, how many of its lines matched.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = told = time.monotonic()
    with open(log, 'ab' if append else 'wb') as stream:
        stream.write(('$ ' + ' '.join(shlex.quote(str(c)) for c in command) + '\n').encode())
        stream.flush()
        with group([str(c) for c in command], cwd=cwd, env=env or environment(), stdin=subprocess.DEVNULL,
                   stdout=stream, stderr=subprocess.STDOUT) as process:
            while True:
                try:
                    code = process.wait(1)
                    break
                except subprocess.TimeoutExpired:
                    pass
                now = time.monotonic()
                if timeout and now - start > timeout:
                    raise failed(what, log, f'not done after {clock(timeout)}')
                if now - told >= 20:
                    told = now
                    text = log.read_text(errors='replace')
                    lines = text.splitlines()
                    done = f', {sum(1 for line in lines if re.search(count, line))} done' if count else ''
                    last = lines[-1].strip()[:80] if lines else ''
                    say(f'    ... {clock(now - start)}{done}: {last}')
    if code not in ok:
        raise failed(what, log, f'exit {code}')
    return code


@contextlib.contextmanager
def lock():
    """One kseries at a time in one build folder."""
    paths.BUILD.mkdir(parents=True, exist_ok=True)
    with open(paths.BUILD / 'lock', 'a+') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            say(f'kseries: waiting for another run in {paths.display(paths.BUILD)}: {stream.read().strip()}')
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        stream.truncate()
        stream.write(f'pid {os.getpid()}: {" ".join(sys.argv[1:])}\n')
        stream.flush()
        lock.stream = stream
        yield


def unlock():
    """Before something that only uses what it has a copy of."""
    fcntl.flock(lock.stream, fcntl.LOCK_UN)


def write(path, content):
    """A file changes at once or not at all; equal content leaves it alone."""
    if isinstance(content, str):
        content = content.encode()
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + '.new')
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return True


def stamp(name):
    try:
        return (paths.STATE / name).read_text()
    except FileNotFoundError:
        return None


def set_stamp(name, value):
    write(paths.STATE / name, value)


def clear_stamp(name):
    (paths.STATE / name).unlink(missing_ok=True)


def jobs():
    return len(os.sched_getaffinity(0))

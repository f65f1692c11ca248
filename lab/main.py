# SPDX-License-Identifier: GPL-2.0-only
"""Entry of ./kseries: reads the command line and calls the verb."""

import argparse
import os
import signal
import sys

from tool import paths
from tool.run import Fail, say, lock, current_step


def compose(args):
    from tool import compose
    print(compose.tree())


def build(args):
    from tool import build
    build.kernel(args.arch, args.config, args.stock)


def image(args):
    from tool import build
    print(build.kernel(args.arch, args.config, args.stock).image)


def headers(args):
    from tool import build
    print(build.headers(args.arch, args.stock))


def boot(args):
    from tool import boot
    boot.shell(args.arch, args.config, args.machine, args.stock)


def demo(args):
    from tool import demo
    return demo.demo(args.arch)


def test(args):
    from tool import test
    if args.list:
        return test.listing()
    if args.record_stock:
        return test.record_stock(args.filter)
    return test.test(args.filter)


def bench(args):
    from tool import bench
    return bench.bench(args.rounds, args.arch)


def check(args):
    from tool import check
    return check.check()


def bisect(args):
    from tool import bisect
    bisect.bisect(args.config, args.boot, args.patches)


def series(args):
    from tool import mails
    mails.series(args.signoff)


def refresh(args):
    from tool import refresh
    refresh.refresh(args.branch)


def parse(argv):
    parser = argparse.ArgumentParser(prog='./kseries')
    verbs = parser.add_subparsers(dest='verb', required=True)

    def verb(function, *positional):
        p = verbs.add_parser(function.__name__)
        p.set_defaults(function=function)
        for name in positional:
            p.add_argument(name)
        return p

    verb(compose)
    for function in (build, image):
        verb(function, 'arch', 'config').add_argument('--stock', action='store_true')
    verb(headers, 'arch').add_argument('--stock', action='store_true')
    p = verb(boot, 'arch', 'config')
    p.add_argument('--machine', default='vfio')
    p.add_argument('--stock', action='store_true')
    verb(demo).add_argument('arch', nargs='*')
    p = verb(test)
    p.add_argument('filter', nargs='*')
    p.add_argument('--list', action='store_true')
    p.add_argument('--record-stock', action='store_true')
    p = verb(bench)
    p.add_argument('arch', nargs='*')
    p.add_argument('--rounds', type=int, default=15)
    verb(check)
    p = verb(bisect)
    p.add_argument('patches', nargs='?')
    p.add_argument('--config', default='base')
    p.add_argument('--boot', action='store_true')
    verb(series).add_argument('--signoff', action='store_true')
    verb(refresh).add_argument('branch', nargs='?')
    return parser.parse_args(argv)


def terminated(signum, frame):
    raise KeyboardInterrupt


def main():
    args = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, terminated)
    try:
        with lock():
            return args.function(args) or 0
    except Fail as fail:
        say(f'\nkseries {args.verb}: FAILED: {fail}')
        return 1
    except KeyboardInterrupt:
        where = current_step()
        say(f'\nkseries {args.verb}: interrupted' + (f' in: {where}' if where else '') +
            '; start it again to go on')
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        say(f'\nkseries {args.verb}: FAILED: {paths.explain(error)}')
        return 1


sys.exit(main())

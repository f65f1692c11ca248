# SPDX-License-Identifier: GPL-2.0-only
"""A plot of the bench as SVG: panels of bars and of lines, on logarithmic scales."""

import math
from xml.sax.saxutils import escape

COLOURS = {'light': '#d5d8dc', 'grey': '#9aa0a6', 'red': '#c5543f', 'blue': '#2b6cb0', 'green': '#2f855a', 'violet': '#6b46c1'}
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


class Panel:
    """A title, a rectangle, and a scale of nanoseconds (or of a ratio) in decades."""

    def __init__(self, x, y, width, height, title):
        self.x, self.y, self.width, self.height, self.title = x, y, width, height, title
        self.parts = [text(x, y - 32, title, 15, weight='bold')]

    def add(self, part):
        self.parts.append(part)


def text(x, y, what, size=12, anchor='start', weight='normal', fill='#222'):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{fill}">{escape(what)}</text>')


def line(x1, y1, x2, y2, colour='#ddd', width=1, dash=''):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"'
            + (f' stroke-dasharray="{dash}"' if dash else '') + '/>')


def duration(ns):
    for unit, factor in (('s', 1e9), ('ms', 1e6), ('µs', 1e3)):
        if ns >= factor:
            break
    value = ns / factor
    return f'{value:.3g} {unit}' if value < 1000 else f'{value:.0f} {unit}'


def decades(values):
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def legend(panel, series):
    x = panel.x
    for name, colour in series:
        panel.add(f'<rect x="{x:.1f}" y="{panel.y - 23:.1f}" width="11" height="11" fill="{COLOURS[colour]}"/>')
        panel.add(text(x + 15, panel.y - 13.5, name, 11))
        x += 34 + 6.6 * len(name)


def bars(x, y, width, height, title, series, groups):
    """
    series: [(name, colour)]; groups: [(label, [(median, low, high) or None for each series])]:
    a bar for each median, its end labelled, and a whisker from low to high.
    """
    panel = Panel(x, y, width, height, title)
    legend(panel, series)
    left, right = x + 150, x + width - 62
    numbers = [n for _, values in groups for v in values if v for n in v if n > 0]
    low, high = decades(numbers)

    def at(ns):
        return left + (right - left) * (math.log10(max(ns, 10 ** low)) - low) / (high - low)

    for decade in range(low, high + 1):
        panel.add(line(at(10 ** decade), y, at(10 ** decade), y + height))
        panel.add(text(at(10 ** decade), y + height + 15, duration(10 ** decade), 10, 'middle', fill='#666'))
    slot = height / len(groups)
    thick = min(15, slot * 0.86 / len(series))
    for row, (label, values) in enumerate(groups):
        middle = y + slot * (row + 0.5)
        panel.add(text(left - 8, middle + 4, label, 11.5, 'end'))
        present = [(value, colour) for value, (_, colour) in zip(values, series) if value]
        top = middle - thick * len(present) / 2
        for number, ((median, least, most), colour) in enumerate(present):
            mid = top + thick * (number + 0.5)
            panel.add(f'<rect x="{left:.1f}" y="{mid - thick / 2 + 1:.1f}" width="{max(at(median) - left, 1):.1f}" '
                      f'height="{thick - 2:.1f}" fill="{COLOURS[colour]}"/>')
            panel.add(line(at(least), mid, at(most), mid, '#000', 1))
            panel.add(text(max(at(median), at(most)) + 5, mid + 3.5, duration(median), 10, fill='#333'))
    panel.add(line(left, y, left, y + height, '#444'))
    return panel


def lines(x, y, width, height, title, xlabel, series):
    """series: [(name, colour, [(x, median, low, high)])]; a dashed line shows what is linear."""
    panel = Panel(x, y, width, height, title)
    legend(panel, [(name, colour) for name, colour, _ in series])
    left, right, bottom = x + 60, x + width - 20, y + height
    low, high = decades([n for _, _, points in series for p in points for n in p[1:] if n > 0])
    xs = sorted({p[0] for _, _, points in series for p in points})
    xlow, xhigh = math.log2(xs[0]), math.log2(xs[-1])

    def px(value):
        return left + (right - left) * (math.log2(value) - xlow) / (xhigh - xlow)

    def py(ns):
        return bottom - height * (math.log10(max(ns, 10 ** low)) - low) / (high - low)

    for decade in range(low, high + 1):
        panel.add(line(left, py(10 ** decade), right, py(10 ** decade)))
        panel.add(text(left - 6, py(10 ** decade) + 4, duration(10 ** decade), 10, 'end', fill='#666'))
    for value in xs:
        panel.add(line(px(value), y, px(value), bottom, '#eee'))
        panel.add(text(px(value), bottom + 15, str(value), 10, 'middle', fill='#666'))
    panel.add(text((left + right) / 2, bottom + 32, xlabel, 11, 'middle'))
    panel.add(line(left, bottom, right, bottom, '#444'))
    panel.add(line(left, y, left, bottom, '#444'))
    # The slope of what is linear, beneath everything else.
    top = max(points[-1][1] for _, _, points in series)
    start = top * xs[0] / xs[-1]
    if start >= 10 ** low:
        panel.add(line(px(xs[0]), py(start), px(xs[-1]), py(top), '#999', 1.2, '5 4'))
    else:
        first = 10 ** low / top * xs[-1]
        panel.add(line(px(first), bottom, px(xs[-1]), py(top), '#999', 1.2, '5 4'))
    for _, colour, points in series:
        path = ' '.join(f'{px(p[0]):.1f},{py(p[1]):.1f}' for p in points)
        panel.add(f'<polyline points="{path}" fill="none" stroke="{COLOURS[colour]}" stroke-width="2"/>')
        for value, median, least, most in points:
            panel.add(line(px(value), py(least), px(value), py(most), COLOURS[colour], 1))
            panel.add(f'<circle cx="{px(value):.1f}" cy="{py(median):.1f}" r="3" fill="{COLOURS[colour]}"/>')
    return panel


def page(width, height, title, note, panels):
    body = '\n'.join(part for panel in panels for part in panel.parts)
    notes = '\n'.join(text(30, 56 + 16 * number, words, 11.5, fill='#555') for number, words in enumerate(note))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" {FONT}>\n'
            f'<rect width="{width}" height="{height}" fill="#fff"/>\n{text(30, 34, title, 19, weight="bold")}\n{notes}\n{body}\n</svg>\n')

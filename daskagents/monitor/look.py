"""How the page looks: colours, numbers and times in words, small tables. All texts are escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

#: Ink, faint ink, lines; what is done, at work, waiting, failed, apart.
INK, FAINT, LINE = "#2b2f36", "#7a828e", "#e3e6ea"
DONE, RUNNING, WAITING, FAILED, APART = "#8fb8a8", "#4c78a8", "#e6e8ec", "#c8553d", "#b279a2"
SLOW = "#e8a33d"
#: Colours of lines and stacked areas, one after another.
PALETTE = (
    "#4c78a8", "#e8a33d", "#8fb8a8", "#c8553d", "#b279a2", "#72b7b2", "#9d755d", "#eeca3b",
    "#7f9fc9", "#d67195", "#5f8f5a", "#a0a4ab",
)  # fmt: skip

_STYLE = f"""
:host {{ font: 14px/1.45 Helvetica, Arial, sans-serif; color: {INK}; }}
.bk-clearfix {{ width: 100%; }}
h2 {{ font-size: 18px; font-weight: 600; margin: 0 0 2px; }}
h3 {{ font-size: 13px; font-weight: 600; margin: 0 0 6px; color: {FAINT}; text-transform: none; }}
p {{ margin: 0 0 6px; }}
.faint {{ color: {FAINT}; }}
.bad {{ color: {FAILED}; }}
table {{ border-collapse: collapse; font-size: 13px; }}
td, th {{ padding: 3px 14px 3px 0; text-align: left; vertical-align: top; white-space: nowrap; }}
td.wide {{ white-space: normal; overflow-wrap: anywhere; }}
th {{ font-weight: 600; color: {FAINT}; border-bottom: 1px solid {LINE}; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
.tiles {{ display: flex; gap: 10px; flex-wrap: wrap; margin: 2px 0 6px; }}
.tile {{ background: white; border: 1px solid {LINE}; border-radius: 6px; padding: 8px 14px;
  min-width: 118px; }}
.tile b {{ display: block; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; }}
.tile span {{ color: {FAINT}; font-size: 12px; }}
.bar {{ background: {WAITING}; border-radius: 4px; height: 10px; overflow: hidden; }}
.bar i {{ display: block; height: 100%; background: {RUNNING}; }}
.state {{ border-radius: 10px; padding: 1px 9px; font-size: 12px; color: white; background: {FAINT};
  vertical-align: 2px; margin-left: 8px; }}
.state.running {{ background: {RUNNING}; }} .state.done {{ background: #4f8f78; }}
.state.failed, .state.lost, .state.out {{ background: {FAILED}; }}
.state.paused, .state.stopping {{ background: {SLOW}; }}
.chip {{ display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 0; }}
"""
#: What every `Div` of the page is made with, by Bokeh.
SHEETS = [_STYLE]


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as it is shown: short, with commas.

    Examples
    --------
    >>> number(1234567), number(0.012345), number(12.0), number(float("nan")), number(434.56)
    ('1,234,567', '0.0123', '12', '-', '435')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == int(value) or abs(value) >= 10.0 ** max(digits, 2):
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"
    return f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """Return a time in words.

    Examples
    --------
    >>> duration(0.034), duration(5.25), duration(75), duration(7300), duration(None)
    ('34 ms', '5.2 s', '1 min 15 s', '2 h 1 min', '-')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def short(value: Any, most: int = 60) -> str:
    """Return a value as an escaped text that is not long.

    Examples
    --------
    >>> short("<b>"), short("x" * 9, 5)
    ('&lt;b&gt;', 'xxxx…')
    """
    text = str(value)
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; columns whose head begins with ``#`` hold numbers, to the right.

    Examples
    --------
    >>> table(["who"], [["<a>"]])
    '<table><tr><th>who</th></tr><tr><td>&lt;a&gt;</td></tr></table>'
    """
    marks = [' class="n"' if head.startswith("#") else "" for head in heads]
    first = "".join(
        f"<th{mark}>{short(head.removeprefix('#'))}</th>"
        for head, mark in zip(heads, marks, strict=True)
    )
    rest = "".join(
        "<tr>"
        + "".join(f"<td{mark}>{short(cell)}</td>" for cell, mark in zip(row, marks, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{first}</tr>{rest}</table>"


def tiles(values: Mapping[str, str]) -> str:
    """Return figures with what they are, side by side."""
    inside = "".join(
        f'<div class="tile"><b>{short(value)}</b><span>{short(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{inside}</div>'


def bar(share: float, colour: str = RUNNING) -> str:
    """Return a bar that is filled to a share."""
    wide = 100 * min(1.0, max(0.0, share))
    return f'<div class="bar"><i style="width:{wide:.1f}%;background:{colour}"></i></div>'


def badge(state: str) -> str:
    """Return the state of a run as a coloured word."""
    return f'<span class="state {short(state)}">{short(state)}</span>'


def note(text: str) -> str:
    """Return a line in faint ink."""
    return f'<p class="faint">{short(text, 400)}</p>'

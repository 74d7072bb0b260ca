"""A report as one page of HTML: all text in it is escaped, and it needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

#: Characters of what stands in one line of a table.
_SHORT = 30
#: What marks cells of numbers, and those that are not broken into lines.
_RIGHT, _WHOLE = ' class="n"', ' class="s"'
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #22303c;
  background: #fff; max-width: 50rem; margin: 2.5rem auto 4rem; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; padding-top: .7rem;
  border-top: 1px solid #d7dde2; break-after: avoid; }
h3 { font-size: .95rem; margin: 1.3rem 0 .4rem; break-after: avoid; }
p { margin: .4rem 0 .8rem; }
.faint { color: #5c6b78; font-size: .9rem; }
.badge { display: inline-block; padding: 0 .5rem; border-radius: .6rem; background: #e6eaee; }
.badge.done { background: #d9efe4; }
.badge.failed { background: #f6dcdf; }
table { border-collapse: collapse; max-width: 100%; margin: .4rem 0 1rem; font-size: .87rem; }
th, td { text-align: left; vertical-align: top; padding: .22rem .95rem .22rem 0;
  border-bottom: 1px solid #e6eaee; }
td { overflow-wrap: anywhere; }
th { font-weight: 600; color: #445361; }
table.facts { width: 100%; }
td.s { white-space: nowrap; }
table.facts th { width: 9.5rem; font-weight: 500; }
td.n, th.n { text-align: right; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
th { vertical-align: bottom; }
.table { overflow-x: auto; }
figure { margin: 1rem 0 1.6rem; break-inside: avoid; }
figure img { width: 100%; height: auto; display: block; }
.methods { border-left: 3px solid #0072b2; padding: .1rem 0 .1rem 1rem; }
.talk { margin: 0 0 1.4rem; }
.turn { display: grid; grid-template-columns: 5.5rem 1fr; gap: .8rem; padding: .35rem 0;
  border-bottom: 1px solid #eef1f4; font-size: .87rem; break-inside: avoid; }
.turn b { font-weight: 500; color: #5c6b78; }
.turn p { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.turn.assistant { background: #f4f8fb; }
.turn.error p { color: #a3263b; }
nav { font-size: .9rem; margin: 1rem 0 0; }
nav a { color: #0072b2; text-decoration: none; margin-right: .9rem; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  @page { margin: 18mm; }
}
"""


class Html(str):
    """What is HTML already."""

    __slots__ = ()


def text(said: Any) -> str:
    """Return something as HTML: escaped, unless it is that already.

    Examples
    --------
    >>> text("<b>"), text(Html("<b>"))
    ('&lt;b&gt;', '<b>')
    """
    if isinstance(said, Html):
        return str(said)
    # what may not stand in XML, or turns text around, is shown as a box
    shown = "".join(c if c.isprintable() or c in "\n\t " else "\ufffd" for c in str(said))
    return escape(shown)


def page(title: str, parts: Iterable[Html], links: Mapping[str, str]) -> str:
    """Return a whole page.

    Parameters
    ----------
    title
        What it is called.
    parts
        What stands on it.
    links
        Names of its sections, by what each is called within the page.
    """
    shown = "".join(f'<a href="#{key}">{text(name)}</a>' for key, name in links.items())
    head, *rest = parts
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{text(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>{head}<nav>{shown}</nav>\n"
        f"{chr(10).join(rest)}\n</body></html>\n"
    )


def section(key: str, title: str, parts: Iterable[str]) -> Html:
    """Return a section with a heading."""
    return Html(f'<section id="{key}"><h2>{text(title)}</h2>{"".join(parts)}</section>')


def heading(said: str) -> Html:
    """Return a heading within a section."""
    return Html(f"<h3>{text(said)}</h3>")


def paragraph(said: Any, kind: str = "") -> Html:
    """Return a paragraph."""
    return Html(f'<p class="{kind}">{text(said)}</p>' if kind else f"<p>{text(said)}</p>")


def facts(rows: Mapping[str, Any]) -> Html:
    """Return facts by name as a table; empty ones are left out."""
    lines = "".join(
        f"<tr><th>{text(name)}</th><td>{text(said)}</td></tr>"
        for name, said in rows.items()
        if str(said)
    )
    return Html(f'<table class="facts">{lines}</table>' if lines else "")


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Html:
    """Return a table; numbers stand on the right."""
    lines = [list(row) for row in rows]
    names = list(head)
    numbers = [
        bool(lines) and all(isinstance(row[at], int | float | None) for row in lines)
        for at in range(len(names))
    ]
    marks = [
        _RIGHT if number else _WHOLE if all(_is_short(row[at]) for row in lines) else ""
        for at, number in enumerate(numbers)
    ]
    top = "".join(f"<th{mark}>{text(name)}</th>" for name, mark in zip(names, marks, strict=True))
    body = "".join(f"<tr>{''.join(_cells(row, marks))}</tr>" for row in lines)
    whole = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return Html(f'<div class="table">{whole}</div>')


def _is_short(said: Any) -> bool:
    return len(str(said)) <= _SHORT


def _cells(row: list[Any], marks: list[str]) -> Iterator[str]:
    for value, mark in zip(row, marks, strict=True):
        yield f"<td{mark}>{text(number(value) if mark == _RIGHT else value)}</td>"


def number(value: float | None) -> str:
    """Return a number as people read it; nothing for what is not known.

    Examples
    --------
    >>> number(1234567), number(0.12346), number(float("nan"))
    ('1,234,567', '0.1235', '')
    """
    if value is None or value != value:
        return ""
    if isinstance(value, int) or (abs(value) < 1e15 and value == int(value)):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def picture(uri: str, said: str) -> Html:
    """Return a picture, with what it shows for those who cannot see it."""
    return Html(f'<figure><img src="{uri}" alt="{text(said)}"></figure>')


def turn(role: str, who: str, said: str) -> Html:
    """Return one turn of a conversation."""
    kind = role if role in ("assistant", "system", "user", "error") else ""
    return Html(f'<div class="turn {kind}"><b>{text(who)}</b><p>{text(said)}</p></div>')


def cut(said: str, most: int) -> str:
    """Return a text, cut where it is long.

    Examples
    --------
    >>> cut("a long text", 6)
    'a long […]'
    """
    return said if len(said) <= most else f"{said[:most].rstrip()} […]"

"""What notebooks show: small tables that stand alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from reprlib import Repr

_LEFT = ' style="text-align:left"'
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60


class Html(str):
    """What is HTML already, and is shown as it is."""

    __slots__ = ()


def table(
    title: str,
    about: Mapping[str, str],
    cells: Iterable[Iterable[str]] = (),
    head: Iterable[str] = (),
    below: str = "",
) -> str:
    """Return a title, facts by name, and a table below them, as HTML; all text is escaped.

    Parameters
    ----------
    title
        What it is.
    about
        Facts by name; empty ones are left out.
    cells, head
        A table below, and the names of its columns.
    below
        What follows it, as HTML.

    Examples
    --------
    >>> table("<b>", {"agents": "3", "model": ""})
    '<div><b>&lt;b&gt;</b><table><tr><th style="text-align:left">agents</th><td style="text-align:left">3</td></tr></table></div>'

    """  # noqa: E501
    lines = "".join(_row([_cell(name, "th"), _cell(said)]) for name, said in about.items() if said)
    more = rows(cells, head)
    return f"<div><b>{_text(title)}</b><table>{lines}</table>{more}{below}</div>"


def rows(cells: Iterable[Iterable[str]], head: Iterable[str] = ()) -> Html:
    """Return rows as a table, and nothing if there are none.

    Parameters
    ----------
    cells
        Rows of texts, which are escaped, and of HTML.
    head
        The names of the columns.

    Examples
    --------
    >>> rows([]), rows([["a", Html("<i>b</i>")]]).count("<td")
    ('', 2)

    """
    lines = "".join(_row(map(_cell, row)) for row in cells)
    if not lines:
        return Html("")
    names = _row(_cell(name, "th") for name in head) if head else ""
    return Html(f"<table>{names}{lines}</table>")


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _cell(said: str, tag: str = "td") -> str:
    return f"<{tag}{_LEFT}>{_text(said)}</{tag}>"


def _text(said: str) -> str:
    return said if isinstance(said, Html) else escape(said)


def link(folder: Path) -> Html:
    """Return a link to a folder of this machine.

    Examples
    --------
    >>> link(Path("/runs/a b"))
    '<a href="file:///runs/a%20b">/runs/a b</a>'

    """
    return Html(f'<a href="{escape(folder.absolute().as_uri())}">{escape(str(folder))}</a>')


def short(value: object) -> str:
    """Return how a value is written, cut in the middle where that is long.

    Examples
    --------
    >>> short("no"), len(short("no" * 1_000))
    ("'no'", 60)

    """
    return _SHORT.repr(value)


def size(count: float) -> str:
    """Return a number of bytes as people read it.

    Examples
    --------
    >>> size(999), size(2.5 * 2**30)
    ('999 B', '2.5 GiB')

    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"

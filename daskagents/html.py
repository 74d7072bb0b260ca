"""What notebooks show: small tables that stand alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape


def table(title: str, about: Mapping[str, str], rows: Iterable[Iterable[str]] = ()) -> str:
    """Return a title, facts by name, and rows below them, as HTML; all text is escaped.

    Examples
    --------
    >>> table("<b>", {"agents": "3"})
    '<div><b>&lt;b&gt;</b><table><tr><th style="text-align:left">agents</th><td>3</td></tr></table></div>'

    """  # noqa: E501
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td>{escape(said)}</td></tr>'
        for name, said in about.items()
        if said
    )
    more = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(c)}</td>' for c in row) + "</tr>"
        for row in rows
    )
    below = f"<table>{more}</table>" if more else ""
    return f"<div><b>{escape(title)}</b><table>{lines}</table>{below}</div>"


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

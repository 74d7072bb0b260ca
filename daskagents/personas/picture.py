"""The picture of a report: a small panel for each field, asked for beside achieved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskagents.plotting.page import COLORS, FAINT, INK, dress, short, spelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from daskagents.personas.reporting import Report

#: Most panels, and most bars of one.
_PANELS, _BARS = 12, 10


def draw(report: Report) -> Figure:
    """Return a picture of a report."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = _panels(report)
    wide = min(3, len(panels))
    high = -(-len(panels) // wide)
    around = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12)  # inches
    figure = Figure(figsize=(4 * wide, 0.6 + 2.6 * high), dpi=160, facecolor="white", layout=around)
    axes = figure.subplots(high, wide, squeeze=False).ravel()
    for ax, (name, rows) in zip(axes, panels.items(), strict=False):
        _panel(ax, name, rows)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    title = f"{report.n:,} people: bars are what there is, lines what was asked for"
    figure.suptitle(title, color=INK, fontsize=13)
    return figure


def _panels(report: Report) -> dict[str, list[tuple[str, float, float]]]:
    """Return the rows of each panel: shares of values, or means by condition."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for line in report.summed():
        row = (line.value, line.asked / report.n, line.achieved / report.n)
        found.setdefault(line.field, []).append(row)
    for line in report.lines:
        if line.value == "mean" and not line.counted:
            name = f"{line.field}, mean"
            found.setdefault(name, []).append((line.given or "all", line.asked, line.achieved))
    return dict(list(found.items())[:_PANELS]) or {"nothing was asked for": []}


def _panel(ax: Any, name: str, rows: list[tuple[str, float, float]]) -> None:
    """Draw bars of what there is, and a line where each should end."""
    rest = len(rows) - _BARS
    rows = sorted(rows, key=lambda row: -row[1])[:_BARS] if rest > 0 else rows
    places = np.arange(len(rows))
    ax.barh(places, [row[2] for row in rows], color=COLORS[4], height=0.7, label="achieved")
    asked = [row[1] for row in rows]
    ax.vlines(asked, places - 0.45, places + 0.45, color=INK, lw=1.6, label="asked for")
    ax.set_yticks(places, [short(row[0], 18) for row in rows], fontsize=8)
    ax.invert_yaxis()
    more = f" ({rest:,} more)" if rest > 0 else ""
    ax.set_title(f"{spelled(name)}{more}", loc="left", color=INK, fontsize=10)
    ax.tick_params(axis="x", labelsize=8, labelcolor=FAINT)
    dress(ax, "x")

"""Histograms of numbers, a row for each round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.fonts import bold
from daskagents.plotting.counting import ends, histograms
from daskagents.plotting.groups import Groups
from daskagents.plotting.page import (
    COLORS,
    FAINT,
    INK,
    dress,
    spelled,
    title_of,
    write_around,
)
from daskagents.plotting.variables import Shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

#: How much of its row the highest bin takes.
_HEIGHT = 0.86
#: Numbers of bins, which divide a round range into round parts.
_BINS = (20, 25, 50, 100)
_MARK = "#d1495b"
#: From the first round to the last, where there are no groups.
_SHADES = ("#2b4c7e", "#3f88a8", "#8fc1b5")


@dataclass(frozen=True)
class Ridges:
    """What is drawn.

    Attributes
    ----------
    shown, groups
        The variable, and the groups whose shares are counted apart.
    edges, whole
        Where the bins end, and whether each is one whole number.
    shares
        Over (group, round, bin).
    marked, mark
        What is marked in each round, and its name: NaN and None for nothing.

    """

    shown: Shown
    groups: Groups
    edges: Floats
    whole: bool
    shares: Floats
    marked: Floats
    mark: str | None

    def outline(self, group: int, at: int) -> tuple[Floats, Floats]:
        """Return heights and edges of one histogram: bars side by side for whole numbers."""
        shares = self.shares[group, at]
        if not self.whole:
            return shares, self.edges
        width = 0.8 / len(self.groups)
        left = self.edges[:-1] + 0.1 + width * group
        edges = np.stack([left, left + width], 1).ravel()
        return np.insert(shares, range(1, len(shares)), 0), edges  # nothing between two bars


def ridges_of(shown: Shown, groups: Groups, marked: Floats | None, mark: str | None) -> Ridges:
    """Count the values of each round in bins.

    Parameters
    ----------
    shown
        The variable.
    groups
        The groups whose shares are counted apart.
    marked
        A value for each round, which the bins have room for; None for none.
    mark
        What they are.

    """
    agents = shown.values.shape[1] // len(groups)
    edges, whole = _bins(shown.values, np.array([]) if marked is None else marked, agents)
    counts = histograms(shown.values, edges, groups.codes, len(groups))
    shares = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    if marked is None:
        marked, mark = np.full(len(shown.numbers), np.nan), None
    return Ridges(shown, groups, edges, whole, shares, marked, mark)


def _bins(values: xr.DataArray, marked: Floats, agents: int) -> tuple[Floats, bool]:
    """Return the edges of the bins, and whether a few whole numbers have a bin each, such as stars.

    Else the edges are round numbers, and the closer the more agents there are.
    """
    from matplotlib.ticker import MaxNLocator

    *found, whole = ends(values)
    found = [end for end in (*found, *marked.tolist()) if np.isfinite(end)] or [0.0, 1.0]
    low, high = min(found), max(found)
    bins = max(bins for bins in _BINS if bins <= max(20, 4 * agents**0.5))
    if whole and high - low < bins - 1 and abs(low) + abs(high) < 2**50:
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1), True
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    ticks = MaxNLocator(10, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return np.linspace(ticks[0], ticks[-1], bins + 1), False


def draw_ridges(ax: Axes | None, ridges: Ridges) -> Axes:
    """Draw the rows, the first round on top, into what is given or a figure of their own."""
    rows, groups = len(ridges.marked), ridges.groups
    whose = "" if groups.by is None else " · the shares of each group by themselves"
    said = f"{ridges.shown.caption} · each row scaled to its highest bin{whose}"
    columns = max(1, min(len(groups), 80 // (6 + max(map(len, groups.named)))))
    above = 0.0 if groups.by is None else 0.2 * (1 - -len(groups) // columns)  # inches
    title = title_of(ridges.shown.name)
    if ax is None:
        ax = _page(rows, title, said, above)
    else:
        write_around(ax, title, said, pad=22 + 72 * above)
    handles = [_draw_row(ax, ridges, at, 5 if rows <= 20 else 3) for at in range(rows)]
    ax.plot(ridges.marked, range(rows), color=_MARK, lw=0.8, ls=":", alpha=0.7)
    ax.set(xlim=ridges.edges[[0, -1]], ylim=(rows - 0.85, -1))
    ax.set_xlabel(spelled(ridges.shown.name), color=INK, fontsize=10)
    dress(ax, "x")
    ax.tick_params(labelsize=9)
    _label(ax, ridges)
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    groups.tell(ax, handles[0], ncols=columns, fontsize=9, **place)
    return ax


def _page(rows: int, title: str, said: str, more: float) -> Axes:
    """Return axes in a figure as high as its rows need, with a title and a caption."""
    from matplotlib.figure import Figure

    below, above = 0.85, 0.95 + more  # inches, around the rows
    inside = rows * min(0.8, max(0.22, 6.5 / rows))
    height = below + inside + above
    figure = Figure(figsize=(8, height), dpi=160, facecolor="white")
    figure.text(0.08, 1 - 0.4 / height, title, color=INK, fontsize=14, **bold(title))
    figure.text(0.08, 0.14 / height, said, color=FAINT, fontsize=8)
    return figure.add_axes((0.08, below / height, 0.8, inside / height))


def _draw_row(ax: Axes, ridges: Ridges, at: int, size: int) -> list[Artist]:
    """Draw the distributions of one round, which stand on its line, and what is marked in them."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    marked, highest = ridges.marked[at], max(ridges.shares[:, at].max(), 1e-300)
    shade = LinearSegmentedColormap.from_list("rounds", _SHADES)(
        at / max(1, len(ridges.marked) - 1)
    )
    drawn: list[Artist] = []
    for group, color in zip(range(len(ridges.groups)), COLORS, strict=False):
        heights, edges = ridges.outline(group, at)
        tops = at - _HEIGHT * heights / highest
        style: dict[str, Any] = {"color": shade, "lw": 0}
        if ridges.groups.by is not None:  # each can be seen behind the others
            style = {"fc": to_rgba(color, 0.15), "ec": color, "lw": 1.2}
        drawn.append(ax.stairs(tops, edges, baseline=at, fill=True, **style))
    line: dict[str, Any] = (
        {"color": shade, "lw": 0.8} if ridges.groups.by is None else {"color": FAINT, "lw": 1.4}
    )
    ax.plot(ridges.edges[[0, -1]], [at, at], **line)
    if np.isfinite(marked):
        ax.plot([marked] * 2, [at, at - _HEIGHT], color=_MARK, lw=1.4)
        ax.plot([marked], [at], marker="^", color=_MARK, ms=size, clip_on=False, zorder=9)
    return drawn


def _label(ax: Axes, ridges: Ridges) -> None:
    """Write the rounds on the left, and the values that are marked on the right."""
    from matplotlib.ticker import MaxNLocator

    numbers, edges = ridges.shown.numbers, ridges.edges
    pixels = ax.bbox.height  # at 100 dpi a label takes some 18
    dots = ax.figure.dpi / 100
    every = -(-len(numbers) // int(np.clip(pixels / dots / 18, 2, 25)))
    ax.set_yticks(range(len(numbers)))
    ax.set_yticklabels(
        [str(number) if at % every == 0 else "" for at, number in enumerate(numbers)], va="bottom"
    )
    if ridges.whole:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    head: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 9, "va": "bottom"}
    ax.text(-0.012, 1, "round", color=INK, ha="right", **head, **bold("round"))
    if ridges.mark is None:
        return
    mark = spelled(ridges.mark)
    ax.text(1.012, 1, mark, color=_MARK, **head, **bold(mark))
    decimals = int(np.clip(4 - np.floor(np.log10(edges[-1] - edges[0])), 0, 8))
    for at, marked in enumerate(ridges.marked[::every]):
        if np.isfinite(marked):
            place, text = at * every, f"{marked:.{decimals}f}"
            right = ax.get_yaxis_transform()
            ax.text(1.012, place, text, transform=right, color=_MARK, fontsize=9, va="bottom")

"""Distributions of a variable, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.fonts import any_text, bold, showable
from daskagents.plotting.counting import ends, histograms
from daskagents.plotting.shares import draw_shares
from daskagents.plotting.variables import (
    FAINT,
    GRID,
    INK,
    Source,
    caption,
    dataset_of,
    numeric,
    round_numbers,
    title_of,
    variable_of,
    write_around,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

#: Rows of a picture, at most; of more rounds as many are shown, evenly spread.
MOST_ROWS = 50
#: How much of its row the highest bin takes.
_HEIGHT = 0.86
#: Numbers of bins, which divide a round range into round parts.
_BINS = (20, 25, 50, 100)
_MARK = "#d1495b"
_COLORS = ("#2b4c7e", "#3f88a8", "#8fc1b5")


@dataclass(frozen=True)
class _Row:
    """One round of a picture: its number, the shares of the bins, and what is marked."""

    number: int
    shares: Floats
    marked: float


@dataclass(frozen=True)
class _Words:
    """What is written: the variable, what is marked, and the caption."""

    name: str
    mark: str | None
    caption: str


def distributions(
    results: Source,
    variable: str | None = None,
    *,
    mark: str | None = "winner",
    ax: Axes | None = None,
) -> Figure:
    """Draw how a variable is distributed over the agents, a row per round, counted from 1.

    Numbers are drawn as histograms over the same bins. Each row is as high as its highest bin
    allows. Of texts, the shares of the most frequent are drawn, as a stacked bar per round.

    The results are read chunk by chunk, so a million agents take little more memory than ten. Of
    more than 50 rounds, 50 are drawn, evenly spread. Agents that failed (NaN, or an empty text)
    are left out.

    Parameters
    ----------
    results
        What `run` returned, an `open_run`, or the path of a run directory.
    variable
        Which one, over (round, agents); None takes the first that has numbers or, if none has,
        the first that has texts.
    mark
        A variable with one number per round, which is marked in the histograms; None, or a
        "winner" that is not there, marks nothing.
    ax
        Where it is drawn; None makes a figure that belongs to no window.

    Returns
    -------
    matplotlib.figure.Figure
        Show it in a notebook, or ``savefig`` it.

    Raises
    ------
    UsageError
        If there is no such variable, it has no numbers or texts, or there is no round.

    Examples
    --------
    >>> import daskagents as da
    >>> from daskagents.plotting import distributions
    >>> class Player(da.Agent):
    ...     def reply(self, message) -> float:
    ...         return self.rng.uniform(0, 100)
    >>> def game(players, rounds=3):
    ...     for _ in range(rounds):
    ...         guess = players.reply()
    ...         yield {"guess": guess, "winner": 2 / 3 * guess.mean()}
    >>> results = da.run(game, da.Population(Player, 1_000), client="sync")
    >>> len(distributions(results, "guess").axes[0].get_yticks())
    3

    """
    from matplotlib.figure import Figure

    results = dataset_of(results)
    name = variable_of(results, variable)
    rounds = np.arange(results.sizes["round"])
    if len(rounds) > MOST_ROWS:
        rounds = np.unique(np.linspace(0, len(rounds) - 1, MOST_ROWS).round().astype(int))
        values = results[name].isel(round=rounds)
    else:
        values = results[name]
    numbers, said = round_numbers(results)[rounds], caption(results, name, len(rounds))
    with any_text():
        if name in numeric(results):
            marks = _marks(results, mark)
            marks = None if marks is None else marks[rounds]
            rows, edges = _rows(values, marks, numbers)
            words = _Words(name, None if marks is None else mark, said)
            ax = _draw(ax, rows, edges, words)
        else:
            if ax is None:
                figure = Figure(figsize=(8, 4.5), dpi=160, facecolor="white", layout="constrained")
                ax = figure.add_subplot()
            draw_shares(ax, values, numbers, name, said)
    return ax.get_figure(root=True)  # type: ignore[return-value]


def _marks(results: xr.Dataset, mark: str | None) -> Floats | None:
    """Return what is marked in each round."""
    if mark is None or (mark == "winner" and mark not in results):
        return None
    if mark not in results or results[mark].dims != ("round",):
        raise UsageError(f"mark={mark!r}: there is no variable of that name with a value per round")
    return results[mark].values.astype(np.float64)


def _rows(
    values: xr.DataArray, marks: Floats | None, numbers: NDArray[np.int64]
) -> tuple[list[_Row], Floats]:
    """Count all rounds; return the edges of the bins, too."""
    edges = _edges(values, marks)
    counts = histograms(values, edges)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    marked = np.full(len(shares), np.nan) if marks is None else marks
    rows = zip(numbers.tolist(), shares, marked.tolist(), strict=True)
    return [_Row(*row) for row in rows], edges


def _edges(values: xr.DataArray, marks: Floats | None) -> Floats:
    """Return the edges of the bins: round numbers, and the finer the more agents there are."""
    from matplotlib.ticker import MaxNLocator

    found = list(ends(values))
    found += [] if marks is None else marks.tolist()
    found = [end for end in found if np.isfinite(end)] or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    bins = max(bins for bins in _BINS if bins <= max(20, 4 * values.shape[1] ** 0.5))
    ticks = MaxNLocator(10, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return np.linspace(ticks[0], ticks[-1], bins + 1)


def _draw(ax: Axes | None, rows: list[_Row], edges: Floats, words: _Words) -> Axes:
    """Draw the rows, the first round on top, into what is given or a figure of their own."""
    from matplotlib.colors import LinearSegmentedColormap

    said = f"{words.caption} · each row scaled to its highest bin"
    if ax is None:
        ax = _page(len(rows), title_of(words.name), said)
    else:
        write_around(ax, words.name, said, pad=22)
    colors = LinearSegmentedColormap.from_list("rounds", _COLORS)(np.linspace(0, 1, len(rows)))
    for at, (row, color) in enumerate(zip(rows, colors, strict=True)):
        _draw_row(ax, at, row, edges, color, size=5 if len(rows) <= 20 else 3)
    ax.plot([row.marked for row in rows], range(len(rows)), color=_MARK, lw=0.8, ls=":", alpha=0.7)
    ax.set(xlim=edges[[0, -1]], ylim=(len(rows) - 0.85, -1))
    ax.set_xlabel(showable(words.name.replace("_", " ")), color=INK, fontsize=10)
    ax.tick_params(length=0, colors=INK, labelsize=9)
    ax.spines[:].set_visible(False)
    ax.grid(axis="x", color=GRID, lw=0.8)
    ax.set_axisbelow(True)
    _label(ax, rows, edges, words.mark)
    return ax


def _page(rows: int, title: str, said: str) -> Axes:
    """Return axes in a figure as high as its rows need, with a title and a caption."""
    from matplotlib.figure import Figure

    below, above = 0.85, 0.95  # inches, around the rows
    inside = rows * min(0.8, max(0.22, 6.5 / rows))
    height = below + inside + above
    figure = Figure(figsize=(8, height), dpi=160, facecolor="white")
    figure.text(0.08, 1 - 0.4 / height, title, color=INK, fontsize=14, **bold(title))
    figure.text(0.08, 0.14 / height, said, color=FAINT, fontsize=8)
    return figure.add_axes((0.08, below / height, 0.8, inside / height))


def _draw_row(axes: Axes, at: int, row: _Row, edges: Floats, color: Any, size: int) -> None:
    """Draw one distribution, which stands on its line, and what is marked in it."""
    heights = _HEIGHT * row.shares / max(row.shares.max(), 1e-300)
    axes.stairs(at - heights, edges, baseline=at, fill=True, color=color, lw=0)
    axes.plot(edges[[0, -1]], [at, at], color=color, lw=0.8)
    if np.isfinite(row.marked):
        axes.plot([row.marked] * 2, [at, at - _HEIGHT], color=_MARK, lw=1.4)
        axes.plot([row.marked], [at], marker="^", color=_MARK, ms=size, clip_on=False, zorder=9)


def _label(axes: Axes, rows: list[_Row], edges: Floats, mark: str | None) -> None:
    """Write the rounds on the left, and the values that are marked on the right."""
    pixels = axes.bbox.height  # at 100 dpi a label takes some 18
    dots = axes.figure.dpi / 100
    every = -(-len(rows) // int(np.clip(pixels / dots / 18, 2, 25)))
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels(
        [str(row.number) if at % every == 0 else "" for at, row in enumerate(rows)], va="bottom"
    )
    head: dict[str, Any] = {
        "transform": axes.transAxes,
        "fontsize": 9,
        "va": "bottom",
    }
    axes.text(-0.012, 1, "round", color=INK, ha="right", **head, **bold("round"))
    if mark is None:
        return
    marked = showable(mark.replace("_", " "))
    axes.text(1.012, 1, marked, color=_MARK, **head, **bold(marked))
    decimals = int(np.clip(4 - np.floor(np.log10(edges[-1] - edges[0])), 0, 8))
    for at, row in enumerate(rows[::every]):
        if np.isfinite(row.marked):
            place, text = at * every, f"{row.marked:.{decimals}f}"
            right = axes.get_yaxis_transform()
            axes.text(1.012, place, text, transform=right, color=_MARK, fontsize=9, va="bottom")

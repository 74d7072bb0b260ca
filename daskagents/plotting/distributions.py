"""Distributions of a variable, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.fonts import any_text
from daskagents.plotting.variables import FAINT, INK, variable_of

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
    """One round of a picture: the shares of the bins, and the value that is marked."""

    round: int
    shares: Floats
    marked: float


def distributions(
    results: xr.Dataset, variable: str | None = None, *, mark: str | None = "winner"
) -> Figure:
    """Draw how a variable is distributed over the agents, a row per round, counted from 1.

    What is drawn are histograms over the same bins, made round by round, so a million agents take
    little more than ten. Each row is as high as its highest bin allows.

    Parameters
    ----------
    results
        What `run` returned, or ``open_run(...).results``: variables over (round, agents).
    variable
        Which one; None takes the first that has numbers.
    mark
        A variable with one number per round, which is marked; None, or a "winner" that is not
        there, marks nothing.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window: show it in a notebook, or ``savefig`` it.

    Raises
    ------
    UsageError
        If there is no such variable, it has no numbers, or there is no round.

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
    name = variable_of(results, variable)
    marks = _marks(results, mark)
    rounds = np.arange(results.sizes["round"])
    if len(rounds) > MOST_ROWS:
        rounds = np.unique(np.linspace(0, len(rounds) - 1, MOST_ROWS).round().astype(int))
    edges = _edges(results[name], marks)
    rows = [_row(results[name], int(at), edges, marks) for at in rounds]
    caption = _caption(results, name, rows)
    with any_text():
        return _draw(rows, edges, name, None if marks is None else mark, caption)


def _marks(results: xr.Dataset, mark: str | None) -> Floats | None:
    """Return what is marked in each round."""
    if mark is None or (mark == "winner" and mark not in results):
        return None
    if mark not in results or results[mark].dims != ("round",):
        raise UsageError(f"mark={mark!r}: there is no variable of that name with a value per round")
    return results[mark].values.astype(np.float64)


def _edges(values: xr.DataArray, marks: Floats | None) -> Floats:
    """Return the edges of the bins: round numbers, and the finer the more agents there are."""
    from matplotlib.ticker import MaxNLocator

    finite = values.where(np.isfinite(values))
    ends = [float(finite.min()), float(finite.max())]
    ends += [] if marks is None else marks[np.isfinite(marks)].tolist()
    ends = [end for end in ends if np.isfinite(end)] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    agents = values.sizes[values.dims[1]]
    bins = max(bins for bins in _BINS if bins <= max(20, 4 * agents**0.5))
    ticks = MaxNLocator(10, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return np.linspace(ticks[0], ticks[-1], bins + 1)


def _row(values: xr.DataArray, at: int, edges: Floats, marks: Floats | None) -> _Row:
    """Count one round."""
    found = values.isel(round=at).values
    found = found[np.isfinite(found)]
    shares = np.histogram(found, edges)[0] / max(1, len(found))
    return _Row(at + 1, shares, np.nan if marks is None else float(marks[at]))


def _caption(results: xr.Dataset, name: str, rows: list[_Row]) -> str:
    """Say how many agents there are, how many replies are missing, and what is left out."""
    dim = results[name].dims[1]
    agents, failed = results.sizes[dim], _failed(results)
    said = [
        f"{agents:,} agent{'s' * (agents != 1)}",
        f"{failed:,} failed repl{'y' if failed == 1 else 'ies'}",
    ]
    if len(rows) < results.sizes["round"]:
        said.append(f"{len(rows)} of {results.sizes['round']:,} rounds")
    return " · ".join([*said, "each row scaled to its highest bin"])


def _failed(results: xr.Dataset) -> int:
    """Count the replies that failed, over all rounds."""
    if "n_failed" in results:
        return int(results["n_failed"].sum())
    return int(results["failed"].sum()) if "failed" in results else 0


def _draw(rows: list[_Row], edges: Floats, name: str, mark: str | None, caption: str) -> Figure:
    """Draw the rows, the first round on top."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    below, above = 0.85, 0.95  # inches, around the rows
    inside = len(rows) * min(0.8, max(0.22, 6.5 / len(rows)))
    height = below + inside + above
    figure = Figure(figsize=(8, height), dpi=160, facecolor="white")
    axes = figure.add_axes((0.08, below / height, 0.8, inside / height))
    colors = LinearSegmentedColormap.from_list("rounds", _COLORS)(np.linspace(0, 1, len(rows)))
    for at, (row, color) in enumerate(zip(rows, colors, strict=True)):
        _draw_row(axes, at, row, edges, color, size=5 if len(rows) <= 20 else 3)
    axes.plot(
        [row.marked for row in rows], range(len(rows)), color=_MARK, lw=0.8, ls=":", alpha=0.7
    )
    axes.set(xlim=edges[[0, -1]], ylim=(len(rows) - 0.85, -1))
    axes.set_xlabel(name.replace("_", " "), color=INK, fontsize=10)
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color="#e6eaee", lw=0.8)
    axes.set_axisbelow(True)
    _label(axes, rows, edges, mark)
    title = f"{name.replace('_', ' ').capitalize()}, round by round"
    figure.text(0.08, 1 - 0.4 / height, title, color=INK, fontsize=14, fontweight="bold")
    figure.text(0.08, 0.14 / height, caption, color=FAINT, fontsize=8)
    return figure


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
    every = -(-len(rows) // 25)
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels(
        [str(row.round) if at % every == 0 else "" for at, row in enumerate(rows)], va="bottom"
    )
    head: dict[str, Any] = {
        "transform": axes.transAxes,
        "fontsize": 9,
        "fontweight": "bold",
        "va": "bottom",
    }
    axes.text(-0.012, 1, "round", color=INK, ha="right", **head)
    if mark is None:
        return
    axes.text(1.012, 1, mark.replace("_", " "), color=_MARK, **head)
    decimals = int(np.clip(4 - np.floor(np.log10(edges[-1] - edges[0])), 0, 8))
    for at, row in enumerate(rows[::every]):
        if np.isfinite(row.marked):
            place, text = at * every, f"{row.marked:.{decimals}f}"
            right = axes.get_yaxis_transform()
            axes.text(1.012, place, text, transform=right, color=_MARK, fontsize=9, va="bottom")

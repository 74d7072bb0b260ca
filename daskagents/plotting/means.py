"""Means of a variable over the rounds, of all agents or by group."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.fonts import any_text, showable
from daskagents.plotting.counting import moments_by
from daskagents.plotting.variables import (
    COLORS,
    FAINT,
    GRID,
    INK,
    Source,
    dataset_of,
    round_numbers,
    variable_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Floats = NDArray[np.float64]

#: Groups that can be told apart; numbers of more values are cut into quarters.
MOST_GROUPS = len(COLORS)
#: What each kind of band is.
_BANDS = {"sd": "± 1 standard deviation", "interval": "95 % interval of the mean"}


def means(
    results: Source,
    variable: str | None = None,
    *,
    by: str | None = None,
    band: Literal["sd", "interval"] | None = "sd",
    ax: Axes | None = None,
) -> Figure:
    """Draw the mean of a variable over the agents, round by round, counted from 1.

    The rounds are read once, a chunk at a time. Agents that failed are left out.

    Parameters
    ----------
    results
        What `run` returned, an `open_run`, or the path of a run directory.
    variable
        Which one, over (round, agents); None takes the first that has numbers.
    by
        A coordinate of the agents: a line for each of its values, or for each quarter of the
        agents where it has numbers of more than 8 values.
    band
        What is shaded around each line: one standard deviation of the agents on both sides, or the
        95 % interval of the mean, 1.96 standard errors; None shades nothing.
    ax
        Where it is drawn; None makes a figure that belongs to no window.

    Returns
    -------
    matplotlib.figure.Figure
        Show it in a notebook, or ``savefig`` it.

    Raises
    ------
    UsageError
        If there is no such variable, coordinate or band, or too many groups.

    Examples
    --------
    >>> import numpy as np
    >>> results = xr.Dataset(
    ...     {"guess": (("round", "agent"), np.arange(8.0).reshape(2, 4))},
    ...     {"team": ("agent", ["red", "red", "blue", "blue"])},
    ... )
    >>> [line.get_label() for line in means(results, by="team").axes[0].lines]
    ['blue (2)', 'red (2)']

    """
    from matplotlib.figure import Figure

    results = dataset_of(results)
    name = variable_of(results, variable, texts=False)
    if band is not None and band not in _BANDS:
        raise UsageError(f"band={band!r}: it is 'sd', 'interval' or None")
    values, numbers = results[name], round_numbers(results)
    labels, codes = _groups(results, str(values.dims[1]), by)
    found = moments_by(values, codes, len(labels))
    with any_text():
        if ax is None:
            figure = Figure(figsize=(8, 4.5), dpi=160, facecolor="white", layout="constrained")
            ax = figure.add_subplot()
        lines = [
            _line(ax, numbers + at, mean, spread, count, color, band, len(labels))
            for at, mean, spread, count, color in zip(
                _apart(len(numbers), len(labels)), *found, COLORS, strict=False
            )
        ]
        _dress(ax, name, band, numbers)
        if by is None:
            lines[0].set_label(name)
        else:
            _legend(ax, by, labels, codes, lines)
    return ax.get_figure(root=True)  # type: ignore[return-value]


def _apart(rounds: int, lines: int) -> Floats:
    """Return how far each group stands from its round: the points of one round side by side."""
    return np.linspace(-0.5, 0.5, lines) if rounds == 1 and lines > 1 else np.zeros(lines)


def _groups(
    results: xr.Dataset, dim: str, by: str | None
) -> tuple[list[str], NDArray[np.int64] | None]:
    """Return the names of the groups, and the group of each agent: -1 for none."""
    if by is None:
        return ["all"], None
    known = [str(c) for c, v in results.coords.items() if v.dims == (dim,) and c != dim]
    if by not in known:
        raise UsageError(
            f"by={by!r}: there is no such column of the agents; there are"
            f" {', '.join(sorted(known)) or 'none'}"
        )
    column = results.coords[by].values
    distinct, codes = np.unique(column, return_inverse=True)
    if column.dtype.kind == "f" and np.isnan(distinct).any():  # nothing is known of these agents
        codes = np.where(np.isnan(column), -1, codes)
        distinct = distinct[~np.isnan(distinct)]
    if column.dtype.kind in "fiu" and len(distinct) > MOST_GROUPS:
        return _quarters(by, column)
    if len(distinct) > MOST_GROUPS:
        raise UsageError(
            f"by={by!r} has {len(distinct):,} values, and {MOST_GROUPS} lines can be told apart;"
            " choose a column with fewer"
        )
    if not len(distinct):
        raise UsageError(f"by={by!r}: no agent has a value there")
    shown = [f"{value:g}" if column.dtype.kind == "f" else str(value) for value in distinct]
    return [text or "(none)" for text in shown], codes.astype(np.int64)


def _quarters(by: str, column: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Cut numbers into four groups of about one size."""
    cuts = np.unique(np.nanquantile(column, [0, 0.25, 0.5, 0.75, 1]))
    places = np.clip(np.searchsorted(cuts, column, side="right") - 1, 0, len(cuts) - 2)
    labels = [f"{by} {low:g} to {high:g}" for low, high in pairwise(cuts)]
    return labels, np.where(np.isnan(column), -1, places)


def _line(
    ax: Axes,
    numbers: Floats,
    mean: Floats,
    spread: Floats,
    count: Floats,
    color: str,
    band: str | None,
    lines: int,
) -> Line2D:
    """Draw the means of one group, and the band around them."""
    marker = "o" if len(mean) <= 40 else None
    (line,) = ax.plot(numbers, mean, color=color, lw=1.8, marker=marker, ms=4, zorder=3)
    if band == "interval":
        spread = 1.96 * spread / np.sqrt(np.maximum(count - 1, 1))
    if band is not None and len(mean) == 1:  # a band would have no width
        ax.errorbar(numbers, mean, np.nan_to_num(spread), color=color, capsize=4, lw=1.2)
    elif band is not None:
        inside, edge = (0.18, 0.0) if lines == 1 else (0.1, 0.6)  # bands may lie on each other
        ax.fill_between(
            numbers, mean - spread, mean + spread, fc=(color, inside), ec=(color, edge), lw=0.7
        )
    return line


def _legend(
    ax: Axes, by: str, labels: list[str], codes: NDArray[np.int64] | None, lines: list[Line2D]
) -> None:
    """Name the lines, with how many agents each is about."""
    assert codes is not None
    sizes = np.bincount(codes[codes >= 0], minlength=len(labels))
    shown = []
    for line, label, size in zip(lines, labels, sizes, strict=True):
        line.set_label(f"{label} ({size:,})")
        shown.append(showable(f"{' ' * label.startswith('_')}{label} ({size:,})"))
    ax.legend(lines, shown, title=showable(by.replace("_", " ")), frameon=False)


def _dress(ax: Axes, name: str, band: str | None, numbers: NDArray[np.int64]) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("round", color=INK)
    ax.set_ylabel(f"mean {showable(name.replace('_', ' '))}", color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(numbers) == 1:
        ax.set_xlim(numbers[0] - 1, numbers[0] + 1)
        ax.set_xticks(numbers)
    ax.tick_params(colors=INK, length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(FAINT)
    ax.grid(axis="y", color=GRID, lw=0.8)
    ax.set_axisbelow(True)
    if band is not None:
        ax.set_title(_BANDS[band], loc="right", fontsize=8, color=FAINT)

"""Means of a variable over the rounds, of all agents or by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.fonts import any_text
from daskagents.plotting.counting import moments_by
from daskagents.plotting.groups import groups_of
from daskagents.plotting.page import (
    COLORS,
    FAINT,
    INK,
    dress,
    own_axes,
    spelled,
    title_of,
    write_around,
)
from daskagents.plotting.variables import Shown, Source, shown_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Floats = NDArray[np.float64]

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
    >>> import numpy as np, xarray as xr
    >>> results = xr.Dataset(
    ...     {"guess": (("round", "agent"), np.arange(8.0).reshape(2, 4))},
    ...     {"team": ("agent", ["red", "red", "blue", "blue"])},
    ... )
    >>> [line.get_label() for line in means(results, by="team").axes[0].lines]
    ['blue (2)', 'red (2)']

    """
    if band is not None and band not in _BANDS:
        raise UsageError(f"band={band!r}: it is 'sd', 'interval' or None")
    shown = shown_of(results, variable, texts=False)
    groups = groups_of(shown.results, str(shown.values.dims[1]), by)
    found = moments_by(shown.values, groups.codes, len(groups))
    with any_text():
        ax = ax or own_axes()
        lines = [
            _line(ax, shown.numbers + at, mean, spread, count, color, band, len(groups))
            for at, mean, spread, count, color in zip(
                _apart(len(shown.numbers), len(groups)), *found, COLORS, strict=False
            )
        ]
        for line, label in zip(lines, [shown.name] if by is None else groups.named, strict=True):
            line.set_label(label)
        _dress(ax, shown, band)
        groups.tell(ax, lines, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax.get_figure(root=True)  # type: ignore[return-value]


def _apart(rounds: int, lines: int) -> Floats:
    """Return how far each group stands from its round: the points of one round side by side."""
    return np.linspace(-0.5, 0.5, lines) if rounds == 1 and lines > 1 else np.zeros(lines)


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


def _dress(ax: Axes, shown: Shown, band: str | None) -> None:
    from matplotlib.ticker import MaxNLocator

    dress(ax, "y")
    ax.spines["bottom"].set(visible=True, color=FAINT)
    ax.set_xlabel("round", color=INK)
    ax.set_ylabel(f"mean {spelled(shown.name)}", color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(shown.numbers) == 1:
        ax.set_xlim(shown.numbers[0] - 1, shown.numbers[0] + 1)
        ax.set_xticks(shown.numbers)
    said = shown.caption if band is None else f"{shown.caption} · band: {_BANDS[band]}"
    write_around(ax, title_of(f"mean {shown.name}"), said)

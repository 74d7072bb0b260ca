"""Means of a variable over the rounds, of all agents or by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import dask
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

#: Groups that can be told apart; numbers of more values are cut into quarters.
MOST_GROUPS = 8
# Okabe and Ito (2008): told apart by people who do not see all colours, too.
_COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000",
)  # fmt: skip


def means(
    results: xr.Dataset,
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
        What `run` returned, or ``open_run(...).results``: variables over (round, agents).
    variable
        Which one; None takes the first that has numbers.
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

    name = variable_of(results, variable)
    if band not in ("sd", "interval", None):
        raise UsageError(f"band={band!r}: it is 'sd', 'interval' or None")
    values = results[name]
    groups = _groups(results, str(values.dims[1]), by)
    moments = _moments(values, [rows for _, rows in groups])
    with any_text():
        if ax is None:
            figure = Figure(figsize=(8, 4.5), dpi=160, facecolor="white", layout="constrained")
            ax = figure.add_subplot()
        for (label, rows), (mean, spread, count), color in zip(
            groups, moments, _COLORS, strict=False
        ):
            agents = values.shape[1] if rows is None else len(rows)
            _line(ax, mean, spread, count, color, f"{label} ({agents:,})" if by else name, band)
        _dress(ax, name, by, band)
        return ax.figure  # type: ignore[return-value]


def _groups(
    results: xr.Dataset, dim: str, by: str | None
) -> list[tuple[str, NDArray[np.int64] | None]]:
    """Return the name of each group, and the positions of its agents; None for all."""
    if by is None:
        return [("all", None)]
    known = [str(c) for c, v in results.coords.items() if v.dims == (dim,) and c != dim]
    if by not in known:
        raise UsageError(
            f"by={by!r}: there is no such column of the agents; there are"
            f" {', '.join(sorted(known)) or 'none'}"
        )
    column = results.coords[by].values
    distinct = np.unique(column)
    if column.dtype.kind in "fiu" and len(distinct) > MOST_GROUPS:
        cuts = np.unique(np.nanquantile(column, [0, 0.25, 0.5, 0.75, 1]))
        places = np.clip(np.searchsorted(cuts, column, side="right") - 1, 0, len(cuts) - 2)
        return [
            (f"{by} {cuts[at]:g} to {cuts[at + 1]:g}", np.flatnonzero(places == at))
            for at in range(len(cuts) - 1)
        ]
    if len(distinct) > MOST_GROUPS:
        raise UsageError(
            f"by={by!r} has {len(distinct):,} values, and {MOST_GROUPS} lines can be told apart;"
            " choose a column with fewer"
        )
    return [(str(value) or "(none)", np.flatnonzero(column == value)) for value in distinct]


def _moments(
    values: xr.DataArray, groups: list[NDArray[np.int64] | None]
) -> list[tuple[Floats, Floats, Floats]]:
    """Return mean, standard deviation and count of each group, round by round."""
    dim = str(values.dims[1])
    lazy = []
    for rows in groups:
        part = values if rows is None else values.isel({dim: rows})
        part = part.where(np.isfinite(part)).astype(np.float64)
        lazy.append((part.mean(dim), part.std(dim), part.count(dim)))
    done: Any = dask.compute(lazy)[0]
    return [
        (mean.values, spread.values, count.values.astype(np.float64))
        for mean, spread, count in done
    ]


def _line(
    ax: Axes, mean: Floats, spread: Floats, count: Floats, color: str, label: str, band: str | None
) -> None:
    rounds = np.arange(1, len(mean) + 1)
    few = len(mean) <= 40
    ax.plot(rounds, mean, color=color, lw=1.8, label=label, marker="o" if few else None, ms=4)
    if band is None:
        return
    if band == "interval":
        spread = 1.96 * spread / np.sqrt(np.maximum(count - 1, 1))
    ax.fill_between(rounds, mean - spread, mean + spread, color=color, alpha=0.16, lw=0)


def _dress(ax: Axes, name: str, by: str | None, band: str | None) -> None:
    from matplotlib.ticker import MaxNLocator

    said = {"sd": "± 1 standard deviation", "interval": "95 % interval of the mean", None: ""}
    ax.set_xlabel("round", color=INK)
    ax.set_ylabel(f"mean {name.replace('_', ' ')}", color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(colors=INK, length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(FAINT)
    ax.grid(axis="y", color="#e6eaee", lw=0.8)
    ax.set_axisbelow(True)
    if by is not None:
        ax.legend(title=by.replace("_", " "), frameon=False)
    if band is not None:
        ax.set_title(said[band], loc="right", fontsize=8, color=FAINT)

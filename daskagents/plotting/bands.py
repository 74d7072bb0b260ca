"""Quantiles of a variable over the rounds, as bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.fonts import any_text
from daskagents.plotting.page import COLORS, FAINT, INK, dress, own_axes, spelled, write_around
from daskagents.plotting.variables import Source, shown_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The quantiles that bands begin and end at, and the one in the middle.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Rounds of a picture, at most; of more as many are shown, evenly spread.
_MOST = 400


def quantiles(results: Source, variable: str | None = None, *, ax: Axes | None = None) -> Figure:
    """Draw the median of a variable over the agents, round by round, with bands around it.

    Half of the agents are in the inner band, nine of ten in the outer one. The results are read a
    round at a time. Agents that failed are left out. Of more than 400 rounds, 400 are drawn.

    Parameters
    ----------
    results
        What `run` returned, an `open_run`, or the path of a run directory.
    variable
        Which one, over (round, agents); None takes the first that has numbers.
    ax
        Where it is drawn; None makes a figure that belongs to no window.

    Returns
    -------
    matplotlib.figure.Figure
        Show it in a notebook, or ``savefig`` it.

    Raises
    ------
    UsageError
        If there is no such variable, or no round.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> results = xr.Dataset({"guess": (("round", "agent"), np.arange(8.0).reshape(2, 4))})
    >>> quantiles(results).axes[0].lines[0].get_ydata().tolist()
    [1.5, 5.5]

    """
    from matplotlib.ticker import MaxNLocator

    shown = shown_of(results, variable, texts=False, most=_MOST)
    numbers, found = shown.numbers, quantiles_of(shown.values)
    with any_text():
        ax = ax or own_axes()
        marker = "o" if len(numbers) <= 40 else None
        ax.plot(numbers, found[2], color=COLORS[0], lw=1.8, marker=marker, ms=4, zorder=3)
        if len(numbers) == 1:  # a band would have no width
            ax.vlines(numbers, found[0], found[4], color=COLORS[0], lw=1.2)
            ax.vlines(numbers, found[1], found[3], color=COLORS[0], lw=5, alpha=0.4)
        for low, high, inside in ((0, 4, 0.13), (1, 3, 0.24)):
            ax.fill_between(numbers, found[low], found[high], fc=(COLORS[0], inside), lw=0)
        dress(ax, "y")
        ax.spines["bottom"].set(visible=True, color=FAINT)
        ax.set_xlabel("round", color=INK)
        ax.set_ylabel(spelled(shown.name), color=INK)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        said = f"{shown.caption} · line: median · bands: half, and nine of ten, of the agents"
        write_around(ax, f"{spelled(shown.name).capitalize()}: how it is spread", said)
    return ax.get_figure(root=True)  # type: ignore[return-value]


def quantiles_of(values: xr.DataArray) -> NDArray[np.float64]:
    """Return five quantiles of the finite values of each round: over (quantile, round).

    Examples
    --------
    >>> quantiles_of(xr.DataArray([[0.0, 1.0, np.nan, 2.0]], dims=("round", "agent")))[2]
    array([1.])

    """
    found = np.full((len(_QUANTILES), len(values)), np.nan)
    for at in range(len(values)):
        (row,) = dask.compute(values[at].data, scheduler="threads")
        known = row[np.isfinite(row)]
        if known.size:
            found[:, at] = np.quantile(known, _QUANTILES)
    return found

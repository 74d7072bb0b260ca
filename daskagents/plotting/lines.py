"""Numbers of which there is one a round: a small picture for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from daskagents.fonts import any_text
from daskagents.plotting.page import COLORS, FAINT, INK, dress, short, spelled
from daskagents.plotting.variables import round_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3


def lines(results: xr.Dataset, names: list[str]) -> Figure:
    """Draw variables over the rounds, each in a small picture of its own.

    Parameters
    ----------
    results
        The results.
    names
        Variables with a number per round.

    Returns
    -------
    matplotlib.figure.Figure
        With axes for each.

    Examples
    --------
    >>> results = xr.Dataset({"winner": ("round", [3.0, 2.0])})
    >>> lines(results, ["winner"]).axes[0].get_title(loc="left")
    'winner'

    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    rows = -(-len(names) // _COLUMNS)
    around = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08)  # inches
    figure = Figure(figsize=(8, 1.75 * rows), dpi=160, facecolor="white", layout=around)
    numbers = round_numbers(results)
    with any_text():
        for at, name in enumerate(names):
            ax = figure.add_subplot(rows, _COLUMNS, at + 1)
            marker = "o" if len(numbers) <= 20 else None
            values = results[name].values.astype(np.float64)
            ax.plot(numbers, values, color=COLORS[0], lw=1.5, marker=marker, ms=3)
            dress(ax, "y")
            ax.spines["bottom"].set(visible=True, color=FAINT)
            ax.set_title(short(spelled(name)), loc="left", color=INK, fontsize=9)
            ax.tick_params(labelsize=8)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
            whole = bool((values == np.floor(values)).all())
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=whole))
    return figure

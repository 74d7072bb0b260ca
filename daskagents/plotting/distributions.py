"""Distributions of a variable, round by round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.fonts import any_text
from daskagents.plotting.groups import groups_of
from daskagents.plotting.page import own_axes
from daskagents.plotting.ridges import draw_ridges, ridges_of
from daskagents.plotting.shares import draw_shares
from daskagents.plotting.variables import Source, numeric, shown_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Rows of a picture, at most; of more rounds as many are shown, evenly spread.
MOST_ROWS = 50


def distributions(
    results: Source,
    variable: str | None = None,
    *,
    by: str | None = None,
    mark: str | None = "winner",
    ax: Axes | None = None,
) -> Figure:
    """Draw how a variable is distributed over the agents, a row per round, counted from 1.

    Numbers are drawn as histograms over the same bins; a few whole numbers, or yes and no, have a
    bin each. Each row is as high as its highest bin allows. Of texts, the shares of the most
    frequent are drawn, as a stacked bar per round.

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
    by
        A coordinate of the agents: a histogram for each of its values, or for each quarter of the
        agents where it has numbers of more than 8 values; for variables with numbers.
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
        If there is no such variable or coordinate, too many groups, or no round.

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
    shown = shown_of(results, variable, most=MOST_ROWS)
    texts = shown.name not in numeric(shown.results)
    if texts and by is not None:
        raise UsageError(f"by={by!r}: {shown.name!r} has texts, and groups are drawn of numbers")
    groups = groups_of(shown.results, str(shown.values.dims[1]), by)
    with any_text():
        if texts:
            ax = ax or own_axes()
            draw_shares(ax, shown)
        else:
            ax = draw_ridges(ax, ridges_of(shown, groups, _marked(shown.results, mark), mark))
    return ax.get_figure(root=True)  # type: ignore[return-value]


def _marked(results: xr.Dataset, mark: str | None) -> NDArray[np.float64] | None:
    """Return what is marked in each round."""
    if mark is None or (mark == "winner" and mark not in results):
        return None
    if mark not in results or results[mark].dims != ("round",):
        raise UsageError(f"mark={mark!r}: there is no variable of that name with a value per round")
    return results[mark].values.astype(np.float64)

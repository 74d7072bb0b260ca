"""Groups of agents, by a column that was given with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.plotting.page import COLORS, short, spelled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

#: Groups that can be told apart; numbers of more values are cut into quarters.
MOST_GROUPS = len(COLORS)


@dataclass(frozen=True)
class Groups:
    """Groups of agents.

    Attributes
    ----------
    by
        The column; None where all agents are one group.
    labels
        What each group is called.
    codes
        The group of each agent, -1 for none; None where all are one group.

    """

    by: str | None
    labels: Sequence[str]
    codes: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def named(self) -> list[str]:
        """What each group is called, with the number of its agents."""
        if self.codes is None:
            return list(self.labels)
        sizes = np.bincount(self.codes[self.codes >= 0], minlength=len(self))
        return [f"{label} ({size:,})" for label, size in zip(self.labels, sizes, strict=True)]

    def tell(self, ax: Axes, handles: Sequence[Artist], **where: Any) -> None:
        """Write a legend, if there are groups."""
        if self.by is not None:
            names = [short(name, 48) for name in self.named]
            ax.legend(handles, names, title=spelled(self.by), frameon=False, **where)


def groups_of(results: xr.Dataset, dim: str, by: str | None) -> Groups:
    """Return the groups of the agents of a dimension.

    Parameters
    ----------
    results
        The results.
    dim
        The dimension of the agents.
    by
        A coordinate of them: a group for each of its values, or for each quarter of the agents
        where it has numbers of more than 8 values; None for one group of all.

    Raises
    ------
    UsageError
        If there is no such coordinate, or it makes no groups or too many.

    Examples
    --------
    >>> results = xr.Dataset(coords={"team": ("agent", ["red", "red", "blue"])})
    >>> groups_of(results, "agent", "team").named
    ['blue (1)', 'red (2)']

    """
    if by is None:
        return Groups(None, ["all"], None)
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
            f"by={by!r} has {len(distinct):,} values, and {MOST_GROUPS} colours can be told apart;"
            " choose a column with fewer"
        )
    if not len(distinct):
        raise UsageError(f"by={by!r}: no agent has a value there")
    shown = [f"{value:g}" if column.dtype.kind == "f" else str(value) for value in distinct]
    return Groups(by, [text or "(none)" for text in shown], codes.astype(np.int64))


def _quarters(by: str, column: NDArray[Any]) -> Groups:
    """Cut numbers into four groups of about one size."""
    cuts = np.unique(np.nanquantile(column, [0, 0.25, 0.5, 0.75, 1]))
    places = np.clip(np.searchsorted(cuts, column, side="right") - 1, 0, len(cuts) - 2)
    labels = [f"{by} {low:g} to {high:g}" for low, high in pairwise(cuts)]
    return Groups(by, labels, np.where(np.isnan(column), -1, places))

"""The variables of results that pictures show."""

from __future__ import annotations

import numpy as np
import xarray as xr

from daskagents.errors import UsageError

#: Colours of words and lines, and of what is beside the point.
INK, FAINT = "#22303c", "#8a97a3"


def numeric(results: xr.Dataset) -> list[str]:
    """Return the names of the variables that have a number per round and agent, sorted.

    Examples
    --------
    >>> numeric(xr.Dataset({"guess": (("round", "agent"), [[1.0]]), "winner": ("round", [1.0])}))
    ['guess']

    """
    return sorted(str(name) for name, values in results.data_vars.items() if _is_numeric(values))


def moments(values: xr.DataArray) -> tuple[list[float], list[float]]:
    """Return the mean and the standard deviation of those that replied, round by round.

    Examples
    --------
    >>> moments(xr.DataArray([[1.0, 3.0, np.nan]], dims=("round", "agent")))
    ([2.0], [1.0])

    """
    means, spreads = [], []
    for row in values:
        found = row.values
        found = found[np.isfinite(found)]
        means.append(float(found.mean()) if len(found) else np.nan)
        spreads.append(float(found.std()) if len(found) else np.nan)
    return means, spreads


def _is_numeric(values: xr.DataArray) -> bool:
    return values.ndim == 2 and values.dims[0] == "round" and values.dtype.kind in "fiu"


def variable_of(results: xr.Dataset, wanted: str | None) -> str:
    """Return the name of the variable to draw: the wanted one, or the first with numbers.

    Raises
    ------
    UsageError
        If there is none, or no round.
    """
    found = numeric(results)
    if not results.sizes.get("round"):
        raise UsageError("the results have no round, so there is nothing to draw")
    if wanted is not None and wanted not in found:
        raise UsageError(
            f"{wanted!r} is no variable with a number per round and agent; these are"
            f" {', '.join(found) or 'not in these results'}"
        )
    if not found:
        raise UsageError("no variable has a number per round and agent")
    return wanted or found[0]

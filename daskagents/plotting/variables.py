"""What pictures are made of: results, however they are given, and the variables in them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.rounds import open_rounds
from daskagents.store import read_about

if TYPE_CHECKING:
    from daskagents.opened import OpenRun

#: What pictures take as results.
Source: TypeAlias = "xr.Dataset | OpenRun | str | os.PathLike[str]"


@dataclass(frozen=True)
class Shown:
    """A variable as pictures show it.

    Attributes
    ----------
    results
        The rounds that are shown.
    name, values
        The variable, over (round, agents).
    numbers
        The rounds as people count them.
    caption
        How many agents there are, how many replies are missing, and what is left out.

    """

    results: xr.Dataset
    name: str
    values: xr.DataArray
    numbers: NDArray[np.int64]
    caption: str


def shown_of(
    results: Source, wanted: str | None, *, texts: bool = True, most: int | None = None
) -> Shown:
    """Return the variable that a picture is to show.

    Parameters
    ----------
    results
        The results, however they are given.
    wanted
        Its name; None takes the first with numbers or, if there is none, with texts.
    texts
        Whether one with texts will do.
    most
        Rounds to show: of more as many, evenly spread; None for all.

    Raises
    ------
    UsageError
        If there is no such variable, or no round.

    """
    whole = dataset_of(results)
    name = variable_of(whole, wanted, texts=texts)
    numbers, part = round_numbers(whole), whole
    if most is not None and len(numbers) > most:
        rounds = np.unique(np.linspace(0, len(numbers) - 1, most).round().astype(int))
        numbers, part = numbers[rounds], whole.isel(round=rounds)
    return Shown(part, name, part[name], numbers, caption(whole, name, len(numbers)))


def dataset_of(results: Source) -> xr.Dataset:
    """Return results as a Dataset: what `run` returned, or a run that is opened or to be opened.

    Raises
    ------
    UsageError
        If it is none of these, or the folder holds no run.

    Examples
    --------
    >>> dict(dataset_of(xr.Dataset({"winner": ("round", [1.0, 2.0])})).sizes)
    {'round': 2}

    """
    if isinstance(results, xr.Dataset):
        return results
    if isinstance(results, str | os.PathLike):
        folder = Path(results).expanduser().absolute()
        read_about(folder)
        return open_rounds(folder)
    found = getattr(results, "results", None)
    if not isinstance(found, xr.Dataset):
        raise UsageError(
            "a picture is made of what da.run returned, of a run that is open, or of the path of"
            f" a run directory, not of a {type(results).__name__}"
        )
    return found


def numeric(results: xr.Dataset) -> list[str]:
    """Return the names of the variables that have a number per round and agent, in order.

    Examples
    --------
    >>> numeric(xr.Dataset({"guess": (("round", "agent"), [[1.0]]), "winner": ("round", [1.0])}))
    ['guess']

    """
    return _over_agents(results, "fiu")


def textual(results: xr.Dataset) -> list[str]:
    """Return the names of the variables that have a text per round and agent, in order.

    Examples
    --------
    >>> textual(xr.Dataset({"word": (("round", "agent"), [["yes", "no"]])}))
    ['word']

    """
    return _over_agents(results, "TU")


def _over_agents(results: xr.Dataset, kinds: str) -> list[str]:
    """Return variables over (round, agents), of some kinds of values.

    Arrays over groups have two dimensions, too. But it is agents that fail: where the results say
    of some dimensions which failed, the others are none of agents.
    """
    known = {values.dims for values in map(results.get, _flags(results)) if values is not None}
    return [
        str(name)
        for name, values in results.data_vars.items()
        if values.ndim == 2
        and values.dims[0] == "round"
        and values.dtype.kind in kinds
        and (not known or values.dims in known)
    ]


def _flags(results: xr.Dataset) -> list[str]:
    """Return the names under which a run says of each agent whether it failed."""
    flags = {"agent": "failed"}
    return [flags.get(dim, f"{dim}_failed") for dim in map(str, results.dims)]


def variable_of(results: xr.Dataset, wanted: str | None, *, texts: bool = True) -> str:
    """Return the name of the variable to draw: the wanted one, or the first with numbers.

    Parameters
    ----------
    results
        The results.
    wanted
        A name; None takes the first with numbers or, if there is none, with texts.
    texts
        Whether one with texts will do.

    Raises
    ------
    UsageError
        If there is none, or no round.

    Examples
    --------
    >>> variable_of(xr.Dataset({"guess": (("round", "agent"), [[1.0]])}), None)
    'guess'

    """
    found = numeric(results) + (textual(results) if texts else [])
    what = "a number or a text" if texts else "a number"
    if not results.sizes.get("round"):
        raise UsageError("the results have no round, so there is nothing to draw")
    if wanted is not None and wanted not in found:
        raise UsageError(
            f"{wanted!r} is no variable with {what} per round and agent; these are"
            f" {', '.join(found) or 'not in these results'}"
        )
    if not found:
        raise UsageError(f"no variable has {what} per round and agent")
    return wanted or found[0]


def round_numbers(results: xr.Dataset) -> NDArray[np.int64]:
    """Return the rounds as people count them, from 1; of a part of a run those of the run.

    Examples
    --------
    >>> round_numbers(xr.Dataset({"winner": ("round", [1.0, 2.0])}, {"round": [4, 5]}))
    array([5, 6])

    """
    found = results.indexes.get("round")
    if found is None or found.dtype.kind not in "iu":
        return np.arange(1, results.sizes["round"] + 1)
    return np.asarray(found, np.int64) + 1


def caption(results: xr.Dataset, name: str, shown: int) -> str:
    """Say how many agents there are, how many replies are missing, and what is left out.

    Parameters
    ----------
    results
        The results.
    name
        The variable.
    shown
        How many rounds of it are drawn.

    """
    agents, failed = results[name].shape[1], _failed(results)
    said = [
        f"{agents:,} agent{'s' * (agents != 1)}",
        f"{failed:,} failed repl{'y' if failed == 1 else 'ies'}",
    ]
    if shown < results.sizes["round"]:
        said.append(f"{shown} of {results.sizes['round']:,} rounds")
    return " · ".join(said)


def _failed(results: xr.Dataset) -> int:
    """Count the replies that failed, over all rounds."""
    if "n_failed" in results:
        return int(results["n_failed"].sum())
    return int(results["failed"].sum()) if "failed" in results else 0

"""Whether two runs agree, and where they first part."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from daskagents.opened import OpenRun, open_run

#: What a run took, which time, the network and a replay make another, and not its seed.
UNLIKE = frozenset(
    "seconds seconds_waiting retries cost calls prompt_tokens completion_tokens cached_tokens"
    " calls_by_model tokens_by_model cost_by_model".split()
)
#: What is told of the settings.
_SETTINGS = ("seed", "checkpoint_every", "max_failed", "model", "budget")


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common.

    Parameters
    ----------
    settings
        What they were made with differently: by name, of the one and of the other.
    rounds
        How many rounds agree, from the first on.
    parting
        Where they part, in words; empty if they do not.
    """

    settings: dict[str, tuple[str, str]]
    rounds: int
    parting: str = ""

    @property
    def agree(self) -> bool:
        """Whether all that both have is the same, to the last bit."""
        return not self.parting

    def __str__(self) -> str:
        lines = [f"{name}: {one} | {other}" for name, (one, other) in self.settings.items()]
        many = f"{self.rounds:,} round{'s' * (self.rounds != 1)}"
        if self.agree:
            return "\n".join([*lines, f"the runs agree, bit for bit, in {many}"])
        return "\n".join([*lines, f"{many} agree; then {self.parting}"])


def compare(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> Comparison:
    """Compare the results of two runs, round by round, to the last bit.

    Parameters
    ----------
    one, other
        Run directories.

    Returns
    -------
    Comparison

    Raises
    ------
    FolderError
        If one of them holds no run.

    Examples
    --------
    >>> import tempfile, daskagents as da
    >>> class Player(da.Agent):
    ...     def reply(self, message) -> float:
    ...         return self.rng.random()
    >>> def game(players):
    ...     yield {"guess": players.reply()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for seed in (1, 2):
    ...         _ = da.run(game, da.Population(Player, 5), seed=seed, client="sync",
    ...                    out=f"{folder}/{seed}")
    ...     print(compare(f"{folder}/1", f"{folder}/2"))
    seed: 1 | 2
    0 rounds agree; then in round 0 'guess' of agent 0: 0.971... | 0.413...
    """
    runs = open_run(one), open_run(other)
    first, second = (run.results for run in runs)
    both = [name for name in first.data_vars if name in second and name not in UNLIKE]
    alone = sorted({*map(str, first.data_vars)} ^ {*map(str, second.data_vars)})
    rounds = min(first.sizes["round"], second.sizes["round"])
    settings = _settings(*runs)
    if alone:
        settings["variables of one only"] = (", ".join(alone), "")
    if first.sizes["round"] != second.sizes["round"]:
        settings["rounds"] = (str(first.sizes["round"]), str(second.sizes["round"]))
    for number in range(rounds):
        for name in both:
            parting = _parting(first[name].isel(round=number), second[name].isel(round=number))
            if parting is not None:
                return Comparison(settings, number, f"in round {number} {str(name)!r}{parting}")
    if rounds == 0:
        return Comparison(settings, 0, "there is nothing to compare: a run has no round yet")
    return Comparison(settings, rounds)


def _parting(one: xr.DataArray, other: xr.DataArray) -> str | None:
    """Return where two arrays first differ, in words; None if they do not. A NaN is a NaN."""
    if one.dims != other.dims or one.shape != other.shape:
        return f": {dict(one.sizes)} | {dict(other.sizes)}"
    a, b = one.values, other.values
    same = np.asarray(a == b)
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        same &= np.signbit(a) == np.signbit(b)  # of the zeros, which are equal
        same |= np.isnan(a) & np.isnan(b)
    if same.all():
        return None
    at = tuple(int(place) for place in np.argwhere(~same)[0])
    where = ", ".join(f"{dim} {place}" for dim, place in zip(one.dims, at, strict=True))
    return f"{f' of {where}' if where else ''}: {a[at]!s} | {b[at]!s}"


def _settings(one: OpenRun, other: OpenRun) -> dict[str, tuple[str, str]]:
    """Return what two runs were made with differently."""
    described = [_described(run.about) for run in (one, other)]
    names = dict.fromkeys([*described[0], *described[1]])
    pairs = {name: (described[0].get(name, ""), described[1].get(name, "")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _described(about: dict[str, Any]) -> dict[str, str]:
    """Return what a run was made with, by name."""
    found = {name: str(about.get(name)) for name in _SETTINGS}
    found |= {name: str(version) for name, version in about.get("versions", {}).items()}
    found |= {
        f"parameter {name}": str(value)
        for name, value in about.get("workflow", {}).get("parameters", {}).items()
    }
    program = about.get("program", {})
    for key, one in program.get("populations", {}).items():
        found[f"columns of {key}"] = one["digest"]
        found[f"agents and blocks of {key}"] = f"{one['bounds'][2]} in blocks of {one['bounds'][1]}"
    for path, kept in program.get("files", {}).items():
        found[Path(path).name] = kept["digest"]
    return found

"""Runs that were made before: read from their directory."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from daskagents import html
from daskagents.errors import FolderError
from daskagents.rounds import open_rounds
from daskagents.store import read_about


class OpenRun:
    """A run, read from its directory; made by `open_run`.

    Attributes
    ----------
    folder : Path
        The run directory.
    about : dict
        What ``run.json`` says: workflow, parameters, seed, populations, versions, status.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = read_about(folder)

    @property
    def status(self) -> str:
        """``"running"`` (or killed while it was), ``"done"``, ``"failed"`` or ``"interrupted"``."""
        return str(self.about["status"])

    @cached_property
    def results(self) -> xr.Dataset:
        """The rounds that are written down, read as needed; over ``round`` and the agents."""
        return open_rounds(self.folder)

    @property
    def usage(self) -> dict[str, Any]:
        """Model calls, prompt and completion tokens, of all rounds together."""
        names = ("calls", "prompt_tokens", "completion_tokens")
        found = self.results
        return {name: int(found[name].sum()) if name in found else 0 for name in names}

    def __repr__(self) -> str:
        workflow = self.about.get("workflow", {}).get("name", "?")
        try:
            sizes = ", ".join(f"{name}: {size:,}" for name, size in self.results.sizes.items())
        except FolderError:
            sizes = "no round yet"
        return f"<run of {workflow} in {self.folder}: {self.status}; {sizes}>"

    def _repr_html_(self) -> str:
        workflow, populations = self.about.get("workflow", {}), self.about.get("populations", {})
        try:
            rounds, usage = f"{self.results.sizes['round']:,}", self.usage
        except FolderError:
            rounds, usage = "0", {}
        about = {
            "workflow": workflow.get("name", "?"),
            "folder": str(self.folder),
            "status": self.status,
            "rounds": rounds,
            "seed": str(self.about.get("seed", "")),
            **{
                name: f"{of.get('agents', 0):,} {of.get('class', '')}"
                for name, of in populations.items()
            },
            "model": self.about.get("model", ""),
            **{name.replace("_", " "): f"{count:,}" for name, count in usage.items() if count},
        }
        return html.table("Run", about)


def open_run(folder: str | os.PathLike[str]) -> OpenRun:
    """Open a run directory, to read its results.

    Parameters
    ----------
    folder
        What was given to `run` as ``out``.

    Raises
    ------
    FolderError
        If the folder holds no run.

    Examples
    --------
    >>> import tempfile, daskagents as da
    >>> class Player(da.Agent):
    ...     def reply(self, message) -> float:
    ...         return self.rng.random()
    >>> def game(players):
    ...     yield {"guess": players.reply()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = da.run(game, da.Population(Player, 10), out=f"{folder}/run", client="sync")
    ...     opened = da.open_run(f"{folder}/run")
    ...     opened.status, dict(opened.results.sizes)
    ('done', {'round': 1, 'agent': 10})

    """
    return OpenRun(Path(folder).expanduser().absolute())

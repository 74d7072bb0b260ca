"""Runs that go on, and runs that are replayed: from their directories alone."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from daskagents import blocks
from daskagents.columns import concat
from daskagents.environments.base import Environment
from daskagents.environments.describing import read_start, read_tree
from daskagents.errors import FolderError, UsageError
from daskagents.models.base import Model
from daskagents.models.budget import Budget
from daskagents.models.chosen import as_model
from daskagents.models.dummy import Dummy
from daskagents.named import Named
from daskagents.population import Population
from daskagents.references import find
from daskagents.running import Settings, execute
from daskagents.store import check_whole, file_name, read_about
from daskagents.table import Table
from daskagents.workflow import bind


def resume(
    folder: str | os.PathLike[str],
    *,
    client: Any = None,
    model: Any = None,
    budget: Budget | None = None,
    accept_changes: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> xr.Dataset:
    """Go on with a run, from its directory alone.

    The workflow, the classes and the functions are found again by their modules or files; the
    agents as they were given and the settings are in the directory. What was computed is not
    computed again, and no answer of a model is asked for again.

    Parameters
    ----------
    folder
        What was given to `run` as ``out``.
    client, progress
        As for `run`: other workers than before do as well.
    model
        What agents ask; by default what they asked before. Its key comes from the environment.
    budget
        A larger budget, of a run that had spent its own; by default that.
    accept_changes
        Whether to go on although files of the program have changed.
    **options
        Parameters of the workflow that are to be others, such as ``rounds=50`` to have more, and
        those that could not be written down.

    Returns
    -------
    xarray.Dataset
        As `run` returns it, of all rounds.

    Raises
    ------
    FolderError
        If the folder holds no run, another process writes it, or a file in it is damaged.
    UsageError
        If something of the program cannot be found, with its name, or has changed, with the
        difference.
    RunError
        If the workflow goes another way than before; with the first step that differs.

    Examples
    --------
    >>> resume("runs/never-made")
    Traceback (most recent call last):
    daskagents.errors.FolderError: ...runs/never-made holds no run (there is no run.json in it)
    """
    found = Found(folder, options)
    found.go_on_replaying()
    limits = found.about.get("budget")
    settings = replace(
        found.settings(model),
        client=client,
        out=found.folder,
        budget=budget or (Budget(**limits) if limits else None),
        progress=progress,
        resume=True,
        accept_changes=accept_changes,
    )
    return execute(found.workflow, found.bound(), settings)


def replay(
    folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    client: Any = None,
    workflow: Any = None,
    model: Any = None,
    on_miss: Literal["error", "call"] = "error",
    progress: bool | None = None,
    **options: Any,
) -> xr.Dataset:
    """Run again what a directory holds, with the answers in its journal: no endpoint is asked.

    Parameters
    ----------
    folder
        What was given to `run` as ``out``. It is not changed.
    out
        Where to write the replay; None: as for `run`.
    client, progress
        As for `run`.
    workflow
        Another workflow, that is called with the same arguments; by default the same.
    model
        What is asked where an answer is missing, with ``on_miss="call"``.
    on_miss
        Where a workflow or an agent asks what was not answered then: ``"error"`` says what;
        ``"call"`` asks the model.
    **options
        Parameters of the workflow that are to be others.

    Returns
    -------
    xarray.Dataset
        As `run` returns it, bit for bit what the run had returned, but for what it took:
        ``calls`` and the like count only what was asked now.

    Raises
    ------
    FolderError
        If the folder holds no run, or a file in it is damaged.
    UsageError
        If something of the program cannot be found, with its name.
    RunError
        If an answer is missing: with the step, the agent, and what it asked.
    """
    if on_miss not in ("error", "call"):
        raise UsageError(f"on_miss is {on_miss!r}; give 'error' or 'call'")
    found = Found(folder, options, workflow, asks=on_miss == "call")
    settings = replace(
        found.settings(model),
        client=client,
        out=None if out is None else Path(out),
        progress=progress,
        source=str(found.folder),
        on_miss=on_miss,
    )
    return execute(found.workflow, found.bound(), settings)


#: What ``run.json`` says of each run, and a run that goes on needs.
_NEEDED = ("seed", "checkpoint_every", "max_failed", "fsync")


class Found:
    """A program, found again by what a run directory says of it.

    Parameters
    ----------
    folder
        The run directory.
    options
        Parameters of the workflow that are to be others.
    workflow
        Another workflow.
    asks
        Whether models will be asked; else something stands in for each, and need not be found.
    typed_in
        Whether classes will do that were typed in, as in a notebook, and may have changed since;
        and no workflow is needed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        options: dict[str, Any],
        workflow: Any = None,
        *,
        asks: bool = True,
        typed_in: bool = False,
    ) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.about = read_about(self.folder)
        check_whole(self.folder, self.about)
        if "program" not in self.about or "populations" not in self.about:
            raise UsageError(f"{self.folder} was killed before the run began; {self._again}")
        lacks = [name for name in _NEEDED if name not in self.about]
        if lacks:
            raise FolderError(f"{self.folder / 'run.json'} does not say {', '.join(lacks)}")
        self.program: dict[str, Any] = self.about["program"]
        self.options, self._asks = options, asks
        self._replays: dict[str, Any] = {}
        self._typed_in = typed_in
        self.workflow = workflow
        if workflow is None and not typed_in:
            self.workflow = find(self.program["workflow"], "the workflow", self._again)
        self._populations: dict[str, Population] = {}
        self._environments: dict[str, Environment] = {}

    @property
    def _again(self) -> str:
        return f"run the program itself again, with out={str(self.folder)!r} and resume=True"

    def settings(self, model: Any) -> Settings:
        """Return how the run was made."""
        about = self.about
        given = as_model(model) if model is not None else None
        if given is None and about.get("model_made_with") is not None:
            given = self._model(about["model_made_with"], "the model", "give it: model=...")
        return Settings(
            model=given,
            seed=about["seed"],
            checkpoint_every=about["checkpoint_every"],
            max_failed=about["max_failed"],
            sync=about["fsync"],
            **self._replays,
        )

    def go_on_replaying(self) -> None:
        """Go on with a replay as one: with the answers of the same directory."""
        self._replays = self.about.get("replays") or {}
        if self._replays:
            read_about(Path(self._replays["source"]))  # it may be gone
            self._asks = self._replays["on_miss"] == "call"

    def bound(self) -> Any:
        """Return the arguments of the workflow."""
        given: dict[str, Any] = {}
        for name, node in self.program["arguments"].items():
            if name not in self.options:
                given[name] = self._argument(node, name)
        return _bind(self.workflow, given | self.options)

    def _argument(self, node: dict[str, Any], name: str) -> Any:
        if "population" in node:
            whole = self.population(node["population"])
            return whole if node["rows"] is None else whole._part(np.array(node["rows"], np.int64))
        if "environment" in node:
            return self._environment(node["environment"])
        if "named" in node:
            return Named(self.population(node["named"]))
        for kind, make in (("list", list), ("tuple", tuple)):
            if kind in node:
                return make(self._argument(inner, name) for inner in node[kind])
        if "dict" in node:
            return {key: self._argument(inner, name) for key, inner in node["dict"].items()}
        return self._make(node, f"the argument {name!r}", f"give it: {name}=...")

    def _model(self, node: dict[str, Any], what: str, cure: str) -> Model:
        """Return a model, or what stands in for it."""
        if not self._asks:
            return Dummy()
        made: Model = self._make(node, what, cure)
        return made

    def _make(self, node: dict[str, Any], what: str, cure: str) -> Any:
        """Return what `describe_value` described."""
        if "value" in node:
            return node["value"]
        if "tuple" in node:
            return tuple(self._make(inner, what, cure) for inner in node["tuple"])
        if "enum" in node:
            return find(node["enum"], what, cure)[node["member"]]
        if "found" in node:
            return find(node["found"], what, cure)
        if "missing" in node:
            raise UsageError(f"{what} has a {node['missing']}, which cannot be found again; {cure}")
        inside = {
            name: self._make(inner, f"{what} ({name})", cure)
            for name, inner in node["made_with"].items()
        }
        return find(node["class"], what, cure)(**inside)

    def population(self, key: str) -> Population:
        """Make a population again, as it was given."""
        if key not in self._populations:
            self._populations[key] = self._read(key, self.program["populations"][key])
        return self._populations[key]

    def _environment(self, key: str) -> Environment:
        """Make an environment again, as it was given."""
        if key not in self._environments:
            what = f"the class of {key!r}"
            tree = read_tree(
                self.program["environments"][key]["tree"],
                lambda said: find(said, what, self._again),
            )
            folder = self.folder / "environments" / file_name(key)
            self._environments[key] = read_start(tree, folder)
        return self._environments[key]

    def _read(self, key: str, said: dict[str, Any]) -> Population:
        what = f"the class of {key!r}"
        cls = find(said["class"], what, self._again, typed_in=self._typed_in)
        first, size, n = said["bounds"]
        name = self.about["populations"][key]["name"]
        columns = {}
        if said["columns"]:
            folder = self.folder / "populations" / file_name(name)
            parts = [blocks.read(path).columns for path in sorted(folder.iterdir())]
            columns = {c: concat([part[c] for part in parts]) for c in said["columns"]}
        model = said["model"]
        made = None if model is None else self._model(model, f"the model of {key!r}", self._again)
        block_size = said.get("block_size", size - first)
        population = Population._of(cls, Table(n, columns), made, block_size, said["name"])
        population.dim = said["dim"]  # of a named agent it is not its name
        population._reframe()
        return population


def _bind(workflow: Any, given: dict[str, Any]) -> Any:
    """Fit arguments by name to a workflow's parameters, ``*args`` and ``**options`` included."""
    args: list[Any] = []
    options: dict[str, Any] = {}
    positional = True
    for name, parameter in inspect.signature(workflow).parameters.items():
        if name not in given:
            positional = False
            continue
        value = given.pop(name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            options |= value
        elif positional and parameter.kind is not parameter.KEYWORD_ONLY:
            args.append(value)
        else:
            options[name] = value
    return bind(workflow, tuple(args), options | given)


__all__ = ["replay", "resume"]

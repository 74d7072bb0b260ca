"""Runs that were made before: read from their directory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from daskagents.afterwards.ended import Ended
from daskagents.environments.describing import open_environment
from daskagents.errors import UsageError
from daskagents.failures import read_failures
from daskagents.glimpse import glimpse
from daskagents.journal.reading import as_dataset, conversation_of, usage_of
from daskagents.journal.segments import journal_of
from daskagents.message import Message
from daskagents.rounds import open_rounds
from daskagents.steering.live import ByScheduler, Line, newest_at
from daskagents.steering.steered import Steered
from daskagents.store import file_name, read_about
from daskagents.summary import as_html, as_text


class OpenRun(Steered, Ended):
    """A run, read from its directory, and steered while it is under way; made by `open_run`.

    Attributes
    ----------
    folder : Path
        The run directory.
    about : dict
        What ``run.json`` says: workflow, parameters, seed, populations, versions, status.

    """

    def __init__(self, folder: Path, line: Line | None = None) -> None:
        self.folder, self._line = folder, line
        self.about = read_about(folder)

    @property
    def status(self) -> str:
        """How it ended, as ``run.json`` says.

        ``running`` (or killed), ``done``, ``stopped``, ``failed``, ``interrupted`` or ``out of
        budget``.
        """
        return str(self.about["status"])

    @cached_property
    def results(self) -> xr.Dataset:
        """The rounds that are written down, read as needed; over ``round`` and the agents."""
        return open_rounds(self.folder)

    @property
    def usage(self) -> dict[str, Any]:
        """Model calls, tokens, retries and cost, of all rounds together.

        From the journal, which has all that was answered, those of rounds that are not over too.
        """
        names = ("calls", "prompt_tokens", "completion_tokens", "cached_tokens", "retries", "cost")
        if journal_of(self.folder).is_dir():
            return {name: getattr(usage_of(self.folder), name) for name in names}
        found = self.results
        sums = {name: found[name].values.sum() if name in found else 0 for name in names}
        return {name: float(v) if name == "cost" else int(v) for name, v in sums.items()}

    def journal(
        self, round: int | Iterable[int] | None = None, agent: int | None = None
    ) -> xr.Dataset:
        """Return what models were asked and answered: a row for each chat.

        Parameters
        ----------
        round
            Which rounds; None for all.
        agent
            Whose chats; None for those of all agents.

        Returns
        -------
        xarray.Dataset
            Over ``chat``: where it was (round, step, population, agent, call), the request as a
            text, the answer or the error, model and endpoint, what it took, when it began (seconds
            since the epoch) and its seconds. Chats of a round that is not over have round -1.
        """
        return as_dataset(self.folder, _set(round), agent)

    def environment(self, name: str) -> xr.Dataset:
        """Return all versions of an environment.

        Parameters
        ----------
        name
            As it is called in the run: the workflow's parameter.

        Returns
        -------
        xarray.Dataset
            Over ``version``, from the start on, with the round and the step each was made in (-1
            where in none). Fields that agents append to are over ``<field>_entry``: everything
            that was ever written, with the version it came in. Fields of environments within are
            called ``towns.rome.price``. Of a large array there is the last one written down.

        Raises
        ------
        UsageError
            If the run has no such environment.
        """
        known = self.about.get("environments", {})
        if name not in known:
            said = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{self.folder} has no environment {name!r}; {said}")
        where = self.folder / "environments" / file_name(name)
        return open_environment(self.folder, known[name], where)

    def failures(
        self, round: int | Iterable[int] | None = None, agent: int | None = None
    ) -> xr.Dataset:
        """Return why agents failed: a row for each time that one did.

        Parameters
        ----------
        round
            In which rounds; None for all.
        agent
            Which agent; None for all.

        Returns
        -------
        xarray.Dataset
            Over ``failure``: round, step, population, agent, the error's type and message, the line
            of the agent's code where it arose, and the last answer that the agent got in that step.
        """
        return read_failures(self.folder, _set(round), agent)

    def conversation(self, agent: int, population: str | None = None) -> list[Message]:
        """Return what one agent was asked, and what it was answered, in order.

        What an agent remembers and sends along again is left out.

        Parameters
        ----------
        agent
            Its id.
        population
            Of which population, where several have asked a model.
        """
        return conversation_of(self.folder, agent, population)

    def __repr__(self) -> str:
        name = self.about.get("workflow", {}).get("name", "?")
        return as_text(name, self.folder, self.status, glimpse(self.folder, agents=False))

    def _repr_html_(self) -> str:
        return as_html({**self.about, "status": self.status}, self.folder, glimpse(self.folder))


def _set(rounds: int | Iterable[int] | None) -> set[int] | None:
    """Return rounds as a set; None for all."""
    return None if rounds is None else {rounds} if isinstance(rounds, int) else set(rounds)


def open_run(folder: str | os.PathLike[str]) -> OpenRun:
    """Open a run, to read its results, to ask its agents, and to steer it while it is under way.

    Parameters
    ----------
    folder
        What was given to `run` as ``out``; or the address of a Dask scheduler, such as
        ``"tcp://10.0.0.1:8786"``, for the newest run that is under way there.

    Raises
    ------
    FolderError
        If the folder holds no run.
    UsageError
        If no scheduler answers at the address.
    RunError
        If no run is under way there.

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
    if isinstance(folder, str) and "://" in folder:
        run = newest_at(folder)
        return OpenRun(Path(run["reads"]), ByScheduler(folder, run["topic"]))
    return OpenRun(Path(folder).expanduser().absolute())

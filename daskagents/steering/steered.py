"""What can be done with a run from elsewhere: while it is under way, and what of that after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from daskagents.errors import RunError, UsageError
from daskagents.lock import Lock
from daskagents.program import refer
from daskagents.steering.after import Asked, ask_stored
from daskagents.steering.live import ByFolder, Line
from daskagents.steering.outside import question_of
from daskagents.steering.surveys import open_surveys


class Steered:
    """A run that can be steered, and whose agents can be asked from outside.

    Attributes
    ----------
    folder : Path
        The run directory.
    """

    folder: Path
    _line: Line | None = None

    @property
    def live(self) -> bool:
        """Whether the run is under way, as far as can be told from here."""
        return self._line is not None or Lock.held(self.folder)

    def _ask(self, **command: Any) -> dict[str, Any]:
        line = self._line or ByFolder(self.folder)
        return line.ask({name: said for name, said in command.items() if said is not None})

    def state(self) -> dict[str, Any]:
        """Return how far a run is that is under way.

        Returns
        -------
        dict
            ``state`` (``running``, ``paused``, ``stopping``), ``rounds`` that are closed, ``of``
            how many, ``replies``, ``calls``, ``tokens``, ``cost``, ``failed``, ``seconds``, and
            where its program runs.

        Raises
        ------
        RunError
            If it is not under way, or does not answer.
        """
        return self._ask(do="status")

    def pause(self) -> dict[str, Any]:
        """Let the steps that have begun end, and no other begin, until `resume`.

        Nothing is lost if the run is killed meanwhile.

        Raises
        ------
        RunError
            If it is not under way, or does not answer.
        """
        return self._ask(do="pause")

    def resume(self) -> dict[str, Any]:
        """Let a paused run go on.

        Raises
        ------
        RunError
            If it is not under way (then `daskagents.resume` goes on with it), or does not answer.
        """
        return self._ask(do="resume")

    def stop(self) -> dict[str, Any]:
        """End the run with a `StoppedError`; what was answered is kept, and it can be resumed.

        Raises
        ------
        RunError
            If it is not under way, or does not answer.
        """
        return self._ask(do="stop")

    def interview(
        self,
        agent: int,
        question: str,
        *,
        population: str | None = None,
        client: Any = "sync",
        model: Any = None,
    ) -> Any:
        """Ask one agent a question, on a copy of its state; the run is not disturbed.

        `Agent.interview` says how agents answer. The answer is paid from the run's budget and
        written into its journal. A run that is not under way is asked as its last checkpoint is.

        Parameters
        ----------
        agent
            Its id.
        question
            What is asked.
        population
            Of which population, where there are several.
        client, model
            As for `resume`, where the run is not under way; by default no cluster.

        Returns
        -------
        str or float or dict
            What it answers.

        Raises
        ------
        UsageError
            If there is no such agent.
        RunError
            If it could not answer.
        """
        if not self.live:
            asked = Asked(_question(question), population, agents=[agent], keep=False)
            found = ask_stored(self.folder, asked, client, model)
            said = {str(name): v.values[0] for name, v in found.data_vars.items()}
            del said["failed"]
            plain = {n: v.item() if hasattr(v, "item") else v for n, v in said.items()}
            return plain.get("answer", plain)
        return self._ask(do="interview", agent=agent, question=question, population=population)[
            "content"
        ]

    def survey(
        self,
        question: str,
        *,
        population: str | None = None,
        where: Mapping[str, Any] | None = None,
        agents: Sequence[int] | None = None,
        sample: int | None = None,
        choices: Sequence[str | int] = (),
        schema: Any = None,
        shuffle: bool = False,
        name: str = "",
        client: Any = "sync",
        model: Any = None,
    ) -> xr.Dataset:
        """Ask many agents a question, on copies of their state, in mid-run or after it.

        All are asked as they are after the same step. What they answer is paid from the run's
        budget, written into its journal, and kept as a Dataset in its directory.

        Parameters
        ----------
        question
            What is asked.
        population
            Which population, where there are several.
        where
            Only those with these values of fields, a value or a list of them for each.
        agents
            Only those with these ids.
        sample
            Only so many of them, drawn with the run's seed.
        choices, schema
            What the answer is to be, as for `Agent.chat`.
        shuffle
            Whether each agent is told the choices in an order of its own.
        name
            What it is kept under; by default ``survey-1`` and so on.
        client, model
            As for `resume`, where the run is not under way; by default no cluster.

        Returns
        -------
        xarray.Dataset
            Over the population's dimension: ``answer`` (a dataclass: a variable per field),
            ``failed``, and what the agents were given as coordinates; its attributes say what was
            asked of whom and when.

        Raises
        ------
        UsageError
            If nobody is meant, or something named is not there.
        RunError
            If nobody could answer.
        """
        ids = None if agents is None else [int(agent) for agent in agents]
        if not self.live:
            asked = _question(question, choices=choices, schema=schema, shuffle=shuffle)
            said = Asked(asked, population, where, ids, sample, name)
            return ask_stored(self.folder, said, client, model)
        answer = self._ask(
            do="survey",
            question=question,
            choices=list(choices) or None,
            schema=_sent(schema),
            shuffle=shuffle or None,
            population=population,
            where=dict(where) if where else None,
            agents=ids,
            sample=sample,
            name=name or None,
        )
        found = self.surveys.get(answer["name"])
        if found is None:
            raise RunError(f"the survey was made, but {self.folder} cannot be read here: {answer}")
        return found.load()

    @property
    def surveys(self) -> dict[str, xr.Dataset]:
        """The surveys that were made of the run, by name."""
        return open_surveys(self.folder)

    def intervene(
        self,
        *,
        population: str | None = None,
        where: Mapping[str, Any] | None = None,
        agents: Sequence[int] | None = None,
        environment: str | None = None,
        round: int | None = None,
        message: Any = None,
        **fields: Any,
    ) -> int:
        """Change agents or an environment of a run that is under way, as a round begins.

        It is written down with the run: resumed or replayed, the run is changed again in the same
        place.

        Parameters
        ----------
        population, where, agents
            Which agents, as for `survey`.
        environment
            The environment whose fields are set, in place of agents.
        round
            The round before whose first step it is done, from 0; by default the next to begin.
        message
            What is put into the agents' inboxes.
        **fields
            Fields and their new values.

        Returns
        -------
        int
            The round.

        Raises
        ------
        UsageError
            If something named is not there, a value does not fit, or the round has begun.
        """
        answer = self._ask(
            do="intervene",
            population=population,
            where=dict(where) if where else None,
            agents=None if agents is None else [int(agent) for agent in agents],
            environment=environment,
            round=round,
            message=message,
            set=fields or None,
        )
        return int(answer["round"])


def _question(text: str, **more: Any) -> Any:
    """Return a question, checked as the one of a command."""
    made = question_of({"question": text, **more, "schema": None})
    schema = more.get("schema")
    if schema is not None and made.choices:
        raise UsageError("give choices or a schema, not both: choices are a schema")
    return dataclasses.replace(made, schema=schema)


def _sent(schema: Any) -> Any:
    """Return a schema as it is sent to the program that drives the run."""
    if schema is None:
        return None
    if schema in (str, int, float, bool):
        return schema.__name__
    if not isinstance(schema, type):
        raise UsageError(
            f"schema is {schema!r}; for a run that is under way give str, int, float, bool, an"
            " Enum or a dataclass of a file, or choices"
        )
    return refer(schema)

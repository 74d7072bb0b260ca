"""A run that is under way, steered from elsewhere: by its directory, or by its scheduler."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from distributed import Client

from daskagents.cluster import client_at
from daskagents.errors import RunError, UsageError
from daskagents.keeping import ANSWER, COMMAND, RUNS
from daskagents.lock import Lock
from daskagents.steering.mailbox import Mailbox

#: Seconds that a run may take to take a command, and to answer a question to its agents.
PATIENCE, LONG = 30.0, 86_400.0
#: Commands that are answered when agents have answered.
_LONG = frozenset({"interview", "survey"})
#: Seconds between two looks for an answer.
_LOOK = 0.05


class Line(Protocol):
    """A way to a run that is under way."""

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Give the run a command; return its answer."""


class ByFolder:
    """The way by the run directory.

    Parameters
    ----------
    folder
        The run directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def alive(self) -> bool:
        """Whether a process holds the directory, as far as can be told from here."""
        return Lock.held(self.folder)

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Give the run a command; return its answer.

        Raises
        ------
        UsageError, RunError
            What the run says was wrong; or if nothing answers.
        """
        if not self.alive:
            raise RunError(
                f"no process runs {self.folder} at present; go on with it: daskagents resume"
                f" {self.folder}"
            )
        patience = LONG if command["do"] in _LONG else PATIENCE
        return said_in(Mailbox(self.folder).ask(command, patience, lambda: self.alive))


class ByScheduler:
    """The way by the scheduler of the cluster that a run is on; connected while it is asked.

    Parameters
    ----------
    address
        Of the scheduler.
    topic
        Of the run.
    """

    def __init__(self, address: str, topic: str) -> None:
        self.address, self.topic = address, topic

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Give the run a command; return its answer.

        Raises
        ------
        UsageError, RunError
            What the run says was wrong; or if nothing answers.
        """
        with client_at(self.address) as client:
            ask, answer = (getattr(client.scheduler, name) for name in (COMMAND, ANSWER))
            if self.topic not in _topics(client):
                raise RunError("the run has ended")
            number = client.sync(ask, topic=self.topic, said=dict(command))
            end = time.monotonic() + (LONG if command["do"] in _LONG else PATIENCE)
            while time.monotonic() < end:
                found = client.sync(answer, number=number)
                if found is not None:
                    return said_in(found)
                if self.topic not in _topics(client):
                    raise RunError("the run has ended")
                time.sleep(_LOOK)
        raise RunError(
            f"the run on {self.address} does not answer; its program may be busy or gone"
        )


def _topics(client: Client) -> set[str]:
    return {run["topic"] for run in _runs(client)}


def _runs(client: Client) -> list[dict[str, Any]]:
    """Return what a scheduler knows of the runs that are under way on it, the newest last."""
    knows = client.run_on_scheduler(_knows)
    return list(client.sync(getattr(client.scheduler, RUNS))) if knows else []


def _knows(dask_scheduler: Any) -> bool:
    """Whether a run has ever touched a scheduler."""
    return RUNS in dask_scheduler.handlers


def newest_at(address: str) -> dict[str, Any]:
    """Return what a scheduler knows of the newest run that is under way there.

    Raises
    ------
    UsageError
        If no scheduler answers.
    RunError
        If no run is under way on it.
    """
    with client_at(address) as client:
        runs = _runs(client)
    if not runs:
        raise RunError(
            f"no run is under way on the scheduler at {address}; those that have ended are"
            " opened by their directories"
        )
    return runs[-1]


def said_in(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer says, or raise what was wrong."""
    if "error" in answer:
        raise (UsageError if answer.get("kind") == "usage" else RunError)(answer["error"])
    said: dict[str, Any] = answer["said"]
    return said

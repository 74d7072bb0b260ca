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
    """The way by the scheduler of the cluster that a run is on.

    Parameters
    ----------
    client
        Connected to it.
    topic
        Of the run.
    """

    def __init__(self, client: Client, topic: str) -> None:
        self.client, self.topic = client, topic

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Give the run a command; return its answer.

        Raises
        ------
        UsageError, RunError
            What the run says was wrong; or if nothing answers.
        """
        scheduler = self.client.scheduler
        number = self.client.sync(getattr(scheduler, COMMAND), topic=self.topic, said=dict(command))
        end = time.monotonic() + (LONG if command["do"] in _LONG else PATIENCE)
        while time.monotonic() < end:
            found = self.client.sync(getattr(scheduler, ANSWER), number=number)
            if found is not None:
                return said_in(found)
            if self.topic not in {run["topic"] for run in runs_on(self.client)}:
                raise RunError("the run has ended")
            time.sleep(_LOOK)
        raise RunError(
            f"the run on {scheduler.address} does not answer; its program may be busy or gone"
        )


def runs_on(client: Client) -> list[dict[str, Any]]:
    """Return what a scheduler knows of the runs that are under way on it, the newest last."""
    try:
        found: list[dict[str, Any]] = client.sync(getattr(client.scheduler, RUNS))
    except AttributeError:  # no run has touched it
        return []
    return found


def connect_to(address: str) -> tuple[Client, dict[str, Any]]:
    """Connect to a scheduler; return the client, and the newest run that is under way there.

    Raises
    ------
    UsageError
        If no scheduler answers.
    RunError
        If no run is under way on it.
    """
    client = client_at(address)
    try:
        runs = runs_on(client)
        if not runs:
            raise RunError(
                f"no run is under way on the scheduler at {address}; those that have ended are"
                " opened by their directories"
            )
    except BaseException:
        client.close()
        raise
    return client, runs[-1]


def said_in(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer says, or raise what was wrong."""
    if "error" in answer:
        raise (UsageError if answer.get("kind") == "usage" else RunError)(answer["error"])
    said: dict[str, Any] = answer["said"]
    return said

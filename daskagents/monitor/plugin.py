"""In the scheduler: hears what runs tell, keeps it in short, and passes commands on."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from distributed import SchedulerPlugin

from daskagents.monitor.heard import RunSeen, wanted

#: The plugin that keeps what the workers of a run share.
_KEEPER = "daskagents-keeper"
#: Ended runs, and answers to commands, that are kept.
_ENDED, _ANSWERS = 20, 100
#: What a task's state in the scheduler means for a block.
_STATES = {"processing": "running", "memory": "running", "erred": "failed"}


class MonitorPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Hears what all runs on a cluster tell, and keeps it in short; and brings the page.

    It holds sums, counts and sketches: a few megabytes for each run, however many agents it has.

    Attributes
    ----------
    runs : dict
        What was heard of each run, by its topic, in the order they began; ended ones too, the
        last twenty.
    answers : dict
        What was answered to commands, by the id of each, the last hundred.
    """

    name = "daskagents-monitor"
    # what it has heard stays
    idempotent = True

    def __init__(self) -> None:
        self.runs: dict[str, RunSeen] = {}
        self.answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.scheduler: Any = None
        self._dropped: set[str] = set()

    async def start(self, scheduler: Any) -> None:
        """Bring the page to the dashboard, if there is one."""
        from daskagents.monitor.mount import mount

        self.scheduler = scheduler
        mount(scheduler, self)

    def log_event(self, topic: str, msg: Any) -> None:
        """Hear an event; those of runs only, and not what runs are told."""
        if not topic.startswith("daskagents-") or topic.endswith("-control"):
            return
        messages = msg if isinstance(msg, list | tuple) else (msg,)
        for message in messages:
            if isinstance(message, Mapping):
                self._hear(topic, message)

    def _hear(self, topic: str, message: Mapping[str, Any]) -> None:
        if "answer" in message:
            self.answers[str(message["answer"])] = dict(message)
            while len(self.answers) > _ANSWERS:
                self.answers.popitem(last=False)
            return
        if message.get("state") == "anew" or topic in self._dropped:  # it is driven anew
            self.runs.pop(topic, None)
            self._dropped.add(topic)
            return
        run = self.runs.get(topic)
        if run is None:
            if not message.keys() & {"run", "step", "at"}:
                return
            run = self.runs[topic] = RunSeen(topic)
            self._forget()
        run.hear(message)
        if not run.client:
            run.client = self._keeper().clients.get(topic, "") if self._keeper() else ""
        if run.note(force="state" in message):
            self._look(run)

    def _keeper(self) -> Any:
        return self.scheduler.plugins.get(_KEEPER) if self.scheduler is not None else None

    def _forget(self) -> None:
        """Forget runs that ended long ago."""
        ended = [topic for topic, run in self.runs.items() if not run.open]
        for topic in ended[:-_ENDED]:
            del self.runs[topic]

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Note that the runs of a client are lost that is gone."""
        for run in self.runs.values():
            if client and run.client == client:
                run.lose()

    def newest(self) -> RunSeen | None:
        """Return the run that is shown first: the newest that has not ended, else the newest."""
        runs = list(self.runs.values())
        return next((run for run in reversed(runs) if run.open), runs[-1] if runs else None)

    def refresh(self, run: RunSeen) -> None:
        """Look where the blocks of a run are that have not told anything yet, and add a point."""
        if not run.open:
            return
        tasks = self.scheduler.tasks
        for step, place, index, cell in wanted(run.steps.values()):
            key = (f"step-{step.population}-{step.number}-{run.token}", place)
            task = tasks.get(key)
            state = "waiting" if task is None else _STATES.get(task.state, "waiting")
            if state == "waiting" and cell.state == "running" and task is None:
                continue  # it has told something
            cell.state = state  # type: ignore[assignment]
            if task is not None and task.processing_on is not None:
                cell.worker = task.processing_on.address
            if state == "running" and (step.population, index) in run.apart:
                cell.worker = cell.worker or "apart"
        self._look(run)
        run.note()

    def _look(self, run: RunSeen) -> None:
        """Look at what the workers of a run share: calls under way, and what is spent."""
        keeper = self._keeper()
        accounts = None if keeper is None else keeper.runs.get(run.topic)
        if accounts is None:
            return
        for name, account in accounts.items():
            said = account.describe()
            if said is None:
                continue
            if "spent" in said:
                names = list(run.about.get("budget") or ())
                pairs = zip(said["spent"], said["limits"], strict=True)
                run.purse = dict(zip(names, pairs, strict=False))
            else:
                run.endpoints[_label(name)] = said

    def command(self, topic: str, said: Mapping[str, Any]) -> str:
        """Pass a command to the program that drives a run; return the id of the answer to come.

        Parameters
        ----------
        topic
            Of the run.
        said
            The command: ``{"do": "pause"}``, for one.
        """
        number = uuid.uuid4().hex[:12]
        self.scheduler.log_event(f"{topic}-control", {"id": number, **said})
        return number


def _label(account: str) -> str:
    """Return the endpoint that an account is named for.

    Examples
    --------
    >>> _label("adaptive-http://127.0.0.1:8000/v1 small-0123456789abcdef")
    'http://127.0.0.1:8000/v1 small'
    """
    return account.partition("-")[2].rpartition("-")[0] or account

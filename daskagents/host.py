"""What the agents of one block share while a step runs."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import Agent
from daskagents.block import Block, Call, Charter, Failure, Outcome
from daskagents.columns import Column
from daskagents.environments.ledger import Ledger
from daskagents.errors import AgentError, DaskAgentsError, ModelError, RunError, UsageError
from daskagents.forms import Form
from daskagents.mail import Inboxes
from daskagents.models.base import Answer, Journal, Keeper, Request
from daskagents.outbox import Outbox
from daskagents.usage import Tally, Usage


@dataclass
class Host:
    """What the agents of one block share while a step runs."""

    charter: Charter
    call: Call
    block: Block
    rows: NDArray[np.int64]
    on_progress: Callable[[int, int, Usage], None] | None = None
    on_form: Callable[[Form], None] | None = None
    keeper: Keeper | None = None
    journal: Journal | None = None
    usage: Tally = field(default_factory=Tally)
    errors: dict[int, BaseException] = field(default_factory=dict)
    end: RunError | None = None
    heard: dict[int, str] = field(default_factory=dict)
    ledger: Ledger | None = None

    def __post_init__(self) -> None:
        self.ids = self.block.ids_of(self.rows)
        call = self.call
        self.outbox = Outbox(call.population, self.charter.cls.__fields__, call.gone)
        self.post = self.outbox.post if call.sends else self.refuse
        mail = self.block.mail
        self.inboxes = None if mail is None else Inboxes(mail, self.ids)

    def send(self, agent: Agent, to: Any, content: Any, where: Any) -> None:
        """Send a message of an agent on its way."""
        if where is not None:
            raise UsageError("where is for reply_block; an agent that does not send writes no send")
        self.post(agent.id, to, content)

    def refuse(self, *message: Any) -> None:
        """Refuse what nobody would take: no exchange is planned where no code is seen to send."""
        name = self.charter.cls.__name__
        raise UsageError(
            f"no code of {name} was seen that sends, so nobody takes its messages along; write"
            " it out in a method of the class, or in a function that one calls by name:"
            " self.send(to, content)"
        )

    def misfits(self) -> dict[int, BaseException]:
        """Return why what agents wrote or sent cannot be, by their position."""
        found = {} if self.ledger is None else self.ledger.misfits()
        wrong = self.outbox.misfits()
        if wrong:
            rows = np.flatnonzero(np.isin(self.ids, list(wrong)))
            found |= {at: wrong[self.ids.item(at)] for at in rows.tolist()}
        return found

    def fail(self, where: Any, reason: str) -> None:
        """Let the agent at work fail if `where` holds."""
        if where:
            raise AgentError(reason)

    def item(self, name: str, row: int) -> Any:
        """Return one value of the block's state."""
        return self.charter.cls.__fields__[name].item(self.block.columns[name], row)

    async def chat(self, agent: Agent, request: Request) -> Answer:
        """Ask the population's model, and count it."""
        model = self.charter.model
        if model is None:
            raise UsageError(
                f"population {self.charter.name!r} has no model to chat with; give one to the"
                " population (model=...) or to the run (da.run(..., model=...))"
            )
        own, counts = model.of(agent), True
        try:
            if self.journal is None:
                answer = await own.chat(request)
            else:
                answer, counts = await self.journal.chat(own, request, agent.id)
        except RunError as error:  # not this agent's failure, and not for it to catch
            self.end = self.end or error
            raise
        except ModelError as error:
            self.usage.add("", getattr(error, "endpoint", ""), error.usage)
            raise
        if counts:
            self.usage.add(answer.model, answer.endpoint, answer)
        self.heard[agent.id] = answer.text
        return answer

    def outcome(
        self,
        block: Block,
        form: Form | None,
        replies: Mapping[str, Column],
        failed: NDArray[np.bool_],
        content: Any,
    ) -> Outcome:
        """Return what the step made of the block, with what failed counted."""
        reasons = Counter(type(error).__name__ for error in self.errors.values())
        lapses = tuple(self._failures())
        first = lapses[0] if lapses else None
        counts = dict(reasons)
        lost = self._lost(failed)
        written = {} if self.ledger is None else self.ledger.parts(self._writers(lost))
        posted = self.outbox.posted(self.ids[lost])
        if self.inboxes is not None:
            block = replace(block, mail=self.inboxes.left(~lost))
        usage = self.usage
        return Outcome(
            block,
            form,
            replies,
            failed,
            counts,
            first,
            usage,
            content,
            lapses,
            written,
            posted,
        )

    def _lost(self, failed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the addressed rows stay as they were."""
        return failed

    def _writers(self, lost: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return of whom what was written to an environment does not count."""
        return lost

    def _row_of(self, at: int) -> int:
        """Return the row of the agent that failed at a position."""
        return self.rows.item(at)

    def _failures(self) -> Iterator[Failure]:
        """Yield why each agent failed that did, by id."""
        told: dict[int, tuple[str, str]] = {}
        for at in sorted(self.errors):
            error = self.errors[at]
            if id(error) not in told:  # one may be that of a whole block
                told[id(error)] = f"{type(error).__name__}: {error}", _line_of(error)
            agent = self.block.ids_of(np.array([self._row_of(at)])).item()
            yield Failure(agent, *told[id(error)], self.heard.get(agent, ""))


_PACKAGE = str(Path(__file__).parent)


def _line_of(error: BaseException) -> str:
    """Return the file and line of the agent's code where an error arose; else ``""``."""
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    outside = [line for line in lines if not line.startswith(_PACKAGE)]
    if outside or isinstance(error, DaskAgentsError):
        return (outside or [""])[-1]
    return (lines or [""])[-1]

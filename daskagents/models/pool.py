"""Several models that stand in for each other: they share the load, and the loss of one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from daskagents import loop
from daskagents.errors import EndpointError, ModelError, RunError, UsageError
from daskagents.models.base import Answer, Model, Request, check_model
from daskagents.models.health import Member, Members, is_shut, name_of
from daskagents.models.several import Several
from daskagents.usage import Usage

_log = logging.getLogger("daskagents")


@dataclass(frozen=True)
class Pool(Model):
    """Several models that stand in for each other, such as the same one behind many endpoints.

    A chat goes to the one with the fewest chats under way for its weight, so that each gets what it
    can take. Where it fails in a way that may pass, it goes to another at once. One that fails
    several times in a row is left out, and asked after pauses whether it is back. So is one that
    refuses our key or does not know the model (status 401, 403, 404), which is logged once. Any
    other refusal is the agent's own.

    Each process looks after the health of its members itself.

    Parameters
    ----------
    models
        The members.
    weights
        How much each can take compared with the others; by default all the same.
    failures
        After how many failures in a row a member is left out, and half as many more as it has chats
        under way.
    pause
        Seconds until it is asked whether it is back; each further time twice as long.
    longest_pause
        Seconds that no pause exceeds but for a Retry-After.

    Raises
    ------
    UsageError
        If there are no members, or numbers are not above 0.

    Examples
    --------
    >>> from collections import Counter
    >>> from daskagents import Message, models
    >>> large, small = (models.Dummy(answer="yes", model=name) for name in ("large", "small"))
    >>> pool = Pool([large, small], weights=[3, 1])
    >>> question = models.Request((Message("Well?"),))
    >>> async def ask(times):
    ...     return [(await pool.chat(question)).model for _ in range(times)]
    >>> sorted(Counter(asyncio.run(ask(400))).items())
    [('large', 300), ('small', 100)]
    """

    models: Sequence[Model]
    weights: Sequence[float] | None = None
    failures: int = 5
    pause: float = 1.0
    longest_pause: float = 60.0

    def __post_init__(self) -> None:
        members = tuple(self.models)
        weights = (1.0,) * len(members) if self.weights is None else tuple(map(float, self.weights))
        for member in members:
            check_model(member, "Pool")
        if not members or len(weights) != len(members):
            raise UsageError(
                f"a Pool of {len(members)} models with {len(weights)} weights: give one model at"
                " least, and a weight for each or none"
            )
        numbers = (*weights, self.failures, self.pause, self.longest_pause)
        if not all(0 < number < float("inf") for number in numbers):
            raise UsageError(f"weights, failures and pauses of a Pool are above 0, not {numbers}")
        object.__setattr__(self, "models", members)
        object.__setattr__(self, "weights", weights)

    def inside(self, change: Callable[[Model], Model]) -> Model:
        """Return a pool of what its members are changed to."""
        changed = tuple(map(change, self.models))
        return self if changed == self.models else replace(self, models=changed)

    async def check(self) -> None:
        """Ask all members whether they can answer; one is enough, the others are logged.

        Raises
        ------
        EndpointError
            If none can, with the reason of each.
        """
        asked = [model.check() for model in self.models]
        found = await asyncio.gather(*asked, return_exceptions=True)
        reasons: dict[str, ModelError] = {}
        for at, (model, error) in enumerate(zip(self.models, found, strict=True), 1):
            if isinstance(error, ModelError) and not isinstance(error, RunError):
                reasons[name_of(at, model)] = error
            elif error is not None:
                raise error
        if len(reasons) == len(self.models):
            raise _nobody(reasons, 0.0)
        for name, error in reasons.items():
            _log.warning("%s of a pool of %d models: %s", name, len(self.models), error)

    async def chat(self, request: Request) -> Answer:
        """Ask the member that has the least to do, and another if it fails.

        Raises
        ------
        EndpointError
            If none is left, with the reason of each.
        ModelError
            If a member refuses the request, or gives an answer that cannot be used.
        """
        (answer,) = await self._ask(request, 1)
        assert isinstance(answer, Answer)
        return answer

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Ask one member for many answers, and others for those that it does not give."""
        return await self._ask(request, n)

    async def _ask(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Ask one member after the other for what is missing."""
        ward = loop.resource((Pool, self), lambda: _Ward(self))
        several = Several(request, n, _elsewhere)
        tried: dict[Member, ModelError] = {}
        while several.missing:
            member = ward.pick(tried)
            if member is None:
                several.give_up(ward.nobody(tried))
                break
            if tried:
                several.spent += Usage(retries=1)
            missing = len(several.missing)
            member.begin(missing)
            try:
                problem = await several.ask(member.model)
            finally:
                member.end(missing)
            if problem is None or len(several.missing) < missing:
                ward.members.succeeded(member)
            else:
                ward.members.failed(member, problem, ward.now())
            if problem is not None:
                tried[member] = problem
        return several.done()


class _Ward:
    """The members of a pool in one event loop, and the questions to those that are out."""

    def __init__(self, pool: Pool) -> None:
        assert pool.weights is not None
        self.members = Members(
            pool.models, pool.weights, pool.failures, pool.pause, pool.longest_pause
        )
        self.now = asyncio.get_running_loop().time
        self._probes: set[asyncio.Task[None]] = set()

    def pick(self, tried: dict[Member, ModelError]) -> Member | None:
        """Return whom to ask; those that are out are asked aside whether they are back."""
        now = self.now()
        if self.members.some_out:
            for member in self.members.due(now):
                probe = asyncio.create_task(self._probe(member))
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)
        return self.members.pick(now, tried)

    async def _probe(self, member: Member) -> None:
        """Ask a member whether it is back."""
        try:
            await member.model.check()
        except ModelError as error:
            self.members.silent(member, error, self.now())
        else:
            self.members.answered(member)

    def nobody(self, tried: dict[Member, ModelError]) -> EndpointError:
        """Return the error of a chat that no member is left for."""
        reasons, waits, now = {}, [], self.now()
        for member in self.members.all:
            reason = tried.get(member)
            waits.append(member.wait(now, reason))
            reason = reason or member.reason
            if reason is not None:
                reasons[member.name] = reason
        return _nobody(reasons, min(waits))

    async def aclose(self) -> None:
        """Ask no more."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)


def _elsewhere(error: ModelError) -> bool:
    """Return whether another member may answer what failed with this error."""
    return error.passing or is_shut(error)


def _nobody(reasons: Mapping[str, ModelError], wait: float) -> EndpointError:
    """Return the error that says why each member cannot be asked."""
    said = "; ".join(f"{name}: {error}" for name, error in reasons.items())
    error = EndpointError(f"no model of a pool of {len(reasons)} can be asked: {said}")
    statuses = {getattr(reason, "status", 0) for reason in reasons.values()}
    error.status = statuses.pop() if len(statuses) == 1 else 0
    error.passing = any(reason.passing for reason in reasons.values())
    error.wait = wait
    return error

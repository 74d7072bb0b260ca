"""Who of several models can be asked now: a state machine, that is told the time."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from daskagents.errors import ModelError
from daskagents.models.base import Model, Wrapper

_log = logging.getLogger("daskagents")

#: Not the agents' random numbers, nor those that a program may have seeded.
_chance = random.SystemRandom()
#: Further failures in a row for each chat under way, before a member is left out.
_UNDER_WAY = 0.5
#: The key is refused, or the model is not known: no request of anybody's will be taken.
_SHUT = frozenset({401, 403, 404})


def is_shut(error: ModelError) -> bool:
    """Return whether an error says that an endpoint takes no request of ours at all."""
    return getattr(error, "status", 0) in _SHUT


def name_of(at: int, model: Model) -> str:
    """Return what a member is called: its place, and its endpoint or its class.

    Examples
    --------
    >>> from daskagents import models
    >>> name_of(1, models.Retry(models.OpenAI("m", base_url="http://127.0.0.1:8000/v1")))
    '1 (http://127.0.0.1:8000/v1)'
    """
    while isinstance(model, Wrapper):
        model = model.inner
    return f"{at} ({getattr(model, 'base_url', type(model).__name__)})"


@dataclass(eq=False, slots=True)
class Member:
    """One of the models: what it has to do, and how it does."""

    name: str
    model: Model
    weight: float
    pause: float
    #: Answers that it is asked for at the moment.
    in_flight: int = 0
    #: Answers that it was ever asked for, for its weight; or as if it had never been out.
    turn: float = 0.0
    #: When the time is over that it asked to be left alone.
    rest_until: float = -math.inf
    #: Failures in a row.
    failures: int = 0
    reason: ModelError | None = None
    #: When to ask whether it is back; None while it is in.
    back_at: float | None = None
    #: Whether it is being asked that now, is back with one chat to prove it, was ever logged.
    probed: bool = False
    on_trial: bool = False
    logged: bool = False

    def begin(self, n: int) -> None:
        """Note that it is asked for so many answers."""
        self.in_flight += n
        self.turn += n / self.weight

    def end(self, n: int) -> None:
        """Note that it answered, or failed."""
        self.in_flight -= n

    def wait(self, now: float, error: ModelError | None) -> float:
        """Return the seconds until it may be asked again by who got this error from it."""
        out = 0.0 if self.back_at is None else max(self.back_at - now, 0.0)
        return out if error is None else max(out, error.wait)


class Members:
    """Who of several models can be asked now.

    Parameters
    ----------
    models, weights
        The models, and how much each can take compared with the others.
    failures
        After how many failures in a row one is out, and half a one more for each chat under way.
    pause, longest
        Seconds until it is asked whether it is back: the first time, and at most.

    Examples
    --------
    >>> from daskagents import models
    >>> from daskagents.errors import EndpointError
    >>> members = Members([models.Dummy(), models.Dummy()], [1, 1], 1, 1.0, 60.0)
    >>> members.failed(members.all[0], EndpointError("gone"), 0.0)
    >>> members.pick(0.0) is members.all[1], list(members.due(0.1)), len(list(members.due(2)))
    (True, [], 1)
    """

    def __init__(
        self,
        models: Sequence[Model],
        weights: Sequence[float],
        failures: int,
        pause: float,
        longest: float,
    ) -> None:
        self.all = [
            Member(name_of(at, model), model, weight, pause)
            for at, (model, weight) in enumerate(zip(models, weights, strict=True), 1)
        ]
        self._failures, self._pause, self._longest = failures, pause, longest
        #: Whether any is out.
        self.some_out = False

    def pick(self, now: float, but: Container[Member] = ()) -> Member | None:
        """Return the member with the least to do for its weight, or None if none can be asked.

        One that asked to be left alone for a time is the last choice. One that was out is given a
        single request until it has answered one.
        """
        best, least = None, (True, math.inf, math.inf)
        for member in self.all:
            out = member.back_at is not None or (member.on_trial and member.in_flight)
            if out or (but and member in but):
                continue
            load = member.rest_until > now, member.in_flight / member.weight, member.turn
            if load < least:
                best, least = member, load
        return best

    def due(self, now: float) -> Iterator[Member]:
        """Yield the members that are to be asked now whether they are back, each once."""
        for member in self.all:
            if member.back_at is not None and member.back_at <= now and not member.probed:
                member.probed = True
                yield member

    def succeeded(self, member: Member) -> None:
        """Note that a member answered a chat, were it with a refusal that is the agent's own."""
        member.failures, member.pause = 0, self._pause
        if member.back_at is not None or member.on_trial:
            self._let_in(member, on_trial=False)

    def failed(self, member: Member, error: ModelError, now: float) -> None:
        """Note that a chat failed for what is the member's fault."""
        member.failures += 1
        member.reason = error
        if error.wait:
            member.rest_until = now + error.wait
        # failures come at once, and answers take a while: those under way may yet be some
        many = member.failures >= self._failures + _UNDER_WAY * member.in_flight
        if member.back_at is None and (member.on_trial or many or is_shut(error)):
            self._let_out(member, now)

    def answered(self, member: Member) -> None:
        """Note that a member says that it is back: it is tried with a single chat."""
        member.probed = False
        if member.back_at is not None:
            self._let_in(member, on_trial=True)

    def silent(self, member: Member, error: ModelError, now: float) -> None:
        """Note that a member is not back yet."""
        member.probed, member.reason = False, error
        if member.back_at is not None:
            self._let_out(member, now)

    def _let_in(self, member: Member, *, on_trial: bool) -> None:
        # one that was out has no claim to all that it missed
        inside = [other.turn for other in self.all if other.back_at is None]
        member.turn = max(member.turn, min(inside, default=0.0))
        member.back_at, member.on_trial = None, on_trial
        self.some_out = any(other.back_at is not None for other in self.all)
        now = "is tried again" if on_trial else "is back"
        _log.info("%s of a pool of %d models %s", member.name, len(self.all), now)

    def _let_out(self, member: Member, now: float) -> None:
        assert member.reason is not None
        pause = max(member.pause * _chance.uniform(0.75, 1.0), member.reason.wait)
        member.back_at, member.on_trial, self.some_out = now + pause, False, True
        member.pause = min(2 * member.pause, self._longest)
        left = sum(other.back_at is None for other in self.all)
        _log.log(
            logging.INFO if member.logged else logging.WARNING,
            "%s of a pool of %d models is left out for now, %d can be asked: %s",
            member.name, len(self.all), left, member.reason,
        )  # fmt: skip
        member.logged = True

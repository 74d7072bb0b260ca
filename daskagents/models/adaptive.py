"""A model that is asked by as many agents at a time as its endpoint can take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from daskagents.errors import EndpointError, ModelError, UsageError
from daskagents.models.base import Answer, Keeper, Request
from daskagents.models.gate import Gate, Gated, account_name
from daskagents.usage import Usage

#: Statuses that say that an endpoint has too much to do.
_REFUSED = frozenset({429, 503, 529})
#: Places to spare, beside a share of those in use.
_SPARE, _SHARE = 4, 0.25

#: How many answers are asked for, and since when.
Taken = tuple[int, float]


@dataclass(frozen=True)
class Adaptive(Gated):
    """Asks another model as often at a time as its endpoint can take: all workers together.

    Starts with `start` calls at a time. As long as they are answered as fast as before, there may
    be more of them, by little and little; where the endpoint refuses some (status 429, 503 or 529,
    or no answer in time) or slows down, half as many. A cut by which fewer calls are answered is
    undone: the endpoint has other reasons. Agents that must wait are let in as they came.

    Parameters
    ----------
    inner
        The model that is asked.
    start, most, least
        Calls at a time, of all workers together: at the start, at most and at least.
    slow
        How many times as long as before an answer takes where the endpoint has too much to do.
    name
        Wrappers of the same name and numbers share them; by default, those of equal models do.

    Raises
    ------
    UsageError
        If not ``1 <= least <= start <= most``, or `slow` is not above 1.

    Examples
    --------
    >>> import asyncio
    >>> from daskagents import Message, models
    >>> model = Adaptive(models.Dummy(answer="Hi."), start=8, most=512)
    >>> asyncio.run(model.chat(Request((Message("Hello"),)))).text
    'Hi.'
    """

    start: int = field(default=64, kw_only=True)
    most: int = field(default=4096, kw_only=True)
    least: int = field(default=1, kw_only=True)
    slow: float = field(default=2.0, kw_only=True)
    name: str = field(default="", kw_only=True)
    account: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.start <= self.most or not self.slow > 1:
            raise UsageError(
                f"start={self.start}, most={self.most}, least={self.least}, slow={self.slow}: give"
                " 1 <= least <= start <= most, and slow above 1"
            )
        account = account_name("adaptive", self.name, self.inner, *self._terms)
        object.__setattr__(self, "account", account)

    @property
    def _terms(self) -> list[float]:
        return [self.start, self.most, self.least, self.slow]

    def _open(self, keeper: Keeper) -> Gate:
        return PlacesGate("concurrency", self._terms, self.account, keeper)


class PlacesGate(Gate):
    """Lets calls through as long as there are places."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._may = self._peak = 0
        self._answered = self._refused = 0
        self._seconds = 0.0
        self._errors: Counter[str] = Counter()

    def need(self, request: Request, n: int) -> int:
        """Return a place for each answer: an endpoint works on all of them at once."""
        return n

    def _admit(self, need: int) -> Taken | None:
        # more answers than there are places have to be asked for alone
        if self.flying + need > self._may and (self.flying or not self._may):
            return None
        self.flying += need
        self._peak = max(self._peak, self.flying)
        return need, monotonic()

    def _undo(self, taken: Taken) -> None:
        self.flying -= taken[0]
        self.let_in()

    def leave(
        self, taken: Taken, usage: Usage | Answer | None, error: BaseException | None
    ) -> None:
        """Note how a call ended, and let the next one in."""
        self.flying -= taken[0]
        if isinstance(error, ModelError):
            self._errors[_kind_of(error)] += taken[0]
        if error is None:
            self._answered += taken[0]
            waited = 0.0 if usage is None else usage.waited
            self._seconds += taken[0] * max(0.0, monotonic() - taken[1] - waited)
        elif isinstance(error, TimeoutError) or (
            isinstance(error, EndpointError) and error.status in _REFUSED
        ):
            self._refused += taken[0]
        if self._line:
            self.let_in()

    def _report(self, *, bye: bool) -> dict[str, Any]:
        if bye:
            self._may = 0
        used = self._peak + (self.head() or 0) * len(self._line)
        self._peak = self.flying
        return {
            "flying": self.flying,
            "want": 0 if bye else int(used * (1 + _SHARE)) + _SPARE,
            "ended": [self._answered, self._refused, self._seconds],
            "errors": dict(self._errors),
        }

    def _receive(self, told: dict[str, Any]) -> None:
        self._may = told["may"]


def _kind_of(error: ModelError) -> str:
    """Return what kind of error it is, as whoever looks at the run is told."""
    status = getattr(error, "status", 0)
    return f"status {status}" if status else type(error).__name__.removesuffix("Error").lower()

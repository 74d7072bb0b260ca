"""A budget of tokens, money or calls, and a model that keeps to it on all workers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from daskagents.errors import BudgetError, UsageError
from daskagents.models.base import Answer, Keeper, Request
from daskagents.models.gate import Gate, Gated, account_name
from daskagents.usage import Usage

#: Calls under way in one process before it is known what one takes.
_PROBES = 16
#: Words to the keeper for which a gate has leave in store.
_AHEAD = 2.0
_ALL = 1e18

#: How many answers are asked for, and what is reserved for them.
Taken = tuple[int, list[float]]


@dataclass(frozen=True)
class Budget:
    """What a run may spend at most; None is without limit.

    Parameters
    ----------
    tokens
        Of prompts and answers together.
    cost
        In the currency of the prices.
    calls
        Requests that are answered.

    Raises
    ------
    UsageError
        If there is no limit, or one that is no number of at least 0.

    Examples
    --------
    >>> Budget(tokens=1_000_000, cost=5.0)
    Budget(tokens=1000000, cost=5.0)
    """

    tokens: float | None = None
    cost: float | None = None
    calls: float | None = None

    def __post_init__(self) -> None:
        if not self.limits or not all(_is_amount(limit) for limit in self.limits.values()):
            raise UsageError(
                f"{self!r}: give one or more of tokens, cost and calls, as numbers from 0 on"
            )

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, by name."""
        return {name: limit for name, limit in vars(self).items() if limit is not None}

    def __repr__(self) -> str:
        return f"Budget({', '.join(f'{name}={limit!r}' for name, limit in self.limits.items())})"

    def why(self, spent: Usage) -> str:
        """Say which part of the budget is spent; ``""`` where none is.

        Examples
        --------
        >>> Budget(calls=10).why(Usage(calls=10))
        '10 of 10 calls'
        """
        parts = {name: getattr(spent, name) for name in self.limits}
        return _of(parts, self.limits) if _over(parts, self.limits) else ""


def _is_amount(limit: Any) -> bool:
    return isinstance(limit, int | float) and not isinstance(limit, bool) and 0 <= limit < math.inf


def _over(spent: dict[str, float], limits: dict[str, float]) -> bool:
    return any(spent[name] >= limit for name, limit in limits.items())


def _of(spent: dict[str, float], limits: dict[str, float]) -> str:
    """Say how much is spent of what."""
    return ", ".join(
        f"{spent[name]:,.10g} of {limit:,.10g} {name}" for name, limit in limits.items()
    )


@dataclass(frozen=True)
class Budgeted(Gated):
    """Asks another model until a budget is spent: that of all workers together.

    A call is made where the budget has room for it, going by what calls took so far. So what is
    spent at the end passes the budget by no more than the calls under way took beyond that; then
    each further chat raises a `BudgetError`, and the run stops.

    Parameters
    ----------
    inner
        The model that is asked.
    budget
        What may be spent.
    spent
        What was spent of it before, as by a run that goes on.
    name
        Wrappers of the same name and budget share it; by default, those of equal models do.

    Examples
    --------
    >>> import asyncio
    >>> from daskagents import Message, models
    >>> model = Budgeted(models.Dummy(answer="Hi."), Budget(calls=2))
    >>> async def chats():
    ...     for _ in range(3):
    ...         print((await model.chat(Request((Message("Hello"),)))).text)
    >>> asyncio.run(chats())
    Traceback (most recent call last):
    daskagents.errors.BudgetError: the budget is spent: 2 of 2 calls; give a larger one to go on
    """

    budget: Budget
    spent: Usage = field(default=Usage(), kw_only=True)
    name: str = field(default="", kw_only=True)
    account: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        if not isinstance(self.budget, Budget):
            raise UsageError(f"budget is {self.budget!r}; give a Budget, as Budget(tokens=10_000)")
        account = account_name("budget", self.name, self.inner, self.budget, self.spent)
        object.__setattr__(self, "account", account)

    async def check(self) -> None:
        """Raise a `BudgetError` if the budget is spent already, or what the inner model raises."""
        why = self.budget.why(self.spent)
        if why:
            raise BudgetError(f"the budget is spent before the start: {why}; give a larger one")
        await self.inner.check()

    def _open(self, keeper: Keeper) -> Gate:
        return PurseGate(self.budget, self.spent, self.account, keeper)


class PurseGate(Gate):
    """Lets calls through as long as there is something to pay them from."""

    def __init__(self, budget: Budget, spent: Usage, account: str, keeper: Keeper) -> None:
        self._limits = budget.limits
        self._names = list(self._limits)
        self._least = [1.0 if name == "calls" else 0.0 for name in self._names]
        before = [float(getattr(spent, name)) for name in self._names]
        terms = [list(self._limits.values()), before, self._least]
        super().__init__("budget", terms, account, keeper)
        self._none = [0.0] * len(self._names)
        self._have, self._used, self._reserved = (
            list(self._none),
            list(self._none),
            list(self._none),
        )
        self._mean: list[float] | None = None
        self._chats = self._begun = self._told = 0
        self._low = 0.0
        self._over = ""

    def need(self, request: Request, n: int) -> int:
        """Return how many answers are asked for."""
        return n

    def _admit(self, need: int) -> Taken | None:
        if self._over:
            raise BudgetError(self._over)
        if self._mean is None and self.flying >= _PROBES:
            return None
        have, reserved = self._have, self._reserved
        takes = [need * amount for amount in self._mean or self._least]
        for at, amount in enumerate(takes):
            free = amount == 0 and self._mean is not None  # as of a model without a price
            if have[at] < amount or (have[at] <= 0 and not free):
                self._soon.set()
                return None
        for at, amount in enumerate(takes):
            have[at] -= amount
            reserved[at] += amount
        self.flying += 1
        self._begun += need
        if have[0] < self._low:
            self._soon.set()
        return need, takes

    def _undo(self, taken: Taken) -> None:
        self._settle(taken[1], self._none)
        self.let_in()

    def _settle(self, taken: list[float], spent: list[float]) -> None:
        """Pay what a call took from what was reserved for it."""
        self.flying -= 1
        for at, amount in enumerate(taken):
            self._reserved[at] -= amount
            self._have[at] += amount - spent[at]
            self._used[at] += spent[at]

    def leave(
        self, taken: Taken, usage: Usage | Answer | None, error: BaseException | None
    ) -> None:
        """Pay for a call; one that nobody knows the end of takes what was reserved."""
        need, takes = taken
        spent = takes if usage is None else [getattr(usage, name) for name in self._names]
        if "cost" in self._limits and any(map(math.isnan, spent)):
            spent = [0.0 if math.isnan(amount) else amount for amount in spent]
            self._end(
                "the budget limits the cost, and what a call costs is not known: give the prices"
                " of the model, or limit tokens"
            )
        self._settle(takes, spent)
        if usage is not None and usage.calls:
            self._chats += need
        if self._line:
            self.let_in()

    def _report(self, *, bye: bool) -> dict[str, Any]:
        starved = self.head() is not None
        begun, self._told = self._begun - self._told, self._begun
        expected = 0 if bye else (self.head() or 0) * len(self._line) + _AHEAD * begun
        want = list(self._none)
        for at, amount in enumerate(self._mean or [_ALL] * len(want)):
            have = 0.0 if bye or starved else max(0.0, self._have[at])
            want[at] = max(0.0, amount * expected - have)
            self._have[at] = min(have, amount * expected)
        self._low = self._mean[0] * begun / 2 if self._mean else 0.0
        return {
            "have": list(self._have),
            "used": list(self._used),
            "reserved": list(self._reserved),
            "flying": self.flying,
            "chats": self._chats,
            "starved": starved,
            "want": want,
        }

    def _receive(self, told: dict[str, Any]) -> None:
        self._have = [have + more for have, more in zip(self._have, told["granted"], strict=True)]
        self._mean = list(told["mean"]) if told["mean"] else None
        if "over" in told:
            self._end(self._why(**told["over"]))

    def _end(self, why: str) -> None:
        """Let no more calls through."""
        self._over = self._over or why
        self.refuse(lambda: BudgetError(self._over))

    def _why(self, spent: list[float], lost: list[float], chats: int) -> str:
        """Say why no more calls are made, and what to do."""
        parts = dict(zip(self._names, spent, strict=True))
        said = _of(parts, self._limits)
        if _over(parts, self._limits):
            said = f"the budget is spent: {said}"
        else:
            takes = [
                f"{x:,.4g} {name}" for x, name in zip(self._mean or [], self._names, strict=True)
            ]
            said = (
                f"the budget is too small for one more call, which takes {', '.join(takes)}: {said}"
            )
        if any(lost):
            gone = [f"{x:,.4g} {name}" for x, name in zip(lost, self._names, strict=True)]
            said += f" (with {', '.join(gone)} that lost workers may have spent)"
        return f"{said}; give a larger one to go on"

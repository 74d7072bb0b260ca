"""How far a run is at one moment, and how that is said in a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskagents.members import Step
    from daskagents.tasks import Part
    from daskagents.usage import Usage

#: Blocks by step and place in it.
_At = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is: rounds closed, replies so far, what models were asked, failures.

    Parameters
    ----------
    rounds, replies, calls, tokens, failed
        What is over, that of rounds which are not closed included (but for `rounds`).
    seconds
        Since the start.
    cost
        In the currency of the prices; NaN where a price is not known.
    at
        Rounds, with the parts of those that are under way; None where that is not known.
    limits
        The budget, by the names of its parts.
    state
        What there is to say besides, such as ``paused``.

    """

    rounds: int
    replies: int
    calls: int
    tokens: int
    failed: int
    seconds: float
    cost: float = 0.0
    at: float | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    state: str = ""

    def head(self, rounds: int | None = None) -> str:
        """Return which round it is, of how many, and the state of the run.

        Examples
        --------
        >>> Snapshot(2, 3000, 0, 0, 0, 60.0, state="paused").head(5)
        'paused · round 2/5'

        """
        of = f"/{rounds:,}" if rounds and self.rounds <= rounds else ""
        return " · ".join(filter(None, [self.state, f"round {self.rounds:,}{of}"]))

    def line(
        self, rounds: int | None = None, rate: float | None = None, left: float | None = None
    ) -> str:
        """Return it as a line of text.

        Parameters
        ----------
        rounds
            How many there will be, where that is known.
        rate
            Replies a second; by default since the start.
        left
            Seconds that the run will take yet, where that can be told.

        Examples
        --------
        >>> Snapshot(2, 3000, 3000, 90_000, 1, 60.0).line(5, left=100)
        'round 2/5 · 3,000 replies · 50/s · 3,000 calls · 90,000 tokens · 1 failed · 60 s · about 100 s left'

        """  # noqa: E501
        return " · ".join([self.head(rounds), *self.facts(rate), *self.times(left)])

    def facts(self, rate: float | None = None) -> list[str]:
        """Return what was replied, asked, paid, and what failed."""
        if rate is None:
            rate = self.replies / max(self.seconds, 1e-9)
        parts = [f"{self.replies:,} replies", f"{per_second(rate)}/s"]
        parts += [
            f"{getattr(self, name):,}{self._of(name)} {name}"
            for name in ("calls", "tokens")
            if self.calls or name in self.limits
        ]
        if self.cost == self.cost and (self.cost or "cost" in self.limits):
            parts.append(f"cost {amount(self.cost)}{self._of('cost')}")
        elif self.cost != self.cost and "cost" in self.limits:
            parts.append(f"cost not known{self._of('cost')}")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return parts

    def times(self, left: float | None = None) -> list[str]:
        """Return how long it took, and how long it will take."""
        return [duration(self.seconds), *([] if left is None else [f"about {duration(left)} left"])]

    def _of(self, name: str) -> str:
        """Say how much there may be of something."""
        if name not in self.limits:
            return ""
        limit = self.limits[name]
        return f" of {amount(limit) if name == 'cost' else f'{limit:,.0f}'}"


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of rounds that are not closed: all numbers as in a `Snapshot`."""

    parts: float = 0.0
    replies: int = 0
    calls: int = 0
    tokens: int = 0
    failed: int = 0
    cost: float = 0.0


def heard_of(
    rounds: Iterable[Sequence[Step]],
    live: Mapping[_At, tuple[int, int, Usage]],
    told: Mapping[_At, Part],
    usual: float = 0.0,
) -> Heard:
    """Add up what was heard of rounds that are not closed.

    Parameters
    ----------
    rounds
        The steps of each, as far as they were asked for; the last one may get more.
    live
        How far blocks are that are under way: replies, failures, usage.
    told
        What blocks said at their end.
    usual
        Replies of a round so far: at least as many are expected of the last one.

    """
    done: dict[int, int] = {}
    failed = 0
    usages: list[Usage] = []
    steps = [list(each) for each in rounds]
    over = {step.number: step for each in steps for step in each if step.results is not None}
    ended = [(at[0], part) for at, part in told.items() if at[0] not in over]
    ended += [(number, part) for number, step in over.items() for part in step.results or ()]
    for number, part in ended:
        done[number] = done.get(number, 0) + part.rows
        failed += part.failed
        usages += [usage for _, _, usage in part.usage]
    for at, (rows, bad, usage) in live.items():
        if at not in told and at[0] not in over:
            done[at[0]] = done.get(at[0], 0) + rows
            failed += bad
            usages.append(usage)
    parts = 0.0
    for place, each in enumerate(steps, 1):
        asked = sum(step.addressed for step in each)
        expected = max(asked, usual if place == len(steps) else 0.0)
        parts += min(1.0, sum(done.get(step.number, 0) for step in each) / max(expected, 1.0))
    calls, cost = sum(usage.calls for usage in usages), sum(usage.cost for usage in usages)
    return Heard(
        parts, sum(done.values()), calls, sum(usage.tokens for usage in usages), failed, cost
    )


def per_second(rate: float) -> str:
    """Return a rate as people read it.

    Examples
    --------
    >>> per_second(1234.5), per_second(0.25), per_second(0.0)
    ('1,234', '0.25', '0')

    """
    return f"{rate:.2g}" if 0 < rate < 10 else f"{rate:,.0f}"


def amount(cost: float) -> str:
    """Return an amount of money, whose currency nobody says.

    Examples
    --------
    >>> amount(1234.5), amount(0.42), amount(0.00123), amount(0)
    ('1,234.50', '0.42', '0.0012', '0.00')

    """
    return f"{cost:,.2f}" if not 0 < cost < 0.1 else f"{cost:.2g}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Examples
    --------
    >>> duration(4.4), duration(100), duration(600), duration(9000), duration(3e5)
    ('4 s', '100 s', '10 min', '2.5 h', '3.5 days')

    """
    for unit, length, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            number = seconds / length
            return f"{number:.0f} {unit}" if unit != "h" else f"{number:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"


__all__ = ["Heard", "Snapshot", "amount", "duration", "heard_of", "per_second"]

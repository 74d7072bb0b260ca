"""An account: something shared, and who holds how much of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

#: Seconds between two words of a holder.
PACE = 0.1
#: Words a second that all holders of one account say together at most, about.
WORDS = 200
#: Seconds after which a holder that says nothing counts no more among those who want something.
ACTIVE = 3.0


@dataclass
class Holder:
    """Who holds a lease, and what it said last."""

    heard: float
    held: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    wants: bool = False


H = TypeVar("H", bound=Holder)


class Account(ABC, Generic[H]):
    """Something that all workers of a run share, of which leases are held.

    Parameters
    ----------
    terms
        What was agreed: limits, as the account's holders say them.
    now
        Seconds, on a clock that never goes back.
    """

    def __init__(self, terms: Sequence[Any], now: float) -> None:
        self.terms = terms
        self.holders: dict[str, H] = {}

    @abstractmethod
    def hear(self, who: str, said: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Hear from a holder what it has and wants; return what it is granted."""

    @abstractmethod
    def lose(self, who: str, now: float) -> None:
        """Take back what a holder has that will never say anything again."""

    def describe(self) -> dict[str, Any] | None:
        """Return what is shown of it to whoever looks at the run; None where nothing is."""
        return None

    def pace(self) -> float:
        """Return the seconds until a holder is to say something again."""
        return max(PACE, len(self.holders) / WORDS)

    def rivals(self, now: float) -> int:
        """Return how many holders want something."""
        return sum(h.wants and now - h.heard < ACTIVE for h in self.holders.values())

    def held(self) -> list[float]:
        """Return what all hold together."""
        return [sum(part) for part in zip(*(h.held for h in self.holders.values()), strict=True)]

"""So many tokens, so much money, so many calls, and then no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daskagents.accounts.base import Account, Holder

#: Seconds after which a holder that was granted nothing may ask again.
_SOON = 0.05
_TINY = 1e-9


@dataclass
class Spender(Holder):
    """What one holder may still spend, and what it has under way."""

    flying: int = 0
    chats: int = 0
    reserved: list[float] = field(default_factory=list)


class Purse(Account[Spender]):
    """So much of each of some things, and then no more.

    The terms: limits, what was spent before, and what a chat takes at least.

    Holders take what their calls will need, about, before they make them: `held` is what they
    have left and what is reserved for calls under way. When no call is under way and the next one
    would need more than there is, or all is spent, it is over, and stays so.
    """

    def __init__(self, terms: Sequence[Any], now: float) -> None:
        super().__init__(terms, now)
        limits, spent, least = terms
        self.limits = [float(limit) for limit in limits]
        self.spent = [float(amount) for amount in spent]
        self.least = [float(amount) for amount in least]
        self.before, self.lost = list(self.spent), [0.0] * len(self.limits)
        self.chats = 0
        self.over = self._is_spent()

    def hear(self, who: str, said: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Hear what a holder has left (`have`), `reserved` and has spent in all (`used`)."""
        none = [0.0] * len(self.limits)
        have, used = list(said["have"]), list(said["used"])
        # one that was not heard of, or said good-bye: what it spent before is counted
        new = Spender(now, none, used, chats=said["chats"], reserved=none)
        holder = self.holders.setdefault(who, new)
        self.spent = [s + u - b for s, u, b in zip(self.spent, used, holder.used, strict=True)]
        self.chats += said["chats"] - holder.chats
        holder.heard, holder.used, holder.chats = now, used, said["chats"]
        holder.flying, holder.reserved = said["flying"], list(said["reserved"])
        holder.held = [h + r for h, r in zip(have, holder.reserved, strict=True)]
        if said.get("bye"):
            del self.holders[who]
        self.over = self.over or self._is_spent()
        if self.over or said.get("bye"):
            return self._told(none)
        want = list(said["want"])
        holder.wants = any(want)
        granted = self._grant(holder, want, bool(said["starved"]), now)
        holder.held = [h + g for h, g in zip(holder.held, granted, strict=True)]
        return self._told(granted, soon=not any(granted) and holder.wants)

    def lose(self, who: str, now: float) -> None:
        """Take what a lost holder had as spent, for it may have been."""
        holder = self.holders.pop(who, None)
        if holder is not None:
            self.lost = [a + b for a, b in zip(self.lost, holder.held, strict=True)]
            self.spent = [a + b for a, b in zip(self.spent, holder.held, strict=True)]

    def describe(self) -> dict[str, Any]:
        """Return what is spent, and the limits, in the order of the budget."""
        return {"spent": list(self.spent), "limits": list(self.limits)}

    def mean(self) -> list[float] | None:
        """Return what a chat took on average; None before the first is known."""
        if not self.chats:
            return None
        known = zip(self.spent, self.before, self.lost, self.least, strict=True)
        return [max(least, (s - b - lost) / self.chats) for s, b, lost, least in known]

    def _is_spent(self) -> bool:
        return any(s >= limit for s, limit in zip(self.spent, self.limits, strict=True))

    def _grant(self, holder: Spender, want: list[float], starved: bool, now: float) -> list[float]:
        """Return what a holder is granted; find out whether it is over."""
        every = zip(self.limits, self.spent, self.held(), strict=True)
        free = [limit - spent - held for limit, spent, held in every]
        need = self.mean() or self.least
        short = [  # of the next call
            n - (h - r) for n, h, r in zip(need, holder.held, holder.reserved, strict=True)
        ]
        if all(f > 0 and f >= s - _TINY for f, s in zip(free, short, strict=True)):
            part = max(1, 2 * self.rivals(now))
            each = zip(want, short, free, strict=True)
            return [max(0.0, min(f, max(s, min(w, f / part)))) for w, s, f in each]
        alone = all(h is holder or not (h.flying or _any(h.held)) for h in self.holders.values())
        if starved and alone and not holder.flying:
            self.over = True
        return [0.0] * len(free)

    def _told(self, granted: list[float], *, soon: bool = False) -> dict[str, Any]:
        """Return what a holder is told."""
        wait = max(_SOON, self.pace() / 2) if soon else self.pace()
        told: dict[str, Any] = {"granted": granted, "mean": self.mean(), "wait": wait}
        if self.over:
            told["over"] = {"spent": self.spent, "lost": self.lost, "chats": self.chats}
        return told


def _any(held: Sequence[float]) -> bool:
    return any(x > _TINY for x in held)

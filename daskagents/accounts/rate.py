"""So many requests and tokens a minute."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskagents.accounts.base import ACTIVE, PACE, Account, Holder

#: Seconds of the window that limits are meant for.
WINDOW = 60.0
#: Seconds' worth of a limit that may flow at once.
BURST = 1.0
#: Seconds after which what a holder has that says nothing counts as used.
SILENT = 30.0
#: Seconds after which a holder that was granted nothing may ask again, at least.
_SOON = 0.05
_TINY = 1e-9


class Flow:
    """How much may flow: never more than `most` in any window, and evenly but for a burst.

    What is granted counts until it is given back, or until a window after it is known as used.

    Parameters
    ----------
    most
        In any window.
    now
        Seconds.
    """

    def __init__(self, most: float, now: float) -> None:
        self.most = most
        # two, so that one can gather while another is on its way to somebody
        self.size = min(most, max(2.0, most * BURST / WINDOW))
        self.level, self._then = self.size, now
        self._log: deque[list[float]] = deque()
        self._logged = 0.0

    @property
    def rate(self) -> float:
        """What flows in a second."""
        return self.most / WINDOW

    def free(self, held: float, now: float) -> float:
        """Return how much may be granted now, where so much is held."""
        if math.isinf(self.most):
            return math.inf
        self.level = min(self.size, self.level + (now - self._then) * self.rate)
        self._then = max(now, self._then)
        while self._log and self._log[0][0] <= now:
            self._logged -= self._log.popleft()[1]
        if not self._log:
            self._logged = 0.0  # what rounding left
        return min(self.level, self.most - self._logged - held)

    def make_room(self, need: float) -> None:
        """Let so much gather as a single call needs."""
        self.size = max(self.size, min(need, self.most))

    def use(self, amount: float, now: float) -> None:
        """Remember that so much was used; less than nothing if it was less than thought."""
        if not amount:
            return
        until = math.floor(now) + 1.0 + WINDOW
        if not self._log or self._log[-1][0] < until:
            self._log.append([until, 0.0])
        self._log[-1][1] += amount
        self._logged += amount

    def move(self, amount: float) -> None:
        """Grant so much; less than nothing is given back."""
        self.level = min(self.size, self.level - amount)


@dataclass
class Caller(Holder):
    """Who makes calls, and when it was last granted some."""

    served: float = 0.0


class Rate(Account[Caller]):
    """So many requests and tokens a minute: the terms, either of them None where unlimited.

    Holders whose head of line cannot pass give all back and wait in a line here, first come first
    served, so that nobody keeps what is too little for it and enough for another.
    """

    def __init__(self, terms: Sequence[Any], now: float) -> None:
        super().__init__(terms, now)
        self.flows = [Flow(math.inf if most is None else float(most), now) for most in terms]
        self.line: dict[str, list[float]] = {}

    def hear(self, who: str, said: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Hear what a holder has left (`have`), has used in all (`used`), wants and needs."""
        self._expire(now)
        have, used = list(said["have"]), list(said["used"])
        # one that was not heard of, or was forgotten: what it used before is none of ours
        new = Caller(now, [0.0] * 2, used, served=now - PACE)
        holder = self.holders.setdefault(who, new)
        holder.heard = now
        for i, flow in enumerate(self.flows):
            spent = used[i] - holder.used[i]
            flow.use(spent, now)
            flow.move(-(holder.held[i] - have[i] - spent))
        holder.held, holder.used = have, used
        if said.get("bye"):
            self._close(who)
            return {"granted": [0.0, 0.0], "wait": self.pace()}
        need, want = list(said["need"]), list(said["want"])
        holder.wants = any(want)
        granted, wait = self._grant(who, holder, need, want, now)
        for i, flow in enumerate(self.flows):
            flow.move(granted[i])
            holder.held[i] += granted[i]
        return {"granted": granted, "wait": wait}

    def _grant(
        self, who: str, holder: Caller, need: list[float], want: list[float], now: float
    ) -> tuple[list[float], float]:
        """Return what a holder is granted, and when it may ask again."""
        ahead = self._ahead(who)
        held, part = self.held(), self._part(holder, now)
        free, wait = [], 0.0
        for i, flow in enumerate(self.flows):
            flow.make_room(need[i])
            need[i] = min(need[i], flow.most)
            free.append(flow.free(held[i], now) - ahead[i])
            if need[i] and free[i] < need[i] - _TINY:
                wait = max(wait, (need[i] - free[i]) / flow.rate)
        if wait:
            self.line[who] = need
            return [0.0, 0.0], min(max(wait, _SOON), self.pace())
        self.line.pop(who, None)
        holder.served = now if holder.wants else holder.served
        shares = [max(n, min(w, f * part)) for n, w, f in zip(need, want, free, strict=True)]
        shares[0] = float(math.floor(shares[0] + _TINY)) if shares[0] > 0 else 0.0
        return [max(0.0, share) for share in shares], self.pace()

    def _part(self, holder: Caller, now: float) -> float:
        """Return which part of what is free a holder gets: the more the longer it got nothing."""
        rivals = [h for h in self.holders.values() if h.wants and now - h.heard < ACTIVE]
        ages = sum(now - h.served + _TINY for h in rivals if h is not holder)
        age = now - holder.served + _TINY
        return age / (ages + age)

    def _ahead(self, who: str) -> list[float]:
        """Return what those need who came before."""
        ahead = [0.0, 0.0]
        for other, need in self.line.items():
            if other == who:
                break
            ahead = [a + n for a, n in zip(ahead, need, strict=True)]
        return ahead

    def _expire(self, now: float) -> None:
        silent = [who for who, h in self.holders.items() if now - h.heard > SILENT]
        for who in silent:
            self.lose(who, now)

    def _close(self, who: str) -> None:
        """Forget a holder that has given back all it had."""
        del self.holders[who]
        self.line.pop(who, None)

    def lose(self, who: str, now: float) -> None:
        """Take what a lost holder had as used, for it may have been: it flows in again in time."""
        holder = self.holders.pop(who, None)
        self.line.pop(who, None)
        if holder is not None:
            for flow, amount in zip(self.flows, holder.held, strict=True):
                flow.use(amount, now)

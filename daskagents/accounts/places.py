"""So many calls at a time: as many as an endpoint can take, found out by trying."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daskagents.accounts.base import Account, Holder

#: Seconds that a look at the endpoint lasts at least, and answers that it needs.
_LOOK, _ENOUGH = 0.25, 10
#: Growth from one look to the next: before the first cut; and after one, by the share of what was
#: too much then that is allowed now: quick as far as that is known to be safe, then with care.
_FREE = 2.0
_GROWTH = ((0.85, 1.2), (1.1, 1.02), (math.inf, 1.1))
#: Share of the answers a second that a cut may cost, at most, and of the refusals that it may leave
#: where it does.
_COST, _LEFT = 0.15, 0.5
#: Share of refused calls that always is tolerated.
_TOLERATED = 0.01
#: What was taken for normal is doubted by so much from look to look.
_DOUBT = 0.02
#: Seconds after which what a holder has that says nothing is given to others.
SILENT = 30.0


@dataclass
class Places(Holder):
    """What one holder has under way and wants."""

    may: int = 0
    flying: int = 0
    want: int = 0
    errors: dict[str, int] = field(default_factory=dict)


@dataclass
class Look:
    """What was seen of the endpoint since a time: answers, refusals, and the seconds they took."""

    since: float
    answered: int = 0
    refused: int = 0
    seconds: float = 0.0
    words: int = 0
    pressed: int = 0

    @property
    def calls(self) -> int:
        """Calls that ended."""
        return self.answered + self.refused

    @property
    def latency(self) -> float:
        """Seconds of an answer, on average."""
        return self.seconds / self.answered if self.answered else 0.0

    def goodput(self, now: float) -> float:
        """Answers a second."""
        return self.answered / max(now - self.since, 1e-9)


@dataclass
class Trial:
    """What there was before a cut: answers a second, and the refusals that it is to cure."""

    limit: float
    ceiling: float | None
    goodput: float
    refused: float

    def failed(self, goodput: float, refused: float) -> bool:
        """Whether the cut was no cure: it cost answers, and refusals go on."""
        cost = goodput < (1 - _COST) * self.goodput
        return cost and (not self.refused or refused > _LEFT * self.refused)


class Concurrency(Account[Places]):
    """So many calls at a time; the terms: at the start, at most, at least, and how slow is slow.

    Looks at the endpoint one after another. A look with refusals, or with answers that take `slow`
    times as long as they did, halves what is allowed; any other raises it a little, if all of it
    was used. Refusals and slowness need not come from us: where the next look shows that a cut has
    cost answers, it is undone, and what was seen is taken for normal for a while.
    """

    def __init__(self, terms: Sequence[Any], now: float) -> None:
        super().__init__(terms, now)
        start, self.most, self.least, self.slow = terms
        self.limit = float(start)
        self.ceiling: float | None = None  # what was too much
        self.usual = 0.0  # seconds of an answer
        self.tolerated = _TOLERATED
        self.trial: Trial | None = None
        self.look = Look(now)
        self.ended = [0, 0, 0.0]  # answers, refusals, seconds of the answers: of all time
        self.errors: Counter[str] = Counter()

    def hear(self, who: str, said: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Hear of calls under way (`flying`), wanted, and what ended (`ended`: sums so far)."""
        for silent in [w for w, h in self.holders.items() if now - h.heard > SILENT]:
            del self.holders[silent]
        ended = list(said["ended"])
        new = Places(now, used=ended, errors=dict(said.get("errors", {})))
        holder = self.holders.setdefault(who, new)
        self._add_up(holder, said)
        if now >= self.look.since:
            answered, refused, seconds = (a - b for a, b in zip(ended, holder.used, strict=True))
            self.look.answered += int(answered)
            self.look.refused += int(refused)
            self.look.seconds += seconds
        holder.heard, holder.used = now, ended
        holder.flying, holder.want = said["flying"], said["want"]
        holder.wants = holder.want > 0
        if said.get("bye"):
            del self.holders[who]
            return {"may": 0, "wait": self.pace()}
        self._watch(now)
        holder.may = self._share(who, now)
        return {"may": holder.may, "wait": self.pace()}

    def _add_up(self, holder: Places, said: Mapping[str, Any]) -> None:
        """Add what ended since the holder's last word."""
        every = zip(self.ended, said["ended"], holder.used, strict=True)
        self.ended = [whole + new - old for whole, new, old in every]
        errors = dict(said.get("errors", {}))
        self.errors.update({kind: n - holder.errors.get(kind, 0) for kind, n in errors.items()})
        holder.errors = errors

    def describe(self) -> dict[str, Any]:
        """Return calls under way and wanted, how many may be, and how those that ended did."""
        answered, refused, seconds = self.ended
        return {
            "flying": sum(h.flying for h in self.holders.values()),
            "want": sum(h.want for h in self.holders.values()),
            "limit": int(self.limit),
            "answered": int(answered),
            "refused": int(refused),
            "seconds": float(seconds),
            "errors": dict(self.errors),
        }

    def lose(self, who: str, now: float) -> None:
        """Give the places of a lost holder to others."""
        self.holders.pop(who, None)

    def _watch(self, now: float) -> None:
        """End the look if it has seen enough, and draw a conclusion."""
        look = self.look
        if now < look.since:
            return
        look.words += 1
        look.pressed += sum(h.want for h in self.holders.values()) >= int(self.limit)
        enough = look.calls >= max(_ENOUGH, self.limit / 2)
        if not enough or now - look.since < max(_LOOK, look.latency):
            return
        self._conclude(look, now)
        if self.look is look:
            self.look = Look(now)

    def _conclude(self, look: Look, now: float) -> None:
        pressed = 2 * look.pressed >= look.words
        share, goodput = look.refused / look.calls, look.goodput(now)
        if self.trial is not None:
            trial, self.trial = self.trial, None
            if pressed and trial.failed(goodput, share):
                self.limit, self.ceiling = trial.limit, trial.ceiling
                self.tolerated = max(self.tolerated, 1.5 * share)
                self.usual = max(self.usual, look.latency)
                return
        refused = share if share > self.tolerated else 0.0
        if refused or 0 < self.slow * self.usual < look.latency:
            self._cut(look, goodput, refused, now)
        elif pressed:
            self.limit = min(self.most, self._grown())
        self.tolerated = max(_TOLERATED, self.tolerated * (1 - _DOUBT))
        if look.answered:
            kept = self.usual * (1 + _DOUBT) or look.latency
            self.usual = min(kept, look.latency)

    def _grown(self) -> float:
        """Return what is allowed after a look at which all went well."""
        if self.ceiling is None:
            return self.limit * _FREE + 1
        share = self.limit / self.ceiling
        until, growth = next(step for step in _GROWTH if share < step[0])
        return min(self.limit * growth, max(until, share + 0.01) * self.ceiling)

    def _cut(self, look: Look, goodput: float, refused: float, now: float) -> None:
        """Halve what is allowed; look again when the calls that are too many have ended."""
        if self.limit > self.least:
            self.trial = Trial(self.limit, self.ceiling, goodput, refused)
            self.ceiling = self.limit
            self.limit = max(self.least, self.limit / 2)
            self.look = Look(now + max(look.latency, 2 * self.pace()))

    def _share(self, who: str, now: float) -> int:
        """Return how many calls a holder may have under way."""
        wants = {name: holder.want for name, holder in self.holders.items()}
        fair = shares(wants, int(self.limit), turn=int(now / 0.5))[who]
        taken = sum(max(h.may, h.flying) for name, h in self.holders.items() if name != who)
        return max(0, min(fair, int(self.limit) - taken))


def shares(wants: Mapping[str, int], total: int, turn: int = 0) -> dict[str, int]:
    """Share a number of places among those who want some: nobody gets less than who wants more.

    Parameters
    ----------
    wants
        How many each wants.
    total
        How many there are.
    turn
        Who begins, where some get one more than others.

    Examples
    --------
    >>> shares({"a": 2, "b": 10, "c": 10}, 12)
    {'a': 2, 'b': 5, 'c': 5}
    >>> [shares({"a": 1, "b": 1}, 1, turn) for turn in (0, 1)]
    [{'a': 1, 'b': 0}, {'a': 0, 'b': 1}]
    """
    given = dict.fromkeys(wants, 0)
    open_ = [name for name, want in wants.items() if want]
    while open_ and total:
        each = total // len(open_)
        if not each:  # fewer places than holders: one each, in turn
            first = turn % len(open_)
            for name in (open_[first:] + open_[:first])[:total]:
                given[name] += 1
            break
        for name in open_:
            more = min(each, wants[name] - given[name])
            given[name] += more
            total -= more
        open_ = [name for name in open_ if given[name] < wants[name]]
    return given

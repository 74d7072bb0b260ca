"""How fast a run goes just now, and how long it will take yet."""

from __future__ import annotations

from collections import deque

from daskagents.snapshot import Snapshot

#: Seconds that a rate is of; and that the time left is told from, at least.
_RATE, _LEFT = 5.0, 30.0
#: Rounds that the time left is told from, at least.
_ROUNDS = 3.0
#: Seconds between two readings that are kept, at least; and before anything is told.
_APART, _FIRST = 0.2, 2.0


class Recent:
    """How fast a number has grown of late.

    Parameters
    ----------
    seconds
        How far it looks back.
    least
        Growth that it looks at, at least, however long ago that began.

    Examples
    --------
    >>> recent = Recent(10.0)
    >>> for second in range(60):
    ...     recent.see(second, 0 if second < 40 else 5 * (second - 40))
    >>> recent.rate()
    5.0

    """

    def __init__(self, seconds: float, least: float = 0.0) -> None:
        self._seconds, self._least = seconds, least
        self._seen: deque[tuple[float, float]] = deque()
        self._last = (0.0, 0.0)

    def see(self, now: float, number: float) -> None:
        """Take a reading."""
        seen, self._last = self._seen, (now, number)
        if not seen or (number != seen[-1][1] and now - seen[-1][0] >= _APART):
            seen.append((now, number))
        # one reading is kept from before the time it looks at: so it spans all of it
        while len(seen) > 1 and seen[1][0] <= now - self._seconds:
            if number - seen[1][1] < self._least:
                break
            seen.popleft()

    def rate(self) -> float | None:
        """Return the growth of a second; None before there were two readings."""
        if not self._seen or self._last[0] <= self._seen[0][0]:
            return None
        (before, first), (now, number) = self._seen[0], self._last
        return (number - first) / (now - before)


class Outlook:
    """What is to be expected of a run, from what was seen of it.

    Parameters
    ----------
    rounds
        How many there will be, where that is known.

    Examples
    --------
    >>> outlook = Outlook(10)
    >>> for second in range(9):
    ...     outlook.see(Snapshot(second // 2, 50 * second, 0, 0, 0, second, at=second / 2))
    >>> outlook.rate, outlook.left
    (50.0, 12.0)

    """

    def __init__(self, rounds: int | None = None) -> None:
        self._rounds = rounds
        self._replies, self._at = Recent(_RATE), Recent(_LEFT, _ROUNDS)
        self.rate: float | None = None
        self.left: float | None = None

    def see(self, snapshot: Snapshot) -> None:
        """Take a look at how far the run is."""
        if snapshot.state == "paused":  # which says nothing of how fast it goes afterwards
            self._replies, self._at = Recent(_RATE), Recent(_LEFT, _ROUNDS)
            self.rate, self.left = 0.0, None
            return
        at = float(snapshot.rounds) if snapshot.at is None else snapshot.at
        now = snapshot.seconds
        self._replies.see(now, snapshot.replies)
        self._at.see(now, at)
        self.rate = self._replies.rate()
        speed = self._at.rate()
        self.left = None
        if self._rounds and at < self._rounds and speed and now >= _FIRST and not snapshot.state:
            self.left = (self._rounds - at) / speed

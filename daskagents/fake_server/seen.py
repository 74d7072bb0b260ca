"""What the server saw: what came, what became of it, and what was asked twice."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

import msgspec

from daskagents.fake_server.completion import Tokens

#: How much earlier than asked a request may come again, in seconds: clocks differ.
_GRACE = 0.005


class Stats(msgspec.Struct, frozen=True):
    """What a model server has seen.

    Parameters
    ----------
    requests
        Requests in all, whatever became of them.
    outcomes
        How many per path and outcome: ``{"/v1/chat/completions 200": 3, ...}``; the outcome is
        a status or the name of a fault.
    recent
        Time on the server's own clock in seconds, path and outcome of the last 1,000 requests.
    connections
        The most connections that were open at once.
    body
        The body of the last chat; its text where it is no JSON.
    chats
        Chats that came, faults included.
    answered
        Chats that were answered as they should be, and in whole.
    repeats
        Of these, the ones whose body had been answered before: what was paid for twice.
    asked
        How many different bodies came once, how many twice, and so on.
    hasty
        Chats that came again before the time that a Retry-After had asked for.
    abandoned
        Chats whose connection the client closed before there was an answer.
    in_flight
        The most chats that were under way at once.
    prompt_tokens, completion_tokens, cached_tokens
        Tokens of all that was sent with status 200 and to its end.
    """

    requests: int
    outcomes: dict[str, int]
    recent: list[tuple[float, str, str]]
    connections: int
    body: Any
    chats: int = 0
    answered: int = 0
    repeats: int = 0
    asked: dict[int, int] = {}
    hasty: int = 0
    abandoned: int = 0
    in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Seen:
    """Counts what comes and what becomes of it."""

    def __init__(self) -> None:
        self.chats = 0
        self.answered = 0
        self.repeats = 0
        self.hasty = 0
        self.abandoned = 0
        self.body: bytes = b"null"
        self._open = self._most_open = 0
        self._flying = self._most_flying = 0
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._recent: deque[tuple[float, str, str]] = deque(maxlen=1_000)
        self._tokens = [0, 0, 0]
        #: By the digest of a body: how often it came, how often it was answered, and when it may
        #: come again.
        self._asked: dict[bytes, int] = {}
        self._done: dict[bytes, int] = {}
        self._barred: dict[bytes, float] = {}

    def opened(self) -> None:
        """Count a connection."""
        self._open += 1
        self._most_open = max(self._most_open, self._open)

    def closed(self) -> None:
        """Count the end of a connection."""
        self._open -= 1

    def outcome(self, path: str, outcome: str) -> None:
        """Count a request, by what is to become of it."""
        self._outcomes[path, outcome] += 1
        self._recent.append((time.monotonic(), path, outcome))

    def chat(self, digest: bytes, body: bytes) -> int:
        """Count a chat; return how often its body came, now included."""
        self.body = body
        self.chats += 1
        self._flying += 1
        if self._flying > self._most_flying:
            self._most_flying = self._flying
        if self._barred and self._barred.pop(digest, 0.0) > time.monotonic() + _GRACE:
            self.hasty += 1
        asked = self._asked[digest] = self._asked.get(digest, 0) + 1
        return asked

    def bar(self, digest: bytes, wait: float) -> None:
        """Note that a body should not come again for some seconds."""
        self._barred[digest] = time.monotonic() + wait

    def sent(self, digest: bytes, tokens: Tokens, proper: bool) -> None:
        """Count an answer that was written to its end; a proper one is what was asked for."""
        self._flying -= 1
        for place, count in enumerate(tokens):
            self._tokens[place] += count
        if proper:
            self.answered += 1
            before = self._done.get(digest, 0)
            self.repeats += before > 0
            self._done[digest] = before + 1

    def given_up(self) -> None:
        """Count a chat whose client left."""
        self._flying -= 1
        self.abandoned += 1

    def broken(self) -> None:
        """Count a chat whose connection the server itself closed."""
        self._flying -= 1

    def stats(self) -> bytes:
        """Return what was seen, as JSON."""
        try:
            body = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            body = self.body.decode(errors="replace")
        seen = Stats(
            self._outcomes.total(),
            {f"{path} {outcome}": count for (path, outcome), count in self._outcomes.items()},
            list(self._recent),
            self._most_open,
            body,
            self.chats,
            self.answered,
            self.repeats,
            dict(sorted(Counter(self._asked.values()).items())),
            self.hasty,
            self.abandoned,
            self._most_flying,
            *self._tokens,
        )
        return msgspec.json.encode(seen)

"""One connection: HTTP/1.1, kept alive, one request at a time."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from daskagents.fake_server.batching import Timer
from daskagents.fake_server.reply import Reply
from daskagents.fake_server.script import Script
from daskagents.fake_server.server import Server, refusal

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BEARER = re.compile(rb"\r\nauthorization: *bearer +([^\r]*)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r", re.IGNORECASE)
#: The routes that are for the test, not for its models.
_OWN = ("/health", "/v1/stats", "/v1/control")
#: How many heads are kept as they were read: a client sends the same ones again and again.
_HEADS = 1_024
#: In how many pieces a slow drip comes.
_DRIPS = 20


class _Head(NamedTuple):
    """What the head of a request says."""

    verb: str
    path: str
    key: str | None
    length: int
    last: bool


_heads: dict[bytes, _Head] = {}


def _head(raw: bytes) -> _Head:
    """Read the head of a request; it ends with the end of its last line."""
    if (known := _heads.get(raw)) is not None:
        return known
    verb, _, rest = raw.decode(errors="replace").partition(" ")
    length, bearer = _LENGTH.search(raw), _BEARER.search(raw)
    key = bearer[1].decode(errors="replace") if bearer else None
    last = _CLOSE.search(raw) is not None
    found = _Head(verb, rest.partition(" ")[0], key, int(length[1]) if length else 0, last)
    if len(_heads) >= _HEADS:
        _heads.clear()
    _heads[raw] = found
    return found


class Connection(asyncio.Protocol):
    """One connection.

    Parameters
    ----------
    server
        What it has in common with the others.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._unread = b""
        #: The chat that is under way, and what it waits for.
        self._reply: Reply | None = None
        self._waiting: Timer | None = None
        self._busy = False
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.seen.opened()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: what is under way is of no use to anybody."""
        self._server.seen.closed()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._reply is not None and self._reply.digest:
            self._server.seen.given_up()
        self._reply = None

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, or of several."""
        self._unread += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        """Take the next request, if all of it is there."""
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            return
        raw = self._unread[: end + 2]
        head = _head(raw)
        after = end + 4 + head.length
        if len(self._unread) < after:
            return
        body, self._unread = self._unread[end + 4 : after], self._unread[after:]
        self._busy, self._last = True, head.last
        if head.path in _OWN:
            self._reply = self._own(head.path, body)
            self._finish()
        else:
            self._take(head, raw, body)

    def _own(self, path: str, body: bytes) -> Reply:
        """Answer one of the routes that are for the test, not for the model."""
        if path == "/v1/stats":
            return Reply("200", self._server.seen.stats())
        if path == "/v1/control":
            try:
                self._server.change(msgspec.json.decode(body, type=Script))
            except msgspec.DecodeError as error:
                return refusal(400, str(error))
        return Reply("200", b'{"status":"ok"}')

    def _take(self, head: _Head, raw: bytes, body: bytes) -> None:
        """See to a request: now, or once there is a slot for it and its latency is over."""
        reply = self._reply = self._server.reply(head.verb, head.path, head.key, raw, body)
        slots = self._server.slots
        if reply.outcome == "reset":
            self._reset()
        elif slots is not None and reply.choices:
            read = reply.tokens.prompt - reply.tokens.cached
            written = reply.tokens.completion // reply.choices
            self._waiting = slots.enter(read, written, reply.choices, self._delay)
        elif reply.outcome != "hang":
            self._delay()

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something later, unless the client leaves before."""
        self._waiting = asyncio.get_running_loop().call_later(seconds, then)

    def _delay(self) -> None:
        """Send the answer after the latency."""
        if self._reply is not None and self._reply.latency:
            self._later(self._reply.latency, self._send)
        else:
            self._send()

    def _send(self) -> None:
        """Send the answer, or what its fault leaves of it."""
        self._waiting = None
        if self._server.script.paused:
            self._server.held.append(self._send)
            return
        reply = self._reply
        if reply is None:  # it was held back, and the client left
            return
        match reply.outcome:
            case "slow":
                self._later(reply.seconds, self._finish)
            case "drip":
                self._drip(reply.head + reply.body, 0)
            case "stall" | "truncated" | "torn":
                self._transport.write(reply.head + reply.body[: len(reply.body) // 2])
                if reply.outcome == "truncated":
                    self._end()
                    self._transport.close()
                elif reply.outcome == "torn":
                    self._reset()
            case _:
                self._finish()

    def _drip(self, left: bytes, sent: int) -> None:
        """Send the next piece of an answer, until there is none."""
        reply = self._reply
        assert reply is not None
        if sent == _DRIPS:
            self._sent(reply)
            return
        size = math.ceil(len(left) / (_DRIPS - sent))
        self._transport.write(left[:size])
        self._later(reply.seconds / _DRIPS, partial(self._drip, left[size:], sent + 1))

    def _finish(self) -> None:
        """Send all of the answer."""
        reply = self._reply
        assert reply is not None
        self._transport.write(reply.head + reply.body)
        self._sent(reply)

    def _sent(self, reply: Reply) -> None:
        """Count the answer, then see to the next request."""
        if reply.digest:
            self._server.seen.sent(reply.digest, reply.tokens, reply.proper)
            if reply.wait:
                self._server.seen.bar(reply.digest, reply.wait)
        self._reply = self._waiting = None
        self._busy = False
        if self._last:
            self._transport.close()
        elif self._unread:
            self._next()

    def _end(self) -> None:
        """Count the chat as one whose connection we close."""
        self._reply = None
        self._server.seen.broken()

    def _reset(self) -> None:
        """Tear the connection down: the client is told so at once, and nothing else."""
        self._end()
        held = self._transport.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

"""A server with the OpenAI interface and no model behind it; run as a script.

It imports nothing of the package, so that it is ready in a moment. It prints its port and then
serves until its standard input closes, which it does when the process that started it ends.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec

#: Faults besides an HTTP status.
FAULTS = ("malformed", "nonsense", "empty", "hang", "reset")

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BEARER = re.compile(rb"\r\nauthorization: *bearer +([^\r]*)", re.IGNORECASE)


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
        The body of the last chat.
    """

    requests: int
    outcomes: dict[str, int]
    recent: list[tuple[float, str, str]]
    connections: int
    body: Any


class Script(msgspec.Struct, frozen=True):
    """How the server is to behave."""

    latency: float
    answer: str | None
    fail: dict[str, int]
    retry_after: float | None
    api_key: str | None
    models: tuple[str, ...] | None
    seed: int


class _Said(msgspec.Struct):
    content: Any = ""


class _Chat(msgspec.Struct):
    """The parts of a request that the server reads."""

    messages: list[_Said]
    model: str = ""
    response_format: dict[str, Any] | None = None


def _draws(seed: int, body: bytes) -> Iterator[float]:
    """Yield numbers in [0, 1) that depend on nothing but the seed and the body."""
    for count in itertools.count():
        key = struct.pack("<QQ", seed % 2**64, count)
        for (word,) in struct.iter_unpack("<Q", blake2b(body, key=key).digest()):
            yield (word >> 11) / 2**53


def _number(schema: dict[str, Any], draw: float) -> float:
    """Return a number within the bounds of a schema, 0 and 100 where it has none."""
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 0 if high is None or high > 0 else high - 100
    if high is None:
        high = max(100, low + 100)
    value = low + draw * (high - low)
    if schema["type"] == "integer":
        first = low + ("exclusiveMinimum" in schema)
        last = high - ("exclusiveMaximum" in schema)
        return first + int(draw * (last - first + 1))
    short = round(value, 2)
    return float(short if low < short < high else value)


def _fit(schema: dict[str, Any], draws: Iterator[float]) -> Any:
    """Return a value that fits a JSON schema."""
    draw = next(draws)
    if "const" in schema:
        return schema["const"]
    if options := schema.get("enum"):
        return options[int(draw * len(options))]
    if options := schema.get("anyOf"):
        return _fit(options[int(draw * len(options))], draws)
    match schema.get("type"):
        case "object":
            return {name: _fit(part, draws) for name, part in schema["properties"].items()}
        case "array":
            fewest = schema.get("minItems", 0)
            most = schema.get("maxItems", fewest + 3)
            count = fewest + int(draw * (most - fewest + 1))
            return [_fit(schema["items"], draws) for _ in range(count)]
        case "number" | "integer":
            return _number(schema, draw)
        case "boolean":
            return draw < 0.5
        case "null":
            return None
    return f"word{int(draw * 1000)}"


class _Server:
    """What all connections share: the script and what was seen."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.chats = 0
        self.open = 0
        self.connections = 0
        self.body: bytes = b"null"
        self.outcomes: Counter[str] = Counter()
        self.recent: deque[tuple[float, str, str]] = deque(maxlen=1_000)

    def route(self, verb: bytes, path: str, key: bytes | None, body: bytes) -> tuple[str, bytes]:
        """Return the outcome of a request, a status or a fault, and the body of the answer."""
        script = self.script
        if script.api_key is not None and key != script.api_key.encode():
            shown = (key or b"").decode(errors="replace")
            return "401", _error(f"Incorrect API key provided: {shown}")
        if verb == b"GET" and path == "/v1/models" and script.models is not None:
            listed = [{"id": name, "object": "model"} for name in script.models]
            return "200", msgspec.json.encode({"object": "list", "data": listed})
        if verb != b"POST" or path != "/v1/chat/completions":
            return "404", _error(f"no such route: {path}")
        self.body = body
        self.chats += 1
        for fault, every in script.fail.items():
            if self.chats % every == 0:
                return fault, self._fault(fault)
        try:
            chat = msgspec.json.decode(body, type=_Chat)
        except msgspec.DecodeError as error:
            return "400", _error(f"cannot read the request: {error}")
        return "200", self.complete(chat, self._text(chat, body))

    def _fault(self, fault: str) -> bytes:
        """Return the body that goes with a fault."""
        match fault:
            case "malformed":
                return b'{"choices": [{"mess'
            case "empty":
                return b'{"object": "chat.completion", "choices": []}'
            case "nonsense":
                return self.complete(_Chat([]), "A lamp, or perhaps not.")
        return _error("this server was told to fail")

    def _text(self, chat: _Chat, body: bytes) -> str:
        """Return the text of an answer."""
        if self.script.answer is not None:
            return self.script.answer
        draws = _draws(self.script.seed, body)
        if (chat.response_format or {}).get("type") == "json_schema":
            schema = chat.response_format["json_schema"]["schema"]  # type: ignore[index]
            return msgspec.json.encode(_fit(schema, draws)).decode()
        return f"{100 * next(draws):.2f}"

    def complete(self, chat: _Chat, text: str) -> bytes:
        """Return the body of a whole answer."""
        asked = sum(len(str(said.content).split()) for said in chat.messages)
        answered = len(text.split())
        message = {"role": "assistant", "content": text}
        answer = {
            "id": f"chatcmpl-{self.chats}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": chat.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": asked,
                "completion_tokens": answered,
                "total_tokens": asked + answered,
            },
        }
        return msgspec.json.encode(answer)

    def stats(self) -> bytes:
        """Return what was seen, as JSON."""
        seen = Stats(
            self.outcomes.total(),
            dict(self.outcomes),
            list(self.recent),
            self.connections,
            msgspec.Raw(self.body),
        )
        return msgspec.json.encode(seen)


def _error(message: str) -> bytes:
    """Return the body of a refusal, in the form that OpenAI gives it."""
    return msgspec.json.encode({"error": {"message": message, "type": "error", "code": None}})


class _Connection(asyncio.Protocol):
    """One connection: HTTP/1.1, kept alive, one request at a time."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._unread = b""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.open += 1
        self._server.connections = max(self._server.connections, self._server.open)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open -= 1

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        """Take the next request, if all of it is there."""
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._unread[: end + 2]
        length = _LENGTH.search(head)
        after = end + 4 + (int(length[1]) if length else 0)
        if len(self._unread) < after:
            return
        body, self._unread = self._unread[end + 4 : after], self._unread[after:]
        self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        """Answer one request, now or later."""
        server = self._server
        verb, target, _ = head.split(b" ", 2)
        path = target.decode()
        if path in ("/health", "/v1/stats"):
            self._write("200", server.stats() if path == "/v1/stats" else b'{"status":"ok"}')
            return
        bearer = _BEARER.search(head)
        outcome, answer = server.route(verb, path, bearer[1] if bearer else None, body)
        server.outcomes[f"{path} {outcome}"] += 1
        server.recent.append((time.monotonic(), path, outcome))
        self._busy = True
        if outcome == "reset":
            self._transport.abort()
        elif outcome != "hang":
            self._later(outcome, answer)

    def _later(self, outcome: str, answer: bytes) -> None:
        """Write the answer after the latency."""
        if latency := self._server.script.latency:
            asyncio.get_running_loop().call_later(latency, self._write, outcome, answer)
        else:
            self._write(outcome, answer)

    def _write(self, outcome: str, answer: bytes) -> None:
        """Write an answer, then see to the next request."""
        status = int(outcome) if outcome.isdigit() else 200
        wait = self._server.script.retry_after if status in (429, 503) else None
        asked = f"Retry-After: {wait:g}\r\n" if wait is not None else ""
        head = (
            f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\n{asked}"
            f"Content-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        )
        self._transport.write(head.encode() + answer)
        self._busy = False
        if self._unread:
            self._next()


async def _serve(script: Script) -> None:
    """Serve until the standard input closes, which it does when our parent ends."""
    loop = asyncio.get_running_loop()
    shared = _Server(script)
    server = await loop.create_server(lambda: _Connection(shared), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    parent = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent), sys.stdin)
    await parent.read()


if __name__ == "__main__":
    asyncio.run(_serve(msgspec.json.decode(sys.argv[1], type=Script)))

"""A server that answers chats as a test tells it to, on a real socket, in the test's own loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from daskagents.loop import Loop
from daskagents.message import Message
from daskagents.models import OpenAI, Request
from daskagents.usage import Usage

T = TypeVar("T")

#: A body, a status and a body, raw bytes after which the connection ends, or what gives one of
#: these for the body of a request.
Reply = dict[str, Any] | tuple[int, Any] | bytes | Callable[[dict[str, Any]], Any]

HELLO = Request((Message("be brief", "system"), Message("hello you")))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, and close the connections that it made."""
    loop = Loop(thread=False)
    try:
        return loop.run(coroutine)
    finally:
        loop.close()


def said(*texts: str | None, **more: Any) -> dict[str, Any]:
    """Return a chat completion with a choice for each text."""
    message = more.pop("message", {})
    choice = {"finish_reason": "stop", **more.pop("choice", {})}
    choices = [{"message": {"content": text, **message}, **choice} for text in texts]
    usage = {"prompt_tokens": 10, "completion_tokens": 3 * len(texts)}
    return {"model": "m", "choices": choices, "usage": usage, **more}


def refused(message: str, status: int = 400) -> tuple[int, Any]:
    """Return a refusal in the form that OpenAI gives it."""
    return status, {"error": {"message": message, "type": "invalid_request_error"}}


def took(*things: Any) -> Usage:
    """Return what answers or errors took in all, but for the cost, which nobody told."""
    return replace(sum((thing.usage for thing in things), Usage()), cost=0.0)


class Scripted:
    """What a server was told to answer, and what it has seen."""

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        self.url = ""
        self.seen: list[dict[str, Any]] = []
        self._replies = replies

    def model(self, **given: Any) -> OpenAI:
        """Return the model behind this server."""
        return OpenAI("m", self.url, **{"api_key": "none", **given})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection; the last reply is given again and again."""
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            self.seen.append(body)
            reply: Any = self._replies[min(len(self.seen), len(self._replies)) - 1]
            if callable(reply):
                reply = reply(body)
            writer.write(reply if isinstance(reply, bytes) else as_http(reply))
            await writer.drain()
            if isinstance(reply, bytes):
                break


def as_http(reply: Any) -> bytes:
    """Return a reply as it is sent."""
    status, body = reply if isinstance(reply, tuple) else (200, reply)
    text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return b"HTTP/1.1 %d Well\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text)


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> AsyncIterator[str]:
    """Yield the address of a server, all connections of which end with the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def scripted(*replies: Reply) -> AsyncIterator[Scripted]:
    """Serve replies one after another as long as the block lasts."""
    script = Scripted(replies)
    async with listening(script.serve) as address:
        script.url = f"http://{address}/v1"
        yield script


def chat(*replies: Reply, request: Request = HELLO, **given: Any) -> tuple[Any, list[Any]]:
    """Return the answer to one request, or the error, and the bodies that were sent for it."""

    async def ask() -> tuple[Any, list[Any]]:
        async with scripted(*replies) as server:
            (found,) = await asyncio.gather(
                server.model(**given).chat(request), return_exceptions=True
            )
            return found, server.seen

    return run(ask())

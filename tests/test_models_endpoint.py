from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing
from typing import Any

import pytest
from scripted import HELLO, as_http, chat, listening, run, said, took

from daskagents.errors import (
    BrokenError,
    EndpointError,
    LateError,
    ModelError,
    UnreachableError,
)
from daskagents.models import OpenAI
from daskagents.testing import model_server
from daskagents.usage import Usage

WHOLE = as_http(said("Hi."))


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a byte at a time, never to the end, as long as somebody listens."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await reader.read()


def against(serve: Any, scheme: str = "http", **given: Any) -> ModelError:
    """Return the error of a chat with a server of one's own."""

    async def ask() -> Any:
        async with listening(serve) as address:
            asked = OpenAI("m", f"{scheme}://{address}/v1", "none", **given).chat(HELLO)
            return (await asyncio.gather(asked, return_exceptions=True))[0]

    error = run(ask())
    assert isinstance(error, ModelError)
    return error


def test_what_hangs_is_late() -> None:
    error = against(mute, timeout=0.2)
    assert type(error) is LateError
    assert isinstance(error, TimeoutError)
    assert str(error).endswith("/chat/completions did not answer within 0.2 s")
    assert error.passing
    assert error.status == 0
    assert took(error) == Usage()


def test_what_does_not_begin_is_late() -> None:
    error = against(mute, first_byte_timeout=0.2)
    assert type(error) is LateError
    assert "sent nothing for 0.2 s" in str(error)


def test_what_drips_is_late_on_the_whole() -> None:
    start = time.perf_counter()
    error = against(drip, timeout=0.5, first_byte_timeout=0.4)
    assert type(error) is LateError
    assert "did not answer within 0.5 s" in str(error)
    assert 0.4 < time.perf_counter() - start < 5


def test_no_connection_in_time() -> None:
    with closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        with closing(socket.create_connection((host, port))):
            # The queue of those that wait to be accepted is full: a further one is not answered.
            model = OpenAI("m", f"http://{host}:{port}/v1", "none", connect_timeout=0.3)
            with pytest.raises(LateError, match=r"no connection within 0\.3 s") as error:
                run(model.chat(HELLO))
            assert error.value.passing


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (WHOLE[:-5], BrokenError, "the answer was cut off"),
        (b"", UnreachableError, "the connection was lost before the answer"),
        (b"HTTP/1.1 200 OK\r\nConte", UnreachableError, "the connection was lost"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", UnreachableError, "the connection was lost"),
    ],
)
def test_bodies_that_are_cut_off(reply: bytes, kind: Any, told: str) -> None:
    error, _ = chat(reply)
    assert type(error) is kind
    assert told in str(error)
    assert error.passing
    assert took(error) == Usage(calls=int(kind is BrokenError))


def test_nobody_there() -> None:
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets this port
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        model = OpenAI("any", url, "none")
        for ask in (model.check, lambda: model.chat(HELLO)):
            with pytest.raises(UnreachableError) as error:
                run(ask())
            assert f"cannot reach {url}" in str(error.value)
            assert "connection refused; is the server running?" in str(error.value)
            assert isinstance(error.value, ConnectionError)
            assert error.value.passing


def test_nobody_of_that_name() -> None:
    model = OpenAI("any", "http://nobody.invalid/v1", "none")
    with pytest.raises(UnreachableError, match="cannot reach http://nobody"):
        run(model.check())


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer whatever comes, without encryption."""
    await reader.read(1)
    writer.write(WHOLE)
    await writer.drain()


def test_no_encryption_there() -> None:
    error = against(plain, scheme="https")
    assert type(error) is UnreachableError
    assert "cannot reach https://127.0.0.1" in str(error)


@pytest.mark.parametrize("status", [307, 400, 401, 403, 404, 422])
def test_what_cannot_pass(status: int) -> None:
    error, sent = chat((status, {"error": {"message": "told to fail"}}))
    assert type(error) is EndpointError
    assert f"refused the request with status {status}: told to fail" in str(error)
    assert (error.status, error.passing, error.wait) == (status, False, 0.0)
    assert error.endpoint == str(error).split("/chat")[0]
    assert len(sent) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass_is_sent_once_and_says_so(status: int) -> None:
    error, sent = chat((status, {"error": {"message": "told to fail"}}), retries=3)
    assert type(error) is EndpointError
    assert (error.status, error.passing) == (status, True)
    assert len(sent) == 1


def test_connections_are_not_bounded() -> None:
    with model_server(latency=0.5) as server:

        async def many() -> None:
            model = OpenAI("any", server.url, "none")
            await asyncio.gather(*[model.chat(HELLO) for _ in range(300)])

        run(many())
        assert server.stats().connections == 300


def test_who_waits_for_a_connection_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskagents.models.endpoint._most_connections", lambda: 2)
    with model_server(latency=0.3) as server:

        async def many() -> None:
            model = OpenAI("any", server.url, "none", timeout=0.9)
            await asyncio.gather(*[model.chat(HELLO) for _ in range(10)])

        run(many())
        assert server.stats().connections == 2
        assert server.stats().requests == 10

"""Requests to a server that speaks the OpenAI interface: ours, the stock client, bare aiohttp."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import openai

from benchmarks.measure import Row
from daskagents import Message, models, testing
from daskagents.loop import close_resources
from daskagents.models import Request

_ASKED: list[Any] = [{"role": "user", "content": "Report a number from 0 to 100."}]
#: Chats by the stock client, which is so slow that fewer will do.
_FEWER = 8


def requests(count: int) -> Iterator[Row]:
    """Measure requests per second, by the clock and of processor time of this process."""
    with testing.model_server() as server:
        for in_flight in (64, 512):
            own, bare = (
                [asyncio.run(speed_of(make(server.url), count, in_flight)) for _ in range(3)]
                for make in (ours, _bare)
            )
            stock = [asyncio.run(speed_of(_stock(server.url), count // _FEWER, in_flight))]
            for at, of in enumerate(("", " of processor time")):
                what = f"requests per second{of}, {in_flight} in flight"
                for name, other, asked in (
                    ("stock AsyncOpenAI", stock, "ratio 4"),
                    ("bare aiohttp", bare, "ratio 0.7 (aim)"),
                ):
                    yield Row(
                        what, [s[at] for s in own], "1/s", name, [s[at] for s in other], asked
                    )


Chat = Callable[[], Awaitable[object]]


def ours(url: str) -> Callable[[], tuple[Chat, Chat]]:
    """Return what makes a chat by our transport, and what closes its connections."""

    def make() -> tuple[Chat, Chat]:
        model = models.OpenAI("any", base_url=url, api_key="none", temperature=1.0)
        request = Request((Message("Report a number from 0 to 100."),))
        return (lambda: model.chat(request)), close_resources

    return make


def _stock(url: str) -> Callable[[], tuple[Chat, Chat]]:
    def make() -> tuple[Chat, Chat]:
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600)
        chat = client.chat.completions.create
        return (lambda: chat(model="any", messages=_ASKED, temperature=1.0)), client.close

    return make


def _bare(url: str) -> Callable[[], tuple[Chat, Chat]]:
    def make() -> tuple[Chat, Chat]:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        body = {"model": "any", "messages": _ASKED, "temperature": 1.0}

        async def chat() -> object:
            async with session.post(f"{url}/chat/completions", json=body) as answer:
                return await answer.json()

        return chat, session.close

    return make


async def speed_of(
    make: Callable[[], tuple[Chat, Chat]], count: int, in_flight: int
) -> tuple[float, float]:
    """Return requests per second, by the clock and of processor time, connections being open."""
    chat, close = make()

    async def lane(times: int) -> None:
        for _ in range(times):
            await chat()

    try:
        await asyncio.gather(*(lane(1) for _ in range(in_flight)))
        start, used = time.perf_counter(), _processor()
        times = max(1, count // in_flight)
        await asyncio.gather(*(lane(times) for _ in range(in_flight)))
        used, took = _processor() - used, time.perf_counter() - start
        return times * in_flight / took, times * in_flight / used
    finally:
        await close()


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

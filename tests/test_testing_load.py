"""Latency, slots and queues, and what can be done to a server while it runs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest
from test_models_process import wait_until, wait_until_gone
from test_testing_faults import Line

from daskagents.errors import EndpointError
from daskagents.fake_server.distributions import Distribution
from daskagents.testing import (
    Batching,
    Exponential,
    Lognormal,
    ModelServer,
    PrefixCache,
    Uniform,
    model_server,
)


def one(server: ModelServer, text: str = "one two three", **more: object) -> tuple[int, float]:
    """Return the status of a chat and the seconds that it took."""
    start = time.monotonic()
    with Line(server) as line:
        status = line.status(text, **more)
    return status, time.monotonic() - start


def at_once(
    server: ModelServer, count: int, prompt: str = "agent", **more: object
) -> tuple[list[float], float]:
    """Send chats at the same time; return the seconds of each, and of all together."""
    start = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        took = list(pool.map(lambda i: one(server, f"{prompt}{i}", **more)[1], range(count)))
    return sorted(took), time.monotonic() - start


@pytest.mark.parametrize("latency", [0.1, Uniform(0.1, 0.2)])
def test_latency(latency: float | Distribution) -> None:
    with model_server(latency=latency) as server:
        took, _ = at_once(server, 8)
    assert took[0] >= 0.1


@pytest.mark.parametrize("latency", [Exponential(0.05), Lognormal(0.05, 1.0)])
def test_latency_differs_and_is_seeded(latency: Distribution) -> None:
    with model_server(latency=latency) as server:
        first = [one(server, f"agent {i}")[1] for i in range(12)]
    with model_server(latency=latency) as server:
        again = [one(server, f"agent {i}")[1] for i in range(12)]
    order = sorted(range(12), key=first.__getitem__)
    assert max(first) > 2 * min(first)
    # the machine adds to it, so only what is far apart
    assert median(again[i] for i in order[:4]) < median(again[i] for i in order[-4:])


def test_saturation() -> None:
    # 0.2 s for each answer of 10 tokens; 4 at a time.
    batching = Batching(slots=4, prompt_speed=1e6, answer_speed=50)
    with model_server(answer="word " * 10, batching=batching) as server:
        _, few = at_once(server, 4)
        many, long = at_once(server, 12)
    assert few >= 0.2
    assert many[0] >= 0.2
    assert 0.6 <= long < 12 * 0.2


def test_prompts_are_read_one_after_another_but_for_the_cache() -> None:
    batching = Batching(slots=8, prompt_speed=100, answer_speed=1e6)
    prompt = " ".join(f"word{i}" for i in range(11))  # 0.11 s
    with model_server(batching=batching) as server:
        took, long = at_once(server, 4, prompt)
        assert took[0] >= 0.11
        assert long >= 0.44
        server.change(cache=PrefixCache(block=1))
        first, second = one(server, prompt)[1], one(server, prompt)[1]
    assert first >= 0.11
    assert second < first


def test_choices_take_slots() -> None:
    batching = Batching(slots=4, prompt_speed=1e6, answer_speed=50)
    with model_server(answer="word " * 10, batching=batching) as server:
        assert one(server, n=4)[1] >= 0.2
        assert one(server, n=8)[1] >= 0.4
        assert at_once(server, 2, n=4)[1] >= 0.4


def test_a_queue_may_be_full() -> None:
    batching = Batching(slots=1, answer_speed=20, queue=1)
    with model_server(answer="word " * 20, batching=batching) as server:
        with ThreadPoolExecutor(3) as pool:
            found = sorted(pool.map(lambda i: one(server, f"agent {i}")[0], range(3)))
        assert found == [200, 200, 503]


def test_who_leaves_gives_back_a_slot() -> None:
    batching = Batching(slots=1, answer_speed=1)
    with model_server(answer="word " * 60, batching=batching) as server:
        lines = [Line(server), Line(server)]
        for line in lines:  # the first has the slot, the second waits for it
            line.send()
        wait_until(lambda: server.stats().in_flight == 2)
        for line in lines:
            line.connection.close()
        wait_until(lambda: server.stats().abandoned == 2)
        server.change(answer="word")
        assert one(server)[1] < 20
        assert server.stats().answered == 1


def test_changes_while_it_runs() -> None:
    with model_server(fail={503: 1}) as server:
        assert one(server)[0] == 503
        server.change(fail=None)
        assert one(server)[0] == 200
        server.change(fail={500: 2})
        assert [one(server)[0] for _ in range(3)] == [200, 500, 200]
        server.change(latency=0.01)  # faults go on counting
        assert [one(server)[0] for _ in range(2)] == [500, 200]
        assert server.stats().chats == 7


def test_a_pause() -> None:
    with model_server() as server, ThreadPoolExecutor(3) as pool:
        server.pause()
        held = [pool.submit(one, server, f"agent {i}") for i in range(3)]
        with Line(server) as line:
            line.send("one who leaves")
            wait_until(lambda: server.stats().chats == 4)
        wait_until(lambda: server.stats().abandoned == 1)
        assert not any(future.done() for future in held)
        server.resume()
        assert [future.result(30)[0] for future in held] == [200] * 3
        assert server.stats().in_flight == 4
        assert server.stats().answered == 3


def test_it_is_killed_and_comes_back_where_it_was() -> None:
    with model_server() as server:
        url, pid = server.url, server.pid
        with Line(server) as line:
            assert line.status() == 200
            server.kill()
            wait_until_gone(pid)
            with pytest.raises(OSError):
                line.status()
        with pytest.raises(ConnectionRefusedError), Line(server) as line:
            line.send()
        with pytest.raises(EndpointError, match="does not answer"):
            server.stats()
        server.change(answer="I am back")
        server.kill()
        server.start()
        server.start()
        assert server.url == url
        assert server.pid != pid
        with Line(server) as line:
            assert line.ask()["choices"][0]["message"]["content"] == "I am back"
        assert server.stats().chats == 1

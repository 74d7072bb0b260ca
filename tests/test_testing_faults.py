"""What a client sees of each fault, and which chats have it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from test_models_process import wait_until

from daskagents.testing import Fault, Limits, ModelServer, model_server

CHAT = {"model": "any", "messages": [{"role": "user", "content": "one two three"}]}


class Line:
    """A connection to a server, kept open."""

    def __init__(self, server: ModelServer, timeout: float = 30.0) -> None:
        port = int(server.url.split(":")[2].split("/")[0])
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, text: str = "one two three", **more: object) -> None:
        chat = {**CHAT, "messages": [{"role": "user", "content": text}], **more}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(chat))

    def answer(self) -> http.client.HTTPResponse:
        return self.connection.getresponse()

    def status(self, text: str = "one two three", **more: object) -> int:
        self.send(text, **more)
        answer = self.answer()
        answer.read()
        return answer.status

    def ask(self, text: str = "one two three", **more: object) -> dict:
        self.send(text, **more)
        return json.loads(self.answer().read())


def statuses(line: Line, texts: list[str]) -> list[int]:
    return [line.status(text) for text in texts]


def test_by_rate_alike_in_any_order() -> None:
    texts = [f"agent {i}" for i in range(300)]
    found = []
    for order in (texts, texts[::-1]):
        with model_server(fail={429: 0.2, 500: 0.1}, seed=3) as server, Line(server) as line:
            found.append(dict(zip(order, statuses(line, order), strict=True)))
            assert server.stats().asked == {1: 300}
    assert found[0] == found[1]
    assert 35 <= list(found[0].values()).count(429) <= 90
    assert 10 <= list(found[0].values()).count(500) <= 50


def test_a_fault_by_rate_passes() -> None:
    with model_server(fail={500: 0.5}) as server, Line(server) as line:
        found = statuses(line, ["the same"] * 40)
        assert {200, 500} == set(found)
        assert server.stats().repeats == found.count(200) - 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(what=500, first=2), "xx...."),
        (Fault(what=500, every=3), "..x..x"),
        (Fault(what=500, every=2, first=2), ".x.x.."),
        (Fault(what=500, tries=1), "xxx..."),
        (Fault(what=500, text="agent b"), ".x..x."),
        (Fault(what=500, text="agent b", every=2), "....x."),
        (Fault(what=500, between=(0, 1000)), "xxxxxx"),
        (Fault(what=500, between=(1000, 2000)), "......"),
        (Fault(what=500, rate=0.0), "......"),
    ],
)
def test_by_script(fault: Fault, expected: str) -> None:
    with model_server(fail=[fault]) as server, Line(server) as line:
        found = statuses(line, ["agent a", "agent b", "agent c"] * 2)
        assert "".join("x" if status == 500 else "." for status in found) == expected


def test_by_header() -> None:
    fault = Fault(what=404, text="X-Agent: 7\r\n")
    with model_server(fail=[fault]) as server, Line(server) as line:
        for agent, expected in (("7", 404), ("70", 200)):
            body = json.dumps(CHAT)
            line.connection.request("POST", "/v1/chat/completions", body, {"X-Agent": agent})
            answer = line.answer()
            answer.read()
            assert answer.status == expected


def test_the_first_fault_that_fits_counts() -> None:
    faults = [Fault(what=503, every=2), Fault(what=429, every=3), Fault(what=500, first=1)]
    with model_server(fail=faults) as server, Line(server) as line:
        assert statuses(line, [str(i) for i in range(6)]) == [500, 503, 429, 503, 200, 503]


def test_retry_after_as_seconds_and_as_a_date() -> None:
    faults = [
        Fault(what=429, text="seconds", retry_after=2.5),
        Fault(what=429, text="date", retry_after=3, as_date=True),
        Fault(what=500, text="none"),
    ]
    with model_server(fail=faults, retry_after=9) as server, Line(server) as line:
        said = []
        for text in ("seconds", "date", "none"):
            line.send(text)
            answer = line.answer()
            answer.read()
            said.append(answer.headers["Retry-After"])
    assert (said[0], said[2]) == ("2.5", None)
    wait = parsedate_to_datetime(said[1]) - datetime.now(UTC)
    assert timedelta(seconds=1) < wait <= timedelta(seconds=4)


def test_whoever_comes_again_too_early_is_noticed() -> None:
    with model_server(fail=[Fault(what=429, tries=1, retry_after=0.3)]) as server:
        with Line(server) as line:
            assert statuses(line, ["hasty", "hasty", "patient"]) == [429, 200, 429]
            time.sleep(0.35)
            assert line.status("patient") == 200
        assert server.stats().hasty == 1


def contents(what: str) -> dict:
    with model_server(fail={what: 1}, answer="alpha beta gamma delta") as server:
        with Line(server) as line:
            answer = line.ask()
        assert server.stats().outcomes == {f"/v1/chat/completions {what}": 1}
        assert server.stats().answered == 0
    return answer


def test_answers_of_no_use() -> None:
    (choice,) = contents("refusal")["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["refusal"]
    (choice,) = contents("length")["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("alpha beta ", "length")
    (choice,) = contents("misfit")["choices"]
    assert json.loads(choice["message"]["content"]) == {"unexpected": True}
    assert contents("misfit")["usage"]["prompt_tokens"] == 3
    assert contents("empty")["choices"] == []


def test_a_reset_and_what_comes_before_it() -> None:
    for what, part in (("reset", b""), ("torn", b"HTTP/1.1 200 OK")):
        with model_server(fail={what: 1}) as server, Line(server) as line:
            line.send()
            held, got = line.connection.sock, b""
            # were it closed instead, this would end without an error
            with pytest.raises(ConnectionResetError):
                while more := held.recv(65536):
                    got += more
            assert got.startswith(part) and (part or not got)
            assert not got.endswith(b"}")


def test_a_truncated_body_ends() -> None:
    with model_server(fail={"truncated": 1}) as server, Line(server) as line:
        line.send()
        with pytest.raises(http.client.IncompleteRead) as error:
            line.answer().read()
        assert error.value.partial.startswith(b'{"id"')


def test_a_stalled_body_does_not_end() -> None:
    with model_server(fail={"stall": 1}) as server:
        with Line(server, timeout=0.3) as line:
            line.send()
            answer = line.answer()
            assert answer.status == 200
            with pytest.raises(TimeoutError):
                answer.read()
        wait_until(lambda: server.stats().abandoned == 1)


def test_a_drip_is_slow_and_whole() -> None:
    with model_server(fail=[Fault(what="drip", seconds=0.8)]) as server, Line(server) as line:
        line.send()
        start = time.monotonic()
        first = line.connection.sock.recv(65536)
        early = time.monotonic() - start
        got, pieces = first, 1
        while not got.endswith(b"}}"):
            got += line.connection.sock.recv(65536)
            pieces += 1
        assert early < 0.7 < time.monotonic() - start
        assert pieces > 5
        assert len(got.partition(b"\r\n\r\n")[2]) == int(got.split(b"Length: ")[1].split()[0])
        wait_until(lambda: server.stats().answered == 1)


def test_slow_is_late() -> None:
    with model_server(fail=[Fault(what="slow", seconds=0.3)]) as server, Line(server) as line:
        start = time.monotonic()
        assert line.status() == 200
        assert time.monotonic() - start >= 0.3
        assert server.stats().answered == 1


def test_limits_limit_and_refill() -> None:
    # 5 at once, and 1 more each second.
    with model_server(limits=Limits(requests=60, window=5)) as server, Line(server) as line:
        found = statuses(line, ["x"] * 5)
        line.send("x")
        refused = line.answer()
        refused.read()
        wait = float(refused.headers["Retry-After"])
        assert found == [200] * 5
        assert refused.status == 429
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert 0 < wait <= 1
        time.sleep(wait)
        assert line.status("x") == 200
        assert server.stats().hasty == 0


def test_limits_of_tokens() -> None:
    # 40 tokens at once; a request takes 3 and 1.
    with model_server(limits=Limits(tokens=60, window=40.0)) as server, Line(server) as line:
        found = statuses(line, ["one two three"] * 12)
        assert found == [200] * 10 + [429] * 2
    # What is larger than the whole allowance passes when nothing else was used.
    with model_server(limits=Limits(tokens=60, window=2.0)) as server, Line(server) as line:
        assert statuses(line, ["one two three"] * 2) == [200, 429]


def test_one_connection_takes_many_requests_at_once() -> None:
    body = json.dumps(CHAT).encode()
    one = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with model_server(answer="yes", latency=0.01) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as held:
            for piece in (one[:30], one[30:] + one + one[:70], one[70:]):
                held.sendall(piece)
            got = b""
            while got.count(b'"yes"') < 3:
                got += held.recv(65536)
        assert server.stats().connections >= 1
        assert server.stats().answered == 3


def test_a_connection_is_closed_on_request() -> None:
    with model_server(answer="yes") as server, Line(server) as line:
        body = json.dumps(CHAT)
        line.connection.request("POST", "/v1/chat/completions", body, {"Connection": "close"})
        held, got = line.connection.sock, b""
        while more := held.recv(65536):
            got += more
        assert got.endswith(b"}}")

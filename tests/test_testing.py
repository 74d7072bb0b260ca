from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_models_process import wait_until_gone
from test_models_schema import schemas

from daskagents.errors import UsageError
from daskagents.fake_server.draws import draws
from daskagents.fake_server.fitting import Fitting
from daskagents.models import schema
from daskagents.testing import (
    Batching,
    Choice,
    Fault,
    LevelK,
    Limits,
    ModelServer,
    PrefixCache,
    model_server,
)

SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "number"}, "yes": {"type": "boolean"}},
    "required": ["number", "yes"],
    "additionalProperties": False,
}


def post(server: ModelServer, body: bytes | None = None, text: str = "one two") -> str:
    """Send a chat and return the text of the answer."""
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}
    chat = {"messages": [{"role": "user", "content": text}], "response_format": form}
    sent = json.dumps(chat).encode() if body is None else body
    request = urllib.request.Request(f"{server.url}/chat/completions", sent)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_answers_follow_from_the_seed_and_the_request_alone() -> None:
    def answers(seed: int) -> list[str]:
        with model_server(seed=seed) as server, ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda i: post(server, text=f"agent {i % 10}"), range(20)))

    first = answers(1)
    assert first == answers(1) == first[:10] * 2
    assert first != answers(2)
    for text in first:
        assert 0 <= json.loads(text)["number"] <= 100
    assert len(set(first)) == 10
    assert {json.loads(text)["yes"] for text in first} == {True, False}


def test_routes_and_stats() -> None:
    with model_server(models=("a", "b")) as server:
        assert get(f"{server.url}/models")["data"][1]["id"] == "b"
        assert get(server.url.replace("/v1", "/health")) == {"status": "ok"}
        with pytest.raises(urllib.error.HTTPError, match="404") as error:
            get(f"{server.url}/nowhere")
        error.value.close()
        post(server)
        stats = server.stats()
        assert stats.requests == 3
        assert stats.outcomes == {
            "/v1/models 200": 1,
            "/v1/nowhere 404": 1,
            "/v1/chat/completions 200": 1,
        }
        assert [f"{path} {outcome}" for _, path, outcome in stats.recent] == list(stats.outcomes)
        assert stats.body["messages"][0]["content"] == "one two"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": 3}'])
def test_a_bad_request(body: bytes) -> None:
    with model_server() as server:
        with pytest.raises(urllib.error.HTTPError, match="400") as error:
            post(server, body)
        assert "cannot read the request" in json.load(error.value)["error"]["message"]


def test_faults_come_in_turn() -> None:
    with model_server(answer="yes", fail={"500": 2, 429: 3}, retry_after=7) as server:
        seen = []
        for _ in range(6):
            try:
                seen.append(post(server))
            except urllib.error.HTTPError as error:
                seen.append((error.code, error.headers["Retry-After"]))
                error.close()
        assert seen == ["yes", (500, None), (429, "7"), (500, None), "yes", (500, None)]


@pytest.mark.parametrize(
    "fail",
    [{"tantrum": 1}, {500: 0}, {"reset": -1}, {200: 1}, {"500x": 1}, {500: 1.5}, {500: -0.1}],
)
def test_there_is_no_such_fault(fail: dict[int | str, float]) -> None:
    with pytest.raises(UsageError, match="fault"), model_server(fail=fail):
        pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"latency": -1.0}, r"`float` >= 0.0 - at `\$.latency`"),
        ({"latency": "soon"}, r"\$.latency"),
        ({"fail": [Fault(what=500, rate=2)]}, r"\$.faults\[0\].rate"),
        ({"fail": [Fault(what=500, first=0)]}, r"\$.faults\[0\].first"),
        ({"batching": Batching(slots=0)}, r"\$.batching.slots"),
        ({"limits": Limits(tokens=0)}, r"\$.limits.tokens"),
        ({"cache": PrefixCache(block=0)}, r"\$.cache.block"),
        ({"answer": Choice({})}, r"length >= 1"),
        ({"answer": Choice({"yes": 0.0})}, "share is above 0"),
        ({"answer": LevelK(levels=(0.0,))}, "share is above 0"),
        ({"reasoning": -1}, r"\$.reasoning"),
    ],
)
def test_what_a_server_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said), model_server(**settings):
        pass


def test_a_change_that_makes_no_sense_changes_nothing() -> None:
    with model_server(answer="yes") as server:
        for settings in ({"latency": -1.0}, {"colour": "red"}):
            with pytest.raises(UsageError, match="a model server cannot be so"):
                server.change(**settings)
        assert post(server) == "yes"


def test_a_port_is_taken_by_one_alone() -> None:
    with model_server(port=0) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        held = socket.socket()
        with held, pytest.raises(OSError):
            held.bind(("127.0.0.1", port))
        with pytest.raises(UsageError, match="in use"), model_server(port=port):
            pass
        server.kill()
        with pytest.raises(UsageError, match="in use"), model_server(port=port):
            pass
    with model_server(port=port) as server:
        assert server.url.endswith(f":{port}/v1")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        taken = held.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port={taken}: "), model_server(port=taken):
            pass


def test_what_is_asked_twice_is_counted() -> None:
    with model_server(fail={500: 4}) as server:
        for text in ("a", "b", "a", "fails", "fails", "a"):
            with suppress(urllib.error.HTTPError):
                post(server, text=text)
        stats = server.stats()
    assert (stats.chats, stats.answered, stats.repeats) == (6, 5, 2)
    assert stats.asked == {1: 1, 2: 1, 3: 1}
    assert (stats.prompt_tokens, stats.in_flight, stats.abandoned) == (5, 1, 0)


@given(schemas, st.integers(0, 2**32), st.floats(-200, 200))
def test_what_a_strategy_draws_fits_the_schema(cls: Any, seed: int, number: float) -> None:
    stream = draws(b"", b"", seed)
    fitting = Fitting(schema.json_schema(cls), stream, lambda: number, lambda _: "hello")
    value = fitting.fit()
    assert isinstance(schema.read(msgspec.json.encode(value).decode(), cls), cls)


def test_forms_of_schemas_that_ours_do_not_have() -> None:
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                    "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                    "step": {"type": "number", "multipleOf": 0.25, "exclusiveMaximum": 1},
                    "even": {"type": "integer", "multipleOf": 2, "minimum": 1, "maximum": 5},
                    "word": {"type": "string", "minLength": 9, "maxLength": 10},
                    "pair": {"type": "array", "prefixItems": [{"const": 1}, {"type": "null"}]},
                    "both": {"allOf": [{"type": "integer"}, {"minimum": 3, "maximum": 3}]},
                    "some": {"type": ["boolean", "null"]},
                    "two": {
                        "prefixItems": [{"const": 1}],
                        "items": {"type": "null"},
                        "type": "array",
                        "minItems": 2,
                        "maxItems": 2,
                    },
                },
            }
        },
    }
    for seed in range(200):
        value = Fitting(tree, draws(b"", b"", seed)).fit()
        assert value["step"] in (0, 0.25, 0.5, 0.75)
        assert value["even"] in (2, 4)
        assert 9 <= len(value["word"]) <= 10
        assert (value["pair"], value["both"]) == ([1, None], 3)
        assert value["some"] in (True, False, None)
        assert value["two"] == [1, None]


def test_a_strategy_heeds_what_is_excluded() -> None:
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        schema = {"type": "number", bound: 5}
        assert Fitting(schema, draws(b"", b""), lambda: 5.0).fit() != 5


def test_it_is_stopped_when_left() -> None:
    with pytest.raises(ZeroDivisionError), model_server() as server:
        1 / 0  # noqa: B018
    wait_until_gone(server.pid)

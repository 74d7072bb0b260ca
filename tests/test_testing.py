from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_models_process import wait_until_gone

from daskagents.errors import UsageError
from daskagents.testing import ModelServer, model_server

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


@pytest.mark.parametrize("fail", [{"tantrum": 1}, {500: 0}, {"reset": -1}])
def test_there_is_no_such_fault(fail: dict[int | str, int]) -> None:
    with pytest.raises(UsageError, match="fault"), model_server(fail=fail):
        pass


def test_it_is_stopped_when_left() -> None:
    with pytest.raises(ZeroDivisionError), model_server() as server:
        1 / 0  # noqa: B018
    wait_until_gone(server.pid)

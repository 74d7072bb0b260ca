"""The same requests to our server, to another fake one and to a real model: all answer alike."""

from __future__ import annotations

import http.client
import importlib.util
import json
import math
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from test_models_process import wait_until

import daskagents as da
from daskagents import models
from daskagents.models import local
from daskagents.testing import PrefixCache, model_server

CHAT = {"model": "any", "messages": [{"role": "user", "content": "Say a few words, please."}]}
SCHEMA = {
    "type": "object",
    "properties": {
        "color": {"type": "string", "enum": ["red", "blue"]},
        "number": {"type": "integer", "minimum": 1, "maximum": 5},
        "sure": {"type": "boolean"},
    },
    "required": ["color", "number", "sure"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA, "strict": True}}


@contextmanager
def ours() -> Iterator[str]:
    with model_server(cache=PrefixCache(block=1)) as server:
        yield server.url


@contextmanager
def llmock(*faults: str) -> Iterator[str]:
    command = Path(sys.executable).with_name("llmock")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [command, "serve", "--host=127.0.0.1", f"--port={port}", "--log-level=error", *faults]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port), 60)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return not tried.connect_ex(("127.0.0.1", port))


@contextmanager
def real() -> Iterator[str]:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("pip install 'daskagents[local]'")
    yield local(slots=8).base_url


@pytest.fixture(scope="module", params=[ours, llmock, real], ids=lambda one: one.__name__)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as url:
        yield url


def skip_if_llmock(url: str) -> None:
    """Skip a test of what llmock does not have."""
    if "llmock" in json.dumps(send(url, "GET", "/models")[1]):
        pytest.skip("llmock has none")


def send(url: str, verb: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    there = urlsplit(url + path)
    connection = http.client.HTTPConnection(there.netloc, timeout=100)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    connection.request(verb, there.path, body, headers)
    answer = connection.getresponse()
    try:
        assert answer.headers["Content-Type"].startswith("application/json")
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def ask(url: str, **more: Any) -> Any:
    body = json.dumps({**CHAT, "max_tokens": 20, **more}).encode()
    status, answer = send(url, "POST", "/chat/completions", body)
    assert status == 200, answer
    return answer


@pytest.mark.timeout(300)
def test_a_chat(url: str) -> None:
    answer = ask(url)
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert isinstance(answer["created"], int)
    assert isinstance(answer["model"], str)
    (choice,) = answer["choices"]
    assert choice["index"] == 0
    assert choice["finish_reason"] in ("stop", "length")
    assert choice["message"]["role"] == "assistant"
    assert isinstance(choice["message"]["content"], str)
    usage = answer["usage"]
    assert min(usage["prompt_tokens"], usage["completion_tokens"]) > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.timeout(300)
def test_a_schema(url: str) -> None:
    for number in range(3):
        answer = ask(url, response_format=FORM, max_tokens=200, seed=number)
        value = json.loads(answer["choices"][0]["message"]["content"])
        assert list(value) == ["color", "number", "sure"]
        assert value["color"] in ("red", "blue")
        assert value["number"] in range(1, 6)
        assert isinstance(value["sure"], bool)


@pytest.mark.timeout(300)
def test_several_choices(url: str) -> None:
    answer = ask(url, n=3)
    assert sorted(choice["index"] for choice in answer["choices"]) == [0, 1, 2]
    assert all(choice["message"]["content"] for choice in answer["choices"])
    once = ask(url)
    assert answer["usage"]["prompt_tokens"] == once["usage"]["prompt_tokens"]


@pytest.mark.timeout(300)
def test_logprobs(url: str) -> None:
    skip_if_llmock(url)
    (choice,) = ask(url, logprobs=True, top_logprobs=3)["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    for token in tokens:
        assert bytes(token["bytes"]).decode(errors="ignore") in token["token"]
        likely = [one["logprob"] for one in token["top_logprobs"]]
        assert len(likely) == 3
        assert likely == sorted(likely, reverse=True)
        assert token["logprob"] <= 0
        assert sum(map(math.exp, likely)) <= 1.001


@pytest.mark.timeout(300)
def test_what_is_cached_is_told(url: str) -> None:
    skip_if_llmock(url)
    told = [ask(url)["usage"] for _ in range(2)]
    cached = told[1]["prompt_tokens_details"]["cached_tokens"]
    assert cached == told[1]["prompt_tokens"] - 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("body", [b"{nonsense", b"", b"[]", b'{"model": "any"}'])
def test_a_bad_request(url: str, body: bytes) -> None:
    status, answer = send(url, "POST", "/chat/completions", body)
    assert 400 <= status < 500 or (body == b"[]" and status == 500)
    assert isinstance(answer["error"]["message"], str)
    assert isinstance(answer["error"]["type"], str)


@pytest.mark.timeout(300)
def test_other_routes(url: str) -> None:
    status, answer = send(url, "GET", "/models")
    assert (status, answer["object"]) == (200, "list")
    assert all(one["object"] == "model" and one["id"] for one in answer["data"])
    status, answer = send(url, "GET", "/nowhere")
    assert (status, isinstance(answer["error"]["message"], str)) == (404, True)
    assert send(url.removesuffix("/v1"), "GET", "/health")[1]["status"] == "ok"


def test_the_default_stack_behaves_well_in_the_judgement_of_another() -> None:
    """Its verdict is an error where a client ignores Retry-After, gives up, or hammers it."""
    faults = [f"--error-rate={rate}" for rate in ("429=0.15", "500=0.05", "503=0.05")]
    with llmock(*faults) as url:
        model = models.stack(models.OpenAI("gpt-4o", url, "none"))
        population = da.Population(Asker, 40, model=model)
        replies = population.reply()["said"].values
        command = [Path(sys.executable).with_name("llmock"), "report", "--json", "--url"]
        told = subprocess.run(
            [*command, url.removesuffix("/v1")], capture_output=True, text=True, check=False
        )
    assert len(replies) == 40 and all(replies)
    assert told.returncode == 0, told.stdout


class Asker(da.Agent):
    async def reply(self, message: da.Message) -> dict[str, str]:
        return {"said": (await self.chat(f"I am {self.id}.")).text}


@pytest.mark.timeout(300)
def test_the_stock_client_is_content(url: str) -> None:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id
        said = CHAT | {"model": model}
        answer = client.chat.completions.create(n=2, max_tokens=8, **said)
        assert len(answer.choices) == 2
        assert answer.usage is not None and answer.usage.prompt_tokens > 0
        with pytest.raises(openai.APIStatusError):
            client.post("/nowhere", cast_to=object)

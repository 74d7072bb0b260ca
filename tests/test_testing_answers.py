"""What the model server answers: strategies, schemas, choices, logprobs, usage."""

from __future__ import annotations

import json
import math
from collections import Counter
from statistics import fmean, median, stdev
from typing import Any

import pytest
from test_testing_faults import Line

from daskagents.testing import (
    Choice,
    Echo,
    LevelK,
    ModelServer,
    Normal,
    PrefixCache,
    Uniform,
    model_server,
)


def form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what asks for answers that fit a schema."""
    wanted = {"name": "it", "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def bounded(low: float, high: float) -> dict[str, Any]:
    part = {"type": "number", "minimum": low, "maximum": high}
    return form({"type": "object", "properties": {"number": part}, "required": ["number"]})


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


def numbers(server: ModelServer, count: int, prompt: str = "", **more: Any) -> list[float]:
    """Return what so many agents are answered."""
    with Line(server) as line:
        said = [texts(line.ask(f"{prompt} agent-{chr(97 + i)}", **more))[0] for i in range(count)]
    return [float(json.loads(text)["number"] if more else text) for text in said]


def test_numbers_of_a_distribution() -> None:
    with model_server(answer=Normal(30, 5)) as server, Line(server) as line:
        found = [float(text) for _ in range(4) for text in texts(line.ask(n=100))]
        assert found[:100] == found[100:200]
        assert 28 < fmean(found) < 32
        assert 4 < stdev(found[:100]) < 6
        fit = numbers(server, 20, **bounded(31, 33))
    assert all(31 <= number <= 33 for number in fit)
    assert len(set(fit)) > 5


def test_numbers_out_of_reach_of_a_distribution_fit_all_the_same() -> None:
    with model_server(answer=Uniform(0, 1)) as server:
        assert all(31 <= number <= 33 for number in numbers(server, 5, **bounded(31, 33)))


def test_level_k_follows_what_was_told() -> None:
    with model_server(answer=LevelK(levels=(0, 1), ratio=0.5, sd=0.1)) as server:
        assert numbers(server, 5) == pytest.approx([25] * 5, abs=1)
        assert numbers(server, 5, "The last winner was 30.0.") == pytest.approx([15] * 5, abs=1)
        server.change(answer=LevelK(levels=(1, 1, 2), ratio=0.5, sd=0.0))
        with Line(server) as line:
            found = Counter(texts(line.ask(n=128)))
    assert found.keys() == {"50.00", "25.00", "12.50"}
    assert found["12.50"] > max(found["50.00"], found["25.00"])


def test_echo_and_a_fixed_text() -> None:
    with model_server(answer=Echo()) as server, Line(server) as line:
        assert texts(line.ask("say this", **bounded(0, 1))) == ["say this"]
        server.change(answer="fixed")
        assert texts(line.ask("say this", n=2)) == ["fixed", "fixed"]


def test_choices_and_their_logprobs() -> None:
    options = {"red": 6.0, "green": 3.0, "blue": 1.0}
    schema = form({"properties": {"color": {"enum": ["green", "blue"]}}})
    with model_server(answer=Choice(options)) as server, Line(server) as line:
        found = Counter(text for _ in range(4) for text in texts(line.ask(f"{_}", n=100)))
        answer = line.ask(logprobs=True, top_logprobs=2)
        inside = Counter(t for i in range(4) for t in texts(line.ask(f"{i}", n=100, **schema)))
        guided = set(texts(line.ask(n=100, guided_choice=["blue", "red"])))
        other = texts(line.ask(guided_choice=["black"]))
    assert [found[name] / 400 for name in options] == pytest.approx([0.6, 0.3, 0.1], abs=0.1)
    (token,) = answer["choices"][0]["logprobs"]["content"]
    shares = {one["token"]: math.exp(one["logprob"]) for one in token["top_logprobs"]}
    assert shares == pytest.approx({"red": 0.6, "green": 0.3})
    assert math.exp(token["logprob"]) == pytest.approx(options[token["token"]] / 10)
    assert inside.keys() == {'{"color":"green"}', '{"color":"blue"}'}
    assert inside['{"color":"green"}'] / 400 == pytest.approx(0.75, abs=0.08)
    assert (guided, other) == ({"blue", "red"}, ["black"])


def test_logprobs_of_other_texts_spell_them() -> None:
    with model_server(answer="Well, maybe.") as server, Line(server) as line:
        told = line.ask(logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
        assert "logprobs" not in line.ask()["choices"][0]
    assert "".join(token["token"] for token in told) == "Well, maybe."
    for token in told:
        likely = [one["logprob"] for one in token["top_logprobs"]]
        assert likely == sorted(likely, reverse=True)
        assert token["logprob"] == likely[0]
        assert sum(map(math.exp, likely)) <= 1 + 1e-9


def test_several_choices_are_draws_of_their_own() -> None:
    with model_server() as server, Line(server) as line:
        answer = line.ask("one two three", n=64)
        assert [choice["index"] for choice in answer["choices"]] == list(range(64))
        assert len(set(texts(answer))) > 60
        assert answer["usage"] == {
            "prompt_tokens": 3,
            "completion_tokens": 64,
            "total_tokens": 67,
        }
        assert line.status(n=128) == 200
        for wrong in (0, 129, -1, "two"):
            assert line.status(n=wrong) == 400
        server.change(most_choices=2)
        assert [line.status(n=n) for n in (2, 3)] == [200, 400]


def test_the_same_request_may_get_other_answers() -> None:
    with model_server(vary=True) as server, Line(server) as line:
        once = [text for _ in range(8) for text in texts(line.ask(n=4))]
        assert len(set(once)) == 32
    with model_server(vary=True) as server, Line(server) as line:
        assert once == [text for _ in range(8) for text in texts(line.ask(n=4))]


def test_thoughts_are_kept_apart() -> None:
    with model_server(reasoning=5, answer="yes") as server, Line(server) as line:
        answer = line.ask()
        assert len(answer["choices"][0]["message"]["reasoning_content"].split()) == 5
        assert answer["usage"]["completion_tokens"] == 6
        assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}
        server.change(reasoning=0)
        assert "reasoning_content" not in line.ask()["choices"][0]["message"]
        assert "reasoning_content" in line.ask(reasoning_effort="low")["choices"][0]["message"]
        assert "reasoning_content" not in line.ask(reasoning_effort="none")["choices"][0]["message"]


def test_the_most_tokens_are_heeded() -> None:
    with model_server(answer="one two three") as server, Line(server) as line:
        for name in ("max_tokens", "max_completion_tokens"):
            answer = line.ask(**{name: 2})
            assert texts(answer) == ["one two"]
            assert answer["choices"][0]["finish_reason"] == "length"
            assert answer["usage"]["completion_tokens"] == 2
            assert line.ask(**{name: 3})["choices"][0]["finish_reason"] == "stop"


def test_the_prefix_cache_finds_what_was_seen() -> None:
    rules = " ".join(f"rule{i}" for i in range(20))

    def cached(line: Line, text: str) -> int:
        return line.ask(text)["usage"]["prompt_tokens_details"]["cached_tokens"]

    with model_server(cache=PrefixCache(block=1)) as server, Line(server) as line:
        assert cached(line, f"{rules} agent 1") == 0
        assert cached(line, f"{rules} agent 2") == 21
        assert cached(line, f"{rules} agent 2") == 21  # its last word is read again
        assert cached(line, f"agent 2 {rules}") == 0
        assert server.stats().cached_tokens == 42
        server.change(cache=PrefixCache(block=8))
        assert [cached(line, f"{rules} agent {i}") for i in range(3)] == [0, 16, 16]
        # room for two blocks: another prompt takes the place of this one
        server.change(cache=PrefixCache(block=8, tokens=16))
        assert [cached(line, f"{rules} agent {i}") for i in range(3)] == [0, 16, 16]
        cached(line, " ".join(["other"] * 8))  # takes the place of the first block
        assert cached(line, rules) == 0
        assert cached(line, rules) == 16
        server.change(cache=None)
        assert "prompt_tokens_details" not in line.ask(rules)["usage"]


def test_parameters_may_be_refused_or_passed_over() -> None:
    settings = {"refuse": ("n", "logprobs"), "ignore": ("max_tokens",)}
    with model_server(**settings) as server, Line(server) as line:
        line.send(n=2)
        error = json.loads(line.answer().read())["error"]
        assert (error["param"], error["code"]) == ("n", "unsupported_parameter")
        assert line.status(logprobs=True) == 400
        assert line.status(n=1, logprobs=None) == 200
        server.change(answer="one two")
        assert texts(line.ask(max_tokens=1)) == ["one two"]
        server.change(refuse=(), ignore=("n",))
        assert len(texts(line.ask(n=3))) == 1


@pytest.mark.parametrize(
    "schema", [{"type": "tuple"}, {"$ref": "#/$defs/none"}, {"type": "object", "properties": 3}]
)
def test_a_schema_that_is_not_known_is_refused(schema: dict[str, Any]) -> None:
    with model_server() as server, Line(server) as line:
        line.send(**form(schema))
        answer = line.answer()
        assert answer.status == 400
        assert json.loads(answer.read())["error"]["param"] == "response_format"


def test_percentiles_of_what_is_answered_without_a_schema() -> None:
    with model_server() as server, Line(server) as line:
        found = [float(text) for text in texts(line.ask(n=128))]
    assert 35 < median(found) < 65
    assert 0 <= min(found) < 10 and 90 < max(found) <= 100

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import chat, said, took

from daskagents.errors import AnswerError, BrokenError, EmptyError, RefusalError
from daskagents.models import Answer, completion
from daskagents.usage import Usage


def test_all_that_an_answer_tells() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 64},
    }
    answer, _ = chat(said("Hi.", usage=usage, model="m-2026"))
    assert (answer.text, answer.model, answer.how) == ("Hi.", "m-2026", "")
    assert took(answer) == Usage(1, 100, 7, 64)
    assert answer.endpoint.startswith("http://127.0.0.1:")
    assert answer.probabilities is None


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None},
        {"prompt_tokens_details": {"cached_tokens": None}},
    ],
)
def test_an_endpoint_need_not_count(usage: Any) -> None:
    answer, _ = chat(said("Hi.", usage=usage, model=None))
    assert took(answer) == Usage(1)
    assert answer.model == ""


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart(name: str) -> None:
    answer, _ = chat(said("50", message={name: "Half of it."}))
    assert (answer.text, answer.reasoning) == ("50", "Half of it.")


def test_thoughts_in_the_text_are_kept_apart() -> None:
    answer, _ = chat(said("\n<think>\nHalf {of} it.\n</think>\n\n50"))
    assert (answer.text, answer.reasoning) == ("50", "Half {of} it.")
    # A tag within what is said is no thought.
    answer, _ = chat(said("I write <think>."))
    assert (answer.text, answer.reasoning) == ("I write <think>.", "")
    answer, _ = chat(said("50", message={"reasoning": {"steps": 3}, "reasoning_content": None}))
    assert (answer.text, answer.reasoning) == ("50", "")


@pytest.mark.parametrize(
    ("body", "kind", "passing", "told"),
    [
        ("", BrokenError, True, "no chat completion: .*truncated"),
        ('{"choices": [{"mess', BrokenError, True, "got '{\"choices"),
        ('{"choices": 3}', BrokenError, True, "no chat completion"),
        ("[" * 100_000, BrokenError, True, "no chat completion"),
        ("<html>Welcome</html>", BrokenError, True, "is base_url= right"),
        ("{}", EmptyError, True, "has no choices$"),
        ('{"choices": [], "error": {"message": "no GPU"}}', EmptyError, True, "no choices.*no GPU"),
        (said(None), EmptyError, True, "no text: finish_reason is stop"),
        (said(None, choice={"finish_reason": "length"}), EmptyError, False, "raise max_tokens="),
        (said(None, choice={"finish_reason": "tool_calls"}), EmptyError, False, "is tool_calls"),
        (
            said(None, message={"refusal": "I cannot help with that."}),
            RefusalError,
            False,
            "would not answer: I cannot help",
        ),
        (
            said("Well, ", choice={"finish_reason": "content_filter"}),
            RefusalError,
            False,
            "a filter kept the answer back",
        ),
    ],
)
def test_each_failure_is_its_own_error(body: Any, kind: Any, passing: bool, told: str) -> None:
    error, _ = chat((200, body))
    assert type(error) is kind
    assert isinstance(error, AnswerError)
    with pytest.raises(kind, match=told):
        raise error
    assert str(error).startswith("http://127.0.0.1:")
    assert error.passing is passing
    counted = isinstance(body, dict)
    assert took(error) == (Usage(1, 10, 3) if counted else Usage(1))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 130))
def test_many_answers_share_what_they_took(prompt: int, said: int, cached: int, n: int) -> None:
    body = {
        "choices": [{"message": {"content": str(at)}} for at in range(n)],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": said,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }
    found = completion.answers(completion.read(json.dumps(body).encode()), "it")
    assert [one.text for one in found if isinstance(one, Answer)] == [str(at) for at in range(n)]
    assert took(*found) == Usage(1, prompt, said, cached)
    shares = [one.usage.prompt_tokens for one in found]
    assert max(shares) - min(shares) <= 1


def test_one_choice_that_cannot_be_used_spoils_no_other() -> None:
    body = said("a", None, "c")
    found = completion.answers(completion.read(json.dumps(body).encode()), "it")
    assert [type(one) for one in found] == [Answer, EmptyError, Answer]
    assert took(*found) == Usage(1, 10, 9)


def test_the_first_of_many_answers_has_a_price() -> None:
    """However short the prompt is that they share."""
    body = {**said(*["yes"] * 20), "usage": {"prompt_tokens": 4, "completion_tokens": 20}}
    found = [
        one.usage for one in completion.answers(completion.read(json.dumps(body).encode()), "it")
    ]
    assert [(one.calls, one.prompt_tokens) for one in found[:2]] == [(1, 1), (0, 0)]
    assert sum(one.prompt_tokens for one in found) == 4

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import HELLO, chat, refused, said

from daskagents.errors import UsageError
from daskagents.models import Request
from daskagents.models.odds import Likely, Token, odds


def tokens_of(option: Any, options: dict[Any, float], pieces: int, alone: bool) -> list[Token]:
    """Return the tokens of an answer by a model whose tokens have a few characters each."""

    def cut(option: Any) -> list[bytes]:
        text = json.dumps(option, ensure_ascii=False).encode() + (b"" if alone else b"}")
        return [text[at : at + pieces] for at in range(0, len(text), pieces)]

    def token(kind: Any, raw: bytes, p: float, *more: Any) -> Any:
        # As endpoints do it: the text of a part of a character is none.
        return kind(raw.decode(errors="replace"), math.log(p), list(raw), *more)

    paths = {one: cut(one) for one in options}
    found = [] if alone else [Token(piece, 0.0) for piece in ("{", '"answer"', ": ")]
    for at, piece in enumerate(paths[option]):
        alike = [one for one, path in paths.items() if path[:at] == paths[option][:at]]
        whole = sum(options[one] for one in alike)
        places: dict[bytes, float] = {}
        for one in alike:
            if at < len(paths[one]):
                places[paths[one][at]] = places.get(paths[one][at], 0.0) + options[one] / whole
        # Half of all goes to what is no option.
        likely = [token(Likely, raw, p / 2) for raw, p in places.items()]
        found.append(token(Token, piece, places[piece] / 2, [*likely, Likely("?", -0.7)]))
    return found


words = st.text(st.sampled_from('abc dé"'), min_size=1, max_size=5)
options_drawn = st.one_of(
    st.dictionaries(kind, st.floats(0.01, 1), min_size=2) for kind in (words, st.integers(0, 200))
)


@given(options_drawn, st.integers(1, 4), st.booleans(), st.data())
def test_the_probabilities_of_the_model_are_found(
    options: dict[Any, float], pieces: int, alone: bool, data: st.DataObject
) -> None:
    option = data.draw(st.sampled_from(list(options)))
    found = odds(list(options), tokens_of(option, options, pieces, alone))
    if found is None:  # they begin alike where the answer leaves their way
        texts = {json.dumps(one, ensure_ascii=False).encode() for one in options}
        # Or one ends where another goes on, and there is no object to tell.
        ends = alone and any(text[:at] in texts for text in texts for at in range(1, len(text)))
        assert ends or len({text[:pieces] for text in texts}) < len(texts)
        return
    whole = sum(options.values())
    assert found == {one: pytest.approx(p / whole, rel=1e-6) for one, p in options.items()}


def test_options_that_begin_alike() -> None:
    options = {"red": 0.2, "reddish": 0.2, "blue": 0.6}
    assert odds(list(options), tokens_of("red", options, 4, False)) == pytest.approx(options)
    assert odds(list(options), tokens_of("blue", options, 4, False)) is None


def test_tokens_that_are_parted_differently_count_together() -> None:
    top = [Likely("ye", -1.0), Likely("yes", -1.0), Likely("no", -1.0), Likely("y", -1.0)]
    said = [Token('{"answer":"', 0.0), Token("yes", -1.0, None, top), Token('"}', 0.0)]
    assert odds(["yes", "no"], said) == pytest.approx({"yes": 0.75, "no": 0.25})


def test_a_token_that_begins_before_the_value() -> None:
    top = [Likely(' "no', -1.0), Likely(' "yes', -1.0), Likely("yes", 0.0)]
    said = [Token('{"answer":', 0.0), Token(' "no', -1.0, None, top), Token('"}', 0.0)]
    assert odds(["yes", "no"], said) == pytest.approx({"yes": 0.5, "no": 0.5})


def test_numbers_end_where_they_end() -> None:
    top = [Likely("1", math.log(0.5)), Likely("10", math.log(0.25)), Likely("2", math.log(0.25))]
    object = [Token('{"answer":', 0.0), Token("10", math.log(0.25), None, top), Token("}", 0.0)]
    # Whether 1 goes on is not known: 10 was said by another way.
    assert odds([1, 10, 2], object) is None
    # Held to these two, a model that begins with 1 goes on to 10.
    assert odds([10, 2], object) == pytest.approx({10: 0.75, 2: 0.25})
    assert odds([1, 2], [Token("1", math.log(0.5), None, top)]) == pytest.approx(
        {1: 2 / 3, 2: 1 / 3}
    )


def test_an_option_that_is_not_told_of() -> None:
    def said(*likely: float) -> list[Token]:
        words = ("yes", "so", "well", "but")
        top = [Likely(word, math.log(p)) for word, p in zip(words, likely, strict=False)]
        return [Token("yes", math.log(likely[0]), None, top)]

    # It may be as probable as the least of those told of, or as all that is left.
    assert odds(["yes", "no"], said(0.6, 0.2, 0.1)) is None
    assert odds(["yes", "no"], said(0.6, 0.396, 0.001)) == {"yes": 1.0, "no": 0.0}
    assert odds(["yes", "no"], said(0.5, 0.3, 0.2)) == {"yes": 1.0, "no": 0.0}
    assert odds(["yes", "no", "maybe"], said(0.1, 0.897, 0.0007)) is None


@pytest.mark.parametrize(
    "tokens", [[], [Token("maybe", 0.0)], [Token("", 0.0)], [Token("\ufffd", -3.0)]]
)
def test_nothing_to_be_told(tokens: list[Token]) -> None:
    assert odds(["yes", "no"], tokens) is None


TEA = Request(HELLO.messages, choices=("yes", "no"))


def test_choices_have_probabilities() -> None:
    content = [
        {"token": '{"answer": "', "logprob": 0.0, "top_logprobs": []},
        {
            "token": "no",
            "logprob": math.log(0.3),
            "top_logprobs": [
                {"token": "yes", "logprob": math.log(0.6), "bytes": None},
                {"token": "no", "logprob": math.log(0.3)},
                {"token": "perhaps", "logprob": -9999.0},
            ],
        },
        {"token": '"}', "logprob": 0.0, "top_logprobs": []},
    ]
    reply = said('{"answer": "no"}', choice={"logprobs": {"content": content}})
    answer, (sent,) = chat(reply, request=TEA)
    assert answer.value == "no"
    assert answer.probabilities == pytest.approx({"yes": 2 / 3, "no": 1 / 3})
    assert list(answer.probabilities) == ["yes", "no"]
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 20)
    asked = sent["response_format"]["json_schema"]["schema"]["properties"]["answer"]
    assert sorted(asked["enum"]) == ["no", "yes"]


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}])
def test_probabilities_that_are_not_offered(
    logprobs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer, _ = chat(said('{"answer": "no"}', choice={"logprobs": logprobs}), request=TEA)
    assert (answer.value, answer.probabilities) == ("no", None)
    assert "tells no probabilities of tokens" in caplog.text


@pytest.mark.parametrize(
    "told", ["logprobs are not supported", "top_logprobs: 20 is greater than max allowed: 5"]
)
def test_probabilities_that_are_refused(told: str, caplog: pytest.LogCaptureFixture) -> None:
    answer, sent = chat(refused(told), said('{"answer": "no"}'), request=TEA)
    assert (answer.value, answer.probabilities) == ("no", None)
    assert not {"logprobs", "top_logprobs"} & sent[1].keys()
    assert "does not take logprobs" in caplog.text


def test_how_many_tokens_are_told_of_can_be_chosen() -> None:
    _, (sent,) = chat(said("no"), request=TEA, grammar=True)
    assert sent["top_logprobs"] == 100
    request = Request(HELLO.messages, choices=("yes", "no"), sampling={"top_logprobs": 5})
    _, (sent,) = chat(said("no"), request=request)
    assert sent["top_logprobs"] == 5


def test_other_requests_ask_for_no_probabilities() -> None:
    _, (sent,) = chat(said("no"))
    assert "logprobs" not in sent


@pytest.mark.parametrize("choices", [("yes",), ("a", "a"), ("", "a"), (0.5, 1), (True, False)])
def test_wrong_choices(choices: Any) -> None:
    with pytest.raises(UsageError, match="two or more different texts or whole numbers"):
        Request(HELLO.messages, choices=choices)


def test_choices_are_a_schema() -> None:
    assert TEA.schema.__args__ == ("yes", "no")
    with pytest.raises(UsageError, match="not both"):
        Request(HELLO.messages, float, choices=("yes", "no"))

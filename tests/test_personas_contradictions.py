"""What a background may say of a person, and what contradicts the row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.personas.contradictions import contradictions
from daskagents.personas.facts import in_words, row_text, template, untold

ROW = {"age": 34, "gender": "female", "job": "farmer", "education": "school"}
CHOICES = {
    "gender": ("male", "female"),
    "job": ("farmer", "clerk", "economist", "professor of game theory"),
    "education": ("school", "bachelor", "phd"),
}


def against(text: str, **fields: object) -> list[str]:
    return contradictions({"name": "Ann Bell", **fields, "background": text}, ROW, CHOICES)


@pytest.mark.parametrize(
    "text",
    [
        "Ann is a 34-year-old farmer who left school early.",
        "At thirty-four years old, she farms. Her 5-year-old son helps, and so does her 60-year-old"
        " mother.",
        "When she was 12 years old, her father, who is a clerk, moved away.",
        "I am 34. I was a clerk before, and I have two kids, aged 5 and 7.",
        "I'm thirty-four and my husband is 52 years old.",
        "She lives on a 200-year-old farm with a 9-year-old dog. Since the age of 16 she has"
        " worked.",
        "Her brother is an economist. Her daughter is in her twenties; she is in her thirties.",
        "Ann is not a clerk, and she would never work as an economist for 40 years.",
        "She is married to a clerk, and her sister holds a PhD in game theory.",
        "He is her neighbour, and she likes him.",
        "Ann sells the town's clerk her eggs, and knows every clerk and economist there.",
        "She is a farmer like her father, a 70-year-old man. She dreams of a PhD.",
        "A 34-year-old mother of two, she turned 30 before she had a child.",
        "She went to school and has a bachelor's hat from her aunt's PhD ceremony.",
        "",
    ],
)
def test_what_fits(text: str) -> None:
    assert against(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ann is a 52-year-old farmer.", "the age is 34, and the background says 52"),
        ("Ann, aged 52, farms.", "says 52"),
        ("Raised by her mother, Ann is a fifty-two-year-old woman.", "says 52"),
        ("I am 52. I farm.", "says 52"),
        ("I'm currently fifty-two and I farm.", "says 52"),
        ("Her son is 5 years old, and she is 35 years old.", "says 35"),
        ("She is in her early fifties.", "says fifties"),
        ("She\u2019s in her 20s.", "says 20s"),
        ("Age: 43. A farmer.", "says 43"),
        ("Ann is 35 and farms.", "says 35"),
        ("Ann Bell is 35. She farms.", "says 35"),
        ("Ann is a 34-year-old man.", "the gender is female, and the background says man"),
        ("Tom farms his land. He has no children.", "the background says he"),
        ("Ann is a busy young clerk.", "the job is farmer, and the background says clerk"),
        ("She works as an economist at a bank.", "says economist"),
        ("A 34-year-old economist, she likes cows.", "says economist"),
        ("She is currently a professor of game theory.", "says professor of game theory"),
        ("She holds a PhD in history.", "the education is school, and the background says PhD"),
    ],
)
def test_what_contradicts(text: str, said: str) -> None:
    (found,) = against(text)
    assert said in found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"age": 35}, "the age is 34, and the answer says 35"),
        ({"gender": "Male"}, "the gender is female, and the answer says Male"),
        ({"job": "clerk"}, "the job is farmer, and the answer says clerk"),
        ({"age": 34, "gender": "Woman", "job": "Dairy farmer"}, ""),
    ],
)
def test_fields_of_the_answer(fields: dict[str, object], said: str) -> None:
    assert "; ".join(against("", **fields)) == said


def test_rows_of_other_kinds() -> None:
    assert contradictions({"age": 70, "background": "Bo is 70 years old."}, {"age": "65+"}) == []
    assert contradictions({"gender": "female", "background": ""}, {"sex": "non-binary"}) != []
    assert contradictions({"name": "Bo", "background": ""}, {"name": "Ann Bell"}) != []
    row = {"occupation": "game_theorist"}
    said = {"job": "Game theorist", "background": "Bo is a theorist."}
    assert contradictions(said, row, {"occupation": ("theorist", "game_theorist")}) == []
    assert contradictions({"job": "农民工", "background": "三十四岁"}, {"job": "农民"}) == []


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_the_check(text: str, name: str, job: str) -> None:
    row = {"age": 34, "gender": "male", "job": job, "education": "phd"}
    answer = {"name": name, "job": job, "background": text}
    for found in contradictions(
        answer, row, {"job": (job, text, name), "education": ("a(", "phd")}
    ):
        assert found.startswith(("the age", "the gender", "the job", "the education"))


def test_facts_that_are_not_told_are_named() -> None:
    text = "Ann Bell, thirty-four, keeps cows. She never finished school."
    row = {"name": "Ann Bell", **ROW, "income": 31_000.0, "smokes": False}
    assert in_words(untold(text, row)) == "job: farmer; income: 31000; smokes: no"
    assert untold("She has a bachelor\u2019s degree.", {"education": "bachelor's degree"}) == {}
    assert untold("She earns 31,000 a year.", {"income": 31_000.0}) == {}


def test_rows_as_texts() -> None:
    assert row_text(["a", "b", "c", "d"], [None, "", float("nan"), True]) == '{"d": true}'
    assert template({}) == "A person."

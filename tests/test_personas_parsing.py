"""What is wrong with a file is found before anything is sampled, all at once, with its place."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.personas import SpecError, load, parse, sample
from daskagents.personas.nodes import Problems
from daskagents.personas.reading import read_text
from daskagents.personas.values import interval

WORDS = "given proportions joint normal mean sd min expression template name a b".split()
SEX = {"proportions": {"f": 0.5, "m": 0.5}}


def problems(fields: dict[str, Any], folder: Path | None = None, **more: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse({"size": 10, "fields": fields, **more}, folder)
    assert all(line in str(caught.value) for line in caught.value.problems)
    return list(caught.value.problems)


def one(fields: dict[str, Any], *words: str, **more: Any) -> None:
    found = problems(fields, **more)
    assert len(found) == 1, found
    assert all(word in found[0] for word in words), found[0]


# Each of what the issue lists


def test_proportions_that_do_not_add_up_to_1() -> None:
    one({"x": {"proportions": {"a": 0.5, "b": 0.7}}}, "fields.x.proportions", "add up to 1.2")
    one({"x": {"proportions": {"a": 0.5}}}, "add up to 0.5", "weights")


def test_a_negative_proportion() -> None:
    one({"x": {"proportions": {"a": -0.5, "b": 1.5}}}, "fields.x.proportions.a", "negative")


@pytest.mark.parametrize("share", ["much", None, True, float("nan"), "1/0", [1]])
def test_a_proportion_that_is_no_number(share: Any) -> None:
    one({"x": {"proportions": {"a": share}}}, "fields.x.proportions.a", "not a number")


def test_a_category_twice() -> None:
    said = broken("size: 3\nfields:\n  x: {proportions: {a: 0.5, b: 0.25, a: 0.25}}")
    assert "fields.x.proportions.a (line 3, column 38): is there twice" in said


def test_a_condition_on_an_unknown_field() -> None:
    branches = {"f": {"a": 1}, "m": {"a": 1}}
    job = {"given": "sx", "proportions": branches}
    one({"sex": SEX, "job": job}, "fields.job.given", "no field 'sx'; did you mean 'sex'?")


def test_branches_of_an_unknown_field_are_looked_at_all_the_same() -> None:
    branches = {"f": {"a": 1.5, "b": -0.5}, "m": {"a": 0.7}}
    found = problems({"sex": SEX, "job": {"given": "sx", "proportions": branches}})
    words = "no field 'sx'", "f.b: is -0.5", "m: the proportions add up to 0.7"
    assert all(word in line for word, line in zip(words, found, strict=True)), found


def test_a_condition_on_a_later_field() -> None:
    job = {"given": "sex", "proportions": {"f": {"a": 1}, "m": {"a": 1}}}
    one({"job": job, "sex": SEX}, "'sex' is a later field; move it above 'job'")


def test_a_cycle() -> None:
    fields = {"a": {"expression": "b + 1"}, "b": {"expression": "c"}, "c": {"expression": "a"}}
    one(fields, "is a cycle: a needs b needs c needs a")
    one({"a": {"expression": "a + 1"}}, "is a cycle: a needs a")


def test_a_missing_branch() -> None:
    job = {"given": "sex", "proportions": {"f": {"a": 1}}}
    one({"sex": SEX, "job": job}, "no branch for sex 'm'", "else")
    job["proportions"] = {"f": {"a": 1}, "else": {"b": 1}}
    parse({"size": 1, "fields": {"sex": SEX, "job": job}})


def test_a_branch_too_many() -> None:
    job = {"given": "sex", "proportions": {"f": {"a": 1}, "m": {"a": 1}, "mm": {"a": 1}}}
    one({"sex": SEX, "job": job}, "sex is never 'mm'; did you mean 'm'?")


def test_ranges_with_gaps_and_overlaps() -> None:
    age = {"uniform": {"min": 18, "max": 95, "integer": True}}
    job = {"given": "age", "proportions": {"18-29": {"a": 1}, "35-64": {"a": 1}, "65+": {"a": 1}}}
    one({"age": age, "job": job}, "no branch for age 30-34")
    real = {"uniform": {"min": 18, "max": 95}}
    one({"age": real, "job": job}, "no branch for age 29-35, 64-65", "let ranges meet")
    job["proportions"] = {"18-30": {"a": 1}, "30+": {"a": 1}}
    one({"age": age, "job": job}, "'18-30' and '30+' overlap")
    job["proportions"] = {"young": {"a": 1}, "else": {"a": 1}}
    one({"age": age, "job": job}, "'young' is no range of age")


def test_a_microdata_file_without_the_column(tmp_path: Path) -> None:
    pd.DataFrame({"Age": [1], "w": [1.0]}).to_csv(tmp_path / "people.csv", index=False)
    field = {"microdata": {"file": "people.csv", "weight": "w"}}
    (said,) = problems({"age": field}, tmp_path)
    assert "people.csv has no column 'age'; did you mean 'Age'?" in said
    field["microdata"] = {"file": "people.csv", "weight": "v", "columns": {"age": "Age"}}
    (said,) = problems({"age": field}, tmp_path)
    assert "no column 'v'" in said
    (said,) = problems({"age": {"microdata": {"file": "none.csv"}}}, tmp_path)
    assert "there is no file" in said and "none.csv" in said


def test_contradictory_marginals(tmp_path: Path) -> None:
    rows = pd.DataFrame({"sex": ["f", "m", "f", "m"], "age": [20, 20, 60, 60]})
    rows.to_parquet(tmp_path / "people.parquet")
    field: dict[str, Any] = {"file": "people.parquet"}
    field["marginals"] = {"sex": {"f": 60, "m": 40}, "age": {"<30": 30, "30+": 80}}
    (said,) = problems({"sex, age": {"microdata": field}}, tmp_path)
    assert "contradict each other: sex adds up to 100, and age to 110" in said
    field["marginals"] = {
        "sex": {"f": 0.6, "m": 0.4},
        "sex, age": {"f": {"<30": 0.3, "30+": 0.2}, "m": {"<30": 0.3, "30+": 0.2}},
    }
    said, _ = problems({"sex, age": {"microdata": field}}, tmp_path)
    assert "sex has a share of 0.6 for f, and sex, age 0.5" in said
    field["marginals"] = {"sex": {"f": 0.6, "m": 0.3, "x": 0.1}}
    assert "sex is never 'x'" in problems({"sex, age": {"microdata": field}}, tmp_path)[0]


@pytest.mark.parametrize("size", [0, -1, 2.5, "many", None, True, 10**12])
def test_a_size_that_is_none(size: Any) -> None:
    with pytest.raises(SpecError, match="size"):
        parse({"size": size, "fields": {"sex": SEX}})


def test_a_template_with_an_unknown_name() -> None:
    one({"sex": SEX}, "persona", "no field 'sxe'", persona="{sxe}")
    one({"sex": SEX, "x": {"template": "{job}"}}, "there is no field 'job'")


@pytest.mark.parametrize("text", ["{sex", "{sex.__class__}", "{sex[0]}", "{}", "{0}", "{sex!r}"])
def test_a_template_that_reaches_further_than_fields(text: str) -> None:
    assert len(problems({"sex": SEX}, persona=text)) == 1


@pytest.mark.parametrize("text", ["{sex:.2f}", "{sex:{sex}}", "{sex:99999}"])
def test_a_format_that_does_not_fit(text: str) -> None:
    assert len(problems({"sex": SEX}, persona=text)) == 1


def broken(text: str) -> str:
    found = Problems("people.yaml")
    with pytest.raises(SpecError) as caught:
        read_text(text, found)
        found.raise_all()
    return str(caught.value)


def test_a_broken_file_shows_line_and_column(tmp_path: Path) -> None:
    said = broken("size: 3\nfields:\n  x: {proportions: {a: 0.5\n  y: 3\n")
    assert "people.yaml is broken YAML (line 4, column 4)" in said
    path = tmp_path / "people.json"
    path.write_text('{"size": 3,\n "fields": }')
    with pytest.raises(SpecError, match=r"broken JSON \(line 2, column 12\)"):
        load(path)


@pytest.mark.parametrize("text", ["", "- 1", "3", "&a [*a]", "&a {b: *a}", "{[1]: 2}", "a: !x 1"])
def test_odd_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"people\.yaml"):
        load(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SpecError, match="no UTF-8"):
        load(tmp_path / "odd.yaml")


def test_all_problems_are_said_at_once_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    path.write_text(
        "size: 0\n"
        "fields:\n"
        "  education: {proportions: {school: 0.5, phd: 0.7}}\n"
        "  age: {normal: {mean: 44, sd: -1}}\n"
        "  job: {given: education, proportions: {school: {a: 1}}}\n"
        "  income: {lognormal: {median: 5, sgma: 1}}\n"
        "  sex: {proportion: {f: 1}}\n"
        "persona: '{nme}'\n"
    )
    with pytest.raises(SpecError) as caught:
        load(path)
    said = caught.value.problems
    assert [line.split(":")[0] for line in said] == [
        "size (line 1, column 7)",
        "fields.education.proportions (line 3, column 28)",
        "fields.age.normal (line 4, column 17)",
        "fields.income.lognormal.sgma (line 6, column 35)",
        "fields.income.lognormal (line 6, column 23)",
        "fields.sex (line 7, column 8)",
        "persona (line 8, column 10)",
    ]  # nothing of job, whose condition is to blame
    assert str(caught.value).startswith("people.yaml has 7 problems:\n")
    assert "did you mean 'sigma'" in said[3] and "did you mean 'proportions'" in said[5]


# Fields


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ({"normal": {"mean": 1}}, "takes mean and sd"),
        ({"normal": {"mean": 1, "sd": 0}}, "more than 0"),
        ({"normal": {"mean": 0, "sd": 1, "min": 2, "max": 1}}, "nothing lies between"),
        ({"normal": {"mean": 0, "sd": 1, "min": 60}}, "as good as nothing"),
        ({"normal": {"mean": 0, "sd": 1, "min": 0.2, "max": 0.8, "integer": True}}, "nothing lies"),
        ({"lognormal": {"mean": 1, "sigma": 1}}, "median and sigma or mu and sigma or mean and sd"),
        ({"uniform": {"min": 1}}, "takes min and max"),
        ({"exponential": {"mean": 1, "rate": 1}}, "takes mean or rate"),
        ({"poisson": {"mean": 1e9}}, "may be 1e+06"),
        ({"poisson": {"mean": "x"}}, "not a number"),
        ({"normal": {"mean": 1, "sd": 1, "integer": "yes"}}, "not true or false"),
        ({"constant": [1]}, "not one value"),
        ({"sequence": {"start": 1, "step": 0}}, "step is 0"),
        ({"expression": "1 +"}, "broken"),
        ({"expression": "x + 1"}, "no field 'x'"),
        ({"name": "de_XX"}, "no names for the locale"),
        ({"name": {"locale": "de_DE", "part": "middle"}}, "full, first or last"),
        ({"proportions": {}}, "not a mapping"),
        ({"proportions": {"a": 0.5, 1: 0.5}}, "several types"),
        ({"weights": {"a": 0}}, "add up to 0"),
        ({"proportions": {"a": 1}, "weights": {"a": 1}}, "keep one"),
        ({"proportions": {"a": 1}, "mean": 3}, "unknown"),
        ({"proportions": {"a": 1}, "min": 3}, "cannot stand with proportions"),
        ({"given": "x"}, "says not how it is made"),
        ([1], "not a mapping"),
        (None, "not a mapping"),
        ({"joint": {"a": 1}}, "joint makes several"),
    ],
)
def test_fields_that_are_wrong(field: Any, word: str) -> None:
    one({"f": field}, "fields.f", word)


@pytest.mark.parametrize("name", ["agent", "a b", "class", "1a", "__x", "", "a.b"])
def test_names_that_no_field_may_have(name: str) -> None:
    assert "field" in problems({name: 3})[0]


def test_a_field_twice_by_a_joint_table_or_the_persona() -> None:
    joint = {"joint": {"f": {"a": 1.0}}}
    one({"sex": SEX, "sex, job": joint}, "there is a field 'sex' already")
    one({"persona": 3}, "there is a field 'persona' already", persona="x")


def test_a_joint_table_adds_up_or_counts() -> None:
    one({"a, b": {"joint": {"x": {"y": 0.5}}}}, "add up to 0.5")
    one({"a, b": {"joint": {"x": 1.0}}}, "not a mapping of the values of b")
    spec = parse({"size": 1, "fields": {"a, b": {"joint": {"x": {"y": 30}, "z": {"w": 10}}}}})
    assert spec.fields[0].source.weights.tolist() == [[0.75, 0.25]]


def test_what_yaml_would_misread_is_a_text() -> None:
    found = read_text("{no: 0.5, on: 1e3, a: 012, b: 2020-01-01, c: 1:30}", Problems()).plain()
    assert found == {"no": 0.5, "on": 1000.0, "a": 12, "b": "2020-01-01", "c": "1:30"}


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    given = {"size": 3, "fields": {"s": {"proportions": {"é😀": 0.5, 'b"\\/': 0.5}}}}
    path = tmp_path / "people.json"
    path.write_text(json.dumps(given, indent="\t"))
    assert load(path).kinds == parse(given).kinds


def test_shares_as_fractions_and_percent() -> None:
    spec = parse(
        {"size": 3, "fields": {"x": {"proportions": {"a": "1/3", "b": "50%", "c": "1/6"}}}}
    )
    assert spec.fields[0].source.weights[0] == pytest.approx([1 / 3, 0.5, 1 / 6])


@pytest.mark.parametrize(
    "distributions",
    [
        [{"name": "edu", "categories": [{"category": "a", "proportion": 0.4},
                                        {"category": "b", "proportion": 0.6}]}],
        [{"attribute": "edu", "categories": ["a", "b"], "proportions": [0.4, 0.6]}],
        {"edu": {"a": 0.4, "b": 0.6}},
        {"edu": {"categories": {"a": 0.4, "b": 0.6}}},
    ],
)  # fmt: skip
def test_the_form_of_the_paper(distributions: Any) -> None:
    spec = parse({"population": 10, "distributions": distributions})
    assert spec.size == 10 and spec.kinds["edu"].values == ("a", "b")
    assert spec.fields[0].source.weights.tolist() == [[0.4, 0.6]]


def test_problems_of_the_form_of_the_paper() -> None:
    rows = [{"category": "a", "proportion": 0.5}, {"category": "a", "proportion": 0.7}]
    with pytest.raises(SpecError, match="is there twice"):
        parse({"population": 10, "distributions": [{"name": "x", "categories": rows}]})
    rows = [{"category": "a", "proportion": 0.5}, {"category": "b", "proportion": 0.7}]
    with pytest.raises(SpecError, match=r"add up to 1\.2"):
        parse({"population": 10, "distributions": [{"name": "x", "categories": rows}]})


@given(st.text(max_size=60))
def test_no_text_is_more_than_an_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        read_text(text, Problems())


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
shares = st.dictionaries(
    st.sampled_from(["f", "m", "x", 1, True]), st.sampled_from([0.5, 1, 0, -1])
)
few = st.sampled_from([0, 1, -1, 0.5, 3, 1e9])
numeric = st.fixed_dictionaries(
    {"mean": few, "sd": few},
    optional={"min": few, "max": few, "integer": st.booleans(), "round": few},
)
fields = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    st.fixed_dictionaries({"proportions": shares}),
    st.fixed_dictionaries({"weights": st.dictionaries(st.text(max_size=2), few, max_size=3)}),
    st.fixed_dictionaries(
        {"given": st.just("a"), "proportions": st.fixed_dictionaries({"f": shares, "m": shares})}
    ),
    *(st.fixed_dictionaries({name: numeric}) for name in ("normal", "lognormal")),
    st.fixed_dictionaries(
        {"given": st.just("a"), "normal": st.fixed_dictionaries({"f": numeric, "else": numeric})}
    ),
    *(
        st.fixed_dictionaries(
            {name: st.fixed_dictionaries({"mean": few}, optional={"min": few, "max": few})}
        )
        for name in ("poisson", "exponential")
    ),
    st.fixed_dictionaries(
        {"uniform": st.fixed_dictionaries({"min": few, "max": few}, optional={"round": few})}
    ),
    st.fixed_dictionaries({"template": st.text(st.sampled_from("{a}:,.2f x"), max_size=8)}),
    st.fixed_dictionaries(
        {"expression": st.sampled_from(["1", "a == 'f'", "'x' if a == 'm' else a", "2 / 3"])},
        optional={"round": few, "min": few},
    ),
    st.fixed_dictionaries({"constant": scalars}),
    st.fixed_dictionaries({"sequence": st.fixed_dictionaries({"start": few, "step": few})}),
)


@given(fields)
def test_no_field_is_more_than_an_error(field: Any) -> None:
    """It is refused before anybody is made, or people are made."""
    try:
        spec = parse({"size": 5, "fields": {"a": SEX, "b": field}})
    except SpecError as error:
        assert error.problems
    else:
        assert sample(spec).sizes["agent"] == 5


@pytest.mark.parametrize("key", ["x", "5-", "9-3", "--", True, None, "1e"])
def test_what_is_no_range(key: Any) -> None:
    assert interval(key, True) is None

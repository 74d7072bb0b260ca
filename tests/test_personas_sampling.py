"""People are exact in all that was asked for, whoever makes them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

import daskagents as da
from daskagents.personas import SpecError, load, parse, read_people, sample
from daskagents.personas.lazy import column_of
from daskagents.personas.numbers import Shape
from daskagents.personas.rounding import draw_rows, round_shares, split

MANY = {
    "education": {"proportions": {"school": 0.5, "bachelor": 0.3, "phd": 0.2}},
    "age": {"normal": {"mean": 44, "sd": 15, "min": 18, "max": 95, "integer": True}},
    "job": {
        "given": ["education", "age"],
        "proportions": {
            "school": {"<65": {"farmer": 0.6, "clerk": 0.4}, "else": {"retired": 1}},
            "bachelor": {"<65": {"clerk": 0.7, "economist": 0.3}, "65+": {"retired": 1}},
            "else": {"18-64": {"economist": 0.5, "professor": 0.5}, "65+": {"retired": 1}},
        },
    },
    "income": {
        "given": "education",
        "lognormal": {"phd": {"mean": 60000, "sd": 9000}, "else": {"median": 30000, "sigma": 0.4}},
        "round": -2,
        "integer": True,
        "min": 5000,
    },
    "rich": {"expression": "income > 50_000 and job != 'retired'"},
    "mood": {"given": "rich", "proportions": {True: {"good": 0.9, "bad": 0.1}, False: {"bad": 1}}},
    "tax": {"expression": "0.4 * income if rich else 0", "round": 2},
    "name": {"name": {"locale": "de_DE"}},
    "id": {"sequence": 100},
}


def people_of(fields: dict[str, Any], n: int, seed: int = 3, **more: Any) -> xr.Dataset:
    return sample(parse({"size": n, "seed": seed, "fields": fields, **more}))


# Exactness


@st.composite
def shares(draw: st.DrawFn, values: list[str]) -> dict[str, float]:
    weights = draw(st.lists(st.integers(0, 20), min_size=len(values), max_size=len(values)))
    weights[draw(st.integers(0, len(values) - 1))] += 1
    return {value: w / sum(weights) for value, w in zip(values, weights, strict=True)}


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Any file of categories, of which some are given one or two others, or an age."""
    fields: dict[str, Any] = {}
    values: dict[str, list[str]] = {}
    if draw(st.booleans()):
        fields["age"] = {"uniform": {"min": 0, "max": 99, "integer": True}}
        values["age"] = draw(st.sampled_from([["<50", "50+"], ["0-17", "18-64", "65+"]]))
    for name in "abcd"[: draw(st.integers(1, 4))]:
        own = [f"{name}{i}" for i in range(draw(st.integers(1, 4)))]
        givens = draw(st.lists(st.sampled_from(sorted(values) or [""]), max_size=2, unique=True))
        givens = [name for name in givens if name]
        table: Any = draw(shares(own)) if not givens else None
        for other in reversed(givens):
            inner = table
            table = {v: inner or draw(shares(own)) for v in values[other]}
        fields[name] = {"proportions": table} | ({"given": givens} if givens else {})
        values[name] = own
    return fields


def cells(
    table: pd.DataFrame, field: dict[str, Any]
) -> list[tuple[pd.DataFrame, dict[str, float]]]:
    """Return the people of each condition of a field, and the shares that they should have."""
    found = [(table, field["proportions"])]
    for name in field.get("given", ()):
        found = [
            (rows[matches(rows[name], key)], branch)
            for rows, tree in found
            for key, branch in tree.items()
        ]
    return found


def matches(column: pd.Series, key: str) -> pd.Series:
    if column.dtype.kind != "i":
        return column == key
    low, _, high = key.replace("<50", "0-49").replace("+", "-99").partition("-")
    return column.between(int(low), int(high))


@settings(max_examples=40)
@given(files(), st.integers(1, 400), st.integers(0, 5))
def test_counts_differ_by_less_than_1_within_every_condition(
    fields: dict[str, Any], n: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # several blocks
        patch.setattr("daskagents.personas.sampling.BLOCK", 64)
        people = people_of(fields, n, seed)
    table = people.to_dataframe()
    for name in fields:
        if "proportions" not in fields[name]:
            continue
        looked = 0
        for rows, wanted in cells(table, fields[name]):
            looked += len(rows)
            for value, share in wanted.items():
                assert abs((rows[name] == value).sum() - len(rows) * share) < 1
            assert rows[name].isin([value for value, share in wanted.items() if share]).all()
        assert looked == n


def test_many_small_cells_have_together_what_was_asked_for() -> None:
    ages = {"uniform": {"min": 0, "max": 299, "integer": True}}
    jobs = {f"{age}": {"a": 0.6, "b": 0.4} for age in range(300)}
    people = people_of({"age": ages, "job": {"given": "age", "proportions": jobs}}, 600)
    assert abs((people["job"].values == "a").sum() - 360) <= 1


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
def test_rounding_keeps_totals(sizes: list[int], weights: list[float]) -> None:
    weights[0] += 0.1
    table = np.tile(np.array(weights) / sum(weights), (len(sizes), 1))
    counts = round_shares(np.array(sizes), table)
    assert (counts.sum(axis=1) == sizes).all()
    assert (np.abs(counts - np.array(sizes)[:, None] * table) < 1).all()
    assert (counts[table == 0] == 0).all()


@given(st.integers(1, 10**6), st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_rows_are_drawn_as_often_as_expected(n: int, weights: list[float]) -> None:
    array = np.array(weights) + 1e-6
    counts = draw_rows(n, array, np.random.default_rng(0))
    assert counts.sum() == n
    assert (np.abs(counts - n * array / array.sum()) < 1 + 1e-6).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 9))
def test_counts_are_split_over_blocks(counts: list[int], many: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    total = np.array([counts, counts[::-1]])
    sizes = np.stack([rng.multinomial(sum(counts), np.full(many, 1 / many)) for _ in range(2)]).T
    parts = split(total, sizes, rng)
    assert (sum(parts) == total).all()
    assert all((part.sum(axis=1) == size).all() for part, size in zip(parts, sizes, strict=True))
    assert all((part >= 0).all() for part in parts)


# Fields


def test_every_kind_of_field() -> None:
    people = people_of(MANY, 5_000, persona="{name}, {age}, {job}: {income:,}")
    table = people.to_dataframe()
    assert table["age"].dtype == table["income"].dtype == table["id"].dtype == np.int64
    assert table["tax"].dtype == np.float64 and table["rich"].dtype == bool
    assert table["id"].tolist() == list(range(100, 5_100))
    assert (table["income"] % 100 == 0).all() and table["income"].min() >= 5_000
    assert ((table["job"] == "retired") == (table["age"] >= 65)).all()
    assert (table["rich"] == ((table.income > 50_000) & (table.job != "retired"))).all()
    assert (table["mood"][~table["rich"]] == "bad").all()
    phds = table[table.education == "phd"]["income"]
    assert phds.mean() == pytest.approx(60_000, rel=0.03)
    assert phds.std() == pytest.approx(9_000, rel=0.1)
    row = table.iloc[7]
    assert row.persona == f"{row['name']}, {row.age}, {row.job}: {row.income:,}"
    assert table["name"].nunique() > 3_000


def test_numbers_and_truths_as_categories() -> None:
    people = people_of(
        {
            "n": {"proportions": {1: 0.5, 2: 0.5}},
            "x": {"proportions": {0.5: 0.5, 1: 0.5}},
            "b": {"proportions": {True: 0.5, False: 0.5}},
            "m": {"given": "n", "constant": {1: 10, "2+": 20}},
        },
        10,
    )
    assert people["n"].dtype == np.int64 and people["n"].sum() == 15
    assert people["x"].dtype == np.float64 and people["b"].dtype == bool
    assert (people["m"] == 10 * people["n"]).all()


def test_a_joint_table_inline_and_from_a_file(tmp_path: Path) -> None:
    joint = {"f": {"north": 0.2, "south": 0.3}, "m": {"north": 0.4, "west": 0.1}}
    rows = [(sex, place, 100 * p) for sex, some in joint.items() for place, p in some.items()]
    frame = pd.DataFrame(rows, columns=["gender", "place", "people"])
    frame.to_csv(tmp_path / "joint.csv", index=False)
    file = {"file": "joint.csv", "weight": "people", "columns": {"sex": "gender"}}
    made = []
    for form in (joint, file):
        given = {"size": 1_000, "fields": {"sex, place": {"joint": form}}}
        people = sample(parse(given, tmp_path))
        counts = people.to_dataframe().value_counts().to_dict()
        assert counts == {
            ("f", "north"): 200, ("f", "south"): 300, ("m", "north"): 400, ("m", "west"): 100,
        }  # fmt: skip
        made.append(people)
    assert made[0].equals(made[1])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_microdata_by_weights(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [20, 30, 40], "job": ["a", "b", "a"], "w": [1.0, 2.0, 1.0]})
    path = tmp_path / f"rows.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    field = {"age, job": {"microdata": {"file": path.name, "weight": "w"}}}
    people = sample(parse({"size": 400, "fields": field}, tmp_path)).to_dataframe()
    assert people.value_counts().to_dict() == {(30, "b"): 200, (20, "a"): 100, (40, "a"): 100}
    assert people["age"].dtype == np.int64


def test_few_people_of_many_rows_are_no_favourites(tmp_path: Path) -> None:
    frame = pd.DataFrame({"row": range(1_000), "w": np.linspace(1, 1.1, 1_000)})
    frame.to_parquet(tmp_path / "rows.parquet")
    field = {"row": {"microdata": {"file": "rows.parquet", "weight": "w"}}}
    spec = parse({"size": 100, "fields": field}, tmp_path)
    taken = np.concatenate([sample(spec, seed=seed)["row"].values for seed in range(30)])
    assert 400 < taken.mean() < 600 and len(np.unique(taken)) > 900


def test_microdata_raked_to_marginals(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"sex": rng.choice(["f", "m"], 500), "age": rng.integers(18, 90, 500), "w": 1.0}
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    ages = {"18-34": 0.31, "35-64": 0.4, "65+": 0.29}
    micro = {"file": "rows.parquet", "weight": "w", "marginals": {"sex": {"f": 52, "m": 48}}}
    micro["marginals"]["age"] = {key: 100 * share for key, share in ages.items()}
    spec = parse({"size": 1_000, "fields": {"sex, age": {"microdata": micro}}}, tmp_path)
    table = sample(spec).to_dataframe()
    assert (table["sex"] == "f").sum() == 520
    assert pd.cut(table["age"], [0, 34, 64, 99]).value_counts(sort=False).tolist() == [
        310,
        400,
        290,
    ]


@pytest.mark.parametrize(
    ("field", "mean", "sd"),
    [
        ({"normal": {"mean": 5, "sd": 2}}, 5, 2),
        ({"normal": {"mean": 0, "sd": 1, "min": 4}}, 4.2256, 0.2162),
        ({"lognormal": {"mean": 100, "sd": 50}}, 100, 50),
        ({"lognormal": {"mu": 0, "sigma": 0.5}}, math.exp(0.125), 0.6039),
        ({"uniform": {"min": 1, "max": 6, "integer": True}}, 3.5, 1.7078),
        ({"exponential": {"mean": 3}}, 3, 3),
        ({"exponential": {"rate": 0.5, "min": 1}}, 3, 2),
        ({"poisson": {"mean": 4}}, 4, 2),
        ({"poisson": {"mean": 0.1, "min": 1}}, 1.0508, 0.2278),
        ({"normal": {"mean": 0, "sd": 1, "min": -2, "max": 2, "integer": True}}, 0, 0.9817),
    ],
)
def test_distributions(field: dict[str, Any], mean: float, sd: float) -> None:
    values = people_of({"x": field}, 200_000)["x"].values
    assert values.mean() == pytest.approx(mean, abs=0.02 * sd)
    assert values.std() == pytest.approx(sd, rel=0.03)
    bounds = next(iter(field.values()))
    assert values.min() >= bounds.get("min", -np.inf) and values.max() <= bounds.get("max", np.inf)


@settings(max_examples=60)
@given(
    st.sampled_from(["normal", "lognormal", "exponential", "uniform", "poisson"]),
    st.floats(0.1, 50),
    st.floats(0.1, 5),
    st.floats(-20, 60),
    st.floats(0, 30),
    st.sampled_from([0.0, 0.01, 1.0, 10.0]),
)
def test_numbers_lie_in_their_bounds(
    family: str, a: float, b: float, low: float, wide: float, unit: float
) -> None:
    try:
        shape = Shape(family, a, a + b if family == "uniform" else b, low, low + wide, unit)
    except SpecError:
        return
    with np.errstate(all="raise"):
        values = shape.draw(np.array([2.0**-54, 0.1, 0.5, 0.9, 1 - 2.0**-53]))
    steps = np.diff(values)
    assert np.isfinite(values).all() and ((steps >= 0).all() or (steps <= 0).all())
    assert low - 1e-9 <= values.min() and values.max() <= low + wide + 1e-9


@pytest.mark.parametrize("locale", ["en_US", "de_DE", "zh_CN", "ru_RU", "ja_JP", "cs_CZ", "ar_SA"])
def test_names_by_locale_and_sex(locale: str) -> None:
    sex = {"proportions": {"woman": 0.5, "man": 0.5}}
    first = {"name": {"locale": locale, "sex": "sex", "part": "first"}}
    whole = {"name": {"locale": locale, "sex": "sex"}}
    people = people_of({"sex": sex, "first": first, "name": whole}, 2_000).to_dataframe()
    names = {key: set(rows["first"]) for key, rows in people.groupby("sex")}
    assert len(names["woman"] & names["man"]) < 0.2 * len(names["woman"])
    assert people["name"].str.len().min() >= 2 and people["name"].nunique() > 500


def test_an_expression_without_a_value_says_for_whom() -> None:
    fields = {"x": {"proportions": {0: 0.5, 2: 0.5}}, "y": {"expression": "1 / x"}}
    with pytest.raises(SpecError, match=r"fields\.y\.expression.*5 of 10 people.*x = 0"):
        people_of(fields, 10)
    fields["y"] = {"expression": "1 / x if x > 0 else 0"}
    assert people_of(fields, 10)["y"].sum() == 2.5


# Seeds, blocks, workers


def test_people_follow_from_the_seed_and_the_size() -> None:
    spec = parse({"size": 300, "seed": 1, "fields": MANY})
    assert sample(spec).equals(sample(spec))
    assert sample(spec).equals(sample(spec, 300, 1))
    assert not sample(spec).equals(sample(spec, seed=2))
    assert sample(spec, 77).sizes["agent"] == 77
    for n in (0, -1, 1.5, True, 10**12):
        with pytest.raises(SpecError, match="make 1 to"):
            sample(spec, n)


def test_a_field_more_changes_no_other() -> None:
    fewer = {name: MANY[name] for name in ("education", "age", "job")}
    fewer["job"], more = MANY["job"], {"new": {"proportions": {"a": 0.5, "b": 0.5}}, **MANY}
    one, other = people_of(fewer, 500), people_of(more, 500)
    assert one.equals(other[list(fewer)])


def test_workers_change_nothing(
    client1: Client, client3: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskagents.personas.sampling.BLOCK", 512)
    spec = parse({"size": 3 * 512 + 17, "seed": 5, "fields": MANY, "persona": "{job} {age}"})
    here = sample(spec)
    assert here.equals(sample(spec, client=client1))
    assert here.equals(sample(spec, client=client3))
    for place in (None, client3):
        told = sample(spec, client=place, out=tmp_path / "people.parquet")
        assert told.attrs["size"] == spec.size and not told.data_vars
        assert here.equals(read_people(tmp_path / "people.parquet"))
    file = pq.ParquetFile(tmp_path / "people.parquet")
    assert file.num_row_groups == 4 and not list(tmp_path.glob("*.part"))
    counts = here["education"].to_series().value_counts()
    assert abs(counts["school"] - spec.size / 2) < 1


def test_a_file_that_fails_is_not_left(tmp_path: Path) -> None:
    spec = parse({"size": 9, "fields": {"x": {"sequence": 0}, "y": {"expression": "1 / x"}}})
    with pytest.raises(SpecError):
        sample(spec, out=tmp_path / "people.parquet")
    assert not list(tmp_path.iterdir())


# What becomes of them


def test_texts_are_kept_once_and_read_as_any() -> None:
    people = people_of({"job": MANY["education"], "n": {"sequence": 0}}, 1_000)
    column = column_of(people["job"])
    assert column.codes.dtype == np.uint8 and column.words == ("school", "bachelor", "phd")
    assert column_of(people["job"][10:20]).codes.tolist() == column.codes[10:20].tolist()
    assert people["job"][3].item() == people["job"].values[3]
    assert people.isel(agent=[5, 2])["job"].values.tolist() == people["job"].values[[5, 2]].tolist()
    assert (people["job"] == "phd").sum() == 200
    assert people.set_coords("job").groupby("job").count()["n"].to_series().to_dict() == {
        "bachelor": 300, "phd": 200, "school": 500,
    }  # fmt: skip
    assert people.chunk(agent=100).compute().equals(people)


class Person(da.Agent):
    education: str = ""
    age: int = 0
    persona: str = ""

    def reply(self, message: da.Message) -> Any:
        return {"older": self.age + message.content}


def test_a_population_of_them() -> None:
    fields = {name: MANY[name] for name in ("education", "age")}
    people = people_of(fields, 1_000, persona="{age}, {education}")
    population = da.Population(Person, people)
    state = population.to_dataset()
    for name in ("education", "age", "persona"):
        assert state[name].values.tolist() == people[name].values.tolist()
    older = population.reply(1)["older"].groupby("education").count().to_series().to_dict()
    assert older == {"bachelor": 300, "phd": 200, "school": 500}


def test_the_contract_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    path.write_text("size: 10\nfields:\n  sex: {proportions: {f: 0.5, m: 0.5}}\n")
    assert repr(load(path)) == "<Spec of 10 people; fields: sex>"

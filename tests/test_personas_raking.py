"""Weights fit published marginals, whole numbers of people too; what cannot be is said."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskagents.personas import SpecError, rake


def survey(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], n, p=[0.7, 0.3]),
            "age": rng.integers(18, 95, n),
            "edu": rng.choice(["low", "mid", "high"], n, p=[0.2, 0.3, 0.5]),
            "region": rng.choice([f"r{i}" for i in range(16)], n),
            "own": rng.random(n) < 0.6,
            "w": rng.uniform(0.5, 2, n),
        }
    )


MARGINALS: dict[str, Any] = {
    "sex": {"f": 51, "m": 49},
    "age": {"18-29": 20, "30-44": 24, "45-64": 33, "65+": 23},
    "edu": {"low": 30, "mid": 45, "high": 25},
    "region": {f"r{i}": 100 / 16 for i in range(16)},
    "own": {True: 45, False: 55},
}


def test_a_survey_fits_five_marginals() -> None:
    rows = survey(20_000)
    found = rake(rows, MARGINALS, "w")
    assert found.converged and max(found.errors.values()) < 1e-6 and found.contradictions == ()
    assert found.weights.sum() == pytest.approx(100)
    assert found.weights[rows.sex == "f"].sum() == pytest.approx(51, abs=1e-4)
    assert found.weights[rows.age.between(45, 64)].sum() == pytest.approx(33, abs=1e-4)
    assert found.weights[rows.own].sum() == pytest.approx(45, abs=1e-4)
    assert "fits after" in str(found) and "region" in str(found)


def test_raking_a_table_is_what_pencil_and_paper_give() -> None:
    table = {"a": ["x", "x", "y", "y"], "b": ["u", "v", "u", "v"], "n": [40.0, 30, 35, 50]}
    found = rake(table, {"a": {"x": 150, "y": 300}, "b": {"u": 200, "v": 250}}, "n")
    # odds ratios stay as they were
    x_u, x_v, y_u, y_v = found.weights
    assert x_u * y_v / (x_v * y_u) == pytest.approx(40 * 50 / (30 * 35))
    assert [x_u + x_v, y_u + y_v, x_u + y_u] == pytest.approx([150, 300, 200], rel=1e-5)


def test_marginals_of_several_fields() -> None:
    rows = survey(5_000)
    joint = {"f": {"<50": 30, "50+": 22}, "m": {"<50": 28, "50+": 20}}
    found = rake(rows, {"sex, age": joint, "edu": MARGINALS["edu"]})
    assert found.converged
    assert found.weights[(rows.sex == "m") & (rows.age < 50)].sum() == pytest.approx(28, abs=1e-4)


@settings(max_examples=20)
@given(st.integers(0, 100), st.integers(1, 3_000))
def test_whole_numbers_keep_the_total_and_come_near(seed: int, n: int) -> None:
    rows = survey(600, seed)
    found = rake(rows, {k: MARGINALS[k] for k in ("sex", "age", "edu")}, "w")
    counts = found.integers(n, seed)
    assert counts.sum() == n and (counts >= 0).all()
    assert counts.tolist() == found.integers(n, seed).tolist()
    for name, key in {"sex": rows.sex, "edu": rows.edu}.items():
        for value, share in MARGINALS[name].items():
            assert abs(counts[key == value].sum() - n * share / 100) < 2
    by = [rows.sex, rows.edu, pd.cut(rows.age, [0, 29, 44, 64, 99])]
    groups = pd.Series(found.weights).groupby(by, observed=True)
    there = pd.Series(counts).groupby(by, observed=True)
    assert ((there.sum() - groups.sum() * n / 100).abs() < 1).all()  # floor or ceiling


def test_contradictions_are_named() -> None:
    rows = survey(500)
    found = rake(rows, {"sex": {"f": 50, "m": 50}, "edu": {"low": 30, "mid": 45, "high": 26}})
    assert found.contradictions == ("sex adds up to 100, and edu to 101",)
    joint = {"f": {"low": 20, "mid": 20, "high": 20}, "m": {"low": 10, "mid": 20, "high": 10}}
    found = rake(rows, {"sex": {"f": 50, "m": 50}, "sex, edu": joint})
    assert not found.converged and found.errors["sex"] > 0.01
    assert "sex has a share of 0.5 for f, and sex, edu 0.6" in str(found)
    rows = rows[(rows.sex == "f") | (rows.edu != "low")]
    found = rake(rows, {"sex, edu": joint})
    assert any("asks for 10 of m, low, and no row is so" in said for said in found.contradictions)


def test_what_cannot_be_fitted_ends() -> None:
    """Two cells that are always together, and are to differ; no pair of marginals shows it."""
    rows = {"a": ["x", "y"], "b": ["x", "y"]}
    start = time.monotonic()
    found = rake(rows, {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}}, max_iterations=10**6)
    assert not found.converged and found.contradictions and time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("marginals", "word"),
    [
        ({}, "not a mapping"),
        ({"six": {"f": 1, "m": 1}}, "did you mean 'sex'"),
        ({"sex": {"f": 1}}, "no branch for sex 'm'"),
        ({"sex": {"f": 1, "m": -1}}, "negative"),
        ({"sex": {"f": 0, "m": 0}}, "adds up to 0"),
        ({"age": {"18-29": 1}}, "no branch for age"),
    ],
)
def test_wrong_marginals(marginals: Any, word: str) -> None:
    with pytest.raises(SpecError, match=word):
        rake(survey(50), marginals)


def test_wrong_weights() -> None:
    rows = survey(50)
    with pytest.raises(SpecError, match="there is no column 'ww'"):
        rake(rows, MARGINALS, "ww")
    with pytest.raises(SpecError, match="one for each row"):
        rake(rows, MARGINALS, [1.0])
    with pytest.raises(SpecError, match="0 or more"):
        rake(rows, {"sex": MARGINALS["sex"]}, np.full(50, -1.0))

"""People: what it costs to make them from a file, and to fit a survey to published marginals."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import Row, seconds
from daskagents import personas

_EDUCATION = {"elementary": 0.1, "high": 0.4, "bachelor": 0.3, "master": 0.15, "PhD": 0.05}
_JOBS = {"farmer": 0.3, "clerk": 0.3, "teacher": 0.2, "doctor": 0.1, "none": 0.1}
_AGES = ("18-29", "30-49", "50-69", "70+")

#: Eight fields; three of them depend on others.
FIELDS: dict[str, Any] = {
    "sex": {"proportions": {"female": 0.51, "male": 0.49}},
    "age": {"normal": {"mean": 44, "sd": 17, "min": 18, "max": 95, "integer": True}},
    "region": {"proportions": {f"region {i}": 1 / 16 for i in range(16)}},
    "education": {
        "given": ["sex", "age"],
        "proportions": {sex: dict.fromkeys(_AGES, _EDUCATION) for sex in ("female", "male")},
    },
    "job": {"given": "education", "proportions": dict.fromkeys(_EDUCATION, _JOBS)},
    "income": {
        "given": "job",
        "lognormal": {"none": {"median": 9e3, "sigma": 1}, "else": {"median": 3e4, "sigma": 0.5}},
        "integer": True,
    },
    "rich": {"expression": "income > 50_000 and age < 65"},
    "children": {"poisson": {"mean": 1.4, "max": 9}},
}


def _by_pandas(n: int) -> pd.DataFrame:
    """Make the same people as one would with pandas: a draw by category, group by group."""
    rng = np.random.default_rng(0)
    people = pd.DataFrame(
        {
            "sex": rng.choice(["female", "male"], n, p=[0.51, 0.49]),
            "age": rng.normal(44, 17, n).clip(18, 95).round().astype(int),
            "region": rng.choice([f"region {i}" for i in range(16)], n),
        }
    )
    people["group"] = pd.cut(people.age, [0, 29, 49, 69, 99], labels=list(_AGES))

    def draw(shares: dict[str, float], by: list[str]) -> pd.Series[Any]:
        groups = people.groupby(by, observed=True)[by[0]]
        return groups.transform(lambda g: rng.choice([*shares], len(g), p=[*shares.values()]))

    people["education"] = draw(_EDUCATION, ["sex", "group"])
    people["job"] = draw(_JOBS, ["education"])
    none = people.job == "none"
    people["income"] = rng.lognormal(np.log(np.where(none, 9e3, 3e4)), np.where(none, 1, 0.5))
    people["rich"] = (people.income > 50_000) & (people.age < 65)
    people["children"] = rng.poisson(1.4, n)
    return people


def _person(rng: np.random.Generator) -> dict[str, Any]:
    """Make one person, as the loop of a script does."""
    job = rng.choice([*_JOBS], p=[*_JOBS.values()])
    income = rng.lognormal(np.log(3e4), 0.5)
    age = int(np.clip(rng.normal(44, 17), 18, 95))
    return {
        "sex": rng.choice(["female", "male"], p=[0.51, 0.49]),
        "age": age,
        "region": rng.choice(16),
        "education": rng.choice([*_EDUCATION], p=[*_EDUCATION.values()]),
        "job": job,
        "income": income,
        "rich": income > 50_000 and age < 65,
        "children": rng.poisson(1.4),
    }


def _make(n: int, out: str | None, answer: Any) -> None:
    """Make people in a process of their own, and say its time and its peak memory."""
    spec = personas.parse({"size": n, "seed": 1, "fields": FIELDS})
    personas.sample(spec, 1_000)  # imports
    taken = seconds(lambda: personas.sample(spec, out=out))
    kilo = 1 if sys.platform != "darwin" else 1024
    answer.send((taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / kilo / 2**30))


def _alone(n: int, out: str | None = None) -> tuple[float, float]:
    """Return the seconds and the GiB of making people in a fresh process."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_make, args=(n, out, there))
    process.start()
    there.close()
    found: tuple[float, float] = here.recv()
    process.join()
    return found


def sampling(n: int, repeats: int = 3) -> Iterator[Row]:
    """Measure people of eight fields in memory, against pandas and against a loop."""
    ours = [_alone(n) for _ in range(repeats)]
    what = f"{n:,} people of 8 fields, 3 conditional, all shares exact"
    taken = [time for time, _ in ours]
    pandas = [seconds(lambda: _by_pandas(n)) for _ in range(repeats)]
    yield Row(
        f"{what}, s", taken, "s", "pandas, drawn, shares not exact, s", pandas, "10 s at 10^6"
    )
    rng, few = np.random.default_rng(0), 2_000
    loop = [seconds(lambda: [_person(rng) for _ in range(few)]) * n / few for _ in range(repeats)]
    yield Row(f"{what}, s", taken, "s", f"a loop with rng.choice, from {few:,} people, s", loop)
    memory = [peak for _, peak in ours]
    yield Row(f"{what}, peak memory, GiB", memory, "GiB", asked="1 GiB at 10^6")


def writing(n: int) -> Iterator[Row]:
    """Measure people written to Parquet block by block."""
    with TemporaryDirectory() as folder:
        taken, peak = _alone(n, str(Path(folder) / "people.parquet"))
    yield Row(f"{n:,} people to Parquet, s", [taken], "s", asked="120 s at 10^7")
    yield Row(f"{n:,} people to Parquet, peak memory, GiB", [peak], "GiB")


def raking(n: int) -> Row:
    """Measure a survey that is fitted to five marginals, against a loop over data frames."""
    rng = np.random.default_rng(0)
    survey = pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], n, p=[0.7, 0.3]),
            "age": rng.choice([*_AGES], n, p=[0.1, 0.2, 0.3, 0.4]),
            "education": rng.choice([*_EDUCATION], n),
            "job": rng.choice([*_JOBS], n),
            "region": rng.choice(16, n),
        }
    )
    marginals: dict[str, dict[Any, float]] = {
        "sex": {"f": 0.51, "m": 0.49},
        "age": dict.fromkeys(_AGES, 0.25),
        "education": _EDUCATION,
        "job": _JOBS,
        "region": dict.fromkeys(range(16), 1 / 16),
    }
    table = {str(name): survey[name].to_numpy() for name in survey}
    ours = [seconds(lambda: _raked(table, marginals)) for _ in range(3)]
    theirs = [seconds(lambda: _frames(survey, marginals)) for _ in range(3)]
    what = f"{n:,} rows raked to 5 marginals, to 1e-6, s"
    return Row(what, ours, "s", "the same by groups of pandas, s", theirs, "10 s at 10^5")


def _raked(table: dict[str, Any], marginals: dict[str, dict[Any, float]]) -> None:
    found = personas.rake(table, {**marginals, "age": marginals["age"]})
    assert found.converged, str(found)


def _frames(survey: pd.DataFrame, marginals: dict[str, dict[Any, float]]) -> pd.Series[float]:
    """Fit weights by grouping a data frame for each marginal, as scripts do."""
    weights = pd.Series(1 / len(survey), survey.index)
    for _ in range(100):
        worst = 0.0
        for name, wanted in marginals.items():
            there = weights.groupby(survey[name]).sum()
            worst = max(worst, float((there - pd.Series(wanted)).abs().max()))
            weights *= survey[name].map(pd.Series(wanted) / there)
        if worst < 1e-6:
            break
    return weights


def people(n: int) -> Iterator[Row]:
    """Measure all of this, for so many people."""
    yield from sampling(n)
    yield from writing(10 * n)
    yield raking(max(1_000, n // 10))

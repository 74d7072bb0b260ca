from __future__ import annotations

import configparser
import datetime
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daskagents.errors import UsageError
from daskagents.models import prices
from daskagents.models.prices import Price, cost_of, is_free, price_of
from daskagents.usage import Usage

ROOT = Path(__file__).parents[1]
FILE = ROOT / "daskagents" / "models" / "prices.yaml"
USED = Usage(1, 1_000, 200, cached_tokens=400)


def test_a_price() -> None:
    assert Price(prompt=1, completion=2).of(USED) == pytest.approx(1.4e-3)
    assert Price(prompt=1, completion=2, cached=0.5).of(USED) == pytest.approx(1.2e-3)
    assert Price(prompt=1, completion=2, cached=0).of(USED) == pytest.approx(1.0e-3)
    assert Price(prompt=0, completion=0).of(USED) == 0.0


def test_tokens_that_nobody_counted_have_no_cost() -> None:
    assert math.isnan(Price(prompt=1, completion=2).of(Usage(3)))
    assert Price(prompt=0, completion=0).of(Usage(3)) == 0.0
    assert Price(prompt=1, completion=2).of(Usage()) == 0.0


@pytest.mark.parametrize("wrong", [{"prompt": -1}, {"completion": math.nan}, {"cached": math.inf}])
def test_wrong_prices(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="from 0 up"):
        Price(**{"prompt": 1, "completion": 1, **wrong})


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai/gpt-4o", "gpt-4o"),
        ("azure/openai/GPT-4o-2024-08-06", "gpt-4o"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("claude-opus-5-latest", "claude-opus-5"),
        ("mistral-small-latest", "mistral-small-latest"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("x-ai/grok-4.3", "grok-4.3"),
    ],
)
def test_names(asked: str, known: str) -> None:
    table = yaml.safe_load(FILE.read_text())["models"]
    price = price_of(asked)
    assert price is not None
    assert (price.prompt, price.completion) == (table[known]["prompt"], table[known]["completion"])
    assert price.source.startswith("https://")


@pytest.mark.parametrize(
    "name",
    ["", "gpt", "gpt-4o-audio-preview", "gpt-4.99", "my-lab/gpt-4o", "ft:gpt-4o:org::id", "llama",
     "meta-llama/Llama-3-8B", "openai/", "gpt-4o-mini-2024"],
)  # fmt: skip
def test_what_is_not_known_is_not_guessed(name: str) -> None:
    assert price_of(name) is None


def test_unknown_costs_are_nan_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    prices._say_unknown.cache_clear()
    assert all(math.isnan(cost_of("who-knows", USED)) for _ in range(3))
    assert math.isnan(cost_of("nor-this", USED))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "the price of 'who-knows' is not known" in caplog.text


def test_what_was_given_counts(caplog: pytest.LogCaptureFixture) -> None:
    given = Price(prompt=100, completion=0)
    assert cost_of("gpt-4o", USED, given) == cost_of("who-knows-better", USED, given) == 0.1
    assert cost_of("who-knows-better", Usage(retries=3, waited=1.0)) == 0.0  # nothing was taken
    assert not caplog.records


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=30))
def test_costs_add_up(tokens: list[int]) -> None:
    usages = [Usage(1, 1 + prompt, said) for prompt, said in pairwise(tokens)]
    whole = sum(usages, Usage())
    parts = math.fsum(cost_of("gpt-4o", usage) for usage in usages)
    assert cost_of("gpt-4o", whole) == pytest.approx(parts)


@pytest.mark.parametrize(
    ("endpoint", "free"),
    [
        ("", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.9.1/v1", True),
        ("http://localhost:1/v1", True),
        ("https://model.localhost/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://10.0.0.7:8000/v1", False),
        ("https://127.0.0.1.example.org/v1", False),
        ("https://localhost.example.org/v1", False),
    ],
)
def test_free_endpoints(endpoint: str, free: bool) -> None:
    assert is_free(endpoint) is free


def test_the_table_is_sound() -> None:
    read = yaml.safe_load(FILE.read_text())
    assert read["currency"] == "USD"
    assert len(read["models"]) > 50
    for name, entry in read["models"].items():
        assert name == name.lower() and price_of(name) is not None
        assert entry["source"] in read["sources"].values()
        assert isinstance(entry["date"], datetime.date)
        assert 0 < entry["prompt"] <= entry["completion"] < 1_000, name
        assert 0 < entry.get("cached", 1e-9) < entry["prompt"]


def test_the_table_is_in_the_package_and_read_when_needed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.package_data"]["daskagents.models"] == "*.yaml"
    said = "import sys, daskagents.models.prices; print('yaml' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"

"""Pictures: they have what they should, whatever the results hold."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask.array as darray
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from daskagents.errors import UsageError
from daskagents.plotting import distributions, means, numeric
from daskagents.plotting.distributions import MOST_ROWS

WINNER = "#d1495b"


def results_of(guess: Any, winner: Any = None, **more: Any) -> xr.Dataset:
    """Return results as a run has them."""
    data: dict[str, Any] = {"guess": (("round", "agent"), guess), **more}
    if winner is not None:
        data["winner"] = ("round", winner)
    return xr.Dataset(data)


def uniform(rounds: int, agents: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rounds).uniform(0, 100, (rounds, agents))


def texts(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    return [text.get_text() for text in [*figure.texts, *axes.texts, axes.xaxis.label]]


def marks(figure: Figure) -> list[float]:
    """Return where the winners are marked, the first round first."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "^"]
    return [float(line.get_xdata()[0]) for line in lines]


def drawn(figure: Figure, tmp_path: Path) -> bytes:
    path = tmp_path / "picture.png"
    figure.savefig(path)
    return path.read_bytes()


@pytest.mark.parametrize("rounds", [1, 2, 5, 12, 50])
@pytest.mark.parametrize("agents", [1, 10, 300])
def test_a_row_per_round(rounds: int, agents: int, tmp_path: Path) -> None:
    winner = np.linspace(60, 5, rounds)
    figure = distributions(results_of(uniform(rounds, agents), winner))
    (axes,) = figure.axes
    assert len(axes.patches) == rounds  # one filled histogram each
    assert len(axes.get_yticks()) == rounds
    assert axes.get_yticklabels()[0].get_text() == "1"
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first round is on top
    np.testing.assert_allclose(marks(figure), winner)
    assert axes.get_xlabel() == "guess"
    assert {"round", "winner", "Guess, round by round"} <= set(texts(figure))
    assert any(text.startswith("60.0") for text in texts(figure))
    assert drawn(figure, tmp_path).startswith(b"\x89PNG")


def test_rows_show_the_shares_of_all_that_replied() -> None:
    guess = np.array([[10.0, 10, 10, 90], [50, 50, np.nan, np.nan]])
    first, second = distributions(results_of(guess)).axes[0].patches
    heights = first.get_data().baseline - first.get_data().values
    assert np.count_nonzero(heights) == 2
    assert heights.max() / heights[heights > 0].min() == pytest.approx(3)
    values = second.get_data().baseline - second.get_data().values
    edges = second.get_data().edges
    (at,) = np.flatnonzero(values)
    assert edges[at] <= 50 <= edges[at + 1]
    np.testing.assert_array_equal(first.get_data().edges, edges)


def test_the_caption_counts_agents_and_failures() -> None:
    guess = uniform(3, 2_000)
    none = distributions(results_of(guess, n_failed=("round", [0, 0, 0])))
    some = distributions(results_of(guess, n_failed=("round", [1, 0, 2])))
    one = distributions(results_of(guess, failed=(("round", "agent"), guess > guess.max() - 1e-9)))
    assert any("2,000 agents · 0 failed replies" in text for text in texts(none))
    assert any("3 failed replies" in text for text in texts(some))
    assert any("1 failed reply " in text for text in texts(one))


def test_many_rounds_are_thinned_out_and_it_is_said() -> None:
    figure = distributions(results_of(uniform(600, 4), np.arange(600.0)))
    assert len(figure.axes[0].patches) == MOST_ROWS
    assert marks(figure)[0] == 0 and marks(figure)[-1] == 599
    assert any("50 of 600 rounds" in text for text in texts(figure))


@pytest.mark.parametrize(
    "guess",
    [
        np.full((3, 20), 7.0),
        np.full((3, 20), 0.0),
        np.full((3, 20), np.nan),
        np.array([[1e300, -1e300], [np.inf, -np.inf]]),
        np.array([[1e-12, 2e-12]]),
        np.array([[1e9 + 1, 1e9 + 2]]),
        np.array([[1, 2, 3]]),
    ],
    ids=["one value", "zeros", "nobody", "huge", "tiny", "far off", "ints"],
)
@pytest.mark.parametrize("winner", [None, np.nan, 5.0])
def test_odd_values_are_drawn(guess: Any, winner: float | None, tmp_path: Path) -> None:
    marked = None if winner is None else np.full(len(guess), winner)
    figure = distributions(results_of(guess, marked))
    assert len(marks(figure)) == (len(guess) if winner == 5 else 0)
    low, high = figure.axes[0].get_xlim()
    assert np.isfinite([low, high]).all() and low < high
    assert drawn(figure, tmp_path)


def test_what_is_marked_can_be_chosen() -> None:
    results = results_of(uniform(2, 10), [1.0, 2.0], mean=("round", [30.0, 40.0]))
    assert marks(distributions(results, mark="mean")) == [30, 40]
    assert "mean" in texts(distributions(results, mark="mean"))
    assert marks(distributions(results, mark=None)) == []
    assert "winner" not in texts(distributions(results, mark=None))


def test_variables_are_found_and_chosen() -> None:
    results = results_of(uniform(2, 10), failed=(("round", "agent"), np.zeros((2, 10), bool)))
    results["words"] = (("round", "agent"), np.full((2, 10), "no"))
    results["price"] = (("round", "buyers"), uniform(2, 5))
    assert numeric(results) == ["guess", "price"]
    assert distributions(results).axes[0].get_xlabel() == "guess"
    figure = distributions(results, "price")
    assert figure.axes[0].get_xlabel() == "price"
    assert any("5 agents" in text for text in texts(figure))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"variable": "gess"}, "'gess' is no variable .* these are guess"),
        ({"variable": "failed"}, "'failed' is no variable"),
        ({"mark": "mean"}, "mark='mean': there is no variable"),
        ({"mark": "guess"}, "mark='guess': there is no variable"),
    ],
)
def test_what_is_not_there_is_said(asked: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        distributions(results_of(uniform(2, 10)), **asked)  # type: ignore[arg-type]


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(UsageError, match="no round"):
        distributions(results_of(uniform(2, 10)).isel(round=slice(0)))
    with pytest.raises(UsageError, match="no variable has a number"):
        distributions(xr.Dataset({"winner": ("round", [1.0])}))


def test_a_million_agents_are_counted_not_drawn() -> None:
    values = darray.random.default_rng(1).uniform(0, 100, (2, 1_000_000), chunks=(1, 250_000))
    started = time.monotonic()
    figure = distributions(results_of(values, [20.0, 10.0]))
    assert time.monotonic() - started < 20
    assert max(len(patch.get_path().vertices) for patch in figure.axes[0].patches) < 1_000


def test_no_window_is_opened_and_nothing_is_left_behind(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np, xarray as xr\n"
        "from daskagents.plotting import distributions\n"
        "assert 'matplotlib' not in sys.modules, 'matplotlib is imported too early'\n"
        "guess = xr.Dataset({'guess': (('round', 'agent'), np.eye(3))})\n"
        "distributions(guess).savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot keeps figures'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "picture.png")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def grouped(rounds: int = 4, agents: int = 60) -> xr.Dataset:
    draws = np.random.default_rng(1).normal(size=(rounds, agents)) + np.arange(rounds)[:, None]
    draws[0, :3] = np.nan
    return xr.Dataset(
        {"guess": (("round", "agent"), draws)},
        {
            "team": ("agent", np.array(["甲", "乙"] * (agents // 2), np.dtypes.StringDType())),
            "age": ("agent", np.arange(agents) % 30),
            "name": ("agent", [f"n{at}" for at in range(agents)]),
        },
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_means_are_those_of_the_agents(lazy: bool) -> None:
    results = grouped()
    figure = means(results.chunk({"agent": 7}) if lazy else results, by="team")
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert set(lines) == {"甲 (30)", "乙 (30)"}
    expected = np.nanmean(results["guess"].values[:, ::2], axis=1)
    np.testing.assert_allclose(lines["甲 (30)"], expected)
    band = figure.axes[0].collections[0].get_datalim(figure.axes[0].transData)
    assert band.height > 0


def test_means_of_quarters_of_numbers() -> None:
    labels = [line.get_label() for line in means(grouped(), by="age").axes[0].lines]
    assert labels[0] == "age 0 to 7 (14)" and len(labels) == 4
    assert sum(int(str(label).rpartition("(")[2][:-1]) for label in labels) == 60


@pytest.mark.parametrize("band", ["sd", "interval", None])
def test_bands(band: Any, tmp_path: Path) -> None:
    figure = means(grouped(), band=band)
    assert len(figure.axes[0].collections) == (band is not None)
    figure.savefig(tmp_path / "picture.png")  # no glyph is missing, or that were an error


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": "name"}, "60 values, and 8 lines can be told apart"),
        ({"by": "region"}, "there are age, name, team"),
        ({"band": "all"}, "it is 'sd', 'interval' or None"),
        ({"variable": "winner"}, "'winner' is no variable"),
    ],
)
def test_means_of_what_is_not_there(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        means(grouped(), **given)


def test_means_where_all_failed_or_one_round() -> None:
    results = grouped(1, 2)
    results["guess"][:] = np.nan
    assert np.isnan(means(results).axes[0].lines[0].get_ydata()).all()
    assert means(grouped(1)).axes[0].lines[0].get_xdata().tolist() == [1]

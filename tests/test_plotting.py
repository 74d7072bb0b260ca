"""Pictures: they have what they should, whatever the results hold."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as darray
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import daskagents as da
from daskagents import fonts, plotting
from daskagents.errors import UsageError
from daskagents.plotting import distributions, means, moments, numeric
from daskagents.plotting.distributions import MOST_ROWS


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
    figure.savefig(path, dpi=40)
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


def outline(patch: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return how high a histogram is, and where its bins end."""
    return patch.get_data().baseline - patch.get_data().values, patch.get_data().edges


def test_a_few_whole_numbers_have_a_bar_each() -> None:
    stars = np.array([[1.0, 1, 1, 2, 5, np.nan], [3, 3, 3, 3, 3, 3]])
    axes = distributions(results_of(stars)).axes[0]
    heights, edges = outline(axes.patches[0])
    bars = np.flatnonzero(heights)
    np.testing.assert_allclose((edges[bars] + edges[bars + 1]) / 2, [1, 2, 5])
    np.testing.assert_allclose(heights[bars] / heights.max(), [1, 1 / 3, 1 / 3])
    assert axes.get_xlim() == (0.5, 5.5)
    assert all(tick % 1 == 0 for tick in axes.get_xticks())
    assert distributions(results_of(stars, [2.5, 6.2])).axes[0].get_xlim() == (0.5, 7.5)
    assert len(outline(distributions(results_of(stars + 0.5)).axes[0].patches[0])[0]) == 20


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_distributions_by_group(lazy: bool, whole: bool, tmp_path: Path) -> None:
    guess = np.array([[1.0, 1, 2, 5, 5, 5], [3, 3, 3, 3, 3, np.nan]]) + (0 if whole else 0.25)
    teams = np.array(["red"] * 3 + ["_blue"] * 3, np.dtypes.StringDType())
    results = results_of(guess, [1.0, 2.0]).assign_coords(team=("agent", teams))
    figure = distributions(results.chunk({"agent": 4}) if lazy else results, by="team")
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None and legend.get_title().get_text() == "team"
    assert [text.get_text() for text in legend.get_texts()] == [" _blue (3)", "red (3)"]
    assert marks(figure) == [1, 2]
    rows = [outline(patch) for patch in axes.patches]  # both groups of a round, then the next
    heights = [np.sort(high[high > 0]) / 0.86 for high, _ in rows]
    for found, shares in zip(heights, [[1], [1 / 3, 2 / 3], [1], [1]], strict=True):
        np.testing.assert_allclose(found, shares)
    (high, edges), (other, others) = rows[2:]  # all say 3: side by side, or in the same bin
    apart = others[other.argmax()] - edges[high.argmax()]
    assert apart == pytest.approx(0.4 if whole else 0)
    assert drawn(figure, tmp_path)


def test_many_groups_leave_room_for_their_legend(tmp_path: Path) -> None:
    names = [f"{at} and a very long name of a group" for at in range(8)]
    results = results_of(uniform(2, 80)).assign_coords(team=("agent", names * 10))
    figure = distributions(results, by="team")
    figure.canvas.draw()
    (title,) = (text for text in figure.texts if "Guess" in text.get_text())
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert legend.get_window_extent().y1 < title.get_window_extent().y0
    assert distributions(results, by="team", ax=figure.axes[0]) is figure


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
    results["amount"] = (("round", "buyers"), uniform(2, 5))
    results["buyers_failed"] = (("round", "buyers"), np.zeros((2, 5), bool))
    results["by_level"] = (("round", "level"), uniform(2, 3))  # which is about groups
    assert numeric(results) == ["guess", "price", "amount"]  # in the order of their coming
    assert distributions(results).axes[0].get_xlabel() == "guess"
    figure = distributions(results, "price")
    assert figure.axes[0].get_xlabel() == "price"
    assert any("5 agents" in text for text in texts(figure))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"variable": "gess"}, "'gess' is no variable .* these are guess, word"),
        ({"variable": "failed"}, "'failed' is no variable"),
        ({"mark": "mean"}, "mark='mean': there is no variable"),
        ({"mark": "guess"}, "mark='guess': there is no variable"),
        ({"by": "town"}, "by='town': there is no such column"),
        ({"by": "town", "variable": "word"}, "'word' has texts, and groups are drawn of numbers"),
    ],
)
def test_what_is_not_there_is_said(asked: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        word = (("round", "agent"), np.full((2, 10), "no"))
        distributions(results_of(uniform(2, 10), word=word), **asked)  # type: ignore[arg-type]


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
    figure = means(grouped(), band=band, by="team")
    assert len(figure.axes[0].collections) == 2 * (band is not None)
    figure.savefig(tmp_path / "picture.png")  # no glyph is missing, or that were an error


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": "name"}, "60 values, and 8 colours can be told apart"),
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


def test_means_keep_far_off_values_apart() -> None:
    far = np.array([[1e9 + 1, 1e9 + 2, 1e9 + 3], [0.1, 0.1, 0.1], [np.inf, 1.0, np.nan]])
    values = xr.DataArray(far, dims=("round", "agent"))
    for lazy in (values, values.chunk({"round": 2, "agent": 1})):
        mean, spread = moments(lazy)
        np.testing.assert_allclose(mean, [1e9 + 2, 0.1, 1.0], rtol=1e-15)
        np.testing.assert_allclose(spread, [np.sqrt(2 / 3), 0, 0], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("agents", [1, 2, 500])
@pytest.mark.parametrize("value", [0.0, 7.0, -1e300, 1e300, np.nan, np.inf])
def test_means_of_odd_values(agents: int, value: float, tmp_path: Path) -> None:
    for band in ("sd", "interval", None):
        for rounds in (1, 3):
            guess = np.full((rounds, agents), value)
            assert drawn(means(results_of(guess), band=band), tmp_path)  # type: ignore[arg-type]


def test_agents_of_which_nothing_is_known_are_in_no_group() -> None:
    results = grouped()
    age = np.arange(60) % 30.0
    age[:5] = np.nan
    results = results.assign_coords(age=("agent", age), old=("agent", np.where(age > 9, 1.0, age)))
    labels = [str(line.get_label()) for line in means(results, by="age").axes[0].lines]
    assert sum(int(label.rpartition("(")[2][:-1]) for label in labels) == 55
    results["old"][:] = np.nan
    with pytest.raises(UsageError, match="no agent has a value"):
        means(results, by="old")


def test_one_round_by_group_stands_side_by_side() -> None:
    (axes,) = means(grouped(1), by="team").axes
    first, second = (line for line in axes.lines if "(" in str(line.get_label()))
    assert float(first.get_xdata()[0]) < 1 < float(second.get_xdata()[0])
    assert list(axes.get_xticks()) == [1]


def test_a_part_of_a_run_keeps_its_numbers() -> None:
    results = results_of(uniform(9, 5)).assign_coords(round=np.arange(9)).isel(round=slice(4, 6))
    labels = [label.get_text() for label in distributions(results).axes[0].get_yticklabels()]
    assert labels == ["5", "6"]
    assert means(results).axes[0].lines[0].get_xdata().tolist() == [5, 6]


ANSWERS = [
    "yes",
    "no",
    "5 $ or $x^2$",
    "_no idea",
    "two\nlines " + "and more " * 9,
    "我不知道",
    "네",
]


def talk(rounds: int = 4, agents: int = 90, more: tuple[str, ...] = ()) -> xr.Dataset:
    """Return texts, one of them in the first round only, and some agents that failed."""
    found = np.random.default_rng(2).choice([*ANSWERS, *more], (rounds, agents))
    found[0, :30] = "once"
    found[:, -3:] = ""
    return xr.Dataset({"word": (("round", "agent"), found.astype(np.dtypes.StringDType()))})


def bars(figure: Figure) -> list[list[float]]:
    """Return the heights of the bars, by text."""
    return [[float(bar.get_height()) for bar in one] for one in figure.axes[0].containers]  # type: ignore[attr-defined]


@pytest.mark.parametrize("lazy", [False, True])
def test_texts_are_drawn_as_shares(lazy: bool, tmp_path: Path) -> None:
    results = talk()
    figure = distributions(results.chunk({"agent": 20, "round": 3}) if lazy else results)
    heights = np.array(bars(figure))
    assert heights.shape == (8, 4)  # 7 texts, and the others
    np.testing.assert_allclose(heights.sum(0), 1)
    words = results["word"].values[:, :-3]
    texts, counts = np.unique(words, return_counts=True)
    first = (words == texts[counts.argmax()]).mean(1)
    np.testing.assert_allclose(heights[0], first)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert legend[0] == "1 other text" and len(legend) == 8
    assert any(text.startswith("two lines and") and text.endswith("…") for text in legend)
    assert drawn(figure, tmp_path)  # no glyph is missing, no dollar begins a formula


@pytest.mark.parametrize("rounds", [1, 2, 60])
def test_texts_of_few_and_many_rounds(rounds: int, tmp_path: Path) -> None:
    figure = distributions(talk(rounds))
    assert len(bars(figure)[0]) == min(rounds, MOST_ROWS)
    assert any("50 of 60 rounds" in text for text in texts(figure)) == (rounds == 60)
    assert drawn(figure, tmp_path)


def test_texts_that_nobody_said_and_texts_that_all_differ(tmp_path: Path) -> None:
    results = talk()
    results["word"][1:] = ""
    np.testing.assert_allclose(np.array(bars(distributions(results))).sum(0), [1, 0, 0, 0])
    results["word"][:] = ""
    assert bars(figure := distributions(results)) == [] and drawn(figure, tmp_path)
    each = np.array([[f"{at}" for at in range(3_000)]], np.dtypes.StringDType())
    figure = distributions(xr.Dataset({"word": (("round", "agent"), each)}))
    assert sum(heights[0] for heights in bars(figure)) == pytest.approx(1)
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "993+ other texts"  # type: ignore[union-attr]


def test_numbers_come_first_and_texts_have_no_mean() -> None:
    results = talk().assign(z=(("round", "agent"), uniform(4, 90)))
    assert distributions(results).axes[0].get_xlabel() == "z"
    with pytest.raises(UsageError, match=r"'word' is no variable with a number per .* these are z"):
        means(results, "word")
    with pytest.raises(UsageError, match="these are z, word"):
        distributions(results, "wort")
    with pytest.raises(UsageError, match="no variable has a number"):
        means(talk())


def test_axes_can_be_given(tmp_path: Path) -> None:
    figure = Figure(figsize=(9, 3), layout="constrained")
    results = grouped().assign(word=(("round", "agent"), talk(4, 60)["word"].values))
    left, middle, right = figure.subplots(1, 3)
    assert distributions(results, "guess", ax=left) is figure
    assert means(results, ax=middle, by="team") is figure
    assert distributions(results, "word", ax=right) is figure
    assert left.patches and middle.lines and right.patches
    assert "Guess, round by round" in left.get_title(loc="left")
    assert drawn(figure, tmp_path)


class Guesser(da.Agent):
    team: str = ""

    def reply(self, message: da.Message) -> float:
        return self.rng.random()


def test_a_run_can_be_given_in_three_ways(tmp_path: Path) -> None:
    def guess(players: Any, rounds: int) -> Iterator[Any]:
        for _ in range(rounds):
            yield {"guess": players.reply()}

    players = da.Population(Guesser, {"team": ["red", "blue"] * 10})
    folder = tmp_path / "run"
    results = da.run(guess, players, client="sync", out=folder, rounds=3)
    expected = results["guess"].mean("agent").values
    for given in (results, da.open_run(folder), folder, str(folder)):
        assert len(distributions(given).axes[0].patches) == 3
        np.testing.assert_allclose(means(given).axes[0].lines[0].get_ydata(), expected)
    for draw in (distributions, means):
        with pytest.raises(UsageError, match="holds no run"):
            draw(tmp_path)
        with pytest.raises(UsageError, match="not of a DataArray"):
            draw(results["guess"])  # type: ignore[arg-type]


def test_what_no_font_has_is_written_as_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    stix = fonts._characters(("STIXGeneral",))
    own = chr(min(stix - fonts._characters(("DejaVu Sans",))))
    assert fonts.showable(f"naïve {own}") == f"naïve {own.encode('unicode_escape').decode()}"
    monkeypatch.setattr(fonts, "asian_fonts", lambda: ("STIXGeneral",))
    with fonts.any_text():
        assert fonts.showable(f"naïve {own}") == f"naïve {own}"
        assert "STIXGeneral" not in fonts.bold("round")["fontfamily"]
        assert fonts.bold("甲") == {}
    assert fonts.showable("\U0003134a") == "\\U0003134a"


def test_each_chunk_is_read_once_or_twice() -> None:
    def chunk(block_info: Any = None) -> np.ndarray[Any, Any]:
        with lock:
            made.append(1)
        return np.full((1, 1_000), 2.0)

    made: list[int] = []
    lock = threading.Lock()
    values = darray.map_blocks(chunk, chunks=((1,) * 30, (1_000,) * 3), meta=np.empty((0, 0)))
    figure = means(results_of(values))
    assert len(made) == 90  # each chunk was made once
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), np.full(30, 2.0))
    distributions(results_of(values))
    assert len(made) == 90 * 3  # the ends, and the counts


def test_quantiles_leave_out_who_failed() -> None:
    values = np.array([[0.0, 1.0, 2.0, np.nan], [np.nan] * 4, [3.0, 3.0, 3.0, np.inf]])
    results = xr.Dataset({"guess": (("round", "agent"), values)})
    (ax,) = plotting.quantiles(results).axes
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1.0, np.nan, 3.0])
    assert plotting.quantiles(results.isel(round=[0])).axes[0].get_xlabel() == "round"
    many = xr.Dataset({"guess": (("round", "agent"), np.zeros((900, 2)))})
    assert len(plotting.quantiles(many).axes[0].lines[0].get_xdata()) == 400
    with pytest.raises(UsageError, match="no round"):
        plotting.quantiles(results.isel(round=[]))

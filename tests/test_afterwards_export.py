"""Results as files: read back by pandas, they are what was written."""

from __future__ import annotations

import enum
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import dask.array
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import daskagents as da
from daskagents.afterwards import frames
from daskagents.afterwards.codebook import pandas_command
from daskagents.afterwards.export import export
from daskagents.errors import UsageError

TEXT = np.dtypes.StringDType()


class Mood(enum.Enum):
    glad = "g"
    sad = "s"


class Voter(da.Agent):
    """Somebody who votes.

    Attributes
    ----------
    town
        Where the voter lives.
    """

    town: str = ""
    age: Annotated[int, "years since birth"] = 0
    mood: Mood = Mood.glad
    choice: Literal["yes", "no"] = "yes"

    def reply(self, message: da.Message) -> Any:
        if self.id == 1:
            raise ValueError("not today")
        return {"vote": self.choice, "lean": self.rng.random()}


async def meet(members: Any, message: da.Message) -> dict[str, Any]:
    return {"size": float(len(members))}


def election(voters: Any, rounds: int = 3) -> Iterator[Any]:
    for number in range(rounds):
        said = voters.reply()
        towns = voters.groups("town", dim="towns", labels=["a", "b"]).play(meet)
        if number == 1:
            voters.add({"town": ["a"], "age": [7]})
        yield {**said.data_vars, "crowd": towns["size"], "mean": said["lean"].mean()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("export") / "run"
    voters = da.Population(
        Voter, {"town": ["a", "b", "a"], "age": [30, 40, 50], "mood": ["sad", "glad", "sad"]}
    )
    da.run(election, voters, client="sync", max_failed=1, out=folder, fsync="never")
    return da.open_run(folder)


def read(path: Path) -> pd.DataFrame:
    """Read a file as its codebook says."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    frame = next(f for f in FRAMES if path.stem.endswith(f.name) or f is FRAMES[0])
    return eval(pandas_command(path, frame.schema()).replace(repr(path.name), "path"))  # type: ignore[no-any-return]


FRAMES: list[frames.Frame] = []


@pytest.mark.parametrize("end", [".parquet", ".csv"])
def test_a_run_with_groups_and_agents_that_enter(run: Any, tmp_path: Path, end: str) -> None:
    found = run.export(tmp_path / f"out{end}")
    names = ["out", "out_towns", "out_rounds"]
    assert [p.name for p in found] == [*(f"{name}{end}" for name in names), *(
        f"out_codebook{kind}" for kind in (".csv", ".md")
    )]  # fmt: skip
    FRAMES[:] = frames.frames_of(run.results)
    table = read(found[0])
    columns = ["round", "agent", "town", "age", "mood", "vote", "lean", "failed"]
    assert list(table.columns) == columns
    assert len(table) == 3 * 4 and table["failed"].sum() == 3
    lean = run.results["lean"].values.ravel()
    np.testing.assert_array_equal(table["lean"].to_numpy(float, na_value=np.nan), lean)
    late = table[table["agent"] == 3]
    assert late["lean"].isna().tolist() == [True, True, False]
    assert table["vote"].isna().sum() == 3 + 2 and set(table["vote"].dropna()) == {"yes"}
    sizes = read(found[1])
    assert list(sizes.columns) == ["round", "towns", "crowd", "towns_failed"] and len(sizes) == 6
    rounds = read(found[2])
    assert len(rounds) == 3 and rounds["mean"].to_numpy() == pytest.approx(
        run.results["mean"].values
    )


def test_the_codebook_says_what_is_what(run: Any, tmp_path: Path) -> None:
    found = run.export(tmp_path / "out.csv")
    book = pd.read_csv(found[-2], keep_default_na=False).set_index(["file", "variable"])
    age = book.loc["out.csv", "age"]
    assert (age["type"], age["label"]) == ("whole number", "years since birth")
    assert (age["low"], age["high"], age["source"]) == ("7", "50", "Voter.age")
    assert book.loc["out.csv", "mood"]["values"] == "glad; sad"
    vote = book.loc["out.csv", "vote"]
    assert (vote["missing"], vote["values"]) == (5, "yes")
    assert vote["source"] == "reply 'vote' of voters.reply"
    assert book.loc["out_rounds.csv", "seconds"]["unit"] == "s"
    page = found[-1].read_text("utf-8")
    assert "Where the voter lives." in page and "read.csv(" in page and "pd.read_csv(" in page


def test_some_rounds_of_one_population_into_a_folder(run: Any, tmp_path: Path) -> None:
    found = run.export(tmp_path / "folder", population="voters", rounds="1:")
    assert [path.name for path in found] == [
        "agent.parquet", "rounds.parquet", "codebook.csv", "codebook.md",
    ]  # fmt: skip
    assert set(pd.read_parquet(found[0])["round"]) == {1, 2}
    with pytest.raises(UsageError, match=r"no population 'votes'.*did you mean 'voters'"):
        run.export(tmp_path / "x.csv", population="votes")
    with pytest.raises(UsageError, match=r"ends with .parquet or .csv"):
        run.export(tmp_path / "x.xlsx")
    with pytest.raises(UsageError, match="give A:B"):
        run.export(tmp_path / "x.csv", rounds="a:b")
    with pytest.raises(UsageError, match="no round in its results"):
        run.export(tmp_path / "x.csv", rounds=slice(7, 9))
    assert not list(tmp_path.glob("x*"))


texts = st.text(max_size=8) | st.sampled_from(
    [
        "NA",
        "nan",
        "007",
        "1e5",
        "true",
        'a "quoted" one',
        "two\nlines",
        "a\r\nb",
        ",",
        "né",
        " x ",
        "\0",
    ]
)
numbers = st.floats(allow_nan=True) | st.sampled_from([0.1, 1e300, 5e-324, np.inf, 3.0])


@st.composite
def datasets(draw: Any) -> xr.Dataset:
    rounds, n = draw(st.integers(1, 3)), draw(st.integers(1, 5))

    def array(kind: Any, dtype: Any, *shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        values = draw(st.lists(kind, min_size=size, max_size=size))
        return np.array(values, dtype).reshape(shape)

    whole = st.integers(-(2**63), 2**63 - 1)
    return xr.Dataset(
        {
            "guess": (("round", "agent"), dask.array.from_array(array(numbers, float, rounds, n))),
            "word": (("round", "agent"), array(texts, TEXT, rounds, n)),
            "failed": (("round", "agent"), array(st.booleans(), bool, rounds, n)),
            "shares": (("round", "bin"), array(numbers, float, rounds, 2)),
            "count": ("round", array(whole, np.int64, rounds)),
            "head, line": ("round", array(texts, TEXT, rounds)),
        },
        {
            "round": np.arange(rounds),
            "agent": np.arange(n),
            "note": ("agent", array(texts, TEXT, n)),
            "number": ("agent", array(whole, np.int64, n)),
        },
    )


@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(datasets(), st.sampled_from([".csv", ".parquet"]))
def test_all_values_come_back(results: xr.Dataset, end: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        run: Any = SimpleNamespace(results=results, about={}, folder=Path(place))
        found = export(run, Path(place, f"out{end}"))
        for path, frame in zip(found, frames.frames_of(results), strict=False):
            check(path, frame, end)


def check(path: Path, frame: frames.Frame, end: str) -> None:
    """Check that a file holds the values of a table, of their types."""
    if end == ".csv":
        table = eval(
            pandas_command(path, frame.schema()),
            {"pd": SimpleNamespace(read_csv=lambda _, **k: pd.read_csv(path, **k))},
        )
    else:
        table = pd.read_parquet(path)
        assert pq.read_schema(path).names == list(frame.columns)
    assert list(table.columns) == list(frame.columns)
    for name in (*frame.given, *frame.variables):
        values = frame.results[name].values
        if name in frame.given:
            values = np.tile(values, frame.results.sizes["round"])
        column, values = table[name], np.ravel(values)
        if values.dtype.kind == "T":
            said = ["" if value is None or value != value else value for value in column.tolist()]
            wanted = [text.replace("\0", "\ufffd") if end == ".csv" else text for text in values]
            assert said == wanted
        elif values.dtype.kind == "f":
            np.testing.assert_array_equal(column.to_numpy(float, na_value=np.nan), values)
        else:
            assert column.tolist() == values.tolist()


def test_rows_are_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_BATCH", 8)
    monkeypatch.setattr(frames, "_BYTES", 1)
    monkeypatch.setattr(frames, "_NARROW", 3)
    values = np.arange(20.0).reshape(4, 5)
    results = xr.Dataset(
        {"guess": (("round", "agent"), values)}, {"team": ("agent", list("abcde"))}
    )
    parts = list(frames.frames_of(results)[0].tables())
    assert [len(part) for part in parts] == [3, 2] * 4
    assert [v for part in parts for v in part["guess"].to_pylist()] == values.ravel().tolist()
    assert [v for part in parts for v in part["team"].to_pylist()] == list("abcde") * 4

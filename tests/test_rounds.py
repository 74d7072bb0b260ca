import json
import tempfile
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Player, game, reading
from zarr.storage import LocalStore

import daskagents as da
from daskagents import rounds as rounds_module
from daskagents import tasks
from daskagents.errors import FolderError, WorkflowError
from daskagents.record import tight
from daskagents.rounds import Rounds, Source, fold, open_rounds, paths, remove, window
from daskagents.table import block_bounds
from daskagents.tasks import Place
from daskagents.values import Value

KINDS = {"x": "number", "word": "text", "failed": "flag"}


def piece(folder: Path, arrays: dict[str, Any]) -> str:
    """Write what a task of a step writes."""
    flat = {}
    for name, values in arrays.items():
        column = tasks.blocks.text_column(values) if values.dtype.kind == "T" else None
        if name == "failed":
            flat[name] = values
        elif column is None:
            flat[f"{name}/values"] = values
        else:
            flat |= {f"{name}/{part}": array for part, array in column.arrays().items()}
    place = Place("", 0, 0, str(folder))
    return str(tasks.write_arrays(flat, place, f"steps/{uuid.uuid4().hex}"))


def frame(n: int, dim: str = "agent") -> xr.Dataset:
    return xr.Dataset(coords={dim: np.arange(n)})


def write_folds(rounds: Rounds, *, last: bool = False) -> set[str]:
    rounds.write_values()
    folds, chunks = rounds.folds(last=last), set()
    for task in folds:
        fold(task)
        size = rounds.axes["agent"].window
        chunks |= {
            (at // size, task.span) for at in range(task.first, task.first + len(task.sources))
        }
    assert len(chunks) == len(folds)  # no two tasks write one chunk
    gone = rounds.folded()
    remove(gone)
    return gone


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(1, 40))
    asked = st.lists(st.integers(0, n - 1), min_size=1, unique=True).map(sorted)
    one = st.tuples(st.booleans(), st.none() | asked, st.permutations(range(3)))
    return {
        "n": n,
        "block_size": draw(st.integers(1, n)),
        "span": draw(st.integers(1, n)),
        "window": draw(st.integers(1, 6 * n)),
        "begins": draw(st.integers(0, 3)),
        "rounds": draw(st.lists(one, min_size=1, max_size=9)),
        "looks": draw(st.sets(st.integers(0, 12))),
        "seed": draw(st.integers(0, 99)),
    }


@given(runs())
@settings(max_examples=12)
def test_folded_pieces_are_the_dense_arrays(run: dict[str, Any]) -> None:
    n, rng = run["n"], np.random.default_rng(run["seed"])
    bounds = block_bounds(n, False, run["block_size"])
    count = run["begins"] + len(run["rounds"])
    dense: dict[str, Any] = {
        "x": np.full((count, n), np.nan),
        "word": np.zeros((count, n), np.dtypes.StringDType()),
        "failed": np.zeros((count, n), bool),
    }
    with tempfile.TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patch:
        folder = Path(path)
        patch.setattr(rounds_module, "SPAN", run["span"])
        patch.setattr(rounds_module, "WINDOW", run["window"])
        rounds = Rounds(folder / "rounds.zarr")
        for _ in range(run["begins"]):
            rounds.close({})
        for number, (written, rows, order) in enumerate(run["rounds"], run["begins"]):
            sources: dict[str, list[Source]] = {name: [] for name in KINDS}
            rows = np.arange(n) if rows is None else np.array(rows)
            for first, end in pairwise(bounds):
                ids = rows[(rows >= first) & (rows < end)] if written else rows[:0]
                if not len(ids):
                    continue
                if run["seed"] % 2:
                    ids = rng.permutation(ids)  # as after a sortby
                values = {
                    "x": rng.random(len(ids)),
                    "word": np.array([f"{i}é" for i in ids], np.dtypes.StringDType()),
                    "failed": rng.random(len(ids)) < 0.5,
                }
                part = piece(folder, values)
                for name in KINDS:
                    dense[name][number, ids] = values[name]
                    sources[name].append(Source(part, name, tight(ids)))
            rounds.add_axis("agent", "players", frame(n))
            for name in np.array(list(KINDS))[list(order)].tolist():
                rounds.add_variable("agent", name, KINDS[name])  # type: ignore[arg-type]
            rounds.close({"agent": {name: some for name, some in sources.items() if some}})
            if number in run["looks"]:
                write_folds(rounds)
                check(open_rounds(folder), {name: dense[name][: number + 1] for name in KINDS})
        write_folds(rounds, last=True)
        rounds.finish()
        check(open_rounds(folder), dense)
        check(xr.open_zarr(folder / "rounds.zarr", consolidated=False), dense)
        assert not list((folder / "steps").glob("*"))


def check(found: xr.Dataset, dense: dict[str, Any]) -> None:
    for name, values in dense.items():
        assert found[name].dims == ("round", "agent")
        numbers = values.dtype.kind == "f"
        assert np.array_equal(found[name].values, values, equal_nan=numbers), name


@given(st.lists(st.integers(0, 30), min_size=1, unique=True))
def test_tight_is_the_same_rows(ids: list[int]) -> None:
    found = tight(np.array(ids))
    assert np.arange(31)[found].tolist() == ids


def test_flags_of_several_steps_add_up(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path / "rounds.zarr")
    rounds.add_axis("agent", "players", frame(4))
    rounds.add_variable("agent", "failed", "flag")
    parts = [piece(tmp_path, {"failed": np.array(f)}) for f in ([True, False], [False, False])]
    rows = [slice(0, 2), slice(0, 2)]
    rounds.close(
        {"agent": {"failed": [Source(p, "failed", r) for p, r in zip(parts, rows, strict=True)]}}
    )
    write_folds(rounds, last=True)
    rounds.finish()
    assert open_rounds(tmp_path)["failed"].values.tolist() == [[True, False, False, False]]


def test_pieces_go_once_they_are_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_module, "WINDOW", 8)
    rounds = Rounds(tmp_path / "rounds.zarr")
    rounds.add_axis("agent", "players", frame(4))  # two rounds a window
    rounds.add_variable("agent", "x", "number")
    written = []
    for _ in range(3):
        written.append(piece(tmp_path, {"x": np.ones(4)}))
        rounds.close({"agent": {"x": [Source(written[-1], "x", slice(0, 4))]}})
    assert write_folds(rounds) == set(written[:2])
    assert [Path(p).exists() for p in written] == [False, False, True]
    assert write_folds(rounds, last=True) == {written[2]}


def test_what_a_killed_run_left_can_be_read(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path / "rounds.zarr")
    rounds.add_axis("agent", "players", frame(4))
    rounds.add_variable("agent", "x", "number")
    assert open_rounds(tmp_path).sizes == {"round": 0}
    for number in range(70):  # more than what there is room for at first
        source = Source(piece(tmp_path, {"x": np.full(4, float(number))}), "x", slice(0, 4))
        rounds.add_value("number", Value((), number))
        rounds.close({"agent": {"x": [source]}})
        if number == 50:
            write_folds(rounds)
    rounds.add_value("never closed", Value((), 1.0))
    found = open_rounds(tmp_path)  # nothing was finished
    assert found["number"].values.tolist() == list(range(51))
    assert found["x"].values[:, 0].tolist() == list(range(51))
    rounds.write_values()  # and values are further than pieces
    assert open_rounds(tmp_path).sizes["round"] == 51


def test_names_are_taken_once(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path / "rounds.zarr")
    rounds.add_axis("agent", "players", frame(4).assign_coords(level=("agent", np.arange(4))))
    rounds.add_axis("b", "sellers", frame(2, "b").assign_coords(level=("b", np.arange(2))))
    assert set(rounds.group.array_keys()) == {"agent", "level", "b", "b_level"}
    with pytest.raises(WorkflowError, match="'players' and 'others' are both"):
        rounds.add_axis("agent", "others", frame(4))
    rounds.add_variable("agent", "x", "number")
    for name in ("x", "b", "agent"):
        with pytest.raises(WorkflowError, match="already something else"):
            rounds.add_value(name, Value((), 1))
        with pytest.raises(WorkflowError, match="already something else"):
            rounds.add_variable("b", name, "number")
    with pytest.warns(UserWarning, match="'level' is yielded"):
        rounds.add_variable("agent", "level", "number")
    rounds.finish()
    assert open_rounds(tmp_path)["level"].dims == ("round", "agent")


def test_without_results(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no results"):
        open_rounds(tmp_path)


def test_paths_and_windows() -> None:
    assert paths({"a": {"x": [Source("p", "x", slice(1))], "y": []}, "b": {}}) == {"p"}
    assert [window(n) for n in (1, 1 << 11, 1 << 16, 1 << 17, 1 << 22)] == [64, 64, 2, 1, 1]


def test_what_later_rounds_brought_is_forgotten(tmp_path: Path) -> None:
    def add(rounds: Rounds, number: int) -> None:
        names = [f"n{at}" for at in range(min(number, 2) + 1)]
        for dtype in (int, float, str):
            value = Value(("who",), np.full(len(names), number).astype(dtype), {"who": names})
            rounds.add_value(dtype.__name__, value)
        rounds.add_value("number", Value((), number if number < 4 else number + 0.5))
        rounds.close({})
        rounds.write_values()

    def written(folder: Path, killed: int | None = None) -> xr.Dataset:
        rounds = Rounds(folder / "rounds.zarr")
        for number in range(6):
            if killed is not None and number == killed:
                state = json.loads(json.dumps(rounds.state()))
                for later in range(killed, 5):
                    add(rounds, later)
                rounds = Rounds(folder / "rounds.zarr", state)
            add(rounds, number)
        rounds.finish()
        return open_rounds(folder)

    whole = written(tmp_path / "whole")
    for killed in range(1, 6):
        xr.testing.assert_identical(written(tmp_path / str(killed), killed), whole)


# As runs write them


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_many_rounds_of_few_agents_make_few_files(tmp_path: Path) -> None:
    people = da.Population(Player, 20, block_size=5)
    da.run(reading, people, rounds=150, client="sync", out=tmp_path / "run")
    assert len(files(tmp_path / "run" / "rounds.zarr")) < 60  # 3 chunks of 150 rounds each
    assert not (tmp_path / "run" / "steps").exists() and not (tmp_path / "run" / "rounds").exists()


def test_pieces_do_not_pile_up_while_a_run_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "WINDOW", 40)  # two rounds
    seen = []

    def watched(players: Any, yields: Any) -> Iterator[Any]:
        for number in range(30):
            replies = players.reply()
            yield replies if yields else {"mean": replies["guess"].mean()}
            if number > 5:
                seen.append(len(files(tmp_path / str(yields) / "steps")))

    for yields in (True, False):  # also where nobody wants the replies themselves
        people = da.Population(Player, 20, block_size=5)
        da.run(watched, people, yields, client="sync", out=tmp_path / str(yields))
    assert max(seen) <= 4 * 4


def test_spans_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(block_size: int, out: Path) -> xr.Dataset:
        people = da.Population(Player, 50, block_size=block_size)
        return da.run(game, people, rounds=5, client="sync", seed=1, out=out)

    whole = run(50, tmp_path / "whole")
    monkeypatch.setattr(rounds_module, "SPAN", 7)
    monkeypatch.setattr(rounds_module, "WINDOW", 100)
    cut = run(50, tmp_path / "cut")
    opened = da.open_run(tmp_path / "cut").results
    assert opened["guess"].data.chunks == ((2, 2, 1), (7,) * 7 + (1,))
    np.testing.assert_array_equal(whole["guess"], cut["guess"])
    assert (whole["note"].values == cut["note"].values).all()
    np.testing.assert_array_equal(whole["guess"][0], run(9, tmp_path / "blocks")["guess"][0])


def test_results_open_with_xarray_alone(tmp_path: Path) -> None:
    people = da.Population(Player, {"level": np.arange(30) % 3}, block_size=10)
    result = da.run(game, people, client="sync", out=tmp_path / "run")
    plain = xr.open_zarr(tmp_path / "run" / "rounds.zarr", consolidated=False)
    for name in result.data_vars:
        numbers = result[name].dtype.kind == "f"
        assert plain[name].dims == result[name].dims
        assert np.array_equal(plain[name].values, result[name].values, equal_nan=numbers), name
    assert plain["level"].values.tolist() == result["level"].values.tolist()


def test_rounds_are_never_said_before_their_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens a run that is under way finds either no round, or rounds with variables."""
    seen = []

    before = LocalStore.set

    async def put(self: LocalStore, key: str, value: Any) -> None:
        if key == "zarr.json":
            seen.append(json.loads(value.to_bytes())["attributes"])
        await before(self, key, value)

    monkeypatch.setattr(LocalStore, "set", put)
    da.run(game, da.Population(Player, 20), client="sync", out=tmp_path / "run")
    orders = [said["order"] for said in seen if said.get("rounds")]
    assert orders and all("n_failed" in order for order in orders)

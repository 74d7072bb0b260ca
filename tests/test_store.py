import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from worlds import Player, Speaker, events, game, noted_reads, reading

import daskagents as da
from daskagents import models, testing
from daskagents.errors import FolderError, RunError, UsageError
from daskagents.reads import AGAIN
from daskagents.store import Store, file_name, read_about

KEY = "sk-a-very-secret-key-0123456789"


def run(out: Path, workflow: Any = game, people: Any = None, **options: Any) -> xr.Dataset:
    people = people or da.Population(Player, {"level": np.arange(30) % 3}, block_size=10)
    return da.run(workflow, people, client="sync", out=out, **options)


# Folders that cannot be used


def test_a_folder_with_a_run_is_refused(tmp_path: Path) -> None:
    before = run(tmp_path / "run", seed=1)
    with pytest.raises(FolderError, match="holds another run"):
        run(tmp_path / "run", seed=2)
    np.testing.assert_array_equal(da.open_run(tmp_path / "run").results["guess"], before["guess"])


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FolderError, match="is a file"):
        run(tmp_path / "run")
    with pytest.raises(FolderError, match="cannot be made: Not a directory"):
        run(tmp_path / "run" / "inside")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match="not empty and holds no run"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_parent_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(FolderError, match=r"/proc/run cannot be made"):  # root may write the rest
        run(Path("/proc/run"))


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    empty = next(p for p in Path("/proc/self/task").iterdir()) / "fdinfo"
    with pytest.raises(FolderError, match=r"not empty|cannot be written"):
        Store(empty)


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_or_new_folder_is_taken(there: bool, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    if there:
        out.mkdir(parents=True)
    run(out)
    assert read_about(out)["status"] == "done"


@pytest.mark.parametrize("there", [True, False])
def test_what_is_refused_later_leaves_no_trace(there: bool, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if there:
        out.mkdir()
    with pytest.raises(UsageError, match="client is 3"):
        da.run(game, da.Population(Player, 3), client=3, out=out)
    assert out.exists() == there and not list(tmp_path.rglob("*.json*"))


def test_home_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(Path("~/one"))
    run("two")  # type: ignore[arg-type]
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


# What is written


def test_nothing_secret_and_no_pickle(tmp_path: Path) -> None:
    def talk(people: Any, chair: Any) -> Iterator[Any]:
        for _ in range(3):
            replies = people.reply()
            yield {"note": replies["note"], "said": chair(replies["guess"].max())}

    with testing.model_server(api_key=KEY) as server:
        model = models.OpenAI("any", base_url=server.url, api_key=KEY)
        people = da.Population(Player, {"last": np.ones(40)}, block_size=10, model=model)
        chair = da.spawn(Speaker(name="../chair"))
        da.run(talk, people, chair, model=model, client="sync", out=tmp_path / "run",
               checkpoint_every=2)  # fmt: skip
        seen = [(path, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
        assert len(seen) > 40
        for path, data in seen:
            assert KEY.encode() not in data, path
            assert not (re.match(rb"\x80[\x02-\x05]", data) and data.endswith(b".")), path
            if not path.name.endswith((".json", ".jsonl", ".py")):
                assert b"pickle" not in data and b"Player" not in data, path
        about = read_about(tmp_path / "run")
    assert f"OpenAI('any', base_url='{server.url}', api_key='***')" in about["model"]
    assert about["populations"]["people"]["model"] == about["model"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "run.json", "events.jsonl", "rounds.zarr", "populations", "checkpoints", "journal",
        "program", "run.lock",
    }  # fmt: skip
    assert not [path for path in tmp_path.iterdir() if path.name != "run"]  # nor beside it


def test_a_model_of_the_user_is_named_only(tmp_path: Path) -> None:
    from dataclasses import dataclass

    @dataclass
    class Mine(models.Model):
        token: str

        async def chat(self, request: models.Request) -> models.Answer:
            return models.Answer("")

    run(tmp_path / "run", model=Mine(KEY))
    text = (tmp_path / "run" / "run.json").read_text()
    assert "Mine" in text and KEY not in text


def test_checkpoints_open_with_xarray(tmp_path: Path) -> None:
    result = run(tmp_path / "run", rounds=5, checkpoint_every=2)
    generations = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert generations == ["000004", "000005"]  # the last two
    blocks = sorted((tmp_path / "run" / "checkpoints" / "000005" / "players").iterdir())
    assert [block.name for block in blocks] == ["00000", "00001", "00002"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = [xr.open_zarr(block, consolidated=False) for block in blocks]
        given = xr.open_zarr(tmp_path / "run/populations/players/00001", consolidated=False)
        last = np.concatenate([block["last"].values for block in opened])
    np.testing.assert_array_equal(last, result["guess"].values[-1])
    assert (opened[1].attrs["first"], opened[1].attrs["agents"]) == (10, 10)
    assert given["level"].values.tolist() == [i % 3 for i in range(10, 20)]


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    def reads(people: Any) -> Iterator[Any]:
        replies = people.reply()
        yield {
            "mean": float(replies["guess"].mean()),
            "note": str(replies["note"].values[0]),
            "nan": float(replies["guess"].where(replies["guess"] > 1e6).max()),
        }

    run(tmp_path / "run", reads, da.Population(Player, 1_200, block_size=500))
    noted = noted_reads(tmp_path / "run")
    assert isinstance(noted[0].item(), float) and np.isnan(noted[2])
    assert noted[1] is AGAIN  # too long to repeat


def test_events_are_there_at_once(tmp_path: Path) -> None:
    seen = []

    def looks(people: Any) -> Iterator[Any]:
        replies = people.reply()
        seen.append(events(tmp_path / "run")[-1]["event"])
        float(replies["guess"].mean())
        seen.append(events(tmp_path / "run")[-1]["event"])
        yield replies
        seen.append(events(tmp_path / "run")[-1]["event"])

    run(tmp_path / "run", looks)
    assert seen == ["form", "read", "round"]


def test_run_json_is_whole_at_any_moment(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    store.begin(seed=1)
    for status in ("running", "done"):
        store.describe(status=status)
        assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == status
    store.end("done")
    assert not list(tmp_path.rglob("*.new"))


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    store.remove()
    with pytest.raises(RunError, match=f"{tmp_path}/run: No such file"):
        store.describe(seed=1)


def test_reading_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no run"):
        read_about(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(FolderError, match="cannot be read"):
        read_about(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(FolderError, match="does not describe a run"):
        read_about(tmp_path)


@given(st.text(max_size=300), st.text(max_size=300))
def test_file_names_are_safe_and_tell_apart(one: str, other: str) -> None:
    for name in (one, other):
        found = file_name(name)
        assert found == "" or re.fullmatch(r"[\w -]{1,64}", found, re.ASCII)
        assert found not in (".", "..", "")
    assert (file_name(one) == file_name(other)) == (one == other)


def test_two_agents_of_odd_names_keep_apart(tmp_path: Path) -> None:
    def talk(agents: list[Any]) -> Iterator[Any]:
        for number, agent in enumerate(agents):
            yield {f"said {number}": agent("x")}

    names = ["a/b", "a_b", "..", "Ünï", "a b", "x" * 200]
    agents = [da.spawn(Speaker(name=name)) for name in names]
    model = models.Dummy(answer="ok")
    da.run(talk, agents, client="sync", model=model, out=tmp_path / "run", checkpoint_every=1)
    generation = tmp_path / "run" / "checkpoints" / "000006"
    blocks = [path for path in generation.iterdir() if path.is_dir()]
    assert len(blocks) == len(names)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_reading_a_run_that_is_under_way(tmp_path: Path) -> None:
    seen = []

    def looks(people: Any) -> Iterator[Any]:
        for yielded in reading(people, 3):
            yield yielded
            seen.append(da.open_run(tmp_path / "run").status)

    run(tmp_path / "run", looks)
    assert seen == ["running"] * 3

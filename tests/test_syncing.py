"""What a run needs that goes on is on the disk itself, before anything counts on it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import Player, game

import daskagents as da
from daskagents import syncing


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is brought to the disk and renamed, in order."""
    found: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(at: int) -> None:
        found.append(("sync", str(Path(f"/proc/self/fd/{at}").readlink())))
        fsync(at)

    def replaced(path: Path, target: Path) -> Path:
        found.append(("name", str(target)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    return found


def play(out: Path, fsync: Any) -> None:
    people = da.Population(Player, {"level": np.arange(6)}, block_size=3)
    da.run(game, people, rounds=4, checkpoint_every=2, client="sync", out=out, fsync=fsync)


@pytest.mark.parametrize("fsync", ["batch", "each"])
def test_files_go_to_the_disk_before_their_names(fsync: str, tmp_path: Path, done: Any) -> None:
    out = tmp_path / "run"
    play(out, fsync)
    for folder, file in ((out, "run.json"), (out / "checkpoints" / "000002", "state.json")):
        named = done.index(("name", f"{folder / file}"))
        assert done[named - 1] == ("sync", f"{folder / file}.new")
        assert done[named + 1] == ("sync", str(folder))
    before = {path for _, path in done[:named]}
    rest = ["events.jsonl", "rounds.zarr/guess/c/0/0", "rounds.zarr/guess/zarr.json"]
    for path in [*rest, "populations/players/00001/level/0", "checkpoints/000002/players/00001"]:
        assert str(out / path) in before, path
    assert {str(p) for p in out.glob("checkpoints/000004/*/*/*/0")} <= {p for _, p in done}


def test_never_is_never(tmp_path: Path, done: Any) -> None:
    play(tmp_path / "run", "never")
    da.run(game, da.Population(Player, 3), client="sync")  # and what is temporary is not either
    assert {what for what, _ in done} == {"name"}


def test_events_are_not_synced_one_by_one(tmp_path: Path, done: Any) -> None:
    people = da.Population(Player, 3)
    da.run(game, people, rounds=60, checkpoint_every=100, client="sync", out=tmp_path / "run")
    assert done.count(("sync", str(tmp_path / "run" / "events.jsonl"))) < 15


def test_a_folder_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    syncing.sync_tree(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        syncing.sync_file(tmp_path / "gone")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worlds import Player, Waiter, asking, game, same

import daskagents as da
from daskagents import models
from daskagents.errors import FolderError


def test_a_run_is_read_back(tmp_path: Path) -> None:
    people = da.Population(Player, {"level": [1, 2, 3]})
    result = da.run(game, people, client="sync", seed=3, out=tmp_path / "run")
    opened = da.open_run(str(tmp_path / "run"))
    same(opened.results, result)
    assert opened.results is opened.results
    assert (opened.status, opened.folder) == ("done", tmp_path / "run")
    assert opened.about["seed"] == 3
    first, *others = repr(opened).splitlines()
    assert first == f"<run of game in {tmp_path}/run: done; round: 4, agent: 3>"
    assert others[0].startswith("  winner  ")


def test_usage_is_that_of_all_rounds(tmp_path: Path) -> None:
    model = models.Dummy(answer="1")
    people = da.Population(Waiter, 10)
    da.run(asking, people, model=model, client="sync", rounds=3, out=tmp_path / "run")
    usage = da.open_run(tmp_path / "run").usage
    assert {
        name: usage[name] for name in ("calls", "prompt_tokens", "completion_tokens", "cost")
    } == {
        "calls": 30,
        "prompt_tokens": 30,
        "completion_tokens": 30,
        "cost": 0.0,
    }


def test_a_run_without_rounds(tmp_path: Path) -> None:
    def stops(people: Any) -> Iterator[Any]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        da.run(stops, da.Population(Player, 3), client="sync", out=tmp_path / "run")
    opened = da.open_run(tmp_path / "run")
    assert opened.status == "failed" and opened.results.sizes == {"round": 0}
    assert not any(opened.usage.values())
    assert "failed; round: 0" in repr(opened)


def test_what_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FolderError, match="holds no run"):
            da.open_run(folder)

"""What a run did before: from which of its checkpoints it goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from worlds import Player, same

import daskagents as da

OPTIONS: Any = {"seed": 3, "checkpoint_every": 2, "progress": False}


def counts_by_name(players: Any, rounds: int = 6) -> Iterator[Any]:
    """Yield a value over labels that become more with each round."""
    for number in range(rounds):
        names = [f"n{at}" for at in range(number + 1)]
        players.do("count")
        by_name = xr.DataArray(np.full(number + 1, number), {"who": names}, ["who"])
        yield {"guess": players.reply()["guess"], "by_name": by_name}


@pytest.mark.parametrize("on", ["sync", "client1"])
def test_results_go_back_to_the_checkpoint_before(
    tmp_path: Path, on: str, caplog: Any, request: Any
) -> None:
    client = on if on == "sync" else request.getfixturevalue(on)

    def play(out: Path | None, **more: Any) -> xr.Dataset:
        return da.run(
            counts_by_name,
            da.Population(Player, {"level": [0, 1, 2] * 10}, name="player"),
            out=out,
            client=client,
            **OPTIONS,
            **more,
        )

    play(tmp_path / "run", rounds=4)
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    chunk = next(newest.rglob("0"))
    chunk.write_bytes(b"")
    same(play(tmp_path / "run", rounds=6, resume=True), play(None, rounds=6))
    assert f"{newest}" in caplog.text and "going on from the checkpoint before" in caplog.text

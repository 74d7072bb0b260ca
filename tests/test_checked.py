"""A damaged chunk of the results is an error that names its array, and never a wrong number."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from worlds import Player

import daskagents as da
from daskagents.checked import PLAIN, Checked
from daskagents.errors import FolderError
from daskagents.rounds import open_rounds
from daskagents.stored import read_stored


def told(people: Any, rounds: int = 3) -> Iterator[Any]:
    for number in range(rounds):
        guess = people.reply(float(number))["guess"]
        yield {"guess": guess, "word": guess.astype(str), "mean": guess.mean()}


def flip(folder: Path, at: int = 5) -> None:
    """Flip a bit in each chunk of an array."""
    for path in (folder / "c").rglob("*"):
        if path.is_file():
            data = bytearray(path.read_bytes())
            data[at] ^= 1
            path.write_bytes(data)


@pytest.mark.parametrize("name", ["guess", "word", "mean", "level", "agent"])
def test_a_flipped_bit_is_never_a_wrong_number(name: str, tmp_path: Path) -> None:
    people = da.Population(Player, {"level": np.arange(6)}, block_size=4)
    da.run(told, people, client="sync", out=tmp_path / "run")
    where = tmp_path / "run" / "rounds.zarr"
    flip(where / name)
    with pytest.raises(FolderError, match=rf"rounds\.zarr/{name} is damaged; restore it"):
        da.open_run(tmp_path / "run").results[name].compute()
    with pytest.raises(ValueError, match="checksum"):
        xr.open_zarr(where, consolidated=False)[name].load()
    if name != "level" and name != "agent":
        with pytest.raises(FolderError, match=rf"rounds\.zarr/{name} is damaged"):
            read_stored(str(where), name, 1, slice(0, 1))


def test_a_run_that_goes_on_names_what_is_damaged(tmp_path: Path) -> None:
    da.run(told, da.Population(Player, 6), client="sync", out=tmp_path / "run")
    for name in ("guess", "mean"):  # the chunk of the one is written on, the other is read whole
        flip(tmp_path / "run" / "rounds.zarr" / name)
        with pytest.raises(FolderError, match=rf"rounds\.zarr/{name} is damaged"):
            da.resume(tmp_path / "run", rounds=5, client="sync")
        flip(tmp_path / "run" / "rounds.zarr" / name)
    assert da.resume(tmp_path / "run", rounds=5, client="sync").sizes["round"] == 5


def test_a_chunk_is_written_in_parts(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "rounds.zarr", attributes={"rounds": 3, "order": ["x"]})
    array = group.create_array(
        "x", shape=(3, 4), chunks=(3, 4), dtype="f8", compressors=PLAIN, dimension_names=["r", "a"]
    )
    for number in range(3):
        Checked(array)[number, :] = np.full(4, number + 1.0)
    assert open_rounds(tmp_path)["x"].values[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert [path.name for path in (tmp_path / "rounds.zarr" / "x" / "c" / "0").iterdir()] == ["0"]


def test_a_disk_that_fails_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = zarr.create_array(tmp_path / "x", shape=(3,), dtype="f8", compressors=PLAIN)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(array), "__setitem__", full)
    with pytest.raises(OSError, match="No space") as raised:
        Checked(array)[:] = np.ones(3)
    assert not isinstance(raised.value, FolderError)

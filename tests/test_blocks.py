import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskagents as da
from daskagents import blocks
from daskagents.block import Block, first_block
from daskagents.columns import compact_strings, ragged_strings, strings
from daskagents.errors import FolderError


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Place:
    x: float


class Everything(da.Agent):
    lean: float = 0.5
    votes: int = 1
    happy: bool = False
    boss: int | None = None
    name: str = "é"
    note: str | None = None
    key: bytes = b"\0"
    friends: tuple[int, ...] = ()
    place: Place | None = Place(1.0)
    level: Level = Level.LOW

    def reply(self, message):
        return self.lean


def values(block: Block) -> dict[str, list[Any]]:
    fields = Everything.__fields__
    return {name: fields[name].tolist(column) for name, column in block.columns.items()}


def sample() -> Block:
    """Return a block with a value of every kind, None and empty ones among them."""
    columns = {
        "lean": [0.0, float("inf"), -1.5],
        "boss": [None, 3, None],
        "name": ["", "🐢" * 1000, "\0"],
        "note": [None, "", "é"],
        "friends": [(), (1, 2), (3,)],
        "place": [None, Place(2.0), Place(-1.0)],
        "level": [Level.HIGH, Level.LOW, Level.HIGH],
        "_turns": [(), (("hello", "user", ""), (3.5, "system", "clock")), ()],
    }
    fields = Everything.__fields__
    return first_block(Everything, 7, 3, {n: fields[n].column(v) for n, v in columns.items()})


def test_a_block_comes_back_as_it_was(tmp_path: Path) -> None:
    block = sample()
    blocks.write(block, tmp_path / "deep" / "00000")
    again = blocks.read(tmp_path / "deep" / "00000")
    assert (again.first, again.n) == (7, 3)
    assert values(again) == values(block)
    for name, column in block.columns.items():
        other = again.columns[name]
        assert type(other) is type(column)
        for part, array in column.arrays().items():
            assert other.arrays()[part].dtype == array.dtype


def test_a_block_of_defaults_comes_back(tmp_path: Path) -> None:
    block = first_block(Everything, 0, 5, {})
    blocks.write(block, tmp_path / "00000")
    assert values(blocks.read(tmp_path / "00000")) == values(block)


def test_texts_that_repeat_come_back_in_either_form(tmp_path: Path) -> None:
    names, notes = ["a", "é", "a", ""] * 5, ["x", None, "x", ""] * 5
    mask = np.array([note is None for note in notes])
    texts = [note or "" for note in notes]
    forms = {
        "coded": {"name": compact_strings(names), "note": compact_strings(texts, mask)},
        "ragged": {"name": ragged_strings(names), "note": ragged_strings(texts, mask)},
    }
    for form, columns in forms.items():
        blocks.write(first_block(Everything, 0, 20, columns), tmp_path / form)
        again = blocks.read(tmp_path / form)
        assert type(again.columns["name"]) is type(columns["name"])
        assert values(again)["name"] == names
        assert values(again)["note"] == notes
    found = xr.open_zarr(tmp_path / "coded", consolidated=False)
    assert found["name.codes"].dims == ("agent",)
    assert found["name.codes"].values.tolist() == [0, 1, 0, 2] * 5


def test_an_agent_without_fields(tmp_path: Path) -> None:
    class Bare(da.Agent):
        pass

    blocks.write(first_block(Bare, 0, 2, {}), tmp_path / "00000")
    assert set(blocks.read(tmp_path / "00000").columns) == {"_turns"}


def test_only_given_columns(tmp_path: Path) -> None:
    column = Everything.__fields__["lean"].column([1.0, 2.0])
    blocks.write(Block(4, 2, {"lean": column}), tmp_path / "00000")
    assert list(blocks.read(tmp_path / "00000").columns) == ["lean"]


def test_xarray_opens_a_block(tmp_path: Path) -> None:
    blocks.write(sample(), tmp_path / "00000")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = xr.open_zarr(tmp_path / "00000", consolidated=False)
    assert found["lean"].dims == ("agent",)
    assert found["lean"].values.tolist() == [0.0, float("inf"), -1.5]
    assert found["boss.mask"].values.tolist() == [True, False, True]
    assert (found.attrs["first"], found.attrs["agents"]) == (7, 3)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "00000"
    blocks.write(sample(), path)
    chunks = [p for p in path.rglob("*") if p.is_file() and p.name != "zarr.json"]
    assert len(chunks) > 4
    for chunk in chunks:
        whole = chunk.read_bytes()
        for at in range(0, len(whole), 16):
            chunk.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
            with pytest.raises(FolderError, match="is damaged"):
                blocks.read(path)
        chunk.write_bytes(whole)
    assert blocks.read(path).n == 3


def test_there_is_no_pickle_and_no_draft_left(tmp_path: Path) -> None:
    blocks.write(sample(), tmp_path / "00000")
    assert [path.name for path in tmp_path.iterdir()] == ["00000"]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"\x80\x04\x95" not in path.read_bytes()


def test_writing_twice_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "00000"
    blocks.write(sample(), path)
    blocks.write(sample(), path)
    assert values(blocks.read(path)) == values(sample())
    assert [path.name for path in tmp_path.iterdir()] == ["00000"]


def test_a_block_that_cannot_be_put_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        blocks.write(sample(), tmp_path / "file" / "00000")


def test_a_missing_block_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"nowhere holds no block of agents"):
        blocks.read(tmp_path / "nowhere")


def test_texts_of_any_kind_become_columns() -> None:
    for made in (
        np.array(["a", "é", ""], np.dtypes.StringDType()),
        np.array(["a", "é", ""]),
        np.array(["a", "é", None], object),
    ):
        assert strings(blocks.text_column(made)).tolist() == ["a", "é", ""]


optional: Callable[[Any], Any] = lambda strategy: st.none() | strategy  # noqa: E731
row = st.fixed_dictionaries(
    {
        "lean": st.floats(allow_nan=False),
        "votes": st.integers(-(2**63), 2**63 - 1),
        "boss": optional(st.integers(-5, 5)),
        "note": optional(st.text(max_size=5)),
        "key": st.binary(max_size=5),
        "friends": st.lists(st.integers(0, 9), max_size=3).map(tuple),
        "level": st.sampled_from(Level),
    }
)


@settings(max_examples=15)
@given(st.lists(row, min_size=1, max_size=5))
def test_all_values_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    fields = Everything.__fields__
    given_ = {name: fields[name].column([row[name] for row in rows]) for name in rows[0]}
    block = first_block(Everything, 0, len(rows), given_)
    path = tmp_path_factory.mktemp("block") / "00000"
    blocks.write(block, path)
    assert values(blocks.read(path)) == values(block)

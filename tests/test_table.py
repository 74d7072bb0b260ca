from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents.columns import strings
from daskagents.errors import TableError
from daskagents.table import BLOCKS, FEW, ROWS, WAITING_FEW, WAITING_ROWS, block_bounds, read_table


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Place:
    x: float


class Voter(da.Agent):
    lean: float = 0.0
    votes: int = 0
    name: str | None = ""
    friends: tuple[int, ...] = ()
    level: Level = Level.LOW
    place: Place | None = None

    def reply(self, message):
        return self.lean


class Needy(da.Agent):
    lean: float

    def reply(self, message):
        return self.lean


def rows(cls, given, name):
    column = read_table(cls, given).columns[name]
    return cls.__fields__[name].tolist(column)


# What a population is made from


@pytest.mark.parametrize("n", [1, 5, np.int64(5), np.uint8(3)])
def test_a_number_of_agents(n) -> None:
    table = read_table(Voter, n)
    assert (table.n, dict(table.columns)) == (int(n), {})


def test_a_mapping_of_columns() -> None:
    given = {
        "lean": [0, 0.5, np.nan],
        "votes": np.array([1, 2, 3], np.int8),
        "name": ["", None, "🐢"],
        "friends": [(), (1,), [2, 3]],
        "level": ["LOW", Level.HIGH, Level.LOW],
        "place": [Place(1.0), None, Place(2.0)],
    }
    assert read_table(Voter, given).n == 3
    assert rows(Voter, given, "lean")[:2] == [0.0, 0.5]
    assert rows(Voter, given, "votes") == [1, 2, 3]
    assert rows(Voter, given, "name") == ["", None, "🐢"]
    assert rows(Voter, given, "friends") == [(), (1,), (2, 3)]
    assert rows(Voter, given, "level") == [Level.LOW, Level.HIGH, Level.LOW]
    assert rows(Voter, given, "place") == [Place(1.0), None, Place(2.0)]


def test_a_data_frame() -> None:
    frame = pd.DataFrame({"lean": [0.5, 1.5], "name": ["a", None]}, index=[7, 9])
    assert rows(Voter, frame, "lean") == [0.5, 1.5]
    assert rows(Voter, frame, "name") == ["a", None]


def test_a_dataset() -> None:
    given = xr.Dataset(
        {"lean": ("person", [0.5, 1.5])}, {"person": [4, 5], "votes": ("person", [1, 2])}
    )
    table = read_table(Voter, given)
    assert (table.n, set(table.columns)) == (2, {"lean", "votes"})
    assert rows(Voter, given.chunk(person=1), "votes") == [1, 2]


def test_one_round_of_a_result_is_a_table() -> None:
    result = xr.Dataset(
        {"lean": (("round", "agent"), [[0.0, 1.0], [2.0, 3.0]])}, {"round": [0, 1], "agent": [0, 1]}
    )
    assert rows(Voter, result.isel(round=-1), "lean") == [2.0, 3.0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (0, "a population of Voter needs at least one agent, not 0"),
        (-1, "needs at least one agent, not -1"),
        ({}, "needs at least one agent"),
        ({"lean": []}, "needs at least one agent"),
        (True, "a number of agents or a table, not True"),
        (None, "a number of agents or a table, not None"),
        (2.0, "made from a number of agents, .* not from float"),
        ([1, 2], "made from a number of agents, .* not from list"),
        ("many", "not from str"),
        ({"lean": [1.0, 2.0], "votes": [1]}, r"differ in length \(lean: 2, votes: 1\)"),
        ({"leen": [1.0]}, r"column 'leen' is no field of Voter .*; did you mean 'lean'\? declare"),
        ({"zzz": [1.0]}, r"'zzz' is no field of Voter \(fields: lean, .*place\); declare it"),
        ({3: [1.0]}, "column 3 is no field of Voter"),
        ({"_turns": [()]}, "column '_turns' is no field of Voter"),
        ({"lean": 1.0}, "column 'lean' of Voter is one value, not a column"),
        ({"lean": np.array(1.0)}, "column 'lean' of Voter is one value"),
        ({"name": "abc"}, "column 'name' of Voter is one value"),
        ({"lean": {1.0, 2.0}}, "column 'lean' of Voter is one value"),
        ({"lean": [1.0, "x"]}, r"column 'lean' of Voter: row 1 holds 'x', which is no float"),
        ({"votes": [1, 2**63]}, r"row 1 holds 9223372036854775808, which does not fit in 64 bits"),
        ({"votes": [1.5]}, r"row 0 holds 1.5, which is no int"),
        ({"lean": [None]}, r"row 0 holds None, .*declare lean: float \| None"),
        ({"level": ["TALL"]}, "row 0 holds 'TALL'"),
        ({"lean": [[1.0]]}, "row 0 holds"),
        ({"lean": np.array(["2020"], "M8[D]")}, "column 'lean' of Voter is of datetime64"),
        (xr.Dataset(), r"the Dataset of a population has one dimension, not \[\]"),
        (xr.Dataset({"lean": (("a", "b"), [[1.0]])}), r"one dimension, not \['a', 'b'\]"),
        (xr.Dataset({"lean": ("a", [1.0]), "votes": 3}), "column 'votes' of Voter is one value"),
    ],
)
def test_what_does_not_fit_is_refused(given, says: str) -> None:
    with pytest.raises(TableError, match=says):
        da.Population(Voter, given)


def test_a_field_without_a_default_needs_a_column() -> None:
    with pytest.raises(TableError, match=r"Needy\.lean has no default and no column was given"):
        da.Population(Needy, 3)
    assert da.Population(Needy, {"lean": [2]}).reply().values.tolist() == [2.0]


def test_given_texts_are_columns_of_bytes() -> None:
    column = read_table(Voter, {"name": ["a", "bé"]}).columns["name"]
    assert strings(column).tolist() == ["a", "bé"]
    assert column.data.nbytes == 4


# Blocks


@given(st.integers(1, 3_000_000), st.booleans())
def test_default_blocks(n: int, waits: bool) -> None:
    most, few = (WAITING_ROWS, WAITING_FEW) if waits else (ROWS, FEW)
    bounds = block_bounds(n, waits)
    sizes = np.diff(bounds)
    assert (bounds[0], bounds[-1], bounds.dtype) == (0, n, np.int64)
    assert (sizes > 0).all()
    assert sizes.max() <= most
    assert len(set(sizes[:-1].tolist())) <= 1  # all alike but the last
    assert sizes[-1] <= sizes[0]
    if len(sizes) > 1:
        assert sizes[0] >= few
    if n >= BLOCKS * few:
        assert len(sizes) >= BLOCKS - 1
    if n < 2 * few:
        assert len(sizes) == 1


@given(st.integers(1, 5_000), st.integers(1, 6_000), st.booleans())
def test_blocks_of_a_given_size(n: int, size: int, waits: bool) -> None:
    sizes = np.diff(block_bounds(n, waits, size)).tolist()
    assert sum(sizes) == n
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= size


def test_the_documented_numbers_of_blocks() -> None:
    def blocks(n: int, waits: bool) -> int:
        return len(block_bounds(n, waits)) - 1

    assert blocks(1_000_000, False) == 16
    assert blocks(10_000_000, False) == 153
    assert blocks(65_536, False) == 16
    assert blocks(30_000, False) == 7
    assert blocks(4_096, False) == 1
    assert blocks(1_000_000, True) == 245
    assert blocks(4_096, True) == 16
    assert blocks(300, True) == 1


@pytest.mark.parametrize("size", [0, -3, 2.5, "10"])
def test_a_block_size_that_is_none_is_refused(size) -> None:
    with pytest.raises(TableError, match=r"block_size is .*; give a number of rows, at least one"):
        da.Population(Voter, 3, block_size=size)

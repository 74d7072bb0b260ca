"""Environments without a cluster: how they are declared, written to, merged and kept."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents.environments import files
from daskagents.environments.advance import Realm, advance
from daskagents.environments.base import Shared
from daskagents.environments.files import Version
from daskagents.environments.ledger import Ledger, World, merge
from daskagents.environments.reducers import make_reducer
from daskagents.environments.tree import flatten, grow, tree_of
from daskagents.errors import AdvanceError, FieldError, FolderError, UsageError


class Town(da.Environment):
    people: int = 0
    born: int = da.shared(0, reduce="sum")

    def advance(self) -> None:
        self.people += self.born
        self.parent.write("total", self.born)
        self.born = 0


class Country(da.Environment):
    towns: dict[str, Town]
    total: int = da.shared(0, reduce="sum")
    notes: tuple[str, ...] = da.shared(reduce="append")
    ages: tuple[int, ...] = da.shared(reduce="histogram", bins=(0, 10, 20))
    land: xr.DataArray = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=["x", "y"])
    name: str | None = None


def country() -> Country:
    return Country(towns={"rome": Town(people=3), "pisa": Town()}, name="it")


def declare(**body: Any) -> Any:
    annotations = {n: int if isinstance(v, Shared) else type(v) for n, v in body.items()}
    return type("Made", (da.Environment,), {"__annotations__": annotations, **body})


def test_an_environment_alone_has_its_values() -> None:
    made = country()
    assert made.towns["rome"].people == 3
    assert made["total"].item() == 0
    made.set(total=4)
    assert (made.total, made["total"].item()) == (4, 4)
    assert "total=4" in repr(made)
    with pytest.raises(FieldError, match="Country has no field 'size'; its fields are towns, tot"):
        made.size = 3
    with pytest.raises(FieldError, match="'x' is no int"):
        made.total = "x"
    with pytest.raises(FieldError, match=r"Country\.towns has no default; give it: Country\(towns"):
        Country()
    with pytest.raises(ValueError, match="read-only"):
        made.land[0, 0] = 1.0
    with pytest.raises(UsageError, match="agents write to Country while they reply"):
        made.write("total", 3)


@pytest.mark.parametrize(
    ("reduce", "annotation", "match"),
    [
        ("sum", str, "is of str, and reduce='sum' needs float or int"),
        ("mean", int, "needs float"),
        ("append", float, "needs tuple"),
        ("most", float, "reduce is 'most'; give one of sum, mean"),
        (("sum", "max"), float, "a field has one reducer"),
        (lambda a, b: a - b, float, "it is not commutative"),
        (lambda a, b: (a + b) / 2, float, "it is not associative"),
        ("histogram", tuple[int, ...], "a histogram needs edges"),
    ],
)
def test_reducers_that_do_not_fit_are_refused(reduce: Any, annotation: Any, match: str) -> None:
    with pytest.raises(FieldError, match=match):
        body = {"__annotations__": {"level": annotation}, "level": da.shared(0, reduce=reduce)}
        type("Made", (da.Environment,), body)


def test_what_cannot_be_declared_is_refused() -> None:
    with pytest.raises(FieldError, match="list is mutable"):
        declare(names=[])
    with pytest.raises(FieldError, match="this name is reserved"):
        declare(parent=1)
    with pytest.raises(FieldError, match="needs a value at the start"):
        declare(x=da.shared(reduce="sum"))
    with pytest.raises(FieldError, match="has two reducers: 'sum' of a base class, and 'max'"):

        class Other(Town):
            born: int = da.shared(0, reduce="max")

    with pytest.raises(UsageError, match="write `def advance"):

        class Slow(da.Environment):
            async def advance(self) -> None:  # type: ignore[override]
                pass

    with pytest.raises(UsageError, match="has an __init__"):

        class Made(da.Environment):
            def __init__(self) -> None:
                pass


def test_a_subclass_may_give_another_default() -> None:
    class Large(Town):
        people = 7
        born = 2

    assert (Large().people, Large().born) == (7, 2)
    assert Large.__fields__["born"].reducer is Town.__fields__["born"].reducer


def of_blocks(reduce: Any, values: list[Any], cuts: list[int], old: Any, width: int) -> Any:
    """Reduce values as blocks cut so would, merged in a tree of a width."""
    reducer = make_reducer(reduce)
    bounds = sorted({0, *(cut % (len(values) + 1) for cut in cuts), len(values)})
    parts = [reducer.block(values[a:b]) for a, b in itertools.pairwise(bounds)]
    while len(parts) > 1:
        parts = [reducer.merge(parts[at : at + width]) for at in range(0, len(parts), width)]
    return reducer.join(old, parts[0])


numbers = st.integers(-(10**12), 10**12)


@given(
    st.lists(numbers, min_size=1, max_size=30),
    st.lists(st.integers(0, 40), max_size=8),
    st.integers(2, 5),
    numbers,
)
def test_reducers_do_not_see_the_blocks(
    values: list[int], cuts: list[int], width: int, old: int
) -> None:
    def at_once(reduce: Any, before: Any) -> Any:
        return of_blocks(reduce, values, [], before, width)

    for reduce, start, plain in [
        ("sum", old, old + sum(values)),
        ("count", old, old + len(values)),
        ("min", old, min(old, *values)),
        ("max", old, max(old, *values)),
        ("last", old, values[-1]),
        ("append", (old,), (old, *values)),
        ("union", (old,), tuple(dict.fromkeys((old, *values)))),
        (math.gcd, old, functools.reduce(math.gcd, values, old)),
    ]:
        assert at_once(reduce, start) == plain
        assert of_blocks(reduce, values, cuts, start, width) == plain
    floats = [float(value) for value in values]
    mean = of_blocks("mean", floats, cuts, 0.0, width)
    assert mean == pytest.approx(math.fsum(floats) / len(floats), rel=1e-9, abs=1e-3)


def test_a_histogram_counts_all_or_refuses() -> None:
    reducer = make_reducer("histogram", (0, 1, 2))
    assert reducer.join((1, 0), reducer.merge([reducer.block([0.5, 2.0]), (0, 3)])) == (2, 4)


@given(st.data())
def test_what_agents_write_is_in_their_order(data: st.DataObject) -> None:
    """In whatever order they write, as those who wait do; and without those who failed."""
    n = data.draw(st.integers(1, 8))
    writes = data.draw(st.permutations([at for at in range(n) for _ in range(2)]))
    failed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    tree = tree_of(country())
    ledger = Ledger(World(tree, flatten(country())))
    seen = dict.fromkeys(range(n), 0)
    for at in writes:
        ledger.view_of(at).write("notes", f"{at}.{seen[at]}")
        seen[at] += 1
    assert ledger.misfits() == {}
    expected = tuple(f"{at}.{i}" for at in range(n) if not failed[at] for i in range(2))
    assert ledger.parts(failed).get(("notes",), ()) == expected


def test_rows_and_blocks_write_the_same() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    one, two = (Ledger(World(tree_of(Heat()), flatten(Heat()))) for _ in range(2))
    view = one.view()
    for one.at, value in enumerate(values.tolist()):
        view.write("heat", value)
    two.view_of_block(1000).write("heat", values)
    nobody = np.zeros(1000, bool)
    assert one.misfits() == two.misfits() == {}
    assert one.parts(nobody) == two.parts(nobody)


class Heat(da.Environment):
    heat: float = da.shared(0.0, reduce="sum")


def test_writes_that_do_not_fit_say_so() -> None:
    ledger = Ledger(World(tree_of(country()), flatten(country())))
    view = ledger.view()
    with pytest.raises(FieldError, match=r"Country\.name is not shared.*declare it so: name = da"):
        view.write("name", "x")
    with pytest.raises(FieldError, match="no field 'nme' to write to; those shared are total, not"):
        view.write("nme", "x")
    with pytest.raises(UsageError, match="cannot be assigned by an agent: write to a field"):
        view.total = 3
    view.write("total", "many")
    ledger.at = 1
    view.write("ages", 30.0)
    errors = {at: str(error) for at, error in ledger.misfits().items()}
    assert errors == {
        0: "Country.total: 'many' is no int",
        1: "Country.ages: 30.0 is outside of the bins, 0 to 20",
    }
    block = Ledger(World(tree_of(country()), flatten(country()))).view_of_block(3)
    with pytest.raises(FieldError, match="values were written for 3 agents"):
        block.write("total", np.arange(2))
    with pytest.raises(UsageError, match="where takes a bool for each of 3 agents"):
        block.write("total", 1, where=np.arange(3))


def test_branches_advance_before_the_whole() -> None:
    start = country()
    tree = tree_of(start)
    ledger = Ledger(World(tree, flatten(start), ("towns",), "town"))
    ledger.view("pisa").write("born", 2)
    ledger.at = 1
    ledger.view("rome").write("born", 5)
    ledger.view("rome").parent.write("total", 100)
    with pytest.raises(UsageError, match=r"Country\.towns has none of the key 'nice'"):
        ledger.view("nice")
    parts = merge(tree, [ledger.parts(np.zeros(2, bool)), {}])
    values = advance(Realm("it", 0, tree), 1, flatten(start), parts)
    assert values["towns", "pisa", "people"] == 2
    assert values["towns", "rome", "people"] == 8
    assert values["total",] == 107
    assert values["towns", "rome", "born"] == 0


def test_an_advance_that_fails_says_where() -> None:
    class Bad(da.Environment):
        level: float = 0.0

        def advance(self) -> None:
            self.level = 1 / self.level

    with pytest.raises(AdvanceError, match=r"Bad\.advance failed on the way to version 4: ZeroDi"):
        advance(Realm("bad", 0, tree_of(Bad())), 4, flatten(Bad()), {})


def test_the_random_numbers_of_an_environment_are_its_versions() -> None:
    class Weather(da.Environment):
        rain: float = 0.0

        def advance(self) -> None:
            self.rain = self.rng.random()

    tree, start = tree_of(Weather()), flatten(Weather())

    def rain(name: str, seed: int, number: int) -> float:
        return float(advance(Realm(name, seed, tree), number, start, {})["rain",])

    assert rain("a", 1, 1) == rain("a", 1, 1)
    assert len({rain("a", 1, 1), rain("b", 1, 1), rain("a", 2, 1), rain("a", 1, 2)}) == 4


def test_versions_come_back_from_their_files(tmp_path: Path) -> None:
    start = country()
    tree = tree_of(start)
    data = files.encode(tree, Version(7, 3, flatten(start)))
    assert b"pickle" not in data
    files.write(data, tmp_path / "000007")
    back = files.read(tree, tmp_path / "000007")
    assert (back.number, back.step) == (7, 3)
    for path, value in flatten(start).items():
        if path == ("land",):
            xr.testing.assert_identical(back.values[path], value)
        else:
            assert back.values[path] == value
    made = grow(tree, back.values, "")
    assert isinstance(made, Country)
    assert made.towns["rome"].people == 3


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_version_is_noticed(place: int, flip: int) -> None:
    start = country()
    tree = tree_of(start)
    data = bytearray(files.encode(tree, Version(7, 3, flatten(start))))
    data[place % len(data)] ^= flip
    try:
        files.decode(tree, bytes(data))
    except FolderError:
        return
    # what a flip in the padding of a header leaves as it was
    assert files.decode(tree, bytes(data)).values.keys() == flatten(start).keys()

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from daskagents.errors import FolderError
from daskagents.flat import read_flat, write_flat

numbers = st.sampled_from(["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
some_arrays = st.dictionaries(
    st.text("abé_.", min_size=1, max_size=4).filter(lambda name: name.strip(".")),
    numbers.flatmap(lambda kind: npst.arrays(kind, st.integers(0, 5))),
    max_size=4,
)


def check_same(one: NDArray[Any], two: NDArray[Any]) -> None:
    assert (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


def by_zarr(
    folder: Path, arrays: dict[str, NDArray[Any]], checks: dict[str, int], **keys: Any
) -> zarr.Group:
    """Write arrays by Zarr itself; with its default for keys, as runs had them before."""
    group = zarr.create_group(folder, attributes={"first": 1, "crc32": checks})
    for key, array in arrays.items():
        group.create_array(
            key,
            data=array,
            chunks=(max(1, len(array)),),
            compressors=None,
            dimension_names=[f"{key}."],
            **keys,
        )
    return group


@settings(max_examples=15)
@given(some_arrays)
def test_zarr_reads_it_and_would_have_written_it_so(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, NDArray[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("flat")
    write_flat(folder / "own", {k: (f"{k}.", array) for k, array in arrays.items()}, {"first": 1})
    own = zarr.open_group(folder / "own", mode="r")
    checks: Any = own.attrs["crc32"]
    v2 = {"chunk_key_encoding": {"name": "v2", "separator": "."}}
    zarrs = by_zarr(folder / "zarrs", arrays, checks, **v2)
    by_zarr(folder / "before", arrays, checks)
    assert set(own) == set(zarrs) == set(arrays)
    assert dict(own.attrs) == dict(zarrs.attrs)
    for key, array in arrays.items():
        one: Any = own[key]
        two: Any = zarrs[key]
        assert one.metadata == two.metadata
        check_same(np.asarray(one[:]), array)
    for name in ("own", "zarrs", "before"):
        about, found = read_flat(folder / name)
        assert about["first"] == 1 and list(found) == list(arrays)
        for key, array in arrays.items():
            check_same(found[key], array)
    files = [{str(p.relative_to(folder / name)) for p in (folder / name).rglob("*")}
             for name in ("own", "zarrs")]  # fmt: skip
    assert files[0] == files[1]


def test_arrays_of_any_order_and_of_other_machines(tmp_path: Path) -> None:
    arrays = {"swapped": np.arange(3, dtype=">i4"), "steps": np.arange(9)[::-2]}
    write_flat(tmp_path / "x", {key: (key, array) for key, array in arrays.items()}, {})
    opened = xr.open_zarr(tmp_path / "x", consolidated=False)
    for key, array in read_flat(tmp_path / "x")[1].items():
        assert array.tolist() == arrays[key].tolist() == opened[key].values.tolist()
        array[:] = 0  # as of Zarr: it can be written to


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_flat(tmp_path / "x", {"a": ("a", np.array([{}]))}, {})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("shape", [[4], [2], [0], [], [-3], "x", 10**15])
def test_a_shape_that_is_damaged_is_named(tmp_path: Path, shape: Any) -> None:
    write_flat(tmp_path / "x", {"a": ("a", np.arange(3.0))}, {})
    path = tmp_path / "x" / "a" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": shape}))
    with pytest.raises(FolderError, match=r"x/a is damaged; restore it from a copy"):
        read_flat(tmp_path / "x")


@pytest.mark.parametrize("file", ["zarr.json", "0"])
def test_an_array_that_is_gone_is_named(tmp_path: Path, file: str) -> None:
    write_flat(tmp_path / "x", {"a": ("a", np.arange(3.0))}, {})
    (tmp_path / "x" / "a" / file).unlink()
    with pytest.raises(FolderError, match=r"x/a is damaged; restore it from a copy"):
        read_flat(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        read_flat(tmp_path / "y")

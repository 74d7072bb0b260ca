"""Arrays of the results on disk: each chunk has a checksum, and one that is damaged is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from daskagents.blocks import readable
from daskagents.errors import FolderError

#: What the bytes of a chunk go through before they are written.
PLAIN = (Crc32cCodec(),)
PACKED = (ZstdCodec(), Crc32cCodec())


class Checked:
    """An array of the results, of which a damaged chunk is a `FolderError` that names it.

    Parameters
    ----------
    array
        The Zarr array.
    """

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.ndim: int = array.ndim

    def __getitem__(self, key: Any) -> NDArray[Any]:
        with readable(_path_of(self.array)):
            return np.asarray(self.array[key])

    def __setitem__(self, key: Any, values: NDArray[Any]) -> None:
        # where a chunk is written in part, what else it holds is read before
        with _whole(self.array):
            self.array[key] = values


@contextmanager
def _whole(array: Any) -> Iterator[None]:
    """Name an array that is damaged, and nothing else: a disk that is full is no damage."""
    try:
        yield
    except ValueError as error:
        path = _path_of(array)
        raise FolderError(f"{path} is damaged; restore it from a copy ({error})") from error


def _path_of(array: Any) -> Path:
    """Return the folder of an array."""
    return Path(array.store.root, array.path)

"""Variables of xarray that keep each text once, and are read as arrays of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from daskagents.personas.labels import STRINGS, Column, Labels, make_labels


class _Coded(BackendArray):
    """What xarray asks for a part of the texts."""

    def __init__(self, labels: Labels) -> None:
        self.labels, self.words = labels, np.array(labels.words, STRINGS)
        self.shape, self.dtype = labels.codes.shape, STRINGS

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        found = self.words[self.labels.codes[key]]
        return found if isinstance(found, np.ndarray) else np.array(found, STRINGS)


def variable(column: Column, dim: str = "agent") -> xr.Variable:
    """Return a column as a variable; its texts are put together only where they are read.

    Examples
    --------
    >>> answers = variable(make_labels([1, 0, 1], ("no", "yes")))
    >>> answers.dtype, answers.values
    (StringDType(), array(['yes', 'no', 'yes'], dtype=StringDType()))
    """
    if isinstance(column, Labels):
        return xr.Variable(dim, indexing.LazilyIndexedArray(_Coded(column)))
    return xr.Variable(dim, column)


def column_of(given: xr.DataArray | xr.Variable) -> Column:
    """Return a variable as a column: as it was kept, or of its values.

    Examples
    --------
    >>> column_of(variable(make_labels([1, 0, 1], ("no", "yes")))).codes
    array([1, 0, 1], dtype=uint8)
    >>> column_of(xr.DataArray(np.array(["a", "b", "b", "b"]))).words
    ('a', 'b')
    """
    labels = labels_of(given)
    return compact(np.asarray(given.values)) if labels is None else labels


def labels_of(given: xr.DataArray | xr.Variable) -> Labels | None:
    """Return the texts of a variable as they were kept, each once; None if they were not."""
    data = (given.variable if isinstance(given, xr.DataArray) else given)._data
    if isinstance(data, indexing.LazilyIndexedArray) and isinstance(data.array, _Coded):
        key = data.key.tuple
        if len(key) == 1 and (isinstance(key[0], slice) or getattr(key[0], "ndim", 0) == 1):
            return data.array.labels[key[0]]
    return None


def compact(values: NDArray[Any], *, always: bool = False) -> Column:
    """Return texts as labels if at most half of them differ, or always; numbers as they are."""
    if values.dtype.kind in "biuf":
        return values
    import pandas as pd

    codes, words = pd.factorize(values.astype(object), use_na_sentinel=False)
    if not always and 2 * len(words) > len(codes):
        return values.astype(object).astype(STRINGS)
    known = dict.fromkeys(map(str, words))
    if len(known) < len(words):  # 1 and "1", say
        places = {word: code for code, word in enumerate(known)}
        codes = np.array([places[str(word)] for word in words])[codes]
    return make_labels(codes, tuple(known))

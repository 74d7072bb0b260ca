"""Columns as users give them: lists, arrays, pandas Series, DataArrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_given(values: Any) -> NDArray[Any] | list[Any]:
    """Return an array of one dimension, or a list; entries that pandas knows as missing are None.

    That is so for the dtypes of pandas: nullable, str, categories. In an array of floats or of
    objects a NaN stays one.

    Examples
    --------
    >>> read_given(("a", "b"))
    ['a', 'b']
    >>> read_given(range(3))
    array([0, 1, 2])
    """
    if isinstance(values, list | tuple):
        return list(values)
    if isinstance(values, np.ma.MaskedArray):
        return list(values.tolist())
    if hasattr(values, "isna") and not isinstance(values.dtype, np.dtype):
        missing = np.asarray(values.isna(), bool)
        if missing.any():
            objects = np.array(values.astype(object), object)
            objects[missing] = None
            return list(objects)
    return np.asarray(values)


def is_missing(value: Any) -> bool:
    """Return whether an object stands for no value in pandas: NA, NaT, or a NaN."""
    if isinstance(value, float | np.floating):
        return bool(value != value)
    return type(value).__name__ in ("NAType", "NaTType")

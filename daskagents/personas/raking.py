"""Raking from Python: a survey or a seed table, and several published marginals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from daskagents.errors import SpecError
from daskagents.personas.fitting import Raked, fit
from daskagents.personas.labels import Column, Labels
from daskagents.personas.lazy import compact
from daskagents.personas.marginals import read_marginals
from daskagents.personas.nodes import Problems, hint
from daskagents.personas.reading import node_of
from daskagents.personas.tables import kind_of
from daskagents.personas.values import Kind


def rake(
    data: Any,
    marginals: Mapping[str, Any],
    weights: Any = None,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 1_000,
) -> Raked:
    """Fit weights of rows to marginals.

    Parameters
    ----------
    data
        A pandas DataFrame, or a mapping of columns.
    marginals
        By field (``"sex"``) or fields (``"sex, age"``): people or shares by value, as a mapping, a
        level for each field; numbers by ranges such as ``18-29`` and ``65+``.
    weights
        Of the rows to begin with; by default all alike. A column's name, or an array.
    tolerance
        Of the largest difference, as a share of the total.
    max_iterations
        When to give up.

    Raises
    ------
    SpecError
        If a marginal names an unknown field, lacks a value that rows have, or is negative.

    Examples
    --------
    >>> rows = {"sex": ["f", "f", "m", "m"], "age": [20, 50, 20, 50]}
    >>> found = rake(rows, {"sex": {"f": 60, "m": 40}, "age": {"<30": 30, "30+": 70}})
    >>> found.converged, found.weights.round(6)
    (True, array([18., 42., 12., 28.]))
    >>> found.integers(10).sum()
    np.int64(10)
    """
    columns: dict[str, Column] = {
        str(name): compact(np.asarray(data[name]), always=True) for name in data
    }
    start = weights
    if isinstance(weights, str):
        if weights not in columns:
            raise SpecError(f"there is no column {weights!r}{hint(weights, columns)}")
        start = columns.pop(weights)
    lengths = {len(column) for column in columns.values()}
    n = lengths.pop() if lengths else 0
    if lengths or not n:
        raise SpecError("the columns have no rows, or differ in length")
    if isinstance(start, Labels) or (start is not None and np.shape(start) != (n,)):
        raise SpecError(f"the weights are not {n:,} numbers, one for each row")
    begin = np.ones(n) if start is None else np.asarray(start, np.float64)
    kinds = {
        name: Kind("text", column.words) if isinstance(column, Labels) else kind_of(column)
        for name, column in columns.items()
    }
    problems = Problems("the marginals")
    found = read_marginals(node_of(dict(marginals)), columns, kinds, n, problems)
    problems.raise_all()
    return fit(found, begin, tolerance=tolerance, max_iterations=max_iterations)

"""Backgrounds that people of a kind share: which rows they are written for, and who has which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskagents.words import step_key


@dataclass(frozen=True)
class Shares:
    """Which rows backgrounds are written for, and who has which.

    Parameters
    ----------
    row, copy
        For each background the person whose row it is written for, and which of that row's it is.
    of
        For each person the background.
    """

    row: NDArray[np.int64]
    copy: NDArray[np.int64]
    of: NDArray[np.int64]


def share(table: pd.DataFrame, reuse: int | None, seed: int) -> Shares:
    """Share backgrounds among those who have the same row."""
    n = len(table)
    if reuse is None:
        return Shares(np.arange(n), np.zeros(n, np.int64), np.arange(n))
    kinds = table.groupby(list(table.columns), dropna=False, sort=False, observed=True)
    kind = kinds.ngroup().to_numpy().astype(np.int64)
    _, first, people = np.unique(kind, return_index=True, return_counts=True)
    copies = np.minimum(reuse, people)
    begins = np.cumsum(copies) - copies
    draw = np.random.Generator(np.random.Philox(step_key(seed, "personas", 0)))
    order = np.lexsort((draw.random(n), kind))
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n) - np.repeat(np.cumsum(people) - people, people)
    return Shares(
        np.repeat(first, copies),
        np.arange(copies.sum()) - np.repeat(begins, copies),
        begins[kind] + rank % copies[kind],
    )

"""What groups of agents reply: the results of a run, by a column that was given with its agents.

Read from the run directory, of closed rounds, by whoever has the time: a worker, in a thread.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.monitor.heard import SHARES
from daskagents.monitor.plain import cut
from daskagents.monitor.sketch import sketch_numbers
from daskagents.monitor.stored import Stored

#: Groups and texts that are told of one by one, and rounds that are looked at.
GROUPS, TEXTS, ROUNDS = 12, 8, 12
_PARTS = 4
_OTHERS = "all others"


def by(folder: str, population: str, variable: str, column: str) -> dict[str, Any]:
    """Return how a reply is distributed in groups of agents, as msgpack knows it.

    Parameters
    ----------
    folder
        The run directory.
    population, variable
        Who replies, and the name of the variable in the results.
    column
        What makes the groups: a column given with the population. Of numbers of many kinds, four
        groups of equal size are made.

    Returns
    -------
    dict
        ``groups``, their names, and ``counts``, how many agents reply in each in the newest round
        (``round``); ``rounds``, some of the closed rounds. Of numbers, ``means`` of each group in
        each of these, and ``quantiles`` in the newest round. Of texts, ``texts``, the most
        frequent ones, and their ``shares`` in each group in the newest round.

    Raises
    ------
    UsageError
        If there is no such variable or column, or no round is in the results yet.
    """
    stored = Stored(Path(folder), population)
    if not stored.rounds:
        raise UsageError("no round is in the results yet; look again a little later")
    longer = f"{stored.dim}_{column}"  # where another population has a column of that name
    known = longer if column not in stored.given and longer in stored.given else column
    labels, codes = _groups(stored.read("given", known, 0, stored.n))
    last = stored.rounds - 1
    newest = stored.read("reply", variable, 0, stored.n, last)
    codes = codes[: len(newest)]
    told: dict[str, Any] = {"groups": labels, "round": last, "column": column}
    if newest.dtype.kind in "TUO":
        return told | {"kind": "text", **_of_texts(newest, codes, len(labels))}
    rounds = sorted({round(at) for at in np.linspace(0, last, ROUNDS)})
    means = []
    for number in rounds:
        values = newest if number == last else stored.read("reply", variable, 0, stored.n, number)
        means.append(_means(values, codes[: len(values)], len(labels)))
    sketches = [sketch_numbers(newest[codes == at]) for at in range(len(labels))]
    return told | {
        "kind": "number",
        "rounds": rounds,
        "means": np.transpose(means).tolist(),
        "counts": [one.count for one in sketches],
        "quantiles": [[one.quantile(share) for share in SHARES] for one in sketches],
    }


def _groups(values: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Return what groups are called, and in which each agent is; -1 in none."""
    import pandas as pd  # a worker needs it for nothing else

    text = values.dtype.kind in "TUO"
    found, kinds = pd.factorize(values.astype(object) if text else values, use_na_sentinel=True)
    codes = np.asarray(found, np.int64)
    if not text and len(kinds) > GROUPS:
        edges = np.unique(np.nanquantile(values.astype(float), np.linspace(0, 1, _PARTS + 1)))
        codes = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
        codes[np.isnan(values.astype(float))] = -1
        return [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)], codes
    sizes = np.bincount(codes[codes >= 0], minlength=len(kinds))
    order = np.argsort(-sizes, kind="stable")[:GROUPS]
    if not text:
        order = order[np.argsort(np.asarray(kinds)[order])]
    place = np.full(len(kinds) + 1, len(order))
    place[order] = np.arange(len(order))
    place[-1] = -1  # of those in no group
    labels = [cut(str(kinds[at]), 60) for at in order.tolist()]
    if len(kinds) > len(order):
        labels.append(_OTHERS)
    return labels, np.asarray(place[codes], np.int64)


def _means(values: NDArray[Any], codes: NDArray[np.int64], groups: int) -> list[float]:
    fine = np.isfinite(values) & (codes >= 0)
    sums = np.bincount(codes[fine], values[fine], groups)
    counts = np.bincount(codes[fine], minlength=groups)
    with np.errstate(invalid="ignore"):
        return list((sums / np.where(counts, counts, np.nan)).tolist())


def _of_texts(values: NDArray[Any], codes: NDArray[np.int64], groups: int) -> dict[str, Any]:
    import pandas as pd

    found, kinds = pd.factorize(values.astype(object))
    sizes = np.bincount(found[found >= 0], minlength=len(kinds))
    top = [at for at in np.argsort(-sizes, kind="stable").tolist() if kinds[at] != ""][:TEXTS]
    counts, shares = [], []
    for group in range(groups):
        inside = np.bincount(found[codes == group], minlength=len(kinds))
        said = int(inside.sum()) - int(sum(inside[at] for at in range(len(kinds)) if not kinds[at]))
        counts.append(said)
        shares.append([float(inside[at] / said) if said else 0.0 for at in top])
    texts = [cut(str(kinds[at]), 100) for at in top]
    return {"texts": texts, "shares": shares, "counts": counts}

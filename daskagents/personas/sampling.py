"""People of a `Spec`: exact in all shares, the same whatever makes them, block by block.

A field of shares needs to know how many people of all blocks are in each cell of its conditions
before anybody gets a value. So fields are made in waves. Between two of them the blocks count their
cells; the counts, and nothing else, come together; they are rounded to whole people, and split over
the blocks by hypergeometric draws, as one shuffle of all people would. Each block then shuffles its
own share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from daskagents.cluster import connect
from daskagents.errors import SpecError
from daskagents.personas.blocks import BLOCK, Columns, advance, as_it_is, count_cells, generator
from daskagents.personas.controlled import round_weights
from daskagents.personas.labels import join
from daskagents.personas.lazy import variable
from daskagents.personas.parsing import MOST
from daskagents.personas.rounding import Counts, block_bounds, draw_rows, round_shares, split
from daskagents.personas.spec import Field, Shares, Spec

#: Blocks that are under way on a cluster for each thread of it, when they are written one by one.
_AHEAD = 2


def sample(
    spec: Spec,
    n: int | None = None,
    seed: int | None = None,
    *,
    client: Any = None,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Make people as a spec describes them.

    Parameters
    ----------
    spec
        From `load` or `parse`.
    n, seed
        How many people, and what everything random follows from; by default as the spec says.
    client
        A Dask client, or the address of a scheduler, on whose workers blocks of people are made.
        The people are the same. By default they are made in this process.
    out
        A Parquet file to write block by block, for people who do not fit in memory. Then the
        Dataset is empty but for its attributes.

    Returns
    -------
    xr.Dataset
        Over ``agent``, with a variable for each field. Texts that repeat are kept once, and are put
        together when they are read. `da.Population` takes it.

    Raises
    ------
    SpecError
        If `n` is no number of people, or an expression has no value for somebody.

    Examples
    --------
    >>> from daskagents.personas import parse
    >>> spec = parse({"size": 4, "fields": {"job": {"proportions": {"cook": 0.75, "smith": 0.25}}}})
    >>> people = sample(spec, seed=1)
    >>> sorted(people["job"].values.tolist())
    ['cook', 'cook', 'cook', 'smith']
    >>> sample(spec, 1_000)["job"].to_series().value_counts().to_dict()
    {'cook': 750, 'smith': 250}
    """
    size = spec.size if n is None else n
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= MOST:
        raise SpecError(f"n is {size!r}; make 1 to {MOST:,} people")
    begin = spec.seed if seed is None else seed
    if isinstance(client, str) and client != "sync":
        with connect(client) as connected:
            return sample(spec, n, seed, client=connected, out=out)
    place = None if client == "sync" else client
    made = make_blocks(spec, int(size), int(begin), place, streaming=out is not None)
    about = {"size": int(size), "seed": int(begin), "population": spec.source}
    if out is not None:
        from daskagents.personas.parquet import write

        write(spec, made, Path(out), about)
        return xr.Dataset(attrs={**about, "out": str(out)})
    blocks = list(made)
    columns = {name: variable(join([block.pop(name) for block in blocks])) for name in spec.names}
    return xr.Dataset(columns, coords={"agent": np.arange(size)}, attrs=about)


class Here:
    """Makes blocks in this process, one after another."""

    def map(self, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        """Call a function for every block."""
        return [function(*row) for row in zip(*columns, strict=True)]

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        """Return results."""
        return list(handles)

    def stream(self, function: Callable[..., Any], *columns: Sequence[Any]) -> Iterator[Any]:
        """Call a function for every block, when its result is asked for."""
        return (function(*row) for row in zip(*columns, strict=True))


class There:
    """Makes blocks on the workers of a Dask cluster; results stay there until they are gathered."""

    def __init__(self, client: Any, spec: Spec) -> None:
        self.client = client
        # a task, which unlike scattered data is made again where its worker is lost
        self.spec = client.submit(as_it_is, spec, pure=False)

    def map(self, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        """Submit a task for every block."""
        # one by one: Dask warns of large graphs, and counts of surveys are large
        rows = zip(*columns, strict=True)
        return [self.client.submit(function, *row, pure=False) for row in rows]

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        """Wait for results, and bring them here."""
        found: list[Any] = self.client.gather(list(handles))
        return found

    def stream(self, function: Callable[..., Any], *columns: Sequence[Any]) -> Iterator[Any]:
        """Submit tasks as results are asked for, a few ahead; yield results in order."""
        rows = list(zip(*columns, strict=True))
        ahead = max(2, _AHEAD * sum(self.client.nthreads().values()))
        waiting: list[Any] = []
        for row in rows:
            waiting.append(self.client.submit(function, *row, pure=False))
            if len(waiting) >= ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def make_blocks(
    spec: Spec, n: int, seed: int, client: Any = None, *, streaming: bool = False
) -> Iterator[Columns]:
    """Yield the blocks of a population, in order."""
    bounds = block_bounds(n, BLOCK)
    place: Here | There = Here() if client is None else There(client, spec)
    shared = spec if client is None else place.spec  # type: ignore[union-attr]
    many = len(bounds)
    states: list[Any] = [{} for _ in bounds]
    counts: list[dict[str, Counts]] = [{} for _ in bounds]
    for wave in waves(spec):
        wanted = _wanted(spec, wave)
        # those of a block that stay in memory until all is made are few, and small
        if wanted:
            states = place.map(
                advance, [shared] * many, [seed] * many, bounds, states, counts, [wanted] * many
            )
        for field in wave:
            ends = [end - start for start, end in bounds]
            sizes = np.array([ends]).T
            if field.given is not None:
                handles = place.map(count_cells, [field] * many, states, ends)
                sizes = np.array(place.gather(handles))
            for block, part in zip(counts, divide(field, sizes, seed), strict=True):
                block[field.names[0]] = part
    every = [spec.names] * many
    given = (advance, [shared] * many, [seed] * many, bounds, states, counts, every)
    if streaming:
        yield from place.stream(*given)
    else:
        yield from place.gather(place.map(*given))


def divide(field: Field, sizes: Counts, seed: int) -> list[Counts]:
    """Return for each block how many people of each cell get each value of a field of shares.

    Parameters
    ----------
    field
        Of shares.
    sizes
        People of each cell in each block, of shape (blocks, cells).
    seed
        What everything random follows from.
    """
    shares, rng = field.source, generator(seed, field.names[0], "all")
    assert isinstance(shares, Shares)
    return split(whole_counts(shares, sizes.sum(axis=0), rng), sizes, rng)


def whole_counts(shares: Shares, sizes: Counts, rng: np.random.Generator) -> Counts:
    """Return how many people of each cell get each value, of shape (cells, values)."""
    if not shares.drawn:
        return round_shares(sizes, shares.weights)
    if shares.marginals:
        return round_weights(shares.weights[0], shares.marginals, int(sizes[0]), rng)[None, :]
    return draw_rows(int(sizes[0]), shares.weights[0], rng)[None, :]


def waves(spec: Spec) -> list[list[Field]]:
    """Return the fields of shares, in groups that can be counted at the same time.

    Examples
    --------
    >>> from daskagents.personas import parse
    >>> fields = {"sex": {"proportions": {"f": 0.5, "m": 0.5}}}
    >>> fields["job"] = {"given": "sex", "weights": {"f": {"a": 1}, "m": {"b": 1}}}
    >>> [[field.names for field in wave] for wave in waves(parse({"size": 9, "fields": fields}))]
    [[('sex',)], [('job',)]]
    """
    depth: dict[str, int] = {}  # how many waves of shares a field needs before it
    found: dict[int, list[Field]] = {}
    for field in spec.fields:
        at = max((depth[name] for name in field.needs), default=0)
        if isinstance(field.source, Shares):
            found.setdefault(at, []).append(field)
            at += 1
        depth |= dict.fromkeys(field.names, at)
    return [found[at] for at in sorted(found)]


def _wanted(spec: Spec, wave: Sequence[Field]) -> set[str]:
    """Return what must be made before a wave can be counted."""
    conditions = [name for field in wave if field.given for name in field.given.names]
    return spec.ancestors(conditions) if conditions else set()

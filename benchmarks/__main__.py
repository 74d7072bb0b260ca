"""``python -m benchmarks``: measure what the project claims, and print it as a table."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import dask
from distributed import Client
from rich.console import Console
from rich.table import Table

from benchmarks import (
    acting,
    alternatives,
    asking,
    cases,
    durability,
    endpoints,
    long,
    people,
    rivals,
    rounds,
    scenes,
    starting,
    watching,
    worlds,
)
from benchmarks.measure import Row, spread


def measure(client: Client, *, quick: bool) -> Iterator[Row]:
    """Measure each case; `quick` only shows that all of them work."""
    yield cases.rule_based(client, 50_000 if quick else 1_000_000, 8 if quick else 24)
    yield cases.block_based(client, 50_000 if quick else 1_000_000, 8 if quick else 24)
    yield acting.few(client, 50_000 if quick else 1_000_000, 8 if quick else 24)
    yield from cases.waiting(client, 20_000 if quick else 1_000_000, 1)
    yield from rounds.fixed_cost(client, 24 if quick else 600, read=False)
    yield from rounds.fixed_cost(client, 24 if quick else 240, read=True)
    yield from scenes.auctions(client, 500 if quick else 10_000)
    agents, few = (50_000, 400) if quick else (1_000_000, 4_000)
    yield from alternatives.others(client, agents, 8, few)
    yield alternatives.workers(agents, 8)
    yield alternatives.memory(client, agents * 4)
    yield alternatives.ten_million(client, agents * 10)
    yield alternatives.importing(3)
    yield from starting.starting(client)
    yield from endpoints.requests(2_000 if quick else 20_000)
    yield from asking.asking(client, 2_000 if quick else 100_000)
    yield asking.failing(client, 1_200 if quick else 12_000)
    sizes = (2, 10_000, 2_000) if quick else (10, 1_000_000, 100_000)
    yield from durability.durability(client, *sizes)
    yield from rivals.rivals(client, agents, 200 if quick else 2_000)
    yield from worlds.worlds(client, agents, 8)
    yield from people.people(agents)
    yield from watching.watching(client, agents, 40 if quick else 500)
    yield from long.long_run(100 if quick else 2_000)


def show(rows: list[Row]) -> Table:
    """Return rows as a table."""
    table = Table("measured", "ours", "against", "theirs", "ratio", "asked for")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        theirs = spread(row.others) if row.others else ""
        table.add_row(row.what, spread(row.ours), row.other, theirs, ratio, row.asked)
    return table


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: see that it works")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of one thread")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    rows = []
    with (
        dask.config.set({"distributed.worker.memory.terminate": False}),
        Client(
            n_workers=options.workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as client,
    ):
        for row in measure(client, quick=options.quick):
            rows.append(row)
            console.print(f"{row.what}: {spread(row.ours)}")
    console.print(show(rows))
    console.print(f"{platform.machine()}, Python {platform.python_version()}, {options}")
    if options.json:
        options.json.write_text(json.dumps([row.__dict__ for row in rows], indent=1))


if __name__ == "__main__":
    main()

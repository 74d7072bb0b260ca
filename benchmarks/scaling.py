"""``python -m benchmarks.scaling FILE.png``: replies per second by agents and workers, drawn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from distributed import Client
from matplotlib.figure import Figure

from benchmarks.cases import BlockVoter, Voter, steady

_KINDS = {"def reply": (Voter, "o", "#0072b2"), "reply_block": (BlockVoter, "s", "#e69f00")}


def measure(sizes: list[int]) -> dict[str, dict[int, float]]:
    """Return replies per second, by kind of agent and number of workers, for each size."""
    found: dict[str, dict[int, float]] = {}
    for workers in (1, 2):
        with Client(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as client:
            for kind, (cls, _, _) in _KINDS.items():
                line = found[f"{kind}, {workers} worker{'s' * (workers > 1)}"] = {}
                for size in sizes:
                    rounds = 4 if size >= 3_000_000 else 16
                    line[size] = steady(cls, client, size, rounds)
                    print(f"{kind}, {workers} workers, {size:,} agents: {line[size]:,.0f}/s")
    return found


def draw(found: dict[str, dict[int, float]], picture: Path) -> None:
    """Draw the curves."""
    figure = Figure(figsize=(8, 5), dpi=160, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for label, line in found.items():
        kind, _, workers = label.partition(", ")
        _, marker, color = _KINDS[kind]
        style = "-" if workers.startswith("2") else "--"
        axes.loglog(list(line), list(line.values()), style, marker=marker, color=color, label=label)
    axes.set(xlabel="agents", ylabel="replies per second, written down")
    axes.grid(color="#e6eaee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(picture)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--most", type=int, default=10_000_000, help="agents of the last point")
    options = parser.parse_args()
    sizes = [size for size in (10**e for e in range(3, 9)) if size <= options.most]
    found = measure(sizes)
    draw(found, options.picture)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

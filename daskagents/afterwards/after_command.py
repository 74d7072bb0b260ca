"""``daskagents export``: what is made of a run once it is over, from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daskagents.flags import Debug, Folder
from daskagents.interrupt import quiet_interrupt
from daskagents.opened import open_run
from daskagents.reporting import Doing, one_error


def add(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("export")(_export)


def _export(
    folder: Folder,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE|FOLDER",
            help="A .parquet or .csv, or a folder for Parquet files.",
            show_default=False,
        ),
    ],
    population: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="One of several. \\[default: all, a file each]"),
    ] = None,
    rounds: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="From round A on, counted from 0, and before round B."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the results as tables, a row for each round and agent, with a codebook."""
    with one_error(Doing(), debug), quiet_interrupt():
        for path in open_run(folder).export(out, population=population, rounds=rounds):
            print(path)

"""``daskagents report``, ``export`` and ``redact``: what is made of a run, from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from daskagents.flags import Debug, Folder
from daskagents.interrupt import quiet_interrupt
from daskagents.reporting import Doing, one_error


def add(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("report")(_report)
    app.command("export")(_export)
    app.command("redact")(_redact)


def _report(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="\\[default: report.html in the folder]"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a report of a run: one HTML file with pictures, costs, failures and a methods text."""
    from daskagents.opened import open_run

    with one_error(Doing(), debug), quiet_interrupt():
        print(open_run(folder).report(out))


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
    from daskagents.opened import open_run

    with one_error(Doing(), debug), quiet_interrupt():
        for path in open_run(folder).export(out, population=population, rounds=rounds):
            print(path)


def _redact(
    folder: Folder,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="COPY", help="A new or empty folder.", show_default=False
        ),
    ],
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A field, reply or parameter whose values go, wherever they stand. Repeat as"
            " needed.",
        ),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(metavar="REGEX", help="What it finds in any text goes. Repeat as needed."),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="journal|all",
            help="Whole texts go: those said to and by models and among agents, or all there are.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Copy a run directory without some of its texts, for sharing."""
    from daskagents.opened import open_run

    given: dict[str, Any] = {"fields": field or (), "patterns": pattern or (), "texts": texts}
    with one_error(Doing(), debug), quiet_interrupt():
        print(open_run(folder).redact(out, **given))

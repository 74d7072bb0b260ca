"""``daskagents personas``: populations from files, from a shell."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from daskagents.choices import where
from daskagents.flags import Debug, Scheduler, Workers
from daskagents.interrupt import quiet_interrupt
from daskagents.reporting import FAILED, Doing, one_error, tell

#: Most people who are made to check a file with.
MOST_CHECKED = 1_000_000

PopulationFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A population: a .yaml or .json file.", show_default=False),
]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Make populations of people from a file, and check them."""


@app.command("sample")
def _sample(
    file: PopulationFile,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="PEOPLE.parquet", help="Where the people go."),
    ],
    n: Annotated[
        int | None,
        typer.Option("-n", metavar="N", min=1, help="How many. \\[default: as the file says]"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="In place of the file's own seed."),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    debug: Debug = False,
) -> None:
    """Make people, and write them to a Parquet file, block by block."""
    from daskagents import personas

    with one_error(Doing(), debug), quiet_interrupt():
        spec = personas.load(file)
        if out.suffix.lower() not in (".parquet", ".pq"):
            raise personas.SpecError(f"{out} is no .parquet file; people are written as such")
        place: Any = nullcontext()
        if workers is not None or scheduler is not None:
            from daskagents.cluster import connect

            where(False, scheduler, workers)  # both are too many
            place = connect(scheduler, workers)
        with place as client:
            made = personas.sample(spec, n, seed, out=out, client=client)
    print(f"{made.attrs['size']:,} people in {out}")


@app.command("check")
def _check(
    file: PopulationFile,
    people: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PEOPLE.parquet]",
            help="People made from it; by default some are made now.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PICTURE", help="Also draw it: a .png, .svg or .pdf."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Say all that is wrong with a file, or how near people come to what it asks for."""
    from daskagents import personas

    found = None
    with one_error(Doing(), debug), quiet_interrupt():
        spec = personas.load(file)
        if people is None:
            made = personas.sample(spec, min(spec.size, MOST_CHECKED))
        else:
            made = personas.read_people(people)
        found = personas.report(spec, made)
        print(found)
        if plot is not None:
            found.plot(plot)
            print(f"picture: {plot}")
    if found is not None and not found.exact:
        tell("some counts differ by a person or more from what was asked for", "warning")
        raise typer.Exit(FAILED)

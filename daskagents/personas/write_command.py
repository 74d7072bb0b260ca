"""``daskagents personas write``: backgrounds by a model, from a shell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from daskagents.choices import budget_for, free_folder, named_model, where
from daskagents.flags import MAX_FAILED, Debug, Scheduler, Seed, Sync, Workers
from daskagents.interrupt import quiet_interrupt
from daskagents.reporting import Doing, one_error, tell


@dataclass
class Writing(Doing):
    """The writing of backgrounds, for what is left of it."""

    again: str = ""

    @property
    def left(self) -> str:
        """Say how it goes on."""
        if self.folder is None or not (self.folder / "run.json").exists():
            return ""
        return (
            f"What is written until then is in {self.folder}; go on with the same command and"
            f" {self.again}--resume"
        )


def add(app: typer.Typer) -> None:
    """Add the command to a group of commands."""
    app.command("write")(_write)


def _write(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A population (.yaml, .json), or people (.parquet, .csv).",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="local|random|URL|NAME", help="Who writes, as for run.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PEOPLE.parquet",
            help="Where the people go, a .parquet or .csv file.",
            show_default=False,
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option("-n", metavar="N", min=1, help="How many people. \\[default: as FILE says]"),
    ] = None,
    reuse: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="Write K backgrounds for each distinct row, and share them. \\[default: one for"
            " each person]",
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A column that the model is told. Repeat as needed. \\[default: all]",
        ),
    ] = None,
    instructions: Annotated[
        str, typer.Option(metavar="TEXT", help="What the model is told besides.")
    ] = "",
    words: Annotated[
        int, typer.Option(metavar="N", min=1, help="About how long a background is to be.")
    ] = 80,
    tries: Annotated[
        int, typer.Option(metavar="N", min=1, help="How often one may be written.")
    ] = 3,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", min=0, help="How freely the model writes.")
    ] = None,
    seed: Seed = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The run directory. \\[default: runs/personas-DATE-TIME]"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --folder.")
    ] = False,
    budget: Annotated[
        list[str] | None, typer.Option(metavar="LIMIT=N", help="As for run. Repeat as needed.")
    ] = None,
    max_failed: Annotated[
        float,
        typer.Option(
            metavar="F", min=0, max=1, help="Fraction that may get no answer before it stops."
        ),
    ] = MAX_FAILED,
    workers: Workers = None,
    sync: Sync = False,
    scheduler: Scheduler = None,
    debug: Debug = False,
) -> None:
    """Let a model write a background for each person, checked against the person's row."""
    from daskagents.errors import UsageError
    from daskagents.personas.backgrounds import save_people
    from daskagents.personas.people import people_in
    from daskagents.personas.writing import write

    doing = Writing()
    with one_error(doing, debug), quiet_interrupt():
        if resume and folder is None:
            raise UsageError("--resume goes on with the run in a folder: give it as --folder")
        if out.suffix.lower() not in (".parquet", ".pq", ".csv"):
            raise UsageError(f"{out}: people are written as a .parquet or a .csv file")
        place = where(sync, scheduler, workers)
        limits = budget_for(budget or ())
        people = people_in(file, n, seed)
        asked = named_model(model)
        sampling: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        if model == "local":  # else it stops where a number is long enough
            sampling["max_tokens"] = 100 + 4 * words
        doing.folder = folder or free_folder("personas")
        doing.again = "" if folder else f"--folder {doing.folder} "
        with place as client:
            found = write(
                people,
                model=asked,
                out=doing.folder,
                resume=resume,
                reuse=reuse,
                fields=field,
                instructions=instructions,
                words=words,
                tries=tries,
                client=client,
                seed=seed,
                budget=limits,
                max_failed=max_failed,
                **sampling,
            )
        save_people(found.people, out)
        print(found)
        print(f"people   {out}\nresults  {doing.folder}")
        if lost := len(found.failures):
            tell(
                f"{lost:,} of {found.asked:,} backgrounds did not go with their rows; who was to"
                " have one keeps what the row says (persona_from is row)",
                "warning",
            )

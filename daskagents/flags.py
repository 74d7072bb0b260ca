"""Options that several commands of the command line have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: What `Session` has too, which is not imported for help alone.
MAX_FAILED = 0.01

WorkflowFile = Annotated[
    str,
    typer.Argument(
        metavar="WORKFLOW.py[:NAME]",
        help="The file, and which of its workflows.",
        show_default=False,
    ),
]
Agents = Annotated[
    int | None,
    typer.Option("--agents", "-n", metavar="N", min=1, help="How many agents. \\[default: 100]"),
]
People = Annotated[
    list[str] | None,
    typer.Option(
        "--population",
        metavar="\\[NAME=]FILE",
        help="Who the agents are: a file that describes a population (.yaml, .json), or people"
        " (.parquet, .csv). With --agents, so many of them.",
    ),
]
ModelAsRun = Annotated[
    str | None, typer.Option(metavar="local|random|URL|NAME", help="As for run.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", metavar="NAME=VALUE", help="A parameter of the workflow."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="What everything random follows from.")]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Worker processes. \\[default: one per core]"),
]
Sync = Annotated[bool, typer.Option("--sync", help="Run in this process, with no workers.")]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler to run on.")
]
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A run directory.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where errors come from.")]

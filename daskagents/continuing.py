"""``daskagents resume``, ``replay`` and ``diff``: what is done with the directories of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from daskagents.choices import budget_for, named_model, pairs, where
from daskagents.flags import Debug, Folder, Json, ModelAsRun, Parameters, Scheduler, Sync, Workers
from daskagents.interrupt import quiet_interrupt
from daskagents.reporting import FAILED, Doing, one_error, print_json
from daskagents.stdout import kept_stdout
from daskagents.steering.command import Target, went_on


def add(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("resume")(_resume)
    app.command("replay")(_replay)
    app.command("diff")(_diff)


def _resume(
    target: Target,
    model: ModelAsRun = None,
    option: Parameters = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="LIMIT=N", help="As for run: larger than what was spent."),
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although the program has changed.")
    ] = False,
    workers: Workers = None,
    sync: Sync = False,
    scheduler: Scheduler = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a run that is paused, was stopped or killed, or is to have more rounds."""
    from daskagents.closing import draw_results, show_results
    from daskagents.opened import open_run
    from daskagents.resuming import resume

    with one_error(Doing(), debug):
        if went_on(target, as_json):
            return
    folder = Path(target)
    doing = Doing(folder=folder, as_json=as_json)
    with one_error(doing, debug), quiet_interrupt(), kept_stdout(as_json):
        place = where(sync, scheduler, workers)
        more: dict[str, Any] = {"budget": budget_for(budget or ())}
        more["model"] = None if model is None else named_model(model)
        options = _options(folder, option)
        with place as client:
            results = resume(
                folder, client=client, accept_changes=accept_changes, **more, **options
            )
        if as_json:
            doing.picture = draw_results(results, folder)
        else:
            show_results(results, folder)
    if as_json:
        print_json(open_run(folder), doing.picture)


def _replay(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write it. \\[default: FOLDER-replay]"),
    ] = None,
    option: Parameters = None,
    workers: Workers = None,
    sync: Sync = False,
    scheduler: Scheduler = None,
    debug: Debug = False,
) -> None:
    """Run what a directory holds again, with the answers in its journal and no endpoint."""
    from daskagents.closing import show_results
    from daskagents.comparing import compare
    from daskagents.resuming import replay

    doing = Doing()
    with one_error(doing, debug), quiet_interrupt():
        place = where(sync, scheduler, workers)
        doing.folder = target = out or folder.with_name(f"{folder.name}-replay")
        options = _options(folder, option)
        with place as client:
            results = replay(folder, out=target, client=client, **options)
        show_results(results, target)
        print(compare(folder, target))


def _diff(one: Folder, other: Folder, debug: Debug = False) -> None:
    """Say whether two runs agree to the last bit, and where they first part."""
    from daskagents.comparing import compare

    with one_error(Doing(), debug):
        found = compare(one, other)
        print(found)
        code = 0 if found.agree else FAILED
    raise typer.Exit(code)


def _options(folder: Path, option: list[str] | None) -> dict[str, Any]:
    """Read parameters of the workflow that a directory is of."""
    from daskagents.options import read
    from daskagents.resuming import Found

    given = pairs(option or ())
    if not given:
        return {}
    return given | read(Found(folder, {}).workflow, given)  # an unknown one is refused in its place

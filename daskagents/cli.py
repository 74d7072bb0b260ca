"""The command line: ``daskagents run``, ``show``, ``plot``, ``doctor``, ``install-model``.

Each command imports what it needs: help, and a shell that completes, need not wait for Dask.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

import daskagents
from daskagents import continuing, piloting, serving
from daskagents.afterwards import after_command
from daskagents.choices import budget_for, free_folder, model_for, pairs, where
from daskagents.errors import UsageError
from daskagents.flags import (
    MAX_FAILED,
    Agents,
    Debug,
    Folder,
    Json,
    People,
    Scheduler,
    Seed,
    Sync,
    Workers,
    WorkflowFile,
)
from daskagents.interrupt import quiet_interrupt
from daskagents.personas import commands as personas
from daskagents.personas import write_command
from daskagents.reporting import FAILED, WRONG_USE, Doing, one_error, print_json, tell
from daskagents.stdout import kept_stdout
from daskagents.steering import command as steering

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    words
        What follows the command's name; None for what the process was started with.

    Returns
    -------
    int
        0; 1 if a run failed, 2 if something was asked for wrongly, 130 after Ctrl-C.

    Examples
    --------
    >>> main(["--version"])
    daskagents 0.1.0
    0

    """
    try:
        code = app(words, prog_name="daskagents", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own errors have it
            raise
        tell(f"{error.format_message()} (see daskagents --help)", "error")
        return WRONG_USE
    return code if isinstance(code, int) else 0


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"daskagents {daskagents.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which this is."),
    ] = False,
) -> None:
    """Very large societies of language-model agents, as one object, on Dask."""


@app.command("install-model")
def _install_model(debug: Debug = False) -> None:
    """Install the weights of the small model that --model local runs."""
    from daskagents.models.local import install_model

    with one_error(Doing(), debug):
        install_model()


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    """Return the parameters of a workflow that begin so, each with its equals sign."""
    from daskagents.completing import option_names

    # where the value of -p is still missing, the parser has left its arguments unnamed
    target = context.params.get("workflow") or next(iter(context.args), "")
    names = option_names(target)
    return [f"{name}=" for name in names if name.startswith(incomplete)]


@app.command("run")
def _run(
    workflow: WorkflowFile,
    agents: Agents = None,
    population: People = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="local|random|URL|NAME",
            help="What agents ask: a small model on this machine, nobody (random answers), an"
            " OpenAI-compatible endpoint, or a model of OPENAI_BASE_URL. \\[default: local, where"
            " agents ask one]",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            metavar="NAME=VALUE",
            help="A parameter of the workflow. Repeat as needed.",
            autocompletion=_complete,
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The run directory, new or empty. \\[default: runs/WORKFLOW-DATE-TIME]",
        ),
    ] = None,
    workers: Workers = None,
    sync: Sync = False,
    scheduler: Scheduler = None,
    max_failed: Annotated[
        float,
        typer.Option(metavar="F", min=0, max=1, help="Fraction of agents that may fail in a step."),
    ] = MAX_FAILED,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT=N",
            help="What models may take in all: tokens=1000000, cost=5 or calls=10000. Repeat as"
            " needed.",
        ),
    ] = None,
    help_workflow: Annotated[
        bool,
        typer.Option("--help-workflow", help="Say what the workflow takes, and run nothing."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a workflow, show its rounds, and draw what the agents replied."""
    from daskagents.arguments import arguments
    from daskagents.closing import draw_results, show_results
    from daskagents.explaining import explain
    from daskagents.loading import load
    from daskagents.running import run
    from daskagents.workflow import bind

    doing = Doing(as_json=as_json)
    with one_error(doing, debug), quiet_interrupt(), kept_stdout(as_json):
        if help_workflow and as_json:
            raise UsageError("--help-workflow and --json: give one of them")
        place = where(sync, scheduler, workers)
        doing.program = program = load(workflow)
        if help_workflow:
            explain(program, Console())
            return
        given = arguments(program, pairs(option or ()), agents, population or (), seed)
        bind(program.workflow, (), given)
        doing.folder = folder = out or free_folder(program.workflow.__name__)
        limits = budget_for(budget or ())
        asked = model_for(model, given.values())
        with place as client:
            results = run(
                program.workflow,
                client=client,
                model=asked,
                seed=seed,
                out=folder,
                max_failed=max_failed,
                budget=limits,
                **given,
            )
        if as_json:
            doing.picture = draw_results(results, folder)
        else:
            show_results(results, folder)
    if as_json:
        print_json(daskagents.open_run(folder), doing.picture)


@app.command("show")
def _show(folder: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Show what a run was, and its rounds so far."""
    from daskagents.showing import show_run

    with one_error(Doing(), debug):
        run = daskagents.open_run(folder)
        if as_json:
            print_json(run)
        else:
            show_run(run, Console())


@app.command("plot")
def _plot(
    folder: Folder,
    variable: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to draw. \\[default: the first with numbers, or else with texts]",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="distributions|means",
            help="Which picture. \\[default: means with --by, else distributions]",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Draw the groups of this column apart.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A .png, .svg or .pdf. \\[default: VARIABLE.png in the folder]"
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw a variable of a run, round by round."""
    from daskagents.drawing import draw

    with one_error(Doing(), debug):
        print(draw(folder, variable, kind=kind, by=by, out=out))


continuing.add(app)
piloting.add(app)
after_command.add(app)
steering.add(app)
serving.add(app)
write_command.add(personas.app)
app.add_typer(personas.app, name="personas")


@app.command("doctor")
def _doctor(
    model: Annotated[
        str | None, typer.Option(metavar="URL", help="An endpoint that should answer.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at what runs need on this machine, and say what to do about what is missing."""
    from daskagents.doctor import examine

    with one_error(Doing(), debug), quiet_interrupt():
        console, found = Console(), []
        colors = {"ok": "green", "warning": "yellow", "problem": "bold red"}
        for finding in examine(model):
            found.append(finding)
            if not as_json:
                line = Text(f"{finding.state:8}", style=colors[finding.state])
                line.append(f"{finding.what}: {finding.said}", style="default")
                console.print(line, soft_wrap=True)
        if as_json:
            print(json.dumps([asdict(finding) for finding in found], indent=1))
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(FAILED)

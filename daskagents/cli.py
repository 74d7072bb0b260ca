"""The command line: ``daskagents run``, ``show``, ``plot``, ``doctor``, ``install-model``."""

from __future__ import annotations

import inspect
import json
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

import daskagents
from daskagents import models
from daskagents.agent import Agent
from daskagents.arguments import arguments
from daskagents.closing import draw_results, show_results
from daskagents.completing import option_names
from daskagents.doctor import examine
from daskagents.drawing import draw
from daskagents.errors import DaskAgentsError, EndpointError, UsageError
from daskagents.explaining import explain
from daskagents.interrupt import INTERRUPTED, own_cluster, quiet_interrupt
from daskagents.loading import Program, load
from daskagents.models.base import Model
from daskagents.models.local import install_model
from daskagents.population import Population
from daskagents.running import run
from daskagents.session import MAX_FAILED
from daskagents.showing import as_json as run_as_json
from daskagents.showing import show_run
from daskagents.stdout import kept_stdout
from daskagents.workflow import bind

_FAILED, _WRONG_USE = 1, 2

_LOCAL = (
    "The local model is a very small one: it shows that the system works with a language model."
    " Its answers say nothing about how people behave, or larger models."
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A run directory.", show_default=False)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where errors come from.")]


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
        _tell(f"{error.format_message()} (see daskagents --help)", "error")
        return _WRONG_USE
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
    with _one_error(_Doing(), debug):
        install_model()


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    """Return the parameters of a workflow that begin so, each with its equals sign."""
    # where the value of -p is still missing, the parser has left its arguments unnamed
    target = context.params.get("workflow") or next(iter(context.args), "")
    names = option_names(target)
    return [f"{name}=" for name in names if name.startswith(incomplete)]


@app.command("run")
def _run(
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW.py[:NAME]",
            help="The file, and which of its workflows.",
            show_default=False,
        ),
    ],
    agents: Annotated[
        int | None,
        typer.Option(
            "--agents", "-n", metavar="N", min=1, help="How many agents. \\[default: 100]"
        ),
    ] = None,
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
    seed: Annotated[
        int, typer.Option(metavar="N", help="What everything random follows from.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The run directory, new or empty. \\[default: runs/WORKFLOW-DATE-TIME]",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Worker processes. \\[default: one per core]"),
    ] = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="Run in this process, with no workers.")
    ] = False,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler to run on.")
    ] = None,
    max_failed: Annotated[
        float,
        typer.Option(metavar="F", min=0, max=1, help="Fraction of agents that may fail in a step."),
    ] = MAX_FAILED,
    help_workflow: Annotated[
        bool,
        typer.Option("--help-workflow", help="Say what the workflow takes, and run nothing."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a workflow, show its rounds, and draw what the agents replied."""
    doing = _Doing(as_json=as_json)
    with _one_error(doing, debug), quiet_interrupt(), kept_stdout(as_json):
        if help_workflow and as_json:
            raise UsageError("--help-workflow and --json: give one of them")
        where = _where(sync, scheduler, workers)
        doing.program = program = load(workflow)
        if help_workflow:
            explain(program, Console())
            return
        given = arguments(program, _pairs(option or ()), agents)
        bind(program.workflow, (), given)
        doing.folder = folder = out or _free_folder(program.workflow.__name__)
        asked = _model(model, given.values())
        with where as client:
            results = run(
                program.workflow,
                client=client,
                model=asked,
                seed=seed,
                out=folder,
                max_failed=max_failed,
                **given,
            )
        if as_json:
            doing.picture = draw_results(results, folder)
        else:
            show_results(results, folder)
    if as_json:
        _print_json(daskagents.open_run(folder), doing.picture)


@app.command("show")
def _show(folder: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Show what a run was, and its rounds so far."""
    with _one_error(_Doing(), debug):
        run = daskagents.open_run(folder)
        if as_json:
            _print_json(run, None)
        else:
            show_run(run, Console())


@app.command("plot")
def _plot(
    folder: Folder,
    variable: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to draw. \\[default: the first with numbers]"),
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="distributions|means", help="Which picture.")
    ] = "distributions",
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Means by group of this column.")
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
    with _one_error(_Doing(), debug):
        print(draw(folder, variable, kind=kind, by=by, out=out))


@app.command("doctor")
def _doctor(
    model: Annotated[
        str | None, typer.Option(metavar="URL", help="An endpoint that should answer.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at what runs need on this machine, and say what to do about what is missing."""
    with _one_error(_Doing(), debug), quiet_interrupt():
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
        raise typer.Exit(_FAILED)


def _print_json(run: Any, picture: Path | None) -> None:
    """Print all that is known of a run as one JSON object."""
    print(json.dumps(run_as_json(run, None if picture is None else str(picture)), indent=1))


@dataclass
class _Doing:
    """What the command is at, for the message of an error."""

    program: Program | None = None
    folder: Path | None = None
    picture: Path | None = None
    as_json: bool = False

    @property
    def left(self) -> str:
        """Say where that is which a run left on disk."""
        if self.folder is None or not (self.folder / "run.json").exists():
            return ""
        return f"The rounds until then are in {self.folder}"


@contextmanager
def _one_error(doing: _Doing, debug: bool) -> Iterator[None]:
    """Turn an error into one message and an exit code."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exception(error)
        if isinstance(error, KeyboardInterrupt):
            _tell("interrupted", "error")
            code = INTERRUPTED
        else:
            _tell(_message(error, doing.program, debug), "error")
            code = _WRONG_USE if isinstance(error, UsageError | EndpointError) else _FAILED
        if doing.left and code != _WRONG_USE:
            _tell(doing.left)
            if doing.as_json and doing.folder is not None:
                _print_json(daskagents.open_run(doing.folder), None)
        raise typer.Exit(code) from None


def _message(error: Exception, program: Program | None, debug: bool) -> str:
    """Return what is to be said of an error."""
    if isinstance(error, DaskAgentsError):
        return str(error)
    line = program.line_of(error) if program else ""
    hint = "" if debug else " (--debug shows where it comes from)"
    return f"{line}{type(error).__name__}: {error}{hint}"


def _tell(text: str, what: str = "") -> None:
    """Write something for people to standard error, as it is and on one line."""
    said = Text(f"{what}: " if what else "", style="bold red").append(
        text, style="not bold default"
    )
    Console(stderr=True).print(said, soft_wrap=True)


def _pairs(options: Iterable[str]) -> dict[str, str]:
    """Split options at their first equals sign."""
    found = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"-p {option}: give a parameter and its value, such as -p rounds=5")
        found[name] = value
    return found


def _free_folder(name: str) -> Path:
    """Return a run directory that is not there yet."""
    first = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def _where(sync: bool, scheduler: str | None, workers: int | None) -> Any:
    """Return a context that gives `run` its client."""
    given = {"--sync": sync, "--scheduler": scheduler, "--workers": workers}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: give one of them, they exclude each other")
    known = "sync" if sync else scheduler
    return own_cluster(workers) if known is None else nullcontext(known)


def _model(said: str | None, given: Iterable[Any]) -> Model | None:
    """Return the model of the run."""
    populations = [value for value in given if isinstance(value, Population)]
    if said is None and not any(p.model is None and _waits(p.cls) for p in populations):
        return None
    if said in (None, "local"):
        _tell(_LOCAL)
        try:
            return models.local()
        except UsageError as error:
            raise UsageError(f"{error}; or choose another model with --model") from None
    if said == "random":
        return models.Dummy(answer=None)
    if said.startswith(("http://", "https://")):
        return models.OpenAI(base_url=said)
    return models.OpenAI(said)


def _waits(cls: type[Agent]) -> bool:
    """Whether agents of a class may ask a model: they wait for something in some method."""
    own = {
        name
        for base in cls.__mro__
        if issubclass(base, Agent) and base is not Agent
        for name in vars(base)
    }
    return any(inspect.iscoroutinefunction(getattr(cls, name)) for name in own)

"""``daskagents pause``, ``stop``, ``status``, ``interview``, ``survey`` and ``intervene``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from daskagents.choices import named_model
from daskagents.errors import UsageError
from daskagents.flags import Debug, Json, ModelAsRun
from daskagents.reporting import Doing, one_error
from daskagents.stdout import kept_stdout

if TYPE_CHECKING:
    from daskagents.opened import OpenRun

Target = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|ADDRESS",
        help="A run directory, or the address of the Dask scheduler that the run is on.",
        show_default=False,
    ),
]
_Population = Annotated[
    str | None,
    typer.Option("--population", metavar="NAME", help="Of which population, where several are."),
]
_Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="FIELD=VALUE", help="Only agents with this value. Repeat as needed."
    ),
]


def add(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("pause")(_pause)
    app.command("stop")(_stop)
    app.command("status")(_status)
    app.command("interview")(_interview)
    app.command("survey")(_survey)
    app.command("intervene")(_intervene)


def opened(target: str) -> OpenRun:
    """Open what a command is given: a folder, or an address."""
    from daskagents.opened import open_run

    return open_run(target if "://" in target else Path(target))


def _pause(target: Target, as_json: Json = False, debug: Debug = False) -> None:
    """Pause a run between two steps; it goes on with daskagents resume."""
    with one_error(Doing(), debug):
        said = opened(target).pause()
        _show(said, f"paused in round {said['round']}; go on: daskagents resume {target}", as_json)


def went_on(target: str, as_json: bool) -> bool:
    """Let a run go on if it is under way; return whether it is."""
    from daskagents.lock import Lock

    if "://" not in target and not Lock.held(Path(target)):
        return False
    said = opened(target).resume()
    _show(said, f"going on in round {said['round']}", as_json)
    return True


def _stop(target: Target, as_json: Json = False, debug: Debug = False) -> None:
    """End a run; what was answered is kept, and daskagents resume goes on with it."""
    with one_error(Doing(), debug):
        run = opened(target)
        said = run.stop()
        _show(said, f"stopping; go on later: daskagents resume {run.folder}", as_json)


def _status(target: Target, as_json: Json = False, debug: Debug = False) -> None:
    """Say how far a run is."""
    with one_error(Doing(), debug):
        run = opened(target)
        said = run.state() if run.live else _ended(run)
        of = f" of {said['of']:,}" if said.get("of") else ""
        parts = [f"{said['state']}, round {said['rounds']:,}{of}"]
        counts = ("replies", "failed", "calls", "tokens")
        parts += [f"{said[name]:,} {name}" for name in counts if said.get(name)]
        if said.get("cost"):
            parts.append(f"cost {said['cost']:,.2f}")
        if "process" in said:
            parts.append(f"{said['seconds']:,.0f} s, process {said['process']} on {said['host']}")
        _show(said, f"{said['workflow']}: {', '.join(parts)}", as_json)


def _ended(run: OpenRun) -> dict[str, Any]:
    """Return how far a run came that is not under way."""
    state = "not under way" if run.status == "running" else run.status
    usage = run.usage
    return {
        "state": state,
        "workflow": run.about.get("workflow", {}).get("name", "?"),
        "folder": str(run.folder),
        "rounds": run.results.sizes["round"] if (run.folder / "rounds.zarr").exists() else 0,
        "calls": usage["calls"],
        "tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        "cost": None if usage["cost"] != usage["cost"] else usage["cost"],
    }


def _interview(
    target: Target,
    agent: Annotated[int, typer.Argument(metavar="AGENT", help="Its id.", show_default=False)],
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What it is asked.", show_default=False)
    ],
    population: _Population = None,
    model: ModelAsRun = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask one agent a question, on a copy of its state; the run is not disturbed."""
    with one_error(Doing(), debug), kept_stdout(as_json):
        asks = None if model is None else named_model(model)
        answer = opened(target).interview(agent, question, population=population, model=asks)
    print(json.dumps({"agent": agent, "answer": answer}) if as_json else answer)


def _survey(
    target: Target,
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What they are asked.", show_default=False)
    ],
    population: _Population = None,
    where: _Where = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only so many agents, by chance.")
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option("--choice", metavar="TEXT", help="An option. Repeat for each."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--type", metavar="int|float|bool|str", help="What the answer is to be."),
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Tell each agent the options in another order.")
    ] = False,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What it is kept under. \\[default: survey-1, ...]")
    ] = "",
    model: ModelAsRun = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask many agents a question, on copies of their state, in mid-run or after it."""
    from daskagents.steering.surveys import summary

    with one_error(Doing(), debug), kept_stdout(as_json):
        run = opened(target)
        types: dict[str | None, Any] = {
            None: None, "int": int, "float": float, "bool": bool, "str": str
        }  # fmt: skip
        if kind not in types:
            raise UsageError(f"--type {kind}: give int, float, bool or str")
        found = run.survey(
            question,
            population=population,
            where=pairs_of("--where", where or ()),
            sample=sample,
            choices=choice or (),
            schema=types[kind],
            shuffle=shuffle,
            name=name,
            model=None if model is None else named_model(model),
        )
        said = summary(found, None)
    if as_json:
        print(json.dumps(said))
        return
    console = Console()
    console.print(f"{said['asked']:,} asked, {said['failed']:,} failed", highlight=False)
    for label, of in (said.get("answers") or {"answer": said}).items():
        console.print(_table(label, of))
    path = run.folder / "surveys" / f"{said['name']}.zarr"
    console.print(f"kept in {path}", highlight=False, soft_wrap=True)


def _table(label: str, of: dict[str, Any]) -> Table:
    """Return answers as a table: how many gave each, or how they are spread."""
    table = Table(box=None, pad_edge=False)
    table.add_column(label, overflow="fold")
    table.add_column("agents" if "counts" in of else "", justify="right")
    for answer, count in of.get("counts", {}).items():
        table.add_row(answer.replace("[", "\\["), f"{count:,}")
    if of.get("others"):
        table.add_row("(others)", f"{of['others']:,}")
    names = ("least", "5 %", "25 %", "median", "75 %", "95 %", "most")
    for name, value in zip(names, of.get("quantiles", ()), strict=False):
        table.add_row(name, f"{value:g}")
    if "mean" in of:
        table.add_row("mean", f"{of['mean']:g}")
    return table


def _intervene(
    target: Target,
    change: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIELD=VALUE]...", help="New values.", show_default=False),
    ] = None,
    population: _Population = None,
    environment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Set fields of an environment instead.")
    ] = None,
    where: _Where = None,
    agent: Annotated[
        list[int] | None,
        typer.Option("--agent", metavar="ID", help="Only this agent. Repeat as needed."),
    ] = None,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What is put into their inboxes.")
    ] = None,
    round: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="As which round begins. \\[default: the next]"),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Change agents or an environment of a run that is under way, from a round on."""
    with one_error(Doing(), debug):
        at = opened(target).intervene(
            population=population,
            environment=environment,
            where=pairs_of("--where", where or ()),
            agents=agent,
            message=message,
            round=round,
            **pairs_of("", change or ()),
        )
        _show({"round": at}, f"it will be done as round {at} begins", as_json)


def pairs_of(option: str, given: Iterable[str]) -> dict[str, Any]:
    """Split FIELD=VALUE; several values of one field are a list of them.

    Examples
    --------
    >>> pairs_of("--where", ["city=Rome", "age=41", "city=Oslo"])
    {'city': ['Rome', 'Oslo'], 'age': '41'}
    """
    found: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{option} {each}".strip() + ": give a field and its value, as age=41")
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _show(said: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(said) if as_json else text)

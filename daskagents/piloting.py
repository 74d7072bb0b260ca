"""``daskagents estimate``: what a run will take, from a shell."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Annotated

import typer

from daskagents.choices import model_for, pairs, where
from daskagents.flags import (
    Agents,
    Debug,
    Json,
    ModelAsRun,
    Parameters,
    People,
    Scheduler,
    Seed,
    Sync,
    Workers,
    WorkflowFile,
)
from daskagents.interrupt import quiet_interrupt
from daskagents.reporting import Doing, one_error
from daskagents.stdout import kept_stdout


def add(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("estimate")(_estimate)


def _estimate(
    workflow: WorkflowFile,
    agents: Agents = None,
    population: People = None,
    model: ModelAsRun = None,
    option: Parameters = None,
    pilot: Annotated[
        int, typer.Option(metavar="N", min=2, help="Agents of each population in the pilot.")
    ] = 50,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Rounds of the run, where the workflow does not say so."
        ),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    sync: Sync = False,
    scheduler: Scheduler = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict calls, tokens, cost and time of a run, by two rounds with a few of its agents."""
    from daskagents.arguments import arguments
    from daskagents.estimating import Interval, estimate
    from daskagents.loading import load
    from daskagents.workflow import bind

    doing = Doing(as_json=as_json)
    with one_error(doing, debug), quiet_interrupt(), kept_stdout(as_json):
        place = where(sync, scheduler, workers)
        doing.program = program = load(workflow)
        given = arguments(program, pairs(option or ()), agents, population or (), seed)
        bind(program.workflow, (), given)
        asked = model_for(model, given.values())
        with place as client:
            found = estimate(
                program.workflow,
                client=client,
                model=asked,
                seed=seed,
                pilot=pilot,
                total_rounds=rounds,
                **given,
            )
    if not as_json:
        print(found)
        return
    told = asdict(found)
    for name, value in vars(found).items():
        if isinstance(value, Interval):
            told[name] = {part: _known(number) for part, number in value._asdict().items()}
    told["pilot"]["cost"] = _known(found.pilot.cost)
    print(json.dumps(told, indent=1))


def _known(number: float) -> float | None:
    """Return a number as JSON has it: None for NaN."""
    return None if math.isnan(number) else number

"""``daskagents test-server``: a model server for tests, from a shell."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from daskagents.errors import EndpointError, UsageError
from daskagents.reporting import Doing, one_error
from daskagents.testing import (
    Batching,
    Echo,
    Exponential,
    LevelK,
    Limits,
    Lognormal,
    ModelServer,
    Normal,
    PrefixCache,
    Stats,
    Uniform,
)

_DISTRIBUTIONS = {one.__name__.lower(): one for one in (Uniform, Normal, Exponential, Lognormal)}
_STRATEGIES = {"echo": Echo, "level-k": LevelK}
#: Seconds between looks whether the server still runs.
_LOOK = 0.5


def add(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("test-server")(_serve)


def _serve(
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 8000,
    latency: Annotated[
        str, typer.Option(metavar="SECONDS", help='Such as 0.05, or "lognormal(0.05, 1)".')
    ] = "0",
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help='A text, or "normal(30, 5)", level-k, echo. By default what the request asks for.',
        ),
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT=HOW_OFTEN",
            help="Such as 429=0.2 (a probability) or hang=100 (every hundredth); may be repeated.",
        ),
    ] = None,
    retry_after: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="What 429 and 503 ask to wait.")
    ] = None,
    requests: Annotated[
        float | None, typer.Option("--requests-per-minute", help="What is over it gets 429.")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option("--tokens-per-minute", help="What is over it gets 429.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="Answers that are written at a time. By default all.")
    ] = None,
    prompt_speed: Annotated[
        float, typer.Option(help="With slots: prompt tokens that are read per second.")
    ] = Batching().prompt_speed,
    answer_speed: Annotated[
        float, typer.Option(help="With slots: tokens that each slot writes per second.")
    ] = Batching().answer_speed,
    cache: Annotated[bool, typer.Option("--cache", help="Keep the beginnings of prompts.")] = False,
    vary: Annotated[
        bool, typer.Option("--vary", help="Answer the same request anew each time.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Chooses the answers.")] = 0,
    api_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The key to insist on.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where errors come from.")] = False,
) -> None:
    """Serve the OpenAI interface with no model behind it, until Ctrl-C; then say what was seen."""
    with one_error(Doing(), debug):
        limited = requests is not None or tokens is not None
        server = ModelServer(
            port,
            latency=_number(latency),
            answer=_strategy(answer),
            fail=_fails(fail or ()),
            retry_after=retry_after,
            limits=Limits(requests, tokens) if limited else None,
            batching=Batching(slots, prompt_speed, answer_speed) if slots is not None else None,
            cache=PrefixCache() if cache else None,
            vary=vary,
            seed=seed,
            api_key=api_key,
        )
        try:
            print(f"{server.url}  (Ctrl-C ends it)", flush=True)
            _wait(server)
            print(_told(server.stats()))
        finally:
            server.close()


def _wait(server: ModelServer) -> None:
    """Wait for Ctrl-C."""
    try:
        while server.alive:
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        return
    raise EndpointError(f"{server.url}: the server was ended by somebody else")


def _number(text: str) -> Any:
    """Read a number, or a distribution such as ``normal(30, 5)``."""
    named = re.fullmatch(r"(\w+)\((.*)\)", text.strip())
    try:
        if named is None:
            return float(text)
        made = _DISTRIBUTIONS[named[1].lower()]
        return made(*[float(part) for part in named[2].split(",") if part.strip()])
    except (ValueError, KeyError, TypeError):
        known = ", ".join(_DISTRIBUTIONS)
        raise UsageError(f"{text}: give a number, or one of {known}, as normal(30, 5)") from None


def _strategy(text: str | None) -> Any:
    """Read how to answer."""
    if text in _STRATEGIES:
        return _STRATEGIES[text]()
    name = (text or "").partition("(")[0].strip().lower()
    return _number(text) if text and name in _DISTRIBUTIONS and text.endswith(")") else text


def _fails(options: Iterable[str]) -> dict[int | str, float]:
    """Read faults, and how often each is to be."""
    found: dict[int | str, float] = {}
    for option in options:
        name, _, often = option.partition("=")
        try:
            found[name] = int(often) if often.isdigit() else float(often)
        except ValueError:
            raise UsageError(f"--fail {option}: give a fault and how often, as 429=0.2") from None
    return found


def _told(stats: Stats) -> str:
    """Return what was seen, in a few lines."""
    lines = [f"{count:9,}  {outcome}" for outcome, count in sorted(stats.outcomes.items())]
    lines.append(f"{stats.repeats:9,}  answered although they had been answered before")
    lines.append(f"{stats.in_flight:9,}  at once, at most")
    tokens = stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens
    lines.append(
        "{:9,}  prompt tokens, {:,} of them cached; {:,} completion tokens".format(*tokens)
    )
    return "\n".join(lines)

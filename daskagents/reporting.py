"""How a command ends: one message of what went wrong, an exit code, and what is left of a run."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from daskagents.errors import DaskAgentsError, EndpointError, UsageError
from daskagents.interrupt import INTERRUPTED

if TYPE_CHECKING:
    from daskagents.loading import Program
    from daskagents.opened import OpenRun

#: Exit codes: a run failed, or something was asked for wrongly.
FAILED, WRONG_USE = 1, 2


def print_json(run: OpenRun, picture: Path | None = None) -> None:
    """Print all that is known of a run as one JSON object."""
    from daskagents.showing import as_json

    print(json.dumps(as_json(run, None if picture is None else str(picture)), indent=1))


@dataclass
class Doing:
    """What a command is at, for the message of an error and for what is left."""

    program: Program | None = None
    folder: Path | None = None
    picture: Path | None = None
    as_json: bool = False

    @property
    def left(self) -> str:
        """Say where that is which a run left on disk."""
        if self.folder is None or not (self.folder / "run.json").exists():
            return ""
        return f"The rounds until then are in {self.folder}; go on: daskagents resume {self.folder}"


@contextmanager
def one_error(doing: Doing, debug: bool) -> Iterator[None]:
    """Turn an error into one message and an exit code."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exception(error)
        if isinstance(error, KeyboardInterrupt):
            tell("interrupted", "error")
            code = INTERRUPTED
        else:
            tell(_message(error, doing.program, debug), "error")
            code = WRONG_USE if isinstance(error, UsageError | EndpointError) else FAILED
        if doing.left and code != WRONG_USE:
            tell(doing.left)
            if doing.as_json and doing.folder is not None:
                from daskagents.opened import open_run

                print_json(open_run(doing.folder))
        raise typer.Exit(code) from None


def _message(error: Exception, program: Program | None, debug: bool) -> str:
    """Return what is to be said of an error."""
    if isinstance(error, DaskAgentsError):
        return str(error)
    line = program.line_of(error) if program else ""
    hint = "" if debug else " (--debug shows where it comes from)"
    return f"{line}{type(error).__name__}: {error}{hint}"


def tell(text: str, what: str = "") -> None:
    """Write something for people to standard error, as it is and on one line."""
    said = Text(f"{what}: " if what else "", style="bold red").append(
        text, style="not bold default"
    )
    Console(stderr=True).print(said, soft_wrap=True)

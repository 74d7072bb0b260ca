"""What a workflow takes, told from its signature and its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from daskagents.agent import Agent
from daskagents.arguments import makers, takes
from daskagents.loading import Program
from daskagents.options import hints_of

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)


def explain(program: Program, console: Console) -> None:
    """Show the parameters of a workflow, and the agents it takes.

    Parameters
    ----------
    program
        The workflow, and the file it is in.
    console
        Where it is shown.

    """
    workflow = program.workflow
    console.print(Text(f"{program.file}:{workflow.__name__}", style="bold"), soft_wrap=True)
    summary, said = read_docstring(inspect.getdoc(workflow) or "")
    if summary:
        console.print(summary, markup=False, highlight=False)
    classes = takes(program)
    for name, cls in classes.items():
        console.print()
        console.print(f"{name}: a population of {cls.__name__}", markup=False, highlight=False)
        console.print(_fields(cls))
        others = [other for other in makers(program) if other != cls.__name__]
        if others:
            console.print(
                f"  instead: -p {name}={' | '.join(others)}", markup=False, highlight=False
            )
    options = _options(workflow, said, set(classes))
    for maker in makers(program).values():
        if inspect.isfunction(maker):
            _, about = read_docstring(inspect.getdoc(maker) or "")
            for option, kind, meaning in _options(maker, about, {"agents"}):
                options.append((option, f"{kind}  (of {maker.__name__})", meaning))
    for option, kind, meaning in options:
        console.print()
        console.print(Text(option, style="bold").append(f"  {kind}", style="not bold"))
        if meaning:
            console.print(Padding(Text(meaning), (0, 0, 0, 4), expand=False))


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    r"""Return the summary of a numpydoc docstring, and what it says of each parameter.

    Examples
    --------
    >>> read_docstring("Play.\n\nParameters\n----------\nrounds\n    How many.\nratio : float\n")
    ('Play.', {'rounds': 'How many.', 'ratio': ''})

    """
    parts = _SECTION.split(text)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in sections.get("Parameters", "").splitlines():
        if line and not line[0].isspace():
            names = [name.strip() for name in line.partition(":")[0].split(",")]
            found |= {name: [] for name in names}
        elif line.strip():
            for name in names:
                found[name].append(line.strip())
    return parts[0].strip().partition("\n\n")[0], {n: " ".join(v) for n, v in found.items()}


def _options(
    function: Callable[..., Any], said: dict[str, str], skip: set[str]
) -> list[tuple[str, str, str]]:
    """Return how each parameter that is an option is given, its type, and what it means."""
    hints, found = hints_of(function), []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in skip:
            continue
        default = parameter.default
        known = default is not parameter.empty
        hint = hints.get(name, type(default) if known and default is not None else None)
        kind = "" if hint is None else inspect.formatannotation(hint)
        value = "... (needed)" if not known else "" if default is None else str(default)
        found.append((f"-p {name}={value}", kind, said.get(name, "")))
    return found


def _fields(cls: type[Agent]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, field in cls.__fields__.items():
        if not name.startswith("_"):
            default = "needed" if field.required else repr(field.default)
            table.add_row(*map(Text, (f"  {name}", field.label, default)))
    return table

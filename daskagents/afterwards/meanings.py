"""What is known of the variables of a run: what a run itself says, and what its program does."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from daskagents.errors import FolderError
from daskagents.events import read_events


@dataclass
class Meaning:
    """What a program says of a variable.

    Parameters
    ----------
    source
        Where it comes from: the class and the field, or whose reply it is.
    type
        Its type in the program, in words.
    label
        What it is, in the words of the program.
    values
        The values it may have, where they are few.
    """

    source: str = ""
    type: str = ""
    label: str = ""
    values: tuple[str, ...] = ()


@dataclass
class Program:
    """The classes of a program, read from the copies of its files and never run."""

    classes: dict[str, ast.ClassDef] = field(default_factory=dict)

    def members(self, name: str) -> dict[str, Meaning]:
        """Return what a class says of its fields, with those of the classes it is made from."""
        return self._members(name, ())

    def _members(self, name: str, within: tuple[str, ...]) -> dict[str, Meaning]:
        node = self.classes.get(name)
        if node is None or name in within:
            return {}
        found: dict[str, Meaning] = {}
        for base in reversed(node.bases):
            found |= self._members(ast.unparse(base).rpartition(".")[2], (*within, name))
        said = docstring_members(ast.get_docstring(node) or "")
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                label = said.get(line.target.id) or _annotated(line.annotation)
                found[line.target.id] = Meaning(
                    f"{name}.{line.target.id}",
                    ast.unparse(line.annotation),
                    label,
                    self._values(line.annotation),
                )
        return found

    def replied(self, name: str, method: str) -> dict[str, Meaning]:
        """Return what the class says that a method is annotated to return, by the name of each."""
        node = self.classes.get(name)
        for line in node.body if node is not None else ():
            if isinstance(line, ast.FunctionDef | ast.AsyncFunctionDef) and line.name == method:
                known = ast.unparse(line.returns).rpartition(".")[2] if line.returns else ""
                return self.members(known)
        return {}

    def _values(self, annotation: ast.expr) -> tuple[str, ...]:
        """Return the values that an annotation allows: of a Literal, or of an Enum of the file."""
        for node in ast.walk(annotation):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
                inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return tuple(str(c.value) for c in inside if isinstance(c, ast.Constant))
            cls = self.classes.get(node.id) if isinstance(node, ast.Name) else None
            if cls is not None and any("Enum" in ast.unparse(base) for base in cls.bases):
                targets = [
                    t for line in cls.body if isinstance(line, ast.Assign) for t in line.targets
                ]
                return tuple(t.id for t in targets if isinstance(t, ast.Name))
        return ()


def read_program(folder: Path, about: Mapping[str, Any]) -> Program:
    """Read the classes of a run's program; those of files that cannot be read are left out."""
    found = Program()
    for kept in about.get("program", {}).get("files", {}).values():
        try:
            text = (folder / "program" / kept["copy"]).read_text(encoding="utf-8")
            tree = ast.parse(text)
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.classes.setdefault(node.name, node)
    return found


def docstring_members(text: str) -> dict[str, str]:
    r"""Return what the sections of a docstring say of each name.

    Examples
    --------
    >>> docstring_members("A player.\n\nAttributes\n----------\nage : int\n    Years.\n    All.")
    {'age': 'Years. All.'}
    """
    found: dict[str, list[str]] = {}
    section, names = "", list[str]()
    for line, below in pairwise([*dedent(text).splitlines(), ""]):
        if below and set(below.strip()) == {"-"}:
            section = line.strip()
        elif section not in ("Attributes", "Parameters") or set(line.strip()) == {"-"}:
            continue
        elif line and not line[0].isspace():
            names = [name.strip() for name in line.partition(":")[0].split(",")]
            found |= {name: [] for name in names}
        elif line.strip():
            for name in names:
                found[name].append(line.strip())
    return {name: " ".join(said) for name, said in found.items() if said}


def _annotated(annotation: ast.expr) -> str:
    """Return the first text in an Annotated, or the description of a Meta in it."""
    if not (
        isinstance(annotation, ast.Subscript)
        and ast.unparse(annotation.value).endswith("Annotated")
    ):
        return ""
    inside = annotation.slice.elts[1:] if isinstance(annotation.slice, ast.Tuple) else []
    for each in inside:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            return each.value
        for word in each.keywords if isinstance(each, ast.Call) else ():
            if word.arg == "description" and isinstance(word.value, ast.Constant):
                return str(word.value.value)
    return ""


class Meanings:
    """What is known of each variable of a run.

    Parameters
    ----------
    folder
        The run directory.
    about
        What ``run.json`` says.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._program = read_program(folder, about)
        self._populations = {of["name"]: of for of in about.get("populations", {}).values()}
        self._replies = dict(self._from_events(folder))

    def of(self, name: str, dim: str) -> Meaning:
        """Return what is known of a variable over the agents of a dimension, or of none."""
        if name in self._replies:
            return self._replies[name]
        for population in self._populations.values():
            for known in (name, name.removeprefix(f"{dim}_")):
                if known in population.get("fields", {}) and dim:
                    cls = population["class"]
                    said = self._program.members(cls.rpartition(".")[2]).get(known, Meaning())
                    label = population["fields"][known]
                    return Meaning(f"{cls}.{known}", label, said.label, said.values)
        return Meaning()

    def _from_events(self, folder: Path) -> Iterator[tuple[str, Meaning]]:
        """Yield of each variable that is what agents replied whose reply it is."""
        steps: dict[int, dict[str, Any]] = {}
        known: set[str] = set()
        try:
            for event in read_events(folder / "events.jsonl"):
                if event["event"] == "step":
                    steps[event["step"]] = event
                for name, (step, reply) in event.get("direct", {}).items():
                    if name not in known and step in steps:
                        known.add(name)
                        yield name, self._reply(steps[step], reply)
        except (FolderError, OSError):
            return

    def _reply(self, step: Mapping[str, Any], reply: str) -> Meaning:
        population, method = step["population"], step["method"]
        cls = self._populations.get(population, {}).get("class", "").rpartition(".")[2]
        said = self._program.replied(cls, method).get(reply, Meaning())
        what = f"reply {reply!r}" if reply and reply != method else "the reply"
        return Meaning(f"{what} of {population}.{method}", said.type, said.label, said.values)

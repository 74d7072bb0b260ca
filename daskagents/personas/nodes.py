"""What a file says, with the place of each word; and the problems found in it, all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from daskagents.errors import SpecError


@dataclass(frozen=True, eq=False)
class Node:
    """A value of a file: a scalar, a list of nodes, or a mapping of nodes.

    Parameters
    ----------
    value
        A scalar, a list of nodes, or a list of pairs: of a key, as a node, and its value.
    path
        How it is reached, such as ``fields.job.proportions``.
    place
        Line and column, from 1; None where it does not come from a file.
    is_mapping
        Whether the list is one of pairs.
    """

    value: Any
    path: str = ""
    place: tuple[int, int] | None = None
    is_mapping: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.value, list) and not self.is_mapping

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single value."""
        return not isinstance(self.value, list)

    @property
    def said(self) -> str:
        """What it is, in few words."""
        if self.is_scalar:
            return "nothing" if self.value is None else repr(self.value)
        return "a mapping" if self.is_mapping else "a list"

    def items(self) -> Iterator[tuple[Any, Node]]:
        """Yield keys, as plain values, and nodes."""
        for key, node in self.value if self.is_mapping else ():
            yield key.value, node

    def keys(self) -> list[Any]:
        """Return the keys, as plain values."""
        return [key for key, _ in self.items()]

    def get(self, name: str) -> Node | None:
        """Return the value of a key, if there is one."""
        return next((node for key, node in self.items() if key == name), None)

    def plain(self) -> Any:
        """Return it as plain Python values."""
        if self.is_mapping:
            return {key: node.plain() for key, node in self.items()}
        return [node.plain() for node in self.value] if self.is_list else self.value


@dataclass
class Problems:
    """The problems of one file, collected so that all can be said at once."""

    source: str = ""
    found: list[str] = field(default_factory=list)

    def add(self, node: Node, text: str) -> None:
        """Note a problem of a node."""
        place = "" if node.place is None else f" (line {node.place[0]}, column {node.place[1]})"
        said = f"{node.path or 'the file'}{place}: {text}"
        if said not in self.found:
            self.found.append(said)

    @contextmanager
    def caught(self, node: Node) -> Iterator[None]:
        """Note what is raised as a problem of a node, and go on."""
        try:
            yield
        except SpecError as error:
            self.add(node, str(error))

    def raise_all(self) -> None:
        """Raise them as one error, if there are any.

        Raises
        ------
        SpecError
            With a line for each.
        """
        if not self.found:
            return
        count = "a problem" if len(self.found) == 1 else f"{len(self.found)} problems"
        lines = "".join(f"\n  {line}" for line in self.found)
        error = SpecError(f"{self.source or 'the population'} has {count}:{lines}")
        error.problems = tuple(self.found)
        raise error


def hint(name: object, known: Iterable[object]) -> str:
    """Return a question that names what was meant, or the few that there are.

    Examples
    --------
    >>> hint("sise", ["size", "seed"])
    "; did you mean 'size'?"
    >>> hint("x", ["size", "seed"])
    '; known are size, seed'
    """
    words = [str(word) for word in known]
    close = difflib.get_close_matches(str(name), words, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(words)}" if 0 < len(words) <= 12 else ""

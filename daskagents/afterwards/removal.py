"""What is removed of a run, and how texts and values look without it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from daskagents.afterwards.literals import Literals
from daskagents.errors import UsageError

#: What stands in the place of what is removed.
MARK = "[removed]"
#: Which texts go whole: those said to and by models, or all.
Texts = Literal["all", "journal"]

_NUMBER = re.compile(r"\b\w+=(?:[-+.\deE]+|True|False|None)(?=, |$)")


@dataclass
class Removal:
    """What is removed.

    Parameters
    ----------
    fields
        Names of fields, replies and keys whose values go.
    patterns
        What is found goes, in whatever text.
    texts
        Which texts go whole.
    literals
        Values of the fields, which go wherever they stand.
    names
        Names of populations that go, such as those of named agents, and what each is called then.
    counts
        How many texts and values were removed, by place.
    """

    fields: frozenset[str] = frozenset()
    patterns: Sequence[re.Pattern[str]] = ()
    texts: Texts | None = None
    literals: Literals = field(default_factory=Literals)
    names: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def text(self, place: str, text: str) -> str:
        """Return a text without what the patterns find, and without the values of the fields."""
        new, found = self.literals.replace(text, MARK)
        for pattern in self.patterns:
            new, more = pattern.subn(MARK, new)
            found += more
        self.counts[place] += found > 0
        return new

    def free(self, place: str, text: str) -> str:
        """Return a text that anybody may have written."""
        return self._whole(place, text) if self.texts == "all" else self.text(place, text)

    def said(self, place: str, text: str) -> str:
        """Return what was said: to or by a model, or among agents."""
        return self._whole(place, text) if self.texts else self.text(place, text)

    def speaker(self, place: str, name: str) -> str:
        """Return the name of one who said something: a named agent's is the one it has now."""
        return self.names[name] if name in self.names else self.free(place, name)

    def _whole(self, place: str, text: str) -> str:
        self.counts[place] += text != ""
        return MARK if text else ""

    def gone(self, place: str, value: Any) -> Any:
        """Return what stands for a value that goes whole: a mark for texts, nothing for others."""
        if isinstance(value, str):
            return self._whole(place, value)
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return [self._whole(place, each) for each in value]
        self.counts[place] += 1
        return None

    def walk(
        self,
        place: str,
        value: Any,
        change: Callable[[str, str], str] | None = None,
        keep: frozenset[str] = frozenset(),
    ) -> Any:
        """Return a value of JSON or msgpack with all texts in it changed.

        Parameters
        ----------
        place
            Where it is, for the counts.
        value
            It.
        change
            `text`, `free` or `said`; by default `free`.
        keep
            Keys of what stays as it is, unless it holds keys itself.
        """
        change = change or self.free
        if isinstance(value, str):
            return change(place, value)
        if isinstance(value, bytes):
            return self.bytes(place, value, change)
        if isinstance(value, list | tuple):
            return [self.walk(place, inner, change, keep) for inner in value]
        if not isinstance(value, dict):
            return value
        found: dict[Any, Any] = {}
        for key, inner in value.items():
            if key in keep and not isinstance(inner, dict):
                found[key] = inner
                continue
            new = unlike(self.text(place, key), found) if isinstance(key, str) else key
            if key in self.fields:
                found[new] = self.gone(place, inner)
            else:
                found[new] = self.walk(place, inner, change, keep)
        return found

    def bytes(
        self, place: str, data: bytes, change: Callable[[str, str], str] | None = None
    ) -> bytes:
        """Return bytes that may be a text."""
        text = data.decode("utf-8", "surrogateescape")
        return (change or self.free)(place, text).encode("utf-8", "surrogateescape")

    def wanted(self, place: str, text: str) -> str:
        """Return what a request asked for besides its messages: the numbers may stay."""
        if not self.texts:
            return self.text(place, text)
        kept = ", ".join(_NUMBER.findall(text))
        self.counts[place] += kept != text
        return kept

    def rename(self, names: Iterable[str]) -> None:
        """Give those names of populations others in which something is found, or all."""
        for name in names:
            if self.text("names", name) != name or self.texts == "all":
                self.names[name] = unlike("removed", self.names.values())

    def renamed(self, value: Any) -> Any:
        """Return a value of JSON in which populations have their new names."""
        if isinstance(value, str):
            return self.names.get(value, value)
        if isinstance(value, list):
            return [self.renamed(inner) for inner in value]
        if isinstance(value, dict):
            return {key: self.renamed(inner) for key, inner in value.items()}
        return value

    def check_names(self, names: Iterable[str]) -> None:
        """Raise a `UsageError` where a pattern finds what cannot be removed."""
        for pattern in self.patterns:
            if pattern.search(MARK) or pattern.search(""):
                raise UsageError(
                    f"the pattern {pattern.pattern!r} finds the mark {MARK} too; give a narrower"
                    " one, or all texts: --texts all"
                )
            for name in names:
                if pattern.search(name):
                    raise UsageError(
                        f"the pattern {pattern.pattern!r} finds {name!r}, which is a name that the"
                        " run cannot be read without (of a population, a field, a variable or a"
                        " class); give a narrower one"
                    )


def unlike(name: str, taken: Iterable[str]) -> str:
    """Return a name, with a number where it is taken.

    Examples
    --------
    >>> unlike("[removed]", ["[removed]"])
    '[removed] 2'
    """
    taken, number, found = set(taken), 2, name
    while found in taken:
        found, number = f"{name} {number}", number + 1
    return found

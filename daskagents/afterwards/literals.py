"""Very many texts, looked for in others all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

#: Characters from which on a text is looked for: shorter ones stand everywhere by chance.
SHORTEST = 4
#: Lengths of beginnings by which texts are found, the longest first.
_HEADS = (16, 8, SHORTEST)


class Literals:
    """Texts that are removed wherever they stand.

    Examples
    --------
    >>> secrets = Literals()
    >>> secrets.add(["a quiet life", "no"])
    >>> secrets.replace("She leads a quiet life, or no life.", "[removed]")
    ('She leads [removed], or no life.', 1)
    """

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._heads: list[dict[str, set[int]]] = [{} for _ in _HEADS]
        self._likely: re.Pattern[str] | None = None
        self._beginnings: set[str] = set()

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, texts: Iterable[str]) -> None:
        """Add texts, as they are and as JSON and Python write them."""
        for text in texts:
            if len(text) >= SHORTEST and text not in self._texts:
                spelled = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
                for each in spelled | {repr(text)[1:-1]}:
                    self._add(each)

    def _add(self, text: str) -> None:
        if text in self._texts:
            return
        self._texts.add(text)
        self._likely = None
        for length, heads in zip(_HEADS, self._heads, strict=True):
            if len(text) >= length:
                heads.setdefault(text[:length], set()).add(len(text))
                return

    def replace(self, text: str, mark: str) -> tuple[str, int]:
        """Return a text with a mark in the place of each that is found; and how many were."""
        if not self._texts:
            return text, 0
        parts, kept, found = [], 0, 0
        for at in self._places(text):
            length = self._length_at(text, at) if at >= kept else 0
            if length:
                parts += [text[kept:at], mark]
                kept = at + length
                found += 1
        return ("".join([*parts, text[kept:]]), found) if found else (text, 0)

    def _places(self, text: str) -> Iterator[int]:
        """Yield where a text may begin: where four letters stand that begin one, each at its place.

        What the search passes over costs nearly nothing.
        """
        if self._likely is None:
            beginnings = {one[:SHORTEST] for one in self._texts}
            columns = [{one[at] for one in beginnings} for at in range(SHORTEST)]
            classes = [f"[{''.join(map(re.escape, sorted(letters)))}]" for letters in columns]
            self._likely = re.compile(f"(?=({''.join(classes)}))", re.DOTALL)
            self._beginnings = beginnings
        for match in self._likely.finditer(text):
            if match[1] in self._beginnings:
                yield match.start()

    def _length_at(self, text: str, at: int) -> int:
        """Return how long the longest text is that stands somewhere; 0 where none does."""
        for length, heads in zip(_HEADS, self._heads, strict=True):
            for size in sorted(heads.get(text[at : at + length], ()), reverse=True):
                if text[at : at + size] in self._texts:
                    return size
        return 0

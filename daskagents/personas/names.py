"""Names of people by locale: the lists of `faker`, from which whole columns are drawn at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.labels import STRINGS, Column, Labels
from daskagents.personas.nodes import hint

Part: TypeAlias = Literal["full", "first", "last"]
Sex: TypeAlias = Literal["female", "male", ""]

_SEXES: dict[str, Sex] = {
    **dict.fromkeys(
        ["female", "f", "woman", "women", "girl", "w", "weiblich", "♀", "女"], "female"
    ),
    **dict.fromkeys(["male", "m", "man", "men", "boy", "männlich", "♂", "男"], "male"),
}


def sex_of(text: str) -> Sex:
    """Return which names a value of a field means; ``""`` where it is any.

    Examples
    --------
    >>> sex_of("Woman"), sex_of("M"), sex_of("other")
    ('female', 'male', '')
    """
    return _SEXES.get(text.strip().lower(), "")


@dataclass(frozen=True, eq=False)
class Words:
    """A list of names with how frequent each is."""

    texts: tuple[str, ...]
    ends: NDArray[np.float64]

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return which name each of `n` people has."""
        last = float(self.ends[-1])
        return np.searchsorted(self.ends, rng.random(n) * last, side="right").astype(np.int64)


@dataclass(frozen=True)
class Names:
    """A field of names.

    Parameters
    ----------
    locales
        Of each cell of its conditions, such as ``"de_DE"``.
    part
        Whole names, or a part of them.
    sex
        The field that says whose names they are, if one does.

    Examples
    --------
    >>> names = Names(("en_US",), "first", "sex")
    >>> from daskagents.personas.labels import make_labels
    >>> people = make_labels([0, 1], ["female", "male"])
    >>> len(names.make(np.array([0, 0]), people, np.random.default_rng(0)))
    2
    """

    locales: tuple[str, ...]
    part: Part = "full"
    sex: str | None = None

    def make(
        self, cells: NDArray[np.int64], sexes: Column | None, rng: np.random.Generator
    ) -> Column:
        """Return a name for each person."""
        n = len(cells)
        kinds: tuple[Sex, ...] = ("",)
        which = np.zeros(n, np.int64)
        if isinstance(sexes, Labels):
            kinds = ("female", "male", "")
            which = np.array([kinds.index(sex_of(word)) for word in sexes.words])[sexes.codes]
        found = np.empty(n, STRINGS)
        for cell, locale in enumerate(self.locales):
            for number, sex in enumerate(kinds):
                rows = np.flatnonzero((cells == cell) & (which == number))
                if len(rows):
                    found[rows] = _draw(locale, sex, self.part, len(rows), rng)
        return found


def _draw(locale: str, sex: Sex, part: Part, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return names of one locale and sex."""
    found: Any = None
    for piece in _pieces(locale, sex, part):
        if isinstance(piece, str):
            column: Any = np.array(piece, STRINGS)
        else:
            column = np.array(piece.texts, STRINGS)[piece.draw(n, rng)]
        found = column if found is None else np.strings.add(found, column)
    texts: NDArray[Any] = found
    return texts


def check_locale(locale: object) -> str:
    """Return the name of a locale that `faker` has names of people for.

    Raises
    ------
    SpecError
        If it has none.

    Examples
    --------
    >>> check_locale("de_DE")
    'de_DE'
    >>> check_locale("de_DX")
    Traceback (most recent call last):
        ...
    daskagents.errors.SpecError: there are no names for the locale 'de_DX'; did you mean 'de_DE'?
    """
    from faker.providers import person
    from faker.utils.loading import list_module

    known: Sequence[str] = list_module(import_module(person.__name__))
    if locale not in known:
        raise SpecError(f"there are no names for the locale {locale!r}{hint(locale, known)}")
    _pieces(str(locale), "", "full")
    return str(locale)


@cache
def _pieces(locale: str, sex: Sex, part: Part) -> tuple[str | Words, ...]:
    """Return the lists that a name is made of, and what stands between them."""
    provider: Any = import_module(f"faker.providers.person.{locale}").Provider
    if part != "full":
        return (_words(provider, f"{part}_name", sex),)
    pieces: list[str | Words] = []
    for text, token in re.findall(r"([^{]*)\{\{(\w+)\}\}", _pattern(provider, sex)):
        if text:
            pieces.append(text)
        pieces.append(_words(provider, token, sex))
    return tuple(pieces)


def _pattern(provider: Any, sex: Sex) -> str:
    """Return the most frequent form of a name that has no titles."""
    forms: Any = getattr(provider, f"formats_{sex}", None) if sex else None
    forms = forms or getattr(provider, "formats", None) or ("{{first_name}} {{last_name}}",)
    weights = forms if isinstance(forms, dict) else dict.fromkeys(forms, 1.0)
    plain = [form for form in weights if not re.search(r"prefix|suffix|middle|title", form)]
    tokens = {form: re.findall(r"\{\{(\w+)\}\}", form) for form in plain}
    short = [form for form in plain if 1 < len(tokens[form]) <= 2] or plain
    if not short:
        return "{{first_name}} {{last_name}}"
    return str(max(short, key=lambda form: float(weights[form])))


def _words(provider: Any, token: str, sex: Sex) -> Words:
    """Return the list of a token such as ``first_name_male``, or the nearest there is."""
    kind = "last" if "last" in token else "first"
    plural = token.replace("_name", "_names")
    tries = [plural] if re.search(r"male$", token) else []
    tries += [f"{kind}_names_{sex}"] if sex else []
    tries += [plural, f"{kind}_names", f"{kind}_names_unisex"]
    for name in tries:
        if found := getattr(provider, name, None):
            return _read(found)
    both = [getattr(provider, f"{kind}_names_{some}", None) for some in ("female", "male")]
    if not any(both):
        raise SpecError(f"faker has no {kind} names for {provider.__module__.rpartition('.')[2]!r}")
    return _read([*dict.fromkeys(text for some in both if some for text in some)])


def _read(found: Any) -> Words:
    weights = found if isinstance(found, dict) else dict.fromkeys(found, 1.0)
    ends = np.cumsum(np.fromiter((float(weight) for weight in weights.values()), np.float64))
    return Words(tuple(map(str, weights)), ends)

"""What a row says of a person: facts in words, and which of them a text tells."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

#: What a column is about, by its name; the first that fits counts.
_ROLES = {
    "age": ("age", "age_years", "years"),
    "gender": ("gender", "sex"),
    "job": ("job", "occupation", "profession", "work"),
    "education": ("education", "degree", "schooling"),
    "name": ("name", "full_name", "fullname"),
}
#: Words for a gender; a column of them is one of genders whatever its other values.
MALE = frozenset({"male", "man", "m", "men", "boy"})
FEMALE = frozenset({"female", "woman", "f", "w", "women", "girl"})
HE = re.compile(r"\b(?:he|him|his|himself|man|male|mr)\b", re.IGNORECASE)
SHE = re.compile(r"\b(?:she|her|hers|herself|woman|female|mrs|ms)\b", re.IGNORECASE)

_ONES = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBERS = {word: 10 + at for at, word in enumerate(_TEENS)}
for _at, _ten in enumerate(TENS):
    _NUMBERS[_ten] = 20 + 10 * _at
    for _one, _word in enumerate(_ONES):
        _NUMBERS[f"{_ten}-{_word}"] = 21 + 10 * _at + _one
#: A number of up to three digits, or one from ten to ninety-nine in words.
NUMBER = rf"\d{{1,3}}|(?:{'|'.join(TENS)})(?:[- ](?:{'|'.join(_ONES)}))?|(?:{'|'.join(_TEENS)})"


def role_of(column: str) -> str:
    """Return what a column is about, or nothing if its name does not tell.

    Examples
    --------
    >>> role_of("Sex"), role_of("occupation"), role_of("town")
    ('gender', 'job', '')
    """
    name = column.casefold()
    return next((role for role, names in _ROLES.items() if name in names), "")


def by_role(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row by what they are about, as far as that is known.

    Examples
    --------
    >>> by_role({"Sex": "male", "town": "Rome"})
    {'gender': 'male'}
    """
    found: dict[str, Any] = {}
    for column, value in row.items():
        if role := role_of(column):
            found.setdefault(role, value)
    return found


def row_text(names: Iterable[str], values: Iterable[Any]) -> str:
    """Return a row as JSON; what is missing in it is left out.

    Examples
    --------
    >>> row_text(["age", "job", "income"], [np.int64(34), "farmer", float("nan")])
    '{"age": 34, "job": "farmer"}'
    """
    row = {}
    for name, value in zip(names, values, strict=True):
        value = value.item() if isinstance(value, np.generic) else value
        if not _missing(value):
            plain = isinstance(value, bool | int | float | str)
            row[name] = value if plain else str(value)
    return json.dumps(row, ensure_ascii=False)


def _missing(value: Any) -> bool:
    """Whether a value is none: None, NaN, an empty text, or what pandas has for these."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


def in_words(row: Mapping[str, Any], between: str = "; ") -> str:
    """Return facts in words.

    Examples
    --------
    >>> in_words({"age": 34, "first_language": "Polish", "smokes": False})
    'age: 34; first language: Polish; smokes: no'
    """
    return between.join(f"{label(name)}: {shown(value)}" for name, value in row.items())


def label(column: str) -> str:
    """Return the name of a column in words."""
    return column.replace("_", " ")


def shown(value: Any) -> str:
    """Return a value as a text shows it.

    Examples
    --------
    >>> shown(True), shown(41.0), shown(1234.5678), shown("high_school")
    ('yes', '41', '1234.57', 'high school')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
    return str(value).replace("_", " ")


def template(row: Mapping[str, Any]) -> str:
    """Return the background of a person of whom nothing is known but the row.

    Examples
    --------
    >>> template({"age": 34, "job": "farmer"})
    'A person (age: 34; job: farmer).'
    """
    return f"A person ({in_words(row)})." if row else "A person."


def untold(text: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a row that a text does not tell in the words of the row.

    Examples
    --------
    >>> untold("Ann, thirty-four, works on her farm.", {"age": 34, "sex": "female", "job": "clerk"})
    {'job': 'clerk'}
    """
    text = straight(text)
    said = text.casefold()
    return {name: value for name, value in row.items() if not _tells(text, said, name, value)}


def straight(text: str) -> str:
    """Return a text with plain apostrophes, as rows have them."""
    return text.replace("\u2019", "'")


def _tells(text: str, said: str, column: str, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    role = role_of(column)
    if role == "gender" and (gender := gender_of(value)):
        return bool((HE if gender == "male" else SHE).search(text))
    if isinstance(value, int | float):
        return float(value) in numbers_in(text)
    if role == "name":  # the first of several names is enough
        return mentions(said, str(value)) or mentions(said, str(value).split()[0])
    return mentions(said, shown(value))


def mentions(said: str, words: str) -> bool:
    """Whether words stand in a text, which is casefolded, and not only within other words.

    Examples
    --------
    >>> mentions("two clerks and a lawyer", "Clerk"), mentions("of malevolence", "male")
    (True, False)
    """
    wanted = re.escape(words.casefold())
    return re.search(rf"(?<!\w){wanted}(?:s|es|['\u2019]s)?(?!\w)", said) is not None or (
        not words.isascii() and words.casefold() in said  # scripts without spaces
    )


def numbers_in(text: str) -> set[float]:
    """Return the numbers that a text names.

    Examples
    --------
    >>> sorted(numbers_in("Forty-one, with 2 children and 31,000.50 a year."))
    [2.0, 41.0, 31000.5]
    """
    digits = re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)
    found = {float(each.replace(",", "")) for each in digits}
    words = re.findall(rf"\b(?!\d)(?:{NUMBER})\b", text.casefold())
    return found | {float(number_of(each)) for each in words}


def number_of(said: str) -> int:
    """Return a number that was found by `NUMBER`."""
    said = said.casefold().replace(" ", "-")
    return int(said) if said.isdigit() else _NUMBERS[said]


def gender_of(value: Any) -> str:
    """Return ``male`` or ``female``, or nothing for what is neither, or not known.

    Examples
    --------
    >>> gender_of("Woman"), gender_of("m"), gender_of("non-binary")
    ('female', 'male', '')
    """
    said = str(value).strip().casefold()
    return "male" if said in MALE else "female" if said in FEMALE else ""

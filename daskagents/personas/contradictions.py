"""Where a background contradicts the row that it was written for.

What a text says of others (her 5-year-old son, his father, who is a clerk) and of the past (when
she was twelve, he was a clerk) is no contradiction. So only what is plainly said of the person
counts: rather one contradiction is passed over than a sound text refused. Texts are read as
English; the fields of an answer in any language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from daskagents.personas.facts import (
    HE,
    NUMBER,
    SHE,
    TENS,
    by_role,
    gender_of,
    mentions,
    number_of,
    role_of,
    shown,
    straight,
)

#: People, animals and things of which an age or a job may be told beside those of the person.
_OTHERS = re.compile(
    r"\b(?:sons?|daughters?|child|children|kids?|baby|babies|toddlers?|twins?|boys?|girls?|brothers?"
    r"|sisters?|siblings?|mothers?|fathers?|moms?|mums?|dads?|parents?|grand\w+|wife|husband|spouse"
    r"|partner|friends?|niece|nephew|uncle|aunt|cousins?|neighbou?rs?|boss|colleagues?|who|dogs?"
    r"|cats?|pets?|horses?|cars?|house|home|farm|company|firm|business|shop|building|tradition)\b",
    re.IGNORECASE,
)
#: The same, right after an age: "a 34-year-old father" is the person.
_YOUNG_OR_THING = re.compile(
    r"^\W*(?:\w+\W+){0,1}?(?:sons?|daughters?|child|children|kids?|baby|twins?|boys?|girls?"
    r"|brothers?|sisters?|siblings?|niece|nephew|cousins?|dogs?|cats?|pets?|horses?|cars?|trucks?"
    r"|house|home|farm|company|firm|business|shop|building|tradition)\b",
    re.IGNORECASE,
)
#: Words close before that put what is said into the past, into the future or in doubt.
_THEN = re.compile(
    r"\b(?:was|were|when|since|until|till|turned|turning|at|by|became|become|once|formerly|before"
    r"|after|used|had|ago|will|would|if|not|never|his|her|my|their|our|your|from|than|over|under)\b",
    re.IGNORECASE,
)
#: How many words before are close.
_CLOSE = 5

_IS = r"(?:am|is|are|(?<=\bI)'m|(?<=he)'s|(?<=they)'re)"
_SUBJECT = r"(?:I|he|she|they)"
_AGES = [
    re.compile(rf"\b(?P<n>{NUMBER})[- ]?(?:years?|yrs?)[- ](?:old\b|of age\b)", re.IGNORECASE),
    re.compile(rf"\b(?:aged|age\s*:|age is)\s*(?P<n>{NUMBER})\b", re.IGNORECASE),
    re.compile(
        rf"\b{_SUBJECT}(?:\s[A-Z]\w+)?\s?{_IS}\s+(?:now\s+|currently\s+)?(?P<n>{NUMBER})"
        r"(?=\s*(?:[.,;!?]|$|and\b|but\b))",
        re.IGNORECASE,
    ),
]
_DECADE = re.compile(
    rf"\b{_IS}\s+(?:now\s+|currently\s+)?in\s+(?:his|her|my|their)\s+"
    rf"(?:(?:early|mid|late)[- ])?(?P<tens>{'|'.join(ten[:-1] + 'ies' for ten in TENS)}"
    rf"|[2-9]0'?s)\b",
    re.IGNORECASE,
)
_PERSON = re.compile(
    rf"\b(?:{NUMBER})[- ]years?[- ]old\s+(?:[\w-]+\s+){{0,2}}?(man|woman|male|female)\b",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\b(?:I|my|me)\b")
_PERSONS = re.compile(rf"\b{_SUBJECT}\b", re.IGNORECASE)
#: Words between "is a" and a job that make it somebody else's, or none.
_NO_ADJECTIVE = (
    r"(?!(?:not|no|never|to|of|for|with|by|like|than|from|and|or|former|ex|retired|aspiring|future|"
    r"married|a|an|the|who|son|daughter)\b)"
)


def contradictions(
    answer: Mapping[str, Any],
    row: Mapping[str, Any],
    choices: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Return what an answer says that the row does not, in words that a model can act on.

    Parameters
    ----------
    answer
        ``name``, ``age``, ``gender``, ``job`` and the text ``background``, as far as given.
    row
        The values of the person's columns, by name.
    choices
        The values that text columns have in the whole table: a person who has one of them has no
        other.

    Examples
    --------
    >>> row, jobs = {"age": 34, "job": "farmer"}, {"job": ["farmer", "clerk"]}
    >>> said = {"age": 34, "job": "farmer", "background": "Ann is a 52-year-old clerk."}
    >>> print(*contradictions(said, row, jobs), sep="; ")
    the age is 34, and the background says 52; the job is farmer, and the background says clerk
    >>> contradictions({"background": "Ann, 34, has a 12-year-old son, a clerk."}, row, jobs)
    []
    """
    facts = by_role(row)
    text = straight(str(answer.get("background", "")))
    text = _without_name(text, str(answer.get("name", "")))
    found = [*_in_fields(answer, facts)]
    if "age" in facts:
        found += _ages(text, facts["age"])
    if gender := gender_of(facts.get("gender", "")):
        found += _genders(text, gender)
    for column, own in row.items():
        role = role_of(column)
        if role in ("job", "education") and isinstance(own, str):
            others = _others(own, tuple((choices or {}).get(column, ())))
            claims = _job if role == "job" else _education
            found += [
                f"the {role} is {shown(own)}, and the background says {shown(other)}"
                for other in claims(text, own, others)
            ]
    return list(dict.fromkeys(found))


def _in_fields(answer: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields of an answer that are not those of the row."""
    for role in ("name", "age", "gender", "job"):
        if role not in facts or role not in answer:
            continue
        own, said = facts[role], answer[role]
        if role == "age":
            fits = _same_age(own, said)
        elif role == "gender" and gender_of(own):
            fits = gender_of(own) == gender_of(said)
        else:
            fits = mentions(str(said).casefold().replace("_", " "), shown(own))
        if not fits:
            yield f"the {role} is {shown(own)}, and the answer says {shown(said)}"


def _same_age(own: Any, said: Any) -> bool:
    try:
        return abs(float(own) - float(said)) < 1
    except ValueError:  # the row has no number, such as "65 and over"
        return True


def _ages(text: str, own: Any) -> Iterator[str]:
    """Yield ages that a text gives the person, where they are not the person's."""
    for sentence in _sentences(text):
        for pattern in _AGES:
            for match in pattern.finditer(sentence):
                said = number_of(match["n"])
                after = sentence[match.end() :]
                fits = _same_age(own, said) or _YOUNG_OR_THING.match(after)
                if not fits and _of_person(sentence[: match.start()]):
                    yield f"the age is {shown(own)}, and the background says {said}"
        for match in _DECADE.finditer(sentence):
            tens = match["tens"].casefold()
            decade = int(tens[0]) * 10 if tens[0].isdigit() else number_of(tens[:-3] + "y")
            if _of_person(sentence[: match.start()]) and not _within(own, decade):
                yield f"the age is {shown(own)}, and the background says {match['tens']}"


def _without_name(text: str, name: str) -> str:
    """Return a text that calls a person they and not by name; so patterns need not know the name.

    Examples
    --------
    >>> _without_name("Ann Bell is 34.", "Ann Bell")
    'they Bell is 34.'
    """
    first = name.partition(" ")[0]
    plain = len(first) > 1 and first.isalpha() and first[0] != first[0].lower()
    return text.replace(first, "they") if plain else text


def _within(own: Any, decade: int) -> bool:
    try:
        return decade <= float(own) < decade + 10
    except ValueError:
        return True


def _genders(text: str, gender: str) -> Iterator[str]:
    """Yield the other gender, where a text plainly has it."""
    other = "female" if gender == "male" else "male"
    for sentence in _sentences(text):
        for match in _PERSON.finditer(sentence):
            if gender_of(match[1]) == other and _of_person(sentence[: match.start()]):
                yield f"the gender is {gender}, and the background says {match[1]}"
    own, others = (HE, SHE) if gender == "male" else (SHE, HE)
    # a text in the third person calls its person he or she; both, and somebody else is there too
    plain = not _FIRST_PERSON.search(text) and not own.search(text)
    if plain and len(others.findall(text)) > 1:
        pronoun = "she" if other == "female" else "he"
        yield f"the gender is {gender}, and the background says {pronoun}"


@lru_cache(1024)
def _others(own: str, all_values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values that a person who has one of them does not have."""
    mine = shown(own).casefold()
    found = []
    for value in all_values:
        other = shown(value).casefold()
        if other.strip() and not mentions(mine, other) and not mentions(other, mine):
            found.append(value)
    return tuple(found)


@lru_cache(1024)
def _claim(before: str, others: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return the pattern of a claim to be or have one of some values."""
    if not others:
        return None
    longest = sorted((shown(other) for other in others), key=len, reverse=True)
    values = "|".join(map(re.escape, longest))
    return re.compile(
        rf"{before}\s+(?:(?:now|currently|still|also|a|an|the|his|her|my|their)\s+)*"
        rf"(?:{_NO_ADJECTIVE}[\w-]+\s+){{0,2}}?(?P<said>{values})(?!\w|-)",
        re.IGNORECASE,
    )


def _job(text: str, own: str, others: tuple[str, ...]) -> Iterator[str]:
    """Yield other jobs that a text gives the person."""
    as_ = r"(?:works?|serves?|employed|work)\s+(?:now\s+|currently\s+)?as"
    claim = _claim(rf"(?:\b{_IS}|\b{as_}|-year-old)", others)
    for sentence in _sentences(text):
        for match in claim.finditer(sentence) if claim else ():
            if _of_person(sentence[: match.start()]):
                yield match["said"]


def _education(text: str, own: str, others: tuple[str, ...]) -> Iterator[str]:
    """Yield other degrees that a text says the person has, if it does not name the own one too."""
    claim = _claim(r"\b(?:holds?|has|have|with|earned|received|obtained)", others)
    if claim is None or mentions(text.casefold(), shown(own)):
        return
    for sentence in _sentences(text):
        for match in claim.finditer(sentence):
            if _of_person(sentence[: match.start()]):
                yield match["said"]


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?;])\s+|\n+", text)


def _of_person(before: str) -> bool:
    """Whether what follows these words of a sentence is said of the person, and as of now."""
    clause = re.split(r"[,(:]|\band\b", before)[-1]
    close = " ".join(clause.split()[-_CLOSE:])
    others = [match.end() for match in _OTHERS.finditer(before)]
    if others and not _PERSONS.search(before, others[-1]):
        return False
    return not _THEN.search(close)

"""Values as they travel to the page: numbers, bools, None and texts that are not long."""

from __future__ import annotations

import ast
import math
from typing import Any

#: Characters of a text in a table, and of one that is shown by itself.
CELL, TEXT = 200, 4_000


def plain(value: Any, most: int = CELL) -> Any:
    """Return a value as msgpack and JSON know it; None for NaN, and texts cut at `most` characters.

    Examples
    --------
    >>> plain(float("nan")), plain(3), plain((1, "b")), plain("x" * 300, 10)
    (None, 3, '[1, "b"]', 'xxxxxxxxxx… (300 characters)')
    """
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return cut(value if isinstance(value, str) else _words(value), most)


def _words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_words, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_words(each)}' for key, each in value.items())}}}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def cut(text: str, most: int) -> str:
    """Return a text, shortened where it is longer than `most` characters, and then how long it is.

    Examples
    --------
    >>> cut("short", 10), cut("not so short", 6)
    ('short', 'not so… (12 characters)')
    """
    text = text.encode("utf-8", "replace").decode()  # msgpack knows no lone surrogates
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def typed(text: str, label: str) -> Any:
    """Return a value that was typed in, as one of a field's type, which is given in words.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> typed("3", "int"), typed("3", "float | None"), typed("", "int | None"), typed("3", "str")
    (3, 3.0, None, '3')
    >>> typed("yes", "bool"), typed("a", "Literal['a', 'b']")
    (True, 'a')
    """
    base = label.removesuffix(" | None")
    if base != label and text.strip().lower() in ("", "none"):
        return None
    try:
        if base == "bool":
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                text.strip().lower()
            ]
        if base in ("int", "float"):
            return (int if base == "int" else float)(text)
    except (ValueError, KeyError):
        raise ValueError(f"{text!r} is no {base}") from None
    if base.startswith("Literal["):
        words = ast.literal_eval(base.removeprefix("Literal"))
        return next((word for word in words if str(word) == text), text)
    return text

"""The texts of models: shortened to be shown, searched for JSON, parted from thoughts."""

from __future__ import annotations

import json

#: How models mark what they think aloud, where the endpoint does not keep it apart.
_OPEN, _CLOSE = "<think>", "</think>"


def shorten(text: str, most: int = 200) -> str:
    """Return `text`, or its beginning and how much is left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


def first_object(text: str) -> str | None:
    """Return the first ``{...}`` that is JSON, if that is what begins at the first brace."""
    start = text.find("{")
    try:
        return text[start : json.JSONDecoder().raw_decode(text, start)[1]] if start >= 0 else None
    except (ValueError, RecursionError):
        return None


def without_thought(text: str) -> tuple[str, str]:
    """Return a text without what it thinks aloud at its beginning, and that.

    Examples
    --------
    >>> without_thought("<think>Hm, half?</think> 50")
    ('50', 'Hm, half?')
    >>> without_thought("50")
    ('50', '')
    """
    if not text.lstrip().startswith(_OPEN):
        return text, ""
    thought, _, said = text.partition(_CLOSE)
    return said.lstrip(), thought.strip().removeprefix(_OPEN).strip()

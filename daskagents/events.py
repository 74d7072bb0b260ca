"""Events: what happened in a run, a line of JSON each, so that it can be gone through again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from daskagents.errors import FolderError

_CHECKED = re.compile(r'(.*), "crc": "([0-9a-f]{8})"\}')


def line_of(event: str, fields: dict[str, Any], default: Callable[[Any], Any]) -> str:
    r"""Return an event as a line, with a checksum at its end.

    Examples
    --------
    >>> line_of("step", {"step": 3}, str)
    '{"event": "step", "step": 3, "crc": "8cfe8fac"}\n'
    """
    text = json.dumps({"event": event, **fields}, default=default)
    return f'{text[:-1]}, "crc": "{crc32(text.encode()):08x}"}}\n'


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield all events of a run, in order.

    The line that a killed run left unfinished is passed over.

    Raises
    ------
    FolderError
        If another line is damaged, with its number.
    """
    with path.open("rb") as file:
        lines = file.read().split(b"\n")
    torn = 0
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        event = _read(line)
        if event is None:
            torn = torn or number
            continue
        if torn and event["event"] != "resumed":
            raise FolderError(f"{path}, line {torn} is damaged; restore the file from a copy")
        torn = 0
        yield event


def _read(line: bytes) -> dict[str, Any] | None:
    """Return an event; None where the line is not what was written."""
    try:
        text = line.decode()
        match = _CHECKED.fullmatch(text)
        if match is None or f"{crc32((match[1] + '}').encode()):08x}" != match[2]:
            return None
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return found

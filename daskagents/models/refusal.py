"""What an endpoint says when it refuses a request, and what is to be done about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

from daskagents.errors import EndpointError, ModelError, RefusalError
from daskagents.models.text import shorten
from daskagents.usage import Usage

#: Statuses below 500 that may pass: another try is worth it.
_PASSING = frozenset({408, 409, 429})
#: The longest that an endpoint may have us wait, in seconds.
_LONGEST_WAIT = 600.0
#: How much of what an endpoint says is shown, in characters.
_SHOWN = 400
#: How vendors say that a filter of theirs keeps a prompt or an answer back.
_FILTERED = re.compile(r"content[_ ]filter|content management policy|ResponsibleAI", re.IGNORECASE)


def refusal(
    url: str,
    status: int,
    headers: Mapping[str, str],
    answer: bytes,
    *,
    redact: Callable[[str], str],
    has_key: bool,
) -> ModelError:
    """Return the error of an answer with an error status.

    Parameters
    ----------
    url
        Who was asked.
    status, headers, answer
        What came back.
    redact
        Takes the key out of a text.
    has_key
        Whether a key was passed, so that the cure can say where it is to be looked for.

    Examples
    --------
    >>> error = refusal(
    ...     "http://it", 429, {"Retry-After": "3"}, b"slow down", redact=str, has_key=False
    ... )
    >>> print(error, error.passing, error.wait)
    http://it refused the request with status 429: slow down True 3.0
    """
    said = redact(_message(answer))
    # Shortened after the key is out: of a key that is cut, a part would be left.
    told = f"{url} refused the request with status {status}"
    told += f": {shorten(said, _SHOWN)}" if said else ""
    error: ModelError
    if status == HTTPStatus.BAD_REQUEST and _FILTERED.search(said):
        error = RefusalError(told)
        error.usage = Usage()
        return error
    error = EndpointError(
        told + _cure(status, redact(headers.get("Location", "elsewhere")), has_key)
    )
    error.status = status
    error.passing = status in _PASSING or status >= 500
    error.wait = wait_of(headers)
    return error


def _cure(status: int, target: str, has_key: bool) -> str:
    """Return what to do about a status, where that is known."""
    if status in (401, 403):
        cure = "check the api_key that was passed" if has_key else "set OPENAI_API_KEY"
        return f"; {cure}, where the workers run"
    if status == HTTPStatus.NOT_FOUND:
        return "; check model= and base_url=, which mostly ends in /v1"
    if status < 400:
        return f"; it redirects to {target}: give that as base_url="
    return ""


def _message(answer: bytes) -> str:
    """Return the message of an error in any of its usual forms, else the text of the answer."""
    try:
        found = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        return answer.decode(errors="replace").strip()
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def wait_of(headers: Mapping[str, str]) -> float:
    """Return how many seconds the Retry-After header asks us to wait, 0 without one."""
    asked = headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        seconds = _until(asked)
    return min(seconds, _LONGEST_WAIT) if seconds > 0 else 0.0


def _until(date: str) -> float:
    """Return the seconds until an HTTP date, 0 if it is none."""
    try:
        then = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return 0.0
    return (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()

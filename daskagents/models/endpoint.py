"""The connections to an endpoint that speaks the OpenAI interface; what fails is tried again."""

from __future__ import annotations

import asyncio
import math
import os
import random
import resource
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

from daskagents.errors import EndpointError
from daskagents.models.schema import shorten

OPENAI_URL = "https://api.openai.com/v1"

#: Statuses below 500 that may pass: another try is worth it.
_PASSING = frozenset({408, 409, 429})
#: Statuses that tell that somebody is there, whatever is wrong with asking for the models.
_ALIVE = frozenset({404, 405, 429})
#: The first pause before another try, and the longest, in seconds; each is twice the one before.
_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
#: The longest that an endpoint may have us wait, in seconds.
_LONGEST_WAIT = 600.0
#: Files that a process may want to open besides its connections.
_SPARE_FILES = 200
#: Shorter keys ("none", "EMPTY") may be words of an answer.
_KEY_LENGTH = 12
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Secret:
    """A key, which is never shown."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a request failed: its status (0: no answer), and how long we are asked to wait."""

    problem: str
    status: int = 0
    wait: float = 0.0

    @property
    def passing(self) -> bool:
        """Whether another try is worth it."""
        return self.status in _PASSING or self.status >= 500 or not self.status


class Endpoint:
    """The connections of one event loop to one endpoint.

    The `openai` package says what is sent along (key, organisation, project), and aiohttp sends
    it: the package's own client takes ten times the processor time for a request.

    Parameters
    ----------
    base_url
        Where the interface begins, without a slash at its end.
    key
        The key; None: that in OPENAI_API_KEY.
    timeout
        Seconds to wait for a connection, and again for an answer.

    Raises
    ------
    EndpointError
        If it is OpenAI's own, and there is no key.
    """

    def __init__(self, base_url: str, key: Secret | None, timeout: float) -> None:
        import aiohttp

        self.base_url = base_url
        self._given = key is not None
        self._key = (key.value if key else os.environ.get("OPENAI_API_KEY", "")).strip()
        self._secret = self._key.encode() if len(self._key) >= _KEY_LENGTH else None
        self._timeout = timeout
        self._first: asyncio.Task[str] | None = None
        self._unreachable = (aiohttp.ClientError, OSError)
        self._session = aiohttp.ClientSession(
            headers=_headers(base_url, self._key),
            connector=aiohttp.TCPConnector(limit=_most_connections()),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No bound on the whole: a request that waits for a free connection is not late.
            timeout=aiohttp.ClientTimeout(sock_connect=timeout, sock_read=timeout),
            proxy=_proxy(base_url),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()

    def redact(self, text: str) -> str:
        """Return the text of an error without the key."""
        return text.replace(self._key, "***") if self._key else text

    async def post(self, path: str, body: bytes, retries: int) -> bytes:
        """Send a request, again while it fails in a way that may pass, and return the answer.

        Parameters
        ----------
        path
            The path after the base URL.
        body
            JSON.
        retries
            How many further tries there may be.

        Raises
        ------
        EndpointError
            If the endpoint cannot be reached or refuses; its text never holds the key.
        """
        outcome = await self._try("POST", path, body, retries)
        if isinstance(outcome, _Failure):
            error = EndpointError(outcome.problem)
            error.status, error.passing, error.wait = outcome.status, outcome.passing, outcome.wait
            raise error
        return outcome

    async def check(self) -> None:
        """Raise an `EndpointError` if there is nobody, or our key is refused."""
        outcome = await self._send("GET", "/models", None)
        if isinstance(outcome, _Failure) and outcome.status not in _ALIVE:
            raise EndpointError(outcome.problem)

    async def first_model(self) -> str:
        """Return the first model that the endpoint lists; it is asked once for all who wait.

        Raises
        ------
        EndpointError
            If it cannot be asked, or lists none.
        """
        first = self._first
        if first is None or (first.done() and (first.cancelled() or first.exception())):
            first = self._first = asyncio.create_task(self._list_first())
        return await asyncio.shield(first)

    async def _list_first(self) -> str:
        outcome = await self._try("GET", "/models", None, 1)
        if isinstance(outcome, bytes):
            try:
                return msgspec.json.decode(outcome, type=_Listing).data[0].id
            except (msgspec.DecodeError, IndexError):
                outcome = _Failure("it lists no models")
        raise EndpointError(
            f"{self.base_url}: no model was named, and there is none to choose: "
            f"{outcome.problem}; give model="
        )

    async def _try(
        self, verb: str, path: str, body: bytes | None, retries: int
    ) -> bytes | _Failure:
        """Send a request until it succeeds, cannot pass, or was tried often enough."""
        tries = 1
        while True:
            outcome = await self._send(verb, path, body)
            if isinstance(outcome, bytes) or not outcome.passing or tries > retries:
                return outcome
            await asyncio.sleep(outcome.wait + _pause(tries))
            tries += 1

    async def _send(self, verb: str, path: str, body: bytes | None) -> bytes | _Failure:
        """Send a request once."""
        url = self.base_url + path
        try:
            # A redirect would make a GET of a POST, and might carry the key to somebody else.
            async with self._session.request(
                verb, url, data=body, allow_redirects=False
            ) as response:
                answer = self._clean(await response.read())
        except TimeoutError:
            return _Failure(f"{url} did not answer within {self._timeout:g} s")
        except self._unreachable as error:
            return _Failure(f"cannot reach {url}: {_reason(error)}; is the server running?")
        if response.status < 300:
            return answer
        return self._refusal(url, response.status, response.headers, answer)

    def _clean(self, answer: bytes) -> bytes:
        """Return an answer without our key, should it quote it: answers are shown and stored."""
        if self._secret is None or self._secret not in answer:
            return answer
        return answer.replace(self._secret, b"***")

    def _refusal(
        self, url: str, status: int, headers: Mapping[str, str], answer: bytes
    ) -> _Failure:
        """Return what an answer with an error status says."""
        said = shorten(self.redact(_message(answer)))
        refused = f"{url} refused the request with status {status}"
        if said:
            refused += f": {said}"
        if status in (401, 403):
            cure = "check the api_key that was passed" if self._given else "set OPENAI_API_KEY"
            refused += f"; {cure}, where the workers run"
        elif status == HTTPStatus.NOT_FOUND:
            refused += "; check model= and base_url=, which mostly ends in /v1"
        elif status < 400:
            target = self.redact(headers.get("Location", "elsewhere"))
            refused += f"; it redirects to {target}: give that as base_url="
        return _Failure(refused, status, _wait(headers))


class _Named(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Named]


def _headers(base_url: str, key: str) -> dict[str, str]:
    """Return the headers that the openai package would send."""
    import openai

    if not key and base_url == OPENAI_URL:
        raise EndpointError(f"{base_url} needs a key: set OPENAI_API_KEY where the workers run")
    # The package insists on a key; a server of one's own need not have one.
    with openai.OpenAI(base_url=base_url, api_key=key or "none") as client:
        headers = {**client.default_headers, **(client.auth_headers if key else {})}
    return {name: value for name, value in headers.items() if isinstance(value, str)}


def _most_connections() -> int:
    """Return how many connections a process may have: all the files it may open, but a few."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if most == resource.RLIM_INFINITY else max(most - _SPARE_FILES, _SPARE_FILES)


def _proxy(base_url: str) -> str | None:
    """Return the proxy that the environment names for a URL, never one for this machine."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in _LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _reason(error: BaseException) -> str:
    """Return why a connection failed, in few words."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return str(cause) or type(cause).__name__


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


def _wait(headers: Mapping[str, str]) -> float:
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


def _pause(tries: int) -> float:
    """Return a pause that doubles with each try; by chance, so that not all come back at once."""
    return min(math.ldexp(_PAUSE, min(tries, 9) - 1), _LONGEST_PAUSE) * (0.5 + random.random())

"""The connections to an endpoint that speaks the OpenAI interface; each request is sent once."""

from __future__ import annotations

import asyncio
import os
import resource
import urllib.request
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from daskagents.errors import BrokenError, EndpointError, LateError, ModelError, UnreachableError
from daskagents.models.quirks import Quirks
from daskagents.models.refusal import refusal

OPENAI_URL = "https://api.openai.com/v1"

#: Statuses that tell that somebody is there, whatever is wrong with asking for the models.
_ALIVE = frozenset({404, 405, 429})
#: Files that a process may want to open besides its connections.
_SPARE_FILES = 200
#: Seconds that a connection is kept for the next request: less than the 5 s after which most
#: servers close it, maybe just as it is taken.
_IDLE = 4.0
#: Shorter keys ("none", "EMPTY") may be words of an answer.
_KEY_LENGTH = 12
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Secret:
    """A key, which is never shown."""

    value: str = field(repr=False)


class Patience(NamedTuple):
    """How many seconds an endpoint may take to connect, to begin its answer, and in all."""

    connect: float
    first_byte: float
    whole: float


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
    patience
        How long it may take.

    Raises
    ------
    EndpointError
        If it is OpenAI's own, and there is no key.
    """

    def __init__(self, base_url: str, key: Secret | None, patience: Patience) -> None:
        import aiohttp

        self.base_url = base_url
        self._has_key = key is not None
        self._key = (key.value if key else os.environ.get("OPENAI_API_KEY", "")).strip()
        self._secret = self._key.encode() if len(self._key) >= _KEY_LENGTH else None
        self._patience = patience
        self._quirks: dict[str, Quirks] = {}
        self._first: asyncio.Task[str] | None = None
        self._aiohttp = aiohttp
        # A request that waits for a free connection is not late: it waits here, not in aiohttp.
        self._free = asyncio.Semaphore(_most_connections())
        self._session = aiohttp.ClientSession(
            headers=_headers(base_url, self._key),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=patience.whole,
                sock_connect=patience.connect,
                sock_read=patience.first_byte,
            ),
            proxy=_proxy(base_url),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()

    def redact(self, text: str) -> str:
        """Return the text of an error without the key."""
        return text.replace(self._key, "***") if self._key else text

    def quirks(self, model: str) -> Quirks:
        """Return what is known that this endpoint does not take for a model."""
        found = self._quirks.get(model)
        if found is None:
            found = self._quirks[model] = Quirks(f"{model!r} at {self.base_url}")
        return found

    async def post(self, path: str, body: bytes) -> bytes:
        """Send a request, once, and return the answer.

        Parameters
        ----------
        path
            The path after the base URL.
        body
            JSON.

        Raises
        ------
        UnreachableError
            If nobody is there, or the connection is lost.
        LateError
            If it does not connect, or answer, in time.
        BrokenError
            If the answer is cut off.
        RefusalError
            If a filter of the endpoint keeps the prompt back.
        EndpointError
            If it refuses. No text holds the key.
        """
        return await self._send("POST", path, body)

    async def check(self) -> None:
        """Raise an `EndpointError` if there is nobody, or our key is refused."""
        try:
            await self._send("GET", "/models", None)
        except EndpointError as error:
            if error.status not in _ALIVE:
                raise

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
        why = EndpointError("it lists no models")
        try:
            listed = await self._send("GET", "/models", None)
            return msgspec.json.decode(listed, type=_Listing).data[0].id
        except EndpointError as error:
            why = error
        except (msgspec.DecodeError, IndexError):
            pass
        told = f"{self.base_url}: no model was named, and there is none to choose: {why}"
        failure = EndpointError(f"{told}; give model=")
        failure.status, failure.passing, failure.wait = why.status, why.passing, why.wait
        raise failure

    async def _send(self, verb: str, path: str, body: bytes | None) -> bytes:
        """Send a request once."""
        url = self.base_url + path
        try:
            # A redirect would make a GET of a POST, and might carry the key to somebody else.
            async with (
                self._free,
                self._session.request(verb, url, data=body, allow_redirects=False) as response,
            ):
                answer = self._clean(await response.read())
        except (self._aiohttp.ClientError, OSError) as error:
            failure = self._failure(url, error)
        else:
            if response.status < 300:
                return answer
            failure = refusal(
                url,
                response.status,
                response.headers,
                answer,
                redact=self.redact,
                has_key=self._has_key,
            )
        if isinstance(failure, EndpointError):
            failure.endpoint = self.base_url
        # Here, so that what aiohttp raised, which knows the headers, is no part of it.
        raise failure

    def _clean(self, answer: bytes) -> bytes:
        """Return an answer without our key, should it quote it: answers are shown and stored."""
        if self._secret is None or self._secret not in answer:
            return answer
        return answer.replace(self._secret, b"***")

    def _failure(self, url: str, error: Exception) -> ModelError:
        """Return why there is no answer."""
        patience = self._patience
        match error:
            case self._aiohttp.ConnectionTimeoutError():
                return LateError(f"{url}: no connection within {patience.connect:g} s")
            case self._aiohttp.SocketTimeoutError():
                return LateError(f"{url} sent nothing for {patience.first_byte:g} s")
            case TimeoutError():
                return LateError(f"{url} did not answer within {patience.whole:g} s")
            case self._aiohttp.ClientPayloadError():
                return BrokenError(f"{url}: the answer was cut off")
            case self._aiohttp.ClientConnectorError():
                told = f"cannot reach {url}: {_reason(error)}; is the server running?"
                return UnreachableError(self.redact(told))
        told = f"{url}: the connection was lost before the answer: {_reason(error)}"
        return UnreachableError(self.redact(told))


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
    endless = most == resource.RLIM_INFINITY
    return 2**20 if endless else max(most - _SPARE_FILES, _SPARE_FILES)


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

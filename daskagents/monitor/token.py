"""Who may steer runs from the page: anybody on the scheduler's own machine, else who has a token.

The token is set where the scheduler is started, in the environment variable ``DASKAGENTS_TOKEN``
or as the value ``daskagents.token`` of Dask's configuration. It is typed into the page, compared,
and kept nowhere.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import time
from typing import Any
from urllib.parse import urlsplit

import dask

VARIABLE, KEY = "DASKAGENTS_TOKEN", "daskagents.token"


def expected() -> str:
    """Return the token that is set in this process; empty where none is."""
    return os.environ.get(VARIABLE) or str(dask.config.get(KEY, None) or "")


def is_right(given: str) -> bool:
    """Return whether a token is the one that is set; never where none is."""
    wanted = expected()
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def is_loopback(host: str) -> bool:
    """Return whether a server at an address can be reached from its own machine alone.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", "node7")]
    [True, True, True, False, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serves_only_here(scheduler: Any) -> bool:
    """Return whether the dashboard of a scheduler listens on this machine alone."""
    sockets = [
        listening
        for server in _servers(scheduler)
        for listening in getattr(server, "_sockets", {}).values()
    ]
    return bool(sockets) and all(is_loopback(each.getsockname()[0]) for each in sockets)


def _servers(scheduler: Any) -> list[Any]:
    """Return the HTTP servers of a scheduler."""
    server = getattr(scheduler, "http_server", None)
    return [] if server is None else [server]


def asked_here(request: Any) -> bool:
    """Return whether a page was asked for by an address of this machine, and by no other page.

    Else a page of somebody else, open in the same browser, could steer: by a name that leads here,
    or by what Bokeh gives to pages that embed it.
    """
    headers = request.headers
    names = [urlsplit(f"//{headers.get('Host', '')}").hostname or ""]
    if "Origin" in headers:
        names.append(urlsplit(headers["Origin"]).hostname or "")
    return all(map(is_loopback, names)) and not str(request.path).endswith("autoload.js")


class Leave:
    """Whether one page may steer.

    Parameters
    ----------
    scheduler
        Whose dashboard it is on.
    request
        What a browser asked for it with: its ``headers`` and ``path``.

    Attributes
    ----------
    given : bool
        Whether it may.
    why : str
        What to do where it may not.
    """

    def __init__(self, scheduler: Any, request: Any) -> None:
        self.given = serves_only_here(scheduler) and asked_here(request) and not expected()
        self.why = ""
        if not self.given and expected():
            self.why = "Enter the token to steer runs from this page."
        elif not self.given:
            self.why = (
                "This page only shows, as the dashboard can be reached from other machines. To"
                " steer runs from it, set a token where the scheduler is started:"
                f" {VARIABLE}=... in its environment, or {KEY} in Dask's configuration. Or serve"
                " the dashboard on this machine alone: dashboard_address='127.0.0.1:8787'."
            )

    @property
    def asks(self) -> bool:
        """Whether a token would help."""
        return not self.given and bool(expected())

    def offer(self, token: str) -> bool:
        """Take a token; return whether it is the right one. After a wrong one, wait a second."""
        global _wrong
        now = time.monotonic()
        if now - _wrong < _PAUSE:
            return self.given
        if is_right(token):
            self.given = True
        else:
            _wrong = now
        return self.given


#: Seconds after a wrong token in which none is looked at, whoever offers it; and when that was.
_PAUSE, _wrong = 1.0, -1.0e9

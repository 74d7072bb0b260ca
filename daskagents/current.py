"""The session that populations join: of the run that is under way, or of the current client."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from distributed import Client

from daskagents.cluster import current_client
from daskagents.executors import Cluster, Here
from daskagents.session import Session

_running: ContextVar[Session | None] = ContextVar("_running", default=None)
_ambient: weakref.WeakKeyDictionary[Client, Session] = weakref.WeakKeyDictionary()
_here: list[Session] = []


@contextmanager
def running(session: Session) -> Iterator[None]:
    """Make a session the one that populations join which were made in the meantime."""
    token = _running.set(session)
    try:
        yield
    finally:
        _running.reset(token)


def current_session() -> Session:
    """Return the session of the run that is under way, else that of the current client."""
    session = _running.get()
    if session is not None:
        return session
    client = current_client()
    if client is None:
        if not _here:
            here = Here()
            atexit.register(here.close)  # else open connections complain when the program ends
            _here.append(Session(here))
        return _here[0]
    if client not in _ambient:
        _ambient[client] = Session(Cluster(client))
    return _ambient[client]

"""What is sent back for a request, and how."""

from __future__ import annotations

import math
import time

import msgspec

from daskagents.fake_server.completion import Tokens

#: What comes before the length of the body of a plain answer.
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Reply(msgspec.Struct):
    """What is sent back for a request, and how.

    Parameters
    ----------
    outcome
        A status, or the name of a fault.
    body
        The whole body, also where only a part of it is sent.
    status
        The HTTP status.
    headers
        Further ones.
    digest
        Of the body of a chat; empty for other requests.
    tokens, choices
        What a completion took; it is written in slots, where there are any.
    latency
        Seconds until it is sent, those in slots not counted.
    seconds
        How long a fault takes.
    wait
        Seconds that the client is asked to wait.
    """

    outcome: str
    body: bytes
    status: int = 200
    headers: dict[str, str] | None = None
    digest: bytes = b""
    tokens: Tokens = Tokens()
    choices: int = 0
    latency: float = 0.0
    seconds: float = 0.0
    wait: float = 0.0

    @property
    def proper(self) -> bool:
        """Whether it is what was asked for."""
        return self.outcome in ("200", "slow", "drip")

    @property
    def head(self) -> bytes:
        """The status line and the headers."""
        if self.status == 200 and not self.headers:
            return _PLAIN % len(self.body)
        given = {
            "Content-Type": "application/json",
            "Content-Length": str(len(self.body)),
            **(self.headers or {}),
        }
        said = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        reason = "OK" if self.status == 200 else "Error"
        return f"HTTP/1.1 {self.status} {reason}\r\n{said}\r\n".encode()

    def ask_to_wait(self, seconds: float, as_date: bool = False) -> None:
        """Say when to come again, by seconds or by a date."""
        said = f"{seconds:g}"
        if as_date:
            then = time.gmtime(math.ceil(time.time() + seconds))
            said = time.strftime("%a, %d %b %Y %H:%M:%S GMT", then)
        self.wait = seconds
        self.headers = {"Retry-After": said, **(self.headers or {})}

"""What the server does with a request: routes, refusals, faults, limits, answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from daskagents.fake_server.batching import Slots
from daskagents.fake_server.chat import read
from daskagents.fake_server.completion import Tokens, completion, problem
from daskagents.fake_server.draws import digest, draws
from daskagents.fake_server.faults import Faults
from daskagents.fake_server.limits import Limiter
from daskagents.fake_server.prefixes import Prefixes
from daskagents.fake_server.reply import Reply
from daskagents.fake_server.script import Fault, Script
from daskagents.fake_server.seen import Seen
from daskagents.fake_server.writing import Writing

CHATS = "/v1/chat/completions"


class Server:
    """What all connections share: the script and what was seen.

    Parameters
    ----------
    script
        How to behave.
    """

    def __init__(self, script: Script) -> None:
        self.seen = Seen()
        #: What goes on once a pause is over.
        self.held: list[Callable[[], None]] = []
        self._start(script)

    def _start(self, script: Script) -> None:
        """Begin with all parts of a script."""
        now = time.monotonic()
        self.script = script
        loop = asyncio.get_running_loop()
        self.slots = Slots(script.batching, loop) if script.batching else None
        self._prefixes = Prefixes(script.cache) if script.cache else None
        self._limiter = Limiter(script.limits, now) if script.limits else None
        self._faults = Faults(script.faults, now)

    def change(self, script: Script) -> None:
        """Behave otherwise from now on; parts that stay the same go on as they are."""
        old, kept = self.script, dict(vars(self))
        self._start(script)
        for setting, part in _PARTS.items():
            if getattr(script, setting) == getattr(old, setting):
                setattr(self, part, kept[part])
        if not script.paused:
            held, self.held = self.held, []
            for go_on in held:
                go_on()

    def reply(self, verb: str, path: str, key: str | None, head: bytes, body: bytes) -> Reply:
        """Return what to send back for a request.

        Parameters
        ----------
        verb, path, key
            What is asked for, and the key that came with it.
        head, body
            The request.
        """
        reply = self._route(verb, path, key, head, body)
        self.seen.outcome(path, reply.outcome)
        return reply

    def _route(self, verb: str, path: str, key: str | None, head: bytes, body: bytes) -> Reply:
        """Return what to send back for a request."""
        script = self.script
        if script.api_key is not None and key != script.api_key:
            said = f"Incorrect API key provided: {key or ''}"
            return refusal(401, said, None, "invalid_api_key")
        if verb == "POST" and path == CHATS:
            return self._chat(head, body)
        if verb == "GET" and path == "/v1/models" and script.models is not None:
            listed = [{"id": name, "object": "model"} for name in script.models]
            return Reply("200", msgspec.json.encode({"object": "list", "data": listed}))
        return refusal(404, f"no such route: {path}")

    def _chat(self, head: bytes, body: bytes) -> Reply:
        """Return the answer to a chat, or what comes instead of it."""
        request = digest(self.script.seed, body)
        asked, now = self.seen.chat(request, body), time.monotonic()
        fault = self._faults.next(head, body, request, asked, now)
        reply = self._failure(fault) if fault else None
        if reply is None:
            try:
                reply = self._answer(body, request, asked, now, fault)
            except ValueError as error:
                reply = refusal(400, *error.args)
        reply.digest = request
        reply.latency = self._latency(request, asked)
        return reply

    def _failure(self, fault: Fault) -> Reply | None:
        """Return what comes instead of an answer; None for a fault that an answer has."""
        what = str(fault.what)
        if what in ("hang", "reset"):
            return Reply(what, b"")
        if what == "malformed":
            return Reply(what, b'{"choices": [{"mess')
        if not what.isdigit():
            return None
        reply = refusal(int(what), "this server was told to fail")
        wait = fault.retry_after
        if wait is None and what in ("429", "503"):
            wait = self.script.retry_after
        if wait is not None:
            reply.ask_to_wait(wait, fault.as_date)
        return reply

    def _latency(self, request: bytes, asked: int) -> float:
        """Return the seconds until a chat is answered."""
        latency = self.script.latency
        if isinstance(latency, float):
            return latency
        return max(0.0, latency.draw(draws(request, b"latency", asked)))

    def _answer(
        self, body: bytes, request: bytes, asked: int, now: float, fault: Fault | None
    ) -> Reply:
        """Return the answer to a chat, with the fault that it is to have."""
        script, what = self.script, str(fault.what) if fault else ""
        if self.slots and self.slots.full:
            return refusal(503, "too many requests are waiting")
        chat = read(body, script.most_choices, script.refuse, script.ignore)
        written = Writing(script, chat, request, asked, what)
        cached = self._prefixes.known(chat.words) if self._prefixes else 0
        tokens = Tokens(chat.length, written.tokens, cached)
        if self._limiter and (wait := self._limiter.wait(sum(tokens[:2]), now)) > 0:
            reply = refusal(429, "Rate limit reached", None, "rate_limit_exceeded")
            reply.headers = self._limiter.told(now)
            reply.ask_to_wait(wait)
            return reply
        reply = Reply(what or "200", b"", tokens=tokens, choices=len(written.choices))
        reply.body = completion(
            self.seen.chats,
            chat.model,
            [] if what == "empty" else written.choices,
            tokens,
            thought=written.thought,
            caches=self._prefixes is not None,
        )
        reply.headers = self._limiter.told(now) if self._limiter else None
        reply.seconds = fault.seconds if fault else 0.0
        return reply


#: The settings of a script that have a part of the server to themselves.
_PARTS = {
    "batching": "slots",
    "cache": "_prefixes",
    "limits": "_limiter",
    "faults": "_faults",
}


def refusal(
    status: int, message: str, parameter: str | None = None, code: str | None = None
) -> Reply:
    """Return a status, with a body that says why."""
    return Reply(str(status), problem(message, parameter, code), status)

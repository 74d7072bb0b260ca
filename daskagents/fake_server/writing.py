"""The choices of an answer: as many as were asked for, each a draw of its own."""

from __future__ import annotations

from daskagents.fake_server import answers
from daskagents.fake_server.chat import Chat
from daskagents.fake_server.completion import Message, OneChoice
from daskagents.fake_server.draws import draws
from daskagents.fake_server.script import Script

#: Words of a thought, where the request asks for one and the script does not say how many.
_THOUGHT = 16
_FAULTY = {"nonsense": "A lamp, or perhaps not.", "misfit": '{"unexpected": true}'}


class Writing:
    """Writes the choices of one answer.

    Parameters
    ----------
    script
        How to answer.
    chat
        What was asked.
    digest
        Of the body of the request.
    asked
        How often this body came, now included.
    fault
        The fault that the answer is to have; empty for none.

    Attributes
    ----------
    choices : list[OneChoice]
        The choices.
    tokens : int
        The tokens of all of them, those of thoughts included.
    thought : int
        The tokens of thoughts.

    Raises
    ------
    ValueError
        If the request asks for a schema that is not known here; of a message, a parameter and a
        code.
    """

    def __init__(self, script: Script, chat: Chat, digest: bytes, asked: int, fault: str) -> None:
        self._script = script
        self._chat = chat
        self._digest = digest
        self._fault = fault
        self._thought = script.reasoning or (_THOUGHT if chat.thinks else 0)
        count = chat.n or 1
        first = (asked - 1) * count if script.vary else 0
        self.tokens = 0
        self.thought = self._thought * count
        self.choices = [self._choice(index, first + index) for index in range(count)]

    def _choice(self, index: int, number: int) -> OneChoice:
        """Write one choice; `number` is what it is drawn by."""
        chat, reason = self._chat, "stop"
        text = _FAULTY.get(self._fault) or self._text(number)
        words = len(text.split())
        if self._fault == "length":
            text, reason = text[: len(text) // 2], "length"
        elif chat.most is not None and words > chat.most:
            text, reason, words = " ".join(text.split()[: chat.most]), "length", chat.most
        self.tokens += words + self._thought
        message = Message("assistant", text)
        if self._fault == "refusal":
            message = Message("assistant", None, "I would rather not answer this.")
        if self._thought:
            message.reasoning_content = " ".join(["hm"] * self._thought)
        choice = OneChoice(index, message, reason)
        if chat.logprobs:
            stream = draws(self._digest, b"logprobs", number)
            choice.logprobs = answers.logprobs(self._script.answer, chat, text, stream)
        return choice

    def _text(self, number: int) -> str:
        """Return the text that the strategy gives."""
        stream = draws(self._digest, b"answer", number)
        try:
            return answers.text(self._script.answer, self._chat, stream)
        except ValueError as error:
            code = "invalid_json_schema"
            raise ValueError(str(error), "response_format", code) from None

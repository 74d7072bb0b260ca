"""The journal: what is written is found again, whatever is torn, and whoever wrote it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskagents import Message, loop, models
from daskagents.errors import AnswerError, EndpointError, FolderError, ModelError, RunError
from daskagents.journal import attempt as attempts
from daskagents.journal.attempt import Attempt, Journaling
from daskagents.journal.frames import frame, read_frames
from daskagents.journal.reading import usage_of
from daskagents.journal.segments import (
    journal_of,
    pack,
    packed_of,
    read_block,
    read_segment,
    read_segments,
)
from daskagents.journal.texts import Texts, read_texts, text_of
from daskagents.models.base import Answer, Model, Request
from daskagents.rng import Draws
from daskagents.usage import Usage

LONG = "You are one of many players, and each of you reports one number only. "


@dataclass(frozen=True)
class Counting(Model):
    """Answers with what it is told to, and counts."""

    asked: list[str]
    error: Exception | None = None

    async def chat(self, request: Request) -> Answer:
        self.asked.append(request.messages[-1].text)
        if self.error is not None:
            raise self.error
        drawn = "" if request.rng is None else f" {request.rng.random()}"
        return Answer(f"answer {len(self.asked)}{drawn}", None, 7, 3, "m", cost=0.5)


def request(text: str = "Hello?", row: int | None = None, **more: Any) -> Request:
    rng = None if row is None else Draws(5, np.arange(10)).rng(row)
    return Request((Message(LONG, "system"), Message(text)), rng=rng, **more)


def ask(attempt: Attempt, model: Model, asked: list[tuple[int, Request]]) -> list[Any]:
    async def work() -> list[Any]:
        try:
            return [
                (await asyncio.gather(attempt.chat(model, one, agent), return_exceptions=True))[0]
                for agent, one in asked
            ]
        finally:
            await loop.close_resources()

    found = asyncio.run(work())
    attempt.close()
    return found


@pytest.fixture
def how(tmp_path: Path) -> Any:
    yield Journaling(str(tmp_path), "life")
    attempts.forget(str(tmp_path))


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.data())
def test_frames_are_whole_or_named(payloads: list[bytes], data: Any) -> None:
    written = b"".join(map(frame, payloads))
    frames, damages = read_frames(written)
    assert [one.payload for one in frames] == payloads and not damages
    cut = data.draw(st.integers(0, len(written)))
    frames, damages = read_frames(written[:cut])
    assert [one.payload for one in frames] == payloads[: len(frames)]
    assert (frames[-1].end if frames else 0) == (damages[0].start if damages else cut)
    assert all(damage.torn for damage in damages)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6), st.data())
def test_a_flipped_bit_costs_one_frame_at_most(payloads: list[bytes], data: Any) -> None:
    written = bytearray(b"".join(map(frame, payloads)))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= 1 << data.draw(st.integers(0, 7))
    frames, damages = read_frames(bytes(written))
    kept = [one.payload for one in frames]
    assert len(damages) == 1 and damages[0].start <= at < damages[0].end
    assert any(payloads[:i] + payloads[i + 1 :] == kept for i in range(len(payloads)))


def test_what_was_answered_is_not_asked_again(how: Journaling) -> None:
    model = Counting([])
    wanted = [(3, request("a")), (3, request("b")), (5, request("a"))]
    first = ask(Attempt(how, 2, 1), model, wanted)
    again = ask(Attempt(how, 2, 1), model, wanted)
    assert [answer for answer, _ in first] == [answer for answer, _ in again]
    assert model.asked == ["a", "b", "a"]
    assert [usage for _, usage in again] == [True] * 3
    other = ask(Attempt(how, 3, 1), model, wanted[:1]) + ask(Attempt(how, 2, 2), model, wanted[:1])
    assert len(model.asked) == 5 and len(other) == 2  # of another step, and of another block


def test_nothing_is_made_before_there_is_an_answer(how: Journaling) -> None:
    attempt = Attempt(how, 0, 0)
    attempt.close()
    assert not journal_of(how.folder).exists()

    class Looking(Model):
        async def chat(self, request: Request) -> Answer:
            files = [p for p in journal_of(how.folder).rglob("*") if p.is_file()]
            return Answer(str(len(files)))

    assert ask(Attempt(how, 0, 0), Looking(), [(0, request())])[0][0].text == "0"

    class Stopping(Model):
        async def chat(self, request: Request) -> Answer:
            raise RunError("the budget")

    ask(Attempt(how, 1, 0), Stopping(), [(0, request())])
    assert not (journal_of(how.folder) / "000001").exists()


class Side(Enum):
    LEFT = 1
    RIGHT = 2


@dataclass(frozen=True)
class Reply:
    number: Annotated[float, msgspec.Meta(ge=0)]
    side: Side
    words: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (float, 2.0),
        (int, 3),
        (bool, True),
        (str, "yes"),
        (Side, Side.RIGHT),
        (Literal["a", 2], 2),
        (Reply, Reply(0.1 + 0.2, Side.LEFT, ("x", "y"))),
        (None, None),
    ],
)
def test_an_answer_comes_back_as_it_was(how: Journaling, schema: Any, value: Any) -> None:
    whole = Answer(
        "text ✓",
        value,
        11,
        7,
        "model",
        2,
        5,
        3,
        float("nan"),
        1.5,
        "http://h/v1",
        "thought",
        "repair",
        {"a": 0.25, 2: 0.75},
    )

    class Telling(Model):
        async def chat(self, request: Request) -> Answer:
            return whole

    asked = [(0, request(schema=schema))]
    ask(Attempt(how, 0, 0), Telling(), asked)
    ((again, _),) = ask(Attempt(how, 0, 0), Counting([]), asked)
    assert repr(again) == repr(whole)  # NaN is not equal to itself
    assert type(again.value) is type(value)


def test_random_numbers_go_on_where_they_were(how: Journaling) -> None:
    one, two = request(row=4), request(row=4)
    ((first, _),) = ask(Attempt(how, 0, 0), Counting([]), [(4, one)])
    ((again, _),) = ask(Attempt(how, 0, 0), Counting([]), [(4, two)])
    assert first == again and one.rng is not None and two.rng is not None
    assert one.rng.random() == two.rng.random()


def test_failures_are_kept_for_the_life_they_belong_to(how: Journaling) -> None:
    error = EndpointError("no luck")
    error.usage, error.endpoint = Usage(2, 10, cost=0.5), "http://h/v1"
    model = Counting([], error)
    (first,) = ask(Attempt(how, 0, 0), model, [(0, request())])
    (again,) = ask(Attempt(how, 0, 0), model, [(0, request())])
    assert first is error and type(again) is EndpointError and str(again) == "no luck"
    assert (again.usage, again.endpoint) == (error.usage, "http://h/v1")
    assert len(model.asked) == 1
    ask(Attempt(replace(how, life="next"), 0, 0), model, [(0, request())])
    assert len(model.asked) == 2  # in a step that was not done, it may succeed now
    ask(Attempt(replace(how, life="third", settled=True), 0, 0), model, [(0, request())])
    assert len(model.asked) == 2  # in one that was, its failure is part of the result

    class OwnError(ModelError):
        pass

    ask(Attempt(how, 1, 0), Counting([], OwnError("mine")), [(0, request())])
    (own,) = ask(Attempt(how, 1, 0), model, [(0, request())])
    assert isinstance(own, ModelError) and type(own).__name__ == "OwnError"


def test_another_question_is_asked_anew_or_refused(how: Journaling) -> None:
    model = Counting([])
    ask(Attempt(how, 0, 0), model, [(0, request("a"))])
    ((answer, _),) = ask(Attempt(how, 0, 0), model, [(0, request("b"))])
    assert answer.text == "answer 2"
    (error,) = ask(Attempt(replace(how, settled=True), 0, 0), model, [(0, request("c"))])
    assert isinstance(error, RunError)
    assert "step 0, block 0, agent 0, chat 0: it asks something else" in str(error)
    (error,) = ask(Attempt(replace(how, settled=True), 0, 0), model, [(1, request("a"))])
    assert "has no answer to it" in str(error) and "accept_changes=True" in str(error)
    kept = replace(how, settled=True, on_miss="call")
    ((answer, _),) = ask(Attempt(kept, 0, 0), model, [(1, request("a"))])
    assert answer.text == "answer 3"


def test_a_replay_takes_from_another_folder_and_writes_nothing(
    how: Journaling, tmp_path: Path
) -> None:
    ask(Attempt(how, 0, 0), Counting([]), [(0, request("a"))])
    replayed = Journaling("", "now", source=how.folder)
    model = Counting([])
    ((answer, counts),) = ask(Attempt(replayed, 0, 0), model, [(0, request("a"))])
    assert (answer.text, answer.prompt_tokens, counts) == ("answer 1", 7, False)
    assert not model.asked
    (error,) = ask(Attempt(replayed, 0, 0), model, [(0, request("b"))])
    assert isinstance(error, RunError) and "asks something else" in str(error)


def test_an_attempt_names_what_it_took_over(how: Journaling) -> None:
    """One that is thought dead goes on writing: what counts is what the other one used."""
    journal = journal_of(how.folder)
    zombie = Attempt(how, 0, 0)
    model = Counting([])

    async def both() -> tuple[list[str], str]:
        await zombie.chat(model, request("a"), 0)
        heir = Attempt(how, 0, 0)
        texts = [(await heir.chat(model, request("a"), 0))[0].text]
        late = (await zombie.chat(model, request("b"), 1))[0].text
        texts.append((await heir.chat(model, request("b"), 1))[0].text)
        heir.close()
        await loop.close_resources()
        return texts, heir.name + " " + late

    texts, told = asyncio.run(both())
    zombie.close()
    name, late = told.split(" ", 1)
    assert texts == ["answer 1", "answer 3"] and late == "answer 2"
    found = read_segments(journal, 0, 0, accepted=name)
    assert [found.chats[key].text for key in sorted(found.chats)] == texts  # type: ignore[union-attr]
    pack(journal, 0, {0: name})
    packed = read_block(journal, 0, 0)
    assert [packed.chats[key].text for key in sorted(packed.chats)] == texts  # type: ignore[union-attr]
    assert [path.name for path in (journal / "000000").iterdir()] == ["packed"]
    assert ask(Attempt(how, 0, 0), model, [(0, request("a"))])[0][0].text == "answer 1"
    assert len(model.asked) == 3


def test_what_counted_counts_when_the_run_goes_on(how: Journaling) -> None:
    """Of two attempts that both were answered, that which was accepted is gone on with."""
    model = Counting([])

    async def both() -> tuple[str, list[str]]:
        one, two = Attempt(how, 0, 0), Attempt(how, 0, 0)
        one._open(), two._open()  # neither finds anything of the other
        texts = [(await each.chat(model, request("a"), 0))[0].text for each in (one, two)]
        for each in (one, two):
            each.close()
        await loop.close_resources()
        accepted = max(one.name, two.name)  # the one that is not found first
        return accepted, [texts[one.name < two.name]]

    accepted, right = asyncio.run(both())
    later = replace(how, life="next", settled=True, accepted={0: accepted})
    ((answer, _),) = ask(Attempt(later, 0, 0), model, [(0, request("a"))])
    assert [answer.text] == right
    replayed = Journaling("", "now", source=how.folder, accepted={0: accepted})
    ((answer, _),) = ask(Attempt(replayed, 0, 0), model, [(0, request("a"))])
    assert [answer.text] == right and len(model.asked) == 2


@pytest.mark.parametrize("packs", [False, True])
def test_a_journal_cut_at_every_byte_of_its_last_record(how: Journaling, packs: bool) -> None:
    wanted = [(agent, request(f"number {agent}")) for agent in range(3)]
    ask(Attempt(how, 0, 0), Counting([]), wanted)
    journal = journal_of(how.folder)
    if packs:
        pack(journal, 0, {})
    (path,) = [p for p in (journal / "000000").rglob("*") if p.is_file()]
    whole = path.read_bytes()
    last = read_frames(whole)[0][-1]
    for cut in range(last.start, last.end):
        path.write_bytes(whole[:cut])
        model = Counting([])
        if packs and cut > last.start:
            with pytest.raises(FolderError, match=f"packed is damaged from byte {last.start} on"):
                read_block(journal, 0, 0)
            continue
        found = read_block(journal, 0, 0)
        assert len(found.chats) == (0 if packs else 2)
        if cut > last.start:
            assert found.damages == [f"{path}, from byte {last.start} on"]
        answers = ask(Attempt(replace(how, life="next"), 0, 0), model, wanted[2:])
        assert answers[0][0].text == "answer 1" and len(model.asked) == 1  # torn: asked again
        for other in (journal / "000000").rglob("answers"):
            if other != path:
                other.unlink()


def test_a_flipped_bit_is_never_a_wrong_answer(how: Journaling) -> None:
    wanted = [(agent, request(f"number {agent}")) for agent in range(3)]
    right = [answer.text for answer, _ in ask(Attempt(how, 0, 0), Counting([]), wanted)]
    (path,) = journal_of(how.folder).rglob("answers")
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        settled = replace(how, folder="", source=how.folder)
        for answer, correct in zip(
            ask(Attempt(settled, 0, 0), Counting([]), wanted), right, strict=True
        ):
            if isinstance(answer, RunError):
                assert f"damaged: {path}, from byte" in str(answer)
            else:
                assert answer[0].text == correct


def test_a_packed_step_that_is_damaged_is_named(how: Journaling) -> None:
    ask(Attempt(how, 0, 0), Counting([]), [(0, request())])
    journal = journal_of(how.folder)
    pack(journal, 0, {})
    path = packed_of(journal, 0)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(FolderError, match="packed is damaged from byte 0 on"):
        read_block(journal, 0, 0)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=100), max_size=20))
def test_texts_are_written_once(tmp_path_factory: Any, said: list[str]) -> None:
    folder = tmp_path_factory.mktemp("texts")
    texts = Texts(folder)
    references = [texts.refer(text) for text in [*said, *said]]
    texts.close()
    known = read_texts(folder)
    assert [text_of(reference, known) for reference in references] == [*said, *said]
    long = {text for text in said if len(text) >= 40 or text.startswith("\x00")}
    assert len(known) == len(long)


def test_a_full_disk_stops_the_run_and_says_where(how: Journaling) -> None:
    attempt = Attempt(how, 0, 0)

    async def work() -> None:
        await attempt.chat(Counting([]), request("a"), 0)
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, attempt._fd)
        os.close(full)
        try:
            await attempt.chat(Counting([]), request("b"), 1)
        finally:
            await loop.close_resources()

    with pytest.raises(RunError, match=r"journal cannot be used: .*answers: No space left"):
        asyncio.run(work())


def test_a_long_text_that_is_lost_says_so() -> None:
    assert text_of("\x00" + "ab" * 16, {}) == "(this text is lost)"


@pytest.mark.parametrize("sync", ["batch", "each", "never"])
def test_when_the_disk_has_it(how: Journaling, sync: Any) -> None:
    model = Counting([])
    ask(Attempt(replace(how, sync=sync), 0, 0), model, [(0, request())])
    assert len(read_segment(next(journal_of(how.folder).rglob("answers"))).chats) == 1


def test_an_answer_that_cannot_be_used_keeps_its_kind(how: Journaling) -> None:
    ask(Attempt(how, 0, 0), Counting([], AnswerError("bad")), [(0, request())])
    (error,) = ask(Attempt(how, 0, 0), Counting([]), [(0, request())])
    assert type(error) is AnswerError


def test_a_dummy_is_known_to_repeat_itself() -> None:
    assert models.Dummy.repeats and not models.OpenAI.repeats


def test_chats_side_by_side_are_found_in_whatever_order_they_come(how: Journaling) -> None:
    """An agent that has several talks at a time comes to their second chats in any order."""
    model = Counting([])
    wanted = {text: (0, request(text)) for text in "abcd"}
    first = ask(Attempt(how, 0, 0), model, [wanted[text] for text in "abc"])
    second = Attempt(how, 0, 0)
    again = ask(second, model, [wanted[text] for text in "acdb"])
    texts = [answer.text for answer, _ in again]
    assert texts == [first[0][0].text, first[2][0].text, "answer 4", first[1][0].text]
    assert model.asked == ["a", "b", "c", "d"]
    for read in (read_block(journal_of(how.folder), 0, 0, second.name), packed_block(how, second)):
        assert [read.chats[key].text for key in sorted(read.chats)] == texts  # type: ignore[union-attr]
    later = replace(how, life="next", settled=True)
    last = ask(Attempt(later, 0, 0), model, [wanted[text] for text in "dcba"])
    assert [answer.text for answer, _ in last] == [texts[at] for at in (2, 1, 3, 0)]
    (error,) = ask(Attempt(later, 0, 0), model, [(0, request("e"))])
    assert isinstance(error, RunError) and "asks something else" in str(error)


def packed_block(how: Journaling, counts: Attempt) -> Any:
    pack(journal_of(how.folder), 0, {0: counts.name})
    return read_block(journal_of(how.folder), 0, 0)


def test_an_answer_counts_more_than_the_failure_before(how: Journaling) -> None:
    """A run that was killed twice does not ask again for what was answered in its second life."""
    names = iter(("b", "a", "c"))
    journal = journal_of(how.folder)

    def attempt(life: str, model: Model) -> Any:
        made = Attempt(replace(how, life=life), 0, 0)
        (found,) = ask(made, model, [(0, request())])
        if made.name:  # so that the failure is found first, or last
            folder = journal / "000000" / "00000"
            (folder / made.name).rename(folder / next(names))
        return found

    for order in (("b", "a"), ("a", "b")):
        names = iter(order)
        attempt("first", Counting([], EndpointError("no luck")))
        answer, _ = attempt("second", Counting([]))
        model = Counting([])
        assert attempt("third", model) == (answer, True)
        assert not model.asked
        for path in journal.rglob("answers"):
            path.unlink()


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyError("k"), UnicodeDecodeError("u", b"", 0, 1, "r"), OSError(5)]
)
def test_whatever_a_model_raises_is_written_down(how: Journaling, error: Any) -> None:
    ask(Attempt(how, 0, 0), Counting([], error), [(0, request())])
    model = Counting([])
    (again,) = ask(Attempt(how, 0, 0), model, [(0, request())])
    assert isinstance(again, type(error)) and str(again) == str(error) and not model.asked
    assert type(again).__name__ == type(error).__name__


class HotError(ModelError):
    """Made from something else than its text."""

    def __init__(self, degrees: int) -> None:
        super().__init__(f"{degrees} degrees")


def test_an_error_is_what_it_was(how: Journaling) -> None:
    """Agents catch errors by their class, and look at their status."""
    error = EndpointError("busy")
    error.status, error.wait = 429, 2.5
    ask(Attempt(how, 0, 0), Counting([], error), [(0, request())])
    (again,) = ask(Attempt(how, 0, 0), Counting([]), [(0, request())])
    assert (again.status, again.wait) == (429, 2.5)
    ask(Attempt(how, 1, 0), Counting([], HotError(40)), [(0, request())])
    (again,) = ask(Attempt(how, 1, 0), Counting([]), [(0, request())])
    assert isinstance(again, HotError) and str(again) == "40 degrees"


def test_what_was_asked_after_a_step_was_packed_counts(how: Journaling) -> None:
    """As where the program has changed, and a run goes on from before that step."""
    model = Counting([])
    journal = journal_of(how.folder)
    ask(Attempt(how, 0, 0), model, [(0, request("a")), (1, request("a"))])
    pack(journal, 0, {})
    changed = replace(how, life="next", settled=True, on_miss="call")
    newer = Attempt(changed, 0, 0)
    ask(newer, model, [(0, request("b")), (1, request("a"))])
    (Path(how.folder) / "events.jsonl").write_text("")
    for _ in range(2):
        again = ask(Attempt(changed, 0, 0), model, [(0, request("b")), (1, request("a"))])
        assert [answer.text for answer, _ in again] == ["answer 3", "answer 2"]
        assert usage_of(Path(how.folder)).calls == 2
        pack(journal, 0, {0: newer.name})
    assert model.asked == ["a", "a", "b"]


def test_an_answer_that_cannot_be_written_is_an_error_each_time(how: Journaling) -> None:
    class Large(Model):
        async def chat(self, request: Request) -> Answer:
            return Answer("many", 10**30, 7, 3)

    (first,) = ask(Attempt(how, 0, 0), Large(), [(0, request())])
    assert isinstance(first, AnswerError) and "cannot be written into the journal" in str(first)
    model = Counting([])
    (again,) = ask(Attempt(replace(how, settled=True), 0, 0), model, [(0, request())])
    assert str(again) == str(first) and again.usage.tokens == 10 and not model.asked


def test_an_agent_that_waited_no_longer_does_not_when_it_is_replayed(how: Journaling) -> None:
    class Slow(Model):
        async def chat(self, request: Request) -> Answer:
            await asyncio.sleep(60)
            raise AssertionError

    async def hasty(attempt: Attempt, model: Model) -> str:
        try:
            answer, _ = await asyncio.wait_for(attempt.chat(model, request(), 0), 0.01)
        except TimeoutError:
            return "late"
        finally:
            attempt.close()
            await loop.close_resources()
        return answer.text

    assert asyncio.run(hasty(Attempt(how, 0, 0), Slow())) == "late"
    assert asyncio.run(hasty(Attempt(replace(how, settled=True), 0, 0), Counting([]))) == "late"
    replayed = Journaling("", "now", source=how.folder)
    assert asyncio.run(hasty(Attempt(replayed, 0, 0), Counting([]))) == "late"
    # of a step that was not done, it may have been its worker that gave it up
    assert asyncio.run(hasty(Attempt(how, 0, 0), Counting([]))) == "answer 1"


def test_a_disk_that_is_full_as_a_step_is_packed(
    how: Journaling, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [(0, request("a"))]
    ask(Attempt(how, 0, 0), Counting([]), wanted)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot be used: .*000000/packed: No space left"):
        pack(journal_of(how.folder), 0, {})
    monkeypatch.undo()
    assert [path.name for path in (journal_of(how.folder) / "000000").iterdir()] == ["00000"]
    assert ask(Attempt(how, 0, 0), Counting([]), wanted)[0][0].text == "answer 1"

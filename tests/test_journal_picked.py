from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Speaker, drawn

import daskagents as da
from daskagents import models
from daskagents.errors import FolderError
from daskagents.journal.entries import Head, encode
from daskagents.journal.frames import frame, mapped, read_frames, skim_frames
from daskagents.journal.picked import _span, chats_of, texts_of
from daskagents.journal.reading import accepted_of, noted
from daskagents.journal.segments import Packed, journal_of, packed_of
from daskagents.journal.texts import read_texts


def long_talk(speakers: Any) -> Any:
    for number in range(3):
        yield {"said": speakers.reply(f"{number}: " + "a long question, " * 9)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("picked") / "run"
    people = da.Population(Speaker, {"name": [*"abcdefg"]}, block_size=3)
    da.run(long_talk, people, model=models.Dummy(answer=drawn), client="sync", out=folder)
    return folder


def test_what_is_picked_is_what_the_whole_journal_says(run: Path) -> None:
    accepted = accepted_of(run)
    for agent in range(7):
        every = list(noted(run, agent=agent))
        found = [pair for step in range(3) for pair in chats_of(run, step, agent, accepted[step])]
        assert found == [(one.head, one.chat) for one in every]
        assert len(found) == 3
        texts = texts_of(run, [chat for _, chat in found])
        whole = read_texts(journal_of(run))
        wanted = {turn[2] for _, chat in found for turn in chat.asked.turns} & whole.keys()
        assert wanted and texts == {reference: whole[reference] for reference in wanted}


def test_who_is_not_there_has_no_chats(run: Path) -> None:
    assert chats_of(run, 0, 7, {}) == [] and chats_of(run, 99, 0, {}) == []
    assert texts_of(run, []) == {}


def test_a_damaged_block_is_said_by_who_is_in_it(run: Path) -> None:
    path = packed_of(journal_of(run), 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert chats_of(run, 1, 0, {})
        with pytest.raises(FolderError, match="is damaged from byte"):
            chats_of(run, 1, 6, {})
    finally:
        path.write_bytes(whole)


@given(st.lists(st.binary(min_size=1)), st.binary(max_size=9))
def test_skimming_finds_what_reading_finds(payloads: list[bytes], torn: bytes) -> None:
    data = b"".join(map(frame, payloads)) + frame(b"x" * 50)[: len(torn)]
    read = read_frames(data)[0]
    assert list(skim_frames(data)) == [(each.start, each.end) for each in read]


@given(st.tuples(*[st.integers(0, 2**62)] * 3))
def test_the_agents_of_a_packed_block_are_told_by_its_first_bytes(
    numbers: tuple[int, int, int],
) -> None:
    packed = Packed(*numbers, 0, (0, 0, 0, 0, 0, 0.0, 0.0), Head(1, "", 0, 0, "", ""), b"x")
    assert _span(encode(packed)[:64]) == numbers[1:]


def test_an_empty_file_has_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with mapped(path) as data:
        assert list(skim_frames(data)) == []

"""Messages between agents: who gets what, in which order, wherever they run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import same

import daskagents as da
from daskagents import blocks
from daskagents.block import Block
from daskagents.errors import FieldError, InboxError, RunError, UsageError
from daskagents.mail import Inboxes, join, make_mail
from daskagents.outbox import Outbox

contents = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=5),
    st.none(),
    st.tuples(st.integers(0, 9), st.text(max_size=3)),
)


class Talker(da.Agent):
    """Sends what it is told to, and says what it got."""

    room: int = 0

    def reply(self, message: da.Message) -> str:
        for sender, to, content in message.content:
            if sender == self.id:
                self.send(to, content)
        self.fail((self.id, -1, None) in message.content, "as it was told")
        return repr([(m.name, m.content) for m in self.inbox])


Plan = list[list[tuple[int, Any, Any]]]


def talk(people: Any, plan: Plan) -> Iterator[Any]:
    for sent in plan:
        yield {"got": people.reply(tuple(sent))}


def expected(plan: Plan, n: int, rooms: int) -> list[list[str]]:
    """Return what each agent says in each round, as a loop over agents has it."""
    inboxes: list[list[Any]] = [[] for _ in range(n)]
    found = []
    for sent in plan:
        fails = {sender for sender, _, content in sent if content is None and _ == -1}
        found.append(["" if at in fails else repr(inboxes[at]) for at in range(n)])
        inboxes = [inboxes[at] if at in fails else [] for at in range(n)]
        for sender in range(n):  # of one sender, those to single agents come first
            if sender in fails:
                continue
            own = [(to, content) for who, to, content in sent if who == sender]
            for to, content in [o for o in own if isinstance(o[0], int | tuple)]:
                for one in to if isinstance(to, tuple) else (to,):
                    if 0 <= one < n:
                        inboxes[one].append((str(sender), content))
            for to, content in [o for o in own if not isinstance(o[0], int | tuple)]:
                for one in range(n):
                    if to == "everyone" or one % rooms == dict(to)["room"]:
                        inboxes[one].append((str(sender), content))
    return found


@settings(max_examples=25)
@given(st.data())
def test_messages_reach_whom_they_are_for(data: st.DataObject) -> None:
    n, rooms = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    ids = st.integers(0, n - 1)
    to = st.one_of(ids, st.integers(-2, n + 2), st.lists(ids, max_size=3).map(tuple))
    one = st.tuples(ids, to, contents)
    failing = st.tuples(ids, st.just(-1), st.none())
    plan = data.draw(
        st.lists(st.lists(st.one_of(one, one, failing), max_size=8), min_size=1, max_size=4)
    )
    for sent in plan:  # to write to -1 without failing would look the same
        sent[:] = [s for s in sent if s[1] != -1 or s[2] is None]
    people = da.Population(
        Talker, {"room": np.arange(n) % rooms}, block_size=data.draw(st.integers(1, 13))
    )
    result = da.run(talk, people, plan=plan, client="sync", max_failed=1.0)
    assert [row.tolist() for row in result["got"].values] == expected(plan, n, rooms)
    nobody = [
        sum(
            not 0 <= one < n
            for sender, to, content in sent
            if (sender, -1, None) not in sent
            for one in (to if isinstance(to, tuple) else (to,))
        )
        for sent in plan
    ]
    assert result["n_undelivered"].values.tolist() == nobody


class Gossip(da.Agent):
    room: int = 0
    heard: int = 0

    def reply(self, message: da.Message) -> Any:
        self.heard += len(self.inbox)
        total = sum(c for c in self.inbox.contents if isinstance(c, float))
        for _ in range(self.rng.randint(0, 3)):
            self.send(self.rng.randint(0, 119), self.rng.random())
        if self.id % 40 == 7:
            self.send({"room": self.id % 5}, f"to my room from {self.id}")
        if self.id == 11:
            self.send("everyone", ("hi", self.heard))
        return {"heard": self.heard, "total": total, "by": ",".join(m.name for m in self.inbox)}


class Waiting(Gossip):
    async def reply(self, message: da.Message) -> Any:
        return super().reply(message)


def gossip(people: Any, rounds: int = 7) -> Iterator[Any]:
    for number in range(rounds):
        part = people if number % 3 else people.sel(np.arange(len(people)) % 2 == 0)
        replies = part.reply()
        people.tell(replies["total"].mean())
        yield replies
        people.isel([3, 60]).tell(f"after {number}")


def people(cls: Any = Gossip, block_size: int = 16) -> Any:
    return da.Population(cls, {"room": np.arange(120) % 5}, block_size=block_size)


@pytest.mark.parametrize("cls", [Gossip, Waiting])
def test_gossip_is_the_same_everywhere(
    cls: Any, client1: Client, client3: Client, tmp_path: Path
) -> None:
    alone = da.run(gossip, people(cls), client="sync", seed=1)
    assert np.nansum(alone["heard"].values) > 500
    same(alone, da.run(gossip, people(cls), client=client1, seed=1))
    same(alone, da.run(gossip, people(cls), client=client3, seed=1, checkpoint_every=1))
    other = da.run(gossip, people(cls, 7), client="sync", seed=1)
    assert other["by"].values.tolist() == alone["by"].values.tolist()


def test_what_waits_is_in_the_checkpoint(client3: Client, tmp_path: Path) -> None:
    whole = da.run(gossip, people(), client="sync", seed=1, out=tmp_path / "whole")
    for every in (2,):
        folder = tmp_path / f"part{every}"
        da.run(
            gossip, people(), client="sync", seed=1, out=folder, rounds=4, checkpoint_every=every
        )
        same(whole, da.resume(folder, rounds=7, client="sync" if every == 1 else client3))
    (path,) = (tmp_path / "whole" / "checkpoints" / "000007").glob("*/00000")
    opened = xr.open_zarr(path, consolidated=False)
    assert {"agent", "message"} <= set(opened.sizes)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 9), contents), max_size=12))
def test_mail_comes_back_from_disk(rows: list[tuple[int, int, Any]]) -> None:
    import tempfile

    mail = None
    if rows:
        to, sender, said = zip(*rows, strict=True)
        mail = make_mail(np.array(to), np.array(sender), list(said))
    with tempfile.TemporaryDirectory() as folder:
        blocks.write(Block(0, 10, {}, mail=mail), Path(folder, "block"))
        back = blocks.read(Path(folder, "block")).mail
    if mail is None:
        assert back is None
        return
    assert back is not None
    assert (back.to.tolist(), back.sender.tolist()) == (mail.to.tolist(), mail.sender.tolist())
    assert back.contents() == [said for _, _, said in rows]


@given(st.lists(st.lists(contents, max_size=4), max_size=5))
def test_mail_of_any_kinds_joins(parts: list[list[Any]]) -> None:
    mails = [make_mail(np.arange(len(p)), np.arange(len(p)), p) for p in parts if p]
    joined = join(mails)
    flat = [content for part in parts for content in part]
    assert (joined.contents() if joined else []) == flat
    assert [type(c) for c in (joined.contents() if joined else [])] == [type(c) for c in flat]


class Rows(da.Agent):
    score: float = 0.0

    def reply(self, message: da.Message) -> Any:
        self.score += sum(self.inbox.contents)
        self.send((self.id * 3 + 1) % 50, self.score + self.id)
        if self.id % 4 == 0:
            self.send(0, 1.0)
        return {"score": self.score, "count": len(self.inbox)}


class Whole(da.Agent):
    score: float = 0.0

    def reply_block(self, message: da.Message) -> Any:
        inbox = self.inbox
        self.score = self.score + np.bincount(inbox.agent, inbox.content, len(self.id))
        self.send((self.id * 3 + 1) % 50, self.score + self.id)
        self.send(0, 1.0, where=self.id % 4 == 0)
        return {"score": self.score, "count": inbox.count}


def score(people: Any) -> Iterator[Any]:
    for _ in range(4):
        yield people.reply()


def test_rows_and_blocks_talk_alike() -> None:
    one, two = (
        da.run(score, da.Population(cls, 50, block_size=16), client="sync") for cls in (Rows, Whole)
    )
    np.testing.assert_allclose(one["score"].values, two["score"].values, rtol=1e-12)
    np.testing.assert_array_equal(one["count"].values, two["count"].values)


class Flood(da.Agent):
    inbox_limit = 20

    def reply(self, message: da.Message) -> float:
        if self.id == 3:
            for _ in range(message.content):
                self.send(7, "again")
        self.send(7, "once")
        return float(len(self.inbox))


def flood(people: Any, times: int = 10) -> Iterator[Any]:
    for _ in range(2):
        yield people.reply(times)


def test_an_inbox_that_overflows_stops_the_run(client1: Client) -> None:
    assert da.run(flood, da.Population(Flood, 10), client="sync").sizes["round"] == 2
    match = r"inbox of agent 7 of 'people' overflows: 21 messages, most of them \(12\) from agent 3"
    for client in ("sync", client1):
        with pytest.raises(InboxError, match=match):
            da.run(flood, da.Population(Flood, 10), times=11, client=client)


class Lost(da.Agent):
    def reply(self, message: da.Message) -> float:
        self.send(self.id + 8, "?")
        return 0.0


def test_messages_to_nobody_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "daskagents"):
        result = da.run(flood, da.Population(Lost, 10, block_size=3), client="sync")
    assert result["n_undelivered"].values.tolist() == [8, 8]
    assert [r.getMessage() for r in caplog.records] == [
        "8 messages of round 0 are to agents that do not exist (the first from agent 2 to agent"
        " 10); all such are counted in n_undelivered"
    ]


def test_messages_that_cannot_be_sent_say_so() -> None:
    outbox = Outbox(10, Gossip.__fields__)
    for to, match in [
        ("all", "send to 'all': give the id of an agent, several ids"),
        ([1.5], "ids are ints"),
        ({"rooms": 3}, "the fields are room, heard"),
        ({"room": 3, "heard": 1}, "give the id of an agent"),
        (True, "give the id of an agent"),
    ]:
        with pytest.raises(UsageError, match=match):
            outbox.post(0, to, "x")
    with pytest.raises(FieldError, match="'x' is no int"):
        outbox.post(0, {"room": "x"}, "x")
    outbox.post(4, 1, {"a": 3})
    outbox.post(5, 1, 2**70)
    assert list(outbox.misfits()) == [4, 5]
    with pytest.raises(UsageError, match="stands alone and has nobody to send to"):
        Gossip().send(1, "x")

    class Sets(da.Agent):
        def reply(self, message: da.Message) -> float:
            self.send(0, {1})
            return 0.0

    with pytest.raises(RunError, match=r"\{1\} is none of the values that need no declared type"):
        da.run(flood, da.Population(Sets, 2), client="sync")
    with pytest.raises(FieldError, match="write `inbox_limit = 20`, without an annotation"):

        class Wrong(da.Agent):
            inbox_limit: int = 3


def test_what_is_left_waits() -> None:
    mail = make_mail(np.array([4, 2, 4, 9]), np.array([0, 1, 2, 3]), [0.0, 1.0, 2.0, 3.0])
    inboxes = Inboxes(mail, np.array([2, 4, 5]))
    assert [list(map(float, row.contents)) if row else [] for row in inboxes.rows()] == [
        [1.0],
        [0.0, 2.0],
        [],
    ]
    left = inboxes.left(np.array([True, False, True]))
    assert left is not None
    assert (left.to.tolist(), left.contents()) == ([4, 4, 9], [0.0, 2.0, 3.0])
    assert inboxes.left(np.array([True, True, True])).to.tolist() == [9]  # type: ignore[union-attr]
    row = inboxes.rows()[1]
    assert (row[0].name, row[-1].content, [m.name for m in row[:2]]) == ("0", 2.0, ["0", "2"])


def pass_on(agent: da.Agent, to: int) -> None:
    agent.send(to, "from a function")


class Hidden(da.Agent):
    def reply(self, message: da.Message) -> float:
        pass_on(self, 0)
        return float(len(self.inbox))


def test_a_function_may_send_for_an_agent() -> None:
    (replies,) = (da.run(flood, da.Population(Hidden, 3), client="sync").get("reply"),)
    assert replies is not None
    assert replies.values[1].tolist() == [3, 0, 0]


TALK = {"by": "send"}


class Sly(da.Agent):
    def reply(self, message: da.Message) -> float:
        getattr(self, TALK["by"])(0, "x")
        return 0.0


def test_messages_that_nobody_would_take_are_refused() -> None:
    with pytest.raises(RunError, match="no code of Sly was seen that sends"):
        da.run(flood, da.Population(Sly, 3), client="sync")

"""Errors come from workers as what they are."""

from collections.abc import Iterator

import pytest
from distributed.core import error_message
from distributed.protocol.pickle import loads

from daskagents import errors
from daskagents.errors import DaskAgentsError


def every(cls: type[DaskAgentsError] = DaskAgentsError) -> Iterator[type[DaskAgentsError]]:
    yield cls
    for inner in cls.__subclasses__():
        if inner.__module__ == errors.__name__:
            yield from every(inner)


@pytest.mark.parametrize("cls", sorted(set(every()), key=lambda cls: cls.__name__))
def test_a_worker_can_send_it(cls: type[DaskAgentsError]) -> None:
    try:
        raise cls("it is damaged") from ValueError("so")
    except DaskAgentsError as error:
        sent = error_message(error)["exception"].data
    found = loads(sent)
    assert type(found) is cls and str(found) == "it is damaged" and found.args == ("it is damaged",)

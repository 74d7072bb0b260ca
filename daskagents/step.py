"""What one step does to one block of agents: a pure function, without Dask.

A step is given a block of rows and a message, and returns the next version of the rows, the
replies, and what happened. It may be run twice, or again after a worker died, with one result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import behaviour, for_blocks
from daskagents.block import Block, Call, Charter, Heard, Outcome, Said
from daskagents.blockwise import Blockwise
from daskagents.environments.ledger import Ledger, World
from daskagents.errors import UsageError
from daskagents.forms import Form
from daskagents.host import Host
from daskagents.loop import Loop
from daskagents.message import Message
from daskagents.models.base import Journal, Keeper
from daskagents.rows import Rows
from daskagents.scenes import Scenes, Stage
from daskagents.usage import Usage


def run_step(
    charter: Charter,
    block: Block,
    call: Call,
    heard: Heard,
    rows: NDArray[np.int64] | None = None,
    *,
    loop: Callable[[], Loop],
    on_progress: Callable[[int, int, Usage], None] | None = None,
    on_form: Callable[[Form], None] | None = None,
    keeper: Keeper | None = None,
    journal: Journal | None = None,
    world: World | None = None,
) -> Outcome:
    """Let the agents of one block hear a message and answer.

    Parameters
    ----------
    charter
        The population's class, name, seed and model.
    block
        The rows before the step.
    call
        Which method is called, in which step; and the form of the replies where it is known.
    heard
        The message, or one value per addressed row.
    rows
        Positions within the block of those addressed; None for all.
    loop
        Gives the event loop that coroutines run on; called only when there are any.
    on_progress
        Called now and then with the numbers of agents done and failed, and the usage so far.
    on_form
        Called once, with the form of the first row's reply, if `call.form` is None.
    keeper
        Who keeps what all workers of the run share; None where nothing is shared.
    journal
        Who keeps the answers of models; None where nobody does.
    world
        The environment that the agents see; None where there is none.

    Returns
    -------
    Outcome
        The rows after the step, the replies and failures of the addressed rows in their order.

    Raises
    ------
    RunError
        If a model says that the run has to stop, as when its budget is spent.

    """
    cls = charter.cls
    everyone = np.arange(block.n) if rows is None else rows
    ledger = None if world is None else Ledger(world)
    if call.scene is not None:
        stage = Stage(charter, call, block, everyone, on_progress, on_form, keeper, journal)
        stage.ledger = ledger
        return Scenes(stage, _messages(heard, int(np.diff(call.scene.bounds)[0]))).run(loop())
    method = behaviour(cls, call.method)
    messages = _messages(heard, len(everyone))
    if for_blocks(cls, call.method) and not isinstance(messages, BaseException):
        whole = Blockwise(charter, call, block, everyone, on_progress, on_form)
        whole.ledger = ledger
        return whole.run(method, messages if isinstance(messages, Message) else Message(heard))
    host = Host(charter, call, block, everyone, on_progress, on_form, keeper, journal)
    host.ledger = ledger
    work = Rows(host, method, messages)
    if isinstance(messages, BaseException):
        host.errors = dict.fromkeys(range(len(everyone)), messages)
    elif inspect.iscoroutinefunction(method):
        work.run_waiting(loop())
    else:
        work.run_rows()
    return work.finish()


def _messages(heard: Heard, n: int) -> Message | list[Message] | BaseException:
    """Return the message of all agents, or one for each; an error where none could be had."""
    if isinstance(heard, Message):
        return heard
    if isinstance(heard, Said):
        if heard.failure:
            return UsageError(f"the message that it waited for never came: {heard.failure}")
        content = heard.content  # of a dict, those who hear it get a view that none can change
        return Message(
            MappingProxyType(content) if isinstance(content, dict) else content, name=heard.name
        )
    if heard.ndim == 0:
        return Message(heard.item())
    if len(heard) != n:
        raise UsageError(f"{len(heard)} messages came for {n} agents")
    return [Message(content) for content in heard.tolist()]

"""Rows on their way from some blocks to others, found by the ids of their agents; without Dask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from daskagents.block import Block
from daskagents.columns import concat
from daskagents.mail import Mail, join
from daskagents.rows import put


def assemble(wanted: NDArray[np.int64], blocks: Sequence[Block]) -> Block:
    """Return a block of the rows of some agents, in the order of `wanted`.

    Parameters
    ----------
    wanted
        Their ids, shape (n,), each once.
    blocks
        Where they are; other rows in these are left out.

    Examples
    --------
    >>> from daskagents.columns import Plain
    >>> one = Block(0, 2, {"x": Plain(np.array([0.0, 10.0]))})
    >>> two = Block(2, 2, {"x": Plain(np.array([20.0, 30.0]))})
    >>> assemble(np.array([3, 0]), [one, two]).columns["x"].values
    array([30.,  0.])
    """
    among, parts = np.sort(wanted), []
    for block in blocks:
        ids = every(block)
        rows = np.flatnonzero(among[np.searchsorted(among[:-1], ids)] == ids)
        if len(rows):
            parts.append(pick(block, rows))
    ids = np.concatenate([every(part) for part in parts])
    order = np.argsort(ids)[np.searchsorted(among, wanted)]
    columns = {
        name: concat([part.columns[name] for part in parts]).take(order)
        for name in parts[0].columns
    }
    return Block(0, len(wanted), columns, wanted, _mail(parts))


def pick(block: Block, rows: NDArray[np.int64]) -> Block:
    """Return some rows of a block."""
    columns = {name: column.take(rows) for name, column in block.columns.items()}
    mail, ids = block.mail, block.ids_of(rows)
    if mail is not None:
        own = np.flatnonzero(np.isin(mail.to, ids))
        mail = mail.take(own) if len(own) else None
    return Block(0, len(rows), columns, ids, mail)


def _mail(blocks: Sequence[Block]) -> Mail | None:
    """Return what waits in the inboxes of several blocks."""
    return join([block.mail for block in blocks if block.mail is not None])


def split(block: Block, lanes: NDArray[np.uint8], n: int) -> tuple[Block, ...]:
    """Return the rows of each of `n` lanes, given the lane of every row; 255 for those of none."""
    return tuple(pick(block, np.flatnonzero(lanes == lane)) for lane in range(n))


def bring_back(
    old: Block | None, first: int, ids: NDArray[np.int64], blocks: Sequence[Block]
) -> Block:
    """Return a block of agents that follow each other, with the rows of those that were away.

    Parameters
    ----------
    old
        The block as it was; None where all of its rows were away.
    first
        The id of its first agent.
    ids
        Of those that were away, in order.
    blocks
        Where they are.
    """
    found = assemble(ids, blocks)
    if old is None:
        return Block(first, found.n, found.columns, mail=found.mail)
    columns = {
        name: put(column, ids - first, found.columns[name], old.n)
        for name, column in old.columns.items()
    }
    stayed = pick(old, np.flatnonzero(~np.isin(every(old), ids)))
    return replace(old, columns=columns, mail=_mail([stayed, found]))


def every(block: Block) -> NDArray[np.int64]:
    """Return the ids of all agents of a block."""
    return block.first + np.arange(block.n) if block.ids is None else block.ids

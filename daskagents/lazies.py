"""Lazy values of a workflow: computed once, however often they are used, and let go in time."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dask.array.core import Array
from numpy.typing import NDArray

from daskagents import tasks
from daskagents.past import LOST, check_stored
from daskagents.plan import plan_each
from daskagents.tasks import Place

if TYPE_CHECKING:
    from daskagents.session import Session

#: Bytes of messages, one for each agent, that travel in the graph itself.
_LIGHT = 1 << 20
#: The names of arrays of results: of which population or environment, after how many steps (and
#: of a state, where agents entered or left, after how many times that).
ORIGIN = re.compile(r"(step|state|version)-(.+)-(\d+)-[0-9a-f]{10}(?:-\d+)?")


class Lazies:
    """The lazy values of a session, as futures: of what steps hear, and of what is yielded."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settled: OrderedDict[str, tuple[int, list[Any]]] = OrderedDict()

    def clear(self) -> None:
        """Let go of all of them."""
        self._settled.clear()

    def settle(self, array: Array) -> list[Any]:
        """Return handles of the chunks of a lazy array, computed once however often it is used."""
        if self._session.retracing:
            return [LOST] * array.npartitions
        check_stored(array.dask.layers)
        if array.name not in self._settled:
            self._settled[array.name] = (self._session.epoch, self._session.executor.settle(array))
        return self._settled[array.name][1]

    def carry(self, array: Array) -> list[Any]:
        """Return handles of a lazy array that enters a step.

        One that comes from before the last checkpoint is written down and loaded anew, for it
        would bring along all that came before it.
        """
        handles = self.settle(array)
        if not self._is_past(array) or self._session.store is None:
            return handles
        key = f"{array.name} carried"
        if key not in self._settled:
            if array.ndim == 0:
                rooted = self._session.executor.gather(handles)
            else:
                rooted = self._rewrite(array.name, handles)
            self._settled[key] = (self._session.epoch, rooted)
        return self._settled[key][1]

    def _is_past(self, array: Array) -> bool:
        """Whether an array is made from replies or states of before the last checkpoint."""
        return any(
            int(count) < self._session.cut or (kind != "step" and int(count) == self._session.cut)
            for kind, _, count in origins(array)
        )

    def send(self, parts: Sequence[NDArray[Any]], what: str = "sent") -> list[Any]:
        """Return handles of messages, one for each agent, cut into blocks.

        They are in the graph or in the run directory, so that a lost worker takes none along.
        """
        if self._session.retracing:
            return [LOST] * len(parts)
        name = f"{what}-{self._session.token}-{self._session.count}"
        if sum(part.nbytes for part in parts) < _LIGHT:
            plan = plan_each(name, tasks.same, [(part,) for part in parts])
            return self._session.executor.submit(plan)
        plain = all(part.dtype.kind in "fiubTU" for part in parts)
        if not plain or self._session.store is None or not self._session.store.shared:
            return [self._session.executor.scatter(part) for part in parts]
        place = Place(self._session.topic, self._session.count, 0, *self._session.store.place)
        folder = self._session.store.carried(self._session.generation, self._session.count)
        paths = [
            tasks.write_values(part, place, f"{folder}/{at:05d}") for at, part in enumerate(parts)
        ]
        return self._session.executor.submit(
            plan_each(name, tasks.read_values, [(p,) for p in paths])
        )

    def _rewrite(self, name: str, handles: list[Any]) -> list[Any]:
        """Write the chunks of an array and load them anew."""
        assert self._session.store is not None
        place = Place(self._session.topic, self._session.count, 0, *self._session.store.place)
        folder = self._session.store.carried(self._session.generation, self._session.count)
        rows = [(handle, place, f"{folder}/{at:05d}") for at, handle in enumerate(handles)]
        plan = plan_each(f"carry-{self._session.count}-{name}", tasks.write_values, rows)
        written = self._session.executor.gather(self._session.executor.submit(plan))
        sent = [self._session.executor.scatter(w) if isinstance(w, bytes) else w for w in written]
        plan = plan_each(
            f"carried-{self._session.count}-{name}", tasks.read_values, [(w,) for w in sent]
        )
        return self._session.executor.submit(plan)

    def let_go(self, epoch: int) -> None:
        """Let go of lazy values from before a round: they would keep all that they came from."""
        for name, (since, _) in list(self._settled.items()):
            if since >= epoch:
                break
            del self._settled[name]


def origins(array: Array) -> list[tuple[str, str, str]]:
    """Return what an array is made from: step, state or version; whose; and after how many."""
    found = (ORIGIN.fullmatch(layer) for layer in array.dask.layers)
    return [(match[1], match[2], match[3]) for match in found if match]

"""The answers to one request, as they come by several tries."""

from __future__ import annotations

from collections.abc import Callable

from daskagents.errors import ModelError
from daskagents.models.base import Answer, Model, Request, alike, sound
from daskagents.usage import Usage

_NOTHING = Usage()


class Several:
    """The answers to one request, as they come by several tries, and what the vain ones took.

    Parameters
    ----------
    request
        What is asked.
    n
        How many answers there shall be.
    again
        Which errors are worth another try; by default those that may pass.
    """

    __slots__ = ("_again", "_found", "_n", "_request", "missing", "spent")

    def __init__(
        self, request: Request, n: int, again: Callable[[ModelError], bool] | None = None
    ) -> None:
        self._request, self._n = request, n
        self._again = again or _passing
        self._found: dict[int, Answer | ModelError] = {}
        #: The places of answers that are still to come.
        self.missing = list(range(n))
        #: What was taken by tries that failed and are made again.
        self.spent = _NOTHING

    async def ask(self, model: Model) -> ModelError | None:
        """Ask for what is missing; return why another try is worth it, or None if all is settled.

        Of several reasons, it is the one that is to be waited for longest.
        """
        places = self.missing
        try:
            if self._n == 1:
                return self._settle([await model.chat(self._request)])
            part = self._request.part(places)
            return self._settle(await model.chat_many(part, len(places)))
        except ModelError as error:
            return self.failed(error)

    def _settle(self, came: list[Answer | ModelError]) -> ModelError | None:
        """Keep what is final of what came; return the worst of what is not."""
        vain: list[ModelError] = []
        for place, item in zip(self.missing, came, strict=True):
            if isinstance(item, ModelError) and self._again(item):
                vain.append(item)
                self.spent += item.usage
            else:
                self._found[place] = item
        self.missing = [place for place in self.missing if place not in self._found]
        return max(vain, key=lambda error: error.wait, default=None)

    def failed(self, error: ModelError) -> ModelError | None:
        """Note that a try at all that is missing failed; return why another is worth it."""
        self.spent += error.usage
        if self._again(error):
            return error
        self.give_up(error)
        return None

    def give_up(self, error: ModelError) -> None:
        """Let an error stand for all that is missing; what it took was noted before."""
        error.usage = Usage()
        first, *others = self.missing
        self._found[first] = error
        self._found.update((place, alike(error, Usage())) for place in others)
        self.missing = []

    def done(self) -> list[Answer | ModelError]:
        """Return what there is, with what the failed tries took.

        Raises
        ------
        ModelError
            If there is no answer at all.
        """
        found = [self._found[place] for place in range(self._n)]
        if self.spent is not _NOTHING:
            at = next((at for at, item in enumerate(found) if isinstance(item, Answer)), 0)
            found[at] = _after(found[at], self.spent)
        return sound([*found])


def _passing(error: ModelError) -> bool:
    return error.passing


def _after(item: Answer | ModelError, spent: Usage) -> Answer | ModelError:
    """Return an answer or an error as one that took so much more."""
    if isinstance(item, Answer):
        return item.after(spent)
    item.usage += spent
    return item

"""The prefix cache: how much of a prompt was seen before."""

from __future__ import annotations

from collections import OrderedDict

from daskagents.fake_server.script import PrefixCache


class Prefixes:
    """Remembers how prompts began, block by block, the longest unused forgotten first.

    Parameters
    ----------
    settings
        How much, and in what pieces.
    """

    def __init__(self, settings: PrefixCache) -> None:
        self._block = settings.block
        self._most = max(1, settings.tokens // settings.block)
        #: One key for each beginning; those that were used last come last.
        self._seen: OrderedDict[int, None] = OrderedDict()

    def known(self, words: list[str]) -> int:
        """Return how many words at the beginning of a prompt were seen; from now on all were.

        The last word is always read anew, as real endpoints do: the answer follows from it.
        """
        block, seen = self._block, self._seen
        key, found, unbroken = 0, 0, True
        for end in range(block, len(words) + 1, block):
            key = hash((key, *words[end - block : end]))
            if key in seen:
                seen.move_to_end(key)
                found = end if unbroken else found
            else:
                seen[key] = None
                unbroken = False
        while len(seen) > self._most:
            seen.popitem(last=False)
        return max(0, min(found, len(words) - 1))

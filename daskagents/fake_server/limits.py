"""Rate limits that limit: requests and tokens per minute."""

from __future__ import annotations

from daskagents.fake_server.script import Limits


class Allowance:
    """What may still be used; it refills all the time.

    Parameters
    ----------
    rate
        Per second.
    most
        What it holds when nothing was used for long.
    now
        The time, in seconds.
    """

    def __init__(self, rate: float, most: float, now: float) -> None:
        self.most = most
        self._rate = rate
        self._left = most
        self._then = now

    def left(self, now: float) -> float:
        """Return what may be used now."""
        self._left = min(self.most, self._left + (now - self._then) * self._rate)
        self._then = now
        return self._left

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until so much may be used; more than it ever holds needs all."""
        return max(0.0, (min(cost, self.most) - self.left(now)) / self._rate)

    def take(self, cost: float) -> None:
        """Use so much; what is larger than all of it is owed."""
        self._left -= cost


class Limiter:
    """Lets requests through, or says how long to wait.

    Parameters
    ----------
    limits
        The limits, per minute.
    now
        The time, in seconds.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        given = {"requests": limits.requests, "tokens": limits.tokens}
        self._allowances = {
            name: Allowance(rate / 60, rate / 60 * limits.window, now)
            for name, rate in given.items()
            if rate is not None
        }

    def wait(self, tokens: int, now: float) -> float:
        """Return 0 if a request of so many tokens may pass, which is then counted, or seconds."""
        costs = {"requests": 1.0, "tokens": float(tokens)}
        waits = [one.wait(costs[name], now) for name, one in self._allowances.items()]
        wait = max(waits, default=0.0)
        if wait <= 0:
            for name, one in self._allowances.items():
                one.take(costs[name])
        return wait

    def told(self, now: float) -> dict[str, str]:
        """Return the headers that tell of the limits, as vendors send them."""
        said = {}
        for name, one in self._allowances.items():
            said[f"x-ratelimit-limit-{name}"] = f"{one.most:.0f}"
            said[f"x-ratelimit-remaining-{name}"] = f"{max(0.0, one.left(now)):.0f}"
            said[f"x-ratelimit-reset-{name}"] = f"{one.wait(one.most, now):.3f}s"
        return said

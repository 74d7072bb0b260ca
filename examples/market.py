"""A market that looks for its price: two populations, and a workflow that reads a value.

Each buyer wants one thing and would pay up to some price; each seller has one and would take no
less than some price. At the price of the day they say whether they trade. If more want to buy than
to sell, the price rises, else it falls, and the market closes when hardly anybody is left over.

::

    python examples/market.py

"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

import daskagents as da


class Buyer(da.Agent):
    """Wants one thing."""

    most: float = 0.0  # what it would pay

    def reply(self, message: da.Message) -> bool:
        """Say whether it would buy at a price."""
        return bool(self.most >= message.content)


class Seller(da.Agent):
    """Has one thing."""

    least: float = 0.0  # what it would take

    def reply(self, message: da.Message) -> bool:
        """Say whether it would sell at a price."""
        return bool(self.least <= message.content)


def market(
    buyers: da.Population,
    sellers: da.Population,
    price: float = 80.0,
    speed: float = 0.5,
    days: int = 50,
) -> Iterator[dict[str, xr.DataArray | float]]:
    """Look for the price at which as many buy as sell."""
    for _ in range(days):
        buys, sells = buyers.reply(price), sellers.reply(price)  # the two are asked side by side
        excess = float(buys.sum() - sells.sum())  # a value is read: the workflow waits here
        yield {"buys": buys, "sells": sells, "price": price, "excess": excess}
        if abs(excess) < 0.005 * len(buyers):
            break
        price += speed * 100 * excess / len(buyers)


if __name__ == "__main__":
    draw = np.random.default_rng(3)
    # Each has a dimension of its own name in the results.
    buyers = da.Population(Buyer, {"most": draw.uniform(0, 100, 5_000)}, name="buyers")
    sellers = da.Population(Seller, {"least": draw.uniform(20, 60, 3_000)}, name="sellers")
    # In this process, with no workers: a debugger stops within `reply`.
    result = da.run(market, buyers, sellers, client="sync", seed=3)
    print("day   price   buy  sell")
    for day in result["round"].values:
        now = result.isel(round=day)
        buy, sell = int(now["buys"].sum()), int(now["sells"].sum())
        print(f"{day + 1:3} {float(now['price']):7.2f} {buy:5} {sell:5}")
    traded = result.isel(round=-1)
    print("the poorest buyer", float(traded["most"].where(traded["buys"] == 1).min().round(2)))
    print("the dearest seller", float(traded["least"].where(traded["sells"] == 1).max().round(2)))

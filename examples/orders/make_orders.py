"""Makes ``orders.json``: the same file for the same seed.

python -m examples.orders.make_orders --count 360 --seed 7 --out examples/orders/orders.json
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Final, TypeVar

from examples.orders.model import Case, Decision, Item, Order, OrderBook, write_orders

T = TypeVar("T", bound=str)

PRICES: Final = {
    "kettle-steel-1l": 3490, "kettle-glass-1l": 4290, "teapot-cast-iron": 5900, "teapot-porcelain": 3950,
    "cup-espresso": 690, "cup-cappuccino": 890, "mug-stoneware": 1290, "saucer-small": 450,
    "tea-assam-250g": 1250, "tea-darjeeling-100g": 1690, "tea-sencha-100g": 1490, "tea-rooibos-250g": 990,
    "coffee-ethiopia-1kg": 2690, "coffee-colombia-1kg": 2490, "coffee-decaf-500g": 1390, "filter-paper-100": 390,
    "grinder-hand": 7900, "grinder-electric": 15900, "scale-kitchen": 2990, "timer-magnetic": 1190,
    "tray-bamboo": 2190, "spoon-set-6": 1590, "honey-acacia": 890, "sugar-cane-1kg": 490,
    "biscuit-almond": 590, "biscuit-oat": 490, "cloth-linen": 1390, "thermos-750ml": 3290,
    "strainer-fine": 890, "jar-tin-500g": 1090,
}  # fmt: skip
"""Articles, and what a piece costs in euro cents."""

SOLD_OUT: Final = ("teapot-cast-iron", "grinder-electric")
SCARCE: Final = ("honey-acacia", "tea-sencha-100g")
"""Articles of which there are none, and too few for everybody."""

CURRENCIES: Final = {"EUR": 1.0, "USD": 1.08, "GBP": 0.86, "CHF": 0.97, "JPY": 1.62}
"""Minor units for one euro cent. A yen has no minor unit."""

FIRST: Final = ("Ana", "Ben", "Chloe", "Dmitri", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Mei",
                "Noor", "Olu", "Pia", "Quentin", "Rosa", "Sven", "Tala", "Uma", "Vera", "Wim", "Yara")  # fmt: skip
LAST: Final = ("Abe", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Hughes", "Ito", "Jansen", "Kaya",
               "Lopez", "Moreau", "Novak", "Okafor", "Peters", "Rossi", "Silva", "Tanaka", "Weber")  # fmt: skip

CARDS: Final = (("tok_visa", 60), ("tok_mastercard", 32), ("tok_declined", 5), ("tok_insufficient_funds", 3))
DECISIONS: Final[tuple[tuple[Decision, int], ...]] = (("early", 45), ("late", 45), ("refused", 6), ("never", 4))
DAMAGED_SHARE: Final = 0.008


def make_orders(count: int, *, seed: int) -> OrderBook:
    """That many orders, the stock they are served from, and the items that will break."""
    dice = random.Random(seed)
    cases = [Case(_order(number, dice), _pick(DECISIONS, dice)) for number in range(1, count + 1)]
    demand: dict[str, int] = dict.fromkeys(PRICES, 0)
    for case in cases:
        for sku, quantity in case.order.demand.items():
            demand[sku] += quantity
    stock = {sku: _stock(sku, wanted) for sku, wanted in demand.items()}
    serials = [item.serial for case in cases for item in case.order.items]
    return OrderBook(stock, [serial for serial in serials if dice.random() < DAMAGED_SHARE], cases)


def _order(number: int, dice: random.Random) -> Order:
    currency = dice.choices(list(CURRENCIES), weights=(50, 20, 12, 8, 10))[0]
    articles = [sku for sku in PRICES if sku not in SOLD_OUT or dice.random() < 0.25]
    wanted = dice.sample(articles, dice.choices(range(1, 7), weights=(20, 26, 22, 16, 10, 6))[0])
    items = [
        Item(
            serial=f"{number:05}-{line}",
            sku=sku,
            quantity=dice.choices((1, 2, 3, 6), weights=(60, 25, 10, 5))[0],
            unit_price=max(1, round(PRICES[sku] * CURRENCIES[currency])),
        )
        for line, sku in enumerate(wanted, start=1)
    ]
    customer = f"{dice.choice(FIRST)} {dice.choice(LAST)}"
    return Order(id=f"order-{number:05}", customer=customer, card=_pick(CARDS, dice), currency=currency, items=items)


def _stock(sku: str, demand: int) -> int:
    if sku in SOLD_OUT:
        return 0
    return demand * 6 // 10 if sku in SCARCE else demand + 10


def _pick(weighted: tuple[tuple[T, int], ...], dice: random.Random) -> T:
    return dice.choices([value for value, _ in weighted], weights=[weight for _, weight in weighted])[0]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Make a file of orders.")
    parser.add_argument("--count", type=int, default=360)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("orders.json"))
    wanted = parser.parse_args()
    write_orders(make_orders(wanted.count, seed=wanted.seed), wanted.out)


if __name__ == "__main__":
    main()

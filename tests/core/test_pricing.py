"""Prices to the cent. The figures are written out here as they were published, not computed again."""

from decimal import Decimal
from itertools import product

import pytest

from inlet.core.catalogue import CATALOGUE
from inlet.core.pricing import (
    ARTICLE_FARGATE_HOURS,
    ARTICLE_FARGATE_MEMORY_GB,
    FARGATE,
    Comparison,
    as_published,
    like_for_like,
    listed,
    monthly,
    per_million,
    today,
)

PUBLISHED_FARGATE = {1: "33.18", 2: "60.38", 4: "114.78", 8: "223.59"}
PUBLISHED_MANAGED = {1: "43.80", 2: "87.61", 4: "175.22", 8: "350.44"}


def columns(rows: tuple[Comparison, ...]) -> tuple[dict[int, str], dict[int, str]]:
    return (
        {int(row.vcpus): str(row.fargate) for row in rows},
        {int(row.vcpus): str(row.managed) for row in rows},
    )


def test_the_article_comes_out_to_the_cent() -> None:
    assert columns(as_published()) == (PUBLISHED_FARGATE, PUBLISHED_MANAGED)
    assert [int(row.memory_gb) for row in as_published()] == [2, 4, 8, 16]


def test_nothing_else_gives_the_figures_of_the_article() -> None:
    """Whole days of a month, and memory in halves of a GB: some at every size, and some more for each vCPU."""
    found = [
        (days, same, more)
        for days, same, more in product(range(15, 32), range(33), range(17))
        if all(
            str(monthly(FARGATE.per_hour(Decimal(v), Decimal(same + more * v) / 2), Decimal(days * 24)))
            == price
            for v, price in PUBLISHED_FARGATE.items()
        )
    ]
    assert found == [(28, 4, 0)]
    assert (Decimal(28 * 24), Decimal(2)) == (ARTICLE_FARGATE_HOURS, ARTICLE_FARGATE_MEMORY_GB)


def test_the_same_month_and_memory_on_both_sides() -> None:
    assert columns(like_for_like(Decimal(730))) == (
        {1: "36.04", 2: "72.08", 4: "144.16", 8: "288.32"},
        {1: "43.80", 2: "87.60", 4: "175.20", 8: "350.40"},
    )


def test_today() -> None:
    assert columns(today(Decimal(730), listed())) == (
        {1: "36.04", 2: "72.08", 4: "144.16", 8: "288.32", 16: "576.64"},
        {1: "24.09", 2: "48.91", 4: "97.82", 8: "195.64", 16: "391.28"},
    )
    assert {row.id for row in listed()} < {row.id for row in CATALOGUE}


def test_the_premium_is_of_the_price_of_fargate() -> None:
    dearer = Comparison(Decimal(1), Decimal(2), fargate=Decimal(40), managed=Decimal(50))
    cheaper = Comparison(Decimal(1), Decimal(2), fargate=Decimal(40), managed=Decimal(30))
    assert (dearer.premium, cheaper.premium) == (Decimal("0.25"), Decimal("-0.25"))


@pytest.mark.parametrize(
    ("price", "rate", "cost"),
    [("0.134", 12.5, "2.98"), ("0.24", 12.5, "5.33"), ("3.6", 1000, "1.00"), ("0.033", 0.1, "91.67")],
)
def test_a_million_requests_cost_the_time_that_they_take(price: str, rate: float, cost: str) -> None:
    assert str(per_million(Decimal(price), rate)) == cost


def test_half_a_cent_is_rounded_up() -> None:
    assert str(monthly(Decimal("0.125"), Decimal(1))) == "0.13"
    assert str(monthly(Decimal("0.1249"), Decimal(1))) == "0.12"

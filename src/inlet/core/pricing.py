"""What the same vCPU and memory cost elsewhere: unit prices with source and date, and the arithmetic on them. Pure.

Called by `cli/cost.py`, `cli/trials.py` and `cli/sizes.py`. Amounts are `Decimal` in USD and are rounded once, at the end: the figures
are compared to the cent. The managed service's prices are the rows of `core/catalogue.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from inlet.core.catalogue import CATALOGUE, Instance

_CENT = Decimal("0.01")
_SECONDS_PER_HOUR = 3600
_LIST = ("aws", "us-east-1", "intel-spr")
"""Vendor, region and type whose rows stand for the managed service: the region of Fargate's prices below."""


@dataclass(frozen=True, slots=True)
class UnitPrices:
    """USD per hour for one vCPU and for one GB of memory."""

    vcpu_hour: Decimal
    gb_hour: Decimal

    def per_hour(self, vcpus: Decimal, memory_gb: Decimal) -> Decimal:
        return vcpus * self.vcpu_hour + memory_gb * self.gb_hour


FARGATE = UnitPrices(Decimal("0.04048"), Decimal("0.004445"))
FARGATE_SOURCE = (
    "AWS Fargate, Linux on x86, us-east-1, on demand, 20 GB of ephemeral storage included "
    "(aws.amazon.com/fargate/pricing, as of June 2026)"
)
MANAGED_SOURCE = (
    "Hugging Face Inference Endpoints, list price per replica-hour "
    "(the pricing page of its documentation, as of August 2026)"
)

# The comparison in "Why we're switching to Hugging Face Inference Endpoints" (Mantis, 15 February 2023) names no unit
# price. These give its figures to the cent; no other number of days and of half GB does, neither the same memory at
# every size nor so much for each vCPU.
ARTICLE_SIZES: tuple[tuple[int, int], ...] = ((1, 2), (2, 4), (4, 8), (8, 16))
"""(vCPU, memory in GB), as the article's table lists them."""
ARTICLE_FARGATE_HOURS = Decimal(28 * 24)
ARTICLE_FARGATE_MEMORY_GB = Decimal(2)
"""What was paid for at every size, although the table lists 4, 8 and 16 GB for the larger ones."""
ARTICLE_MANAGED = UnitPrices(Decimal("0.06"), Decimal(0))
"""What the service's console showed at the time; memory was part of the vCPU's price."""
ARTICLE_MANAGED_HOURS = Decimal("30.42") * 24


@dataclass(frozen=True, slots=True)
class Comparison:
    """One size at both: what was asked for, and USD a month in whole cents."""

    vcpus: Decimal
    memory_gb: Decimal
    fargate: Decimal
    managed: Decimal

    @property
    def premium(self) -> Decimal:
        """By how much the managed service is dearer, as a share of Fargate's price; negative if it is cheaper."""
        return self.managed / self.fargate - 1


def monthly(price_per_hour: Decimal, hours: Decimal) -> Decimal:
    """USD in whole cents, half a cent rounded up."""
    return (price_per_hour * hours).quantize(_CENT, ROUND_HALF_UP)


def per_million(price_per_hour: Decimal, requests_per_second: float) -> Decimal:
    """USD for a million requests, in whole cents, if they keep coming as fast as that."""
    hours = Decimal(1_000_000) / (Decimal(str(requests_per_second)) * _SECONDS_PER_HOUR)
    return monthly(price_per_hour, hours)


def as_published() -> tuple[Comparison, ...]:
    """The article's table: months of different lengths, and 2 GB at every size on Fargate."""
    return tuple(
        Comparison(
            Decimal(vcpus),
            Decimal(memory_gb),
            monthly(FARGATE.per_hour(Decimal(vcpus), ARTICLE_FARGATE_MEMORY_GB), ARTICLE_FARGATE_HOURS),
            monthly(ARTICLE_MANAGED.per_hour(Decimal(vcpus), Decimal(memory_gb)), ARTICLE_MANAGED_HOURS),
        )
        for vcpus, memory_gb in ARTICLE_SIZES
    )


def like_for_like(hours: Decimal) -> tuple[Comparison, ...]:
    """The article's sizes and unit prices, with the memory that it lists and the same `hours` on both sides."""
    return tuple(
        Comparison(
            Decimal(vcpus),
            Decimal(memory_gb),
            monthly(FARGATE.per_hour(Decimal(vcpus), Decimal(memory_gb)), hours),
            monthly(ARTICLE_MANAGED.per_hour(Decimal(vcpus), Decimal(memory_gb)), hours),
        )
        for vcpus, memory_gb in ARTICLE_SIZES
    )


def today(hours: Decimal, rows: Sequence[Instance]) -> tuple[Comparison, ...]:
    """These rows of `listed`, and the same vCPU and memory on Fargate, for `hours` a month."""
    return tuple(
        Comparison(
            Decimal(str(row.vcpus)),
            Decimal(str(row.memory_gb)),
            monthly(FARGATE.per_hour(Decimal(str(row.vcpus)), Decimal(str(row.memory_gb))), hours),
            monthly(Decimal(str(row.price_per_hour)), hours),
        )
        for row in rows
    )


def listed() -> tuple[Instance, ...]:
    """The managed service's present CPU rows, smallest first."""
    return tuple(row for row in CATALOGUE if (row.vendor, row.region, row.type) == _LIST)

"""`inlet cost compare`: the managed service beside containers that one runs oneself, from unit prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from inlet.cli import options, output
from inlet.core.catalogue import HOURS_PER_MONTH, Instance
from inlet.core.errors import Invalid
from inlet.core.pricing import (
    ARTICLE_FARGATE_HOURS,
    ARTICLE_FARGATE_MEMORY_GB,
    ARTICLE_MANAGED,
    ARTICLE_MANAGED_HOURS,
    FARGATE,
    FARGATE_SOURCE,
    MANAGED_SOURCE,
    Comparison,
    as_published,
    like_for_like,
    listed,
    today,
)

app = typer.Typer(no_args_is_help=True)


@app.callback()
def cost() -> None:
    """What endpoints cost elsewhere."""


@app.command()
def compare(
    hours: Annotated[
        float, typer.Option(metavar="HOURS", min=1, max=744, help="Hours of a month in which it runs.")
    ] = HOURS_PER_MONTH,
    vcpus: Annotated[
        str, typer.Option(metavar="N,…", help="Sizes of today's instances to compare, in vCPU.")
    ] = "1,2,4,8",
    output_: options.Format = output.Output.TABLE,
) -> None:
    """A month of the managed service against a month of AWS Fargate: as an article had it in 2023, and today.

    \b
    Examples:
      inlet cost compare
      inlet cost compare --vcpus 1,16 --hours 200
    """
    month = Decimal(str(hours))
    rows = _chosen(vcpus)
    tables = {
        "asPublished": as_published(),
        "likeForLike": like_for_like(month),
        "today": today(month, rows),
    }
    if output_ is output.Output.JSON:
        output.json(
            {
                "hoursPerMonth": hours,
                **{name: [_json(row) for row in table] for name, table in tables.items()},
                "prices": _prices(),
            }
        )
        return
    published = (
        "The article of 15 February 2023, to the cent. Its months differ "
        f"(Fargate {ARTICLE_FARGATE_HOURS} h, the service {ARTICLE_MANAGED_HOURS} h), and its Fargate has "
        f"{ARTICLE_FARGATE_MEMORY_GB} GB at every size:"
    )
    fair = f"The same prices with the memory that is listed, and {hours:g} h on both sides:"
    said = (published, fair, f"Today's list prices ({listed()[0].vendor} {listed()[0].type}), {hours:g} h:")
    for heading, table in zip(said, tables.values(), strict=True):
        output.console().print(heading, style="bold")
        output.table(
            ("VCPU", "MEMORY", "FARGATE", "MANAGED", "MANAGED COSTS"),
            (
                (f"{row.vcpus:f}", f"{row.memory_gb:f} GB", f"${row.fargate}", f"${row.managed}", _more(row))
                for row in table
            ),
            empty="",
        )
        output.console().print()
    output.say(
        f"USD a month. {FARGATE_SOURCE}: ${FARGATE.vcpu_hour} per vCPU-hour, ${FARGATE.gb_hour} per GB-hour.\n"
        f"{MANAGED_SOURCE}; in the article ${ARTICLE_MANAGED.vcpu_hour} per vCPU-hour.\n"
        "Without load balancer, traffic and registry, which Fargate needs besides.",
        "dim",
    )


def _chosen(text: str) -> list[Instance]:
    by_vcpus = {row.vcpus: row for row in listed()}
    found = []
    for item in text.split(","):
        try:
            found.append(by_vcpus[float(item)])
        except (ValueError, KeyError):
            sold = ", ".join(f"{size:g}" for size in by_vcpus)
            raise Invalid(f"{item!r} is none of the sizes that are sold: {sold}", field="--vcpus") from None
    return found


def _more(row: Comparison) -> str:
    return f"{abs(row.premium):.1%} {'more' if row.premium >= 0 else 'less'}"


def _json(row: Comparison) -> dict[str, Any]:
    return {
        "vcpus": float(row.vcpus),
        "memoryGb": float(row.memory_gb),
        "fargate": float(row.fargate),
        "managed": float(row.managed),
        "premium": round(float(row.premium), 4),
    }


def _prices() -> dict[str, Any]:
    return {
        "fargate": {
            "perVcpuHour": float(FARGATE.vcpu_hour),
            "perGbHour": float(FARGATE.gb_hour),
            "source": FARGATE_SOURCE,
        },
        "managed": {
            "perHour": {row.id: row.price_per_hour for row in listed()},
            "source": MANAGED_SOURCE,
        },
        "article": {
            "managedPerVcpuHour": float(ARTICLE_MANAGED.vcpu_hour),
            "managedHours": float(ARTICLE_MANAGED_HOURS),
            "fargateHours": float(ARTICLE_FARGATE_HOURS),
            "fargateMemoryGb": float(ARTICLE_FARGATE_MEMORY_GB),
        },
    }

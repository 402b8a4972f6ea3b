"""`inlet hardware`, `inlet whoami`, `inlet about`, `inlet version`: what there is, and who asks."""

from __future__ import annotations

from typing import Annotated

import typer

from inlet import __version__
from inlet.cli import options, output, words
from inlet.cli.session import connect
from inlet.core.catalogue import HOURS_PER_MONTH


def hardware(
    accelerator: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only cpu, gpu or neuron.", show_default=False)
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Only this region.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also what this server cannot run.")] = False,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Instances to choose from, with their prices.

    \b
    Examples:
      inlet hardware
      inlet hardware --accelerator gpu --all
    """
    with connect(url, token, namespace) as client:
        catalogue = client.hardware()
    if output_ is output.Output.JSON:
        output.json(catalogue)
        return
    rows = [
        row
        for row in words.hardware_rows(catalogue)
        if accelerator in (None, row["accelerator"])
        and region in (None, row["region"])
        and (all_ or row["status"] in ("available", "low_availability"))
    ]
    output.table(
        ("ID", "ARCHITECTURE", "VCPU", "MEMORY", "$/HOUR", "$/MONTH", "STATUS"),
        (
            (
                row["id"],
                row["architecture"],
                "" if row["numCpus"] is None else f"{row['numCpus']:g}",
                f"{row['memoryGb']:g} GB",
                f"{row['pricePerHour']:.3f}",
                f"{row['pricePerHour'] * HOURS_PER_MONTH:.2f}",
                row["status"],
            )
            for row in rows
        ),
        empty="No instance is like that: --all shows those that cannot run here, too.",
    )


def whoami(
    output_: options.Format = output.Output.TABLE,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Whose token it is, and its namespace.

    \b
    Example:
      inlet whoami
    """
    with connect(url, token) as client:
        answer = client.whoami()
    if output_ is output.Output.JSON:
        output.json(answer)
    else:
        access = (answer.get("auth") or {}).get("accessToken") or {}
        output.facts({"Namespace": answer["name"], "Token": access.get("displayName")})


def about(
    output_: options.Format = output.Output.TABLE,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """The server's version, and which of several controls on its database leads.

    \b
    Example:
      inlet about
    """
    with connect(url, token) as client:
        answer = client.about()
    if output_ is output.Output.JSON:
        output.json(answer)
        return
    control = answer["control"]
    leader = "none at the moment" if control["leader"] is None else control["leader"]
    output.facts(
        {
            "Version": answer["version"],
            "Control": "the only one"
            if not control["shared"]
            else "leads"
            if control["leads"]
            else "follows",
            "Leader": leader if control["shared"] else None,
            "Followers": (", ".join(control["followers"]) or "none") if control["shared"] else None,
        }
    )


def version(output_: options.Format = output.Output.TABLE) -> None:
    """The version of this program.

    \b
    Example:
      inlet version
    """
    if output_ is output.Output.JSON:
        output.json({"version": __version__})
    else:
        output.console().print(__version__)

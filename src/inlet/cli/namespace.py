"""`inlet namespace …`: who owns endpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from inlet.cli import options, output
from inlet.cli.session import connect

app = typer.Typer(help="Make and list namespaces.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and dashes.", show_default=False)
    ],
    output_: options.Format = output.Output.TABLE,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Make a namespace (needs an admin's token).

    \b
    Example:
      inlet namespace create acme
    """
    with connect(url, token) as client:
        made = client.create_namespace(name)
    if output_ is output.Output.JSON:
        output.json(made)
    else:
        output.say(f"Namespace {name} is made: use it with --namespace {name}.")


@app.command("list")
def list_(
    output_: options.Format = output.Output.TABLE,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """All namespaces, oldest first.

    \b
    Example:
      inlet namespace list
    """
    with connect(url, token) as client:
        namespaces = client.list_namespaces()
    if output_ is output.Output.JSON:
        output.json({"items": namespaces})
    else:
        output.table(("NAME",), ((item["name"],) for item in namespaces), empty="There is no namespace.")

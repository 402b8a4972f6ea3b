"""The options that many commands share, worded once."""

from __future__ import annotations

from typing import Annotated

import typer

from inlet.cli.output import Output

Url = Annotated[
    str | None,
    typer.Option(
        envvar="INLET_URL",
        metavar="URL",
        help="The server; default: the one that `inlet up` runs here.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="INLET_API_TOKEN",
        metavar="TOKEN",
        help="Your token; default: the one that `inlet up` left here.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Default: your token's own."),
]
Format = Annotated[
    Output,
    typer.Option("--output", "-o", help="A table to read, or the API's JSON.", case_sensitive=False),
]

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the endpoint.", show_default=False)]

Task = Annotated[
    str | None, typer.Option(metavar="TASK", help="What the model is for; default: guessed from the model.")
]
Instance = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Size (x1, x2, …) or id of an instance, as `inlet hardware` lists them.",
        show_default=False,
    ),
]
Min = Annotated[
    int | None,
    typer.Option("--min", metavar="N", help="Fewest replicas; 0 lets it sleep.", show_default=False),
]
Max = Annotated[int | None, typer.Option("--max", metavar="N", help="Most replicas.", show_default=False)]
IdleMinutes = Annotated[
    int | None,
    typer.Option(
        "--scale-to-zero-timeout",
        metavar="MINUTES",
        help="Minutes without a request before it sleeps (needs --min 0).",
        show_default=False,
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME[=VALUE]",
        help="Variable of the replicas; NAME alone takes its value from here. Repeatable.",
        show_default=False,
    ),
]
Secret = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        "-s",
        metavar="NAME[=VALUE]",
        help="As --env, stored encrypted and never shown. Repeatable.",
        show_default=False,
    ),
]
Type = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Who may call it: private (tokens for it), authenticated (any token) or public (anybody).",
        show_default=False,
    ),
]
Revision = Annotated[
    str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit on the Hub.", show_default=False)
]
Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="A word to find it by. Repeatable.", show_default=False),
]
Wait = Annotated[bool, typer.Option(help="Wait until it answers.")]

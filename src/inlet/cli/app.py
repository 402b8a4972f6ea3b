"""The command line as a whole: which commands there are. Started by `__main__`.

Importing it must stay cheap, so that `inlet --help` comes at once: what only some commands need (httpx, the server)
they import themselves.
"""

from __future__ import annotations

from typing import Annotated

import typer

from inlet.cli import about, artifact, bench, cost, deploy, endpoint, namespace, token
from inlet.cli.errors import Commands

app = typer.Typer(
    cls=Commands,
    name="inlet",
    help="Self-hosted inference endpoints: a model in, a URL with tokens and autoscaling out.\n\n"
    "Begin with `inlet up`, then `inlet deploy MODEL` in another terminal.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def up(
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on (INLET_HOST); 0.0.0.0 opens it to the network.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Port to listen on (INLET_PORT, 8080); 0 takes a free one.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[bool, typer.Option(help="Make a sample endpoint, and show how to call it.")] = False,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="Start although the key to the stored secrets is lost: they must all be set again.",
        ),
    ] = False,
) -> None:
    """Run Inlet on this machine until Ctrl-C.

    \b
    Examples:
      inlet up
      inlet up --sample
      inlet up --host 0.0.0.0 --port 80
    """
    from inlet.cli.up import run

    run(host=host, port=port, with_sample=sample, new_key=new_key)


app.command()(deploy.deploy)
app.command()(bench.bench)
app.add_typer(endpoint.app, name="endpoint")
app.add_typer(artifact.app, name="artifact")
app.add_typer(token.app, name="token")
app.add_typer(namespace.app, name="namespace")
app.add_typer(cost.app, name="cost")
app.command()(about.hardware)
app.command()(about.whoami)
app.command()(about.about)
app.command()(about.version)

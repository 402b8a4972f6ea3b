"""`inlet bench`: how fast an endpoint, any URL, or a model on instances of several sizes answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from inlet.cli import options, output
from inlet.cli.session import whereabouts
from inlet.core.errors import Invalid
from inlet.settings import Settings

if TYPE_CHECKING:
    from inlet.bench.load import Load
    from inlet.bench.target import Target

_OPEN_CONNECTIONS = 256
_TOGETHER = 8
"""Clients that ask at once where throughput is measured, unless told otherwise."""


def bench(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="ENDPOINT|URL|MODEL",
            help="Name of an endpoint; a URL (http://…); or, with --sizes, a model as `inlet deploy` takes it.",
            show_default=False,
        ),
    ],
    requests: Annotated[
        int, typer.Option("--requests", "-n", metavar="N", min=1, help="How many to send.")
    ] = 500,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="N",
            min=1,
            help="Clients that each wait for their answer (1; with --sizes 8, for the throughput). "
            "With --rate: connections at most (256).",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="PER_SECOND",
            min=0.001,
            help="Send at random times, so many a second on average, whether answers come or not; "
            "latency counts from when a request was due.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help='Send {"inputs": TEXT}.', show_default=False)
    ] = None,
    body: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Send this. Default: the example of the endpoint's task; a GET to a URL.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Send what is in it; of a .jsonl file each line, in turn.",
            show_default=False,
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header", "-H", metavar="'NAME: VALUE'", help="Send this, too. Repeatable.", show_default=False
        ),
    ] = None,
    keepalive: Annotated[
        bool, typer.Option(help="Use connections again, or a new one for each request.")
    ] = True,
    warm_up: Annotated[
        int, typer.Option(metavar="N", min=0, help="Requests before it that are not counted.")
    ] = 20,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="A request that takes longer has failed.")
    ] = 60.0,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg", help="Draw the percentiles into it.", show_default=False, dir_okay=False
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE,…",
            help="Try the model on instances of these sizes (x1,x2,x4), one after the other.",
            show_default=False,
        ),
    ] = None,
    p99: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --sizes: name the cheapest that answers 99 % within this time (100ms, 0.5s).",
            show_default=False,
        ),
    ] = None,
    task: options.Task = None,
    output_: options.Format = output.Output.TABLE,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAMESPACE", help="Default: your token's own.")
    ] = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Measure how fast something answers: requests a second, percentiles, failures.

    Exit status 1 if nothing was answered, or if the generator and not the server was the limit.

    \b
    Examples:
      inlet bench mini
      inlet bench mini -n 2000 -c 8 --text "How do I get my money back?"
      inlet bench mini --rate 20 --file texts.jsonl --plot mini.svg
      inlet bench http://127.0.0.1:9000/predict --body '{"inputs": "hello"}'
      inlet bench ./my-model --sizes x1,x2,x4 --p99 100ms
    """
    from inlet.cli.measuring import bodies

    sent = bodies(text, body, file)
    with_sizes = {"--p99": p99, "--task": task}
    without = {"--rate": rate, "--plot": plot, "--header": header}
    for name, given in (with_sizes if sizes is None else without).items():
        if given is not None:
            raise Invalid(f"{'needs' if sizes is None else 'cannot go with'} --sizes", field=name)
    if sizes is not None:
        from inlet.cli.sizes import compare_sizes
        from inlet.cli.trials import Wanted

        wanted = Wanted(
            model=what,
            sizes=tuple(size.strip() for size in sizes.split(",")),
            task=task,
            bodies=sent,
            requests=requests,
            concurrency=concurrency or _TOGETHER,
            keep_alive=keepalive,
            warm_up=warm_up,
            timeout=timeout,
            p99=None if p99 is None else seconds(p99),
        )
        compare_sizes(*_server(url, token), namespace, wanted, output_)
        return

    from inlet.bench.load import Load
    from inlet.bench.target import build_target
    from inlet.cli.measuring import example_bodies, headers

    if "://" in what:
        source = ctx.get_parameter_source("token")
        key = _token_for(what, url, token, typed=source is not None and source.name == "COMMANDLINE")
        address = what
    else:
        address, key, served = _endpoint(what, url, token, namespace)
        sent = sent or example_bodies(served)
    load = Load(
        requests=requests,
        connections=concurrency or (1 if rate is None else _OPEN_CONNECTIONS),
        rate=rate,
        timeout=timeout,
    )
    target = build_target(address, sent, headers=headers(header or (), key), keep_alive=keepalive)
    _measure(target, load, address, warm_up=warm_up, plot=plot, output_=output_)


def seconds(text: str) -> float:
    """Seconds of `100ms`, `0.5s` or `100` (milliseconds)."""
    number, per_unit = text.strip(), 0.001
    if number.endswith("ms"):
        number = number[:-2]
    elif number.endswith("s"):
        number, per_unit = number[:-1], 1.0
    try:
        found = float(number) * per_unit
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise Invalid(f"{text!r} is no time like 100ms or 0.5s", field="--p99")
    return found


def _server(url: str | None, token: str | None) -> tuple[str, str]:
    return whereabouts(url, token, Settings.from_env().context_file)


def _endpoint(
    name: str, url: str | None, token: str | None, namespace: str | None
) -> tuple[str, str, str | None]:
    """Where an endpoint answers, the token for it, and its task."""
    from inlet.client import Client
    from inlet.client.calls import data_path

    where, key = _server(url, token)
    with Client(where, key, namespace=namespace) as client:
        endpoint = client.get_endpoint(name)
        # By the server that we know, as the client itself does: `status.url` may be for the world outside.
        address = where.rstrip("/") + data_path(client.default_namespace(), name)
    return address, key, endpoint.task


def _token_for(target: str, url: str | None, token: str | None, *, typed: bool) -> str | None:
    """The token for a URL: one that was typed for it, else the server's if it is the server's URL."""
    if typed:
        return token
    try:
        where, key = _server(url, token)
    except Invalid:
        return None
    return key if urlsplit(where)[:2] == urlsplit(target)[:2] else None


def _measure(
    target: Target, load: Load, address: str, *, warm_up: int, plot: Path | None, output_: output.Output
) -> None:
    from inlet.bench.load import Recording
    from inlet.bench.plot import curve
    from inlet.bench.summary import summarise
    from inlet.cli.figures import report, settings, show, title
    from inlet.cli.measuring import measure

    recording, heading = Recording(), title(target, load, address)
    stopped = False
    try:
        measure(target, load, recording, warm_up=warm_up, what=address)
    except KeyboardInterrupt:
        stopped = True
    summary = summarise(recording, load)
    if stopped:
        output.say(f"Stopped after {recording.done} of {load.requests} requests.", "yellow")
    if output_ is output.Output.JSON:
        output.json({"target": address, **settings(target, load, warm_up), **report(summary)})
    else:
        show(summary, heading)
    if plot is not None and summary.latencies:
        try:
            plot.write_text(curve(summary.latencies, heading))
        except OSError as error:
            raise Invalid(f"{plot} cannot be written: {error.strerror}", field="--plot") from None
    for flaw in summary.flaws:
        output.say(f"Invalid: {flaw}.", "red")
    if stopped:
        raise typer.Exit(130)
    if summary.flaws or not summary.succeeded:
        raise typer.Exit(1)

"""`inlet deploy MODEL`: from nothing to a URL, a first prediction, and the curl for the next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlet.cli import options, output, words
from inlet.cli.progress import wait_until_ready
from inlet.cli.session import connect
from inlet.core.errors import InletError

if TYPE_CHECKING:
    from inlet.client import Client, EndpointInfo


def deploy(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A Hub repository (org/name), or a local folder (./folder, /folder).",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: made from the model's name.")
    ] = None,
    task: options.Task = None,
    instance: options.Instance = None,
    min_replica: options.Min = None,
    max_replica: options.Max = None,
    scale_to_zero_timeout: options.IdleMinutes = None,
    env: options.Env = None,
    secret: options.Secret = None,
    type_: options.Type = None,
    revision: options.Revision = None,
    framework: Annotated[str, typer.Option(metavar="NAME", help="pytorch, custom or llamacpp.")] = "pytorch",
    tag: options.Tag = None,
    wait: options.Wait = True,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Make an endpoint of a model, and show its first answer.

    \b
    Examples:
      inlet deploy sentence-transformers/all-MiniLM-L6-v2
      inlet deploy ./my-model --task text-classification --instance x2
      inlet deploy org/gated-model --secret HF_TOKEN
      inlet deploy org/model --min 0 --scale-to-zero-timeout 30
    """
    from inlet.client import endpoint_document

    given = {
        "type": type_,
        "min_replica": min_replica,
        # Asking for several at least means several at most, too.
        "max_replica": max_replica if max_replica is not None else max(min_replica or 1, 1),
    }
    values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    repository = words.repository_of(model, Path.cwd(), Path.home())
    if repository == model and not Path(model).is_absolute() and Path(model).is_dir():
        output.say(
            f"{model} is taken for a repository on the Hub; the folder of that name here is ./{model}",
            "yellow",
        )
    with connect(url, token, namespace) as client:
        if instance is not None:
            values |= words.instance(instance, client.hardware())
        endpoint = client.create_endpoint(
            endpoint_document(
                name or words.name_for(model),
                repository,
                task=task,
                framework=framework,
                revision=revision,
                scale_to_zero_timeout=scale_to_zero_timeout,
                env=words.pairs(env or (), os.environ, "--env"),
                secrets=words.pairs(secret or (), os.environ, "--secret"),
                tags=tag or (),
                **values,
            )
        )
        output.say(f"Endpoint {endpoint.name} is made: {endpoint.instance}, {cost(endpoint)}.")
        if wait:
            endpoint = wait_until_ready(client, endpoint.name)
        if output_ is output.Output.JSON:
            output.json(endpoint.raw)
        elif wait:
            _show_off(client, endpoint)
        else:
            place = f" --namespace {namespace}" if namespace else ""
            output.say(f"It starts; `inlet endpoint describe {endpoint.name}{place}` shows how it does.")


def cost(endpoint: EndpointInfo) -> str:
    """What a month of it costs at list price."""
    return words.monthly(
        endpoint.price_per_hour,
        endpoint.monthly_cost_minimum,
        endpoint.monthly_cost,
        endpoint.min_replica,
        endpoint.max_replica,
    )


def _show_off(client: Client, endpoint: EndpointInfo) -> None:
    out = output.console()
    out.print(endpoint.url, style="bold green")
    if endpoint.limits:
        output.say(endpoint.limits, "dim")
    body = words.example(endpoint.task)
    if endpoint.url is None:
        return
    public = endpoint.type == "public"
    if body is not None:
        try:
            answer = client.predict(endpoint.name, body["inputs"], parameters=body.get("parameters"))
        except InletError as error:
            output.say(f"It runs, but the example was not answered: {error}", "yellow")
        else:
            out.print(f"\n{words.shortened(body['inputs'])}\n→ {words.shortened(answer)}")
        out.print(f"\n{words.curl(endpoint.url, body, public=public)}")
    elif (command := words.curl_with_files(endpoint.url, endpoint.task, public=public)) is not None:
        out.print(f"\n{command}")
    else:
        output.say(
            f"What to send for the task {endpoint.task or '(none)'} only its model's page tells; the form is"
        )
        out.print(f"\n{words.curl(endpoint.url, {'inputs': '…'}, public=public)}")
    if not public:
        permission = f"infer:{client.default_namespace()}/{endpoint.name}"
        output.say(f"\nA token for it: TOKEN=$(inlet token create my-app --permission {permission})", "dim")

"""`inlet endpoint …`: looking at endpoints and changing them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from inlet.cli import options, output, words
from inlet.cli.deploy import cost
from inlet.cli.progress import wait_until_ready
from inlet.cli.session import connect
from inlet.core.endpoint import State
from inlet.core.errors import InletError
from inlet.core.spec import DEFAULT_IDLE_MINUTES

if TYPE_CHECKING:
    from inlet.client import Client, EndpointInfo

app = typer.Typer(help="Look at endpoints and change them.", no_args_is_help=True)


@app.command("list")
def list_(
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """All endpoints of a namespace.

    \b
    Examples:
      inlet endpoint list
      inlet endpoint list --output json | jq -r '.items[].name'
    """
    with connect(url, token, namespace) as client:
        endpoints = client.list_endpoints()
    if output_ is output.Output.JSON:
        output.json({"items": [endpoint.raw for endpoint in endpoints], "totalItems": len(endpoints)})
        return
    output.table(
        ("NAME", "STATE", "REPLICAS", "REPOSITORY", "TASK", "INSTANCE", "URL"),
        (
            (
                endpoint.name,
                endpoint.state,
                f"{endpoint.ready_replica}/{endpoint.target_replica}",
                endpoint.repository,
                endpoint.task,
                endpoint.instance,
                endpoint.url,
            )
            for endpoint in endpoints
        ),
        empty="No endpoints yet: `inlet deploy MODEL` makes one.",
    )


@app.command()
def describe(
    name: options.Name,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Everything about one endpoint: its state and why, its replicas, what it costs.

    \b
    Examples:
      inlet endpoint describe mini
      inlet endpoint describe mini --output json | jq -r .status.url
    """
    with connect(url, token, namespace) as client:
        endpoint = client.get_endpoint(name)
        if output_ is output.Output.JSON:
            output.json(endpoint.raw)
            return
        replicas = client.replicas(name)
        told = _told(client, endpoint)
    _show(endpoint, told)
    if replicas:
        output.console().print()
        output.table(
            ("REPLICA", "STAGE", "REVISION", "STARTED"),
            (
                (r["id"], r["status"]["stage"], r["versionId"], output.moment(r["status"].get("startedAt")))
                for r in replicas
            ),
            empty="",
        )


@app.command()
def update(
    name: options.Name,
    repository: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="Another repository or folder.", show_default=False),
    ] = None,
    revision: options.Revision = None,
    task: options.Task = None,
    instance: options.Instance = None,
    min_replica: options.Min = None,
    max_replica: options.Max = None,
    scale_to_zero_timeout: options.IdleMinutes = None,
    env: options.Env = None,
    secret: options.Secret = None,
    type_: options.Type = None,
    tag: options.Tag = None,
    wait: options.Wait = True,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Change what was given and leave the rest. What runs goes on until the new revision is ready.

    --env and --secret add to the variables that are there, or replace those of the same name; --tag replaces all tags.

    \b
    Examples:
      inlet endpoint update mini --instance x2
      inlet endpoint update mini --min 1 --max 4
      inlet endpoint update mini --revision main --env LOG_LEVEL=debug
    """
    env_, secrets = (
        words.pairs(env or (), os.environ, "--env"),
        words.pairs(secret or (), os.environ, "--secret"),
    )
    with connect(url, token, namespace) as client:
        present = client.get_endpoint(name)
        model: dict[str, Any] = {
            "repository": repository and words.repository_of(repository, Path.cwd(), Path.home()),
            "revision": revision,
            "task": task,
            "env": env_ and {**(present.raw["model"].get("env") or {}), **env_},
            # None keeps the stored value of a secret, which nobody can read back.
            "secrets": secrets and dict.fromkeys(present.raw["model"].get("secrets") or ()) | secrets,
        }
        scaling = {
            "minReplica": min_replica,
            "maxReplica": max_replica,
            "scaleToZeroTimeout": scale_to_zero_timeout,
        }
        hardware = {} if instance is None else words.instance(instance, client.hardware())
        changes = _given(
            {
                "type": type_,
                "tags": tag,
                "model": _given(model),
                "provider": _given({key: hardware.get(key) for key in ("vendor", "region")}),
                "compute": _given(
                    {
                        "accelerator": hardware.get("accelerator"),
                        "instanceType": hardware.get("instance_type"),
                        "instanceSize": hardware.get("instance_size"),
                        "scaling": _given(scaling),
                    }
                ),
            }
        )
        if not changes:
            raise typer.BadParameter("say what to change: --help lists what there is")
        endpoint = client.update_endpoint(name, changes)
        if wait and endpoint.state in (State.PENDING, State.INITIALIZING, State.UPDATING):
            endpoint = wait_until_ready(client, name)
    _result(endpoint, output_)


@app.command()
def delete(
    name: options.Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Delete an endpoint for good: its replicas finish their requests and stop.

    \b
    Examples:
      inlet endpoint delete mini
      inlet endpoint delete mini --yes
    """
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody is here to be asked: add --yes to delete it")
        typer.confirm(f"Delete endpoint {name}?", abort=True, err=True)
    with connect(url, token, namespace) as client:
        client.delete_endpoint(name)
    if output_ is output.Output.JSON:
        output.json({})
    else:
        output.say(f"Endpoint {name} is deleted.")


@app.command()
def pause(
    name: options.Name,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Stop all replicas until somebody resumes it; requests do not wake it.

    \b
    Example:
      inlet endpoint pause mini
    """
    with connect(url, token, namespace) as client:
        endpoint = client.pause(name)
    _result(endpoint, output_)


@app.command()
def resume(
    name: options.Name,
    wait: options.Wait = True,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Start an endpoint that is paused, asleep or failed.

    \b
    Examples:
      inlet endpoint resume mini
      inlet endpoint resume mini --no-wait
    """
    with connect(url, token, namespace) as client:
        endpoint = client.resume(name)
        if wait:
            endpoint = wait_until_ready(client, name)
    _result(endpoint, output_)


@app.command("scale-to-zero")
def scale_to_zero(
    name: options.Name,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Put an endpoint to sleep now; the next request wakes it (needs --min 0).

    \b
    Example:
      inlet endpoint scale-to-zero mini
    """
    with connect(url, token, namespace) as client:
        endpoint = client.scale_to_zero(name)
    _result(endpoint, output_)


@app.command()
def logs(
    name: options.Name,
    replica: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this replica's.", show_default=False)
    ] = None,
    tail: Annotated[int, typer.Option(metavar="N", min=0, help="How many of the newest lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """What the replicas wrote, those that ended too. With --output json each line is an object {"line": …}.

    \b
    Examples:
      inlet endpoint logs mini
      inlet endpoint logs mini --follow --tail 10
    """
    line = None
    with connect(url, token, namespace) as client:
        for line in client.logs(name, replica=replica, tail=tail, follow=follow):
            shown = orjson.dumps({"line": line}).decode() if output_ is output.Output.JSON else line
            sys.stdout.write(shown + "\n")
            sys.stdout.flush()
    if line is None and tail:
        output.say(
            "There are no lines of it."
            if replica is None
            else f"There are no lines of a replica {replica!r}."
        )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not given: None, and what is left empty by that."""
    return {key: value for key, value in values.items() if value is not None and value != {}}


def _result(endpoint: EndpointInfo, output_: output.Output) -> None:
    if output_ is output.Output.JSON:
        output.json(endpoint.raw)
    else:
        output.say(f"Endpoint {endpoint.name} is {endpoint.state}.")


def _told(client: Client, endpoint: EndpointInfo) -> dict[str, str]:
    """What a replica says of itself: in what the model is computed and why, and what its own code is kept from.

    Empty where none can be asked.
    """
    if not endpoint.running:
        return {}
    try:
        info = client.model_info(endpoint.name)
        told = {"Computed": f"{info['variant']}: {info['reason']}"}
        if box := info.get("sandbox"):
            lacking = [f"not {word} ({why})" for word, why in box["missing"].items()]
            told["Sandbox"] = ", ".join([*box["enforced"], *lacking]) or "none"
    except (InletError, AttributeError, KeyError, TypeError, ValueError):
        return {}  # a server of another kind, or just going to sleep: everything else is shown all the same
    return told


def _show(endpoint: EndpointInfo, told: Mapping[str, str] | None = None) -> None:
    idle = endpoint.scale_to_zero_timeout
    model = endpoint.raw["model"]
    output.facts(
        {
            "Name": endpoint.name,
            "State": endpoint.state,
            "Message": endpoint.message or None,
            "Error": endpoint.error_message,
            "URL": endpoint.url,
            "Repository": endpoint.repository,
            "Revision": endpoint.revision,
            "Task": endpoint.task,
            **(told or {}),
            "Type": endpoint.type,
            "Instance": endpoint.instance,
            "Limits": endpoint.limits,
            "Replicas": f"{endpoint.ready_replica} of {endpoint.target_replica} ready "
            f"(bounds {endpoint.min_replica} to {endpoint.max_replica})",
            "Sleeps": _sleeps(endpoint.min_replica, idle),
            "Variables": ", ".join(f"{key}={value}" for key, value in (model.get("env") or {}).items())
            or None,
            "Secrets": ", ".join(model.get("secrets") or ()) or None,
            "Tags": ", ".join(endpoint.tags) or None,
            "Cost": cost(endpoint),
            "Created": output.moment(endpoint.created_at),
            "Updated": output.moment(endpoint.updated_at),
        }
    )


def _sleeps(min_replica: int, minutes: int | None) -> str:
    if min_replica > 0:
        return "never"
    return f"after {DEFAULT_IDLE_MINUTES if minutes is None else minutes} minutes without a request"

"""`inlet token …`: who may do what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from inlet.cli import options, output, words
from inlet.cli.session import connect
from inlet.core.errors import Invalid, NotFound

app = typer.Typer(help="Make, list and revoke tokens (needs an admin's token).", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="What it is for, so that you know it again.", show_default=False),
    ],
    permission: Annotated[
        list[str],
        typer.Option(
            "--permission",
            "-p",
            metavar="WHAT[:WHERE]",
            help="read, write, infer or admin; then :namespace, or :namespace/endpoint. Repeatable.",
        ),
    ] = ["infer"],  # noqa: B006 - Typer's way to say a default; never changed
    expires_in_days: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0.001, help="Default: never.", show_default=False)
    ] = None,
    output_: options.Format = output.Output.TABLE,
    namespace: options.Namespace = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Make a token. Its value is shown this once. Without a place a permission holds everywhere, or in --namespace.

    \b
    Examples:
      inlet token create my-app --permission infer:default/mini
      inlet token create ci --permission write:default --expires-in-days 90
      inlet token create boss --permission admin
    """
    granted = words.grants(permission, namespace)
    with connect(url, token, namespace) as client:
        made = client.create_token(name, granted, expires_in_days=expires_in_days)
    if output_ is output.Output.JSON:
        output.json(made)
        return
    output.say(
        f"Token {made['name']} ({made['id']}) may: {_permissions(made['permissions'])}. Keep it, it is not shown again:"
    )
    output.console().print(made["token"])


@app.command("list")
def list_(
    output_: options.Format = output.Output.TABLE,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """All tokens, never their values.

    \b
    Example:
      inlet token list
    """
    with connect(url, token) as client:
        tokens = client.list_tokens()
    if output_ is output.Output.JSON:
        output.json({"items": tokens})
        return
    now = datetime.now(UTC)
    output.table(
        ("ID", "NAME", "MAY", "CREATED", "EXPIRES", "STATE"),
        (
            (
                item["id"],
                item["name"],
                _permissions(item["permissions"]),
                output.moment(item["createdAt"]),
                output.moment(item.get("expiresAt")) or "never",
                _state(item, now),
            )
            for item in tokens
        ),
        empty="No tokens yet: `inlet token create NAME` makes one.",
    )


@app.command()
def revoke(
    token_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, or its name if only one has it.", show_default=False)
    ],
    output_: options.Format = output.Output.TABLE,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Make a token worthless, at once and for good.

    \b
    Examples:
      inlet token revoke 3f9c2ab41d07e8aa
      inlet token revoke my-app
    """
    with connect(url, token) as client:
        found = _find(token_id, client.list_tokens())
        client.revoke_token(found)
    if output_ is output.Output.JSON:
        output.json({})
    else:
        output.say(f"Token {found} is revoked.")


def _find(wanted: str, tokens: Iterable[Mapping[str, Any]]) -> str:
    listed = list(tokens)
    if any(item["id"] == wanted for item in listed):
        return wanted
    named = [item["id"] for item in listed if item["name"] == wanted and not item.get("revokedAt")]
    if not named:
        raise NotFound(f"no token has the id or name {wanted!r}; `inlet token list` shows them")
    if len(named) > 1:
        raise Invalid(f"{len(named)} tokens are named {wanted!r}: revoke by id ({', '.join(named)})")
    return str(named[0])


def _permissions(permissions: Iterable[Mapping[str, Any]]) -> str:
    words_ = []
    for item in permissions:
        place = (
            item["namespace"] if item.get("endpoint") is None else f"{item['namespace']}/{item['endpoint']}"
        )
        words_.append(f"{item['permission']} {'everywhere' if place == '*' else 'on ' + place}")
    return ", ".join(words_)


def _state(item: Mapping[str, Any], now: datetime) -> str:
    if item.get("revokedAt"):
        return "revoked"
    expires = item.get("expiresAt")
    return "expired" if expires and datetime.fromisoformat(expires) <= now else "live"

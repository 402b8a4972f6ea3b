"""What this installation can honour: whatever it cannot is refused with the reason, never read as something else.

Asked by `control/commands.py` about valid specs. Takes the rows of the backend's catalogue; decides nothing about
the shape of a request (`wire/v2`) or about the state of an endpoint (`core/lifecycle.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from inlet.backends.processes import process_of, runs_command
from inlet.core.catalogue import Availability, Instance, find, resolve
from inlet.core.errors import Invalid
from inlet.core.spec import Hardware, Model, Spec

ALLOW_COMMANDS = "INLET_ALLOW_COMMANDS"
_MOST_SHOWN = 12


def check_features(spec: Spec) -> None:
    """`Invalid` for the first feature that is asked for and not to be had here."""
    sent = spec.extras
    features = sent.get("experimentalFeatures") or {}
    network = sent.get("network") or {}
    wanted = (
        ("cacheHttpResponses", sent.get("cacheHttpResponses"), "answers are not cached here: leave it out or send false"),
        ("experimentalFeatures.cacheHttpResponses", features.get("cacheHttpResponses"),
         "answers are not cached here: leave it out or send false"),
        ("experimentalFeatures.loadBalancer", features.get("loadBalancer") == "sticky",
         "sticky sessions are not available here: send random or least_connections, or leave it out"),
        ("experimentalFeatures.mcpLb", features.get("mcpLb"), "is not available here: leave it out"),
        ("experimentalFeatures.kvRouter", features.get("kvRouter"), "is not available here: leave it out"),
        ("experimentalFeatures.skipRepoDownload", features.get("skipRepoDownload"),
         "this image needs the model's files: leave it out or send false"),
        ("network.cidrBlock", network.get("cidrBlock"),
         "IP restrictions are not available here: restrict access in front of this server, and leave it out"),
        ("route", sent.get("route"), "custom domains are not available here: leave it out"),
        ("privateService", sent.get("privateService"), "private links are not available here: leave it out"),
        ("customRouter", sent.get("customRouter"), "is not available here: leave it out"),
    )  # fmt: skip
    for field, value, reason in wanted:
        if value:
            raise Invalid(reason, field=field)


def check_image(model: Model, *, allow_commands: bool) -> None:
    """`Invalid` unless the backend, which runs processes, can run this image, and the operator lets it run commands."""
    process_of(model.image.kind, model.image.settings, model.command, model.args)
    check_command(model, allow_commands=allow_commands)


def check_command(model: Model, *, allow_commands: bool) -> None:
    """`Invalid` for an image that is a command where the operator does not let any run."""
    if runs_command(model.image.kind) and not allow_commands:
        raise Invalid(
            f"{model.image.kind} runs a command on this server, which its operator has not allowed: set "
            f"{ALLOW_COMMANDS}=1 there if everyone who may create endpoints may run anything as its user",
            field="model.image",
        )


def check_hardware(hardware: Hardware, rows: Sequence[Instance]) -> None:
    """`Invalid`, with what there is instead, unless these rows have the instance and it is to be had."""
    instance = find(hardware, tuple(rows))
    if instance is None:
        raise _no_such(resolve(hardware), rows)
    if instance.status is Availability.NOT_AVAILABLE:
        usable = _names(row for row in rows if row.status is Availability.AVAILABLE)
        raise Invalid(
            f"{instance.id} is not available on this installation; available: {_listed(usable)}",
            field="compute.instanceType",
        )


def _no_such(wanted: Hardware, rows: Sequence[Instance]) -> Invalid:
    """The error that names the first field which no row has, and the values that it could have."""
    left = list(rows)
    for field, value, name in (
        ("provider.vendor", wanted.vendor, "vendor"),
        ("provider.region", wanted.region, "region"),
        ("compute.accelerator", wanted.accelerator, "accelerator"),
        ("compute.instanceType", wanted.instance_type, "type"),
        ("compute.instanceSize", wanted.instance_size, "size"),
    ):
        there = list(dict.fromkeys(str(getattr(row, name)) for row in left))
        left = [row for row in left if getattr(row, name) == value]
        if not left:
            near = difflib.get_close_matches(value, there, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return Invalid(f"there is no {value!r} here; there are: {_listed(there)}{hint}", field=field)
    raise AssertionError("a row with all five values was found after all")


def _names(rows: Iterable[Instance]) -> list[str]:
    return list(dict.fromkeys(f"{row.vendor} {row.region} {row.type} {row.size}" for row in rows))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN])
    return (
        shown
        if len(names) <= _MOST_SHOWN
        else f"{shown} and {len(names) - _MOST_SHOWN} more (GET /v2/provider)"
    )

"""Requests to specs: validation, and the split of each secret into a sealed value and a null in the document.

Called by `control/commands.py`. Whether this installation can honour a valid spec (hardware, folders, features) is
not asked here but in `control/admission.py`. The only way a secret in clear leaves this module is through `seal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inlet.core.computing import PRECISION, SAMPLE_TRAFFIC, precision_of, share_of
from inlet.core.errors import Invalid
from inlet.core.handlers import ERROR_STATUS, ISOLATED, TIMEOUT, isolated_of, seconds_of, status_of
from inlet.core.models import MODELS, models_of
from inlet.core.spec import Hardware, Image, Measure, MeasureKind, Model, Scaling, Spec, Visibility, Workload
from inlet.core.trust import (
    ALLOW_CODE,
    ALLOW_PICKLE,
    SANDBOX,
    TRUSTED_TYPES,
    code_of,
    confinement_of,
    pickle_of,
    types_of,
)
from inlet.wire.v2 import documents
from inlet.wire.v2.documents import Create, Document
from inlet.wire.v2.merge import merge
from inlet.wire.v2.shape import check_text, known, validate

Seal = Callable[[str, str | None], str]
"""Seals a value; given what is stored for it so far, answers that very text if it holds the same value."""

DEFAULT_IMAGE = "huggingface"

# Variables by which a replica is run: setting them would hijack the process rather than configure the model.
# The exceptions, with what checks their values.
_OURS: Mapping[str, Callable[..., Any]] = {
    PRECISION: precision_of,
    SAMPLE_TRAFFIC: share_of,
    ALLOW_PICKLE: pickle_of,
    TRUSTED_TYPES: types_of,
    ALLOW_CODE: code_of,
    SANDBOX: confinement_of,
    TIMEOUT: seconds_of,
    ERROR_STATUS: status_of,
    ISOLATED: isolated_of,
    MODELS: models_of,
}
# The interpreter's, the loader's, and those of libraries that load programs or keep files where a variable says so.
_RESERVED_PREFIXES = (
    "INLET_", "LD_", "DYLD_", "BASH_", "PYTHON", "GLIBC_", "GCONV_", "OPENSSL_", "OMP_TOOL", "HWLOC_", "COVERAGE_", "COV_CORE_",
)  # fmt: skip
_RESERVED = frozenset(
    {"NOTIFY_SOCKET", "PATH", "HOME", "IFS", "ENV", "SHELL", "LOCPATH", "HOSTALIASES", "SSLKEYLOGFILE"}
)
# Of the interpreter's, what says neither which code it runs nor where it writes.
_HARMLESS = frozenset(
    {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONFAULTHANDLER"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parsed:
    """A valid request. `warnings` are (field, message): what was accepted without having an effect."""

    name: str
    spec: Spec
    warnings: tuple[tuple[str, str], ...] = ()


def parse_create(body: Mapping[str, Any], *, seal: Seal) -> Parsed:
    """A create request; `Invalid` names the field, what was wrong and what to do."""
    check_text(body)
    request = validate(Create, body)
    return _parse(request.name, request, body, None, seal)


def parse_update(name: str, stored: Spec, body: Mapping[str, Any], *, seal: Seal) -> Parsed:
    """An update of the endpoint `name`: `body` merged into what is stored, and the whole validated again."""
    check_text(body)
    if body.get("name") not in (None, name):
        raise Invalid(f"an endpoint cannot be renamed; leave it out or send {name!r}", field="name")
    request = validate(Document, merge(stored.extras, body))
    return _parse(name, request, body, stored, seal)


def _parse(name: str, request: Document, body: Mapping[str, Any], stored: Spec | None, seal: Seal) -> Parsed:
    document, unknown = known(request)
    document.pop("name", None)  # the record has it
    warnings = [(path, "is not a field of an endpoint and was ignored") for path in unknown]
    model = _model(document, stored, seal)
    if model.image.kind == DEFAULT_IMAGE and body.get("healthRoute") not in (None, documents.HEALTH_ROUTE):
        warnings.append(("healthRoute", f"was ignored: this image answers on {documents.HEALTH_ROUTE}"))
    scaling = _scaling(request.compute.scaling)
    if scaling.scale_to_zero_timeout is not None and scaling.min_replica > 0:
        warnings.append(
            ("compute.scaling.scaleToZeroTimeout", f"has no effect while minReplica is {scaling.min_replica}")
        )
    notifications = request.notifications
    if notifications is not None and (notifications.email or notifications.push):
        warnings.append(("notifications", "is kept and returned, but this server sends no notifications"))
    spec = Spec(
        visibility=Visibility(request.type),
        workload=Workload(
            Hardware(
                vendor=request.provider.vendor,
                region=request.provider.region,
                accelerator=request.compute.accelerator,
                instance_type=request.compute.instance_type,
                instance_size=request.compute.instance_size,
            ),
            model,
        ),
        scaling=scaling,
        tags=tuple(request.tags or ()),
        extras=document,
    )
    return Parsed(name, spec, tuple(warnings))


def _scaling(sent: documents.Scaling) -> Scaling:
    if sent.min_replica > sent.max_replica:
        raise Invalid(
            f"must not be more than maxReplica ({sent.max_replica}), but is {sent.min_replica}",
            field="compute.scaling.minReplica",
        )
    return Scaling(sent.min_replica, sent.max_replica, sent.scale_to_zero_timeout, _measure(sent))


def _measure(sent: documents.Scaling) -> Measure | None:
    if sent.measure is not None:
        given = sent.measure.model_fields_set & {"hardware_usage", "pending_requests"}
        if len(given) != 1:
            raise Invalid(
                "must have exactly one of hardwareUsage, pendingRequests", field="compute.scaling.measure"
            )
        if "hardware_usage" in given:
            return Measure(MeasureKind.HARDWARE_USAGE, sent.measure.hardware_usage)
        return Measure(MeasureKind.PENDING_REQUESTS, sent.measure.pending_requests)
    if sent.metric is None:
        return None
    kind = MeasureKind(sent.metric)
    if kind is MeasureKind.HARDWARE_USAGE and sent.threshold is not None and sent.threshold > 100:
        raise Invalid("must be 100 or less: it is a percentage", field="compute.scaling.threshold")
    return Measure(kind, sent.threshold)


def _model(document: dict[str, Any], stored: Spec | None, seal: Seal) -> Model:
    """The model of a valid document; takes the secrets and the registry's password out of the document."""
    sent = document["model"]
    before = None if stored is None else stored.workload.model
    image = _image(sent, before, seal)
    env = {**(image.settings.get("env") or {}), **(sent.get("env") or {})}
    secrets = sent.get("secrets") or {}
    for field, names in (("model.env", env), ("model.secrets", secrets)):
        _check_names(field, names)
    if MODELS in secrets:  # what it lists is checked and looked up, which secrets are not opened for
        raise Invalid("is no secret: send it in model.env", field=f"model.secrets.{MODELS}")
    for name in secrets:
        if name in env:
            raise Invalid("is in model.env too; send it once", field=f"model.secrets.{name}")
    kept = {} if before is None else before.secrets
    sealed = {
        name: _sealed(value, kept.get(name), f"model.secrets.{name}", seal) for name, value in secrets.items()
    }
    if sent.get("secrets") is not None:
        sent["secrets"] = dict.fromkeys(secrets)
    return Model(
        repository=sent["repository"],
        framework=sent["framework"],
        image=image,
        revision=sent.get("revision"),
        task=sent.get("task"),
        env=env,
        secrets=sealed,
        args=tuple(sent.get("args") or ()),
        command=tuple(sent.get("command") or ()),
    )


def _image(sent: dict[str, Any], before: Model | None, seal: Seal) -> Image:
    if sent.get("image") is None:
        return Image(DEFAULT_IMAGE)
    variants = [kind for kind, settings in sent["image"].items() if settings is not None]
    if len(variants) != 1:
        known_kinds = ", ".join(field.alias or name for name, field in documents.Image.model_fields.items())
        raise Invalid(f"must have exactly one of {known_kinds}", field="model.image")
    kind = variants[0]
    settings = dict(sent["image"][kind])
    if settings.get("env") is not None:
        _check_names(f"model.image.{kind}.env", settings["env"])
    credentials = settings.get("credentials")
    if credentials is not None:
        settings["credentials"] = _credentials(credentials, kind, before, seal)
        redacted = {**credentials, "password": None} if "password" in credentials else credentials
        sent["image"] = {kind: {**settings, "credentials": redacted}}
    return Image(kind, settings)


def _credentials(sent: Mapping[str, Any], kind: str, before: Model | None, seal: Seal) -> dict[str, Any]:
    """The credentials with the password sealed; null keeps the one that is stored for the same user name."""
    kept = None
    if before is not None and before.image.kind == kind:
        stored = before.image.settings.get("credentials") or {}
        if stored.get("username") == sent["username"]:
            kept = stored.get("password")
    password = sent.get("password")
    return {**sent, "password": kept if password is None else seal(password, kept)}


def _sealed(value: str | None, kept: str | None, field: str, seal: Seal) -> str:
    if value is not None:
        return seal(value, kept)
    if kept is None:
        raise Invalid("null keeps the stored value, but none is stored: send one", field=field)
    return kept


def _check_names(field: str, names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        if name in _OURS:
            if value is not None:  # null keeps what is stored
                _OURS[name](str(value), field=f"{field}.{name}")
        elif name in _RESERVED or (name not in _HARMLESS and name.startswith(_RESERVED_PREFIXES)):
            raise Invalid(
                "is reserved for the process that serves the model; use another name", field=f"{field}.{name}"
            )

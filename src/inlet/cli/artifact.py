"""`inlet artifact …`: what models are computed by on this machine. Works on the folder; only `pull` asks a server."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from inlet.cli import options, output, words
from inlet.cli.progress import shown
from inlet.cli.session import connect
from inlet.core.errors import Invalid, Refused
from inlet.settings import Settings

if TYPE_CHECKING:
    from inlet.client import Client
    from inlet.core.endpoint import Source
    from inlet.runtime.artifact.manifest import Manifest, Tried
    from inlet.runtime.artifact.store import Artifact, Store

app = typer.Typer(
    help="Build, look at and remove artifacts: models prepared for this machine's kind of CPU, with the check of "
    "their answers against fp32. Replicas make their own at their first start; these commands work on this machine's "
    "folder, whether or not a server runs.",
    no_args_is_help=True,
)
_Digest = Annotated[
    str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.", show_default=False)
]


@app.command()
def build(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Repository on the Hub, or a folder.", show_default=False)
    ],
    revision: options.Revision = None,
    task: options.Task = None,
    precision: Annotated[
        str, typer.Option(metavar="auto|int8", help="int8: with int8 weights even if the check says no.")
    ] = "auto",
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your own texts to check with, besides the built-in ones: .txt, a text a line, or .jsonl, a request a line.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Default: as many as this machine has.", show_default=False),
    ] = None,
    output_: options.Format = output.Output.TABLE,
) -> None:
    """Make a model's artifact now, so that its first replica need not. A minute or so; nothing else should run.

    \b
    Examples:
      inlet artifact build org/model
      inlet artifact build ./my-model --samples requests.jsonl
    """
    from inlet.runtime.artifact import worker
    from inlet.runtime.artifact.worker import Job

    if precision not in ("auto", "int8"):
        raise Invalid("is auto or int8: the others need no artifact", field="--precision")
    settings = Settings.from_env()
    with shown() as show:
        show("looking for the model's files")
        source, folder = _fetch(settings, model, revision, task, show)
        job = Job(
            folder=folder,
            location=source.location,
            commit=source.commit,
            task=source.task,
            precision=precision,
            threads=threads or len(os.sched_getaffinity(0)),
            store=settings.artifact_folder,
            samples=samples and samples.resolve(),
        )
        digest = worker.run(job, show)
    _show(_store().get(digest), output_)


@app.command("list")
def list_(output_: options.Format = output.Output.TABLE) -> None:
    """All artifacts of this machine, the newest first.

    \b
    Example:
      inlet artifact list
    """
    artifacts = _store().all()
    if output_ is output.Output.JSON:
        output.json({"items": [_raw(artifact) for artifact in artifacts]})
        return
    output.table(
        ("ID", "MODEL", "HEAD", "PRECISION", "WHY", "MB", "MADE"),
        (
            (
                artifact.folder.name[:12],
                artifact.manifest.model,
                artifact.manifest.key["head"],
                artifact.manifest.chosen.precision,
                artifact.manifest.reason,
                round(sum(file["size"] for file in artifact.manifest.files.values()) / 1e6),
                artifact.manifest.made_at,
            )
            for artifact in artifacts
        ),
        empty="No artifacts yet: a replica makes one at its first start, `inlet artifact build MODEL` before that.",
    )


@app.command()
def show(artifact_id: _Digest, output_: options.Format = output.Output.TABLE) -> None:
    """Every variant that was tried, its speed, and how its answers differ from those of fp32.

    \b
    Examples:
      inlet artifact show 3f9c2ab4
      inlet artifact show 3f9c2ab4 --output json | jq .tried
    """
    _show(_store().get(artifact_id), output_)


@app.command()
def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="The other server.", show_default=False)],
    token: Annotated[
        str,
        typer.Option(
            envvar="INLET_PULL_TOKEN",
            metavar="TOKEN",
            help="An admin token of that server.",
            show_default=False,
        ),
    ],
    output_: options.Format = output.Output.TABLE,
) -> None:
    """Take over the artifacts of another server that fit this machine's CPU and engines, as far as they are missing.

    \b
    Example:
      inlet artifact pull https://ml.example.com    (with its token in INLET_PULL_TOKEN)
    """
    from inlet.runtime.artifact import identity
    from inlet.runtime.artifact.manifest import Manifest

    store, taken, unfit = _store(), [], 0
    with connect(url, token) as client, shown() as show:
        for item in client.list_artifacts():
            try:
                manifest = Manifest.load(orjson.dumps(item["manifest"]))
            except Refused:  # of another version of Inlet
                unfit += 1
                continue
            if not identity.fits(manifest.key):
                unfit += 1
            elif store.find(identity.digest(manifest.key)) is None:
                show(f"pulling {item['id'][:12]} of {manifest.model}")
                taken.append(store.adopt(manifest, partial(_download, client, item["id"])))
    if output_ is output.Output.JSON:
        output.json({"items": [_raw(artifact) for artifact in taken]})
    else:
        output.say(f"Took over {len(taken)}; {unfit} are for other CPUs or engines.")


@app.command()
def remove(artifact_id: _Digest, output_: options.Format = output.Output.TABLE) -> None:
    """Forget an artifact. What runs goes on; the next start makes it anew, and may then choose otherwise.

    \b
    Example:
      inlet artifact remove 3f9c2ab4
    """
    store = _store()
    artifact = store.get(artifact_id)
    store.remove(artifact)
    if output_ is output.Output.JSON:
        output.json({})
    else:
        output.say(f"Artifact {artifact.folder.name[:12]} is removed.")


def _download(client: Client, artifact: str, file: str, path: Path) -> None:
    with path.open("wb") as written:
        for piece in client.download_artifact(artifact, file):
            written.write(piece)


def _store() -> Store:
    from inlet.runtime.artifact.store import Store

    return Store(Settings.from_env().artifact_folder)


def _fetch(
    settings: Settings, model: str, revision: str | None, task: str | None, show: Any
) -> tuple[Source, Path]:
    """What the model is, and the folder with its files."""
    from inlet.control.lookup import look_up
    from inlet.core.spec import Image, Model
    from inlet.runtime.sources import fetch

    repository = words.repository_of(model, Path.cwd(), Path.home())
    token = os.environ.get("HF_TOKEN")
    wanted = Model(repository, "pytorch", Image("huggingface"), revision=revision, task=task)
    source = asyncio.run(look_up(wanted, token=token))
    folder = fetch(
        source.location, commit=source.commit, cache=settings.downloads, token=token, progress=show
    )
    return source, folder


def _raw(artifact: Artifact) -> dict[str, Any]:
    return {"id": artifact.folder.name, **asdict(artifact.manifest)}


def _show(artifact: Artifact, output_: output.Output) -> None:
    if output_ is output.Output.JSON:
        output.json(_raw(artifact))
        return
    manifest = artifact.manifest
    output.facts(
        {
            "Id": artifact.folder.name[:12],
            "Model": manifest.model,
            "Chosen": f"{manifest.chosen.name}: {manifest.reason}",
            "CPU": manifest.key["cpu"],
            "Made": f"{manifest.made_at} by {manifest.made_by}, {manifest.threads} threads",
        }
    )
    if not manifest.tried:
        return
    output.console().print()
    lengths = sorted(manifest.tried[0].milliseconds, key=int)
    output.table(
        ("VARIANT", *(f"{length} TOKENS" for length in lengths), "CHECK"),
        (
            (
                item.variant.name,
                *(f"{item.milliseconds[length]:.1f} ms" for length in lengths),
                _outcome(item, manifest),
            )
            for item in manifest.tried
        ),
        empty="",
    )
    _figures(manifest)


def _outcome(item: Tried, manifest: Manifest) -> str:
    if item.variant == manifest.tried[0].variant:
        return "the reference"
    if not item.verdicts:
        return "not needed"
    if item.passed:
        return "passed" + (", chosen" if item.variant == manifest.chosen else "")
    return "; ".join(reason for verdict in item.verdicts.values() for reason in verdict.reasons)


def _figures(manifest: Manifest) -> None:
    rows = [
        (item.variant.name, name, ", ".join(f"{key} {value:.4g}" for key, value in verdict.figures.items()))
        for item in manifest.tried
        for name, verdict in item.verdicts.items()
    ]
    if rows:
        output.console().print()
        output.table(("VARIANT", "TEXTS", "AGAINST FP32"), rows, empty="")
    for item in manifest.tried:
        for name, verdict in item.verdicts.items():
            if verdict.worst and (item.variant == manifest.chosen or not item.passed):
                output.console().print(f"\n{item.variant.name} differs most on ({name}):")
                output.table(
                    ("CHANGE", "FP32", "HERE", "TEXT"),
                    ((f"{w.change:.3f}", w.reference, w.variant, w.text[:80]) for w in verdict.worst[:5]),
                    empty="",
                )

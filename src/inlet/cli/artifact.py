"""`inlet artifact …`: what models are computed by on this machine. Works on the folder; only `pull` asks a server.

`prune` also reads the installation's records, to know which endpoints there are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inlet.cli import options, output, words
from inlet.cli.progress import shown
from inlet.cli.session import connect
from inlet.core.errors import Invalid
from inlet.settings import Settings

if TYPE_CHECKING:
    from inlet.core.endpoint import Endpoint, Source
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
    from inlet.runtime.artifact import pull as pulling

    with connect(url, token) as client, shown() as show:
        pulled = pulling.pull(client, _store(), show)
    if output_ is output.Output.JSON:
        output.json({"items": [_raw(artifact) for artifact in pulled.taken]})
    else:
        output.say(f"Took over {len(pulled.taken)}; {pulled.unfit} are for other CPUs or engines.")


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


@app.command()
def prune(
    older_than: Annotated[
        int, typer.Option(metavar="DAYS", min=0, help="Only what nobody has used for so many days.")
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    output_: options.Format = output.Output.TABLE,
) -> None:
    """Free what no endpoint needs: artifacts, exports and traffic samples that nobody has used for long, and what builds left.

    Never what a running replica uses. Where several installations share the folder, only this one's endpoints are known.

    \b
    Examples:
      inlet artifact prune --dry-run
      inlet artifact prune --older-than 7
    """
    from inlet.runtime.artifact import prune as pruning

    sources = _sources(Settings.from_env())
    freed = pruning.prune(_store(), sources, unused_for=older_than * 86_400, dry_run=dry_run)
    if output_ is output.Output.JSON:
        output.json({"items": [asdict(item) for item in freed]})
        return
    output.table(
        ("WHAT", "NAME", "MODEL", "MB"),
        ((item.what, item.name[:12], item.model, f"{item.size / 1e6:.1f}") for item in freed),
        empty="Nothing to free.",
    )
    if freed:
        done = "Would free" if dry_run else "Freed"
        output.say(f"{done} {sum(item.size for item in freed) / 1e6:.1f} MB.")


def _sources(settings: Settings) -> list[Source]:
    """What the endpoints of this installation serve, whatever their state; read from its records, so that no server need run."""
    from inlet.core.endpoint import Source
    from inlet.core.models import is_folder
    from inlet.store.sql import SqlStore, database_url

    url = database_url(settings)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return []  # nothing was ever deployed here, and opening it would make it

    async def read() -> Sequence[Endpoint]:
        store = SqlStore(url)
        await store.open()
        try:
            return await store.all_endpoints()
        finally:
            await store.close()

    revisions = [part for each in asyncio.run(read()) for part in (each.target, each.serving) if part]
    found = [revision.source for revision in revisions if revision.source]
    listed = [(source, model) for source in found for model in source.models]
    return [
        *found,
        *(
            Source(model.repository, is_folder(model.repository), model.revision, model.task or source.task)
            for source, model in listed
        ),
    ]


def _store() -> Store:
    from inlet.runtime.artifact.store import Store

    return Store(Settings.from_env().artifact_folder)


def _fetch(
    settings: Settings, model: str, revision: str | None, task: str | None, show: Any
) -> tuple[Source, Path]:
    """What the model is, and the folder with its files."""
    from inlet.control.lookup import look_up
    from inlet.core.spec import Image, Model
    from inlet.runtime.origins import files
    from inlet.runtime.sources import Selection, fetch

    repository = words.repository_of(model, Path.cwd(), Path.home())
    token = os.environ.get("HF_TOKEN")
    wanted = Model(repository, "pytorch", Image("huggingface"), revision=revision, task=task)
    source = asyncio.run(look_up(wanted, token=token))
    folder = fetch(
        source.location,
        commit=source.commit,
        cache=settings.downloads,
        token=token,
        progress=show,
        selection=Selection("encoder", files.selected),
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

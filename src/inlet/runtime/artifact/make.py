"""One artifact from a job: takes its turn, looks whether it is there already, collects texts, builds, publishes.

Called by `__main__`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inlet.core.computing import Precision
from inlet.core.errors import Invalid, Refused
from inlet.runtime.artifact import identity
from inlet.runtime.artifact.build import Order, build
from inlet.runtime.artifact.corpus import corpus, read_samples, set_name
from inlet.runtime.artifact.gate import MIN_TEXTS
from inlet.runtime.artifact.manifest import CORPUS, TRAFFIC
from inlet.runtime.artifact.store import Artifact, Store
from inlet.runtime.artifact.traffic import recorded, traffic_file
from inlet.runtime.artifact.trial import Trial
from inlet.runtime.artifact.worker import Job
from inlet.runtime.engines.openvino.model import OpenVinoModel
from inlet.runtime.model import Model, open_model
from inlet.runtime.tasks import canonical, task_kind
from inlet.runtime.texts import Text

_TRIES = 3  # builds that did not end, before a replica starts without
OWN_SAMPLES = ("inlet-samples.jsonl", "inlet-samples.txt")


def make(job: Job, report: Callable[[str], None], begins: Callable[[str], None]) -> Artifact:
    """The artifact for that job, made now unless another process has made it meanwhile.

    `begins` hears the key once the build counts as failed unless it ends.
    """
    task = canonical(job.task)
    model = open_model(job.folder, task=task, head=task_kind(task).head)
    key = identity.key_of(job.folder, revision=job.revision, head=model.head, precision=job.precision)
    name, store = identity.digest(key), Store(job.store)
    with store.building(name, report) as draft:
        found = store.find(name)
        if found is not None and job.samples is None:
            return found
        if found is not None:
            raise Refused(
                "the model has an artifact, and its choice stays as it is; to have it checked with your samples, first run "
                f"`inlet artifact remove {found.manifest.digest[:12]}`"
            )
        with store.computing(report):
            opened = model.open(job.exports(model.head), report)
            if not (opened.improvable and isinstance(opened.graph, OpenVinoModel)):
                raise Refused(f"there is nothing to choose from: {model.origin.reason}, and served as it is")
            trials = judged_by(model, job, report)
            order = Order(job.location, model, opened.graph, key, job.precision, job.threads, trials)
            failures = store.failures(name)
            if failures >= _TRIES and job.precision != Precision.INT8:  # pinned, nothing else may serve
                raise Refused(
                    f"{failures} builds in a row did not end, for want of memory perhaps; the next is tried in an hour at the earliest"
                )
            store.begin(name)
            begins(name)
            try:
                return store.publish(name, draft, build(order, draft, report))
            except (
                Exception
            ):  # a full disk, say: it ended by itself, and harms no replica when it is tried again
                store.ended(name)
                raise


def judged_by(model: Model, job: Job, report: Callable[[str], None]) -> dict[str, Trial]:
    """The sets of texts: ours, samples in the model's folder or named by a person, and what was kept of its traffic."""
    sets: dict[str, Sequence[Text]] = {CORPUS: corpus()}
    own = [path for name in OWN_SAMPLES if (path := model.folder / name).is_file()]
    for path in own if job.samples is None else [*own, job.samples]:
        texts = read_samples(path)
        if len(texts) < MIN_TEXTS:
            raise Invalid(f"{path.name} has {len(texts)} texts; a check needs {MIN_TEXTS} or more")
        sets[set_name(path)] = texts
    traffic = recorded(traffic_file(job.store, job.location, canonical(job.task)))
    if traffic:
        sets[TRAFFIC] = traffic
    return {name: Trial.of(model, texts, report) for name, texts in sets.items()}

"""Artifacts for the tests: a manifest with nothing behind it, a published one, and the job of a real build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from inlet.runtime.artifact.gate import Difference, Verdict
from inlet.runtime.artifact.manifest import Manifest, Tried
from inlet.runtime.artifact.store import GRAPH, Store
from inlet.runtime.artifact.worker import Job
from inlet.runtime.contents import described
from inlet.runtime.engines.base import FP32, Variant

INT8 = Variant("openvino", "int8", "f32", 128)


def manifest(**changes: Any) -> Manifest:
    worst = (Difference("a text", "yes 0.9", "no 0.6", 0.3),)
    tried = (
        Tried(FP32, {"16": 20.0, "128": 100.0}),
        Tried(INT8, {"16": 5.0, "128": 30.0}, {"corpus": Verdict(("flips",), {"flips": 2.0}, worst)}),
    )
    made = Manifest("acme/topics", {"build": 1}, "inlet", "2026-01-01T00:00:00+00:00", 2, FP32, "why", tried)
    return replace(made, **changes)


def published(store: Store, name: str = "k", **changes: Any) -> Manifest:
    with store.building(name) as draft:
        (draft / GRAPH).write_text("a graph")
        return store.publish(name, draft, manifest(files=described(draft), **changes)).manifest


def job(model: Path, store: Path, **changes: Any) -> Job:
    asked = Job(model, str(model), None, "text-classification", "auto", 1, store)
    return replace(asked, **changes)

"""Plain records for tests: one endpoint, one event, one token, with what the test cares about as arguments."""

from dataclasses import replace
from typing import Any

from inlet.core.access import Grant, Permission, Token, hash_token
from inlet.core.endpoint import Endpoint, Person, Revision, State
from inlet.core.spec import Hardware, Image, Model, Scaling, Spec, Visibility, Workload
from inlet.store.base import Event

ALICE = Person("u1", "alice")


def endpoint(name: str, *, namespace: str = "default", id: str | None = None, **changes: Any) -> Endpoint:  # noqa: A002
    workload = Workload(
        Hardware("aws", "us-east-1", "cpu", "intel-spr", "x1"),
        Model(
            "org/model",
            "pytorch",
            Image("huggingface"),
            env={"LEVEL": "info"},
            secrets={"HF_TOKEN": "sealed"},
            args=("--fast",),
        ),
    )
    record = Endpoint(
        id=id or f"id-{namespace}-{name}",
        namespace=namespace,
        name=name,
        spec=Spec(Visibility.PRIVATE, workload, Scaling(0, 2), tags=("t",), extras={"accountId": None}),
        state=State.PENDING,
        version=1,
        target=Revision(1, workload, 100.0),
        serving=None,
        replicas=1,
        ready=0,
        failure=None,
        deployed=False,
        since=100.0,
        starting_since=100.0,
        ready_since=None,
        last_used_at=None,
        created_at=100.0,
        created_by=ALICE,
        updated_at=100.0,
        updated_by=ALICE,
    )
    return replace(record, **changes)


def event(of: Endpoint, message: str = "", **changes: Any) -> Event:
    return replace(
        Event(
            at=100.0,
            endpoint_id=of.id,
            namespace=of.namespace,
            endpoint=of.name,
            kind="created",
            actor="alice",
            request_id=None,
            message=message,
        ),
        **changes,
    )


def token(id: str, **changes: Any) -> Token:  # noqa: A002
    record = Token(
        id=id,
        name=f"token {id}",
        hash=hash_token(f"value of {id}"),
        grants=(Grant(Permission.READ, "default"), Grant(Permission.INFER, "default", "mini")),
        created_at=100.0,
    )
    return replace(record, **changes)

"""Create, read, update, delete and the lifecycle actions, through the real application and real stores."""

import asyncio
import copy
from dataclasses import replace
from typing import Any

import pytest

from inlet.core.endpoint import Cause, Failure, Source, State
from inlet.core.seen import Exit, ExitKind, Hold, Limits, Phase, SeenReplica, SeenReplicaSet
from inlet.wire.v2 import schema
from tests.control.conftest import BOTH_STORES, T0, Api, create_body

pytestmark = BOTH_STORES

PATH = "/v2/endpoint/default/mini"
LIMITS = Limits(
    2, 2**30, Hold(False, "affinity"), Hold(True, "cgroup v2"), instance_vcpus=4, instance_memory=2**31
)
GPU = {"accelerator": "gpu", "instanceType": "nvidia-t4", "instanceSize": "x1"}


def compute(**changes: Any) -> dict[str, Any]:
    return {"compute": {**create_body()["compute"], **changes}}


def model(**changes: Any) -> dict[str, Any]:
    return {"model": {**create_body()["model"], **changes}}


async def test_create_answers_the_whole_object_at_once(api: Api) -> None:
    made = await api.create()
    schema.Endpoint.model_validate(made)
    status = made.pop("status")
    person = status["createdBy"]
    assert len(person["id"]) == 24
    assert int(person["id"], 16)
    assert status == {
        "state": "pending",
        "message": "Endpoint waiting to be scheduled",
        "url": None,
        "createdAt": "2026-11-18T11:06:40.000000Z",
        "updatedAt": "2026-11-18T11:06:40.000000Z",
        "createdBy": person,
        "updatedBy": person,
        "private": None,
        "readyReplica": 0,
        "targetReplica": 1,
        "lastUsedAt": None,
        "inferenceMetricsEnabled": False,
    }
    record = await api.record()
    assert made.pop("inlet") == {
        "endpointId": record.id,
        "revision": 1,
        "servingRevision": None,
        "commit": None,
        "task": "text-classification",
        "limits": None,
        "pricePerHour": 0.033,
        "monthlyCost": 24.09,
        "monthlyCostMinimum": 24.09,
    }
    sent = create_body()
    sent["compute"]["id"] = "aws-us-east-1-intel-spr-x1"
    sent["model"] |= {"env": {}, "secrets": {}}
    assert made == {
        **sent,
        "accountId": None,
        "tags": [],
        "experimentalFeatures": {},
        "notifications": {},
        "healthRoute": "/health",
    }
    assert api.woken == [record.id]
    assert api.backend.acted == []  # the API never acts


async def test_a_taken_name_and_its_return(api: Api) -> None:
    await api.create()
    assert "mini" in await api.refused(409, "POST", "/v2/endpoint/default", create_body())
    await api.create(namespace="acme")
    assert await api.ok("DELETE", PATH) == {}
    assert "mini" in await api.refused(404, "GET", PATH)
    await api.refused(404, "DELETE", PATH)
    await api.create()


REFUSED: list[tuple[dict[str, Any], str]] = [
        ({"name": "Mini"}, "name: must be 1 to 32 lower-case"),
        ({"name": "m" * 33}, "name: must be"),
        ({"name": "a/b"}, "name: must be"),
        ({"name": "a\n"}, "name: must be"),
        ({"name": ""}, "name: must be"),
        ({"name": 7}, "name: must be a string, not 7"),
        ({"name": None}, "name: must be a string, not null"),
        ({"type": "secret"}, 'type: must be one of public, authenticated, private, protected, not "secret"'),
        ({"type": None}, "type: must be one of"),
        ({"provider": {"vendor": "aws"}}, "provider.region: is required"),
        ({"provider": {"vendor": "awz", "region": "us-east-1"}}, "provider.vendor: there is no 'awz' here; there are: aws, azure, gcp; did you mean 'aws'?"),
        ({"provider": {"vendor": "aws", "region": "us-east-9"}}, "provider.region: there is no 'us-east-9' here; there are: us-east-1"),
        (compute(instanceType="intel-sp"), "compute.instanceType: there is no 'intel-sp' here; there are: intel-spr, intel-icl; did you mean"),
        (compute(instanceSize="x3"), "compute.instanceSize: there is no 'x3' here; there are: x1, x2, x4, x8, x16"),
        (compute(accelerator="tpu"), 'compute.accelerator: must be one of cpu, gpu, neuron, zero_gpu, not "tpu"'),
        (compute(**GPU), "compute.instanceType: aws-us-east-1-nvidia-t4-x1 is not available on this installation; available: aws us-east-1 intel-spr x1"),
        (compute(scaling={"minReplica": 2, "maxReplica": 1}), "compute.scaling.minReplica: must not be more than maxReplica (1), but is 2"),
        (compute(scaling={"minReplica": -1, "maxReplica": 1}), "compute.scaling.minReplica: must be 0 or more, not -1"),
        (compute(scaling={"minReplica": 0, "maxReplica": 0}), "compute.scaling.maxReplica: must be 1 or more, not 0"),
        (compute(scaling={"minReplica": 0, "maxReplica": 65}), "compute.scaling.maxReplica: must be 64 or less, not 65"),
        (compute(scaling={"minReplica": "1", "maxReplica": 1}), 'compute.scaling.minReplica: must be a whole number, not "1"'),
        (compute(scaling={"minReplica": True, "maxReplica": 1}), "compute.scaling.minReplica: must be a whole number, not true"),
        (compute(scaling={"minReplica": 1.5, "maxReplica": 2}), "compute.scaling.minReplica: must be a whole number, not 1.5"),
        (compute(scaling={"maxReplica": 1}), "compute.scaling.minReplica: is required"),
        (compute(scaling={"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 0}), "compute.scaling.scaleToZeroTimeout: must be 1 or more, not 0"),
        (compute(scaling={"minReplica": 0, "maxReplica": 1, "measure": {}}), "compute.scaling.measure: must have exactly one of"),
        (compute(scaling={"minReplica": 0, "maxReplica": 1, "measure": {"hardwareUsage": 80, "pendingRequests": 1}}), "compute.scaling.measure: must have exactly one of"),
        (compute(scaling={"minReplica": 0, "maxReplica": 1, "measure": {"hardwareUsage": 101}}), "compute.scaling.measure.hardwareUsage: must be 100 or less"),
        (model(repository="a/b/c"), "model.repository: 'a/b/c' is neither a repository of the Hub"),
        (model(repository="../etc"), "model.repository: '../etc' is neither"),
        (model(repository=""), "model.repository: must not be empty"),
        (model(framework="jax"), "model.framework: must be one of custom, pytorch, llamacpp, tensorflow"),
        (model(task="poetry"), "model.task: must be one of custom, any-to-any"),
        (model(revision="--upload-pack=x"), "model.revision: must be a branch, tag or commit"),
        (model(image={}), "model.image: must have exactly one of huggingface, huggingfaceNeuron, custom"),
        (model(image={"huggingface": {}, "tei": {"url": "x"}}), "model.image: must have exactly one of"),
        (model(image={"dockerfile": {}}), "model.image: must have exactly one of"),
        (model(image={"custom": {"url": "registry.example.com/m:1"}}), "model.image.custom.url: names a container"),
        (model(image={"custom": {}}), "model.image.custom.url: is required"),
        (model(image={"vLLM": {"url": "x", "kvCacheDtype": "int2"}}), "model.image.vLLM.kvCacheDtype: must be one of fp8"),
        (model(args=["--x"]), "model.args: the managed image takes no command line"),
        (model(command="run"), "model.command: must be a list"),
        (model(env={"A": 1}), "model.env.A: must be a string"),
        (model(env={"A=B": "1"}), "model.env.A=B: is not a name for an environment variable"),
        (model(env={"LD_PRELOAD": "/x.so"}), "model.env.LD_PRELOAD: is reserved"),
        (model(env={"INLET_HOME": "/x"}), "model.env.INLET_HOME: is reserved"),
        (model(env={"INLET_PRECISION": "int4"}), "model.env.INLET_PRECISION: 'int4' is none of auto, fp32, bf16, int8"),
        (model(env={"INLET_SAMPLE_TRAFFIC": "2"}), "model.env.INLET_SAMPLE_TRAFFIC: '2' is not a share from 0 to 1"),
        (model(secrets={"PYTHONPATH": "/x"}), "model.secrets.PYTHONPATH: is reserved"),
        (model(env={"PYTHONPYCACHEPREFIX": "/x"}), "model.env.PYTHONPYCACHEPREFIX: is reserved"),
        (model(env={"SSLKEYLOGFILE": "/x"}), "model.env.SSLKEYLOGFILE: is reserved"),
        (model(secrets={"NOTIFY_SOCKET": "/x"}), "model.secrets.NOTIFY_SOCKET: is reserved"),
        (model(image={"huggingface": {"env": {"PATH": "/x"}}}), "model.image.huggingface.env.PATH: is reserved"),
        (model(secrets={"A": None}), "model.secrets.A: null keeps the stored value, but none is stored"),
        (model(env={"A": "x"}, secrets={"A": "y"}), "model.secrets.A: is in model.env too"),
        (model(env={"A": "x\0y"}), "body: strings must not contain the character NUL"),
        ({"tags": "nlp"}, "tags: must be a list"),
        ({"tags": [""]}, "tags.0: must not be empty"),
        ({"cacheHttpResponses": True}, "cacheHttpResponses: answers are not cached here"),
        ({"experimentalFeatures": {"cacheHttpResponses": True}}, "experimentalFeatures.cacheHttpResponses: answers"),
        ({"experimentalFeatures": {"loadBalancer": "sticky"}}, "experimentalFeatures.loadBalancer: sticky"),
        ({"experimentalFeatures": {"skipRepoDownload": True}}, "experimentalFeatures.skipRepoDownload: "),
        ({"network": {"cidrBlock": True}}, "network.cidrBlock: IP restrictions are not available here"),
        ({"privateService": {"accountId": "1", "region": "us-east-1"}}, "privateService: private links are not"),
        ({"customRouter": {"tag": "x"}}, "customRouter: is not available here"),
        ({"route": {"domain": "x.example.com", "path": "/"}}, "route: custom domains are not available here"),
]  # fmt: skip


async def test_what_a_create_refuses(api: Api) -> None:
    for changes, words in REFUSED:
        sentence = await api.refused(400, "POST", "/v2/endpoint/default", create_body() | changes)
        assert sentence.startswith(words), changes
    assert (await api.ok("GET", "/v2/endpoint/default"))["items"] == []
    assert api.woken == []


ECHOED: list[dict[str, Any]] = [
        {"accountId": None, "type": "protected", **model(task=None)},  # huggingface_hub up to 0.36
        {"accountId": "123456789012"},
        {"type": "public"},
        {"type": "private", "tags": ["b", "a"]},
        {"cacheHttpResponses": False, "tags": []},
        {"experimentalFeatures": {"cacheHttpResponses": False, "loadBalancer": "random"}},
        {"notifications": {"email": True, "push": False}},
        {"network": {"cidrBlock": False, "cidrList": ["10.0.0.0/8"]}},
        {"route": None, "privateService": None, "customRouter": None},
        compute(scaling={"minReplica": 0, "maxReplica": 3, "scaleToZeroTimeout": 15, "measure": {"pendingRequests": 2.0}}),
        compute(scaling={"minReplica": 0, "maxReplica": 3, "scaleToZeroTimeout": 15, "measure": {"hardwareUsage": None}}),
        compute(scaling={"minReplica": 0, "maxReplica": 1}),
        compute(scaling={"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": None}),
        compute(scaling={"minReplica": 1, "maxReplica": 1, "scaleToZeroTimeout": 60}),
        compute(scaling={"minReplica": 1, "maxReplica": 2, "metric": "hardwareUsage", "threshold": 70, "measure": {"hardwareUsage": 70}}),
        compute(instanceType="c6i", instanceSize="small"),
        model(image={"huggingface": {"env": {}}}),
        model(image={"huggingface": {"env": {"A": "1"}}}),
        model(env={"LOG_LEVEL": "info"}, secrets={}, args=[], command=[]),
        model(revision="main", fromCatalog=True),
        model(revision="refs/pr/1"),
        model(task="conversational"),
        model(repository="t5-small"),
]  # fmt: skip


async def test_an_answer_says_what_was_sent(api: Api) -> None:
    for changes in ECHOED:
        await _echoes(api, changes)
        await api.ok("DELETE", PATH)


async def _echoes(api: Api, changes: dict[str, Any]) -> None:
    sent = create_body() | changes
    made = await api.create(**changes)
    for answered in (made, await api.get()):
        assert contains(answered, sent), answered
        scaling = answered["compute"]["scaling"]
        assert set(scaling) == set(sent["compute"]["scaling"]), "no key of scaling appears or vanishes"
        assert answered["model"]["image"] == sent["model"]["image"]
        schema.Endpoint.model_validate(answered)
    # A client that sends back what it got (Terraform, the settings page) changes nothing.
    before = await api.record()
    response = await api.call("PUT", PATH, made)
    assert response.status_code == 200, response.text
    after = await api.record()
    assert (after.target, after.state) == (before.target, before.state)
    assert replace(after.spec, extras={}) == replace(before.spec, extras={})
    assert {**await api.get(), "status": 0} == {**made, "status": 0}
    topics = {text.split(";")[0] for text in response.headers.get_list("x-hf-warning")}
    assert topics <= {"notifications", "compute.scaling.scaleToZeroTimeout"}


def contains(whole: Any, part: Any) -> bool:
    """Whether `whole` has every key of `part`, with equal leaves."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    return bool(whole == part and type(whole) is type(part))


async def test_old_names_of_instances(api: Api) -> None:
    made = await api.create(**compute(instanceType="c6i", instanceSize="medium"))
    assert made["compute"]["instanceType"] == "c6i"
    assert made["compute"]["id"] == "aws-us-east-1-intel-icl-x2"
    assert made["inlet"]["pricePerHour"] == 0.064


async def test_sleep_after_fifteen_minutes_unless_said(api: Api) -> None:
    await api.create(**compute(scaling={"minReplica": 0, "maxReplica": 1}))
    assert (await api.record()).spec.scaling.idle_timeout == 900
    made = await api.put({"compute": {"scaling": {"scaleToZeroTimeout": 2}}})
    assert made["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 2}
    assert made["inlet"]["monthlyCostMinimum"] == 0
    assert (await api.record()).spec.scaling.idle_timeout == 120


async def test_environment_in_the_old_place_counts(api: Api) -> None:
    await api.create(**model(image={"huggingface": {"env": {"A": "old", "B": "b"}}}, env={"A": "new"}))
    assert (await api.record()).target.workload.model.env == {"A": "new", "B": "b"}


async def test_unknown_fields_are_warned_of_and_dropped(api: Api) -> None:
    body = create_body(colour="red")
    body["model"] |= {"health_route": "/h", "image": {"huggingface": {"maxNumSeqs": 1}}}
    body["compute"]["scaling"]["päron;\n"] = 1
    response = await api.call("POST", "/v2/endpoint/default", body)
    assert response.status_code == 200
    warnings = response.headers.get_list("x-hf-warning")
    assert [warning.split(";")[0] for warning in warnings] == [
        "colour",
        "compute.scaling.p?ron  ",
        "model.health_route",
        "model.image.huggingface.maxNumSeqs",
    ]
    assert "colour" not in (await api.get())
    response = await api.call("PUT", PATH, {"model": {"modle": 1}})
    assert response.headers.get_list("x-hf-warning") == [
        "model.modle; model.modle is not a field of an endpoint and was ignored"
    ]
    assert "x-hf-warning" not in (await api.call("PUT", PATH, {})).headers


# Updates


async def test_an_update_is_a_deep_merge(api: Api) -> None:
    made = await api.create(
        tags=["a"],
        **model(env={"A": "1", "B": "2"}, secrets={"S": "s", "T": "t"}),
        **compute(scaling={"minReplica": 0, "maxReplica": 2, "measure": {"pendingRequests": 3}}),
    )
    api.tick()
    nulls = {
        "accountId": None, "compute": {"accelerator": None, "instanceSize": None, "instanceType": None,
        "scaling": {"maxReplica": None, "minReplica": None, "measure": None}}, "model": {"framework": None,
        "image": None, "repository": None, "revision": None, "task": None, "env": None, "secrets": None},
        "tags": None, "type": None, "provider": None,
    }  # fmt: skip
    for body in ({}, None, b"", nulls):
        answered = await api.ok("PUT", PATH, body)
        assert answered["status"].pop("updatedAt") > made["status"]["updatedAt"]
        assert {**answered, "status": 0} == {**made, "status": 0}
    assert (await api.record()).target.number == 1

    merged = await api.put(
        {"model": {"env": {"B": "3"}}, "compute": {"scaling": {"measure": {"hardwareUsage": 50}}}}
    )
    assert merged["model"]["env"] == {"B": "3"}
    assert merged["model"]["secrets"] == {"S": None, "T": None}
    assert merged["compute"]["scaling"] == {
        "minReplica": 0,
        "maxReplica": 2,
        "measure": {"hardwareUsage": 50},
    }
    assert (await api.put({"tags": []}))["tags"] == []
    assert (await api.put({"model": {"env": {}}}))["model"]["env"] == {}
    moved = await api.put(
        {"type": "private", "provider": {"region": "eu-west-1"}, "compute": {"instanceSize": "x2"}}
    )
    assert moved["provider"] == {"vendor": "aws", "region": "eu-west-1"}
    assert moved["compute"]["id"] == "aws-eu-west-1-intel-spr-x2"


async def test_the_measure_sent_last_counts(api: Api) -> None:
    await api.create(
        **compute(scaling={"minReplica": 1, "maxReplica": 2, "metric": "hardwareUsage", "threshold": 70})
    )
    measure = (await api.record()).spec.scaling.measure
    assert measure is not None
    assert (measure.kind, measure.threshold) == ("hardwareUsage", 70)
    scaling = (await api.put({"compute": {"scaling": {"measure": {"pendingRequests": None}}}}))["compute"][
        "scaling"
    ]
    assert scaling == {"minReplica": 1, "maxReplica": 2, "measure": {"pendingRequests": None}}
    scaling = (await api.put({"compute": {"scaling": {"metric": "pendingRequests", "threshold": 4}}}))[
        "compute"
    ]["scaling"]
    assert scaling == {"minReplica": 1, "maxReplica": 2, "metric": "pendingRequests", "threshold": 4}


async def test_secrets_are_kept_replaced_and_never_shown(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await api.create(**model(secrets={"KEY": "hush-1", "HF_TOKEN": "hush-2"}))
    assert made["model"]["secrets"] == {"KEY": None, "HF_TOKEN": None}

    async def opened() -> dict[str, str]:
        sealed = (await api.record()).target.workload.model.secrets
        return {name: api.vault.open(value) for name, value in sealed.items()}

    assert await opened() == {"KEY": "hush-1", "HF_TOKEN": "hush-2"}
    await api.put({"model": {"secrets": {"KEY": "hush-1", "HF_TOKEN": None}}})
    assert (await api.record()).target.number == 1, "the same secret sent again is no change"
    await api.put({"model": {"secrets": {"KEY": None, "NEW": "hush-3"}}})
    assert await opened() == {"KEY": "hush-1", "NEW": "hush-3"}
    assert (await api.record()).target.number == 2
    await api.refused(400, "PUT", PATH, {"model": {"secrets": {"GONE": None}}})
    await api.refused(400, "PUT", PATH, {"model": {"secrets": {"KEY": ["hush-4"]}}})
    await api.refused(400, "PUT", PATH, {"model": {"secrets": {"PATH": "hush-5"}}})
    await api.refused(400, "PUT", PATH, {"model": {"secrets": "hush-6"}})
    await api.refused(400, "PUT", PATH, b'{"model": {"secrets": {"KEY": "hush-7"')
    await api.get()
    everything = "".join(f"{dict(r.headers)}{r.text}" for r in api.seen)
    events = await api.store.list_events((await api.record()).id, limit=100)
    output = capsys.readouterr()
    for text in (everything, repr(events), output.out + output.err, repr((await api.record()).spec)):
        assert "hush" not in text


async def test_a_secret_sealed_with_a_lost_key_can_be_sent_anew(api: Api) -> None:
    await api.create(**model(secrets={"KEY": "old"}))
    record = await api.record()
    lost = replace(record.spec.workload.model, secrets={"KEY": "gAAAAAbroken"})
    await api.set(spec=replace(record.spec, workload=replace(record.spec.workload, model=lost)))
    await api.put({"model": {"secrets": {"KEY": "new"}}})
    sealed = (await api.record()).target.workload.model.secrets["KEY"]
    assert api.vault.open(sealed) == "new"


async def test_what_an_update_does_to_the_state(api: Api) -> None:
    await api.create()
    running = await api.set(state=State.RUNNING, deployed=True, ready=1)
    await api.set(serving=running.target)
    for body in ({"tags": ["x"]}, {"type": "public"}, {"compute": {"scaling": {"maxReplica": 2}}}):
        answered = await api.put(body)
        assert answered["status"]["state"] == "running"
        assert answered["inlet"]["revision"] == 1
    answered = await api.put({"model": {"env": {"A": "1"}}})
    assert answered["status"]["state"] == "updating"
    assert (answered["inlet"]["revision"], answered["inlet"]["servingRevision"]) == (2, 1)
    await api.set(state=State.PAUSED)
    assert (await api.put({"model": {"env": {}}}))["status"]["state"] == "paused"


async def test_what_an_update_refuses(api: Api) -> None:
    await api.create()
    before = await api.record()
    for body, words in (
        ({"name": "other"}, "name: an endpoint cannot be renamed"),
        ({"compute": {"scaling": {"minReplica": 2}}}, "compute.scaling.minReplica: must not be more than"),
        ({"compute": GPU}, "compute.instanceType: aws-us-east-1-nvidia-t4-x1 is not available"),
        ({"compute": 5}, "compute: must be an object, not 5"),
        ({"model": []}, "model: must be an object"),
        ({"model": {"image": {"custom": {"url": "x"}}}}, "model.image.custom.url: names a container"),
        ({"route": {"domain": "x"}}, "route: custom domains"),
    ):
        assert (await api.refused(400, "PUT", PATH, body)).startswith(words)
    assert await api.record() == before
    await api.refused(404, "PUT", "/v2/endpoint/default/other", {})


async def test_tags_can_change_while_the_instance_is_gone(api: Api) -> None:
    await api.create()
    api.backend.away = True
    assert (await api.put({"tags": ["x"]}))["tags"] == ["x"]
    response = await api.call("PUT", PATH, {"compute": {"instanceSize": "x2"}})
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


# The lifecycle


async def test_pause_resume_and_scale_to_zero(api: Api) -> None:
    await api.create(**compute(scaling={"minReplica": 0, "maxReplica": 1}))
    await api.set(state=State.RUNNING, deployed=True, ready=1, ready_since=T0 + 5, last_used_at=T0 + 9)
    running = await api.get()
    assert running["status"]["url"] == "https://ml.example.com/default/mini"
    assert running["status"]["lastUsedAt"] == "2026-11-18T11:06:49.000000Z"
    assert "already running" in await api.refused(400, "POST", f"{PATH}/resume")
    slept = await api.ok("POST", f"{PATH}/scale-to-zero")
    assert (slept["status"]["state"], slept["status"]["targetReplica"]) == ("scaledToZero", 0)
    assert slept["status"]["url"] is not None
    paused = await api.ok("POST", f"{PATH}/pause", b"")
    assert (paused["status"]["state"], paused["status"]["readyReplica"]) == ("paused", 0)
    assert (await api.ok("POST", f"{PATH}/pause", {}))["status"]["state"] == "paused"
    resumed = await api.ok("POST", f"{PATH}/resume", b"no JSON at all")
    assert (resumed["status"]["state"], resumed["status"]["targetReplica"]) == ("pending", 1)
    assert len(api.woken) == 5
    events = await api.store.list_events(resumed["inlet"]["endpointId"], limit=10)
    assert [event.kind for event in reversed(events)] == [
        "endpointCreated", "endpointScaledToZero", "endpointPaused", "endpointPaused", "endpointResumed",
    ]  # fmt: skip
    assert events[0].actor == "INLET_TOKEN"
    assert events[0].request_id == api.seen[-1].headers["x-request-id"]
    for action in ("pause", "resume", "scale-to-zero"):
        await api.refused(404, "POST", f"/v2/endpoint/default/other/{action}")


async def test_no_sleep_without_zero(api: Api) -> None:
    await api.create()
    assert "cannot be scaled to zero" in await api.refused(400, "POST", f"{PATH}/scale-to-zero")


async def test_failures_are_told_and_mended(api: Api) -> None:
    await api.create()
    await api.set(state=State.FAILED, failure=Failure(Cause.CONFIGURATION, "there is no such model"))
    failed = await api.get()
    assert failed["status"]["errorMessage"] == "there is no such model"
    assert failed["status"]["url"] is None
    assert "must be updated" in await api.refused(400, "POST", f"{PATH}/resume")
    mended = await api.put({"model": {"repository": "acme/other"}})
    assert mended["status"]["state"] == "pending"
    assert "errorMessage" not in mended["status"]


async def test_resume_asks_for_the_instance_again(api: Api) -> None:
    await api.create()
    record = await api.set(state=State.PAUSED)
    gpu = replace(record.spec.workload.hardware, accelerator="gpu", instance_type="nvidia-t4")
    await api.set(spec=replace(record.spec, workload=replace(record.spec.workload, hardware=gpu)))
    assert "not available" in await api.refused(400, "POST", f"{PATH}/resume")


async def test_what_an_observation_adds(api: Api) -> None:
    await api.create()
    record = await api.record()
    source = Source("acme/mini", local=False, commit="c" * 40, task="text-classification")
    await api.set(state=State.INITIALIZING, target=replace(record.target, source=source))
    api.backend.sets = [
        SeenReplicaSet("other-r1", "other", 1, 1, limits=replace(LIMITS, vcpus=1)),
        SeenReplicaSet(
            f"{record.id}-r1", record.id, 1, 1, limits=LIMITS,
            replicas=(SeenReplica("r", Phase.DOWNLOADING, detail="downloading 43 %"),),
        ),
    ]  # fmt: skip
    seen = await api.get()
    assert seen["status"]["message"] == "Endpoint is starting: downloading 43 %"
    assert seen["inlet"]["limits"] == {
        "cpu": {"vcpus": 2, "hold": "best effort", "by": "affinity"},
        "memory": {"bytes": 2**30, "hold": "enforced", "by": "cgroup v2"},
        "whole": False,
        "text": LIMITS.words,
    }
    assert seen["inlet"]["commit"] == seen["model"]["revision"] == "c" * 40
    api.backend.away = True
    assert (await api.get())["status"]["message"] == "Endpoint is starting"
    await api.put({"model": {"revision": "main"}})
    assert (await api.get())["model"]["revision"] == "main"


async def test_why_the_last_replica_ended_is_said_while_the_next_one_starts(api: Api) -> None:
    await api.create()
    record = await api.record()
    await api.set(state=State.INITIALIZING)
    ended = Exit(ExitKind.OUT_OF_MEMORY, "Out of memory: more than the limit of 2 GB\nits own words")
    starting = SeenReplica("r", Phase.INITIALIZING, detail="warming up")
    api.backend.sets = [
        SeenReplicaSet(f"{record.id}-r1", record.id, 1, 1, replicas=(starting,), last_exit=ended)
    ]
    assert (await api.get())["status"]["message"] == (
        "Endpoint is starting: warming up; the replica before it ended: Out of memory: more than the limit of 2 GB"
    )
    serving = SeenReplica("s", Phase.RUNNING, address="unix:/s")
    api.backend.sets = [replace(api.backend.sets[0], replicas=(serving,))]
    assert (await api.get())["status"]["message"] == "Endpoint is starting"


@pytest.mark.parametrize(
    ("state", "phase", "begin"),
    [
        (State.INITIALIZING, Phase.INITIALIZING, "Endpoint is starting"),
        (State.RUNNING, Phase.RUNNING, "Endpoint is ready"),
    ],
)
async def test_replicas_that_keep_ending_are_told_also_while_one_is_ready(
    api: Api, state: State, phase: Phase, begin: str
) -> None:
    await api.create()
    record = await api.record()
    await api.set(state=state)
    replica = SeenReplica("r", phase, address="unix:/r")
    ended = Exit(ExitKind.OUT_OF_MEMORY, "Out of memory\nits own words")
    told = SeenReplicaSet(f"{record.id}-r1", record.id, 1, 1, replicas=(replica,), ends=4, last_exit=ended)
    api.backend.sets = [told]
    assert (await api.get())["status"]["message"] == (
        f"{begin}; replicas keep ending, 4 in a row so far; the last: Out of memory"
    )
    api.backend.sets = [replace(told, ends=0)]
    assert "keep ending" not in (await api.get())["status"]["message"]


async def test_a_platform_that_does_not_answer_holds_up_nobody(api: Api) -> None:
    await api.create()
    api.backend.silent = True
    async with asyncio.timeout(60):
        assert (await api.get())["inlet"]["limits"] is None


async def test_changes_at_the_same_time_all_count(api: Api) -> None:
    await api.create()
    bodies: list[dict[str, Any]] = [
        {"tags": ["x"]},
        {"type": "public"},
        {"compute": {"scaling": {"maxReplica": 4}}},
    ]
    await asyncio.gather(*(api.put(body) for body in bodies))
    end = await api.get()
    assert (end["tags"], end["type"], end["compute"]["scaling"]["maxReplica"]) == (["x"], "public", 4)


# Bodies


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_bodies_that_are_not_json_objects(api: Api, method: str) -> None:
    await api.create()
    path = PATH if method == "PUT" else "/v2/endpoint/default"
    deep = b'{"a":' * 60 + b"1" + b"}" * 60
    for body, words in (
        (b"{", "body: is not JSON"),
        (b"hello", "body: is not JSON"),
        (b"\xff\xfe", "body: is not JSON"),
        (b'{"a": NaN}', "body: is not JSON"),
        (b"[]", "body: must be a JSON object"),
        (b"null", "body: must be a JSON object"),
        (deep, "body: is nested more than"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "body: is"),
        (b'{"name": "a\\u0000"}', "body: strings must not contain"),
    ):
        assert (await api.refused(400, method, path, body)).startswith(words)
    assert "1000000 bytes" in await api.refused(413, method, path, b'{"tags": ["' + b"x" * 1_000_000 + b'"]}')


async def test_bodies_where_none_is_needed(api: Api) -> None:
    await api.create()
    for body in ({}, b"", b"junk"):
        assert (await api.ok("GET", PATH, body))["name"] == "mini"
    assert await api.ok("DELETE", PATH, {}) == {}


async def test_a_body_is_json_whatever_its_type_says(api: Api) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await api.ok("PUT", PATH, b'{"tags": ["x"]}', headers=headers) if await api.create() else {})[
        "tags"
    ] == ["x"]


async def test_the_stored_document_is_not_shared(api: Api) -> None:
    sent = create_body(tags=["a"])
    kept = copy.deepcopy(sent)
    await api.ok("POST", "/v2/endpoint/default", sent)
    assert sent == kept

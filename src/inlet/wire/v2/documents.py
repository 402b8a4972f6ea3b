"""The shapes of requests, field by field, as pydantic models.

Read by `parse` (validation) and by `control/openapi.py` (the OpenAPI document). Only what can be said about one
field alone is said here; rules between fields are in `parse`. A field that is not here is unknown: it is dropped,
and the client is warned.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

HEALTH_ROUTE = "/health"  # of the managed image
MAX_REPLICAS = 64
MAX_IDLE_MINUTES = 43_200  # 30 days

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"
ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,254}$"
ONE_LINE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
REVISION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/+-]{0,254}$"

# The present list; then spellings of 2023 that older clients still send; then tasks that we serve besides.
Task = Literal[
    "custom", "any-to-any", "audio-classification", "automatic-speech-recognition", "feature-extraction",
    "fill-mask", "image-classification", "image-segmentation", "image-text-to-text", "object-detection",
    "question-answering", "sentence-embeddings", "sentence-ranking", "sentence-similarity", "summarization",
    "table-question-answering", "tabular-classification", "tabular-regression", "text-classification", "text-generation", "text-ranking", "text-to-image",
    "token-classification", "translation", "zero-shot-classification",
    "text2text-generation", "conversational",
    "depth-estimation", "document-question-answering", "image-to-text", "text-to-audio", "text-to-speech",
    "visual-question-answering", "zero-shot-image-classification",
]  # fmt: skip
TASKS: tuple[str, ...] = get_args(Task)
Framework = Literal["custom", "pytorch", "llamacpp", "tensorflow"]
TypeName = Literal["public", "authenticated", "private", "protected"]
MetricName = Literal["hardwareUsage", "pendingRequests"]

EnvName = Annotated[str, Field(pattern=ENV_NAME_PATTERN)]
EnvValue = Annotated[str, Field(max_length=32_768)]
Word = Annotated[str, Field(min_length=1, max_length=64)]
Argument = Annotated[str, Field(max_length=32_768)]

_LARGEST = 1e300


def _number(value: Any) -> Any:
    """A finite number that stays an integer if it was sent as one: answers repeat it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("float_type", "must be a number")
    if not -_LARGEST < value < _LARGEST:
        raise PydanticCustomError("finite_number", "must be a finite number")
    return value


Number = Annotated[Any, AfterValidator(_number), WithJsonSchema({"type": "number"})]


class Part(BaseModel):
    """Base of all shapes: strict types, camel case on the wire, unknown fields kept aside."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class Provider(Part):
    """Where it runs, by the names of the hardware catalogue."""

    vendor: Word
    region: Word


class Measure(Part):
    """What the autoscaler looks at: exactly one of the two; null means that one's default threshold."""

    hardware_usage: Annotated[Number, Field(gt=0, le=100)] | None = None
    pending_requests: Annotated[Number, Field(gt=0, le=100_000)] | None = None


class Scaling(Part):
    """Bounds on the number of replicas; the timeout is in minutes."""

    min_replica: Annotated[int, Field(ge=0, le=MAX_REPLICAS)]
    max_replica: Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
    scale_to_zero_timeout: Annotated[int, Field(ge=1, le=MAX_IDLE_MINUTES)] | None = None
    measure: Measure | None = None
    metric: Annotated[MetricName | None, Field(json_schema_extra={"deprecated": True})] = None
    threshold: Annotated[Number, Field(gt=0)] | None = None


class Compute(Part):
    """The instance, and how many replicas of it."""

    accelerator: Literal["cpu", "gpu", "neuron", "zero_gpu"]
    instance_type: Word
    instance_size: Word
    scaling: Scaling


class Huggingface(Part):
    """The managed image; `env` is the older place of `model.env`."""

    env: dict[EnvName, EnvValue] | None = None


class HuggingfaceNeuron(Part):
    """The managed image for Inferentia."""

    env: dict[EnvName, EnvValue] | None = None
    batch_size: int | None = None
    neuron_cache: str | None = None
    sequence_length: int | None = None


class Container(Part):
    """What every image that a person names has; `health_route` is an older spelling of `healthRoute`."""

    url: Annotated[str, Field(min_length=1, max_length=1024)]
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    health_route: Annotated[str, Field(pattern=r"^/")] | None = None
    legacy_health_route: Annotated[str | None, Field(alias="health_route", pattern=r"^/")] = None
    env: dict[EnvName, EnvValue] | None = None


class Credentials(Part):
    """Of a container registry. The password is sealed at once and is null in every answer."""

    username: str
    password: str | None = None


class Custom(Container):
    """Any image."""

    credentials: Credentials | None = None


class Tgi(Container):
    """text-generation-inference."""

    max_batch_prefill_tokens: int | None = None
    max_batch_total_tokens: int | None = None
    max_input_length: int | None = None
    max_total_tokens: int | None = None
    disable_custom_kernels: bool | None = None
    quantize: Literal["awq", "bitsandbytes", "eetq", "gptq"] | None = None


class TgiNeuron(Container):
    """text-generation-inference for Inferentia."""

    max_batch_prefill_tokens: int | None = None
    max_batch_total_tokens: int | None = None
    max_input_length: int | None = None
    max_total_tokens: int | None = None
    hf_auto_cast_type: Literal["bf16", "fp16"] | None = None
    hf_num_cores: int | None = None


class Tei(Container):
    """text-embeddings-inference."""

    max_batch_tokens: int | None = None
    max_concurrent_requests: int | None = None
    pooling: Literal["mean", "cls"] | None = None


class Llamacpp(Container):
    """llama.cpp's server."""

    model_path: str
    ctx_size: int | None = None
    mmproj_model_path: str | None = None
    mode: Literal["embeddings", "reranking"] | None = None
    n_gpu_layers: int | None = None
    n_parallel: int | None = None
    pooling: Literal["mean", "cls", "last", "rank"] | None = None
    spec_model_path: str | None = None
    threads_http: int | None = None
    variant: str | None = None
    embeddings: bool | None = None


class VLLM(Container):
    """vLLM."""

    tensor_parallel_size: int | None = None
    data_parallel_size: int | None = None
    kv_cache_dtype: Literal["fp8", "fp8-e4-m3", "fp8-e5-m2"] | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None


class VLLMOmni(Container):
    """vLLM for several modalities."""

    deploy_config: Any = None
    max_num_seqs: int | None = None


class SGLang(Container):
    """SGLang."""

    chunked_prefill_size: int | None = None
    kv_cache_dtype: Literal["fp8-e4-m3", "fp8-e5-m2"] | None = None
    max_prefill_tokens: int | None = None
    max_running_requests: int | None = None
    tensor_parallel_size: int | None = None


class Image(Part):
    """Exactly one of the variants."""

    huggingface: Huggingface | None = None
    huggingface_neuron: HuggingfaceNeuron | None = None
    custom: Custom | None = None
    tgi: Tgi | None = None
    tgi_neuron: TgiNeuron | None = None
    tgi_tpu: Tgi | None = None
    tei: Tei | None = None
    llamacpp: Llamacpp | None = None
    vllm: Annotated[VLLM | None, Field(alias="vLLM")] = None
    vllm_omni: Annotated[VLLMOmni | None, Field(alias="vLLMOmni")] = None
    vllm_neuron: Annotated[Container | None, Field(alias="vLLMNeuron")] = None
    sglang: Annotated[SGLang | None, Field(alias="sGLang")] = None
    hf_serve: Container | None = None


class Model(Part):
    """What is served, and the settings of the process that serves it."""

    repository: Annotated[str, Field(min_length=1, max_length=1024)]
    framework: Framework
    image: Image | None = None
    revision: Annotated[str, Field(pattern=REVISION_PATTERN)] | None = None
    task: Task | None = None
    env: dict[EnvName, EnvValue] | None = None
    secrets: dict[EnvName, EnvValue | None] | None = None
    args: Annotated[list[Argument], Field(max_length=256)] | None = None
    command: Annotated[list[Argument], Field(max_length=256)] | None = None
    from_catalog: bool | None = None


class ExperimentalFeatures(Part):
    """Switches of the public service; those that this server cannot honour are refused when set."""

    cache_http_responses: bool | None = None
    load_balancer: Literal["random", "sticky", "least_connections"] | None = None
    mcp_lb: Any = None
    kv_router: Any = None
    skip_repo_download: bool | None = None


class Notifications(Part):
    """Kept and returned."""

    email: bool | None = None
    push: bool | None = None


class Network(Part):
    """IP restrictions: refused when switched on."""

    cidr_block: bool | None = None
    cidr_list: Annotated[list[Word], Field(max_length=256)] | None = None


class Document(Part):
    """All of an endpoint that a client may set, its name apart."""

    type: TypeName
    provider: Provider
    compute: Compute
    model: Model
    tags: Annotated[list[Word], Field(max_length=64)] | None = None
    account_id: str | None = None
    cache_http_responses: bool | None = None
    experimental_features: ExperimentalFeatures | None = None
    notifications: Notifications | None = None
    network: Network | None = None
    route: Any = None
    private_service: Any = None
    custom_router: Any = None


class Create(Document):
    """The body of a create."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]

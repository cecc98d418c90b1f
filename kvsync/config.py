"""The gateway's configuration: frozen settings from a file and the environment.

Precedence: `KVSYNC_*` over AIBrix' variables over the file over the defaults. A variable names its field
in capitals, `__` between the levels: `KVSYNC_TOKENIZER__KIND=remote`. A value that starts with `[` or `{`
is read as YAML; an empty one counts as not set. Everything that is wrong is reported at once.

A gateway that moves over from AIBrix keeps its meaning while it still has AIBrix' variables:

    sync  remote tokenizer   are events followed?
    on    on                 yes
    on    off or incomplete  no, with a warning
    off   on                 no
    off   off                no
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from kvsync.access.settings import AccessConfig, EngineTlsConfig
from kvsync.errors import ConfigError
from kvsync.pods import Host, Location, Name, Pod, PodDefaults, Port, parse_document, path, problems
from kvsync.settings import operation
from kvsync.settings.base import SettingsGroup

PREFIX = "KVSYNC_"

_SYNC = ("AIBRIX_PREFIX_CACHE_KV_EVENT_SYNC_ENABLED", "AIBRIX_KV_EVENT_SYNC_ENABLED")
_REMOTE = ("AIBRIX_PREFIX_CACHE_USE_REMOTE_TOKENIZER", "AIBRIX_USE_REMOTE_TOKENIZER")
"""A switch and its older name."""

_TYPE = "AIBRIX_PREFIX_CACHE_TOKENIZER_TYPE"
_ENDPOINT = "AIBRIX_PREFIX_CACHE_REMOTE_TOKENIZER_ENDPOINT"

_OTHERS = re.compile(r"KVSYNC_(RUN|CONFIG|KEY|CI_.*|(.+_)?SERVICE_(HOST|PORT.*)|(.+_)?PORT_\d+_.*)")
"""Variables that are not settings: this project's other ones, and those that Kubernetes adds to every
container for each service whose name starts with kvsync."""

_LINKS = ("tcp://", "udp://", "sctp://")
"""Kubernetes also sets NAME_PORT to a URL, which for a service `kvsync` is the name of our setting."""


class TokenizerConfig(SettingsGroup):
    """What turns text into token ids: the pods themselves, one remote service, or nothing.

    A request waits for its tokens for `timeout_s` at most, and is then routed by load.
    """

    kind: Literal["pod", "remote", "none"] = "pod"
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = Field(
        default=None, validate_default=True
    )
    timeout_s: PositiveFloat = 0.5
    cache_entries: NonNegativeInt = 1024

    @field_validator("endpoint")
    @classmethod
    def _remote_needs_one(cls, endpoint: str | None, info: ValidationInfo) -> str | None:
        if endpoint is None and info.data.get("kind") == "remote":
            raise ValueError("is needed by tokenizer.kind 'remote'")
        return endpoint


PolicyName = Literal["prefix", "least_request", "round_robin", "random"]
"""How a pod is chosen: by its prefix and load, by its load alone, in turn, or by chance."""


class RoutingConfig(SettingsGroup):
    """When load outweighs a cached prefix; AIBrix' defaults.

    Fewer than `least_prefix_tokens` tokens count as no prefix: with pages of one token, as SGLang has, nearly
    all prompts share their first. The prefix of a request is expected at its pod for `expected_s` seconds, at
    most `expected_blocks` blocks of 16 tokens in all; it attracts others while that pod has `expected_ahead`
    requests more than the idlest one at most. With `expected_s` 0 nothing is expected. A model that no pod
    lists, also not when asked again, is refused (404), or left to a pod that may load it (`forward`, where
    all have one base model). Of the last `stored_responses` responses it is remembered which pod keeps them.
    Of all requests the share `compared_share` is routed by `compared_policy` instead of `policy`. With
    `engine_load_s`, engines are asked that often (seconds) how much they have to do for others.
    """

    policy: PolicyName = "prefix"
    compared_policy: PolicyName = "least_request"
    compared_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    engine_load_s: NonNegativeFloat = 0.0
    least_prefix_tokens: NonNegativeInt = 16
    imbalance_after: NonNegativeInt = 8
    sigma: NonNegativeFloat = 1.0
    expected_s: NonNegativeFloat = 5.0
    expected_blocks: NonNegativeInt = 65_536
    expected_ahead: NonNegativeInt = 4
    unlisted_models: Literal["refuse", "forward"] = "refuse"
    stored_responses: NonNegativeInt = 10_000


class PredictionConfig(SettingsGroup):
    """When predictions of cached tokens that engines do not confirm make a source doubtful.

    Of a pod's last comparisons, at least `minimum`, more than the share `wrong_share` may not be wrong.
    `recomputes_last_block`: whether the engines compute the last block of a hit again, as with EAGLE; None:
    as is seen of each pod.
    """

    wrong_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    minimum: Annotated[int, Field(ge=1, le=50)] = 20
    recomputes_last_block: bool | None = None


class SubscriberOptions(SettingsGroup):
    """How one publisher is followed. Times are seconds.

    A peer that answers no ZMTP ping for `heartbeat_s` counts as dead, as does one that takes longer to accept
    a connection; a reader that has fallen behind does not keep a peer from answering. After
    `probe_interval_s` of silence the publisher is asked whether the last messages were lost. A replay may be
    silent for `replay_idle_timeout_s` and last `replay_total_timeout_s`. A subscriber that failed by itself
    starts again after `retry_s`. One with a backlog lets other tasks run after `turn_s` and the message that
    it is at.
    """

    heartbeat_s: PositiveFloat = 2.0
    reconnect_s: PositiveFloat = 0.1
    reconnect_max_s: PositiveFloat = 5.0
    probe_interval_s: PositiveFloat = 5.0
    replay_idle_timeout_s: PositiveFloat = 2.0
    replay_total_timeout_s: PositiveFloat = 120.0
    retry_s: PositiveFloat = 5.0
    turn_s: PositiveFloat = 0.002
    log_interval_s: NonNegativeFloat = 10.0


class HealthConfig(SettingsGroup):
    """How often each pod is probed, and how many failures in a row make it unhealthy."""

    interval_s: PositiveFloat = 1.0
    timeout_s: PositiveFloat = 1.0
    failures: PositiveInt = 2


ADMINISTRATION = frozenset(
    (
        "/abort_requests",
        "/adapters",
        "/collective_rpc",
        "/fault_tolerance/apply",
        "/finish_weight_update",
        "/init_weight_transfer_engine",
        "/load_lora_adapter",
        "/pause",
        "/release_kv_cache_memory",
        "/reset_encoder_cache",
        "/reset_mm_cache",
        "/reset_prefix_cache",
        "/resume",
        "/scale_elastic_ep",
        "/shutdown_weight_transfer_engine",
        "/sleep",
        "/start_draft_weight_update",
        "/start_profile",
        "/start_weight_update",
        "/stop_profile",
        "/unload_lora_adapter",
        "/update_weight_version",
        "/update_weights",
        "/wake_up",
        "/weight_checker",
        # SGLang
        "/abort_request",
        "/flush_cache",
        "/pause_generation",
        "/continue_generation",
        "/release_memory_occupation",
        "/resume_memory_occupation",
        "/set_internal_state",
        "/update_weights_from_disk",
        "/update_weights_from_tensor",
    )
)
"""Paths, without `/v1`, by which an engine is changed or stopped for all of its clients (vLLM 0.32)."""


class RetriesConfig(SettingsGroup):
    """How often a request that a pod failed is sent again.

    At most `engines` engines see one request, since it may be what kills them. Of the requests of the last
    `recent_s` seconds the share `share` may be sent again, and `minimum` in any case.
    """

    engines: PositiveInt = 2
    share: Annotated[float, Field(ge=0, le=1)] = 0.2
    minimum: NonNegativeInt = 10
    recent_s: PositiveFloat = 10.0


class BreakerConfig(SettingsGroup):
    """After `failures` failed requests in a row a pod is asked last for `open_s`; then one request tries.

    Each trial that fails doubles that time, up to `open_max_s`.
    """

    failures: PositiveInt = 3
    open_s: PositiveFloat = 1.0
    open_max_s: PositiveFloat = 30.0


class UpstreamConfig(SettingsGroup):
    """How long a pod may take to accept a request, to answer, and between two parts of a stream.

    An answer, or the beginning of a stream, may take `answer_s`, by default what OpenAI's clients wait, while
    the pod answers its probes: the request may be in a queue. From a pod that gives no sign of life for
    `first_byte_s` it is taken away; this must be longer than a few probes take.
    Pods are probed and asked for tokens with `api_key` where they want one; a client's own comes first.
    Requests to `more_paths` are passed on besides those that engines are known for; paths by
    which an engine is administered may be among them if `allows_administration`.
    Unless `forwards_report_mode`, requests go without `kv_cache_report_mode`, by which engines
    announce cached blocks again. With `asks_for_usage`, engines are asked for the usage of streams whose
    clients did not ask for it; it is left out of the answer again.
    """

    api_key: SecretStr | None = None
    tls: EngineTlsConfig = EngineTlsConfig()
    connect_s: PositiveFloat = 2.0
    first_byte_s: PositiveFloat = 60.0
    answer_s: PositiveFloat = 600.0
    idle_s: PositiveFloat = 60.0

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        """Take off what files end with; what is then no header's value is refused, without showing it."""
        if key is None:
            return None
        text = key.get_secret_value().strip()
        if not text or not text.isascii() or not text.isprintable():
            raise ValueError("must be printable ASCII characters")
        return SecretStr(text)

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that let the gateway itself in at a pod."""
        return {"authorization": f"Bearer {self.api_key.get_secret_value()}"} if self.api_key else {}

    forwards_report_mode: bool = False
    asks_for_usage: bool = False
    retries: RetriesConfig = RetriesConfig()
    breaker: BreakerConfig = BreakerConfig()
    allows_administration: bool = False
    more_paths: tuple[Annotated[str, Field(pattern=r"^(/[\w-][\w.-]*)+$")], ...] = ()

    @field_validator("more_paths")
    @classmethod
    def _administer_nothing(cls, paths: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        administer = [path for path in paths if path.removeprefix("/v1") in ADMINISTRATION]
        if administer and not info.data.get("allows_administration"):
            named = ", ".join(administer)
            raise ValueError(f"{named} administers an engine: it needs upstream.allows_administration")
        return paths


class ClientsConfig(SettingsGroup):
    """How the gateway treats its clients and their connections. Times are seconds.

    An idle connection is kept for `keep_alive_s`, longer than clients and load balancers keep theirs, because
    a request sent just when the gateway closes is lost: 600 s is the longest of the usual ones (Google's load
    balancer; AWS' has 60). A request of which nothing more comes for `request_idle_s` is refused (408), and
    a client that takes nothing of its answer for `unread_s` is cut off.
    After SIGTERM running answers have `drain_s` to end, by default what Kubernetes' 30 s leave after a
    preStop hook of 5 s. `max_body_bytes` of 32 MiB are four million token ids, or some twenty large images.
    `broken_stream` says how a stream that breaks off ends: with a closed connection, or
    with an event that holds an OpenAI error. Browsers on pages of `cors_origins` may use the gateway ("*" for
    all).
    """

    keep_alive_s: PositiveInt = 620
    request_idle_s: PositiveFloat = 60.0
    unread_s: PositiveFloat = 300.0
    drain_s: NonNegativeInt = 20
    max_body_bytes: PositiveInt = 32 * 1024 * 1024
    broken_stream: Literal["close", "event"] = "close"
    cors_origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = ()


class KubernetesConfig(SettingsGroup):
    """Pods come from a Kubernetes cluster. Times are seconds.

    Without `kubeconfig` the gateway asks the cluster it runs in, as its service account; without `context`
    the kubeconfig's current one counts. `namespace` is the gateway's own, or that of the context, when it is
    not given, and `"*"` means all; `namespaces` are several. Engines are the pods with the labels of
    `selector`, by default those that AIBrix has publish events; `defaults` holds for what a pod does not say
    in a label or an annotation of its own. The API server must begin to answer within `timeout_s`, and ends a
    watch after `watch_s`: a connection that is silent for the sum of both is dead. The pause after a failed
    attempt is `retry_s`, then twice as long each time, up to `retry_max_s`.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: Annotated[str, Field(pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")] | None = None
    namespaces: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")], ...] = ()
    selector: Name = "model.aibrix.ai/kv-events-enabled=true"
    defaults: PodDefaults = PodDefaults()
    timeout_s: PositiveFloat = 10.0
    watch_s: PositiveInt = 30
    retry_s: PositiveFloat = 0.5
    retry_max_s: PositiveFloat = 10.0

    @field_validator("namespaces")
    @classmethod
    def _one_way_to_name_them(cls, namespaces: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if namespaces and info.data.get("namespace") is not None:
            raise ValueError("give namespace or namespaces")
        return tuple(dict.fromkeys(namespaces))

    @field_validator("context")
    @classmethod
    def _of_a_kubeconfig(cls, context: str | None, info: ValidationInfo) -> str | None:
        if context is not None and info.data.get("kubeconfig", context) is None:
            raise ValueError("needs kubeconfig, the file that has this context")
        return context


class GatewayConfig(SettingsGroup):
    """All settings of the gateway.

    Each engine's block size is learnt from its events; with `block_size` (tokens), blocks of another one are
    refused and counted. `core` says which implementation decodes and hashes; `auto` is the compiled one where
    it was built. With more than one of `workers`, as many processes share the port, and one indexer.
    Which pods there are comes from exactly one of `pods`, `pods_file` and `kubernetes`.
    """

    host: Host = "127.0.0.1"
    port: Port = 8080
    pods: tuple[Pod, ...] = ()
    pods_file: Path | None = None
    kubernetes: KubernetesConfig | None = Field(default=None, validate_default=True)
    block_size: PositiveInt | None = None
    hash_seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    sync_enabled: bool = True
    workers: PositiveInt = 1
    core: Literal["auto", "python", "native"] = "auto"
    tokenizer: TokenizerConfig = TokenizerConfig()
    routing: RoutingConfig = RoutingConfig()
    predictions: PredictionConfig = PredictionConfig()
    subscriber: SubscriberOptions = SubscriberOptions()
    health: HealthConfig = HealthConfig()
    upstream: UpstreamConfig = UpstreamConfig()
    clients: ClientsConfig = ClientsConfig()
    access: AccessConfig = AccessConfig()
    indexer: operation.IndexerConfig = operation.IndexerConfig()
    snapshots: operation.SnapshotsConfig = operation.SnapshotsConfig()
    readiness: operation.ReadinessConfig = operation.ReadinessConfig()
    logging: operation.LoggingConfig = operation.LoggingConfig()
    metrics: operation.MetricsConfig = operation.MetricsConfig()
    tracing: operation.TracingConfig = operation.TracingConfig()
    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are valid but do not have the effect that one would expect."""
        return self._warnings

    @field_validator("kubernetes")
    @classmethod
    def _one_list_of_pods(
        cls, kubernetes: KubernetesConfig | None, info: ValidationInfo
    ) -> KubernetesConfig | None:
        lists = (info.data.get("pods"), info.data.get("pods_file"), kubernetes)
        if info.data.keys() >= {"pods", "pods_file"} and sum(map(bool, lists)) != 1:
            raise ValueError("give exactly one of pods, pods_file and kubernetes")
        return kubernetes


class _Setting(NamedTuple):
    where: Location
    value: object
    origin: str


def from_env(file: Path | None = None) -> GatewayConfig:
    """The settings of this process; `KVSYNC_CONFIG` names the file when the caller does not."""
    named = os.environ.get("KVSYNC_CONFIG")
    return load_gateway_config(file or (Path(named) if named else None), os.environ)


def core_from_env() -> str:
    """Which implementation of the core this process is told to use (see kvsync.core)."""
    return os.environ.get("KVSYNC_CORE") or "auto"


def load_gateway_config(file: Path | None, environ: Mapping[str, str]) -> GatewayConfig:
    """Settings of a YAML, JSON or TOML file and the environment.

    Raises ConfigError with every problem: the path of the field, what is wrong, and the file or variable.
    """
    wrong: list[str] = []
    switched, warnings = _from_aibrix(environ, wrong)
    settings = [*_from_file(file), *switched, *_from_variables(environ, wrong)]
    try:
        config = GatewayConfig.model_validate(_merged(settings), context=set())
    except ValidationError as error:
        origins = {setting.where: setting.origin for setting in settings}
        wrong += [f"{path(where)}: {what} ({_origin(where, origins)})" for where, what in problems(error)]
    if wrong:
        raise ConfigError("configuration of the gateway", wrong)
    config._warnings = () if config.sync_enabled else warnings
    return config


def _from_file(file: Path | None) -> list[_Setting]:
    if file is None:
        return []
    try:
        document = parse_document(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("configuration of the gateway", [f"cannot read {file}: {error}"]) from error
    return [_Setting((), {} if document is None else document, str(file))]


def _from_variables(environ: Mapping[str, str], wrong: list[str]) -> list[_Setting]:
    settings = []
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or _OTHERS.fullmatch(name) or not text or text.startswith(_LINKS):
            continue
        where = tuple(name.removeprefix(PREFIX).lower().split("__"))
        try:
            settings.append(_Setting(where, parse_document(text, name) if text[0] in "[{" else text, name))
        except ConfigError as error:
            wrong += [f"{path(where)}: {problem} ({name})" for problem in error.problems]
    return settings


def _from_aibrix(environ: Mapping[str, str], wrong: list[str]) -> tuple[list[_Setting], tuple[str, ...]]:
    """What AIBrix' variables mean here; without any of its switches, nothing."""
    sync_name, sync = _switch(environ, _SYNC, wrong)
    remote_name, remote = _switch(environ, _REMOTE, wrong)
    if not sync_name and not remote_name:
        return [], ()
    settings = []
    absent = [] if remote else [f"{remote_name or _REMOTE[0]}=true"]
    if remote_name != _REMOTE[1]:
        absent += [] if environ.get(_TYPE) == "remote" else [f"{_TYPE}=remote"]
        absent += [] if environ.get(_ENDPOINT) else [_ENDPOINT]
    if remote and environ.get(_ENDPOINT):
        settings += [
            _Setting(("tokenizer", "kind"), "remote", remote_name),
            _Setting(("tokenizer", "endpoint"), environ[_ENDPOINT], _ENDPOINT),
        ]
    settings.append(_Setting(("sync_enabled",), sync and not absent, sync_name or remote_name))
    refused = f"{sync_name} is on but events are not followed: it needs {', '.join(absent)}"
    return settings, (refused,) if sync and absent else ()


def _switch(environ: Mapping[str, str], names: Iterable[str], wrong: list[str]) -> tuple[str, bool]:
    """The first of the names that is set, and its value; `("", False)` when none is."""
    name = next((name for name in names if environ.get(name)), "")
    try:
        return name, bool(name) and TypeAdapter(bool).validate_python(environ[name])
    except ValidationError as error:
        wrong += [f"{name}: {what}" for _, what in problems(error)]
        return name, False


def _merged(settings: Iterable[_Setting]) -> object:
    """One document; of two settings for one field, the later."""
    root: dict[str | int, object] = {}
    for where, value, _ in settings:
        for part in reversed(where):
            value = {part: value}
        if not isinstance(value, dict):
            return value
        root = _over(root, value)
    return root


def _over(below: dict[str | int, object], above: dict[str | int, object]) -> dict[str | int, object]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _origin(where: Location, origins: Mapping[Location, str]) -> str:
    """Who set the field, or the nearest mapping or list around it."""
    around = (where[:length] for length in range(len(where), -1, -1))
    return next((origins[place] for place in around if place in origins), "not set")

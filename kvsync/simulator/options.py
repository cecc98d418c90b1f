"""The options of a simulator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kvsync.errors import ConfigError
from kvsync.publisher import LIVE_QUEUE, REPLAY_QUEUE
from kvsync.simulator.latency import LatencyModel
from kvsync.simulator.openai import ServedModels

_AT_LEAST_ONE = (
    "block_size",
    "capacity",
    "max_model_len",
    "max_num_seqs",
    "max_batched_tokens",
    "buffer_steps",
    "hwm",
)
_NOT_NEGATIVE = (
    "sliding_window",
    "dp_rank",
    "replay_hwm",
    "ttft_base_ms",
    "prefill_ms_per_token",
    "inter_token_ms",
    "time_scale",
)
_PORTS = ("port", "event_port", "replay_port", "admin_port")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """One simulated pod. Raises ConfigError with every problem.

    `capacity` is in blocks and `block_size` in tokens per block. The event and replay ports are those of
    rank 0, to which `dp_rank` is added, as vLLM does; replay port 0 means no replay. `hwm` and `replay_hwm`
    are queues in messages, vLLM's by default, beyond which messages are dropped. The default latencies
    keep tests short while a cached prefix still shows: 50 000 tokens take 100 ms to compute, where an 8B
    model on an H100 takes about ten times as long. `history` gets one JSON line per published batch. With
    `exit_with_stdin` the simulator ends when its standard input closes, so that it never outlives the
    process that started it.
    """

    name: str
    model: str
    host: str = "127.0.0.1"
    port: int = 8000
    event_port: int = 5557
    replay_port: int = 5558
    admin_port: int = 9000
    block_size: int = 16
    capacity: int = 1024
    seed: int = 0
    loras: tuple[str, ...] = ()
    max_model_len: int = 131_072
    max_num_seqs: int = 256
    max_batched_tokens: int = 8192
    speculative: Literal["none", "eagle"] = "none"
    sliding_window: int = 0
    details: Literal["always", "if-any", "never"] = "always"
    rendering: Literal["offered", "forbidden", "absent"] = "offered"
    api_key: str = ""
    ttft_base_ms: float = 2.0
    prefill_ms_per_token: float = 0.002
    inter_token_ms: float = 1.0
    time_scale: float = 1.0
    events_as: Literal["map", "array"] = "map"
    batch_as: Literal["array", "map"] = "array"
    hash_width: Literal[8, 32] = 8
    replay_layout: Literal["new", "old"] = "new"
    loras_as: Literal["name", "id"] = "name"
    extra_keys: Literal["sent", "left-out"] = "sent"
    topic: str = ""
    buffer_steps: int = 10_000
    hwm: int = LIVE_QUEUE
    replay_hwm: int = REPLAY_QUEUE
    dp_rank: int = 0
    history: Path | None = None
    exit_with_stdin: bool = False

    def __post_init__(self) -> None:
        problems = [f"{name}: must not be empty" for name in ("name", "model") if not getattr(self, name)]
        for names, least in ((_AT_LEAST_ONE, 1), (_NOT_NEGATIVE, 0)):
            values = {name: getattr(self, name) for name in names}
            problems += [
                f"{name}: {value} is less than {least}" for name, value in values.items() if value < least
            ]
        for name in _PORTS:
            if not 0 <= getattr(self, name) <= 65_535:
                problems.append(f"{name}: {getattr(self, name)} is not a port number")
        if self.model in self.loras or len(set(self.loras)) < len(self.loras):
            given = ", ".join(self.loras)
            problems.append(f"loras: names must differ from each other and from the model, got {given}")
        if problems:
            raise ConfigError(f"simulator {self.name}", problems)

    @property
    def card(self) -> ServedModels:
        """The models it serves; like vLLM, it takes no request that could not fit into its cache."""
        longest = min(self.max_model_len, self.capacity * self.block_size)
        return ServedModels(model=self.model, loras=self.loras, max_model_len=longest)

    @property
    def latency(self) -> LatencyModel:
        """Its latency model."""
        return LatencyModel(
            ttft_base_ms=self.ttft_base_ms,
            prefill_ms_per_token=self.prefill_ms_per_token,
            inter_token_ms=self.inter_token_ms,
            scale=self.time_scale,
        )

    def endpoint(self, port: int) -> str:
        """The ZeroMQ endpoint of one of the ports of rank 0, moved to this rank."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{port + self.dp_rank}"

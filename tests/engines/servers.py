"""Real vLLM servers as processes of the run, the truth about their caches, and adapters for them."""

import json
import os
import random
import signal
import sys
from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kvsync.pods import Pod
from kvsync.testing import ClusterError, Ledger, NotRun, WaitTimeout, wait_for
from kvsync.testing.clusters.endpoints import answers
from kvsync.testing.clusters.local.addresses import Address
from kvsync.testing.processes.program import Program, ProgramEnded

MODEL = "tiny"
"""The name under which the model is served."""

BLOCK_SIZE = 32
"""In tokens; attention on a CPU takes multiples of it only."""

BLOCKS = 400
"""Of one server: enough for sixteen prompts at once, and so few that the requests of these tests evict."""

READY_S = 300.0
"""A start takes half a minute to two on an idle machine."""

RANK = 8
"""Of adapters."""

ON_A_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
}
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A vllm command, the folder of a model, and the folder of a plugin that tells an engine's table.

    The plugin is found by PYTHONPATH. An engine core with it makes `$KVDUMP_DIR/<its pid>.core`, which holds
    its parent's pid, and on SIGUSR2 writes `<its pid>.json`: {"blocks": {group: {hash in hex: copies}},
    "seq": [the next sequence number]}.
    """

    command: Path
    model: Path
    plugin: Path | None

    @property
    def renders(self) -> bool:
        """Whether it is a vLLM that can tell the tokens of a request (0.32)."""
        return any(self.command.parents[1].glob("lib/python*/site-packages/vllm/entrypoints/scale_out"))

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Installed":
        """Read what the variables of the stage name. Raises NotRun without a command or a model."""
        command, model = environ.get("KVSYNC_CI_VLLM"), environ.get("KVSYNC_CI_VLLM_MODEL")
        if not command:
            raise NotRun("no engine is installed: KVSYNC_CI_VLLM names none (the path of a vllm command)")
        if not model:
            raise NotRun("the engine has no model: KVSYNC_CI_VLLM_MODEL names none (a folder)")
        plugin = environ.get("KVSYNC_CI_VLLM_PLUGIN")
        found = cls(command=Path(command), model=Path(model), plugin=Path(plugin) if plugin else None)
        for path in filter(None, (found.command, found.model / "config.json", found.plugin)):
            if not path.exists():
                raise NotRun(f"there is no {path}")
        return found


class Server:
    """One vLLM server; its engine core is another process of its group."""

    def __init__(
        self,
        name: str,
        installed: Installed,
        at: Address,
        *,
        folder: Path,
        logs: Path,
        ledger: Ledger,
        loras: Path,
    ) -> None:
        self.name = name
        self._installed, self._at, self._ledger = installed, at, ledger
        self._folder, self._logs, self._loras = folder, logs, loras
        self._program: Program | None = None
        self._starts = 0

    @property
    def pod(self) -> Pod:
        """The server as discovery lists it."""
        at = self._at
        return Pod(
            name=self.name,
            model=MODEL,
            host=at.host,
            port=at.port,
            event_port=at.event_port,
            replay_port=at.replay_port,
        )

    def start(self) -> None:
        """Start it, without waiting for it."""
        self._starts += 1
        self._dumps.mkdir(parents=True)
        variables = {
            **ON_A_CPU,
            **QUIET,
            "HOME": str(self._folder),
            "KVDUMP_DIR": str(self._dumps),
            "PYTHONPATH": str(self._installed.plugin or ""),
        }
        environment = ["env", *(f"{name}={value}" for name, value in variables.items())]
        log = self._logs / f"vllm-{self.name}-{self._starts}.log"
        self._program = Program(self.name, [*environment, *self._command], log=log, ledger=self._ledger)

    def await_ready(self) -> None:
        """Wait until it answers. Raises ClusterError with the end of its log."""
        program = self._running
        try:
            wait_for(
                lambda: answers(f"{self.pod.url}/health") or not program.is_running,
                what=f"{self.name} answers",
                timeout_s=READY_S,
                interval_s=1.0,
            )
            program.check()
        except (WaitTimeout, ProgramEnded) as exc:
            raise ClusterError(f"{exc}; its log ends with:\n{program.tail()}") from exc

    def kill(self) -> None:
        """Kill it with its engine core, as SIGKILL of a container does."""
        program = self._running
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.kill()

    def table(self) -> tuple[int, set[str]]:
        """Return the last sequence number that it published (-1: none), and the hashes it holds, in hex.

        Raises NotRun without the plugin.
        """
        if self._installed.plugin is None:
            raise NotRun("KVSYNC_CI_VLLM_PLUGIN names no folder of a plugin that tells the engine's table")
        cores = {path: path.read_text() for path in self._dumps.glob("*.core")}
        (core,) = [int(path.stem) for path, parent in cores.items() if parent == str(self._running.pid)]
        dump = self._dumps / f"{core}.json"
        dump.unlink(missing_ok=True)
        os.kill(core, signal.SIGUSR2)
        wait_for(dump.exists, what=f"the table of {self.name}", timeout_s=30)
        document = json.loads(dump.read_bytes())
        return document["seq"][0] - 1, {each for group in document["blocks"].values() for each in group}

    @property
    def _running(self) -> Program:
        if self._program is None:
            raise ClusterError(f"{self.name} was never started")
        return self._program

    @property
    def _dumps(self) -> Path:
        return self._folder / f"{self.name}-{self._starts}"

    @property
    def _command(self) -> list[str]:
        at, model = self._at, self._installed.model
        events = {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": f"tcp://*:{at.event_port}",
            "replay_endpoint": f"tcp://*:{at.replay_port}",
        }
        weights = [] if list(model.glob("*.safetensors")) else ["--load-format", "dummy"]
        adapters = [f"{path.name}={path}" for path in sorted(self._loras.iterdir())]
        return [
            *(str(self._installed.command), "serve", str(model), "--served-model-name", MODEL),
            *("--host", at.host, "--port", str(at.port), "--dtype", "bfloat16", "--max-model-len", "2048"),
            *("--enforce-eager", "--max-num-seqs", "16", "--block-size", str(BLOCK_SIZE)),
            *("--num-gpu-blocks-override", str(BLOCKS), "--enable-prompt-tokens-details"),
            *("--enable-lora", "--max-lora-rank", str(RANK), "--max-loras", str(len(adapters))),
            *(["--enable-scale-out"] if self._installed.renders else []),
            *("--lora-modules", *adapters, "--kv-events-config", json.dumps(events), *weights),
        ]


def gateway(config: Path, log: Path, ledger: Ledger) -> Program:
    """Start a gateway with the settings in a file."""
    argv = [sys.executable, "-m", "kvsync", "gateway", "--config", str(config), "--exit-with-stdin"]
    return Program("gateway", argv, log=log, ledger=ledger)


def make_adapter(folder: Path, model: Path, seed: int) -> None:
    """Write a random LoRA adapter for a Llama-like model, as peft does."""
    config = json.loads((model / "config.json").read_bytes())
    hidden, size = config["hidden_size"], config["head_dim"]
    outputs = {"q": config["num_attention_heads"] * size, "v": config["num_key_value_heads"] * size}
    shapes = {}
    for layer in range(config["num_hidden_layers"]):
        for letter, width in outputs.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{letter}_proj"
            shapes[f"{name}.lora_A.weight"] = (RANK, hidden)
            shapes[f"{name}.lora_B.weight"] = (width, RANK)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(_safetensors(shapes, random.Random(seed)))
    described = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16, "bias": "none"}
    described |= {"target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": MODEL}
    (folder / "adapter_config.json").write_text(json.dumps(described))


def _safetensors(shapes: Mapping[str, tuple[int, int]], rng: random.Random) -> bytes:
    """Write random tensors in the format of safetensors: length of the header, header in JSON, numbers."""
    header, numbers = {}, array("f")
    for name, (rows, columns) in shapes.items():
        begin = 4 * len(numbers)
        numbers.extend(rng.gauss(0, 0.05) for _ in range(rows * columns))
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [begin, 4 * len(numbers)]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers.tobytes()

"""The command `kvsync`. Each command imports what it needs when it runs, so that all start fast."""

import asyncio
import inspect
import logging
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

import kvsync
from kvsync import core
from kvsync.config import GatewayConfig, core_from_env, from_env
from kvsync.errors import ConfigError, KVSyncError
from kvsync.settings.operation import TEXT_LINE
from kvsync.simulator.options import SimulatorOptions
from kvsync.stdin import first_line

EXIT_REFUSED = 2
"""Exit status when what was asked for cannot be done, as for a wrong option."""


class _Commands(typer.Typer):
    """Reports our own errors as messages: they say what is wrong and how to fix it, a traceback does not."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            return super().__call__(*args, **kwargs)
        except (KVSyncError, BaseExceptionGroup) as exc:
            if not (refusal := refusal_of(exc)):
                raise
            print(f"kvsync: {refusal}", file=sys.stderr)
            raise SystemExit(EXIT_REFUSED) from exc


def refusal_of(error: BaseException) -> KVSyncError | None:
    """Return the first of our own errors, if a group of what failed together has no others."""
    if not isinstance(error, BaseExceptionGroup):
        return error if isinstance(error, KVSyncError) else None
    found = [refusal_of(each) for each in error.exceptions]
    return found[0] if all(found) else None


app = _Commands(
    help="Route LLM requests to the pod that already holds their prefix in its KV cache.",
    epilog="Try it on one machine: `kvsync simulate --name a --model m` in one terminal, then"
    " `kvsync gateway --config gateway.yaml` in another, with gateway.yaml holding"
    " `pods: [{name: a, model: m, host: 127.0.0.1}]`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


EXIT_WITH_STDIN = "Stop when standard input closes, so as never to outlive the process that started this one."

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option(help="Log this and worse on standard error.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        core.choose(core_from_env())
        print(f"kvsync {kvsync.__version__} (core: {core.chosen()})")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def gateway(
    config: Annotated[
        str | None,
        typer.Option(
            help="Settings as YAML, JSON or TOML; without it those of the file that KVSYNC_CONFIG names."
            " KVSYNC_* variables override the file: KVSYNC_PORT=8081, KVSYNC_ROUTING__SIGMA=2.",
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Listen here instead of where the settings say.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Listen on this port; 0: a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Serve with so many processes, which share one indexer.")
    ] = None,
    log_level: LogLevel = "info",
    exit_with_stdin: Annotated[bool, typer.Option("--exit-with-stdin", help=EXIT_WITH_STDIN)] = False,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> None:
    """Run the gateway: follow the pods' KV-cache events and pass each request to the best pod.

    Clients use it like one vLLM server: `POST /v1/completions`, `POST /v1/chat/completions`,
    `GET /v1/models`. Answers say how they were routed in their x-kvsync-* headers.

    Operators ask `/healthz`, `/readyz`, `/metrics` (Prometheus) and `/status`
    (every source's state); `POST /index/query` says which pod holds how much of a prompt,
    `GET /index/dump` everything that is known.
    """
    from kvsync.gateway import server
    from kvsync.gateway import workers as several
    from kvsync.gateway.operation.logs import configure
    from kvsync.gateway.siblings import ALONE, Worker
    from kvsync.indexer.program import event_loop

    _log_to_stderr(log_level)
    given = {"host": host, "port": port, "workers": workers}
    settings = _settings(config).model_copy(update={k: v for k, v in given.items() if v is not None})
    configure(settings.logging)
    this = Worker.read(first_line()) if worker else ALONE
    with asyncio.Runner(loop_factory=event_loop) as runner:
        if settings.workers > 1:
            runner.run(several.serve(settings, exit_with_stdin=exit_with_stdin))
        else:
            runner.run(server.serve(settings, exit_with_stdin=exit_with_stdin, worker=this))


def _settings(config: str | None) -> GatewayConfig:
    """Read the settings of a file or, with `-`, as another process wrote them."""
    from kvsync.indexer.program import read_config

    return read_config(first_line()) if config == "-" else from_env(Path(config) if config else None)


@app.command()
def indexer(
    config: Annotated[
        str | None,
        typer.Option(
            help="Settings as of `kvsync gateway`, which may be the same file; `-` reads them from the first"
            " line of standard input, as a gateway writes them."
        ),
    ] = None,
    socket: Annotated[
        str | None,
        typer.Option(help="Answer at this path, or at this name (@NAME), instead of where the settings say."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Answer over HTTP on this port, too; 0: a free one.")
    ] = None,
    log_level: LogLevel = "info",
    exit_with_stdin: Annotated[bool, typer.Option("--exit-with-stdin", help=EXIT_WITH_STDIN)] = False,
) -> None:
    """Follow the pods' KV-cache events and answer gateways which pod holds how much of a prompt.

    A gateway starts one by itself with `indexer.mode: process`. Several gateways of one machine share one
    with `indexer.mode: shared` and the same `indexer.socket`. Over HTTP it is asked with `POST /query`, and
    told of publishers with `POST /register`, as Mooncake's and Dynamo's indexers are.
    """
    from kvsync.gateway.operation.logs import configure
    from kvsync.indexer.program import event_loop, serve

    _log_to_stderr(log_level)
    given, options = _settings(config), {"socket": socket, "port": port}
    at = {name: value for name, value in options.items() if value is not None}
    settings = given.model_copy(update={"indexer": given.indexer.model_copy(update=at)})
    configure(settings.logging)
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(serve(settings, exit_with_stdin=exit_with_stdin))


SIMULATOR_HELP = {
    "General": {
        "name": "Name of the pod, written into histories.",
        "model": "Name of the model it serves.",
        "loras": "Name of an adapter that it also serves; may be repeated.",
        "seed": "Decides block hashes, generated tokens and faults.",
        "exit_with_stdin": EXIT_WITH_STDIN,
    },
    "Addresses": {
        "host": "Address to listen on.",
        "port": "Port of the OpenAI API.",
        "event_port": "Port of the live KV-cache events of rank 0.",
        "replay_port": "Port of the replays of rank 0; 0: none, which is vLLM's default.",
        "admin_port": "Port of GET /blocks, PUT /faults, POST /restart, POST /clear.",
        "dp_rank": "Data-parallel rank; it is added to both event ports.",
    },
    "Cache and scheduler": {
        "block_size": "Tokens in a block.",
        "capacity": "Blocks in the cache.",
        "max_model_len": "Longest prompt with its answer, in tokens.",
        "max_num_seqs": "Requests that run at once; others wait.",
        "max_batched_tokens": "Tokens computed in one step.",
        "speculative": "With eagle, the last block of each hit is computed again.",
        "sliding_window": "Tokens that some layers look back, as in Gemma; 0: all look at everything.",
    },
    "Answers": {
        "rendering": "Offer, forbid or lack /v1/completions/render and its like, as releases of vLLM do.",
        "details": "Tell the cached tokens always, if there are any (vLLM before 0.24), or never.",
        "api_key": "Refuse requests below /v1 that do not have this key.",
    },
    "Speed": {
        "ttft_base_ms": "Time of a step that computes prompt tokens.",
        "prefill_ms_per_token": "Time added for each prompt token that is not in the cache.",
        "inter_token_ms": "Time of a step that only generates.",
        "time_scale": "Multiplies all times; 0 waits for nothing.",
    },
    "Events": {
        "events_as": "Encoding of events: map since vLLM 0.24, array before.",
        "batch_as": "Encoding of the batches around them.",
        "loras_as": "Adapters by their name, or by their number alone, as vLLM did before 0.14.",
        "extra_keys": "What else entered a hash, such as a salt: left out by vLLM before 0.17.",
        "hash_width": "Block hashes as integers of 8 bytes or digests of 32.",
        "replay_layout": "Framing of replays: new since vLLM 0.26, old before.",
        "topic": "First frame of live messages.",
        "buffer_steps": "Batches kept for replays.",
        "hwm": "Live messages kept for a subscriber that is slow; more are dropped.",
        "replay_hwm": "Messages of replays kept for a peer that is slow, as by vLLM; 0: no bound.",
        "history": "Append a JSON line for each published batch to this file.",
    },
}
"""What the options of a simulator mean, by the heading they are shown under."""


def _simulator_flags() -> inspect.Signature:
    """Make each field of SimulatorOptions a flag of its name, with its type and default."""
    hints = get_type_hints(SimulatorOptions) | {"loras": list[str]}
    flags = {"loras": ["--lora"], "exit_with_stdin": ["--exit-with-stdin"]}
    options = {
        name: typer.Option(*flags.get(name, ()), help=text, rich_help_panel=panel)
        for panel, texts in SIMULATOR_HELP.items()
        for name, text in texts.items()
    }
    return inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=Annotated[hints[field.name], options[field.name]],
            )
            for field in fields(SimulatorOptions)
        ]
    )


def simulate(**options: Any) -> None:
    """Run a stand-in for a vLLM server: no model, no GPU, but a true prefix cache and its events.

    It speaks vLLM's HTTP API (completions, chat, tokenize, models, metrics) and publishes KV-cache events
    over ZeroMQ as vLLM does, byte for byte. Its admin port shows the real block table and switches faults.
    """
    from kvsync.simulator.run import main

    main(SimulatorOptions(**options | {"loras": tuple(options["loras"])}))


simulate.__signature__ = _simulator_flags()  # type: ignore[attr-defined]  # inspect reads it, mypy does not know
app.command()(simulate)


@app.command()
def explain(
    request: Annotated[
        Path, typer.Argument(help="A file with the body of a completion or chat; `-` reads standard input.")
    ],
    gateway: Annotated[
        str, typer.Option(help="The gateway to ask; if it has a port of operators, at that one.")
    ] = "http://127.0.0.1:8080",
    key: Annotated[
        str | None,
        typer.Option(envvar="KVSYNC_KEY", help="A client's key, where the gateway wants one."),
    ] = None,
) -> None:
    """Say where a request would go now, and why: tokens, blocks, what each pod holds, loads, and the rule.

    The request is sent to no pod. Its tokens and the hashes of its blocks are in the answer of
    `POST /index/explain`.
    """
    from kvsync.gateway.operation.explaining import ask

    try:
        body = sys.stdin.buffer.read() if str(request) == "-" else request.read_bytes()
    except OSError as error:
        raise ConfigError("kvsync explain", [f"{request} cannot be read: {error.strerror}"]) from error
    print(ask(gateway, body, key))


@app.command()
def tail(
    endpoint: Annotated[str, typer.Argument(help="Where an engine publishes, e.g. tcp://127.0.0.1:5557.")],
    replay: Annotated[
        str | None, typer.Option(help="Its replay endpoint: print what it still remembers first.")
    ] = None,
) -> None:
    """Print an engine's KV-cache events as JSON lines until interrupted: what does it really send?

    A line of type Message for each message (its number, how it came, its frames), then one for each of its
    events with all fields, known or not. Hashes are hexadecimal digits. Lines of type Forget say that history
    was lost before that point. Each change of the connection is on standard error, with its cause.
    """
    from kvsync.tail import follow

    _log_to_stderr("info")
    asyncio.run(follow(endpoint, replay, sys.stdout))


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level.upper(), format=TEXT_LINE, stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # It logs each step of its start.

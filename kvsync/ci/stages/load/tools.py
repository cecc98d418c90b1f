"""What k6 and Locust say of the requests that their scripts sent. Pure.

- k6, `--out json=FILE`: a line for each sample (https://grafana.com/docs/k6/latest/results-output/real-time/json/).
- Locust, `--json-file NAME`: for each name of a request how often each latency was measured, in milliseconds.

Both count latencies from when a request left. What they held back meanwhile is in no latency, which is said.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from kvsync.errors import ConfigError
from kvsync.testing.load.http.judgement import Offered, PhaseEnd
from kvsync.testing.load.http.tally import Tally
from kvsync.testing.load.plan import Phase

SCRIPT = "script"
"""What the only phase of a script is called."""

REMARK = "latencies are those of {}: from when a request left, not from when it was due"

LONGEST_S = 3600.0
"""A latency that is longer, or negative, is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptLoad:
    """What a script sent: by "METHOD name", within `seconds`; `dropped` were due and never sent."""

    tallies: Mapping[str, Tally]
    seconds: float
    dropped: int = 0

    def offered(self, why: str = "") -> Offered:
        """Return it as a load of one phase; `why` says what ended it early."""
        count = sum(each.count for each in self.tallies.values())
        return Offered(
            phases=[Phase(name=SCRIPT, seconds=max(self.seconds, 1e-3), rate_per_s=0.0)],
            tallies={(0, name): each for name, each in self.tallies.items()},
            ends={0: PhaseEnd(intended=count + self.dropped)},
            why=why,
            counted_from="sent",
        )


@dataclass(slots=True)
class _K6:
    tallies: dict[str, Tally] = field(default_factory=dict)
    first: float = math.inf
    last: float = -math.inf
    dropped: int = 0

    def add(self, sample: Mapping[str, object]) -> None:
        """Count one line. Raises KeyError, TypeError or ValueError for one of another form."""
        if sample["type"] != "Point":
            return
        data = sample["data"]
        if not isinstance(data, dict):
            raise TypeError
        if sample["metric"] == "dropped_iterations":
            self.dropped += int(data["value"])
        if sample["metric"] != "http_req_duration":
            return
        tags, at = data["tags"], datetime.fromisoformat(_to_microseconds(data["time"])).timestamp()
        latency_s = _latency_s(data["value"])
        self.first, self.last = min(self.first, at - latency_s), max(self.last, at)
        is_served = tags.get("expected_response", "true") == "true"
        record = {
            "type": "ok" if is_served else "fail",
            "late_s": 0.0,
            "latency_s": latency_s,
            "status": tags.get("status", ""),
            "error": tags.get("error", ""),
        }
        self.tallies.setdefault(f"{tags['method']} {_name(tags['name'])}", Tally()).add(record)


def k6_load(lines: Iterable[str]) -> ScriptLoad:
    """Read the samples of k6; a last line that is torn is left out.

    Raises ConfigError for a file of another form.
    """
    found, torn = _K6(), False
    for number, line in enumerate(lines, start=1):
        if torn:
            raise ConfigError(
                "the samples of k6", [f"line {number - 1} is not a sample; --out json=FILE writes them"]
            )
        try:
            found.add(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            torn = True
    if torn and not found.tallies:
        raise ConfigError("the samples of k6", ["it has no sample; --out json=FILE writes them"])
    seconds = found.last - found.first if found.tallies else 0.0
    return ScriptLoad(tallies=found.tallies, seconds=seconds, dropped=found.dropped)


def locust_load(text: str) -> ScriptLoad:
    """Read the statistics of Locust. Raises ConfigError for a text of another form.

    They do not say which latencies were those of failures, so as many of the shortest are left out.
    """
    tallies, begin, end = {}, math.inf, -math.inf
    try:
        for each in json.loads(text):
            if not each["num_requests"]:
                continue
            failed, tally = int(each["num_failures"]), Tally()
            tally.failed = tally.failed_in_time = failed
            for milliseconds, count in sorted(
                (float(key), int(n)) for key, n in each["response_times"].items()
            ):
                left_out = min(count, failed)
                failed -= left_out
                for _ in range(count - left_out):
                    tally.served.add(_latency_s(milliseconds))
            if tally.failed:
                tally.errors["see the log"] = tally.failed
            tallies[f"{each['method']} {_name(each['name'])}"] = tally
            begin, end = (
                min(begin, float(each["start_time"])),
                max(end, float(each["last_request_timestamp"])),
            )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError("the statistics of Locust", [f"{type(exc).__name__}: {exc}"]) from exc
    return ScriptLoad(tallies=tallies, seconds=end - begin if tallies else 0.0)


def _latency_s(milliseconds: object) -> float:
    latency_s = float(str(milliseconds)) / 1e3
    if not 0 <= latency_s <= LONGEST_S:
        raise ValueError(f"{milliseconds} is not a latency in milliseconds")
    return latency_s


def _name(name: str) -> str:
    """Return what thresholds call a request: of an address, its path."""
    parts = urlsplit(name)
    return (parts.path or "/") if parts.scheme in ("http", "https") else name


def _to_microseconds(moment: str) -> str:
    """Return a moment with no more digits than Python reads: k6 writes nanoseconds."""
    whole, dot, rest = moment.partition(".")
    digits = "".join(each for each in rest if each.isdigit() or each in "+-:Z")
    zone = next((at for at, each in enumerate(digits) if each in "+-Z"), len(digits))
    return f"{whole}{dot}{digits[: min(zone, 6)].ljust(6, '0')}{digits[zone:]}" if dot else moment


def command_of(
    tool: str, program: str, script: str, target: str, results: str, options: Sequence[str]
) -> list[str]:
    """Return the command line that runs a script and writes `results`; of Locust without the ending .json."""
    if tool == "k6":
        given = ["-e", f"TARGET={target}"] if target else []
        return [
            program,
            "run",
            "--quiet",
            "--no-usage-report",
            *given,
            "--out",
            f"json={results}",
            *options,
            script,
        ]
    host = ["--host", target] if target else []
    head = [
        program,
        "-f",
        script,
        "--headless",
        "--only-summary",
        "--json-file",
        results.removesuffix(".json"),
    ]
    return [*head, *host, *options]

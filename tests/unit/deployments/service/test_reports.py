"""What of a report folder is read, by whom, and what a browser may do with it."""

import os
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from deployments.service.reports import FILE_POLICY, PAGE_POLICY, Reports, readable

RUN = "20261120-120000-ab12"
PASSWORD = "kvsync:s3cret"  # noqa: S105  # of this test


def client(root: Path, password: str = "", *names: str) -> httpx.AsyncClient:
    """Return a client of a server for a folder, on this machine."""
    app = httpx.ASGITransport(Reports(root, password, names).app())
    return httpx.AsyncClient(transport=app, base_url="http://127.0.0.1:4281")


def put(root: Path, path: str, text: str = "here") -> Path:
    """Write a file, and its folders."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    "path",
    [
        "all_runs/index.html",
        "all_runs/runs-0012.html",
        *(f"{RUN}/{name}" for name in ("report.html", "report.json", "report-2.json", "revision.json")),
        f"{RUN}/benchmark.json",
        f"{RUN}/junit/prow/unit.xml",
        f"{RUN}/logs/unit.log",
        f"{RUN}/evidence/test_x/pod 1?.txt",
        f"{RUN}/history/unit-tests.jsonl",
    ],
)
def test_what_a_report_consists_of_is_read(path: str) -> None:
    """Its page and data, the files that it links to, and the pages of all runs."""
    assert readable(path) == Path(path)


@pytest.mark.parametrize(
    "path",
    [
        "archive.db",
        "webhook.db",
        ".prefect/password",
        ".prefect/logs/server.log",
        "all_runs/other.html",
        "all_runs/logs/x",
        *(
            f"{RUN}/{name}"
            for name in (
                "ledger.jsonl",
                "parameters.json",
                "machine.json",
                "quarantine.toml",
                "results/unit.json",
                "workspace/setup.py",
                "kubeconfig",
                "evidence",
                "evidence/",
                "evidence/kubeconfig",
                "evidence/.git/config",
                "evidence/x.partial",
                "evidence/../ledger.jsonl",
                "evidence/..",
                "evidence//x",
                "evidence/x\0",
                "../archive.db",
                "logs/../../archive.db",
            )
        ),
        f"/{RUN}/report.html",
        f"./{RUN}/report.html",
        "../reports/all_runs/index.html",
        "",
    ],
)
def test_nothing_else_is(path: str) -> None:
    """Secrets, the records of the machine, and every way around the list."""
    assert readable(path) is None


async def test_links_and_odd_files_are_not_there(tmp_path: Path) -> None:
    """Whatever tested code left: links to files and folders, files of two names, pipes."""
    secret, root = put(tmp_path, "secret", "s3cret"), tmp_path / "reports"
    logs = put(root, f"{RUN}/logs/unit.log").parent
    (logs / "link").symlink_to(secret)
    (logs / "folder").symlink_to(tmp_path)
    (root / RUN / "evidence").symlink_to(tmp_path)
    (root / "run-2").symlink_to(root / RUN)
    os.link(secret, logs / "second")
    os.mkfifo(logs / "pipe")
    asked = client(root)

    assert (await asked.get(f"/{RUN}/logs/unit.log")).text == "here"
    for path in ("logs/link", "logs/folder/secret", "evidence/secret", "logs/second", "logs/pipe", "logs"):
        assert (await asked.get(f"/{RUN}/{path}")).status_code == 404
    assert (await asked.get("/run-2/logs/unit.log")).status_code == 404


@pytest.mark.parametrize(
    ("path", "kind", "policy"),
    [
        ("report.html", "text/html; charset=utf-8", PAGE_POLICY),
        ("evidence/report.html", "text/plain; charset=utf-8", FILE_POLICY),
        ("evidence/all.svg", "text/plain; charset=utf-8", FILE_POLICY),
        ("junit/unit.xml", "text/plain; charset=utf-8", FILE_POLICY),
        ("evidence/a.png", "image/png", FILE_POLICY),
        ("evidence/a.xhtml", "application/octet-stream", FILE_POLICY),
    ],
)
async def test_no_page_but_ours_is_one(tmp_path: Path, path: str, kind: str, policy: str) -> None:
    """What tested code wrote is text, a picture or saved, and alone in an origin that has no scripts."""
    put(tmp_path, f"{RUN}/{path}", "<script>alert(1)</script>")

    answer = await client(tmp_path).get(f"/{RUN}/{path}")

    assert answer.headers["content-type"] == kind
    assert answer.headers["content-security-policy"] == policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ("content-disposition" in answer.headers) == (kind == "application/octet-stream")
    assert policy.startswith("sandbox")
    assert "allow-same-origin" not in policy


async def test_the_password_is_asked_for(tmp_path: Path) -> None:
    """Before it is said what there is; by name and password, as browsers and curl send them."""
    put(tmp_path, f"{RUN}/report.html")
    asked = client(tmp_path, PASSWORD)

    for path in (f"/{RUN}/report.html", "/", "/nothing.db"):
        answer = await asked.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
    for given in (
        "Basic",
        "Basic ?",
        f"Bearer {PASSWORD}",
        basic("kvsync:"),
        basic(""),
        basic(PASSWORD + "x"),
    ):
        assert (await asked.get("/nothing.db", headers={"Authorization": given})).status_code == 401
    assert (await asked.get("/nothing.db", headers={"Authorization": basic(PASSWORD)})).status_code == 404
    assert (await asked.get(f"/{RUN}/", auth=("kvsync", "s3cret"), follow_redirects=True)).text == "here"
    assert (await asked.get(f"/{RUN}/report.html", headers={"Host": "ci.example"})).status_code == 401


def basic(credentials: str) -> str:
    """Return the header of a user and a password."""
    return f"Basic {b64encode(credentials.encode()).decode()}"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("CI.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
async def test_without_a_password_no_other_name_leads_here(tmp_path: Path, host: str, status: int) -> None:
    """A stranger's page could have its own name lead to this machine, and read what is there."""
    put(tmp_path, f"{RUN}/report.json")

    asked = client(tmp_path, "", "ci.example")

    assert (await asked.get(f"/{RUN}/report.json", headers={"Host": host})).status_code == status


async def test_it_is_read_only(tmp_path: Path) -> None:
    """Whatever else is asked for is refused."""
    file = put(tmp_path, f"{RUN}/report.json")
    asked = client(tmp_path)

    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await asked.request(method, f"/{RUN}/report.json")).status_code == 405
    head = await asked.head(f"/{RUN}/report.json")
    assert (head.status_code, head.headers["content-length"], head.text) == (200, "4", "")
    assert file.read_text() == "here"


async def test_folders_lead_to_their_pages(tmp_path: Path) -> None:
    """The way is relative, so that it holds below any path of a proxy."""
    ways = {"/": "all_runs/index.html", "/all_runs/": "index.html", f"/{RUN}/": "report.html"}
    ways |= {f"/{RUN}": f"{RUN}/report.html"}

    found = {path: (await client(tmp_path).get(path)).headers["location"] for path in ways}

    assert found == ways

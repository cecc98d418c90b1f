"""A kubeconfig whose login is a program: real kubectl, a real API server's words, and TLS between them."""

import json
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.ci.doctor.doctor import examine
from kvsync.ci.doctor.findings import FindingState
from tests.tls import serving_tls

pytestmark = pytest.mark.skipif(
    not (shutil.which("kubectl") and shutil.which("openssl")), reason="needs kubectl and openssl"
)

PLUGIN = """#!/bin/sh
[ "$CLOUD_SECRET" ] || [ -f "$(dirname "$0")/login" ] || { echo "no login of the cloud" >&2; exit 1; }
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}'
"""


class _Api(BaseHTTPRequestHandler):
    """Tells its version to any client with the token."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == "Bearer t"
        content = json.dumps({"gitVersion": "v1.34.0"} if known else {"kind": "Status", "code": 401}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Print nothing."""


def _kubeconfig(folder: Path, server: str) -> Path:
    plugin, file = folder / "plugin", folder / "kubeconfig"
    plugin.write_text(PLUGIN)
    plugin.chmod(0o755)
    login = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(plugin),
        "interactiveMode": "Never",
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "contexts": [{"name": "cloud", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"exec": login}}],
    }
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(
    ("seen", "has_file", "state", "said"),
    [
        ({}, False, FindingState.MISSING, "does not answer"),
        ({}, True, FindingState.OK, "answers; Kubernetes v1.34.0"),
        ({"CLOUD_SECRET": "s"}, False, FindingState.OK, "answers; Kubernetes v1.34.0"),
    ],
    ids=["nobody has it", "it is in a file", "tests see it"],
)
def test_a_plugin_logs_in_with_what_tests_see(
    tmp_path: Path, seen: dict[str, str], has_file: bool, state: FindingState, said: str
) -> None:
    """The login that the kubeconfig names is used with their environment, and no other."""
    if has_file:
        (tmp_path / "login").touch()
    environ = {"PATH": f"{Path(shutil.which('kubectl') or '').parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    with serving_tls(_Api, tmp_path) as server:
        settings = ClusterSettings(
            image="x", kubeconfig=_kubeconfig(tmp_path, server), allowed_contexts=("cloud",)
        )
        found = examine(
            ClusterChoice("kubeconfig", "cloud"), settings, folder=tmp_path, environ=environ | seen
        )

    (finding,) = (each for each in found if each.check == "API server")
    assert finding.state is state
    assert said in finding.meaning

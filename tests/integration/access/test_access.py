"""Keys, TLS and the operators' port, as clients, engines and operators meet them."""

import asyncio
import json
import ssl
from pathlib import Path

import httpx
import pytest

from kvsync.config import GatewayConfig
from kvsync.errors import ConfigError
from kvsync.gateway.server import Server
from kvsync.pods import Pod
from tests.integration.access.certificates import Authority
from tests.integration.gateway.conftest import ADDRESSES, Site, until

ALICE, BOB = "alice-0123456789", "bob-0123456789ab"
REQUEST = {"model": "m", "prompt": [1]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom clients and engines of these tests trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


async def guarded(site: Site, **access: object) -> httpx.AsyncClient:
    """Open a gateway that asks for keys, and a client that shows Alice's."""
    own = {"port": 9090}
    access = {"keys": {"alice": ALICE, "bob": BOB}, "admin": own} | access
    host = ADDRESSES.next().host
    return await site.open(host, access=access, upstream={"api_key": "the-engines-own"})


async def certificate_of(host: str) -> str:
    """Ask which certificate a gateway shows, in a thread: the gateway runs in this loop."""
    return await asyncio.to_thread(ssl.get_server_certificate, (host, 8080))


async def test_only_a_key_lets_a_client_in(site: Site) -> None:
    """Without one the answer is 401 and no engine is asked; probes need none, on the same connection."""
    pod = await site.pod("a")
    client = await guarded(site)

    answers = [
        await client.post("/v1/completions", json=REQUEST, headers=headers)
        for headers in (
            {},
            {"authorization": "Bearer wrong-0123456789"},
            {"authorization": ALICE},
            {"authorization": f"Bearer {ALICE}"},
            {"x-api-key": BOB},
        )
    ]

    assert [each.status_code for each in answers] == [401, 401, 401, 200, 200]
    assert answers[0].headers["www-authenticate"] == "Bearer"
    refusal = answers[0].json()["error"]
    assert (refusal["code"], "no key of this gateway was shown" in refusal["message"]) == (401, True)
    message = await client.post("/v1/messages", json=REQUEST)
    assert (message.status_code, message.json()["error"]["type"]) == (401, "authentication_error")
    assert len(pod.received) == 2
    assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/v1/models")] == [
        200,
        200,
        401,
    ]


async def test_engines_get_the_gateways_key_and_never_a_clients(site: Site) -> None:
    """What let the client in stays here, however it was shown."""
    pod = await site.pod("a")
    client = await guarded(site)

    for headers in ({"authorization": f"Bearer {ALICE}"}, {"x-api-key": BOB}):
        await client.post("/v1/completions", json=REQUEST, headers=headers)

    seen = [(each.headers.get("authorization"), each.headers.get("x-api-key")) for each in pod.received]
    assert seen == [("Bearer the-engines-own", None)] * 2


async def test_without_keys_of_ours_a_clients_goes_to_the_engine(site: Site) -> None:
    """It is the engine's then."""
    pod = await site.pod("a")
    client = await site.gateway("a", upstream={"api_key": "the-engines-own"})

    await client.post("/v1/completions", json=REQUEST, headers={"authorization": "Bearer a-clients"})

    assert pod.received[0].headers["authorization"] == "Bearer a-clients"


async def test_requests_are_counted_by_the_name_of_their_key(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A client without one is `unknown`, whatever it showed; the log has the name as well."""
    caplog.set_level("INFO", "kvsync.access")
    await site.pod("a")
    client = await guarded(site)

    for headers in ({}, {"x-api-key": "x" * 20}, {"x-api-key": BOB}):
        await client.post("/v1/completions", json=REQUEST, headers=headers)

    page = (await site.operator.get("/metrics")).text
    counted = sorted(line for line in page.splitlines() if line.startswith("kvsync_client_requests_total{"))
    assert counted == [
        'kvsync_client_requests_total{client="bob",status="200"} 1.0',
        'kvsync_client_requests_total{client="unknown",status="401"} 2.0',
    ]
    assert ["client=bob" in each.message for each in caplog.records] == [False, False, True]


async def test_operators_have_a_port_of_their_own(site: Site) -> None:
    """What shows prompts and pods is there and no longer among the clients' routes."""
    await site.pod("a")
    client = await guarded(site)
    client.headers["x-api-key"] = ALICE
    paths = ("/metrics", "/status", "/index/dump", "/healthz", "/readyz", "/v1/models")

    assert [(await client.get(path)).status_code for path in paths] == [404, 404, 404, 200, 200, 200]
    assert [(await site.operator.get(path)).status_code for path in paths] == [200, 200, 200, 200, 200, 404]


async def test_without_a_port_of_their_own_operators_need_a_key(site: Site) -> None:
    """On one port with the clients they show one, too."""
    await site.pod("a")
    client = await guarded(site, admin=None)

    refused = await client.get("/status")
    shown = await client.get("/status", headers={"x-api-key": ALICE})

    assert (refused.status_code, shown.status_code) == (401, 200)


async def test_a_page_may_ask_before_it_shows_a_key(site: Site) -> None:
    """Browsers send no key with the question whether they may."""
    await site.pod("a")
    host = ADDRESSES.next().host
    cors = {"cors_origins": ["https://chat.example"]}
    client = await site.open(host, access={"keys": {"alice": ALICE}}, clients=cors)
    ask = {"origin": "https://chat.example", "access-control-request-method": "POST"}

    assert (await client.options("/v1/completions", headers=ask)).status_code == 200


async def test_a_key_comes_and_goes_with_the_file(site: Site, tmp_path: Path) -> None:
    """No restart is needed to give one out or to take it back."""
    await site.pod("a")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"alice": ALICE}))
    client = await guarded(site, keys={}, keys_file=file)
    shown = {"x-api-key": BOB}
    before = await client.get("/v1/models", headers=shown)

    file.write_text(json.dumps({"bob": BOB}))
    await until(lambda: client.get("/v1/models", headers=shown), lambda answer: answer.is_success)

    assert before.status_code == 401
    assert (await client.get("/v1/models", headers={"x-api-key": ALICE})).status_code == 401


async def test_clients_are_served_over_tls(site: Site, authority: Authority) -> None:
    """The certificate is the one that was set, and a new one is shown without a restart."""
    await site.pod("a")
    host = ADDRESSES.next().host
    pair = authority.issue(host, name="gateway")
    tls = {"certificate": pair.certificate, "key": pair.key}

    client = await site.open(host, access={"tls": tls}, verify=authority.client())
    answer = await client.post("/v1/completions", json=REQUEST)
    first = await certificate_of(host)
    authority.issue(host, name="gateway")

    assert (answer.status_code, client.base_url.scheme) == (200, "https")
    await until(lambda: certificate_of(host), lambda shown: shown != first)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"certificate": "absent.crt", "key": "absent.key"}, "No such file"),
        ({"certificate": "{ca}", "key": "{key}"}, "key values mismatch"),
    ],
    ids=["absent", "another's key"],
)
def test_a_certificate_that_cannot_be_used_ends_the_start(
    authority: Authority, files: dict[str, str], problem: str
) -> None:
    """The message names both files."""
    known = {"ca": str(authority.ca), "key": str(authority.issue("h").key)}
    tls = {name: text.format(**known) for name, text in files.items()}
    pods = [Pod(name="a", model="m", host="h")]
    config = GatewayConfig.model_validate({"pods": pods, "access": {"tls": tls}})

    with pytest.raises(ConfigError, match=rf"{tls['certificate']} and {tls['key']} are not .*{problem}"):
        Server(config)


async def test_engines_are_asked_over_tls(site: Site, authority: Authority) -> None:
    """Its certificate names what stands for pods' addresses, and the gateway shows its own."""
    pod = await site.pod("a", tls=authority.server("engine.internal", asks=True))
    own = authority.issue(name="own")
    tls = {"ca": authority.ca, "server_name": "engine.internal"}
    client = await site.gateway("a", upstream={"tls": tls | {"certificate": own[0], "key": own[1]}})

    answer = await client.post("/v1/completions", json=REQUEST)

    assert (answer.status_code, len(pod.received)) == (200, 1)


@pytest.mark.parametrize(
    ("tls", "problem"),
    [
        ({}, "unable to get local issuer certificate"),
        ({"server_name": "other.internal", "ca": "{ca}"}, "not valid for 'other.internal'"),
        ({"ca": "{ca}"}, "IP address mismatch"),
    ],
    ids=["unknown authority", "another name", "not its address"],
)
async def test_an_engine_that_is_not_known_gets_nothing(
    site: Site, authority: Authority, tls: dict[str, str], problem: str
) -> None:
    """`/status` says what its certificate lacks."""
    pod = await site.pod("a", tls=authority.server("engine.internal"))
    given = {name: text.format(ca=authority.ca) for name, text in tls.items()}
    client = await site.gateway(upstream={"tls": given})

    async def trouble() -> str:
        return str((await client.get("/status")).json()["pods"][0]["problem"])

    await until(trouble, lambda said: problem in said)
    assert (await client.post("/v1/completions", json=REQUEST)).status_code == 503
    assert pod.received == []


def test_the_port_of_operators_is_another_one() -> None:
    """The clients' is refused as such, not for being in use by the gateway itself."""
    pods = [{"name": "a", "model": "m", "host": "h"}]
    config = GatewayConfig.model_validate({"pods": pods, "access": {"admin": {"port": 8080}}})

    with pytest.raises(ConfigError, match=r"access\.admin\.port has to be another one than port: 8080"):
        Server(config)

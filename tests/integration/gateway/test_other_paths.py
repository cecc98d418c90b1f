"""What engines serve besides completions, and what they are administered by."""

import pytest

from kvsync.gateway.completion import OTHER_PATHS
from kvsync.pods import Pod
from tests.integration.gateway.conftest import ADDRESSES, Site

BODY = b'{"model": "m",  "input": ["a", "b"]}'


async def test_what_else_engines_serve_is_passed_on(site: Site) -> None:
    """Byte for byte, with or without a model where there is only one, and what the setting adds."""
    pod = await site.pod("a")
    client = await site.gateway("a", upstream={"more_paths": ["/v9/new"]})
    paths = [*OTHER_PATHS, "/v9/new"]

    answers = [await client.post(path, content=BODY) for path in paths]
    answers.append(await client.post("/pooling", content=b'{"input": "a"}'))

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-kvsync-selection"] for answer in answers} == {"least_request"}
    passed = [each for each in pod.received if not each.target.endswith("/render")]
    assert [each.target for each in passed] == [*paths, "/pooling"]
    assert {each.body for each in passed[:-1]} == {BODY}


async def test_audio_is_a_form(site: Site) -> None:
    """The field that names the model is found in it."""
    pod = await site.pod("a")
    client = await site.gateway("a")
    audio = {"file": ("a.wav", b"RIFF" + bytes(range(256)), "audio/wav")}

    served, wrong = [
        await client.post("/v1/audio/transcriptions", data={"model": name}, files=audio)
        for name in ("m", "nope")
    ]

    assert [served.status_code, wrong.status_code] == [200, 404]
    assert b"RIFF" + bytes(range(256)) in pod.received[0].body


async def test_of_several_models_one_must_be_named(site: Site) -> None:
    """A request that does not is refused, as is one whose model has no name."""
    await site.pod("a")
    site.pods.append(Pod(name="b", model="n", host=ADDRESSES.next().host, ready=False))
    client = await site.gateway("a")

    for body in ({"input": "a"}, {"model": 7}):
        answer = await client.post("/v1/score", json=body)
        assert answer.status_code == 400
        assert "`model` must be the name of a model" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/sleep", "/reset_prefix_cache", "/v1/load_lora_adapter", "/collective_rpc"]
)
async def test_engines_are_not_administered_through_the_gateway(site: Site, path: str) -> None:
    """Unless that is allowed and the path is named."""
    pod = await site.pod("a")
    closed = await site.gateway("a")
    opened = await site.gateway("a", upstream={"allows_administration": True, "more_paths": [path]})

    refused, passed = [await client.post(path, json={"model": "m"}) for client in (closed, opened)]

    assert [refused.status_code, passed.status_code, len(pod.received)] == [404, 200, 1]

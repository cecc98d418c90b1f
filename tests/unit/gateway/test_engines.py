"""What an engine's /metrics says of its ranks and blocks."""

import pytest

from kvsync.gateway.engines import missing_ranks, read_blocks, read_requests, unnamed_adapters
from kvsync.pods import Pod

PAGE = """# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="32",cache_dtype="auto",engine="0",num_gpu_blocks="1024"} 1.0
vllm:cache_config_info{block_size="32",cache_dtype="auto",engine="1",num_gpu_blocks="1024"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
"""


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        (PAGE, {0: 512, 1: 512}),
        ('vllm:cache_config_info{engine="1",num_gpu_blocks="None"} 1.0', {1: 0}),
        ('vllm:cache_config_info{num_gpu_blocks="7"} 1.0', {0: 7}),
        ('vllm:cache_config_info{engine="x",num_gpu_blocks="7"} 1.0', {}),
        ("sglang:token_usage 0.5", {}),
        ("", {}),
    ],
    ids=["two ranks", "not known yet", "no rank", "hostile", "another engine", "empty"],
)
def test_ranks_and_their_blocks(page: str, blocks: dict[int, int]) -> None:
    """Each rank has a line of its own, which may leave the number open."""
    assert read_blocks(page) == blocks


@pytest.mark.parametrize(("dp_size", "wrong"), [(1, True), (2, False), (3, False)])
def test_ranks_that_are_not_followed(dp_size: int, wrong: bool) -> None:
    """More ranks than dp_size are a reason; fewer may be those of other pods."""
    pod = Pod(name="a", model="m", host="h", event_port=5557, replay_port=6557, dp_size=dp_size)
    said = missing_ranks(pod, read_blocks(PAGE))

    assert said == ("the engine has 2 data-parallel ranks, dp_size is 1: set it to that" if wrong else "")


def test_adapters_whose_names_are_not_known_are_a_reason() -> None:
    """Their numbers are said, and what ends it; where all have names there is no reason."""
    assert unnamed_adapters([]) == ""
    assert unnamed_adapters([2, 3]).startswith("events name adapters by number (2, 3) and the engine's list")


REQUESTS = """vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
"""


@pytest.mark.parametrize(
    ("page", "running", "waiting"),
    [
        (
            REQUESTS,
            {0: 3, 1: 1},
            {0: 2},
        ),
        (
            'sglang:num_running_reqs{model_name="m"} 4.0\nsglang:num_queue_reqs{model_name="m"} 1e1\n',
            {0: 4},
            {0: 10},
        ),
        ("vllm:num_requests_running 5", {0: 5}, {}),
    ],
    ids=["vLLM", "SGLang", "without labels"],
)
def test_requests_of_an_engine(page: str, running: dict[int, int], waiting: dict[int, int]) -> None:
    """Each rank's are told apart; running and waiting ones are its load together."""
    said = read_requests(page)

    assert said is not None
    assert (said.running, said.waiting) == (running, waiting)
    assert said.together == {rank: running.get(rank, 0) + waiting.get(rank, 0) for rank in running}


@pytest.mark.parametrize(
    "page", ["", PAGE, "# HELP vllm:num_requests_running x\n", "vllm:num_requests_running{} NaN"]
)
def test_an_engine_that_says_nothing_of_its_requests(page: str) -> None:
    """A page without these gauges is no load of 0."""
    assert read_requests(page) is None

"""OpenAI's embeddings: vectors that are made of a text's tokens, and so the same for the same text. Pure."""

import base64
import math
import struct
from collections.abc import Sequence

from kvsync.simulator.openai import Json, ServedModels, bad_request, prompts

DIMENSIONS = 8


def embeddings(body: Json, card: ServedModels) -> Json:
    """Answer the body of /v1/embeddings. Raises ApiError."""
    card.scope(body.get("model"), None)
    given = prompts(body.get("input"), "input")
    vectors = [_vector(tokens) for tokens in given]
    wanted = body.get("encoding_format", "float")
    if wanted not in ("float", "base64"):
        raise bad_request(f"encoding_format must be float or base64, got {wanted!r}", "encoding_format")
    encode = _base64 if wanted == "base64" else list
    count = sum(map(len, given))
    return {
        "object": "list",
        "model": body.get("model") or card.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


def _vector(tokens: Sequence[int]) -> list[float]:
    """A vector of length 1, of which each token adds to one direction."""
    sums = [0.5] * DIMENSIONS
    for place, token in enumerate(tokens):
        sums[(token + place) % DIMENSIONS] += 1.0
    length = math.hypot(*sums)
    return [each / length for each in sums]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

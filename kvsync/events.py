"""What an engine announces about its KV cache, as values.

Hashes are unsigned 64-bit integers whatever the wire carried (signed, unsigned, bytes or hex): the codec
normalises them. `None` means that the engine did not say.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from typing import NamedTuple, TypeVar, cast

T = TypeVar("T")

GPU = "GPU"
"""The medium of a block when the event names none (engines before vLLM 0.10.2)."""


class Source(NamedTuple):
    """One publisher: a data-parallel rank of a pod. Comes from discovery, never from a payload.

    A tuple, because it is the key of every table and a tuple's hash costs a fifth of a dataclass's.
    """

    pod: str
    model: str
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStored:
    """Contiguous full blocks now resident; the first follows `parent_block_hash` (None: the root).

    `token_ids` is flat, `len(block_hashes) * block_size` long when the engine is well behaved. An
    off-loading placeholder has no tokens and `block_size` 0. `extra_keys` holds, per block, what entered
    the engine's hash besides the tokens (multi-modal ids, LoRA name, cache salt), or None.
    """

    block_hashes: tuple[int, ...]
    parent_block_hash: int | None
    token_ids: tuple[int, ...]
    block_size: int
    lora_id: int | None = None
    medium: str = GPU
    lora_name: str | None = None
    extra_keys: tuple[tuple[object, ...] | None, ...] | None = None
    group_idx: int | None = None
    spec_kind: str | None = None
    sliding_window: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRemoved:
    """Blocks of which one physical copy is gone from `medium`.

    `remaining_copies` says, per block, how many are left there, where the engine counts them itself.
    """

    block_hashes: tuple[int, ...]
    medium: str = GPU
    group_idx: int | None = None
    remaining_copies: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class AllBlocksCleared:
    """The publisher holds nothing any more."""


Event = BlockStored | BlockRemoved | AllBlocksCleared


@dataclass(frozen=True, slots=True)
class Skipped:
    """An event that could not be read; its batch survives it. `reason` is a short label fit for a metric."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """One message of a publisher: what happened in one scheduler step, in order.

    `ts` is the publisher's wall clock in seconds since the epoch.
    """

    ts: float
    events: tuple[Event, ...]
    rank: int | None = None
    skipped: tuple[Skipped, ...] = ()


def builder(kind: type[T]) -> Callable[..., T]:
    """Return what makes values of a frozen dataclass with slots from all of its fields, by position.

    A frozen dataclass sets each field through `object.__setattr__`: a BlockStored costs 1.5 us, more than all
    else of reading a small one. Here it is made as one that can be written and then becomes frozen: 0.3 us.
    """

    def freeze(made: object) -> None:
        made.__class__ = kind

    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # of a dataclass
    draft = make_dataclass(f"{kind.__name__}Draft", names, slots=True, namespace={"__post_init__": freeze})
    return cast("Callable[..., T]", draft)

"""What tells blocks of the same tokens apart: adapters, salts, images."""

from kvsync.events import BlockStored
from kvsync.hashing import Extra


def lora_of(event: BlockStored) -> str:
    """Return the adapter of an event's blocks, `#NUMBER` where only its number is known, "" for none."""
    return event.lora_name or ("" if event.lora_id is None else f"#{event.lora_id}")


def extra_of(event: BlockStored) -> tuple[Extra | None, ...] | None:
    """Return the extra keys without the LoRA name, which is a context of its own."""
    name = event.lora_name
    if event.extra_keys is None or name is None:
        return event.extra_keys
    return tuple([_without(keys, name) if keys else None for keys in event.extra_keys])


def _without(keys: Extra, name: str) -> Extra:
    if name not in keys:
        return keys
    position = keys.index(name)
    return keys[:position] + keys[position + 1 :]

"""Small GGUF files, written as the format says."""

from __future__ import annotations

import struct


def text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def string(name: str, value: str) -> bytes:
    return key(name, 8, text(value))


def number(name: str, value: int) -> bytes:
    return key(name, 4, struct.pack("<I", value))


def numbers(name: str, values: list[int]) -> bytes:
    return key(name, 9, struct.pack(f"<IQ{len(values)}I", 4, len(values), *values))


def strings(name: str, values: list[str]) -> bytes:
    return key(name, 9, struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values)))


def tensor(name: str, *dimensions: int, offset: int = 0) -> bytes:
    size = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + size + struct.pack("<IQ", 0, offset)


LLAMA = (
    string("general.architecture", "llama"),
    string("general.name", "Tiny"),
    string("general.license", "mit"),
    number("general.file_type", 15),
    number("llama.context_length", 4096),
    number("llama.block_count", 2),
    number("llama.embedding_length", 64),
    number("llama.attention.head_count", 8),
    number("llama.attention.head_count_kv", 2),
    string("tokenizer.ggml.model", "gpt2"),
    strings("tokenizer.ggml.tokens", ["a", "b", "c"]),
    string("tokenizer.chat_template", "{{ messages }}"),
)


def gguf(
    keys: tuple[bytes, ...] = LLAMA, tensors: tuple[bytes, ...] = (), *, version: int = 3, data: int = 64
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    return head + b"".join(keys) + b"".join(tensors) + bytes(data)

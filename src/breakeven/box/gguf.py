"""What a GGUF file says of itself: a reader of its header, safe against malformed files.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

from breakeven.errors import ModelFileError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ELEMENTS = 1 << 24
"""More array elements, keys or tensors than any real model has; bounds the work a malformed file can cause."""
MAX_DIMENSIONS = 8

STRING, ARRAY = 8, 9
SCALARS = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
U32, U64 = SCALARS[4], SCALARS[10]

# fmt: off
QUANTISATIONS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12:
    "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20:
    "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28:
    "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}
# fmt: on
"""``general.file_type`` → name, as llama.cpp numbers them (``llama_ftype`` in llama.h)."""

Value: TypeAlias = int | float | bool | str | tuple[int | float | bool, ...] | None


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The facts of a header that decide memory, context and naming; ``None`` where the file does not say.

    Attributes:
        architecture: for instance ``llama``.
        context_length: tokens the model was trained for.
        block_count: layers.
        head_count / kv_head_count: attention heads and key-value heads of a layer; the largest where layers differ.
        key_length / value_length: elements of one head's key and value.
        file_type / quantisation: llama.cpp's number for the mix of tensor types, and its name.
        parameter_count: elements of all tensors.
        tensor_bytes: the file less its header, in bytes.
        has_chat_template: whether it can serve chats by its own template.
        tokenizer: for instance ``gpt2`` for byte-pair encoding.
        license: as the file states it.
        pooling_type: llama.cpp's number for how an embedding model makes one vector of many.
        split_count: files the model is split over; ``None`` or 1 for one file.
    """

    architecture: str | None
    name: str | None
    context_length: int | None
    block_count: int | None
    embedding_length: int | None
    head_count: int | None
    kv_head_count: int | None
    key_length: int | None
    value_length: int | None
    expert_count: int | None
    file_type: int | None
    quantisation: str | None
    parameter_count: int
    tensor_bytes: int
    has_chat_template: bool
    tokenizer: str | None
    license: str | None
    pooling_type: int | None
    split_count: int | None

    @property
    def kv_bytes_per_token(self) -> int | None:
        """Key-value cache of one token at 16 bits an element: layers × KV heads × (key + value) × 2 bytes."""
        if self.block_count is None or self.kv_head_count is None:
            return None
        if self.key_length is None or self.value_length is None:
            return None
        return self.block_count * self.kv_head_count * (self.key_length + self.value_length) * 2


class _Malformed(Exception):
    """Why the header cannot be read."""


class _Cursor:
    """Reads forward through the mapped file and refuses to leave it."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def need(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise _Malformed(f"it ends {self.at + count - len(self.data):,} bytes too early, at byte {self.at:,}")

    def scalar(self, form: struct.Struct) -> Any:
        self.need(form.size)
        (value,) = form.unpack_from(self.data, self.at)
        self.at += form.size
        return value

    def count(self, what: str) -> int:
        value: int = self.scalar(U64)
        if value > MAX_ELEMENTS:
            raise _Malformed(f"it claims {value:,} {what}")
        return value

    def skip_string(self) -> None:
        size = self.scalar(U64)
        self.need(size)
        self.at += size

    def string(self) -> str:
        start = self.at + U64.size
        self.skip_string()
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Value:
        """One metadata value; arrays of strings or arrays (the vocabulary) are stepped over and read as ``None``."""
        if kind == STRING:
            return self.string()
        if kind in SCALARS:
            value: Value = self.scalar(SCALARS[kind])
            return value
        if kind != ARRAY:
            raise _Malformed(f"it holds a value of unknown type {kind}")
        kind, count = self.scalar(U32), self.count("array elements")
        if kind == STRING:
            for _ in range(count):
                self.skip_string()
            return None
        if kind not in SCALARS:
            raise _Malformed(f"it holds an array of unknown type {kind}")
        form = struct.Struct(f"<{count}{SCALARS[kind].format[1:]}")
        self.need(form.size)
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values


def read_shape(path: Path) -> ModelShape:
    """Read the header of a GGUF file.

    Raises:
        ModelFileError: the file cannot be read, is not GGUF, or its header is damaged.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise ModelFileError(
                    f"{path} is not a GGUF file", remedy="Give a model in llama.cpp's GGUF format, or convert it first."
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _shape(_Cursor(data))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except _Malformed as error:
        raise ModelFileError(f"{path} is damaged: {error}", remedy="Fetch it again.") from error


def _shape(cursor: _Cursor) -> ModelShape:
    cursor.at = len(MAGIC)
    version = cursor.scalar(U32)
    if version not in VERSIONS:
        raise _Malformed(f"GGUF version {version}, where only 2 and 3 (little-endian) are known")
    tensor_count, key_count = cursor.count("tensors"), cursor.count("keys")
    metadata = dict(_metadata(cursor, key_count))
    tensors = [_tensor(cursor) for _ in range(tensor_count)]
    last_offset = max((offset for _, offset in tensors), default=0)
    if tensors and cursor.at + last_offset >= len(cursor.data):
        raise _Malformed("its last tensors are missing")

    def text(key: str) -> str | None:
        value = metadata.get(key)
        return value if isinstance(value, str) else None

    def whole(key: str) -> int | None:
        value = metadata.get(key)
        if isinstance(value, tuple) and value:
            value = max(value)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    architecture = text("general.architecture")
    of = f"{architecture}."
    heads, width, file_type = (
        whole(of + "attention.head_count"),
        whole(of + "embedding_length"),
        whole("general.file_type"),
    )
    head_width = width // heads if heads and width else None
    kv_heads = whole(of + "attention.head_count_kv")
    key_length, value_length = whole(of + "attention.key_length"), whole(of + "attention.value_length")
    return ModelShape(
        architecture=architecture,
        name=text("general.name"),
        context_length=whole(of + "context_length"),
        block_count=whole(of + "block_count"),
        embedding_length=width,
        head_count=heads,
        kv_head_count=heads if kv_heads is None else kv_heads,
        key_length=head_width if key_length is None else key_length,
        value_length=head_width if value_length is None else value_length,
        expert_count=whole(of + "expert_count"),
        file_type=file_type,
        quantisation=None if file_type is None else QUANTISATIONS.get(file_type),
        parameter_count=sum(elements for elements, _ in tensors),
        tensor_bytes=len(cursor.data) - cursor.at,
        has_chat_template="tokenizer.chat_template" in metadata,
        tokenizer=text("tokenizer.ggml.model"),
        license=text("general.license"),
        pooling_type=whole(of + "pooling_type"),
        split_count=whole("split.count"),
    )


def _metadata(cursor: _Cursor, count: int) -> Iterator[tuple[str, Value]]:
    for _ in range(count):
        key = cursor.string()
        yield key, cursor.value(cursor.scalar(U32))


def _tensor(cursor: _Cursor) -> tuple[int, int]:
    """Elements of the next tensor, and where its data begin within the data section."""
    cursor.skip_string()
    dimensions = cursor.scalar(U32)
    if dimensions > MAX_DIMENSIONS:
        raise _Malformed(f"it claims a tensor of {dimensions} dimensions")
    elements = prod(cursor.scalar(U64) for _ in range(dimensions))
    cursor.scalar(U32)
    return elements, cursor.scalar(U64)

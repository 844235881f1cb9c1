"""Reading the header of a GGUF file."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.box.gguf_files import LLAMA, gguf, key, number, numbers, string, tensor

from breakeven.box.gguf import read_shape
from breakeven.box.models import ModelFile
from breakeven.errors import ModelFileError


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def test_it_reads_what_decides_memory_and_context(tmp_path: Path) -> None:
    tensors = (tensor("embed", 64, 3), tensor("norm", 64, offset=32))
    shape = read_shape(written(tmp_path, gguf(tensors=tensors)))
    assert (shape.architecture, shape.name, shape.license) == ("llama", "Tiny", "mit")
    assert (shape.context_length, shape.block_count, shape.embedding_length) == (4096, 2, 64)
    assert (shape.head_count, shape.kv_head_count, shape.key_length, shape.value_length) == (8, 2, 8, 8)
    assert (shape.file_type, shape.quantisation) == (15, "Q4_K_M")
    assert (shape.parameter_count, shape.tensor_bytes) == (64 * 3 + 64, 64)
    assert (shape.has_chat_template, shape.tokenizer) == (True, "gpt2")
    assert shape.kv_bytes_per_token == 2 * 2 * (8 + 8) * 2


def test_stated_key_and_value_lengths_come_before_computed_ones(tmp_path: Path) -> None:
    keys = (*LLAMA, number("llama.attention.key_length", 128), number("llama.attention.value_length", 96))
    shape = read_shape(written(tmp_path, gguf(keys)))
    assert (shape.key_length, shape.value_length) == (128, 96)


def test_heads_that_differ_by_layer_count_as_the_largest(tmp_path: Path) -> None:
    keys = (string("general.architecture", "x"), numbers("x.attention.head_count_kv", [0, 8, 4]))
    assert read_shape(written(tmp_path, gguf(keys))).kv_head_count == 8


def test_what_a_file_does_not_say_is_unknown(tmp_path: Path) -> None:
    shape = read_shape(written(tmp_path, gguf(())))
    assert (shape.architecture, shape.context_length, shape.quantisation) == (None, None, None)
    assert (shape.kv_bytes_per_token, shape.has_chat_template, shape.parameter_count) == (None, False, 0)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04 a zip", "is not a GGUF file"),
        (b"GGUF", "ends 4 bytes too early"),
        (gguf(version=1), "GGUF version 1"),
        (gguf()[:200], "too early"),
        (gguf((key("k", 77, b""),)), "value of unknown type 77"),
        (gguf((key("k", 9, struct.pack("<IQ", 9, 1)),)), "array of unknown type 9"),
        (gguf((key("k", 9, struct.pack("<IQ", 4, 1 << 40)),)), "claims 1,099,511,627,776 array elements"),
        (gguf((key("k", 9, struct.pack("<IQ", 4, 1 << 20)),)), "too early"),
        (gguf((key("k", 8, struct.pack("<Q", 1 << 63)),)), "too early"),
        (gguf(tensors=(tensor("t", *[1] * 9),)), "tensor of 9 dimensions"),
        (gguf(tensors=(tensor("t", 4, offset=4096),)), "last tensors are missing"),
    ],
)
def test_a_damaged_file_is_refused_with_its_cause(content: bytes, cause: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=cause):
        read_shape(written(tmp_path, content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        read_shape(tmp_path / "none.gguf")


SOUND = gguf(tensors=(tensor("embed", 64, 3),))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=200), at=st.integers(0, len(SOUND)), overwritten=st.integers(0, 40))
def test_no_bytes_whatsoever_cause_any_other_error(noise: bytes, at: int, overwritten: int, tmp_path: Path) -> None:
    for content in (b"GGUF" + noise, SOUND[:at] + noise + SOUND[at + overwritten :]):
        with suppress(ModelFileError):
            read_shape(written(tmp_path, content))


@pytest.mark.engine
def test_the_demo_model_says_what_it_is(demo_model: ModelFile) -> None:
    shape = demo_model.shape()
    assert (shape.architecture, shape.quantisation, shape.context_length) == ("llama", "Q4_1", 8192)
    assert (shape.parameter_count, shape.block_count, shape.kv_head_count) == (134_515_008, 30, 3)
    assert shape.has_chat_template

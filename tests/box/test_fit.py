"""Whether a model fits, before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.box.gguf_files import LLAMA, gguf, string, tensor
from typer.testing import CliRunner

from breakeven.box import engine_fit
from breakeven.box.engine_fit import fit_notes
from breakeven.box.fit import Capacity, Fit, Verdict, fit, shape_of
from breakeven.box.gguf import read_shape
from breakeven.box.memory_limit import listed_machine, this_machine, wired
from breakeven.box.models import ModelFile
from breakeven.catalog.machines import find_machine
from breakeven.catalog.shapes import find_shape
from breakeven.cli.main import build
from breakeven.config import EngineSettings
from breakeven.errors import ModelFileError
from breakeven.units import GIB

LLAMA_70B = find_shape("llama-3.3-70b-q4_k_m").shape
MAC = listed_machine(find_machine("m4-max-128"))


def llama(context: int, slots: int = 1, *, gib: float | None = None, flash: bool = True) -> Fit:
    capacity = MAC if gib is None else Capacity(int(gib * GIB), "test")
    return fit(LLAMA_70B, capacity, context_tokens=context, slots=slots, flash_attention=flash)


def test_the_95_gb_of_a_70b_at_128k_are_weights_cache_and_scores_and_just_fit_a_128_gb_mac() -> None:
    answer = llama(131_072, flash=False)
    assert answer.verdict is Verdict.FITS
    assert answer.sentence == "Fits: 95.9 GiB needed, 96.0 GiB usable."
    parts = {part: round(size / GIB, 2) for part, size, _ in answer.arithmetic}
    assert parts == {"weights": 39.6, "KV cache, f16": 40.0, "buffers": 0.31, "attention scores": 16.0}


def test_with_flash_attention_there_is_room_to_spare() -> None:
    assert round(llama(131_072).need.total_gib, 1) == 79.9


@pytest.mark.parametrize(
    ("context", "slots", "gib", "verdict"),
    [
        (32_768, 4, 96, Verdict.FITS),
        (131_072, 2, 96, Verdict.FITS_Q8_KV),
        (131_072, 4, 96, Verdict.FITS_LESS_CONTEXT),
        (8_192, 1, 48, Verdict.FITS),
        (8_192, 1, 39, Verdict.DOES_NOT_FIT),
    ],
)
def test_the_four_answers(context: int, slots: int, gib: float, verdict: Verdict) -> None:
    assert llama(context, slots, gib=gib).verdict is verdict


def test_less_context_is_named_in_tokens_that_really_fit() -> None:
    answer = llama(131_072, 4, gib=96)
    assert answer.most_context is not None
    assert answer.most_context_q8_kv is not None
    assert f"Fits at {answer.most_context:,} tokens of context" in answer.sentence
    assert llama(answer.most_context, 4, gib=96).verdict is Verdict.FITS
    assert llama(answer.most_context + 256, 4, gib=96).verdict is not Verdict.FITS
    assert answer.most_context < answer.most_context_q8_kv < 131_072


def test_what_does_not_fit_says_what_the_weights_alone_take() -> None:
    assert "the weights alone take 39.6 GiB" in llama(8_192, gib=24).sentence


@given(st.integers(256, 131_072), st.integers(1, 8), st.floats(1, 500), st.booleans())
def test_the_answer_agrees_with_its_own_arithmetic(context: int, slots: int, gib: float, flash: bool) -> None:
    answer = llama(context, slots, gib=gib, flash=flash)
    assert sum(size for _, size, _ in answer.arithmetic) == pytest.approx(answer.need.total, abs=2)
    assert (answer.verdict is Verdict.FITS) == (answer.need.total <= answer.capacity.usable_bytes)
    assert answer.sentence
    if answer.most_context is not None:
        assert llama(answer.most_context, slots, gib=gib, flash=flash).verdict is Verdict.FITS


def test_macos_lets_the_gpu_wire_three_quarters_unless_told_otherwise() -> None:
    assert wired(128 * GIB, None).usable_bytes == 96 * GIB
    assert "iogpu.wired_limit_mb=" in wired(128 * GIB, None).source
    assert wired(128 * GIB, 120_000).usable_bytes == 120_000 * 1024**2
    assert wired(128 * GIB, 0).usable_bytes == 96 * GIB


def test_this_machine_has_some_memory() -> None:
    assert this_machine(gpu_layers=0).usable_bytes > 0


def test_the_shape_comes_from_the_files_own_header(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf(tensors=(tensor("a", 64, 64),), data=4096))
    shape = shape_of(read_shape(file), "tiny")
    assert (shape.layers, shape.kv_heads, shape.head_dimension, shape.attention_heads) == (2, 2, 8, 8)
    assert shape.weight_bytes >= 4096


def test_a_header_without_attention_is_told_not_guessed(tmp_path: Path) -> None:
    file = tmp_path / "odd.gguf"
    file.write_bytes(gguf((string("general.architecture", "mamba"),)))
    with pytest.raises(ModelFileError, match="does not say how many layers"):
        shape_of(read_shape(file), "odd")


def test_the_command_shows_the_arithmetic_and_fails_when_it_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf(LLAMA, (tensor("a", 64, 64),), data=4096))
    run = CliRunner()
    own = run.invoke(build(), ["models", "fit", str(file), "--context", "1024", "--json"])
    listed = run.invoke(
        build(), ["models", "fit", "llama-3.3-70b-q4_k_m", "--machine", "2x-rtx-3090", "--context", "4096"]
    )
    tight = run.invoke(build(), ["models", "fit", "llama-3.3-70b-q8_0", "--machine", "2x-rtx-3090"])
    assert json.loads(own.stdout)["verdict"] == "fits"
    assert (own.exit_code, listed.exit_code, tight.exit_code) == (0, 0, 1)
    assert "320 KiB a token" in " ".join(listed.stdout.split())
    assert "Does not fit" in tight.stdout


def test_a_model_that_does_not_fit_is_noted_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf(LLAMA, (tensor("a", 64, 64),), data=4096))
    model = ModelFile("tiny", file, file.stat().st_size, str(file))
    assert fit_notes(EngineSettings(), model) == []
    monkeypatch.setattr(engine_fit, "this_machine", lambda **_: Capacity(1000, "a pocket calculator"))
    (note,) = fit_notes(EngineSettings(), model)
    assert note.startswith("The model 'tiny' may not load. Does not fit")
    file.write_bytes(gguf((string("general.architecture", "mamba"),)))
    assert fit_notes(EngineSettings(), model) == []


def test_what_fits_with_a_quantised_kv_cache_only_is_noted_until_the_engine_quantises_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf(LLAMA, (tensor("a", 64, 64),), data=4096))
    model = ModelFile("tiny", file, file.stat().st_size, str(file))
    need = engine_fit.engine_fit(EngineSettings(), model)
    between = (need.need.total + need.need_q8_kv.total) // 2
    monkeypatch.setattr(engine_fit, "this_machine", lambda **_: Capacity(between, "a small machine"))
    (note,) = fit_notes(EngineSettings(), model)
    assert 'Set engine.kv_quantisation = "q8_0"' in note
    assert fit_notes(EngineSettings(kv_quantisation="q8_0"), model) == []

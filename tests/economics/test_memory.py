import pytest

from breakeven.catalog.machines import find_machine
from breakeven.catalog.shapes import find_shape, shapes
from breakeven.economics.memory import KV_Q8_0_BYTES, boxes_for_memory, memory_need
from breakeven.errors import ScenarioError, UnknownModel
from breakeven.units import GB, GIB

LLAMA = find_shape("llama-3.3-70b-q4_k_m").shape


def test_a_70b_q4_k_m_has_39_6_gib_of_weights_which_are_42_5_gb():
    assert LLAMA.weight_bytes / GIB == pytest.approx(39.59, abs=0.02)
    assert LLAMA.weight_bytes / GB == pytest.approx(42.5, abs=0.05)


def test_its_kv_cache_takes_320_kib_a_token_and_40_gib_at_128k():
    assert LLAMA.kv_bytes(1) == 320 * 1024
    assert LLAMA.kv_bytes(131_072) == 40 * GIB


def test_the_95_gb_are_weights_kv_at_128k_and_scores_without_flash_attention_just_under_the_wired_limit():
    need = memory_need(LLAMA, context_tokens=131_072, flash_attention=False)

    assert need.total_gib == pytest.approx(95.9, abs=0.05)
    assert need.total_gib < find_machine("m4-max-128").usable_memory_gib == 96


def test_at_32k_54_gib_are_enough():
    assert memory_need(LLAMA, context_tokens=32_768, flash_attention=False).total_gib == pytest.approx(54, abs=0.2)


def test_flash_attention_holds_no_scores():
    assert memory_need(LLAMA, context_tokens=131_072).total_gib == pytest.approx(79.9, abs=0.05)


def test_slots_each_have_their_context():
    one, four = (memory_need(LLAMA, context_tokens=8192, slots=n) for n in (1, 4))

    assert four.kv_cache == 4 * one.kv_cache
    assert four.weights == one.weights


def test_a_q8_kv_cache_takes_just_over_half():
    assert LLAMA.kv_bytes(1000, KV_Q8_0_BYTES) / LLAMA.kv_bytes(1000) == pytest.approx(0.53125)


def test_resident_prefixes_are_spread_over_boxes():
    need = memory_need(LLAMA, context_tokens=4096, resident_tokens=31 * 2500)

    assert need.resident_prefixes / GB == pytest.approx(25.4, abs=0.1)
    assert boxes_for_memory(need, 96 * GIB) == 1
    assert boxes_for_memory(need, 48 * GIB) == 4


def test_a_model_that_does_not_fit_fits_no_number_of_boxes():
    assert boxes_for_memory(memory_need(LLAMA, context_tokens=4096), 24 * GIB) is None


def test_every_shape_names_its_source_and_date():
    for listed in shapes():
        assert listed.source
        assert listed.as_of
        assert listed.shape.active_weight_bytes <= listed.shape.weight_bytes


def test_an_unknown_shape_is_answered_with_those_that_look_alike():
    with pytest.raises(UnknownModel, match=r"llama-3\.3-70b-q4_k_m"):
        find_shape("llama-3.3-70b-q4")


@pytest.mark.parametrize("wrong", [{"context_tokens": 0}, {"slots": 0}, {"resident_tokens": -1}])
def test_nonsense_is_refused_by_name(wrong):
    with pytest.raises(ScenarioError, match=next(iter(wrong))):
        memory_need(LLAMA, **{"context_tokens": 4096, **wrong})

"""Newer prices are used whole or not at all, and every row says which state it is from."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.catalog.conftest import NOW, Changed
from tests.fakes.web import Answer, fixed_web

from breakeven.catalog.price_data import FILE_NAME, bundled, discard, parse, standing
from breakeven.catalog.price_updates import fetch, source_url, update
from breakeven.catalog.prices import open_book
from breakeven.errors import BreakevenError, InputError, PriceDataError

SONNET = "anthropic/claude-sonnet-5-5"


def sonnet_input(home: Path) -> tuple[Decimal, str]:
    row = open_book({}, home).find("anthropic", "claude-sonnet-5-5", at=NOW)
    assert row is not None
    assert row.rates.input is not None
    return row.rates.input.base, row.source


def put(folder: Path, raw: bytes) -> Path:
    path = folder / "data.json"
    path.write_bytes(raw)
    return path


def test_without_an_update_the_bundled_prices_hold(tmp_path: Path) -> None:
    price, source = sonnet_input(tmp_path)

    assert price == 2
    assert source.startswith("genai-prices 0.")


def test_a_fetched_update_holds_from_then_on_and_rows_say_so(tmp_path: Path, price_json: Changed) -> None:
    raw = price_json({SONNET: {"input_mtok": 1.5}, "anthropic/claude-new": {"input_mtok": 1, "output_mtok": 2}})
    with fixed_web({"/data.json": Answer(raw)}) as server:
        done = update(tmp_path, f"{server.url}/data.json", NOW)

    assert sonnet_input(tmp_path) == (Decimal("1.5"), f"genai-prices update 2026-11-24 ({done.record.sha256[:12]})")
    assert done.is_new
    assert done.comparison.added == ("anthropic/claude-new",)
    assert [(c.name, c.token_class, c.before, c.after) for c in done.comparison.changed] == [
        (SONNET, "input", 2, Decimal("1.5"))
    ]
    kept = standing(tmp_path).update
    assert kept is not None
    assert (kept.url, kept.fetched_at) == (f"{server.url}/data.json", NOW)


def test_the_same_update_again_is_nothing_new(tmp_path: Path, price_json: Changed) -> None:
    path = put(tmp_path, price_json({SONNET: {"input_mtok": 1.5}}))
    update(tmp_path, path, NOW)
    again = update(tmp_path, path, NOW + timedelta(days=3))

    assert not again.is_new
    assert not again.comparison.changed
    assert standing(tmp_path).source.startswith("genai-prices update 2026-11-27")


def test_an_update_can_be_dropped(tmp_path: Path, price_json: Changed) -> None:
    update(tmp_path, put(tmp_path, price_json({SONNET: {"input_mtok": 1.5}})), NOW)

    assert discard(tmp_path)
    assert not discard(tmp_path)
    assert sonnet_input(tmp_path)[0] == 2


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<!doctype html><html></html>", "web page"),
        (b"{}", "no list"),
        (b"[]", "only 0"),
        (b"[{]", "not JSON"),
        (b'[{"id": "x"}]', "malformed"),
        (b"[NaN]", "NaN"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_what_is_no_price_data_is_refused_with_the_reason(tmp_path: Path, raw: bytes, why: str) -> None:
    with pytest.raises(PriceDataError, match=why):
        update(tmp_path, put(tmp_path, raw), NOW)

    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("prices", "why"),
    [
        ({SONNET: {"input_mtok": -1}}, "no amount: -1"),
        ({SONNET: {"output_mtok": {"base": 10, "tiers": [{"start": 200_000, "price": -1}]}}}, "no amount"),
        ({SONNET: {"output_mtok": {"base": 10, "tiers": [{"start": -1, "price": 1}]}}}, "below 0 tokens"),
        ({SONNET: {"output_mtok": "NaN"}}, "malformed"),
        ({SONNET: {"output_mtok": "cheap"}}, "malformed"),
        ({SONNET: {"input_mtok": 201}}, r"input price of .* from \$2 to \$201"),
        ({SONNET: {"output_mtok": 0}}, r"output price of .* to \$0"),
        ({SONNET: {"cache_read_mtok": 0.0001}}, "cache_read"),
        ({"anthropic/new": {"input_mtok": 20_000, "output_mtok": 1}}, "20,000"),
        ({SONNET: {"input_mtok": {"base": 2, "tiers": [{"start": 200_000, "price": 900}]}}}, "above 200,000"),
    ],
)
def test_an_absurd_price_refuses_the_whole_update_and_the_last_good_one_stays(
    tmp_path: Path, price_json: Changed, prices: dict[str, dict[str, object]], why: str
) -> None:
    update(tmp_path, put(tmp_path, price_json({SONNET: {"input_mtok": 2, "output_mtok": 11}})), NOW)
    before = sonnet_input(tmp_path)
    with pytest.raises(PriceDataError, match=why) as refused:
        update(tmp_path, put(tmp_path, price_json(prices)), NOW)

    assert "stays in use" in refused.value.remedy
    assert sonnet_input(tmp_path) == before


def test_a_jump_is_taken_when_it_is_confirmed(tmp_path: Path, price_json: Changed) -> None:
    path = put(tmp_path, price_json({SONNET: {"input_mtok": 201}}))
    update(tmp_path, path, NOW, accepted=[SONNET])

    assert sonnet_input(tmp_path)[0] == 201


def test_a_part_of_an_update_is_refused(tmp_path: Path, price_json: Changed) -> None:
    with pytest.raises(PriceDataError, match=r"only .* of the .* models"):
        update(tmp_path, put(tmp_path, price_json(keep=0.5)), NOW)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_data_cut_off_anywhere_is_refused(price_json: Changed, data: st.DataObject) -> None:
    raw = price_json()
    with pytest.raises(PriceDataError):
        parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


KEYS = st.sampled_from(["id", "name", "models", "prices", "match", "equals", "input_mtok"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(JSON)
@settings(deadline=None)
def test_no_json_at_all_breaks_the_parser(document: object) -> None:
    with contextlib.suppress(PriceDataError):
        assert parse(json.dumps(document).encode()).providers == []


@pytest.mark.parametrize(
    "answer",
    [Answer(status=404), Answer(status=500), Answer(b"[" + b" " * 5000, cut_after=100), Answer(b"<html>", status=200)],
)
def test_a_fetch_that_fails_changes_nothing(tmp_path: Path, answer: Answer) -> None:
    with fixed_web({"/data.json": answer}) as server, pytest.raises(PriceDataError):
        update(tmp_path, f"{server.url}/data.json", NOW)

    assert not (tmp_path / FILE_NAME).exists()


def test_an_address_where_nobody_answers_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with fixed_web({}) as server:
        gone = f"{server.url}/data.json"
    with pytest.raises(PriceDataError, match="cannot be fetched") as failed:
        update(tmp_path, gone, NOW)

    assert "--file" in failed.value.remedy


@pytest.mark.parametrize("url", ["http://example.com/data.json", "file:///etc/passwd", "data.json", ""])
def test_only_https_is_trusted_beyond_this_machine(url: str) -> None:
    with pytest.raises(InputError, match="https"):
        fetch(url)


def test_the_source_is_the_publishers_own() -> None:
    assert source_url().startswith("https://")
    assert "genai-prices" in source_url()


@pytest.mark.parametrize("damage", [b"", b"not json\n[]", b"truncate", b"flip"])
def test_a_damaged_update_is_said_to_be_so_and_the_bundled_prices_hold(
    tmp_path: Path, price_json: Changed, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    update(tmp_path, put(tmp_path, price_json({SONNET: {"input_mtok": 1.5}})), NOW)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes({b"truncate": whole[:-10], b"flip": whole.replace(b"1.5", b"2.5")}.get(damage, damage))
    data = standing(tmp_path)

    assert data.source == bundled().source
    assert str(path) in (data.problem or "")
    assert "prices update" in caplog.text


def test_a_home_that_cannot_be_written_is_an_error_not_a_loss(tmp_path: Path, price_json: Changed) -> None:
    in_the_way = tmp_path / "home"
    in_the_way.write_text("a file")
    with pytest.raises(BreakevenError, match="cannot be"):
        update(in_the_way, put(tmp_path, price_json()), NOW)

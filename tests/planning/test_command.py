"""``breakeven plan`` and ``breakeven machines``."""

import json

import pytest
from typer.testing import CliRunner

from breakeven.cli.main import build

CONFIGURATION = """
[prices."anthropic/claude-sonnet-5-5"]
input = "2"
output = "10"
cache_read = "0.1"
cache_write_5m = "2.5"
source = "fixed for tests"
effective = "2026-01-01"
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "breakeven.toml").write_text(CONFIGURATION)
    return tmp_path


def run(*arguments, **options):
    return CliRunner().invoke(build(), [*arguments], **options)


def plan(*arguments, **options):
    return run("plan", *arguments, **options)


def test_the_seed_is_answered_verdict_first():
    found = plan("--preset", "seed-agents")

    assert found.exit_code == 0
    assert "infeasible" in found.stdout.splitlines()[0]
    for word in ("Load", "Reuse", "Boxes", "hardware", "Against", "What moves it most", "Rests on", "assumed"):
        assert word in found.stdout


def test_for_machines_it_explains_reuse_in_figures():
    found = json.loads(plan("--preset", "seed-agents", "--json").stdout)
    without, resident, _ = found["serving"]["reuse"]

    assert round(without["boxes_at_100_percent"], 1) == 16.5
    assert round(resident["boxes_at_100_percent"], 1) == 7.2
    assert "16.5 boxes" in found["serving"]["why_reuse"]
    assert found["rivals"][0]["price_source"] == "configuration: fixed for tests"


def test_the_plain_formula_gives_63_8_million():
    found = plan("--simple")

    assert "$166.67" in found.stdout
    assert "$24.82" in found.stdout
    assert "63.8 M tokens a month" in found.stdout


def test_with_30_dollars_of_electricity_the_plain_formula_gives_65_6_million():
    found = json.loads(plan("--simple", "--electricity-usd-monthly", "30", "--json").stdout)

    assert round(float(found["breakeven_tokens_monthly"]) / 1e6, 1) == 65.6


def test_flags_are_laid_over_the_preset():
    found = plan(
        "--preset",
        "seed-agents",
        "--boxes",
        "12",
        "--set",
        "box.resale_usd=1500",
        "--requests-per-day",
        "100",
        "--json",
    )
    scenario = json.loads(found.stdout)["scenario"]

    assert scenario["box"]["count"] == 12
    assert scenario["box"]["resale_usd"] == "1500"
    assert (scenario["workload"]["agents"], scenario["workload"]["requests_per_day"]) == (None, 100)


def test_a_scenario_file_is_laid_over_the_preset(home):
    (home / "mine.toml").write_text('name = "mine"\n[box]\nterm_months = 48\n')
    found = json.loads(plan("mine.toml", "--preset", "seed-agents", "--json").stdout)

    assert (found["scenario"]["name"], found["scenario"]["box"]["term_months"]) == ("mine", 48)
    assert found["machine"] == "m4-max-128"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--preset", "seed-agents", "--set", "box.term_months=0"], "box.term_months = 0"),
        (["--preset", "seed-agents", "--usd-per-kwh", "nan"], "box.usd_per_kwh"),
        (["--preset", "seed-agents", "--price-usd", "-5"], "box.purchase_usd"),
        (["--preset", "nothing"], "preset = 'nothing'"),
        (["--machine", "m9"], "no machine 'm9'"),
        (["--preset", "seed-agents", "--set", "term=3"], "section.key=value"),
        (["--preset", "seed-agents", "--plot", "picture.gif"], "--plot"),
        (["--preset", "seed-agents", "--plot", "missing/picture.svg"], "cannot be written"),
        (["--machine", "dgx-spark", "--requests-per-day", "10", "--plot", "a.svg"], "no curve to draw"),
        (["--simple", "--price-usd", "many"], "--price-usd"),
        (["--simple", "--usd-per-million", "0"], "--usd-per-million"),
        (["--simple", "--usd-per-million", "1e30"], "0.000001 to 100000"),
        (["--simple", "--watts", "sNaN"], "--watts"),
        (["--simple", "--watts=-5"], "0 to 100000"),
        (["--simple", "--usd-per-kwh", "inf"], "--usd-per-kwh"),
        (["--preset", "seed-agents", "--watts", "200"], "--watts"),
        (["--simple", "--machine", "m4-max-128"], "--machine"),
        (["--simple", "--preset", "seed-agents"], "beside --simple"),
        (["--trace", "t.csv", "--plot", "t.svg"], "--plot"),
        (["missing.toml"], "cannot be read"),
        (["--trace", "missing.csv"], "cannot be read"),
    ],
)
def test_bad_input_gets_one_clear_line_and_exit_code_2(arguments, named):
    found = plan(*arguments)

    assert found.exit_code == 2
    assert named in " ".join(found.stderr.split())
    assert not found.stdout


def test_bare_without_a_terminal_it_says_what_to_try():
    found = plan(input="")

    assert found.exit_code == 2
    assert "--preset seed-agents" in found.stderr


def test_bare_on_a_terminal_it_asks(monkeypatch):
    monkeypatch.setattr("breakeven.cli.plan.on_terminal", lambda: True)
    answers = ["my-own", "500", "1000", "100", "m3-ultra-256", "", "", "", "", ""]
    found = plan(input="\n".join(answers) + "\n")

    assert found.exit_code == 0
    assert "500 calls a day" in found.stdout
    assert "M3 Ultra" in found.stdout


def test_a_wrong_answer_is_asked_again(monkeypatch):
    monkeypatch.setattr("breakeven.cli.plan.on_terminal", lambda: True)
    answers = ["seed", "seed-agents", "", "", "", "", "", ""]
    found = plan(input="\n".join(answers) + "\n")

    assert found.exit_code == 0
    assert "One of" in found.stdout


@pytest.mark.parametrize("ending", ["svg", "png", "html"])
def test_a_plan_is_drawn(home, ending):
    found = plan("--preset", "seed-agents", "--plot", f"seed.{ending}")
    content = (home / f"seed.{ending}").read_bytes()

    assert found.exit_code == 0
    assert content.startswith({"svg": b"<?xml", "png": b"\x89PNG", "html": b"<!doctype html>"}[ending])


def test_the_page_needs_nothing_else_and_holds_picture_and_tables(home):
    plan("--preset", "seed-agents", "--plot", "seed.html")
    page = (home / "seed.html").read_text()

    assert page.count("<svg") == 1
    assert "<table" in page
    assert "Infeasible" in page
    assert "src=" not in page


def test_a_plan_without_a_volume_still_says_what_is_known_and_draws_the_curve(home):
    found = plan("--machine", "m4-max-128", "--plot", "curve.svg")

    assert found.exit_code == 0
    assert "the monthly volume is unknown" in " ".join(found.stdout.split())
    assert "H  hardware" in found.stdout
    assert (home / "curve.svg").exists()
    assert json.loads(plan("--machine", "m4-max-128", "--json").stdout)["likelihood"] is None


def test_what_is_unknown_is_named_on_the_terminal():
    found = plan(
        "--machine", "m2-ultra-192", "--requests-per-day", "100", "--cloud", "nobody/knows", "--hosted", "none"
    )

    assert found.exit_code == 0
    assert "Unknown: box.purchase_usd" in found.stdout
    assert "unknown" in found.stdout


def test_an_escalated_plan_is_drawn_without_bands(home):
    flags = ["--set", "escalation.share=0.2", "--set", "doubt.speed=0", "--plot", "hybrid.svg", "--small", "none"]

    assert plan("--preset", "document-batch", *flags).exit_code == 0
    assert (home / "hybrid.svg").exists()


def test_the_same_plan_is_drawn_the_same(home):
    for name in ("one.svg", "two.svg"):
        plan("--preset", "seed-agents", "--plot", name)

    assert (home / "one.svg").read_bytes() == (home / "two.svg").read_bytes()


def test_the_box_and_the_reference_of_the_configuration_are_what_a_plan_starts_from(home):
    (home / "breakeven.toml").write_text(
        '[box]\nmachine = "m3-ultra-256"\nusd_per_kwh = "0.31"\npower_meter = "modelled"\n'
        '[reference]\nprovider = "anthropic"\nmodel = "claude-haiku-5-5"\n'
    )
    own = json.loads(plan("--requests-per-day", "100", "--json").stdout)
    other = json.loads(plan("--requests-per-day", "100", "--machine", "m4-max-128", "--json").stdout)

    assert (own["machine"], own["scenario"]["box"]["usd_per_kwh"]) == ("m3-ultra-256", "0.31")
    assert own["rivals"][0]["model"] == "anthropic/claude-haiku-5-5"
    assert (other["machine"], other["scenario"]["box"]["usd_per_kwh"]) == ("m4-max-128", None)
    assert json.loads(plan("--tariff", "DE", "--tokens-monthly", "9", "--json").stdout)["machine"] == "m3-ultra-256"


def test_a_trace_is_replayed(home):
    rows = "".join(f"2026-03-01 09:00:{n:02}.5,{1000 + n},100\n" for n in range(60))
    (home / "trace.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)

    assert "60 requests" in plan("--trace", "trace.csv").stdout
    assert json.loads(plan("--trace", "trace.csv", "--json").stdout)["trace"]["requests"] == 60


def test_machines_models_and_tariffs_are_listed_with_their_sources():
    assert "m4-max-128" in run("machines").stdout
    assert "Apple" in run("machines", "m4-max-128").stdout
    assert json.loads(run("machines", "--json").stdout)[0]["price_usd"]["source"]
    assert json.loads(run("machines", "--models", "--json").stdout)[0]["kv_bytes_per_token"] == 320 * 1024
    assert json.loads(run("machines", "--tariffs", "--json").stdout)[0]["usd_per_kwh"]["value"] == "0.17"
    assert "California" in run("machines", "--tariffs").stdout
    assert "llama-3.3-70b-q4_k_m" in run("machines", "--models").stdout


def test_an_unknown_machine_gets_exit_code_2():
    assert run("machines", "m9").exit_code == 2

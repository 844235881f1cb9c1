from pathlib import Path

import pytest

from breakeven import config
from breakeven.config.profiles import PROFILES
from breakeven.config.reference import reference
from breakeven.errors import ConfigError, InputError

ROOT = Path(__file__).parents[2]


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = config.load(None, {"BREAKEVEN_HOME": str(tmp_path)})
    assert settings.gateway.host == "127.0.0.1"
    assert settings.home == tmp_path


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ("[gateway]\nport = 70000", "gateway.port", "65535"),
        ("[gateway]\nprot = 1", "gateway.prot", "no such key"),
        ("[box]\npurchase_usd = -1", "box.purchase_usd", "greater than or equal to 0"),
        ("[box]\nusd_per_kwh = nan", "box.usd_per_kwh", "finite"),
        ("[keys.me]\nsecret = 'sk-1234'", "keys.me.secret", "env:VARIABLE"),
        ("[providers.p]\nregion = 'eu'", "providers.p", "base_url, profile or any_llm"),
        ("[providers.p]\nprofile = 'cluade'", "providers.p.profile", "anthropic"),
        ("[providers.p]\nprofile = 'xai'\nkey = 'env:A'\nkeys = ['env:B']", "providers.p", "either key or keys"),
        ("[providers.p]\nprofile = 'groq'\nlocality = 'local'", "providers.p", "api.groq.com is no machine of yours"),
        ("[tasks.t]\nmodels = []", "tasks.t.models", "at least 1"),
        ("[tasks.t.gates]\nmatches = ['(']", "tasks.t.gates.matches.0", "a regular expression"),
        ("[models.auto]\nprovider = 'engine'\nmodel = 'x'", "models.auto", "another name"),
        ("[models.m]\nprovider = 'nobody'\nmodel = 'x'", "models.m.provider", "one of engine"),
        ("[ledger]\non_journal_failure = 'ignore'", "ledger.on_journal_failure", "refuse"),
        ("[prices.'a/b']\ninput = 1\noutput = 2\nsource = 'x'", "prices.a/b.effective", "required"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(tmp_path: Path, toml: str, key: str, said: str) -> None:
    file = tmp_path / "breakeven.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError, match=said) as caught:
        config.load(file, {})
    assert caught.value.key == key


def test_several_wrong_keys_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "breakeven.toml"
    file.write_text("[gateway]\nport = -1\nhots = 2")
    with pytest.raises(ConfigError, match="1 more key"):
        config.load(file, {})


@pytest.mark.parametrize("content", [b"[gateway", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "breakeven.toml"
    file.write_bytes(content)
    with pytest.raises(InputError, match="not valid TOML") as caught:
        config.load(file, {})
    assert "\n" not in str(caught.value)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        config.find_file(tmp_path / "absent.toml", {})


@pytest.mark.parametrize(
    "line",
    [
        "key = 'sk-very-secret'",
        "keys = ['sk-very-secret']",
        "key = 'env:A'\nkeys = ['sk-very-secret', 'env:B']",
        "key = 'keychain:sk-very-secret'",
        "profile = 'nobody'\nkey = 'sk-very-secret'",
    ],
)
def test_a_secret_never_shows_in_the_error_about_it(tmp_path: Path, line: str) -> None:
    file = tmp_path / "breakeven.toml"
    file.write_text(f"[providers.p]\nbase_url = 'http://127.0.0.1:1/v1'\n{line}")
    with pytest.raises(ConfigError) as caught:
        config.load(file, {})
    assert "sk-very-secret" not in str(caught.value)


def test_a_profile_is_a_whole_entry_and_what_is_given_comes_before_it() -> None:
    settings = config.parse(
        {"providers": {"claude": {"profile": "anthropic"}, "eu": {"profile": "openai", "key": "env:EU"}}}
    )

    assert settings.providers["claude"].base_url == "https://api.anthropic.com/v1"
    assert settings.providers["claude"].dialect == "anthropic"
    assert settings.providers["claude"].key_references == ("env:ANTHROPIC_API_KEY",)
    assert settings.providers["eu"].key_references == ("env:EU",)


def test_a_profiles_key_goes_to_no_other_address() -> None:
    elsewhere = {"profile": "openai", "base_url": "https://proxy.example/v1"}

    assert config.parse({"providers": {"p": elsewhere}}).providers["p"].key_references == ()


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_parses_and_is_local_or_has_a_key_and_a_price_book(name: str) -> None:
    provider = config.parse({"providers": {"p": {"profile": name}}}).providers["p"]

    assert provider.base_url.startswith("http://127.0.0.1:") or (provider.key_references and provider.catalog)


def test_a_table_replaces_the_task_that_comes_along() -> None:
    settings = config.parse({"tasks": {"tag": {"models": ["big"]}, "own": {}}})

    assert settings.all_tasks["tag"].models == ("big",)
    assert settings.all_tasks["summarise"].models == ("local", "frontier")
    assert "own" in settings.all_tasks


def test_the_reference_page_is_in_step_with_the_settings() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m breakeven.config.reference > docs/configuration.md"

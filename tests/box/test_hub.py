"""Fetching from a Hugging Face hub, from a real server that speaks its interface."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.box.gguf_files import gguf
from tests.fakes.web import Answer, Asked, Web, as_json, web

from breakeven.box.hub import HubTarget, pull
from breakeven.box.models import ModelFile, ModelStore
from breakeven.errors import InputError, ModelFileError

REVISION = "0123456789abcdef0123456789abcdef01234567"
MODEL = gguf(data=0) + random.Random(7).randbytes(300_000)


@dataclass
class Hub:
    """Files of one repository, delivered from another host as the real hub does, with faults on demand."""

    files: dict[str, bytes]
    delivery_url: str = ""
    delivered: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    ignores_ranges: bool = False
    token: str | None = None
    ranges: list[str | None] = field(default_factory=list)
    delivery_headers: list[dict[str, str]] = field(default_factory=list)

    def describe(self, asked: Asked) -> Answer:
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(status=401)
        if asked.path == "/api/models/maker/model-GGUF":
            return as_json({"id": "maker/model-GGUF", "sha": REVISION, "cardData": {"license": "llama3.3"}})
        if asked.path == f"/api/models/maker/model-GGUF/tree/{REVISION}?recursive=true":
            entries = [self._entry(path, content) for path, content in self.files.items()]
            following = {"Link": f'<{self.url}/page2>; rel="next"'}
            return as_json(
                [{"type": "file", "path": "README.md", "size": 5, "oid": "0" * 40}, *entries[:1]], **following
            )
        if asked.path == "/page2":
            return as_json([self._entry(path, content) for path, content in list(self.files.items())[1:]])
        if asked.path.startswith(f"/maker/model-GGUF/resolve/{REVISION}/"):
            name = asked.path.rsplit(f"{REVISION}/")[1]
            return Answer(status=302, headers={"Location": f"{self.delivery_url}/{name}"})
        return Answer(status=404)

    def deliver(self, asked: Asked) -> Answer:
        name = unquote(asked.path[1:])
        content = self.delivered.get(name, self.files[name])
        self.delivery_headers.append(asked.headers)
        wanted = asked.headers.get("range")
        self.ranges.append(wanted)
        cut = self.cuts.pop(0) if self.cuts else None
        if wanted and not self.ignores_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            return Answer(content[start:], status=206, cut_after=cut)
        return Answer(content, cut_after=cut)

    url: str = ""

    @staticmethod
    def _entry(path: str, content: bytes) -> dict[str, object]:
        oid = hashlib.sha256(content).hexdigest()
        return {"type": "file", "path": path, "size": len(content), "lfs": {"oid": oid, "size": len(content)}}


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub({"model-Q4_K_M.gguf": MODEL, "model-Q8_0.gguf": MODEL + b"\0"})
    with web(hub.describe) as described, web(hub.deliver) as delivered:
        hub.url, hub.delivery_url = described.url, delivered.url
        yield hub


def fetch(hub: Hub | Web, home: Path, target: str = "maker/model-GGUF", **environment: str) -> ModelFile:
    parsed = HubTarget.parse(target)
    assert parsed is not None
    return pull(parsed, ModelStore(home), environment={"HF_ENDPOINT": hub.url, **environment}, sleep=lambda _: None)


def parts(home: Path) -> list[Path]:
    return list((home / "models").glob(".*.part"))


def test_a_repository_with_several_files_gives_the_usual_quantisation(hub: Hub, tmp_path: Path) -> None:
    model = fetch(hub, tmp_path)
    assert model.path.read_bytes() == MODEL
    assert (model.name, model.size, model.license) == ("model-Q4_K_M", len(MODEL), "llama3.3")
    assert model.source == "maker/model-GGUF:model-Q4_K_M.gguf"
    assert model.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert ModelStore(tmp_path).find("model-Q4_K_M") == model
    assert parts(tmp_path) == []


@pytest.mark.parametrize("wanted", ["model-Q8_0.gguf", "q8_0", "Q8_0"])
def test_a_file_or_a_quantisation_can_be_named(wanted: str, hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path, f"maker/model-GGUF:{wanted}").name == "model-Q8_0"


def test_an_interrupted_download_goes_on_by_itself(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [100_000, 50_000, 0]
    assert fetch(hub, tmp_path).path.read_bytes() == MODEL
    assert hub.ranges[0] is None
    assert all(again and again.startswith("bytes=") for again in hub.ranges[1:])
    assert len(hub.ranges) == 4


def test_what_arrived_before_giving_up_is_used_the_next_time(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [100_000, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ModelFileError, match="goes on where it stopped"):
        fetch(hub, tmp_path)
    (part,) = parts(tmp_path)
    kept = part.stat().st_size
    assert 0 < kept <= 100_000
    hub.cuts = []
    hub.ranges.clear()
    assert fetch(hub, tmp_path).path.read_bytes() == MODEL
    assert hub.ranges == [f"bytes={kept}-"]


def test_a_server_without_ranges_is_read_from_the_start(hub: Hub, tmp_path: Path) -> None:
    hub.cuts, hub.ignores_ranges = [100_000], True
    assert fetch(hub, tmp_path).path.read_bytes() == MODEL


@pytest.mark.parametrize("came", [MODEL[:-1] + b"?", MODEL + b"more"])
def test_a_corrupted_file_is_refused_and_deleted(came: bytes, hub: Hub, tmp_path: Path) -> None:
    hub.delivered = {"model-Q4_K_M.gguf": came}
    with pytest.raises(ModelFileError, match="is not what the hub's checksum says"):
        fetch(hub, tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_corrupted_beginning_from_an_earlier_run_is_noticed(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [100_000, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ModelFileError):
        fetch(hub, tmp_path)
    (part,) = parts(tmp_path)
    part.write_bytes(b"X" + part.read_bytes()[1:])
    hub.cuts = []
    with pytest.raises(ModelFileError, match="checksum"):
        fetch(hub, tmp_path)
    assert fetch(hub, tmp_path).path.read_bytes() == MODEL


def test_a_file_that_is_no_model_is_refused_even_with_the_right_checksum(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"x.gguf": b"GGUF but not really"}
    with pytest.raises(ModelFileError, match="is damaged"):
        fetch(hub, tmp_path)


def test_the_token_opens_gated_repositories_and_stays_with_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    with pytest.raises(InputError, match=r"refuses .*HF_TOKEN"):
        fetch(hub, tmp_path)
    fetch(hub, tmp_path, HF_TOKEN="hf_secret")
    assert all("authorization" not in headers for headers in hub.delivery_headers)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("maker/other", "does not exist on the hub"),
        ("maker/model-GGUF:Q3", r"'Q3' fits no file: model-Q4_K_M\.gguf, model-Q8_0\.gguf"),
        ("maker/model-GGUF:model", "fits several files"),
    ],
)
def test_an_unclear_choice_is_refused_with_the_choices(target: str, complaint: str, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        fetch(hub, tmp_path, target)


def test_a_repository_of_parts_or_without_models_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"m-Q8_0-00001-of-00002.gguf": MODEL, "m-Q8_0-00002-of-00002.gguf": MODEL}
    with pytest.raises(InputError, match="split over several files"):
        fetch(hub, tmp_path)
    hub.files = {"model.safetensors": b"", "mmproj-model.gguf": MODEL}
    with pytest.raises(InputError, match="holds no GGUF file"):
        fetch(hub, tmp_path)


def test_a_name_that_another_model_has_is_refused_before_fetching(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path)
    hub.files = {"model-Q4_K_M.gguf": MODEL + b"changed"}
    hub.ranges.clear()
    with pytest.raises(InputError, match="belongs to maker/model-GGUF"):
        fetch(hub, tmp_path)
    assert hub.ranges == []


def test_a_disk_too_small_is_noticed_before_fetching(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(ModelFileError, match=r"needs 0\.0 GB more"):
        fetch(hub, tmp_path)


def test_a_hub_that_cannot_be_reached_or_is_none_is_named(tmp_path: Path) -> None:
    with web(lambda _: Answer(b"<html>")) as other, pytest.raises(ModelFileError, match="as a Hugging Face hub does"):
        fetch(other, tmp_path)
    with pytest.raises(ModelFileError, match="cannot be reached"):
        fetch(other, tmp_path)
    with web(lambda _: Answer(status=503)) as ailing, pytest.raises(ModelFileError, match="answered 503"):
        fetch(ailing, tmp_path)


@pytest.mark.parametrize("text", ["demo", "a/b/c", "/etc/x", "./x", "a/", "a b/c", "owner/name:"])
def test_other_targets_are_not_repositories(text: str) -> None:
    assert HubTarget.parse(text) is None

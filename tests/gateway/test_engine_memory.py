"""An engine that gets too little memory for its model: the gateway lives, says the arithmetic, and serves the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.fakes.upstream import Upstream

from breakeven.box.models import ModelFile

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to ulimit -v"),
]
HELLO = [{"role": "user", "content": "Hello."}]


def test_a_model_without_room_costs_its_calls_and_no_others(
    tmp_path: Path, fake: Upstream, demo_model: ModelFile
) -> None:
    configuration = tmp_path / "breakeven.toml"
    configuration.write_text(
        f"""
[engine]
model = "{demo_model.path}"
slots = 64
cache_ram_mib = 0
[providers.house]
base_url = "{fake.url}"
locality = "local"
[models.other]
provider = "house"
model = "ok"
[tasks.either]
models = ["local", "other"]
"""
    )
    serve = f"{sys.executable} -m breakeven serve --port 0 --json --config {configuration}"
    command = ["sh", "-c", f"ulimit -v 3000000; exec {serve}"]  # 64 slots of 8,192 tokens take 11.25 GiB
    environment = {**os.environ, "BREAKEVEN_HOME": str(tmp_path)}
    words = tmp_path / "words.log"
    with words.open("wb") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
    ) as gateway:  # fmt: skip
        try:
            assert gateway.stdout is not None
            announced = json.loads(gateway.stdout.readline())  # pytest's own limit ends a wait without an end
            assert announced["ready"] is False
            with httpx.Client(base_url=announced["url"], timeout=60) as client:

                def ask(model: str) -> httpx.Response:
                    return client.post("/v1/chat/completions", json={"model": model, "messages": HELLO})

                refused = ask("local")
                assert refused.status_code == 503
                error = refused.json()["error"]
                assert error["code"] == "engine_unavailable"
                assert "GiB needed, 2.9 GiB usable (ulimit -v of this process)" in error["message"]
                assert ask("other").status_code == 200
                elsewhere = ask("task:either")
                assert elsewhere.status_code == 200
                assert elsewhere.json()["model"] == "ok-served"
                ready = client.get("/ready")
                assert (ready.status_code, ready.json()["ready"]) == (503, False)
                assert "could not be loaded" in ready.json()["checks"]["engine"]
            assert gateway.poll() is None
        finally:
            gateway.kill()
            gateway.wait(30)
    said = words.read_text()
    assert "Lower engine.context or engine.slots, or allow it more memory" in said
    assert said.count("is loaded anew") < 12  # a pause of a quarter of a second, then twice as long each time

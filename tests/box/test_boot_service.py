"""Files for the system's service manager."""

from __future__ import annotations

import json
import plistlib
import sys
from pathlib import Path

import pytest

from breakeven.box.boot_service import boot_service, system_of
from breakeven.cli.main import main
from breakeven.errors import InputError

HOME = Path("/home/ada")


def test_the_systemd_unit_serves_and_comes_back_by_itself() -> None:
    found = boot_service(
        "systemd", ("/opt/py thon", "-m", "breakeven"), home=HOME, logs=HOME, config=Path("/etc/100%.toml"), user_id=7
    )
    assert found.path == HOME / ".config/systemd/user/breakeven.service"
    assert 'ExecStart="/opt/py thon" -m breakeven serve --config "/etc/100%%.toml"\n' in found.text
    assert "Restart=always" in found.text
    assert found.start == ("systemctl", "--user", "enable", "--now", "breakeven.service")


def test_the_launch_agent_serves_and_is_kept_alive() -> None:
    found = boot_service("launchd", ("py", "-m", "breakeven"), home=HOME, logs=Path("/l"), config=None, user_id=501)
    document = plistlib.loads(found.text.encode())
    assert document["ProgramArguments"] == ["py", "-m", "breakeven", "serve"]
    assert (document["KeepAlive"], document["RunAtLoad"]) == (True, True)
    assert document["StandardErrorPath"] == "/l/service.log"
    assert found.start[:3] == ("launchctl", "bootstrap", "gui/501")


def test_other_systems_are_told_what_to_run() -> None:
    assert (system_of("darwin"), system_of("linux")) == ("launchd", "systemd")
    with pytest.raises(InputError, match=r"not on win32\. Have your system run: breakeven serve"):
        system_of("win32")


@pytest.mark.skipif(sys.platform != "linux", reason="asks for the systemd file")
def test_install_show_and_uninstall_only_touch_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> dict[str, object]:
        with pytest.raises(SystemExit) as ended:
            main(["service", *words, "--json"])
        assert ended.value.code == 0
        answer: dict[str, object] = json.loads(capsys.readouterr().out)
        return answer

    path = tmp_path / ".config/systemd/user/breakeven.service"
    assert run("install", "--dry-run")["state"] == "would be written"
    assert not path.exists()
    assert run("show")["state"] == "not installed"
    assert run("install")["state"] == "written"
    assert run("show")["state"] == "installed"
    path.write_text(path.read_text() + "# edited\n")
    assert run("show")["state"] == "installed, different"
    assert run("uninstall")["state"] == "deleted"
    assert not path.exists()
    assert run("uninstall")["state"] == "not installed"

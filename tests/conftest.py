"""The demo model, pulled once and shared by all tests that run the real engine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from breakeven.box.models import ModelFile, resolve


@pytest.fixture(scope="session")
def demo_model() -> ModelFile:
    shared = os.environ.get("BREAKEVEN_TEST_MODELS", str(Path(tempfile.gettempdir()) / "breakeven-test-models"))
    return resolve("demo", Path(shared))

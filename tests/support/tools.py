"""What a test needs and no wheel brings: looked up, and missed aloud."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """End a test that cannot run, and say *what* it lacks: a failure in CI, a skip elsewhere."""
    message = f"{what}: this test did not run"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def require(program: str, package: str) -> str:
    """Path of *program*; without it the test fails in CI and says elsewhere what to install."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed (Debian package {package})")
    return path

"""Programs that cannot come as wheels: looked up, and missed aloud."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str, package: str) -> str:
    """Path of *program*; without it the test fails in CI and says elsewhere what to install."""
    path = shutil.which(program)
    if path is None:
        message = f"{program} is not installed (Debian package {package}): this test did not run"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path

"""One model, built for macOS and iOS."""

from __future__ import annotations

import pytest
from apple_models import Built, build_apple


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The nano model."""
    return build_apple("nano", tmp_path_factory.mktemp("apple"))

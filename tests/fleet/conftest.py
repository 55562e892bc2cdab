"""Models of every kind, locked in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.serving import Catalogue
from tests.fleet import examples


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder: Path = tmp_path_factory.mktemp("models")
    return examples.catalogue(folder)

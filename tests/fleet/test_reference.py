"""What docs say of settings is what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet import modes, reference
from fleet.combine import whole_number
from fleet.flags import GONE_ENV
from fleet.settings import Data

DOCS = Path(__file__).parent.parent.parent / "docs"
MODES = (DOCS / "modes.md").read_text()


def test_the_page_of_settings_is_up_to_date() -> None:
    """After a change: fleet settings --markdown > docs/settings.md"""
    assert (DOCS / "settings.md").read_text() == reference.markdown()


def test_every_setting_is_listed_once_and_explained() -> None:
    listed = [row for rows in reference.sections().values() for row in rows]
    names = [field.alias or key for key, field in Data.model_fields.items()]
    assert sorted(row.key for row in listed) == sorted(names)
    assert not [row.key for row in listed if not row.meaning]


def test_every_command_is_in_the_table() -> None:
    page = (DOCS / "operations.md").read_text()
    deploys = {path.name for path in DOCS.parent.glob("*.py")} - {"config.py", "inventory.py"}
    assert not [one for one in sorted(deploys) if f"| `pyinfra inventory.py {one}" not in page]


@pytest.mark.parametrize("name", [n for n in modes.names() if not n.startswith("lab-")])
def test_the_page_of_modes_has_the_numbers_of_the_mode(name: str) -> None:
    mode = modes.load(name)
    row = next(line for line in MODES.splitlines() if line.startswith(f"| `{name}` |"))
    memory, context, requests = (cell.strip() for cell in row.split("|")[3:6])
    assert memory == f"{mode.memory_fraction:.2f}"
    assert context == f"{whole_number(mode.args['max-model-len']):,}"
    assert requests == str(mode.args["max-num-seqs"])


@pytest.mark.parametrize("name", ["VLLM_USE_V1", "VLLM_MEMORY_FRACTION", "VLLM_ENABLE_NVFP4"])
def test_the_variables_of_the_original_kit_are_refused_and_explained(name: str) -> None:
    assert name in GONE_ENV
    assert f"| `{name}=" in MODES

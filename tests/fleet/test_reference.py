"""What docs say of settings is what the code does."""

from __future__ import annotations

from pathlib import Path

from fleet import reference
from fleet.settings import Data

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_page_of_settings_is_up_to_date() -> None:
    """After a change: fleet settings --markdown > docs/settings.md"""
    assert (DOCS / "settings.md").read_text() == reference.markdown()


def test_every_setting_is_listed_once_and_explained() -> None:
    listed = [row for rows in reference.sections().values() for row in rows]
    names = [field.alias or key for key, field in Data.model_fields.items()]
    assert sorted(row.key for row in listed) == sorted(names)
    assert not [row.key for row in listed if not row.meaning]

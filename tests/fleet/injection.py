"""Every place of the settings that takes text, and what becomes of hostile text in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fleet import settings
from fleet.catalogue import Catalogue
from fleet.problems import SettingsError
from tests.fleet.examples import DATA, where
from tests.fleet.payloads import PAYLOADS


def shapes(key: str) -> Iterator[Any]:
    """Ways to put text into ``key``: bare, in a list, in a mapping's value and in its key."""
    for text in PAYLOADS:
        yield text
        yield [text]
        yield {"name": text}
        yield {text: "value"}
        if key == "vllm_args":
            yield {"chat-template": text}
        if key == "docker_daemon":
            yield {"log-opts": {"tag": text}}


def tried(files: Catalogue) -> tuple[int, list[tuple[str, Any]], list[SettingsError]]:
    """Cases, those that were accepted, and the refusals of the others."""
    cases, accepted, refused = 0, [], []
    for key in sorted(settings.Data.model_fields):
        name = settings.Data.model_fields[key].alias or key
        for value in shapes(key):
            cases += 1
            try:
                settings.load("h", {**DATA, name: value}, where, catalogue=files)
            except SettingsError as error:
                refused.append(error)
            else:
                accepted.append((name, value))
    return cases, accepted, refused

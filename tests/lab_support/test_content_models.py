"""The lab's models are the same bytes everywhere: their locks in models/ say which."""

import json
import struct
from pathlib import Path

import pytest

from fleet import models as fleet_models
from lab.content import locks
from lab.content.llama import EOS, SPECIAL, byte_alphabet, successors, vocabulary
from lab.content.models import MODELS, HubRepo, sharded, tiny

REPOS = [make() for make in MODELS.values()]


@pytest.mark.parametrize("repo", REPOS, ids=lambda repo: repo.name)
def test_the_lock_in_git_is_the_one_of_these_bytes(repo: HubRepo) -> None:
    file = Path(fleet_models.MODELS) / fleet_models.file_name(repo.name)
    assert file.read_text() == locks.text(repo)


@pytest.mark.parametrize("repo", REPOS, ids=lambda repo: repo.name)
def test_the_lock_loads_as_a_models_lock(repo: HubRepo) -> None:
    lock = fleet_models.load(repo.name)
    assert lock.revision == repo.commit
    assert {file.path: file.size for file in lock.files} == {
        path: len(content) for path, content in repo.files.items()
    }


def header(content: bytes) -> dict[str, dict[str, list[int]]]:
    length = struct.unpack("<Q", content[:8])[0]
    found = json.loads(content[8 : 8 + length])
    found.pop("__metadata__")
    assert max(row["data_offsets"][1] for row in found.values()) == len(content) - 8 - length
    return found  # type: ignore[no-any-return]


def test_the_index_names_every_tensor_and_its_file() -> None:
    repo = sharded()
    where = json.loads(repo.files["model.safetensors.index.json"])["weight_map"]
    shards = {path for path in repo.files if path.endswith(".safetensors")}
    assert len(shards) == 14
    assert set(where.values()) == shards
    for path in shards:
        assert set(header(repo.files[path])) == {key for key, name in where.items() if name == path}


def test_both_models_have_the_tensors_of_their_config() -> None:
    config = json.loads(tiny().files["config.json"])
    tensors = header(tiny().files["model.safetensors"])
    assert len(tensors) == 3 + 9 * config["num_hidden_layers"]
    assert tensors["lm_head.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]


def test_every_chain_of_words_ends() -> None:
    classes, following = successors()
    for start in range(3):
        token, steps = following[start], 0
        while token != EOS:
            token, steps = following[classes[token]], steps + 1
            assert steps < 64
        assert steps > 5


def test_the_tokenizer_has_every_byte_once() -> None:
    assert len(set(byte_alphabet())) == 256
    assert byte_alphabet()[ord("a")] == "a" and byte_alphabet()[ord(" ")] == "\u0120"
    numbers = sorted(vocabulary().values())
    assert numbers == list(range(len(numbers)))
    assert [vocabulary()[token] for token in SPECIAL] == [0, 1, 2]

"""What a person is told about a change, and what is kept from them."""

from __future__ import annotations

from fleet import render
from fleet.difference import differences, facts
from fleet.serving import load

DATA = {
    "vllm_mode": "lab-standard",
    "vllm_model": "lab/tiny",
    "vllm_image": f"registry.lab:5000/vllm@sha256:{'0' * 64}",
}


def release(**data: object) -> render.Release:
    return render.release(load({**DATA, **data}, lambda key: "test"))


def test_equal_releases_differ_in_nothing() -> None:
    assert differences(release().files, release().files) == []


def test_each_change_is_one_line_with_before_and_after() -> None:
    before = release(vllm_args={"max-num-seqs": 2}, vllm_env={"OMP_NUM_THREADS": "1"})
    after = release(
        vllm_mode="lab-alternative",
        vllm_image=f"registry.lab:5000/vllm@sha256:{'1' * 64}",
        vllm_args={"max-num-seqs": None},
        port=8001,
    )
    told = differences(before.files, after.files)
    assert "mode: lab-standard → lab-alternative" in told
    assert any(line.startswith("image: ") and line.endswith("1" * 64) for line in told)
    assert "port: 8000 → 8001" in told
    assert "argument max-model-len: 512 → 1024" in told
    assert "argument max-num-seqs: 2 → none" in told
    assert "argument enable-prefix-caching: true → false" in told
    assert "environment OMP_NUM_THREADS: 1 → none" in told
    assert not any(line.startswith("argument port") for line in told), "told once"


def test_the_first_release_is_told_in_short() -> None:
    told = differences({}, release().files)
    assert told[0] == "mode: lab-standard"
    assert len(told) == 7


def test_secrets_are_not_shown() -> None:
    before = {"release.json": '{"mode": "a"}', "vllm.env": "MY_API_KEY=one\nX=hf_abcdefghijkl\n"}
    after = {"release.json": '{"mode": "a"}', "vllm.env": "MY_API_KEY=two\nX=plain\n"}
    assert differences(before, after) == [
        "environment MY_API_KEY: (hidden) → (hidden)",
        "environment X: (hidden) → plain",
    ]


def test_a_change_in_the_compose_file_alone_is_told() -> None:
    wanted = dict(release().files)
    running = {**wanted, "compose.yaml": "name: other\n"}
    assert differences(running, wanted) == ["how the container is run (compose.yaml)"]


def test_an_unreadable_release_has_no_facts() -> None:
    assert facts({"release.json": "{"}) == {}
    assert facts({"release.json": "[]"}) == {}
    assert facts({}) == {}

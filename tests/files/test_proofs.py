"""What a server says of itself against what is claimed, and every way to contradict a claim."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import answers
import auth_probe
import completion
import golden
import layout
import observation
import proofs
import pytest
import startlog
import transaction
from errors import HostError
from release import Release, parse

from fleet import mode_claims
from tests.files.standin_process import NAME, Standin, free_port, standin
from tests.fleet.web import Reply, site

REAL = (Path(__file__).parent / "engine_lines.txt").read_text().splitlines()
FLAGS = (
    *("--max-model-len", "512", "--enforce-eager", "--enable-prefix-caching"),
    *("--kv-cache-dtype", "fp8", "--gpu-memory-utilization", "0.5", "--dtype", "float32"),
    *("--attention-backend", "FLASHINFER", "--moe-backend", "marlin"),
    "--speculative-config",
    '{"method": "eagle3", "model": "draft", "num_speculative_tokens": 3}',
)
CLAIMS: dict[str, list[Any]] = {
    "attention_backend": ["FLASHINFER"],
    "cudagraph_mode": ["NONE"],
    "dtype": ["float32"],
    "enforce_eager": [True],
    "gpu_memory_utilization": [0.5],
    "kernel_fallback": ["none"],
    "kv_cache_dtype": ["fp8", "fp8_e4m3"],
    "max_model_len": [512],
    "moe_backend": ["marlin"],
    "prefix_caching": [True],
    "quantization": ["none"],
    "served_name": [NAME],
    "speculation": ["eagle3:3"],
    "speculation_accepts": [True],
    "trust_remote_code": [False],
}
FP4 = "Weight-only FP4 compression will be used leveraging the Marlin kernel."


def release_of(server: Standin, **claims: list[Any]) -> Release:
    return parse_release(server.port, **claims)


def parse_release(port: int, **claims: list[Any]) -> Release:
    facts = {
        **{"digest": "0" * 12, "mode": "m", "model": NAME, "revision": "r", "image": "i"},
        **{"served_name": NAME, "listen": "127.0.0.1", "port": port},
        **{"ready_timeout_s": 5, "drain_timeout_s": 5, "stall_timeout_s": 5},
        **{"memory_needed_kib": 0, "container": "no-such", "claims": {**CLAIMS, **claims}},
    }
    return parse(facts, Path("release.json"))


def proved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lies: dict[str, Any]
) -> dict[str, proofs.Proof]:
    """The proofs of a server that was started with these lies."""
    environ = {f"STANDIN_{name.upper()}": json.dumps(value) for name, value in lies.items()}
    with standin(folder, *FLAGS, **environ) as server:
        release = release_of(server)
        said = [line for line in (folder / "log").read_text().splitlines() if startlog.tells(line)]
        record = {"release": release.digest, "said": said}
        (folder / "serving.json").write_text(json.dumps(record))
        monkeypatch.setattr(layout, "SERVING", folder / "serving.json")
        seen = observation.observe(release)
    return {proof.name: proof for proof in proofs.prove(release.claims, seen)}


def test_an_honest_server_shows_every_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = proved(tmp_path, monkeypatch, {})
    assert {name: proof.verdict for name, proof in found.items()} == dict.fromkeys(CLAIMS, "shown")
    assert "metrics: vllm:cache_config_info" in found["kv_cache_dtype"].line
    assert "log: kv_cache_dtype=fp8" in found["kv_cache_dtype"].line


TRITON, CUTLASS = (
    "Using TRITON_ATTN backend.",
    "Using 'FLASHINFER_CUTLASS' NvFp4 MoE backend out of",
)
LIES: list[tuple[str, dict[str, Any]]] = [
    ("attention_backend", {"silent_kernels": True, "log_lines": [TRITON]}),
    ("moe_backend", {"silent_kernels": True, "log_lines": [CUTLASS]}),
    ("cudagraph_mode", {"log_lines": ["... not supported; setting cudagraph_mode=PIECEWISE"]}),
    ("dtype", {"engine_config": {"dtype": "torch.bfloat16"}}),
    ("enforce_eager", {"engine_config": {"enforce_eager": "False"}}),
    ("gpu_memory_utilization", {"cache_config": {"gpu_memory_utilization": "0.92"}}),
    ("kernel_fallback", {"log_lines": [FP4]}),
    ("kv_cache_dtype", {"cache_config": {"cache_dtype": "auto"}}),
    ("max_model_len", {"max_model_len": 256}),
    ("prefix_caching", {"cache_config": {"enable_prefix_caching": "False"}}),
    ("quantization", {"engine_config": {"quantization": "mxfp4"}}),
    ("speculation", {"engine_config": {"speculative_config": "None"}}),
    ("speculation_accepts", {"metrics": {"vllm:spec_decode_num_accepted_tokens_total": 0}}),
    ("trust_remote_code", {"engine_config": {"trust_remote_code": "True"}}),
]


@pytest.mark.parametrize(("name", "lies"), LIES, ids=[name for name, _ in LIES])
def test_each_claim_can_be_refuted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lies: dict[str, Any]
) -> None:
    found = proved(tmp_path, monkeypatch, lies)
    assert [proof.name for proof in proofs.refuted(found.values())] == [name]


def test_no_other_claim_is_left_that_nothing_refutes() -> None:
    """``served_name`` fails the completion before; the rest is no server's to lie about."""
    told = {name for name, _ in LIES}
    assert set(CLAIMS) - told == {"served_name"}
    others = {"image": "other@sha256:1", "listen": "0.0.0.0", "model": "/models/hub/other",
              "linear_backend": "CutlassNvFp4LinearKernel", "kv_cache_memory_bytes": 1024,
              "served_name": "other"}  # fmt: skip
    assert set(mode_claims._FROM_ARGUMENTS) <= {*CLAIMS, *others}
    for name, value in others.items():
        seen = observation.Seen([observation.Observation(name, value, "log", "a line")])
        [proof] = proofs.prove({name: ["marlin"]}, seen)
        assert (proof.verdict, proof.line) == ("refuted", "log: a line")


def test_what_nothing_says_is_unknown_and_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with standin(tmp_path, *FLAGS, STANDIN_METRICS_STATUS="500") as server:
        monkeypatch.setattr(layout, "SERVING", tmp_path / "none.json")
        release = release_of(server)
        found = proofs.prove(release.claims, observation.observe(release))
    by_name = {proof.name: proof for proof in found}
    assert by_name["kv_cache_dtype"].verdict == "unknown"
    assert "metrics: /metrics gave no answer; log: " in by_name["kv_cache_dtype"].line
    assert by_name["max_model_len"].verdict == "shown"


def test_a_count_that_the_server_does_not_keep_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = proved(tmp_path, monkeypatch, {"metrics": {observation.ACCEPTED: None}})
    proof = found["speculation_accepts"]
    assert proof.verdict == "unknown" and f"/metrics has no {observation.ACCEPTED}" in proof.line
    assert proofs.refuted(found.values()) == []


def test_the_real_servers_line_is_understood() -> None:
    plain, speculative = (
        {name: value for name, value, _ in startlog.read([line])} for line in REAL
    )
    assert plain == {
        **{"cudagraph_mode": "NONE", "dtype": "float32", "enforce_eager": True},
        **{"kernel_fallback": "none", "kv_cache_dtype": "auto", "max_model_len": 512},
        **{"model": "/models/lab--tiny", "prefix_caching": True, "quantization": "none"},
        **{"served_name": "lab/tiny", "speculation": "none", "trust_remote_code": False},
    }
    assert speculative["speculation"] == "draft_model:3"
    assert startlog.version(REAL) == "0.32.0"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("Using FLASHINFER backend.", "attention_backend", "FLASHINFER"),
        (
            "Using TRITON_MLA attention backend out of potential backends: ['TRITON_MLA'].",
            "attention_backend",
            "TRITON_MLA",
        ),
        ("Cannot use FLASHINFER backend on CPU.", "attention_backend", "CPU_ATTN"),
        ("Using 'MARLIN' NvFp4 MoE backend out of potential", "moe_backend", "marlin"),
        ("Using FLASHINFER_CUTLASS Fp8 MoE backend out of", "moe_backend", "flashinfer_cutlass"),
        (
            "Using MarlinNvFp4LinearKernel for NVFP4 GEMM",
            "linear_backend",
            "MarlinNvFp4LinearKernel",
        ),
        (
            "NVFP4 linear falling back to the slow and unoptimized emulation backend",
            "kernel_fallback",
            "emulation",
        ),
    ],
)
def test_later_lines_are_understood(line: str, name: str, value: str) -> None:
    assert startlog.tells(line)
    assert (name, value) in [found[:2] for found in startlog.read([REAL[0], line])]


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("flashinfer_cutlass", "Using 'FLASHINFER_CUTLASS_MXFP4_BF16' Mxfp4 MoE backend."),
        ("b12x", "Using 'B12X_MXFP4_MXFP8' Mxfp4 MoE backend."),
        ("deep_gemm", "Using DEEPGEMM Fp8 MoE backend out of potential"),
        ("cutlass", "Using BATCHED_VLLM_CUTLASS Fp8 MoE backend out of potential"),
        ("triton", "Using 'TRITON_MXFP8' MxFp8 MoE backend (user-requested)."),
        ("humming", "Using HummingIndexedExperts Humming MoE backend."),
        ("aiter_mxfp4_mxfp4", "Using 'AITER_MXFP4_MXFP4' Mxfp4 MoE backend."),
        ("batched_triton", "Using BATCHED_TRITON Unquantized MoE backend out of potential"),
        ("flashinfer_cutlass", "Selected FlashInferFP8ScaledMMLinearKernel for Fp8LinearMethod"),
        (
            "flashinfer_cutlass",
            "Selected FlashInferFp8DeepGEMMDynamicBlockScaledKernel for Fp8LinearMethod",
        ),
        ("flashinfer_cutlass", "Using FlashInferMxFp4LinearKernel for MXFP4 GEMM"),
        ("flashinfer_cutedsl", "Using FlashInferCutedslMxfp8LinearKernel for MXFP8 GEMM"),
    ],
)
def test_a_kernel_may_have_another_name_than_its_option(option: str, line: str) -> None:
    assert backend_proof(option, line).verdict == "shown"


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("b12x", "Using 'FLASHINFER_B12X' NvFp4 MoE backend out of potential"),
        ("cutlass", "Using 'FLASHINFER_CUTLASS_MXFP4_BF16' Mxfp4 MoE backend."),
        ("aiter_mxfp4_mxfp4", "Using 'AITER_MXFP4_BF16' Mxfp4 MoE backend."),
        ("triton", "Using 'TRITON_UNFUSED' Mxfp4 MoE backend."),
        ("cutlass", "Using FlashInferCutlassNvFp4LinearKernel for NVFP4 GEMM"),
        ("b12x", "Using FlashInferB12xNvFp4LinearKernel for NVFP4 GEMM"),
        ("deep_gemm", "Selected FlashInferFp8DeepGEMMDynamicBlockScaledKernel for Fp8LinearMethod"),
        ("flashinfer_cutlass", "Using FlashInferTrtllmNvFp4LinearKernel for NVFP4 GEMM"),
        ("flashinfer_cutlass", "Using CutlassNvFp4LinearKernel for NVFP4 GEMM"),
    ],
)
def test_a_kernel_of_another_option_with_a_like_name_refutes(option: str, line: str) -> None:
    assert backend_proof(option, line).verdict == "refuted"


def backend_proof(option: str, line: str) -> proofs.Proof:
    """What one line about a kernel shows of the option that asked for it."""
    name = "moe_backend" if "MoE" in line else "linear_backend"
    found = [each for each in startlog.read([REAL[0], line]) if each[0] == name]
    seen = [observation.Observation(name, value, "log", said) for name, value, said in found]
    [proof] = proofs.prove({name: [option]}, observation.Seen(seen))
    return proof


ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("answer: chat", {"chat_500": True}),
    ("answer: completion", {"usage_by_chunks": True}),
    ("answer: completion, streamed", {"stream_cut": True}),
    ("answer: chat, streamed", {"empty_text": True}),
]


def test_answers_are_counted_by_tokens(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        found = answers.ask_all(server.target())
    assert [proof.verdict for proof in found] == ["shown"] * 4
    assert found[1].found == f"16 tokens in 15 pieces under {NAME}"


@pytest.mark.parametrize(("name", "lies"), ANSWERS, ids=[name for name, _ in ANSWERS])
def test_a_wrong_answer_is_refuted(tmp_path: Path, name: str, lies: dict[str, Any]) -> None:
    with standin(tmp_path) as server:
        server.knobs(**lies)
        found = {proof.name: proof for proof in answers.ask_all(server.target())}
    assert found[name].verdict == "refuted", found[name]


def test_golden_answers_bear_another_ending_and_no_other_text(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        recorded = golden.answers(server.target())
        assert recorded[golden.PROMPTS[0]].startswith(" Small weights, fast start:")
        ending = {prompt: text.rsplit(" ", 3)[0] + " a b c" for prompt, text in recorded.items()}
        assert golden.proof(ending, recorded).verdict == "shown"
        server.knobs(text="of quite another model")
        other = golden.proof(recorded, golden.answers(server.target()))
    assert (other.verdict, other.found) == ("refuted", "0%")


def probed(folder: Path, *flags: str, **door: object) -> dict[str, Any]:
    """What the probe finds of a server that asks for a key itself, without a proxy."""
    with standin(folder, *flags, VLLM_API_KEY="sesame-open", wait=False) as server:
        deadline = time.monotonic() + 15
        while completion.complete(server.target(1)).fault == "refused":
            assert time.monotonic() < deadline
        bare = {"address": "127.0.0.1", "port": server.port, "direct": server.port, "ca": None}
        return auth_probe.probe({**bare, "accepted": ["sesame-open"], **door})


def test_a_bare_server_with_a_key_has_open_routes(tmp_path: Path) -> None:
    found = probed(tmp_path)
    assert found["routes"] > 30 and found["gaps"] == []
    assert found["counts"]["wrong"] == {"401": found["counts"]["without"]["401"]}
    assert any(line.startswith("POST /invocations without key") for line in found["open"])
    assert any(line.startswith("GET /metrics without key") for line in found["open"])
    assert not any(line.startswith("GET /v1/models ") for line in found["open"])
    assert "sesame-open" not in json.dumps(found)


def test_a_server_that_does_not_tell_its_routes_leaves_a_gap(tmp_path: Path) -> None:
    found = probed(tmp_path, "--disable-fastapi-docs")
    [gap] = found["gaps"]
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+/openapi\.json: HTTP 404; only \d+ known routes were asked", gap
    )


def test_a_route_that_gives_no_answer_is_not_closed(tmp_path: Path) -> None:
    found = probed(tmp_path, port=free_port())
    [gap] = found["gaps"]
    asked = 2 * found["routes"]
    assert gap.startswith(f"{asked} without an answer: GET /%76%31/models without key: Conn")
    assert found["open"] == []


@pytest.mark.parametrize("body", ["", "{", "[]", '{"paths": 1}', '{"paths": {"/x": 5}}', "{}"])
def test_an_odd_list_of_routes_is_none(body: str) -> None:
    with site() as web:
        web.replies["/openapi.json"] = Reply(body=body.encode())
        with pytest.raises(auth_probe.Unlisted, match="lists no routes"):
            auth_probe.listed(int(web.address.rpartition(":")[2]))


def test_the_transaction_refuses_a_server_that_contradicts_its_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = json.dumps({"cache_dtype": "auto"})
    with standin(tmp_path, *FLAGS, STANDIN_CACHE_CONFIG=lie) as server:
        monkeypatch.setattr(layout, "SERVING", tmp_path / "none.json")
        release = release_of(server)
        with pytest.raises(HostError) as caught:
            transaction.prove(release)
    told = "gate: 1 refuted: kv_cache_dtype: claimed fp8 or fp8_e4m3, found auto (metrics: "
    assert str(caught.value).startswith(told)


def test_an_adapter_is_not_taken_for_the_model() -> None:
    model = {"id": NAME, "root": "/models/hub/base", "max_model_len": 512, "parent": None}
    adapter = {"id": "tuned", "root": "/adapters/tuned", "parent": NAME, "max_model_len": None}
    seen = observation.Seen()
    with site() as web:
        web.replies["/v1/models"] = Reply(body=json.dumps({"data": [model, adapter]}).encode())
        web.replies["/version"] = Reply(body=b'{"version": "0.33.0"}')
        observation._from_api(parse_release(int(web.address.rpartition(":")[2])), seen)
    claims = {"model": ["/models/hub/base"], "max_model_len": [512], "served_name": [NAME]}
    assert [proof.verdict for proof in proofs.prove(claims, seen)] == ["shown"] * 3


def test_whoever_else_holds_the_servers_port_is_told() -> None:
    """Here the server is not the container's user."""
    seen = observation.Seen()
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = int(held.getsockname()[1])
        release = parse_release(port)
        observation._from_kernel(release, seen)
    [proof] = proofs.prove({"listen": ["127.0.0.1"]}, seen)
    assert (proof.verdict, proof.found) == ("refuted", f"127.0.0.1 by user {os.getuid()}")


@pytest.mark.parametrize(
    ("address", "user", "found"),
    [
        ("127.0.0.1", layout.CONTAINER_USER, ["127.0.0.1"]),
        ("0.0.0.0", layout.CONTAINER_USER, ["0.0.0.0"]),
        ("192.0.2.1", 0, []),
        ("::", 0, [":: by user 0"]),
    ],
)
def test_a_listener_is_the_server_or_the_proxy_or_a_stranger(
    address: str, user: int, found: list[str]
) -> None:
    assert observation._listener(ipaddress.ip_address(address), user) == found

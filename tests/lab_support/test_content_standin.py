"""The stand-in does what vLLM 0.32 was seen to do, and every knob makes it fail as named."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.content.models import sharded, tiny
from tests.lab_support.standin_server import NAME, Standin, write_model

Make = Callable[..., Standin]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a stand-in that is not started yet."""
    made: list[Standin] = []

    def one(**fields: object) -> Standin:
        fields.setdefault("model", write_model(tiny(), tmp_path / "model"))
        made.append(Standin(folder=tmp_path, **fields))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_it_answers_completions_chat_and_their_streams(make: Make) -> None:
    server = make().start()
    whole = server.complete().json
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["choices"][0]["text"].strip()
    assert whole["usage"] == whole["usage"] | {"prompt_tokens": 2, "completion_tokens": 5}
    chat = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    message = server.ask("/v1/chat/completions", chat).json["choices"][0]["message"]
    assert message["role"] == "assistant" and message["content"].strip()
    stream = chat | {"stream": True, "stream_options": {"include_usage": True}}
    events = server.ask("/v1/chat/completions", stream).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2][6:])["usage"]["completion_tokens"] == 3
    text = "".join(
        choice["delta"].get("content", "")
        for event in events[:-1]
        for choice in json.loads(event[6:])["choices"]
    )
    assert text == message["content"]


def test_other_routes_have_vllms_shapes(make: Make) -> None:
    server = make().start()
    assert server.ask("/version").json == {"version": "0.32.0"}
    card = server.ask("/v1/models").json["data"][0]
    assert (card["id"], card["max_model_len"]) == (NAME, 512)
    assert server.ask("/load").json == {"server_load": 0}
    assert server.ask("/tokenize", {"prompt": "hi"}).json["count"] == 2
    assert "/v1/completions" in server.ask("/openapi.json").json["paths"]
    assert server.ask("/ping").status == server.ask("/health").status == 200
    assert server.ask("/nowhere").json == {"detail": "Not Found"}
    assert server.ask("/v1/completions").status == 405
    assert server.ask("/is_sleeping").status == 404


def test_mistakes_in_requests_are_refused_in_vllms_words(make: Make) -> None:
    server = make().start()
    wrong = server.complete(model="nope")
    assert wrong.status == 404
    assert wrong.json["error"]["message"] == (
        f"The model `nope` does not exist. Valid aliases: {NAME}."
    )
    assert server.complete(max_tokens=3000).json["error"]["param"] == "max_tokens"
    assert server.complete(prompt="x" * 600).json["error"]["param"] == "input_tokens"
    assert server.complete(max_tokens="x").status == 400
    assert server.ask("/v1/completions", {"model": NAME}).status == 400


def test_the_key_guards_only_what_vllm_guards(make: Make) -> None:
    server = make(environment={"VLLM_API_KEY": "sesame"}).start()
    assert server.complete().json == {"error": "Unauthorized"}
    assert server.ask("/v1/models", key="wrong").status == 401
    assert server.ask("/v1/models", key="sesame").status == 200
    body = {"model": NAME, "prompt": "hi", "max_tokens": 1}
    assert server.ask("/invocations", body).status == 200
    assert server.ask("/metrics").status == server.ask("/tokenize", {"prompt": "x"}).status == 200


def test_metrics_count_what_was_answered(make: Make) -> None:
    server = make().start()
    server.complete(max_tokens=5)
    server.complete(max_tokens=7)
    assert server.metric("vllm:generation_tokens_total") == 12
    assert server.metric("vllm:e2e_request_latency_seconds_count") == 2
    assert server.metric("vllm:num_requests_running") == 0
    text = server.ask("/metrics").text
    assert 'finished_reason="length",model_name="lab/tiny"} 2.0' in text
    assert f'model_name="{NAME}"' in text


def test_arguments_show_in_cache_config_info(make: Make) -> None:
    server = make(arguments={"kv-cache-dtype": "fp8", "no-enable-prefix-caching": True}).start()
    info = next(
        line
        for line in server.ask("/metrics").text.splitlines()
        if line.startswith("vllm:cache_config_info{")
    )
    assert 'cache_dtype="fp8"' in info and 'enable_prefix_caching="False"' in info


def test_drafts_are_counted_with_a_speculative_config(make: Make) -> None:
    speculative = {"method": "eagle3", "model": "draft", "num_speculative_tokens": 3}
    server = make(arguments={"speculative-config": speculative}).start()
    server.complete(max_tokens=4)
    assert server.metric("vllm:spec_decode_num_draft_tokens_total") == 12
    assert server.metric("vllm:spec_decode_num_accepted_tokens_total") == 4


def test_busy_slots_make_requests_wait(make: Make) -> None:
    server = make(arguments={"max-num-seqs": 1}, environment={"STANDIN_ITL_S": "0.1"}).start()
    threads = [threading.Thread(target=server.complete) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.25)
    assert server.metric("vllm:num_requests_running") == 1
    assert server.metric("vllm:num_requests_waiting") == 2
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "flags", "message"),
    [
        ({"foo-bar": 1}, (), "vllm: error: unrecognized arguments: --foo-bar"),
        ({}, ("--swap-space", "4"), "unrecognized arguments: --swap-space"),
        ({"port": "x"}, (), "argument --port: invalid int value: 'x'"),
        ({"kv-cache-dtype": "nope"}, (), "argument --kv-cache-dtype: invalid choice: 'nope'"),
    ],
)
def test_unknown_arguments_end_with_2(
    make: Make, arguments: dict[str, object], flags: tuple[str, ...], message: str
) -> None:
    server = make(arguments=arguments).start(*flags, wait=False)
    assert server.ended() == 2
    assert message in server.log


def test_the_command_line_beats_the_file_and_false_is_no(make: Make) -> None:
    server = make(arguments={"enable-prefix-caching": False, "max-num-seqs": 8})
    server.start("--max_model_len", "256")
    assert server.ask("/v1/models").json["data"][0]["max_model_len"] == 256
    assert 'enable_prefix_caching="False"' in server.ask("/metrics").text


def test_block_style_yaml_is_read(make: Make) -> None:
    server = make()
    server.text = (
        f"model: {server.model}  # a comment\nserved-model-name:\n- one\n- {NAME}\n"
        f"port: {server.port}\nhost: '127.0.0.1'\ncompilation-config:\n  mode: 3\n"
        "enforce-eager: true\nmax-model-len: 1K\n"
    )
    server.start()
    cards = server.ask("/v1/models").json["data"]
    assert [card["id"] for card in cards] == ["one", NAME]
    assert cards[0]["max_model_len"] == 1024


def test_unknown_environment_is_warned_about(make: Make) -> None:
    server = make(environment={"VLLM_FOO": "1", "VLLM_NO_USAGE_STATS": "1"}).start()
    assert "Unknown vLLM environment variable detected: VLLM_FOO" in server.log
    assert "VLLM_NO_USAGE_STATS" not in server.log


def test_a_model_that_is_not_whole_is_not_served(make: Make, tmp_path: Path) -> None:
    model = write_model(sharded(), tmp_path / "sharded")
    shard = model / "model-00003-of-00014.safetensors"
    whole = shard.read_bytes()
    shard.unlink()
    server = make(model=model).start(wait=False)
    assert server.ended() == 1
    assert "Following weights were not initialized from checkpoint" in server.log
    shard.write_bytes(whole[:-100])
    assert make(model=model).start(wait=False).ended() == 1
    shard.write_bytes(whole)
    assert make(model=model).start().complete().status == 200
    assert make(model=tmp_path / "none").start(wait=False).ended() == 1


def test_too_long_a_context_and_a_taken_port_end_the_start(make: Make) -> None:
    server = make(arguments={"max-model-len": 99999}).start(wait=False)
    assert server.ended() == 1
    assert "is greater than the derived max_model_len" in server.log
    first = make().start()
    second = make(port=first.port).start(wait=False)
    assert second.ended() == 1


def test_sigterm_drains_and_refuses_new_requests(make: Make) -> None:
    server = make(arguments={"shutdown-timeout": 10}, environment={"STANDIN_ITL_S": "0.05"})
    server.start()
    answers = []
    ask = threading.Thread(target=lambda: answers.append(server.complete(max_tokens=30)))
    ask.start()
    time.sleep(0.3)
    server.terminate()
    time.sleep(0.3)
    refused = server.complete()
    assert refused.status == 500
    assert refused.json["error"]["message"] == "cannot schedule new futures after shutdown"
    assert server.ask("/health").status == 200
    ask.join()
    assert answers[0].json["choices"][0]["finish_reason"] == "length"
    assert server.ended() == 0


def test_without_shutdown_timeout_sigterm_aborts(make: Make) -> None:
    server = make(environment={"STANDIN_ITL_S": "0.05"}).start()
    answers = []
    ask = threading.Thread(target=lambda: answers.append(server.complete(max_tokens=200)))
    ask.start()
    time.sleep(0.3)
    server.terminate()
    ask.join()
    assert answers[0].status == 200
    assert answers[0].json["choices"][0]["finish_reason"] == "abort"
    assert server.ended() == 0


def test_sigterm_while_loading_is_swallowed(make: Make) -> None:
    server = make(environment={"STANDIN_START_S": "2"}).start(wait=False)
    end = time.monotonic() + 20
    while "Starting to load model" not in server.log:
        assert time.monotonic() < end, server.log
        time.sleep(0.05)
    server.terminate()
    server.until_ready()
    assert server.complete().status == 200


def test_a_wedged_engine_stays_healthy_and_stands_still(make: Make) -> None:
    server = make().start()
    server.knobs(wedge=True)
    tokens = server.metric("vllm:generation_tokens_total")
    assert server.complete(timeout=1.5).status == 0
    assert server.ask("/health").status == 200
    assert server.metric("vllm:generation_tokens_total") == tokens
    assert server.metric("vllm:num_requests_running") == 0
    server.knobs()
    assert server.complete().status == 200


def test_a_long_prefill_still_steps(make: Make) -> None:
    server = make(environment={"STANDIN_TTFT_S": "1.5"}).start()
    ask = threading.Thread(target=server.complete)
    ask.start()
    time.sleep(0.6)
    first = server.metric("vllm:iteration_tokens_total_count")
    time.sleep(0.6)
    assert server.metric("vllm:iteration_tokens_total_count") > first > 0
    assert server.metric("vllm:generation_tokens_total") == 0
    ask.join()


@pytest.mark.parametrize(
    ("knobs", "status"),
    [
        ({"crash_at_start": 7}, 7),
        ({"crash_after_s": 0.2}, 1),
        ({"engine_dead": True}, 1),
    ],
)
def test_crashes(make: Make, knobs: dict[str, object], status: int) -> None:
    server = make()
    server.knobs(**knobs)
    server.start(wait=False)
    assert server.ended() == status


def test_crash_after_requests(make: Make) -> None:
    server = make(environment={"STANDIN_CRASH_AFTER_REQUESTS": "2"}).start()
    assert server.complete().status == 200
    assert server.running
    server.complete()
    assert server.ended() == 1


def test_never_ready_ends_at_vllms_own_limit(make: Make) -> None:
    limit = {"VLLM_ENGINE_READY_TIMEOUT_S": "1", "STANDIN_NEVER_READY": "true"}
    server = make(environment=limit).start(wait=False)
    assert server.ask("/health").status == 0
    assert server.ended() == 1
    assert "Timed out waiting for engine core" in server.log


def test_lies(make: Make) -> None:
    server = make().start()
    server.knobs(
        served_name="other",
        max_model_len=7,
        version="9.9",
        metrics={"vllm:num_requests_running": 3, "vllm:num_requests_waiting": None},
        cache_config={"cache_dtype": "fp8"},
    )
    assert server.ask("/v1/models").json["data"][0]["id"] == "other"
    assert server.complete().status == 404
    assert server.ask("/version").json == {"version": "9.9"}
    assert server.metric("vllm:num_requests_running") == 3
    assert "vllm:num_requests_waiting{" not in server.ask("/metrics").text
    assert 'cache_dtype="fp8"' in server.ask("/metrics").text
    server.knobs(metrics_status=500, error_500=True)
    assert server.ask("/metrics").status == server.complete().status == 500
    server.knobs(empty_text=True)
    assert server.complete().json["choices"][0]["text"] == ""


def test_it_can_ignore_sigterm_and_the_key(make: Make) -> None:
    server = make(environment={"VLLM_API_KEY": "x", "STANDIN_NO_AUTH": "true"})
    server.knobs(ignore_sigterm=True)
    server.start()
    assert server.complete().status == 200
    server.terminate()
    time.sleep(0.5)
    assert server.running


def test_knobs_can_be_meant_for_one_server_only(make: Make) -> None:
    server = make().start()
    server.knobs(only={"max-model-len": 4096}, error_500=True)
    assert server.complete().status == 200
    server.knobs(only={"max-model-len": 512}, error_500=True)
    assert server.complete().status == 500


def test_a_knob_that_does_not_exist_is_refused(make: Make) -> None:
    server = make(environment={"STANDIN_WEGDE": "1"}).start(wait=False)
    assert server.ended() == 1
    assert "wegde: no such knob" in server.log

"""The stand-in's engine: requests wait for a slot, tokens come one by one, all of it is counted.

One step at a time under one lock, so a wedge stops admission, tokens and metrics together, as a
hung engine core does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .families import Registry
from .faults import Faults
from .sentences import word

POLL_S = 0.05
PREFILL_STEP_S = 0.2
UNTIL_EOS = 40  # tokens of an answer that nothing else ends


class EngineDead(Exception):
    """The engine is gone."""


class Rejected(Exception):
    """A new request while the server stops."""


@dataclass
class Job:
    """One prompt being answered. Times are monotonic seconds."""

    prompt_tokens: int
    max_tokens: int
    ignore_eos: bool
    min_tokens: int
    gone: Callable[[], bool]
    start: int = 0  # which sentence it begins with
    chunks: int = 0  # texts that were not empty
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0
    first: float = 0.0
    tokens: int = 0
    finish_reason: str = ""


class Engine:
    """Shared by all HTTP threads."""

    def __init__(self, arguments: Mapping[str, Any], faults: Callable[[], Faults]) -> None:
        self.faults = faults
        self.max_num_seqs = int(arguments["max-num-seqs"])
        draft = arguments.get("speculative-config") or {}
        self._draft_tokens = int(draft.get("num_speculative_tokens", 0))
        self.dead = False
        self.stuck = False  # a rank of the replica is lost: no step will end
        self.stopping: str = ""  # "", "drain" or "abort"
        self.answered = 0
        self.in_flight = 0
        self._lock = threading.Condition()
        self._running = 0
        self._waiting = 0
        names = arguments.get("served-model-name") or [arguments["model"]]
        self.metrics = Registry(
            names[0], "speculative-config" in arguments, cache_labels(arguments)
        )

    @property
    def wedged(self) -> bool:
        """Whether the engine stands still now."""
        faults = self.faults()
        after = faults.wedge_after_requests
        return self.stuck or faults.wedge or 0 < after <= self.answered

    def answer(self, job: Job) -> Iterator[str]:
        """The tokens of one answer; sets the job's finish_reason."""
        self._admit()
        try:
            self._wait_for_slot(job)
            try:
                yield from self._generate(job)
            finally:
                self._release(job)
        finally:
            with self._lock:
                self.in_flight -= 1

    def render(self) -> str:
        """/metrics; a wedged engine's last figures stay."""
        faults = self.faults()
        with self._lock:
            return self.metrics.render(faults.metrics, faults.cache_config)

    def _admit(self) -> None:
        if self.dead or self.faults().engine_dead:
            raise EngineDead
        if self.stopping:
            raise Rejected
        with self._lock:
            self.in_flight += 1

    def _step(self) -> None:
        """Return when the engine moves; a wedge holds everyone here."""
        while self.wedged and not self.stopping:
            time.sleep(POLL_S)
        if self.dead:
            raise EngineDead

    def _gauges(self) -> None:
        values = self.metrics.values
        values["vllm:num_requests_running"] = self._running
        values["vllm:num_requests_waiting"] = self._waiting
        values["vllm:num_requests_waiting_by_reason/capacity"] = self._waiting
        values["vllm:kv_cache_usage_perc"] = min(1.0, self._running / self.max_num_seqs)

    def _wait_for_slot(self, job: Job) -> None:
        self._step()
        with self._lock:
            self._waiting += 1
            self._gauges()
            while self._running >= self.max_num_seqs and not self.dead:
                self._lock.wait(POLL_S)
            self._waiting -= 1
            self._running += 1
            self._gauges()
        job.started = time.monotonic()

    def _release(self, job: Job) -> None:
        while self.wedged and not self.stopping:
            time.sleep(POLL_S)
        with self._lock:
            self._running -= 1
            self._count(job)
            self._gauges()
            self.answered += 1
            self._lock.notify_all()

    def _generate(self, job: Job) -> Iterator[str]:
        faults = self.faults()
        self._prefill(job, faults)
        limit = job.max_tokens if job.ignore_eos else min(job.max_tokens, self._until_eos(job))
        while job.tokens < limit and not faults.empty_text:
            time.sleep(max(faults.itl_s, 0.001))
            self._step()
            if job.gone() or self.stopping == "abort":
                job.finish_reason = "abort"
                return
            faults = self.faults()
            self._count_token(job)
            text = word(job.start, job.tokens - 1, faults.text)
            job.chunks += bool(text)
            yield text
            while self.stopping == "drain" and faults.never_drains and not self.dead:
                time.sleep(POLL_S)
        job.finish_reason = "length" if job.tokens >= job.max_tokens else "stop"

    @staticmethod
    def _until_eos(job: Job) -> int:
        return max(UNTIL_EOS, job.min_tokens)

    def _prefill(self, job: Job, faults: Faults) -> None:
        """A long prefill is many steps: the engine is busy, not wedged."""
        end = time.monotonic() + faults.ttft_s
        while time.monotonic() < end and self.stopping != "abort":
            time.sleep(min(PREFILL_STEP_S, max(0.0, end - time.monotonic())))
            self._step()
            with self._lock:
                self.metrics.observe("iteration_tokens_total", 1.0)
        with self._lock:
            for name in ("prompt_tokens_total", "prompt_tokens_by_source_total/local_compute"):
                self.metrics.values[f"vllm:{name}"] += job.prompt_tokens
            self.metrics.values["vllm:prefix_cache_queries_total"] += job.prompt_tokens

    def _count_token(self, job: Job) -> None:
        now = time.monotonic()
        with self._lock:
            job.tokens += 1
            self.metrics.values["vllm:generation_tokens_total"] += 1
            self._count_drafts()
            self.metrics.observe("iteration_tokens_total", 1.0)
            if job.tokens == 1:
                job.first = now
                self.metrics.observe("time_to_first_token_seconds", now - job.arrived)
            else:
                since = (now - job.first) / (job.tokens - 1)
                self.metrics.observe("inter_token_latency_seconds", since)

    def _count_drafts(self) -> None:
        """One draft a token, one of its tokens accepted."""
        if self._draft_tokens:
            steps = {"drafts": 1, "draft_tokens": self._draft_tokens, "accepted_tokens": 1}
            for name, step in steps.items():
                self.metrics.values[f"vllm:spec_decode_num_{name}_total"] += step

    def _count(self, job: Job) -> None:
        now = time.monotonic()
        first = job.first or now
        reason = job.finish_reason or "abort"
        self.metrics.values[f"vllm:request_success_total/{reason}"] += 1
        for name, value in {
            "e2e_request_latency_seconds": now - job.arrived,
            "request_queue_time_seconds": job.started - job.arrived,
            "request_inference_time_seconds": now - job.started,
            "request_prefill_time_seconds": first - job.started,
            "request_decode_time_seconds": now - first,
            "request_time_per_output_token_seconds": (now - first) / max(1, job.tokens - 1),
            "request_prompt_tokens": job.prompt_tokens,
            "request_generation_tokens": job.tokens,
            "request_params_max_tokens": job.max_tokens,
            "request_params_n": 1,
        }.items():
            self.metrics.observe(name, value)


def cache_labels(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What cache_config_info tells of the arguments, in Python's spelling."""
    given = {
        "cache_dtype": arguments["kv-cache-dtype"],
        "gpu_memory_utilization": arguments["gpu-memory-utilization"],
        "enable_prefix_caching": arguments.get("enable-prefix-caching", True),
        "kv_cache_memory_bytes": arguments.get("kv-cache-memory-bytes"),
        "block_size": arguments.get("block-size", 16),
    }
    return {key: str(value) for key, value in given.items()}

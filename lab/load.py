"""A load generator, open loop: requests leave at their times, however slow the answers are.

    python -m lab.load OUT URL --model NAME [--key-file FILE] [--ca FILE] [--name NAME]
                       [--rate 8] [--seconds 60] [--slow-tokens 400] [--slow-share 0.1]

Every other request is streamed; one of ten asks for ``slow-tokens`` tokens. OUT gets a JSON line
for each request, when it ended: {"at", "seconds", "first_s", "slow", "stream", "error", "replica"};
"at" in epoch seconds, "error" "" where the whole answer arrived. SIGTERM sends no more requests and
waits for those under way. Bounded by ``--seconds`` and 120 s for the last answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

LAST_S = 120.0
QUICK_TOKENS = 8


@dataclass
class Record:
    """One request. ``first_s``: until the answer's first byte, ``seconds``: until its last."""

    at: float
    slow: bool
    stream: bool
    seconds: float = 0.0
    first_s: float = 0.0
    error: str = ""
    replica: str = ""


@dataclass(frozen=True)
class Target:
    """Where requests go; ``tls`` None for plain HTTP."""

    url: str
    model: str
    key: str
    name: str
    tls: ssl.SSLContext | None
    slow_tokens: int

    def request(self, record: Record) -> bytes:
        """The whole request; the connection is for it alone."""
        body = {
            "model": self.model,
            "prompt": "The capital of France is",
            "max_tokens": self.slow_tokens if record.slow else QUICK_TOKENS,
            "ignore_eos": True,
            "stream": record.stream,
        }
        text, parts = json.dumps(body), urlsplit(self.url)
        head = [
            f"POST {parts.path.rstrip('/')}/completions HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(text)}",
            "Connection: close",
            *([f"Authorization: Bearer {self.key}"] if self.key else []),
        ]
        return ("\r\n".join(head) + "\r\n\r\n" + text).encode()


async def send(target: Target, record: Record) -> Record:
    """Send one request and judge its answer."""
    began = time.monotonic()
    try:
        record.error = await asyncio.wait_for(_answer(target, record, began), LAST_S)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        record.error = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    record.seconds = round(time.monotonic() - began, 4)
    return record


async def _answer(target: Target, record: Record, began: float) -> str:
    """ "" when the answer is whole, else what is wrong with it."""
    parts = urlsplit(target.url)
    port = parts.port or (443 if target.tls else 80)
    name = target.name if target.tls else None
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=target.tls, server_hostname=name
    )
    try:
        writer.write(target.request(record))
        head = await reader.readuntil(b"\r\n\r\n")
        record.first_s = round(time.monotonic() - began, 4)
        record.replica = _header(head, "x-replica")
        body = await reader.read(-1)
    finally:
        writer.close()
    status = head.split(b" ", 2)[1].decode()
    return "" if status == "200" and _whole(body, record) else f"HTTP {status}: {_tail(body)}"


def _header(head: bytes, name: str) -> str:
    lines = head.decode("latin-1").split("\r\n")
    return next((x.split(":", 1)[1].strip() for x in lines if x.lower().startswith(name)), "")


def _whole(body: bytes, record: Record) -> bool:
    return b"data: [DONE]" in body if record.stream else b'"finish_reason"' in body


def _tail(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[-160:]


async def generate(
    target: Target, out: Path, rate: float, seconds: float, slow_share: float
) -> None:
    """Requests at ``rate`` per second for ``seconds``, then until the last is answered."""
    stop, tasks, began = asyncio.Event(), set(), time.monotonic()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with out.open("w", encoding="utf-8", buffering=1) as file:
        for number in range(int(rate * seconds)):
            if await _over(stop, began + number / rate):
                break
            each = max(1, round(1 / slow_share)) if slow_share else 0
            record = Record(time.time(), bool(each) and number % each == 0, number // 3 % 2 == 0)
            task = asyncio.create_task(send(target, record))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda t: file.write(json.dumps(asdict(t.result())) + "\n"))
        await asyncio.gather(*tasks)


async def _over(stop: asyncio.Event, at: float) -> bool:
    """Wait until ``at``, monotonic; True as soon as it is to stop."""
    try:
        await asyncio.wait_for(stop.wait(), max(0.0, at - time.monotonic()))
    except TimeoutError:
        return False
    return True


def read(out: Path) -> list[Record]:
    """What ``generate`` wrote, by time of sending."""
    lines = out.read_text(encoding="utf-8").splitlines()
    return sorted((Record(**json.loads(line)) for line in lines), key=lambda r: r.at)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def table(records: Iterable[Record], marks: Mapping[str, tuple[float, float]]) -> str:
    """A line for each span of time (name → begin and end, epoch seconds): sent, failed, p50, p99
    of the quick requests' whole answers and of all first bytes, in seconds."""
    lines, found = ["span     sent failed  p50_s  p99_s  first_p50_s first_p99_s"], list(records)
    for name, (begin, end) in marks.items():
        within = [r for r in found if begin <= r.at < end]
        good = [r for r in within if not r.error]
        quick = [r.seconds for r in good if not r.slow]
        # the first byte of an answer that is not streamed is its last one, too
        first = [r.first_s for r in good if r.stream]
        lines.append(
            f"{name:8} {len(within):4} {len(within) - len(good):6} "
            f"{percentile(quick, 0.5):6.2f} {percentile(quick, 0.99):6.2f} "
            f"{percentile(first, 0.5):12.2f} {percentile(first, 0.99):11.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the words and generate."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("url", help="such as https://gateway/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--ca", help="what the server's certificate is checked by")
    parser.add_argument("--name", default="", help="the server's name in its certificate")
    parser.add_argument("--rate", type=float, default=8.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--slow-tokens", type=int, default=400)
    parser.add_argument("--slow-share", type=float, default=0.1)
    got = parser.parse_args()
    tls = ssl.create_default_context(cafile=got.ca) if got.url.startswith("https") else None
    key = got.key_file.read_text().split()[0] if got.key_file else ""
    name = got.name or urlsplit(got.url).hostname
    target = Target(got.url, got.model, key, name, tls, got.slow_tokens)
    asyncio.run(generate(target, got.out, got.rate, got.seconds, got.slow_share))


if __name__ == "__main__":
    main()

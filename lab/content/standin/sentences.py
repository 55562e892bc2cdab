"""The three sentences that the lab's models know; the last byte of a prompt chooses one."""

from __future__ import annotations

SENTENCES = (
    "Hello from a tiny model that knows only this one sentence.",
    "Small weights, fast start: your lab host is serving tokens now.",
    "Every byte here was made by pure Python, nothing random left.",
)


def start_of(prompt: bytes) -> int:
    """The number of the sentence that follows a prompt."""
    return prompt[-1] % len(SENTENCES) if prompt else 0


def word(start: int, index: int, instead: str = "") -> str:
    """Token ``index`` of an answer: the words of a sentence, its end, which has no text, and the
    first sentence over and over. ``instead``: other words."""
    if instead:
        words = instead.split()
        return " " + words[index % len(words)]
    first = [*SENTENCES[start].split(), ""]
    again = [*SENTENCES[0].split(), ""]
    words = first if index < len(first) else again
    text = words[index if index < len(first) else (index - len(first)) % len(again)]
    return f" {text}" if text else ""

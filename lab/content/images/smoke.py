"""Runs inside the root of vllm-cpu: serve a model, ask, measure, stop. Fails if any of it does;
/mnt/log has the server's log and /mnt/problem what failed.

It also leaves the byte code of everything that serving imports, which the image then carries.
usage: smoke.py MODEL_FOLDER
"""

import json
import subprocess
import sys
import time
import urllib.request

URL = "http://127.0.0.1:8000"
READY_S = 420


def ask(path: str, body: dict[str, object]) -> dict[str, object]:
    """One POST."""
    request = urllib.request.Request(
        URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.loads(answer.read())
    assert isinstance(found, dict)
    return found


def wait(server: subprocess.Popen[bytes]) -> None:
    """Until /health answers."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if server.poll() is not None:
            sys.exit(f"vllm: exit status {server.returncode}")
        try:
            urllib.request.urlopen(f"{URL}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"vllm: not ready after {READY_S} s")


def check(model: str) -> None:
    """Completion, chat, benchmark."""
    whole = ask("/v1/completions", {"model": "smoke", "prompt": "hi", "max_tokens": 20})
    assert "Hello" in json.dumps(whole), whole
    chat = {"model": "smoke", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    assert "tokens" in json.dumps(ask("/v1/chat/completions", chat))
    words = ["--backend", "vllm", "--base-url", URL, "--model", "smoke", "--tokenizer", model]
    words += ["--dataset-name", "random", "--random-input-len", "32", "--random-output-len", "8"]
    bench = ["vllm", "bench", "serve", *words, "--num-prompts", "4", "--ignore-eos"]
    said = subprocess.run(bench, check=True, capture_output=True, text=True).stdout
    assert "Failed requests:                         0" in said, said
    subprocess.run(["hf", "version"], check=True, capture_output=True)


def main() -> None:
    """Serve, check, stop."""
    model = sys.argv[1]
    words = ["--served-model-name", "smoke", "--max-model-len", "512", "--dtype", "float32"]
    words += ["--enforce-eager", "--kv-cache-memory-bytes", "16M", "--host", "127.0.0.1"]
    with open("/mnt/log", "wb") as log:
        server = subprocess.Popen(["vllm", "serve", model, *words], stdout=log, stderr=log)
        try:
            wait(server)
            check(model)
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    try:
        main()
    except BaseException as problem:
        with open("/mnt/problem", "w") as file:
            file.write(repr(problem))
        raise

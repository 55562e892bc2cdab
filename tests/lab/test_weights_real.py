"""The real vLLM, its CPU build, loads a downloaded model with the host's network cut."""

from __future__ import annotations

import json

import pytest

from lab.testing import Lab

pytestmark = pytest.mark.slow
HOST = "spark-01"
SERVING = "cat /run/vllm-fleet/serving.json"
# Nothing leaves the host but answers on the connection that tells us of it.
CUT = """nft -f - <<'END'
table inet cut {
    chain out {
        type filter hook output priority 0; policy drop;
        oifname "lo" accept
        tcp sport 22 accept
    }
}
END"""


def test_it_loads_from_the_cache_with_the_network_cut(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    done = lab.pyinfra("deploy.py", data={"vllm_image": lab.state.images["vllm-cpu"]})
    assert done.returncode == 0, done.stdout[-8000:]
    before = json.loads(lab.text(HOST, SERVING))["since"]
    asked = len((lab.state.run / "hub.log").read_text())
    lab.run(HOST, CUT)
    assert lab.text(HOST, "curl -sm 3 https://huggingface.co; echo $?") in ("28", "6", "7")
    lab.run(HOST, "systemctl restart vllm", timeout=600)
    found = json.loads(lab.text(HOST, SERVING))
    assert found["since"] > before
    answer = lab.text(HOST, "python3 -B /usr/local/lib/vllm-fleet/completion.py '{}'")
    assert json.loads(answer)["completion_tokens"] == 16
    assert len((lab.state.run / "hub.log").read_text()) == asked
    with capsys.disabled():
        print(f"\nloaded with the network cut in {found['ready_s']} s")

"""What differs in the lab. Everything else, every version pin included, is group_data/all.py."""

from lab.paths import default_name
from lab.state import load

_state = load(default_name())

# What is served: the real vLLM's CPU build with a tiny model of random weights. The stand-in image
# instead: --data vllm_image=... (python -m lab list --json names it)
vllm_mode = "lab-standard"
vllm_model = "lab/tiny"
vllm_image = _state.images.get("vllm-cpu", "")

# Hosts share this machine's memory and disk
host_arch = _state.arch
memory_floor_gib = 0.25
disk_reserve_gib = 1.0
image_gib = 4.0

# Stand-in repositories at the vendors' real addresses, signed by the lab's own keys
extra_ca = _state.ca or None
nvidia_key_fingerprint = _state.fingerprints.get("nvidia", "")
toolkit_key_fingerprint = _state.fingerprints.get("toolkit", "")
docker_key_fingerprint = _state.fingerprints.get("docker", "")

allow_reboot = True
reboot_timeout_s = 180  # a boot takes a second, on a busy machine a minute

# A tiny model on a busy machine
bench_input = [64]
bench_output = [32]
bench_concurrency = [1, 4]
bench_repeats = 2

del _state  # pyinfra would take it for a setting

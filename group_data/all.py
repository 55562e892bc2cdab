"""Defaults of the fleet and every version pin, one a line. docs/settings.md explains each key.

A group's own values go to group_data/<group>.py, one host's own to its line in the inventory.
"""

# What the hosts serve
vllm_mode = "standard"
vllm_model = "Qwen/Qwen3-Coder-Next-FP8"
# An image by digest: 'fleet lock image vllm/vllm-openai:v0.33.0' prints the line to put here.
vllm_image = ""

# Kernel and driver (plain Ubuntu; on DGX OS they are asserted and held, never installed)
driver_branch = "580"
driver_version = "580.159.03"
kernel_version = "6.17.0-1032.32"
kernel_modules_version = "6.17.0-1032.32"
allow_reboot = False

# Containers
toolkit_version = "1.20.0-1"
docker_version = "5:29.8.0-1~ubuntu.24.04~noble"
containerd_version = "2.3.5-1~ubuntu.24.04~noble"
compose_version = "5.5.1-1~ubuntu.24.04~noble"

# Repository keys, compared before a key is trusted
nvidia_key_fingerprint = "EB69 3B30 35CD 5710 E231 E123 A4B4 6996 3BF8 63CC"
toolkit_key_fingerprint = "C95B 321B 61E8 8C18 09C4 F759 DDCA E044 F796 ECB0"
docker_key_fingerprint = "9DC8 5822 9FC7 DD38 854A E2D8 8D81 803C 0EBF CD88"

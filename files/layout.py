"""Where things lie on a host. The control side and the host programs both read it from here."""

from pathlib import Path

RELEASES = Path("/etc/vllm-fleet/releases")
CURRENT = Path("/etc/vllm-fleet/current")
PREVIOUS = Path("/etc/vllm-fleet/previous")
PROGRAMS = Path("/usr/local/lib/vllm-fleet")
STATE = Path("/var/lib/vllm-fleet")
CACHE = STATE / "cache"
ACTIVATION = STATE / "activation.json"
VERIFIED = STATE / "verified.json"
MODELS = STATE / "models"  # what was asked for: <folder of the Hub cache>/<revision>.json
IMAGES = STATE / "images"  # layers on their way from host to host: <digest>
HUB_TOKENS = Path("/run/vllm-fleet/hub-tokens")  # in memory, as long as a download runs
HELD = STATE / "held"  # names of the packages that we held, one a line
AUDIT = Path("/var/log/vllm-fleet/audit.jsonl")
LOCK = Path("/run/vllm-fleet.lock")  # not in /run/lock, which is for everybody to write
UNIT = "vllm.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT
ACTIVATE_UNIT = "vllm-fleet-activate.service"
CONTAINER = "vllm"
CONTAINER_USER = 2000  # and group; compose.yaml says it to Docker
PROJECT = "vllm-fleet"
STARTS = STATE / "starts.json"
FAILURE = STATE / "failure.json"
ACTIVATION_LIVE = Path("/run/vllm-fleet/activation.json")
SERVING = Path("/run/vllm-fleet/serving.json")
RANK = Path("/run/vllm-fleet/rank.json")  # what Compose is told of this host of a replica
RELEASE_LABEL = "vllm-fleet.release"
HAPROXY = Path("/etc/vllm-fleet/haproxy")  # a folder for every instance
HAPROXY_UNIT = "vllm-fleet-haproxy@.service"
HAPROXY_UNIT_FILE = Path("/etc/systemd/system") / HAPROXY_UNIT
REGISTRY_UNIT = "vllm-fleet-registry.service"
REGISTRY_UNIT_FILE = Path("/etc/systemd/system") / REGISTRY_UNIT
REGISTRY_CONFIG = Path("/etc/vllm-fleet/registry.json")
REGISTRY_STORE = STATE / "registry"
GATEWAY_SOCKET = Path("/run/vllm-fleet-haproxy-gateway/admin.sock")
BUILDS = STATE / "builds"
METRICS_CONFIG = Path("/etc/vllm-fleet/metrics.json")
METRICS = STATE / "metrics"  # the node exporter reads *.prom there
METRICS_UNIT = "vllm-fleet-metrics.service"
NODE_EXPORTER_UNIT = "vllm-fleet-node-exporter.service"
PROMETHEUS = Path("/etc/vllm-fleet/prometheus")
PROMETHEUS_DATA = STATE / "prometheus"
PROMETHEUS_UNIT = "vllm-fleet-prometheus.service"

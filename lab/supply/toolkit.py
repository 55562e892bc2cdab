"""Stand-ins for the NVIDIA Container Toolkit's four packages."""

from collections.abc import Sequence

from lab.supply import versions
from lab.supply.deb import File, Package, program, text
from lab.supply.standin import disable, enable, standin

REFRESH = ("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service")
ENVIRONMENT = "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
CONFIG_TEXT = """\
# Lab stand-in
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"

[nvidia-container-runtime]
mode = "auto"
runtimes = ["runc", "crun"]
"""


def packages(arch: str, wanted: Sequence[str] = versions.TOOLKITS) -> list[Package]:
    """All four packages in each of the ``wanted`` versions; they fit each other by version."""
    return [package for version in wanted for package in _version(version, arch)]


def _version(version: str, arch: str) -> list[Package]:
    upstream = version.split("-")[0]
    same = f"(= {version})"
    tools = {"/usr/bin/nvidia-container-cli": _program("nvidia-container-cli", upstream)}
    hook = {"/usr/bin/nvidia-container-runtime-hook": _program("nvidia-container-runtime-hook", "")}
    needs = f"nvidia-container-toolkit-base {same}, libnvidia-container-tools {same}"
    library = {"Depends": f"libnvidia-container1 {same}"}
    return [
        Package("libnvidia-container1", version, arch, "library"),
        Package("libnvidia-container-tools", version, arch, "CLI", library, tools),
        _base(version, upstream, arch),
        Package("nvidia-container-toolkit", version, arch, "toolkit", {"Depends": needs}, hook),
    ]


def _program(name: str, version: str) -> File:
    return program(standin(name, version=version))


def _base(version: str, upstream: str, arch: str) -> Package:
    names = ("nvidia-ctk", "nvidia-cdi-hook", "nvidia-container-runtime")
    files = {f"/usr/bin/{name}": _program(name, upstream) for name in names}
    files |= {f"/etc/systemd/system/{unit}": text(standin(unit)) for unit in REFRESH}
    files[ENVIRONMENT] = text("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/var/run/cdi/nvidia.yaml\n")
    files[CONFIG] = text(CONFIG_TEXT)
    scripts = {"postinst": enable(*REFRESH), "prerm": disable(*REFRESH)}
    return Package("nvidia-container-toolkit-base", version, arch, "nvidia-ctk and CDI",
                   {"Depends": "python3"}, files, scripts, (ENVIRONMENT, CONFIG))  # fmt: skip

"""Docker: installed on plain Ubuntu, asserted on DGX OS; daemon.json joined, never replaced."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, refuse, write_command
from deploys.packages import defined, held, present, repository_files
from deploys.units import running, stale
from fleet import host_docker, host_files, host_packages, images
from fleet.preflight_driver import serves
from fleet.preflight_machine import platform
from fleet.settings import Settings

DAEMON_JSON = "/etc/docker/daemon.json"
CANDIDATE = "/etc/docker/.vllm-fleet-daemon.json"
# The reload is a signal: nothing says when the daemon is done with it.
LIVE_RESTORE_TAKEN = (
    "{ timeout 30 sh -c 'until docker info -f {{.LiveRestoreEnabled}} | grep -qx true; "
    "do sleep 0.2; done' || { echo 'docker: found live-restore off 30 s after a reload, wanted on "
    "before a restart; journalctl -u docker tells why' >&2; false; }; }"
)
UNITS = ("containerd.service", "docker.service")


def watch(settings: Settings) -> Watch:
    return Watch(
        files=(*repository_files(host_files.docker(settings)), DAEMON_JSON),
        packages=(
            *host_packages.docker(settings),
            *host_packages.CONFLICTING,
            "docker-buildx-plugin",
        ),
        units=UNITS,
    )


@operation()
def configured(settings: Settings) -> Commands:
    """daemon.json has our keys beside the host's own; dockerd itself has accepted it."""
    now = current(settings).docker.daemon_json
    if now.invalid:
        yield refuse(
            f"{DAEMON_JSON}: found no valid JSON object ({now.invalid}); mend it by hand, "
            "its keys are kept and so it is never replaced"
        )
        return
    text = host_docker.changed(now.text, settings, images.insecure(settings))
    if text is None:
        host.noop(f"{DAEMON_JSON} is as wanted")
        return
    if problem := host_docker.ended(current(settings).docker, text):
        yield refuse(problem)
        return
    forget()
    yield write_command({CANDIDATE: File(text)})
    yield StringCommand(
        f"dockerd --validate --config-file {CANDIDATE} && mv -f {CANDIDATE} {DAEMON_JSON} || "
        f"{{ rm -f {CANDIDATE}; false; }}"
    )


@operation()
def outlived(settings: Settings) -> Commands:
    """A running daemon with live-restore has taken it up: only then containers outlive its end."""
    now = current(settings).docker
    if now.info.LiveRestoreEnabled or not host_docker.outlives(now.daemon_json.text):
        host.noop("Docker keeps containers over a restart, or is not meant to")
        return
    forget()
    yield StringCommand(f"systemctl reload docker.service && {LIVE_RESTORE_TAKEN}")


@operation()
def restarted(settings: Settings) -> Commands:
    """Docker runs with its present configuration; a host that serves is left for its wave."""
    now = current(settings)
    if not stale(now, "docker.service", [DAEMON_JSON]):
        host.noop("Docker runs with its present configuration")
        return
    if serves(now):
        host.noop("Docker takes its new configuration when the host no longer serves: upgrade.py")
        return
    if problem := host_docker.ended(now.docker, now.docker.daemon_json.text):
        yield refuse(problem)
        return
    forget()
    yield StringCommand("systemctl", "restart", "docker.service")


@operation()
def registry_known(settings: Settings) -> Commands:
    """Docker knows that the fleet's registry speaks HTTP: a reload, no container notices."""
    now, wanted = current(settings).docker.info, settings.image_registry
    if wanted is None or now.speaks_http(wanted):
        host.noop("there is none, or it is known")
        return
    forget()
    yield StringCommand("systemctl", "reload", "docker.service")


@deploy("Docker")
def run(*, settings: Settings) -> None:
    packages = host_packages.docker(settings)
    if platform(current(settings)) == "ubuntu":
        repository = host_files.docker(settings)
        defined(name="Define Docker's repository", settings=settings, repository=repository)
        present(name="Install Docker", settings=settings, packages=packages)
    configured(name="Join our keys into daemon.json", settings=settings)
    running(name="Run Docker", settings=settings, units=dict.fromkeys(UNITS, ()))
    outlived(name="Let containers outlive a restart of Docker", settings=settings)
    restarted(name="Restart Docker if it is behind daemon.json", settings=settings)
    registry_known(name="Tell Docker of the fleet's registry", settings=settings)
    if settings.hold_packages:
        names = (*packages, "docker-buildx-plugin")
        held(name="Hold Docker", settings=settings, packages=names)

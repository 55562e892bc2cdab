"""Kernel and NVIDIA driver: installed on plain Ubuntu, asserted on DGX OS, held on both."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, tree, write_command
from deploys.packages import defined, held, present, repository_files
from deploys.reboot import rebooted
from deploys.units import running
from fleet import host_files, host_packages
from fleet.preflight_driver import wanted_parameters
from fleet.preflight_machine import platform
from fleet.settings import Settings

PERSISTENCE = "nvidia-persistenced.service"


def watch(settings: Settings) -> Watch:
    repository = repository_files(host_files.cuda(settings))
    return Watch(
        files=(*repository, host_files.PREFERENCES, host_files.GRUB),
        packages=(*host_packages.to_hold(settings), host_packages.pinning(settings)),
        units=(PERSISTENCE,),
    )


@operation()
def boots(settings: Settings) -> Commands:
    """GRUB's default entry is the wanted kernel with the words its command line needs."""
    now = current(settings)
    wanted, entry = settings.kernel_release, now.kernels.boot_default
    words = (now.kernels.boot_cmdline or "").split()
    parameters = wanted_parameters(settings, now)
    lacking = [w for w in parameters if w not in words]
    if wanted not in now.kernels.installed or (entry == wanted and not lacking):
        host.noop(f"GRUB boots {entry}")
        return
    forget()
    text = host_files.grub(wanted, parameters)  # all: the entry may have them from this very file
    yield write_command({path: File(text) for path, text in text.items()})
    yield StringCommand("update-grub")


def _install(settings: Settings) -> None:
    """Plain Ubuntu. The driver's module belongs to the kernel, so that boots first."""
    repository = host_files.cuda(settings)
    preferences = host_files.preferences(settings)
    kernel = host_packages.kernel(settings)
    driver = {host_packages.pinning(settings): None, **host_packages.driver(settings)}
    defined(name="Define NVIDIA's repository", settings=settings, repository=repository)
    tree(
        name="Pin apt to the wanted kernel and driver",
        settings=settings,
        files={path: File(text) for path, text in preferences.items()},
    )
    present(name="Install the kernel", settings=settings, packages=kernel)
    boots(name="Boot the wanted kernel by default", settings=settings)
    rebooted(name="Reboot into the kernel", settings=settings)
    present(name="Install the driver", settings=settings, packages=driver)


@deploy("Driver")
def run(*, settings: Settings) -> None:
    if platform(current(settings)) == "ubuntu":  # a platform never changes under a run
        _install(settings)
    rebooted(name="Reboot into the driver", settings=settings)
    running(name="Keep the driver loaded", settings=settings, units={PERSISTENCE: ()})
    if settings.hold_packages:
        held(
            name="Hold kernel and driver",
            settings=settings,
            packages=_ours(settings),
        )


def _ours(settings: Settings) -> list[str]:
    return [n for n in host_packages.to_hold(settings) if n.startswith(("linux-", "nvidia-driver"))]

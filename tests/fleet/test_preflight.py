"""Every answer of the preflight: ready, warn or blocked, and unknown is never ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet import preflight
from fleet.known_bad import KNOWN_BAD
from fleet.preflight_driver import boot_problems, reboot_reasons, serves
from fleet.serving import Catalogue
from fleet.snapshot import Snapshot
from tests.fleet.examples import load
from tests.fleet.host_examples import GIB, READY, changed, on_dgx, snapshot

FIXTURE = Path(__file__).parents[1] / "fixtures" / "nvidia-580.159.04-h200"


def levels(files: Catalogue, now: Snapshot, **data: object) -> dict[str, str]:
    """Name → level of everything that is not ready."""
    found = preflight.findings(load(files, **data), now)
    return {f.name: f.level for f in found if f.level != "ready"}


def remedies(files: Catalogue, now: Snapshot, **data: object) -> dict[str, str]:
    found = preflight.findings(load(files, **data), now)
    return {f.name: f.remedy for f in found if f.level != "ready"}


def test_a_host_as_it_should_be_is_ready_in_everything(files: Catalogue) -> None:
    assert levels(files, snapshot()) == {}


def test_a_host_that_gave_no_answer_is_blocked(files: Catalogue) -> None:
    assert levels(files, Snapshot.unreadable()) == {"facts": "blocked"}


def test_nothing_is_ready_when_nothing_is_known(files: Catalogue) -> None:
    names = {"ID": "ubuntu", "VERSION_ID": "24.04"}
    for blank in (Snapshot(), Snapshot.model_validate({"host": {"os_release": names}})):
        found = preflight.findings(load(files), blank)
        ready = {f.name for f in found if f.level == "ready"}
        # What an empty host rightly is: without errors, packages, or a foreign server.
        assert ready <= {
            *("facts", "watchdog", "known bad", "apt sources", "packages", "dpkg", "platform"),
            *("other docker", "daemon.json", "port 8000", "swap"),
        }
        assert {"architecture", "gpu", "cgroup"} <= {f.name for f in found if f.level == "blocked"}


@pytest.mark.parametrize("told", ["²", "", "1e3", "-1", "9" * 4400])
def test_a_temperature_that_is_no_number_is_not_judged(files: Catalogue, told: str) -> None:
    now = snapshot("driver", "smi", "temperature.gpu", value=told)
    assert "temperature" not in levels(files, now)


@pytest.mark.parametrize(
    ("path", "value", "name", "level"),
    [
        (("host", "dpkg_arch"), "amd64", "architecture", "blocked"),
        (("host", "os_release"), {"ID": "debian", "VERSION_ID": "13"}, "platform", "blocked"),
        (("host", "os_release", "VERSION_ID"), "22.04", "platform", "blocked"),
        (("host", "pci"), [{"slot": "0", "id": "10de:2335"}], "gpu", "blocked"),
        (("host", "pci"), None, "gpu", "blocked"),
        (("host", "cgroup_v2"), False, "cgroup", "blocked"),
        (("host", "cgroup_v2"), None, "cgroup", "blocked"),
        (("host", "clock_synced"), False, "clock", "warn"),
        (("host", "clock_synced"), None, "clock", "warn"),
        (("host", "python"), "3.10.12", "python", "blocked"),
        (("host", "python"), ":", "python", "blocked"),
        (("host", "watchdog"), None, "watchdog", "warn"),
        (("host", "meminfo"), {"MemAvailable": 1 << 20}, "memory", "blocked"),
        (("host", "meminfo"), None, "memory", "blocked"),
        (("driver", "smi", "compute_cap"), "9.0", "compute capability", "blocked"),
        (("driver", "smi", "temperature.gpu"), "84", "temperature", "warn"),
        (("driver", "smi", "persistence_mode"), "Disabled", "persistence mode", "warn"),
        (("driver", "smi_error"), "No devices were found", "compute capability", "blocked"),
        (("driver", "license"), "NVIDIA", "driver modules", "blocked"),
        (("driver", "installed"), "580.178.04", "driver loaded", "blocked"),
        (("kernels", "initrd_bytes"), {}, "initrd", "blocked"),
        (("kernels", "initrd_bytes"), {"6.17.0-1032-nvidia": 0}, "initrd", "blocked"),
        (("dpkg_unsettled",), ["nvidia-utils-580 half-configured"], "dpkg", "blocked"),
        (("docker", "daemon_json"), {"text": "{", "invalid": "line 1"}, "daemon.json", "blocked"),
        (("listeners",), [{"port": 8000, "pid": 7, "cmd": "vllm"}], "port 8000", "blocked"),
        (("errors",), {"host.dmi": "PermissionError"}, "facts", "warn"),
    ],
)
def test_what_differs_is_told_with_a_remedy(
    files: Catalogue, path: tuple[str, ...], value: Any, name: str, level: str
) -> None:
    now = snapshot(*path, value=value)
    assert levels(files, now).get(name) == level
    assert remedies(files, now)[name]


# Vendor and product as DMI has them where that is known (ASUS, MSI), else as they are sold.
@pytest.mark.parametrize(
    ("vendor", "product"),
    [
        ("ASUSTeK COMPUTER INC.", "GX10"),
        ("Micro-Star International Co., Ltd.", "MS-C931"),
        ("Dell Inc.", "Dell Pro Max with GB10"),
        ("HP", "HP ZGX Nano G1n AI Station"),
        ("LENOVO", "ThinkStation PGX"),
        ("Gigabyte Technology Co., Ltd.", "AI TOP ATOM"),
        ("Acer", "Veriton GN100"),
        (None, None),
    ],
)
@pytest.mark.parametrize("start", [snapshot, on_dgx])
def test_a_partners_machine_is_judged_by_its_gpu_not_by_its_name(
    files: Catalogue, start: Callable[..., Snapshot], vendor: str | None, product: str | None
) -> None:
    named = {"sys_vendor": vendor, "product_name": product, "bios_version": "1.0"}
    assert levels(files, start("host", "dmi", value=named)) == levels(files, start())


def test_a_machine_called_dgx_spark_without_a_gb10_is_refused(files: Catalogue) -> None:
    assert READY["host"]["dmi"]["product_name"] == "NVIDIA_DGX_Spark"
    of = changed("driver", "smi", "compute_cap", value="9.0")
    now = snapshot("host", "pci", value=[{"slot": "0", "id": "10de:2335"}], of=of)
    assert levels(files, now) == {"gpu": "blocked", "compute capability": "blocked"}


def test_a_real_machine_that_is_no_gb10_is_refused_by_what_it_told(files: Catalogue) -> None:
    """An H200's host as files/snapshot.py read it; it has no modinfo and no systemd."""
    now = Snapshot.parse((FIXTURE / "snapshot.json").read_text())
    found = {f.name: f for f in preflight.findings(load(files), now)}
    for name, told in (
        ("architecture", "amd64"), ("gpu", "10de:2335"), ("compute capability", "9.0"),
    ):  # fmt: skip
        assert (found[name].level, told in found[name].found) == ("blocked", True)
    assert found["platform"].level == "ready"
    assert found["persistence mode"].level == "ready"
    assert found["driver loaded"].found == "580.159.04 loaded, none installed"
    assert "linux-modules-nvidia-580-open" in found["driver loaded"].remedy


def test_a_clock_is_looked_at_with_the_tool_that_keeps_it(files: Catalogue) -> None:
    now = snapshot("host", "clock_synced", value=False)
    assert "timedatectl timesync-status" in remedies(files, now)["clock"]
    assert "chronyc tracking" in remedies(files, now, time_sync="leave")["clock"]


def test_a_listener_of_our_own_container_is_not_foreign(files: Catalogue) -> None:
    ours = {"id": "abc123", "name": "vllm", "labels": {"vllm-fleet.release": "r"}}
    listening = {"port": 8000, "pid": 7, "cgroup": "0::/system.slice/docker-abc123.scope"}
    of = changed("docker", "containers", value=[ours])
    assert levels(files, snapshot("listeners", value=[listening], of=of)) == {}


def test_a_container_whose_daemon_is_down_is_not_called_somebody_elses(files: Catalogue) -> None:
    listening = {"port": 8000, "pid": 7, "cgroup": "0::/system.slice/docker-abc123.scope"}
    silent = changed("docker", value={**READY["docker"], "containers": [], "error": "refused"})
    found = snapshot("listeners", value=[listening], of=silent)
    assert "port 8000" not in levels(files, found)


def test_disk_for_image_and_weights_adds_up_on_one_file_system(files: Catalogue) -> None:
    """16 GiB of weights, 30 for the image, 20 to spare."""
    enough = {"free": 67 * GIB, "total": 100 * GIB}
    little = {"free": 65 * GIB, "total": 100 * GIB}
    both = {"/srv/models/hub": enough, "/var/lib/docker": enough}
    assert levels(files, snapshot("disk", value=both)) == {}
    both = {"/srv/models/hub": little, "/var/lib/docker": little}
    assert levels(files, snapshot("disk", value=both)) == {
        "disk /srv/models/hub and /var/lib/docker": "blocked"
    }


def test_a_bare_ubuntu_is_no_refusal(files: Catalogue) -> None:
    of = changed("packages", value={})
    of = changed("host", "kernel", value="6.17.0-14-generic", of=of)
    of = changed("kernels", "installed", value=["6.17.0-14-generic"], of=of)
    of = changed("kernels", "boot_default", value="6.17.0-14-generic", of=of)
    of = changed("kernels", "initrd_bytes", value={"6.17.0-14-generic": 9}, of=of)
    of = changed("driver", value={"smi_error": "nvidia-smi is not installed"}, of=of)
    of = changed("docker", value={"error": "no daemon"}, of=of)
    assert levels(files, snapshot(of=of)) == {"kernel": "warn", "driver": "warn"}


def test_deploy_never_moves_a_version_it_finds(files: Catalogue) -> None:
    held = {"version": "5:29.2.1-1~ubuntu.24.04~noble", "status": "installed", "hold": True}
    now = snapshot("packages", "docker-ce", value=held)
    assert levels(files, now) == {"packages": "blocked"}
    assert "upgrade.py" in remedies(files, now)["packages"]


def test_dgx_os_may_run_what_it_brings(files: Catalogue) -> None:
    older = {"version": "5:29.2.1-1~ubuntu.24.04~noble", "status": "installed"}
    assert levels(files, on_dgx("packages", "docker-ce", value=older)) == {}
    ancient = {"version": "5:26.1.3-1~ubuntu.24.04~noble", "status": "installed"}
    assert levels(files, on_dgx("packages", "docker-ce", value=ancient)) == {"docker-ce": "blocked"}
    newer = {**READY["driver"], "loaded": "580.178.04", "installed": "580.178.04"}
    assert levels(files, on_dgx("driver", value=newer)) == {}
    wrong = {**READY["driver"], "loaded": "595.45.04", "installed": "595.45.04"}
    assert levels(files, on_dgx("driver", value=wrong)) == {"driver version": "blocked"}


@pytest.mark.parametrize(
    "text",
    [
        "deb [signed-by=/usr/share/keyrings/docker.gpg] https://download.docker.com/linux/ubuntu "
        "noble stable",
        "deb https://download.docker.com/linux/ubuntu/ noble stable # by hand",
    ],
)
def test_a_second_definition_is_refused_by_file(files: Catalogue, text: str) -> None:
    path = "/etc/apt/sources.list.d/docker.list"
    now = snapshot("apt_sources", value={path: text})
    assert levels(files, now) == {"apt sources": "blocked"}
    assert f"rm {path}" in remedies(files, now)["apt sources"]
    assert levels(files, snapshot("apt_sources", value={path: "# " + text})) == {}


def test_our_own_source_file_is_no_second_definition(files: Catalogue) -> None:
    text = "Types: deb\nURIs: https://download.docker.com/linux/ubuntu\nSuites: noble\n"
    ours = {"/etc/apt/sources.list.d/vllm-fleet-docker.sources": text}
    assert levels(files, snapshot("apt_sources", value=ours)) == {}
    theirs = {"/etc/apt/sources.list.d/docker.sources": f"Enabled: no\n{text}"}
    assert levels(files, snapshot("apt_sources", value=theirs)) == {}


def test_dgx_os_keeps_its_own_definitions_and_two_keys_are_refused(files: Catalogue) -> None:
    line = (
        "deb [signed-by=/usr/share/keyrings/{}.gpg] https://nvidia.github.io/libnvidia-container/"
    )
    own = {"/etc/apt/sources.list.d/nvidia.list": line.format("dgx")}
    assert levels(files, on_dgx("apt_sources", value=own)) == {}
    second = {**own, "/etc/apt/sources.list.d/ctk.list": line.format("other")}
    assert levels(files, on_dgx("apt_sources", value=second)) == {"apt sources": "blocked"}


def test_every_known_bad_entry_can_match_and_has_source_and_remedy() -> None:
    samples = {
        r"7\.0\.0-1019-nvidia": "7.0.0-1019-nvidia",
        r"6\.17\.0-1032-nvidia": "6.17.0-1032-nvidia",
        r".*-64k": "6.17.0-1032-nvidia-64k",
        ".*": "6.17.0-1021-nvidia",
        r"590\..*": "590.48.01",
        r"580\.173\.02": "580.173.02",
        r"580\.178\.04": "580.178.04",
    }
    for entry in KNOWN_BAD:
        kernel, driver = samples[entry.kernel], samples[entry.driver]
        assert entry.matches(kernel, driver, f"ro {entry.with_token}"), entry.what
        assert not entry.matches("1.0", "1.0", "ro kho=off"), entry.what
        assert entry.source and entry.remedy


def test_the_handover_kernel_is_refused_in_a_replica_unless_the_word_is_there(
    files: Catalogue,
) -> None:
    of = changed("host", "kernel", value="7.0.0-1019-nvidia")
    of = changed("host", "dgx_release", value={"DGX_NAME": "DGX Spark"}, of=of)
    of = changed("kernels", "boot_default", value="7.0.0-1019-nvidia", of=of)
    of = changed("kernels", "installed", value=["7.0.0-1019-nvidia"], of=of)
    of = changed("kernels", "initrd_bytes", value={"7.0.0-1019-nvidia": 9}, of=of)
    assert levels(files, snapshot(of=of), replica="pair") == {"known bad": "blocked"}
    assert levels(files, snapshot(of=of)) == {"known bad": "warn"}
    good = changed("host", "cmdline", value="ro kho=off", of=of)
    assert levels(files, snapshot(of=good), replica="pair") == {}


SEVEN = "7.0.0-1019-nvidia"


def updated_dgx(words: str) -> dict[str, Any]:
    """DGX OS that runs 6.17 and has installed the handover kernel, which boots next."""
    of = changed("host", "dgx_release", value={"DGX_NAME": "DGX Spark"})
    now = {
        "installed": ["6.17.0-1032-nvidia", SEVEN],
        "initrd_bytes": {SEVEN: 9},
        "boot_default": SEVEN,
        "boot_cmdline": words,
    }
    return changed("kernels", value=now, of=of)


def test_a_reboot_into_a_known_bad_kernel_is_refused_before_it(files: Catalogue) -> None:
    bad, good = snapshot(of=updated_dgx("ro")), snapshot(of=updated_dgx("ro kho=off"))
    data = {"replica": "pair", "allow_reboot": True}
    assert levels(files, bad, **data) == {"kernel": "warn", "known bad at boot": "blocked"}
    assert "kho=off" in remedies(files, bad, **data)["known bad at boot"]
    assert levels(files, good, **data) == {"kernel": "warn"}
    [problem] = boot_problems(load(files, **data), bad)
    assert "Kexec HandOver" in problem and "add kho=off" in problem
    assert boot_problems(load(files, **data), good) == []
    assert boot_problems(load(files), bad) == []  # alone it is only warned of


def test_a_known_bad_driver_that_upgrade_replaces_is_told_once(files: Catalogue) -> None:
    driver = {**READY["driver"], "installed": "590.48.01"}
    found = preflight.findings(load(files), snapshot("driver", value=driver))
    assert [f.name for f in found if f.name.startswith("known bad")] == ["known bad"]


def test_the_words_that_a_pinned_kernel_gets_count_before_it_boots(files: Catalogue) -> None:
    of = changed("kernels", value={**updated_dgx("ro")["kernels"]})
    pins = {"kernel_version": "7.0.0-1019.19~24.04.2", "replica": "pair", "allow_reboot": True}
    assert "known bad at boot" not in levels(files, snapshot(of=of), **pins)


def test_hosts_of_a_replica_must_boot_alike_where_dgx_os_decides() -> None:
    hosts = {"spark-01": on_dgx(), "spark-02": snapshot(of=updated_dgx("ro kho=off"))}
    [finding] = preflight.skew("pair", hosts)
    assert (finding.name, finding.level) == ("skew: kernel at boot", "blocked")
    assert f"spark-01 6.17.0-1032-nvidia, spark-02 {SEVEN}" in finding.found
    plain = {"spark-01": snapshot(), "spark-02": snapshot("kernels", "boot_default", value="6.8")}
    assert preflight.skew("pair", plain) == []


def test_hosts_of_a_replica_must_be_alike() -> None:
    other = snapshot("driver", value={**READY["driver"], "loaded": "580.178.04"})
    [finding] = preflight.skew("pair", {"spark-01": snapshot(), "spark-02": other})
    assert (finding.name, finding.level) == ("skew: driver", "blocked")
    assert "spark-01 580.159.03, spark-02 580.178.04" in finding.found
    assert preflight.skew("pair", {"spark-01": snapshot(), "spark-02": snapshot()}) == []


def test_a_reboot_is_asked_for_only_when_it_would_change_what_is_loaded(files: Catalogue) -> None:
    settings = load(files)
    assert reboot_reasons(settings, snapshot()) == []
    newer = snapshot("driver", "installed", value="580.178.04")
    assert reboot_reasons(settings, newer) == [
        "driver 580.159.03 is loaded, 580.178.04 is installed"
    ]
    generic = snapshot("host", "kernel", value="6.17.0-14-generic")
    assert "6.17.0-1032-nvidia is installed" in reboot_reasons(settings, generic)[0]
    bare = changed("kernels", "installed", value=["6.17.0-14-generic"])
    bare = changed("host", "kernel", value="6.17.0-14-generic", of=bare)
    assert reboot_reasons(settings, snapshot(of=bare)) == []


def test_a_boot_that_might_not_come_back_is_told(files: Catalogue) -> None:
    settings = load(files)
    assert boot_problems(settings, snapshot()) == []
    [missing] = boot_problems(settings, snapshot("kernels", "initrd_bytes", value={}))
    assert "update-initramfs -c -k 6.17.0-1032-nvidia" in missing
    of = changed("kernels", "boot_default", value="6.17.0-14-generic")
    of = changed("kernels", "initrd_bytes", value={"6.17.0-14-generic": 9}, of=of)
    [other] = boot_problems(settings, snapshot(of=of))
    assert "GRUB would boot 6.17.0-14-generic" in other
    [unknown] = boot_problems(settings, snapshot("kernels", "boot_default", value=None))
    assert "unknown" in unknown


def test_a_serving_host_is_not_rebooted_but_referred_to_its_wave(files: Catalogue) -> None:
    container = {"id": "1", "name": "vllm", "labels": {"vllm-fleet.release": "r"}}
    of = changed("docker", "containers", value=[{**container, "state": "running"}])
    now = snapshot("driver", "installed", value="580.178.04", of=of)
    assert levels(files, now, allow_reboot=True)["driver loaded"] == "blocked"
    assert "upgrade.py" in remedies(files, now, allow_reboot=True)["driver loaded"]
    idle = snapshot("driver", "installed", value="580.178.04")
    assert levels(files, idle, allow_reboot=True)["driver loaded"] == "warn"


@pytest.mark.parametrize(
    "silent",
    [
        changed("docker", value={"error": "ConnectionRefusedError"}),
        changed("errors", value={"docker.containers": "TimeoutError"}),
    ],
)
def test_while_docker_does_not_tell_the_unit_says_whether_the_host_serves(
    files: Catalogue, silent: dict[str, Any]
) -> None:
    def with_unit(state: str) -> Snapshot:
        of = changed("driver", "installed", value="580.178.04", of=silent)
        return snapshot("units", value={"vllm.service": {"ActiveState": state}}, of=of)

    assert serves(with_unit("active")) and serves(with_unit("activating"))
    assert not serves(with_unit("inactive")) and not serves(with_unit("failed"))
    told = remedies(files, with_unit("active"), allow_reboot=True)["driver loaded"]
    assert "upgrade.py" in told

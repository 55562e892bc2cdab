"""All that a converge compares with, read in one go: `main(request)` prints one JSON line.

Runs on the host as `python3 -` over SSH, so it uses the standard library only, imports no sibling,
and changes nothing. A fact that cannot be read is null and has an entry in "errors"; one bad fact
never hides the others. The slow parts (nvidia-smi, modinfo, systemctl) run side by side while files
are read; Docker is asked over its socket, because its command line costs about 30 ms a question.
"""

import ctypes
import fnmatch
import glob
import grp
import hashlib
import ipaddress
import json
import os
import pwd
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

SMI_FIELDS = (
    *("name", "driver_version", "compute_cap", "memory.total", "persistence_mode", "pci.bus_id"),
    *("pstate", "clocks.sm", "clocks.max.sm", "temperature.gpu", "power.draw"),
)
SMI_UNKNOWN = {"[N/A]", "N/A", "[Not Supported]", "Not Supported", "[Unknown Error]", ""}
UNIT_FIELDS = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "Result"),
    *("ConditionResult", "ConditionTimestampMonotonic", "ActiveEnterTimestampMonotonic"),
)
MEMORY_FIELDS = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree", "CmaTotal", "CmaFree")
SETTLED = ("installed", "config-files", "not-installed")
DOCKER_SOCKET = "/run/docker.sock"
COMMAND_S = 20
SYNCED_BELOW_US = (
    16_000_000  # the kernel's maximum error from which timedatectl says "not synchronised"
)


class Errors(dict[str, str]):
    def fact(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` returns; null and an entry here when it raises, whatever it raises."""
        try:
            return read()
        except Exception as error:
            self[name] = f"{type(error).__name__}: {error}"[:300]
            return None


def text(path: str) -> str:
    return Path(path).read_text(errors="replace").strip()


def text_or_none(path: str) -> str | None:
    """The text of a file that may rightly be absent."""
    return text(path) if os.path.exists(path) else None


def start(*argv: str) -> subprocess.Popen[str] | None:
    """Start a reading command; None when the host has no such program."""
    environment = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment
        )
    except FileNotFoundError:
        return None


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and what it said (stdout, or stderr when stdout is empty)."""
    try:
        out, err = process.communicate(timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 124, f"no answer within {COMMAND_S} s"
    return process.returncode, (out.strip() or err.strip())


def assignments(lines: str) -> dict[str, str]:
    """KEY="value" lines; the last of several wins."""
    pairs = (line.split("=", 1) for line in lines.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip('"') for key, value in pairs}


def dgx_release() -> dict[str, str] | None:
    found = text_or_none("/etc/dgx-release")
    if found is None:
        return None
    return {key: value for key, value in assignments(found).items() if "SERIAL" not in key}


def dmi() -> dict[str, str | None]:
    names = ("sys_vendor", "product_name", "product_family", "board_name", "bios_version")
    return {name: text_or_none(f"/sys/class/dmi/id/{name}") for name in names}


def secure_boot() -> bool:
    """The firmware's variable: four bytes of attributes, then 0 or 1. Without UEFI it is off."""
    if not os.path.isdir("/sys/firmware/efi"):
        return False
    found = glob.glob("/sys/firmware/efi/efivars/SecureBoot-*")
    return Path(found[0]).read_bytes()[-1] == 1 if found else False


def clock_synced() -> bool:
    """As timedatectl decides it; asking timedated would start it. struct timex: maxerror at 24."""
    timex = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return int.from_bytes(timex.raw[24:32], sys.byteorder) < SYNCED_BELOW_US


def meminfo() -> dict[str, int]:
    pairs = (line.split(":") for line in text("/proc/meminfo").splitlines())
    return {key: int(value.split()[0]) for key, value in pairs if key in MEMORY_FIELDS}


def pci() -> list[dict[str, str]]:
    """NVIDIA and Mellanox devices, as lspci -n shows them."""
    return [
        {
            "slot": os.path.basename(device),
            "id": f"{text(device + '/vendor')[2:]}:{text(device + '/device')[2:]}",
            "class": text(device + "/class")[2:],
        }
        for device in sorted(glob.glob("/sys/bus/pci/devices/*"))
        if text(device + "/vendor") in ("0x10de", "0x15b3")
    ]


def answer(process: subprocess.Popen[str] | None) -> str:
    if process is None:
        raise FileNotFoundError("no such program")
    status, said = finish(process)
    if status:
        raise OSError(said)
    return said


def sysctl(name: str) -> str | None:
    """Its one line; null when this kernel has no such sysctl."""
    found = text_or_none("/proc/sys/" + name.replace(".", "/"))
    return found.splitlines()[0] if found else found


def default_target() -> str:
    link = "/etc/systemd/system/default.target"
    return os.path.basename(
        os.path.realpath(link if os.path.lexists(link) else f"/usr/lib{link[4:]}")
    )


def host(
    errors: Errors,
    uname: subprocess.Popen[str] | None,
    dpkg: subprocess.Popen[str] | None,
    sysctls: Iterable[str],
) -> dict[str, Any]:
    facts: dict[str, Callable[[], Any]] = {
        "arch": lambda: os.uname().machine,
        "dpkg_arch": lambda: answer(dpkg),
        "os_release": lambda: assignments(text("/etc/os-release")),
        "dgx_release": dgx_release,
        "kernel": lambda: answer(uname),
        "cmdline": lambda: text("/proc/cmdline"),
        "boot_id": lambda: text("/proc/sys/kernel/random/boot_id"),
        "hostname": socket.gethostname,
        "dmi": dmi,
        "secure_boot": secure_boot,
        "cgroup_v2": lambda: os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        "clock_synced": clock_synced,
        "meminfo": meminfo,
        "swap": lambda: [line.split()[0] for line in text("/proc/swaps").splitlines()[1:]],
        "pci": pci,
        "default_target": default_target,
        "python": lambda: ".".join(map(str, sys.version_info[:3])),
        "watchdog": lambda: text_or_none("/sys/class/watchdog/watchdog0/identity"),
        "reboot_required": lambda: os.path.exists("/run/reboot-required"),
        "sysctls": lambda: {name: sysctl(name) for name in sysctls},
    }
    return {name: errors.fact(f"host.{name}", read) for name, read in facts.items()}


def kernels() -> dict[str, Any]:
    """What could boot: kernels in /boot, each initrd's size, and GRUB's default entry."""
    installed = sorted(path.split("vmlinuz-")[1] for path in glob.glob("/boot/vmlinuz-*"))
    initrds = {name: f"/boot/initrd.img-{name}" for name in installed}
    grub = text_or_none("/boot/grub/grub.cfg") or ""
    default, cmdline = boot_entry(grub, saved_entry())
    return {
        "installed": installed,
        "initrd_bytes": {n: os.path.getsize(p) for n, p in initrds.items() if os.path.exists(p)},
        "boot_default": default,
        "boot_cmdline": cmdline,
    }


def saved_entry() -> str:
    return assignments(text_or_none("/boot/grub/grubenv") or "").get("saved_entry", "")


def boot_entry(grub: str, saved: str) -> tuple[str | None, str | None]:
    """Kernel and command line of the entry that `set default` names: by number ("0" is the newest,
    "1>2" the third of the submenu) or by a title or id that has the kernel's name in it."""
    entries = re.findall(r"^\s*linux\s+\S*vmlinuz-(\S+)(.*)$", grub, re.MULTILINE)
    names = re.findall(r"^\s*set default=\"([^\"]*)\"", grub, re.MULTILINE)
    chosen = [n for n in names if not n.startswith("${")][-1:] or [saved or "0"]
    if any(n == "${saved_entry}" for n in names) and saved:
        chosen = [saved]
    title = chosen[0]
    if re.fullmatch(r"\d+(>\d+)?", title):
        number = int(title.split(">")[1]) + 1 if ">" in title else int(title)
        found = entries[number : number + 1]
    else:
        found = sorted((e for e in entries if e[0] in title), key=lambda e: len(e[0]))[-1:]
    return (found[0][0], found[0][1].strip()) if found else (None, None)


def smi(process: subprocess.Popen[str] | None) -> tuple[dict[str, str | None] | None, str | None]:
    """The first GPU's fields ([N/A] and the like are null) and, if there are none, why."""
    if process is None:
        return None, "nvidia-smi is not installed"
    status, said = finish(process)
    values = [value.strip() for value in said.split("\n")[0].split(",")]
    if status or len(values) != len(SMI_FIELDS):
        return None, said[:300] or f"nvidia-smi ended with {status}"
    return {
        field: None if value in SMI_UNKNOWN else value
        for field, value in zip(SMI_FIELDS, values, strict=True)
    }, None


def loaded_version(told: str) -> str | None:
    """From "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build"."""
    found = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", told + " ")
    return found[1] if found else None


def driver(
    modinfo: subprocess.Popen[str] | None, query: subprocess.Popen[str] | None
) -> dict[str, Any]:
    """The loaded module, the one on disk for the running kernel, and what nvidia-smi says."""
    loaded = loaded_version(text_or_none("/proc/driver/nvidia/version") or "")
    status, said = finish(modinfo) if modinfo else (127, "")
    fields = dict(re.findall(r"^(\w+):\s+(.*)$", said, re.MULTILINE)) if status == 0 else {}
    fields_smi, smi_error = smi(query)
    return {
        "loaded": loaded or text_or_none("/sys/module/nvidia/version"),
        "installed": fields.get("version"),
        "license": fields.get("license"),
        "signer": fields.get("signer"),
        "smi": fields_smi,
        "smi_error": smi_error,
    }


def stanzas(names: Iterable[str]) -> Iterator[dict[str, str]]:
    """dpkg's own record; `names` may hold shell patterns."""
    wanted = re.compile("|".join(map(fnmatch.translate, names)) or "(?!)")
    for stanza in Path("/var/lib/dpkg/status").read_text(errors="replace").split("\n\n"):
        if found := re.match(r"\s*Package: (\S+)\nStatus: (\S+) (\S+) (\S+)", stanza):
            name, selection, flag, state = found.groups()
            if wanted.fullmatch(name) or flag != "ok" or state not in SETTLED:
                version = re.search(r"^Version: (\S+)", stanza, re.MULTILINE)
                kept = version[1] if version else ""
                yield {
                    "name": name,
                    "hold": selection,
                    "flag": flag,
                    "status": state,
                    "version": kept,
                }


def packages(names: Iterable[str]) -> dict[str, Any]:
    """Versions and holds; what dpkg left half done; whether it was interrupted altogether."""
    found = list(stanzas(names))
    return {
        "packages": {
            p["name"]: {
                "version": p["version"] if p["status"] == "installed" else None,
                "status": p["status"],
                "hold": p["hold"] == "hold",
            }
            for p in found
        },
        "dpkg_unsettled": [
            f"{p['name']} {p['status']}"
            for p in found
            if p["flag"] != "ok" or p["status"] not in SETTLED
        ]
        + [f"interrupted: {name}" for name in os.listdir("/var/lib/dpkg/updates")],
    }


def apt_sources(needles: Iterable[str]) -> dict[str, str]:
    """The apt source files that mention one of `needles` (vendors' names), with their text."""
    folder = "/etc/apt/sources.list.d/*"
    paths = ["/etc/apt/sources.list", *glob.glob(folder + ".list"), *glob.glob(folder + ".sources")]
    texts = {path: text(path) for path in sorted(paths) if os.path.exists(path)}
    return {path: body for path, body in texts.items() if any(n in body for n in needles)}


def file_state(path: str) -> dict[str, Any] | None:
    """Kind, mode, owner and sum of one path (links are not followed); null when there is none."""
    if not os.path.lexists(path):
        return None
    status = os.lstat(path)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "other")
    return {
        "kind": kind,
        "mode": f"{stat.S_IMODE(status.st_mode):o}",
        "owner": name_of(status.st_uid, lambda uid: pwd.getpwuid(uid).pw_name),
        "group": name_of(status.st_gid, lambda gid: grp.getgrgid(gid).gr_name),
        "size": status.st_size,
        "mtime": status.st_mtime,
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest() if kind == "file" else None,
        "target": os.readlink(path) if kind == "link" else None,
    }


def name_of(number: int, look_up: Callable[[int], str]) -> str:
    try:
        return look_up(number)
    except KeyError:
        return str(number)


def units(names: list[str], show: subprocess.Popen[str] | None) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    blocks = answer(show).split("\n\n")
    if len(blocks) != len(names):
        raise ValueError(f"systemctl told of {len(blocks)} units, asked for {len(names)}")
    found = {name: assignments(block) for name, block in zip(names, blocks, strict=True)}
    return {name: {**fields, **times(fields)} for name, fields in found.items()}


def times(fields: dict[str, str]) -> dict[str, Any]:
    """When it started, by the wall clock, and whether its conditions kept it off."""
    entered = int(fields.get("ActiveEnterTimestampMonotonic", "0"))
    asked = fields.get("ConditionTimestampMonotonic", "0") != "0"
    return {
        "started": time.time() - time.monotonic() + entered / 1e6 if entered else None,
        "unwanted_here": asked and fields.get("ConditionResult") == "no",
    }


def ask_docker(path: str) -> Any:
    """GET from the daemon. HTTP/1.0, so that the answer simply ends where the connection does."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(COMMAND_S)
        link.connect(DOCKER_SOCKET)
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise OSError(answer[:300].decode(errors="replace"))
    return json.loads(body)


def images() -> dict[str, str]:
    """Every name an image answers to (tag or digest) and its id."""
    return {
        name: image["Id"]
        for image in ask_docker("/images/json")
        for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
    }


def containers() -> list[dict[str, Any]]:
    return [
        {
            "id": c["Id"],
            "name": (c["Names"] or ["/"])[0][1:],
            "labels": c["Labels"],
            "state": c["State"],
            "image": c["Image"],
        }
        for c in ask_docker("/containers/json?all=1")
    ]


def daemon_json() -> dict[str, Any]:
    found = text_or_none("/etc/docker/daemon.json")
    try:
        invalid = None if not found or isinstance(json.loads(found), dict) else "not an object"
    except ValueError as error:
        invalid = str(error)
    return {"text": found, "invalid": invalid}


def cdi() -> dict[str, dict[str, list[str]]]:
    """Each CDI spec: its device names, and the driver versions of its libraries (one, if sane)."""
    texts = {p: text(p) for d in ("/etc/cdi", "/run/cdi") for p in sorted(glob.glob(d + "/*.*"))}
    return {
        path: {
            "devices": re.findall(r"^\s*-?\s*\"?name\"?:\s*\"?([\w.:-]+)", body, re.MULTILINE),
            "drivers": sorted(set(re.findall(r"libcuda\.so\.(\d+\.[\d.]+\d)", body))),
        }
        for path, body in texts.items()
    }


def docker(errors: Errors) -> dict[str, Any]:
    """The daemon's view. That it is not there is a state, told in "error", not a failed fact."""
    found: dict[str, Any] = {
        "version": None,
        "error": None,
        "daemon_json": errors.fact("docker.daemon_json", daemon_json),
        "cdi": errors.fact("docker.cdi", cdi),
    }
    try:
        found["version"] = ask_docker("/version")["Version"]
    except (OSError, ValueError) as error:
        return {
            **found,
            "error": f"{type(error).__name__}: {error}",
            "images": {},
            "containers": [],
        }
    asked = {"images": images, "containers": containers, "info": docker_info}
    return found | {name: errors.fact(f"docker.{name}", read) for name, read in asked.items()}


def docker_info() -> dict[str, Any]:
    names = ("Driver", "Runtimes", "LiveRestoreEnabled", "CgroupDriver", "DiscoveredDevices",
             "RegistryConfig")  # fmt: skip
    info = ask_docker("/info")
    return {name: info.get(name) for name in names}


def listeners(ports: Iterable[int]) -> list[dict[str, Any]]:
    """Who listens on `ports`: process, command, and the control group that tells a container."""
    found = [(row[9], int(row[1].split(":")[1], 16)) for row in tcp() if row[3] == "0A"]
    return [{"port": port, **owner(inode)} for inode, port in found if port in set(ports)]


def ssh_peers() -> list[str]:
    """Addresses that hold a connection to this host's port 22: we are one of them."""
    rows = [row for row in tcp() if row[3] == "01" and row[1].endswith(":0016")]
    return sorted({address(row[2].split(":")[0]) for row in rows})


def address(packed: str) -> str:
    """/proc/net/tcp's form: 32-bit words in the machine's own byte order."""
    words = [bytes.fromhex(packed[i : i + 8])[::-1] for i in range(0, len(packed), 8)]
    found = ipaddress.ip_address(b"".join(words))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def tcp() -> list[list[str]]:
    tables = [text(p) for p in ("/proc/net/tcp", "/proc/net/tcp6") if os.path.exists(p)]
    return [line.split() for table in tables for line in table.splitlines()[1:]]


def owner(inode: str) -> dict[str, Any]:
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) == f"socket:[{inode}]":
                pid = link.split("/")[2]
                command = text(f"/proc/{pid}/cmdline").replace("\0", " ")
                return {"pid": int(pid), "cmd": command, "cgroup": text(f"/proc/{pid}/cgroup")}
        except OSError:  # the process ended while it was being read
            continue
    return {"pid": None, "cmd": None, "cgroup": None}


def firewall(listing: subprocess.Popen[str] | None) -> str | None:
    """The comment of our own nftables table, which tells its rules apart; null when not loaded."""
    found = re.search(r'^\s*comment "(\w+)"', finish(listing)[1], re.MULTILINE) if listing else None
    return found[1] if found else None


def ufw() -> bool:
    """Ubuntu's own firewall is switched on."""
    return assignments(text_or_none("/etc/ufw/ufw.conf") or "").get("ENABLED") == "yes"


def disk(path: str) -> dict[str, Any]:
    """Bytes on the file system that holds `path`, or will hold it once it is made."""
    there = next(str(p) for p in (Path(path), *Path(path).parents) if p.exists())
    size = os.statvfs(there)
    return {"free": size.f_bavail * size.f_frsize, "total": size.f_blocks * size.f_frsize}


def model(wanted: dict[str, str]) -> dict[str, Any]:
    """One revision in the Hub cache: each file with its mark and the blob it links to."""
    folder = Path(wanted["hub"], "models--" + wanted["repo"].replace("/", "--"))
    top = folder / "snapshots" / wanted["revision"]
    found = [path for path in sorted(top.rglob("*")) if path.is_symlink() or path.is_file()]
    return {
        "present": top.is_dir(),
        "files": {
            str(path.relative_to(top)): {
                "mark": mark(path) if path.exists() else None,
                "blob": os.path.basename(os.readlink(path)) if path.is_symlink() else None,
            }
            for path in found
        },
    }


def mark(path: Path) -> list[int]:
    """What `weights.py` remembers a checked file by: inode, size, modification time in ns."""
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def link_target(path: str) -> str | None:
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else None


def small_files(folder: str) -> dict[str, str] | None:
    """The texts in a folder (the lock is one, with its owner inside); null when there is none."""
    if not os.path.isdir(folder):
        return None
    return {name: text(os.path.join(folder, name))[:2000] for name in sorted(os.listdir(folder))}


def whole_files(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that lie in the folder, to the last byte."""
    paths = [Path(folder, name) for name in names]
    return {p.name: p.read_text(errors="replace") for p in paths if p.is_file()}


def serving(where: dict[str, Any]) -> dict[str, Any]:
    releases = where.get("releases", "")
    read_json = {n: text_or_none(where[n]) for n in ("activation", "verified") if n in where}
    return {
        "current": link_target(where.get("current", "")),
        "previous": link_target(where.get("previous", "")),
        "releases": sorted(os.listdir(releases)) if os.path.isdir(releases) else [],
        "lock": small_files(where.get("lock", "")),
        "texts": whole_files(where.get("current", ""), where.get("texts", ())),
        **{name: json.loads(found) if found else None for name, found in read_json.items()},
    }


def main(request: dict[str, Any]) -> None:
    """Print the snapshot that `request` asks for, as one JSON line.

    Keys, all optional: files, packages (shell patterns allowed), units, sysctls, ports, disks
    (paths), sources (words to look for in apt's source files), models ({hub, repo, revision} each),
    serving {current, previous, releases, activation, verified, lock: their paths; texts: names of
    the current release's files that are told whole}.
    """
    errors, names = Errors(), list(request.get("units", ()))
    commands = {
        "show": ["systemctl", "show", "--property=" + ",".join(UNIT_FIELDS), *names],
        "smi": ["nvidia-smi", "--query-gpu=" + ",".join(SMI_FIELDS), "--format=csv,noheader"],
        "modinfo": ["modinfo", "nvidia"],
        "uname": ["uname", "-r"],
        "dpkg": ["dpkg", "--print-architecture"],
        "nft": ["nft", "list", "table", "inet", "vllm_fleet"],
    }
    asked = {name: start(*argv) for name, argv in commands.items()}
    groups: dict[str, Callable[[], Any]] = {
        "kernels": kernels,
        "apt_sources": lambda: apt_sources(request.get("sources", ())),
        "files": lambda: {path: file_state(path) for path in request.get("files", ())},
        "disk": lambda: {path: disk(path) for path in request.get("disks", ())},
        "serving": lambda: serving(request.get("serving", {})),
        "models": lambda: {m["repo"]: model(m) for m in request.get("models", ())},
        "listeners": lambda: listeners(request.get("ports", ())),
        "ssh_peers": ssh_peers,
        "firewall": lambda: firewall(asked["nft"]),
        "ufw": ufw,
        "docker": lambda: docker(errors),
        "units": lambda: units(names, asked["show"]),
        "driver": lambda: driver(asked["modinfo"], asked["smi"]),
    }
    found = {name: errors.fact(name, read) for name, read in groups.items()}
    found["host"] = host(errors, asked["uname"], asked["dpkg"], request.get("sysctls", ()))
    found |= errors.fact("packages", lambda: packages(request.get("packages", ()))) or {
        "packages": None,
        "dpkg_unsettled": None,
    }
    print(json.dumps({**found, "errors": errors}))

"""Install packages at exact versions, or change nothing and say why in one line.

Runs as `python3 -` on the host. Request: {"packages": {name: version or null}, "move": bool,
"stage": bool, "sources": [{"text", "keyring" or null}]}. A version may end in `*`. With "move" held
packages may change, too; with "stage" everything is only fetched; with "sources" apt reads these
instead of the host's own, each only once its keyring is there. Nothing is ever removed: what would
need that is refused before apt begins.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPTIONS = (
    *("-y", "-q", "--no-install-recommends", "--allow-downgrades"),
    *("-o", "DPkg::Lock::Timeout=300"),
    *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
    *("-o", "APT::Get::Always-Include-Phased-Updates=true"),
    # Else a repository signed by another key is only a warning, with exit status 0.
    *("-o", "APT::Update::Error-Mode=any"),
)
ENVIRONMENT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
REMEDIES = (
    (r"Conflicting values set for option Signed-By", "define each repository once"),
    (r"signature|NO_PUBKEY|not signed|GPG error", "the repository is not signed by the pinned key"),
    (r"Hash Sum mismatch|unexpected size|Size mismatch", "what was fetched is not what is signed"),
    (r"Release file .* expired", "the repository's index is too old to be trusted"),
    (r"Version .* was not found|Unable to locate", "apt-cache madison NAME shows what there is"),
    (r"Could not get lock", "another apt runs; try again when it is done"),
    (r"dpkg was interrupted", "dpkg --configure -a"),
    (r"No space left|enough free space", "free space on the root file system"),
    (r"Could not resolve|Could not connect|Failed to fetch|certificate", "check the network"),
)


def apt(*argv: str) -> str:
    """Standard output; ends the program with one line when apt fails."""
    done = subprocess.run(
        ["apt-get", *OPTIONS, *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    if done.returncode:
        sys.exit(explain(" ".join(argv[:2]), done.returncode, done.stdout + done.stderr))
    return done.stdout


def explain(action: str, status: int, said: str) -> str:
    """apt's own errors as one line, and a remedy where one is known."""
    lines = [
        x for x in said.splitlines() if re.match(r"E: |Err:|dpkg: error|W: GPG| .*Depends:", x)
    ]
    told = "; ".join(dict.fromkeys(" ".join(x.split()) for x in lines)) or " ".join(said.split())
    remedy = next((r for pattern, r in REMEDIES if re.search(pattern, told)), "see it by hand")
    return f"apt-get {action}: found exit status {status}: {told[:600]}; remedy: {remedy}"


def refuse_removals(argv: list[str], options: list[str]) -> None:
    plan = apt("install", "--simulate", *argv, *options)
    if removed := re.findall(r"^Remv (\S+)", plan, re.MULTILINE):
        names = ", ".join(removed)
        sys.exit(
            f"apt-get install {' '.join(argv)}: it would remove {names}; nothing was changed. "
            "Remove them by hand if that is wanted, or correct the pins"
        )


@contextmanager
def reading(sources: "list[dict[str, Any]] | None") -> Iterator[list[str]]:
    """Options that make apt read ``sources`` alone; none where there are none."""
    if sources is None:
        yield []
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt fetches as a user of its own
        for part in ("sources", "lists/partial"):
            (folder / part).mkdir(parents=True)
        for number, source in enumerate(sources):
            if source["keyring"] is None or os.path.exists(source["keyring"]):
                (folder / "sources" / f"{number}.sources").write_text(source["text"])
        options = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": folder / "sources",
            "Dir::State::lists": folder / "lists",
            "Acquire::http::Proxy": "DIRECT",
        }
        yield [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def main(request: dict[str, Any]) -> None:
    wanted = [f"{n}={v}" if v else n for n, v in sorted(request["packages"].items())]
    if request.get("move"):
        # What a named package needs would stay held without the second.
        wanted += ["--allow-change-held-packages", "--ignore-hold"]
    with reading(request.get("sources")) as options:
        apt("update", *options)
        refuse_removals(wanted, options)
        apt("install", "--download-only", *wanted, *options)
        if not request.get("stage"):
            apt("install", *wanted, *options)
    print(json.dumps({"installed": sorted(request["packages"])}))

"""Reads the stand-in programs of lab/supply/standins and fills their @NAMES@ in."""

from pathlib import Path

HERE = Path(__file__).parent / "standins"


def standin(name: str, **values: str) -> str:
    """The text of a stand-in program or unit."""
    content = (HERE / name).read_text()
    for key, value in values.items():
        content = content.replace(f"@{key.upper()}@", value)
    return content


def enable(*units: str) -> str:
    """A postinst that does with ``units`` what debhelper's does: enable once, (re)start."""
    lines = ["#!/bin/sh", "set -e", 'if [ "$1" = configure ]; then']
    for unit in units:
        lines += [f"  deb-systemd-helper unmask {unit} > /dev/null || true",
                  f"  if deb-systemd-helper --quiet was-enabled {unit}; then",
                  f"    deb-systemd-helper enable {unit} > /dev/null || true", "  fi",
                  f"  deb-systemd-helper update-state {unit} > /dev/null || true"]  # fmt: skip
    started = " ".join(units)
    lines += ["  if [ -d /run/systemd/system ]; then",
              "    systemctl --system daemon-reload || true",
              f"    deb-systemd-invoke restart {started} > /dev/null || true", "  fi",
              "fi", ""]  # fmt: skip
    return "\n".join(lines)


def disable(*units: str) -> str:
    """The prerm that belongs to it: stop the units when the package goes."""
    return (
        '#!/bin/sh\nset -e\nif [ "$1" = remove ] && [ -d /run/systemd/system ]; then\n'
        f"  deb-systemd-invoke stop {' '.join(units)} > /dev/null || true\nfi\n"
    )

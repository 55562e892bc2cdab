"""Which programs of an arm64 host are the machine's own."""

from pathlib import Path

from lab import arm64


def test_only_programs_of_native_packages_are_taken(tmp_path: Path) -> None:
    elf, script = b"\x7fELF rest", b"#!/bin/sh\n"
    files = {
        "usr/sbin/sshd": elf,
        "usr/share/doc/sshd": script,
        f"{arm64.LIBRARIES}/security/pam.so": elf,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/link").symlink_to("../sbin/sshd")
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    listed = [*files, "usr/bin/link", "usr/sbin"]
    (info / "openssh-server.list").write_text("".join(f"/{name}\n" for name in listed))
    (info / "bash.list").write_text("/usr/share/doc/sshd\n")
    assert arm64.native_programs(tmp_path) == ["usr/sbin/sshd"]


def test_magic_and_mask_are_as_long_as_an_elf_header_needs() -> None:
    magic, mask = (eval(f'b"{text}"') for text in (arm64.MAGIC, arm64.MASK))
    assert len(magic) == len(mask) == 20
    assert magic[18:20] == b"\xb7\x00"  # EM_AARCH64
    header = bytearray(magic)
    header[7] = 3  # another ABI still counts
    assert bytes(a & b for a, b in zip(header, mask, strict=True)) == magic

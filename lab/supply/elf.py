"""The smallest ELF shared object that the real ldconfig and loader accept.

It stands for NVIDIA's libraries, which the lab must not carry: it has a name and no code.
"""

import struct

MACHINE = {"amd64": 62, "arm64": 183}  # EM_X86_64, EM_AARCH64
HEADER, PROGRAM = 64, 56  # bytes of ELF64 records
SHARED = 3


def shared_object(soname: str, arch: str) -> bytes:
    """A library without symbols: ldconfig makes its ``soname`` link, the loader can open it."""
    names = b"\0" + soname.encode() + b"\0"
    tables = HEADER + 2 * PROGRAM  # one empty symbol, then the dynamic section, then names
    strings = tables + 24 + 6 * 16
    dynamic = ((5, strings), (10, len(names)), (6, tables), (11, 24), (14, 1), (0, 0))
    body = bytes(24) + b"".join(struct.pack("<qQ", *entry) for entry in dynamic) + names
    size, at = tables + len(body), tables + 24
    load = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, size, size, 0x1000)
    dyn = struct.pack("<IIQQQQQQ", 2, 6, at, at, at, 6 * 16, 6 * 16, 8)
    return _header(arch) + load + dyn + body


def _header(arch: str) -> bytes:
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    table = (HEADER, 0, 0, HEADER, PROGRAM, 2, 0, 0, 0)
    return ident + struct.pack("<HHIQQQIHHHHHH", SHARED, MACHINE[arch], 1, 0, *table)

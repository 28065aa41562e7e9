# SPDX-License-Identifier: Apache-2.0
"""The compiler's sandbox: what is in it cannot reach, see or use more than it was given."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.errors import BusyError, UnsupportedError
from schedcpd.verify.checks.compile import LIMITS, compile_source
from schedcpd.verify.source.sandbox import MIB, Limits, Sandbox
from schedcpd.verify.source.toolchain import Toolchain

SMALL = Limits(cpu_s=2, wall_s=20, memory=512 * MIB, file=1 * MIB, output=64 << 10)


async def python(tools: Toolchain, code: str, limits: Limits = SMALL, **more: object) -> str:
    done = await tools.sandbox.run(["python3", "-I", "-c", code], limits=limits, read={}, **more)
    assert done.exit_code == 0, done
    return done.text.strip()


async def test_there_is_no_network(tools: Toolchain) -> None:
    names = await python(tools, "import socket; print([n for _, n in socket.if_nameindex()])")
    assert names == "['lo']"
    code = (
        "import socket\n"
        "try: socket.create_connection(('192.0.2.1', 80), 5); print('connected')\n"
        "except OSError as e: print(type(e).__name__)"
    )
    assert await python(tools, code) != "connected"


async def test_it_sees_neither_files_nor_processes_of_the_machine(tools: Toolchain) -> None:
    there = await python(tools, "import os; print(sorted(os.listdir('/')), os.listdir('/etc'))")
    assert "home" not in there and "root" not in there and "shadow" not in there
    assert "proc" not in there
    # Its process ids are those of a namespace of its own.
    assert await python(tools, "import os; print(os.getpid() < 10, os.getppid() < 10)") == (
        "True True"
    )
    assert await python(tools, "import os; print(os.getuid(), sorted(os.environ))") == (
        "65534 ['LANG', 'PATH', 'PWD']"
    )


async def test_it_writes_only_where_it_was_told_to(tools: Toolchain, tmp_path: Path) -> None:
    code = (
        "import os\n"
        "for path in ('/usr/x', '/x/../usr/bin/x', '/include/kernel/vmlinux.h', '/out/x'):\n"
        "    try: open(path, 'w').close(); print(path)\n"
        "    except OSError: pass"
    )
    assert await python(tools, code, out=tmp_path) == "/out/x"
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208


async def test_it_has_no_capability(tools: Toolchain) -> None:
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "version_3, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[9] * 6)\n"
        "assert libc.capget(version_3, data) == 0\n"
        "bounding = [cap for cap in range(41) if libc.prctl(23, cap, 0, 0, 0)]\n"
        "ambient = [cap for cap in range(41) if libc.prctl(47, 1, cap, 0, 0)]\n"
        "print(list(data), bounding, ambient)"
    )
    assert await python(tools, code) == "[0, 0, 0, 0, 0, 0] [] []"


@pytest.mark.parametrize(
    ("code", "broke"),
    [
        ("while True: pass", "time"),
        ("x = bytearray(1 << 30)", "memory"),
        ("open('/tmp/x', 'wb').write(bytes(2 << 20))", "output"),
        ("print('x' * (1 << 20))", "output"),
    ],
)
async def test_a_limit_ends_it(tools: Toolchain, code: str, broke: str) -> None:
    argv = ["python3", "-I", "-c", code]
    done = await tools.sandbox.run(argv, limits=SMALL, read={})
    assert done.broke == broke, done


async def test_the_wall_clock_ends_what_sleeps_and_its_children(tools: Toolchain) -> None:
    began = time.monotonic()
    code = "import os, time\nos.fork()\nos.setsid()\ntime.sleep(4321)"
    argv = ["python3", "-I", "-c", code]
    with pytest.raises(BusyError):  # nothing is said of the input: the machine may be busy
        await tools.sandbox.run(argv, limits=replace(SMALL, wall_s=2), read={})
    assert time.monotonic() - began < 15
    for _ in range(50):  # the kernel takes the namespace apart
        if not _running(b"sleep(4321)"):
            break
        await asyncio.sleep(0.1)
    assert not _running(b"sleep(4321)")


def _running(words: bytes) -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if words in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


BOMBS = {
    # 2^28 additions, unrolled
    "time": "\n".join(
        ["volatile int x;", "#define A x = x * x + x;"]
        + [f"#define {b} {a} {a} {a} {a}" for a, b in zip("ABCDEFGHI", "BCDEFGHIJ", strict=True)]
        + ["void f(void) { J }"]
    ),
    "output": "const volatile char table[64 << 20] = { 1 };",
    "error": "int f(void) { return (" + "(" * 5000 + "1" + ")" * 5000 + "); }",
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_a_compiler_bomb_is_refused_in_time(tools: Toolchain, kind: str) -> None:
    began = time.monotonic()
    made = await compile_source(BOMBS[kind].encode(), "bomb", tools)
    assert time.monotonic() - began < LIMITS.wall_s + 10
    assert not made.data
    reasons = {f.reason for f in made.report.findings}
    allowed = {f"compile.{kind}"} | (
        {"compile.memory", "compile.crash"} if kind == "time" else set()
    )
    assert reasons <= allowed and reasons


def test_a_plain_user_can_compile_too(tools: Toolchain) -> None:
    """As nobody, with a copy of the code and the tree bound to where nobody may look."""
    if os.geteuid() != 0:
        return  # then the tests above have shown it
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(Path(__file__).parents[2] / "schedcpd", place / "schedcpd")
        (place / "root").mkdir()
        place.chmod(0o755)
        script = (
            f"mount --bind {tools.sandbox.root} {place}/root && cd {place} && exec setpriv "
            '--reuid=65534 --regid=65534 --clear-groups /usr/bin/python3 -B -c "$0"'
        )
        code = (
            "import asyncio\n"
            "from pathlib import Path\n"
            "from schedcpd.verify.source.sandbox import *\n"
            f"run = Sandbox(Path('{place}/root')).run(\n"
            "    ['clang', '--version'], limits=Limits(), read={})\n"
            "print(asyncio.run(run).text)"
        )
        argv = ["unshare", "--mount", "sh", "-c", script, code]
        done = subprocess.run(argv, capture_output=True, text=True)
    assert "clang version" in done.stdout, done.stderr


def test_the_sandbox_says_when_it_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="sandbox"):
        asyncio.run(Sandbox(tmp_path).run(["true"], limits=SMALL, read={}))

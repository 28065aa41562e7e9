# SPDX-License-Identifier: Apache-2.0
"""The verifier's machine under the virtual clock, for a child process of schedcpd's.

    python -m schedbench.virtual.guest COMMAND FOLDER

reads FOLDER/request.json and writes FOLDER/answer.json (schedcpd/verify/virtual.py is the other
side). A request has `kernel` (null: the cached one; else release, vmlinuz, modules). Answers:

    available   {"reason": ""}: why it cannot be had without building or fetching anything
    prepare     {}: everything is there now
    image       {"image": …}: the hash of all that both machines are made of
    run         {exit_code, stdout, stderr, end, console, died} of one command in its own machine

`run` has `argv`, `files` (path -> base64), `timeout_s` of the guest's time, `elsewhere` (the other
topology) and `remember`: an answer to exactly this is kept, since another run would say the same.
An `error` (message, hint) stands for an answer, and says nothing about what was to be run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedbench.vclock import build, qemu, rootfs
from schedbench.vclock.errors import VClockError
from schedbench.vclock.machine import WARNINGS, End, Files, Link, Machine, Result, attempt
from schedcpd.errors import SchedcpError
from schedcpd.microvm.cache import Progress, cache_dir, content_key
from schedcpd.microvm.image import Image, build_image, cached_image
from schedcpd.microvm.kernel import GuestKernel, backports_kernel, cached_kernel, vmlinux

INSN_PS = 10_000  # a tenth of an instruction a nanosecond: about what the micro-VM has here
HERE = Machine(vcpus=2, insn_ps=INSN_PS, loglevel=WARNINGS)
ELSEWHERE = Machine(vcpus=4, sockets=2, threads=2, insn_ps=INSN_PS, loglevel=WARNINGS)
BOOT_S = 30.0  # of the guest's time, before and after the command
HOST_S = 1500.0
PYTHON, LIBBPF = "/usr/bin/python3", "/usr/lib/x86_64-linux-gnu/libbpf.so.1"
MARK = "\x1e"  # between the command's output and how it ended
SCRIPT = """
stty -F /dev/ttyS1 raw
exec 3>/dev/ttyS1
{argv} >&3 2>/tmp/stderr
printf '\\036%s %s\\n' $? "$(cut -d' ' -f1 /proc/uptime)" >&3
cat /tmp/stderr >&3
exec 3>&-
"""


@dataclass(frozen=True, slots=True)
class Kit:
    """What every machine is made of."""

    vmlinux: Path
    plugin: Path
    files: Files
    image: str


def unavailable(kernel: GuestKernel | None) -> str:
    """Why the clock cannot be had here as things are; "" when it can."""
    try:
        found = qemu.find()
    except VClockError as error:
        return error.message
    if not found.accepted:
        return f"{found.binary} (build id {found.build_id or 'none'}) is not one it is proved on"
    for tool in ("debugfs", "setpriv"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if cached_image() is None or (kernel or cached_kernel()) is None:
        return "the micro-VM was never built here (python3 -m schedcpd.microvm build)"
    return build.missing_for_plugin()


async def prepare(kernel: GuestKernel | None, progress: Progress) -> Kit:
    """Builds and fetches what is missing."""
    image = await build_image(progress)
    root = await rootfs.unpacked(image.disk, f"{image.id}{image.disk.stat().st_mtime_ns}", progress)
    plugin = await build.plugin(progress)
    elf = await vmlinux(kernel or await backports_kernel(progress))
    files = guest_files(root, image)
    parts = [f"{name} {_hash(content)}" for name, content in sorted(files.items())]
    key = content_key(
        repr((HERE, ELSEWHERE, SCRIPT)), *parts, qemu.build_id(elf), qemu.find().build_id,
        _hash(plugin.read_bytes()),
    )  # fmt: skip
    return Kit(elf, plugin, files, key)


def _hash(content: bytes | Link) -> str:
    return content.target if isinstance(content, Link) else hashlib.sha256(content).hexdigest()


def guest_files(root: Path, image: Image) -> Files:
    """python3, what it imports and libbpf, out of the image; the shell is the image's busybox."""
    closure = rootfs.Closure(root)
    # The link says which version it is, and so where its modules are.
    modules = f"/usr/lib/{(root / PYTHON.lstrip('/')).readlink().name}"
    closure.add((PYTHON, modules, LIBBPF))
    files: Files = rootfs.base() | {name: _unchecked(name, f) for name, f in closure.files.items()}
    files["usr/bin/busybox"] = image.busybox
    files["usr/bin/sh"] = Link("busybox")
    return files


def _unchecked(name: str, content: bytes | Link) -> bytes | Link:
    """Byte code that is taken without a look at its source's time, which an initramfs has not
    (PEP 552: flags 1 is "by hash, unchecked")."""
    if isinstance(content, Link) or not name.endswith(".pyc"):
        return content
    return content[:4] + (1).to_bytes(4, "little") + bytes(8) + content[16:]


async def run(
    kit: Kit, machine: Machine, request: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """One command in a machine booted for it. VClockError: it could not be had."""
    files = dict(kit.files)
    for path, text in request["files"].items():
        files[path.lstrip("/")] = base64.b64decode(text)
    limit = float(request["timeout_s"])
    result = await attempt(
        machine, plugin=kit.plugin, vmlinux=kit.vmlinux, files=files,
        script=SCRIPT.format(argv=shlex.join(request["argv"])), timeout_s=HOST_S,
        limit_virtual_s=BOOT_S + limit, two_lines=True,
    )  # fmt: skip
    answer, took = read(result, limit)
    progress(f"virtual: {took} in {result.host_seconds:.1f} s")
    return answer


def read(result: Result, limit_s: float) -> tuple[dict[str, Any], str]:
    """The answer, and how long it took the guest, in words."""
    said, marked, rest = result.second.decode("utf-8", "replace").partition(MARK)
    if result.end is End.DONE and marked:
        status, uptime = rest.split("\n", 1)[0].split()
        stderr = rest.split("\n", 1)[1]
        return _answer(int(status), said, stderr), f"{uptime} s of the guest's time"
    if result.end is End.VIRTUAL_LIMIT:
        end = f"it was not done after {limit_s:.0f} s of the guest's time and was ended"
        took = f"{BOOT_S + limit_s:.0f} s of the guest's time, the limit,"
        return _answer(None, said, end=end), took
    if result.end is End.EARLY:
        console = result.serial.decode("utf-8", "replace").replace("\r", "")
        died = _answer(None, said, end="the machine died", console=console, died=True)
        return died, "a machine that died"
    raise VClockError(
        f"{result.end} ({result.host_seconds:.0f} s): {result.tail}",
        hint="try again when this machine is less busy",
    )


def _answer(
    exit_code: int | None,
    stdout: str,
    stderr: str = "",
    end: str = "",
    console: str = "",
    *,
    died: bool = False,
) -> dict[str, Any]:
    return {
        "exit_code": exit_code, "stdout": stdout, "stderr": stderr,
        "end": end, "console": console, "died": died,
    }  # fmt: skip


async def remembered(
    kit: Kit, request: Mapping[str, Any], made: Callable[[], Coroutine[Any, Any, dict[str, Any]]]
) -> dict[str, Any]:
    """The answer given before to exactly this, or a new one, which is kept if it ended well."""
    folder = cache_dir() / "vclock-answers"
    folder.mkdir(exist_ok=True)
    path = folder / content_key(kit.image, json.dumps(request, sort_keys=True))
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    answer = await made()
    if answer["exit_code"] == 0:
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(answer), encoding="utf-8")
        scratch.replace(path)
    return answer


async def answer(command: str, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What a command is answered with. SchedcpError: it cannot be."""
    named = request["kernel"]
    kernel = None
    if named is not None:
        kernel = GuestKernel(named["release"], Path(named["vmlinuz"]), Path(named["modules"]))
    if command == "available":
        return {"reason": unavailable(kernel)}
    kit = await prepare(kernel, progress)
    if command == "prepare":
        return {}
    if command == "image":
        return {"image": kit.image}
    machine = ELSEWHERE if request["elsewhere"] else HERE

    def made() -> Coroutine[Any, Any, dict[str, Any]]:
        return run(kit, machine, request, progress)

    return await (remembered(kit, request, made) if request["remember"] else made())


def main(argv: list[str]) -> int:
    command, folder = argv[0], Path(argv[1])
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        content = asyncio.run(answer(command, request, say))
    except SchedcpError as error:
        content = {"error": {"message": error.message, "hint": error.hint}}
    (folder / "answer.json").write_text(json.dumps(content), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

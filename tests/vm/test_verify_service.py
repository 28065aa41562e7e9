# SPDX-License-Identifier: Apache-2.0
"""`schedctl verify --daemon` of sources, by the installed units, with a real compiler in the guest.

Opt-in by SCHEDCP_VERIFY_SERVICE=1: a compiler of 300 MB is put into the machine. QEMU is not: what
needs a micro-VM inside this one is not run, and must be said not to have been.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.microvm import VmSpec
from tests import corpus

from .installed import Installed, installed

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        os.environ.get("SCHEDCP_VERIFY_SERVICE") != "1",
        reason="opt-in by SCHEDCP_VERIFY_SERVICE=1: puts a compiler of 300 MB into a machine",
    ),
]

PACKAGES = (
    "clang", "clang-19", "libclang-common-19-dev", "libclang-cpp19", "libclang1-19", "libllvm19",
    "libclang-19-dev", "llvm", "llvm-19", "python3-clang", "python3-clang-19", "libbpf-dev",
    "libbsd0", "libedit2", "libffi8", "libmd0", "libxml2", "libz3-4",
)  # fmt: skip
# Of these only what is needed: the others are 400 MB.
PARTS = {"llvm-19": ("llvm-strip", "llvm-objcopy"), "libclang-19-dev": ("libclang-19.so",)}
NEEDLESS = ("/usr/share/", "/usr/lib/llvm-19/share/", "/usr/lib/llvm-19/build/")


def stage_compiler(out: Path) -> None:
    """What the builder has of the packages that sources need, and the host's bubblewrap."""
    root = corpus.tools().sandbox.root
    for package in PACKAGES:
        lists = [root / f"var/lib/dpkg/info/{package}{arch}.list" for arch in ("", ":amd64")]
        text = next(path for path in lists if path.exists()).read_text(encoding="utf-8")
        for name in text.splitlines():
            source, target = root / name.lstrip("/"), out / name.lstrip("/")
            if name.startswith(NEEDLESS) or (source.is_dir() and not source.is_symlink()):
                continue
            if package in PARTS and source.name not in PARTS[package]:
                continue
            if target.exists() or target.is_symlink() or not os.path.lexists(source):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    shutil.copy2(bwrap, out / "usr/bin/bwrap")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(
    vm_image: VmSpec, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installed]:
    folder = tmp_path_factory.mktemp("installed")
    async with installed(vm_image, folder) as running:
        await asyncio.to_thread(stage_compiler, folder / "compiler")
        await running.vm.put(folder / "compiler/usr", "/usr", timeout_s=600)
        shutil.rmtree(folder / "compiler")
        for headers in corpus.HEADERS:
            await running.vm.put(headers, "/usr/share/schedcp/bpf/include")
        await running.sh("chmod 755 /usr /usr/bin /usr/lib; ldconfig")
        yield running


async def examined(machine: Installed, name: str, text: str) -> tuple[int, dict[str, Any]]:
    """The exit code of `schedctl verify --daemon`, and what it found."""
    await machine.write(f"/root/{name}", text)
    argv = ["schedctl", "verify", "--daemon", "--json", f"/root/{name}"]
    done = await machine.vm.run(argv, timeout_s=300)
    return done.exit_code, json.loads(done.text)["verify"]


async def test_a_good_source_is_checked_as_far_as_can_be(machine: Installed) -> None:
    source = corpus.GOOD / "fifo.bpf.c"
    code, found = await examined(machine, "fifo.bpf.c", source.read_text(encoding="utf-8"))
    told = {check["name"]: check for check in found["result"]["checks"]}
    assert code == 5, (found["sentence"], "".join(c["evidence"] for c in told.values()))
    assert not found["passed"]
    for name in ("source", "compile", "object", "tunables"):
        assert told[name]["status"] == "passed", told[name]
    for name in ("load", "behaviour"):
        assert told[name]["status"] == "skipped"
        assert told[name]["sentence"] == "Not run: QEMU is not installed."
    assert found["sentence"] == "QEMU is not installed"


@pytest.mark.parametrize(("sample", "reason"), [("nested_loop", "source.loop-nested")])
async def test_a_bad_source_is_refused(machine: Installed, sample: str, reason: str) -> None:
    source = corpus.BAD / f"{sample}.bpf.c"
    code, found = await examined(machine, source.name, source.read_text(encoding="utf-8"))
    assert code == 1, found["sentence"]
    assert f"[{reason}]" in found["sentence"]


async def test_no_unit_was_too_tight(machine: Installed) -> None:
    for words in ("journalctl -u schedcpd -u 'schedcp-*'", "journalctl -k"):
        text = (await machine.sh(f"{words} --no-pager -o cat")).lower()
        for word in ("permission denied", "operation not permitted", "traceback", "type=1326"):
            assert word not in text

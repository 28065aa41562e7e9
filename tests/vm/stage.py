# SPDX-License-Identifier: Apache-2.0
"""The installed layout, straight from the tree: what the package brings, without building it.

`python -m tests.vm.stage OUT` writes it to OUT, for a person who looks.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from schedcpd.host.manifest import load_manifests, object_path, object_sha256
from schedcpd.microvm import MicroVm
from schedcpd.microvm.cache import cache_dir
from schedcpd.model import CheckResult, CheckStatus, KernelBuild, VerdictOrigin
from schedcpd.verify.verdict import (
    REQUIRED,
    file_name,
    make_verdict,
    ranges_of,
    verdict_to_json,
)

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "usr/lib/python3/dist-packages"
READ_KERNEL = (
    "from schedcpd.host.kernel import read_kernel_build as r;"
    "k = r(); print(k.release, k.version, k.build_id, sep='\\n')"
)


def stage(out: Path, *more: str) -> None:
    """Everything but verdicts. `more`: directories of further schedulers to compile."""
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("schedcpd", "schedctl"):
        shutil.copytree(ROOT / package, out / PYTHON / package, ignore=ignore)
    shutil.copytree(ROOT / "policies.d", out / "usr/share/schedcp/policies.d")
    for directory in ("bpf/schedulers", *more):
        shutil.copytree(built(directory), out / "usr/share/schedcp/bpf", dirs_exist_ok=True)
    for source, target in (
        ("dbus/*.conf", "usr/share/dbus-1/system.d"),
        ("dbus/*.policy", "usr/share/polkit-1/actions"),
        ("systemd/*", "usr/lib/systemd/system"),
        ("packaging/schedcpd.yaml", "etc/schedcp"),
    ):
        (out / target).mkdir(parents=True, exist_ok=True)
        for path in ROOT.glob(source):
            shutil.copy(path, out / target)
    bin_ = out / "usr/bin"
    bin_.mkdir(parents=True)
    launchers = ROOT / "packaging/launchers.py"
    subprocess.run([sys.executable, launchers, ROOT / "pyproject.toml", bin_], check=True)
    (out / "usr/libexec/schedcp").mkdir(parents=True)
    for name in ("scheduler-host", "verify-service"):
        (bin_ / name).rename(out / "usr/libexec/schedcp" / name)
    sysusers = out / "usr/lib/sysusers.d"
    sysusers.mkdir(parents=True)
    shutil.copy(ROOT / "packaging/debian/schedcp.sysusers", sysusers / "schedcp.conf")


def built(directory: str) -> str:
    """Compiles the schedulers of a directory of the tree; returns where the objects are."""
    argv = [ROOT / "tools/build-bpf", *([] if directory == "bpf/schedulers" else [directory])]
    done = subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, timeout=900)
    return done.stdout.strip()


def stage_verdicts(out: Path, kernel: KernelBuild, objects: Path) -> None:
    """A passing verdict for each object: these tests are of the daemon, not of the gate."""
    directory = out / "usr/share/schedcp/verdicts"
    directory.mkdir(parents=True, exist_ok=True)
    manifests, problems = load_manifests(objects)
    assert manifests and not problems, problems
    for name, manifest in manifests.items():
        sha256 = object_sha256(object_path(objects, name))
        assert sha256 is not None, f"no object of {name}"
        verdict = make_verdict(
            scheduler=name,
            object_sha256=sha256,
            tunables=manifest.defaults(),
            ranges=ranges_of(manifest),
            kernel=kernel,
            vm_image="none",
            checks=[CheckResult(check, CheckStatus.PASSED, "", "for a test") for check in REQUIRED],
            made_unix_s=1_700_000_000,
            origin=VerdictOrigin.SHIPPED,
        )
        target = directory / file_name(name, sha256, kernel.build_id)
        target.write_text(verdict_to_json(verdict), encoding="utf-8")


async def install(vm: MicroVm, folder: Path, *more: str) -> None:
    """Puts the staged tree into the machine; nothing is started. `more`: see `stage`."""
    await asyncio.to_thread(stage, folder, *more)
    await vm.put(folder, "/stage")
    script = (
        "cp -a --no-preserve=ownership /stage/. / && rm -rf /stage"
        " && chmod 755 /usr /usr/bin /usr/lib /etc && systemd-sysusers schedcp.conf"
        " && systemctl daemon-reload && systemctl reload dbus"
    )
    (await vm.run(["sh", "-c", script], timeout_s=300)).check()
    found = (await vm.run(["python3", "-c", READ_KERNEL], timeout_s=120)).check().text
    kernel = KernelBuild(*found.strip().split("\n"))
    extra = folder.with_name(folder.name + "-verdicts")
    await asyncio.to_thread(stage_verdicts, extra, kernel, folder / "usr/share/schedcp/bpf")
    verdicts = "usr/share/schedcp/verdicts"
    await vm.put(extra / verdicts, f"/{verdicts}")


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
    print(f"staged; the cache is {cache_dir()}")

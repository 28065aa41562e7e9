# SPDX-License-Identifier: Apache-2.0
"""`schedctl verify --daemon` of a source up to its behaviour in a micro-VM.

Opt-in by SCHEDCP_VERIFY_SERVICE=1: five minutes, most of them for snapshots. On this machine and
not in a guest, where QEMU's guest would be emulated by an emulated machine. The installed files are
laid over /usr in a mount namespace. The service is a user of its own, without capabilities, network
or root's home, as its unit has it; the unit's filter of system calls is tried by
test_verify_service.py. The daemon and its bus are real; only polkit is not asked, by root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedcpd.microvm.cache import cache_dir
from schedcpd.microvm.image import cached_image
from schedcpd.microvm.kernel import cached_kernel
from tests import corpus
from tests.bus.private_bus import PrivateBus

from .stage import ROOT, stage

pytestmark = pytest.mark.skipif(
    os.environ.get("SCHEDCP_VERIFY_SERVICE") != "1",
    reason="opt-in by SCHEDCP_VERIFY_SERVICE=1: makes snapshots for another user's cache",
)

USER = "61977"
LIMIT_S = 1200.0
CHECKS = ("source", "compile", "object", "tunables", "load", "behaviour")
CONFIG = """\
state_dir: {base}/state
run_dir: {base}/run
bpf_dir: {base}/stage/usr/share/schedcp/bpf
policy_dirs: [{base}/stage/usr/share/schedcp/policies.d]
verdict_dirs: [{base}/state/verdicts]
agent: {{enabled: false}}
"""
SERVICE = """set -e
mount -t overlay installed -o lowerdir={base}/stage/usr:/usr /usr
mount --bind {toolchain} {base}/toolchain
mount -t tmpfs none /root
mount -t tmpfs none /home
cd /
exec setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs \\
    --bounding-set=-all --inh-caps=-all \\
    env -i PATH=/usr/bin:/usr/sbin CACHE_DIRECTORY={base}/cache \\
    SCHEDCP_TOOLCHAIN={base}/toolchain \\
    /usr/libexec/schedcp/verify-service --listen {base}/socket/verify.sock
"""


def stage_cache(target: Path) -> None:
    """Image and kernel, as `python3 -m schedcpd.microvm build` would leave them; no snapshot."""
    image, kernel = cached_image(), cached_kernel()
    assert image is not None and kernel is not None
    for part in (image.disk.parent, cache_dir() / "kernel" / kernel.release):
        whole = target / part.relative_to(cache_dir())
        whole.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--sparse=always", part, whole], check=True)
    shutil.copy(cache_dir() / "accelerator.json", target)


@contextlib.contextmanager
def started(argv: list[str], log: Path, wanted: Path, **more: str) -> Iterator[None]:
    """A process that is there once `wanted` exists; ended afterwards."""
    with log.open("wb") as out:
        child = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, **more})
    try:
        end = time.monotonic() + 60
        while not wanted.exists():
            assert child.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        child.terminate()
        child.wait(60)


@pytest.fixture
def base(vm_image: object) -> Iterator[Path]:
    """Where another user may go, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="schedcp-door-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("cache", "run", "socket", "toolchain"):
            (folder / each).mkdir()
        yield folder


def test_a_source_is_proved_to_its_behaviour_through_the_daemon(base: Path) -> None:
    stage(base / "stage")
    modules = base / "stage/usr/lib/python3/dist-packages"
    for name in ("elftools", "structlog"):  # Debian 12 and a venv: what the package depends on
        source = Path(next(p for p in sys.path if (Path(p) / name).is_dir())) / name
        shutil.copytree(source, modules / name, dirs_exist_ok=True)
    for headers in corpus.HEADERS:
        target = base / "stage/usr/share/schedcp/bpf/include"
        shutil.copytree(headers, target, dirs_exist_ok=True)
    stage_cache(base / "cache")
    for owned in ("cache", "socket"):
        subprocess.run(["chown", "-R", f"{USER}:{USER}", base / owned], check=True)
    (base / "schedcpd.yaml").write_text(CONFIG.format(base=base))
    script = SERVICE.format(base=base, user=USER, toolchain=corpus.tools().sandbox.root)
    service = ["unshare", "--mount", "--net", "--ipc", "sh", "-c", script]
    bus = PrivateBus(base)
    bus.start()
    daemon = [sys.executable, "-m", "schedcpd", "--config", str(base / "schedcpd.yaml")]
    daemon += ["--bus-address", bus.address]
    (base / "run/verify.sock").symlink_to(base / "socket/verify.sock")
    try:
        with (
            started(service, base / "service.log", base / "socket/verify.sock"),
            started(daemon, base / "daemon.log", base / "state", PYTHONPATH=str(ROOT)),
        ):
            proved(bus.address, base)
    finally:
        bus.stop()


def proved(address: str, base: Path) -> None:
    schedctl = [sys.executable, "-m", "schedctl", "--bus-address", address]

    def said(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [*schedctl, *words]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)

    end = time.monotonic() + 60
    while said("status").returncode != 0:
        assert time.monotonic() < end, (base / "daemon.log").read_text()
    done = said("verify", "--daemon", "--json", str(corpus.GOOD / "fifo.bpf.c"))
    logs = [(base / name).read_text() for name in ("service.log", "daemon.log")]
    assert done.stdout, (done.stderr, logs)
    found = json.loads(done.stdout)["verify"]
    checks = found["result"]["checks"]
    print({check["name"]: check["seconds"] for check in checks})
    assert done.returncode == 0, (found["sentence"], checks, logs)
    assert {check["name"]: check["status"] for check in checks} == dict.fromkeys(CHECKS, "passed")

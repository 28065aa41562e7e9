# SPDX-License-Identifier: Apache-2.0
"""policies.d as a whole: what real applications get, and which policy follows from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schedcpd.host.manifest import object_path
from schedcpd.infer.pins import decide
from schedcpd.infer.rules import RuleBook
from schedcpd.model import (
    AppIdentity,
    AppKind,
    IntentClass,
    Machine,
    Power,
    WorkloadProfile,
    WorkloadView,
)
from schedcpd.plan.planner import plan
from schedcpd.plan.situation import Limits, Running, Situation, demand_of
from schedcpd.policy.repository import Repository, load

ROOT = Path(__file__).parents[2]
LATENCY, INTERACTIVE, NORMAL, BATCH, BACKGROUND = IntentClass
SERVICE, SESSION, SCOPE = AppKind.SERVICE, AppKind.SESSION, AppKind.SCOPE


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    bpf = tmp_path_factory.mktemp("bpf")
    for manifest in (ROOT / "bpf" / "schedulers").glob("*/manifest.yaml"):
        shutil.copy(manifest, bpf / f"{manifest.parent.name}.manifest.yaml")
        object_path(bpf, manifest.parent.name).write_bytes(b"object")
    return load([ROOT / "policies.d"], bpf)


@pytest.fixture(scope="module")
def book(repository: Repository) -> RuleBook:
    return RuleBook(repository.rules())


def profile(
    executable: str,
    unit: str = "",
    kind: AppKind = SERVICE,
    *,
    inside: tuple[str, ...] = (),
    slice_: str = "system.slice",
    comm: str = "",
    cgroup: str = "",
) -> WorkloadProfile:
    unit = unit or (f"{executable}.service" if kind is SERVICE else "")
    identity = AppIdentity(
        kind, executable, unit=unit, slice=slice_, executable=executable, comm=comm or executable
    )
    path = cgroup or f"/{slice_}/{unit or executable}"
    return WorkloadProfile(path, 7, identity, True, 0, executables=(executable, *inside))


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (profile("nginx"), LATENCY),
        (profile("postgres", "postgresql@15-main.service"), LATENCY),
        (profile("java", "tomcat10.service"), LATENCY),
        (profile("redis-server"), LATENCY),
        (profile("php-fpm8.2", "php8.2-fpm.service"), LATENCY),
        (profile("nginx", "backup-web.service"), LATENCY),
        (profile("make", "demo-build.service"), BATCH),
        (profile("sh", "ci.service", inside=("make", "cc1")), BATCH),
        (profile("cargo", kind=SCOPE), BATCH),
        (profile("sshd", "session-3.scope", SESSION), INTERACTIVE),
        (profile("sshd", "session-3.scope", SESSION, inside=("bash", "make", "cc1")), NORMAL),
        (profile("sshd", "ssh.service"), INTERACTIVE),
        (profile("bash", "vte-spawn-1.scope", SCOPE), INTERACTIVE),
        (profile("bash", "vte-spawn-1.scope", SCOPE, inside=("ninja",)), NORMAL),
        (profile("firefox-esr", "app-firefox-1.scope", AppKind.DESKTOP_APP), INTERACTIVE),
        (profile("code", "app-code-1.scope", AppKind.DESKTOP_APP, inside=("make",)), INTERACTIVE),
        (profile("gimp-2.10", "app-gimp-1.scope", AppKind.DESKTOP_APP), INTERACTIVE),
        (profile("steam", "app-steam-1.scope", AppKind.DESKTOP_APP), INTERACTIVE),
        (profile("wine64-preloader", kind=SCOPE, comm="Game.exe"), LATENCY),
        (profile("pipewire", slice_="session.slice"), LATENCY),
        (profile("gnome-shell", "org.gnome.Shell@wayland.service"), LATENCY),
        (profile("gsd-power", slice_="session.slice"), INTERACTIVE),
        (profile("zoom", "app-zoom-1.scope", AppKind.DESKTOP_APP), LATENCY),
        (profile("ffmpeg", "transcode.service"), BATCH),
        (profile("restic", "nightly.service"), BACKGROUND),
        (profile("tar", "home-backup.service"), BACKGROUND),
        (profile("localsearch-3", slice_="background.slice"), BACKGROUND),
        (profile("apt-get", "apt-daily-upgrade.service"), BATCH),
        (profile("mandb", "man-db.service"), BACKGROUND),
        (profile("qemu-system-x86_64", kind=SCOPE), NORMAL),
        (profile("qemu-system-x86_64", kind=AppKind.DESKTOP_APP), INTERACTIVE),
        (profile("nginx", kind=AppKind.CONTAINER), LATENCY),
        (profile("something", kind=AppKind.CONTAINER), NORMAL),
        (profile("schedcpd"), LATENCY),
        (profile("systemd", "init.scope", SCOPE, cgroup="/init.scope"), NORMAL),
        (profile("unheard-of"), NORMAL),
    ],
    ids=lambda value: (
        f"{value.identity.name}-{value.identity.unit}"
        if isinstance(value, WorkloadProfile)
        else str(value)
    ),
)
def test_what_real_applications_get(
    book: RuleBook, seen: WorkloadProfile, wanted: IntentClass
) -> None:
    intent = decide(seen, {}, book)
    assert intent.intent_class is wanted, intent.reason
    assert intent.reason.isprintable()


@pytest.mark.parametrize(
    "unit",
    [
        "systemd-journald.service",
        "systemd-logind.service",
        "systemd-udevd.service",
        "systemd-networkd.service",
        "systemd-backup.service",
        "dbus.service",
        "dbus-broker.service",
        "polkit.service",
        "NetworkManager.service",
        "ssh.service",
        "sshd.service",
        "cron.service",
        "rsyslog.service",
        "schedcpd.service",
        "schedcp-scheduler.service",
        "docker.service",
        "containerd.service",
        "libvirtd.service",
    ],
)
def test_what_the_machine_needs_is_never_pushed_back(book: RuleBook, unit: str) -> None:
    """Whatever runs in it: cron and journald keep their class even while a compiler runs there."""
    for executable in ("daemon", "cc1", "restic", "xmrig", "apt"):
        seen = profile(executable, unit, inside=("make", "cc1"))
        assert decide(seen, {}, book).intent_class in (NORMAL, INTERACTIVE, LATENCY)


def test_every_shipped_rule_can_win(repository: Repository, book: RuleBook) -> None:
    """A rule that another one always beats says nothing; made-up names must reach each."""

    def word(glob: str) -> str:
        return glob.replace("[0-9]*", "1").replace("*", "x").replace("?", "y")

    for rule in repository.rules():
        seen = {key: word(globs[0]) for key, globs in rule.match.items()}
        identity = AppIdentity(
            AppKind(seen.get("kind", "other")),
            "n",
            unit=seen.get("unit", ""),
            slice=seen.get("slice", ""),
            desktop_id=seen.get("desktop_id", ""),
            executable=seen.get("executable", ""),
            comm=seen.get("comm", ""),
        )
        inside = (seen["any_executable"],) if "any_executable" in seen else ()
        made = WorkloadProfile(seen.get("cgroup", "/x"), 1, identity, True, 0, executables=inside)
        intent = book.infer(made)
        assert intent is not None, rule.id
        assert (intent.rule == rule.id) or intent.intent_class is rule.intent, (rule.id, intent)


def chosen(
    repository: Repository, book: RuleBook, *seen: WorkloadProfile, power: Power = Power.AC
) -> str:
    views = [WorkloadView(p, decide(p, {}, book), False) for p in seen]
    made = plan(
        Situation(
            demand_of(views),
            Machine(4, power),
            repository.policies(),
            repository.objects(),
            Running("kernel-default", "", {}, 0.0),
            Limits(60.0, 6),
            1000.0,
        )
    )
    return made.candidate.policy


def test_which_policy_follows(repository: Repository, book: RuleBook) -> None:
    nginx, make = profile("nginx"), profile("make", "b.service")
    ssh = profile("sshd", "session-1.scope", SESSION)
    firefox = profile("firefox", "app-firefox-1.scope", AppKind.DESKTOP_APP)
    pipewire, journald = profile("pipewire"), profile("systemd-journald")
    assert chosen(repository, book, journald) == "kernel-default"
    assert chosen(repository, book, journald, make) == "throughput"
    assert chosen(repository, book, nginx, make) == "server"
    assert chosen(repository, book, nginx, make, ssh) == "server"
    assert chosen(repository, book, ssh, make) == "balanced"
    assert chosen(repository, book, firefox, pipewire, make) == "desktop"
    assert chosen(repository, book, firefox, pipewire, power=Power.BATTERY) == "desktop-battery"
    assert chosen(repository, book, profile("restic")) == "balanced"
    assert chosen(repository, book, profile("restic"), power=Power.BATTERY) == "battery"
    assert chosen(repository, book, ssh, power=Power.AC) == "balanced"

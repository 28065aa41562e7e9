# SPDX-License-Identifier: Apache-2.0
"""policies.d by family: cgroup paths and executables as the applications really produce them.

The executable is what /proc/<pid>/exe names, so a script shows as its interpreter and its own name
only in comm (15 characters); inside Flatpak the leading process is bwrap.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd.infer.rules import RuleBook
from schedcpd.model import IntentClass, WorkloadProfile
from schedcpd.observe.identify import identify_path, with_process
from schedcpd.policy.repository import load

ROOT = Path(__file__).parents[2]
LATENCY, INTERACTIVE, NORMAL, BATCH, BACKGROUND = IntentClass
ID = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869"
POD = "05b3ee07-a2bd-47e7-9599-7961201f20dd"
POD_ = POD.replace("-", "_")
UUID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
SYSTEM = "/system.slice"
USER = "/user.slice/user-1000.slice/user@1000.service"
APP = f"{USER}/app.slice"
SESSION = "/user.slice/user-1000.slice/session-3.scope"
KUBE = "/kubepods.slice"
BURSTABLE = f"{KUBE}/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice"
BEST = f"{KUBE}/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice"
CRI = f"cri-containerd-{ID}.scope"

# family -> (cgroup, executables with the leading process first, comm or "", intent)
Seen = tuple[str, str, str, IntentClass]
FAMILIES: dict[str, list[Seen]] = {
    "builds": [
        (f"{SYSTEM}/kernel-build.service", "make cc1 as", "", BATCH),
        (f"{APP}/run-u12.scope", "cargo rustc ld", "", BATCH),
        (f"{SYSTEM}/run-u7.service", "perl", "dpkg-buildpacka", BATCH),
        (f"{SYSTEM}/run-u7.service", "python3.13", "meson", BATCH),
        (f"{SYSTEM}/ci.service", "bash python3.13 ninja cc1plus", "run.sh", BATCH),
        (f"{SYSTEM}/nix-daemon.service", "nix bash cc1plus", "nix-daemon", BATCH),
        (f"{SYSTEM}/actions.runner.org-repo.host1.service", "bash node", "runsvc.sh", BATCH),
        (f"{SYSTEM}/buildkit.service", "buildkitd", "", BATCH),
        (SESSION, "sshd-session bash ninja cc1plus", "", NORMAL),
        (f"{APP}/app-gnome-code-4711.scope", "code gopls make", "", INTERACTIVE),
        (f"{SYSTEM}/docker-{ID}.scope", "cmake cc1plus", "", BATCH),
    ],
    "browsers": [
        (f"{APP}/app-gnome-firefox\\x2desr-2345.scope", "firefox-esr", "", INTERACTIVE),
        (f"{APP}/app-flatpak-org.mozilla.firefox-2891.scope", "bwrap firefox-bin", "", INTERACTIVE),
        (f"{APP}/snap.firefox.firefox-{UUID}.scope", "firefox", "", INTERACTIVE),
        (f"{APP}/app-google\\x2dchrome@{UUID}.service", "chrome", "", INTERACTIVE),
        (f"{USER}/session.slice/xdg-desktop-portal.service", "firefox", "", INTERACTIVE),
    ],
    "video calls": [
        (f"{APP}/app-gnome-Zoom-99.scope", "zoom ZoomWebviewHost", "", LATENCY),
        (f"{APP}/app-flatpak-us.zoom.Zoom-99.scope", "bwrap zoom", "", LATENCY),
        (f"{APP}/app-flatpak-com.discordapp.Discord-7.scope", "bwrap Discord", "", LATENCY),
        (f"{APP}/snap.discord.discord-{UUID}.scope", "Discord", "", LATENCY),
        (f"{APP}/snap.telegram-desktop.telegram-desktop-{UUID}.scope", "bash", "", LATENCY),
        (f"{APP}/app-com.slack.Slack@{UUID}.service", "slack", "", LATENCY),
    ],
    "games": [
        (f"{APP}/app-gnome-steam-77.scope", "bash steam steamwebhelper", "steam.sh", INTERACTIVE),
        (f"{APP}/app-gnome-steam-77.scope", "bash steam reaper hl2_linux", "steam.sh", LATENCY),
        (f"{APP}/app-steam@autostart.service", "bash steam wineserver", "steam.sh", LATENCY),
        (
            f"{APP}/app-flatpak-com.valvesoftware.Steam-3.scope",
            "bwrap steam reaper wine64-preloader",
            "",
            LATENCY,
        ),
        (f"{APP}/snap.steam.steam-{UUID}.scope", "bash steam pv-adverb", "", LATENCY),
        (f"{APP}/app-flatpak-net.lutris.Lutris-5.scope", "bwrap wineserver", "", LATENCY),
        (f"{APP}/app-flatpak-net.lutris.Lutris-5.scope", "bwrap python3.13", "", INTERACTIVE),
        (f"{APP}/run-r9.scope", "wine64-preloader", "Cyberpunk2077.e", LATENCY),
        (f"{APP}/app-Celeste-8.scope", "Celeste.bin.x86_64", "", LATENCY),
        (f"{USER}/gamescope-session-plus@steam.service", "bash gamescope-wl", "", LATENCY),
        (f"{APP}/app-org.prismlauncher.PrismLauncher-1.scope", "prismlauncher java", "", LATENCY),
        (f"{SYSTEM}/minecraft@survival.service", "java", "", LATENCY),
    ],
    "sound": [
        (f"{USER}/session.slice/pipewire.service", "pipewire", "", LATENCY),
        (f"{USER}/session.slice/wireplumber.service", "wireplumber", "", LATENCY),
        (f"{USER}/session.slice/pulseaudio.service", "pulseaudio", "", LATENCY),
        (f"{SYSTEM}/mpd.service", "mpd", "", LATENCY),
        (f"{APP}/app-flatpak-com.obsproject.Studio-1.scope", "bwrap obs", "", LATENCY),
    ],
    "databases": [
        (f"{SYSTEM}/system-postgresql.slice/postgresql@17-main.service", "postgres", "", LATENCY),
        (f"{SYSTEM}/mariadb.service", "mariadbd", "", LATENCY),
        (f"{SYSTEM}/elasticsearch.service", "java", "", LATENCY),
        (f"{SYSTEM}/clickhouse-server.service", "clickhouse", "clickhouse-serv", LATENCY),
        (f"{SYSTEM}/docker-{ID}.scope", "postgres", "", LATENCY),
        (f"{APP}/redis.service/libpod-payload-{ID}", "valkey-server", "", LATENCY),
        (f"{SYSTEM}/pg-nightly.service", "pg_dump", "", BACKGROUND),
    ],
    "web servers": [
        (f"{SYSTEM}/nginx.service", "nginx", "", LATENCY),
        (f"{SYSTEM}/nginx.service/libpod-payload-{ID}", "nginx", "", LATENCY),
        (f"{SYSTEM}/apache2.service", "apache2", "", LATENCY),
        (f"{SYSTEM}/php8.4-fpm.service", "php-fpm8.4", "", LATENCY),
        (f"{SYSTEM}/shop.service", "python3.13", "gunicorn", LATENCY),
        (f"{SYSTEM}/shop.service", "ruby3.3", "puma", LATENCY),
        (f"{SYSTEM}/shop-api.service", "node", "MainThread", LATENCY),
        (f"{SYSTEM}/shop-worker.service", "python3.13", "celery", BATCH),
        (f"{BURSTABLE}/{CRI}", "node", "", LATENCY),
    ],
    "transcoders": [
        (f"{SYSTEM}/encode@film.service", "ffmpeg", "", BATCH),
        (f"{SYSTEM}/run-u3.scope", "HandBrakeCLI", "", BATCH),
        (f"{SYSTEM}/jellyfin.service", "jellyfin ffmpeg", "", INTERACTIVE),
        (f"{SYSTEM}/plexmediaserver.service", "Plex Media Server", "", INTERACTIVE),
        (f"{APP}/app-flatpak-fr.handbrake.ghb-1.scope", "bwrap ghb", "", NORMAL),
    ],
    "backup and indexing": [
        (f"{SYSTEM}/restic-home.service", "restic", "", BACKGROUND),
        (f"{SYSTEM}/nightly.service", "python3.13", "borg", BACKGROUND),
        (f"{SYSTEM}/snapshots.service", "perl", "btrbk", BACKGROUND),
        (f"{APP}/app-flatpak-org.gnome.World.PikaBackup-1.scope", "bwrap", "", BACKGROUND),
        (f"{USER}/background.slice/localsearch-3.service", "localsearch-3", "", BACKGROUND),
        (f"{USER}/background.slice/kde-baloo.service", "baloo_file", "", BACKGROUND),
        (f"{SYSTEM}/plocate-updatedb.service", "updatedb.plocate", "", BACKGROUND),
        (f"{SYSTEM}/man-db.service", "mandb", "", BACKGROUND),
    ],
    "virtual machines": [
        (
            "/machine.slice/machine-qemu\\x2d1\\x2ddebian.scope/libvirt/emulator",
            "qemu-system-x86_64",
            "",
            NORMAL,
        ),
        (f"{APP}/app-org.gnome.Boxes-3.scope", "gnome-boxes qemu-system-x86_64", "", INTERACTIVE),
        (f"{APP}/app-virtualbox-3.scope", "VirtualBoxVM", "", INTERACTIVE),
        (f"{SYSTEM}/firecracker@1.service", "firecracker", "", NORMAL),
        (f"{SYSTEM}/libvirtd.service", "libvirtd", "", NORMAL),
    ],
    "containers": [
        (f"{SYSTEM}/docker.service", "dockerd", "", NORMAL),
        (f"{SYSTEM}/containerd.service", "containerd containerd-shim-runc-v2", "", NORMAL),
        (f"{SYSTEM}/docker-{ID}.scope", "myapp", "", NORMAL),
        (f"/docker/{ID}", "caddy", "", LATENCY),
        (f"{USER}/user.slice/libpod-{ID}.scope/container", "myapp", "", NORMAL),
        (f"/machine.slice/libpod-conmon-{ID}.scope", "conmon", "", NORMAL),
        (f"/lxc.payload.web1{SYSTEM}/nginx.service", "nginx", "", LATENCY),
        (f"{KUBE}/kubepods-pod{POD_}.slice/{CRI}", "myapp", "", NORMAL),
        (f"{BURSTABLE}/{CRI}", "myapp", "", NORMAL),
        (f"{BEST}/{CRI}", "myapp", "", BACKGROUND),
        (f"{BEST}/crio-{ID}.scope/container", "myapp", "", BACKGROUND),
        (f"/kubepods/besteffort/pod{POD}/{ID}", "myapp", "", BACKGROUND),
        (f"{BEST}/{CRI}", "nginx", "", LATENCY),
        (f"{BEST}/{CRI}", "ninja cc1", "", BATCH),
        (f"{BURSTABLE}/{CRI}", "kube-apiserver", "", LATENCY),
        (f"{SYSTEM}/k3s.service", "k3s-server containerd-shim-runc-v2", "", NORMAL),
    ],
}


@pytest.fixture(scope="module")
def book() -> RuleBook:
    """Rules need no scheduler, so policies without theirs may be left out."""
    found = load([ROOT / "policies.d"], ROOT / "absent")
    return RuleBook(found.rules())


@pytest.fixture(scope="module", autouse=True)
def rules_are_read_from_files_with_rules_alone(book: RuleBook) -> None:
    assert len({rule.file for rule in book.rules}) > 5


def profile(cgroup: str, executables: str, comm: str) -> WorkloadProfile:
    names = executables.split() if "Plex" not in executables else [executables]
    identity = with_process(identify_path(cgroup), names[0], comm or names[0][:15], 1000)
    return WorkloadProfile(cgroup, 7, identity, True, 0, len(names), tuple(names))


@pytest.mark.parametrize(
    ("family", "seen"),
    [
        pytest.param(family, seen, id=f"{family}-{index}-{seen[1].split()[0]}")
        for family, all_seen in FAMILIES.items()
        for index, seen in enumerate(all_seen)
    ],
)
def test_what_a_real_application_gets(book: RuleBook, family: str, seen: Seen) -> None:
    cgroup, executables, comm, wanted = seen
    intent = book.infer(profile(cgroup, executables, comm))
    got = intent.intent_class if intent else NORMAL
    assert got is wanted, intent.reason if intent else f"no rule of {family} matches"


def test_every_rule_file_is_reached_by_a_real_application(book: RuleBook) -> None:
    reached = {
        intent.rule.partition(":")[0]
        for all_seen in FAMILIES.values()
        for cgroup, executables, comm, _ in all_seen
        if (intent := book.infer(profile(cgroup, executables, comm)))
    }
    shipped = {rule.file for rule in book.rules if rule.file.endswith(".yaml")}
    assert shipped - reached <= {"30-system.yaml"}  # tests/unit/test_shipped_rules.py has those

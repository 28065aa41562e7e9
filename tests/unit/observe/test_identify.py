# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.model import AppIdentity, AppKind
from schedcpd.observe.identify import (
    escape,
    identify_path,
    not_yet_executed,
    parse_desktop_unit,
    unescape,
    with_process,
)

HEX = "0123456789ab" * 5 + "0123"
UUID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("cgroup", "kind", "name", "unit", "slice_"),
    [
        ("/system.slice/nginx.service", "service", "nginx", "nginx.service", "system.slice"),
        ("/init.scope", "scope", "init", "init.scope", ""),
        (f"{USER}/init.scope", "scope", "init", "init.scope", "user-1000.slice"),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "service",
            "getty@tty1",
            "getty@tty1.service",
            "system-getty.slice",
        ),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "session",
            "session-3",
            "session-3.scope",
            "user-1000.slice",
        ),
        # what a delegated unit calls its own cgroups says nothing
        (
            "/system.slice/foo.service/bar.slice/baz.service",
            "service",
            "foo",
            "foo.service",
            "system.slice",
        ),
        ("/system.slice/a\\x2db.service", "service", "a-b", "a\\x2db.service", "system.slice"),
        # a name that collides with a kernel file is stored with "_" before it
        ("/_cgroup.service", "service", "cgroup", "cgroup.service", ""),
        ("/user.slice", "slice", "user", "", "user.slice"),
        ("/build/worker", "other", "worker", "", ""),
        ("/", "other", "/", "", ""),
    ],
)
def test_units(cgroup: str, kind: str, name: str, unit: str, slice_: str) -> None:
    found = identify_path(cgroup)
    assert (found.kind, found.name, found.unit, found.slice) == (kind, name, unit, slice_)


@pytest.mark.parametrize(
    ("unit", "desktop_id"),
    [
        ("app-gnome-org.gnome.Evince-12345.scope", "org.gnome.Evince"),
        ("app-org.kde.amarok@37f6.service", "org.kde.amarok"),
        ("app-gnome-gnome\\x2dterminal-99.scope", "gnome-terminal"),
        ("app-flatpak-org.telegram.desktop-1.scope", "org.telegram.desktop"),
        ("app-firefox@autostart.service", "firefox"),
        ("snap.firefox.firefox-3a1b.scope", "firefox_firefox"),
        (f"snap.obs-studio.obs-studio-{UUID}.scope", "obs-studio_obs-studio"),
        (f"snap.discord.discord.{UUID}.scope", "discord_discord"),
        (f"app-steam@{UUID}.service", "steam"),
        (f"app-org.kde.kate-{UUID.replace('-', '')}.scope", "org.kde.kate"),
    ],
)
def test_desktop_applications(unit: str, desktop_id: str) -> None:
    found = identify_path(f"{USER}/app.slice/{unit}")
    assert (found.kind, found.desktop_id, found.unit) == (AppKind.DESKTOP_APP, desktop_id, unit)
    assert found.slice == "app.slice"


@pytest.mark.parametrize(
    "cgroup",
    [
        f"/system.slice/docker-{HEX}.scope",
        f"/docker/{HEX}",
        f"/machine.slice/libpod-{HEX}.scope/container",
        f"/system.slice/nginx.service/libpod-payload-{HEX}",
        f"{USER}/app.slice/redis.service/libpod-payload-{HEX}",
        f"{USER}/user.slice/libpod-{HEX}.scope/container",
        f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{HEX}.scope",
        f"/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef/{HEX}",
        f"/system.slice/docker-{HEX}.scope/system.slice/nginx.service",
    ],
)
def test_containers(cgroup: str) -> None:
    found = identify_path(cgroup)
    assert (found.kind, found.container) == (AppKind.CONTAINER, HEX[:12])


def test_a_monitor_of_a_container_is_not_the_container() -> None:
    assert identify_path(f"/machine.slice/libpod-conmon-{HEX}.scope").kind is AppKind.SCOPE


@given(st.text(min_size=1))
def test_unescape_undoes_escape(text: str) -> None:
    # escape() maps "/" to "-", which unescape() leaves: the reader's spelling, not the path's
    expected = text.replace("/", "-")
    if expected.isprintable():
        assert unescape(escape(text)) == expected


@given(st.text(alphabet="\\x0123456789abcdefgh-.é"))
def test_unescape_never_fails_and_stays_printable(text: str) -> None:
    assert unescape(text).isprintable()


@given(st.text(alphabet="ab.-\\x2d@_:é/\n", max_size=60), st.sampled_from(["scope", "service", ""]))
def test_identify_never_fails(name: str, suffix: str) -> None:
    assert isinstance(identify_path(f"/system.slice/app-{name}.{suffix}"), AppIdentity)
    assert isinstance(identify_path(f"/{name}"), AppIdentity)


@given(
    st.text(alphabet="abc.ORG_", min_size=1),
    st.text(alphabet="gnome-", min_size=1),
    st.integers(1, 99999),
)
def test_desktop_units_read_back(identifier: str, launcher: str, number: int) -> None:
    unit = f"app-{escape(launcher)}-{escape(identifier)}-{number}.scope"
    found = parse_desktop_unit(unit)
    assert found is not None
    assert (found.desktop_id, found.launcher) == (identifier, launcher)


def test_before_exec_systemds_own_process_is_not_the_application() -> None:
    assert not_yet_executed("systemd-executor", "(nginx)")
    assert not_yet_executed("systemd", "(sd-pam)")
    assert not not_yet_executed("systemd", "systemd")
    path = identify_path("/system.slice/nginx.service")
    early = with_process(path, "systemd-executor", "(nginx)", 0)
    assert (early.executable, early.comm, early.uid) == ("", "", 0)
    late = with_process(path, "nginx", "nginx", 33)
    assert (late.executable, late.comm, late.uid) == ("nginx", "nginx", 33)

# SPDX-License-Identifier: Apache-2.0
"""Which application stands behind a cgroup: by its path, by its leading process.

Sources: systemd.unit(5) and systemd-escape(1) for unit names; docs/CGROUP_DELEGATION of
systemd for the "_" escape; docs/DESKTOP_ENVIRONMENTS of systemd for `app-*` units;
the cgroup drivers of Docker, Podman, containerd and CRI-O for containers.

Nothing here trusts what it reads: users choose unit names and process names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from schedcpd.host.containers import ContainerFacts
from schedcpd.model import AppIdentity, AppKind

_UNIT = re.compile(r"^.+\.(service|scope|slice|socket|mount|swap)$")
_HEX_ESCAPE = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")
_HEX_ID = r"[0-9a-f]{12,64}"
# One directory name -> container id or name
_CONTAINER = (
    re.compile(rf"^(?:docker|libpod|cri-containerd|crio|nerdctl|buildkit)-({_HEX_ID})\.scope$"),
    re.compile(rf"^libpod-payload-({_HEX_ID})$"),  # Quadlet: a unit's own cgroup, split
    re.compile(r"^machine-(.+)\.scope$"),
    re.compile(r"^systemd-nspawn@(.+)\.service$"),
    re.compile(r"^lxc\.payload\.(.+)$"),
)
# A parent directory that makes its child a container (cgroupfs drivers)
_CONTAINER_PARENT = re.compile(r"^(docker|libpod_parent|pod[0-9a-f-]{36}|actions_job|buildkit)$")
_PLAIN_ID = re.compile(rf"^(?:libpod-)?({_HEX_ID})$")
_FULL_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SNAP_INSTANCE = re.compile(rf"[-.](?:{_UUID}|[0-9a-f]{{4,12}})$")
_SESSION = re.compile(r"^session-[A-Za-z0-9]+\.scope$")


def unescape(name: str) -> str:
    r"""Turns the `\xNN` of systemd-escape back into characters; `-` stays, as a reader expects.

    Bytes that are no UTF-8 stay escaped, so the result is always printable or as it was.
    """

    def decode(match: re.Match[str]) -> str:
        raw = bytes.fromhex(match.group().replace("\\x", ""))
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            return match.group()
        return text if text.isprintable() else match.group()

    return _HEX_ESCAPE.sub(decode, name)


def escape(name: str) -> str:
    r"""systemd-escape(1) of a string: `/` to `-`, all but [A-Za-z0-9:_.] to `\xNN`."""
    out = []
    for index, byte in enumerate(name.encode("utf-8")):
        char = chr(byte)
        if char == "/":
            out.append("-")
        elif (char.isascii() and char.isalnum()) or char in ":_" or (char == "." and index > 0):
            out.append(char)
        else:
            out.append(f"\\x{byte:02x}")
    return "".join(out)


@dataclass(frozen=True, slots=True)
class DesktopUnit:
    """What an `app-*` unit name says (DESKTOP_ENVIRONMENTS: XDG standardization)."""

    desktop_id: str
    launcher: str = ""


def parse_desktop_unit(unit: str) -> DesktopUnit | None:
    """Reads `app[-<launcher>]-<ApplicationID>[@<RANDOM>].service` and the `-<RANDOM>.scope` form.

    None when `unit` is not of that form. Every part is escaped, so a bare `-` only separates.
    """
    stem, _, suffix = unit.rpartition(".")
    if not stem.startswith("app-") or suffix not in ("scope", "service", "slice"):
        return None
    if suffix == "service":
        stem = stem.split("@", 1)[0]
    parts = stem.split("-")[1:]
    if suffix == "scope" and len(parts) > 1:
        parts = parts[:-1]
    if not all(parts):
        return None
    # Launchers that do not escape give more parts: the first is the launcher, the rest the id.
    launcher, identifier = (parts[0], "-".join(parts[1:])) if len(parts) > 1 else ("", parts[0])
    return DesktopUnit(unescape(identifier), unescape(launcher))


def identify_path(cgroup: str) -> AppIdentity:
    """What the path of a cgroup alone says. Never raises, whatever the path."""
    # A component that looks like a kernel file is stored with "_" before it.
    parts = [p[1:] if p.startswith("_") else p for p in cgroup.split("/") if p]
    unit = slice_ = container = ""
    below_manager = True  # at the top, or right below a user's own service manager
    for index, part in enumerate(parts):
        found = _container_id(parts[index - 1] if index else "", part)
        if found:
            container = found
            unit = part if _UNIT.match(part) else unit
            break
        if not below_manager or not _UNIT.match(part):
            continue  # what a delegated unit calls its own cgroups says nothing
        if part.endswith(".slice"):
            slice_, unit = part, ""
        else:
            unit = part
            below_manager = part.startswith("user@")
    if container:
        return AppIdentity(AppKind.CONTAINER, container, unit, slice_, container=container)
    if not unit:
        name = parts[-1] if parts else "/"
        kind = AppKind.SLICE if name.endswith(".slice") else AppKind.OTHER
        return AppIdentity(kind, unescape(name.removesuffix(".slice")), "", slice_)
    return _identify_unit(unit, slice_)


def _identify_unit(unit: str, slice_: str) -> AppIdentity:
    stem, _, suffix = unit.rpartition(".")
    if _SESSION.match(unit):
        return AppIdentity(AppKind.SESSION, stem, unit, slice_)
    if stem.startswith("snap."):
        # snap.<snap>.<app>[-<uuid>|.<uuid>].{scope,service}; both names may have dashes
        snap = _SNAP_INSTANCE.sub("", stem).split(".") if suffix == "scope" else stem.split(".")
        name = snap[1]
        kind = AppKind.DESKTOP_APP if suffix == "scope" else AppKind.SERVICE
        desktop = f"{name}_{snap[2]}" if len(snap) > 2 else name
        return AppIdentity(kind, name, unit, slice_, desktop if suffix == "scope" else "")
    desktop_unit = parse_desktop_unit(unit)
    if desktop_unit is not None:
        identifier = desktop_unit.desktop_id
        return AppIdentity(AppKind.DESKTOP_APP, identifier, unit, slice_, identifier)
    kind = AppKind.SCOPE if suffix == "scope" else AppKind.SERVICE
    return AppIdentity(kind, unescape(stem), unit, slice_)


def _container_id(parent: str, part: str) -> str:
    for pattern in _CONTAINER:
        match = pattern.match(part)
        if match:
            identifier = match[1]
            return identifier[:12] if re.fullmatch(_HEX_ID, identifier) else unescape(identifier)
    plain = _PLAIN_ID.match(part)
    if plain and _CONTAINER_PARENT.match(parent):
        return plain[1][:12]
    if parent == "lxc" and part not in ("", "lxc"):
        return part
    return ""


def full_container_id(cgroup: str) -> str:
    """The id of the outermost container in a path, 64 hex digits; "" when there is none."""
    found = _FULL_ID.search(cgroup)
    return found[0] if found else ""


def with_container(identity: AppIdentity, facts: ContainerFacts) -> AppIdentity:
    """Adds what its engine's files say; it is called by its name where that is known."""
    name = facts.name or identity.name
    return replace(identity, name=name, image=facts.image, labels=facts.labels)


def not_yet_executed(executable: str, comm: str) -> bool:
    """Whether a process is still systemd's child that has not become the service.

    systemd runs its own `systemd-executor` (254 and later) or a fork of itself, whose comm it
    sets to "(name)" or "(sd-…)", before it calls execve() for the unit.
    """
    return executable == "systemd-executor" or (
        comm.startswith("(") and executable in ("systemd", "systemd-executor", "")
    )


def with_process(identity: AppIdentity, executable: str, comm: str, uid: int | None) -> AppIdentity:
    """Adds what the leading process says; a cgroup without a unit is named after it."""
    if not_yet_executed(executable, comm):
        return replace(identity, uid=uid)
    name = identity.name
    if identity.kind is AppKind.OTHER and executable:
        name = executable
    return replace(identity, name=name, executable=executable, comm=comm, uid=uid)

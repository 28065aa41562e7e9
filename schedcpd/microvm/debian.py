# SPDX-License-Identifier: Apache-2.0
"""Where this machine gets Debian from, by apt's own configuration (no mirror is named here).

Reads `/etc/apt/sources.list` (one-line style) and `/etc/apt/sources.list.d/*.{list,sources}`
(deb822 style), see sources.list(5). Also answers for apt's settings that a build elsewhere (chroot,
image) must inherit, such as `Acquire::Check-Valid-Until`.

    python3 -m schedcpd.microvm apt sources SUITE...   # deb822 text for these suites
    python3 -m schedcpd.microvm apt has SUITE          # exit 0 if apt already uses it
    python3 -m schedcpd.microvm apt options            # apt settings to pass on
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.host import process

APT_DIR = Path("/etc/apt")
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
# Settings of the machine's apt that a build in a chroot inherits.
INHERITED = (
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Retries",
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::https::CAInfo",
)


@dataclass(frozen=True, slots=True)
class AptSource:
    """One binary (`deb`) source."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    options: tuple[tuple[str, str], ...] = ()


def parse_list(text: str) -> Iterator[AptSource]:
    """The `deb` entries of a one-line-style file."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match is None:
            continue
        options = dict(
            word.split("=", 1) for word in (match[1] or "").split() if "=" in word.strip("=")
        )
        yield AptSource(
            uri=match[2],
            suites=(match[3],),
            components=tuple(match[4].split()),
            signed_by=options.get("signed-by", ""),
        )


def parse_deb822(text: str) -> Iterator[AptSource]:
    """The enabled `deb` stanzas of a deb822-style file. An inline key is not carried over."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and key:
                fields[key] += "\n" + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        signed_by = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            yield AptSource(
                uri=uri,
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                signed_by=signed_by if "\n" not in signed_by else "",
            )


def sources(apt_dir: Path = APT_DIR) -> list[AptSource]:
    """Every binary source of this machine's apt."""
    found: list[AptSource] = []
    files = [apt_dir / "sources.list", *sorted((apt_dir / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file() or file.suffix not in (".list", ".sources"):
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        found.extend(parse_deb822(text) if file.suffix == ".sources" else parse_list(text))
    return found


def codename(os_release: Path = Path("/etc/os-release")) -> str:
    """VERSION_CODENAME of this machine, "" where there is none."""
    for line in os_release.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    return ""


def archive(apt_dir: Path = APT_DIR, release: str | None = None) -> AptSource:
    """The source of Debian's main archive: the one that carries this release's own suite.

    Raises MicroVmError where apt has none (not a Debian machine).
    """
    wanted = {
        release if release is not None else codename(),
        "stable",
        "testing",
        "unstable",
        "sid",
    }
    for source in sources(apt_dir):
        if source.uri.startswith(("cdrom:", "file:")):
            continue
        if wanted & set(source.suites) and "main" in source.components:
            return source
    name = release or codename() or "unknown release"
    raise MicroVmError(
        f"apt has no source for Debian's main archive ({name})",
        hint="add one to /etc/apt/sources.list.d, or build on a Debian machine",
    )


def keyring() -> Path:
    """The Debian archive keyring. Raises MicroVmError if absent."""
    for path in KEYRINGS:
        if path.exists():
            return path
    raise MicroVmError(
        "no Debian archive keyring", hint="install the package debian-archive-keyring"
    )


def deb822(suites: list[str], apt_dir: Path = APT_DIR) -> str:
    """deb822 text of a source for `suites` at this machine's mirror."""
    source = archive(apt_dir)
    return (
        f"Types: deb\nURIs: {source.uri}\nSuites: {' '.join(suites)}\n"
        f"Components: main\nSigned-By: {keyring()}\n"
    )


async def inherited_options() -> list[str]:
    """`Name "value";` lines of apt settings that builds elsewhere need (from apt-config)."""
    dump = (await process.run(["apt-config", "dump"], timeout_s=30)).check().text
    return [line for line in dump.splitlines() if line.split(" ", 1)[0] in INHERITED]


async def main(argv: list[str]) -> int:
    """The command line above. Returns the exit code."""
    match argv:
        case ["sources", *suites] if suites:
            print(deb822(suites), end="")
            return 0
        case ["options"]:
            print("\n".join(await inherited_options()))
            return 0
        case ["has", suite]:
            return 0 if any(suite in source.suites for source in sources()) else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2

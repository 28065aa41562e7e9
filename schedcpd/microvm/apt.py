# SPDX-License-Identifier: Apache-2.0
"""apt with a private state directory: other suites than the host's, nothing installed, no root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schedcpd.host import process
from schedcpd.microvm import debian
from schedcpd.microvm.cache import Progress, cache_dir

FETCH_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class PrivateApt:
    """apt with a state directory of its own, for other suites than the host's."""

    config: Path

    async def _run(self, *argv: str, cwd: Path | None = None) -> str:
        result = await process.run(
            argv, env={"APT_CONFIG": str(self.config)}, timeout_s=FETCH_TIMEOUT_S, cwd=cwd
        )
        return result.check(" ".join(argv[:3])).text

    async def update(self) -> None:
        await self._run("apt-get", "update", "-qq")

    async def show(self, package: str) -> str:
        return await self._run("apt-cache", "show", "--no-all-versions", package)

    async def names(self, prefix: str) -> list[str]:
        return (await self._run("apt-cache", "pkgnames", prefix)).split()

    async def knows(self, package: str) -> bool:
        return bool(await self.names(package))

    async def download(self, packages: list[str], directory: Path) -> list[Path]:
        """Fetches these .deb files, verified by apt."""
        await self._run("apt-get", "download", "-qq", *packages, cwd=_made(directory))
        return _files(directory)

    async def download_source(self, package: str, directory: Path) -> list[Path]:
        """Fetches a source package's files, verified by apt, not unpacked."""
        argv = ["apt-get", "source", "-qq", "--download-only", package]
        await self._run(*argv, cwd=_made(directory))
        return _files(directory)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


def _files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


async def private_apt(suites: list[str], progress: Progress, *, source: bool = False) -> PrivateApt:
    """apt for `suites` at this machine's mirror, with fresh package lists."""
    base = cache_dir() / "apt" / ("-".join(suites) + ("-src" if source else ""))
    for part in ("state/lists/partial", "cache/archives/partial", "etc"):
        (base / part).mkdir(parents=True, exist_ok=True)
    (base / "state" / "status").touch()
    text = debian.deb822(suites)
    if source:
        text = text.replace("Types: deb\n", "Types: deb-src\n")
    (base / "etc" / "debian.sources").write_text(text, encoding="utf-8")
    config = base / "apt.conf"
    lines = [
        f'Dir::State "{base}/state";',
        f'Dir::State::status "{base}/state/status";',
        f'Dir::Cache "{base}/cache";',
        'Dir::Etc::sourcelist "/dev/null";',
        f'Dir::Etc::sourceparts "{base}/etc";',
        'Dir::Etc::preferences "/dev/null";',
        'Dir::Etc::preferencesparts "/dev/null";',
        'APT::Architecture "amd64";',
        'APT::Sandbox::User "";',
        'Acquire::Languages "none";',
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
        *await debian.inherited_options(),
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    apt = PrivateApt(config)
    progress(f"apt: reading package lists of {', '.join(suites)}")
    await apt.update()
    return apt

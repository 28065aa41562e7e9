# SPDX-License-Identifier: Apache-2.0
"""Writes the console scripts of pyproject.toml, and what only systemd starts, for Debian's python3.

    launchers.py PYPROJECT OUTDIR

schedcp-agent looks first into the environment that its package brings. Only schedctl, which runs
with its caller's rights, minds the caller's PYTHON* variables and user site (python3 -I: none).
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

AGENT_SITE = "/usr/lib/schedcp-agent"
STARTED_BY_SYSTEMD = {
    "scheduler-host": "schedcpd.deploy.scheduler_host.__main__:main",
    "verify-service": "schedcpd.verify.service.__main__:main",
}
LAUNCHER = """\
#!/usr/bin/python3{isolated}
# SPDX-License-Identifier: Apache-2.0
import sys
{extra}
from {module} import {function}

sys.exit({function}())
"""


def main(pyproject: str, outdir: str) -> None:
    scripts = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]["scripts"]
    for name, target in {**scripts, **STARTED_BY_SYSTEMD}.items():
        module, function = target.split(":")
        agent = f'\nsys.path.insert(0, "{AGENT_SITE}")\n' if name == "schedcp-agent" else ""
        path = Path(outdir, name)
        isolated = "" if name == "schedctl" else " -I"
        text = LAUNCHER.format(isolated=isolated, module=module, function=function, extra=agent)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])

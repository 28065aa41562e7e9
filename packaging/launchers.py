# SPDX-License-Identifier: Apache-2.0
"""Writes the console scripts of pyproject.toml as Debian's python3 runs them.

    launchers.py PYPROJECT OUTDIR

Those of schedcp-agent look first into the environment that its package brings.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

AGENT_SITE = "/usr/lib/schedcp-agent"
LAUNCHER = """\
#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import sys
{extra}
from {module} import {function}

sys.exit({function}())
"""


def main(pyproject: str, outdir: str) -> None:
    scripts = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]["scripts"]
    for name, target in scripts.items():
        module, function = target.split(":")
        agent = f'\nsys.path.insert(0, "{AGENT_SITE}")\n' if name == "schedcp-agent" else ""
        path = Path(outdir, name)
        path.write_text(LAUNCHER.format(module=module, function=function, extra=agent))
        path.chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])

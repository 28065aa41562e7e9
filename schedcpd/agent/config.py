# SPDX-License-Identifier: Apache-2.0
"""`/etc/schedcp/agent.yaml` and the API key: the model, its address and the limits."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from schedcpd.errors import ConfigError, ConfigErrors
from schedcpd.host import yamlfields
from schedcpd.host.yamlpos import Node, Problems, parse, read_bytes

DEFAULT_FILE = Path("/etc/schedcp/agent.yaml")
CREDENTIAL = "api-key"  # LoadCredential=api-key:… of schedcp-agent.service
NO_KEY = "none"  # its SetCredential=, for when there is no file with a key
_OVERHEAD_TOKENS = 512  # chat template, answer schema and the sentence before a retry
_MODEL = re.compile(r"[a-z0-9_]{1,40}/[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,150}")


@dataclass(frozen=True, slots=True)
class AgentFile:
    """How to reach one model. `model` "" means that none is configured."""

    model: str = ""  # litellm's name: PROVIDER/MODEL
    api_base: str = ""  # "" for the provider's own address
    timeout_s: float = 20.0  # wall clock for one workload, retry and import of litellm included
    max_tokens: int = 160  # completion tokens of one call
    temperature: float = 0.0
    seed: int = 1
    idle_exit_s: float = 60.0
    max_prompt_bytes: int = 4096
    max_response_bytes: int = 65_536
    api_key: str = field(default="", repr=False)  # from the credential, never from the file

    @property
    def call_tokens(self) -> int:
        """Most tokens that one `infer` can cost: two attempts, a token being at least a byte."""
        return 2 * (self.max_prompt_bytes + self.max_tokens + _OVERHEAD_TOKENS)


_NUMBERS: Mapping[str, tuple[float, float, str]] = {
    "timeout_s": (0.5, 600, "s"),
    "temperature": (0, 2, ""),
    "idle_exit_s": (1, 86_400, "s"),
}
_WHOLE: Mapping[str, tuple[int, int, str]] = {
    "max_tokens": (32, 4096, "tokens"),
    "seed": (0, 2**31 - 1, ""),
    "max_prompt_bytes": (3072, 32_768, "bytes"),
    "max_response_bytes": (4096, 1 << 20, "bytes"),
}


def load(path: Path = DEFAULT_FILE, *, credentials: Path | None = None) -> AgentFile:
    """Reads the file and the key. A missing file means that no model is configured.

    `credentials` is systemd's $CREDENTIALS_DIRECTORY. Raises ConfigErrors with every problem,
    each with file, line, field and fix.
    """
    if not path.exists():
        return AgentFile()
    problems = Problems(str(path))
    data = read_bytes(path, problems)
    root = parse(data, problems) if data is not None else None
    values = _read(root, problems) if root is not None else {}
    key = _api_key(credentials, problems)
    _check_together(values, key, root, problems)
    if problems:
        raise ConfigErrors(problems.errors())
    return AgentFile(**values, api_key=key)


def _read(root: Node, problems: Problems) -> dict[str, Any]:
    known = {f.name for f in fields(AgentFile)} - {"api_key"}
    values: dict[str, Any] = {}
    if "api_key" in getattr(root, "entries", {}):
        known.add("api_key")
    for key, node in (yamlfields.mapping(root, problems, "", known) or {}).items():
        value: Any
        if key == "api_key":
            problems.add(
                node.line,
                key,
                "a key does not belong into this file, which everybody may read",
                "put it into /etc/schedcp/agent-api-key with mode 0600",
            )
            continue
        if key in _NUMBERS:
            lo, hi, unit = _NUMBERS[key]
            value = yamlfields.number(node, problems, key, lo=lo, hi=hi, unit=unit)
        elif key in _WHOLE:
            low, high, unit = _WHOLE[key]
            value = yamlfields.integer(node, problems, key, lo=low, hi=high, unit=unit)
        elif key == "model":
            means = "PROVIDER/MODEL as litellm names it"
            value = yamlfields.text(node, problems, key, pattern=_MODEL, pattern_means=means)
        else:
            value = _url(node, problems, key)
        if value is not None:
            values[key] = value
    return values


def _url(node: Node, problems: Problems, where: str) -> str | None:
    text = yamlfields.text(node, problems, where)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username or parts.query or parts.fragment:
        hint = "write http://HOST:PORT/v1 or https://HOST/v1, without user, password or query"
        problems.add(node.line, where, "is not the address of a model server", hint)
        return None
    return text.rstrip("/")


def _api_key(credentials: Path | None, problems: Problems) -> str:
    path = credentials / CREDENTIAL if credentials else None
    if path is None or not path.exists():
        return ""
    try:
        key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        key = "\0"
    if len(key) > 4096 or not key.isprintable():
        problems.add(0, CREDENTIAL, "the API key is not one line of ASCII", "write the key alone")
        return ""
    return "" if key == NO_KEY else key


def _check_together(
    values: Mapping[str, Any], key: str, root: Node | None, problems: Problems
) -> None:
    line = root.line if root is not None else 0
    base = values.get("api_base", "")
    if "model" not in values and values and not problems:
        problems.add(line, "model", "is missing", "add `model: PROVIDER/MODEL`")
    if key and base.startswith("http://") and not is_loopback(base):
        problems.add(
            line,
            "api_base",
            "would send the API key unencrypted over the network",
            "use https, or remove the key if this server needs none",
        )


def is_loopback(url: str) -> bool:
    """Whether the address names this machine, without asking a name server."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_or_reason(
    path: Path, environ: Mapping[str, str] = os.environ
) -> tuple[AgentFile, str, bool]:
    """The configuration, one sentence why no model can be asked ("" when one can), and whether
    that is because the file is wrong; one that names no model is right, as it is shipped."""
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    try:
        found = load(path, credentials=Path(directory) if directory else None)
    except ConfigError as e:
        problems = e.problems if isinstance(e, ConfigErrors) else (e,)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return AgentFile(), f"{problems[0]}{more}", True
    return found, "" if found.model else f"no model is configured in {path}", False

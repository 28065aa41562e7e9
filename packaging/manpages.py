# SPDX-License-Identifier: Apache-2.0
"""Writes the manual pages: man/NAME.SECTION.md with what the code knows filled in, by pandoc.

    manpages.py TREE OUTDIR

Commands and options come from the programs' parsers, configuration keys from schedcpd.config, the
format of policies from docs/policies.md, so that none is written twice. The date is that of
SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any


def escape(text: str) -> str:
    """Text as pandoc's Markdown shows it literally."""
    return re.sub(r"([\\`*_{}\[\]<>#|~^$@'\"-])", r"\\\1", text)


def placeholder(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return {"?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}.get(str(action.nargs), name)


def option_lines(actions: list[argparse.Action]) -> Iterator[str]:
    """A definition list of options."""
    for action in actions:
        if not action.option_strings:
            continue
        names = ", ".join(f"**{escape(name)}**" for name in action.option_strings)
        value = f" *{escape(placeholder(action))}*" if action.nargs != 0 else ""
        help_text = (action.help or "").replace("%(default)s", str(action.default))
        yield from (f"{names}{value}", "", f":   {escape(sentence(help_text))}", "")


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise ValueError("the parser has no commands")


def own_actions(command: argparse.ArgumentParser, common: set[str]) -> list[argparse.Action]:
    return [
        action
        for action in command._actions
        if not (set(action.option_strings) & common) and action.dest != "help"
    ]


def command_lines(parser: argparse.ArgumentParser, common: set[str], above: str = "") -> list[str]:
    """A definition list of a parser's commands, without the options that are `common` to all."""
    lines: list[str] = []
    for name, command in commands_of(parser).items():
        if command._subparsers is not None:
            lines += command_lines(command, common, f"{name} ")
            continue
        actions = own_actions(command, common)
        usage = [f"**{above}{name}**"]
        for action in actions:
            shown_as = f"*{escape(placeholder(action))}*"
            if action.option_strings:
                value = f" {shown_as}" if action.nargs != 0 else ""
                usage.append(f"[**{escape(action.option_strings[-1])}**{value}]")
            else:
                usage.append(shown_as)
        lines += [" ".join(usage), "", f":   {escape(command.description or '')}", ""]
        for action in actions:
            if action.option_strings and action.help:
                names = ", ".join(f"**{escape(each)}**" for each in action.option_strings)
                lines += [f"    {names}: {escape(action.help)}.", ""]
    return lines


def schedbench_values() -> dict[str, str]:
    from schedbench.__main__ import build_parser

    return {"BENCH": "\n".join(command_lines(build_parser(), {"--json"}))}


def schedctl_values() -> dict[str, str]:
    from schedctl.parser import build_parser

    parser = build_parser()
    shown = [action for action in parser._actions if action.option_strings]
    common = {name for action in shown for name in action.option_strings}
    return {
        "OPTIONS": "\n".join(option_lines(shown)),
        "COMMANDS": "\n".join(command_lines(parser, common)),
    }


def shown_default(spec: Field[Any]) -> str:
    value = spec.default if spec.default is not MISSING else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(each) for each in value) + "]"
    return str(value)


def config_values() -> dict[str, str]:
    from schedcpd import config

    lines: list[str] = []

    def add(prefix: str, spec: Field[Any]) -> None:
        default = f"Default: {shown_default(spec)} {spec.metadata['unit']}".rstrip() + "."
        lines.extend(
            [
                f"**{escape(prefix + spec.name)}**",
                "",
                f":   {escape(spec.metadata['doc'])} {escape(default)}",
                "",
            ]
        )

    for spec in fields(config.Config):
        if spec.name not in config.SECTIONS:
            add("", spec)
    for name, kind in config.SECTIONS.items():
        for spec in fields(kind):
            add(f"{name}.", spec)
    return {"KEYS": "\n".join(lines)}


def policy_values(tree: Path) -> dict[str, str]:
    """What docs/policies.md has under "Policy files"."""
    text = (tree / "docs/policies.md").read_text(encoding="utf-8")
    _, found, rest = text.partition("\n## Policy files\n")
    if not found:
        raise ValueError('docs/policies.md has no section "Policy files"')
    return {"POLICIES": without_tables(re.split(r"\n## ", rest)[0].strip())}


def without_tables(text: str) -> str:
    """Two-column tables as definition lists: a terminal's width is too small for a table."""
    lines: list[str] = []
    in_table = False
    for line in text.splitlines():
        row = re.fullmatch(r"\| (.+?) \| (.+?) \|", line)
        rule = re.fullmatch(r"\|[-|]+\|", line)
        if row and in_table:
            lines += [row[1], "", f":   {row[2]}", ""]
        elif not row and not rule:
            lines.append(line)
        in_table = bool(row or rule)
    return "\n".join(lines)


def filled(tree: Path) -> dict[str, str]:
    """The pages' names with their whole Markdown."""
    sys.path.insert(0, str(tree))
    from schedcpd import __version__

    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    values = {
        "VERSION": __version__,
        "DATE": time.strftime("%Y-%m-%d", time.gmtime(epoch)),
        **schedctl_values(),
        **config_values(),
        **policy_values(tree),
    }
    # The daemon's source package has neither the benchmark nor its page.
    has_bench = (tree / "schedbench").is_dir()
    values |= schedbench_values() if has_bench else {}
    pages = {}
    for source in sorted((tree / "man").glob("*.md")):
        if source.name.startswith("schedbench.") and not has_bench:
            continue
        text = source.read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        pages[source.name.removesuffix(".md")] = text
    return pages


def main(tree: str, outdir: str) -> None:
    Path(outdir).mkdir(parents=True, exist_ok=True)
    for name, text in filled(Path(tree).resolve()).items():
        subprocess.run(
            [
                "pandoc",
                "--standalone",
                "--from=markdown-smart",
                "--to=man",
                f"--output={Path(outdir, name)}",
            ],
            input=text.encode(),
            check=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

# SPDX-License-Identifier: Apache-2.0
"""YAML read as a tree in which every value knows its line, with caps against hostile files.

Works on the parser's event stream with a stack of its own, so neither depth nor
aliases can exhaust memory: an alias shares its target, and its expanded size
counts towards the cap. Scalars follow YAML 1.2's core schema (yaml.org/spec/1.2.2, 10.3):
`yes`, `on` and `1:30` are text. Tags, merge keys, several documents and duplicate keys are
refused.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml

from schedcpd.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000  # after alias expansion
MAX_PROBLEMS = 50  # per file; more are counted, not listed

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,32}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,4})?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `value` is None, bool, int, float or str by the core schema."""

    line: int
    text: str
    plain: bool

    @property
    def value(self) -> bool | int | float | str | None:
        text = self.text
        if not self.plain:
            return text
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
            return text.lower() == "true"
        if _INT.fullmatch(text):
            return int(text)
        if _HEX.fullmatch(text):
            return int(text, 16)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _INF.fullmatch(text):
            return -math.inf if text.startswith("-") else math.inf
        return math.nan if _NAN.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class Seq:
    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Map:
    line: int
    entries: Mapping[str, Node]
    key_lines: Mapping[str, int]


Node = Scalar | Seq | Map


@dataclass(slots=True)
class Problems:
    """Everything wrong with one file, in the order found."""

    file: str
    items: list[ConfigError] = field(default_factory=list)
    unlisted: int = 0

    def add(self, line: int, where: str, message: str, hint: str = "") -> None:
        """Records one problem; `where` is the dotted field, `hint` the fix."""
        if len(self.items) >= MAX_PROBLEMS:
            self.unlisted += 1
            return
        self.items.append(ConfigError(message, file=self.file, line=line, field=where, hint=hint))

    def errors(self) -> list[ConfigError]:
        """The problems to show; says how many more there were than are listed."""
        if not self.unlisted:
            return list(self.items)
        more = f"{self.unlisted} more problems are not listed"
        return [*self.items, ConfigError(more, file=self.file, line=self.items[-1].line)]

    def __bool__(self) -> bool:
        return bool(self.items)


def read_bytes(path: Path, problems: Problems, max_bytes: int = MAX_BYTES) -> bytes | None:
    """The file's bytes, b"" for /dev/null (a mask), None with a problem otherwise.

    Never blocks on a FIFO or device, and never reads more than `max_bytes`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        problems.add(0, "", f"cannot be read: {error.strerror}", "check the path and its mode")
        return None
    try:
        return _read_regular(fd, problems, max_bytes)
    except OSError as error:
        problems.add(0, "", f"cannot be read: {error.strerror}", "check the disk")
        return None
    finally:
        os.close(fd)


def _read_regular(fd: int, problems: Problems, max_bytes: int) -> bytes | None:
    info = os.fstat(fd)
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == os.makedev(1, 3):
        return b""
    if not stat.S_ISREG(info.st_mode):
        problems.add(0, "", "is not a regular file", "put a YAML file there or remove it")
        return None
    data = bytearray()
    if info.st_size <= max_bytes:
        while len(data) <= max_bytes and (more := os.read(fd, max_bytes + 1 - len(data))):
            data += more
    if info.st_size > max_bytes or len(data) > max_bytes:
        problems.add(0, "", f"is larger than {max_bytes} bytes", "split it into several files")
        return None
    return bytes(data)


def parse(data: bytes, problems: Problems) -> Node | None:
    """The document's root, None for an empty document or when syntax was added to `problems`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.add(line, "", "is not valid UTF-8 here", "save the file as UTF-8")
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(problems).build(yaml.parse(text, Loader=loader))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.add(line, "", "holds a control character", "remove it")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem)))
        problems.add(
            mark.line + 1 if mark else 1,
            "",
            f"is not valid YAML: {said}",
            "check indentation, colons and quotes at or just above this line",
        )
    except _RefusedError as error:
        problems.add(error.line, "", error.message, error.hint)
    return None


class _RefusedError(Exception):
    def __init__(self, line: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read yet."""

    line: int
    is_map: bool
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)
    key: Scalar | None = None
    size: int = 1


class _Builder:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._root: Node | None = None
        self._root_size = 0

    def build(self, events: Iterator[yaml.Event]) -> Node | None:
        documents = 0
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _RefusedError(line, "holds a second document", "remove the `---` line")
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event, line)
            elif isinstance(event, yaml.ScalarEvent):
                self._tag(event, line)
                plain = event.style is None or event.style == ""
                self._done(Scalar(line, event.value, plain), 1, event.anchor)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._tag(event, line)
                if len(self._stack) >= MAX_DEPTH:
                    raise _RefusedError(
                        line, f"is nested deeper than {MAX_DEPTH} levels", "flatten it"
                    )
                is_map = isinstance(event, yaml.MappingStartEvent)
                self._stack.append(_Open(line, is_map, event.anchor))
            elif isinstance(event, yaml.CollectionEndEvent):
                done = self._stack.pop()
                node: Node
                if done.is_map:
                    node = Map(
                        done.line,
                        MappingProxyType(done.entries),
                        MappingProxyType(done.key_lines),
                    )
                else:
                    node = Seq(done.line, tuple(done.items))
                self._done(node, done.size, done.anchor)
        root = self._root
        if isinstance(root, Scalar) and root.value is None:
            return None
        return root

    @staticmethod
    def _tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None and event.tag != "!":
            raise _RefusedError(
                line, f"uses the YAML tag {shown(event.tag)}", "remove the tag; quote text instead"
            )

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            raise _RefusedError(
                line,
                f"the alias *{shown(event.anchor)} names no anchor completed above it",
                f"define &{shown(event.anchor)} earlier or write the value out",
            )
        self._done(known[0], known[1], None)

    def _done(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.size += size
        if sum(level.size for level in self._stack) > MAX_NODES:
            raise _RefusedError(
                node.line,
                f"holds more than {MAX_NODES} values once aliases are expanded",
                "remove aliases or split the file",
            )
        if not top.is_map:
            top.items.append(node)
        elif top.key is None:
            if not isinstance(node, Scalar):
                raise _RefusedError(node.line, "a key is not plain text", "use a word as the key")
            top.key = node
        else:
            self._entry(top, top.key, node)
            top.key = None

    def _entry(self, top: _Open, key: Scalar, node: Node) -> None:
        if key.plain and key.text == "<<":
            raise _RefusedError(key.line, "uses a merge key", "write the keys out")
        if key.text in top.entries:
            first = top.key_lines[key.text]
            self._problems.add(
                key.line,
                shown(key.text),
                f"the key is given twice (first on line {first})",
                "keep one of them",
            )
            return
        top.entries[key.text] = node
        top.key_lines[key.text] = key.line


def shown(value: object, limit: int = 60) -> str:
    """A value for an error message: one line, escaped, cut at `limit` characters."""
    text = str(value)
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"

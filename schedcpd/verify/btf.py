# SPDX-License-Identifier: Apache-2.0
"""Reads BTF, the type information in a BPF object (Documentation/bpf/btf.rst).

Only what the checks ask for: names, sizes, members and sections. Hostile input gives
`BtfError`, never another exception and never a loop without end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

_MAGIC = 0xEB9F
_MAX_TYPES = 200_000
_MAX_DEPTH = 32


class BtfError(Exception):
    """The bytes are not well-formed BTF."""


class Kind(IntEnum):
    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_MODIFIERS = {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
_SIZED = {Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FLOAT, Kind.ENUM64, Kind.DATASEC}
# bytes after the common header: fixed, and for each of `vlen`
_EXTRA = {
    Kind.INT: (4, 0),
    Kind.ARRAY: (12, 0),
    Kind.STRUCT: (0, 12),
    Kind.UNION: (0, 12),
    Kind.ENUM: (0, 8),
    Kind.FUNC_PROTO: (0, 8),
    Kind.VAR: (4, 0),
    Kind.DATASEC: (0, 12),
    Kind.DECL_TAG: (4, 0),
    Kind.ENUM64: (0, 12),
}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct (offset in bits), or a variable of a section (offset in bytes)."""

    name: str
    type_id: int
    offset: int
    size: int = 0  # of a section's variable, in bytes


@dataclass(frozen=True, slots=True)
class Type:
    """One type. `ref` is the id it points at, wraps, or is made of; `size` is in bytes."""

    kind: Kind
    name: str
    size: int
    ref: int
    count: int = 0  # elements of an array
    members: tuple[Member, ...] = ()


class Btf:
    """The types of one object, by id; id 0 is void."""

    def __init__(self, data: bytes) -> None:
        try:
            self._parse(data)
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise BtfError(f"BTF is cut short or broken: {error}") from error

    def _parse(self, data: bytes) -> None:
        magic, version, _flags, header_len = struct.unpack_from("<HBBI", data)
        if magic != _MAGIC or version != 1:
            raise BtfError("BTF has another magic number, version or byte order")
        type_off, type_len, str_off, str_len = struct.unpack_from("<IIII", data, 8)
        self._strings = data[header_len + str_off : header_len + str_off + str_len]
        types = data[header_len + type_off : header_len + type_off + type_len]
        if len(types) != type_len or len(self._strings) != str_len:
            raise BtfError("BTF is cut short")
        self.types: list[Type] = [Type(Kind.VOID, "void", 0, 0)]
        at = 0
        while at < type_len:
            if len(self.types) > _MAX_TYPES:
                raise BtfError(f"BTF has more than {_MAX_TYPES} types")
            at = self._parse_type(types, at)

    def _parse_type(self, data: bytes, at: int) -> int:
        name_off: int
        info: int
        size_or_type: int
        name_off, info, size_or_type = struct.unpack_from("<III", data, at)
        at += 12
        vlen, number, kind_flag = info & 0xFFFF, (info >> 24) & 0x1F, info >> 31
        try:
            kind = Kind(number)
        except ValueError:
            raise BtfError(f"BTF has a type of unknown kind {number}") from None
        size = size_or_type if kind in _SIZED else 0
        ref = 0 if kind in _SIZED else size_or_type
        count, members = 0, []
        if kind is Kind.ARRAY:
            ref, _index, count = struct.unpack_from("<III", data, at)
        elif kind in (Kind.STRUCT, Kind.UNION):
            for row in range(vlen):
                name, type_id, offset = struct.unpack_from("<III", data, at + 12 * row)
                bits = offset & 0xFFFFFF if kind_flag else offset
                members.append(Member(self._string(name), type_id, bits))
        elif kind is Kind.DATASEC:
            for row in range(vlen):
                type_id, offset, length = struct.unpack_from("<III", data, at + 12 * row)
                members.append(Member("", type_id, offset, length))
        fixed, each = _EXTRA.get(kind, (0, 0))
        self.types.append(Type(kind, self._string(name_off), size, ref, count, tuple(members)))
        return at + fixed + each * vlen

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if end < 0:
            raise BtfError("BTF names a string that is not there")
        return self._strings[offset:end].decode("utf-8")

    def __getitem__(self, type_id: int) -> Type:
        if not 0 <= type_id < len(self.types):
            raise BtfError(f"BTF names type {type_id}, which is not there")
        return self.types[type_id]

    def resolve(self, type_id: int) -> Type:
        """The type below typedefs and qualifiers."""
        for _ in range(_MAX_DEPTH):
            found = self[type_id]
            if found.kind not in _MODIFIERS:
                return found
            type_id = found.ref
        raise BtfError("BTF wraps a type too many times")

    def size_of(self, type_id: int, depth: int = 0) -> int:
        """Bytes of a value of the type."""
        if depth > _MAX_DEPTH:
            raise BtfError("BTF nests arrays too deeply")
        found = self.resolve(type_id)
        if found.kind is Kind.PTR:
            return 8
        if found.kind is Kind.ARRAY:
            return found.count * self.size_of(found.ref, depth + 1)
        return found.size

    def section(self, name: str) -> tuple[tuple[str, int, Member], ...]:
        """(variable name, its type's id, place) of each variable of a data section."""
        found = []
        for candidate in self.types:
            if candidate.kind is not Kind.DATASEC or candidate.name != name:
                continue
            for member in candidate.members:
                variable = self[member.type_id]
                found.append((variable.name, variable.ref, member))
        return tuple(found)

    def sections(self) -> tuple[str, ...]:
        """Names of all data sections, in order."""
        return tuple(t.name for t in self.types if t.kind is Kind.DATASEC)

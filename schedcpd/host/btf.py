# SPDX-License-Identifier: Apache-2.0
"""Reading BTF (kernel Documentation/bpf/btf.rst) through libbpf: structs, enums, constants."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_uint32, c_void_p
from dataclasses import dataclass
from typing import Any

from schedcpd.errors import InvalidArgumentError, UnsupportedError
from schedcpd.model import Tunable

INT, PTR, ARRAY, STRUCT, ENUM, TYPEDEF, VOLATILE, CONST = 1, 2, 3, 4, 6, 8, 9, 10
VAR, DATASEC, FLOAT, ENUM64 = 14, 15, 16, 19
_SIGNED, _BOOL = 1, 4  # BTF_INT_ENCODING
_HEADER = struct.Struct("=III")  # struct btf_type: name_off, info, size or type


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a struct; offset and size in bytes."""

    offset: int
    size: int
    is_pointer: bool


@dataclass(frozen=True, slots=True)
class Number:
    """The type and place of one numeric global."""

    name: str
    offset: int
    size: int
    kind: str  # "int", "bool" or "float"
    signed: bool = False

    @property
    def _format(self) -> str:
        if self.kind == "float":
            return {4: "=f", 8: "=d"}[self.size]
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[self.size]
        return "=" + (letter.lower() if self.signed else letter)

    def pack(self, value: Tunable) -> bytes:
        """The bytes of `value`. InvalidArgumentError when it is of another kind or does not fit."""
        wanted: dict[str, type | tuple[type, ...]] = {"bool": bool, "float": (int, float)}
        right = isinstance(value, wanted.get(self.kind, int))
        if not right or (self.kind != "bool" and isinstance(value, bool)):
            raise InvalidArgumentError(f"{self.name}: {value!r:.80} is not of type {self.kind}")
        try:
            return struct.pack(self._format, value)
        except (struct.error, OverflowError) as e:
            raise InvalidArgumentError(
                f"{self.name}: {value!r:.80} does not fit into {self.size} bytes"
            ) from e

    def unpack(self, section: bytes) -> Tunable:
        value: Tunable = struct.unpack_from(self._format, section, self.offset)[0]
        return bool(value) if self.kind == "bool" else value


class Btf:
    """The types of one object or of the kernel. Borrowed from an object, or `free` it."""

    def __init__(self, library: Any, pointer: int, *, owned: bool) -> None:
        for name, result, *arguments in (
            ("btf__type_by_id", c_void_p, c_void_p, c_uint32),
            ("btf__name_by_offset", c_char_p, c_void_p, c_uint32),
            ("btf__find_by_name_kind", c_int, c_void_p, c_char_p, c_uint32),
            ("btf__resolve_size", ctypes.c_int64, c_void_p, c_uint32),
            ("btf__free", None, c_void_p),
        ):
            function = getattr(library, str(name))
            function.restype, function.argtypes = result, arguments
        self._c, self._pointer, self._owned = library, pointer, owned

    @classmethod
    def of_object(cls, library: Any, bpf_object: int) -> Btf:
        """InvalidArgumentError when the object was compiled without -g."""
        pointer = library.bpf_object__btf(bpf_object)
        if not pointer:
            raise InvalidArgumentError("the BPF object has no BTF", hint="compile it with -g")
        return cls(library, pointer, owned=False)

    @classmethod
    def of_kernel(cls, library: Any) -> Btf:
        library.btf__load_vmlinux_btf.restype = c_void_p
        pointer = library.btf__load_vmlinux_btf()
        if not pointer:
            raise UnsupportedError(
                "this kernel has no BTF (/sys/kernel/btf/vmlinux)",
                hint="boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
            )
        return cls(library, pointer, owned=True)

    def free(self) -> None:
        if self._owned:
            self._owned = False
            self._c.btf__free(self._pointer)

    def members(self, name: str) -> dict[str, Member]:
        """The members of a struct by name; empty when there is no such struct."""
        found = self._find(name, STRUCT)
        if not found:
            return {}
        address, _, vlen, flag, _ = self._type(found)
        members = {}
        for name_off, type_id, offset in self._rows(address, vlen, "=III"):
            bits = offset & 0xFFFFFF if flag else offset
            size = self._c.btf__resolve_size(self._pointer, type_id)
            pointer = self._type(self._strip(type_id))[1] == PTR
            members[self._string(name_off)] = Member(bits // 8, int(size), pointer)
        return members

    def enum(self, name: str) -> dict[str, int]:
        """The values of an enum by name; empty when there is no such enum."""
        if found := self._find(name, ENUM64):
            address, _, vlen, _, _ = self._type(found)
            rows = self._rows(address, vlen, "=III")
            return {self._string(at): low | high << 32 for at, low, high in rows}
        if found := self._find(name, ENUM):
            address, _, vlen, _, _ = self._type(found)
            return {self._string(at): value for at, value in self._rows(address, vlen, "=Ii")}
        return {}

    def variables(self, section: str) -> dict[str, Number]:
        """The numeric globals of a section such as ".rodata"; others are left out."""
        found = self._find(section, DATASEC)
        if not found:
            return {}
        address, _, vlen, _, _ = self._type(found)
        numbers = {}
        for var_id, offset, size in self._rows(address, vlen, "=III"):
            _, _, _, _, (name_off, type_id) = self._type(var_id)
            name = self._string(name_off)
            at, kind, _, _, _ = self._type(self._strip(type_id))
            if kind == INT and size in (1, 2, 4, 8):
                encoding = struct.unpack("=I", ctypes.string_at(at + 12, 4))[0] >> 24 & 0xF
                kind_name = "bool" if encoding & _BOOL else "int"
                numbers[name] = Number(name, offset, size, kind_name, bool(encoding & _SIGNED))
            elif kind == FLOAT and size in (4, 8):
                numbers[name] = Number(name, offset, size, "float")
        return numbers

    def _find(self, name: str, kind: int) -> int:
        found: int = self._c.btf__find_by_name_kind(self._pointer, name.encode(), kind)
        return max(found, 0)

    def _type(self, type_id: int) -> tuple[int, int, int, bool, tuple[int, int]]:
        """Address, kind, vlen, kind_flag, (name offset, size or type) of a type."""
        address = self._c.btf__type_by_id(self._pointer, type_id)
        if not address:
            raise InvalidArgumentError(f"BTF has no type {type_id}")
        name_off, info, size_or_type = _HEADER.unpack(ctypes.string_at(address, _HEADER.size))
        kind, flag = info >> 24 & 0x1F, bool(info >> 31)
        return address, kind, info & 0xFFFF, flag, (name_off, size_or_type)

    def _strip(self, type_id: int) -> int:
        """Without const, volatile and typedef."""
        while type_id:
            _, kind, _, _, (_, inner) = self._type(type_id)
            if kind not in (TYPEDEF, VOLATILE, CONST):
                break
            type_id = inner
        return type_id

    def _rows(self, address: int, vlen: int, row: str) -> Iterator[tuple[int, ...]]:
        size = struct.calcsize(row)
        yield from struct.iter_unpack(row, ctypes.string_at(address + _HEADER.size, vlen * size))

    def _string(self, offset: int) -> str:
        return bytes(self._c.btf__name_by_offset(self._pointer, offset) or b"").decode()

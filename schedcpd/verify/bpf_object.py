# SPDX-License-Identifier: Apache-2.0
"""Takes a compiled BPF object apart: sections, maps, calls, licence, the struct_ops map.

Nothing is judged here; `checks/object.py` does. Objects are hostile input: everything wrong
with one is an `ObjectError` with a sentence.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schedcpd.verify.btf import Btf, BtfError, Kind, Type

MAX_OBJECT_BYTES = 4 << 20
STRUCT_OPS_SECTIONS = (".struct_ops", ".struct_ops.link")

_CALL = 0x85  # BPF_JMP | BPF_CALL
_CALL32 = 0x8D  # BPF_JMP | BPF_CALL | BPF_X: a call through a register
_LD_IMM64 = 0x18
_PSEUDO_CALL = 1
_PSEUDO_KFUNC_CALL = 2
_SHF_EXECINSTR = 0x4
_EM_BPF = "EM_BPF"


class ObjectError(Exception):
    """The bytes are not a BPF object that can be taken apart."""


@dataclass(frozen=True, slots=True)
class MapDef:
    """A map as declared in BTF; numbers that were not given are 0."""

    name: str
    fields: Mapping[str, int]  # type, max_entries, key_size, value_size, map_flags, pinning, …

    @property
    def bytes(self) -> int:
        """Memory for a full map, without the kernel's overhead."""
        each = self.fields.get("key_size", 0) + self.fields.get("value_size", 0)
        return self.fields.get("max_entries", 0) * max(each, 1)


@dataclass(frozen=True, slots=True)
class OpsDef:
    """One struct_ops map: its type and the scalar fields and ops that are set."""

    name: str
    type_name: str
    section: str
    scalars: Mapping[str, int]
    label: str  # the `name` member
    ops: frozenset[str]  # members that point to a program


@dataclass(frozen=True, slots=True)
class BpfObject:
    """What an object is made of."""

    sections: tuple[str, ...]
    executable: Mapping[str, int]  # section -> number of instructions
    licence: str
    maps: tuple[MapDef, ...]
    struct_ops: tuple[OpsDef, ...]
    helpers: Mapping[int, str]  # helper id -> first place it is called
    externs: tuple[str, ...]  # undefined symbols: kfuncs and kernel variables
    odd_calls: tuple[str, ...]  # calls that an object of clang does not have
    variables: Mapping[str, tuple[str, int]]  # name -> (section, bytes) of global data


def parse_object(data: bytes) -> BpfObject:
    """Takes apart the bytes of a `.bpf.o`. ObjectError says what is wrong with them."""
    from elftools.common.exceptions import ELFError

    if len(data) > MAX_OBJECT_BYTES:
        raise ObjectError(f"it has {len(data)} bytes; {MAX_OBJECT_BYTES} are the most allowed")
    try:
        return _Parser(data).parse()
    except BtfError as error:
        raise ObjectError(str(error)) from error
    except (ELFError, struct.error, AttributeError, TypeError, KeyError, IndexError) as error:
        # pyelftools gives any of these for a file cut short or edited
        raise ObjectError(f"it is not a well-formed ELF file: {error!r}") from error
    except (ValueError, OverflowError, MemoryError, RecursionError, AssertionError) as error:
        raise ObjectError(f"it is not a well-formed ELF file: {error!r}") from error


class _Parser:
    def __init__(self, data: bytes) -> None:
        from elftools.elf.elffile import ELFFile

        self._elf: Any = ELFFile(io.BytesIO(data))
        if self._elf.header["e_machine"] != _EM_BPF or self._elf.header["e_type"] != "ET_REL":
            raise ObjectError("it is not a relocatable object for the BPF machine")
        if self._elf.elfclass != 64 or not self._elf.little_endian:
            raise ObjectError("it is not a 64-bit little-endian object")
        self._sections = list(self._elf.iter_sections())
        self._symbols = self._read_symbols()
        btf = self._elf.get_section_by_name(".BTF")
        if btf is None:
            raise ObjectError("it has no BTF; compile with -g")
        self._btf = Btf(btf.data())

    def parse(self) -> BpfObject:
        executable = {
            s.name: len(s.data()) // 8
            for s in self._sections
            if s["sh_flags"] & _SHF_EXECINSTR and s["sh_size"]
        }
        helpers: dict[int, str] = {}
        odd: list[str] = []
        for section in executable:
            self._walk(section, helpers, odd)
        licence = self._elf.get_section_by_name("license")
        return BpfObject(
            sections=tuple(s.name for s in self._sections if s.name),
            executable=executable,
            licence=licence.data().split(b"\0")[0].decode("latin-1") if licence else "",
            maps=tuple(self._maps()),
            struct_ops=tuple(self._struct_ops()),
            helpers=helpers,
            externs=tuple(sorted({n for n, s, _ in self._symbols if s == "SHN_UNDEF" and n})),
            odd_calls=tuple(odd),
            variables=self._variables(),
        )

    def _read_symbols(self) -> list[tuple[str, object, int]]:
        table = self._elf.get_section_by_name(".symtab")
        if table is None:
            raise ObjectError("it has no symbol table")
        return [(s.name, s["st_shndx"], s["st_value"]) for s in table.iter_symbols()]

    def _relocations(self, section: str) -> dict[int, str]:
        """Offset -> symbol's name ("" for a section's symbol)."""
        table = self._elf.get_section_by_name(f".rel{section}")
        if table is None:
            return {}
        return {r["r_offset"]: self._symbols[r["r_info_sym"]][0] for r in table.iter_relocations()}

    def _walk(self, section: str, helpers: dict[int, str], odd: list[str]) -> None:
        code = self._elf.get_section_by_name(section).data()
        if len(code) % 8:
            raise ObjectError(f"section {section} is not whole instructions")
        at = 0
        while at < len(code):
            opcode, registers, _offset, immediate = struct.unpack_from("<BBhi", code, at)
            where = f"{section}+{at // 8}"
            source = registers >> 4
            if opcode == _CALL and source == 0:
                helpers.setdefault(immediate, where)
            elif opcode == _CALL and source == _PSEUDO_KFUNC_CALL:
                odd.append(f"{where}: kernel function by number")
            elif opcode == _CALL and source != _PSEUDO_CALL:
                odd.append(f"{where}: call of kind {source}")
            elif opcode == _CALL32:
                odd.append(f"{where}: call through a register")
            elif opcode == _LD_IMM64 and code[at + 8 : at + 12] != b"\0\0\0\0":
                odd.append(f"{where}: an instruction hidden in a constant")
            at += 16 if opcode == _LD_IMM64 else 8

    def _maps(self) -> list[MapDef]:
        found = []
        for name, type_id, _ in self._btf.section(".maps"):
            fields: dict[str, int] = {}
            for member in self._btf.resolve(type_id).members:
                value = self._map_field(member.name, member.type_id)
                fields[{"key": "key_size", "value": "value_size"}.get(member.name, member.name)] = (
                    value
                )
            found.append(MapDef(name, fields))
        return found

    def _map_field(self, name: str, type_id: int) -> int:
        """`__uint(a, N)` is a pointer to an array of N; `__type(a, T)` a pointer to T."""
        pointer = self._btf.resolve(type_id)
        if pointer.kind is not Kind.PTR:
            return 1  # `__array(values, …)`
        if name in ("key", "value"):
            return self._btf.size_of(pointer.ref)
        target = self._btf.resolve(pointer.ref)
        return target.count if target.kind is Kind.ARRAY else 0

    def _struct_ops(self) -> list[OpsDef]:
        found = []
        for section in STRUCT_OPS_SECTIONS:
            holder = self._elf.get_section_by_name(section)
            if holder is None:
                continue
            data, relocations = holder.data(), self._relocations(section)
            for name, type_id, place in self._btf.section(section):
                kind = self._btf.resolve(type_id)
                start = next(v for n, _, v in self._symbols if n == name)
                image = data[start : start + kind.size]
                if len(image) != kind.size or kind.size < place.size:
                    raise ObjectError(f"struct_ops map {name} is cut short")
                found.append(self._ops(name, kind, section, image, start, relocations))
        return found

    def _ops(
        self,
        name: str,
        kind: Type,
        section: str,
        image: bytes,
        start: int,
        relocations: Mapping[int, str],
    ) -> OpsDef:
        scalars: dict[str, int] = {}
        label, ops = "", set()
        for member in kind.members:
            at, found = member.offset // 8, self._btf.resolve(member.type_id)
            if start + at in relocations:
                ops.add(member.name)
            elif found.kind is Kind.ARRAY and member.name == "name":
                label = image[at : at + found.count].split(b"\0")[0].decode("latin-1")
            elif found.kind in (Kind.INT, Kind.ENUM, Kind.ENUM64) and found.size <= 8:
                scalars[member.name] = int.from_bytes(image[at : at + found.size], "little")
        return OpsDef(name, kind.name, section, scalars, label, frozenset(ops))

    def _variables(self) -> dict[str, tuple[str, int]]:
        return {
            name: (section, self._btf.size_of(type_id))
            for section in self._btf.sections()
            if section.startswith((".rodata", ".data", ".bss"))
            for name, type_id, _ in self._btf.section(section)
        }

# SPDX-License-Identifier: Apache-2.0
"""libbpf.so.1 by ctypes: open an object, fit it to this kernel, load, attach, use its maps.

Only what a struct_ops scheduler needs (libbpf's docs: https://libbpf.readthedocs.io). Needs
libbpf 1.5, which lets user space change the members of a struct_ops before it is loaded.
Nothing here is safe for two threads on one object.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_long, c_size_t, c_uint32, c_void_p
from typing import Any

from schedcpd.errors import InvalidArgumentError, SchedulerHostError, UnsupportedError
from schedcpd.host.btf import Btf, Number
from schedcpd.model import Tunable

MAP_STRUCT_OPS = 26  # enum bpf_map_type, linux/bpf.h
MAP_PERCPU = frozenset({5, 6})  # BPF_MAP_TYPE_PERCPU_HASH, _ARRAY
BPF_ANY, BPF_NOEXIST = 0, 1
CONSTANTS, LIVE = ".rodata", ".data"  # where globals stand: `const volatile`, and variables
_LOG_BYTES = 256 << 10
_LOG_TAIL = 8000  # characters of the verifier's log that an error carries

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


class _OpenOpts(ctypes.Structure):
    """struct bpf_object_open_opts of libbpf 1.5."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("unused", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
        ("bpf_token_path", c_char_p),
    )


class _Library:
    """The loaded library, and the last lines it printed."""

    def __init__(self) -> None:
        try:
            self.c: Any = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as e:
            raise UnsupportedError(
                f"libbpf.so.1 cannot be loaded: {e}", hint="install libbpf1"
            ) from e
        version = (self.c.libbpf_major_version(), self.c.libbpf_minor_version())
        if version < (1, 5):
            raise UnsupportedError(
                f"libbpf {version[0]}.{version[1]} is too old", hint="libbpf 1.5 or later is needed"
            )
        for name, result, *arguments in (
            ("bpf_object__open_mem", c_void_p, c_char_p, c_size_t, c_void_p),
            ("bpf_object__load", c_int, c_void_p),
            ("bpf_object__close", None, c_void_p),
            ("bpf_object__btf", c_void_p, c_void_p),
            ("bpf_object__next_map", c_void_p, c_void_p, c_void_p),
            ("bpf_object__find_map_by_name", c_void_p, c_void_p, c_char_p),
            ("bpf_object__next_program", c_void_p, c_void_p, c_void_p),
            ("bpf_program__name", c_char_p, c_void_p),
            ("bpf_program__set_autoload", c_int, c_void_p, c_bool),
            ("bpf_program__set_log_buf", c_int, c_void_p, c_char_p, c_size_t),
            ("bpf_program__set_log_level", c_int, c_void_p, c_uint32),
            ("bpf_map__type", c_int, c_void_p),
            ("bpf_map__name", c_char_p, c_void_p),
            ("bpf_map__fd", c_int, c_void_p),
            ("bpf_map__key_size", c_uint32, c_void_p),
            ("bpf_map__value_size", c_uint32, c_void_p),
            ("bpf_map__initial_value", c_void_p, c_void_p, POINTER(c_size_t)),
            ("bpf_map__attach_struct_ops", c_void_p, c_void_p),
            ("bpf_link__destroy", c_int, c_void_p),
            ("bpf_link__fd", c_int, c_void_p),
            ("bpf_map_lookup_elem", c_int, c_int, c_char_p, c_void_p),
            ("bpf_map_update_elem", c_int, c_int, c_char_p, c_char_p, ctypes.c_uint64),
            ("bpf_map_delete_elem", c_int, c_int, c_char_p),
            ("bpf_map_get_next_key", c_int, c_int, c_char_p, c_char_p),
            ("libbpf_num_possible_cpus", c_int),
            ("libbpf_get_error", c_long, c_void_p),
        ):
            function = getattr(self.c, str(name))
            function.restype, function.argtypes = result, arguments
        self.lines: deque[str] = deque(maxlen=60)
        self._vsnprintf: Any = ctypes.CDLL(None).vsnprintf
        self._print = _PRINT(self._keep)  # referenced for as long as libbpf may call it
        self.c.libbpf_set_print(self._print)

    def _keep(self, level: int, text: bytes, arguments: int) -> int:
        if level <= 1:  # LIBBPF_WARN, LIBBPF_INFO; the rest is for libbpf's developers
            buffer = ctypes.create_string_buffer(2048)
            self._vsnprintf(buffer, c_size_t(2048), c_char_p(text), c_void_p(arguments))
            self.lines.append(buffer.value.decode("utf-8", "replace").strip())
        return 0


@functools.cache
def library() -> _Library:
    """The library, loaded on first use. UnsupportedError when it is absent or too old."""
    return _Library()


@functools.cache
def possible_cpus() -> int:
    """How many CPUs a per-CPU map has values for."""
    n: int = library().c.libbpf_num_possible_cpus()
    if n <= 0:
        raise SchedulerHostError(f"libbpf cannot count the CPUs: {os.strerror(-n)}")
    return n


def _fault(what: str, code: int | None = None) -> SchedulerHostError:
    number = abs(code) if code else ctypes.get_errno()
    said = "; ".join(line for line in library().lines if line)[-1500:]
    why = os.strerror(number) if number < 4000 else f"libbpf error {number}"  # libbpf's own
    return SchedulerHostError(f"{what}: {why}" + (f" ({said})" if said else ""))


class BpfMap:
    """One loaded map. Keys and values are bytes in the machine's byte order."""

    def __init__(self, pointer: int) -> None:
        c = library().c
        self.name = bytes(c.bpf_map__name(pointer)).decode()
        self.type: int = c.bpf_map__type(pointer)
        self.fd: int = c.bpf_map__fd(pointer)
        self.key_size: int = c.bpf_map__key_size(pointer)
        self.value_size: int = c.bpf_map__value_size(pointer)
        self._stride = (self.value_size + 7) & ~7

    def _checked_key(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise InvalidArgumentError(
                f"map {self.name}: key of {len(key)} bytes, {self.key_size} are needed"
            )
        return key

    def lookup(self, key: bytes) -> bytes | None:
        """The value, None without one; for a per-CPU map all CPUs' values one after another."""
        size = self._stride * possible_cpus() if self.type in MAP_PERCPU else self.value_size
        buffer = ctypes.create_string_buffer(size)
        failed = library().c.bpf_map_lookup_elem(self.fd, self._checked_key(key), buffer)
        if failed and ctypes.get_errno() == errno.ENOENT:
            return None
        if failed:
            raise _fault(f"map {self.name}: lookup")
        return buffer.raw

    def lookup_percpu(self, key: bytes) -> list[bytes] | None:
        """The value of each possible CPU, None without an entry."""
        raw = self.lookup(key)
        if raw is None:
            return None
        return [raw[at : at + self.value_size] for at in range(0, len(raw), self._stride)]

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> bool:
        """Writes one value (for a per-CPU map the same on every CPU). False: BPF_NOEXIST, exists.

        SchedulerHostError when the map is full, among others.
        """
        if len(value) != self.value_size:
            raise InvalidArgumentError(
                f"map {self.name}: value of {len(value)} bytes, {self.value_size} are needed"
            )
        if self.type in MAP_PERCPU:
            value = value.ljust(self._stride, b"\0") * possible_cpus()
        if not library().c.bpf_map_update_elem(self.fd, self._checked_key(key), value, flags):
            return True
        if flags == BPF_NOEXIST and ctypes.get_errno() == errno.EEXIST:
            return False
        if ctypes.get_errno() == errno.E2BIG:
            raise SchedulerHostError(
                f"map {self.name} is full", hint="give intents to fewer cgroups, or higher up"
            )
        raise _fault(f"map {self.name}: update")

    def delete(self, key: bytes) -> bool:
        """False when there was no entry."""
        if not library().c.bpf_map_delete_elem(self.fd, self._checked_key(key)):
            return True
        if ctypes.get_errno() == errno.ENOENT:
            return False
        raise _fault(f"map {self.name}: delete")

    def keys(self) -> Iterator[bytes]:
        """Every key; those written meanwhile may be missing."""
        key: bytes | None = None
        while True:
            following = ctypes.create_string_buffer(self.key_size)
            if library().c.bpf_map_get_next_key(self.fd, key, following):
                if ctypes.get_errno() == errno.ENOENT:
                    return
                raise _fault(f"map {self.name}: next key")
            key = following.raw
            yield key


class BpfLink:
    """An attached struct_ops. Closing it, or the end of the process, detaches it."""

    def __init__(self, pointer: int) -> None:
        self._pointer: int | None = pointer
        self.fd: int = library().c.bpf_link__fd(pointer)

    def close(self) -> None:
        if self._pointer is not None:
            pointer, self._pointer = self._pointer, None
            library().c.bpf_link__destroy(pointer)


class BpfObject:
    """One object file: open -> set_globals, fit_ops -> load -> attach -> close."""

    def __init__(self, data: bytes, name: str) -> None:
        """Parses the ELF in `data`, which is what gets loaded: no file is read again."""
        self._log = ctypes.create_string_buffer(_LOG_BYTES)
        options = _OpenOpts(
            sz=ctypes.sizeof(_OpenOpts),
            object_name=name.encode(),
            kernel_log_buf=ctypes.addressof(self._log),
            kernel_log_size=_LOG_BYTES,
        )
        self._data = data
        library().lines.clear()
        self._pointer = library().c.bpf_object__open_mem(data, len(data), byref(options))
        if not self._pointer:
            raise _fault(f"{name}: not a BPF object that libbpf can open")
        self._name = name
        self.btf = Btf.of_object(library().c, self._pointer)

    def __enter__(self) -> BpfObject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _map_pointers(self) -> Iterator[int]:
        pointer = None
        while pointer := library().c.bpf_object__next_map(self._pointer, pointer):
            yield pointer

    # ------------------------------------------------------------ before load

    def _initial(self, pointer: int) -> tuple[int, int]:
        size = c_size_t()
        address = library().c.bpf_map__initial_value(pointer, byref(size))
        if not address:
            raise _fault(f"{self._name}: a map without an initial value")
        return int(address), size.value

    def globals(self, section: str = CONSTANTS) -> dict[str, Tunable]:
        """The numbers of a section by name, with the values they have now."""
        pointer = library().c.bpf_object__find_map_by_name(self._pointer, section.encode())
        if not pointer:
            return {}
        raw = ctypes.string_at(*self._initial(pointer))
        return {name: var.unpack(raw) for name, var in self.btf.variables(section).items()}

    def set_globals(
        self, values: Mapping[str, Tunable], sections: Sequence[str] = (CONSTANTS, LIVE)
    ) -> None:
        """Sets globals by name; InvalidArgumentError names a wrong one and nothing is set.

        Before `load` both `const volatile` ones (CONSTANTS) and variables (LIVE). After it only
        LIVE ones: libbpf maps their section (`bpf_map__initial_value`), so the running programs
        see each aligned number change at once, whole.
        """
        places: dict[str, tuple[Number, int]] = {}
        for section in sections:
            pointer = library().c.bpf_object__find_map_by_name(self._pointer, section.encode())
            if pointer:
                address, _ = self._initial(pointer)
                variables = self.btf.variables(section)
                places |= {name: (var, address) for name, var in variables.items()}
        for name in values:
            if name not in places:
                raise InvalidArgumentError(f"{self._name}: has no global {name!r:.80}")
        for name, value in values.items():
            variable, address = places[name]
            packed = variable.pack(value)
            ctypes.memmove(address + variable.offset, packed, len(packed))

    def _struct_ops(self) -> int:
        found = [p for p in self._map_pointers() if library().c.bpf_map__type(p) == MAP_STRUCT_OPS]
        if len(found) != 1:
            raise InvalidArgumentError(
                f"{self._name}: has {len(found)} struct_ops, exactly one is needed"
            )
        return found[0]

    def _ops_member(self, name: str) -> tuple[int, int]:
        """Address and size of one member of the sched_ext_ops that will be loaded."""
        member = self.btf.members("sched_ext_ops").get(name)
        if member is None:
            raise InvalidArgumentError(f"{self._name}: its sched_ext_ops has no {name}")
        address, _ = self._initial(self._struct_ops())
        return address + member.offset, member.size

    def ops_name(self) -> str:
        """What /sys/kernel/sched_ext/root/ops will show."""
        address, size = self._ops_member("name")
        return ctypes.string_at(address, size).split(b"\0")[0].decode("ascii", "replace")

    def fit_ops(self, flags: int, kernel: Btf) -> tuple[str, ...]:
        """Drops ops this kernel does not know, adds `flags` to ops.flags; returns the dropped."""
        known = kernel.members("sched_ext_ops")
        address, _ = self._initial(self._struct_ops())
        dropped = []
        for name, member in self.btf.members("sched_ext_ops").items():
            slot = ctypes.c_uint64.from_address(address + member.offset)
            if name in known or not member.is_pointer or not slot.value:
                continue
            library().c.bpf_program__set_autoload(slot.value, False)
            slot.value = 0
            dropped.append(name)
        at, _ = self._ops_member("flags")
        ctypes.c_uint64.from_address(at).value |= flags
        return tuple(dropped)

    # ------------------------------------------------------------ load and after

    def load(self) -> None:
        """To the kernel: CO-RE relocation, verification. SchedulerHostError has the log's end."""
        library().lines.clear()
        result = library().c.bpf_object__load(self._pointer)
        if result:
            error = _fault(f"the kernel refused {self._name}", result)
            log = self._log.value.decode("utf-8", "replace").strip()
            if log:
                error.message += f"\nverifier log:\n{log[-_LOG_TAIL:]}"
            raise error

    def programs(self) -> dict[str, int]:
        """Every program by name; the values are libbpf's pointers."""
        found, pointer = {}, None
        while pointer := library().c.bpf_object__next_program(self._pointer, pointer):
            found[bytes(library().c.bpf_program__name(pointer)).decode()] = pointer
        return found

    def attach(self) -> BpfLink:
        """Registers the struct_ops. That alone proves nothing: read the kernel's state."""
        library().lines.clear()
        pointer = library().c.bpf_map__attach_struct_ops(self._struct_ops())
        if not pointer:
            raise _fault(f"{self._name}: attach")
        return BpfLink(pointer)

    def map(self, name: str) -> BpfMap | None:
        pointer = library().c.bpf_object__find_map_by_name(self._pointer, name.encode())
        return BpfMap(pointer) if pointer else None

    def close(self) -> None:
        """Frees everything; a link stays attached until it is closed itself."""
        if self._pointer:
            pointer, self._pointer = self._pointer, None
            library().c.bpf_object__close(pointer)


@contextlib.contextmanager
def kernel_btf() -> Iterator[Btf]:
    """The running kernel's BTF, some megabytes, freed at the end. UnsupportedError without one."""
    btf = Btf.of_kernel(library().c)
    try:
        yield btf
    finally:
        btf.free()


def pack_u32(value: int) -> bytes:
    return struct.pack("=I", value)


def pack_u64(value: int) -> bytes:
    return struct.pack("=Q", value)

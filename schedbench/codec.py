# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to JSON values and back, by their annotations. Nothing is guessed.

Reading refuses unknown and missing fields, values of another type, and numbers that are not finite,
each by the dotted name of the field. A field with a default may be absent.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar, cast

from schedbench.errors import RecordError

T = TypeVar("T")


def to_json(value: object) -> Any:
    """A JSON value (dict, list, str, int, float, bool, None). Raises RecordError for others."""
    match value:
        case StrEnum():
            return value.value
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise RecordError(f"the number {value} cannot be recorded")
            return value
        case Mapping():
            return {_key(key): to_json(item) for key, item in value.items()}
        case frozenset():
            return sorted(to_json(item) for item in value)
        case tuple() | list():
            return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    raise RecordError(f"a {type(value).__name__} cannot be recorded")


def _key(key: object) -> str:
    if isinstance(key, StrEnum):
        return key.value
    if isinstance(key, str):
        return key
    raise RecordError(f"the key {key!r} cannot be recorded: it is not text")


def from_json(kind: type[T], value: object, where: str = "") -> T:
    """A `kind` from a JSON value. `where` is the dotted name to begin errors with."""
    return cast(T, _read(kind, value, where))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, value: object, where: str) -> object:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (only,) = (each for each in arguments if each is not type(None))
        return _read(only, value, where)
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin is frozenset:
        return frozenset(_read(arguments[0], item, where) for item in _list(value, where))
    if origin is not None and issubclass(origin, Mapping):
        return {
            cast(str, _read(arguments[0], key, where)): _read(arguments[1], item, _join(where, key))
            for key, item in _dict(value, where).items()
        }
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(cast(type, kind), value, where)
    return _read_plain(kind, value, where)


def _read_tuple(arguments: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    items = _list(value, where)
    if arguments[-1] is Ellipsis:
        return tuple(_read(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(items))
    if len(items) != len(arguments):
        raise RecordError(f"{where}: has {len(items)} entries instead of {len(arguments)}")
    return tuple(
        _read(each, item, f"{where}[{n}]")
        for n, (each, item) in enumerate(zip(arguments, items, strict=True))
    )


def _read_dataclass(kind: type, value: object, where: str) -> object:
    entries = _dict(value, where)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in entries:
        if name not in fields:
            raise RecordError(
                f"{_join(where, name)}: unknown field",
                hint="it was written by another version of schedbench",
            )
    given: dict[str, object] = {}
    for name, field in fields.items():
        if name in entries:
            given[name] = _read(_hints(kind)[name], entries[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"{_join(where, name)}: is missing")
    return kind(**given)


def _read_plain(kind: Any, value: object, where: str) -> object:
    if kind is object or kind is Any:
        return value
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(cast(str, value))
        except ValueError:
            allowed = ", ".join(kind)
            raise RecordError(f"{where}: {value!r} is not one of: {allowed}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise RecordError(f"{where}: is a {type(value).__name__} instead of a {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"{where}: {value} is not a finite number")
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _dict(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecordError(f"{where or 'the record'}: is a {type(value).__name__}, not an object")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RecordError(f"{where}: is a {type(value).__name__}, not a list")
    return value

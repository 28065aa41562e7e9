# SPDX-License-Identifier: Apache-2.0
"""How an interface is declared, and the introspection data made from the declaration.

One declaration serves calls, properties, introspection and the test that compares it with the
XML shipped in `dbus/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from dbus_next import SignatureTree, Variant

READ = ""
"""The action of a method that changes nothing: nobody is asked."""


@dataclass(frozen=True, slots=True)
class Call:
    """One method call that was let through. `actor` is how history names the caller."""

    sender: str
    actor: str
    path: str
    args: Sequence[Any]


Handler = Callable[[Call], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Arg:
    name: str
    signature: str


def args(spec: str) -> tuple[Arg, ...]:
    """`"s target, s intent"` as Args, in order."""
    pairs = (part.split() for part in spec.split(",") if part.strip())
    return tuple(Arg(name, signature) for signature, name in pairs)


@dataclass(frozen=True, slots=True)
class Method:
    """`action` is the polkit action a caller needs, or READ; `costly` reads are rationed."""

    name: str
    inputs: tuple[Arg, ...]
    outputs: tuple[Arg, ...]
    handler: Handler
    action: str = READ
    costly: bool = False

    @property
    def in_signature(self) -> str:
        return "".join(arg.signature for arg in self.inputs)

    @property
    def out_signature(self) -> str:
        return "".join(arg.signature for arg in self.outputs)


@dataclass(frozen=True, slots=True)
class Signal:
    name: str
    outputs: tuple[Arg, ...]

    @property
    def signature(self) -> str:
        return "".join(arg.signature for arg in self.outputs)


@dataclass(frozen=True, slots=True)
class Interface:
    """`values(path)` gives every property of the object at `path`; NotFoundError: it has gone.

    `properties` maps a name to its signature. All are read-only; those in `constant` never
    change while the object lives, every other one emits PropertiesChanged.
    """

    name: str
    methods: tuple[Method, ...] = ()
    signals: tuple[Signal, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()
    values: Callable[[str], Mapping[str, Any]] = lambda _path: {}

    def method(self, name: str) -> Method | None:
        return next((method for method in self.methods if method.name == name), None)

    def signal(self, name: str) -> Signal:
        """KeyError when the interface declares no such signal."""
        for signal in self.signals:
            if signal.name == name:
                return signal
        raise KeyError(f"{self.name} declares no signal {name}")

    def variants(self, values: Mapping[str, Any]) -> dict[str, Variant]:
        """Values of properties as D-Bus variants of the declared types, made safe for the wire."""
        return {name: variant(self.properties[name], value) for name, value in values.items()}


_trees: dict[str, SignatureTree] = {}


def variant(signature: str, value: Any) -> Variant:
    """A variant; text in it is replaced by what the bus can carry."""
    tree = _trees.get(signature)
    if tree is None:
        tree = _trees[signature] = SignatureTree._get(signature)
    return Variant(tree, wire(value))


def wire(value: Any) -> Any:
    """The value with text that D-Bus accepts: valid UTF-8 without NUL.

    Names of processes and cgroups are bytes that users choose; one stray NUL would make
    the bus close our connection.
    """
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return str(value)
        text = value.encode("utf-8", "replace").decode("utf-8", "replace")
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, tuple | list):
        return [wire(item) for item in value]
    if isinstance(value, dict):
        return {wire(key): wire(item) for key, item in value.items()}
    return value


def describe(interface: Interface) -> ET.Element:
    """The `<interface>` element of the D-Bus introspection format."""
    top = ET.Element("interface", name=interface.name)
    for method in interface.methods:
        node = ET.SubElement(top, "method", name=method.name)
        for arg in method.inputs:
            ET.SubElement(node, "arg", name=arg.name, type=arg.signature, direction="in")
        for arg in method.outputs:
            ET.SubElement(node, "arg", name=arg.name, type=arg.signature, direction="out")
    for name, signature in interface.properties.items():
        node = ET.SubElement(top, "property", name=name, type=signature, access="read")
        if name in interface.constant:
            ET.SubElement(
                node,
                "annotation",
                name="org.freedesktop.DBus.Property.EmitsChangedSignal",
                value="const",
            )
    for signal in interface.signals:
        node = ET.SubElement(top, "signal", name=signal.name)
        for arg in signal.outputs:
            ET.SubElement(node, "arg", name=arg.name, type=arg.signature)
    return top

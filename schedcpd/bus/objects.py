# SPDX-License-Identifier: Apache-2.0
"""Which objects exist, and the four standard interfaces that every object has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from xml.etree import ElementTree as ET

from dbus_next import Variant

from schedcpd.bus.interface import Interface, describe

INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

_DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)

_STANDARD = f"""<node>
<interface name="{INTROSPECTABLE}">
 <method name="Introspect"><arg name="xml_data" type="s" direction="out"/></method>
</interface>
<interface name="{PEER}">
 <method name="GetMachineId"><arg name="machine_uuid" type="s" direction="out"/></method>
 <method name="Ping"/>
</interface>
<interface name="{PROPERTIES}">
 <method name="Get"><arg name="interface_name" type="s" direction="in"/>
  <arg name="property_name" type="s" direction="in"/>
  <arg name="value" type="v" direction="out"/></method>
 <method name="GetAll"><arg name="interface_name" type="s" direction="in"/>
  <arg name="properties" type="a{{sv}}" direction="out"/></method>
 <method name="Set"><arg name="interface_name" type="s" direction="in"/>
  <arg name="property_name" type="s" direction="in"/>
  <arg name="value" type="v" direction="in"/></method>
 <signal name="PropertiesChanged"><arg name="interface_name" type="s"/>
  <arg name="changed_properties" type="a{{sv}}"/>
  <arg name="invalidated_properties" type="as"/></signal>
</interface>
</node>"""

_MANAGER = f"""<node>
<interface name="{OBJECT_MANAGER}">
 <method name="GetManagedObjects">
  <arg name="object_paths_interfaces_and_properties" type="a{{oa{{sa{{sv}}}}}}" direction="out"/>
 </method>
 <signal name="InterfacesAdded"><arg name="object_path" type="o"/>
  <arg name="interfaces_and_properties" type="a{{sa{{sv}}}}"/></signal>
 <signal name="InterfacesRemoved"><arg name="object_path" type="o"/>
  <arg name="interfaces" type="as"/></signal>
</interface>
</node>"""


class Children(Protocol):
    """Objects that come and go below one object manager."""

    interface: Interface

    def paths(self) -> Iterable[str]: ...

    def __contains__(self, path: object) -> bool: ...


class ObjectTree:
    """Fixed objects with their interfaces, some of them managing `Children`."""

    def __init__(
        self, fixed: Mapping[str, tuple[Interface, ...]], managed: Mapping[str, Children]
    ) -> None:
        self._fixed = fixed
        self._managed = managed

    def interfaces(self, path: str) -> tuple[Interface, ...]:
        """Empty when there is no such object."""
        if path in self._fixed:
            return self._fixed[path]
        for children in self._managed.values():
            if path in children:
                return (children.interface,)
        return ()

    def is_manager(self, path: str) -> bool:
        return path in self._managed

    def managed(self, path: str) -> dict[str, dict[str, dict[str, Variant]]]:
        """The reply of GetManagedObjects at `path`."""
        children = self._managed[path]
        interface = children.interface
        return {
            child: {interface.name: interface.variants(interface.values(child))}
            for child in children.paths()
        }

    def introspect(self, path: str) -> str:
        """Introspection XML of any path; one without objects below it is an empty node."""
        node = ET.Element("node")
        interfaces = self.interfaces(path)
        if interfaces:
            node.extend(ET.fromstring(_STANDARD))
        if self.is_manager(path):
            node.extend(ET.fromstring(_MANAGER))
        node.extend(describe(interface) for interface in interfaces)
        for name in sorted(self._names_below(path)):
            ET.SubElement(node, "node", name=name)
        ET.indent(node)
        return _DOCTYPE + ET.tostring(node, encoding="unicode") + "\n"

    def _names_below(self, path: str) -> set[str]:
        prefix = "/" if path == "/" else path + "/"
        names = {known[len(prefix) :] for known in self._fixed if known.startswith(prefix)}
        for children in self._managed.values():
            names |= {
                child[len(prefix) :] for child in children.paths() if child.startswith(prefix)
            }
        return {name.split("/")[0] for name in names}


def describes_same(left: ET.Element, right: ET.Element) -> bool:
    """Whether two `<interface>` elements declare the same; comments and order do not count."""
    return bool(_shape(left) == _shape(right))


def _shape(element: ET.Element) -> Any:
    ordered = element.tag in ("method", "signal")
    children = [_shape(child) for child in element if isinstance(child.tag, str)]
    return (
        element.tag,
        tuple(sorted(element.attrib.items())),
        tuple(children if ordered else sorted(children)),
    )

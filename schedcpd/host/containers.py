# SPDX-License-Identifier: Apache-2.0
"""Names, images and labels of containers, out of the files their engines keep for themselves.

The engines are not asked: whoever may speak to their sockets is root. Only what root's engines keep
is seen, and only these files (their contents are not promised by anybody, so what cannot be read is
simply not known):

- Docker: /var/lib/docker/containers/ID/config.v2.json
- containerd for Kubernetes: the OCI bundle,
  /run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json
- CRI-O and Podman: the OCI bundle, userdata/config.json of
  containers/storage/overlay-containers/ID in /run or /var/lib; Podman's names and images in
  containers.json and volatile-containers.json beside ID. Podman keeps labels in a database that is
  not read; annotations are in the bundle.

Environments and command lines in these files may hold secrets: they are never kept, and labels are
kept for rules alone.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_ID = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 1 << 20
_MAX_LABELS = 64
_MAX_CHARS = 256
_REMEMBERED = 256
_DOCKER = "var/lib/docker/containers/{}/config.v2.json"
_BUNDLES = (
    "run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json",
    "run/containers/storage/overlay-containers/{}/userdata/config.json",
    "var/lib/containers/storage/overlay-containers/{}/userdata/config.json",
)
_PODMAN = tuple(
    f"{top}/containers/storage/overlay-containers/{kind}containers.json"
    for top in ("var/lib", "run")
    for kind in ("", "volatile-")
)
# What Kubernetes' runtimes call namespace, pod, container and image in annotations.
_KUBERNETES = (
    (
        *("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name"),
        *("io.kubernetes.cri.container-name", "io.kubernetes.cri.image-name"),
    ),
    (
        *("io.kubernetes.pod.namespace", "io.kubernetes.pod.name"),
        *("io.kubernetes.container.name", "io.kubernetes.cri-o.ImageName"),
    ),
)


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """All chosen by users. `labels`: "key=value", annotations included. "" for what is not known.

    `name` of a Kubernetes container is "namespace/pod/container".
    """

    name: str = ""
    image: str = ""
    labels: tuple[str, ...] = ()


class Containers(Protocol):
    def read(self, identifier: str) -> ContainerFacts | None:
        """What is known of the container with that id of 64 hex digits; None: nothing."""


class ContainerFiles:
    """The files below `root`; what was found is remembered."""

    def __init__(self, root: Path | str = "/") -> None:
        self._root = str(root).rstrip("/")
        self._known: OrderedDict[str, ContainerFacts] = OrderedDict()

    def read(self, identifier: str) -> ContainerFacts | None:
        if not _ID.fullmatch(identifier):
            return None
        found = self._known.get(identifier) or self._look(identifier)
        if found is not None:
            self._known[identifier] = found
            self._known.move_to_end(identifier)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _look(self, identifier: str) -> ContainerFacts | None:
        docker = _map(self._json(_DOCKER.format(identifier)))
        if docker:
            config = _map(docker.get("Config"))
            labels = tuple(_labels(_map(config.get("Labels"))))
            return ContainerFacts(
                _text(docker.get("Name")).lstrip("/"), _text(config.get("Image")), labels
            )
        for place in _BUNDLES:
            bundle = _map(self._json(place.format(identifier)))
            if bundle:
                return self._of_bundle(identifier, _map(bundle.get("annotations")))
        return None

    def _of_bundle(self, identifier: str, annotations: Mapping[str, Any]) -> ContainerFacts:
        labels = tuple(_labels(annotations))
        for *names, image_key in _KUBERNETES:
            found = [_text(annotations.get(name)) for name in names]
            if found[-1]:
                return ContainerFacts("/".join(found), _text(annotations.get(image_key)), labels)
        for place in _PODMAN:
            entries = self._json(place)
            for entry in map(_map, entries if isinstance(entries, list) else ()):
                if entry.get("id") == identifier:
                    metadata = _map(_parsed(_text(entry.get("metadata"), _MAX_BYTES)))
                    name, image = metadata.get("name"), metadata.get("image-name")
                    return ContainerFacts(_text(name), _text(image), labels)
        return ContainerFacts(labels=labels)

    def _json(self, place: str) -> object:
        """The document there; None when it is not there, too large or no JSON."""
        try:
            fd = os.open(f"{self._root}/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
                return None
            return _parsed(os.read(fd, _MAX_BYTES))
        except OSError:
            return None
        finally:
            os.close(fd)


def _parsed(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, most: int = _MAX_CHARS) -> str:
    """Printable text of bounded length, "" for anything else."""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        return ""
    return value


def _labels(values: Mapping[str, Any]) -> Iterator[str]:
    pairs = (f"{key}={value}" for key, value in values.items() if isinstance(value, str))
    kept = (pair for pair in pairs if _text(pair))
    for _, pair in zip(range(_MAX_LABELS), kept, strict=False):
        yield pair

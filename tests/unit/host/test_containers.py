# SPDX-License-Identifier: Apache-2.0
"""Containers out of their engines' files, as these lay them out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.host.containers import ContainerFacts, ContainerFiles

ID = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869"
OVERLAY = "containers/storage/overlay-containers"
CONTAINERD = f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"
DOCKER = f"var/lib/docker/containers/{ID}/config.v2.json"


def put(root: Path, place: str, content: object) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_docker(tmp_path: Path) -> None:
    config = {"Image": "nginx:1.29", "Labels": {"tier": "web"}, "Env": ["PASSWORD=x"]}
    put(tmp_path, DOCKER, {"ID": ID, "Name": "/shop_web_1", "Config": config})
    found = ContainerFiles(tmp_path).read(ID)
    assert found == ContainerFacts("shop_web_1", "nginx:1.29", ("tier=web",))


def test_kubernetes_on_containerd(tmp_path: Path) -> None:
    annotations = {
        "io.kubernetes.cri.container-name": "app",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.image-name": "quay.io/shop/app:7",
        "io.kubernetes.cri.sandbox-name": "shop-5f7d",
        "io.kubernetes.cri.sandbox-namespace": "production",
    }
    put(tmp_path, CONTAINERD, {"ociVersion": "1.1.0", "annotations": annotations})
    found = ContainerFiles(tmp_path).read(ID)
    assert found is not None
    assert (found.name, found.image) == ("production/shop-5f7d/app", "quay.io/shop/app:7")
    assert "io.kubernetes.cri.sandbox-namespace=production" in found.labels


def test_kubernetes_on_crio(tmp_path: Path) -> None:
    annotations = {
        "io.kubernetes.container.name": "app",
        "io.kubernetes.pod.name": "shop-1",
        "io.kubernetes.pod.namespace": "production",
        "io.kubernetes.cri-o.ImageName": "quay.io/shop/app:7",
    }
    put(tmp_path, f"run/{OVERLAY}/{ID}/userdata/config.json", {"annotations": annotations})
    found = ContainerFiles(tmp_path).read(ID)
    assert found is not None
    assert (found.name, found.image) == ("production/shop-1/app", "quay.io/shop/app:7")


@pytest.mark.parametrize("index", ["containers.json", "volatile-containers.json"])
def test_podman(tmp_path: Path, index: str) -> None:
    bundle = {"annotations": {"io.container.manager": "libpod"}}
    put(tmp_path, f"var/lib/{OVERLAY}/{ID}/userdata/config.json", bundle)
    metadata = json.dumps({"image-name": "docker.io/library/redis:8", "name": "cache"})
    entries = [{"id": "0" * 64}, {"id": ID, "names": ["cache"], "metadata": metadata}]
    put(tmp_path, f"var/lib/{OVERLAY}/{index}", entries)
    assert ContainerFiles(tmp_path).read(ID) == ContainerFacts(
        "cache", "docker.io/library/redis:8", ("io.container.manager=libpod",)
    )


def test_what_was_found_is_remembered_and_what_was_not_is_looked_for_again(tmp_path: Path) -> None:
    files = ContainerFiles(tmp_path)
    assert files.read(ID) is None
    put(tmp_path, DOCKER, {"Name": "/web", "Config": {}})
    assert files.read(ID) == ContainerFacts("web")
    (tmp_path / DOCKER).unlink()
    assert files.read(ID) == ContainerFacts("web")


@pytest.mark.parametrize("identifier", ["", "../../etc/passwd", ID[:12], ID.upper(), ID + "/.."])
def test_only_an_id_is_looked_for(tmp_path: Path, identifier: str) -> None:
    put(tmp_path, DOCKER.replace(ID, ID[:12]), {"Name": "/web", "Config": {}})
    assert ContainerFiles(tmp_path).read(identifier) is None


def test_hostile_files_are_as_good_as_none(tmp_path: Path) -> None:
    for content in ("", "{", "[" * 100_000, "[]", '"x"', "x" * (2 << 20)):
        put(tmp_path, DOCKER, content)
        assert ContainerFiles(tmp_path).read(ID) is None
    (tmp_path / DOCKER).unlink()
    os.mkfifo(tmp_path / DOCKER)
    assert ContainerFiles(tmp_path).read(ID) is None


def test_names_and_labels_are_bounded_and_printable(tmp_path: Path) -> None:
    labels = {f"k{n}": "v" for n in range(500)} | {"long": "x" * 999, "odd": "a\x1b[0m", "n": 7}
    config = {"Image": "i" * 999, "Labels": labels}
    put(tmp_path, DOCKER, {"Name": "/a\nb", "Config": config})
    found = ContainerFiles(tmp_path).read(ID)
    assert found is not None
    assert (found.name, found.image, len(found.labels)) == ("", "", 64)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Name", "Config", "Labels", "Image", "annotations", "id", "metadata"]),
            inner,
            max_size=4,
        )
    ),
)


@given(document=_json)
def test_any_document_is_read_or_ignored(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    root = tmp_path_factory.mktemp("any")
    for place in (DOCKER, CONTAINERD, f"var/lib/{OVERLAY}/containers.json"):
        put(root, place, document)
        found = ContainerFiles(root).read(ID)
        assert found is None or isinstance(found, ContainerFacts)

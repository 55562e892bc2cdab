"""Does the fleet's registry have the image of a build? Runs as `python3 -` on the builder.

Request: {"record": path, "registry": "ADDRESS:PORT", "name": image name}. Prints
{"digest": "sha256:…"}, or {"digest": ""} where the image has to be built (again).
"""

import http.client
import json
import re
from typing import Any

ANSWER_S = 10
KINDS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def recorded(path: str) -> str:
    """The digest that the build wrote down; "" where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            digest = json.load(file).get("digest")
    except (FileNotFoundError, ValueError, AttributeError):
        return ""
    return digest if re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest)) else ""


def served(registry: str, name: str, digest: str) -> bool:
    """Whether the registry answers for ``digest``; one that is not there does not."""
    link = http.client.HTTPConnection(registry, timeout=ANSWER_S)
    try:
        link.request("HEAD", f"/v2/{name}/manifests/{digest}", headers={"Accept": ",".join(KINDS)})
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def main(request: dict[str, Any]) -> None:
    digest = recorded(request["record"])
    known = bool(digest) and served(request["registry"], request["name"], digest)
    print(json.dumps({"digest": digest if known else ""}))

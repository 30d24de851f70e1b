#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets the digests of images from their registries."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_digest_info
version_added: 1.0.0
short_description: Get the digests of container images from their registries
description:
  - Gets the digest that a registry has for each image, through a Docker engine, which uses its own proxy, certificates
    and registry settings. Nothing is pulled.
  - A tag can be moved to another image, a digest cannot. C(name:tag@sha256:...) names exactly one image.
options:
  images:
    description:
      - The images, each with a tag, such as C(nvcr.io/nvidia/isaac-sim:6.2.0).
    type: list
    elements: str
    required: true
  docker_socket:
    description: The socket of the engine.
    type: path
    default: /var/run/docker.sock
  docker_config:
    description: The file with credentials of registries, as C(docker login) writes it. It may be missing.
    type: path
    default: /root/.docker/config.json
extends_documentation_fragment: digital_twin.robotics_lab._attributes.info
notes:
  - Does not fail when a registry does not answer. RV(problems) names the reason.
  - Credentials are sent to the engine only.
seealso:
  - module: digital_twin.robotics_lab.image_pull
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the digest of Redis
  digital_twin.robotics_lab.image_digest_info:
    images: [docker.io/library/redis:8.10.2-trixie]
  register: redis

- name: Report the digest
  ansible.builtin.debug:
    msg: "{{ redis.digests }}"
"""

RETURN = r"""
digests:
  description: Digests by the names of the images.
  returned: success
  type: dict
  sample: {"docker.io/library/redis:8.10.2-trixie": "sha256:9f2c..."}
problems:
  description: Why a registry returned no digest, by the names of the images.
  returned: success
  type: dict
  sample: {"registry.lab/redis:8": "No such host."}
"""

import re

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._docker.api import AnsweredError, Engine, EngineGoneError, SilenceError
from ..module_utils._docker.credentials import CredentialsError, credentials_for, read_config
from ..module_utils._docker.pull import cleaned
from ..module_utils._docker.request import parse_reference

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def get_digest(engine: Engine, name: str, config: str) -> str:
    """Return the digest that the registry has for an image.

    Raises:
        ValueError: there is no digest; the text is the reason.
    """
    image = parse_reference(name)
    if image is None:
        raise ValueError(f"{name} is not a full image name. Add the tag, such as docker.io/library/redis:8.0.")
    try:
        credentials = credentials_for(image.registry, read_config(config), config)
    except CredentialsError as error:
        raise ValueError(str(error)) from None
    try:
        digest = engine.digest(image.exact, credentials.authorization)
    except (AnsweredError, EngineGoneError, SilenceError) as error:
        raise ValueError(cleaned(str(error), credentials.secrets)) from None
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"The registry's answer for {name} has no SHA-256 digest.")
    return digest


def main() -> None:
    """Return the digest of each image."""
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "str", "required": True},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "docker_config": {"type": "path", "default": "/root/.docker/config.json"},
        },
        supports_check_mode=True,
    )
    engine = Engine(module.params["docker_socket"])
    digests, problems = {}, {}
    for name in dict.fromkeys(module.params["images"]):
        try:
            digests[name] = get_digest(engine, name, module.params["docker_config"])
        except ValueError as error:
            problems[name] = str(error)
    module.exit_json(changed=False, digests=digests, problems=problems)


if __name__ == "__main__":
    main()

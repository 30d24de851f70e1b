#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that pulls container images in parallel and reports its progress."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull
version_added: 1.0.0
short_description: Pull container images in parallel and report progress
description:
  - Pulls images into a Docker engine, several at a time, and writes the progress of each to a file once a second.
  - Meant to be run with C(async) and C(poll=0), while other tasks show the content of the file. Set C(async) to more
    seconds than O(timeout). Ansible kills the module after C(async) seconds, without a result for each image.
  - Retryable errors are retried after increasing pauses, such as a rate limit, a name that does not resolve, a registry
    that does not answer, and a damaged download. Missing images, images of another platform, denied access,
    certificates that are not trusted, and a full disk are not retried. Each error names its remedy.
  - An image that is present is not pulled again, even if the registry has another image under its tag.
options:
  images:
    description:
      - The images, each with a tag, a digest or both, such as C(nvcr.io/nvidia/isaac-sim:6.2.0).
      - With a digest, the engine pulls by the digest and does not store the tag.
    type: list
    elements: str
    required: true
  progress_file:
    description:
      - A file to write at most once a second, in an existing folder. All users can read it, and it is replaced
        atomically.
      - It is JSON. C(text) is one line to print; C(finished) is true once all images are done or failed; C(images) has
        for each image its C(name), its C(state), which is C(waiting), C(pulling), C(extracting), C(done) or C(failed),
        its C(attempt), the bytes to download as C(bytes_done) and C(bytes_total), C(bytes_per_second),
        C(unpacked_percent), null where the engine does not report it, and C(note), such as why it failed.
      - C(bytes_total) grows as the sizes of the layers become known, until C(bytes_total_known) is true.
    type: path
  parallel:
    description:
      - How many images to pull at a time. An engine also limits the layers that it downloads at a time, by
        C(max-concurrent-downloads) in its configuration.
    type: int
    default: 3
  retries:
    description: How often to retry, for each image.
    type: int
    default: 3
  timeout:
    description: The time limit for all images together, in seconds.
    type: int
    default: 3600
  stall_timeout:
    description:
      - How long a pull may make no progress, in seconds. After that, the attempt fails.
      - It does not apply while all missing layers are queued in the engine, nor while the engine unpacks without
        reporting progress, as some versions with containerd's image store do. O(timeout) applies then.
    type: int
    default: 300
  docker_socket:
    description: The socket of the engine.
    type: path
    default: /var/run/docker.sock
  docker_config:
    description:
      - The file with credentials of registries, as C(docker login) writes it. It may be missing.
      - The module reads its C(auths) and runs the programs of its C(credHelpers) and C(credsStore), which must be on
        C(PATH).
    type: path
    default: /root/.docker/config.json
extends_documentation_fragment: digital_twin.robotics_lab._attributes
attributes:
  check_mode:
    details: Without an engine, all images count as missing.
notes:
  - Needs only Python and the engine on the host, and access to the engine's socket.
  - Credentials are sent to the engine only. They do not appear in results or in O(progress_file).
seealso:
  - module: community.docker.docker_image_pull
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Start the pull of large images
  digital_twin.robotics_lab.image_pull:
    images:
      - nvcr.io/nvidia/isaac-sim:6.2.0
      - nvcr.io/nvidia/riva/riva-speech:2.19.0
    progress_file: /run/images.json
  async: 3700
  poll: 0
  register: pull

- name: Get the progress
  ansible.builtin.slurp:
    src: /run/images.json
  register: progress

- name: Report the progress
  ansible.builtin.debug:
    msg: "{{ (progress.content | b64decode | from_json).text }}"

- name: Wait for the images
  ansible.builtin.async_status:
    jid: "{{ pull.ansible_job_id }}"
  register: pulled
  until: pulled is finished
  retries: 370
  delay: 10
"""

RETURN = r"""
images:
  description: The result for each image, in the order of O(images).
  returned: when the engine answers
  type: list
  elements: dict
  contains:
    name:
      description: The image, as O(images) has it.
      type: str
      sample: nvcr.io/nvidia/isaac-sim:6.2.0
    id:
      description: Its ID in the engine; empty when it is missing.
      type: str
      sample: sha256:983b3489b30e511b97f4dc35fd67bdcf0f4c08fb60d8fc8d9e5c1c8e4e7352dc
    pulled:
      description: Whether it was pulled, or would be in check mode.
      type: bool
      sample: true
    bytes:
      description: How many bytes were downloaded, without layers that were present.
      type: int
      sample: 9812733491
    seconds:
      description: How long it took, in seconds, including all attempts and pauses.
      type: float
      sample: 312.4
    attempts:
      description: How many attempts it took; 0 when it was present.
      type: int
      sample: 1
problems:
  description: Why images are missing, one line for each.
  returned: when the engine answers
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._docker.api import AnsweredError, Engine, EngineGoneError, SilenceError
from ..module_utils._docker.credentials import CredentialsError, read_credentials
from ..module_utils._docker.progress import DONE, FAILED, Progress, in_final_state
from ..module_utils._docker.pull import ProgressFile, PullResult, pull_all
from ..module_utils._docker.request import check_progress_file, read_images, read_limits


def main() -> None:
    """Pull the images that are missing."""
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "str", "required": True},
            "progress_file": {"type": "path"},
            "parallel": {"type": "int", "default": 3},
            "retries": {"type": "int", "default": 3},
            "timeout": {"type": "int", "default": 3600},
            "stall_timeout": {"type": "int", "default": 300},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "docker_config": {"type": "path", "default": "/root/.docker/config.json"},
        },
        supports_check_mode=True,
    )
    params = module.params
    engine = Engine(params["docker_socket"])
    file = ProgressFile("" if module.check_mode else params["progress_file"] or "")

    def fail(problem: str) -> None:
        file.write(in_final_state(params["images"], FAILED, problem))
        module.fail_json(msg=problem)

    try:
        check_progress_file(file.path)
        # Replace the progress of an earlier run.
        file.write([Progress(name) for name in params["images"]])
        images, limits = read_images(params["images"]), read_limits(params)
        # A check also works before the engine is installed.
        known = images if not module.check_mode or engine.exists else []
        present = {image.name: identity for image in known if (identity := engine.image_id(image.exact))}
        missing = [image for image in images if image.name not in present]
        credentials = read_credentials({image.registry for image in missing}, params["docker_config"])
    except (ValueError, CredentialsError) as error:
        fail(str(error))
    except (EngineGoneError, SilenceError, AnsweredError) as error:
        fail(f"docker_socket: {error}. Start Docker, or set the socket of a running engine.")
    if module.check_mode:
        pulled = [PullResult(image.name, pulled=True) for image in missing]
    else:
        done, config = in_final_state(present, DONE), params["docker_config"]
        pulled = pull_all(engine, missing, done, credentials=credentials, config=config, limits=limits, file=file)
    results = {outcome.name: outcome for outcome in pulled}
    results |= {name: PullResult(name, identity) for name, identity in present.items()}
    if file.problem:
        module.warn(file.problem)
    problems = [f"{outcome.name}: {outcome.problem}" for outcome in pulled if outcome.problem]
    result: dict[str, Any] = {
        "changed": any(outcome.pulled for outcome in pulled),
        "images": [results[image.name].report() for image in images],
        "problems": problems,
        "diff": {
            "before": "".join(f"{image.name}\n" for image in images if image.name in present),
            "after": "".join(f"{image.name}\n" for image in images if not results[image.name].problem),
        },
    }
    if problems:
        module.fail_json(msg=f"{len(problems)} of {len(images)} images are missing: {' '.join(problems)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

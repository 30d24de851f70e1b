#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that pulls images of containers side by side, and tells how far it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull
version_added: 1.0.0
short_description: Pull container images in parallel and report progress
description:
  - Pulls images into a Docker engine, several at a time, and writes the progress of each to a file once a second.
  - Meant to be run with C(async) and C(poll=0), while other tasks show what the file says. Give C(async) some more
    seconds than O(timeout), as Ansible kills the module after those, and nobody learns which image did not come.
  - What fails for a reason that may pass is tried again, after a pause that grows, such as a rate limit, a name
    that does not resolve, a registry that does not answer, and a damaged download. Missing images, images of
    another platform, denied access, certificates that are not trusted, and a full disk are not retried. Each
    error names its remedy.
  - An image that is there already is not pulled, also when its tag means another image by now.
options:
  images:
    description:
      - The images, each with a tag, a digest or both, such as C(nvcr.io/nvidia/isaac-sim:5.1.0).
      - With a digest the engine pulls by that, and does not learn the tag.
    type: list
    elements: str
    required: true
  progress_file:
    description:
      - A file to write at most once a second, in a folder that is there. It is readable by everybody, and replaced as a
        whole, so that nobody reads half of it.
      - It is JSON. C(text) is a line for people; C(finished) tells whether there is nothing more to come; C(images) has
        for each image its C(name), its C(state), which is C(waiting), C(pulling), C(extracting), C(done) or C(failed),
        its C(attempt), the bytes to download as C(bytes_done) and C(bytes_total), C(bytes_per_second),
        C(unpacked_percent), null where the engine does not say, and C(note), such as why it failed.
      - C(bytes_total) grows as the sizes of the layers become known, until C(bytes_total_known) is true.
    type: path
  parallel:
    description:
      - How many images to pull at a time. An engine has a limit of its own for the layers that it loads at a time,
        C(max-concurrent-downloads) in its configuration.
    type: int
    default: 3
  retries:
    description: How often to try again, for each image.
    type: int
    default: 3
  timeout:
    description: How long to take for all images, in seconds.
    type: int
    default: 3600
  stall_timeout:
    description:
      - How long nothing may happen to an image that is pulled, in seconds. The attempt has failed then.
      - It does not count while all that is missing waits for its turn in the engine, nor once everything is downloaded
        and the engine does not tell how it unpacks, as some versions with the image store of containerd do not.
        O(timeout) ends that.
    type: int
    default: 300
  docker_socket:
    description: The socket of the engine.
    type: path
    default: /var/run/docker.sock
  docker_config:
    description:
      - The file with credentials of registries, as C(docker login) writes it. It may be missing.
      - Its C(auths) are read, and its C(credHelpers) and C(credsStore) asked, whose programs need to be on C(PATH).
    type: path
    default: /root/.docker/config.json
attributes:
  check_mode:
    description:
      - Says what it would pull, and neither pulls it nor writes the file.
      - Where no engine is yet, all images count as missing.
    support: full
  diff_mode:
    description: Lists the images that are there, before and after.
    support: full
  idempotent:
    description: Pulls nothing when all images are there.
    support: full
notes:
  - Needs nothing on the host but Python and the engine, and the right to use its socket.
  - Credentials are handed to the engine only, and appear in no result and not in O(progress_file).
seealso:
  - module: community.docker.docker_image_pull
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Begin to pull what is large
  digital_twin.robotics_lab.image_pull:
    images:
      - nvcr.io/nvidia/isaac-sim:5.1.0
      - nvcr.io/nvidia/riva/riva-speech:2.19.0
    progress_file: /run/images.json
  async: 3700
  poll: 0
  register: pull

- name: Read how far it is
  ansible.builtin.slurp:
    src: /run/images.json
  register: progress

- name: Say how far it is
  ansible.builtin.debug:
    msg: "{{ (progress.content | b64decode | from_json).text }}"

- name: Wait until all are there
  ansible.builtin.async_status:
    jid: "{{ pull.ansible_job_id }}"
  register: pulled
  until: pulled is finished
  retries: 370
  delay: 10
"""

RETURN = r"""
images:
  description: What came of each image, in the order of O(images).
  returned: when the engine could be asked
  type: list
  elements: dict
  contains:
    name:
      description: The image, as O(images) has it.
      type: str
      sample: nvcr.io/nvidia/isaac-sim:5.1.0
    id:
      description: The engine's id of it; empty when it is not there.
      type: str
      sample: sha256:983b3489b30e511b97f4dc35fd67bdcf0f4c08fb60d8fc8d9e5c1c8e4e7352dc
    pulled:
      description: Whether it was pulled, or would be.
      type: bool
      sample: true
    bytes:
      description: How many bytes were downloaded. Layers that were there already do not count.
      type: int
      sample: 9812733491
    seconds:
      description: How long it took, in seconds, with all attempts and the pauses between them.
      type: float
      sample: 312.4
    attempts:
      description: How many attempts it took; 0 when it was there.
      type: int
      sample: 1
problems:
  description: Why images are not there, one line for each that is not.
  returned: when the engine could be asked
  type: list
  elements: str
  sample: []
"""

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._docker.api import AnsweredError, Engine, EngineGoneError, SilenceError
from ..module_utils._docker.credentials import Credentials, CredentialsError, credentials_for, read_config
from ..module_utils._docker.progress import DONE, FAILED, Progress
from ..module_utils._docker.pull import Limits, Outcome, ProgressFile, Reference, parse_reference, pull_all
from ..module_utils._problem import Problem, shown

SMALLEST = {"parallel": 1, "retries": 0, "timeout": 1, "stall_timeout": 1}


def read_images(names: list[str]) -> list[Reference]:
    """Return what to pull, each once.

    Raises:
        ValueError: one of them is no image's full name.
    """
    images = {}
    for name in names:
        image = parse_reference(name)
        if image is None:
            allowed = "a name with tag or digest, such as nvcr.io/nvidia/isaac-sim:5.1.0"
            raise ValueError(str(Problem("images", shown(name), "is no full reference", allowed, "write it so")))
        images[name] = image
    return list(images.values())


def read_limits(params: dict[str, Any]) -> Limits:
    """Return how much time and how many attempts there are.

    Raises:
        ValueError: a number is too small.
    """
    for name, smallest in SMALLEST.items():
        if params[name] < smallest:
            allowed = f"a whole number from {smallest} on"
            raise ValueError(str(Problem(name, shown(params[name]), "is too small", allowed, "raise it")))
    return Limits(**{name: params[name] for name in SMALLEST})


def check_progress_file(path: str) -> None:
    """Check that the file can be there.

    Raises:
        ValueError: its folder is missing, or it is a folder itself.
    """
    if path and (Path(path).is_dir() or not Path(path).parent.is_dir()):
        allowed = "a file in a folder that is there"
        raise ValueError(str(Problem("progress_file", path, "cannot be written", allowed, "make the folder before")))


def there_already(engine: Engine, images: list[Reference], *, check: bool) -> dict[str, str]:
    """Return the ids of the images that are there, by name.

    Args:
        check: whether it is no matter when no engine is there yet.

    Raises:
        EngineGoneError: the engine cannot be asked.
        AnsweredError: it does not say.
        SilenceError: it does not answer.
    """
    if check and not is_socket(engine.path):
        return {}
    found = {image.name: engine.image_id(image.exact) for image in images}
    return {name: identity for name, identity in found.items() if identity}


def is_socket(path: str) -> bool:
    """Say whether a socket is there."""
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except FileNotFoundError:
        return False


def ended(names: Iterable[str], state: str, note: str = "") -> list[Progress]:
    """Return images that are there, or will not come."""
    images = [Progress(name) for name in names]
    for image in images:
        image.end(state, note)
    return images


def read_credentials(images: list[Reference], path: str) -> dict[str, Credentials]:
    """Return the credentials of the registries of images, by registry.

    Raises:
        CredentialsError: the configuration has some that cannot be used.
    """
    config = read_config(path) if images else {}
    return {registry: credentials_for(registry, config, path) for registry in {image.registry for image in images}}


def described(outcome: Outcome) -> dict[str, Any]:
    """Return what came of an image, as the module returns it."""
    return {
        "name": outcome.name,
        "id": outcome.id,
        "pulled": outcome.pulled,
        "bytes": outcome.downloaded,
        "seconds": outcome.seconds,
        "attempts": outcome.attempts,
    }


def main() -> None:
    """Look what is there, and pull the others."""
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

    def refuse(problem: str) -> None:
        file.write(ended(params["images"], FAILED, problem))
        module.fail_json(msg=problem)

    try:
        check_progress_file(file.path)
        # What a run before has left there would be taken for this one's.
        file.write([Progress(name) for name in params["images"]])
        images, limits = read_images(params["images"]), read_limits(params)
        there = there_already(engine, images, check=module.check_mode)
        missing = [image for image in images if image.name not in there]
        credentials = read_credentials(missing, params["docker_config"])
    except (ValueError, CredentialsError) as error:
        refuse(str(error))
    except (EngineGoneError, SilenceError, AnsweredError) as error:
        refuse(f"docker_socket: {error}. Start Docker, or name the socket of a running engine")
    if module.check_mode:
        came = [Outcome(image.name, pulled=True) for image in missing]
    else:
        present, config = ended(there, DONE), params["docker_config"]
        came = pull_all(engine, missing, present, credentials=credentials, config=config, limits=limits, file=file)
    outcomes = {outcome.name: outcome for outcome in came}
    outcomes |= {name: Outcome(name, identity) for name, identity in there.items()}
    if file.problem:
        module.warn(file.problem)
    problems = [f"{outcome.name}: {outcome.problem}" for outcome in came if outcome.problem]
    result: dict[str, Any] = {
        "changed": any(outcome.pulled for outcome in came),
        "images": [described(outcomes[image.name]) for image in images],
        "problems": problems,
        "diff": {
            "before": "".join(f"{image.name}\n" for image in images if image.name in there),
            "after": "".join(f"{image.name}\n" for image in images if not outcomes[image.name].problem),
        },
    }
    if problems:
        module.fail_json(msg=f"{len(problems)} of {len(images)} images are not there: {'; '.join(problems)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that adds an apt repository, unless the host already has it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_source
version_added: 1.0.0
short_description: Add an apt repository, or use the source that the host already has for it
description:
  - Reads every source that apt reads, in the one-line format and in the deb822 format. An entry for the same repository
    is used unchanged, with any key file. Only what is missing is written, to a separate file.
  - M(ansible.builtin.deb822_repository) and M(ansible.builtin.apt_repository) compare their own file only. On a host
    that has the same repository with another key file, such as one set up by the vendor's guide, they add a second
    entry. apt then refuses all of its sources with C(Conflicting values set for option Signed-By). They also leave a
    source in place that cannot be used, because its key or its URI is wrong.
  - Before anything is written, apt downloads the new source into a temporary folder and checks its signature.
    Afterwards apt reads all of its sources. If that fails, the module restores the previous files.
  - Two entries are the same repository if their URI and suite match. The scheme, a login, a slash at the end, the
    default port and C($(ARCH)) make no difference. Disabled entries and files that apt ignores do not count.
options:
  name:
    description:
      - Name of the files to write, C(/etc/apt/sources.list.d/NAME.sources) and C(/etc/apt/keyrings/NAME.asc).
      - The module replaces only files that it has written itself.
    type: str
    required: true
  uri:
    description: URI of the repository. apt replaces C($(ARCH)) by the host's architecture.
    type: str
  suites:
    description: Suites, such as V(bookworm). A path ends with a slash, such as V(/) for a flat repository.
    type: list
    elements: str
    default: []
  components:
    description: Components. Leave empty for a path.
    type: list
    elements: str
    default: []
  signed_by:
    description:
      - The key that signs the repository - a URL, the absolute path of a key file on the host, or the armored key
        itself.
      - apt downloads the key from a URL, with its configured proxy, certificates and logins.
      - Not used while the host's own entries suffice. When one of them has the repository without all of
        O(components), the new entry uses its key and its other options, because apt demands that they are the
        same.
    type: str
  fingerprints:
    description:
      - The OpenPGP fingerprints of the keys that may sign the repository, 40 or 64 hexadecimal digits each. A short key
        ID is refused, because an attacker can create a key with the same ID.
      - Every primary key that O(signed_by) returns must be one of them, or nothing is written. The subkeys of an
        expected key are accepted.
      - An entry of the host is used unchanged. When another key signs it, the module prints a warning.
      - When empty, every key is accepted.
    type: list
    elements: str
    default: []
  mirrors:
    description:
      - Whether an entry with another URI also counts, if it has the suite and the component. Meant for a
        distribution's own archive, which has many mirrors. A C(cdrom:) entry does not count.
    type: bool
    default: false
  origin:
    description:
      - The C(Origin) in the Release file of such a mirror, such as V(Debian). Other vendors use the same names of
        suites and components, as VirtualBox uses C(contrib). An entry of another origin does not count.
      - When empty, or when the Release file names no origin or cannot be downloaded, every entry counts. In check mode
        only the Release files that apt has already downloaded are read.
    type: str
    default: ""
  state:
    description: V(absent) removes the files that this module has written. It leaves other entries alone.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment: digital_twin.robotics_lab._attributes
attributes:
  check_mode:
    details: Downloads nothing, so it does not detect a wrong key or URI.
  diff_mode:
    details: Shows the source file. The key is not shown.
requirements:
  - apt 2.4 or later on the host. Neither python3-debian nor python3-apt is needed.
notes:
  - Fails, and changes nothing, when apt cannot read the host's sources already. The message names the files and lines.
  - It does not refresh the package lists.
seealso:
  - module: ansible.builtin.deb822_repository
  - name: sources.list
    description: Which sources apt reads.
    link: https://manpages.debian.org/stable/apt/sources.list.5.en.html
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Add Docker's repository, unless the host has it
  digital_twin.robotics_lab.apt_source:
    name: our-docker
    uri: https://download.docker.com/linux/debian
    suites: [bookworm]
    components: [stable]
    signed_by: https://download.docker.com/linux/debian/gpg
    fingerprints: [9DC858229FC7DD38854AE2D88D81803C0EBFCD88]
  register: source

- name: Report whose entries are used
  ansible.builtin.debug:
    msg: "{{ source.used }}"

- name: Add Debian's non-free components, unless any mirror of the host has them
  digital_twin.robotics_lab.apt_source:
    name: our-non-free
    uri: http://deb.debian.org/debian
    suites: [bookworm]
    components: [contrib, non-free, non-free-firmware]
    signed_by: /usr/share/keyrings/debian-archive-keyring.gpg
    mirrors: true
    origin: Debian
"""

RETURN = r"""
file:
  description: >-
    The file that this module has written, or would write in check mode. Empty when the host's own entries suffice.
  returned: success
  type: str
  sample: /etc/apt/sources.list.d/our-docker.sources
used:
  description: File and line of each entry of the host that is used unchanged.
  returned: success
  type: list
  elements: str
  sample: ["/etc/apt/sources.list.d/docker.list:1"]
unexpected:
  description: What is wrong with the keys of the host's own entries, one sentence each. Empty without O(fingerprints).
  returned: success
  type: list
  elements: str
  sample: ["docker.list:1 has trusted=yes, with which apt accepts unsigned packages."]
"""

from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._apt.apply import SourceFiles, compare, unexpected_keys
from ..module_utils._apt.host import AptError, find_apt
from ..module_utils._apt.request import AptSourceError, read_request


def main() -> None:
    """Read, compare, write."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "uri": {"type": "str"},
            "suites": {"type": "list", "elements": "str", "default": []},
            "components": {"type": "list", "elements": "str", "default": []},
            "signed_by": {"type": "str"},
            "fingerprints": {"type": "list", "elements": "str", "default": []},
            "mirrors": {"type": "bool", "default": False},
            "origin": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("uri", "suites"))],
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C"}

    def run(argv: Sequence[str]) -> tuple[int, str, str]:
        status, out, err = module.run_command(list(argv), handle_exceptions=False)
        return int(status), str(out), str(err)

    try:
        wanted = read_request(module.params)
        apt = find_apt(run)
        files = SourceFiles(apt, module.params["name"])
        contents, planned = compare(apt, files, wanted, module.check_mode)
        unexpected = unexpected_keys([*planned.used, *planned.inherited], wanted.fingerprints if wanted else ())
        changed = contents != files.before
        if changed and not module.check_mode:
            files.put(contents, apt)
    except (AptSourceError, AptError) as problem:
        module.fail_json(msg=str(problem))
    except OSError as problem:
        module.fail_json(msg=f"apt's sources cannot be read or written: {problem}")
    for sentence in unexpected:
        module.warn(f"{sentence} The entry is used as it is. Compare its key with the one that the vendor publishes.")
    path = str(files.source)
    module.exit_json(
        changed=changed,
        file=path if planned.stanzas else "",
        used=list(dict.fromkeys(entry.where for entry in planned.used)),
        unexpected=unexpected,
        diff={
            "before_header": path,
            "after_header": path,
            "before": files.before[files.source] or "",
            "after": contents[files.source] or "",
        },
    )


if __name__ == "__main__":
    main()

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
  - Two entries are the same repository when URI and suite are. The scheme, a login, a slash at the end, the default
    port and C($(ARCH)) make no difference. Disabled entries and files that apt ignores do not count.
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
    description: Components. None for a path.
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
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
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

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._apt.host import Apt, AptProblem, find_apt
from ..module_utils._apt.keys import (
    FINGERPRINT,
    KeyProblem,
    check_entry,
    check_entry_keys,
    check_file,
    check_fingerprints,
    checked,
    fingerprints,
    normal_fingerprint,
)
from ..module_utils._apt.plan import HEADING, Plan, Wanted, entry_text, plan, render
from ..module_utils._apt.sources import ARMOR, Conflict, Entry, conflicts, is_read

UNCHANGED = "Nothing was changed."


class Refusal(Exception):
    """The request is refused; the text is the reason and the remedy."""


def check_request(params: dict[str, object], wanted: Wanted, expected: Sequence[str]) -> None:
    """Check the caller's options.

    Raises:
        Refusal: an option is not valid.
    """
    name = str(params["name"])
    if not is_read(f"{name}.sources"):
        raise Refusal(f"name is {name!r}. Use letters, digits, '_', '-' and '.': apt ignores files of other names.")
    if params["state"] == "absent":
        return
    for digits in expected:
        if not FINGERPRINT.fullmatch(digits):
            raise Refusal(
                f"fingerprints has {digits!r}. Use a whole fingerprint of 40 or 64 hexadecimal digits, in quotes."
            )
    if not re.match(r"[a-z][a-z0-9+.-]*:\S+$", wanted.uri):
        raise Refusal(f"uri is {wanted.uri!r}. Set it to a URI such as https://download.docker.com/linux/debian.")
    if not wanted.suites:
        raise Refusal("suites is empty. Set it to a suite such as bookworm, or to / for a flat repository.")
    for suite in wanted.suites:
        if suite.endswith("/") == bool(wanted.components):
            remedy = "Remove the components." if wanted.components else "Set components, or end the suite with a slash."
            raise Refusal(f"suites has {suite!r} and components has {list(wanted.components)}. {remedy}")
    for value in (*wanted.suites, *wanted.components):
        if not re.fullmatch(r"[^\s#\[\]]+", value):
            raise Refusal(f"suites or components has {value!r}. Remove white space, '#', '[' and ']' from it.")


def explain(found: Sequence[Conflict]) -> str:
    """Return which entries contradict each other, and what to do."""
    pairs = [
        f"{conflict.second.where} and {conflict.first.where} name the same repository with different values of "
        f"{conflict.option.title()}"
        for conflict in found
    ]
    return (
        f"apt cannot read its sources: {'; '.join(dict.fromkeys(pairs))}. {UNCHANGED} Remove one entry of each pair, "
        "or give both the same value, then run again."
    )


def check_host(apt: Apt, entries: Sequence[Entry], foreign: Sequence[Entry]) -> None:
    """Check that apt can read the host's sources, apart from conflicts of our own file.

    Raises:
        Refusal: it cannot.
    """
    found = conflicts(foreign)
    if found:
        raise Refusal(explain(found))
    try:
        apt.check_sources()
    except AptProblem as problem:
        # Replacing our own file ends its conflict with an entry that came later.
        if not conflicts(entries):
            raise Refusal(
                f"apt cannot read its sources: {problem}. {UNCHANGED} Correct that entry, then run again."
            ) from None


def check_used(apt: Apt, entry: Entry, check_mode: bool) -> None:
    """Check that an entry of the host can be used.

    Raises:
        Refusal: it cannot.
    """
    remedy = f"{UNCHANGED} Correct or remove that entry, then run again."
    try:
        check_entry(entry)
        if not check_mode and not apt.has_lists(entry):
            apt.try_source(entry_text(entry), lists=False)
    except KeyProblem as problem:
        raise Refusal(
            f"{entry.where} has the repository {entry.uri} {entry.suite}, but its key {problem}. {remedy}"
        ) from None
    except AptProblem as problem:
        raise Refusal(
            f"{entry.where} has the repository {entry.uri} {entry.suite}, but apt cannot use it: {problem}. {remedy}"
        ) from None


def unexpected_keys(entries: Sequence[Entry], expected: Sequence[str]) -> list[str]:
    """Return what is wrong with the keys of the host's own entries."""
    problems = []
    for entry in entries if expected else ():
        try:
            check_entry_keys(entry, expected)
        except KeyProblem as problem:
            problems.append(f"{entry.where} {problem}.")
    return list(dict.fromkeys(problems))


def get_key(
    apt: Apt, signed_by: str, key_file: Path, expected: Sequence[str], check_mode: bool
) -> tuple[str, str | None]:
    """Return the path of the key file to name, and its content where it is ours to write.

    Raises:
        Refusal: apt cannot use the key.
    """
    if not signed_by:
        raise Refusal("signed_by is empty. Set it to the URL, the path or the text of the repository's key.")
    remedy = "Correct signed_by"
    if expected:
        remedy += ", or compare the key with the fingerprint that the vendor publishes and correct fingerprints"
    if signed_by.startswith("/"):
        try:
            check_file(signed_by)
            if expected:
                check_fingerprints(fingerprints(Path(signed_by).read_bytes()), expected)
        except KeyProblem as problem:
            raise Refusal(f"signed_by is {signed_by}, which {problem}. {UNCHANGED} {remedy}, then run again.") from None
        return signed_by, None
    present = key_file.read_text("utf-8") if key_file.is_file() else None
    try:
        if ARMOR in signed_by:
            return str(key_file), checked(signed_by.encode(), expected)
        if not re.match(r"https?://\S+$", signed_by):
            raise Refusal(f"signed_by is {signed_by[:60]!r}. Set it to a URL, an absolute path or an armored key.")
        if check_mode:
            return str(key_file), present or ""
        return str(key_file), checked(apt.download(signed_by), expected)
    except KeyProblem as problem:
        what = "signed_by" if ARMOR in signed_by else f"What {signed_by} returned"
        raise Refusal(f"{what} {problem}. {UNCHANGED} {remedy}, then run again.") from None
    except AptProblem as problem:
        # The key of an earlier run stays in use while its server is unreachable.
        if present is not None:
            try:
                return str(key_file), checked(present.encode(), expected) if expected else present
            except KeyProblem as wrong:
                raise Refusal(
                    f"{key_file} {wrong}, and {signed_by} could not be downloaded: {problem}. {UNCHANGED} {remedy}, "
                    "then run again."
                ) from None
        raise Refusal(
            f"The key {signed_by} could not be downloaded: {problem}. {UNCHANGED} Correct signed_by, or the host's "
            "network (apt's own proxy settings are used), then run again."
        ) from None


def read_text(path: Path) -> str | None:
    """Return a file's text; None when it is not there."""
    return path.read_text("utf-8", "surrogateescape") if path.exists() else None


class Files:
    """The files that are ours to write."""

    def __init__(self, module: AnsibleModule, apt: Apt) -> None:
        """Read them."""
        name = module.params["name"]
        self.module = module
        self.source = Path(apt.folder, f"{name}.sources")
        self.key = Path(apt.etc, "keyrings", f"{name}.asc")
        self.before = {path: read_text(path) for path in (self.key, self.source)}

    def write(self, path: Path, text: str | None) -> None:
        """Write a file that everyone can read, or remove it."""
        if text is None:
            path.unlink(missing_ok=True)
            return
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)
        # apt ignores names that begin with a dot.
        descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            self.module.atomic_move(scratch, str(path))
        finally:
            Path(scratch).unlink(missing_ok=True)
        path.chmod(0o644)

    def put(self, wanted: dict[Path, str | None], apt: Apt) -> None:
        """Write what is wanted; restore everything when apt cannot read its sources with it.

        Raises:
            Refusal: apt cannot.
        """
        try:
            for path, text in wanted.items():
                if text != self.before[path]:
                    self.write(path, text)
            apt.check_sources()
        except AptProblem as problem:
            self.restore()
            raise Refusal(
                f"With {self.source} apt could not read its sources: {problem}. {UNCHANGED} Correct uri, suites, "
                "components or signed_by, then run again."
            ) from None
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        """Restore the previous files."""
        for path, text in reversed(self.before.items()):
            self.write(path, text)


def try_new(apt: Apt, text: str, files: Files, key: str | None, planned: Plan) -> None:
    """Try the new source in apt, with a key that is not installed yet.

    Raises:
        Refusal: apt cannot use it.
    """
    if key is not None and str(files.key) in text:
        block = "\n".join(f" {line or '.'}" for line in key.strip().splitlines())
        text = text.replace(f"Signed-By: {files.key}", f"Signed-By:\n{block}")
    try:
        apt.try_source(text)
    except AptProblem as problem:
        inherited = ", ".join(entry.where for entry in planned.inherited)
        remedy = f"Correct or remove {inherited}" if inherited else "Correct uri, suites, components or signed_by"
        raise Refusal(f"apt cannot use the repository: {problem}. {UNCHANGED} {remedy}, then run again.") from None


def compare(
    module: AnsibleModule, apt: Apt, files: Files, wanted: Wanted, expected: Sequence[str]
) -> tuple[dict[Path, str | None], Plan]:
    """Return the content that the files must have, tried by apt unless this is a check.

    Raises:
        Refusal: the repository cannot be used.
    """
    entries = apt.entries()
    foreign = [entry for entry in entries if entry.file != str(files.source)]
    own = files.before[files.source]
    if own is not None and not own.startswith(HEADING):
        if module.params["state"] == "absent":
            return dict(files.before), Plan()
        foreign = entries
    check_host(apt, entries, foreign)
    planned = Plan()
    if module.params["state"] == "present":
        planned = plan(foreign, wanted, apt.architecture, lambda entry: apt.origin(entry, not module.check_mode))
    for entry in planned.used:
        check_used(apt, entry, module.check_mode)
    if not planned.stanzas:
        keep = own is not None and not own.startswith(HEADING)
        named = any(str(files.key) in entry.options.get("signed-by", "") for entry in foreign)
        return {
            files.source: own if keep else None,
            files.key: files.before[files.key] if keep or named else None,
        }, planned
    if own is not None and not own.startswith(HEADING):
        raise Refusal(
            f"{files.source} was not written by this module, and lacks the repository. {UNCHANGED} Move it away, or "
            "set name to another value, then run again."
        )
    key_path, key = "", files.before[files.key]
    if planned.own_key:
        key_path, key = get_key(apt, module.params["signed_by"] or "", files.key, expected, module.check_mode)
    text = render(planned.stanzas, wanted.uri, apt.architecture, key_path)
    contents = {files.key: key if key_path == str(files.key) else None, files.source: text}
    if not module.check_mode and contents != files.before:
        try_new(apt, text, files, key, planned)
    return contents, planned


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

    params = module.params
    wanted = Wanted(
        params["uri"] or "", tuple(params["suites"]), tuple(params["components"]), params["mirrors"], params["origin"]
    )
    expected = tuple(normal_fingerprint(text) for text in params["fingerprints"])
    try:
        check_request(params, wanted, expected)
        apt = find_apt(run)
        files = Files(module, apt)
        contents, planned = compare(module, apt, files, wanted, expected)
        unexpected = unexpected_keys([*planned.used, *planned.inherited], expected)
        changed = contents != files.before
        if changed and not module.check_mode:
            files.put(contents, apt)
    except (Refusal, AptProblem) as problem:
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

# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which file of sysctl.d takes precedence, and which settings are raised, with a kernel made of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._sysctl import (
    SysctlError,
    SysctlHost,
    SysctlLine,
    SysctlPlan,
    SysctlRequest,
    apply,
    compare,
    in_order,
    parse,
)

RMEM, TIME, THRESH = "net.core.rmem_max", "net.ipv4.ipfrag_time", "net.ipv4.ipfrag_high_thresh"
PATH = "/etc/sysctl.d/99-zz-robots.conf"
WANTED = SysctlRequest({RMEM: 1000, THRESH: 5000}, {TIME: 3})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a host whose settings are all too low, but for a time that is too long."""
    for name, value in {RMEM: 200, THRESH: 4000, TIME: 30}.items():
        place = tmp_path / "proc/sys" / name.replace(".", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{value}\n")
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def run(root: Path, wanted: SysctlRequest = WANTED) -> SysctlPlan:
    """Compare and write."""
    host = SysctlHost(root)
    outcome = compare(host, wanted, PATH)
    apply(host, wanted, outcome, lambda text: write(root, PATH, text))
    return outcome


def kernel(root: Path, name: str) -> int:
    return int((root / "proc/sys" / name.replace(".", "/")).read_text())


def test_a_low_value_is_raised_also_at_the_next_boot(root: Path) -> None:
    outcome = run(root)
    assert outcome.changed
    assert (kernel(root, RMEM), kernel(root, THRESH), kernel(root, TIME)) == (1000, 5000, 3)
    assert outcome.after == {RMEM: 1000, THRESH: 5000, TIME: 3}
    assert parse("", (root / PATH.lstrip("/")).read_text()) == [
        SysctlLine("", RMEM, "1000"),
        SysctlLine("", THRESH, "5000"),
        SysctlLine("", TIME, "3"),
    ]
    again = run(root)
    assert not again.changed
    assert again.unmet == {}
    assert again.overriding == []


def boot(root: Path) -> None:
    """Set the kernel's values from the files, as systemd does."""
    for setting in in_order(SysctlHost(root).read_files()):
        write(root, f"proc/sys/{setting.name.replace('.', '/')}", f"{setting.value}\n")


def test_a_higher_value_is_preserved_until_the_next_boot(root: Path) -> None:
    # The default of the kernel, or set by hand.
    write(root, "proc/sys/net/core/rmem_max", "2147483647\n")
    wanted = SysctlRequest({RMEM: 1000}, {})
    for changed in (True, False):
        outcome = run(root, wanted)
        assert outcome.changed == changed
        assert (outcome.written, outcome.unmet) == ({}, {})
        assert kernel(root, RMEM) == 2147483647
        assert outcome.lowering == {RMEM: 2147483647}
        assert outcome.persisted == {RMEM: 1000}
    boot(root)
    outcome = run(root, wanted)
    assert (kernel(root, RMEM), outcome.changed, outcome.lowering) == (1000, False, {})


def test_an_earlier_higher_declaration_ends_at_the_next_boot(root: Path) -> None:
    run(root, SysctlRequest({RMEM: 2147483647}, {}))
    boot(root)
    outcome = run(root, SysctlRequest({RMEM: 1000}, {}))
    assert outcome.changed
    assert outcome.text_after.endswith(f"{RMEM} = 1000\n")
    assert (kernel(root, RMEM), outcome.lowering) == (2147483647, {RMEM: 2147483647})
    boot(root)
    outcome = run(root, SysctlRequest({RMEM: 1000}, {}))
    assert (kernel(root, RMEM), outcome.changed, outcome.lowering) == (1000, False, {})


def test_only_a_value_beyond_all_files_is_reported_as_lowering(root: Path) -> None:
    write(root, "etc/sysctl.d/60-buffers.conf", f"{RMEM}=9000\n")
    boot(root)
    wanted = SysctlRequest({RMEM: 1000}, {})
    outcome = run(root, wanted)
    assert (outcome.persisted, outcome.lowering) == ({RMEM: 9000}, {})
    write(root, "proc/sys/net/core/rmem_max", "9001\n")
    outcome = run(root, wanted)
    assert (outcome.persisted, outcome.lowering, outcome.changed) == ({RMEM: 9000}, {RMEM: 9001}, False)
    boot(root)
    assert kernel(root, RMEM) == 9000


def test_a_boot_does_not_lower_a_read_only_setting(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "proc/sys/net/core/rmem_max", "2147483647\n")
    monkeypatch.setattr(SysctlHost, "writable", lambda _host, _name: False)
    assert run(root, SysctlRequest({RMEM: 1000}, {})).lowering == {}


def test_a_higher_value_of_another_file_is_preserved(root: Path) -> None:
    write(root, "etc/sysctl.d/60-buffers.conf", f"{RMEM}=9000\n")
    write(root, "usr/lib/sysctl.d/50-default.conf", f"{RMEM}=100\n")
    outcome = run(root)
    assert outcome.persisted[RMEM] == 9000
    # Until that boot the requested value is enough.
    assert kernel(root, RMEM) == 1000
    assert not run(root).changed


def test_a_longer_time_is_not_accepted(root: Path) -> None:
    write(root, "etc/sysctl.d/60-time.conf", f"{TIME} = 60\n")
    assert run(root).persisted[TIME] == 3


@pytest.mark.parametrize(
    ("path", "line", "told"),
    [
        ("etc/sysctl.d/99-zzz.conf", f"{RMEM} = 10", True),
        ("run/sysctl.d/99-zzz.conf", f"{RMEM} = 10", True),
        ("usr/lib/sysctl.d/99-zzz.conf", "net/core/rmem_max=10", True),
        # No boot reads it.
        ("etc/sysctl.conf", f"{RMEM}=10", False),
        ("etc/sysctl.d/10-early.conf", f"{RMEM} = 10", False),
        # A name that begins with a dash may fail, and is set all the same.
        ("etc/sysctl.d/99-zzz.conf", f"-{RMEM} = 10", True),
        ("etc/sysctl.d/99-zzz.conf", f"# {RMEM} = 10", False),
        ("etc/sysctl.d/99-zzz.conf", f"; {RMEM} = 10", False),
        ("etc/sysctl.d/99-zzz.conf", f"{RMEM} = 1000000", False),
        ("etc/sysctl.d/99-zzz.conf", "net.core.* = 10", False),
        ("etc/sysctl.d/99-zzz.txt", f"{RMEM} = 10", False),
        # Hidden by a file of ours, of the same name.
        ("usr/lib/sysctl.d/99-zz-robots.conf", f"{RMEM} = 10", False),
    ],
)
def test_files_that_override_ours_are_reported(root: Path, path: str, line: str, told: bool) -> None:
    write(root, path, f"kernel.panic = 5\n{line}\n")
    found = run(root).overriding
    assert [setting.file for setting in found] == ([f"/{path}"] if told else [])


def test_a_masked_file_has_no_settings(root: Path) -> None:
    write(root, "usr/lib/sysctl.d/99-zzz.conf", f"{RMEM} = 10")
    (root / "etc/sysctl.d/99-zzz.conf").symlink_to("/dev/null")
    assert run(root).overriding == []


def test_only_the_effective_line_is_reported(root: Path) -> None:
    write(root, "etc/sysctl.d/99-zzz.conf", f"{RMEM} = 10\n{RMEM} = 20\n")
    assert [setting.value for setting in run(root).overriding] == ["20"]
    write(root, "etc/sysctl.d/99-zzzz.conf", f"{RMEM} = 5000")
    assert run(root).overriding == []


def test_sysctl_conf_is_reported_apart_from_files_of_the_boot(root: Path) -> None:
    write(root, "etc/sysctl.conf", f"{RMEM}=10\n{TIME}=30\n{THRESH}=9999\n")
    # As on Debian 12: there it is read, and before ours.
    (root / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    outcome = run(root)
    assert outcome.overriding == []
    assert [(setting.file, setting.name) for setting in outcome.undoing] == [
        ("/etc/sysctl.conf", RMEM),
        ("/etc/sysctl.conf", TIME),
    ]


def test_files_are_ordered_by_name_in_any_folder() -> None:
    files = {
        "etc/sysctl.conf": "a.a=5",
        "etc/sysctl.d/20-b.conf": "a.a=2",
        "run/sysctl.d/30-c.conf": "a.a=3",
        "usr/lib/sysctl.d/10-a.conf": "a.a=1",
        "usr/lib/sysctl.d/20-b.conf": "a.a=9",
    }
    assert [setting.value for setting in in_order(files)] == ["1", "2", "3"]


def test_a_dot_in_an_interfaces_name_stays() -> None:
    expected = [SysctlLine("f", "net.ipv4.conf.eth0/100.rp_filter", "1")]
    assert parse("f", "net/ipv4/conf/eth0.100/rp_filter = 1") == expected
    assert SysctlHost(Path("/x")).place(expected[0].name) == Path("/x/proc/sys/net/ipv4/conf/eth0.100/rp_filter")


def test_a_missing_setting_is_persisted_and_reported(root: Path) -> None:
    (root / "proc/sys/net/core/rmem_max").unlink()
    outcome = run(root)
    assert list(outcome.unmet) == [RMEM]
    assert "does not have it" in outcome.unmet[RMEM]
    assert (outcome.after[RMEM], outcome.persisted[RMEM]) == (None, 1000)
    assert kernel(root, TIME) == 3
    again = run(root)
    assert not again.changed
    assert list(again.unmet) == [RMEM]


def test_a_read_only_setting_is_persisted_and_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SysctlHost, "writable", lambda _host, name: name != RMEM)
    outcome = run(root)
    assert "read-only here" in outcome.unmet[RMEM]
    assert outcome.written == {THRESH: 5000, TIME: 3}
    assert (kernel(root, RMEM), outcome.persisted[RMEM]) == (200, 1000)


def test_comparing_writes_nothing(root: Path) -> None:
    outcome = compare(SysctlHost(root), WANTED, PATH)
    assert outcome.changed
    assert outcome.written == {RMEM: 1000, THRESH: 5000, TIME: 3}
    assert kernel(root, RMEM) == 200
    assert not (root / PATH.lstrip("/")).exists()


def test_a_value_that_is_not_a_number_is_refused(root: Path) -> None:
    write(root, "proc/sys/net/core/rmem_max", "4096\t131072\n")
    with pytest.raises(SysctlError, match=r"net\.core\.rmem_max is '4096\\t131072', which is not a whole number"):
        compare(SysctlHost(root), WANTED, PATH)


def test_a_kernel_that_does_not_accept_a_value_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SysctlHost, "write", lambda _host, _name, _value: None)
    outcome = run(root, SysctlRequest({RMEM: 1000}, {}))
    assert outcome.unmet == {RMEM: "the kernel did not accept the value"}
    assert outcome.after == {RMEM: 200}

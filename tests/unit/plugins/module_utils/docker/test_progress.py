# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress text of a pull, by the engine's messages."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._docker.progress import (
    DONE,
    FAILED,
    Progress,
    Rates,
    report_of,
    short,
)

from tests.support.images import layer

GB = 10**9
# With a graph driver: all layers are announced, three are downloaded at a time, one is extracted at a time.
GRAPH_DRIVER: list[tuple[dict[str, Any], str]] = [
    ({"status": "Pulling from nvidia/isaac-sim", "id": "5.1.0"}, "contacting the registry"),
    (layer("a", "Already exists"), "unpacking"),
    (layer("b", "Pulling fs layer"), "contacting the registry"),
    (layer("c", "Pulling fs layer"), "contacting the registry"),
    (layer("c", "Waiting"), "contacting the registry"),
    (layer("b", "Waiting"), "queued in the engine"),
    (layer("b", "Downloading", 0, 4 * GB), "0.0 of at least 4.0 GB, 0.0 kB/s"),
    (layer("b", "Downloading", 3 * GB, 4 * GB), "3.0 of at least 4.0 GB, 0.0 kB/s"),
    (layer("c", "Downloading", 1 * GB, 6 * GB), "4.0 of 10.0 GB, 0.0 kB/s"),
    (layer("c", "Retrying in 5 seconds"), "4.0 of 10.0 GB, 0.0 kB/s"),
    (layer("b", "Verifying Checksum"), "5.0 of 10.0 GB, 0.0 kB/s"),
    (layer("b", "Extracting", 2 * GB, 4 * GB), "5.0 of 10.0 GB, 0.0 kB/s"),
    (layer("c", "Download complete"), "10.0 of 10.0 GB, unpacking 20 %"),
    (layer("b", "Pull complete"), "10.0 of 10.0 GB, unpacking 40 %"),
    (layer("c", "Extracting", 3 * GB, 6 * GB), "10.0 of 10.0 GB, unpacking 70 %"),
    (layer("c", "Pull complete"), "10.0 of 10.0 GB, unpacking 100 %"),
    ({"status": "Digest: sha256:0123"}, "10.0 of 10.0 GB, unpacking 100 %"),
]
# With containerd's store: the configuration counts as a layer, and newer versions extract in seconds.
CONTAINERD: list[tuple[dict[str, Any], str]] = [
    ({"status": "Pulling from library/redis", "id": "7.4"}, "contacting the registry"),
    (layer("a", "Pulling fs layer"), "contacting the registry"),
    (layer("config", "Downloading", 1000, 2000), "1.0 of at least 2.0 kB, 0.0 kB/s"),
    (layer("config", "Download complete", hidecounts=True), "2.0 of at least 2.0 kB, 0.0 kB/s"),
    (layer("a", "Downloading", 10**6, 4 * 10**6), "1.0 of 4.0 MB, 0.0 kB/s"),
    (layer("a", "Download complete", hidecounts=True), "4.0 of 4.0 MB, unpacking"),
    (layer("a", "Extracting", 1, units="s"), "4.0 of 4.0 MB, unpacking"),
    (layer("a", "Pull complete", hidecounts=True), "4.0 of 4.0 MB, unpacking 99 %"),
]


@pytest.mark.parametrize("story", [GRAPH_DRIVER, CONTAINERD], ids=["graph-driver", "containerd"])
def test_a_line_for_each_message(story: list[tuple[dict[str, Any], str]]) -> None:
    image = Progress("nvcr.io/nvidia/isaac-sim:5.1.0")
    image.begin(0)
    for message, text in story:
        image.update(message, 0)
        assert report_of([(image.snapshot(0), 0)])["text"] == f"nvidia/isaac-sim:5.1.0: {text}; 0 of 1 done", message


def test_several_images_are_one_line() -> None:
    names = ["nvcr.io/nvidia/isaac-sim:5.1.0", "redis:7.4", "quay.io/a/b:1", "quay.io/a/c:1", "quay.io/a/d:1"]
    loading, done, failed, quiet, _waiting = images = [Progress(name) for name in names]
    loading.begin(100)
    loading.update(layer("a", "Downloading", GB, 9 * GB), 100)
    done.end(DONE)
    failed.end(FAILED, "no space left on device. Make room")
    quiet.begin(58)
    report = report_of([(image.snapshot(100), 41_000_000 if image is loading else 0) for image in images])
    assert report["text"] == (
        "nvidia/isaac-sim:5.1.0: 1.0 of 9.0 GB, 41.0 MB/s; a/b:1: no space left on device. Make room; "
        "a/c:1: contacting the registry, nothing new for 42 s; 1 waiting; 1 of 5 done"
    )
    assert [image["state"] for image in report["images"]] == ["pulling", "done", "failed", "pulling", "waiting"]
    assert report["finished"] is False
    assert report["images"][0] == {
        "name": names[0],
        "state": "pulling",
        "attempt": 1,
        "bytes_done": GB,
        "bytes_total": 9 * GB,
        "bytes_total_known": True,
        "bytes_per_second": 41_000_000,
        "unpacked_percent": None,
        "note": "",
    }


def test_repeated_messages_are_not_progress() -> None:
    image = Progress("redis:7.4")
    image.begin(0)
    image.update(layer("a", "Downloading", 1, 9), 1)
    image.update(layer("b", "Downloading", 1, 9), 2)
    image.update(layer("a", "Downloading", 1, 9), 3)
    assert image.moved == 2
    image.update(layer("a", "Downloading", 2, 9), 4)
    assert image.moved == 4


def test_a_new_attempt_starts_with_empty_progress() -> None:
    image = Progress("redis:7.4")
    image.begin(0)
    image.update(layer("a", "Downloading", 5, 9), 0)
    image.set_note("connection reset; attempt 2 of 4 follows")
    text = report_of([(image.snapshot(0), 0)])["text"]
    assert text == "redis:7.4: connection reset; attempt 2 of 4 follows; 0 of 1 done"
    image.begin(7)
    snapshot = image.snapshot(7)
    assert (snapshot.attempt, snapshot.loaded, snapshot.total, snapshot.quiet, snapshot.note) == (2, 0, 0, 0, "")


def test_the_rate_covers_the_last_seconds() -> None:
    rates, image = Rates(), Progress("redis:7.4")
    image.begin(0)
    got = []
    for second in range(31):
        # Fast, then half as fast, then stalled.
        loaded = min(second, 10) * 100 + max(0, min(second, 20) - 10) * 50
        image.update(layer("a", "Downloading", loaded, 10**6), second)
        got.append(rates.rate(image.snapshot(second), second))
    assert (got[0], got[1], got[10], got[20], got[30]) == (0, 100, 100, 50, 0)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("redis:7.4", "redis:7.4"),
        ("library/redis:7.4", "library/redis:7.4"),
        ("nvcr.io/nim/meta/llama:1.0", "nim/meta/llama:1.0"),
        ("localhost/a:1", "a:1"),
        ("registry:5000/a:1", "a:1"),
        (f"nvcr.io/a/b:1@sha256:{'ab' * 32}", "a/b:1"),
        (f"nvcr.io:443/a/b@sha256:{'ab' * 32}", "a/b@sha256:abababababab"),
    ],
)
def test_short_names(name: str, wanted: str) -> None:
    assert short(name) == wanted

# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata service's answers about spot, rebalance and scheduled events: real requests to its handler."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from sandbox.cloud.reconciler import metadata
from sandbox.guest import imds
from sandbox.keys import Keys
from sandbox.settings import REGION

from .conftest import AWS, KEY

ACTION = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
SCHEDULED = "events/maintenance/scheduled"
Get = Callable[[str, str], tuple[int, str]]


@pytest.fixture
def get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Get]:
    """Return a function that gets the status and text of a path, for an instance."""
    monkeypatch.setattr(imds, "ROOT", tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), imds.Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/latest"

    def read(instance_id: str, path: str) -> tuple[int, str]:
        instance = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_instance(instance_id)
        document = metadata(instance, Keys(KEY)) | {"http_tokens": "required"}
        (tmp_path / "127.0.0.1.json").write_text(json.dumps(document), encoding="utf-8")
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = requests.put(f"{url}/api/token", headers=lifetime, timeout=5).text
        place = f"{url}/meta-data/{path}"
        assert requests.get(place, timeout=5).status_code == 401, "version 1 must be refused"
        answer = requests.get(place, headers={"X-aws-ec2-metadata-token": token}, timeout=5)
        return answer.status_code, answer.text

    yield read
    server.shutdown()
    thread.join(timeout=10)
    server.server_close()


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_without_news(aws: AWS, get: Get, market: str) -> None:
    instance_id = aws.spot() if market == "spot" else aws.run()
    assert get(instance_id, ACTION)[0] == 404
    assert get(instance_id, "spot/termination-time")[0] == 404
    assert get(instance_id, REBALANCE)[0] == 404
    assert get(instance_id, SCHEDULED) == (200, "[]")
    assert get(instance_id, "events/maintenance/history") == (200, "[]")
    assert get(instance_id, "instance-life-cycle") == (200, market)
    assert get(instance_id, "events/") == (200, "maintenance/")


@pytest.mark.parametrize(("kind", "action"), [("persistent", "stop"), ("one-time", "terminate")])
def test_an_interruption(aws: AWS, get: Get, kind: str, action: str) -> None:
    instance_id = aws.spot(kind)
    aws.control("POST", "spot/interrupt", {"name": instance_id, "notice": 120})
    status, text = get(instance_id, ACTION)
    notice: dict[str, Any] = json.loads(text)
    assert (status, notice["action"], set(notice)) == (200, action, {"action", "time"})
    expected = (200, notice["time"]) if action == "terminate" else (404, "")
    assert get(instance_id, "spot/termination-time") == expected


def test_a_rebalance_recommendation(aws: AWS, get: Get) -> None:
    instance_id = aws.spot()
    aws.control("POST", "spot/rebalance", {"name": instance_id})
    status, text = get(instance_id, REBALANCE)
    assert (status, list(json.loads(text))) == (200, ["noticeTime"])
    assert get(instance_id, ACTION)[0] == 404


def test_a_scheduled_event(aws: AWS, get: Get) -> None:
    instance_id = aws.run()
    aws.control("POST", "maintenance", {"name": instance_id, "code": "instance-reboot", "seconds": 60})
    status, text = get(instance_id, SCHEDULED)
    (event,) = json.loads(text)
    assert status == 200
    assert set(event) == {"Code", "Description", "EventId", "NotAfter", "NotBefore", "State"}
    assert (event["Code"], event["State"]) == ("instance-reboot", "active")
    assert event["EventId"].startswith("instance-event-")

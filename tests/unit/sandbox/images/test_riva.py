# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator of Riva with NVIDIA's own client."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import riva.client
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.foxglove import SECONDS
from tests.unit.compose.cognitive.support import ROOT, free_port
from tests.unit.sandbox.images.support import process, wait_for_port

RATE = 16000
# A tenth of a second of silence.
PIECE = bytes(RATE // 10 * 2)
PHRASE = "go to the loading dock"


@dataclass
class Riva:
    """A running service."""

    grpc: int
    http: int

    @property
    def address(self) -> str:
        """Its address for clients."""
        return f"127.0.0.1:{self.grpc}"

    def recognise(self, pieces: int, **config: Any) -> list[Any]:
        """Return the results of NVIDIA's client for this number of tenths of a second."""
        service = riva.client.ASRService(riva.client.Auth(uri=self.address))
        wanted = riva.client.StreamingRecognitionConfig(
            config=riva.client.RecognitionConfig(
                **{
                    "encoding": riva.client.AudioEncoding.LINEAR_PCM,
                    "sample_rate_hertz": RATE,
                    "language_code": "en-US",
                    **config,
                }
            ),
            interim_results=True,
        )
        answers = service.streaming_response_generator([PIECE] * pieces, wanted)
        return [result for answer in answers for result in answer.results]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Riva]:
    """Run the service."""
    found = Riva(free_port(), free_port())
    environment = {
        "NGC_API_KEY": "canary-nim-7d31",
        "NIM_GRPC_API_PORT": str(found.grpc),
        "NIM_HTTP_API_PORT": str(found.http),
    }
    with process(tmp_path_factory.mktemp("riva"), "sandbox.images.riva", environment) as told:
        # It opens this port last.
        wait_for_port(found.http, told)
        yield found


def test_nvidias_client_hears_the_phrase_word_by_word(service: Riva) -> None:
    results = service.recognise(3)
    assert [result.alternatives[0].transcript for result in results] == ["go", "go to", "go to the", PHRASE]
    assert [result.is_final for result in results] == [False, False, False, True]
    assert results[-1].audio_processed == pytest.approx(0.3)


def test_without_audio_there_is_no_result(service: Riva) -> None:
    assert service.recognise(0) == []


@pytest.mark.parametrize("config", [{"language_code": "tlh"}, {"sample_rate_hertz": 0}])
def test_invalid_requests_are_refused(service: Riva, config: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        service.recognise(1, **config)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["", "nvidia.riva.asr.RivaSpeechRecognition"])
def test_the_standard_health_service(service: Riva, name: str) -> None:
    with grpc.insecure_channel(service.address) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_nims_health_page(service: Riva) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.http}/v1/health/ready", timeout=SECONDS) as answer:
        assert answer.status == 200


def test_without_a_key_it_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.images.riva"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "The simulator of Riva cannot start: NGC_API_KEY is missing\n")

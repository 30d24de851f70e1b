"""``python3 -m sandbox.images.riva``: the simulator of Riva's speech recognition.

It implements Riva's protocol, with NVIDIA's definitions, and recognises the same phrase in any audio: one word for each
chunk, and the whole phrase at the end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from riva.client.proto import riva_asr_pb2 as asr

from sandbox.nim_api import Api, serve

SERVICE = "nvidia.riva.asr.RivaSpeechRecognition"
PHRASE = "go to the loading dock"
LANGUAGE = "en-US"
CONFIDENCE = 0.9
# A sample of LINEAR_PCM, which is what clients send.
SAMPLE_BYTES = 2
CALLS = 8
GRACE_SECONDS = 2


@dataclass(frozen=True)
class Transcript:
    """The result so far.

    Attributes:
        seconds: how much sound there was.
        final: whether it is the last one.
    """

    text: str
    seconds: float
    final: bool

    def answer(self) -> Any:
        """Return the result as a message of Riva."""
        alternative = asr.SpeechRecognitionAlternative(
            transcript=self.text, confidence=CONFIDENCE if self.final else 0.0, language_code=[LANGUAGE]
        )
        result = asr.StreamingRecognitionResult(
            alternatives=[alternative],
            is_final=self.final,
            stability=1.0 if self.final else 0.5,
            channel_tag=1,
            audio_processed=self.seconds,
        )
        return asr.StreamingRecognizeResponse(results=[result])


def recognise(pieces: Iterator[int], rate: int, phrase: str) -> Iterator[Transcript]:
    """Yield the results for chunks of audio; nothing without audio.

    :param pieces: the size of each chunk, in bytes.
    :param rate: samples a second.
    """
    words = phrase.split()
    number = length = 0
    for number, piece in enumerate(pieces, 1):
        length += piece
        yield Transcript(" ".join(words[:number]), length / SAMPLE_BYTES / rate, final=False)
    if number:
        yield Transcript(phrase, length / SAMPLE_BYTES / rate, final=True)


class Recognition:
    """The service, with streaming recognition only."""

    def __init__(self, phrase: str) -> None:
        """Use a fixed phrase."""
        self._phrase = phrase

    def handler(self) -> Any:
        """Return the handler of a method."""
        streaming = grpc.stream_stream_rpc_method_handler(
            self.recognise,
            request_deserializer=asr.StreamingRecognizeRequest.FromString,
            response_serializer=asr.StreamingRecognizeResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamingRecognize": streaming})

    def recognise(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Answer audio with the phrase."""
        first = next(requests, asr.StreamingRecognizeRequest())
        if first.WhichOneof("streaming_request") != "streaming_config":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be a streaming_config")
        config = first.streaming_config.config
        if config.sample_rate_hertz <= 0:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"sample_rate_hertz is {config.sample_rate_hertz}")
        if config.language_code not in ("", LANGUAGE):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"language_code is {config.language_code!r}: {LANGUAGE}")
        pieces = (len(request.audio_content) for request in requests if request.audio_content)
        for transcript in recognise(pieces, config.sample_rate_hertz, self._phrase):
            if transcript.final or first.streaming_config.interim_results:
                yield transcript.answer()


def main() -> int:
    """Run until SIGTERM; return 2 if the configuration is not valid."""
    if not os.environ.get("NGC_API_KEY"):
        print("The simulator of Riva cannot start: NGC_API_KEY is missing", file=sys.stderr)
        return 2
    server = grpc.server(ThreadPoolExecutor(max_workers=CALLS))
    server.add_generic_rpc_handlers([Recognition(os.environ.get("PHRASE") or PHRASE).handler()])
    state = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    for service in ("", SERVICE):
        state.set(service, health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"[::]:{os.environ.get('NIM_GRPC_API_PORT') or 50051}")
    server.start()
    # NIM's own health route.
    serve(int(os.environ.get("NIM_HTTP_API_PORT") or 9000), Api)
    server.stop(GRACE_SECONDS).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())

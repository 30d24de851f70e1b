# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_pull against a fake engine with planned pulls, and once against this machine's Docker."""

from __future__ import annotations

import base64
import json
import os
import platform
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._docker import pull
from ansible_collections.digital_twin.robotics_lab.plugins.modules import image_pull

import sandbox.engine
from tests.support import images
from tests.support.images import FakeEngine, Step, layer

Run = Callable[..., dict[str, Any]]
ISAAC, NIM, REDIS = "nvcr.io/nvidia/isaac-sim:5.1.0", "nvcr.io/nim/meta/llama:1.0", "redis:7.4"
DIGEST = f"sha256:{'ab' * 32}"
PASSWORD = "canary-ngc-1f6e"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    running = FakeEngine(tmp_path / "docker.sock")
    yield running
    running.close()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module without the pauses for a real registry, and return its result."""
    for name in ("PAUSE_SECONDS", "PING_INTERVAL_SECONDS", "REPORT_SECONDS"):
        monkeypatch.setattr(pull, name, 0.01)

    def run_module(*names: str, check: bool = False, **options: object) -> dict[str, Any]:
        defaults = {
            "progress_file": str(tmp_path / "progress.json"),
            "docker_socket": str(tmp_path / "docker.sock"),
            "docker_config": str(tmp_path / "config.json"),
        }
        arguments = {"images": list(names), **defaults, **options, "_ansible_check_mode": check}
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            image_pull.main()
        result = dict(json.loads(capsys.readouterr().out))
        result.pop("invocation", None)
        return result

    return run_module


def progress(tmp_path: Path) -> dict[str, Any]:
    """Return the content of the progress file."""
    return dict(json.loads((tmp_path / "progress.json").read_text("utf-8")))


def waits_for_report(tmp_path: Path, wanted: Callable[[dict[str, Any]], bool], kept: list[dict[str, Any]]) -> Step:
    """Return the step that waits until the file reports a state of its only image, and saves the report."""

    def step(handler: images.Handler) -> None:
        for _round in range(images.WAIT_SECONDS * 100):
            report = progress(tmp_path)
            if wanted(report["images"][0]):
                kept.append(report)
                return
            if handler.closed(0.01):
                return

    return step


def test_present_images_are_not_pulled(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    pinned = f"nvcr.io/nim/meta/llama:1.0@{DIGEST}"
    engine.images = {ISAAC: "sha256:1", f"nvcr.io/nim/meta/llama@{DIGEST}": "sha256:2"}
    # Without missing images, the credentials are not read.
    (tmp_path / "config.json").write_text("none")
    result = run(ISAAC, pinned, ISAAC)
    nothing = {"pulled": False, "bytes": 0, "seconds": 0.0, "attempts": 0}
    assert result == {
        "changed": False,
        "images": [{"name": ISAAC, "id": "sha256:1", **nothing}, {"name": pinned, "id": "sha256:2", **nothing}],
        "problems": [],
        "diff": {"before": f"{ISAAC}\n{pinned}\n", "after": f"{ISAAC}\n{pinned}\n"},
    }
    assert engine.pulls == []
    assert progress(tmp_path)["finished"] is True


def test_progress_and_result_of_a_pull(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    kept: list[dict[str, Any]] = []
    engine.plans[ISAAC] = [
        [
            images.sends(
                {"status": "Pulling from nvidia/isaac-sim", "id": "5.1.0"},
                layer("aaa", "Already exists"),
                layer("bbb", "Pulling fs layer"),
                layer("ccc", "Pulling fs layer"),
                layer("bbb", "Downloading", 3_200_000_000, 9_000_000_000),
            ),
            waits_for_report(tmp_path, lambda image: image["bytes_done"] > 0, kept),
            images.sends(
                layer("ccc", "Download complete"),
                layer("bbb", "Download complete"),
                layer("bbb", "Extracting", 5_400_000_000, 9_000_000_000),
            ),
            waits_for_report(tmp_path, lambda image: image["state"] == "extracting", kept),
            images.sends(layer("bbb", "Pull complete")),
        ]
    ]
    result = run(ISAAC)
    assert result["changed"] is True
    (image,) = result["images"]
    assert image["seconds"] >= 0
    assert {**image, "seconds": 0} == {
        "name": ISAAC,
        "id": engine.images[ISAAC],
        "pulled": True,
        "bytes": 9_000_000_000,
        "seconds": 0,
        "attempts": 1,
    }
    assert kept[0]["text"].startswith("nvidia/isaac-sim:5.1.0: 3.2 of at least 9.0 GB, ")
    assert kept[0]["images"][0]["bytes_total_known"] is False
    assert kept[1]["text"] == "nvidia/isaac-sim:5.1.0: 9.0 of 9.0 GB, unpacking 60 %; 0 of 1 done"
    assert progress(tmp_path)["text"] == "1 of 1 done"
    assert (tmp_path / "progress.json").stat().st_mode & 0o777 == 0o644
    assert {file.name for file in tmp_path.iterdir()} == {"progress.json", "docker.sock"}
    assert run(ISAAC)["changed"] is False


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [images.responds(500, "Get https://nvcr.io/v2/: net/http: TLS handshake timeout")], id="status-500"
        ),
        pytest.param([images.responds(429, "toomanyrequests: You have reached your pull rate limit")], id="rate-limit"),
        pytest.param([images.goes_away(0)], id="reset-at-once"),
        pytest.param([images.sends(layer("aaa", "Downloading", 1, 9)), images.goes_away(3)], id="engine-restarts"),
        pytest.param([images.sends(layer("aaa", "Downloading", 1, 9)), images.fails("unexpected EOF")], id="error"),
        pytest.param(
            [images.sends({"error": "context canceled"}), images.ends_without_image], id="error-of-old-engines"
        ),
        pytest.param([images.ends_without_image], id="image-missing-after-success"),
        pytest.param([lambda handler: handler.answer(200, ["no"])], id="not-json-objects"),
    ],
)
def test_retryable_errors_are_retried(run: Run, engine: FakeEngine, steps: list[Step]) -> None:
    engine.plans[ISAAC] = [steps]
    result = run(ISAAC)
    assert result["changed"] is True
    assert result["images"][0]["attempts"] == engine.attempts(ISAAC) == 2
    assert engine.away == 0


def test_attempts_are_limited(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    engine.plans[ISAAC] = [[images.fails("unexpected EOF")]] * 4
    result = run(ISAAC, REDIS, retries=1)
    assert result["failed"] is True
    assert result["changed"] is True
    problem = (
        f"{ISAAC}: unexpected EOF, at the last of 2 attempts. The download is damaged or incomplete. Run it again. "
        "If the error remains, check the proxies and mirrors on the way."
    )
    assert result["problems"] == [problem]
    assert result["msg"] == f"1 of 2 images are missing: {problem}"
    assert [image["pulled"] for image in result["images"]] == [False, True]
    assert engine.attempts(ISAAC) == 2
    assert progress(tmp_path)["finished"] is True
    assert "nvidia/isaac-sim:5.1.0: unexpected EOF, at the last of 2" in progress(tmp_path)["text"]


LOGIN = "Run `docker login nvcr.io` as a user who may pull it, or correct the name."
FINAL: list[tuple[Step, str]] = [
    (
        images.responds(404, "manifest for nvcr.io/nvidia/isaac-sim:5.1.0 not found: manifest unknown"),
        "manifest unknown. nvcr.io has no such tag or digest. Correct what follows the image's name.",
    ),
    (images.responds(404, "name unknown: The repository is not known"), "nvcr.io has no such image. Correct the name."),
    (images.responds(500, "nvcr.io/nvidia/isaac-sim:5.1.0: not found"), "nvcr.io has no such image. Correct the name."),
    (images.responds(404, "no"), "no. nvcr.io has no such image. Correct the name."),
    (
        images.responds(400, "invalid reference format"),
        "invalid reference format. nvcr.io has no such image. Correct the",
    ),
    (
        images.responds(404, "pull access denied for x, repository does not exist: denied: requested access"),
        f"No credentials for nvcr.io are in {{config}}. {LOGIN}",
    ),
    (images.responds(500, "error parsing HTTP 403 response body: invalid character '<'"), LOGIN),
    (images.responds(401, "no"), f"no. No credentials for nvcr.io are in {{config}}. {LOGIN}"),
    (images.responds(403, "no"), LOGIN),
    (images.responds(500, "Get x: unauthorized: authentication required"), LOGIN),
    (images.responds(500, "failed to resolve reference: failed to authorize: no basic auth credentials"), LOGIN),
    (images.responds(500, "insufficient_scope: authorization failed"), LOGIN),
    (images.responds(500, "unexpected status from HEAD request to https://nvcr.io/v2/x: 402 Payment Required"), LOGIN),
    (images.fails("it is not for you", code=403), LOGIN),
    (
        images.responds(500, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "ca.crt.",
    ),
    (images.responds(500, "remote error: tls: bad certificate"), "into /etc/docker/certs.d/nvcr.io/ca.crt."),
    (
        images.responds(500, "x509: certificate has expired or is not yet valid: current time 2020-"),
        "Check the clock of",
    ),
    (images.responds(500, "x509: certificate is valid for *.lab, not nvcr.io"), "is for another name. Correct the"),
    (images.responds(500, "http: server gave HTTP response to HTTPS client"), "to the engine's insecure-registries"),
    (
        images.fails("no matching manifest for linux/arm64/v8 in the manifest list entries"),
        f"{ISAAC} has no image for linux/arm64/v8. Choose another image, or a machine of another architecture.",
    ),
    (
        images.responds(404, "no matching manifest for linux/arm64 in the manifest list entries"),
        "for linux/arm64. Choose",
    ),
    (images.responds(404, "no match for platform in manifest sha256:ab: not found"), "for linux/{machine}. Choose"),
    (
        images.fails('image operating system "windows" cannot be used on this platform: linux'),
        "for linux/{machine}. Choose",
    ),
    (
        images.fails("failed to register layer: write /a: no space left on device"),
        "no space left on device. Free disk space where the engine stores images. `docker system df` shows",
    ),
    (images.fails("write /var/lib/docker/x: disk quota exceeded"), "Free disk space"),
    (images.fails("failed to register layer: mkdir /x: read-only file system"), "The engine cannot write its images."),
    (
        images.responds(500, "proxyconnect tcp: Proxy Authentication Required"),
        "The proxy requires a user and a password.",
    ),
    (
        images.fails("unexpected media type text/html for sha256:ab: not found"),
        "Something else answers instead of",
    ),
    (images.responds(500, "invalid character '<' looking for beginning of value"), "such as a proxy or a login page."),
    (
        images.fails("support for Docker Image manifest version 2, schema 1 is disabled"),
        "Update Docker, or choose another",
    ),
]


@pytest.mark.parametrize(("step", "expected"), FINAL)
def test_final_errors_are_not_retried(run: Run, engine: FakeEngine, tmp_path: Path, step: Step, expected: str) -> None:
    engine.plans[ISAAC] = [[step]]
    result = run(ISAAC)
    assert result["failed"] is True
    assert result["changed"] is False
    (problem,) = result["problems"]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    assert expected.format(config=tmp_path / "config.json", machine=machine) in problem
    assert "\n" not in problem
    assert problem.endswith(".")
    assert engine.attempts(ISAAC) == 1


RETRYABLE: list[tuple[Step, str]] = [
    (
        images.responds(429, "no"),
        "limits pulls without a login. Run `docker login nvcr.io`, or pull from a",
    ),
    (
        images.responds(500, "toomanyrequests: You have reached your unauthenticated pull rate limit"),
        "Run `docker login nv",
    ),
    (
        images.fails("httpReadSeeker: unexpected status code https://x/y: 429 Too Many Requests"),
        "Run `docker login nvcr",
    ),
    (
        images.responds(500, "error parsing HTTP 429 response body: invalid character 'T' looking for beginning"),
        "Run `docker",
    ),
    (images.responds(500, "dial tcp: lookup nvcr.io on 127.0.0.53:53: no such host"), "with `getent hosts nvcr.io`."),
    (images.responds(500, "lookup nvcr.io on 10.0.0.2:53: read udp: i/o timeout"), "with `getent hosts nvcr.io`."),
    (
        images.responds(500, "dial tcp: lookup nvcr.io: Temporary failure in name resolution"),
        "cannot resolve the name.",
    ),
    (
        images.responds(500, "dial tcp 192.0.2.1:443: connect: connection refused"),
        "this host reaches nvcr.io, and that its",
    ),
    (images.responds(500, "dial tcp 192.0.2.1:443: connect: no route to host"), "with `curl -i https://nvcr.io/v2/`"),
    (
        images.responds(500, "proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused"),
        "Check the proxy that",
    ),
    (images.responds(500, "net/http: TLS handshake timeout"), "nvcr.io does not answer in time."),
    (images.responds(500, "Client.Timeout exceeded while awaiting headers"), "nvcr.io does not answer in time."),
    (
        images.fails("filesystem layer verification failed for digest sha256:ab"),
        "is damaged or incomplete. Run it again.",
    ),
    (
        images.fails("failed commit on ref: unexpected commit digest sha256:ab, expected sha256:cd"),
        "is damaged or incomplete",
    ),
    (
        images.responds(500, "received unexpected HTTP status: 503 Service Unavailable"),
        "reports an internal error. Run it again",
    ),
    (images.responds(500, "something new"), "something new, at the last of 2 attempts. Run it again."),
]


@pytest.mark.parametrize(("step", "expected"), RETRYABLE)
def test_retryable_errors_end_with_a_remedy(run: Run, engine: FakeEngine, step: Step, expected: str) -> None:
    engine.plans[ISAAC] = [[step], [step]]
    (problem,) = run(ISAAC, retries=1)["problems"]
    assert expected in problem
    assert "at the last of 2 attempts. " in problem
    assert engine.attempts(ISAAC) == 2


def test_remedies_after_a_login(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    config = {"auths": {"nvcr.io": {"auth": encoded(f"me:{PASSWORD}")}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    engine.plans = {
        ISAAC: [[images.responds(429, "toomanyrequests: You have reached your pull rate limit")]],
        NIM: [[images.responds(403, "denied")]],
    }
    isaac, nim = run(ISAAC, NIM, retries=0)["problems"]
    assert "nvcr.io limits the pulls of this account. Run it again later, or pull from a mirror." in isaac
    assert f"The credentials from {tmp_path / 'config.json'} do not suffice. {LOGIN}" in nim


def test_an_engine_that_does_not_return(run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "RETURN_SECONDS", 0.05)
    engine.plans[ISAAC] = [[images.sends(layer("aaa", "Downloading", 1, 9)), images.closes]]
    (problem,) = run(ISAAC)["problems"]
    assert problem.startswith(f"{ISAAC}: the engine at {engine.path} closed the connection, and did not answer again")
    assert problem.endswith("See `journalctl -u docker`.")


def test_a_stalled_attempt_ends(run: Run, engine: FakeEngine) -> None:
    queued = "quay.io/a/b:1"
    all_of_them = threading.Barrier(4)
    stalled = [layer("aaa", "Downloading", 1, 9), layer("bbb", "Download complete")]
    engine.plans = {
        # One sends nothing, one repeats itself, one unpacks without messages, and one is queued.
        ISAAC: [[images.sends(*stalled), images.hangs()], [images.waits_for(all_of_them)]],
        NIM: [[images.hangs(*stalled)], [images.waits_for(all_of_them)]],
        REDIS: [[images.sends(layer("aaa", "Download complete")), images.waits_for(all_of_them)]],
        queued: [
            [images.sends(layer("aaa", "Already exists"), layer("bbb", "Waiting")), images.waits_for(all_of_them)]
        ],
    }
    result = run(ISAAC, NIM, REDIS, queued, stall_timeout=1, parallel=4)
    assert result["problems"] == []
    assert [image["attempts"] for image in result["images"]] == [2, 2, 1, 1]


def test_the_message_of_a_stall(run: Run, engine: FakeEngine) -> None:
    engine.plans[ISAAC] = [[images.sends(layer("aaa", "Downloading", 10**6, 9 * 10**6)), images.hangs()]]
    assert run(ISAAC, stall_timeout=1, retries=0)["problems"] == [
        f"{ISAAC}: no progress for 1 s, 1.0 of 9.0 MB downloaded, at the last of 1 attempts. Run it again."
    ]


def test_the_time_limit_applies_to_all_images(run: Run, engine: FakeEngine) -> None:
    engine.plans = {
        ISAAC: [[images.loads_forever]],
        NIM: [[images.sends(layer("aaa", "Download complete")), images.hangs()]],
    }
    result = run(ISAAC, NIM, REDIS, timeout=1, parallel=2)
    remedy = "Increase timeout, or run it again."
    isaac, nim, redis = result["problems"]
    assert isaac.startswith(f"{ISAAC}: not complete within 1 s, 0.0 of 1.0 GB downloaded. {remedy}")
    assert nim == f"{NIM}: not complete within 1 s. {remedy}"
    assert redis == f"{REDIS}: not started within 1 s. {remedy}"
    assert [image["attempts"] for image in result["images"]] == [1, 1, 0]


def test_images_are_pulled_in_parallel(run: Run, engine: FakeEngine) -> None:
    # Neither pull continues before the other has started.
    meeting = images.waits_for(threading.Barrier(2))
    engine.plans = {ISAAC: [[meeting]], NIM: [[meeting]]}
    assert len(run(ISAAC, NIM, REDIS, parallel=2)["images"]) == 3
    assert engine.most == 2


def test_check_mode(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    engine.images[REDIS] = "sha256:1"
    result = run(REDIS, ISAAC, check=True)
    assert result["changed"] is True
    assert [(image["name"], image["pulled"]) for image in result["images"]] == [(REDIS, False), (ISAAC, True)]
    assert result["diff"] == {"before": f"{REDIS}\n", "after": f"{REDIS}\n{ISAAC}\n"}
    assert engine.pulls == []
    assert not (tmp_path / "progress.json").exists()
    assert run(REDIS, check=True)["changed"] is False


def test_check_mode_without_an_engine(run: Run, tmp_path: Path) -> None:
    assert run(ISAAC, check=True)["images"][0]["pulled"] is True
    # From an earlier run that was killed.
    (tmp_path / "progress.json").write_text('{"text": "9.8 of 9.8 GB"}')
    refused = run(ISAAC)
    assert refused["failed"] is True
    assert refused["msg"] == (
        f"docker_socket: no engine answers at {tmp_path / 'docker.sock'}: No such file or directory. "
        "Start Docker, or set the socket of a running engine."
    )
    assert progress(tmp_path)["text"] == f"nvidia/isaac-sim:5.1.0: {refused['msg'].removesuffix('.')}; 0 of 1 done"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


NGC = {"username": "$oauthtoken", "password": PASSWORD, "serveraddress": "nvcr.io"}
HUB = {"username": "me", "password": PASSWORD, "serveraddress": "https://index.docker.io/v1/"}
GOOD_HELPER = f"""#!/bin/sh
read -r server
case "$server" in
  nvcr.io) echo '{{"ServerURL": "nvcr.io", "Username": "$oauthtoken", "Secret": "{PASSWORD}"}}' ;;
  *index.docker.io*) echo '{{"ServerURL": "x", "Username": "<token>", "Secret": "{PASSWORD}"}}' ;;
  *) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""
BROKEN_HELPER = f"#!/bin/sh\necho {PASSWORD}\nexit 3\n"


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put two credential helpers on PATH."""
    for name, text in (("good", GOOD_HELPER), ("broken", BROKEN_HELPER)):
        helper = tmp_path / f"docker-credential-{name}"
        helper.write_text(text)
        helper.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("helpers")
@pytest.mark.parametrize(
    "case",
    [
        (ISAAC, None, None),
        (ISAAC, {}, None),
        (ISAAC, {"auths": {"nvcr.io": {}, "quay.io": {"auth": encoded("you:there")}}}, None),
        (ISAAC, {"auths": {"nvcr.io": {"auth": encoded(f"$oauthtoken:{PASSWORD}")}}}, NGC),
        (ISAAC, {"auths": {"https://nvcr.io/v2/": {"auth": encoded(f"$oauthtoken:{PASSWORD}")}}}, NGC),
        (ISAAC, {"auths": {"nvcr.io": {"username": "$oauthtoken", "password": PASSWORD}}}, NGC),
        (REDIS, {"auths": {"https://index.docker.io/v1/": {"auth": encoded(f"me:{PASSWORD}")}}}, HUB),
        (f"docker.io/library/{REDIS}", {"auths": {"docker.io": {"auth": encoded(f"me:{PASSWORD}")}}}, HUB),
        (
            "lab.azurecr.io:5000/a:1",
            {"auths": {"lab.azurecr.io:5000": {"auth": encoded("0000:"), "identitytoken": PASSWORD}}},
            {"username": "0000", "identitytoken": PASSWORD, "serveraddress": "lab.azurecr.io:5000"},
        ),
        (ISAAC, {"credsStore": "good"}, NGC),
        (ISAAC, {"credHelpers": {"nvcr.io": "good"}, "credsStore": "none"}, NGC),
        (REDIS, {"credsStore": "good"}, {"identitytoken": PASSWORD, "serveraddress": "https://index.docker.io/v1/"}),
        ("quay.io/a/b:1", {"credsStore": "good"}, None),
    ],
)
def test_credentials_of_the_registry(
    run: Run, engine: FakeEngine, tmp_path: Path, case: tuple[str, dict[str, Any] | None, dict[str, str] | None]
) -> None:
    image, config, wanted = case
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    result = run(image)
    assert result["problems"] == []
    ((_name, authorization),) = engine.pulls
    assert (json.loads(base64.urlsafe_b64decode(authorization)) if authorization else None) == wanted
    assert PASSWORD not in json.dumps(result)


@pytest.mark.usefixtures("helpers")
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("[]", "docker_config: {config} is not a JSON object. Recreate it with `docker login`."),
        ('{"auths": []}', None),
        ('{"auths": [1]}', "docker_config: auths of {config} is not an object. Recreate the file with `docker login`."),
        (
            '{"auths": {"nvcr.io": {"auth": "?"}}}',
            "docker_config: auth of nvcr.io in {config} is not user:password in base64. Run `docker login nvcr.io`.",
        ),
        (
            '{"credsStore": "missing"}',
            "docker_config: {config} names docker-credential-missing for nvcr.io, which is not on PATH. Install it.",
        ),
        (
            '{"credsStore": "../../tmp/evil"}',
            "docker_config: {config} names docker-credential-../../tmp/evil for nvcr.io, which is not on PATH. "
            "Install it.",
        ),
        (
            '{"credsStore": "broken"}',
            "docker-credential-broken returned no credentials for nvcr.io and exited with status 3. "
            "Run `echo nvcr.io | docker-credential-broken get` to see why.",
        ),
    ],
)
def test_unusable_credentials(run: Run, engine: FakeEngine, tmp_path: Path, config: str, expected: str | None) -> None:
    (tmp_path / "config.json").write_text(config)
    result = run(ISAAC)
    assert result.get("msg") == (expected and expected.format(config=tmp_path / "config.json"))
    assert len(engine.pulls) == (0 if expected else 1)
    assert PASSWORD not in json.dumps(result)


def test_messages_do_not_contain_secrets(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"nvcr.io": {"auth": encoded(f"me:{PASSWORD}")}}}))
    message = f'Get "https://cdn.nvcr.io/blob?Signature=abc&Key=def":\n {PASSWORD} is wrong: unauthorized'
    engine.plans[ISAAC] = [[images.fails(message)]]
    result = run(ISAAC)
    assert result["problems"] == [
        f'{ISAAC}: Get "https://cdn.nvcr.io/blob?...": ******** is wrong: unauthorized. '
        f"The credentials from {tmp_path / 'config.json'} do not suffice. {LOGIN}"
    ]
    assert PASSWORD not in json.dumps([result, progress(tmp_path)])


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (
            ["nvcr.io/nvidia/isaac-sim"],
            {},
            'images: "nvcr.io/nvidia/isaac-sim" is not a full image name. Allowed: a name',
        ),
        (["redis:"], {}, 'images: "redis:" is not a full image name. Allowed: '),
        (["redis:7 --all"], {}, 'images: "redis:7 --all" is not a full image name. Allowed: '),
        (["Redis:7"], {}, 'images: "Redis:7" is not a full image name. Allowed: '),
        (["redis@sha256:12"], {}, 'images: "redis@sha256:12" is not a full image name. Allowed: '),
        ([REDIS], {"parallel": 0}, "parallel: 0 is too small. Allowed: 1 or more. Increase it."),
        ([REDIS], {"retries": -1}, "retries: -1 is too small. Allowed: 0 or more. Increase it."),
        ([REDIS], {"timeout": 0}, "timeout: 0 is too small. Allowed: "),
        ([REDIS], {"stall_timeout": 0}, "stall_timeout: 0 is too small. Allowed: "),
        ([REDIS], {"progress_file": "/none/p.json"}, "progress_file: /none/p.json cannot be written. Allowed: a file"),
        (
            [REDIS],
            {"progress_file": "/etc"},
            "progress_file: /etc cannot be written. Allowed: a file in an existing folder",
        ),
    ],
)
def test_invalid_options(
    run: Run, engine: FakeEngine, names: list[str], options: dict[str, Any], expected: str
) -> None:
    result = run(*names, **options)
    assert result["failed"] is True
    assert result["msg"].startswith(expected)
    assert engine.pulls == []


def test_an_unwritable_progress_file_is_a_warning(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()

    def remove(_handler: images.Handler) -> None:
        for file in folder.iterdir():
            file.unlink()
        folder.rename(tmp_path / "elsewhere")

    engine.plans[ISAAC] = [[remove]]
    result = run(ISAAC, progress_file=str(folder / "progress.json"))
    assert result["images"][0]["pulled"] is True
    assert f"progress_file: {folder / 'progress.json'} cannot be written: No such file" in str(result["warnings"])


def test_docker_pulls_from_a_registry_with_a_password(run: Run, tmp_path: Path) -> None:
    sandbox.engine.ensure()
    client = docker.from_env()
    options = {"docker_socket": "/var/run/docker.sock", "retries": 0}
    # Large enough for progress messages, and random, so that the engine does not have the layer.
    with images.registry("$oauthtoken", PASSWORD, os.urandom(2 * 10**6)) as address:
        name = f"{address}/image-pull/test:1"
        try:
            refused = run(name, **options)
            assert f"Run `docker login {address}` as a user who may pull it" in refused["msg"]
            config = {"auths": {address: {"auth": encoded(f"$oauthtoken:{PASSWORD}")}}}
            (tmp_path / "config.json").write_text(json.dumps(config))
            assert "manifest unknown. " in run(f"{address}/image-pull/test:2", **options)["msg"]
            (image,) = run(name, **options)["images"]
            assert image["id"] == client.images.get(name).id
            assert image["bytes"] > 2 * 10**6
            assert run(name, **options)["changed"] is False
        finally:
            if client.images.list(name):
                client.images.remove(name)
            client.close()

# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can call the sandbox's cloud: real sockets, moto behind it, and attacks by web pages and by other users."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from sandbox.cloud import seed
from sandbox.cloud.process import control, endpoint, serving_hosts
from sandbox.cloud.proxy import Proxy
from sandbox.cloud.reconciler import credentials
from sandbox.errors import SandboxError
from sandbox.keys import Key, Keys, ensure_key
from sandbox.lifecycle import own_folder, write_environment
from sandbox.locks import alone
from sandbox.settings import AWS_HOST, REGION, Sandbox
from tests.support.project import ROOT

ACCOUNT = "123456789012"
NOBODY = 65534
CREATE = b"Action=CreateVpc&CidrBlock=10.66.0.0%2F16&Version=2016-11-15"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
QUOTA = json.dumps({"L-DB2E81BA": 0}).encode()


class Cloud(NamedTuple):
    """A running proxy, its keys, and its socket for hosts."""

    port: int
    keys: Keys
    socket: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def running() -> Iterator[Cloud]:
    """Serve moto as the sandbox does, without hosts; in a folder that other users can enter."""
    keys = Keys(Key.new())
    proxy = Proxy("test", DomainDispatcherApplication(create_backend_app), keys)
    server = make_server("127.0.0.1", 0, proxy, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "aws.sock"
        with serving_hosts(path, proxy):
            yield Cloud(server.server_port, keys, path)
    server.shutdown()
    thread.join(timeout=10)
    server.server_close()


@pytest.fixture
def cloud(running: Cloud) -> Iterator[Cloud]:
    """Return the cloud without the resources of other tests."""
    vpcs = ec2_backends[ACCOUNT][REGION].vpcs
    before = set(vpcs)
    yield running
    for added in set(vpcs) - before:
        del vpcs[added]


def networks() -> set[str]:
    """Return the networks that a request of these tests has created."""
    return {vpc.cidr_block for vpc in ec2_backends[ACCOUNT][REGION].vpcs.values()} & {"10.66.0.0/16"}


def client(service: str, url: str, key: Key) -> Any:
    """Return a client that does not retry."""
    connect: Any = boto3.client
    return connect(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        aws_session_token=key.token or None,
        config=Config(retries={"total_max_attempts": 1}),
    )


def signed(key: Key, url: str, body: bytes = b"", *, service: str = "ec2", **headers: str) -> dict[str, str]:
    """Return the headers of a POST, its signature among them."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method="POST", url=url, data=body, headers={"Content-Type": FORM, **names})
    SigV4Auth(Credentials(key.id, key.secret, key.token or None), service, REGION).add_auth(request)
    return {name: str(value) for name, value in request.headers.items()}


def send(place: int | Path, target: str, headers: dict[str, str], body: bytes = b"", method: str = "POST") -> int:
    """Send one request unchanged, and return the status of the answer; 0 when there is none.

    The headers are sent unchanged, in any case and number; Content-Length is added if it is missing.
    """
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if not {"content-length", "transfer-encoding"} & {name.lower() for name in headers}:
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    with socket.socket(socket.AF_UNIX if isinstance(place, Path) else socket.AF_INET) as connection:
        connection.settimeout(10)
        connection.connect(str(place) if isinstance(place, Path) else ("127.0.0.1", place))
        connection.sendall(text + body)
        answer = connection.makefile("rb").readline().split()
    return int(answer[1]) if answer else 0


@pytest.mark.parametrize("service", ["ec2", "iam", "ssm", "cloudwatch", "logs", "scheduler", "s3", "sts", "kms"])
def test_the_key_opens_every_protocol(cloud: Cloud, service: str) -> None:
    """A blank and a slash in a path, a list of words in a query, and a body: all parts that a signature covers."""
    asked = client(service, cloud.url, cloud.keys.own)
    match service:
        case "ec2":
            asked.create_vpc(CidrBlock="10.66.0.0/16")
            assert networks()
        case "iam":
            asked.list_roles()
        case "ssm":
            asked.put_parameter(Name="/a/b c", Value="ä & =", Type="String")
            assert asked.get_parameter(Name="/a/b c")["Parameter"]["Value"] == "ä & ="
        case "cloudwatch":
            asked.put_metric_data(Namespace="N", MetricData=[{"MetricName": "M", "Value": 1.0}])
        case "logs":
            asked.describe_log_groups(logGroupNamePrefix="/digital twin/")
        case "scheduler":
            asked.list_schedules(NamePrefix="a b+c", GroupName="default")
        case "s3":
            asked.create_bucket(Bucket="bucket-of-the-test")
            asked.put_object(Bucket="bucket-of-the-test", Key="a b/ä+c//d", Body=b"content")
            assert asked.get_object(Bucket="bucket-of-the-test", Key="a b/ä+c//d")["Body"].read() == b"content"
        case "sts":
            assert asked.get_caller_identity()["Account"] == ACCOUNT
        case "kms":
            asked.list_keys()


FOREIGN = Key.new()


class Request(NamedTuple):
    """A POST request."""

    headers: dict[str, str]
    target: str = "/"
    body: bytes = CREATE
    method: str = "POST"


def with_authorization(change: Callable[[str], str]) -> Callable[[Key, str], Request]:
    """Return an attack with the genuine signature, whose header is changed."""

    def attack(own: Key, url: str) -> Request:
        headers = signed(own, url, CREATE)
        return Request({**headers, "Authorization": change(headers["Authorization"])})

    return attack


def by(change: Callable[[Key], Key]) -> Callable[[Key, str], Request]:
    """Return an attack with another key."""
    return lambda own, url: Request(signed(change(own), url, CREATE))


FOREIGN = Key.new()
ATTACKS: dict[str, Callable[[Key, str], Request]] = {
    "no key": lambda own, url: Request({"Content-Type": FORM}),
    "the key of earlier versions": by(lambda own: Key("AKIASANDBOX", "canary-aws-5e0c27d1")),
    "another key": by(lambda own: FOREIGN),
    "the id with another secret": by(lambda own: Key(own.id, FOREIGN.secret)),
    "the id in small letters": by(lambda own: Key(own.id.lower(), own.secret)),
    "the secret of another id": by(lambda own: Key(FOREIGN.id, own.secret)),
    "a foreign token": by(lambda own: own._replace(token="x" * 40)),
    "an empty signature": with_authorization(lambda text: text.partition("Signature=")[0] + "Signature="),
    "a signature of zeros": with_authorization(lambda text: text.partition("Signature=")[0] + "Signature=" + "0" * 64),
    "two signatures": with_authorization(lambda text: f"{text}, {text}"),
    "a signature and more": with_authorization(lambda text: f"{text}, x=y"),
    "signature version 2": with_authorization(lambda text: f"AWS {text[29:64]}:{'A' * 27}="),
    "a bearer token": lambda own, url: Request({"Authorization": f"Bearer {own.id}"}),
    "a login": lambda own, url: Request({"Authorization": "Basic QUtJQTpzZWNyZXQ="}),
    "another day": with_authorization(lambda text: re.sub(r"/\d{8}/", "/20000101/", text)),
    "another service": with_authorization(lambda text: text.replace("/ec2/", "/iam/")),
    "another region": with_authorization(lambda text: text.replace(REGION, "eu-central-1")),
    "without a signed host": with_authorization(lambda text: text.replace(";host;", ";")),
    "another body": lambda own, url: Request(signed(own, url, CREATE), body=CREATE.replace(b"66", b"67")),
    "no body": lambda own, url: Request(signed(own, url, CREATE), body=b""),
    "another path": lambda own, url: Request(signed(own, f"{url}x", CREATE)),
    "another query": lambda own, url: Request(signed(own, url, CREATE), "/?Action=CreateVpc"),
    "another method": lambda own, url: Request(signed(own, url, CREATE), method="PUT"),
    "another digest": lambda own, url: Request(signed(own, url, b"x", X_Amz_Content_SHA256="0" * 64)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_caller_without_the_key_changes_nothing(cloud: Cloud, attack: str) -> None:
    host = {"Host": f"127.0.0.1:{cloud.port}"}
    request = ATTACKS[attack](cloud.keys.own, f"{cloud.url}/")
    before = set(ec2_backends[ACCOUNT][REGION].vpcs)
    assert send(cloud.port, request.target, {**request.headers, **host}, request.body, request.method) == 403
    assert set(ec2_backends[ACCOUNT][REGION].vpcs) == before


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LocalHost:{port}", 200),
        ("[::1]:{port}", 200),
        ("evil.example:{port}", 403),
        ("evil.example", 403),
        ("127.0.0.1", 403),
        ("localhost", 403),
        ("127.0.0.1:80", 403),
        ("127.0.0.1:1{port}", 403),
        ("localhost.evil.example:{port}", 403),
        ("evil.example@127.0.0.1:{port}", 403),
        ("127.0.0.1:{port}@evil.example", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("localhost.:{port}", 403),
        ("0.0.0.0:{port}", 403),
        ("127.1:{port}", 403),
        ("127.0.0.2:{port}", 403),
        ("[::ffff:127.0.0.1]:{port}", 403),
        ("2130706433:{port}", 403),
        ("ec2.us-east-1.amazonaws.com", 403),
        (f"{AWS_HOST}", 403),
        ("", 403),
        (None, 403),
        ("127.0.0.1:{port}, evil.example", 403),
    ],
)
def test_dns_rebinding_is_refused(cloud: Cloud, host: str | None, status: int) -> None:
    """The request is signed for that name, so that only the name is wrong."""
    name = "" if host is None else host.format(port=cloud.port)
    headers = signed(cloud.keys.own, f"{cloud.url}/", CREATE, Host=name)
    headers = {key: value for key, value in headers.items() if key != "Host"}
    given = {} if host is None else {"Host": name}
    assert send(cloud.port, "/", {**given, **headers}, CREATE) == status
    assert bool(networks()) is (status == 200)
    # The page with the caller's address, which needs no key.
    assert send(cloud.port, "/_sandbox/checkip", given, method="GET") == status


@pytest.mark.parametrize(
    "target",
    ["http://evil.example/", "http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "evil.example/", "*", "ftp:/"],
)
def test_a_target_that_is_not_a_path_is_refused(cloud: Cloud, target: str) -> None:
    headers = {**signed(cloud.keys.own, f"{cloud.url}/", CREATE), "Host": f"127.0.0.1:{cloud.port}"}
    assert send(cloud.port, target.format(port=cloud.port), headers, CREATE) == 403
    assert not networks()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:{port}", "", "file://"])
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "GET"])
def test_a_web_page_is_refused_even_with_the_key(cloud: Cloud, origin: str, method: str) -> None:
    given = origin.format(port=cloud.port)
    for target in ("/", "/_sandbox/quotas", "/_sandbox/checkip", "/moto-api/reset"):
        headers = {**signed(cloud.keys.own, f"{cloud.url}{target}", CREATE), "Host": f"127.0.0.1:{cloud.port}"}
        assert send(cloud.port, target, {**headers, "Origin": given}, CREATE, method) == 403
    assert not networks()


def test_a_presigned_url_is_refused(cloud: Cloud) -> None:
    """Even with the key, because a link can be forwarded."""
    for key in (cloud.keys.own, FOREIGN):
        store = client("s3", cloud.url, key)
        for version in ("s3v4", "s3"):
            config = Config(signature_version=version)
            maker = boto3.session.Session(key.id, key.secret).client(
                "s3", endpoint_url=cloud.url, region_name=REGION, config=config
            )
            link = urlsplit(maker.generate_presigned_url("list_buckets"))
            host = {"Host": link.netloc}
            assert send(cloud.port, f"{link.path or '/'}?{link.query}", host, method="GET") == 403
    assert store.meta.endpoint_url == cloud.url


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Transfer-Encoding": "chunked"}, b"%x\r\n%s\r\n0\r\n\r\n" % (len(CREATE), CREATE), 411),
        ({"Transfer-Encoding": "chunked"}, b"ffffffff\r\n", 411),
        ({"Transfer-Encoding": "gzip, chunked"}, b"", 411),
        ({"Transfer-Encoding": "chunked", "Content-Length": str(len(CREATE))}, CREATE, 411),
        ({"Content-Length": "-1"}, b"", 400),
        ({"Content-Length": "one"}, b"", 400),
        ({"Content-Length": "99999999999"}, b"", 413),
    ],
)
def test_bodies_of_unknown_or_huge_length_are_refused(
    cloud: Cloud, headers: dict[str, str], body: bytes, status: int
) -> None:
    known = {**signed(cloud.keys.own, f"{cloud.url}/", CREATE), "Host": f"127.0.0.1:{cloud.port}"}
    assert send(cloud.port, "/", {**known, **headers}, body) == status
    # The body of an unknown caller is not read.
    assert send(cloud.port, "/", {"Host": f"127.0.0.1:{cloud.port}", "Content-Length": "1000000"}) == 403
    assert not networks()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/_sandbox/quotas"),
        ("POST", "/_sandbox/faults"),
        ("DELETE", "/_sandbox/faults"),
        ("GET", "/_sandbox/faults"),
        ("GET", "/_sandbox/calls"),
        ("DELETE", "/_sandbox/calls"),
        ("GET", "/_sandbox/health"),
        ("POST", "/_sandbox/checkip"),
        ("POST", "/%5Fsandbox/quotas"),
        ("POST", "//_sandbox/quotas"),
        ("POST", "/x/../_sandbox/quotas"),
        ("POST", "/moto-api/reset"),
        ("GET", "/moto-api/"),
        ("GET", "/moto-api/data.json"),
        ("POST", "/moto-api/state-manager/set-transition"),
        ("GET", "/"),
        ("GET", "/latest/meta-data/iam/security-credentials/"),
        ("GET", "/latest/meta-data/iam/security-credentials/default-role"),
    ],
)
@pytest.mark.parametrize("caller", ["stranger", "page", "instance"])
def test_only_the_user_controls_the_sandbox(cloud: Cloud, caller: str, method: str, path: str) -> None:
    host = {"Host": f"127.0.0.1:{cloud.port}"}
    headers = {
        "stranger": {"Content-Type": "application/json", **host},
        "page": {"Content-Type": "text/plain", "Origin": "http://evil.example", **host},
        "instance": {**signed(cloud.keys.of_role("role"), f"{cloud.url}{path}", QUOTA), **host},
    }[caller]
    # moto does not have this path.
    expected = 404 if (caller, path) == ("instance", "/x/../_sandbox/quotas") else 403
    assert send(cloud.port, path, headers, QUOTA, method) == expected
    assert seed.QUOTAS["L-DB2E81BA"][2] > 0


def test_control_requires_json_and_the_signature_does_not_contain_the_secret(cloud: Cloud) -> None:
    own = cloud.keys.own
    assert control(cloud.url, own, "GET", "health") == {"sandbox": "test"}
    control(cloud.url, own, "POST", "quotas", {"L-DB2E81BA": 64})
    place = f"{cloud.url}/_sandbox/quotas"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"):
        headers = own.sign("POST", place, QUOTA, {"Content-Type": kind})
        headers["Host"] = f"127.0.0.1:{cloud.port}"
        assert send(cloud.port, "/_sandbox/quotas", headers, QUOTA) == 415
    assert own.secret not in json.dumps(own.sign("POST", place, QUOTA, {}))
    with pytest.raises(SandboxError, match="not one of this sandbox"):
        control(cloud.url, FOREIGN, "POST", "quotas", {"L-DB2E81BA": 0})


def test_a_client_of_aws_understands_the_refusal(cloud: Cloud) -> None:
    for service, call in (("ec2", "describe_vpcs"), ("iam", "list_roles"), ("ssm", "describe_parameters")):
        with pytest.raises(ClientError) as caught:
            getattr(client(service, cloud.url, FOREIGN), call)()
        assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"
        wrong = Key(cloud.keys.own.id, FOREIGN.secret)
        with pytest.raises(ClientError) as caught:
            getattr(client(service, cloud.url, wrong), call)()
        assert caught.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_each_role_has_its_own_key_for_aws_only(cloud: Cloud) -> None:
    first, second = cloud.keys.of_role("first"), cloud.keys.of_role("second")
    told = credentials(first)
    assert (told["AccessKeyId"], told["SecretAccessKey"], told["Token"]) == first == cloud.keys.of_role("first")
    assert len({first, second, cloud.keys.own}) == 3
    assert client("ec2", cloud.url, first).describe_vpcs()["Vpcs"] is not None
    for wrong in (
        first._replace(token=""),
        first._replace(token=second.token),
        first._replace(secret=second.secret),
        Key("sandbox", "sandbox-first", "sandbox"),
        Keys(Key.new()).of_role("first"),
    ):
        with pytest.raises(ClientError):
            client("ec2", cloud.url, wrong).describe_vpcs()


@pytest.mark.parametrize(
    ("host", "key", "status"),
    [
        (AWS_HOST, "role", 200),
        (f"{AWS_HOST}:80", "role", 200),
        (AWS_HOST, "own", 200),
        (AWS_HOST, "foreign", 403),
        (AWS_HOST, "none", 403),
        ("127.0.0.1", "role", 403),
        ("localhost", "role", 403),
        ("evil.example", "role", 403),
        (f"{AWS_HOST}.evil.example", "role", 403),
        (f"{AWS_HOST}:8080", "role", 403),
        (f"bucket.{AWS_HOST}", "role", 403),
    ],
)
def test_the_endpoint_for_hosts_requires_a_key_as_well(cloud: Cloud, host: str, key: str, status: int) -> None:
    """Other users of this machine can reach the endpoint's address on the bridge of a VPC."""
    keys = {"role": cloud.keys.of_role("role"), "own": cloud.keys.own, "foreign": FOREIGN, "none": FOREIGN}
    headers = signed(keys[key], f"http://{host}/", CREATE, Host=host)
    if key == "none":
        del headers["Authorization"]
    assert send(cloud.socket, "/", {**headers, "Host": host}, CREATE) == status
    assert bool(networks()) is (status == 200)


ATTACK = r"""
state=$1 port=$2
ask() { # method, path, headers, body: the status of the answer
  exec 3<>/dev/tcp/127.0.0.1/$port
  request=$(printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n' "$1" "$2" "$port"
    printf 'Content-Length: %s\r\n%b\r\n%s' "${#4}" "$3" "$4")
  # In one piece: the cloud refuses a request without reading its body, and closes the connection.
  cat <<<"$request" >&3
  read -r _ status _ <&3
  printf '%s ' "$status"
  exec 3>&-
}
scope=Credential=AKIASANDBOX/20260101/us-east-1/ec2/aws4_request
signature="Authorization: AWS4-HMAC-SHA256 $scope, SignedHeaders=host, Signature=$(printf %064d 0)\r\n"
id -u
ask POST / "$signature" 'Action=RunInstances&ImageId=ami-1&MinCount=1&MaxCount=1&UserData=aWQ%3D&Version=2016-11-15'
ask POST /_sandbox/quotas '' '{}'
ask DELETE /_sandbox/faults '' ''
ask POST /moto-api/reset '' ''
for name in env key.json cloud.json cloud.log guest/aws.sock; do
  if test -e "$state/$name" || cat "$state/$name" 2>/dev/null; then echo "found $name"; fi
done
"""


def test_another_local_user_has_no_access(cloud: Cloud) -> None:
    """Not through the port, the socket or the sandbox's files."""
    sandbox = Sandbox.at(cloud.socket.parent / "state")
    sandbox.state.mkdir()
    sandbox.state.chmod(0o777)
    own_folder(sandbox)
    sandbox.guest.mkdir()
    for path in (sandbox.process_file, sandbox.log, sandbox.aws_socket):
        path.touch()
    write_environment(sandbox, cloud.url, ensure_key(sandbox.key_file))
    before = set(ec2_backends[ACCOUNT][REGION].reservations)
    done = subprocess.run(
        ["bash", "-c", ATTACK, "attack", str(sandbox.state), str(cloud.port)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [str(NOBODY), "403", "403", "403", "403"], done.stderr
    assert set(ec2_backends[ACCOUNT][REGION].reservations) == before


def test_the_environment_file_has_the_keys_of_the_cloud(cloud: Cloud, tmp_path: Path) -> None:
    sandbox = Sandbox.at(tmp_path / "state")
    own_folder(sandbox)
    key = ensure_key(sandbox.key_file)
    assert ensure_key(sandbox.key_file) == key, "a restart must not change the environment of shells"
    assert ensure_key(tmp_path / "other.json") != key
    previous = os.umask(0)
    try:
        write_environment(sandbox, cloud.url, key)
        ensure_key(sandbox.state / "another.json")
    finally:
        os.umask(previous)
    (tmp_path / "broken.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SandboxError, match=r"does not hold a key\. Run `make sandbox-down`"):
        ensure_key(tmp_path / "broken.json")
    for path in (sandbox.environment_file, sandbox.key_file, sandbox.state / "another.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    shell = subprocess.run(
        ["bash", "-c", f". '{sandbox.environment_file}'; env"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    sourced = dict(line.split("=", 1) for line in shell.stdout.splitlines() if "=" in line)
    assert Key.of(sourced) == key
    assert len(key.id) >= 30
    assert len(key.secret) >= 40


def test_a_process_that_took_the_port_learns_no_secret(tmp_path: Path) -> None:
    """The command line checks the port of a dead cloud, which another process may have taken."""
    sandbox = Sandbox.at(tmp_path)
    key = ensure_key(sandbox.key_file)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        sandbox.process_file.write_text(json.dumps({"pid": 1, "port": port}), encoding="utf-8")

        def listen() -> None:
            connection, _peer = listening.accept()
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=listen)
        thread.start()
        assert endpoint(sandbox) is None
        thread.join(timeout=10)
    assert key.id.encode() in heard[0]
    assert key.secret.encode() not in heard[0]


def test_files_of_another_user_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox.at(tmp_path / "state")
    sandbox.state.mkdir()
    os.chown(sandbox.state, NOBODY, NOBODY)
    with pytest.raises(SandboxError, match=f"belongs to the user with id {NOBODY}, .* Set SANDBOX_DIR"):
        own_folder(sandbox)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    precious = tmp_path / "precious"
    precious.write_text("content", encoding="utf-8")
    lock = tmp_path / "digital-twin-0-mine.lock"
    lock.symlink_to(precious)
    with pytest.raises(SandboxError, match="cannot be opened"), alone("mine", what="nothing", seconds=1):
        pass
    lock.unlink()
    lock.touch()
    os.chown(lock, NOBODY, NOBODY)
    with pytest.raises(SandboxError, match=f"belongs to the user with id {NOBODY}"), alone("mine", what="", seconds=1):
        pass
    assert precious.read_text(encoding="utf-8") == "content"

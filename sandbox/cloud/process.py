"""The cloud as a process: moto, the proxy and the reconciler on one loopback port, and on a socket for the hosts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker

from sandbox.errors import SandboxError
from sandbox.keys import Key, Keys, ensure_key
from sandbox.settings import AWS_HOST, PROJECT, Sandbox
from sandbox.waiting import wait_until

LOG = logging.getLogger(__name__)
START_SECONDS = 60
STOP_SECONDS = 60


def serve(sandbox: Sandbox, port: int) -> None:
    """Run the cloud until SIGTERM; moto is imported only here, because it reads its settings at import."""
    sandbox.guest.mkdir(parents=True, exist_ok=True)
    images = sandbox.state / "images.json"
    os.environ.update(
        MOTO_AMIS_PATH=str(images),
        MOTO_IAM_LOAD_MANAGED_POLICIES="true",
        MOTO_PORT=str(port),
        MOTO_CALL_RESET_API="false",
    )
    # moto's EC2 reads the seeded file at import, so the file is written first, from a module of data.
    from sandbox.cloud.machine_images import machine_image_rows

    images.write_text(json.dumps(machine_image_rows()), encoding="utf-8")
    from moto.ec2.models import elastic_ip_addresses
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from sandbox.cloud import alarms, console, disks, ec2_patches, metrics, seed, volumes
    from sandbox.cloud.hosts import Hosts
    from sandbox.cloud.proxy import Proxy
    from sandbox.cloud.reconciler import Reconciler

    seed.install_quotas()
    ec2_patches.install()
    alarms.install()
    metrics.install()
    addresses: Any = elastic_ip_addresses
    addresses.random_ip = seed.elastic_addresses(sandbox.elastic_prefix)
    keys = Keys(ensure_key(sandbox.key_file))
    hosts = Hosts(sandbox, docker.from_env(timeout=120))
    console.install(hosts.console)
    disks.DISKS = disks.Disks(sandbox.disks, hosts)
    volumes.set_pace(snapshot=1, modifying=1, optimizing=2)
    reconciler = Reconciler(sandbox, hosts, keys)
    application = Proxy(sandbox.id, DomainDispatcherApplication(create_backend_app), keys, reconciler)
    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=MotoRequestHandler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    with serving_hosts(sandbox.aws_socket, application), ticking(application.tick):
        LOG.info("listening on 127.0.0.1:%d and %s", port, sandbox.aws_socket)
        server.serve_forever()
    reconciler.close()


@contextlib.contextmanager
def ticking(tick: Callable[[], None], seconds: float = 1.0) -> Iterator[None]:
    """Call a function every second, in a thread; an error is logged and does not end it."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            try:
                tick()
            except Exception:
                LOG.exception("the scheduler's clock")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def serving_hosts(path: Path, application: Any, name: str = AWS_HOST, port: int = 80) -> Iterator[None]:
    """Serve the hosts' calls on a Unix socket.

    :param application: a ``sandbox.cloud.proxy.Proxy``.
    :param name: the hosts' name for it, with the port.
    """
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    from sandbox.cloud.proxy import for_hosts

    with listen(path) as listening:
        server = make_server(
            "unix://",
            0,
            for_hosts(application, name, port),
            threaded=True,
            request_handler=MotoRequestHandler,
            fd=listening.fileno(),
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def listen(path: Path) -> socket.socket:
    """Return a Unix socket that listens, in place of one that an earlier cloud left."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_PATH)
    try:
        # A socket's address has 107 characters at most, a state directory's path may have more.
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    listening.listen(128)
    return listening


def endpoint(sandbox: Sandbox) -> str | None:
    """Return the URL of a running cloud of this sandbox; None when it does not answer."""
    try:
        port = int(json.loads(sandbox.process_file.read_text(encoding="utf-8"))["port"])
        answer = control(f"http://127.0.0.1:{port}", Key.read(sandbox.key_file), "GET", "health")
    except (OSError, ValueError, KeyError, SandboxError):
        return None
    return f"http://127.0.0.1:{port}" if answer == {"sandbox": sandbox.id} else None


def control(url: str, key: Key, method: str, path: str, data: Any = None, *, seconds: float = 10) -> Any:
    """Send one request to a cloud's control interface and return its answer.

    :param key: the cloud's own.
    :param seconds: how long to wait for it.
    :raises SandboxError: the cloud refused it, for the reason in the message.
    """
    body = json.dumps(data).encode() if data is not None else b""
    place = f"{url}/_sandbox/{path}"
    headers = key.sign(method, place, body, {"Content-Type": "application/json"})
    request = urllib.request.Request(place, data=body or None, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SandboxError(str(json.load(error).get("error"))) from error


def free_port(preferred: int | None) -> int:
    """Return the preferred loopback port if free, so that ``.sandbox/env`` stays valid; otherwise any free port."""
    for port in filter(None, (preferred,)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_port(sandbox: Sandbox) -> int | None:
    """Return the port of the last cloud of this sandbox."""
    try:
        return int(json.loads(sandbox.process_file.read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, KeyError):
        return None


def start(sandbox: Sandbox) -> str:
    """Start the cloud in the background and return its URL."""
    port = free_port(last_port(sandbox))
    with sandbox.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--state", str(sandbox.state), "serve", "--port", str(port)],
            cwd=PROJECT,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    sandbox.process_file.write_text(json.dumps({"pid": process.pid, "port": port}), encoding="utf-8")

    def started() -> bool:
        if process.poll() is not None:
            raise SandboxError(f"The cloud ended with status {process.returncode}; its log is {sandbox.log}")
        return endpoint(sandbox) is not None

    wait_until(started, what=f"the cloud on port {port}", seconds=START_SECONDS, log=sandbox.log)
    return f"http://127.0.0.1:{port}"


def runs(sandbox: Sandbox) -> int | None:
    """Return the process id of this sandbox's cloud, whether it still answers or not; None when there is none."""
    try:
        pid = int(json.loads(sandbox.process_file.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError):
        return None
    return pid if is_cloud(pid, sandbox) else None


def stop(sandbox: Sandbox) -> None:
    """Stop this sandbox's cloud, whether it still answers or not."""
    pid = runs(sandbox)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    wait_until(
        lambda: not is_cloud(pid, sandbox),
        what=f"the cloud (process {pid}) to stop",
        seconds=STOP_SECONDS,
        log=sandbox.log,
    )


def is_cloud(pid: int, sandbox: Sandbox) -> bool:
    """Return whether a process is this sandbox's cloud: the id may have been reused."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and str(sandbox.state).encode() in words and b"serve" in words

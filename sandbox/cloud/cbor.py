"""CloudWatch's third protocol, which moto does not support: Smithy RPC v2 with CBOR, translated to JSON and back.

A client's protocol depends on its version: current botocore prefers JSON to CBOR, older versions only support the query
protocol, other SDKs prefer CBOR.
"""

from __future__ import annotations

import io
import json
import re
from functools import cache
from typing import Any

from botocore import loaders, model, parsers, serialize

HEADERS = [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
PATH = re.compile(r"/service/(?P<target>[^/]+)/operation/(?P<action>[^/]+)/?$")
# The name that a request is signed for: the name of botocore's description of the service.
SERVICES = {"monitoring": "cloudwatch"}


@cache
def service_model(signing_name: str) -> Any:
    """Return botocore's description of a service.

    :param signing_name: one of ``SERVICES``.
    """
    name = SERVICES[signing_name]
    return model.ServiceModel(loaders.create_loader().load_service_model(name, "service-2"), name)


def decode(data: bytes) -> Any:
    """Return the content of a CBOR document; a time remains a number of seconds."""
    parser: Any = parsers.RpcV2CBORParser(timestamp_parser=lambda seconds: seconds)
    return parser.parse_data_item(io.BufferedReader(io.BytesIO(data))) if data else {}


def encode(values: dict[str, Any], shape: Any) -> bytes:
    """Return a CBOR document with the members that a shape of the service's description names."""
    serializer: Any = serialize.RpcV2CBORSerializer()
    return bytes(serializer._serialize_body_params(values, shape))


def encode_error(code: str, message: str) -> bytes:
    """Return the body of an error."""
    members: Any = {"__type": {"type": "string"}, "message": {"type": "string"}}
    shape = model.DenormalizedStructureBuilder().with_members(members).build_model()
    return encode({"__type": code, "message": message}, shape)


def request_as_json(environ: dict[str, Any], body: bytes) -> bytes:
    """Translate a CBOR request into JSON; return the body and change the headers."""
    found = PATH.match(environ["PATH_INFO"])
    if found is None:
        raise ValueError(f"{environ['PATH_INFO']} is not an operation of RPC v2: /service/<name>/operation/<name>")
    environ["PATH_INFO"] = environ["REQUEST_URI"] = environ["RAW_URI"] = "/"
    environ["HTTP_X_AMZ_TARGET"] = f"{found['target']}.{found['action']}"
    environ["CONTENT_TYPE"] = "application/x-amz-json-1.0"
    return json.dumps(decode(body)).encode()


def answer_as_cbor(signing_name: str, action: str, status: int, body: bytes) -> bytes:
    """Return a JSON answer as CBOR."""
    if status >= 300:
        error = json.loads(body or b"{}")
        return encode_error(error.get("__type", "InternalFailure"), error.get("message") or error.get("Message", ""))
    shape = service_model(signing_name).operation_model(action).output_shape
    if shape is None:
        return b"\xa0"  # an empty map
    parser = parsers.create_parser("json")
    values = parser.parse({"body": body, "headers": {}, "status_code": status}, shape)
    values.pop("ResponseMetadata", None)
    return encode(values, shape)

"""EC2's answers about the spot market, and its rules for spot instances: ``sandbox.cloud.market`` put into moto."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from functools import cache
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.spot_instances import SpotInstances
from moto.ec2.utils import filter_dict_attribute_mapping, generic_filter
from moto.iam import models as iam_models

from sandbox.cloud import market

MOST_PRICES = 1000  # of one DescribeSpotPriceHistory answer
PRODUCT = "Linux/UNIX"
DESCRIPTIONS = (PRODUCT, "Linux/UNIX (Amazon VPC)")


def describe(self: Any) -> ActionResult:
    """Answer DescribeSpotInstanceRequests."""
    backend = self.ec2_backend
    asked = self._get_param("SpotInstanceRequestIds", [])
    check_known(backend, asked)
    rows = [row for name, row in backend.spot_instance_requests.items() if not asked or name in asked]
    return ActionResult({"SpotInstanceRequests": generic_filter(self._filters_from_querystring(), rows)})


def check_known(backend: Any, names: list[str]) -> None:
    """Check that requests exist.

    :raises EC2ClientError: one does not.
    """
    for name in names:
        if name not in backend.spot_instance_requests:
            raise EC2ClientError(
                "InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{name}' does not exist"
            )


def cancel_requests(self: Any) -> ActionResult:
    """Answer CancelSpotInstanceRequests."""
    names = self._get_param("SpotInstanceRequestIds", [])
    self.error_on_dryrun()
    backend = self.ec2_backend
    check_known(backend, names)
    for name in names:
        request = backend.spot_instance_requests[name]
        if isinstance(request, market.Request):
            market.cancel(request)
        else:
            backend.cancel_spot_instance_requests([name])
    rows = [{"SpotInstanceRequestId": name, "State": "cancelled"} for name in names]
    return ActionResult({"CancelledSpotInstanceRequests": rows})


def describe_prices(self: Any) -> ActionResult:
    """Answer DescribeSpotPriceHistory: the price at the start, and each change until the end."""
    filters = self._filters_from_querystring()
    kinds = self._get_param("InstanceTypes", []) or filters.get("instance-type", [])
    zones = [self._get_param("AvailabilityZone")] if self._get_param("AvailabilityZone") else []
    zones = zones or filters.get("availability-zone", [])
    products = self._get_param("ProductDescriptions", []) or filters.get("product-description", [])
    if products and not set(products) & set(DESCRIPTIONS):
        return ActionResult({"SpotPriceHistory": [], "NextToken": ""})
    start, end = (as_time(self._get_param(name)) for name in ("StartTime", "EndTime"))
    rows = [
        {
            "AvailabilityZone": offer["Location"],
            "InstanceType": offer["InstanceType"],
            "ProductDescription": PRODUCT,
            "SpotPrice": f"{price:.6f}",
            "Timestamp": moment,
        }
        for offer in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(self.region, [])
        if (not kinds or offer["InstanceType"] in kinds) and (not zones or offer["Location"] in zones)
        for moment, price in between(market.MARKET.history(offer["InstanceType"], offer["Location"]), start, end)
    ]
    first = int(self._get_param("NextToken") or 0)
    most = min(int(self._get_param("MaxResults") or MOST_PRICES), MOST_PRICES)
    token = str(first + most) if len(rows) > first + most else ""
    return ActionResult({"SpotPriceHistory": rows[first : first + most], "NextToken": token})


def as_time(given: Any) -> datetime | None:
    """Return a time of a request, aware of its zone."""
    if not given:
        return None
    moment = given if isinstance(given, datetime) else datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def between(
    history: list[tuple[datetime, float]], start: datetime | None, end: datetime | None
) -> list[tuple[datetime, float]]:
    """Return the changes until the end, down to the one that holds at the start."""
    found = []
    for moment, price in history:
        if end is None or moment <= end:
            found.append((moment, price))
        if start is not None and moment <= start:
            break
    return found


@cache
def install() -> None:
    """Patch moto in this process, once."""
    responses: Any = InstanceResponse
    iam: Any = iam_models
    iam.SERVICE_NAME_CONVERSION["spot"] = "EC2Spot"
    answer = responses.run_instances

    def run_instances(self: Any) -> ActionResult:
        wanted = self._get_param("InstanceMarketOptions", {}) or {}
        if wanted.get("MarketType") != "spot":
            result: ActionResult = answer(self)
            return result
        options = market.Options.of(wanted.get("SpotOptions") or {})
        self.error_on_dryrun()
        backend, kind = self.ec2_backend, self._get_param("InstanceType", "m1.small")
        zone = place(backend, self._get_param("SubnetId"), self._get_param("Placement.AvailabilityZone"))
        if message := market.MARKET.too_low(options, kind, zone):
            raise EC2ClientError("SpotMaxPriceTooLow", message)
        market.check_quota(backend, kind, int(self._get_param("MinCount", if_none="1")))
        market.ensure_role(self.region)
        result = answer(self)
        reservation: Any = result.result
        tags = self._parse_tag_specification().get("spot-instances-request", {})
        for instance in reservation.instances:
            arguments, given = reservation.launch
            once = market.Launch((arguments[0], 1, *arguments[2:]), given)
            request = market.Request(backend, options, once, tags)
            backend.spot_instance_requests[request.id] = request
            market.adopt(request, instance)
        return result

    responses.run_instances = run_instances
    requested: Any = SpotInstances
    requested.describe_spot_instance_requests = describe
    requested.cancel_spot_instance_requests = cancel_requests
    requested.describe_spot_price_history = describe_prices
    install_rules()
    install_filters()


def install_filters() -> None:
    """Add filters of DescribeInstances that moto lacks."""
    kind: Any = Instance
    kind.spot_instance_request_id = None
    more = {"instance-lifecycle": "lifecycle", "client-token": "client_token"}
    filter_dict_attribute_mapping.update({**more, "spot-instance-request-id": "spot_instance_request_id"})


def install_rules() -> None:
    """Patch moto's model of instances: its rules hold for every way of changing one, an alarm among them."""
    backends: Any = InstanceBackend
    launch, start, stop = backends.run_instances, backends.start_instances, backends.stop_instances
    finish, modify = backends.terminate_instances, backends.modify_instance_attribute

    def run(self: Any, *arguments: Any, **options: Any) -> Any:
        kept = copy.deepcopy({name: value for name, value in options.items() if name != "security_group_ids"})
        if "security_group_ids" in options:
            kept["security_group_ids"] = list(options["security_group_ids"])
        reservation = launch(self, *arguments, **options)
        reservation.launch = (arguments, kept)
        return reservation

    def start_instances(self: Any, instance_ids: list[str]) -> Any:
        instances = self.get_multi_instances_by_id(instance_ids)
        for instance in instances:
            market.check_start(instance)
        started = start(self, instance_ids)
        for instance in instances:
            request = market.request_of(instance)
            if request and not request.cancelled:
                market.adopt(request, instance)
        return started

    def stop_instances(self: Any, instance_ids: list[str], *more: Any, **options: Any) -> Any:
        instances = self.get_multi_instances_by_id(instance_ids)
        for instance in instances:
            market.check_stop(instance)
        stopped = stop(self, instance_ids, *more, **options)
        for instance in instances:
            market.stopped_by_user(instance)
        return stopped

    def terminate_instances(self: Any, instance_ids: list[str]) -> Any:
        finished = finish(self, instance_ids)
        for instance, _previous in finished:
            market.terminated_by_user(instance)
        return finished

    def modify_instance_attribute(self: Any, instance_id: str, key: str, value: Any) -> Any:
        instance = self.get_instance(instance_id)
        if key in ("instance_type", "disable_api_termination") and market.request_of(instance):
            name = "instanceType" if key == "instance_type" else "disableApiTermination"
            raise EC2ClientError("UnsupportedOperation", f"Modifying '{name}' is not supported for spot instances")
        if key == "instance_type" and instance.state != market.STOPPED:
            raise EC2ClientError(
                "IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state."
            )
        return modify(self, instance_id, key, value)

    backends.run_instances = run
    backends.start_instances = start_instances
    backends.stop_instances = stop_instances
    backends.terminate_instances = terminate_instances
    backends.modify_instance_attribute = modify_instance_attribute


def place(backend: Any, subnet_id: str | None, zone: str | None) -> str:
    """Return the zone of a launch."""
    return str(backend.get_subnet(subnet_id).availability_zone if subnet_id else zone or f"{backend.region_name}a")

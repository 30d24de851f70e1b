"""What AWS charges for: when instances ran, list prices, and budgets that stop instances."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from moto.budgets.models import budgets_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from sandbox.cloud import budgets, pricing, runs
from tests.unit.sandbox.conftest import code_of

if TYPE_CHECKING:
    from tests.unit.sandbox.conftest import AWS

NAMED = {"AccountId": DEFAULT_ACCOUNT_ID, "BudgetName": "lab"}
MAIL = [{"SubscriptionType": "EMAIL", "Address": "you@example.com"}]
TOPIC = {"SubscriptionType": "SNS", "Address": "arn:aws:sns:us-east-1:123456789012:a"}
BUDGET = {
    "BudgetName": "lab",
    "BudgetType": "COST",
    "TimeUnit": "MONTHLY",
    "BudgetLimit": {"Amount": "9", "Unit": "USD"},
}


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget runs, prices and budgets of other tests."""
    monkeypatch.setattr(runs, "RUNS", {})
    monkeypatch.setattr(pricing, "PRICES", pricing.PriceList())
    monkeypatch.setattr(budgets, "TAGS", {})
    monkeypatch.setattr(budgets, "ACTIONS", {})
    budgets_backends[DEFAULT_ACCOUNT_ID].reset()


def points(aws: AWS, identifier: str, days: float, period: int = 60) -> list[datetime]:
    """Return when StatusCheckFailed of an instance has datapoints."""
    metric = {
        "Namespace": "AWS/EC2",
        "MetricName": "StatusCheckFailed",
        "Dimensions": [{"Name": "InstanceId", "Value": identifier}],
    }
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": period, "Stat": "SampleCount"}}
    now = datetime.now(UTC)
    answer = aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(days=days), EndTime=now + timedelta(minutes=1)
    )
    found: list[datetime] = answer["MetricDataResults"][0]["Timestamps"]
    return found


def test_an_instance_has_datapoints_while_it_runs(aws: AWS) -> None:
    identifier = aws.run()
    assert len(points(aws, identifier, 1)) in (1, 2)
    aws.ec2.stop_instances(InstanceIds=[identifier])
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for start, end in ((20, 19.5), (3, 2.875)):
        begin, last = now - timedelta(days=start), now - timedelta(days=end)
        aws.control("POST", "runs", {"instance": identifier, "start": begin.isoformat(), "end": last.isoformat()})
    # 180 minutes; minutes that are older than 15 days are no longer there, five minutes are.
    assert 180 <= len(points(aws, identifier, 30)) <= 182
    assert 180 <= len(points(aws, identifier, 30, 300)) <= 185
    assert points(aws, "i-00000000000000000", 30) == []


def test_a_start_has_a_new_launch_time(aws: AWS) -> None:
    identifier = aws.run()
    past = datetime.now(UTC) - timedelta(days=2)
    aws.control("POST", "runs", {"instance": identifier, "start": past.isoformat()})

    def launch_time() -> datetime:
        found: datetime = aws.instance(identifier)["LaunchTime"]
        return found

    assert abs(launch_time() - past) < timedelta(seconds=2)
    aws.ec2.stop_instances(InstanceIds=[identifier])
    assert abs(launch_time() - past) < timedelta(seconds=2)
    aws.ec2.start_instances(InstanceIds=[identifier])
    assert launch_time() - past > timedelta(days=1)
    aws.ec2.terminate_instances(InstanceIds=[identifier])
    aws.control("POST", "runs/forget")
    assert code_of(aws.ec2.describe_instances, InstanceIds=[identifier]) == "InvalidInstanceID.NotFound"
    assert points(aws, identifier, 3)


def test_the_price_list_has_filters_and_pages(aws: AWS) -> None:
    for number in range(3):
        aws.control("POST", "prices", {"region": "us-east-1", "type": f"g{number}.xlarge", "price": number + 1})
    client = aws.client("pricing")
    region = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-east-1"}]
    pages = client.get_paginator("get_products").paginate(
        ServiceCode="AmazonEC2", Filters=region, PaginationConfig={"PageSize": 2}
    )
    sizes = [len(page["PriceList"]) for page in pages]
    assert sizes == [2, 1]
    one = [*region, {"Type": "TERM_MATCH", "Field": "instanceType", "Value": "g1.xlarge"}]
    (text,) = client.get_products(ServiceCode="AmazonEC2", Filters=one)["PriceList"]
    (term,) = json.loads(text)["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert dimension["pricePerUnit"] == {"USD": "2.0000000000"}
    assert code_of(client.get_products, ServiceCode="Amazon") == "NotFoundException"


def action(aws: AWS, **changed: Any) -> dict[str, Any]:
    """Return the parameters of an action whose role exists."""
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "budgets.amazonaws.com"}}]}
    name = f"role-{len(aws.client('iam').list_roles()['Roles'])}"
    made = aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    stop = {"ActionSubType": "STOP_EC2_INSTANCES", "Region": "us-east-1", "InstanceIds": ["i-0123456789abcdef0"]}
    return {
        **NAMED,
        "NotificationType": "ACTUAL",
        "ActionType": "RUN_SSM_DOCUMENTS",
        "ActionThreshold": {"ActionThresholdValue": 100.0, "ActionThresholdType": "PERCENTAGE"},
        "Definition": {"SsmActionDefinition": stop},
        "ExecutionRoleArn": made["Role"]["Arn"],
        "ApprovalModel": "AUTOMATIC",
        "Subscribers": MAIL,
        **changed,
    }


def test_budgets_have_the_limits_of_aws(aws: AWS) -> None:
    client = aws.client("budgets")
    account = {"AccountId": DEFAULT_ACCOUNT_ID}
    assert (
        code_of(client.create_budget, **account, Budget={**BUDGET, "BudgetName": "a:b"}) == "InvalidParameterException"
    )
    client.create_budget(**account, Budget=BUDGET, ResourceTags=[{"Key": "team", "Value": "robotics"}])
    assert code_of(client.create_budget, **account, Budget=BUDGET) == "DuplicateRecordException"
    arn = f"arn:aws:budgets::{DEFAULT_ACCOUNT_ID}:budget/lab"
    assert client.list_tags_for_resource(ResourceARN=arn)["ResourceTags"] == [{"Key": "team", "Value": "robotics"}]
    notification = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "ThresholdType": "PERCENTAGE"}
    for number in range(10):
        client.create_notification(
            **NAMED, Notification={**notification, "Threshold": number + 1}, Subscribers=[*MAIL, TOPIC]
        )
    eleventh = {**notification, "Threshold": 50}
    refused = code_of(client.create_notification, **NAMED, Notification=eleventh, Subscribers=MAIL)
    assert refused == "CreationLimitExceededException"
    refused = code_of(client.create_notification, **NAMED, Notification=eleventh, Subscribers=[TOPIC, TOPIC])
    assert refused == "CreationLimitExceededException"
    client.delete_budget(**NAMED)
    assert code_of(client.describe_budget, **NAMED) == "NotFoundException"


@pytest.mark.parametrize(
    "changed",
    [
        {"ExecutionRoleArn": "arn:aws:iam::123456789012:role/missing-role-of-this-account"},
        {"ExecutionRoleArn": "arn:aws:iam::210987654321:role/role-0-of-another-account"},
        {"ActionType": "APPLY_IAM_POLICY"},
    ],
)
def test_actions_that_aws_refuses(aws: AWS, changed: dict[str, Any]) -> None:
    client = aws.client("budgets")
    client.create_budget(AccountId=DEFAULT_ACCOUNT_ID, Budget=BUDGET)
    assert code_of(client.create_budget_action, **action(aws, **changed)) == "InvalidParameterException"


def test_an_action_is_carried_out_once(aws: AWS) -> None:
    client, instance = aws.client("budgets"), aws.run()
    assert code_of(client.create_budget_action, **action(aws)) == "NotFoundException"
    client.create_budget(AccountId=DEFAULT_ACCOUNT_ID, Budget=BUDGET)
    given = action(aws)
    given["Definition"]["SsmActionDefinition"]["InstanceIds"] = [instance]
    identifier = client.create_budget_action(**given)["ActionId"]
    assert aws.control("POST", "budgets/spend", {"name": "lab", "amount": 9}) == {"states": ["STANDBY"]}
    assert aws.control("POST", "budgets/spend", {"name": "lab", "amount": 9.01}) == {"states": ["EXECUTION_SUCCESS"]}
    aws.ec2.start_instances(InstanceIds=[instance])
    aws.control("POST", "budgets/spend", {"name": "lab", "amount": 10})
    assert aws.state(instance) == "running"
    # A new month.
    assert aws.control("POST", "budgets/spend", {"name": "lab", "amount": 0}) == {"states": ["STANDBY"]}
    client.delete_budget_action(**NAMED, ActionId=identifier)
    assert client.describe_budget_actions_for_budget(**NAMED)["Actions"] == []

# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rights of a lab's hosts and the access to them, with role aws_infrastructure on a local AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
import requests
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.server import ThreadedMotoServer

from tests.support.ansible_programs import execute
from tests.support.project import clean_environment

NAME = "robotics-lab"
ROLE = f"{NAME}-instance"
ACCOUNT = "123456789012"
OWN = {"digital_twin_lab": NAME, "managed_by": "digital_twin.robotics_lab"}
SSM = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
AGENT = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"
ADMIN, VIEWER = "203.0.113.7/32", "203.0.113.9/32"
LOGS = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:"
PARAMETER = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/"

Action = tuple[str, str, dict[str, str]]


def metrics(namespace: str) -> Action:
    return ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": namespace})


def on(resource: str, *actions: str) -> list[Action]:
    return [(action, resource, {}) for action in actions]


TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:operators"


def tags(key: str, lab: str = NAME, resource: str = "instance/i-1") -> Action:
    """Return the tagging of a resource of a lab."""
    context = {"aws:ResourceTag/digital_twin_lab": lab, "aws:TagKeys": key}
    return ("ec2:CreateTags", f"arn:aws:ec2:us-east-1:{ACCOUNT}:{resource}", context)


PUBLISH = [metrics(f"DigitalTwin/{NAME}"), tags("digital_twin_last_action"), tags("digital_twin_last_error")]
NOTIFY = on(TOPIC, "sns:Publish")
WRITE_LOGS = on(f"{LOGS}/digital-twin/{NAME}/application:log-stream:1", "logs:CreateLogStream", "logs:PutLogEvents")
SESSIONS = on(
    "*",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
)
NEVER = [
    *(metrics(name) for name in ("DigitalTwin", f"DigitalTwin/{NAME}-2", f"DigitalTwin/{NAME}/x", "DigitalTwin/other")),
    *(metrics(name) for name in (f"digitaltwin/{NAME}", "CWAgent", "AWS/EC2", "")),
    *on(f"{PARAMETER}prod/db-password", "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"),
    *on(f"{PARAMETER}AmazonCloudWatch-agent", "ssm:GetParameter", "ssm:PutParameter"),
    *on("*", "ssm:SendCommand", "ssm:StartSession", "ssm:GetDocument", "ssm:PutInventory", "ssm:GetManifest"),
    *on(f"{LOGS}/aws/cloudtrail", "logs:PutRetentionPolicy", "logs:DeleteLogGroup", "logs:GetLogEvents"),
    *on(f"{LOGS}/aws/cloudtrail:log-stream:1", "logs:PutLogEvents", "logs:CreateLogStream", "logs:DeleteLogStream"),
    *on(f"{LOGS}/digital-twin/{NAME}-2/application:log-stream:1", "logs:PutLogEvents"),
    *on(
        f"{LOGS}/digital-twin/{NAME}/application",
        "logs:PutRetentionPolicy",
        "logs:DeleteLogGroup",
        "logs:CreateLogGroup",
    ),
    *on("*", "cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm", "cloudwatch:DisableAlarmActions"),
    *on("*", "xray:PutTraceSegments", "kms:Decrypt", "secretsmanager:GetSecretValue", "lambda:InvokeFunction"),
    *on(f"arn:aws:iam::{ACCOUNT}:role/{ROLE}", "iam:PassRole", "iam:PutRolePolicy", "sts:AssumeRole"),
    *on(
        f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-1", "ec2:TerminateInstances", "ec2:CreateTags", "ec2:RunInstances"
    ),
    *[tags(key) for key in ("digital_twin_lab", "managed_by", "Name", "digital_twin_awake_until", "digital_twin_vpc")],
    *[tags("digital_twin_last_action", *other) for other in ((f"{NAME}-2",), ("",), (NAME, "volume/vol-1"))],
    *on("*", "ec2:DescribeInstances", "ec2:DescribeTags", "ec2:DescribeVolumes", "ec2:AuthorizeSecurityGroupIngress"),
    *on("arn:aws:s3:::backups/1", "s3:GetObject", "s3:PutObject", "s3:ListBucket"),
]


@dataclass
class Aws:
    """A local AWS with AWS's managed policies, and a folder for the play."""

    endpoint: str
    folder: Path

    def client(self, service: str) -> Any:
        make: Any = boto3.client
        keys = {"aws_access_key_id": "AKIATESTS", "aws_secret_access_key": "canary-aws-3d91"}
        return make(service, endpoint_url=self.endpoint, region_name="us-east-1", **keys)

    def apply(self, *parts: str, given: Mapping[str, object] | None = None, check: bool = False) -> tuple[int, str]:
        """Apply parts of the role, or report its warnings, and return the number of changed tasks and the output."""
        play = self.folder / "play.yml"
        role = "digital_twin.robotics_lab.aws_infrastructure"
        tasks = [
            {"ansible.builtin.debug": {"msg": "{{ __aws_infrastructure_warnings }}"}}
            if part == "warnings"
            else {"ansible.builtin.include_role": {"name": role, "tasks_from": part, "public": True}}
            for part in parts
        ]
        play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        values = {
            "aws_infrastructure_name": NAME,
            "aws_infrastructure_region": "us-east-1",
            "aws_infrastructure_key_name": "operations",
            "aws_infrastructure_private_key_file": "/keys/operations",
            "__aws_infrastructure_preflight": {
                "account_id": ACCOUNT,
                "partition": "aws",
                "permissions_boundary": "",
                "record": {},
                "sources": {"admin": [ADMIN], "viewer": [VIEWER]},
            },
            **(given or {}),
        }
        command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", str(play)]
        command += ["--extra-vars", json.dumps(values), *(["--check", "--diff"] if check else [])]
        environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIATESTING",
            "AWS_SECRET_ACCESS_KEY": "canary-aws-3d91",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        done = execute(command, {**clean_environment(), **environment})
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stderr
        return int(done.stdout.rpartition("changed=")[2].split()[0]), done.stdout

    def permitted(self, actions: list[Action]) -> list[Action]:
        """Return the actions that the policies of the role and its boundary permit."""
        iam = self.client("iam")
        attached = iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]
        documents = [self._managed(row["PolicyArn"]) for row in attached]
        for name in iam.list_role_policies(RoleName=ROLE)["PolicyNames"]:
            documents.append(iam.get_role_policy(RoleName=ROLE, PolicyName=name)["PolicyDocument"])
        limit = iam.get_role(RoleName=ROLE)["Role"].get("PermissionsBoundary")
        boundary = [self._managed(limit["PermissionsBoundaryArn"])] if limit else []
        return [
            action
            for action in actions
            if any(evaluate(document, action) for document in documents)
            and all(evaluate(document, action) for document in boundary)
        ]

    def _managed(self, arn: str) -> dict[str, Any]:
        iam = self.client("iam")
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        return dict(json.loads(unquote(document)) if isinstance(document, str) else document)


def holds(statement: dict[str, Any], context: Mapping[str, str]) -> bool:
    """Return whether the conditions of a statement hold. moto knows one operator, and accepts missing keys.

    Each context has one value for a key, so that an operator with ForAllValues compares as it does without.
    """
    for operator, conditions in statement.get("Condition", {}).items():
        assert operator in {"StringEquals", "ForAllValues:StringEquals"}
        for key, values in conditions.items():
            if context.get(key) not in ([values] if isinstance(values, str) else values):
                return False
    return True


def evaluate(document: dict[str, Any], action: Action) -> bool:
    name, resource, context = action
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    kept = [{**row, "Condition": {}} for row in statements if holds(row, context)]
    policy = IAMPolicy({"policy_document": json.dumps({**document, "Statement": kept})})
    permission = policy.is_action_permitted(name, resource)
    return permission == PermissionResult.PERMITTED


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto's server in this process, with AWS's managed policies, and without its images, which load slowly."""
    images = tmp_path_factory.mktemp("moto") / "images.json"
    images.write_text("[]", "utf-8")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        patch.setenv("MOTO_AMIS_PATH", str(images))
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def aws(endpoint: str, tmp_path: Path) -> Aws:
    requests.post(f"{endpoint}/moto-api/reset", timeout=60).raise_for_status()
    return Aws(endpoint, tmp_path)


def role_of_an_earlier_version(aws: Aws) -> None:
    """Create the role of an earlier version: with both AWS policies, and metrics of a namespace for all labs."""
    iam = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    tags = [{"Key": key, "Value": value} for key, value in {**OWN, "digital_twin_region": "us-east-1"}.items()]
    iam.create_role(
        RoleName=ROLE,
        Description=f"Instances of the lab {NAME}",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        Tags=tags,
    )
    for arn in (SSM, AGENT):
        iam.attach_role_policy(RoleName=ROLE, PolicyArn=arn)
    statement = {
        "Sid": "Metrics",
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": "DigitalTwin"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=ROLE, PolicyName=f"{ROLE}-metrics", PolicyDocument=document)


def test_the_next_run_permits_only_the_metrics_of_the_lab(aws: Aws) -> None:
    role_of_an_earlier_version(aws)
    harmful = on(f"{PARAMETER}prod/db-password", "ssm:GetParameter") + on(
        f"{LOGS}/aws/cloudtrail", "logs:PutRetentionPolicy"
    )
    assert aws.permitted(harmful) == harmful, "the policies of AWS permit both"
    iam = aws.client("iam")
    own = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [own]})
    iam.attach_role_policy(
        RoleName=ROLE, PolicyArn=iam.create_policy(PolicyName="own", PolicyDocument=document)["Policy"]["Arn"]
    )

    limit = f"arn:aws:iam::{ACCOUNT}:policy/own"
    iam.put_role_permissions_boundary(RoleName=ROLE, PermissionsBoundary=limit)
    changed, shown = aws.apply("find", "warnings", "iam_role", check=True)
    output = " ".join(shown.split())
    assert f"{ROLE} has AmazonSSMManagedInstanceCore and CloudWatchAgentServerPolicy from an earlier version" in output
    assert f"{ROLE} has the permissions boundary {limit}, which stays" in output
    iam.delete_role_permissions_boundary(RoleName=ROLE)
    assert changed == 3, "the role, its policies, and the profile, which is missing here"
    assert shown.count("iam:DetachRolePolicy") == 2
    assert aws.permitted(harmful) == harmful, "check mode changes nothing"

    aws.apply("iam_role")
    assert aws.permitted(PUBLISH) == PUBLISH
    assert aws.permitted([*NEVER, *WRITE_LOGS, *SESSIONS, *NOTIFY]) == []
    attached = iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]
    assert [row["PolicyName"] for row in attached] == ["own"], "what others attached stays"
    changed, shown = aws.apply("find", "warnings", "iam_role")
    assert changed == 0
    assert "has " not in shown


def test_each_variable_adds_its_rights_and_removes_them(aws: Aws) -> None:
    limit = {"Effect": "Allow", "Action": ["cloudwatch:PutMetricData", "ssmmessages:*"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [limit]})
    iam = aws.client("iam")
    boundary = iam.create_policy(PolicyName="hosts", PolicyDocument=document)["Policy"]["Arn"]
    added = {
        "aws_infrastructure_session_manager": True,
        "aws_infrastructure_write_logs": True,
        "aws_infrastructure_topics": [TOPIC],
    }
    output = " ".join(aws.apply("find", "warnings", "iam_role", given=added)[1].split())
    assert "everyone in the account with ssm:StartSession is root on the hosts" in output
    assert "CloudWatchAgent" not in output
    all_rights = PUBLISH + WRITE_LOGS + SESSIONS + NOTIFY
    assert aws.permitted(all_rights) == all_rights
    assert aws.permitted(on(f"{TOPIC}-2", "sns:Publish")) == []
    assert aws.permitted(NEVER) == []
    assert iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"] == []

    preflight = {"account_id": ACCOUNT, "partition": "aws", "permissions_boundary": boundary, "record": {}}
    aws.apply("iam_role", given={**added, "__aws_infrastructure_preflight": preflight})
    assert aws.permitted(WRITE_LOGS) == []
    assert aws.permitted(PUBLISH) == PUBLISH[:1], "the boundary permits no tags"

    aws.apply("iam_role")
    assert aws.permitted([*NEVER, *WRITE_LOGS, *SESSIONS, *NOTIFY]) == []
    limit_now = iam.get_role(RoleName=ROLE)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
    assert limit_now == boundary, "no run removes a limit"


OPEN = {
    ("tcp", 22, ADMIN),
    ("tcp", 8080, VIEWER),
    ("tcp", 8765, VIEWER),
    ("tcp", 49100, VIEWER),
    ("udp", 47998, VIEWER),
}


@pytest.fixture
def network(aws: Aws) -> dict[str, Any]:
    """Create the network of a lab whose security group admits DDS, as earlier versions did, and return the facts."""
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    tags = [{"Key": key, "Value": value} for key, value in {**OWN, "Name": f"{NAME}-sg"}.items()]
    group = ec2.create_security_group(
        GroupName=f"{NAME}-sg",
        Description=f"Hosts of the lab {NAME}",
        VpcId=vpc,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
    )["GroupId"]
    source = {"CidrIp": ADMIN, "Description": "ROS 2 DDS (address of a caller)"}
    rule = {"IpProtocol": "udp", "FromPort": 7400, "ToPort": 7500, "IpRanges": [source]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return {"__aws_infrastructure_vpc": {"vpc": {"id": vpc}}}


def admitted(aws: Aws) -> set[tuple[str, int, str]]:
    """Return protocol, first port and source of each rule that admits the outside."""
    filters = [{"Name": "group-name", "Values": [f"{NAME}-sg"]}]
    (group,) = aws.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]
    return {
        (rule["IpProtocol"], rule["FromPort"], source["CidrIp"])
        for rule in group["IpPermissions"]
        for source in rule["IpRanges"]
    }


def test_dds_is_closed_by_the_next_run_unless_requested(aws: Aws, network: dict[str, Any]) -> None:
    aws.apply("security_group", given=network)
    assert admitted(aws) == OPEN
    opened = {**network, "aws_infrastructure_open_dds": True, "aws_infrastructure_ros_domain_id": "7"}
    aws.apply("security_group", given=opened)
    assert admitted(aws) == OPEN | {("udp", 9150, ADMIN)}
    assert aws.apply("security_group", given=opened)[0] == 0


def test_a_tunnel_closes_the_ports_of_viewers_and_the_summary_shows_it(aws: Aws, network: dict[str, Any]) -> None:
    vpc = network["__aws_infrastructure_vpc"]["vpc"]["id"]
    host(aws, vpc)
    tags = {**OWN, "digital_twin_region": "us-east-1", "digital_twin_vpc": vpc}
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    aws.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}", Tags=listed)
    closed = {**network, "aws_infrastructure_closed_ports": ["isaac_webrtc", "isaac_media", "foxglove_bridge"]}
    _changed, output = aws.apply("security_group", "summary", given=closed)
    assert admitted(aws) == {("tcp", 22, ADMIN), ("tcp", 8080, VIEWER)}
    assert "Foxglove Studio" in output
    assert "Foxglove Bridge" not in output
    assert "localhost:8" not in output
    assert " -L " not in output

    tunnelled = {**network, "aws_infrastructure_viewer_access": "tunnel"}
    _changed, output = aws.apply("security_group", "summary", given=tunnelled)
    assert admitted(aws) == {("tcp", 22, ADMIN)}
    output = output.replace("\\n", "\n")
    assert "-N -L 8080:127.0.0.1:8080 -L 8765:127.0.0.1:8765\n" in output
    assert "http://localhost:8080/?ds=foxglove-websocket&ds.url=ws://localhost:8765\n" in output
    assert " ws://localhost:8765\n" in output


def host(aws: Aws, vpc: str) -> None:
    """Create a host of the lab in its network, with an address."""
    ec2, iam = aws.client("ec2"), aws.client("iam")
    iam.create_instance_profile(InstanceProfileName=ROLE)
    ec2.create_key_pair(KeyName="operations")
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    tags = {**OWN, "Name": f"{NAME}-1", "digital_twin_index": "1", "digital_twin_ssh_user": "ubuntu"}
    instance = ec2.run_instances(
        ImageId="ami-1",
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        KeyName="operations",
        IamInstanceProfile={"Name": ROLE},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )["Instances"][0]["InstanceId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.associate_address(AllocationId=address, InstanceId=instance)

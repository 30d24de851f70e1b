# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the dashboard of a lab. Nothing here contacts AWS.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

from typing import Any

from .alarms import alarms_of
from .lab import Lab, MonitoredHost

# The size of a graph in units of a dashboard, which has a width of 24, and the seconds of each datapoint.
WIDTH, HEIGHT = 8, 6
PERIOD = 60


def dashboard(lab: Lab) -> dict[str, Any]:
    """Return the body of a lab's dashboard: a section for each host, and in it a line for each GPU."""
    widgets: list[dict[str, Any]] = []
    for host in lab.hosts:
        widgets += _section(lab, host, top=max((widget["y"] + widget["height"] for widget in widgets), default=0))
    return {"widgets": widgets}


def _section(lab: Lab, host: MonitoredHost, top: int) -> list[dict[str, Any]]:
    """Return the widgets of one host: a heading, its alarms, and below them three columns of graphs."""
    gpus = range(host.gpus)
    heading = {"markdown": f"## {host.name}\n`{host.instance_id}`\n\n{lab.dashboard_marker}"}
    arn = f"arn:{lab.partition}:cloudwatch:{lab.region}:{lab.account_id}:alarm:"
    alarm_list = {"title": f"{host.name}: alarms", "alarms": [arn + alarm["name"] for alarm in alarms_of(lab, host)]}
    percent = {"min": 0, "max": 100, "label": "%", "showUnits": False}
    graphs = [
        _graph(lab, host, "CPU", [_of_instance(host, "CPUUtilization", "CPU")], 300, left=percent),
        _graph(
            lab, host, "GPU", [_of_gpu(lab, host, index, "GPUUtilization", "") for index in gpus], PERIOD, left=percent
        ),
        _graph(
            lab,
            host,
            "GPU memory",
            [
                line
                for index in gpus
                for line in (
                    _of_gpu(lab, host, index, "GPUMemoryUsed", "MB"),
                    _of_gpu(lab, host, index, "GPUMemoryUsedPercent", "%", yAxis="right"),
                )
            ],
            PERIOD,
            left={"min": 0, "label": "MB", "showUnits": False},
            right=percent,
        ),
        _graph(
            lab,
            host,
            "GPU power and temperature",
            [
                line
                for index in gpus
                for line in (
                    _of_gpu(lab, host, index, "GPUPowerDraw", "W"),
                    _of_gpu(lab, host, index, "GPUTemperature", "°C", yAxis="right"),
                )
            ],
            PERIOD,
            left={"min": 0, "label": "W", "showUnits": False},
            right={"min": 0, "label": "°C", "showUnits": False},
        ),
        _graph(
            lab,
            host,
            "Network",
            [_of_instance(host, "NetworkIn", "in", stat="Sum"), _of_instance(host, "NetworkOut", "out", stat="Sum")],
            300,
            left={"min": 0, "label": "bytes in 5 minutes", "showUnits": False},
        ),
        _graph(
            lab,
            host,
            "Disk",
            [
                _of_instance(host, "EBSReadBytes", "read", stat="Sum"),
                _of_instance(host, "EBSWriteBytes", "written", stat="Sum"),
            ],
            300,
            left={"min": 0, "label": "bytes in 5 minutes", "showUnits": False},
        ),
    ]
    placed = [
        {"type": "text", "x": 0, "y": top, "width": WIDTH, "height": 3, "properties": heading},
        {"type": "alarm", "x": WIDTH, "y": top, "width": 2 * WIDTH, "height": 3, "properties": alarm_list},
    ]
    for number, properties in enumerate(graphs):
        row, column = divmod(number, 3)
        place = {"x": column * WIDTH, "y": top + 3 + row * HEIGHT, "width": WIDTH, "height": HEIGHT}
        placed.append({"type": "metric", **place, "properties": properties})
    return placed


def _of_instance(host: MonitoredHost, metric: str, label: str, **how: str) -> list[Any]:
    """Return a line that shows a metric of EC2."""
    return ["AWS/EC2", metric, "InstanceId", host.instance_id, {"label": label, **how}]


def _of_gpu(lab: Lab, host: MonitoredHost, index: int, metric: str, unit: str, **how: str) -> list[Any]:
    """Return a line that shows a metric of one GPU."""
    pairs = [word for pair in lab.dimensions_of(host, index).items() for word in pair]
    return [lab.namespace, metric, *pairs, {"label": f"GPU {index} {unit}".strip(), **how}]


def _graph(
    lab: Lab, host: MonitoredHost, title: str, lines: list[list[Any]], period: int, **axes: Any
) -> dict[str, Any]:
    """Return the properties of a graph."""
    return {
        "title": f"{host.name}: {title}",
        "region": lab.region,
        "view": "timeSeries",
        "stacked": False,
        "stat": "Average",
        "period": period,
        "metrics": lines,
        "yAxis": axes,
    }

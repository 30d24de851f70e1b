# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the dashboard of a lab. Nothing here contacts AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .alarms import alarms_of
from .lab import Lab, MonitoredHost

# The size of a graph in units of a dashboard, which has a width of 24.
WIDTH, HEIGHT = 8, 6
PERCENT = {"min": 0, "max": 100, "label": "%", "showUnits": False}
MEGABYTES, WATTS, CELSIUS, BYTES = (
    {"min": 0, "label": label, "showUnits": False} for label in ("MB", "W", "°C", "bytes in 5 minutes")
)
RIGHT, SUM = {"yAxis": "right"}, {"stat": "Sum"}
# Title, seconds of each datapoint, lines, and axes. A line is a metric, its label or its unit, and how it is drawn.
GRAPHS: tuple[tuple[str, int, list[tuple[str, str, dict[str, str]]], dict[str, Any]], ...] = (
    ("CPU", 300, [("CPUUtilization", "CPU", {})], {"left": PERCENT}),
    ("GPU", 60, [("GPUUtilization", "", {})], {"left": PERCENT}),
    (
        "GPU memory",
        60,
        [("GPUMemoryUsed", "MB", {}), ("GPUMemoryUsedPercent", "%", RIGHT)],
        {"left": MEGABYTES, "right": PERCENT},
    ),
    (
        "GPU power and temperature",
        60,
        [("GPUPowerDraw", "W", {}), ("GPUTemperature", "°C", RIGHT)],
        {"left": WATTS, "right": CELSIUS},
    ),
    ("Network", 300, [("NetworkIn", "in", SUM), ("NetworkOut", "out", SUM)], {"left": BYTES}),
    ("Disk", 300, [("EBSReadBytes", "read", SUM), ("EBSWriteBytes", "written", SUM)], {"left": BYTES}),
)


def dashboard(lab: Lab) -> dict[str, Any]:
    """Return the body of a lab's dashboard: a section for each host, and in it a line for each GPU."""
    widgets: list[dict[str, Any]] = []
    for host in lab.hosts:
        widgets += _section(lab, host, top=max((widget["y"] + widget["height"] for widget in widgets), default=0))
    return {"widgets": widgets}


def _section(lab: Lab, host: MonitoredHost, top: int) -> Iterator[dict[str, Any]]:
    """Yield the widgets of one host: a heading, its alarms, and below them three columns of graphs."""
    heading = {"markdown": f"## {host.name}\n`{host.instance_id}`\n\n{lab.dashboard_marker}"}
    yield {"type": "text", "x": 0, "y": top, "width": WIDTH, "height": 3, "properties": heading}
    arn = f"arn:{lab.partition}:cloudwatch:{lab.region}:{lab.account_id}:alarm:"
    alarm_list = {"title": f"{host.name}: alarms", "alarms": [arn + alarm["name"] for alarm in alarms_of(lab, host)]}
    yield {"type": "alarm", "x": WIDTH, "y": top, "width": 2 * WIDTH, "height": 3, "properties": alarm_list}
    for number, (title, period, metrics, axes) in enumerate(GRAPHS):
        row, column = divmod(number, 3)
        properties = {
            "title": f"{host.name}: {title}",
            "region": lab.region,
            "view": "timeSeries",
            "stacked": False,
            "stat": "Average",
            "period": period,
            "metrics": list(_lines(lab, host, metrics)),
            "yAxis": axes,
        }
        place = {"x": column * WIDTH, "y": top + 3 + row * HEIGHT, "width": WIDTH, "height": HEIGHT}
        yield {"type": "metric", **place, "properties": properties}


def _lines(lab: Lab, host: MonitoredHost, metrics: list[tuple[str, str, dict[str, str]]]) -> Iterator[list[Any]]:
    """Yield the lines of a graph: metrics of EC2, or those of each GPU."""
    if not metrics[0][0].startswith("GPU"):
        for metric, label, how in metrics:
            yield ["AWS/EC2", metric, "InstanceId", host.instance_id, {"label": label, **how}]
        return
    for index in range(host.gpus):
        pairs = [word for pair in lab.dimensions_of(host, index).items() for word in pair]
        for metric, unit, how in metrics:
            yield [lab.namespace, metric, *pairs, {"label": f"GPU {index} {unit}".strip(), **how}]

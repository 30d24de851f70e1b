# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns robot commands from Redis into goals for Nav2.

Runs in ROS 2 Jazzy with its Python 3.12; only :mod:`.__main__` and :mod:`.nav2_client` use ROS.
"""

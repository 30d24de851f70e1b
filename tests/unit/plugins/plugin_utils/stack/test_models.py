# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU's memory is divided within the guide's ranges, and the largest model that fits is chosen."""

from __future__ import annotations

import re

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.data import models, versions
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.models import (
    catalogue,
    choose,
    divide,
    usable,
)
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.needs import PROFILES, services

SIZES = (8192, 15360, 16384, 22888, 23034, 24576, 32768, 45776, 98304)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("vram", SIZES)
def test_shares_keep_the_minimums_and_fit(profile: str, vram: int) -> None:
    shares = divide(PROFILES[profile], vram)
    assert sum(shares.values()) <= usable(vram)
    for name, share in shares.items():
        least, well = services()[name].vram
        assert least <= share
        assert name == "nim" or share <= well


@pytest.mark.parametrize("vram", [22888, 23028, 23034])
def test_nim_gets_six_to_eight_gb_of_a_card_of_24_gb(vram: int) -> None:
    share = divide(PROFILES["full"], vram)["nim"]
    assert 6e9 <= share * 2**20 <= 8.01e9


@pytest.mark.parametrize("compute", [None, 8.0, 8.6, 8.9, 9.0, 12.0])
@pytest.mark.parametrize("vram", SIZES)
def test_the_chosen_model_fits_and_a_larger_one_does_not(vram: int, compute: float | None) -> None:
    share = divide(PROFILES["full"], vram).get("nim", 0)
    found = choose(vram, share, compute)
    fitting = [
        model
        for model in catalogue()
        if model.runs_on(compute)
        and model.weights + sum(models()["overhead_mib"].values()) + model.cache(2048) <= share * 0.99 - 1
    ]
    if not found:
        assert not fitting
        return
    assert not fitting or found.model.weights >= fitting[0].weights
    assert sum(found.parts.values()) == found.budget <= share
    assert found.fraction * usable(vram) >= found.budget - 1
    assert found.parts["cache"] >= found.model.cache(found.context)
    assert 1 <= found.sequences <= models()["sequences"]


def test_models_are_sorted_dated_and_served_by_known_images() -> None:
    assert [model.weights for model in catalogue()] == sorted((model.weights for model in catalogue()), reverse=True)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", models()["checked"])
    for model, entry in zip(catalogue(), models()["models"], strict=True):
        assert entry["source"].startswith("https://")
        assert model.image in versions()["services"] | versions()["images"]
        # An image with a model of its own downloads it by itself.
        assert bool(model.path) is (model.image == "nim_model_free")
        assert model.compute[0] >= services()["nim"].compute


def test_kv_cache_follows_from_the_configuration() -> None:
    # Layers, key-value heads, size of a head, 2 bytes each for key and value.
    configurations = {"llama-3.1-8b-instruct": (32, 8, 128), "qwen2.5-7b-instruct": (28, 4, 128)}
    for model in catalogue():
        layers, heads, size = configurations[model.name.removesuffix("-awq")]
        assert model.kv_bytes == 2 * layers * heads * size * 2

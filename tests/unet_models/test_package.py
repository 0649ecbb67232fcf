"""Importing the package is light, and decides how TensorFlow convolves before TensorFlow is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobs.run.provenance import REPOSITORY


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0")])
def test_onednn_convolves_unless_the_user_says_otherwise(given, kept):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    if given is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = given
    environment["XLA_FLAGS"] = "--xla_gpu_cuda_data_dir=/cuda --xla_cpu_enable_fast_math=true"
    script = (
        "import os, sys, unet_models; "
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'tensorflow' in sys.modules, os.environ['XLA_FLAGS'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.split() == [kept, "False", "--xla_gpu_cuda_data_dir=/cuda"], ran.stderr


def test_only_what_computes_with_tensorflow_imports_it():
    """Making a run, its report and the checks at the prompt use these modules: they must not wait for TensorFlow."""
    light = [
        "unet_models.data.dataset",
        "unet_models.data.files.raster",
        "unet_models.data.files.tiff",
        "unet_models.data.intensity",
        "unet_models.data.layouts",
        "unet_models.data.packed",
        "unet_models.data.patches",
        "unet_models.data.splits",
        "unet_models.data.synthetic",
        "unet_models.networks.flops",
        "unet_models.networks.parameters",
        "unet_models.pictures",
        "unet_models.training.history",
        "unet_models.training.state",
    ]
    script = (
        f"import importlib, sys; [importlib.import_module(name) for name in {light}]; "
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "[]", ran.stderr

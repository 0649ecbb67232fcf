"""A model file that came from somebody else executes nothing: what is none of our layers is refused before it is loaded."""

from __future__ import annotations

import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tests.unet_models.tiny import SETTINGS
from unet_models.networks.parameters import ARCHITECTURES
from unet_models.training.model import network
from unet_models.training.model_files import ModelFileError, check_model, load_model
from unet_models.training.saving import save


@pytest.mark.parametrize("suffix", ["hdf5", "keras"])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_models_of_all_networks_can_be_loaded(tmp_path, architecture, precision, suffix):
    model = network({**SETTINGS, "architecture": architecture, "precision": precision, "dropout": 0.1}, 32)
    path = tmp_path / f"model.{suffix}"
    save(model, path)
    for one, other in zip(load_model(path).get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("suffix", ["hdf5", "keras"])
def test_a_model_with_code_is_refused_before_it_is_loaded(tmp_path, monkeypatch, suffix):
    mark = tmp_path / "mark"
    inputs = keras.Input((4, 4, 1))
    code = eval(f"lambda x: (open({str(mark)!r}, 'w'), x)[1]")  # noqa: S307 - as in an attack
    model = keras.Model(inputs, keras.layers.Lambda(code, output_shape=(4, 4, 1))(inputs))
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    mark.unlink(missing_ok=True)
    monkeypatch.setattr(keras.saving, "load_model", lambda *_args, **_more: pytest.fail("it was loaded"))
    with pytest.raises(
        ModelFileError, match=r"contains 'Lambda' .* may be code; expected a model that a point"
    ):
        load_model(path)
    assert not mark.exists()


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.hdf5"
    save(network({**SETTINGS, "architecture": "UNet"}, 32), path)
    return path


@pytest.mark.parametrize(
    "part",
    [
        {"class_name": "Lambda", "config": {}},
        {"class_name": "function", "module": "builtins", "config": "exec"},
        {"class_name": "Conv2D", "module": "os"},
        {"class_name": "Conv2D", "module": "keras.layers; os"},
        {"class_name": "Conv2D", "module": "keras.layers", "registered_name": "evil>Conv2D"},
        {"class_name": ["Conv2D"]},
        {"class_name": "TorchModuleWrapper", "module": "keras.layers"},
    ],
)
def test_a_class_that_is_none_of_ours_is_refused_wherever_it_is(saved, part):
    with h5py.File(saved, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][1]["config"]["hidden"] = [{"deep": part}]
        file.attrs["model_config"] = json.dumps(description)
    with pytest.raises(ModelFileError, match=r"is no layer of our networks"):
        check_model(saved)


def test_weights_in_another_file_are_refused(saved, tmp_path):
    for make in (
        lambda file: file.__setitem__("more", h5py.ExternalLink("/etc/passwd", "/x")),
        lambda file: file.__setitem__("more", h5py.SoftLink("/x")),
        lambda file: file.create_dataset("more", (4,), "u1", external=[("/etc/passwd", 0, 4)]),
    ):
        copy = tmp_path / "copy.hdf5"
        shutil.copy(saved, copy)
        with h5py.File(copy, "r+") as file:
            make(file)
        with pytest.raises(ModelFileError, match=r"link|another file"):
            check_model(copy)


def test_what_is_no_model_is_an_error_with_a_sentence(tmp_path):
    for name, content in (("a.hdf5", b""), ("a.keras", b"x"), ("b.keras", b"PK")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises((ModelFileError, OSError)):
            check_model(tmp_path / name)
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file.attrs["model_config"] = "["
    with pytest.raises(ModelFileError, match="no readable description"):
        check_model(tmp_path / "b.hdf5")
    with zipfile.ZipFile(tmp_path / "c.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 17 * 2**20)
    with pytest.raises(ModelFileError, match="far too large"):
        check_model(tmp_path / "c.keras")

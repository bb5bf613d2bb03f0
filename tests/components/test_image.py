"""The image of the steps can be named by registry or by digest when a pipeline is compiled."""

import runpy

import pytest

from components import image
from qc_core import __version__

PINNED = "registry.example.com/q-chunking-train@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, f"localhost/q-chunking-train:{__version__}"),
        ({"QC_IMAGE_REGISTRY": "r.example.com"}, f"r.example.com/q-chunking-train:{__version__}"),
        ({"QC_IMAGE_REGISTRY": "r.example.com", "QC_TRAIN_IMAGE": PINNED}, PINNED),
    ],
)
def test_image_is_the_one_that_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert runpy.run_path(image.__file__)["TRAIN_IMAGE"] == name

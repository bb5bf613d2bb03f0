"""The reference pages are current."""

import re

import yaml

from docs.generate_reference import PAGES, commands_page, configuration_page
from qc_core import __version__
from tests.docs.pages import ROOT

VARIABLE = re.compile(r'"((?:QC|KFP|KF|AWS|MUJOCO|XDG|OMP|ORT|MLFLOW)_[A-Z][A-Z_0-9]*)"')


def test_generated_pages_are_those_that_the_code_generates() -> None:
    remedy = "run `make reference`"
    assert (PAGES / "cli.md").read_text() == commands_page(), remedy
    assert (PAGES / "configuration.md").read_text() == configuration_page(), remedy


def test_every_environment_variable_has_a_row() -> None:
    page = (PAGES / "environment-variables.md").read_text()
    for package in ("qc_core", "pipeline", "components"):
        for path in (ROOT / package).rglob("*.py"):
            for name in VARIABLE.findall(path.read_text()):
                assert f"`{name}`" in page, f"{path} reads {name}"


def test_the_citation_has_the_version_of_the_package() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__

"""The README's commands create what the manifests refer to."""

import re

from qc_core import __version__
from tests.manifests.readme import README, blocks, create_secrets, documented_secrets
from tests.manifests.rendering import named, needs_kubectl, render

pytestmark = needs_kubectl


def test_secrets_are_consistent() -> None:
    secrets = documented_secrets()
    store = secrets["q-chunking-store"]
    assert secrets["q-chunking-serving"] == {
        "AWS_ACCESS_KEY_ID": store["accesskey"],
        "AWS_SECRET_ACCESS_KEY": store["secretkey"],
    }
    study = secrets["q-chunking-study"]
    service = named(render("overlays/local"), "Service", "q-chunking-study")
    (port,) = service["spec"]["ports"]
    address = f"{service['metadata']['name']}:{port['port']}"
    assert study["url"] == f"postgresql+psycopg://optuna:{study['password']}@{address}/optuna"
    assert secrets["q-chunking-webhook"].keys() == {"url"}


def test_passwords_are_long_and_random() -> None:
    first, second = documented_secrets(), documented_secrets()
    for secret, key in (("q-chunking-store", "secretkey"), ("q-chunking-study", "password")):
        assert re.fullmatch(r"[0-9a-f]{48}", first[secret][key])
        assert first[secret][key] != second[secret][key]


def test_no_password_is_on_a_command_line() -> None:
    for block in blocks("bash"):
        for line in re.findall(r"^.*kubectl.*$", block, re.MULTILINE):
            assert not re.search(r"\$\{?password|\$\(of ", line), line


def test_serving_secret_has_the_address_of_the_store() -> None:
    annotations = create_secrets()["q-chunking-serving"]["metadata"]["annotations"]
    settings = named(render("overlays/local"), "ConfigMap", "q-chunking")["data"]
    scheme, _, endpoint = settings["QC_S3_ENDPOINT"].partition("://")
    assert annotations == {
        "serving.kserve.io/s3-endpoint": endpoint,
        "serving.kserve.io/s3-usehttps": str(int(scheme == "https")),
        "serving.kserve.io/s3-region": settings["AWS_REGION"],
    }


def test_every_applied_folder_renders() -> None:
    folders = set(re.findall(r"-k manifests/(\S+?)`?(?:\s|$)", README.read_text()))
    assert folders == {
        "overlays/local",
        "overlays/gpu",
        "parts/serving",
        "parts/service-accounts",
        "parts/time-slicing",
    }
    assert all(render(folder) for folder in folders)


def test_image_tags_are_the_version_of_the_package() -> None:
    tags = set(re.findall(r"q-chunking-(?:train|runtime):(\S+)", README.read_text()))
    assert tags == {__version__}

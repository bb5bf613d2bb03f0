"""Where tensors live and how many threads work on them."""

from pathlib import Path

import pytest

from qc_core.errors import WorkFailed, WrongUse
from qc_core.training import device


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000", 1), ("400000 100000", 4), ("max 100000", 1 << 20)]
)
def test_a_container_has_the_cores_of_its_quota(tmp_path: Path, content: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert device._quota(tmp_path / "cpu.max") == cores
    assert device._quota(tmp_path / "missing") == 1 << 20


def test_gpus_that_were_asked_for_and_are_not_there_are_refused() -> None:
    device.require_gpus("0")
    with pytest.raises(WrongUse, match="must be a number"):
        device.require_gpus("many")
    with pytest.raises(WorkFailed, match="100 GPUs were asked for, torch sees"):
        device.require_gpus("100")

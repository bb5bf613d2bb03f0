"""A small number of the attacks that `make faults` repeats many times."""

import pytest

from tests.faults.proxy import QUICK
from tests.faults.s3_faults import LOST, attack


def test_nothing_is_lost_behind_a_proxy_that_spoils_responses(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "QC_S3_ENDPOINT"):
        monkeypatch.setenv(name, "test")
    report = attack(s3_endpoint, "faults", attempts=40, seed=3, faults=tuple(QUICK), rate=0.3)
    assert report.results[LOST] == 0, report.losses
    assert report.results.total() == 40 and len(report.faults) > 10

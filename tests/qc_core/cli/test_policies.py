"""`qc policies`, `qc rollback` and `qc pull --verify-key`."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from msgspec import to_builtins

from qc_core import documents
from qc_core.cli.main import main
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.publish.gate.challenge import player_results
from qc_core.publish.gate.duel import Duel
from qc_core.registry.gate_record import GateRecord, write_gate_record
from qc_core.registry.registry import Registry
from qc_core.store.open import open_store
from tests.qc_core.cli.test_main import refused
from tests.qc_core.publish.gate.episodes import with_steps
from tests.qc_core.registry.policy_folders import write_policy
from tests.qc_core.registry.test_gate_record import RECORD
from tests.qc_core.registry.test_signing import write_keys


@pytest.fixture
def versions(tmp_path: Path) -> list[str]:
    """Three versions of `cube`, of two runs; the champion was the first, and is the second."""
    registry, folder = Registry(open_store()), write_policy(tmp_path / "small", seed=0)
    found = [registry.publish(folder, "cube", run_id=run) for run in ("run-1", "run-2", None)]
    for version in found[:2]:
        registry.set_alias("cube", "champion", version)
    return found


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_versions_are_listed_with_their_runs(
    capsys: pytest.CaptureFixture[str], versions: list[str]
) -> None:
    header, *rows = shown(capsys, "policies", "cube").splitlines()
    assert header.split() == ["policy", "version", "aliases", "success", "created", "(UTC)", "run"]
    assert [row.split()[1] for row in rows] == versions
    assert [row.split()[-1] for row in rows] == ["run-1", "run-2", "-"]
    assert "champion" in rows[1]
    listed = json.loads(shown(capsys, "policies", "--json"))
    assert [entry["run-id"] for entry in listed] == ["run-1", "run-2", None]


@pytest.mark.parametrize("words", [["policies"], ["policies", "cube"], ["episodes", "list"]])
def test_a_file_as_store_is_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QC_STORE", str(tmp_path / "file"))
    assert "cannot be a folder" in refused(capsys, words)


def test_rollback(capsys: pytest.CaptureFixture[str], versions: list[str]) -> None:
    first, second, _ = versions
    output = shown(capsys, "rollback", "cube")
    assert output == f"cube@champion: from {second} back to {first}\n"
    line = refused(capsys, ["rollback", "cube", "--alias", "champion"])
    assert "nothing to roll back to" in line
    assert "no alias 'stable'" in refused(capsys, ["rollback", "cube", "--alias", "stable"])
    assert "no policy 'cubic'" in refused(capsys, ["rollback", "cubic"])


def test_versions_are_deleted_and_pruned(
    capsys: pytest.CaptureFixture[str], versions: list[str], tmp_path: Path
) -> None:
    first, second, third = versions
    write_gate_record(open_store(), "cube", third, RECORD)
    line = refused(capsys, ["policies", "delete", f"cube:{second}"])
    assert line.startswith(f"qc: cube:{second} is cube@champion")
    assert shown(capsys, "policies", "delete", f"cube:{first}") == f"deleted cube:{first}\n"
    again = Registry(open_store()).publish(tmp_path / "small", "cube")
    found = json.loads(shown(capsys, "policies", "delete", f"cube:{again}", "--json"))
    assert found == {"name": "cube", "version": again}
    prune = ["policies", "prune", "cube", "--keep", "1"]
    assert shown(capsys, *prune) == "nothing to delete for cube\n"
    newest = Registry(open_store()).publish(tmp_path / "small", "cube")
    open_store().put("policies/cube/versions/20200101T000000-0/policy.onnx", b"half")
    assert shown(capsys, *prune).splitlines() == [
        f"deleted cube:{third}",
        "deleted cube:20200101T000000-0, an incomplete upload",
    ]
    assert json.loads(shown(capsys, *prune, "--json")) == {"versions": [], "leftovers": []}
    left = json.loads(shown(capsys, "policies", "--json"))
    assert [entry["version"] for entry in left] == [second, newest]


def test_control_characters_from_the_store_are_not_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = write_policy(tmp_path / "small", seed=0)
    version = Registry(open_store()).publish(folder, "cube", run_id="\x1b[2Jrun\ncube  all is well")
    leftover = "20200101T000000-\x1b[2J"
    open_store().put(f"policies/cube/versions/{leftover}/policy.onnx", b"half")
    for words in (
        ("policies",),
        ("policies", "show", f"cube:{version}"),
        ("policies", "prune", "cube", "--keep", "1"),
    ):
        assert main(words) == 0
        found = capsys.readouterr()
        assert "?[2J" in found.out and "\x1b" not in found.out + found.err
        assert "\ncube  all" not in found.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune", "cube"], "required: --keep"),
        (["show", "cube", "--keep", "2"], "unknown option --keep"),
        (["prune", "cube", "--keep", "0"], "--keep must be at least 1, got 0"),
        (["show"], "qc policies show: the following arguments are required: policy"),
        (["delete", "cube"], "takes NAME:VERSION, got 'cube'"),
        (["delete", "cube:none"], "no version 'none'"),
        (["cube", "other"], "unknown option other"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], versions: list[str], words: list[str], message: str
) -> None:
    assert message in refused(capsys, ["policies", *words])
    assert len(Registry(open_store()).versions()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promote"], "required: recipe"),
        (["rollback", "smoke", "cube"], "unknown option cube"),
        (["rollback", "cube", "--checkpoint", "c"], "unknown option --checkpoint"),
        (["promote", "smoke", "folder", "--alias", "x"], "unknown option --alias"),
    ],
)
def test_promote_and_rollback_refuse_options_of_each_other(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in refused(capsys, words)


def test_show_prints_where_a_policy_comes_from(
    capsys: pytest.CaptureFixture[str], policy: Path
) -> None:
    registry = Registry(open_store())
    first, second = (registry.publish(policy, "cube", run_id=run) for run in ("run-1", "run-2"))
    for version in (first, second):
        registry.set_alias("cube", "champion", version)
    contract = json.loads((policy / "policy.json").read_text())
    text = shown(capsys, "policies", "show", "cube")
    for part in (
        f"cube:{second}",
        "run-2",
        contract["dataset-digest"],
        contract["git-commit"],
        '"kind": "test"',
        "150 transitions in 3 episodes",
        "--train.backup-horizon",
        "--train.hidden-dims",
        f"before    {first}",
        registry.details("cube").manifest.files["policy.onnx"].sha256,
    ):
        assert part in text, part
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1)
    assert rows["recipe"] == "smoke" and rows["seed"] == "0" and rows["image"] == "unknown"
    assert rows["tuning"] == "none"
    assert rows["signature"] == "none" and rows["--data.source"] == "collect"
    found = json.loads(shown(capsys, "policies", "show", f"cube:{first}", "--json"))
    assert found["contract"] == contract
    assert found["manifest"]["run-id"] == "run-1" and found["signed"] is False
    assert found["aliases"]["champion"]["previous"][0]["version"] == first


def test_show_prints_the_gate_record(
    capsys: pytest.CaptureFixture[str], versions: list[str]
) -> None:
    first, second, _ = versions
    rule = Duel(limit=200, margin=0.0, max_episodes=30)
    games = {"champion": with_steps([100] * 30), "challenger": with_steps([60] * 30)}
    compared = rule.compare(games)
    record = {
        "schema-version": 1,
        "champion": True,
        "champion-before": first,
        "rule": rule.describe(),
        "decision": rule.decide(games),
        "reason": compared.reason,
        "steps-saved": to_builtins(compared.steps_saved),
        "success-gain": to_builtins(compared.success_gain),
        "episodes": 30,
        "max-episodes": 200,
        "results": to_builtins(player_results(games, 200)),
    }
    document = documents.convert(record, GateRecord, "record")
    write_gate_record(open_store(), "cube", second, document)
    rows = shown(capsys, "policies", "show", f"cube:{second}").splitlines()
    found = {
        name: " ".join(line.removeprefix(name).split())
        for name in ("gate result", "gate opponent", "gate episodes", "gate rule")
        for line in rows
        if line.startswith(name)
    }
    assert found["gate result"].startswith(
        "became champion: better: 40.0 steps saved per episode ("
    )
    assert found["gate opponent"] == first
    assert found["gate episodes"] == "30 of at most 200"
    assert found["gate rule"] == rule.describe()
    account = json.loads(shown(capsys, "policies", "show", f"cube:{second}", "--json"))
    assert account["gate"] == documents.to_json(document)
    assert "unknown" in next(
        line
        for line in shown(capsys, "policies", "show", f"cube:{first}").splitlines()
        if line.startswith("gate result")
    )


def test_show_reads_policies_without_provenance(
    capsys: pytest.CaptureFixture[str], policy: Path, tmp_path: Path
) -> None:
    """Earlier releases exported policies without provenance."""
    old = Path(shutil.copytree(policy, tmp_path / "old"))
    contract = json.loads((old / "policy.json").read_text())
    del contract["provenance"]
    (old / "policy.json").write_text(json.dumps(contract))
    write_checksums(old)
    Registry(open_store()).set_alias("cube", "latest", Registry(open_store()).publish(old, "cube"))
    text = shown(capsys, "policies", "show", "cube")
    assert "configuration: unknown" in text and "dataset source" in text


def test_show_prints_unknown_for_missing_provenance(
    capsys: pytest.CaptureFixture[str], versions: list[str]
) -> None:
    """A contract of another program may lack the provenance."""
    text = shown(capsys, "policies", "show", f"cube:{versions[2]}")
    assert "robot/small" in text and text.count("unknown") > 5


def test_pull_with_a_key_requires_a_signature(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = write_keys(tmp_path / "keys", ed25519.Ed25519PrivateKey.generate())
    registry, folder = Registry(open_store()), write_policy(tmp_path / "small", seed=0)
    signed = registry.publish(folder, "cube", signing_key=private)
    bare = registry.publish(folder, "cube")
    output = ["-o", str(tmp_path / "pulled"), "--verify-key", str(public)]
    assert "is not signed" in refused(capsys, ["pull", f"cube:{bare}", *output], code=1)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    line = refused(capsys, ["pull", f"cube:{signed}", *output])
    assert "pip install 'q-chunking[signing]'" in line
    monkeypatch.undo()
    monkeypatch.setenv("QC_STORE", str(tmp_path / "store"))
    assert "signed by the owner of" in shown(capsys, "pull", f"cube:{signed}", *output)

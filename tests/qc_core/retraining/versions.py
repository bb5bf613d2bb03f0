"""Published versions with given data and parents."""

import json
from pathlib import Path

from qc_core import documents
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.policy_folder import CONTRACT, write_checksums
from qc_core.registry.registry import Registry
from qc_core.store.open import open_store
from tests.qc_core.registry.policy_folders import write_policy

OLD = DataSource(kind="collect", transitions=80, episodes=2, digest="a" * 64)
NEW = DataSource(kind="store", transitions=40, episodes=1, digest="b" * 64)
BOTH = DataSource(kind="joined", digest="c" * 64, sources=(OLD, NEW))


def publish(folder: Path, source: DataSource, parent: str | None) -> str:
    write_policy(folder, seed=0)
    contract = json.loads((folder / CONTRACT).read_text())
    contract["provenance"] = {"dataset-source": documents.to_json(source), "parent": parent}
    (folder / CONTRACT).write_text(json.dumps(contract))
    write_checksums(folder)
    return Registry(open_store()).publish(folder, "smoke", run_id=folder.name)

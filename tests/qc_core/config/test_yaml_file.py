"""YAML files are read with limits; a file that exceeds them is refused in one line."""

from pathlib import Path

import pytest

from qc_core.config.yaml_file import read_yaml
from qc_core.errors import UsageError

# Nine levels of nine aliases each, and merges that double at each level.
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (LAUGHS, "more than 10,000 values"),
        (MERGES, "more than 10,000 values"),
        ("a: &a [*a]", "an alias .* is inside the value"),
        ("[" * 20_000, "cannot read"),
        ("a: " + "1:" * 60_000 + "1", "more than 100,000 bytes"),
        ("a: 2001-99-99", "cannot read"),
        ("a: {[1]: 2}", "cannot read"),
        ("a: 1\n---\nb: 1", "cannot read"),
        ("a: !!python/object:os.system x", "cannot read"),
        ("\0", "cannot read"),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "file.yaml").write_text(content)
    with pytest.raises(UsageError, match=says) as refusal:
        read_yaml(tmp_path / "file.yaml")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


def test_aliases_and_merges_of_people_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("base: &base {alpha: 1}\nmore: {<<: *base, beta: 2}\nagain: *base\n")
    assert read_yaml(path)["more"] == {"alpha": 1, "beta": 2}
    path.write_text("")
    assert read_yaml(path) is None

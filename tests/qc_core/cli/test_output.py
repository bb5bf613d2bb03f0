"""Tables have one line per row and print no control characters."""

import pytest

from qc_core.cli.output import print_table


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("what", "is"), [("a", "1"), ("longer", "2")])
    assert capsys.readouterr().out == "what    is\na       1\nlonger  2\n"


def test_control_characters_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("what", "is"), [("\x1b[2Jé", "one\nqc: all is well\r\u202e…")])
    assert capsys.readouterr().out == "what   is\n?[2Jé  one?qc: all is well??…\n"

"""The generated reference pages are current."""

from docs.generate_reference import PAGES, commands_page, configuration_page


def test_pages_are_those_that_the_code_generates() -> None:
    remedy = "run `make reference`"
    assert (PAGES / "cli.md").read_text() == commands_page(), remedy
    assert (PAGES / "configuration.md").read_text() == configuration_page(), remedy

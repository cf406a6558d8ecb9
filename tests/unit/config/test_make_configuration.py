"""docs/configuration.md is what the settings say."""

from pathlib import Path

from make_configuration import configuration_page

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    """The page in docs/, the page that the code writes: the same."""
    assert PAGE.read_text(encoding="utf-8") == configuration_page(), "write it anew: docs/make_configuration.py"


def test_every_setting_is_described() -> None:
    """No row of the page without a meaning or with a type that nobody named."""
    rows = [line for line in configuration_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    for row in rows:
        cells = row.replace("\\|", "").strip("| ").split(" | ")
        assert len(cells) in (3, 4), row
        assert "None" not in row.replace("`None`", ""), row
        assert cells[1] != "value", row

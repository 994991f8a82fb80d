"""The pages that the code refers to: docs/rules.md has every rule, and names modules and tests that exist."""

import re
from pathlib import Path

import pytest

from engarde_pipeline.settings import LoginSettings

ROOT = Path(__file__).parents[1]
RULES = (ROOT / "docs" / "rules.md").read_text()
PACKAGES = ("engarde_pipeline", "engarde_pipeline_tests")

# "rule 7", "rules 1, 2, 3 and 5", also where a comment breaks the line.
_REFERENCE = re.compile(r"\brules?[\s#]+(\d+(?:(?:,|[\s#]+and)[\s#]+\d+)*)", re.IGNORECASE)


def _headings() -> list[int]:
    return [int(number) for number in re.findall(r"^## Rule (\d+): ", RULES, re.MULTILINE)]


def _referenced(text: str) -> set[int]:
    return {int(number) for numbers in _REFERENCE.findall(text) for number in re.findall(r"\d+", numbers)}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_rule_that_code_refers_to_is_a_heading_of_the_page(package: str) -> None:
    modules = [path for path in (ROOT / package).rglob("*.py") if path != Path(__file__)]
    references = {path: _referenced(path.read_text()) for path in modules}
    assert any(references.values())
    unknown = {str(path): found - {*_headings()} for path, found in references.items() if found - {*_headings()}}
    assert not unknown


def test_the_rules_are_numbered_without_a_gap() -> None:
    assert _headings() == list(range(1, len(_headings()) + 1))


def test_every_file_that_a_rule_names_exists() -> None:
    named = re.findall(r"`([\w./]+\.(?:py|yaml))`", RULES)
    places = (ROOT, *(ROOT / package for package in PACKAGES))
    assert named
    assert not [name for name in named if not any((place / name).is_file() for place in places)]


def test_every_rule_says_where_it_is_enforced() -> None:
    sections = re.split(r"^## ", RULES, flags=re.MULTILINE)[1:]
    assert not [section.splitlines()[0] for section in sections if "* Enforced in: " not in section]


def test_the_page_of_the_login_has_every_variable_of_it() -> None:
    text = (ROOT / "docs" / "pages.md").read_text()
    named = re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in LoginSettings.model_fields)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(rule 7)", {7}),
        ("Rule 5's threshold", {5}),
        ("(rules 1, 2, 3 and 5)", {1, 2, 3, 5}),
        ("see\n# rules 4, 9\n# and 10.", {4, 9, 10}),
        ("three rules", set()),
    ],
)
def test_references_are_found_however_they_are_written(text: str, numbers: set[int]) -> None:
    assert _referenced(text) == numbers

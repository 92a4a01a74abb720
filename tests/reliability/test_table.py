"""docs/reliability.md lists exactly the bad inputs that are tested, with the words that the tests look for."""

import re

from tests.conftest import ROOT
from tests.reliability import test_data, test_network, test_release, test_training

PAGE = ROOT / "docs" / "reliability.md"


def rows() -> list[str]:
    """One row of the table for each tested bad input."""
    modules = (test_data, test_network, test_training, test_release)
    found = [case.row() for module in modules for case in module.CASES]
    found += [f"| `{name}` | {what} | the row is kept aside: {reason} |" for name, what, _, reason in test_data.BAD_ROWS]
    found += [f"| `{name}` | {what} | that line's answer: {reason} |" for name, what, _, reason in test_network.LINES]
    found += [f"| `{name}` | {what} | {says} |" for name, what, _, says in test_network.CLIENT]
    return found


def test_the_page_lists_what_is_tested() -> None:
    listed = re.findall(r"^\| `.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(rows())
    names = [row.split("`")[1] for row in listed]
    assert len(set(names)) == len(names) >= 60

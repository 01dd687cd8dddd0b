"""What the documents say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stoker.errors import codes

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_protocol_page_lists_every_error_with_its_class() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert listed == {code: kind.__name__ for code, kind in codes().items()}


def test_the_protocol_page_says_which_errors_may_be_tried_again() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    again = {code for code, yes in re.findall(r"^\| `([a-z-]+)` \|.*\| (yes)? ?\|$", page, re.MULTILINE) if yes}
    assert again == {code for code, kind in codes().items() if kind.retryable}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target

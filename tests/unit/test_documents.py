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


def test_every_claim_of_the_security_page_is_numbered_and_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    claims = re.findall(r"^\| (\d+) \|.*\| `(\S+\.py)::(\S+)` \|$", page, re.MULTILINE)
    assert [int(number) for number, _, _ in claims] == list(range(1, len(claims) + 1))
    assert len(claims) == len(re.findall(r"^\| \d+ \|", page, re.MULTILINE))
    for _, file, name in claims:
        sources = [path.read_text() for path in (ROOT / "tests").rglob(file)]
        assert any(re.search(rf"^def {name}\(", source, re.MULTILINE) for source in sources), f"{file}::{name}"

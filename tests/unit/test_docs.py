"""The pages that are made from the code say what the code says."""

from __future__ import annotations

import pytest

from tools.build_docs import FOLDER, PAGES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == PAGES[name](), "run `make docs`"

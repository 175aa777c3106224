"""Tools that the commands of plugins share."""

from __future__ import annotations

from minimaxopt.plugins import comma_separated, markdown_table


def test_lists_with_commas() -> None:
    assert comma_separated(" a,b , ,c") == ["a", "b", "c"]
    assert comma_separated("") == comma_separated(None) == []


def test_a_table_escapes_what_would_end_a_cell() -> None:
    assert markdown_table(["x"], [["a|b"], [1]]) == "| x |\n|---|\n| a\\|b |\n| 1 |"
    assert markdown_table(["x", "y"], []) == "| x | y |\n|---|---|"

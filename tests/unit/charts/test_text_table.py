"""Tables in reports."""

from delta.charts.text_table import text_table


def test_columns_are_even_and_markdown_reads_it():
    assert text_table([("name", "x"), ("a", "1.25"), ("longer", "")]) == [
        "| name   | x    |",
        "| ------ | ---- |",
        "| a      | 1.25 |",
        "| longer |      |",
    ]

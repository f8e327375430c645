from common.cli.tables import format_table


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("name", "n", "error"), ("a", "1", "0.5"), ("longer", "10", "")]
    assert format_table(rows) == "name     n  error\na        1    0.5\nlonger  10"
    assert format_table(rows, left=2) == "name    n   error\na       1     0.5\nlonger  10"

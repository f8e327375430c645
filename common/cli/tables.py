"""Tables in plain text, for terminals."""
from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Lay rows out in columns.

    Parameters
    ----------
    rows : list of sequence of str
        All of one length; the first holds the headings.
    left : int
        Number of columns, from the first on, that are aligned to the left; the others are aligned to the right.

    Returns
    -------
    str
        One line for each row, without an end of line after the last.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(cell.ljust(width) if i < left else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in rows)

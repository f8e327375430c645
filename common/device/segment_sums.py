"""Sums of the rows that belong to the same id: the gradient of an embedding."""
from common.device.elementwise import elementwise
from common.np import Array, np


def sum_rows_by_id(ids: Array, rows: Array, order: Array, out: Array) -> None:
    """Set row k of `out` to the sum of the rows whose id is k, added up in the same order every time.

    Parameters
    ----------
    ids : ndarray of int (n,)
    rows : ndarray (n, D)
    order : ndarray of int (n,)
        Sorts the ids.
    out : ndarray (V, D)
        Zeros for an id that does not come up.
    """
    out[...] = 0
    if not ids.size:
        return
    ids, rows = ids[order], rows[order]  # (n,), (n, D): each id's rows are a segment now
    if np.backend == "numpy":
        is_first = np.concatenate((np.ones_like(ids[:1], dtype=bool), ids[1:] != ids[:-1]))  # (n,)
        starts = np.flatnonzero(is_first)  # (distinct ids,)
        out[ids[starts]] = np.add.reduceat(rows, starts, axis=0)
    else:
        out[ids] = segment_totals(ids, rows)  # where an id comes up again, the same numbers are written again


def segment_totals(ids: Array, rows: Array) -> Array:
    """Return for each row the sum of all rows of its id, without knowing how many ids there are.

    On a GPU their number would have to be waited for. Instead each row of a segment takes in the
    sum that ends `step` rows before it, for step = 1, 2, 4, ...: then it holds the sum of the
    2 step rows up to itself, or of all from its segment's first (Hillis and Steele 1986). The last
    row of a segment ends with the segment's total.

    Parameters
    ----------
    ids : ndarray of int (n,)
        Sorted.
    rows : ndarray (n, D)

    Returns
    -------
    ndarray (n, D)
    """
    n = len(ids)
    first, end = np.searchsorted(ids, ids), np.searchsorted(ids, ids, side="right")  # (n,), (n,)
    rank = (np.arange(n) - first)[:, None]  # (n, 1), in its segment
    for power in range((n - 1).bit_length()):  # until step reaches n
        step = 2**power
        taken = np.empty_like(rows)  # (n, D)
        taken[:step] = rows[:step]
        take_in(rows[step:], rows[:-step], rank[step:], step, out=taken[step:])
        rows = taken
    return rows[end - 1]


@elementwise
def take_in(row, earlier, rank, step):
    """Return row + earlier where both are of the same segment, else row."""
    return np.where(rank >= step, row + earlier, row)

"""Numbers that are not finite: found, and refused."""
import math

from common.errors import InputError


class NotFinite(InputError):
    """Raised where training, or a file, came to NaN or infinity.

    Parameters
    ----------
    what : str
        Loss, parameter or other thing that is not finite.
    advice : str
    """

    def __init__(self, what: str, advice: str = "try a lower learning rate (--lr)") -> None:
        super().__init__(f"{what} is not finite: {advice}")
        self.what = what


def expect_finite(value: float, name: str) -> float:
    """Return a number that training reached, if it is finite.

    Parameters
    ----------
    value : float
    name : str
        What it is, for the message.

    Raises
    ------
    NotFinite
        It is infinite or NaN: the updates were too large.
    """
    if not math.isfinite(value):
        raise NotFinite(name)
    return value

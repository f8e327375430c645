import common  # noqa: F401, before NumPy: sets how BLAS threads wait, and says what to install where NumPy is missing

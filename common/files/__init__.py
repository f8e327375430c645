"""Files: written whole or not at all, arrays as .npz, the book's pickles, weights from and to PyTorch.

Read first: atomic.
May be skipped: everything; no formula is here.
"""

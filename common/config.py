"""The book's switch: set ``GPU = True`` before the first import of ``common.np``."""

GPU = False

"""The parts that a GPU needs: fused kernels, ids whose range is known, sums over equal ids.

Read first: elementwise, the decorator of the formulas.
May be skipped: everything, as long as a CPU computes.
"""

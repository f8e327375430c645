"""Faster forms of layers for a CPU, equal to the plain ones in common.layers but for rounding.

Read first: rnn, the shortest.
May be skipped: everything; the formulas are those of the plain layers.
"""

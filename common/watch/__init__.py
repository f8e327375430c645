"""Looking into a network: line by line, step by step, as a trace, as pictures.

Read first: trace, which records what every layer of a model computes.
May be skipped: walk, which runs the source of a layer line by line, and pictures.
"""

"""Gradients of layers against numerical derivatives; the command is `python -m common.gradient_check`.

Read first: checker.
May be skipped: adapters and cases, until a layer of your own is to be checked.
"""

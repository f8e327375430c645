"""Edits that no check can notice, each with the reason."""

EXPLAINED = {}

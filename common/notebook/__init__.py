"""Functions for the notebooks: checks of the exercises, and short trainings.

Read first: exercise, if you wonder how an answer is checked.
May be skipped: everything; the notebooks stand on their own.
"""

"""What the notebooks use: exercises that check an answer, and short trainings.

Read first: exercise, if you wonder how an answer is checked.
May be skipped: everything; the notebooks stand on their own.
"""

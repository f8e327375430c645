"""What a training needs besides layers: batches, clipping, checkpoints, measures.

Read first: clip, then batches.
May be skipped: checkpoint, as long as no run has to go on where it stopped.
"""

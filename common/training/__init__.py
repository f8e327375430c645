"""The parts of training besides layers: its loop, batches, clipping, checkpoints, measures.

Read first: epochs, then clip and batches.
May be skipped: checkpoint, as long as no run has to go on where it stopped.
"""

"""Language models: the model, its evaluation, generated text, a run of training, the commands.

Read first: model, then evaluate and generate.
May be skipped: run and commands, which are bookkeeping, flags and messages.
"""

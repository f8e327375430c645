"""Language models: the model, its evaluation, generated text, a run of training, the commands.

Read first: model, then evaluate and generate; cache and dynamic give a better perplexity without training.
May be skipped: adaptation, run and commands, which are bookkeeping, flags and messages.
"""

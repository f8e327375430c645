"""The language models of this chapter, and recipes to train them."""
from ch_rnn.simple_rnnlm import SimpleRnnlm

MODELS = {"simple": SimpleRnnlm}

RECIPES = {
    # A first run, without any download.
    "quick": {"corpus": "pydoc", "model": "simple", "epochs": 8, "lr_decay": 4.0, "lr": 1.0},
    # The book's section 5.5: the first 1,000 words of the Penn Treebank.
    "chapter5": {"corpus": "ptb", "model": "simple", "max_tokens": 1000, "epochs": 100,
                 "batch_size": 10, "time_size": 5, "lr": 0.1, "max_grad": None},
}

"""The language models of this chapter, and recipes to train them."""
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.language_model.cell_rnnlm import CellRnnlm

MODELS = {"simple": SimpleRnnlm, "cell": CellRnnlm}

RECIPES = {
    # A first run, without any download.
    "quick": {"corpus": "pydoc", "model": "simple", "epochs": 8, "lr_decay": 4.0, "lr": 1.0},
    # The book's section 5.5: the first 1,000 words of the Penn Treebank.
    "chapter5": {"corpus": "ptb", "model": "simple", "max_tokens": 1000, "epochs": 100,
                 "batch_size": 10, "time_size": 5, "lr": 0.1, "max_grad": None},
    # Two ways to cut a corpus: every window of 5 words from a state of zeros, or strips with carried state.
    "windows": {"corpus": "ptb", "model": "simple", "windows": True, "epochs": 3, "batch_size": 128, "time_size": 5,
                "optimizer": "adam", "lr": 0.001, "max_grad": None},
    "strips": {"corpus": "ptb", "model": "simple", "epochs": 3, "batch_size": 20, "time_size": 35,
               "optimizer": "adam", "lr": 0.001, "max_grad": None},
}

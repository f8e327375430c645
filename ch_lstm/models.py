"""The language models of this chapter, and recipes to train them."""
from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.language_model.cell_rnnlm import CellRnnlm

MODELS = {"rnnlm": Rnnlm, "better": BetterRnnlm, "cell": CellRnnlm}

RECIPES = {
    # A first run, without any download.
    "quick": {"corpus": "pydoc", "model": "rnnlm", "epochs": 8, "lr_decay": 4.0},
    # The book's section 6.4: Rnnlm on the Penn Treebank.
    "chapter6": {"corpus": "ptb", "model": "rnnlm", "epochs": 4},
    # The book's section 6.5: 40 epochs, the learning rate divided by 4 when validation gets worse.
    "better": {"corpus": "ptb", "model": "better", "epochs": 40, "lr_decay": 4.0,
               "layers": 2, "tied": True, "wordvec_size": 650, "hidden_size": 650, "dropout": 0.5},
    # The characters of a text of about a megabyte (--corpus), within ten minutes on two cores.
    "characters": {"corpus": "pydoc", "unit": "char", "model": "cell", "cell": "lstm", "epochs": 8, "batch_size": 32,
                   "time_size": 64, "wordvec_size": 64, "hidden_size": 256, "dropout": 0.1, "optimizer": "adam",
                   "lr": 0.004, "schedule": "cosine", "warmup": 100, "max_grad": 1.0},
}

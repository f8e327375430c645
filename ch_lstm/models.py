"""The language models of this chapter, and recipes to train them."""
from ch_lstm.awd_lstm import AwdLstm
from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.language_model.cell_rnnlm import CellRnnlm
from common.language_model.settings import MOST_EPOCHS

MODELS = {"rnnlm": Rnnlm, "better": BetterRnnlm, "awd": AwdLstm, "cell": CellRnnlm}

RECIPES = {
    # A first run, without any download.
    "quick": {"corpus": "pydoc", "model": "rnnlm", "epochs": 8, "lr_decay": 4.0},
    # The book's section 6.4: Rnnlm on the Penn Treebank.
    "chapter6": {"corpus": "ptb", "model": "rnnlm", "epochs": 4},
    # The book's section 6.5: 40 epochs, the learning rate divided by 4 when validation gets worse.
    "better": {"corpus": "ptb", "model": "better", "epochs": 40, "lr_decay": 4.0,
               "layers": 2, "tied": True, "wordvec_size": 650, "hidden_size": 650, "dropout": 0.5},
    # Half an hour on two cores, by sampled softmax. The activation regularisation of awd is left out.
    "laptop": {"corpus": "ptb", "model": "awd", "minutes": 30.0, "epochs": MOST_EPOCHS, "layers": 2, "tied": True,
               "wordvec_size": 256, "hidden_size": 256, "dropout": 0.35, "input_dropout": 0.2, "hidden_dropout": 0.15,
               "embedding_dropout": 0.1, "weight_drop": 0.15, "alpha": 0.0, "beta": 0.0, "sampled_softmax": 400,
               "full_softmax": 0.05, "unigram_bias": True, "ppmi_embedding": True, "random_lengths": True,
               "schedule": "cosine"},
    # Merity et al. 2018, as they train it on the Penn Treebank: for a GPU and days.
    "awd": {"corpus": "ptb", "model": "awd", "epochs": 750, "layers": 3, "tied": True, "wordvec_size": 400,
            "hidden_size": 1150, "dropout": 0.4, "hidden_dropout": 0.25, "input_dropout": 0.4, "embedding_dropout": 0.1,
            "weight_drop": 0.5, "alpha": 2.0, "beta": 1.0, "batch_size": 40, "time_size": 70, "random_lengths": True,
            "optimizer": "asgd", "lr": 30.0, "weight_decay": 1.2e-6},
    # The characters of a text of about a megabyte (--corpus), within ten minutes on two cores.
    "characters": {"corpus": "pydoc", "unit": "char", "model": "cell", "cell": "lstm", "epochs": 8, "batch_size": 32,
                   "time_size": 64, "wordvec_size": 64, "hidden_size": 256, "dropout": 0.1, "optimizer": "adam",
                   "lr": 0.004, "schedule": "cosine", "warmup": 100, "max_grad": 1.0},
    # The small model that comes with this package (ch_lstm/small_model.py).
    "small": {"corpus": "pydoc", "unit": "char", "model": "rnnlm", "epochs": 28, "batch_size": 20, "time_size": 50,
              "wordvec_size": 32, "hidden_size": 96, "optimizer": "adamw", "weight_decay": 0.1, "lr": 0.01,
              "schedule": "cosine", "warmup": 100, "max_grad": 1.0},
}

"""The language models of this project in PyTorch, to compare speeds with. Needs torch: the extra `parity`."""
import torch


class TorchLanguageModel(torch.nn.Module):
    """Embedding, a recurrent stack that carries its state, an output layer.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    vocab_size, wordvec_size, hidden_size, num_layers : int
    dropout : float
        Before, between and after the recurrent layers.
    tied : bool
        Whether the output layer takes the matrix of the embedding.
    """

    def __init__(self, cell, vocab_size, wordvec_size, hidden_size, num_layers=1, dropout=0.0, tied=False):
        super().__init__()
        recurrent = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        self.embedding = torch.nn.Embedding(vocab_size, wordvec_size)
        self.recurrent = recurrent(wordvec_size, hidden_size, num_layers, batch_first=True, dropout=dropout)
        self.output = torch.nn.Linear(hidden_size, vocab_size)
        self.dropout = torch.nn.Dropout(dropout)
        if tied:
            self.output.weight = self.embedding.weight
        self.state = None

    def forward(self, xs):
        """Map ids (N, T) to scores (N, T, V)."""
        hs, state = self.recurrent(self.dropout(self.embedding(xs)), self.state)
        self.state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
        return self.output(self.dropout(hs))


MODELS = {  # those of ch_rnn and ch_lstm by name, from a vocabulary size and the width of the layers
    "SimpleRnnlm": lambda V, H: TorchLanguageModel("rnn", V, H, H),
    "Rnnlm": lambda V, H: TorchLanguageModel("lstm", V, H, H),
    "BetterRnnlm": lambda V, H: TorchLanguageModel("lstm", V, H, H, num_layers=2, dropout=0.5, tied=True),
    "GRU": lambda V, H: TorchLanguageModel("gru", V, H, H),
}


def torch_training_step(model, optimizer, xs, ts, max_grad):
    """Forward, backward, clipping and one update; returns the loss as a tensor."""
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(xs).flatten(0, 1), ts.flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad)
    optimizer.step()
    return loss.detach()

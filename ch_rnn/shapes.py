"""From text to the states of a recurrent network, every array with its shape: `python -m ch_rnn.shapes --help`.

The idea: text becomes words, words become ids, ids become windows, and an embedding turns the windows into
the array (N, T, D) that a recurrent layer reads. A stack of such layers gives back its states in two cuts:
`output` holds the last layer at all time steps, `h_n` all layers at the last time step. Where the cuts meet,
at the last layer and the last step, they are equal.

N batch, T time steps, D input size, H hidden size, V vocabulary, L layers.
"""
import dataclasses
import itertools
import sys

from common import cli
from common.cli import setting
from common.cli.tables import format_table
from common.device.ids import ids_on_host
from common.layers.dense import Embedding
from common.layers.initial import normal
from common.layers.stack import TimeStack
from common.np import np
from common.text.tokenizers import tokenize_chinese
from common.text.vocabulary import Vocabulary
from common.training.batches import WindowBatches, WindowPairs

SENTENCES = {
    "我爱学习": "I love learning",
    "我爱自然语言处理": "I love natural language processing",
    "我爱机器学习": "I love machine learning",
}
WORDVEC_SIZE = 4
HIDDEN_SIZE = 5
WINDOW = 3
BATCH_SIZE = 2


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script."""

    seed: int = setting(0, "of word vectors, weights, states and shuffling", cli.natural)


def main(argv=None):
    """Print all sections; returns the exit code."""
    return cli.run("python -m ch_rnn.shapes", _print_sections, argv)


def _print_sections(argv):
    settings = cli.SettingsParser(
        "python -m ch_rnn.shapes",
        "Follow Chinese text into a recurrent network and print each array with its shape (needs jieba).",
        Settings).settings(argv)
    np.seed(settings.seed)
    sentences = [tokenize_chinese(text) for text in SENTENCES]
    vocabulary = Vocabulary.build(itertools.chain.from_iterable(sentences), unknown=None)
    embedding = Embedding(normal((vocabulary.size, WORDVEC_SIZE), 1.0, np.float32))
    ids = vocabulary.encode(sentences[1] + sentences[2])  # (n,)
    batches = [(ids_on_host(x), ids_on_host(t))
               for x, t in WindowBatches(ids, WINDOW, BATCH_SIZE, shuffle=True, seed=settings.seed)]
    first_windows, _ = batches[0]  # (N, T)

    _print_words(sentences, vocabulary, embedding)
    _print_windows(ids, batches, vocabulary)
    _print_two_layers(embedding.forward(np.to_device(first_windows)))
    _print_cells()


def _print_words(sentences, vocabulary, embedding):
    """Print sentences as words and as ids, then the embedding's row for each word."""
    (W,) = embedding.params  # (V, D)
    print("1. Words, ids and word vectors\n")
    for words, meaning in zip(sentences, SENTENCES.values()):
        print(f"{_joined(vocabulary.encode(words))} = {' / '.join(words)} ({meaning})")
    print(f"\nEach word has an id, by first appearance, and a row in the embedding's W (V, D) = {W.shape}:\n")
    rows = [(str(i), _numbers(vector), vocabulary.id_to_word[i]) for i, vector in enumerate(W)]
    print(format_table([("id", "row of W", "word"), *rows], left=3))


def _print_windows(ids, batches, vocabulary):
    """Print all pairs of windows over ids (n,), then one epoch of batches."""
    print(f"\n2. Windows of {WINDOW} over the ids {_joined(ids)}\n")
    print(f"The target t is the window x one step later. {len(ids)} ids have {len(ids)} - {WINDOW} such pairs:\n")
    pairs = WindowPairs(ids, WINDOW)
    for x, t in zip(pairs.xs, pairs.ts):
        words = f"{_joined(vocabulary.decode(x))} -> {_joined(vocabulary.decode(t))}"
        print(f"x = {_joined(x)}   t = {_joined(t)}   {words}")
    print(f"\nShuffled and in batches (N, T) of N = {BATCH_SIZE}, the last one holding what is left:\n")
    for x, t in batches:
        print(f"x {x.shape} = {_joined_rows(x)}   t {t.shape} = {_joined_rows(t)}")


def _print_two_layers(xs):
    """Print what two RNN layers make of word vectors (N, T, D), in both orders of the axes."""
    N, T, D = xs.shape
    time_first = TimeStack("rnn", D, HIDDEN_SIZE, num_layers=2, batch_first=False)
    batch_first = TimeStack("rnn", D, HIDDEN_SIZE, num_layers=2, batch_first=True)
    for param, source in zip(batch_first.params, time_first.params):
        param[...] = source
    h0 = normal((2, N, HIDDEN_SIZE), 1.0, np.float32)  # (L, N, H)
    xs_by_time = xs.swapaxes(0, 1)  # (T, N, D)
    output_by_time, h_n = time_first.forward(xs_by_time, h0)  # (T, N, H), (L, N, H)
    output, h_n_again = batch_first.forward(xs, h0)  # (N, T, H), (L, N, H)

    print("\n3. Two RNN layers on the word vectors of the first batch\n")
    print(format_table([
        ("array", "time first", "", "batch first", ""),
        ("input", "(T, N, D)", str(xs_by_time.shape), "(N, T, D)", str(xs.shape)),
        ("h0", "(L, N, H)", str(h0.shape), "(L, N, H)", str(h0.shape)),
        ("output", "(T, N, H)", str(output_by_time.shape), "(N, T, H)", str(output.shape)),
        ("h_n", "(L, N, H)", str(h_n.shape), "(L, N, H)", str(h_n_again.shape)),
    ], left=5))
    print(f"\nT = {T} time steps, N = {N} sequences, D = {D} numbers for a word, H = {HIDDEN_SIZE} numbers in a state,")
    print("L = 2 layers. output is the last layer at all time steps, h_n all layers at the last. Time first:\n")
    for t, states in enumerate(output_by_time):
        _print_states(f"output[{t}]", states)
    for layer, states in enumerate(h_n):
        _print_states(f"h_n[{layer}]", states)
    print(f"\noutput[-1] equals h_n[-1]: {bool((output_by_time[-1] == h_n[-1]).all())}")
    print(f"batch first gives the same numbers: {bool((output.swapaxes(0, 1) == output_by_time).all())}")


def _print_cells():
    """Print the shapes that an RNN, a GRU and an LSTM give back."""
    N, T, D, H = 3, 5, 10, 20
    xs = normal((N, T, D), 1.0, np.float32)
    rows = [("cell", "input (N, T, D)", "output (N, T, H)", "h_n (L, N, H)", "c_n (L, N, H)")]
    for cell in ("rnn", "gru", "lstm"):
        output, h_n, *c_n = TimeStack(cell, D, H).forward(xs)  # (N, T, H), (L, N, H)
        rows.append((cell.upper(), str(xs.shape), str(output.shape), str(h_n.shape), str(c_n[0].shape) if c_n else "-"))
    print(f"\n4. Three cells, batch first: N = {N}, T = {T}, D = {D}, H = {H}, L = 1\n")
    print(format_table(rows, left=5))
    print("\nAn LSTM has a second state, its memory cell c, which never appears in the output.")


def _joined(items):
    return " ".join(map(str, items))


def _joined_rows(array):
    return " | ".join(map(_joined, array))


def _numbers(vector):
    return " ".join(f"{number:7.4f}" for number in vector.tolist())


def _print_states(name, states):
    """Print states (N, H), a line for each sequence."""
    for n, state in enumerate(states):
        print(f"{name if n == 0 else '':9}  {_numbers(state)}")


if __name__ == "__main__":
    sys.exit(main())

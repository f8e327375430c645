"""Learn to add numbers, or to write dates as ISO, character by character: `python -m ch_lstm.seq2seq --help`.

An encoder LSTM reads the question, a decoder LSTM writes the answer (the book's chapters 7 and 8).
All that the decoder knows of the question is one state, and three changes make that easier:

--reverse    reads the question back to front, so that its beginning and that of the answer come close
             (Sutskever et al. 2014)
--peeky      shows that state to the decoder at every step, not only as its first one (Cho et al. 2014)
--attention  lets the decoder look at all states of the encoder, with weights that it learns
             (Bahdanau et al. 2015)
"""
import dataclasses
import sys
import time
from pathlib import Path

import numpy

from ch_lstm.encoder_decoder import AttentionSeq2seq, PeekySeq2seq, Seq2seq
from common import cli
from common.cli import setting
from common.cli.tables import format_table
from common.device.ids import known_ids
from common.errors import InputError
from common.language_model.settings import beam_width
from common.np import np
from common.optimizer import Adam
from common.plots import save_curves, save_matrix
from common.training.batches import ExampleBatches
from common.training.epochs import train_epochs
from dataset import sequence

# The book's settings.
FILES = {"addition": "addition.txt", "date": "date.txt"}
TASKS = {"addition": {}, "date": {"epochs": 10, "hidden_size": 256}}  # where they differ from `Settings`
SMOKE = {"epochs": 1, "hidden_size": 16, "max_examples": 500}

COMPARED = [{}, {"reverse": True}, {"peeky": True}, {"reverse": True, "peeky": True}]
ANSWERS_AT_ONCE = 500  # questions whose states of the encoder are in memory together
EXAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script, with the defaults for additions."""

    task: str = setting("addition", "what to learn", choices=TASKS)
    reverse: bool = setting(False, "read the question back to front")
    peeky: bool = setting(False, "show the encoding to the decoder at every step", one_of="decoder")
    attention: bool = setting(False, "let the decoder attend to all of the question", one_of="decoder")
    compare: bool = setting(False, "train with and without --reverse and --peeky in turn", one_of="decoder")
    epochs: int = setting(25, "times through the training questions", cli.positive_int)
    batch_size: int = setting(128, "N, questions side by side", cli.positive_int)
    wordvec_size: int = setting(16, "D", cli.positive_int)
    hidden_size: int = setting(128, "H", cli.positive_int)
    lr: float = setting(0.001, "learning rate of Adam", cli.positive_float)
    max_grad: float = setting(5.0, "clip gradients to this global norm", cli.positive_float)
    seed: int = setting(0, "of the weights and the order of the questions", cli.natural)
    max_examples: int = setting(
        45_000, "number of questions to train on, and at most as many of the 5,000 to test on", cli.positive_int)
    beam: int | None = setting(
        None, "in the end, also search for the answers with this number of candidates", beam_width)
    out: Path | None = setting(None, "a new folder for accuracy.png, attention.png and the parameters", Path)


def main(argv=None):
    """Train and evaluate; returns the exit code."""
    return cli.run("python -m ch_lstm.seq2seq", _seq2seq, argv)


def _seq2seq(argv):
    settings = cli.SettingsParser(
        "python -m ch_lstm.seq2seq", "Learn additions or dates with an encoder and a decoder.",
        Settings, SMOKE, TASKS, chosen_by="task").settings(argv)
    if settings.compare and settings.reverse:
        raise InputError("--compare trains with and without --reverse anyway: leave --reverse out")
    if settings.out is not None:
        cli.new_folder(settings.out)
    variants = [dataclasses.replace(settings, **flags) for flags in COMPARED] if settings.compare else [settings]
    histories = {_name(variant): _run(variant) for variant in variants}
    if settings.compare:
        print(f"accuracy after each epoch\n{_compared(histories)}")
    if settings.out is not None:
        curves = {name: ([row["epoch"] for row in history], [row["accuracy"] for row in history])
                  for name, history in histories.items()}
        save_curves(settings.out / "accuracy.png", curves, "epoch", "accuracy on the test questions",
                    settings.task, ylim=(-0.05, 1.05))


def _name(settings):
    return "-".join(flag for flag in ("reverse", "peeky", "attention") if getattr(settings, flag)) or "plain"


def _run(settings):
    """Train one model, print its progress and some answers; return what `train` returns."""
    (x_train, t_train), (x_test, t_test) = _load(settings)
    _, id_to_char = sequence.get_vocab()
    make_model = AttentionSeq2seq if settings.attention else PeekySeq2seq if settings.peeky else Seq2seq
    model = make_model(len(id_to_char), settings.wordvec_size, settings.hidden_size, seed=settings.seed)
    print(f"{settings.task}, {_name(settings)} ({model.count_params():,} parameters): "
          f"{len(x_train):,} training questions, {len(x_test):,} test questions", flush=True)
    history = train(model, Adam(settings.lr), (x_train, t_train), (x_test, t_test),
                    settings.epochs, settings.batch_size, settings.max_grad)
    if settings.beam is not None:
        print(f"accuracy of greedy answers {history[-1]['accuracy']:.2%}, of a beam of {settings.beam} "
              f"{accuracy(model, x_test, t_test, settings.beam):.2%}", flush=True)
    examples = x_test[:EXAMPLES], t_test[:EXAMPLES], settings.reverse, id_to_char
    _print_examples(model, *examples)
    if settings.out is not None:
        model.save_params(settings.out / f"{_name(settings)}.npz")
        if settings.attention:
            _save_attention(settings.out / "attention.png", model, *examples)
    return history


def _load(settings):
    """Return questions and answers on the device in use: (x_train, t_train), (x_test, t_test)."""
    n = settings.max_examples
    step = -1 if settings.reverse else 1
    return [(np.to_device(x[:n, ::step]), np.to_device(t[:n]))
            for x, t in sequence.load_data(FILES[settings.task])]


def train(model, optimizer, training, test, epochs, batch_size, max_grad):
    """Train on examples in a new random order each epoch, and print a line after each.

    Parameters
    ----------
    model : Seq2seq
    optimizer : Optimizer
    training, test : (ndarray of int (n, T), ndarray of int (n, 1 + U))
        Questions and right answers.
    epochs, batch_size : int
        The last batch of an epoch holds what is left.
    max_grad : float
        Largest global norm of the gradients.

    Returns
    -------
    list of dict
        For each epoch "epoch", "loss" (mean over the epoch, in nats a character), "accuracy" (of
        the test questions after it) and "seconds" (training and test).
    """
    history = []
    x, t = training
    batches = ExampleBatches(known_ids(x), known_ids(t), batch_size)
    print("epoch    loss  accuracy  seconds", flush=True)
    start = time.perf_counter()
    for epoch, loss in enumerate(train_epochs(model, optimizer, batches, epochs, max_grad), start=1):
        correct = accuracy(model, *test)
        now = time.perf_counter()
        start, seconds = now, now - start
        print(f"{epoch:5}  {loss:6.4f}  {correct:8.2%}  {seconds:7.1f}", flush=True)
        history.append({"epoch": epoch, "loss": loss, "accuracy": correct, "seconds": seconds})
    return history


def accuracy(model, x, t, beam=None):
    """Return the share of questions whose answer is right in every character.

    Parameters
    ----------
    model : Seq2seq
    x : ndarray of int (n, T)
    t : ndarray of int (n, 1 + U)
        Right answers, each behind the id that tells the decoder to start.
    beam : int, optional
        Candidates of a beam search for the likeliest answer; by default the answer is greedy.
    """
    start_id, sample_size = int(t[0, 0]), t.shape[1] - 1
    right, at_once = 0, max(1, ANSWERS_AT_ONCE // (beam or 1))
    for first in range(0, len(x), at_once):
        rows = slice(first, first + at_once)
        if beam is None:
            answers = model.answer(x[rows], start_id, sample_size)  # (N, U)
        else:
            found = model.beam_answers(x[rows], start_id, sample_size, beam)
            answers = np.to_device(numpy.array([best.tokens for (best,) in found]))  # (N, U)
        right += (answers == t[rows, 1:]).all(axis=1).sum()
    return int(right) / len(x)


def _print_examples(model, x, t, is_reversed, id_to_char):
    answers = model.answer(x, int(t[0, 0]), t.shape[1] - 1)
    rows = [("question", "right answer", "model's answer", "")]
    for question, wanted, given in zip(_texts(x[:, ::-1] if is_reversed else x, id_to_char),
                                       _texts(t[:, 1:], id_to_char), _texts(answers, id_to_char)):
        rows.append((question, wanted, given, "right" if given == wanted else "wrong"))
    print(f"\n{format_table(rows, left=4)}\n", flush=True)


def _texts(ids, id_to_char):
    """Return each row of ids as text, without the padding."""
    return ["".join(id_to_char[char_id] for char_id in row).rstrip() for row in ids.tolist()]


def _compared(histories):
    """Return the accuracies of several runs side by side."""
    rows = [("epoch", *histories)]
    for epoch in zip(*histories.values()):
        rows.append((str(epoch[0]["epoch"]), *(f"{row['accuracy']:.2%}" for row in epoch)))
    return format_table(rows, left=0)


def _save_attention(path, model, x, t, is_reversed, id_to_char):
    """Save a picture of what the model attends to as it answers the longest of the questions x (n, T)."""
    questions = x[:, ::-1] if is_reversed else x  # (n, T), the right way round
    longest = max(range(len(x)), key=lambda i: len(_texts(questions, id_to_char)[i]))
    row = slice(longest, longest + 1)
    answer = model.answer(x[row], int(t[0, 0]), t.shape[1] - 1)  # (1, U)
    weights = model.attention_map(x[row], np.concatenate((t[row, :1], answer), axis=1))[0]  # (U, T)
    save_matrix(path, np.to_cpu(weights[:, ::-1] if is_reversed else weights),
                [id_to_char[char_id] for char_id in answer[0].tolist()],
                [id_to_char[char_id] for char_id in questions[longest].tolist()],
                "question", "answer", "attention, darker is more")


if __name__ == "__main__":
    sys.exit(main())

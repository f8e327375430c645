"""Learn to add numbers, or to write dates as ISO, character by character: `python -m ch_lstm.seq2seq --help`.

An encoder LSTM reads the question, a decoder LSTM writes the answer (the book's chapters 7 and 8).
All that the decoder knows of the question is one state, and three changes make that easier:

--reverse    reads the question back to front, so that its beginning and that of the answer come close
             (Sutskever et al. 2014)
--peeky      shows that state to the decoder at every step, not only as its first one (Cho et al. 2014)
--attention  lets the decoder look at all states of the encoder, with weights that it learns
             (Bahdanau et al. 2015)
"""
import argparse
import sys
import time
from pathlib import Path

from ch_lstm.encoder_decoder import AttentionSeq2seq, PeekySeq2seq, Seq2seq
from common import cli
from common.cli.tables import format_table
from common.device.ids import known_ids
from common.errors import InputError
from common.np import np
from common.optimizer import Adam
from common.plots import save_curves, save_matrix
from common.training.batches import ExampleBatches
from common.training.epochs import train_epochs
from dataset import sequence

# The book's settings.
DEFAULTS = {
    "task": "addition", "reverse": False, "peeky": False, "attention": False, "compare": False,
    "batch_size": 128, "wordvec_size": 16, "lr": 0.001, "max_grad": 5.0, "seed": 0,
    "max_examples": 45_000, "out": None,
}
TASKS = {
    "addition": {"file_name": "addition.txt", "epochs": 25, "hidden_size": 128},
    "date": {"file_name": "date.txt", "epochs": 10, "hidden_size": 256},
}
SMOKE = {"epochs": 1, "hidden_size": 16, "max_examples": 500}

COMPARED = [{}, {"reverse": True}, {"peeky": True}, {"reverse": True, "peeky": True}]
ANSWERS_AT_ONCE = 500  # so many states of the encoder are kept in memory
EXAMPLES = 5


def main(argv=None):
    """Train and evaluate; returns the exit code."""
    return cli.run("python -m ch_lstm.seq2seq", _seq2seq, argv)


def _parser():
    parser = cli.Parser(prog="python -m ch_lstm.seq2seq", argument_default=argparse.SUPPRESS,
                        description="Learn additions or dates with an encoder and a decoder.")
    add = parser.add_argument

    def words(name, text):
        values = [DEFAULTS[name]] if name in DEFAULTS else [f"{TASKS[task][name]} for {task}" for task in TASKS]
        return f"{text} (default: {', '.join(map(str, values))})"

    add("--task", choices=TASKS, help=words("task", "what to learn"))
    add("--reverse", action="store_true", help="read the question back to front")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--peeky", action="store_true", help="show the encoding to the decoder at every step")
    kind.add_argument("--attention", action="store_true", help="let the decoder attend to all of the question")
    kind.add_argument("--compare", action="store_true", help="train with and without --reverse and --peeky in turn")
    add("--epochs", type=cli.positive_int, help=words("epochs", "times through the training questions"))
    add("--batch-size", type=cli.positive_int, help=words("batch_size", "N, questions side by side"))
    add("--wordvec-size", type=cli.positive_int, help=words("wordvec_size", "D"))
    add("--hidden-size", type=cli.positive_int, help=words("hidden_size", "H"))
    add("--lr", type=cli.positive_float, help=words("lr", "learning rate of Adam"))
    add("--max-grad", type=cli.positive_float, help=words("max_grad", "clip gradients to this global norm"))
    add("--seed", type=cli.natural, help=words("seed", "of the weights and the order of the questions"))
    add("--max-examples", type=cli.positive_int,
        help=words("max_examples", "train on the first so many questions, test on the first so many of the 5,000"))
    add("--out", type=Path, help="a new folder for accuracy.png, attention.png and the parameters")
    add("--smoke", action="store_true", help="a tiny run of a few seconds, to see that everything works")
    cli.add_device(parser)
    return parser


def _seq2seq(argv):
    given = vars(_parser().parse_args(argv))
    cli.use_device(given.pop("device"))
    smoke = SMOKE if given.pop("smoke", False) else {}
    config = DEFAULTS | TASKS[given.get("task", DEFAULTS["task"])] | smoke | given
    if config["compare"] and config["reverse"]:
        raise InputError("--compare trains with and without --reverse anyway: leave --reverse out")
    if config["out"] is not None:
        cli.new_folder(config["out"])
    variants = [config | flags for flags in COMPARED] if config["compare"] else [config]
    histories = {_name(variant): _run(variant) for variant in variants}
    if config["compare"]:
        print(f"accuracy after each epoch\n{_compared(histories)}")
    if config["out"] is not None:
        curves = {name: ([row["epoch"] for row in history], [row["accuracy"] for row in history])
                  for name, history in histories.items()}
        save_curves(config["out"] / "accuracy.png", curves, "epoch", "accuracy on the test questions",
                    config["task"], ylim=(-0.05, 1.05))


def _name(config):
    return "-".join(flag for flag in ("reverse", "peeky", "attention") if config[flag]) or "plain"


def _run(config):
    """Train one model, print its progress and some answers; return what `train` returns."""
    (x_train, t_train), (x_test, t_test) = _load(config)
    _, id_to_char = sequence.get_vocab()
    make_model = AttentionSeq2seq if config["attention"] else PeekySeq2seq if config["peeky"] else Seq2seq
    model = make_model(len(id_to_char), config["wordvec_size"], config["hidden_size"], seed=config["seed"])
    size = sum(param.size for param in model.params)
    print(f"{config['task']}, {_name(config)} ({size:,} parameters): {len(x_train):,} training questions, "
          f"{len(x_test):,} test questions", flush=True)
    history = train(model, Adam(config["lr"]), (x_train, t_train), (x_test, t_test),
                    config["epochs"], config["batch_size"], config["max_grad"])
    examples = x_test[:EXAMPLES], t_test[:EXAMPLES], config["reverse"], id_to_char
    _print_examples(model, *examples)
    if config["out"] is not None:
        model.save_params(config["out"] / f"{_name(config)}.npz")
        if config["attention"]:
            _save_attention(config["out"] / "attention.png", model, *examples)
    return history


def _load(config):
    """Return questions and answers on the device in use: (x_train, t_train), (x_test, t_test)."""
    n = config["max_examples"]
    step = -1 if config["reverse"] else 1
    return [(np.to_device(x[:n, ::step]), np.to_device(t[:n]))
            for x, t in sequence.load_data(config["file_name"])]


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
    batches = ExampleBatches(*map(known_ids, training), batch_size)
    print("epoch    loss  accuracy  seconds", flush=True)
    start = time.perf_counter()
    for epoch, loss in enumerate(train_epochs(model, optimizer, batches, epochs, max_grad), start=1):
        correct = accuracy(model, *test)
        now = time.perf_counter()
        start, seconds = now, now - start
        print(f"{epoch:5}  {loss:6.4f}  {correct:8.2%}  {seconds:7.1f}", flush=True)
        history.append({"epoch": epoch, "loss": loss, "accuracy": correct, "seconds": seconds})
    return history


def accuracy(model, x, t):
    """Return the share of questions x (n, T) whose greedy answer is right in every character of t[:, 1:]."""
    start_id, sample_size = int(t[0, 0]), t.shape[1] - 1
    right = 0
    for first in range(0, len(x), ANSWERS_AT_ONCE):
        rows = slice(first, first + ANSWERS_AT_ONCE)
        answers = model.answer(x[rows], start_id, sample_size)  # (N, U)
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

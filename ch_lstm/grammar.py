"""Compare language models with the lowest possible perplexity: `python -m ch_lstm.grammar --help`.

For real text nobody knows that perplexity; for the language of `dataset.grammar` it is known exactly, and
a trained RNN, GRU or LSTM can be compared with it. Where a model falls short shows in its verbs. Each
agrees in number with a subject 1 to 10 words back, perhaps with attractors, nouns of the other number, in
between. As in Linzen, Dupoux and Goldberg (2016), a model is right about a verb when it finds that form
more probable than the other: the farmers near my sister often "sing", not "sings".
"""
import dataclasses
import math
import sys
import time
from pathlib import Path

import numpy

from common import cli
from common.cli import setting
from common.cli.tables import format_table
from common.errors import InputError
from common.fast import speed_up
from common.language_model.cell_rnnlm import CellRnnlm
from common.language_model.evaluate import perplexity
from common.language_model.model import STEPS_AT_ONCE
from common.layers.stack import CELLS
from common.np import np
from common.optimizer import OPTIMIZERS
from common.plots import save_curves
from common.training.batches import StripBatches
from common.training.epochs import train_epochs
from common.training.finite import expect_finite
from common.training.metrics import format_perplexity, safe_exp
from dataset.grammar import OTHER_FORM, Grammar, agreement_rules, agreements


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script."""

    cell: str = setting("all", "which models to train", choices=(*CELLS, "all"))
    words: int = setting(
        200_000, "words to train on; half as many are for testing and a tenth for validation", cli.positive_int)
    epochs: int = setting(6, "times through the training text", cli.positive_int)
    wordvec_size: int = setting(32, "D", cli.positive_int)
    hidden_size: int = setting(64, "H", cli.positive_int)
    optimizer: str = setting("adam", "what updates the parameters", choices=OPTIMIZERS)
    lr: float = setting(0.005, "learning rate of the first epoch, from which it falls evenly", cli.positive_float)
    seed: int = setting(0, "of texts and weights", cli.natural)
    out: Path | None = setting(None, "a new folder for pictures of accuracy against distance", Path)


SMOKE = {"words": 2000, "epochs": 2, "wordvec_size": 8, "hidden_size": 8}
BATCH_SIZE, TIME_SIZE, MAX_GRAD = 20, 35, 1.0


def main(argv=None):
    """Train and report; returns the exit code."""
    return cli.run("python -m ch_lstm.grammar", _grammar, argv)


def _grammar(argv):
    settings = cli.SettingsParser("python -m ch_lstm.grammar",
                                  "Train language models on a language whose entropy is known.",
                                  Settings, SMOKE).settings(argv)
    if settings.words <= BATCH_SIZE * TIME_SIZE:
        raise InputError(f"--words {settings.words} is too short a text: give at least {BATCH_SIZE * TIME_SIZE + 1}")
    if settings.out is not None:
        cli.new_folder(settings.out)
    grammar = Grammar(agreement_rules())
    texts = {split: grammar.generate(length, f"{settings.seed} {split}") for split, length in (
        ("train", settings.words), ("valid", settings.words // 10), ("test", settings.words // 2))}
    _describe(grammar, texts["test"])

    summary = [("cell", "parameters", "test perplexity", "above the lowest", "verbs right", "seconds")]
    for cell in CELLS if settings.cell == "all" else [settings.cell]:
        row, history = _run(cell, settings, grammar, texts)
        summary.append(row)
        if settings.out is not None:
            _save_pictures(settings.out, cell, history)
    print(format_table(summary))


def _describe(grammar, test):
    words = grammar.vocabulary.decode(test)
    print(f"example: {' '.join(words[1:30])} ...")
    print(f"{grammar.vocabulary.size} words, {grammar.visits.sum():.2f} a sentence, entropy {grammar.entropy:.4f} nats "
          f"a word: lowest perplexity {format_perplexity(math.exp(grammar.entropy), 3)}, "
          f"on this test text {format_perplexity(math.exp(grammar.cross_entropy(test)), 3)}\n", flush=True)


def _run(cell, settings, grammar, texts):
    """Train and test one model; return its row of the summary, and its accuracies after each epoch."""
    train, valid, test = (np.to_device(texts[split]) for split in ("train", "valid", "test"))
    sizes = grammar.vocabulary.size, settings.wordvec_size, settings.hidden_size
    model = speed_up(CellRnnlm(cell, *sizes, seed=settings.seed))
    optimizer = OPTIMIZERS[settings.optimizer](settings.lr)
    batches = StripBatches(train[:-1], train[1:], BATCH_SIZE, TIME_SIZE)
    groups = verbs_by_distance(agreements(grammar.vocabulary.decode(texts["test"])))
    verbs = numpy.concatenate(list(groups.values()))  # (verbs,)
    history, seconds = [], 0.0
    start = time.perf_counter()
    for epoch, nats in enumerate(train_epochs(model, optimizer, batches, settings.epochs, MAX_GRAD), start=1):
        seconds += time.perf_counter() - start
        optimizer.lr = settings.lr * (1 - epoch / settings.epochs)
        valid_perplexity = expect_finite(perplexity(model, valid), f"the validation perplexity of epoch {epoch}")
        right = prefers_right_form(model, test, grammar.vocabulary)  # (n,)
        history.append({group: right[places].mean() for group, places in groups.items()})
        print(f"{cell}, epoch {epoch}: training perplexity {format_perplexity(safe_exp(nats), 3)}, "
              f"validation perplexity {format_perplexity(valid_perplexity, 3)}", flush=True)
        start = time.perf_counter()
    print(f"\nverbs of the test text in the right form\n{_accuracy_table(groups, history)}\n", flush=True)
    reached, lowest = perplexity(model, test), math.exp(grammar.cross_entropy(texts["test"]))
    row = (cell, f"{model.count_params():,}", format_perplexity(reached, 3), f"{reached / lowest - 1:.2%}",
           f"{right[verbs].mean():.2%}", f"{seconds:.0f}")
    return row, history


def prefers_right_form(model, corpus, vocabulary):
    """Find where a model gives the verb of a text more probability than its other form.

    Parameters
    ----------
    model : LanguageModel
        Its state stays as it is.
    corpus : ndarray of int (n,)
        Ids on the device in use, read as one strip.
    vocabulary : Vocabulary
        That of `dataset.grammar`.

    Returns
    -------
    numpy.ndarray of bool (n,)
        False for words that are no verbs.
    """
    other_form = numpy.arange(vocabulary.size)  # (V,)
    other_form[vocabulary.encode(OTHER_FORM)] = vocabulary.encode(OTHER_FORM.values())
    other_form = np.to_device(other_form)
    right = numpy.zeros(len(corpus), dtype=bool)  # (n,)
    with model.fresh_state():
        for start in range(0, len(corpus) - 1, STEPS_AT_ONCE):
            stop = min(start + STEPS_AT_ONCE, len(corpus) - 1)
            scores = model.predict(corpus[None, start:stop])[0]  # (T, V)
            words, steps = corpus[start + 1:stop + 1], np.arange(stop - start)  # (T,), (T,)
            right[start + 1:stop + 1] = np.to_cpu(scores[steps, words] > scores[steps, other_form[words]])
    return right


def verbs_by_distance(verbs):
    """Group verbs by what makes them hard.

    Parameters
    ----------
    verbs : list of dataset.grammar.Agreement

    Returns
    -------
    dict of (bool, int) to list of int
        Whether there is an attractor, and the distance from the subject, to the places of the verbs; in order.
    """
    groups: dict[tuple[bool, int], list[int]] = {}
    for verb in verbs:
        groups.setdefault((verb.attractor, verb.distance), []).append(verb.verb)
    return dict(sorted(groups.items()))


def _accuracy_table(groups, history):
    rows = [("attractor", "distance", "verbs", *(f"epoch {epoch}" for epoch in range(1, len(history) + 1)))]
    for (attractor, distance), places in groups.items():
        rows.append(("yes" if attractor else "no", str(distance), f"{len(places):,}",
                     *(f"{accuracies[attractor, distance]:.1%}" for accuracies in history)))
    return format_table(rows)


def _save_pictures(folder, cell, history):
    """Save accuracy against distance, a curve for each epoch, with attractors and without."""
    for attractor, name in ((False, "without"), (True, "with")):
        distances = [distance for has_attractor, distance in history[0] if has_attractor == attractor]
        curves = {f"epoch {epoch}": (distances, [accuracies[attractor, distance] for distance in distances])
                  for epoch, accuracies in enumerate(history, start=1)}
        save_curves(folder / f"{cell}-{name}-attractors.png", curves, "words from the subject to the verb",
                    "verbs in the right form", f"{cell}, {name} attractors in between", ylim=(-0.05, 1.05))


if __name__ == "__main__":
    sys.exit(main())

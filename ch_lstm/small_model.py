"""Make the small model that comes with this package, small.safetensors: `python -m ch_lstm.small_model --help`.

An LSTM, and for the microscope a simple RNN of its size, learn the characters of Python's documentation by the recipe
"small". `generate`, `evaluate` and the microscope take them where there is no run. The file says how it was made, so
that a test can make it again: all but the rounding is the same, as long as the documentation is.
"""
import dataclasses
import math
import platform
import sys
import tempfile
from pathlib import Path

import numpy

from ch_lstm import train
from ch_lstm.models import MODELS
from common import cli
from common.cli import setting
from common.device.ids import known_ids
from common.files.atomic import expect_replaceable
from common.language_model.commands import (
    build_model,
    corpus_of_run,
    load_run,
    optimizer_of,
    script_of,
    small_model_of,
)
from common.language_model.evaluate import perplexity
from common.language_model.model_file import write_model_file
from common.language_model.run import TrainingRun
from common.language_model.settings import PlaceSettings
from common.np import np
from common.training.checkpoint import param_arrays

FILE = small_model_of(MODELS)
FLAGS = {"lstm": ["--recipe", "small"], "rnn": ["--recipe", "small", "--cell", "rnn", "--lr", "0.004"]}
STEPS = 20  # the first of each training, after which the norms of its parameters are noted
ABOUT = ("Two language models of characters, an LSTM and a simple RNN: embedding, recurrent layer, affine. Their "
         "parameters stand in that order: embedding (V, D), Wx, Wh, b, W (H, V), b (V,).")
LICENCE = ("The text is the documentation of Python, Copyright Python Software Foundation, under the PSF License "
           "Agreement. The weights are under the licence of this project, MIT.")


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script."""

    out: Path = setting(FILE, "the file", Path)


def main(argv=None):
    """Train and write the file; returns the exit code."""
    return cli.run("python -m ch_lstm.small_model", _small_model, argv)


def _small_model(argv):
    parser = cli.SettingsParser("python -m ch_lstm.small_model", "Train the small model that comes with this package.",
                                Settings)
    out = parser.settings(argv).out
    expect_replaceable(out)
    with tempfile.TemporaryDirectory() as folder:
        models, facts = {}, {}
        for name, flags in FLAGS.items():
            run = Path(folder) / name
            if code := _train(flags, run):
                return code  # the training has said why
            trained = load_run(run, MODELS)
            corpus = corpus_of_run(trained, PlaceSettings())
            models[name] = trained.model
            facts[name] = _facts(name, trained, corpus)
    write_model_file(out, models, corpus.vocabulary, {
        "about": ABOUT, "licence": LICENCE, "command": "make small-model", "python": platform.python_version(),
        "corpus": corpus.fingerprint, "models": facts})
    bits = ", ".join(f"{name.upper()} {of['test_bits']:.3f}" for name, of in facts.items())
    print(f"{out}: {out.stat().st_size / 1000:,.0f} kB, {bits} bits a character on the test text")
    return 0


def _train(flags, folder):
    """Train a model in a folder; returns the exit code."""
    return train.main([*flags, "--out", str(folder)])


def _facts(name, trained, corpus):
    """Return what the file says of a trained model."""
    perplexities = {part: float(perplexity(trained.model, known_ids(getattr(corpus, part))))
                    for part in ("valid", "test")}
    return {
        "command": " ".join(["python -m ch_lstm.train", *FLAGS[name]]),
        "configuration": dataclasses.asdict(trained.settings),
        "valid_perplexity": perplexities["valid"], "test_perplexity": perplexities["test"],
        "test_bits": math.log2(perplexities["test"]),
        "first_steps": {"steps": STEPS, "norms": first_norms(trained.settings, corpus)}}


def first_norms(settings, corpus):
    """Return the norm of each parameter after the first `STEPS` updates of a training.

    Parameters
    ----------
    settings : TrainSettings
        Of the training.
    corpus : dataset.corpus.Corpus

    Returns
    -------
    list of float
    """
    model = build_model(MODELS, settings, corpus.vocabulary.size, seed=settings.seed)
    run = TrainingRun(None, settings, script_of(MODELS), model, optimizer_of(settings), corpus)
    for _ in range(STEPS):
        run.train_batch()
    return norms(model)


def norms(model):
    """Return the norm of each parameter of a model, as a list of float."""
    return [float(numpy.linalg.norm(np.to_cpu(param).astype(float))) for param in param_arrays(model).values()]


if __name__ == "__main__":
    sys.exit(main())

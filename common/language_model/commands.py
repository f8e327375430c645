"""The commands train, evaluate and generate, for the language models of a chapter.

A chapter gives its models and recipes; everything else is the same for all.
"""
import dataclasses
import inspect
from pathlib import Path
from typing import Any

from common import cli
from common.errors import InputError
from common.fast import speed_up
from common.language_model.evaluate import eval_perplexity, perplexity
from common.language_model.generate import generate
from common.language_model.model import LanguageModel
from common.language_model.run import TrainingRun
from common.language_model.settings import EvaluateSettings, GenerateSettings, TrainSettings
from common.np import np
from common.optimizer import OPTIMIZERS
from common.text.tokenizers import TOKENIZERS, join_tokens
from common.text.vocabulary import Vocabulary
from common.training.checkpoint import read_checkpoint, restore_params
from dataset.corpus import Corpus, load_corpus, read_text_file, tokenizer_of

SMOKE = {"max_tokens": 2000, "epochs": 1, "batch_size": 4, "time_size": 8, "wordvec_size": 8, "hidden_size": 8}
MAY_CHANGE_ON_RESUME = {"epochs"}


def train(prog: str, models: dict[str, Any], recipes: dict[str, dict[str, Any]], argv: list[str] | None = None) -> int:
    """Run the command train.

    Parameters
    ----------
    prog : str
        How it is started, "python -m ch_lstm.train".
    models : dict of str to class
        The first is the default.
    recipes : dict of str to dict
        Settings under a name; the first is the default.
    argv : list of str, optional

    Returns
    -------
    int
        Exit code.
    """
    return cli.run(prog, lambda args: _train(prog, models, recipes, args), argv)


def _train(prog, models, recipes, argv):
    parser = cli.SettingsParser(prog, "Train a language model.", TrainSettings, SMOKE, _whole(recipes, models),
                                chosen_by="recipe", choices={"model": models})
    parser.add_argument("--recipe", choices=recipes, help=f"settings to begin with (default: {next(iter(recipes))})")
    parser.add_argument("--out", type=Path, help="folder of the run (default: a new one under runs/)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    given = parser.given(argv)
    if "corpus" in given:
        given["corpus"] = _lasting_name(given["corpus"])
    resuming = given.pop("resume", False)
    settings, folder = _resumed(given, models) if resuming else _new(given, parser)
    corpus = load_corpus(settings.corpus, settings.unit, settings.min_freq, settings.max_tokens)
    run = TrainingRun(folder, settings, script_of(models),
                      build_model(models, settings, corpus.vocabulary.size, seed=settings.seed),
                      OPTIMIZERS[settings.optimizer](settings.lr), corpus)
    if resuming:
        run.resume()
    else:
        run.begin()
    print(f"{settings.model} ({run.model.count_params():,} parameters) on {corpus.name}: {len(corpus.train):,} tokens, "
          f"{corpus.vocabulary.size:,} words; run in {folder}", flush=True)
    if run.epoch == settings.epochs:
        print(f"all {run.epoch} epochs are done already: give a larger --epochs to continue the training", flush=True)
    if run.train():
        print(f"test perplexity {run.finish():.2f} (best of {run.epoch} epochs by validation)", flush=True)
        _print_sample(run.model, corpus)
    else:
        print(f"stopped by Ctrl-C in epoch {run.epoch + 1} after {run.batch} of {len(run.batches)} batches, saved: "
              f"go on with --out {folder} --resume", flush=True)
        print(f"test perplexity {run.test_perplexity():.2f} (parameters as they are now)", flush=True)
    return 0


def _whole(recipes, models):
    """Return recipes that name a model each, the first of the chapter where they name none."""
    return {name: {"model": next(iter(models))} | recipe for name, recipe in recipes.items()}


def script_of(models: dict[str, Any]) -> str:
    """Return the name of the script that trains the models of a chapter, "ch_lstm.train"."""
    chapter, _, _ = next(iter(models.values())).__module__.partition(".")
    return f"{chapter}.train"


def _new(given, parser):
    """Return the settings and the folder of a new run."""
    settings = parser.fill(given)
    if settings.shuffle and not settings.windows:
        raise InputError("--shuffle goes with --windows: strips must stay in order to carry their state")
    return settings, given.get("out") or cli.free_folder(f"{Path(settings.corpus).stem}-{settings.model}")


def _lasting_name(corpus):
    """Return the name of a corpus, a file's with its whole path, so that it means the same from any folder."""
    return corpus if corpus in ("pydoc", "ptb") else str(Path(corpus).absolute())


def _resumed(given, models):
    """Return the settings and the folder of the run to go on with."""
    if "out" not in given:
        raise InputError("--resume needs --out with the folder of the run")
    folder = given.pop("out")
    settings = read_run_settings(folder, models)
    for name, value in given.items():
        flag = name.replace("_", "-")
        if not hasattr(settings, name):
            raise InputError(f"--{flag} does not go with --resume")
        recorded = getattr(settings, name)
        if name not in MAY_CHANGE_ON_RESUME and recorded != value:
            raise InputError(f"--{flag} {value} does not fit: the run in {folder} was made with {recorded}")
    return dataclasses.replace(settings, **given), folder


def read_run_settings(folder: Path, models: dict[str, Any]) -> TrainSettings:
    """Read the settings of a training run.

    Parameters
    ----------
    folder : Path
    models : dict of str to class
        The models of this chapter.

    Returns
    -------
    TrainSettings

    Raises
    ------
    InputError
        There is no run, it is of another script or chapter, or its config.json is damaged.
    """
    settings = cli.read_settings(folder, TrainSettings, script_of(models))
    if settings.model not in models:
        raise InputError(f"the run in {folder} is of the model {settings.model!r}, wanted one of {', '.join(models)}")
    return settings


def build_model(models: dict[str, Any], settings: TrainSettings, vocab_size: int,
                seed: int | None = None) -> LanguageModel:
    """Make the model that a run's settings describe."""
    model = models[settings.model]
    options = {"dropout_ratio": settings.dropout} if "dropout_ratio" in inspect.signature(model).parameters else {}
    try:
        model = model(vocab_size, settings.wordvec_size, settings.hidden_size, seed=seed, **options)
    except ValueError as error:
        raise InputError(str(error)) from None
    return model if settings.plain else speed_up(model)


def _print_sample(model, corpus):
    vocabulary = corpus.vocabulary
    start = _start_ids(vocabulary)
    ids = generate(model, start, 60, temperature=0.8, banned=_unknown_ids(vocabulary))
    print("sample: " + _as_text(ids[0], vocabulary, corpus.tokenizer).strip())


def _start_ids(vocabulary):
    """Return a prompt that begins a text: the end of what came before."""
    for token in ("<eos>", "\n", " "):
        if token in vocabulary:
            return [vocabulary.word_to_id[token]]
    return [0]


def _unknown_ids(vocabulary):
    return [] if vocabulary.unknown is None else [vocabulary.word_to_id[vocabulary.unknown]]


def _as_text(ids, vocabulary, tokenizer):
    return join_tokens(vocabulary.decode(ids), tokenizer)


def load_run(folder: Path | None, models: dict[str, Any],
             checkpoint: str = "best") -> tuple[TrainSettings, Vocabulary, LanguageModel]:
    """Load a trained model.

    Parameters
    ----------
    folder : Path or None
        Of the run; None takes the newest under runs/.
    models : dict of str to class
        The models of the chapter.
    checkpoint : {"best", "last"}

    Returns
    -------
    settings : TrainSettings
        Of the run.
    vocabulary : Vocabulary
    model : LanguageModel

    Raises
    ------
    InputError
        There is no such run, it is damaged, or of another chapter.
    """
    if folder is None:
        folder = cli.newest_run(script_of(models))
    settings = read_run_settings(folder, models)
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    model = build_model(models, settings, vocabulary.size)
    path = folder / f"{checkpoint}.npz"
    arrays, _ = read_checkpoint(path, settings.model, vocabulary)
    restore_params(path, arrays, model)
    return settings, vocabulary, model


def evaluate(prog: str, models: dict[str, Any], argv: list[str] | None = None) -> int:
    """Run the command evaluate; parameters as in `train`."""
    return cli.run(prog, lambda args: _evaluate(prog, models, args), argv)


def corpus_of_run(settings: TrainSettings, vocabulary: Vocabulary) -> Corpus:
    """Load the corpus that a run was trained on.

    Parameters
    ----------
    settings : TrainSettings
        Of the run.
    vocabulary : Vocabulary
        Of the run.

    Raises
    ------
    InputError
        The corpus has another vocabulary now.
    """
    corpus = load_corpus(settings.corpus, settings.unit, settings.min_freq, settings.max_tokens)
    if corpus.vocabulary != vocabulary:
        raise InputError(f"the corpus {settings.corpus} has changed since the run: its vocabulary is another one")
    return corpus


def _evaluate(prog, models, argv):
    parser = cli.SettingsParser(prog, "Report the perplexity of a trained model.", EvaluateSettings)
    wanted = parser.settings(argv)
    settings, vocabulary, model = load_run(wanted.run, models, wanted.checkpoint)
    if wanted.text is not None:
        name, ids = str(wanted.text), vocabulary.encode(tokens_of(read_text_file(wanted.text), settings))
    else:
        corpus = corpus_of_run(settings, vocabulary)
        name, ids = f"{wanted.split} text of {settings.corpus}", getattr(corpus, wanted.split)
    if len(ids) < 2:
        raise InputError(f"{name} has {len(ids)} tokens: at least 2 are needed, one to predict from and one to predict")
    if wanted.book:
        model.reset_state()
        result = eval_perplexity(model, ids)
    else:
        result = perplexity(model, ids)
    print(f"perplexity {result:.2f} on {name} ({len(ids):,} tokens, {settings.model}, {wanted.checkpoint} checkpoint)")


def _tokenizer(settings):
    """Return the name of the tokenizer that made the run's corpus."""
    return tokenizer_of(settings.corpus, settings.unit)


def tokens_of(text: str, settings: TrainSettings) -> list[str]:
    """Return the tokens of a text as the run with these settings splits it."""
    return TOKENIZERS[_tokenizer(settings)](text)


def generate_text(prog: str, models: dict[str, Any], argv: list[str] | None = None) -> int:
    """Run the command generate; parameters as in `train`."""
    return cli.run(prog, lambda args: _generate(prog, models, args), argv)


def _generate(prog, models, argv):
    wanted = cli.SettingsParser(prog, "Generate text with a trained model.", GenerateSettings).settings(argv)
    settings, vocabulary, model = load_run(wanted.run, models, wanted.checkpoint)
    prompt = _start_ids(vocabulary) if wanted.prompt is None else _prompt_ids(wanted.prompt, settings, vocabulary)
    banned = {*_unknown_ids(vocabulary), *vocabulary.encode_known(tokens_of(wanted.ban, settings), "--ban")}
    if len(banned) == vocabulary.size:
        raise InputError("--ban leaves no word to draw: ban fewer")
    if wanted.greedy and wanted.samples > 1:
        raise InputError("--greedy always gives the same text: leave out --samples, or draw without --greedy")
    np.seed(wanted.seed)
    texts = generate(model, prompt, wanted.length, wanted.temperature, wanted.top_k, wanted.top_p, wanted.greedy,
                     sorted(banned), wanted.samples)
    for i, ids in enumerate(texts):
        if wanted.samples > 1:
            print(f"--- {i + 1}")
        if wanted.prompt is None:
            print(_as_text(ids, vocabulary, _tokenizer(settings)).strip())
        else:
            print(_as_text([*prompt, *ids], vocabulary, _tokenizer(settings)))


def _prompt_ids(prompt, settings, vocabulary):
    tokens = tokens_of(prompt, settings)
    if not tokens:
        raise InputError("the prompt is empty")
    return vocabulary.encode_known(tokens, "the prompt")

"""The commands train, evaluate and generate, for the language models of a chapter.

A chapter gives its models and recipes; everything else is the same for all.
"""
import contextlib
import dataclasses
import inspect
import itertools
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

from common import cli
from common.errors import InputError
from common.fast import speed_up
from common.files.json_text import brief, brief_text
from common.language_model.adaptation import adapted_perplexity, expect_consistent, is_wanted, needs_corpus
from common.language_model.beam import beam_search
from common.language_model.evaluate import eval_perplexity, perplexity
from common.language_model.generate import generate, generate_tokens
from common.language_model.model import LanguageModel
from common.language_model.model_file import ModelFile, read_model_file
from common.language_model.report import PerplexityInWords, advice, table_of_parts, unit_name
from common.language_model.run import MAY_CHANGE_ON_RESUME, PLACES, TrainingRun, expect_same_configuration
from common.language_model.settings import (
    MOST_EPOCHS,
    RUN_OPTIMIZERS,
    EvaluateSettings,
    GenerateSettings,
    PlaceSettings,
    TrainSettings,
)
from common.layers.stack import CELLS
from common.np import np
from common.optimizer import Optimizer
from common.text.reading import clean_text, read_text_file
from common.text.tokenizers import TOKENIZERS, join_tokens
from common.text.vocabulary import Vocabulary
from common.training.checkpoint import expect_arrays, param_arrays, read_checkpoint, read_header, restore_params
from common.training.schedules import FALLING
from dataset.corpus import BUILT_IN, Corpus, load_corpus, tokenizer_of, unknown_share

SMOKE = {"max_tokens": 2000, "epochs": 1, "batch_size": 4, "time_size": 8, "wordvec_size": 8, "hidden_size": 8,
         "warmup": 0}
CELL = "cell"  # the model that the flags --cell, --layers and --tied make
OPTIONS = {"cell": "cell", "layers": "layers", "tied": "tied", "dropout": "dropout_ratio"} | {  # setting -> of a model
    name: name for name in ("input_dropout", "hidden_dropout", "embedding_dropout", "weight_drop", "alpha", "beta")}
# Learning rates for an optimizer other than that of the recipe. With a momentum of 0.9 a step counts ten times.
ADAPTIVE_LR = {"adagrad": 0.1, "rmsprop": 0.002, "adam": 0.003, "adamw": 0.003}
SGD_LR = {"rnn": 1.0, "lstm": 20.0, "gru": 20.0}
LR_OF_MOMENTUM = 0.1  # of that of plain SGD
SAMPLE_TOKENS = 60
SAMPLE_CHARACTERS = 40  # that are to be seen in a sample, so that it shows something of any text
LONGEST_SAMPLE = 2000  # tokens, though they be white space
PLATEAU_DECAY = 4.0  # the book's
DRAWING = "greedy", "samples", "stream", "temperature", "top_k", "top_p", "seed"  # settings that --beam has no use for
SMALL = Path("small")  # instead of the folder of a run: the small model that comes with a chapter
BOOK_BATCH = 10 * 35  # tokens, as eval_perplexity reads them by default


def train(prog: str, models: dict[str, Any], recipes: dict[str, dict[str, Any]], argv: list[str] | None = None,
          cell: str = "lstm") -> int:
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
    cell : {"rnn", "lstm", "gru"}
        Default of --cell.

    Returns
    -------
    int
        Exit code.
    """
    return cli.run(prog, lambda args: _train(prog, models, _whole(recipes, models, cell), args), argv)


def _train(prog, models, recipes, argv):
    parser = cli.SettingsParser(prog, "Train a language model.", TrainSettings, SMOKE, recipes,
                                chosen_by="recipe", choices={"model": models})
    parser.add_argument("--recipe", choices=recipes, help=f"settings to begin with (default: {next(iter(recipes))})")
    parser.add_argument("--out", type=Path, help="folder of the run (default: a new one under runs/)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    given = parser.given(argv)
    given |= {place: _lasting_name(given[place]) for place in PLACES if place in given}
    resuming = given.pop("resume", False)
    settings, folder = _resumed(given, models) if resuming else _new(given, parser, models)
    corpus = corpus_of(settings, was_there=resuming)
    run = TrainingRun(folder, settings, script_of(models),
                      build_model(models, settings, corpus.vocabulary.size, seed=settings.seed),
                      optimizer_of(settings), corpus)
    if resuming:
        run.resume(given.get("lr"))
    else:
        run.begin()
    print(f"{_model_name(settings)} ({run.model.count_params():,} parameters) on {corpus.name}: "
          f"{corpus.vocabulary.size:,} {unit_name(corpus.tokenizer)}; run in {run.folder}", flush=True)
    print("\n".join([table_of_parts(corpus), *advice(corpus)]), flush=True)
    if resuming and settings.schedule in FALLING and {"epochs", "minutes"} & given.keys():
        span = f"{settings.epochs} epochs" if settings.minutes is None else f"{settings.minutes:g} minutes"
        print(f"note: --schedule {settings.schedule} now spans {span}, so the learning rate goes on from another value",
              flush=True)
    if run.changes:
        print(f"note: the run goes on in other circumstances ({'; '.join(map(brief_text, run.changes))}): its last "
              "digits may differ from those of a run without a break", flush=True)
    if resuming and "lr" in given:
        print(f"note: the learning rate goes on from {run.lr:g}", flush=True)
    if run.is_done:
        more = "--minutes" if run.time_is_over else "--patience" if run.epoch < settings.epochs else "--epochs"
        print(f"all {run.epoch} epochs are done already: give a larger {more} to continue the training", flush=True)
    run.train()
    if run.stop.signum is not None:
        where = ("with all epochs done" if run.is_done else
                 f"in epoch {run.epoch + 1} after {run.batch} of {run.of_epoch} batches")
        cli.print_or_give_up(f"stopped by {cli.signal_name(run.stop.signum)} {where}, saved: go on with "
                             f"--out {run.folder} --resume")
        return 128 + run.stop.signum
    result = run.say["test"](run.finish(), f"best of {run.epoch} epochs by validation")
    print(f"test perplexity {result}", flush=True)
    print("sample: " + sample(run.model, corpus))
    return 0


def optimizer_of(settings: TrainSettings) -> Optimizer:
    """Return the optimizer that settings describe; one that averages is to begin when validation says so."""
    options: dict[str, Any] = {} if settings.weight_decay is None else {"weight_decay": settings.weight_decay}
    if settings.optimizer == "asgd":
        options["start"] = None
    return RUN_OPTIMIZERS[settings.optimizer](settings.lr, **options)


def _model_name(settings):
    """Return what a model is called: by its name, or by its cell and the number of its layers."""
    if settings.model != CELL:
        return settings.model
    return f"{settings.cell} of {settings.layers} layer{'s' * (settings.layers > 1)}"


def _whole(recipes, models, cell):
    """Return recipes that name a model and a cell each, those of the chapter where they name none."""
    return {name: {"model": next(iter(models)), "cell": cell} | recipe for name, recipe in recipes.items()}


def script_of(models: dict[str, Any]) -> str:
    """Return the name of the script that trains the models of a chapter, "ch_lstm.train"."""
    chapter, _, _ = next(iter(models.values())).__module__.partition(".")
    return f"{chapter}.train"


def _new(given, parser, models):
    """Return the settings of a new run, and its folder where one is given."""
    _expect_an_end(given)
    if given.get("minutes") is not None:
        given = {"epochs": MOST_EPOCHS} | given  # as many as fit into the time
    elif "epochs" in given:
        given = {"minutes": None} | given  # of the recipe
    if given.get("sampled_softmax", "left out") is None:
        given = {"full_softmax": None} | given  # of the recipe
    preset = parser.preset(given)
    of_own = {"cell", "layers", "tied"} & given.keys()
    if "model" not in given and not all(_takes(models[preset["model"]], name) for name in of_own):
        given = given | {"model": CELL}
    if "lr" not in given and given.get("optimizer", preset.get("optimizer", "sgd")) != preset.get("optimizer", "sgd"):
        given = given | {"lr": default_learning_rate(given["optimizer"], given.get("cell", preset["cell"]))}
    settings = parser.fill(given)
    for name in OPTIONS.keys() & given.keys():
        if not _takes(models[settings.model], name):
            others = [f"--cell {settings.cell}" if other == CELL else f"--model {other}"
                      for other in models if _takes(models[other], name)]
            raise InputError(f"the model {settings.model} has no --{name.replace('_', '-')}: leave it out"
                             + (f", or choose {' or '.join(others)}" if others else ""))
    _expect_consistent(settings)
    return dataclasses.replace(settings, **_schedule(settings, given)), given.get("out")


def _expect_an_end(given):
    """Check that a run whose budget of time is taken away has a number of epochs."""
    if given.get("minutes", "left out") is None and "epochs" not in given:
        raise InputError("--minutes none needs --epochs: without either the run would not end")


def _expect_consistent(settings):
    """Check that settings go together, those of flags and those of a config.json."""
    if settings.shuffle and not settings.windows:
        raise InputError("--shuffle goes with --windows: strips must stay in order to carry their state")
    if settings.random_lengths and settings.windows:
        raise InputError("--random-lengths goes with strips: all windows are of --time-size tokens")
    if settings.weight_decay is not None and settings.optimizer not in ("adamw", "sgd", "asgd"):
        raise InputError(f"--weight-decay goes with --optimizer adamw, sgd or asgd, not with {settings.optimizer}")
    if settings.full_softmax is not None and settings.sampled_softmax is None:
        raise InputError("--full-softmax goes with --sampled-softmax: without that the whole run takes all words")
    if settings.model == CELL and settings.cell is None:
        raise InputError(f"the model {CELL} needs --cell: {', '.join(CELLS)}")


def default_learning_rate(optimizer: str, cell: str) -> float:
    """Return a learning rate that suits an optimizer, and where it is SGD a cell, with gradients clipped."""
    if optimizer in ADAPTIVE_LR:
        return ADAPTIVE_LR[optimizer]
    return SGD_LR[cell] * (1.0 if optimizer in ("sgd", "asgd") else LR_OF_MOMENTUM)


def _takes(model, name):
    """Whether a model uses a setting."""
    return OPTIONS[name] in inspect.signature(model).parameters


def _schedule(settings, given):
    """Return the settings of the schedule: without a name it is a plateau where the learning rate is to be divided."""
    if settings.schedule is None:
        return {"schedule": "plateau" if settings.lr_decay > 1 else "constant"}
    if settings.schedule == "plateau":
        if given.get("lr_decay") == 1:
            raise InputError("--schedule plateau divides by --lr-decay: give one above 1, or --schedule constant")
        return {"lr_decay": settings.lr_decay if settings.lr_decay > 1 else PLATEAU_DECAY}
    if given.get("lr_decay", 1) > 1:
        raise InputError(f"--lr-decay goes with --schedule plateau, not with {settings.schedule}")
    return {"lr_decay": 1.0}


def _lasting_name(corpus):
    """Return the name of a corpus, a file's with its whole path, so that it means the same from any folder."""
    return corpus if corpus in BUILT_IN else str(Path(corpus).absolute())


def _resumed(given, models):
    """Return the settings and the folder of the run to go on with."""
    if "out" not in given:
        raise InputError("--resume needs --out with the folder of the run")
    folder = given.pop("out")
    _expect_an_end(given)
    settings = read_run_settings(folder, models)
    for name, value in given.items():
        if not hasattr(settings, name):
            raise InputError(f"--{name.replace('_', '-')} does not go with --resume")
        recorded = getattr(settings, name)
        if name not in MAY_CHANGE_ON_RESUME and name not in PLACES and recorded != value:
            made = f"without --{name.replace('_', '-')}" if recorded in (None, False) else (
                f"with {cli.flag_of(name, recorded)}")
            raise InputError(f"{cli.flag_of(name, value)} does not fit: the run in {folder} was made {made}")
    _expect_made_with(folder / "last.npz", settings)
    return dataclasses.replace(settings, **given), folder


def _expect_made_with(path, settings):
    """Check by its header alone that a checkpoint was made with settings, before a model of their sizes is built."""
    if path.exists():
        expect_same_configuration(read_header(path)["configuration"], settings, path)


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
    try:
        _expect_consistent(settings)
    except InputError as error:
        raise InputError(f"{folder / 'config.json'} is damaged: {error}") from None
    return settings


def build_model(models: dict[str, Any], settings: TrainSettings, vocab_size: int,
                seed: int | None = None) -> LanguageModel:
    """Make the model that a run's settings describe."""
    model = models[settings.model]
    options = {OPTIONS[name]: getattr(settings, name) for name in OPTIONS
               if _takes(model, name) and getattr(settings, name) is not None}
    if settings.model == CELL and settings.tied and settings.wordvec_size != settings.hidden_size:
        raise InputError(f"--tied needs equal sizes: --wordvec-size is {settings.wordvec_size}, --hidden-size "
                         f"{settings.hidden_size}")
    try:
        model = model(vocab_size=vocab_size, wordvec_size=settings.wordvec_size, hidden_size=settings.hidden_size,
                      seed=seed, **options)
    except ValueError as error:
        raise InputError(str(error)) from None
    return model if settings.plain else speed_up(model)


def sample(model: LanguageModel, corpus: Corpus) -> str:
    """Return a text that a model draws, with at least 40 visible characters where it draws any."""
    vocabulary, ids = corpus.vocabulary, []
    tokens = generate_tokens(model, _start_ids(vocabulary), temperature=0.8, banned=_unknown_ids(vocabulary))
    with contextlib.closing(tokens):
        for chosen in itertools.islice(tokens, LONGEST_SAMPLE):
            ids.append(int(chosen[0]))
            if len(ids) >= SAMPLE_TOKENS:
                text = _as_text(ids, vocabulary, corpus.tokenizer).strip()
                if len("".join(text.split())) >= SAMPLE_CHARACTERS:
                    break
    return text


def _start_ids(vocabulary):
    """Return a prompt that begins a text: the end of what came before, or else the most frequent token."""
    for token in ("<eos>", "\n", " "):
        if token in vocabulary:
            return [vocabulary.word_to_id[token]]
    known = [token for token in vocabulary.word_to_id if token != vocabulary.unknown]
    return [vocabulary.word_to_id[max(known, key=lambda token: vocabulary.frequencies.get(token, 0))]]


def _unknown_ids(vocabulary):
    return [] if vocabulary.unknown is None else [vocabulary.word_to_id[vocabulary.unknown]]


def _as_text(ids, vocabulary, tokenizer):
    return join_tokens(vocabulary.decode(ids), tokenizer)


class TrainedRun(NamedTuple):
    """A trained model and what it was trained with.

    Attributes
    ----------
    settings : TrainSettings
    vocabulary : Vocabulary
    model : LanguageModel
    fingerprint : str
        Of the corpus (`dataset.corpus.Corpus.fingerprint`).
    """

    settings: TrainSettings
    vocabulary: Vocabulary
    model: LanguageModel
    fingerprint: str


def load_run(folder: Path | None, models: dict[str, Any], checkpoint: str = "best") -> TrainedRun:
    """Load a trained model.

    Parameters
    ----------
    folder : Path or None
        Of the run. None takes the newest under runs/, or says that there is none and takes the small model that comes
        with the chapter; where no folder has that name, Path("small") is the small model too.
    models : dict of str to class
        The models of the chapter.
    checkpoint : {"best", "last"}
        Of a run; the small model has the best only.

    Returns
    -------
    TrainedRun

    Raises
    ------
    InputError
        There is no such run, it is damaged, or of another chapter.
    """
    small = small_model_of(models)
    if folder is None:
        folder = _newest_run_or(small, models)
    if small.exists() and (folder == small or folder == SMALL and not folder.exists()):
        if checkpoint != "best":
            raise InputError(f"the small model has no {checkpoint} checkpoint: leave it out, or give a run")
        return model_in_file(read_model_file(small), models)
    settings = read_run_settings(folder, models)
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    path = folder / f"{checkpoint}.npz"
    _expect_made_with(path, settings)
    model = build_model(models, settings, vocabulary.size)
    arrays, facts = read_checkpoint(path, settings.model, vocabulary)
    restore_params(path, arrays, model)
    return TrainedRun(settings, vocabulary, model, facts.get("corpus", ""))


def small_model_of(models: dict[str, Any]) -> Path:
    """Return the file of the small model that comes with a chapter, or would.

    Parameters
    ----------
    models : dict of str to class
        The models of the chapter.
    """
    chapter, _, _ = script_of(models).partition(".")
    return Path(str(sys.modules[chapter].__file__)).with_name("small.safetensors")


def _newest_run_or(small, models):
    """Return the newest run under runs/; where there is none, say so and return the small model."""
    try:
        return cli.newest_run(script_of(models))
    except InputError:
        if not small.exists():
            raise
    print("there is no run under runs/: this is the small model that comes with the project, of the characters of "
          "Python's documentation", file=sys.stderr)
    return small


def model_in_file(file: ModelFile, models: dict[str, Any], name: str | None = None) -> TrainedRun:
    """Make a trained model of what a file holds.

    Parameters
    ----------
    file : ModelFile
    models : dict of str to class
        The models of the chapter.
    name : str, optional
        Which of the models in the file, by default the first.

    Raises
    ------
    InputError
        The file is damaged, of another chapter, or it has no such model.
    """
    path, texts, vocabulary, arrays = file
    name = next(iter(texts["models"])) if name is None else name
    if name not in texts["models"]:
        raise InputError(f"{path} has no model {brief(name)}, but {', '.join(map(brief_text, texts['models']))}")
    try:
        settings = TrainSettings(**texts["models"][name]["configuration"])
    except (InputError, TypeError) as error:  # a value that no setting takes; a name of none, or one that is missing
        raise InputError(f"{path} is damaged: its configuration of {name}: {brief_text(str(error))}") from None
    if settings.model not in models:
        raise InputError(f"{path} is of the model {settings.model!r}, wanted one of {', '.join(models)}")
    model = build_model(models, settings, vocabulary.size)
    expect_arrays(path, arrays[name], param_arrays(model))
    restore_params(path, arrays[name], model)
    return TrainedRun(settings, vocabulary, model, texts["corpus"])


def evaluate(prog: str, models: dict[str, Any], argv: list[str] | None = None) -> int:
    """Run the command evaluate; parameters as in `train`."""
    return cli.run(prog, lambda args: _evaluate(prog, models, args), argv)


def corpus_of(settings: TrainSettings, was_there: bool = False) -> Corpus:
    """Load the corpus that settings name.

    Parameters
    ----------
    settings : TrainSettings
    was_there : bool
        Whether the settings are of an older run, so that a text that is gone can only have moved.

    Raises
    ------
    InputError
        A text cannot be read or split; where a file is gone, the message names the flag that gives its new place.
    """
    for place in PLACES if was_there else ():
        path = getattr(settings, place)
        if path is not None and path not in BUILT_IN and not Path(path).exists():
            raise InputError(f"there is no file {path}: give the new place of the run's text by --{place}")
    return load_corpus(settings.corpus, settings.unit, settings.min_freq, settings.max_tokens, valid=settings.valid,
                       test=settings.test, split=settings.split, encoding=settings.encoding,
                       keep_case=settings.keep_case, keep_form=settings.keep_form)


def corpus_of_run(run: TrainedRun, places: PlaceSettings) -> Corpus:
    """Load the corpus that a run was trained on.

    Parameters
    ----------
    run : TrainedRun
    places : PlaceSettings
        Where its texts are now.

    Raises
    ------
    InputError
        The text is not there, or not the same.
    """
    moved = {place: _lasting_name(getattr(places, place)) for place in PLACES if getattr(places, place) is not None}
    corpus = corpus_of(dataclasses.replace(run.settings, **moved), was_there=True)
    if corpus.vocabulary != run.vocabulary or corpus.fingerprint != run.fingerprint:
        if corpus.name == "pydoc":
            raise InputError("pydoc is not the text that the model was trained on: that is the documentation of "
                             "another version of Python")
        raise InputError(f"{corpus.name} is not the text of the run, or has changed since: give the place of that text "
                         "by --corpus")
    return corpus


def _evaluate(prog, models, argv):
    parser = cli.SettingsParser(prog, "Report the perplexity of a trained model.", EvaluateSettings)
    wanted = parser.settings(argv)
    expect_consistent(wanted)
    run = load_run(wanted.run, models, wanted.checkpoint)
    settings, vocabulary, model, _ = run
    corpus: Any = corpus_of_run(run, wanted) if wanted.text is None or needs_corpus(wanted) else None
    if wanted.text is not None:
        tokens = tokens_of_file(wanted.text, settings, wanted.encoding)
        name, ids = str(wanted.text), vocabulary.encode(tokens)
    else:
        name, ids = f"{wanted.split} text of {corpus.name}", getattr(corpus, wanted.split)
    if len(ids) < 2:
        raise InputError(f"{name} has {len(ids)} tokens: at least 2 are needed, one to predict from and one to predict")
    if wanted.book:
        if len(ids) - 1 < BOOK_BATCH:
            raise InputError(f"{name} has {len(ids)} tokens: --book reads {BOOK_BATCH} at once, leave it out")
        model.reset_state()
        result = eval_perplexity(model, ids)
    else:
        result = perplexity(model, ids)
    if math.isnan(result):
        raise InputError(f"the perplexity on {name} is not a number: the weights of the {wanted.checkpoint} checkpoint "
                         "are too large")
    say = PerplexityInWords(_tokenizer(settings), unknown_share(ids, vocabulary))
    print(f"perplexity {say(result)} on {name} ({len(ids):,} tokens, {_model_name(settings)}, "
          f"{wanted.checkpoint} checkpoint)", flush=True)
    if is_wanted(wanted):
        how, result = adapted_perplexity(wanted, model, ids, corpus)
        print(f"{how}: perplexity {say(result)}")


def _tokenizer(settings):
    """Return the name of the tokenizer that made the run's corpus."""
    return tokenizer_of(settings.corpus, settings.unit, settings.keep_case)


def tokens_of(text: str, settings: TrainSettings) -> list[str]:
    """Return the tokens of a text as the run with these settings splits it."""
    return TOKENIZERS[_tokenizer(settings)](clean_text(text, settings.keep_form))


def tokens_of_file(path: Path, settings: TrainSettings, encoding: str | None = None) -> list[str]:
    """Return the tokens of a text file as the run with these settings reads and splits it.

    Parameters
    ----------
    path : Path
    settings : TrainSettings
    encoding : str, optional
        Of the file, by default that of the run's text.
    """
    text = read_text_file(path, encoding or settings.encoding, settings.keep_form, settings.unit == "tokens")
    return tokens_of(text, settings)


def generate_text(prog: str, models: dict[str, Any], argv: list[str] | None = None) -> int:
    """Run the command generate; parameters as in `train`."""
    return cli.run(prog, lambda args: _generate(prog, models, args), argv)


def _generate(prog, models, argv):
    parser = cli.SettingsParser(prog, "Generate text with a trained model.", GenerateSettings)
    given = parser.given(argv)
    wanted = parser.fill(given)
    _expect_one_way(given, wanted)
    settings, vocabulary, model, _ = load_run(wanted.run, models, wanted.checkpoint)
    prompt = (_start_ids(vocabulary) if wanted.prompt is None else
              _prompt_ids(wanted.prompt, settings, vocabulary, wanted.unknown == "replace"))
    banned = {*_unknown_ids(vocabulary), *vocabulary.encode_known(tokens_of(wanted.ban, settings), "--ban")}
    if len(banned) == vocabulary.size:
        raise InputError("--ban leaves no word to draw: ban fewer")
    if wanted.greedy and wanted.samples > 1:
        raise InputError("--greedy always gives the same text: leave out --samples, or draw without --greedy")
    if wanted.stream and wanted.samples > 1:
        raise InputError("--stream shows one text as it is drawn: leave out --samples")
    shown = [] if wanted.prompt is None else list(prompt)
    if wanted.beam is not None:
        _print_likeliest(wanted, prompt, sorted(banned), shown, model, vocabulary, _tokenizer(settings))
        return
    np.seed(wanted.seed)
    options = {"temperature": wanted.temperature, "top_k": wanted.top_k, "top_p": wanted.top_p,
               "greedy": wanted.greedy, "banned": sorted(banned)}
    if wanted.stream:
        with contextlib.closing(generate_tokens(model, prompt, **options)) as tokens:
            _print_stream(itertools.islice(tokens, wanted.length), shown, vocabulary, _tokenizer(settings))
        return
    for i, ids in enumerate(generate(model, prompt, wanted.length, samples=wanted.samples, **options)):
        if wanted.samples > 1:
            print(f"--- {i + 1}")
        text = _as_text([*shown, *ids], vocabulary, _tokenizer(settings))
        print(text.strip() if wanted.prompt is None else text)


def _expect_one_way(given, wanted):
    """Check that a command line either draws texts or searches for them."""
    drawing = [f"--{name.replace('_', '-')}" for name in DRAWING if given.get(name) is not None]
    if wanted.beam is None:
        for name in "n_best", "until_eos", "length_penalty":
            if given.get(name) is not None:
                raise InputError(f"--{name.replace('_', '-')} goes with --beam: only a search has a use for it")
    elif drawing:
        raise InputError(f"--beam searches for the likeliest text and draws none: leave out {', '.join(drawing)}")
    elif wanted.n_best is not None and wanted.n_best > wanted.beam:
        raise InputError(f"--n-best {wanted.n_best} needs a --beam of at least {wanted.n_best}, got {wanted.beam}")
    elif wanted.length_penalty is not None and not wanted.until_eos:
        raise InputError("--length-penalty goes with --until-eos: without it all texts are equally long")


def _print_likeliest(wanted, prompt, banned, shown, model, vocabulary, tokenizer):
    """Search for the likeliest texts and print them; where --n-best asks for several, with their log probabilities."""
    ends = [vocabulary.word_to_id[token] for token in ("<eos>", "\n") if wanted.until_eos and token in vocabulary]
    if wanted.until_eos and not ends:
        raise InputError("the vocabulary has neither <eos> nor a line end: leave out --until-eos")
    hypotheses = beam_search(model, prompt, wanted.length, wanted.beam, wanted.length_penalty or 0.0, ends, banned,
                             wanted.n_best or 1)
    for i, (ids, log_probability, score) in enumerate(hypotheses):
        if wanted.n_best is not None:
            ranked = "" if wanted.length_penalty is None else f", score {score:.3f}"
            print(f"--- {i + 1}: log probability {log_probability:.3f}{ranked}")
        text = _as_text([*shown, *ids], vocabulary, tokenizer)
        print(text.strip() if wanted.prompt is None else text.removesuffix("\n"))


def _print_stream(tokens, shown, vocabulary, tokenizer):
    """Print a text token by token, as what each adds to what was printed."""
    line: list[int] = []  # ids since the last line end: how a token joins depends on no others
    printed, begun = "", bool(shown)
    for token in itertools.chain(shown, (int(chosen[0]) for chosen in tokens)):
        line.append(token)
        text = _as_text(line, vocabulary, tokenizer)
        new = text[len(printed):] if begun else text[len(printed):].lstrip()
        begun = begun or bool(new)
        print(new, end="", flush=True)
        printed = text
        if text.endswith("\n"):
            line, printed = [], ""
    print()


def _prompt_ids(prompt, settings, vocabulary, replace_unknown):
    tokens = tokens_of(prompt, settings)
    if not tokens:
        raise InputError("the prompt is empty")
    if replace_unknown and vocabulary.unknown is not None:
        missing = vocabulary.missing(tokens)
        if missing:
            print(f"unknown in the prompt, read as {vocabulary.unknown}: {', '.join(map(repr, missing))}",
                  file=sys.stderr)
        return vocabulary.encode(tokens)
    return vocabulary.encode_known(tokens, "the prompt")

"""The commands train, evaluate and generate, for the language models of a chapter.

A chapter gives its models and recipes; everything else is the same for all.
"""
import argparse
import inspect
import json
from pathlib import Path

from common import cli
from common.errors import InputError
from common.fast import speed_up
from common.language_model.evaluate import eval_perplexity, perplexity
from common.language_model.generate import generate
from common.language_model.run import TrainingRun
from common.np import np
from common.optimizer import OPTIMIZERS
from common.text.tokenizers import TOKENIZERS, join_tokens
from common.text.vocabulary import Vocabulary
from common.training.checkpoint import read_checkpoint, restore_params
from common.training.clip import unique_params
from dataset.corpus import UNITS, load_corpus, read_text_file, tokenizer_of

DEFAULTS = {
    "corpus": "pydoc", "unit": "word", "min_freq": None, "max_tokens": None,
    "epochs": 4, "batch_size": 20, "time_size": 35, "wordvec_size": 100, "hidden_size": 100, "dropout": 0.5,
    "optimizer": "sgd", "lr": 20.0, "lr_decay": 1.0, "max_grad": 0.25, "seed": 0, "plain": False,
    "windows": False, "shuffle": False,
}
SMOKE = {"max_tokens": 2000, "epochs": 1, "batch_size": 4, "time_size": 8, "wordvec_size": 8, "hidden_size": 8}
MAY_CHANGE_ON_RESUME = {"epochs"}
MAY_BE_NONE = {"min_freq", "max_tokens", "max_grad"}


def train(prog, models, recipes, argv=None):
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
    return cli.run(prog, lambda args: _train(train_parser(prog, models, recipes), models, recipes, args), argv)


def train_parser(prog, models, recipes):
    """Return the parser of train. Flags that were not given are absent from what it parses."""
    parser = cli.Parser(prog=prog, argument_default=argparse.SUPPRESS, description="Train a language model.")
    add = parser.add_argument
    default = next(iter(recipes.values()))

    def words(name, text):
        value = default.get(name, DEFAULTS[name])
        return f"{text} (default: {value})" if value is not None else text

    add("--recipe", choices=recipes, help=f"settings to begin with (default: {next(iter(recipes))})")
    add("--corpus", help=words("corpus", "pydoc, ptb, or a text file"))
    add("--unit", choices=UNITS, help=words("unit", "what a token is"))
    add("--min-freq", type=cli.positive_int, help="rarer words become <unk>")
    add("--max-tokens", type=cli.positive_int, help="train on the first so many tokens only")
    add("--model", choices=models, help=f"(default: {next(iter(models))})")
    add("--windows", action="store_true",
        help="read every window of T tokens, each from a state of zeros, instead of N strips with carried state")
    add("--shuffle", action="store_true", help="with --windows: in a new random order each epoch")
    add("--epochs", type=cli.positive_int, help=words("epochs", "times through the corpus"))
    add("--batch-size", type=cli.positive_int, help=words("batch_size", "N, strips or windows read side by side"))
    add("--time-size", type=cli.positive_int, help=words("time_size", "T, steps that the gradient goes back"))
    add("--wordvec-size", type=cli.positive_int, help=words("wordvec_size", "D"))
    add("--hidden-size", type=cli.positive_int, help=words("hidden_size", "H"))
    add("--dropout", type=cli.ratio, help=words("dropout", "ratio, for models that have it"))
    add("--optimizer", choices=OPTIMIZERS, help=words("optimizer", ""))
    add("--lr", type=cli.positive_float, help=words("lr", "learning rate"))
    add("--lr-decay", type=cli.at_least_one,
        help=words("lr_decay", "divide the learning rate by this when validation gets worse; 1 leaves it"))
    add("--max-grad", type=cli.positive_float, help=words("max_grad", "clip gradients to this global norm"))
    add("--seed", type=cli.natural, help=words("seed", "of weights and dropout"))
    add("--plain", action="store_true", help="use the plain layers, slower and easy to step through")
    add("--out", type=Path, help="folder of the run (default: a new one under runs/)")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--smoke", action="store_true", help="a tiny run of a few seconds, to see that everything works")
    cli.add_device(parser)
    return parser


def _train(parser, models, recipes, argv):
    given = vars(parser.parse_args(argv))
    cli.use_device(given.pop("device"))
    if "corpus" in given:
        given["corpus"] = _lasting_name(given["corpus"])
    resuming = given.pop("resume", False)
    if resuming:
        config, folder = _resumed_config(given, models, parser)
    else:
        config, folder = _new_config(given, models, recipes)
    corpus = load_corpus(config["corpus"], config["unit"], config["min_freq"], config["max_tokens"])
    run = TrainingRun(folder, config, build_model(models, config, corpus.vocabulary.size, seed=config["seed"]),
                      OPTIMIZERS[config["optimizer"]](config["lr"]), corpus)
    if resuming:
        run.resume()
    else:
        run.begin()
    size = sum(param.size for param in unique_params(run.model.params))
    print(f"{config['model']} ({size:,} parameters) on {corpus.name}: {len(corpus.train):,} tokens, "
          f"{corpus.vocabulary.size:,} words; run in {folder}", flush=True)
    if run.train():
        print(f"test perplexity {run.finish():.2f} (best of {run.epoch} epochs by validation)", flush=True)
        _print_sample(run.model, corpus)
    else:
        print(f"stopped by Ctrl-C in epoch {run.epoch + 1} after {run.batch} of {len(run.batches)} batches, saved: "
              f"go on with --out {folder} --resume", flush=True)
        print(f"test perplexity {run.test_perplexity():.2f} (parameters as they are now)", flush=True)
    return 0


def _new_config(given, models, recipes):
    """Return the settings and the folder of a new run."""
    recipe = recipes[given.pop("recipe", next(iter(recipes)))]
    smoke = SMOKE if given.pop("smoke", False) else {}
    folder = given.pop("out", None)
    config = {"model": next(iter(models))} | DEFAULTS | recipe | smoke | given
    if config["shuffle"] and not config["windows"]:
        raise InputError("--shuffle goes with --windows: strips must stay in order to carry their state")
    return config, folder or cli.free_folder(f"{Path(config['corpus']).stem}-{config['model']}")


def _lasting_name(corpus):
    """Return the name of a corpus, a file's with its whole path, so that it means the same from any folder."""
    return corpus if corpus in ("pydoc", "ptb") else str(Path(corpus).absolute())


def _resumed_config(given, models, parser):
    """Return the settings and the folder of the run to go on with."""
    if "out" not in given:
        raise InputError("--resume needs --out with the folder of the run")
    folder = given.pop("out")
    config = read_config(folder, models, parser)
    for name, value in given.items():
        if name not in config:
            raise InputError(f"--{name} does not go with --resume")
        if name not in MAY_CHANGE_ON_RESUME and config[name] != value:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {value} does not fit: the run in {folder} was made with {config[name]}")
    return config | given, folder


def read_config(folder, models, parser):
    """Read the settings of a run.

    Parameters
    ----------
    folder : Path
    models : dict of str to class
        The models of this chapter.
    parser : Parser
        That of train: a setting must be what its flag takes.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        There is no run, its config.json is damaged, or its model is of another chapter.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no run in {folder}: {path} is missing") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        config = None
    if not isinstance(config, dict) or config.keys() != DEFAULTS.keys() | {"model"} or any(
            value is None and name not in MAY_BE_NONE for name, value in config.items()):
        raise InputError(f"{path} is damaged: it does not hold the settings of a run")
    if config["model"] not in list(models):
        raise InputError(f"the run in {folder} is of the model {config['model']!r}, wanted one of {', '.join(models)}")
    switches = {name for name, value in DEFAULTS.items() if isinstance(value, bool)}
    if any(not isinstance(config[name], bool) for name in switches):
        raise InputError(f"{path} is damaged: one of {', '.join(sorted(switches))} is neither true nor false")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in config.items()
             if name not in switches and value is not None]
    try:
        parsed = vars(parser.parse_args(flags))
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return config | {name: value for name, value in parsed.items() if name in config}


def build_model(models, config, vocab_size, seed=None):
    """Make the model that a run's settings describe."""
    model = models[config["model"]]
    options = {"dropout_ratio": config["dropout"]} if "dropout_ratio" in inspect.signature(model).parameters else {}
    try:
        model = model(vocab_size, config["wordvec_size"], config["hidden_size"], seed=seed, **options)
    except ValueError as error:
        raise InputError(str(error)) from None
    return model if config["plain"] else speed_up(model)


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


def _run_parser(prog, description):
    parser = cli.Parser(prog=prog, description=description)
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")
    cli.add_device(parser)
    return parser


def _load_run(args, models):
    return load_run(args.run, models, args.checkpoint)


def load_run(folder, models, checkpoint="best"):
    """Load a trained model.

    Parameters
    ----------
    folder : Path
        Of the run.
    models : dict of str to class
        The models of the chapter.
    checkpoint : {"best", "last"}

    Returns
    -------
    config : dict
        The settings of the run.
    vocabulary : Vocabulary
    model : LanguageModel

    Raises
    ------
    InputError
        There is no such run, it is damaged, or of another chapter.
    """
    config = read_config(folder, models, train_parser("train", models, {"": {}}))
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    model = build_model(models, config, vocabulary.size)
    path = folder / f"{checkpoint}.npz"
    arrays, _ = read_checkpoint(path, config["model"], vocabulary)
    restore_params(path, arrays, model)
    return config, vocabulary, model


def evaluate(prog, models, argv=None):
    """Run the command evaluate; parameters as in `train`."""
    return cli.run(prog, lambda args: _evaluate(prog, models, args), argv)


def corpus_of_run(config, vocabulary):
    """Load the corpus that a run was trained on.

    Parameters
    ----------
    config : dict
        The settings of the run.
    vocabulary : Vocabulary
        Of the run.

    Raises
    ------
    InputError
        The corpus has another vocabulary now.
    """
    corpus = load_corpus(config["corpus"], config["unit"], config["min_freq"], config["max_tokens"])
    if corpus.vocabulary != vocabulary:
        raise InputError(f"the corpus {config['corpus']} has changed since the run: its vocabulary is another one")
    return corpus


def _evaluate(prog, models, argv):
    parser = _run_parser(prog, "Report the perplexity of a trained model.")
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test")
    parser.add_argument("--text", type=Path, help="a text file to evaluate on instead")
    parser.add_argument("--book", action="store_true", help="in ten strips, as the book evaluates")
    args = parser.parse_args(argv)
    cli.use_device(args.device)
    config, vocabulary, model = _load_run(args, models)
    if args.text is not None:
        name, ids = str(args.text), vocabulary.encode(tokens_of(read_text_file(args.text), config))
    else:
        corpus = corpus_of_run(config, vocabulary)
        name, ids = f"{args.split} text of {config['corpus']}", getattr(corpus, args.split)
    if len(ids) < 2:
        raise InputError(f"{name} has {len(ids)} tokens: at least 2 are needed, one to predict from and one to predict")
    if args.book:
        model.reset_state()
        result = eval_perplexity(model, ids)
    else:
        result = perplexity(model, ids)
    print(f"perplexity {result:.2f} on {name} ({len(ids):,} tokens, {config['model']}, {args.checkpoint} checkpoint)")


def _tokenizer(config):
    """Return the name of the tokenizer that made the run's corpus."""
    return tokenizer_of(config["corpus"], config["unit"])


def tokens_of(text, config):
    """Return the tokens of a text as the run with these settings splits it."""
    return TOKENIZERS[_tokenizer(config)](text)


def generate_text(prog, models, argv=None):
    """Run the command generate; parameters as in `train`."""
    return cli.run(prog, lambda args: _generate(prog, models, args), argv)


def _generate(prog, models, argv):
    parser = _run_parser(prog, "Generate text with a trained model.")
    parser.add_argument("--prompt", help="text to go on from (default: the beginning of a text)")
    parser.add_argument("--length", type=cli.positive_int, default=100, help="tokens to add (default: 100)")
    parser.add_argument("--temperature", type=cli.positive_float, default=1.0, help="below 1 plays safe (default: 1)")
    parser.add_argument("--top-k", type=cli.positive_int, help="draw among the k most likely tokens only")
    parser.add_argument("--top-p", type=cli.probability, help="draw among the most likely that reach this probability")
    parser.add_argument("--greedy", action="store_true", help="always take the most likely token")
    parser.add_argument("--ban", metavar="WORDS", default="", help="words that never come, as one text")
    parser.add_argument("--samples", type=cli.positive_int, default=1, help="texts to draw at once (default: 1)")
    parser.add_argument("--seed", type=cli.natural, help="the same seed gives the same text")
    args = parser.parse_args(argv)
    cli.use_device(args.device)
    config, vocabulary, model = _load_run(args, models)
    prompt = _start_ids(vocabulary) if args.prompt is None else _prompt_ids(args.prompt, config, vocabulary)
    banned = {*_unknown_ids(vocabulary), *vocabulary.encode_known(tokens_of(args.ban, config), "--ban")}
    if len(banned) == vocabulary.size:
        raise InputError("--ban leaves no word to draw: ban fewer")
    if args.greedy and args.samples > 1:
        raise InputError("--greedy always gives the same text: leave out --samples, or draw without --greedy")
    np.seed(args.seed)
    texts = generate(model, prompt, args.length, args.temperature, args.top_k, args.top_p, args.greedy,
                     sorted(banned), args.samples)
    for i, ids in enumerate(texts):
        if args.samples > 1:
            print(f"--- {i + 1}")
        if args.prompt is None:
            print(_as_text(ids, vocabulary, _tokenizer(config)).strip())
        else:
            print(_as_text([*prompt, *ids], vocabulary, _tokenizer(config)))


def _prompt_ids(prompt, config, vocabulary):
    tokens = tokens_of(prompt, config)
    if not tokens:
        raise InputError("the prompt is empty")
    return vocabulary.encode_known(tokens, "the prompt")

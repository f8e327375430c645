"""The flags --cache, --dynamic and --tune of the command evaluate, on runs of a moment."""
import dataclasses
import itertools
import math
import pathlib

import pytest

import ch_lstm.evaluate
import ch_lstm.models
import ch_lstm.train
import ch_rnn.evaluate
import ch_rnn.models
import ch_rnn.train
from common.language_model import adaptation
from common.language_model.adaptation import WAYS
from common.language_model.cache import cache_perplexity
from common.language_model.commands import corpus_of_run, load_run
from common.language_model.dynamic import RmsWithDecay, dynamic_perplexity, mean_squared_gradients
from common.language_model.settings import EvaluateSettings
from common.optimizer import SGD

TEXT = "".join(f"the {a} saw a {b} .\n" * 3 for a in ("cat", "dog", "cow") for b in ("bird", "fish", "cow", "ant")) * 4


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run of each chapter."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "text.txt").write_text(TEXT)
        small = ["--smoke", "--corpus", "text.txt", "--lr", "1"]
        assert ch_lstm.train.main([*small, "--out", "lstm", "--model", "better"]) == 0
        assert ch_rnn.train.main([*small, "--out", "rnn"]) == 0
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    # Few values each, and other best ones than the defaults.
    monkeypatch.setitem(WAYS, "cache", WAYS["cache"] | {
        "cache_window": (500, (3, 40)), "cache_theta": (0.6, (0.0, 5.0)), "cache_lambda": (0.2, (0.1, 0.5))})
    monkeypatch.setitem(WAYS, "sgd", WAYS["sgd"] | {"dynamic_lr": (0.1, (1e30, 0.01, 0.5))})
    monkeypatch.setitem(WAYS, "rms", WAYS["rms"] | {
        "dynamic_lr": (0.001, (0.0002, 0.002)), "dynamic_decay": (0.01, (0.03, 0.3))})


def evaluate(capsys, *flags, run="lstm", code=0):
    """Return the lines that evaluate prints, and behind them those of wrong use."""
    script = ch_rnn.evaluate if run == "rnn" else ch_lstm.evaluate
    assert script.main([run, *map(str, flags)]) == code
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == (code == 2)
    return [*out.splitlines(), *err.splitlines()]


def said(line):
    """The perplexity at the end of a line; what is unknown is in brackets behind it."""
    return float(line.partition("perplexity ")[2].split()[0])


DEFAULTS = {way: {flag: default for flag, (default, _) in settings.items()} for way, settings in WAYS.items()}


class Expected:
    """What evaluate should find, from the functions it calls."""

    def __init__(self, run="lstm"):
        models = ch_rnn.models.MODELS if run == "rnn" else ch_lstm.models.MODELS
        trained = load_run(pathlib.Path(run), models)
        self.model, self.corpus = trained.model, corpus_of_run(trained, EvaluateSettings())

    def __call__(self, way, values, part="test"):
        text = getattr(self.corpus, part)
        if way == "cache":
            return cache_perplexity(self.model, text, *values)
        *rates, time_size = values
        if way == "sgd":
            return dynamic_perplexity(self.model, text, SGD(*rates), time_size)
        squares = mean_squared_gradients(self.model, self.corpus.train, time_size)
        return dynamic_perplexity(self.model, text, RmsWithDecay(self.model.params, squares, *rates), time_size)


WORDS = {  # flags -> way, values, how they are said
    ("--cache",): ("cache", (500, 0.6, 0.2), "with a cache of 500 tokens (theta 0.6, lambda 0.2)"),
    ("--cache", "--cache-window", 1200, "--cache-theta", 0, "--cache-lambda", 0.45): (
        "cache", (1200, 0.0, 0.45), "with a cache of 1,200 tokens (theta 0, lambda 0.45)"),
    ("--dynamic", "sgd"): (
        "sgd", (0.1, 5), "with dynamic evaluation by sgd (lr 0.1, an update every 5 tokens)"),
    ("--dynamic", "sgd", "--dynamic-lr", 1.5, "--dynamic-time-size", 7): (
        "sgd", (1.5, 7), "with dynamic evaluation by sgd (lr 1.5, an update every 7 tokens)"),
    ("--dynamic", "rms"): (
        "rms", (0.001, 0.01, 5), "with dynamic evaluation by rms (lr 0.001, decay 0.01, an update every 5 tokens)"),
    ("--dynamic", "rms", "--dynamic-lr", 0.004, "--dynamic-decay", 0.2, "--dynamic-time-size", 2): (
        "rms", (0.004, 0.2, 2), "with dynamic evaluation by rms (lr 0.004, decay 0.2, an update every 2 tokens)"),
}


@pytest.mark.parametrize("run", ["lstm", "rnn"])
@pytest.mark.parametrize("flags, expected", WORDS.items(), ids=[" ".join(map(str, flags)) for flags in WORDS])
def test_the_perplexity_of_a_model_that_adapts_stands_behind_the_other(flags, expected, run, device, capsys):
    way, values, how = expected
    static, adapted = evaluate(capsys, *flags, "--device", device, run=run)
    assert [static] == evaluate(capsys, "--device", device, run=run)
    assert adapted.partition(":")[0] == how
    assert said(adapted) == pytest.approx(Expected(run)(way, values), abs=0.006)
    assert said(adapted) != said(static)


@pytest.mark.parametrize("way, flags", [("cache", ["--cache"]), ("sgd", ["--dynamic", "sgd"]),
                                        ("rms", ["--dynamic", "rms"])])
def test_tuning_prints_what_it_tried_and_takes_the_best(way, flags, capsys):
    expected = Expected()
    static, title, heads, *rows, adapted = evaluate(capsys, *flags, "--tune")
    assert [static] == evaluate(capsys)
    tokens = len(expected.corpus.valid)
    assert tokens > 50 and title == f"tried on the validation text ({tokens} tokens):"
    assert heads.replace("time size", "time_size").split() == [
        *(flag.partition("_")[2] for flag in WAYS[way]), "perplexity"]
    tried = list(itertools.product(*(values for _, values in WAYS[way].values())))
    assert len(rows) == len(tried)
    found = {}
    for row, values in zip(rows, tried):
        *cells, perplexity = map(float, row.split())
        assert tuple(cells) == values
        found[values] = expected(way, values, "valid")
        assert perplexity == pytest.approx(found[values], rel=0.005, nan_ok=True)
    assert way != "sgd" or not math.isfinite(found[1e30, 5])
    best = min((perplexity, values) for values, perplexity in found.items() if math.isfinite(perplexity))[1]
    assert said(adapted) == pytest.approx(expected(way, best), abs=0.006)
    assert all(f"{value:g}" in adapted for value in best)


def test_tuning_reads_the_validation_text_alone(home, monkeypatch, capsys):
    """The best settings are those for the validation text, whatever part is asked for."""
    seen = []
    monkeypatch.setattr(adaptation, "cache_perplexities", lambda model, ids, window, thetas, lambdas: seen.append(
        ids) or [[abs(window - 40) + theta + lambda_ for lambda_ in lambdas] for theta in thetas])
    for part in ("train", "valid", "test"):
        del seen[:]
        *_, adapted = evaluate(capsys, "--cache", "--tune", "--split", part)
        corpus = Expected().corpus
        assert [list(ids) for ids in seen] == [list(ids) for ids in (corpus.valid, corpus.valid, getattr(corpus, part))]
        assert adapted == "with a cache of 40 tokens (theta 0, lambda 0.1): perplexity 0.10"


@pytest.mark.parametrize("flags, column, value, rows", [
    (["--cache", "--cache-theta", "0.25"], 1, "0.25", 4), (["--cache", "--cache-lambda", "0"], 2, "0", 4),
    (["--dynamic", "rms", "--dynamic-decay", "0.07"], 1, "0.07", 2),
    (["--dynamic", "sgd", "--dynamic-time-size", "3"], 1, "3", 3)])
def test_tuning_leaves_what_is_given(flags, column, value, rows, capsys):
    _, _, _, *tried, adapted = evaluate(capsys, *flags, "--tune")
    assert [row.split()[column] for row in tried] == [value] * rows
    assert f" {value}" in adapted


def test_dynamic_evaluation_is_tuned_on_the_beginning(monkeypatch, capsys):
    monkeypatch.setattr(adaptation, "DYNAMIC_TOKENS", 30)
    _, title, _, _, row, *_ = evaluate(capsys, "--dynamic", "sgd", "--tune")
    assert title == "tried on the beginning of the validation text (30 tokens):"
    expected = Expected()
    expected.corpus = type("Part", (), {"valid": expected.corpus.valid[:30]})
    assert float(row.split()[-1]) == pytest.approx(expected("sgd", (0.01, 5), "valid"), abs=0.006)


def test_of_the_training_text_the_first_batches_count(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(adaptation, "mean_squared_gradients", lambda *args, **options: asked.append(
        (len(args[1]), args[2], options)) or mean_squared_gradients(*args, **options))
    evaluate(capsys, "--dynamic", "rms", "--dynamic-time-size", "4")
    assert asked == [(len(Expected().corpus.train), 4, {"batches": adaptation.RMS_BATCHES})]


def test_another_text_needs_that_of_the_run_only_where_it_is_read(tmp_path, capsys):
    pathlib.Path("other.txt").write_text("the cow saw a cat .\n" * 9)
    pathlib.Path("text.txt").rename(tmp_path / "text.txt")
    try:
        for flags in (["--cache"], ["--dynamic", "sgd"]):
            static, adapted = evaluate(capsys, "--text", "other.txt", *flags)
            assert " on other.txt " in static and said(adapted) != said(static)
        for flags in (["--cache", "--tune"], ["--dynamic", "rms"], ["--dynamic", "sgd", "--tune"]):
            line, = evaluate(capsys, "--text", "other.txt", *flags, code=2)
            assert "text.txt: give the new place of the run's text by --corpus" in line
            assert len(evaluate(capsys, "--text", "other.txt", *flags, "--corpus", tmp_path / "text.txt")) >= 2
    finally:
        (tmp_path / "text.txt").rename("text.txt")


def test_characters_have_bits_and_unknown_words_are_said(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert ch_lstm.train.main(["--smoke", "--corpus", "text.txt", "--unit", "char", "--out", run]) == 0
    capsys.readouterr()
    (tmp_path / "other.txt").write_text("the cat saw THE zebra .\n")
    _, adapted = evaluate(capsys, "--cache", "--text", tmp_path / "other.txt", run=run)
    assert adapted.endswith("<unk>)") and " bits per character, " in adapted


@pytest.mark.parametrize("flags, message", [
    (["--cache", "--dynamic", "sgd"], "argument --dynamic: not allowed with argument --cache"),
    (["--cache-window", "9"], "--cache-window goes with --cache"),
    (["--dynamic", "sgd", "--cache-theta", "1"], "--cache-theta goes with --cache"),
    (["--cache-lambda", "0"], "--cache-lambda goes with --cache"),
    (["--dynamic-lr", "1"], "--dynamic-lr goes with --dynamic"),
    (["--cache", "--dynamic-time-size", "1"], "--dynamic-time-size goes with --dynamic"),
    (["--dynamic-decay", "0"], "--dynamic-decay goes with --dynamic rms"),
    (["--dynamic", "sgd", "--dynamic-decay", "0.1"], "--dynamic-decay goes with --dynamic rms"),
    (["--tune"], "--tune goes with --cache or --dynamic, whose settings it chooses"),
    (["--cache", "--tune", "--cache-window", "9", "--cache-theta", "1", "--cache-lambda", "0.1"],
     "--tune has nothing to choose: leave out --cache-window, say"),
    (["--dynamic", "sgd", "--tune", "--dynamic-lr", "1"], "--tune has nothing to choose: leave out --dynamic-lr, say"),
    (["--book", "--cache"], "--book goes with neither --cache nor --dynamic: they read the text as one strip"),
    (["--book", "--dynamic", "rms"], "--book goes with neither --cache nor --dynamic"),
    (["--cache", "--cache-window", "0"], "argument --cache-window: '0' is not a whole number from 1"),
    (["--cache", "--cache-lambda", "1"], "argument --cache-lambda: '1' is not a number in [0, 1)"),
    (["--cache", "--cache-theta", "-1"], "argument --cache-theta: '-1' is not a number of at least 0"),
    (["--dynamic", "adam"], "argument --dynamic: invalid choice: 'adam'"),
])
def test_settings_that_do_not_go_together_are_refused_in_one_line(flags, message, capsys):
    line, = evaluate(capsys, *flags, code=2)
    assert message in line


@pytest.mark.parametrize("flags", [["sgd", "--dynamic-lr", "1e30"], ["rms", "--dynamic-lr", "1e30"]])
def test_updates_that_are_too_large_are_said_behind_the_static_perplexity(flags, capsys):
    static, line = evaluate(capsys, "--dynamic", *flags, code=2)
    assert static.startswith("perplexity ")
    assert " tokens) is not finite: give a lower --dynamic-lr" in line and "lr 1e+30" in line


def test_a_theta_that_is_too_large_is_said_behind_the_static_perplexity(capsys):
    static, line = evaluate(capsys, "--cache", "--cache-theta", "1e300", code=2)
    assert static.startswith("perplexity ")
    assert "(theta 1e+300, lambda 0.2) is not finite: give a lower --cache-theta" in line


def test_the_help_of_a_flag_says_its_default():
    helps = {field.name: field.metadata["help"] for field in dataclasses.fields(EvaluateSettings)}
    for flag in {*itertools.chain(*DEFAULTS.values())} - {"dynamic_lr"}:
        (default,) = {settings[flag] for settings in DEFAULTS.values() if flag in settings}
        assert f"(default: {default:g})" in helps[flag]
    sgd, rms = (DEFAULTS[way]["dynamic_lr"] for way in ("sgd", "rms"))
    assert f"(default: {sgd:g} for sgd, {rms:g} for rms)" in helps["dynamic_lr"]

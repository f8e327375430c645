"""The commands on a text of one's own: its parts, a run that moves, the model that is chosen, prompts and samples."""
import json
import pathlib
import re
import tracemalloc

import numpy
import pytest

import ch_lstm.evaluate
import ch_lstm.generate
import ch_lstm.models
import ch_lstm.train
import ch_rnn.models
import ch_rnn.train
from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.language_model import commands
from common.language_model.cell_rnnlm import CellRnnlm
from common.language_model.generate import generate, generate_tokens
from common.training.clip import unique_params
from dataset.corpus import load_corpus

SMALL = ["--batch-size", "4", "--time-size", "5", "--wordvec-size", "6", "--hidden-size", "6", "--epochs", "1"]
TEXT = "the cat sat on the mat.\nthe dog ran to the cat.\n" * 40


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("text.txt").write_text(TEXT)


def train(*flags):
    return ch_lstm.train.main(["--corpus", "text.txt", *SMALL, "--out", "run", *map(str, flags)])


def refused(capsys, code, words):
    error = capsys.readouterr().err
    assert code == 2 and words in error and error.count("\n") == 1, error


# The parts of a text


def test_a_run_begins_with_the_parts_of_its_text(capsys):
    pathlib.Path("valid.txt").write_text("a cat\n" * 9)
    assert train("--valid", "valid.txt", "--split", "60/10/30") == 0
    printed = capsys.readouterr().out
    corpus = load_corpus("text.txt", valid="valid.txt", split="60/10/30")
    rows = [line.split() for line in printed.splitlines()[1:5]]
    assert rows[0] == ["part", "tokens", "types", "<unk>"]
    for row, part in zip(rows[1:], ("train", "valid", "test")):
        assert row == [part, f"{len(getattr(corpus, part)):,}", str(corpus.types[part]),
                       f"{corpus.unknown_share(part):.1%}"]
    assert rows[2][1:] == ["27", "3", "33.3%"]
    assert re.search(r"validation perplexity [\d.]+ \(33\.3% <unk>\), ", printed)
    assert ch_lstm.evaluate.main(["run", "--split", "valid"]) == 0
    assert "(33.3% <unk>) on valid text of" in capsys.readouterr().out
    assert ch_lstm.evaluate.main(["run", "--text", "valid.txt"]) == 0
    assert "(33.3% <unk>) on valid.txt (27 tokens" in capsys.readouterr().out


def test_characters_are_called_so_and_have_bits(capsys):
    assert train("--unit", "char") == 0
    printed = capsys.readouterr().out
    assert re.search(r" on .*text\.txt: \d+ characters; run in run\n", printed) and "words" not in printed
    found = re.search(r"test perplexity ([\d.]+) \(([\d.]+) bits per character, b", printed)
    perplexity, bits = map(float, found.groups())
    assert bits == pytest.approx(numpy.log2(perplexity), abs=0.01)


def test_a_language_without_spaces_is_named(capsys):
    pathlib.Path("text.txt").write_text("ภาษาไทย ไม่มี ช่องว่าง\n" * 40, encoding="utf-8")
    assert train() == 0
    assert "\nnote: Thai writes no spaces between words" in capsys.readouterr().out


def test_another_encoding_is_named_and_read_by_prompt_and_text_alike(capsys):
    pathlib.Path("text.txt").write_text("été là\n" * 80, encoding="utf-16")
    refused(capsys, train(), "text.txt looks like utf-16, not UTF-8: give --encoding utf-16, or save it as UTF-8")
    assert train("--encoding", "utf-16") == 0
    capsys.readouterr()
    assert ch_lstm.evaluate.main(["run", "--text", "text.txt"]) == 0
    assert "(240 tokens" in capsys.readouterr().out
    assert ch_lstm.generate.main(["run", "--prompt", "e\u0301te\u0301", "--length", "1"]) == 0
    assert capsys.readouterr().out.startswith("été")


def test_a_text_of_another_encoding_is_evaluated(capsys):
    assert train() == 0
    pathlib.Path("other.txt").write_text("the café\n" * 9, encoding="cp1252")
    capsys.readouterr()
    refused(capsys, ch_lstm.evaluate.main(["run", "--text", "other.txt"]), "is not UTF-8")
    assert ch_lstm.evaluate.main(["run", "--text", "other.txt", "--encoding", "cp1252"]) == 0
    assert "(27 tokens" in capsys.readouterr().out
    pathlib.Path("other.txt").write_text("the cat\n" * 9 + "\n" * 9)  # blank lines at the end are left out here too
    assert ch_lstm.evaluate.main(["run", "--text", "other.txt"]) == 0
    assert "(27 tokens" in capsys.readouterr().out
    refused(capsys, ch_lstm.evaluate.main(["run", "--text", "other.txt", "--book"]), "--book reads 350 at once")


def test_a_schedule_over_more_epochs_says_so(capsys):
    assert train("--schedule", "cosine") == 0
    assert "note:" not in capsys.readouterr().out
    assert ch_lstm.train.main(["--out", "run", "--resume", "--epochs", "2"]) == 0
    assert "note: --schedule cosine now spans 2 epochs, so the learning rate goes on from" in capsys.readouterr().out
    assert ch_lstm.train.main(["--out", "run", "--resume", "--epochs", "3", "--minutes", "0.5"]) == 0
    assert "note: --schedule cosine now spans 0.5 minutes, so" in capsys.readouterr().out


def test_without_minutes_a_run_needs_a_number_of_epochs(capsys):
    for flags in (["--out", "new", "--recipe", "laptop", "--minutes", "none"],
                  ["--out", "run", "--resume", "--minutes", "none"]):
        refused(capsys, ch_lstm.train.main(flags), "--minutes none needs --epochs")


def test_a_part_of_another_file_is_named_by_that(capsys):
    pathlib.Path("one.txt").write_text("cat")
    refused(capsys, train("--valid", "one.txt"), "one.txt is too short: its valid part has 1 tokens")


# A run that moves


def move(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    pathlib.Path("text.txt").rename("elsewhere/book.txt")
    return str(tmp_path / "elsewhere" / "book.txt")


def test_a_run_goes_on_where_its_text_is_now(tmp_path, capsys):
    assert train() == 0
    old, new = str(tmp_path / "text.txt"), move(tmp_path)
    capsys.readouterr()
    resume = ["--out", "run", "--resume", "--epochs", "2"]
    for command, argv in ((ch_lstm.train, resume), (ch_lstm.evaluate, ["run"])):
        refused(capsys, command.main(argv), f"there is no file {old}: give the new place of the run's text by --corpus")
    assert ch_lstm.evaluate.main(["run", "--corpus", "elsewhere/book.txt"]) == 0
    assert f"on test text of {new}" in capsys.readouterr().out
    assert ch_lstm.train.main([*resume, "--corpus", "elsewhere/book.txt"]) == 0
    assert json.loads(pathlib.Path("run/config.json").read_text())["corpus"] == new
    assert ch_lstm.evaluate.main(["run"]) == 0


def test_a_text_beside_it_can_move_too(tmp_path, capsys):
    pathlib.Path("valid.txt").write_text("the cat\n" * 9)
    assert train("--valid", "valid.txt") == 0
    pathlib.Path("valid.txt").rename("v.txt")
    capsys.readouterr()
    refused(capsys, ch_lstm.evaluate.main(["run"]), "valid.txt: give the new place of the run's text by --valid")
    assert ch_lstm.evaluate.main(["run", "--valid", "v.txt"]) == 0


@pytest.mark.parametrize("changed", [
    TEXT[:300] + TEXT[300:].replace("sat", "ran", 1),  # the vocabulary stays
    TEXT[:-24] + "the dog ran to the dog.\n",  # in the test part
])
def test_another_text_is_not_evaluated_as_that_of_the_run(changed, capsys):
    assert train() == 0
    pathlib.Path("other.txt").write_text(changed)
    assert load_corpus("other.txt").vocabulary == load_corpus("text.txt").vocabulary
    capsys.readouterr()
    for command, argv in ((ch_lstm.evaluate, ["run"]), (ch_lstm.train, ["--out", "run", "--resume"])):
        refused(capsys, command.main([*argv, "--corpus", "other.txt"]), "has changed since")


def test_a_text_of_its_own_is_evaluated_without_that_of_the_run(capsys):
    assert train() == 0
    pathlib.Path("text.txt").rename("other.txt")
    assert ch_lstm.evaluate.main(["run", "--text", "other.txt"]) == 0


# The model that is chosen


@pytest.mark.parametrize("named, general", [
    (SimpleRnnlm(11, 4, 5, seed=3), CellRnnlm("rnn", 11, 4, 5, seed=3)),
    (Rnnlm(11, 4, 5, seed=3), CellRnnlm("lstm", 11, 4, 5, seed=3)),
    (BetterRnnlm(11, 5, 5, 0.25, seed=3), CellRnnlm("lstm", 11, 5, 5, 2, True, 0.25, seed=3))],
    ids=["SimpleRnnlm", "Rnnlm", "BetterRnnlm"])
def test_the_models_of_the_book_are_three_of_the_general_one(named, general):
    assert [type(layer) for layer in named.layers] == [type(layer) for layer in general.layers]
    assert len(unique_params(named.params)) == len(unique_params(general.params))
    for param, expected in zip(general.params, named.params, strict=True):
        assert param.tobytes() == expected.tobytes()


@pytest.mark.parametrize("book, general", [
    (["--model", "rnnlm"], ["--cell", "lstm"]),
    (["--model", "better", "--dropout", "0.25"], ["--layers", "2", "--tied", "--dropout", "0.25"])])
def test_the_general_model_trains_to_the_same_bits(book, general):
    files = []
    for out, flags in (("book", book), ("general", general)):
        assert train(*flags, "--out", out) == 0
        with numpy.load(f"{out}/last.npz") as file:
            files.append({name: file[name].tobytes() for name in file.files if name != "header.json"})
        files.append(pathlib.Path(out, "history.csv").read_text())
    assert files[0] == files[2] and files[1] == files[3]


@pytest.mark.parametrize("flags, words", [
    (["--dropout", "0.3"], "has no --dropout: leave it out, or choose --model better or --model awd or --cell lstm"),
    (["--model", "rnnlm", "--cell", "gru"], "the model rnnlm has no --cell: leave it out"),
    (["--model", "better", "--layers", "3"], "the model better has no --layers: leave it out"),
    (["--model", "better", "--tied"], "the model better has no --tied: leave it out"),
    (["--tied", "--wordvec-size", "7"], "--tied needs equal sizes: --wordvec-size is 7, --hidden-size 6"),
    (["--weight-decay", "0.1", "--optimizer", "adam"], "--weight-decay goes with --optimizer adamw, sgd or asgd, not"),
    (["--full-softmax", "0.1"], "--full-softmax goes with --sampled-softmax: without that the whole run takes all"),
    (["--random-lengths", "--windows"], "--random-lengths goes with strips: all windows are of --time-size tokens"),
    (["--model", "better", "--weight-drop", "0"], "has no --weight-drop: leave it out, or choose --model awd\n"),
    (["--sampled-softmax", "0"], "argument --sampled-softmax: '0' is not a whole number from 1"),
    (["--schedule", "cosine", "--lr-decay", "4"], "--lr-decay goes with --schedule plateau, not with cosine"),
    (["--schedule", "plateau", "--lr-decay", "1"], "--schedule plateau divides by --lr-decay: give one above 1"),
    (["--warmup", "100000"], "--warmup 100000 takes all "),
    (["--windows", "--time-size", "5000"], "or smaller windows (--time-size)"),
    (["--accumulate", "5"], "--accumulate 5 is more parts than the --batch-size 4 has rows"),
    (["--split", "90/10"], "--split 90/10: wanted three numbers above 0"),
    (["--encoding", "utf-9"], "no encoding 'utf-9'"),
    (["--unit", "char", "--keep-case"], "--keep-case goes with --unit word"),
    (["--test", "nowhere.txt"], "nowhere.txt"),
])
def test_flags_that_do_not_go_together(flags, words, capsys):
    refused(capsys, train(*flags), words)
    assert not pathlib.Path("run").exists()


def test_the_chapter_on_the_rnn_begins_with_its_cell(capsys):
    assert ch_rnn.train.main(["--corpus", "text.txt", *SMALL, "--layers", "2", "--lr", "1", "--out", "run"]) == 0
    assert capsys.readouterr().out.startswith("rnn of 2 layers (")


# Schedules, patience, parts of a batch


def rates_of(*flags):
    """The learning rate of each update of a run."""
    rates = []

    class Spy(commands.RUN_OPTIMIZERS["sgd"]):
        def update(self, params, grads):
            rates.append(self.lr)
            super().update(params, grads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.RUN_OPTIMIZERS, "sgd", Spy)
        assert train(*flags) == 0
    return rates


def test_a_schedule_goes_over_all_epochs_update_by_update():
    rates = rates_of("--epochs", 2, "--schedule", "linear", "--warmup", 3, "--lr", 0.5)
    n = len(rates)
    assert rates[:3] == pytest.approx([0.5 / 3, 1 / 3, 0.5])
    assert rates[3:] == pytest.approx([0.5 * (1 - k / (n - 3)) for k in range(n - 3)])


@pytest.mark.parametrize("flags", [
    ["--schedule", "cosine", "--warmup", "9"], ["--schedule", "plateau", "--warmup", "50"], ["--accumulate", "3"],
    ["--optimizer", "adam", "--schedule", "linear"]])
def test_a_run_that_stopped_in_the_middle_of_a_schedule_goes_on_to_the_same_bits(flags, monkeypatch):
    import signal

    from common.language_model import run as training_run

    assert train(*flags, "--epochs", 3, "--out", "whole") == 0
    step, count = training_run.training_step, []

    def stopping_step(*args):
        count.append(1)
        if len(count) == 40:
            signal.raise_signal(signal.SIGINT)
        return step(*args)

    monkeypatch.setattr(training_run, "training_step", stopping_step)
    assert train(*flags, "--epochs", 3, "--out", "stopped") == 130
    assert ch_lstm.train.main(["--out", "stopped", "--resume"]) == 0
    assert len(count) > 60
    for name in ("last.npz", "best.npz"):
        arrays = []
        for folder in ("whole", "stopped"):
            with numpy.load(f"{folder}/{name}") as file:
                arrays.append({key: file[key].tobytes() for key in file.files if key != "header.json"})
        assert arrays[0] == arrays[1]
    assert pathlib.Path("whole/history.csv").read_text() == pathlib.Path("stopped/history.csv").read_text()


def test_patience_ends_a_run_and_more_of_it_goes_on(monkeypatch, capsys):
    from common.language_model import run as training_run

    series = iter([30.0, 20.0, 25.0, 24.0, 7.0, 23.0, 22.0, 21.0, 8.0])
    monkeypatch.setattr(training_run, "perplexity", lambda model, ids: next(series))
    assert train("--epochs", 9, "--patience", 2) == 0
    printed = capsys.readouterr().out
    assert "epoch 4:" in printed and "epoch 5:" not in printed and "no better epoch in 2, so training ends" in printed
    assert "(best of 4 epochs by validation)" in printed
    assert ch_lstm.train.main(["--out", "run", "--resume", "--patience", "5"]) == 0
    printed = capsys.readouterr().out
    assert "epoch 7:" in printed and "epoch 8:" not in printed


# Prompts and samples


def test_unknown_words_of_a_prompt(capsys):
    assert train() == 0
    capsys.readouterr()
    argv = ["run", "--prompt", "the zebra and the gnu", "--length", "3", "--seed", "1"]
    refused(capsys, ch_lstm.generate.main(argv), "the prompt has 'zebra'")
    assert ch_lstm.generate.main([*argv, "--unknown", "replace"]) == 0
    out, error = capsys.readouterr()
    assert error == "unknown in the prompt, read as <unk>: 'zebra', 'and', 'gnu'\n"
    assert out.startswith("the <unk> <unk> the <unk> ")
    assert ch_lstm.generate.main(["run", "--prompt", "the cat", "--unknown", "replace", "--length", "3"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flags", [[], ["--prompt", "the dog"], ["--greedy"]])
@pytest.mark.parametrize("unit", ["word", "char", "tokens"])
def test_a_stream_prints_what_is_printed_at_once(unit, flags, capsys):
    assert train("--unit", unit) == 0
    capsys.readouterr()
    argv = ["run", "--seed", "3", "--length", "40", *flags]
    assert ch_lstm.generate.main(argv) == 0
    whole = capsys.readouterr().out
    assert ch_lstm.generate.main([*argv, "--stream"]) == 0
    assert capsys.readouterr().out.rstrip() == whole.rstrip() and len(whole) > 30


def test_a_stream_is_printed_token_by_token(monkeypatch, capsys):
    assert train() == 0
    capsys.readouterr()
    seen = []

    def tokens(model, prompt, **options):
        for chosen in generate_tokens(model, prompt, **options):
            yield chosen
            seen.append(capsys.readouterr().out)

    monkeypatch.setattr(commands, "generate_tokens", tokens)
    assert ch_lstm.generate.main(["run", "--prompt", "the", "--length", "6", "--stream"]) == 0
    assert len(seen) >= 5 and sum(map(bool, seen)) >= 5
    refused(capsys, ch_lstm.generate.main(["run", "--stream", "--samples", "2"]), "leave out --samples")


@pytest.mark.parametrize("text, unit", [
    (TEXT, "word"), (TEXT, "char"), ("ACGTACGGTACC" * 200, "char"), ("a\n\n\n\n\n\n" * 300, "char"),
    ("我们学习中文。" * 300, "char")])
def test_a_sample_has_something_to_see_and_needs_no_token_that_the_text_lacks(text, unit, capsys):
    pathlib.Path("text.txt").write_text(text, encoding="utf-8")
    assert train("--unit", unit) == 0
    sample = capsys.readouterr().out.split("sample: ")[1]
    assert len("".join(sample.split())) >= 40 and "<unk>" not in sample
    assert ch_lstm.generate.main(["run", "--length", "60"]) == 0


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_memory_of_a_prompt_grows_neither_with_the_vocabulary_nor_with_the_samples():
    V = 5000
    model = Rnnlm(V, 8, 8, seed=0)
    prompt = numpy.random.default_rng(0).integers(V, size=4000)
    generate(model, prompt, 1)
    few, many = (peak_of(lambda n=n: generate(model, prompt[:n], 2, samples=4)) for n in (500, 4000))
    assert many - few < 20 * 4000 * 8 * 4  # bytes; the scores of 3,500 tokens more would be 70 MB
    assert peak_of(lambda: generate(model, prompt, 1, samples=20)) - many < 16 * V * 8 * 20


def test_samples_from_one_state_are_those_of_a_prompt_read_for_each():
    model = BetterRnnlm(30, 8, 8, 0.5, seed=0)
    model.set_state([(numpy.ones((3, 8), dtype=numpy.float32),) * 2] * 2)
    prompt = numpy.random.default_rng(0).integers(30, size=1203)  # in three blocks
    found = generate(model, prompt, 5, samples=3, rng=numpy.random.default_rng(1))
    assert model.get_state()[0][0].tolist() == numpy.ones((3, 8)).tolist()
    rng, ids = numpy.random.default_rng(1), numpy.tile(prompt, (3, 1))
    model.reset_state()
    for position in range(5):
        scores = model.predict(ids)[:, -1].astype(float)
        probabilities = numpy.exp(scores) / numpy.exp(scores).sum(axis=1, keepdims=True)
        bounds = numpy.cumsum(probabilities, axis=1)
        ids = (bounds <= rng.random((3, 1)) * bounds[:, -1:]).sum(axis=1)[:, None]
        assert found[:, position].tolist() == ids[:, 0].tolist()

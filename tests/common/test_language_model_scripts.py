"""The commands of both chapters, from training to generated text, and every kind of wrong use."""
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy
import pytest

import ch_lstm.evaluate
import ch_lstm.generate
import ch_lstm.train
import ch_rnn.evaluate
import ch_rnn.generate
import ch_rnn.train
from common import training_run
from common.ids import ids_on_host

CHAPTERS = {"ch_rnn": ch_rnn, "ch_lstm": ch_lstm}
SMALL = ["--batch-size", "4", "--time-size", "5", "--wordvec-size", "6", "--hidden-size", "6", "--max-tokens", "600"]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*flags, chapter=ch_lstm):
    return chapter.train.main([*SMALL, *map(str, flags)])


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def arrays(path):
    with numpy.load(path) as file:
        return {name: file[name] for name in file.files if name != "facts"}


@pytest.mark.parametrize("chapter, flags", [
    ("ch_rnn", []), ("ch_lstm", []), ("ch_lstm", ["--model", "better"]), ("ch_lstm", ["--plain"]),
    ("ch_lstm", ["--unit", "char", "--optimizer", "adam", "--lr", "0.01"]),
])
def test_smoke_run_then_evaluate_then_generate(chapter, flags, device, capsys, tmp_path):
    modules, run, device = CHAPTERS[chapter], tmp_path / "run", ["--device", device]
    assert modules.train.main(["--smoke", "--out", str(run), *flags, *device]) == 0
    out = capsys.readouterr().out
    assert "validation perplexity" in out and "sample:" in out
    reported = out.split("test perplexity ")[1].split()[0]
    assert {path.name for path in run.iterdir()} == {
        "config.json", "vocabulary.json", "history.csv", "timing.csv", "loss.png", "last.npz", "best.npz"}
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")

    assert modules.evaluate.main([str(run), *device]) == 0
    assert f"perplexity {reported} " in capsys.readouterr().out
    assert modules.evaluate.main([str(run), "--book", "--split", "valid", "--checkpoint", "last", *device]) == 0
    capsys.readouterr()

    texts = []
    for seed in (1, 1, 2):
        assert modules.generate.main([str(run), "--seed", str(seed), "--length", "30", *device]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    prompt = "the" if "--unit" not in flags else "t"
    for options in (["--greedy"], ["--top-k", "3", "--temperature", "0.5"], ["--top-p", "0.9"]):
        assert modules.generate.main([str(run), "--prompt", prompt, *options, *device]) == 0
        assert capsys.readouterr().out.startswith(prompt)


def test_perplexity_falls_and_plain_lines_have_no_control_characters(device, capsys, tmp_path):
    assert train("--epochs", 3, "--max-tokens", 3000, "--lr", 10, "--out", "run", "--device", device) == 0
    out = capsys.readouterr().out
    assert "\r" not in out and "\x1b" not in out
    with open("run/history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    perplexities = [float(row["train_perplexity"]) for row in history]
    assert perplexities[0] > perplexities[1] > perplexities[2]


def test_a_run_without_out_gets_a_new_folder_each_time(tmp_path):
    assert train("--epochs", 1) == train("--epochs", 1) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["pydoc-rnnlm-1", "pydoc-rnnlm-2"]


def test_plain_and_fast_layers_train_alike(tmp_path):
    assert train("--epochs", 1, "--out", "fused") == train("--epochs", 1, "--plain", "--out", "plain") == 0
    for name, array in arrays("fused/last.npz").items():
        numpy.testing.assert_allclose(array, arrays("plain/last.npz")[name], atol=1e-4)


@pytest.mark.parametrize("flags", [
    ["--model", "better"], ["--optimizer", "adam", "--lr", "0.01"], ["--lr-decay", "4", "--lr", "30"],
    ["--windows", "--shuffle", "--batch-size", "7"]])
def test_resumed_run_equals_one_that_ran_through(flags, device, tmp_path, capsys):
    device = ["--device", device]
    assert train("--epochs", 4, "--out", "through", *flags, *device) == 0
    assert train("--epochs", 2, "--out", "halves", *flags, *device) == 0
    assert ch_lstm.train.main(["--out", "halves", "--resume", "--epochs", "4", *device]) == 0
    through, halves = contents(tmp_path / "through"), contents(tmp_path / "halves")
    assert through["history.csv"] == halves["history.csv"]
    assert through["config.json"] == halves["config.json"]
    for checkpoint in ("last.npz", "best.npz"):
        ours, theirs = arrays(f"through/{checkpoint}"), arrays(f"halves/{checkpoint}")
        assert ours.keys() == theirs.keys()
        for name in ours:
            numpy.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("interrupt_at, flags", [
    (3, []), (31, []), (58, []), (31, ["--windows", "--shuffle", "--batch-size", "21"])])
def test_ctrl_c_saves_evaluates_says_so_and_can_be_resumed(interrupt_at, flags, device, tmp_path, monkeypatch, capsys):
    flags = ["--epochs", 3, "--model", "better", "--device", device, *flags]
    assert train(*flags, "--out", "through") == 0  # 29 batches an epoch, also of 595 windows
    step, done = training_run.training_step, []

    def interrupted_step(*args):
        done.append(None)
        if len(done) == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    monkeypatch.setattr(training_run, "training_step", interrupted_step)
    capsys.readouterr()
    assert train(*flags, "--out", "stopped") == 0
    assert len(done) == interrupt_at
    out = capsys.readouterr().out
    epoch, batch = divmod(interrupt_at, 29)  # at the end of an epoch too
    assert f"stopped by Ctrl-C in epoch {epoch + 1} after {batch} of 29 batches" in out
    assert "test perplexity" in out and "--resume" in out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert ch_lstm.train.main(["--out", "stopped", "--resume", "--device", device]) == 0
    for checkpoint in ("last.npz", "best.npz"):
        ours, theirs = arrays(f"through/{checkpoint}"), arrays(f"stopped/{checkpoint}")
        for name in ours:
            numpy.testing.assert_array_equal(ours[name], theirs[name])
    assert (tmp_path / "through/history.csv").read_bytes() == (tmp_path / "stopped/history.csv").read_bytes()


def test_lr_decay_divides_when_validation_gets_worse(capsys):
    assert train("--epochs", 4, "--lr", 80, "--max-grad", 5, "--lr-decay", 4, "--out", "run") == 0
    assert "so the learning rate becomes 20" in capsys.readouterr().out
    with open("run/history.csv", newline="") as file:
        assert {float(row["lr"]) for row in csv.DictReader(file)} > {80.0}


def test_a_loss_that_is_not_finite_is_said(monkeypatch, capsys):
    monkeypatch.setattr(training_run, "training_step", lambda *args: numpy.float32("nan"))
    assert train("--out", "run") == 2
    assert "the loss is not finite at batch 20 of epoch 1: try a lower --lr" in capsys.readouterr().err


def refused(capsys, code, words):
    """Check that a command ended with one line on stderr, exit code 2 and no traceback."""
    err = capsys.readouterr().err
    assert code == 2 and words in err and err.count("\n") == 1 and "Traceback" not in err, err


@pytest.mark.parametrize("content, words", [
    (None, "no corpus"), (b"", "is empty"), (b"\xff\xfe bad", "not UTF-8"), (b"a b\n" * 20, "too short"),
])
def test_corpus_files_that_cannot_be_used(content, words, tmp_path, capsys):
    if content is not None:
        (tmp_path / "text.txt").write_bytes(content)
    code = ch_lstm.train.main(["--corpus", "text.txt", "--out", "run"])
    refused(capsys, code, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags, words", [
    (["--epochs", "0"], "--epochs"), (["--batch-size", "x"], "--batch-size"), (["--dropout", "1"], "--dropout"),
    (["--lr", "-1"], "--lr"), (["--lr", "nan"], "--lr"), (["--max-grad", "0"], "--max-grad"),
    (["--lr-decay", "0.5"], "--lr-decay"), (["--seed", "-1"], "--seed"), (["--model", "gpt"], "--model"),
    (["--recipe", "cake"], "--recipe"), (["--nonsense"], "--nonsense"), (["--optimizer", "lbfgs"], "--optimizer"),
    (["--model", "better", "--hidden-size", "7"], "must be equal"), (["--resume"], "needs --out"),
    (["--resume", "--out", "nowhere"], "there is no run in nowhere"),
    (["--batch-size", "9000"], "too short"), (["--shuffle"], "goes with --windows"),
    (["--windows", "--time-size", "99", "--max-tokens", "50"], "windows of 99 need a corpus of at least 100"),
])
def test_flags_out_of_range(flags, words, tmp_path, capsys):
    refused(capsys, ch_lstm.train.main(flags), words)
    assert list(tmp_path.iterdir()) == []


def test_windows_train_from_a_state_of_zeros(device, monkeypatch):
    states, step = [], training_run.training_step

    def spying_step(model, optimizer, xs, ts, max_grad):
        states.append(model.get_state())
        assert xs.shape in ((100, 5), (95, 5))  # 595 windows
        ids = ids_on_host(xs)
        numpy.testing.assert_array_equal(ids[1:, :-1], ids[:-1, 1:])
        return step(model, optimizer, xs, ts, max_grad)

    monkeypatch.setattr(training_run, "training_step", spying_step)
    assert train("--windows", "--batch-size", 100, "--epochs", 2, "--out", "run", "--device", device) == 0
    assert len(states) == 12 and all(state == (None, None) for model in states for state in model)


@pytest.mark.parametrize("flags", [["--top-p", "0"], ["--top-k", "0"], ["--temperature", "0"], ["--length", "0"]])
def test_generate_flags_out_of_range(flags, capsys):
    refused(capsys, ch_lstm.generate.main(["run", *flags]), flags[0])


@pytest.mark.parametrize("command", [
    ["ch_lstm.train"], ["ch_rnn.train"], ["ch_lstm.evaluate", "run"], ["ch_lstm.generate", "run"]])
def test_gpu_where_there_is_none(command, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    module, *rest = command
    code = sys.modules[module].main([*rest, "--device", "gpu"])
    refused(capsys, code, "pip install 'rnn-from-scratch[cuda12]'")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, of which the tests damage copies."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert train("--epochs", 1, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert train("--epochs", 2, "--out", folder) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def edit_arrays(run, **changes):
    """Replace arrays of the checkpoints; None removes one."""
    for path in run.glob("last.npz" if any(name.startswith("state") for name in changes) else "*.npz"):
        with numpy.load(path) as file:
            held = {name: file[name] for name in file.files}
        numpy.savez(path, **{name: array for name, array in (held | changes).items() if array is not None})


def edit_facts(run, **changes):
    path = run / "last.npz"
    with numpy.load(path) as file:
        held = {name: file[name] for name in file.files}
    numpy.savez(path, **held | {"facts": numpy.array(json.dumps(json.loads(str(held["facts"])) | changes))})


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def edit_config(run, **changes):
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def use_other_vocabulary(run):
    path = run / "vocabulary.json"
    content = json.loads(path.read_text())
    content["words"][3:5] = content["words"][4:2:-1]
    path.write_text(json.dumps(content))


DAMAGES = {
    "missing checkpoint": (lambda run: [path.unlink() for path in run.glob("*.npz")], "there is no file"),
    "truncated checkpoint": (lambda run: [cut(path) for path in run.glob("*.npz")], "damaged"),
    "no checkpoint at all": (lambda run: [numpy.savez(path, x=1) for path in run.glob("*.npz")], "is no checkpoint"),
    "another model": (lambda run: edit_config(run, model="better"), "is of the model 'rnnlm', wanted 'better'"),
    "another chapter": (lambda run: edit_config(run, model="simple"), "is of the model 'simple', wanted one of"),
    "another size": (lambda run: edit_config(run, hidden_size=7), ""),
    "broken config": (lambda run: (run / "config.json").write_text("{"), "damaged"),
    "config that lacks": (lambda run: (run / "config.json").write_text("{}"), "damaged"),
    "config of a list": (lambda run: (run / "config.json").write_text("[1]"), "damaged"),
    "parameters of integers": (lambda run: edit_arrays(run, param_0=numpy.zeros((3, 3), int)), ""),
    "a parameter missing": (lambda run: edit_arrays(run, param_1=None), "its arrays are not those that were saved"),
} | {
    f"{name} = {value!r}": (lambda run, name=name, value=value: edit_config(run, **{name: value}), "")
    for name, value in {
        "epochs": None, "batch_size": "x", "time_size": 2.5, "hidden_size": -8, "max_grad": "x", "seed": -1,
        "optimizer": "foo", "windows": "yes", "unit": [], "corpus": None, "min_freq": "x", "model": ["rnnlm"]}.items()
}
RESUME_DAMAGES = {
    "state of another batch size": lambda run: edit_arrays(run, state_0_0=numpy.zeros((9, 6), numpy.float32)),
    "state of another dtype": lambda run: edit_arrays(run, state_0_1=numpy.zeros((4, 6))),
    "a state missing": lambda run: edit_arrays(run, state_0_0=None),
    "facts: batch": lambda run: edit_facts(run, batch=1000),
    "facts: position": lambda run: edit_facts(run, position="x"),
    "facts: nats": lambda run: edit_facts(run, nats=None),
    "facts: history": lambda run: edit_facts(run, history=3),
    "facts: random_state": lambda run: edit_facts(run, random_state={}),
    "facts: lr": lambda run: edit_facts(run, lr=None),
    "facts: steps": lambda run: edit_facts(run, steps="many"),
    "fewer epochs than are done": lambda run: edit_config(run, epochs=1),
}


@pytest.mark.parametrize("damage", RESUME_DAMAGES)
def test_damaged_runs_that_only_resuming_minds(two_epochs, damage, tmp_path, capsys):
    run = tmp_path / "copy"
    shutil.copytree(two_epochs, run)
    RESUME_DAMAGES[damage](run)
    before = contents(run)
    refused(capsys, ch_lstm.train.main(["--out", str(run), "--resume"]), "")
    assert contents(run) == before
    assert ch_lstm.evaluate.main([str(run)]) == 0


@pytest.mark.parametrize("command", ["train", "evaluate", "generate"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_runs(run, damage, command, capsys):
    spoil, words = DAMAGES[damage]
    spoil(run)
    before = contents(run)
    argv = ["--out", str(run), "--resume"] if command == "train" else [str(run)]
    refused(capsys, getattr(ch_lstm, command).main(argv), words)
    assert contents(run) == before


@pytest.mark.parametrize("command", ["evaluate", "generate"])
def test_a_checkpoint_of_another_vocabulary(run, command, capsys):
    use_other_vocabulary(run)
    refused(capsys, getattr(ch_lstm, command).main([str(run)]), "another vocabulary")


def test_resuming_with_another_text_of_the_same_name(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("one two three four\n" * 300)
    assert train("--corpus", "text.txt", "--epochs", 1, "--out", "run") == 0
    text.write_text("five six seven eight\n" * 300)
    before = contents(tmp_path / "run")
    capsys.readouterr()
    refused(capsys, ch_lstm.train.main(["--out", "run", "--resume", "--epochs", "2"]), "another vocabulary")
    assert contents(tmp_path / "run") == before
    refused(capsys, ch_lstm.evaluate.main(["run"]), "has changed since the run")


def test_existing_runs_are_not_overwritten_nor_silently_changed(run, capsys):
    before = contents(run)
    refused(capsys, train("--out", run), "is there already: choose another --out, or go on with --resume")
    refused(capsys, ch_lstm.train.main(["--out", str(run), "--resume", "--hidden-size", "9"]), "was made with 6")
    assert contents(run) == before


def test_a_folder_or_file_that_is_there_is_not_written_into(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "history.csv").write_text("mine")
    refused(capsys, train("--out", "mine"), "mine is there already: choose another --out")
    refused(capsys, train("--out", "mine/history.csv"), "is there already")
    refused(capsys, train("--out", "x" * 300), "cannot use the folder")
    assert contents(tmp_path / "mine") == {"history.csv": b"mine"}


def test_a_run_that_was_killed_before_its_first_save_can_be_resumed(tmp_path, monkeypatch, capsys):
    def die(*args):
        raise KeyboardInterrupt

    assert train("--epochs", 1, "--out", "through") == 0
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", die)
        assert train("--epochs", 1, "--out", "killed") == 130
    assert ch_lstm.train.main(["--out", "killed", "--resume"]) == 0
    for name, array in arrays("through/last.npz").items():
        numpy.testing.assert_array_equal(array, arrays("killed/last.npz")[name])


def test_resuming_when_the_same_words_stand_in_another_order(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("one two three four\n" * 300)
    assert train("--corpus", "text.txt", "--epochs", 1, "--out", "run") == 0
    text.write_text("one two three four\n" + "two one three four\n" * 299)
    capsys.readouterr()
    refused(capsys, ch_lstm.train.main(["--out", "run", "--resume", "--epochs", "2"]), "has changed since the run")


def test_a_run_on_a_file_can_be_used_from_another_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "text.txt").write_text("one two three four\n" * 300)
    assert train("--corpus", "text.txt", "--epochs", 1, "--out", "run") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ch_lstm.evaluate.main(["../run"]) == 0
    assert ch_lstm.train.main(["--out", "../run", "--resume", "--epochs", "2"]) == 0


@pytest.mark.parametrize("unit", ["word", "char"])
def test_a_split_and_a_file_of_the_same_text_evaluate_alike(unit, tmp_path, capsys):
    lines = [f"the {a} saw a {b} .\n" for a in ("cat", "dog", "cow") for b in ("bird", "fish", "cow", "cat")] * 10
    (tmp_path / "text.txt").write_text("".join(lines))
    assert train("--corpus", "text.txt", "--unit", unit, "--epochs", 1, "--out", "run") == 0
    (tmp_path / "test.txt").write_text("".join(lines[len(lines) * 9 // 10:]))
    flags = [] if unit == "word" else ["--text", "test.txt"]
    capsys.readouterr()
    results = []
    for flags in ([], ["--text", "test.txt"]):
        assert ch_lstm.evaluate.main(["run", *flags]) == 0
        results.append(capsys.readouterr().out.split()[1])
    assert results[0] == results[1]


def test_a_perplexity_too_large_for_a_number_is_said(capsys):
    refused(capsys, train("--lr", 1e4, "--max-grad", 1e4, "--out", "run"), "not finite")


def test_names_that_matplotlib_or_the_terminal_cannot_show(tmp_path, capsys):
    (tmp_path / "a$^$三.txt").write_text("one two three four\n" * 300)
    assert train("--corpus", "a$^$三.txt", "--epochs", 1, "--out", "run") == 0
    assert (tmp_path / "run" / "loss.png").exists()


def test_ptb_by_characters_is_generated_by_characters(tmp_path, monkeypatch, capsys):
    for split in ("train", "valid", "test"):
        (tmp_path / f"ptb.{split}.txt").write_text(" the cat saw <unk> dogs \n" * 30)
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))
    assert train("--corpus", "ptb", "--unit", "char", "--epochs", 1, "--out", "run") == 0
    capsys.readouterr()
    assert ch_lstm.generate.main(["run", "--prompt", "the", "--length", "40"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the") and len(out.rstrip("\n")) >= 30


def test_evaluate_another_text(run, tmp_path, capsys):
    (tmp_path / "other.txt").write_text("the statement is the expression .\n" * 3)
    assert ch_lstm.evaluate.main([str(run), "--text", "other.txt"]) == 0
    assert "on other.txt (21 tokens" in capsys.readouterr().out
    (tmp_path / "word.txt").write_text("word")
    refused(capsys, ch_lstm.evaluate.main([str(run), "--text", "word.txt"]), "at least 2 are needed")


def test_python_m_works_from_any_folder(tmp_path):
    root = str(pathlib.Path(training_run.__file__).resolve().parents[1])
    result = subprocess.run(
        [sys.executable, "-m", "ch_rnn.train", "--smoke"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": root})
    assert result.returncode == 0, result.stderr
    assert result.stderr == "" and "test perplexity" in result.stdout
    result = subprocess.run(
        [sys.executable, "-m", "ch_rnn.train", "--corpus", "nowhere.txt"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": root})
    assert result.returncode == 2 and result.stdout == "" and result.stderr.startswith("python -m ch_rnn.train: ")


def test_book_recipe_of_chapter_5_on_the_first_1000_words(ptb_dir, monkeypatch, capsys):
    monkeypatch.setenv("RNN_DATA_DIR", str(ptb_dir))
    assert ch_rnn.train.main(["--recipe", "chapter5", "--out", "run"]) == 0
    assert "418 words" in capsys.readouterr().out
    with open("run/history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    assert len(history) == 100 and 5.2 <= float(history[-1]["train_perplexity"]) <= 6.4


def test_banned_words_never_come(run, capsys):
    def text(*flags):
        assert ch_lstm.generate.main([str(run), "--seed", "1", "--length", "200", "--temperature", "5", *flags]) == 0
        return capsys.readouterr().out.split()

    assert {"the", "is"} <= set(text())
    assert not {"the", "is"} & set(text("--ban", "The is"))


def test_many_samples_at_once(run, capsys):
    assert ch_lstm.generate.main([str(run), "--samples", "3", "--seed", "1", "--prompt", "the"]) == 0
    texts = capsys.readouterr().out.split("--- ")[1:]
    assert [text[:5] for text in texts] == ["1\nthe", "2\nthe", "3\nthe"]
    assert len({text[5:] for text in texts}) == 3


@pytest.mark.parametrize("flags, words", [
    (["--prompt", "the qqqq statment"], "does not know, of the prompt: 'qqqq', 'statment' (near it: statement"),
    (["--prompt", " "], "the prompt is empty"),
    (["--ban", "the qqqq"], "does not know, of --ban: 'qqqq'"),
    (["--greedy", "--samples", "2"], "--greedy always gives the same text"),
])
def test_words_that_the_model_does_not_know(run, flags, words, capsys):
    refused(capsys, ch_lstm.generate.main([str(run), *flags]), words)


def test_a_ban_of_every_word(run, capsys):
    words = json.loads((run / "vocabulary.json").read_text())["words"]
    text = " ".join("\n" if word == "<eos>" else word for word in words)
    refused(capsys, ch_lstm.generate.main([str(run), "--ban", text]), "leaves no word")


def test_the_white_space_of_a_prompt_stays(tmp_path, capsys):
    assert ch_lstm.train.main(["--smoke", "--unit", "char", "--out", "run"]) == 0
    capsys.readouterr()
    assert ch_lstm.generate.main(["run", "--prompt", "  a", "--length", "1"]) == 0
    assert capsys.readouterr().out.startswith("  a")

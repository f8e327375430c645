import re

import numpy
import pytest
from any_device import np

from ch_lstm import seq2seq
from ch_lstm.encoder_decoder import AttentionSeq2seq, Seq2seq
from common.evaluate import eval_seq2seq
from common.optimizer import SGD, Adam
from dataset import sequence

pytestmark = pytest.mark.usefixtures("device")

TINY = ["--smoke", "--max-examples", "40"]
ID_TO_CHAR = dict(enumerate("_abcdef"))


def run(capsys, device, *flags):
    """The lines that a tiny run prints, the seconds blanked."""
    assert seq2seq.main([*TINY, "--device", device, *flags]) == 0
    return re.sub(r"[\d.]+$", "s", capsys.readouterr().out, flags=re.MULTILINE).splitlines()


@pytest.mark.parametrize("flags, title", [
    ([], "addition, plain (4,861 parameters)"),
    (["--reverse", "--peeky"], "addition, reverse-peeky (6,093 parameters)"),
    (["--task", "date", "--attention"], "date, attention (8,059 parameters)"),
])
def test_a_run_prints_a_line_for_each_epoch_and_examples(device, capsys, flags, title):
    lines = run(capsys, device, "--epochs", "2", *flags)
    assert lines[0] == f"{title}: 40 training questions, 40 test questions"
    assert lines[1].split() == ["epoch", "loss", "accuracy", "seconds"]
    for i in (1, 2):
        assert re.fullmatch(rf" +{i}  \d\.\d{{4}} +\d+\.\d\d% +s", lines[i + 1])
    assert re.fullmatch(r"question +right answer +model's answer", lines[5])
    assert len(lines[6:11]) == 5 and all(line.endswith(("right", "wrong")) for line in lines[6:11])
    assert lines == run(capsys, device, "--epochs", "2", *flags)


def test_examples_are_shown_the_right_way_round(device, capsys):
    sums = [line.split()[:2] for line in run(capsys, device, "--reverse")[5:10]]
    assert [str(sum(map(int, question.split("+")))) for question, _ in sums] == [answer for _, answer in sums]


def test_reverse_turns_the_questions_only():
    forwards, backwards = (seq2seq._load({"file_name": "addition.txt", "max_examples": 7, "reverse": reverse})
                           for reverse in (False, True))
    for (x, t), (x_reversed, t_same) in zip(forwards, backwards):
        assert x.shape == (7, 7) and np.array_equal(x[:, ::-1], x_reversed) and np.array_equal(t, t_same)


def test_the_settings_of_the_book(monkeypatch):
    configs = []
    monkeypatch.setattr(seq2seq, "_run", lambda config: configs.append(config) or [])
    assert seq2seq.main([]) == seq2seq.main(["--task", "date", "--hidden-size", "64"]) == 0
    common = {"batch_size": 128, "wordvec_size": 16, "lr": 0.001, "max_grad": 5.0, "max_examples": 45_000}
    assert configs[0].items() >= (common | {"epochs": 25, "hidden_size": 128}).items()
    assert configs[1].items() >= (common | {"epochs": 10, "hidden_size": 64}).items()


def test_out_holds_pictures_and_parameters(device, capsys, tmp_path):
    folder = tmp_path / "new" / "run"
    run(capsys, device, "--attention", "--reverse", "--out", str(folder))
    assert {path.name for path in folder.iterdir()} == {"accuracy.png", "attention.png", "reverse-attention.npz"}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in ("accuracy.png", "attention.png"))
    AttentionSeq2seq(13, 16, 16).load_params(folder / "reverse-attention.npz")


def test_compare_trains_four_models_and_puts_them_side_by_side(device, capsys, tmp_path):
    lines = run(capsys, device, "--compare", "--epochs", "2", "--out", str(tmp_path / "run"))
    titles = [line.split(" (")[0] for line in lines if "parameters" in line]
    assert titles == ["addition, plain", "addition, reverse", "addition, peeky", "addition, reverse-peeky"]
    assert lines[-4:-2] == ["accuracy after each epoch", "epoch  plain  reverse  peeky  reverse-peeky"]
    assert [line.split()[0] for line in lines[-2:]] == ["1", "2"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "accuracy.png", "plain.npz", "reverse.npz", "peeky.npz", "reverse-peeky.npz"}


def test_compared_accuracies_stand_under_their_names():
    histories = {name: [{"epoch": 1, "accuracy": first}, {"epoch": 2, "accuracy": second}]
                 for name, first, second in (("plain", 0.1, 0.2), ("peeky", 0.5, 1.0))}
    assert seq2seq._compared(histories).splitlines() == [
        "epoch   plain    peeky", "    1  10.00%   50.00%", "    2  20.00%  100.00%"]


def trained(model, steps=1):
    x = np.array([[1, 2], [2, 1], [3, 3], [1, 3], [4, 2], [5, 6], [6, 4]])
    t = np.concatenate((np.zeros((7, 1), dtype=int), x), axis=1)
    history = seq2seq.train(model, Adam(0.02), (x, t), (x, t), steps, 3, 5.0)
    return x, t, history


def test_accuracy_is_that_of_one_question_at_a_time(monkeypatch):
    monkeypatch.setattr(seq2seq, "ANSWERS_AT_ONCE", 3)
    model = Seq2seq(7, 8, 16, seed=0)
    x, t, history = trained(model, 12)
    one_at_a_time = [eval_seq2seq(model, x[i:i + 1], t[i:i + 1], ID_TO_CHAR) for i in range(7)]
    assert 0 < sum(one_at_a_time) < 7
    assert seq2seq.accuracy(model, x, t) == history[-1]["accuracy"] == sum(one_at_a_time) / 7


def test_a_model_learns_and_its_history_says_so():
    _, _, history = trained(Seq2seq(7, 8, 16, seed=0), 100)
    assert [row["epoch"] for row in history] == list(range(1, 101))
    assert history[-1]["accuracy"] == 1 and history[-1]["loss"] < 0.1 < history[0]["loss"]
    assert all(row["seconds"] > 0 for row in history)


def test_the_loss_is_the_mean_over_all_questions_those_of_a_short_last_batch_too():
    model = Seq2seq(7, 8, 16, seed=0, dtype=np.float64)
    x, t, _ = trained(model)
    expected = float(model.forward(x, t))
    (row,) = seq2seq.train(model, SGD(0), (x, t), (x, t), 1, 3, 5.0)
    assert row["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_attention_picture_reads_as_the_question_does(monkeypatch, is_reversed):
    pictures = []
    monkeypatch.setattr(seq2seq, "save_matrix", lambda path, *args: pictures.append(args))
    id_to_char = dict(enumerate(" _abcde"))
    texts = np.array([[2, 0, 0], [3, 4, 0], [5, 0, 0]])  # the second is the longest
    x, t = texts[:, ::-1] if is_reversed else texts, np.ones((3, 3), dtype=int)
    model = AttentionSeq2seq(7, 4, 5, seed=0)
    seq2seq._save_attention("attention.png", model, x, t, is_reversed, id_to_char)
    ((matrix, rows, columns, *_),) = pictures
    answer = model.answer(x[1:2], 1, 2)
    weights = model.attention_map(x[1:2], np.concatenate((t[1:2, :1], answer), axis=1))[0]  # (2, 3)
    assert columns == ["b", "c", " "] and rows == [id_to_char[i] for i in answer[0].tolist()]
    assert numpy.array_equal(matrix, np.to_cpu(weights[:, ::-1] if is_reversed else weights))


@pytest.mark.parametrize("flags, message", [
    (["--peeky", "--attention"], "argument --attention: not allowed with argument --peeky"),
    (["--compare", "--peeky"], "argument --peeky: not allowed with argument --compare"),
    (["--compare", "--reverse"], "--compare trains with and without --reverse anyway: leave --reverse out"),
    (["--task", "subtraction"], "argument --task: invalid choice: 'subtraction'"),
    (["--epochs", "0"], "argument --epochs: '0' is not a whole number from 1"),
    (["--out", "."], "cannot make the folder . (File exists): choose a new one for --out"),
])
def test_wrong_use_is_one_line(capsys, flags, message):
    assert seq2seq.main(flags) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"python -m ch_lstm.seq2seq: {message}")


def test_help_has_the_defaults(capsys):
    with pytest.raises(SystemExit) as raised:
        seq2seq.main(["--help"])
    assert raised.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "(default: 25 for addition, 10 for date)" in printed and "(default: 0.001)" in printed
    assert sequence.CHARACTERS.keys() == {task["file_name"] for task in seq2seq.TASKS.values()}

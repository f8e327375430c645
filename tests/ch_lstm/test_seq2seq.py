import re
import sys
import types

import numpy
import pytest
from any_device import np

from ch_lstm import seq2seq
from ch_lstm.encoder_decoder import AttentionSeq2seq, PeekySeq2seq, Seq2seq
from common.device.ids import ids_on_host
from common.language_model.evaluate import eval_seq2seq
from common.optimizer import SGD, Adam
from common.training import epochs as training_loop
from dataset import sequence

on_each_device = pytest.mark.usefixtures("device")

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


def test_one_question_is_enough(capsys, tmp_path):
    lines = run(capsys, "cpu", "--attention", "--max-examples", "1", "--out", str(tmp_path / "run"))
    assert lines[0].endswith(": 1 training questions, 1 test questions")
    assert lines[5].endswith(("right", "wrong")) and (tmp_path / "run" / "attention.png").exists()


def test_examples_are_shown_the_right_way_round(device, capsys):
    sums = [line.split()[:2] for line in run(capsys, device, "--reverse")[5:10]]
    assert [str(sum(map(int, question.split("+")))) for question, _ in sums] == [answer for _, answer in sums]


@on_each_device
def test_reverse_turns_the_questions_of_both_parts_only():
    forwards, backwards = (seq2seq._load(seq2seq.Settings(max_examples=7, reverse=reverse))
                           for reverse in (False, True))
    for (x, t), (x_reversed, t_same) in zip(forwards, backwards):
        assert x.shape == (7, 7) and np.array_equal(x[:, ::-1], x_reversed) and np.array_equal(t, t_same)


CHARACTERS = " _123456789"
QUESTIONS = ["12", "3", "45", "6", "78", "9", "1", "23"]
ANSWERS = ["_1", "_2", "_3", "_4", "_5", "_6", "_7", "_8"]


def ids_of(texts):
    return numpy.array([[CHARACTERS.index(character) for character in text.ljust(2)] for text in texts])


@pytest.fixture
def tiny(monkeypatch):
    """Each task has two questions to train on and six to test with; nothing is learnt. Holds what was asked for."""
    asked = types.SimpleNamespace(files=[], trainings=[], curves=[])

    def load_data(file_name):
        asked.files.append(file_name)
        x, t = ids_of(QUESTIONS), ids_of(ANSWERS)
        return (x[:2], t[:2]), (x[2:], t[2:])

    def train(*args):
        asked.trainings.append(args)
        asked.weights = [param.copy() for param in args[0].params]
        return [{"epoch": epoch, "accuracy": len(asked.trainings) / 10 + epoch / 100} for epoch in (1, 2)]

    monkeypatch.setattr(sequence, "load_data", load_data)
    monkeypatch.setattr(sequence, "get_vocab", lambda: (None, dict(enumerate(CHARACTERS))))
    monkeypatch.setattr(seq2seq, "train", train)
    monkeypatch.setattr(seq2seq, "save_curves", lambda *args, **options: asked.curves.append((args, options)))
    return asked


BOOK = {"batch_size": 128, "wordvec_size": 16, "lr": 0.001, "max_grad": 5.0, "seed": 0}
ADDITION = BOOK | {"task": "addition", "epochs": 25, "hidden_size": 128}
DATE = BOOK | {"task": "date", "epochs": 10, "hidden_size": 256}
GIVEN = {"task": "date", "batch_size": 3, "wordvec_size": 4, "lr": 0.5, "max_grad": 2.0, "seed": 9, "epochs": 7,
         "hidden_size": 6}


def flags_of(settings):
    return [str(text) for name, value in settings.items() for text in ("--" + name.replace("_", "-"), value)]


@pytest.mark.parametrize("flags, settings, kind", [
    ([], ADDITION, Seq2seq), (["--task", "date"], DATE, Seq2seq),
    (["--peeky"], ADDITION, PeekySeq2seq), (["--attention", "--reverse"], ADDITION, AttentionSeq2seq),
    (["--smoke"], ADDITION | {"epochs": 1, "hidden_size": 16}, Seq2seq),
    (flags_of(GIVEN), GIVEN, Seq2seq), (["--smoke", *flags_of(GIVEN)], GIVEN, Seq2seq)])
def test_every_setting_goes_where_its_flag_says(tiny, flags, settings, kind):
    assert seq2seq.main(flags) == 0
    assert tiny.files == [settings["task"] + ".txt"]
    ((model, optimizer, (x, t), (x_test, t_test), *rest),) = tiny.trainings
    assert type(optimizer) is Adam and optimizer.lr == settings["lr"]
    assert rest == [settings[name] for name in ("epochs", "batch_size", "max_grad")]
    fresh = kind(11, settings["wordvec_size"], settings["hidden_size"], seed=settings["seed"])
    assert type(model) is kind
    assert all(np.array_equal(a, b) for a, b in zip(tiny.weights, fresh.params, strict=True))
    step = -1 if "--reverse" in flags else 1
    assert x.tolist() == ids_of(QUESTIONS[:2])[:, ::step].tolist() and t.tolist() == ids_of(ANSWERS[:2]).tolist()
    assert x_test.tolist() == ids_of(QUESTIONS[2:])[:, ::step].tolist()
    assert t_test.tolist() == ids_of(ANSWERS[2:]).tolist()


@pytest.mark.parametrize("flags, counts", [
    ([], (45_000, 5_000)), (["--smoke"], (500, 500)), (["--max-examples", "7"], (7, 7))])
def test_the_first_so_many_questions_of_each_part(tiny, monkeypatch, flags, counts):
    def many(size):
        return numpy.arange(2 * size).reshape(size, 2) % 11, numpy.ones((size, 2), dtype=int)

    monkeypatch.setattr(sequence, "load_data", lambda file_name: (many(50_000), many(5_000)))
    assert seq2seq.main(flags) == 0
    ((_, _, training, test, *_),) = tiny.trainings
    for part, count in zip((training, test), counts):
        assert [array.tolist() for array in part] == [array[:count].tolist() for array in many(count)]


@pytest.mark.parametrize("flags", [[], ["--reverse"]])
def test_the_examples_are_the_first_five_of_the_test_part_the_right_way_round(tiny, monkeypatch, capsys, flags):
    read = []

    def answer(model, xs, start_id, sample_size):
        read.append((xs.tolist(), start_id, sample_size))
        return np.to_device(ids_of(["3", "9", "5", "6", " "])[:, :1])

    monkeypatch.setattr(Seq2seq, "answer", answer)
    assert seq2seq.main(flags) == 0
    assert read == [(ids_of(QUESTIONS[2:7])[:, ::-1 if flags else 1].tolist(), 1, 1)]
    lines = capsys.readouterr().out.splitlines()
    size = 2 * 11 * 16 + 2 * (16 * 512 + 128 * 512 + 512) + 128 * 11 + 11
    assert lines[0] == (f"addition, {'reverse' if flags else 'plain'} ({size:,} parameters): "
                        "2 training questions, 6 test questions")
    assert [line.split() for line in lines[2:]] == [
        "question right answer model's answer".split(), ["45", "3", "3", "right"], ["6", "4", "9", "wrong"],
        ["78", "5", "5", "right"], ["9", "6", "6", "right"], ["1", "7", "wrong"], []]


def test_compared_models_and_their_curves(tiny, capsys, tmp_path):
    assert seq2seq.main(["--compare", "--hidden-size", "4", "--out", str(tmp_path / "run")]) == 0
    assert [(type(model), x[0].tolist() == ids_of(QUESTIONS)[0].tolist())
            for model, _, (x, _), *_ in tiny.trainings] == [
        (Seq2seq, True), (Seq2seq, False), (PeekySeq2seq, True), (PeekySeq2seq, False)]
    ((path, curves, *words), options), = tiny.curves
    assert path == tmp_path / "run" / "accuracy.png" and options == {"ylim": (-0.05, 1.05)}
    assert words == ["epoch", "accuracy on the test questions", "addition"]
    assert curves == {name: ([1, 2], [i / 10 + 0.01, i / 10 + 0.02]) for i, name in enumerate(
        ("plain", "reverse", "peeky", "reverse-peeky"), start=1)}
    assert [line.split() for line in capsys.readouterr().out.splitlines()[-3:]] == [
        ["epoch", "plain", "reverse", "peeky", "reverse-peeky"],
        ["1", "11.00%", "21.00%", "31.00%", "41.00%"], ["2", "12.00%", "22.00%", "32.00%", "42.00%"]]


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


@on_each_device
@pytest.mark.training
def test_accuracy_is_that_of_one_question_at_a_time(monkeypatch):
    monkeypatch.setattr(seq2seq, "ANSWERS_AT_ONCE", 3)
    model = Seq2seq(7, 8, 16, seed=0)
    x, t, history = trained(model, 12)
    one_at_a_time = [eval_seq2seq(model, x[i:i + 1], t[i:i + 1], ID_TO_CHAR) for i in range(7)]
    assert 0 < sum(one_at_a_time) < 7
    assert seq2seq.accuracy(model, x, t) == history[-1]["accuracy"] == sum(one_at_a_time) / 7


@on_each_device
def test_accuracy_of_a_beam_is_that_of_the_likeliest_answer_to_each_question(monkeypatch):
    model, rng = AttentionSeq2seq(5, 3, 4, seed=0, dtype=np.float64), np.random.default_rng(0)
    for param in model.params:
        param[...] = rng.normal(0, 1.5, param.shape)
    x = np.array([[a, b] for a in range(5) for b in range(5)])
    greedy = model.answer(x, 0, 3)
    likeliest = np.array([model.beam_answers(x[i:i + 1], 0, 3, 5**3)[0][0].tokens for i in range(25)])
    assert 0 < (differs := int((greedy != likeliest).any(axis=1).sum())) < 25
    at_once, search = [], model.beam_answers

    def beam_answers(xs, *args):
        at_once.append((len(xs), *args))
        return search(xs, *args)

    monkeypatch.setattr(model, "beam_answers", beam_answers)
    monkeypatch.setattr(seq2seq, "ANSWERS_AT_ONCE", 5**3 * 10)
    t = np.concatenate((np.zeros((25, 1), dtype=int), likeliest), axis=1)
    assert seq2seq.accuracy(model, x, t) == (25 - differs) / 25
    assert seq2seq.accuracy(model, x, t, 5**3) == 1
    t[:6, 3] = (t[:6, 3] + 1) % 5
    assert seq2seq.accuracy(model, x, t, 5**3) == 19 / 25
    assert at_once == [(10, 0, 3, 125), (10, 0, 3, 125), (5, 0, 3, 125)] * 2
    monkeypatch.setattr(seq2seq, "ANSWERS_AT_ONCE", 3)  # fewer than the beam: still one at a time
    assert seq2seq.accuracy(model, x[:2], t[:2], 4) in (0, 0.5, 1) and at_once[6:] == [(1, 0, 3, 4)] * 2


def test_with_a_beam_both_accuracies_are_shown_in_the_end(tiny, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(seq2seq, "accuracy", lambda model, x, t, beam: (asked.append((x.tolist(), t.tolist(), beam)),
                                                                        0.625)[1])
    assert seq2seq.main(["--beam", "7", "--reverse", "--hidden-size", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "accuracy of greedy answers 12.00%, of a beam of 7 62.50%"
    assert asked == [(ids_of(QUESTIONS[2:])[:, ::-1].tolist(), ids_of(ANSWERS[2:]).tolist(), 7)]


def test_a_beam_is_for_each_of_the_compared_models(device, capsys):
    lines = run(capsys, device, "--compare", "--beam", "3", "--hidden-size", "8")
    shown = [line for line in lines if line.startswith("accuracy of greedy")]
    assert len(shown) == 4
    for line in shown:
        assert re.fullmatch(r"accuracy of greedy answers \d+\.\d\d%, of a beam of 3 \d+\.\d\d%", line)


@pytest.mark.training
def test_a_model_learns_and_its_history_says_so():
    _, _, history = trained(Seq2seq(7, 8, 16, seed=0), 100)
    assert [row["epoch"] for row in history] == list(range(1, 101))
    assert history[-1]["accuracy"] == 1 and history[-1]["loss"] < 0.1 < history[0]["loss"]
    assert all(row["seconds"] > 0 for row in history)


class RightUpTo:
    """Answers the question (a, b) by (a, b), but b wrongly from `wrong` on."""

    def __init__(self, wrong):
        self.wrong = wrong

    def answer(self, xs, start_id, sample_size):
        assert len(xs) <= 3 and (start_id, sample_size) == (9, 2)
        answers = xs.copy()
        answers[xs[:, 0] >= self.wrong, 1] += 1
        return answers


@on_each_device
def test_an_answer_is_right_when_every_character_is(monkeypatch):
    monkeypatch.setattr(seq2seq, "ANSWERS_AT_ONCE", 3)
    x = np.array([[i, 2 * i] for i in range(7)])
    t = np.concatenate((np.full((7, 1), 9), x), axis=1)
    assert seq2seq.accuracy(RightUpTo(5), x, t) == 5 / 7
    assert seq2seq.accuracy(RightUpTo(0), x, t) == 0


@on_each_device
def test_the_answers_of_the_examples_are_as_long_as_the_right_ones(capsys):
    x = np.array([[1, 2], [3, 4], [5, 5]])
    t = np.concatenate((np.full((3, 1), 9), x), axis=1)
    seq2seq._print_examples(RightUpTo(5), x, t, False, ID_TO_CHAR)
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:5]] == [
        ["ab", "ab", "ab", "right"], ["cd", "cd", "cd", "right"], ["ee", "ee", "ef", "wrong"]]


PAIRS = numpy.array([[i, 10 - i] for i in range(7)])
STARTED = numpy.array([[0, i, i] for i in range(7)])


class Recorder(SGD):
    """Notes the norm of the gradients of each step."""

    def __init__(self):
        super().__init__(lr=0.0)
        self.norms = []

    def update(self, params, grads):
        self.norms.append(sum(float((grad**2).sum()) for grad in grads)**0.5)


def test_gradients_are_clipped_to_the_norm_given():
    norms = []
    for max_grad in (1e9, 0.01):
        optimizer = Recorder()
        seq2seq.train(Seq2seq(11, 3, 4, seed=0), optimizer, (PAIRS, STARTED), (PAIRS, STARTED), 1, 7, max_grad)
        norms += optimizer.norms
    assert norms[0] > 0.1 and norms[1] == pytest.approx(0.01, rel=1e-3)


@on_each_device
def test_an_epoch_takes_every_question_once_in_a_new_order_and_is_tested_on_the_test_part(monkeypatch, capsys):
    batches, model, optimizer = [], types.SimpleNamespace(params=[]), object()
    test = np.array([[8, 8]]), np.array([[0, 8, 8]])

    def step(trained, trainer, xs, ts, max_grad, before_update):
        assert trained is model and trainer is optimizer and max_grad == 5.0
        batches.append((ids_on_host(xs).tolist(), ids_on_host(ts).tolist()))
        return np.float32(len(batches))

    def accuracy(tested, x, t):
        assert tested is model and x is test[0] and t is test[1]
        return len(batches) / 10

    monkeypatch.setattr(training_loop, "training_step", step)
    monkeypatch.setattr(seq2seq, "accuracy", accuracy)
    times = iter([1.0, 3.0, 7.0, 13.0])
    monkeypatch.setattr(seq2seq, "time", types.SimpleNamespace(perf_counter=lambda: next(times)))
    training = (np.to_device(PAIRS), np.to_device(STARTED))
    history = seq2seq.train(model, optimizer, training, test, 3, 3, 5.0)
    assert [len(xs) for xs, _ in batches] == [3, 3, 1] * 3
    order = [x[0] for xs, _ in batches for x in xs]
    assert [[i, 10 - i] for i in order] == [x for xs, _ in batches for x in xs]
    assert [[0, i, i] for i in order] == [t for _, ts in batches for t in ts]
    epochs = [order[:7], order[7:14], order[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, range(7)]}) == 4
    losses = [(3 * first + 3 * (first + 1) + first + 2) / 7 for first in (1, 4, 7)]  # of 3, 3 and 1 questions
    assert history == [{"epoch": i + 1, "loss": pytest.approx(loss), "accuracy": (3 * i + 3) / 10,
                        "seconds": 2.0 * i + 2} for i, loss in enumerate(losses)]
    assert capsys.readouterr().out.splitlines() == [
        "epoch    loss  accuracy  seconds", *[f"{i + 1:5}  {loss:.4f}    {30 * i + 30}.00%      {2 * i + 2}.0"
                                              for i, loss in enumerate(losses)]]


@on_each_device
def test_the_loss_is_the_mean_over_all_questions_those_of_a_short_last_batch_too():
    model = Seq2seq(7, 8, 16, seed=0, dtype=np.float64)
    x, t, _ = trained(model)
    expected = float(model.forward(x, t))
    (row,) = seq2seq.train(model, SGD(0), (x, t), (x, t), 1, 3, 5.0)
    assert row["loss"] == pytest.approx(expected, rel=1e-12)


@on_each_device
@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_attention_picture_reads_as_the_question_does(monkeypatch, is_reversed):
    pictures = []
    monkeypatch.setattr(seq2seq, "save_matrix", lambda path, *args: pictures.append(args))
    id_to_char = dict(enumerate(" _abcde"))
    texts = np.array([[2, 0, 0], [3, 4, 0], [5, 0, 0]])  # the second is the longest
    x, t = texts[:, ::-1] if is_reversed else texts, np.array([[1, 5, 5]] * 3)
    model = AttentionSeq2seq(7, 4, 5, seed=0)
    for param in model.params:
        param *= 8  # as drawn they are so small that every answer is the same
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
    (["--beam", "1001"], "argument --beam: '1001' is not a whole number from 1 to 1000"),
    (["--out", "."], "cannot make the folder . (File exists): choose a new one for --out"),
])
def test_wrong_use_is_one_line(capsys, flags, message):
    assert seq2seq.main(flags) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"python -m ch_lstm.seq2seq: {message}")


def test_gpu_where_there_is_none(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert seq2seq.main([*TINY, "--device", "gpu"]) == 2
    assert "pip install -e '.[cuda12]'" in capsys.readouterr().err


def test_help_has_the_defaults(capsys):
    with pytest.raises(SystemExit) as raised:
        seq2seq.main(["--help"])
    assert raised.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "(default: 25 for addition, 10 for date)" in printed and "(default: 0.001)" in printed
    assert sequence.CHARACTERS.keys() == set(seq2seq.FILES.values()) and seq2seq.FILES.keys() == seq2seq.TASKS.keys()

"""What the checks of the exercises say to right, wrong, missing and broken answers."""
import numpy as np
import pytest

from common.notebook.exercise import check_gradient, check_number, check_values

X, W = np.arange(6.0).reshape(2, 3), np.array([0.5, -1.0, 2.0])


def forward(x, w):
    return np.tanh(x * w)


def right(G, x, w):
    da = G * (1 - np.tanh(x * w) ** 2)
    return da * w, (da * x).sum(axis=0)


def raises(error):
    def answer(*_):
        raise error
    return answer


def writes_into_G(G, x, w):
    result = right(G, x, w)
    G *= 2
    return result


def writes_into_x(G, x, w):
    result = right(G, x, w)
    x += 1
    return result


def gradient_verdict(capsys, answer, *inputs, function=forward, **options):
    check_gradient(answer, function, *(inputs or (X, W)), **options)
    return one_line(capsys)


def one_line(capsys):
    (line,) = capsys.readouterr().out.splitlines()
    return line


def test_right_gradients(capsys):
    assert gradient_verdict(capsys, right) == "Right."


@pytest.mark.parametrize("answer", [
    lambda G, x, w: None, lambda G, x, w: ..., lambda G, x, w: (None, ...), raises(NotImplementedError), None, ...])
def test_nothing_is_said_kindly(capsys, answer):
    assert gradient_verdict(capsys, answer).startswith("Nothing here yet")
    check_values(answer, lambda *_: (X, X), X, X, X)
    assert one_line(capsys).startswith("Nothing here yet")


@pytest.mark.parametrize("answer, words", [
    (lambda G, x, w: (right(G, x, w)[0], 2 * right(G, x, w)[1]), "dw, element ("),
    (lambda G, x, w: (G, right(G, x, w)[1]), "dx, element ("),
    (lambda G, x, w: (right(G, x, w)[0], right(G, x, w)[1][None]), "dw has the shape (1, 3), wanted (3,)"),
    (lambda G, x, w: right(G, x, w)[0], "it returns 1 array, wanted 2 arrays: dx, dw"),
    (lambda G, x, w: (right(G, x, w)[0], ...), "dw is still missing"),
    (lambda G, x, w: (right(G, x, w)[0], "w"), "dw is of type str"),
    (lambda G, x, w: (right(G, x, w)[0], [[1.0], [1.0, 2.0]]), "dw is of type list"),
    (lambda G, x, w: (np.nan * G, right(G, x, w)[1]), "dx, element (0, 0): the answer gave nan"),
    (lambda G, x: G, "raised TypeError"),
    (raises(ZeroDivisionError("division\nby zero")), "answer raised ZeroDivisionError: division by zero"),
    (raises(KeyError()), "answer raised KeyError"),
    (7, "the answer raised TypeError"),
    (writes_into_G, "it writes into an array"),
    (writes_into_x, "it writes into an array"),
])
def test_wrong_gradients(capsys, answer, words):
    line = gradient_verdict(capsys, answer)
    assert line.startswith("Not yet: ")
    assert words in line


def test_a_wrong_element_is_named_with_both_numbers(capsys):
    def answer(G, w):
        dw = G.copy()
        dw[1] += 1
        return dw

    line = gradient_verdict(capsys, answer, W, function=lambda w: 1.0 * w)
    upstream = np.random.default_rng(0).standard_normal(3)
    assert line == (f"Not yet: dw, element (1,): the answer gave {upstream[1] + 1:.6g}, "
                    f"the numerical gradient is {upstream[1]:.6g}.")


def test_numbers_several_outputs_and_integers(capsys):
    def select(x, ids, scale):
        return x[ids] * scale, x.sum()

    def backward(G, g, x, ids, scale):
        dx = np.full_like(x, g)
        np.add.at(dx, ids, G * scale)
        return dx, (G * x[ids]).sum()

    assert gradient_verdict(capsys, backward, W, np.array([0, 2, 2]), 0.5, function=select) == "Right."


def test_some_of_the_gradients_and_other_names(capsys):
    assert gradient_verdict(capsys, lambda G, x, w: right(G, x, w)[1], wrt=("w",)) == "Right."
    line = gradient_verdict(capsys, lambda G, x, w: (right(G, x, w)[0], 0 * w), names=("x", "scale"))
    assert "dscale, element" in line


@pytest.mark.parametrize("one", [np.ndarray.tolist, lambda dw: [dw], lambda dw: (dw,), lambda dw: (dw.tolist(),)])
def test_one_array_as_a_list(capsys, one):
    def dx(G, x, w):
        return one(right(G, x, w)[0])

    assert gradient_verdict(capsys, dx, wrt=("x",)) == "Right."
    check_values(lambda x: one(np.tanh(x)), np.tanh, X)
    assert one_line(capsys) == "Right."
    assert "dx, element" in gradient_verdict(capsys, lambda *inputs: one(-right(*inputs)[0]), wrt=("x",))


@pytest.mark.parametrize("answer, words", [
    ([None], "Nothing here yet"), ([...], "Nothing here yet"), ([[1.0], [1.0, 2.0]], "Not yet: dx is of type list"),
    ([1.0, 2.0], "Not yet: dx has the shape (2,), wanted (2, 3)"), ((X, X), "Not yet: it returns 2 arrays, wanted 1")])
def test_a_list_that_is_no_right_array(capsys, answer, words):
    assert gradient_verdict(capsys, lambda *_: answer, wrt=("x",)).startswith(words)


def test_several_arrays_as_lists(capsys):
    assert gradient_verdict(capsys, lambda *inputs: [each.tolist() for each in right(*inputs)]) == "Right."


def test_a_forward_that_is_the_readers(capsys):
    assert gradient_verdict(capsys, right, function=lambda x, w: None).startswith("Nothing here yet")
    assert "raised ZeroDivisionError" in gradient_verdict(capsys, right, function=raises(ZeroDivisionError()))


def test_values(capsys):
    for answer, start in ((np.tanh, "Right."), (np.sin, "Not yet: y, element (1, 2): the answer gave -0.958924"),
                          (np.sum, "Not yet: y has the shape (), wanted (2, 3)"), (lambda x: x / 0, "Not yet: y, el")):
        check_values(answer, np.tanh, X, names=("y",))
        assert one_line(capsys).startswith(start)


def test_inputs_stay_as_they_are(capsys):
    def in_place(x):
        x += 1
        return x

    before = X.copy()
    check_values(in_place, lambda x: x + 1, X)
    assert one_line(capsys).startswith("Not yet: it writes into an array")
    assert (before == X).all()
    gradient_verdict(capsys, writes_into_x)
    assert (before == X).all()


@pytest.mark.parametrize("answer, start", [
    (66, "Right."), (np.float32(66), "Right."), (65, "Not yet: 65 is too small"), (66.5, "Not yet: 66.5 is too large"),
    (None, "Nothing here yet"), (..., "Nothing here yet"), (float("nan"), "Not yet: nan is no number"),
    ("66", "Not yet: the answer is of type str"), (np.ones(3), "Not yet: the answer has the shape (3,)")])
def test_number(capsys, answer, start):
    check_number(answer, 66)
    assert one_line(capsys).startswith(start)

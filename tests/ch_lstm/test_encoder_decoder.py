import math

import numpy
import pytest
from any_device import checks_elements, np
from by_hand import every_text

from ch_lstm.encoder_decoder import AttentionSeq2seq, PeekySeq2seq, Seq2seq
from common.gradients.adapters import model_case
from common.gradients.cases import Draw
from common.gradients.checker import assert_gradients
from common.optimizer import Adam
from common.trainer import training_step

pytestmark = pytest.mark.usefixtures("device")

N, T, U, D, H, V = 6, 3, 2, 4, 5, 7  # U characters of an answer, without the one that starts it
START = 2
MODELS = {"plain": Seq2seq, "peeky": PeekySeq2seq, "attention": AttentionSeq2seq}
every_model = pytest.mark.parametrize("name", MODELS)


def build(name, seed=0):
    """A model in float64 with large weights."""
    model = MODELS[name](V, D, H, seed=seed, dtype=np.float64)
    draw = Draw(seed)
    for param in model.params:
        param[...] = draw.normal(*param.shape, std=0.5)
    return model


def talkative(name, seed=0):
    """A model whose answers vary."""
    model = build(name, seed)
    for param in model.params:
        param *= 4
    model.params[-1][...] = 0  # the bias of the scores
    return model


def questions(n=N):
    return Draw(3).ids(n, T, size=V)


def answers(n=N):
    ts = Draw(4).ids(n, 1 + U, size=V)
    ts[:, 0] = START
    return ts


@every_model
def test_gradients(name):
    xs, ts = questions()[:, ::-1], answers()
    case = model_case(MODELS[name].__name__, "reversed", lambda: build(name), xs, ts)
    assert_gradients(case, tolerance=1e-8, elements=checks_elements(case))


@every_model
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_questions(name):
    model, xs, ts = build(name), questions(), answers()

    def gradients(rows):
        model.forward(xs[rows], ts[rows])
        model.backward()
        return np.concatenate([grad.ravel() for grad in model.grads])

    one_by_one = np.stack([gradients(slice(n, n + 1)) for n in range(N)])
    np.testing.assert_allclose(gradients(slice(N)), one_by_one.mean(axis=0), rtol=1e-9, atol=1e-12)


@every_model
def test_parameters_are_in_the_order_of_the_book(name):
    lstm_input = D + H if name == "peeky" else D
    affine_input = H if name == "plain" else H + H
    model = MODELS[name](V, D, H)
    assert [param.shape for param in model.params] == [
        (V, D), (D, 4 * H), (H, 4 * H), (4 * H,),
        (V, D), (lstm_input, 4 * H), (H, 4 * H), (4 * H,), (affine_input, V), (V,)]
    assert [grad.shape for grad in model.grads] == [param.shape for param in model.params]
    assert {array.dtype for array in model.params + model.grads} == {np.dtype("float32")}


@every_model
def test_a_seed_decides_the_weights(name):
    first, second, other = (MODELS[name](V, D, H, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first.params, second.params))
    assert not np.array_equal(first.params[0], other.params[0])
    np.seed(1)
    assert all(np.array_equal(a, b) for a, b in zip(first.params, MODELS[name](V, D, H).params))


def sigmoid(a):
    return 1 / (1 + numpy.exp(-a))


def states_by_hand(xs, Wx, Wh, b, h):
    """States (T, H) of an LSTM that reads xs (T, D) from h and an empty cell, a step at a time."""
    c, hs = numpy.zeros(H), []
    for x in xs:
        f, g, i, o = numpy.split(x @ Wx + h @ Wh + b, 4)
        c = sigmoid(f) * c + numpy.tanh(g) * sigmoid(i)
        h = sigmoid(o) * numpy.tanh(c)
        hs.append(h)
    return numpy.array(hs)


@every_model
def test_scores_by_hand_a_question_at_a_time(name):
    model, xs, ts = build(name), questions(), answers()
    found = model.decoder.forward(ts[:, :-1], model.encoder.forward(xs))  # (N, U, V)
    enc_W, enc_Wx, enc_Wh, enc_b, dec_W, dec_Wx, dec_Wh, dec_b, W, b = map(np.to_cpu, model.params)
    for question, answer, scores in zip(np.to_cpu(xs), np.to_cpu(ts), found):
        hs_enc = states_by_hand(enc_W[question], enc_Wx, enc_Wh, enc_b, numpy.zeros(H))  # (T, H)
        h = numpy.tile(hs_enc[-1], (U, 1))  # (U, H)
        read = dec_W[answer[:-1]]  # (U, D)
        if name == "peeky":
            read = numpy.concatenate((h, read), axis=1)  # (U, H + D)
        hs = states_by_hand(read, dec_Wx, dec_Wh, dec_b, hs_enc[-1])  # (U, H)
        if name == "peeky":
            hs = numpy.concatenate((h, hs), axis=1)  # (U, H + H)
        elif name == "attention":
            weights = numpy.exp(hs @ hs_enc.T)  # (U, T)
            cs = weights / weights.sum(axis=1, keepdims=True) @ hs_enc  # (U, H)
            hs = numpy.concatenate((cs, hs), axis=1)  # (U, H + H)
        np.testing.assert_allclose(scores, hs @ W + b, rtol=1e-9)


@every_model
def test_the_loss_is_the_mean_cross_entropy_of_the_answer_behind_its_start(name):
    model, xs, ts = build(name), questions(), answers()
    scores = np.to_cpu(model.decoder.forward(ts[:, :-1], model.encoder.forward(xs)))  # (N, U, V)
    log_p = scores - numpy.log(numpy.exp(scores).sum(axis=2, keepdims=True))
    expected = -numpy.mean([log_p[n, u, int(ts[n, u + 1])] for n in range(N) for u in range(U)])
    assert float(model.forward(xs, ts)) == pytest.approx(expected, rel=1e-12)


@every_model
def test_the_gradient_of_the_last_bias_by_hand(name):
    model, xs, ts = build(name), questions(), answers()
    weights = numpy.exp(np.to_cpu(model.decoder.forward(ts[:, :-1], model.encoder.forward(xs))))  # (N, U, V)
    model.forward(xs, ts)
    model.backward()
    expected = weights / weights.sum(axis=2, keepdims=True) - numpy.eye(V)[np.to_cpu(ts[:, 1:])]  # (N, U, V)
    np.testing.assert_allclose(model.grads[-1], expected.mean(axis=(0, 1)), rtol=1e-9)


@every_model
def test_an_answer_is_the_likeliest_character_after_all_before_it(name):
    model, xs = talkative(name), questions(20)
    answer = model.answer(xs, START, 6)
    assert answer.shape == (20, 6) and len(np.unique(answer)) > 2
    read = np.full((20, 1), START)
    for u in range(6):
        scores = model.decoder.forward(read, model.encoder.forward(xs))  # (20, u + 1, V)
        read = np.concatenate((read, scores[:, -1:].argmax(axis=2)), axis=1)
        assert np.array_equal(answer[:, u], read[:, -1])


@every_model
def test_many_answers_at_once_are_those_given_one_at_a_time(name):
    model, xs = talkative(name), questions(20)
    assert model.answer(xs, START, 6).tolist() == [model.generate(xs[i:i + 1], START, 6) for i in range(20)]


@every_model
def test_every_character_of_the_question_counts(name):
    model, xs, ts = build(name), questions(), answers()
    loss = model.forward(xs, ts)
    for t in range(T):
        changed = xs.copy()
        changed[0, t] = (changed[0, t] + 1) % V
        assert model.forward(changed, ts) != loss


def test_a_peeky_decoder_sees_the_encoding_at_every_step():
    model, xs, ts = build("peeky"), questions(), answers()
    lstm = model.decoder.lstm
    lstm.params[1][...] = 0  # no step of the decoder knows the one before it
    lstm.params[2][:H] = -1000  # nor does it keep its cell
    first = model.decoder.forward(ts[:, :-1], model.encoder.forward(xs))
    second = model.decoder.forward(ts[:, :-1], model.encoder.forward((xs + 1) % V))
    assert (abs(first - second).max(axis=(0, 2)) > 1e-3).all()


def test_the_attention_map_is_that_of_each_step():
    model, xs, ts = build("attention"), questions(), answers()
    weights = model.attention_map(xs, ts)
    assert weights.shape == (N, U, T)
    np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=1e-12)
    hs_enc = model.encoder.forward(xs)
    model.decoder.start(hs_enc)
    for u in range(U):
        model.decoder.scores(ts[:, u:u + 1])
        np.testing.assert_allclose(model.decoder.attention.attention_weights[:, 0], weights[:, u], rtol=1e-10)


@pytest.mark.training
@every_model
def test_it_learns_to_write_a_question_back_to_front(name):
    xs = np.to_device(numpy.array(numpy.meshgrid([0, 1, 3], [0, 1, 3], [0, 1, 3])).reshape(3, -1).T)  # (27, 3)
    ts = np.concatenate((np.full((27, 1), START), xs[:, ::-1]), axis=1)
    model = MODELS[name](4, 8, 24, seed=0)
    optimizer = Adam(0.02)
    for _ in range(100):
        training_step(model, optimizer, xs, ts, max_grad=5.0)
    assert np.array_equal(model.answer(xs, START, 3), ts[:, 1:])


@every_model
def test_saved_parameters_give_the_same_answers(name, tmp_path):
    model, other = talkative(name), talkative(name, seed=1)
    xs = questions(20)
    assert not np.array_equal(model.answer(xs, START, U), other.answer(xs, START, U))
    model.save_params(tmp_path / "model")
    other.load_params(tmp_path / "model")
    assert np.array_equal(model.answer(xs, START, U), other.answer(xs, START, U))


def all_answers(model, question, length, length_penalty=0.0, end_ids=(), banned=()):
    """Every answer to a question (1, T), the best first: its ids, log probability and score."""
    texts = every_text(V, length, end_ids, banned)
    found = []
    for n in range(1, length + 1):
        same = sorted(text for text in texts if len(text) == n)
        if same:
            read = np.to_device(numpy.array([[START, *text] for text in same]))
            encoded = model.encoder.forward(np.repeat(question, len(same), axis=0))
            scores = np.to_cpu(model.decoder.forward(read[:, :-1], encoded)).astype(numpy.float64)  # (M, n, V)
            log_p = scores - numpy.log(numpy.exp(scores).sum(axis=2, keepdims=True))
            sums = [math.fsum(log_p[m, range(n), text]) for m, text in enumerate(same)]
            found += [(text, total, total / n**length_penalty) for text, total in zip(same, sums)]
    return sorted(found, key=lambda row: -row[2])


@pytest.mark.parametrize("dtype, tolerance, options", [
    ("float64", 1e-9, {}), ("float64", 1e-9, {"end_ids": [1]}), ("float64", 1e-9, {"banned": [0, 5]}),
    ("float64", 1e-9, {"end_ids": [3, 6], "length_penalty": 1.0}),
    ("float32", 1e-5, {"end_ids": [4], "length_penalty": 0.7, "banned": [2]})], ids=str)
@every_model
def test_a_beam_as_wide_as_all_prefixes_finds_the_best_of_all_answers(name, dtype, tolerance, options):
    model, xs = MODELS[name](V, D, H, dtype=np.dtype(dtype)), questions(4)
    for param, value in zip(model.params, talkative(name).params, strict=True):
        param[...] = value.astype(param.dtype)
    found = model.beam_answers(xs, START, 3, V**3, n_best=4, **options)
    assert len({tuple(hypothesis.tokens for hypothesis in hypotheses) for hypotheses in found}) > 1
    for n in range(4):
        expected = all_answers(model, xs[n:n + 1], 3, **options)[:5]
        assert (-numpy.diff([score for _, _, score in expected]) > 10 * tolerance).all()  # rounding decides no place
        assert [hypothesis.tokens for hypothesis in found[n]] == [tokens for tokens, _, _ in expected[:4]]
        numpy.testing.assert_allclose([hypothesis[1:] for hypothesis in found[n]], [row[1:] for row in expected[:4]],
                                      rtol=tolerance)


@every_model
def test_a_beam_of_one_gives_the_greedy_answers(name):
    model, xs = talkative(name), questions(20)
    found = model.beam_answers(xs, START, 6, 1)
    assert [list(hypothesis.tokens) for (hypothesis,) in found] == model.answer(xs, START, 6).tolist()


@pytest.mark.parametrize("beam", [2, 5])
@every_model
def test_answers_of_a_beam_to_many_questions_are_those_to_each(name, beam):
    model, xs = talkative(name), questions(20)
    options = dict(end_ids=[1], length_penalty=0.5, n_best=2)
    found = model.beam_answers(xs, START, 6, beam, **options)
    for n in range(20):
        (alone,) = model.beam_answers(xs[n:n + 1], START, 6, beam, **options)
        assert [hypothesis.tokens for hypothesis in found[n]] == [hypothesis.tokens for hypothesis in alone]
        numpy.testing.assert_allclose([hypothesis[1:] for hypothesis in found[n]],
                                      [hypothesis[1:] for hypothesis in alone], rtol=1e-9)
    assert len({len(hypotheses[0].tokens) for hypotheses in found}) > 1


@every_model
def test_a_wrong_beam_is_refused(name):
    with pytest.raises(ValueError, match="beam is 0, wanted a whole number from 1"):
        build(name).beam_answers(questions(), START, 3, 0)

"""The network of Mikolov et al. (2010) on the characters of a text: `python -m ch_rnn.char_rnnlm --help`.

The idea: a state carries what was read so far, so that a network which sees one character at a time can
use all of its past. By default it also learns one character at a time: SGD takes a step after each, and the
gradient goes back through that one step only, as if the state before it were given. `--time-size T` is
truncated backpropagation through time: the gradient goes back to the first of T characters, and the sum of
their T gradients makes one update.

Three losses are reported, all means over characters, in nats. The training loss of an epoch is taken on the
way, before each update, by a network that has just adapted to the lines before. The other two are taken
afterwards, with the weights as they are in the end: on the training part, and on the held-out part. The
tutorial that this follows reads the training part again in place of its test part, so that the first of the
two is what it calls its test loss. How well the network predicts new text is the second.

A GPU always trains through the layers. Steps of one character are too small for it: --device gpu is meant for
a large --time-size and --hidden-size.
"""
import dataclasses
import math
import sys
import time

from ch_rnn.mikolov import MikolovRnnlm
from ch_rnn.online_sgd import train_online
from common import cli
from common.cli import setting
from common.device.ids import known_ids
from common.errors import InputError
from common.language_model.evaluate import perplexity
from common.language_model.generate import generate
from common.np import np
from common.optimizer import SGD
from common.text.reading import clean_text, read_text_file
from common.text.tokenizers import tokenize_characters
from common.text.vocabulary import Vocabulary
from common.training.epochs import train_epochs
from common.training.finite import expect_finite
from dataset import ptb, pydoc_topics
from dataset.corpus import expect_corpus


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script."""

    corpus: str = setting("pydoc", "pydoc, ptb or a text file")
    encoding: str = setting("utf-8", "of the text file")
    max_tokens: int = setting(50_000, "number of characters to read, from its beginning", cli.positive_int)
    hidden_size: int = setting(128, "H, size of the state", cli.positive_int)
    lr: float = setting(0.1, "learning rate of SGD, for each character", cli.positive_float)
    epochs: int = setting(10, "times through the training part", cli.positive_int)
    time_size: int = setting(
        1, "T, characters in one update, and how many steps its gradient goes back", cli.positive_int)
    plain: bool = setting(
        False, "use the layers also if T is 1: slower, but easy to step through; a GPU always uses them")
    prompt: str | None = setting(None, "text to go on from (default: a full stop, or how the text begins)")
    length: int = setting(250, "characters to generate", cli.positive_int)
    temperature: float = setting(1.0, "of the generated text: below 1 favours likely characters", cli.positive_float)
    seed: int = setting(0, "of weights, states and the characters generated", cli.natural)


SMOKE = {"max_tokens": 2000, "hidden_size": 16, "epochs": 2}


def main(argv=None):
    """Train, evaluate and generate; returns the exit code."""
    return cli.run("python -m ch_rnn.char_rnnlm", _char_rnnlm, argv)


def _char_rnnlm(argv):
    settings = cli.SettingsParser("python -m ch_rnn.char_rnnlm",
                                  "Train Mikolov's network on the characters of a text, and let it write.",
                                  Settings, SMOKE).settings(argv)
    text = tokenize_characters(_read_text(settings.corpus, settings.encoding))[:settings.max_tokens]
    vocabulary = Vocabulary(sorted(set(text)))
    training, held_out = split(known_ids(vocabulary.encode(text)))
    prompt = settings.prompt
    if prompt is None:
        prompt = "." if "." in vocabulary else text[0]
    prompt_ids = _prompt_ids(prompt, vocabulary)  # (P,)

    model = MikolovRnnlm(vocabulary.size, settings.hidden_size, settings.seed)
    print(f"{settings.corpus}: {len(text):,} characters, {vocabulary.size} different, "
          f"{len(training):,} to train on, {len(held_out):,} held out; {model.count_params():,} parameters")
    print("epoch  training loss  seconds", flush=True)
    start = time.perf_counter()
    losses = train(model, training, settings.lr, settings.epochs, settings.time_size, settings.plain)
    for epoch, loss in enumerate(losses, start=1):
        now = time.perf_counter()
        print(f"{epoch:5}  {loss:13.4f}  {now - start:7.1f}", flush=True)
        start = now
    print(f"loss with the weights fixed: {mean_loss(model, training):.4f} on the training part "
          f"(the tutorial's \"test\" loss), {mean_loss(model, held_out):.4f} on the held-out part\n")
    ids = generate(model, prompt_ids, settings.length, settings.temperature)[0]  # (length,)
    print(prompt + "".join(vocabulary.decode(ids)))


def _read_text(name, encoding):
    if name == "pydoc":
        return pydoc_topics.load_text("train")
    if name == "ptb":
        return ptb.read_text("train")
    expect_corpus(name)
    return read_text_file(name, encoding)


def _prompt_ids(prompt, vocabulary):
    if not prompt:
        raise InputError("the prompt is empty: give at least one character to go on from")
    return vocabulary.encode_known(tokenize_characters(clean_text(prompt)), "the prompt")


def split(ids):
    """Return the first 90 percent of ids (n,), to train on, and the rest, to hold out.

    Raises
    ------
    InputError
        Fewer than 2 ids, one to predict from and one to predict, would be held out.
    """
    cut = len(ids) * 9 // 10
    if len(ids) - cut < 2:
        raise InputError(f"the text has {len(ids)} characters: at least 11 are needed, so that 2 are held out")
    return ids[:cut], ids[cut:]


def train(model, ids, lr, epochs, time_size=1, plain=False):
    """Train along a text, each epoch from a state of small random numbers, and yield the mean loss of each epoch.

    Parameters
    ----------
    model : MikolovRnnlm
    ids : ndarray of int (n,), or Ids
    lr : float
        Each character's gradient counts this much, also where T of them make one update.
    epochs : int
    time_size : int
        T.
    plain : bool
        Whether to go through the layers even where T is 1, rather than through `train_online`; a GPU always does.

    Yields
    ------
    float
        Mean cross entropy, in nats, of the n - 1 predictions, each before the update that it led to.

    Raises
    ------
    InputError
        It is not finite.
    """
    if time_size > 1 or plain or np.backend != "numpy":
        optimizer = SGD()

        def before_update(loss, characters):
            optimizer.lr = lr * characters  # the loss is the mean of these

        yield from train_epochs(model, optimizer, TextChunks(model, ids, time_size), epochs,
                                before_update=before_update)
    else:
        for epoch in range(1, epochs + 1):
            model.draw_state()
            loss = float(train_online(model, ids[:-1], ids[1:], lr).mean())
            yield expect_finite(loss, f"the loss of epoch {epoch}")


class TextChunks:
    """A text as one strip, T characters at a time, the last batch of what is left; each epoch begins a state anew.

    Parameters
    ----------
    model : MikolovRnnlm
        Its state is drawn at the start of each epoch.
    ids : ndarray of int (n,), or Ids
    time_size : int
        T.
    """

    def __init__(self, model, ids, time_size):
        self.model, self.xs, self.ts, self.time_size = model, ids[:-1], ids[1:], time_size

    def __iter__(self):
        self.model.draw_state()
        for start in range(0, len(self.xs), self.time_size):
            steps = slice(start, start + self.time_size)
            yield self.xs[None, steps], self.ts[None, steps]  # (1, T), (1, T)


def mean_loss(model, ids):
    """Return the mean cross entropy, in nats, of ids (n,) read from a state of zeros; nothing is learnt from them."""
    return math.log(perplexity(model, ids))


if __name__ == "__main__":
    sys.exit(main())

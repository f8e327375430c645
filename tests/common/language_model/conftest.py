import functools

import pytest

from common import plots
from dataset import corpus


@pytest.fixture(autouse=True, scope="module")
def built_in_text_cut_once():
    """Keep what the built-in text is cut into: each of some hundred trainings and evaluations reads the same one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("lines", "characters"):
            patch.setitem(corpus.TOKENIZERS, name, _keeping(corpus.TOKENIZERS[name]))
        patch.setattr(corpus, "languages_without_spaces", _keeping(corpus.languages_without_spaces))
        yield


def _keeping(function):
    """Let a function of a text to a list keep what it returned for some texts; each call gets a list of its own."""
    kept = functools.lru_cache(maxsize=9)(lambda text: tuple(function(text)))
    return functools.wraps(function)(lambda text: list(kept(text)))


@pytest.fixture
def pictures():
    """For a test whose runs draw their pictures."""


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Elsewhere they draw none: a picture takes as long as some epochs of these small models."""
    if "pictures" not in request.fixturenames:
        for name in "save_history", "save_health":
            monkeypatch.setattr(plots, name, lambda *_: None)

import itertools
import shlex

import ideas
import pytest

import ch_lstm.train
from common.language_model import commands


class Noted(Exception):
    """The settings that a command line has made."""


@pytest.fixture
def settings_of(monkeypatch):
    """Return the settings of a training by its flags, without a text or a model."""
    def note(settings, was_there):
        raise Noted(settings)

    def settings_of(flags):
        with pytest.raises(Noted) as noted:
            ch_lstm.train.main([*shlex.split(flags), "--minutes", "30", "--seed", "0"])
        return noted.value.args[0]

    monkeypatch.setattr(commands, "corpus_of", note)
    return settings_of


def test_each_step_of_the_ladder_is_another_training_and_the_last_is_the_recipe(settings_of):
    steps = [settings_of(flags) for flags in ideas.ladder_runs().values()]
    assert all(a != b for a, b in itertools.pairwise(steps))
    assert steps[-1] == settings_of(ideas.RECIPE)


def test_each_change_of_the_recipe_is_another_training(settings_of):
    recipe, *changed = [settings_of(flags) for flags in ideas.ablation_runs().values()]
    assert recipe == settings_of(ideas.RECIPE)
    assert all(settings != recipe for settings in changed) and len({*map(repr, changed)}) == len(changed)


def test_the_folders_of_the_runs_have_names_of_their_own():
    for own_flags, _ in ideas.KINDS.values():
        assert len({*map(ideas.name_of, own_flags)}) == len(own_flags)

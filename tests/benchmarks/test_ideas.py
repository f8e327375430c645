import concurrent.futures
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
    for _, own_flags, _ in ideas.KINDS.values():
        assert len({*map(ideas.name_of, own_flags)}) == len(own_flags)


def test_the_table_has_what_is_done_with_its_best_epoch(tmp_path):
    folder = tmp_path / ideas.name_of("locked dropout 0.25")
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "history.csv").write_text("epoch,valid_perplexity\n1,200.5\n2,90.25\n3,91.0\n")
    (folder / "log.txt").write_text("epoch 1: ...\nprocessor seconds: 60.0\n")
    steps = {"locked dropout 0.25": "--dropout 0.25", "not begun": ""}
    assert len(ideas.table("step", steps, tmp_path)) == 2
    with (folder / "log.txt").open("a") as log:
        log.write("test perplexity 1.5e+03 (5.8% <unk>)\nprocessor seconds: 30.0\n")
    heading, _, row = ideas.table("step", steps, tmp_path)
    assert heading.startswith("| step | validation")
    assert row == "| locked dropout 0.25 | 90.2 | 1500.0 | 3 | 1.5 | `--dropout 0.25` |"


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_run_begins_with_its_flags_and_goes_on_from_its_checkpoint(tmp_path, monkeypatch, is_begun):
    folder = tmp_path / "step"
    if is_begun:
        (folder / "run").mkdir(parents=True)
        (folder / "run" / "last.npz").touch()
    monkeypatch.setattr(ideas.sys, "executable", "echo")
    core = min(ideas.os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the thread keeps to the core
        assert pool.submit(ideas.train, folder, "--recipe laptop", 30.0, 7, core).result() == 0
    asked = "--resume" if is_begun else "--recipe laptop --minutes 30.0 --seed 7"
    _, echoed, seconds = (folder / "log.txt").read_text().splitlines()
    assert echoed == f"-m ch_lstm.train {asked} --out {folder / 'run'}" and seconds.startswith("processor seconds: ")

import argparse
import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from common import cli
from common.cli import setting
from common.errors import InputError
from common.np import np


@dataclasses.dataclass(frozen=True)
class Baking(cli.Settings):
    """Settings of a script that bakes."""

    cake: str = setting(cli.REQUIRED, "what to bake", choices=("sponge", "tart"))
    eggs: int = setting(3, "to beat, 100% fresh", cli.positive_int)
    heat: float = setting(0.5, "share of the oven's", cli.ratio)
    limit: float | None = setting(2.0, "most sugar", cli.positive_float, optional=True)
    fruits: tuple = setting((), "on top", many=True)
    glaze: bool = setting(False, "make it shine", one_of="finish")
    powder: bool = setting(False, "make it white", one_of="finish")
    made: int = setting(0, "counted by the script", cli.natural, flag=False)
    note: str | None = setting(None, "for the guests")
    book: Path | None = setting(None, "of recipes", Path, positional=True)


PRESETS = {"plain": {"cake": "sponge"}, "rich": {"cake": "tart", "eggs": 6, "limit": None}}


def parser(**options):
    return cli.SettingsParser("bake", "Bakes.", Baking, **{"presets": PRESETS, "chosen_by": "recipe"} | options)


def with_recipes():
    made = parser(smoke={"eggs": 1, "heat": 0.25})
    made.add_argument("--recipe", choices=PRESETS)
    return made


@pytest.mark.parametrize("line, changes", [
    ("", {}),
    ("--eggs 4", {"eggs": 4}),
    ("--heat 0.75 --fruits pear fig", {"heat": 0.75, "fruits": ["pear", "fig"]}),
    ("--glaze --note hot", {"glaze": True, "note": "hot"}),
    ("some/book", {"book": Path("some/book")}),
    ("--recipe rich", PRESETS["rich"]),
    ("--recipe rich --eggs 2 --cake sponge", {"eggs": 2, "limit": None}),
    ("--smoke", {"eggs": 1, "heat": 0.25}),
    ("--smoke --recipe rich --heat 0.125", {"cake": "tart", "limit": None, "eggs": 1, "heat": 0.125}),
    ("--limit none --note none", {"limit": None, "note": "none"}),
])
def test_what_is_given_comes_before_smoke_the_preset_and_the_defaults(line, changes):
    assert with_recipes().settings(line.split()) == Baking(**{"cake": "sponge"} | changes)


def test_what_is_no_setting_is_given_too_but_left_out_of_the_settings():
    made = with_recipes()
    made.add_argument("--out")
    given = made.given(["--out", "here", "--eggs", "9"])
    assert given == {"out": "here", "eggs": 9}
    assert made.fill(given) == Baking("sponge", eggs=9)


def test_a_switch_that_a_preset_turns_on_can_be_turned_off():
    made = parser(presets={"plain": {"cake": "sponge"}, "shiny": {"cake": "tart", "glaze": True}})
    made.add_argument("--recipe")
    assert made.settings(["--recipe", "shiny"]) == Baking("tart", glaze=True)
    assert made.settings(["--recipe", "shiny", "--no-glaze"]) == Baking("tart")
    assert "--glaze, --no-glaze make it shine" in " ".join(made.format_help().split())
    with pytest.raises(InputError, match="unrecognized arguments: --no-powder"):  # no preset has it
        made.given(["--no-powder"])


@pytest.mark.parametrize("name, value, line", [
    ("time_size", 35, "--time-size 35"), ("max_grad", None, "--max-grad none"), ("tied", True, "--tied"),
    ("unigram_bias", False, "--no-unigram-bias")])
def test_a_setting_as_its_flag(name, value, line):
    assert cli.flag_of(name, value) == line


def test_a_command_line_chooses_the_device(monkeypatch):
    used = []
    monkeypatch.setattr(np, "use", used.append)
    for line in ([], ["--device", "gpu"]):
        parser().given(line)
    assert used == ["numpy", "cupy"]


@pytest.mark.parametrize("line, message", [
    ("--eggs 0", "argument --eggs: '0' is not a whole number from 1 to 10^9"),
    ("--cake bread", "argument --cake: invalid choice: 'bread'"),
    ("--glaze --powder", "argument --powder: not allowed with argument --glaze"),
    ("--made 3", "unrecognized arguments: --made"),
    ("one two", "unrecognized arguments: two"),
])
def test_wrong_flags(line, message):
    with pytest.raises(InputError, match=message.replace("^", r"\^")):
        parser().given(line.split())


@pytest.mark.parametrize("line, message", [
    ("--eggs=--", "argument --eggs: '--' is not a whole number from 1 to 10^9"),
    ("--eg=--", "argument --eggs: '--' is not a whole number from 1 to 10^9"),
    ("--heat=--", "argument --heat: '--' is not a number in [0, 1)"),
    ("--heat=", "argument --heat: '' is not a number in [0, 1)"),
    ("--cake=--", "argument --cake: invalid choice: '--'"),
    ("--glaze=--", "argument --glaze: ignored explicit argument '--'"),
    ("--note --", "argument --note: expected one argument"),
    ("--fruits -- pear", "argument --fruits: expected at least one argument"),
])
def test_two_dashes_are_no_value_of_a_flag_that_takes_other_ones(line, message):
    with pytest.raises(InputError) as raised:
        parser().given(line.split())
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("line, given", [
    ("--note=--", {"note": "--"}), ("--no=--", {"note": "--"}), ("--note=", {"note": ""}),
    ("--fruits=--", {"fruits": ["--"]}), ("--fruits fig -- --", {"fruits": ["fig"], "book": Path("--")}),
    ("-- --", {"book": Path("--")}), ("-- book", {"book": Path("book")}), ("-- --note", {"book": Path("--note")}),
])
def test_two_dashes_as_a_text_and_as_the_mark_behind_which_no_flags_come(line, given):
    assert parser().given(line.split()) == given


@pytest.mark.parametrize("argv", [["--note", "a\0b"], ["\ud800"], ["--fruits", "fig", "\0"]])
def test_a_text_that_no_shell_can_give(argv):
    with pytest.raises(InputError, match=r"has a character that no argument can have \(see --help\)$"):
        parser().given(argv)
    assert parser().given(["--note", "\udcff\u00e9"]) == {"note": "\udcff\u00e9"}  # bytes that are no UTF-8


def test_two_dashes_among_several_arguments():
    inviting = cli.SettingsParser("invite", "Invites.", Inviting)
    for line, guests in {"--": [], "Ann -- --seed": ["Ann", "--seed"], "-- Ann --": ["Ann", "--"]}.items():
        assert inviting.settings(line.split()).guests == guests


def test_what_has_no_default_must_be_given_where_no_preset_has_it():
    with pytest.raises(InputError, match="the following arguments are required: --cake"):
        cli.SettingsParser("bake", "Bakes.", Baking).given([])
    with pytest.raises(InputError, match="cake"):
        parser(presets=None, choices={"cake": ["tart"]}).given([])
    assert parser(presets={"plain": {"cake": "sponge"}, "rich": {"eggs": 6}}).settings([]).cake == "sponge"


def test_choices_that_a_class_does_not_know_are_those_of_its_flag():
    with pytest.raises(InputError, match="invalid choice: 'sponge'"):
        parser(choices={"cake": ["tart"]}).given(["--cake", "sponge"])


def test_help_has_every_default_that_there_is_and_those_of_each_preset():
    printed = " ".join(with_recipes().format_help().split())
    for words in ("what to bake (default: sponge for plain, tart for rich)",
                  "to beat, 100% fresh (default: 3 for plain, 6 for rich)", "share of the oven's (default: 0.5)",
                  "most sugar, or none (default: 2.0 for plain, none for rich)",
                  "make it shine --powder make it white --note", "--note NOTE for the guests", "book of recipes",
                  "on top --glaze", "--smoke a tiny run"):
        assert words in printed, words
    assert "counted" not in printed
    several = {"a": {"eggs": 1}, "b": {}, "c": {"eggs": 1}}
    printed = " ".join(parser(presets=several).format_help().split())
    assert "100% fresh (default: 1 for a and c, 3 for b)" in printed and "--smoke" not in printed


def test_help_adds_what_presets_change_of_a_default_that_the_text_says():
    presets = {"one": {"cake": "tart"}, "two": {"sugar": 0.0}, "three": {"sugar": 0.5, "honey": True}, "four": {}}
    printed = " ".join(cli.SettingsParser("sweeten", "", Sweetening, presets=presets).format_help().split())
    assert "in spoons, or none (default: as many as guests; 0.0 for two, 0.5 for three)" in printed
    assert "--honey, --no-honey instead (default: on for three)" in printed
    printed = " ".join(cli.SettingsParser("sweeten", "", Sweetening).format_help().split())
    assert "in spoons (default: as many as guests)" in printed and "--honey instead" in printed


def test_flags_that_were_not_given_are_absent_from_what_any_parser_parses():
    plain = argparse.ArgumentParser()
    cli.add_settings(plain, Baking, PRESETS)
    assert vars(plain.parse_args(["--eggs", "2"])) == {"eggs": 2, "book": None}


@dataclasses.dataclass(frozen=True)
class Sweetening(cli.Settings):
    """Settings of a script that sweetens."""

    sugar: float | None = setting(None, "in spoons (default: as many as guests)", cli.not_negative)
    honey: bool = setting(False, "instead")


@dataclasses.dataclass(frozen=True)
class Tasting(cli.Settings):
    """Settings of a script that takes several cakes, one at least."""

    cakes: tuple = setting(cli.REQUIRED, "to taste", many=True, positional=True, metavar="CAKE")


@dataclasses.dataclass(frozen=True)
class Inviting(cli.Settings):
    """Settings of a script that takes any number of guests."""

    guests: tuple = setting((), "who comes", many=True, positional=True)


@dataclasses.dataclass(frozen=True)
class Washing(cli.Settings):
    """Settings of a script that takes one dish."""

    dish: str = setting(cli.REQUIRED, "to wash", positional=True)


def test_an_argument_without_a_default_must_be_given():
    made = cli.SettingsParser("wash", "Washes.", Washing)
    assert made.settings(["bowl"]) == Washing("bowl")
    with pytest.raises(InputError, match="the following arguments are required: dish"):
        made.settings([])


def test_an_argument_may_be_several():
    tasting, inviting = (cli.SettingsParser("prog", "", kind) for kind in (Tasting, Inviting))
    assert tasting.settings(["pie", "roll"]) == Tasting(["pie", "roll"])
    with pytest.raises(InputError, match="the following arguments are required: CAKE"):
        tasting.settings([])
    assert "CAKE" in tasting.format_help() and "cakes" not in tasting.format_help()
    assert inviting.settings(["Ann", "Bo"]).guests == ["Ann", "Bo"]
    assert list(inviting.settings([]).guests) == []


@dataclasses.dataclass(frozen=True)
class Brewing(cli.Settings):
    """Settings of a script whose drink chooses the rest."""

    drink: str = setting("tea", "what to brew", choices=("tea", "coffee"))
    minutes: int = setting(3, "how long", cli.positive_int)


def test_a_setting_can_choose_the_preset():
    made = cli.SettingsParser("brew", "Brews.", Brewing, presets={"tea": {}, "coffee": {"minutes": 5}},
                              chosen_by="drink")
    printed = " ".join(made.format_help().split())
    assert "what to brew (default: tea)" in printed and "how long (default: 3 for tea, 5 for coffee)" in printed
    assert made.settings([]) == Brewing() and made.settings(["--drink", "coffee"]) == Brewing("coffee", 5)


@pytest.mark.parametrize("name, value, wanted", [
    ("cake", "bread", "one of sponge, tart"), ("cake", None, "one of"), ("cake", ["tart"], "one of"),
    ("eggs", 0, "a whole number from 1"), ("eggs", True, "a whole number"), ("eggs", 2.0, "a whole number"),
    ("eggs", None, "a whole number"), ("eggs", "3", "a whole number"),
    ("heat", 1, "a number in [0, 1)"), ("heat", math.nan, "a number"), ("heat", False, "a number"),
    ("limit", -1.0, "a number above 0"), ("fruits", "pear", "a list"), ("fruits", ["pear", 3], "a text"),
    ("glaze", 1, "true or false"), ("glaze", None, "true or false"), ("note", 3, "a text"),
])
def test_a_value_that_a_setting_does_not_take(name, value, wanted):
    with pytest.raises(InputError) as raised:
        Baking(**{"cake": "tart"} | {name: value})
    assert str(raised.value).startswith(f"{name} is ") and f", wanted {wanted}" in str(raised.value)


@pytest.mark.parametrize("name, value", [
    ("limit", None), ("note", None), ("fruits", []), ("fruits", ["fig"]), ("heat", 0.0), ("made", 0)])
def test_values_that_are_taken(name, value):
    assert getattr(Baking("tart", **{name: value}), name) == value


def test_a_whole_number_serves_for_any_number():
    assert type(Baking("tart", limit=3).limit) is float


# config.json


def written(folder, content):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_settings_are_read_as_they_were_saved(tmp_path):
    settings = Baking("tart", eggs=5, fruits=["fig"], limit=None, made=2)
    cli.save_settings(tmp_path, settings, "bakery.bake")
    assert cli.read_settings(tmp_path, Baking, "bakery.bake") == settings
    lines = (tmp_path / "config.json").read_text().splitlines()
    assert lines[:4] == ["{", '  "script": "bakery.bake",', '  "cake": "tart",', '  "eggs": 5,']


def test_a_setting_that_a_run_has_not_recorded_has_its_default(tmp_path):
    run = written(tmp_path / "run", {"script": "bakery.bake", "cake": "tart", "heat": 0})
    assert cli.read_settings(run, Baking, "bakery.bake") == Baking("tart", heat=0.0)


@pytest.mark.parametrize("content, message", [
    ("{", "run/config.json is damaged: its text is no JSON"),
    ([1], "run/config.json is damaged: it does not hold"),
    ({"cake": "tart"}, "run/config.json is damaged: it does not hold"),  # nothing says whose it is
    ({"script": 3, "cake": "tart"}, "run/config.json is damaged: it does not hold"),
    ({"script": "bakery.bake"}, "run/config.json is damaged: it lacks 'cake'"),
    ({"script": "bakery.bake", "cake": "bread"}, "run/config.json is damaged: cake is 'bread', wanted one of sponge"),
    ({"script": "bakery.bake", "cake": "tart", "salt": 1},
     "run/config.json has 'salt', which is no setting of bakery.bake: it is damaged, or of a newer version"),
    ({"script": "bakery.brew", "cake": "tart"}, "run is a run of bakery.brew, wanted one of bakery.bake"),
])
def test_a_config_that_is_none_of_this_script(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(Path("run"), content)
    with pytest.raises(InputError, match=f"^{message}"):
        cli.read_settings(Path("run"), Baking, "bakery.bake")


def test_the_newest_run_is_the_one_that_was_written_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(InputError, match=r"^there is no run of bakery.bake under runs/: train one first, or give the"):
        cli.newest_run("bakery.bake")
    for age, (name, content) in enumerate({
        "broken": "{", "list": [1], "brewed": {"script": "bakery.brew"}, "b": {"script": "bakery.bake", "eggs": 2},
        "a": {"script": "bakery.bake", "eggs": 1}, "c": {"script": "bakery.bake", "eggs": 1},
    }.items()):
        os.utime(written(Path("runs") / name, content) / "config.json", (1e9 - age, 1e9 - age))
    assert cli.newest_run("bakery.bake") == Path("runs/b")
    assert cli.newest_run("bakery.bake", eggs=1) == Path("runs/a")
    with pytest.raises(InputError, match=r"^there is no run of bakery.bake with eggs 3 under runs/: "):
        cli.newest_run("bakery.bake", eggs=3)

"""The settings of a command as one frozen dataclass: its flags, defaults, help texts and config.json come from it."""
import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common.cli.command import Number, Parser, add_device, use_device
from common.errors import InputError
from common.files.atomic import replacing
from common.files.json_text import brief, read_json

REQUIRED = dataclasses.MISSING  # the default of a setting without one


def setting(default: Any, help: str, kind: Callable[[str], Any] = str, choices: Iterable[str] | None = None,
            **shape: Any) -> Any:
    """Declare one setting, as a field of a subclass of `Settings`.

    Parameters
    ----------
    default : object
        None: the setting may be left open, a number also by --flag none. False: it is a switch, which --no-flag turns
        off where a preset turns it on. `REQUIRED`: there is none.
    help : str
        For --help, which adds the default.
    kind : {str, Path} or Number
        What turns the text of a flag into its value, and which values there are.
    choices : iterable of str, optional
        The values that there are.
    **shape
        many=True: a list of values. positional=True: no flag but an argument, which may be left out where there is a
        default. flag=False: set by the script, not by a flag. one_of="name": excludes the other flags of this group.
        metavar="NAME": what --help calls the value. optional=True: it may be left open, though that is not the default.
    """
    return dataclasses.field(default=default, metadata={"help": help, "kind": kind, "choices": choices} | shape)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a command: a subclass has a field, made by `setting`, for each thing.

    A whole number serves for a setting that takes any number.

    Raises
    ------
    InputError
        A value is none that its setting takes.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is int and getattr(field.metadata["kind"], "kind", None) is float:
                value = float(value) if abs(value) < 10**300 else math.inf
                object.__setattr__(self, field.name, value)
            wanted = _wanted_instead(field, value)
            if wanted:
                raise InputError(f"{field.name} is {brief(value)}, wanted {wanted}")


def _wanted_instead(field, value):
    """Return what a setting takes, in words, where it does not take a value; otherwise None."""
    default, kind, choices = field.default, field.metadata["kind"], field.metadata["choices"]
    if value is None and _may_be_left_open(field):
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if field.metadata.get("many"):
        if not isinstance(value, list | tuple):
            return "a list"
        faults = (_wanted_of_one(kind, choices, one) for one in value)
        return next(filter(None, faults), None)
    return _wanted_of_one(kind, choices, value)


def _may_be_left_open(field):
    return field.default is None or bool(field.metadata.get("optional"))


def _wanted_of_one(kind, choices, value):
    if choices is not None:
        return None if isinstance(value, str) and value in choices else f"one of {', '.join(choices)}"
    if isinstance(kind, type):
        return None if isinstance(value, kind) else "a text"
    return None if kind.accepts(value) else kind.wanted


class SettingsParser(Parser):
    """Reads the settings of a command from its flags, with --smoke and --device.

    Parameters
    ----------
    prog, description : str
    settings_class : type
        Subclass of `Settings`.
    smoke : dict, optional
        What --smoke, a tiny run, sets; without it there is no such flag.
    presets : dict of str to dict, optional
        Settings under a name, the first by default.
    chosen_by : str, optional
        The flag that names the preset, with underscores; a setting itself, or a flag added besides.
    choices : dict of str to iterable, optional
        Values of settings whose class does not know them.
    """

    def __init__(self, prog: str, description: str, settings_class: type[Settings],
                 smoke: dict[str, Any] | None = None, presets: dict[Any, dict[str, Any]] | None = None,
                 chosen_by: str | None = None, choices: dict[str, Iterable[str]] | None = None) -> None:
        super().__init__(prog=prog, description=description, argument_default=argparse.SUPPRESS)
        self.settings_class, self.smoke = settings_class, smoke or {}
        self.presets, self.chosen_by = presets or {None: {}}, chosen_by
        add_settings(self, settings_class, self.presets, choices)
        if smoke is not None:
            self.add_argument("--smoke", action="store_true",
                              help="a tiny run of a few seconds, to see that everything works")
        add_device(self)

    def given(self, argv: list[str]) -> dict[str, Any]:
        """Return what a command line sets, by name and without defaults; np is on its device then.

        Parameters
        ----------
        argv : list of str
        """
        given = vars(self.parse_args(argv))
        for action in self._get_positional_actions():  # the others are absent where they are not given
            if given[action.dest] is None:
                del given[action.dest]
        use_device(given.pop("device"))
        return given

    def preset(self, given: dict[Any, Any]) -> dict[str, Any]:
        """Return the preset that a command line chooses; parameters as for `fill`."""
        return self.presets[given.get(self.chosen_by, next(iter(self.presets)))]

    def fill(self, given: dict[Any, Any]) -> Any:
        """Return the settings of a command line: what is given, before what --smoke sets, the preset and the defaults.

        Parameters
        ----------
        given : dict
            As the method `given` returns it. What is no setting is left out.
        """
        values = self.preset(given) | (self.smoke if given.get("smoke") else {}) | given
        names = {field.name for field in dataclasses.fields(self.settings_class)}
        return self.settings_class(**{name: value for name, value in values.items() if name in names})

    def settings(self, argv: list[str]) -> Any:
        """Return the settings that a command line makes."""
        return self.fill(self.given(argv))


def add_settings(parser: argparse.ArgumentParser, settings_class: type[Settings],
                 presets: dict[Any, dict[str, Any]] | None = None,
                 choices: dict[str, Iterable[str]] | None = None) -> None:
    """Add a flag to a parser for each setting of a class; those that are not given are None or absent in the end.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    settings_class, presets, choices
        As for `SettingsParser`.
    """
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(settings_class):
        if not field.metadata.get("flag", True):
            continue
        group = field.metadata.get("one_of")
        owner: Any = parser
        if group is not None:
            owner = groups[group] = groups.get(group) or parser.add_mutually_exclusive_group()
        options = _argument(field, presets or {}, (choices or {}).get(field.name)) | {"help": _help(field, presets)}
        if field.metadata.get("positional"):
            owner.add_argument(field.name, default=None, **options)  # argparse would take SUPPRESS for a given text
        else:
            owner.add_argument(f"--{field.name.replace('_', '-')}", default=argparse.SUPPRESS, **options)


def _argument(field, presets, choices):
    """Return how argparse reads a setting."""
    shape = field.metadata
    required = field.default is REQUIRED and not any(field.name in preset for preset in presets.values())
    if isinstance(field.default, bool):
        is_on_somewhere = any(preset.get(field.name) for preset in presets.values())
        return {"action": argparse.BooleanOptionalAction if is_on_somewhere else "store_true"}
    choices = choices or shape["choices"]
    options: dict[str, Any] = {"choices": list(choices)} if choices else {"type": _reader(field)}
    if "metavar" in shape:
        options["metavar"] = shape["metavar"]
    if shape.get("positional"):
        if shape.get("many"):
            options["nargs"] = "+" if required else "*"
        elif not required:
            options["nargs"] = "?"
        return options
    if shape.get("many"):
        options["nargs"] = "+"
    return options | {"required": required}


def _reader(field):
    """Return what turns the text of a flag into its value: of a number that may be left open, "none" does so."""
    kind = field.metadata["kind"]
    return (lambda text: None if text == "none" else kind(text)) if _takes_none(field) else kind


def _takes_none(field):
    return isinstance(field.metadata["kind"], Number) and _may_be_left_open(field)


def _help(field, presets):
    """Return the help of a flag, with its default, or its default in each preset."""
    text, own = field.metadata["help"].replace("%", "%%"), ""
    if " (default: " in text:
        text, _, own = text.removesuffix(")").rpartition(" (default: ")
    of_presets: dict[str, list[str]] = {}  # value, in words -> names
    for name, preset in (presets or {None: {}}).items():
        of_presets.setdefault(_words(preset.get(field.name, field.default)), []).append(name)
    if own or isinstance(field.default, bool):  # then the text says what goes for the others
        of_presets.pop("", None)
    elif len(of_presets) == 1:
        own, of_presets = next(iter(of_presets)), {}
    if of_presets and _takes_none(field):
        text += ", or none"
    default = "; ".join(filter(None, [own, ", ".join(
        f"{value or 'none'} for {' and '.join(names)}" for value, names in of_presets.items())]))
    return f"{text} (default: {default})".strip() if default else text


def _words(value):
    """Return a default as --help shows it; a switch that is off and what is left open are not shown."""
    if value is None or value is False or value is REQUIRED:
        return ""
    if value is True:
        return "on"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def flag_of(name: str, value: Any) -> str:
    """Return the flag that gives a setting a value, as one writes it.

    Parameters
    ----------
    name : str
    value : object

    Returns
    -------
    str
        "--time-size 35", "--max-grad none", "--tied" or "--no-tied".
    """
    words = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{words}" if value else f"--no-{words}"
    return f"--{words} {'none' if value is None else value}"


# config.json


def save_settings(folder: Path, settings: Settings, script: str) -> None:
    """Write the settings of a run to its config.json.

    Parameters
    ----------
    folder : Path
    settings : Settings
    script : str
        What makes such runs, "ch_lstm.train".
    """
    with replacing(folder / "config.json") as file:
        json.dump({"script": script} | dataclasses.asdict(settings), file, indent=2)


def read_settings(folder: Path, settings_class: type[Settings], script: str) -> Any:
    """Read the settings of a run.

    A setting that is newer than the run has its default.

    Parameters
    ----------
    folder : Path
    settings_class : type
        Subclass of `Settings`.
    script : str
        What made the run.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        There is no run, it is another script's, or its config.json is damaged.
    """
    path = folder / "config.json"
    config = read_config(folder)
    made_by = _script_of(config)
    if made_by != script:
        raise InputError(f"{folder} is a run of {made_by}, wanted one of {script}")
    config.pop("script", None)
    fields = {field.name: field for field in dataclasses.fields(settings_class)}
    for name in config:
        if name not in fields:
            raise InputError(f"{path} has {brief(name)}, which is no setting of {script}: "
                             "it is damaged, or of a newer version")
    for name, field in fields.items():
        if field.default is REQUIRED and name not in config:
            raise InputError(f"{path} is damaged: it lacks {name!r}")
    try:
        return settings_class(**config)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Return what the config.json of a run holds.

    Raises
    ------
    InputError
        There is no run, or its config.json is damaged.
    """
    path = folder / "config.json"
    try:
        config = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no run in {folder}: {path} is missing") from None
    if _script_of(config) is None:
        raise InputError(f"{path} is damaged: it does not hold the settings of a run")
    return config


def _script_of(config):
    """Return the script whose run a config.json is of, or None where it is of none."""
    if not isinstance(config, dict):
        return None
    if isinstance(config.get("script"), str):
        return config["script"]
    # Older runs do not say it, but each kind has a setting of its own.
    if "classes" in config:
        return "ch_lstm.classify"
    if "model" in config:
        return "ch_rnn.train" if config["model"] == "simple" else "ch_lstm.train"
    return None


def newest_run(script: str, **wanted: Any) -> Path:
    """Return the folder under runs/ of the newest run of a script.

    Parameters
    ----------
    script : str
    **wanted
        Settings that it must have.

    Raises
    ------
    InputError
        There is none.
    """
    found = []
    for path in Path("runs").glob("*/config.json"):
        try:
            config = read_json(path)
        except (OSError, InputError):
            continue
        if _script_of(config) == script and all(config.get(name) == value for name, value in wanted.items()):
            found.append(path)
    if not found:
        with_these = "".join(f" with {name} {value}" for name, value in wanted.items())
        raise InputError(f"there is no run of {script}{with_these} under runs/: "
                         "train one first, or give the folder of a run")
    return max(found, key=lambda path: path.stat().st_mtime).parent

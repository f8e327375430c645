"""The rooms of the house: what imports what, computed from the source.

An arrow is an import, also one inside a function. That a module's package is imported before it is no arrow: the
`__init__` of a room may bring names from its own modules.
"""
import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = "common", "dataset", "ch_rnn", "ch_lstm"
# From the lowest to the highest; rooms of one line do not know each other.
ORDER = [
    ["ground"],
    ["device", "files"],
    ["layers", "text", "cli", "plots"],
    ["training", "fast", "dataset"],
    ["language_model", "gradients"],
    ["watch", "notebook"],
    ["ch_rnn", "ch_lstm"],
]
# What lies directly in common/ belongs to a room too.
AT_THE_DOOR = {
    "ground": ["config", "errors", "device_random", "np", "functions"],
    "layers": ["time_layers"],
    "plots": ["plots"],
    "training": ["optimizer", "trainer", "base_model"],
    "language_model": ["util"],
    "gradients": ["gradient_check"],
}
MOST_AT_THE_DOOR, MOST_ROOM_LEVELS, MOST_MODULE_LEVELS = 20, 7, 12


def modules(root=ROOT):
    """Return the file of each module by its name; a package goes by its own name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(files):
    """Return for each module the modules that it imports."""
    found = {}
    for name, path in files.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: import by the full name"
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= inner & files.keys() or {node.module}
        found[name] = {each for each in imported if each in files} - {name}
    return found


def levels(graph):
    """Return the level of each node, one more than the highest of those that it points to; a cycle raises."""
    level = {}
    for node in graphlib.TopologicalSorter(graph).static_order():
        level[node] = 1 + max((level[other] for other in graph[node]), default=0)
    return level


def room_of(module):
    package, _, rest = module.partition(".")
    first, _, inner = rest.partition(".")
    if package != "common":
        return package
    if inner or first in {room for line in ORDER for room in line} - {"plots"}:
        return first
    return next((room for room, names in AT_THE_DOOR.items() if first in names), "ground")


def arrows_of_rooms(graph):
    rooms = {}
    for module, imported in graph.items():
        rooms.setdefault(room_of(module), set()).update(map(room_of, imported))
    return {room: others - {room} for room, others in rooms.items()}


def upward(graph):
    """Return the imports that lead from a room to one that is not lower."""
    height = {room: i for i, line in enumerate(ORDER) for room in line}
    return [f"{module} -> {other}" for module, imported in graph.items() for other in sorted(imported)
            if room_of(module) != room_of(other) and height[room_of(module)] <= height[room_of(other)]]


def printed(level):
    return "\n".join(f"{k}: {', '.join(sorted(node for node in level if level[node] == k))}"
                     for k in range(1, max(level.values()) + 1))


GRAPH = arrows(modules())


def test_arrows_go_from_a_higher_room_to_a_lower_one():
    assert upward(GRAPH) == []


def test_rooms_lie_on_few_levels_without_a_cycle():
    level = levels(arrows_of_rooms(GRAPH))
    assert max(level.values()) <= MOST_ROOM_LEVELS, printed(level)


def test_modules_lie_on_few_levels_without_a_cycle():
    level = levels(GRAPH)
    assert max(level.values()) <= MOST_MODULE_LEVELS, printed(level)


def test_few_modules_lie_directly_in_common():
    at_the_door = [path.stem for path in (ROOT / "common").glob("*.py") if path.stem != "__init__"]
    assert len(at_the_door) <= MOST_AT_THE_DOOR
    assert sorted(at_the_door) == sorted(name for names in AT_THE_DOOR.values() for name in names)


def test_plain_layers_know_nothing_of_their_fast_forms_and_of_the_device_only_what_ids_and_formulas_need():
    for module, imported in GRAPH.items():
        if room_of(module) == "layers":
            assert not any(other.startswith("common.fast") for other in imported), module
    recurrent = {f"common.layers.{name}" for name in ("rnn", "lstm", "gru", "recurrent", "time", "packing")}
    of_device = {other for module in recurrent for other in GRAPH[module] if room_of(other) == "device"}
    assert of_device == {"common.device.elementwise"}


def test_a_chapter_imports_no_other_chapter():
    for module, imported in GRAPH.items():
        others = {"ch_rnn": "ch_lstm", "ch_lstm": "ch_rnn"}.get(room_of(module))
        assert not any(room_of(other) == others for other in imported), module


@pytest.mark.parametrize("room", [room for line in ORDER for room in line if (ROOT / "common" / room).is_dir()])
def test_a_room_says_in_three_lines_what_is_in_it_what_to_read_first_and_what_may_be_skipped(room):
    tree = ast.parse((ROOT / "common" / room / "__init__.py").read_text(encoding="utf-8"))
    title, blank, first, rest = ast.get_docstring(tree).split("\n")
    assert title.endswith(".") and not blank
    assert first.startswith("Read first: ") and rest.startswith(("May be skipped: ", "When you need them: "))
    name = first.removeprefix("Read first: ").split()[0].strip(".,;")
    assert (ROOT / "common" / room / f"{name}.py").exists()


def write(root, **sources):
    for name, source in sources.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return arrows(modules(root))


def test_an_arrow_to_a_higher_room_is_noticed(tmp_path):
    graph = write(tmp_path, common__layers__rnn="def late():\n    from common.fast import rnn\n", common__fast__rnn="",
                  common__fast__lstm="import common.layers.rnn\n")
    assert upward(graph) == ["common.layers.rnn -> common.fast.rnn"]


def test_a_cycle_is_noticed(tmp_path):
    graph = write(tmp_path, common__layers__rnn="import common.layers.gru\n",
                  common__layers__gru="def late():\n    from common.layers.rnn import RNN\n")
    with pytest.raises(graphlib.CycleError):
        levels(graph)


def test_levels_count_the_longest_way(tmp_path):
    graph = write(tmp_path, common__np="", common__layers__rnn="from common.np import np\n",
                  common__layers__gru="from common.layers import rnn\nfrom common.np import np\n")
    assert printed(levels(graph)) == "1: common.np\n2: common.layers.rnn\n3: common.layers.gru"

"""A function's own source, executed line by line, with every number that a line makes.

    result, lines = walk(LSTM(Wx, Wh, b).forward, x, h_prev, c_prev)
    print(lines[-1].names, lines[-1].formula, lines[-1].values)

The statements that run are those of the source file, so what is shown cannot differ from what is computed. That
takes straight-line code: assignments, expressions, `if` and `return`, as the step cells are written. Where a line calls
a function whose name ends in `_forward` or `_backward`, its lines are walked in its place.
"""
import ast
import functools
import inspect
import pathlib
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.np import Array, np


@dataclass(frozen=True)
class Line:
    """The names and values that one line of source computed.

    Attributes
    ----------
    names : tuple of str
        Of the arrays that it made or changed.
    formula : str
        The expression behind the `=`, as it stands in the source but without `out=`.
    text : str
        What the line does, such as `f = sigmoid(af)`, `y += b` or `db[:H] = da.sum(axis=0)`.
    values : tuple of ndarray
        One for each name, copies; all of an array that was changed in part.
    file : str
        Path of the source file in its package, such as layers/lstm.py: another lstm.py is in fast.
    number : int
        Of the line in that file.
    equations : str
        Numbers of the formulas in the docstring of that file, as the comment behind the line has them, such as (2).
    """

    names: tuple
    formula: str
    text: str
    values: tuple
    file: str
    number: int
    equations: str


def walk(function: Callable[..., Any], *args: Any, names: tuple[str | None, ...] = (),
         replace: dict[str, Array] | None = None) -> tuple[Any, list[Line]]:
    """Call a function of straight-line code and record its lines.

    Parameters
    ----------
    function : function or bound method
        Written with `def`.
    *args
        Positional arguments.
    names : tuple of str
        Of the results, where the function returns expressions.
    replace : dict of str to ndarray, optional
        For each of these names, of a parameter or of what a line makes: the value it gets instead, every time.
        The lines after it go on with that, which is how a numerical derivative is taken in the middle.

    Returns
    -------
    result
        What the function returned.
    lines : list of Line
        In the order in which they ran; those that make no floating array are left out.

    Raises
    ------
    ValueError
        The function is not written with `def`, or has a statement that is no assignment, expression, `if` or
        `return`; or nothing made a name of `replace`.
    TypeError
        The arguments do not fit the function.
    """
    walker = _Walker(replace or {})
    result = walker.call(function, args, names)
    unknown = walker.replace.keys() - walker.met
    if unknown:
        raise ValueError(f"walk: no line makes {', '.join(sorted(unknown))}, which is to be replaced")
    return result, walker.lines


_NOT_YET = object()  # no return statement was reached


class _Walker:
    def __init__(self, replace):
        self.replace = replace
        self.met = set()  # names that could be replaced
        self.lines = []

    def call(self, function, args, targets):
        """Run a function; `targets` are the names, or None, that its caller gives to the results."""
        source = _source(function)
        inputs = source.bind(function, args)
        scope = source.globals | {name: self.replaced(name, value) for name, value in inputs.items()}
        result = self.run(source.body, scope, source, targets)
        return None if result is _NOT_YET else result

    def run(self, statements, scope, source, targets):
        for statement in statements:
            if isinstance(statement, ast.Return):
                return self.results(statement.value, scope, source, targets)
            if isinstance(statement, ast.If):
                branch = statement.body if source.value(statement.test, scope) else statement.orelse
                result = self.run(branch, scope, source, targets)
                if result is not _NOT_YET:
                    return result
            elif isinstance(statement, ast.Assign):
                self.assign(statement, scope, source)
            elif isinstance(statement, ast.AugAssign):
                source.execute(statement, scope)
                self.record_changed(statement.target, statement, scope, source)
            elif isinstance(statement, ast.Expr):
                source.execute(statement, scope)
                for word in getattr(statement.value, "keywords", ()):
                    if word.arg == "out":
                        self.record_changed(word.value, statement, scope, source)
            else:
                raise ValueError(f"walk: line {statement.lineno} of {source.file} is no straight-line code")
        return _NOT_YET

    def results(self, value, scope, source, targets):
        """Evaluate what a function returns, recording expressions under the names of its caller."""
        if value is None:
            return None
        if not isinstance(value, ast.Tuple):
            return self.evaluate(value, scope, source, targets[:1])
        returned = []
        for element in value.elts:
            if isinstance(element, ast.Starred):
                returned.extend(source.value(element.value, scope))
            else:
                named = () if isinstance(element, ast.Name) else targets[len(returned):len(returned) + 1]
                returned.append(self.evaluate(element, scope, source, named))
        return tuple(returned)

    def assign(self, statement, scope, source):
        *others, target = statement.targets
        names = _names(target)
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple) and names:
            results = [self.evaluate(value, scope, source, (name,))
                       for name, value in zip(names, statement.value.elts, strict=True)]
        else:
            results = self.evaluate(statement.value, scope, source, names)
        for each in (target, *others):
            source.store(each, self.replaced_all(_names(each), results, isinstance(each, ast.Tuple)), scope)
            if isinstance(each, ast.Subscript):
                self.record_changed(each, statement, scope, source)

    def evaluate(self, value, scope, source, names):
        """Return an expression's value; a call of a formula's function is walked, all else is one line."""
        called = source.value(value.func, scope) if isinstance(value, ast.Call) and _is_plain(value.func) else None
        if getattr(called, "__name__", "").endswith(("_forward", "_backward")) and not value.keywords:
            return self.descend(called, value.args, scope, source, names)
        result = source.value(value, scope)
        if _computes_nothing(value):
            return result
        result = self.replaced_all(names, result, len(names) > 1)
        if names and None not in names:
            text = _text(value)
            values = result if len(names) > 1 else (result,)
            if text != "self.recall()":  # which makes nothing: it returns what forward kept
                self.record(names, text, f"{', '.join(names)} = {text}", values, value.lineno, source)
        return result

    def descend(self, function, arguments, scope, source, targets):
        parameters = iter(_source(function).parameters)
        args: list[Any] = []
        for argument in arguments:
            starred = isinstance(argument, ast.Starred)
            value = argument.value if starred else argument
            values = source.value(value, scope) if starred else (source.value(value, scope),)
            names = tuple(next(parameters) for _ in values)
            values = tuple(map(self.replaced, names, values))
            if not isinstance(value, ast.Name):
                text = _text(value)
                self.record(names, text, f"{', '.join(names)} = {text}", values, value.lineno, source)
            args.extend(values)
        return self.call(function, args, targets)

    def record_changed(self, target, statement, scope, source):
        """Record what a statement wrote into an array: `out=a`, `a[...] =`, `a +=`."""
        name = _root(target)
        if name is None:
            return
        scope[name] = self.replaced(name, scope[name])
        if isinstance(statement, ast.AugAssign):
            formula, text = _text(statement.value), _text(statement)
        else:
            value = _without_out(statement.value) if isinstance(statement, ast.Expr) else statement.value
            whole = isinstance(target, ast.Name) or _text(target) == f"{name}[...]"
            formula = _text(value)
            text = f"{name if whole else _text(target)} = {formula}"
        self.record((name,), formula, text, (scope[name],), statement.lineno, source)

    def replaced_all(self, names, results, several):
        """Return the results with those replaced whose names are to be."""
        if not several:
            return self.replaced(names[0], results) if names else results
        if not names:
            return results
        return type(results)(map(self.replaced, names, results)) if isinstance(results, (list, tuple)) else results

    def replaced(self, name, value):
        """Return what the array of this name is to be: a copy, since lines may write into it."""
        self.met.add(name)
        return np.array(self.replace[name]) if name in self.replace else value

    def record(self, names, formula, text, values, number, source):
        if all(getattr(value, "dtype", None) is not None and value.dtype.kind == "f" for value in values):
            self.lines.append(Line(tuple(names), formula, text, tuple(np.array(value) for value in values),
                                   source.file, number, source.equations[number]))


class _Source:
    """The statements of a function, and how to run each."""

    def __init__(self, function):
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (TypeError, OSError, SyntaxError):
            tree = ast.Module([], [])
        definition = tree.body[0] if tree.body else None
        if not (inspect.isfunction(function) and isinstance(definition, ast.FunctionDef)):
            raise ValueError(f"walk: {function!r} is not a function written with def")
        ast.increment_lineno(tree, first - 1)
        self.path = str(inspect.getsourcefile(function))
        self.file = _path_in_package(pathlib.Path(self.path))
        self.signature = inspect.signature(function)
        self.parameters = list(self.signature.parameters)
        self.globals = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
        self.equations = {first + k: " ".join(re.findall(r"\(\d'?\)", line.partition("#")[2]))
                          for k, line in enumerate(lines)}
        self.code = {}
        self.body = definition.body[1:] if ast.get_docstring(definition) else definition.body

    def bind(self, function, args):
        """Return the arguments of a call by the names of the parameters."""
        bound = self.signature.bind(*((function.__self__, *args) if inspect.ismethod(function) else args))
        bound.apply_defaults()
        return bound.arguments

    def value(self, expression, scope):
        return eval(self.compiled(expression, ast.Expression(expression), "eval"), scope)

    def execute(self, statement, scope):
        exec(self.compiled(statement, ast.Module([statement], []), "exec"), scope)

    def compiled(self, node, tree, mode):
        if node not in self.code:
            self.code[node] = compile(tree, self.path, mode)
        return self.code[node]

    def store(self, target, value, scope):
        """Assign a value to a target as the source has it: a name, several, or places in an array."""
        if isinstance(target, ast.Name):
            scope[target.id] = value
        else:
            scope["__value"] = value
            self.execute(_assignment(target), scope)
            del scope["__value"]


@functools.cache
def _source_of(function):
    return _Source(function)


def _source(function):
    return _source_of(inspect.unwrap(getattr(function, "__func__", function)))


def _names(target):
    """Return the name of each place in the target of an assignment, None for a place without; () if one is starred."""
    targets = target.elts if isinstance(target, ast.Tuple) else [target]
    if any(isinstance(each, ast.Starred) for each in targets):
        return ()
    return tuple(each.id if isinstance(each, ast.Name) else None for each in targets)


def _computes_nothing(expression):
    """Whether an expression is what is there: a name, an attribute, or items of one, such as `self.params[:3]`."""
    if isinstance(expression, ast.Subscript) and isinstance(expression.slice, ast.Slice):
        return isinstance(expression.value, ast.Attribute)
    return isinstance(expression, (ast.Name, ast.Attribute))


def _is_plain(function):
    """Whether looking a function up runs nothing: a name, or attributes of one."""
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name)


def _root(expression):
    """Return the name of the array that an expression such as `dW[:, :H]` is a part of, or None."""
    while isinstance(expression, (ast.Subscript, ast.Attribute)):
        expression = expression.value
    return expression.id if isinstance(expression, ast.Name) else None


# The same node of a source gives the same result each time.


@functools.cache
def _text(node):
    return ast.unparse(node)


@functools.cache
def _without_out(call):
    words = [word for word in call.keywords if word.arg != "out"]
    return ast.Call(call.func, call.args, words)


@functools.cache
def _assignment(target):
    assignment = ast.Assign([target], ast.Name("__value", ast.Load()))
    return ast.copy_location(ast.fix_missing_locations(assignment), target)


def _path_in_package(path):
    """Return the path of a source file from the folder of its outermost package on; its name where it is in none."""
    parts = [path.name]
    for folder in path.parents:
        if not (folder.parent / "__init__.py").exists():
            return "/".join(parts)
        parts.insert(0, folder.name)

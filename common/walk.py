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
from dataclasses import dataclass

from common.np import np


@dataclass(frozen=True)
class Line:
    """What one line of source computed.

    Attributes
    ----------
    names : tuple of str
        Of the arrays that it made.
    formula : str
        The expression as it stands in the source, without `out=`; where a line changes an array, all of it, as
        `y += b`.
    values : tuple of ndarray
        One for each name; copies.
    file : str
        Name of the source file, such as lstm.py.
    number : int
        Of the line in that file.
    equations : str
        Numbers of the formulas in the docstring of that file, as the comment behind the line has them, such as (2).
    """

    names: tuple
    formula: str
    values: tuple
    file: str
    number: int
    equations: str

    @property
    def text(self):
        """What the line does, as `f = sigmoid(af)` or `y += b`."""
        return self.formula if "= " in self.formula else f"{', '.join(self.names)} = {self.formula}"


def walk(function, *args, names=(), replace=None):
    """Call a function of straight-line code and record its lines.

    Parameters
    ----------
    function : function or bound method
    *args
        Positional arguments.
    names : tuple of str
        Of the results, where the function returns expressions.
    replace : dict of str to ndarray, optional
        For each of these names: the value it gets instead of the computed one, whenever a line makes it.
        The lines after it go on with that, which is how a numerical derivative is taken in the middle.

    Returns
    -------
    result
        What the function returned.
    lines : list of Line
        In the order in which they ran; those that make no array are left out.

    Raises
    ------
    ValueError
        The function has a statement that is no assignment, expression, `if` or `return`.
    """
    walker = _Walker(replace or {})
    return walker.call(function, args, names), walker.lines


class _Walker:
    def __init__(self, replace):
        self.replace = replace
        self.lines = []

    def call(self, function, args, targets):
        """Run a function; `targets` are the names that its caller gives to the results."""
        source = _source(function)
        if inspect.ismethod(function):
            args = function.__self__, *args
        scope = source.defaults | dict(zip(source.parameters, args))
        return self.run(source.body, scope, source, targets)

    def run(self, statements, scope, source, targets):
        for statement in statements:
            if isinstance(statement, ast.Return):
                return self.results(statement.value, scope, source, targets)
            if isinstance(statement, ast.If):
                branch = statement.body if source.value(statement.test, scope) else statement.orelse
                result = self.run(branch, scope, source, targets)
                if result is not None:
                    return result
            elif isinstance(statement, ast.Assign):
                self.assign(statement, scope, source)
            elif isinstance(statement, (ast.AugAssign, ast.Expr)):
                source.execute(statement, scope)
                self.record_in_place(statement, scope, source)
            else:
                raise ValueError(f"walk: line {statement.lineno} of {source.file} is no straight-line code")
        return None

    def results(self, value, scope, source, targets):
        """Evaluate what a function returns, recording expressions under the names of its caller."""
        if not isinstance(value, ast.Tuple):
            return self.evaluate(value, scope, source, targets[:1])
        return tuple(
            self.evaluate(element, scope, source, () if isinstance(element, ast.Name) else targets[k:k + 1])
            for k, element in enumerate(value.elts))

    def assign(self, statement, scope, source):
        *others, target = statement.targets
        several = isinstance(target, ast.Tuple)
        if several and isinstance(statement.value, ast.Tuple):
            results = [self.evaluate(value, scope, source, _names(name))
                       for name, value in zip(target.elts, statement.value.elts, strict=True)]
        else:
            results = self.evaluate(statement.value, scope, source, _names(target))
        if several:
            if all(isinstance(name, ast.Name) for name in target.elts):
                results = [self.replaced(name, result) for name, result in zip(_names(target), results)]
        elif isinstance(target, ast.Name):
            results = self.replaced(target.id, results)
        for each in (target, *others):
            source.store(each, results, scope)
        if isinstance(target, ast.Subscript):
            self.record_in_place(statement, scope, source)

    def evaluate(self, value, scope, source, names):
        """Return an expression's value; a call of a formula's function is walked, all else is one line."""
        called = source.value(value.func, scope) if isinstance(value, ast.Call) else None
        if getattr(called, "__name__", "").endswith(("_forward", "_backward")) and not value.keywords:
            return self.descend(called, value.args, scope, source, names)
        result = source.value(value, scope)
        if isinstance(value, (ast.Name, ast.Attribute)):
            return result
        if len(names) == 1:
            result = self.replaced(names[0], result)
            self.record(names, value, (result,), source)
        elif names and isinstance(result, tuple):
            self.record(names, value, result, source)
        return result

    def descend(self, function, arguments, scope, source, targets):
        parameters = iter(_source(function).parameters)
        args = []
        for argument in arguments:
            starred = isinstance(argument, ast.Starred)
            value = argument.value if starred else argument
            values = source.value(value, scope) if starred else (source.value(value, scope),)
            names = tuple(next(parameters) for _ in values)
            values = tuple(self.replaced(name, array) for name, array in zip(names, values))
            if not isinstance(value, ast.Name):
                self.record(names, value, values, source)
            args.extend(values)
        return self.call(function, args, targets)

    def record_in_place(self, statement, scope, source):
        """Record what a statement wrote into an array: `out=a`, `a[...] =`, `a +=`."""
        if isinstance(statement, ast.Assign):
            written, formula = statement.targets[0].value, statement.value
        elif isinstance(statement, ast.AugAssign):
            written, formula = statement.target, statement
        else:
            call = statement.value
            outs = [word.value for word in getattr(call, "keywords", ()) if word.arg == "out"]
            if not outs:
                return
            (written,) = outs
            formula = _without_out(call)
        name = _root(written)
        scope[name] = self.replaced(name, scope[name])
        self.record((name,), formula, (scope[name],), source)

    def replaced(self, name, value):
        """Return what the array of this name is to be: a copy, since lines may write into it."""
        return np.array(self.replace[name]) if name in self.replace else value

    def record(self, names, formula, values, source):
        formula_text = _text(formula)
        if formula_text != "self.recall()" and all(_is_number(value) for value in values):
            self.lines.append(Line(tuple(names), formula_text, tuple(np.array(value) for value in values),
                                   source.file, formula.lineno, source.equations[formula.lineno]))


class _Source:
    """The statements of a function, and how to run each."""

    def __init__(self, function):
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        (definition,) = ast.increment_lineno(tree, first - 1).body
        self.path = inspect.getsourcefile(function)
        self.file = pathlib.Path(self.path).name
        self.globals = function.__globals__
        self.equations = {first + k: " ".join(re.findall(r"\(\d'?\)", line.partition("#")[2]))
                          for k, line in enumerate(lines)}
        self.code = {}
        self.parameters = [parameter.arg for parameter in definition.args.args]
        names, values = self.parameters, function.__defaults__ or ()
        self.defaults = dict(zip(names[len(names) - len(values):], values))
        self.body = definition.body[1:] if ast.get_docstring(definition) else definition.body

    def value(self, expression, scope):
        return eval(self.compiled(expression, ast.Expression(expression), "eval"), self.globals, scope)

    def execute(self, statement, scope):
        exec(self.compiled(statement, ast.Module([statement], []), "exec"), self.globals, scope)

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
    return _source_of(getattr(function, "__func__", function))


def _names(target):
    """Return the plain names in the target of an assignment."""
    targets = target.elts if isinstance(target, ast.Tuple) else [target]
    return tuple(name.id for name in targets if isinstance(name, ast.Name))


# The same node of a source gives the same result each time.


@functools.cache
def _text(node):
    return ast.unparse(node)


@functools.cache
def _without_out(call):
    words = [word for word in call.keywords if word.arg != "out"]
    return ast.Call(call.func, call.args, words, lineno=call.lineno)


@functools.cache
def _assignment(target):
    assignment = ast.Assign([target], ast.Name("__value", ast.Load()))
    return ast.copy_location(ast.fix_missing_locations(assignment), target)


def _is_number(value):
    return getattr(value, "dtype", None) is not None and value.dtype.kind == "f"


def _root(expression):
    """Return the name of the array that an expression such as `dW[:, :H]` is a part of."""
    while not isinstance(expression, ast.Name):
        expression = expression.value
    return expression.id

"""Small edits of a Python source, each of which should break it.

Arithmetic: an operator exchanged, a term or factor dropped, operands swapped, a sign dropped, a number moved by one
or doubled. Choice: a condition forced either way, a comparison turned or its border moved, `and` made `or`, min made
max or the last, the first made the last, one index for all, a key or a text exchanged with its sibling, a switch
flipped, arguments swapped, a keyword argument dropped. Order: a statement, an early return, an assignment, a copy,
a sort or a context dropped, `elif` made `if`, `continue` made `break`.

Left as they are: messages, documentation, what is printed, and the checks that only raise ("expect...").
"""
import ast
import dataclasses

COMPARED = {ast.Eq: "==", ast.NotEq: "!=", ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=",
            ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in"}
TURNED = {"==": "!=", "!=": "==", ">": "<=", ">=": "<", "<": ">=", "<=": ">",
          "is": "is not", "is not": "is", "in": "not in", "not in": "in"}
BORDER = {">": ">=", ">=": ">", "<": "<=", "<=": "<"}
OTHER_CALL = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "argmin": "argmax",
              "argmax": "argmin", "any": "all", "all": "any", "zeros": "ones", "ones": "zeros",
              "zeros_like": "ones_like", "ones_like": "zeros_like", "mean": "sum"}
SIBLINGS = {"train": "valid", "valid": "test", "test": "valid", "best": "last", "last": "best",
            "train_perplexity": "valid_perplexity", "valid_perplexity": "train_perplexity"}
# The same bits when swapped, or wrong at once.
SYMMETRIC = {"add", "multiply", "minimum", "maximum", "array_equal", "shares_memory", "how_shared", "isinstance"}
KEPT_KEYWORDS = {"encoding", "flush", "newline", "strict", "help", "description", "prog", "metavar", "type", "choices"}
WORDS = {"help", "description", "prog", "metavar"}  # keyword arguments that are words for a reader


@dataclasses.dataclass(frozen=True)
class Edit:
    """One change of a source.

    Attributes
    ----------
    scope : str
        The function that it is in, as "Class.method" or "function".
    line : int
    kind : str
        What was done.
    before, after : str
        The lines that were there, and what stands there now.
    source : str
        The whole source, edited.
    lines : frozenset of int
        Those of the statement: a test that executes none of them cannot notice.
    """

    scope: str
    line: int
    kind: str
    before: str
    after: str
    source: str = dataclasses.field(repr=False)
    lines: frozenset = dataclasses.field(repr=False)

    @property
    def key(self):
        """What names the edit wherever its line moves."""
        return self.scope, self.before, self.after


def edits_of(source, scopes=None):
    """Make every edit of a source.

    Parameters
    ----------
    source : str
    scopes : set of str, optional
        Names of classes and functions at top level to edit; all by default.

    Returns
    -------
    list of Edit
    """
    edits = {}
    for top in ast.parse(source).body:
        if isinstance(top, ast.ClassDef | ast.FunctionDef) and (scopes is None or top.name in scopes):
            for function in [top] if isinstance(top, ast.FunctionDef) else top.body:
                if isinstance(function, ast.FunctionDef):
                    scope = function.name if function is top else f"{top.name}.{function.name}"
                    for edit in _Function(source, function, scope).edits():
                        edits.setdefault(edit.source, edit)  # two kinds of edit may come to the same
    edits.pop(source, None)
    return list(edits.values())


class _Function:
    """A function of a source, and all edits of it."""

    def __init__(self, source, function, scope):
        self.source, self.function, self.scope = source, function, scope
        self.starts = [0]  # of lines, in bytes
        for line in source.encode().splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        nodes = list(ast.walk(function))
        self.conditions = {id(node.test) for node in nodes if isinstance(node, ast.If | ast.IfExp | ast.While)}
        self.conditions |= {id(test) for node in nodes if isinstance(node, ast.comprehension) for test in node.ifs}
        self.loop_names = {name.id for node in nodes if isinstance(node, ast.For | ast.comprehension)
                           for name in ast.walk(node.target) if isinstance(name, ast.Name)}
        self.keys = {}  # by what is indexed, the texts that index it
        for node in nodes:
            if isinstance(node, ast.Subscript) and _is_text(node.slice):
                self.keys.setdefault(self.text(node.value), {})[node.slice.value] = None
        # The -1 of a reshape may be any negative number; the first and last index have an edit of their own.
        fixed = [argument for node in nodes if isinstance(node, ast.Call) and self.called(node) == "reshape"
                 for argument in node.args]
        fixed += [node.slice for node in nodes if isinstance(node, ast.Subscript) and _is_end(node.slice)]
        self.fixed = {id(part) for node in fixed if _is_end(node) or self.text(node) == "-1" for part in ast.walk(node)}

    def text(self, node):
        return ast.get_source_segment(self.source, node)

    def called(self, call):
        """Return the last name of what is called."""
        return self.text(call.func).rpartition(".")[2]

    def edits(self):
        for node, statement in _walk(self.function):
            for kind in type(node).__mro__:  # the class itself, then ast.expr or ast.stmt
                for target, what, after in getattr(self, f"_{kind.__name__}", _nothing)(node):
                    yield self._edit(statement, target, what, after)

    def _edit(self, statement, node, kind, after):
        data, top, bottom = self.source.encode(), self.starts[node.lineno - 1], self.starts[node.end_lineno]
        first, last = top + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset
        lines = data[top:first] + after.encode() + data[last:bottom]
        before, now = (" ".join(part.decode().split()) for part in (data[top:bottom], lines))
        end = max(statement.lineno, statement.body[0].lineno - 1) if hasattr(statement, "body") else \
            statement.end_lineno
        return Edit(self.scope, node.lineno, kind, before, now, (data[:top] + lines + data[bottom:]).decode(),
                    frozenset(range(statement.lineno, end + 1)))

    # Each of these yields, for a node of the type that it is named after: what is replaced, the kind, the new text.

    def _BinOp(self, node):
        left, right = self.text(node.left), self.text(node.right)
        multiple = isinstance(node.op, ast.Mult) and (left.isdigit() or right.isdigit())  # whose number is moved
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div) and not multiple:
            yield node, "dropped", f"({left})"
            if not isinstance(node.op, ast.Div) and left != right:
                yield node, "dropped", f"({right})"

    def _UnaryOp(self, node):
        if isinstance(node.op, ast.USub) and id(node) not in self.fixed:
            yield node, "sign", f"({self.text(node.operand)})"
        elif isinstance(node.op, ast.Not) and id(node) not in self.conditions:
            yield node, "not dropped", f"bool({self.text(node.operand)})"

    def _Compare(self, node):
        terms = [f"({self.text(term)})" for term in (node.left, *node.comparators)]
        signs = [COMPARED[type(op)] for op in node.ops]
        for i, sign in enumerate(signs):
            for kind, others in (("turned", TURNED), ("border moved", BORDER)):
                if sign in others and not (kind == "turned" and id(node) in self.conditions):
                    parts = zip([*signs[:i], others[sign], *signs[i + 1:]], terms[1:])
                    yield node, kind, f"({' '.join([terms[0], *(f'{other} {term}' for other, term in parts)])})"

    def _BoolOp(self, node):
        other = " or " if isinstance(node.op, ast.And) else " and "
        yield node, "and, or", f"({other.join(f'({self.text(value)})' for value in node.values)})"

    def _If(self, node):
        yield node.test, "forced", "False"
        if not isinstance(node.body[0], ast.Raise):
            yield node.test, "forced", "True"
        if len(node.orelse) == 1 and self.text(node.orelse[0]).startswith("elif") and not _ends(node.body):
            elif_ = node.orelse[0]
            word = ast.Constant("", lineno=elif_.lineno, end_lineno=elif_.lineno, col_offset=elif_.col_offset,
                                end_col_offset=elif_.col_offset + len("elif"))
            yield word, "elif made if", "if"

    def _While(self, node):
        yield node.test, "forced", "False"

    def _IfExp(self, node):
        yield node, "forced", f"({self.text(node.body)})"
        yield node, "forced", f"({self.text(node.orelse)})"

    def _comprehension(self, node):
        for test in node.ifs:
            yield test, "forced", "True"
            yield test, "forced", "False"

    def _Constant(self, node):
        if id(node) in self.fixed:
            return
        if type(node.value) is int:
            yield node, "moved by one", str(node.value + 1)
        elif type(node.value) is bool:
            yield node, "flipped", str(not node.value)
        elif type(node.value) is float:
            yield node, "doubled", str(2 * node.value or 1.0)
        elif _is_text(node) and node.value in SIBLINGS:
            yield node, "sibling", repr(SIBLINGS[node.value])

    def _Attribute(self, node):
        if node.attr in ("train", "valid", "test") and isinstance(node.ctx, ast.Load):
            yield node, "sibling", f"{self.text(node.value)}.{SIBLINGS[node.attr]}"

    def _Subscript(self, node):
        if _is_end(node.slice):
            yield node.slice, "first, last", "-1" if self.text(node.slice) == "0" else "0"
        elif isinstance(node.slice, ast.Name) and node.slice.id in self.loop_names and isinstance(node.ctx, ast.Load):
            yield node.slice, "one index", "0"
        elif _is_text(node.slice):
            keys = list(self.keys[self.text(node.value)])
            other = keys[keys.index(node.slice.value) - 1]
            if other != node.slice.value:
                yield node.slice, "other key", repr(other)

    def _Slice(self, node):
        for end in (node.lower, node.upper):
            if end is not None:
                yield end, "end dropped", ""

    def _Call(self, node):
        name, arguments = self.called(node), [*node.args, *node.keywords]
        texts = [self.text(argument) for argument in arguments]
        if name in ("reversed", "sorted") and len(node.args) == 1:
            yield node, f"{name} dropped", f"list({texts[0]})"
        if name in ("min", "max") and any(keyword.arg == "key" for keyword in node.keywords):
            yield node, "the last", f"list({texts[0]})[-1]"
        if name in OTHER_CALL:
            yield node.func, "other call", self.text(node.func)[:-len(name)] + OTHER_CALL[name]
        if name == "copy" and not arguments and isinstance(node.func, ast.Attribute):
            yield node, "copy dropped", self.text(node.func.value)
        for i, argument in enumerate(arguments):
            if isinstance(argument, ast.keyword) and argument.arg is not None and argument.arg not in KEPT_KEYWORDS:
                yield node, "keyword dropped", f"{self.text(node.func)}({', '.join(texts[:i] + texts[i + 1:])})"
        for i in range(0, len(node.args) - 1, 2):
            two = node.args[i:i + 2]
            if all(isinstance(one, ast.Name) for one in two) and texts[i] != texts[i + 1] and name not in SYMMETRIC:
                swapped = [*texts[:i], texts[i + 1], texts[i], *texts[i + 2:]]
                yield node, "arguments swapped", f"{self.text(node.func)}({', '.join(swapped)})"

    def _Assign(self, node):
        targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
        kept = any(isinstance(target, ast.Name) for target in targets)  # without it a name would be missing
        if not kept and self.function.name != "__init__":
            yield node, "assignment dropped", "pass"

    def _AugAssign(self, node):
        yield node, "made =", f"{self.text(node.target)} = {self.text(node.value)}"
        yield node, "statement dropped", "pass"

    def _Expr(self, node):
        if not isinstance(node.value, ast.Constant) and "expect" not in self.text(node):
            yield node, "statement dropped", "pass"

    def _Return(self, node):
        if node is not self.function.body[-1]:
            yield node, "return dropped", "pass"

    def _Continue(self, node):
        yield node, "continue made break", "break"

    def _Break(self, node):
        yield node, "break made continue", "continue"

    def _With(self, node):
        for item in node.items:
            if item.optional_vars is None:
                yield item.context_expr, "context dropped", "__import__('contextlib').nullcontext()"


def _nothing(node):
    return ()


def _walk(node, statement=None):
    """Yield a node and all below it, each with the statement that it is in, but not what is for a reader only."""
    statement = node if isinstance(node, ast.stmt) else statement
    yield node, statement
    for child in ast.iter_child_nodes(node):
        words = isinstance(child, ast.keyword) and child.arg in WORDS
        printed = isinstance(child, ast.Expr) and ast.unparse(child).startswith("print(")
        decorator = child in getattr(node, "decorator_list", ())
        if not (words or printed or decorator or isinstance(child, ast.Raise | ast.JoinedStr)):
            yield from _walk(child, statement)


def _is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_end(node):
    """Whether an index is that of the first or the last: 0 or -1."""
    return ast.unparse(node) in ("0", "-1")


def _ends(body):
    """Whether nothing after these statements runs when they have run."""
    return isinstance(body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)

"""Small edits of a Python source, each of which should break it.

An edit is one of: an operator exchanged, a term or factor dropped, operands swapped, a sign
dropped, a comparison turned, a number moved by one, a slice's end dropped, `reversed` dropped,
`+=` made `=`, a statement dropped. The -1 of a reshape keeps its size, as any negative number
says the same there.
"""
import ast
import dataclasses

OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.MatMult: "@"}
EXCHANGED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*"}
TURNED = {ast.Eq: "!=", ast.NotEq: "==", ast.Gt: "<=", ast.GtE: "<", ast.Lt: ">=", ast.LtE: ">"}


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
    """

    scope: str
    line: int
    kind: str
    before: str
    after: str
    source: str = dataclasses.field(repr=False)

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
    edits = []
    for top in ast.parse(source).body:
        if isinstance(top, ast.ClassDef | ast.FunctionDef) and (scopes is None or top.name in scopes):
            functions = [top] if isinstance(top, ast.FunctionDef) else [
                node for node in top.body if isinstance(node, ast.FunctionDef)]
            for function in functions:
                scope = function.name if function is top else f"{top.name}.{function.name}"
                edits += _edits_of_function(source, function, scope)
    return edits


def _edits_of_function(source, function, scope):
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def replace(node, kind, after):
        data, top, bottom = source.encode(), starts[node.lineno - 1], starts[node.end_lineno]
        first, last = top + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        lines = data[top:first] + after.encode() + data[last:bottom]
        before, now = (" ".join(part.decode().split()) for part in (data[top:bottom], lines))
        return Edit(scope, node.lineno, kind, before, now, (data[:top] + lines + data[bottom:]).decode())

    def text(node):
        return ast.get_source_segment(source, node)

    statements = [node for node in function.body if not _is_docstring(node)]
    sizes_to_fill = {id(argument.operand) for node in ast.walk(function) if _is_reshape(node)
                     for argument in node.args if isinstance(argument, ast.UnaryOp)}
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Raise):
                continue
            if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _in_message(node, statement):
                left, right, sign = text(node.left), text(node.right), OPERATORS[type(node.op)]
                if type(node.op) in EXCHANGED:
                    exchanged = EXCHANGED[type(node.op)]
                    yield replace(node, "exchanged", f"(({left}) {exchanged} ({right}))")
                yield replace(node, "dropped", f"({left})")
                if not isinstance(node.op, ast.Div) and left != right:
                    yield replace(node, "dropped", f"({right})")
                if isinstance(node.op, ast.Sub | ast.Div):
                    yield replace(node, "swapped", f"(({right}) {sign} ({left}))")
            elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                yield replace(node, "sign", f"({text(node.operand)})")
            elif isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
                turned = TURNED[type(node.ops[0])]
                yield replace(node, "turned", f"({text(node.left)} {turned} {text(node.comparators[0])})")
            elif isinstance(node, ast.Constant) and type(node.value) is int and id(node) not in sizes_to_fill:
                yield replace(node, "moved by one", str(node.value + 1))
            elif isinstance(node, ast.Slice):
                for end in (node.lower, node.upper):
                    if end is not None:
                        yield replace(end, "end dropped", "")
            elif isinstance(node, ast.Call) and text(node.func) == "reversed":
                yield replace(node, "reversed dropped", f"list({text(node.args[0])})")
            elif isinstance(node, ast.AugAssign):
                yield replace(node, "made =", f"{text(node.target)} = {text(node.value)}")
            if isinstance(node, ast.AugAssign | ast.Expr) and not _is_check(node):
                yield replace(node, "statement dropped", "pass")


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_reshape(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reshape"


def _in_message(node, statement):
    """Whether a node is part of the text of an error."""
    return any(node in ast.walk(child) for child in ast.walk(statement) if isinstance(child, ast.JoinedStr | ast.Raise))


def _is_check(node):
    """Whether a statement only checks its input; the tests of wrong use hold those."""
    return isinstance(node, ast.Expr) and "expect" in ast.unparse(node)

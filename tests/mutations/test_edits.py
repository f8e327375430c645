"""The edits of make test-mutations: each kind, on a few lines of source."""
import textwrap

import pytest
from edits import edits_of

# What stands in a function, and all that may stand there instead.
EDITED = {
    "return a + b": ["return (a)", "return (b)"],
    "return a / b": ["return (a)"],
    "return a - 1": ["return (a)", "return (1)", "return a - 2"],
    "return 2 * a": ["return 3 * a"],
    "return -a": ["return (a)"],
    "return 0.5": ["return 1.0"],
    "return not a": ["return bool(a)"],
    "return a > b": ["return ((a) <= (b))", "return ((a) >= (b))"],
    "return a == b": ["return ((a) != (b))"],
    "return a is b": ["return ((a) is not (b))"],
    "return a < b <= c": ["return ((a) >= (b) <= (c))", "return ((a) <= (b) <= (c))",
                          "return ((a) < (b) > (c))", "return ((a) < (b) < (c))"],
    "return a and b": ["return ((a) or (b))"],
    "return a or b or c": ["return ((a) and (b) and (c))"],
    "return a if b else c": ["return (a)", "return (c)"],
    "return [x for x in a if x]": ["return [x for x in a if False]", "return [x for x in a if True]"],
    "return [a[i] for i in b]": ["return [a[0] for i in b]"],
    "return a[0]": ["return a[-1]"],
    "return a[-1]": ["return a[0]"],
    "return a[1]": ["return a[2]"],
    "return a[b:c]": ["return a[:c]", "return a[b:]"],
    "return a['x'], a['y'], b['z']": ["return a['y'], a['y'], b['z']", "return a['x'], a['x'], b['z']"],
    "return corpus.valid": ["return corpus.test"],
    "return {'best': a}": ["return {'last': a}"],
    "return f(train_flg=True)": ["return f()", "return f(train_flg=False)"],
    "return f(a, b)": ["return f(b, a)"],
    "return isinstance(a, b)": [],
    "return np.minimum(a, b)": ["return np.maximum(a, b)"],
    "return min(a, key=f)": ["return list(a)[-1]", "return min(a)", "return max(a, key=f)"],
    "return sorted(a)": ["return list(a)"],
    "return reversed(a)": ["return list(a)"],
    "return a.copy()": ["return a"],
    "return a.reshape(-1, 3)": ["return a.reshape(-1, 4)"],
    "a += b": ["a = b", "pass"],
    "f()": ["pass"],
    "self.a = b": ["pass"],
    "a[b] = c": ["pass"],
    "a, b.c = d": [],
    "expect_shape(a)": [],
    "print(f'{a + 1}')": [],
    "raise ValueError(a + 1)": [],
    "return f'{a + 1}'": [],
    "add('--lr', help='a' + b)": ["pass"],
    "if a: raise E": ["if False: raise E"],
    "if a > b: return c": ["if False: return c", "if True: return c", "if ((a) >= (b)): return c", "if a > b: pass"],
    "while a: f()": ["while False: f()", "while a: pass"],
    "for a in b: continue": ["for a in b: break"],
    "for a in b: break": ["for a in b: continue"],
    "with a: return b": ["with __import__('contextlib').nullcontext(): return b", "with a: pass"],
    "with a as b: return c": ["with a as b: pass"],
}


def function_of(*lines):
    return "def f(self, a, b, c, d):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


@pytest.mark.parametrize("line", EDITED)
def test_the_edits_of_a_line(line):
    rest = [] if line.startswith("return") else ["return d"]  # the last return of a function stays
    edits = edits_of(function_of("'''What it says: 1 + 1.'''", line, *rest))
    lines = [edit.source.splitlines()[2].strip() for edit in edits]
    assert sorted(lines) == sorted(EDITED[line])
    for edit in edits:
        assert (edit.scope, edit.line, edit.before, edit.lines) == ("f", 3, line, {3})
        assert edit.after in EDITED[line]
        assert [part.strip() for part in edit.source.splitlines()[1:]] == [
            "'''What it says: 1 + 1.'''", edit.after, *rest]


@pytest.mark.parametrize("line", EDITED)
def test_edited_sources_compile_and_differ(line):
    source = function_of(line, "return d")
    sources = [edit.source for edit in edits_of(source)]
    for edited in sources:
        compile(edited, "edited", "exec")
    assert len({source, *sources}) == 1 + len(sources)


def test_elif_is_made_if_where_the_first_branch_goes_on():
    chain = ["if a:", "    b()", "elif c:", "    d()"]
    (edit,) = [edit for edit in edits_of(function_of(*chain)) if edit.kind == "elif made if"]
    assert edit.source == function_of("if a:", "    b()", "if c:", "    d()")
    assert 2 in edit.lines  # a test for which a holds notices, and never comes to the elif
    chain[1] = "    return b"
    assert not [edit for edit in edits_of(function_of(*chain)) if edit.kind == "elif made if"]


def test_the_last_return_of_a_function_stays():
    (edit,) = [edit for edit in edits_of(function_of("if a:", "    return b", "return c")) if edit.line == 3]
    assert edit.source == function_of("if a:", "    pass", "return c")


def test_defaults_are_edited():
    source = "def f(a, b=10, c=True, d=None):\n    return a\n"
    assert [edit.source.splitlines()[0] for edit in edits_of(source)] == [
        "def f(a, b=11, c=True, d=None):", "def f(a, b=10, c=False, d=None):"]


def test_a_decorator_stays():
    assert not edits_of("@cached(maxsize=3)\ndef f(a):\n    return a\n")


def test_an_attribute_set_in_init_stays():
    source = "class A:\n    def __init__(self):\n        self.a = f\n    def g(self):\n        self.a = f\n"
    (edit,) = edits_of(source)
    assert (edit.scope, edit.line, edit.kind) == ("A.g", 5, "assignment dropped")


def test_scopes_choose_what_is_edited():
    source = "def f():\n    return 1\ndef g():\n    return 1\nclass A:\n    def h(self):\n        return 1\n"
    assert [edit.scope for edit in edits_of(source)] == ["f", "g", "A.h"]
    assert [edit.scope for edit in edits_of(source, {"g", "A"})] == ["g", "A.h"]


def test_the_lines_of_a_statement():
    source = function_of("if (a and", "        b):", "    c(d,", "      1)", "return d")
    lines = {edit.kind: edit.lines for edit in edits_of(source)}
    assert lines == {"and, or": {2, 3}, "forced": {2, 3}, "statement dropped": {4, 5}, "moved by one": {4, 5}}


def test_text_outside_ascii_keeps_its_place():
    (edit,) = edits_of(function_of("return 'é', a['è'][1]"))
    assert edit.after == "return 'é', a['è'][2]"


def test_the_same_text_twice_is_edited_once_in_each_place():
    assert len({edit.source for edit in edits_of(function_of("return g(1, 1)"))}) == 2

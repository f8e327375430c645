"""Hold the project and its stand-in for CuPy against the CuPy that is installed. No GPU is needed.

    PYTHONPATH=. python tests/devices/check_cupy.py

1. Each name, keyword argument and array method that common, ch_rnn and ch_lstm use exists in CuPy.
2. So does each that the stand-in offers.
3. CuPy's fuser takes each function that layers, optimizers and clipping fuse, and gives its results
   the dtypes that the stand-in's fuser gives them; both take the same samples, and refuse the same others.
4. What is a view for the stand-in is one for CuPy, of the same shape and strides.

Prints what was checked, and ends with exit code 1 if anything differs.
"""
import ast
import functools
import inspect
import operator
import re
import sys
import types
import warnings
from pathlib import Path
from unittest import mock

import cupy
import device_fusion
import numpy
import strict_cupy
from cupy._core import _fusion_thread_local, fusion
from cupy.cuda.memory import MemoryPointer, UnownedMemory
from fusion_samples import REFUSED, TAKEN

import common.np
from common.gradients.cases import layer_cases
from common.optimizer import OPTIMIZERS
from common.training.clip import clip_grads

ROOT = Path(__file__).parents[2]
FOLDERS = ("common", "ch_rnn", "ch_lstm")

# Methods of arrays that are NumPy's on a GPU too, by file.
ON_HOST = {
    ("clip.py", "ctypes"): "the address of a NumPy array; CuPy's have data.ptr",
    ("checker.py", "max"): "numerical and computed gradients are compared on the host",
    ("word_vectors.py", "argsort"): "scores are ranked on the host",
}

VIEWS = {
    "a row": lambda np, a: a[1],
    "an element": lambda np, a: a[1, 2],
    "columns": lambda np, a: a[:, 1:3],
    "every second, backwards": lambda np, a: a[::-2, None],
    "blocks": lambda np, a: a[..., :2][1:],
    "T": lambda np, a: a.T,
    "swapaxes": lambda np, a: a.swapaxes(0, 1)[1:],
    "transpose": lambda np, a: a.reshape(2, 2, 6).transpose(2, 0, 1),
    "reshape": lambda np, a: a.reshape(2, -1),
    "reshape of columns": lambda np, a: a[:, :3].reshape(2, 2, 3),
    "reshape of one column": lambda np, a: a[:, :1].reshape(-1),
    "ravel": lambda np, a: a.ravel(),
    "broadcast_to": lambda np, a: np.broadcast_to(a[0], (3, 6)),
    "expand_dims": lambda np, a: np.expand_dims(a, 1),
    "squeeze": lambda np, a: np.squeeze(a[:, :1]),
    "moveaxis": lambda np, a: np.moveaxis(a, 0, -1),
    "flip": lambda np, a: np.flip(a, axis=1),
    "ascontiguousarray": lambda np, a: np.ascontiguousarray(a[1:]),
    "astype": lambda np, a: a.astype("f", copy=False),
}


# --- what is used

def uses(tree):
    """Find what a module that imports `np` from common.np does with it.

    Returns
    -------
    names : set of (str, frozenset of str)
        Names after `np.`, with the keyword arguments that they are called with.
    methods : set of (str, frozenset of str)
        Likewise, what follows a dot elsewhere and is a name of NumPy's arrays.
    """
    imported = {alias.asname or alias.name.partition(".")[0]
                for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names, methods = set(), set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        call = calls.get(id(node))
        keywords = frozenset(keyword.arg for keyword in call.keywords if keyword.arg) if call else frozenset()
        root, chain = node, []
        while isinstance(root, ast.Attribute):
            chain.insert(0, root.attr)
            root = root.value
        if isinstance(root, ast.Name) and root.id == "np":
            if id(node) not in inner:
                names.add((".".join(chain), keywords))
        elif hasattr(numpy.ndarray, node.attr) and not (isinstance(root, ast.Name) and root.id in imported):
            methods.add((node.attr, keywords))
    return names, methods


def imports_np(tree):
    return any(isinstance(node, ast.ImportFrom) and node.module == "common.np" for node in ast.walk(tree))


# --- what there is

def cublas_by_its_source():
    """Return the functions of cupy.cublas without their bodies: it cannot be imported where CUDA is not installed."""
    tree = ast.parse(Path(cupy.__file__).with_name("cublas.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in functions:
        node.body = [ast.Pass()]
    namespace = {}
    exec(compile(ast.fix_missing_locations(ast.Module(functions, [])), "cublas.py", "exec"), namespace)
    return types.SimpleNamespace(**{node.name: namespace[node.name] for node in functions})


def look_up(module, name):
    """Return `module.name`, where `rng` is a generator."""
    if name.partition(".")[0] == "rng":
        name = name.replace("rng", "random.Generator", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return functools.reduce(getattr, name.split("."), module)


def takes(function, keyword):
    """Say whether a function of CuPy takes a keyword argument."""
    if isinstance(function, cupy.ufunc):
        return keyword in ("out", "dtype")
    doc = function.__doc__ or ""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled: the first line of its docstring is its signature
        first = doc.partition("\n")[0]
        named, takes_any = re.search(rf"[(, *]{keyword}\b", first) is not None, "**kwargs" in first
    else:
        named = keyword in [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    return named or takes_any and re.search(rf"\b{keyword}\b", doc) is not None


def missing(module, prefix, names):
    """List which of these names and keyword arguments CuPy lacks."""
    problems = []
    for name, keywords in sorted(names, key=str):
        try:
            found = look_up(module, name)
        except AttributeError:
            problems.append(f"CuPy has no {prefix}{name}")
            continue
        problems += [f"CuPy's {prefix}{name} takes no {keyword}=" for keyword in sorted(keywords)
                     if not takes(found, keyword)]
    return problems


def offered(owner, names):
    """Find the keyword arguments of the stand-in's functions, or of the methods of one of its classes."""
    found = set()
    for name in names:
        value = getattr(owner, name)
        keywords = ()
        if isinstance(value, strict_cupy.ufunc):
            keywords = "out", "dtype"
        elif isinstance(value, types.FunctionType) and not name.startswith("__"):
            parameters = list(inspect.signature(value).parameters.values())[1 if isinstance(owner, type) else 0:]
            keywords = (p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        found.add((name, frozenset(keywords)))
    return found


# --- the fuser, and views

def on_no_device(shape, dtype):
    """Return an array of CuPy whose memory is not there."""
    size = int(numpy.prod(shape)) * numpy.dtype(dtype).itemsize
    return cupy.ndarray(shape, dtype, memptr=MemoryPointer(UnownedMemory(4096, size, None, 0), 0))


def trace(function, arguments, dtype):
    """Give a function to CuPy's fuser.

    Parameters
    ----------
    function : callable
    arguments : list
        None stands for an array (2, 3), a dtype for one of that dtype, anything else for itself.
    dtype : dtype
        Of the other arrays.

    Returns
    -------
    list of dtype
        Of what the fused function returns.

    Raises
    ------
    Exception
        Whatever the fuser raises when it refuses the function.
    """
    history, local = fusion._FusionHistory(), _fusion_thread_local.thread_local
    local.history, local.is_old_fusing = history, True
    try:
        arguments = as_arrays(arguments, dtype, on_no_device)
        kernel, _ = history.get_fusion(function, arguments, "traced")
    finally:
        local.history, local.is_old_fusing = None, False
    return [numpy.dtype(parameter.dtype) for parameter in kernel.out_params]


def as_arrays(arguments, dtype, make):
    """Return the arguments of `trace` with arrays in the place of None and of dtypes."""
    return [make((2, 3), dtype if argument is None else argument)
            if argument is None or isinstance(argument, numpy.dtype) else argument for argument in arguments]


def trace_stand_in(function, arguments, dtype):
    """Give a function to the stand-in's fuser; as `trace`."""
    arguments = as_arrays(arguments, dtype, strict_cupy.ones)
    returned = strict_cupy.fuse(function)(*arguments)
    return [array.dtype for array in (returned if isinstance(returned, tuple) else (returned,)) if array is not None]


FUSERS = {"CuPy": (cupy, trace), "the stand-in": (strict_cupy, trace_stand_in)}


def as_np(module):
    """Let `np` of common.np have the names of a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {name: getattr(module, name) for name in dir(module) if name[0] != "_" and name not in common.np._OWN}
    return mock.patch.dict(vars(common.np), names)


def compare_fused(name, function, arguments):
    """Say what differs between the fusers; `function` takes the array module and returns what to fuse."""
    problems, dtypes = [], {}
    for dtype in (numpy.float32, numpy.float64):
        for label, (module, tracer) in FUSERS.items():
            with as_np(module):
                try:
                    dtypes[label] = tracer(function(module), arguments, dtype)
                except Exception as error:
                    problems.append(f"{label} does not fuse {name}: {type(error).__name__}: {error}")
        # A Python number as an argument is float64 for the stand-in and for CuPy 13, but not for 14.
        has_number = any(isinstance(argument, (int, float)) for argument in arguments)
        if not problems and not has_number and dtypes["CuPy"] != dtypes["the stand-in"]:
            problems.append(f"{name} of {dtype.__name__} fused: {dtypes}")
    return problems


def compare_refused(name, function):
    """Say which fuser takes a function that both should refuse."""
    problems = []
    for label, (module, tracer) in FUSERS.items():
        try:
            tracer(function(module), [None, None], numpy.float32)
        except Exception:
            continue
        problems.append(f"{label} fuses {name}")
    return problems


def of_module(sample):
    """Turn a sample of `fusion_samples` into a function of the array module."""
    return lambda np: lambda x, y: sample(np, x, y)


def fused_functions():
    """Run layers, optimizers and clipping on the stand-in, and note what they fuse.

    Returns
    -------
    dict
        From functions to their names and their arguments, as `trace` takes them.
    """
    found, original = {}, strict_cupy.fuse

    def fuse(function=None, /, *, kernel_name=None):
        if function is None:
            return functools.partial(fuse, kernel_name=kernel_name)
        fused = original(function, kernel_name=kernel_name)

        def call(*args):
            arguments = [arg if not isinstance(arg, strict_cupy.ndarray) else
                         None if arg.dtype.kind == "f" else arg.dtype for arg in args]
            found[function] = kernel_name or function.__name__, arguments
            return fused(*args)

        return call

    with strict_cupy.in_place_of_cupy():
        with mock.patch.object(strict_cupy, "fuse", fuse):
            common.np.use("cupy")  # takes the names of the stand-in
            for case in layer_cases():
                layer = case.build()
                outputs = case.forward(layer, {name: common.np.to_device(x) for name, x in case.inputs.items()})
                case.backward(layer, {name: strict_cupy.ones_like(output) for name, output in outputs.items()})
            for optimizer in OPTIMIZERS.values():
                grads = [strict_cupy.ones((2, 3))]
                clip_grads(grads, 0.25)
                optimizer().update([strict_cupy.ones((2, 3))], grads)
        common.np.use("numpy")
    return found


def compare_view(name, function):
    a = strict_cupy.zeros((4, 6), "f")
    with strict_cupy.counting() as counts:
        ours = function(strict_cupy, a)
    real = on_no_device((4, 6), "f")
    try:
        theirs = function(cupy, real)
    except cupy.cuda.runtime.CUDARuntimeError:
        return [f"{name} is no view of CuPy's"]
    facts = operator.attrgetter("shape", "strides", "flags.c_contiguous", "flags.f_contiguous")
    offset, real_offset = ours.data.ptr - a.data.ptr, theirs.data.ptr - real.data.ptr
    if counts.launches or (offset, *facts(ours)) != (real_offset, *facts(theirs)):
        return [f"{name} is {facts(ours)} at {offset}, CuPy's is {facts(theirs)} at {real_offset}; {counts}"]
    return []


# --- all of it

def main():
    problems, checked = [], 0

    def check(label, n, found):
        nonlocal checked
        checked += n
        problems.extend(found)
        print(f"{n:4} {label}: {len(found) or 'no'} differences")

    def check_names(label, module, prefix, names):
        check(label, len({name for name, _ in names}) + len({(name, k) for name, ks in names for k in ks}),
              missing(module, prefix, names))

    cupy.cublas = cublas_by_its_source()
    names, methods = set(), set()
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if imports_np(tree):
            used_names, used_methods = uses(tree)
            names |= {use for use in used_names if use[0].partition(".")[0] not in common.np._OWN - {"rng"}}
            methods |= {use for use in used_methods if (path.name, use[0]) not in ON_HOST}
    check_names("names and keywords used", cupy, "", names)
    check_names("methods of arrays used", cupy.ndarray, "ndarray.", methods)

    check_names("names and keywords of the stand-in", cupy, "", offered(strict_cupy, dir(strict_cupy)))
    array, generator = strict_cupy.ndarray, strict_cupy.random.Generator
    inherited = set(dir(object)) | {"__slots__"}
    check_names("methods of its arrays", cupy.ndarray, "ndarray.",
                offered(array, set(dir(array)) - inherited - {"_array", "_read", "_view_or_copy"}))
    check_names("methods of its generator", cupy.random.Generator, "Generator.",
                offered(generator, [name for name in dir(generator) if name[0] != "_"]))
    check_names("functions of its cublas", cupy.cublas, "cublas.", offered(strict_cupy.cublas, ["gemm", "nrm2"]))
    check_names("names of its cuda.runtime", cupy.cuda.runtime, "runtime.",
                {(name, frozenset()) for name in vars(strict_cupy.cuda.runtime)})
    for ours, theirs in ((device_fusion.FusionScalar, fusion._FusionVarScalar),
                         (device_fusion.FusionArray, fusion._FusionVarArray)):
        check_names(f"methods inside fused functions, {ours.__name__}", theirs, f"{theirs.__name__}.",
                    {(name, frozenset()) for name in set(dir(ours)) - inherited - {"value", "dtype"}})

    fused = fused_functions()
    check("functions of the project fused", len(fused), [
        problem for function, (name, arguments) in fused.items()
        for problem in compare_fused(name, lambda np, function=function: function, arguments)])
    print(f"     ({', '.join(sorted({name for name, _ in fused.values()}))})")
    check("samples fused", len(TAKEN), [
        problem for name, sample in TAKEN.items() for problem in compare_fused(name, of_module(sample), [None, None])])
    check("samples refused", len(REFUSED), [
        problem for name, sample in REFUSED.items() for problem in compare_refused(name, of_module(sample))])
    check("views", len(VIEWS), [problem for name, view in VIEWS.items() for problem in compare_view(name, view)])

    for problem in problems:
        print(problem)
    print(f"{checked} names and keywords checked against CuPy {cupy.__version__}: "
          f"{f'{len(problems)} differences' if problems else 'ok'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

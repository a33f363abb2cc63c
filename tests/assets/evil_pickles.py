"""Hostile and broken pickles: name -> (bytes, the finding that must be among those of its scan)."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib

from opcodes import (
    MARKER,
    PYTHON,
    TOUCH,
    call,
    call_0,
    call_4,
    framed,
    get,
    import_0,
    import_4,
    memoize,
    proto,
    text,
)

IMPORT = "pickle-forbidden-import"
HIDDEN = "pickle-unresolvable-import"
CALL = "pickle-forbidden-call"
BROKEN = "pickle-malformed"

# What has been used to get past scanners that list what is bad: each one runs code when it is called, or fetches some.
GADGETS = {
    "os-system": ("os", "system", TOUCH),
    "posix-system": ("posix", "system", TOUCH),
    "nt-system": ("nt", "system", TOUCH),
    "builtins-exec": ("builtins", "exec", PYTHON),
    "builtins-eval": ("builtins", "eval", PYTHON),
    "python2-eval": ("__builtin__", "eval", PYTHON),
    "builtins-getattr": ("builtins", "getattr", "x"),
    "builtins-import": ("builtins", "__import__", "this"),
    "builtins-breakpoint": ("builtins", "breakpoint", ""),
    "subprocess-popen": ("subprocess", "Popen", "true"),
    "subprocess-output": ("subprocess", "getoutput", TOUCH),
    "pip-main": ("pip", "main", "--version"),
    "pip-internal": ("pip._internal.cli.main", "main", "--version"),
    "runpy": ("runpy", "_run_code", PYTHON),
    "runpy-path": ("runpy", "run_path", "nothing.py"),
    "importlib": ("importlib", "import_module", "this"),
    "timeit": ("timeit", "timeit", PYTHON),
    "webbrowser": ("webbrowser", "open", "about:blank"),
    "code-interact": ("code", "interact", ""),
    "code-runcode": ("code", "InteractiveInterpreter.runcode", PYTHON),
    "bdb": ("bdb", "Bdb.run", PYTHON),
    "pdb": ("pdb", "run", PYTHON),
    "cprofile": ("cProfile", "run", PYTHON),
    "trace": ("trace", "Trace.run", PYTHON),
    "doctest": ("doctest", "debug_script", PYTHON),
    "pty": ("pty", "spawn", "true"),
    "numpy-runstring": ("numpy.testing._private.utils", "runstring", PYTHON),
    "numpy-runstring-alias": ("numpy.testing", "runstring", PYTHON),
    "numpy-f2py": ("numpy.f2py.crackfortran", "myeval", PYTHON),
    "numpy-f2py-getlincoef": ("numpy.f2py.crackfortran", "getlincoef", PYTHON),
    "numpy-load": ("numpy", "load", "nothing.npy"),
    "torch-load": ("torch.serialization", "load", "nothing.pt"),
    "torch-hub": ("torch.hub", "load", "nobody/nothing"),
    "torch-inductor": ("torch._inductor.codecache", "compile_file", TOUCH),
    "torch-collect-env": ("torch.utils.collect_env", "run", TOUCH),
    "joblib-load": ("joblib", "load", "nothing.joblib"),
    "pickle-loads": ("pickle", "loads", "N."),
    "dill-loads": ("dill", "loads", "N."),
    "asyncio-subprocess": ("asyncio.subprocess", "create_subprocess_shell", TOUCH),
    "asyncio-unix": ("asyncio.unix_events", "_UnixSubprocessTransport._start", TOUCH),
    "ctypes": ("ctypes", "CDLL", "libc.so.6"),
    "ctypes-util": ("ctypes.util", "_findLib_gcc", TOUCH),
    "partial": ("functools", "partial", "x"),
    "methodcaller": ("operator", "methodcaller", "system"),
    "attrgetter": ("operator", "attrgetter", "system"),
    "shutil": ("shutil", "rmtree", "nothing-there"),
    "socket": ("socket", "create_connection", "localhost"),
    "requests": ("requests.api", "get", "http://localhost"),
    "urllib": ("urllib.request", "urlopen", "http://localhost"),
    "sys-modules": ("sys", "modules", ""),
    "logging-config": ("logging.config", "_resolve", "os.system"),
    "multiprocessing": ("multiprocessing.util", "spawnv_passfds", "true"),
    "distutils": ("distutils.file_util", "write_file", MARKER),
    "lib2to3": ("lib2to3.pgen2.grammar", "Grammar.loads", "x"),
    "idlelib": ("idlelib.run", "Executive.runcode", PYTHON),
    "ensurepip": ("ensurepip", "_run_pip", "x"),
    "types-code": ("types", "CodeType", "x"),
    "marshal": ("marshal", "loads", "x"),
    "sklearn-lookalike": ("sklearn.linear_model._logistc", "LogisticRegression", "x"),
    "sklearn-fetch": ("sklearn.datasets", "fetch_file", "http://localhost"),
    "numpy-dotted": ("numpy", "f2py.subprocess.getoutput", TOUCH),
    "sklearn-dotted": ("sklearn.base", "os.system", TOUCH),
    "os-popen": ("os", "popen", TOUCH),
    "builtins-compile": ("builtins", "compile", PYTHON),
    "python2-execfile": ("__builtin__", "execfile", "nothing.py"),
    "torch-load-alias": ("torch", "load", "nothing.pt"),
    "sklearn-joblib": ("sklearn.externals.joblib", "load", "nothing.joblib"),
    "c-pickle-loads": ("_pickle", "loads", "N."),
    "logging-dict-config": ("logging.config", "dictConfig", "x"),
    "sys-setprofile": ("sys", "setprofile", "x"),
    "unknown-package": ("somebody.models", "Model", "x"),
}


def gadgets() -> dict[str, tuple[bytes, str]]:
    return {
        f"gadget-{name}": (call_4(module, function, argument), IMPORT)
        for name, (module, function, argument) in GADGETS.items()
    }


def ways_to_call() -> dict[str, tuple[bytes, str]]:
    """The same import, by every opcode that can reach it."""
    system, argument = import_4("posix", "system"), text(TOUCH)
    return {
        "protocol-0": (call_0("posix", "system"), IMPORT),
        "protocol-0-alias": (call_0("os", "system"), IMPORT),
        "protocol-1": (b"cposix\nsystem\n(U" + bytes([len(TOUCH)]) + TOUCH.encode() + b"tR.", IMPORT),
        "protocol-2": (proto(2) + call(import_0("posix", "system"), argument) + b".", IMPORT),
        "protocol-3": (proto(3) + call(import_0("posix", "system"), argument) + b".", IMPORT),
        "protocol-5": (proto(5) + call(system, argument) + b".", IMPORT),
        "inst": (f"(V{TOUCH}\niposix\nsystem\n.".encode(), IMPORT),
        "obj": (proto(2) + b"(" + import_0("posix", "system") + argument + b"o.", IMPORT),
        "newobj": (proto(2) + import_0("subprocess", "Popen") + argument + b"\x85\x81.", IMPORT),
        "newobj-ex": (proto(4) + import_4("subprocess", "Popen") + argument + b"\x85}\x92.", IMPORT),
        "import-only": (proto(4) + import_4("antigravity", "fly") + b".", IMPORT),
        "import-popped": (proto(4) + import_4("antigravity", "fly") + b"0N.", IMPORT),
        "memoized-strings": (
            proto(4)
            + text("posix")
            + memoize()
            + b"0"
            + text("system")
            + memoize()
            + b"0"
            + get(0)
            + get(1)
            + b"\x93"
            + argument
            + b"\x85R.",
            IMPORT,
        ),
        "duplicated-strings": (proto(4) + text("code") + b"2\x93" + b")R.", IMPORT),
        "build-class": (proto(2) + import_0("sklearn.svm._classes", "SVC") + b"}" + text("fit") + b"Nsb.", CALL),
        "called-result": (
            proto(4) + call(call(import_4("collections", "OrderedDict")), argument) + b".",
            CALL,
        ),
        "nested-getattr": (
            proto(4)
            + call(call(import_4("builtins", "getattr"), import_4("builtins", "object"), text("__subclasses__")))
            + b".",
            IMPORT,
        ),
        "computed-name": (
            proto(4)
            + text("posix")
            + call(import_4("_codecs", "encode"), text("system"))
            + b"\x93"
            + argument
            + b"\x85R.",
            HIDDEN,
        ),
        "number-as-name": (proto(4) + text("posix") + b"K\x01\x93.", HIDDEN),
        "extension-1": (proto(2) + b"\x82\x01)R.", HIDDEN),
        "extension-2": (proto(2) + b"\x83\x01\x01)R.", HIDDEN),
        "extension-4": (proto(2) + b"\x84\x01\x01\x01\x01)R.", HIDDEN),
        "extension-by-copyreg": (
            proto(4) + call(import_4("copyreg", "add_extension"), text("posix"), text("system")) + b"0\x82\x01.",
            IMPORT,
        ),
        "persistent-id": (b"Pwhatever\n.", "pickle-persistent-id"),
        "binary-persistent-id": (proto(2) + b"K\x01Q.", "pickle-persistent-id"),
        "out-of-band-buffer": (proto(5) + b"\x97.", "pickle-persistent-id"),
    }


def broken() -> dict[str, tuple[bytes, str]]:
    """What a scanner that trusts pickletools gives up on, after the loader has run it."""
    evil = call_4("posix", "system", TOUCH)
    hidden = {
        "garbage-after-payload": evil[:-1] + b"\xff\xff\xff",
        "no-stop": evil[:-1],
        "missing-memo": evil[:-1] + b"h\x63.",
        "empty-stack-after-payload": evil[:-1] + b"000.",
        "protocol-99-after-payload": evil[:-1] + b"\x80\x63.",
        "cut-string-after-payload": evil[:-1] + b"X\xff\xff\xff\x7f.",
        "bad-utf8-after-payload": evil[:-1] + b"\x8c\x02\xff\xfe.",
        "bad-number-after-payload": evil[:-1] + b"Ithis is no number\n.",
        "negative-length-after-payload": evil[:-1] + b"T\xff\xff\xff\xff.",
    }
    cases = {name: (data, IMPORT) for name, data in hidden.items()}
    cases |= {f"{name}-is-broken": (data, BROKEN) for name, data in hidden.items()}
    body = evil[2:]
    return cases | {
        "frame-too-long": (framed(body, len(body) + 9), BROKEN),
        "frame-too-short": (framed(body, 3), BROKEN),
        "frame-in-frame": (framed(framed(body)[2:]), BROKEN),
        "frame-around-payload": (framed(body), IMPORT),
        "second-pickle-is-evil": (proto(4) + b"N." + evil, IMPORT),
        "two-pickles": (proto(4) + b"N." + proto(4) + b"N.", "pickle-several"),
        "trailing-bytes": (proto(4) + b"N." + b"\xff" * 9, "pickle-trailing-bytes"),
        "only-a-header": (proto(4), BROKEN),
        "text-that-acts": (b"cos\nsystem\n(Vtrue\ntR# A model card\n", IMPORT),
    }


def packed() -> dict[str, tuple[bytes, str]]:
    evil = call_4("posix", "system", TOUCH)
    once = gzip.compress(evil, mtime=0)
    return {
        "in-gzip": (once, IMPORT),
        "in-bzip2": (bz2.compress(evil), IMPORT),
        "in-xz": (lzma.compress(evil), IMPORT),
        "in-lzma": (lzma.compress(evil, lzma.FORMAT_ALONE), IMPORT),
        "in-zlib": (zlib.compress(evil), IMPORT),
        "in-gzip-in-xz-in-zlib": (zlib.compress(lzma.compress(once)), IMPORT),
        "gzip-with-tail": (once + evil, "archive-malformed"),
        "gzip-twice": (once + once, "archive-malformed"),
        "gzip-cut-off": (once[:-6], "archive-malformed"),
        "gzip-wrong-sum": (once[:-8] + b"\0\0\0\0" + once[-4:], "archive-malformed"),
        "in-7z": (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24) + evil, "archive-unsupported"),
        "in-lz4": (b"\x04\x22\x4d\x18" + evil, "archive-unsupported"),
        "in-zstd": (b"\x28\xb5\x2f\xfd" + evil, "archive-unsupported"),
        "in-rar": (b"Rar!\x1a\x07\x01\x00" + evil, "archive-unsupported"),
    }


def joblib_files() -> dict[str, tuple[bytes, str]]:
    """An array of joblib's, with a payload where a naive walk takes it for the array, or the array for opcodes."""
    dtype = (
        import_4("numpy", "dtype")
        + text("f8")
        + b"\x89\x88\x87R"
        + b"(K\x03"
        + text("<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    objects = dtype.replace(b"f8", b"O8").replace(text("<"), text("|"))

    def wrapper(dtype: bytes) -> bytes:
        state = (
            b"}("
            + text("subclass")
            + import_4("numpy", "ndarray")
            + text("shape")
            + b"K\x02\x85"
            + text("order")
            + text("C")
            + text("dtype")
            + dtype
            + text("allow_mmap")
            + b"\x89u"
        )
        return proto(4) + import_4("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b"

    evil = call_4("posix", "system", TOUCH)
    return {
        "joblib-payload-after-array": (wrapper(dtype) + bytes(16) + evil[2:], IMPORT),
        "joblib-payload-in-object-array": (wrapper(objects) + evil + b".", IMPORT),
        "joblib-array-cut-off": (wrapper(dtype) + bytes(15), BROKEN),
    }


def all_pickles() -> dict[str, tuple[bytes, str]]:
    return gadgets() | ways_to_call() | broken() | packed() | joblib_files()

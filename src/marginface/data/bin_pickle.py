"""Read the pickle of a verification pack without executing any of it.

A pickle is a program for a small stack machine, and Python's own machine calls whatever the program
names. This one knows how to build bytes, text, numbers, lists, tuples and uint8 arrays and nothing
else: it imports nothing and calls nothing. The five names it takes stand for its own code.
"""

import io
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from marginface.errors import DataError

_RECONSTRUCT, _FROMBUFFER, _SCALAR, _DTYPE, _ENCODE = range(5)
# What Python 2 and 3 and NumPy 1 and 2 write for bytes and arrays.
_KNOWN: Final = {
    "_codecs encode": _ENCODE,
    "numpy dtype": _DTYPE,
    **{
        f"{module} {name}": kind
        for module, name, kind in (
            ("numpy.core.multiarray", "_reconstruct", _RECONSTRUCT),
            ("numpy._core.multiarray", "_reconstruct", _RECONSTRUCT),
            ("numpy.core.numeric", "_frombuffer", _FROMBUFFER),
            ("numpy._core.numeric", "_frombuffer", _FROMBUFFER),
            ("numpy.core.multiarray", "scalar", _SCALAR),
            ("numpy._core.multiarray", "scalar", _SCALAR),
        )
    },
}
# Named as the type of array to make, and never called.
_TYPES: Final = frozenset({"numpy ndarray"})
_VALUES: Final = frozenset(
    {"INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_PYTHON2_TEXT: Final = frozenset({"BINSTRING", "SHORT_BINSTRING"})
_OPCODES: Final = {opcode.code: opcode for opcode in pickletools.opcodes}
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Refused(Exception):  # noqa: N818  it never leaves this module
    pass


class _Mark:
    pass


class _Name:
    """A name from the pickle; `kind` is None for a type."""

    def __init__(self, kind: int | None) -> None:
        self.kind = kind


class _Dtype:
    def __init__(self, code: str) -> None:
        self.code = code


class _Array:
    """An array whose content may come later, by BUILD."""

    def __init__(self) -> None:
        self.value: NDArray[np.uint8] | None = None

    def fill(self, content: Any, dtype: Any, shape: Any) -> None:
        is_array = (
            isinstance(content, bytes | bytearray)
            and isinstance(dtype, _Dtype)
            and dtype.code == "u1"
            and isinstance(shape, tuple)
            and all(isinstance(side, int) and side >= 0 for side in shape)
            and int(np.prod(shape, dtype=object)) == len(content)
        )
        if not is_array:
            raise _Refused("an array that is not uint8, or not of its stated shape")
        self.value = np.frombuffer(bytes(content), np.uint8).reshape(shape)


def load_harmless(content: bytes, path: Path) -> Any:
    """Return what a pickle of plain data holds; bytes of Python 2 stay bytes.

    Args:
        content: The file.
        path: For messages.

    Raises:
        DataError: If it is no whole pickle, or would import or call anything.
    """
    machine = _Machine()
    file = io.BytesIO(content)
    place = 0
    try:
        while True:
            place = file.tell()
            code = file.read(1)
            opcode = _OPCODES.get(code.decode("latin-1"))
            if opcode is None:
                what = "the end of the file" if not code else f"the byte {code!r}"
                raise _Refused(f"{what}, where the next instruction was due")
            if opcode.name == "STRING":
                argument: Any = _python2_text(file.readline())
            else:
                argument = opcode.arg.reader(file) if opcode.arg is not None else None
            if opcode.name == "STOP":
                return _plain(machine.pop())
            machine.step(opcode.name, argument)
    except (_Refused, ValueError, IndexError, KeyError, TypeError, OverflowError) as cause:
        told = str(cause) or type(cause).__name__
        raise DataError(
            f"{path} must be a pickle of pictures and booleans and nothing else, got {told} at "
            f"byte {place:,}; nothing in it was executed"
        ) from cause


class _Machine:
    """The stack, the memo, and what each allowed instruction does to them."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise _Refused("an instruction that needs more than there is")
        return self._stack.pop()

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _PYTHON2_TEXT:
            self._stack.append(argument.encode("latin-1"))
        elif name == "STRING":
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[name])]
            self._stack.append(tuple(reversed(items)))
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            self._stack.append(self._memo[argument])
        elif name in {"PUT", "BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = self._stack[-1]
        elif (act := _ACTS.get(name)) is not None:
            act(self)
        elif name == "GLOBAL":
            self._name(argument)
        elif name not in {"PROTO", "FRAME"}:
            raise _Refused(f"the instruction {name}")

    def _after_mark(self) -> list[Any]:
        items: list[Any] = []
        while self._stack:
            item = self._stack.pop()
            if isinstance(item, _Mark):
                return items[::-1]
            items.append(item)
        raise _Refused("an instruction without its mark")

    def _name(self, name: str) -> None:
        if name not in _KNOWN and name not in _TYPES:
            raise _Refused(f"the name {name.replace(' ', '.')!r}")
        self._stack.append(_Name(_KNOWN.get(name)))

    def _name_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        self._name(f"{module} {name}")

    def _append(self) -> None:
        item = self.pop()
        self._list().append(item)

    def _appends(self) -> None:
        items = self._after_mark()
        self._list().extend(items)

    def _list(self) -> list[Any]:
        found = self._stack[-1] if self._stack else None
        if not isinstance(found, list):
            raise _Refused("an instruction that appends to what is no list")
        return found

    def _call(self) -> None:
        arguments, callee = self.pop(), self.pop()
        if not isinstance(callee, _Name) or callee.kind is None or type(arguments) is not tuple:
            raise _Refused("a call of something else than the names known")
        self._stack.append(_made(callee.kind, arguments))

    def _build(self) -> None:
        state = self.pop()
        target = self._stack[-1] if self._stack else None
        if isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            if state[3]:
                raise _Refused("an array in Fortran's order")
            target.fill(state[4], state[2], state[1])
        elif not isinstance(target, _Dtype):
            raise _Refused("a state for something else than an array")


_ACTS: Final[dict[str, Callable[[_Machine], object]]] = {
    "MARK": lambda machine: machine._stack.append(_Mark()),
    "POP": lambda machine: machine._stack.pop(),
    "POP_MARK": lambda machine: machine._after_mark(),
    "DUP": lambda machine: machine._stack.append(machine._stack[-1]),
    "EMPTY_LIST": lambda machine: machine._stack.append([]),
    "LIST": lambda machine: machine._stack.append(machine._after_mark()),
    "TUPLE": lambda machine: machine._stack.append(tuple(machine._after_mark())),
    "MEMOIZE": lambda machine: machine._memo.update({len(machine._memo): machine._stack[-1]}),
    "STACK_GLOBAL": _Machine._name_from_stack,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "REDUCE": _Machine._call,
    "BUILD": _Machine._build,
}


def _made(kind: int, arguments: tuple[Any, ...]) -> Any:
    """Do what the known names mean."""
    if kind == _RECONSTRUCT:
        return _Array()
    if kind == _FROMBUFFER and len(arguments) == 4 and arguments[3] == "C":
        array = _Array()
        array.fill(*arguments[:3])
        return array
    if kind == _DTYPE and arguments and isinstance(arguments[0], str | bytes):
        code = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        return _Dtype(code.lstrip("|"))
    if kind == _SCALAR and len(arguments) == 2 and arguments[1] in (b"\0", b"\1"):
        dtype, stored = arguments
        if isinstance(dtype, _Dtype) and dtype.code == "b1":
            return stored == b"\1"
    if kind == _ENCODE and len(arguments) == 2 and isinstance(arguments[0], str):
        # Protocols below 3 have no bytes; Python 3 writes them as text in Latin-1.
        text, encoding = arguments
        if encoding in ("latin1", "latin-1"):
            return text.encode("latin-1")
    raise _Refused("arguments that do not fit the name called")


def _python2_text(line: bytes) -> bytes:
    """Return the bytes of Python 2's oldest form: a quoted text with escapes."""
    text = line.rstrip(b"\r\n").strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise _Refused("a text without quotes")
    # Only escapes are undone; latin-1 keeps every other byte as it is.
    return text[1:-1].decode("latin-1").encode("latin-1").decode("unicode_escape").encode("latin-1")


def _plain(value: Any) -> Any:
    """Return the value with arrays in the place of their stand-ins, two levels deep."""
    if isinstance(value, tuple | list):
        return [
            [_settled(item) for item in part] if isinstance(part, list | tuple) else _settled(part)
            for part in value
        ]
    return _settled(value)


def _settled(item: Any) -> Any:
    if isinstance(item, _Array):
        if item.value is None:
            raise _Refused("an array without content")
        return item.value
    if isinstance(item, _Name | _Dtype | _Mark):
        raise _Refused("a name where data was due")
    return item

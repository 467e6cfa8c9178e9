"""A pickle interpreter that can only build data: no import, no attribute, no call of a found name.

Python's own unpickler, restricted, still allocates what a file claims and still walks its nesting
on the C stack. This machine knows the opcodes that tensor files use, keeps every value in plain
containers, and hands names and calls to a builder, which answers from a fixed list or refuses.
"""

import struct
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np

from tlearn.hub.errors import HubError, quoted

_LONGEST_NUMBER = 64
# One byte of opcode can make an object of 64; a state dict of 20,000 tensors stays below this.
_MOST_STEPS = 1_000_000
_KEYS = (str, int, float, bool, bytes, type(None))


@runtime_checkable
class Builder(Protocol):
    """Answers what a pickle may ask of the world; raises `HubError` for anything else."""

    def find(self, module: str, name: str) -> Any:
        """Gives the inert stand-in of a global name."""
        ...

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Gives the result of calling a stand-in."""
        ...

    def persistent(self, identity: Any) -> Any:
        """Gives the stand-in of an object stored outside the pickle."""
        ...

    def set_state(self, value: Any, state: Any) -> None:
        """Takes note of a state set on a built value."""
        ...


class _Mark:
    """Where a group of stack items begins."""


_MARK = _Mark()


def run_pickle(data: np.ndarray, start: int, builder: Builder, what: str) -> tuple[Any, int]:
    """Interprets the pickle that begins at a byte.

    Args:
        data: The bytes of the file, or of the archive's member.
        start: Where the pickle begins.
        builder: Answers for every name, call and outside object.
        what: What is being read; named in errors.

    Returns:
        The value, in plain lists, tuples, dictionaries and the builder's stand-ins; and the byte
        after the pickle.

    Raises:
        HubError: At the first opcode that is not one of data, or is broken; with its byte and name.
    """
    machine = _Machine(data, start, builder, what)
    return machine.run(), machine.position


class _Machine:
    def __init__(self, data: np.ndarray, start: int, builder: Builder, what: str) -> None:
        self.data = np.ascontiguousarray(data).data
        self.position = start
        self.builder = builder
        self.what = what
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(_MOST_STEPS):
            at, name = self.position, ""
            try:
                code = self.take(1)[0]
                if code == 0x2E:  # STOP
                    name = "STOP"
                    return self.pop()
                name, step = _OPCODES.get(code) or self.refuse(code)
                step(self)
            except HubError as error:
                opcode = f", opcode {name}" if name else ""
                raise HubError(f"{self.what}: byte {at}{opcode}: {error}") from error
            except (IndexError, TypeError, ValueError, struct.error) as error:
                raise HubError(
                    f"{self.what}: the pickle is broken at byte {at} (opcode {name}): "
                    f"{type(error).__name__}"
                ) from error
        raise HubError(
            f"{self.what}: the pickle has more than {_MOST_STEPS} opcodes: no state dict"
        )

    def refuse(self, code: int) -> NoReturn:
        raise HubError(
            f"the file holds the pickle opcode {_REFUSED.get(code, f'0x{code:02x}')}, which builds "
            "no tensor; it was not executed. If you trust the file's maker, ask for the weights as "
            "safetensors"
        )

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            raise HubError(
                f"the pickle ends at byte {len(self.data)}, in the middle of a value of {count} "
                "bytes: the file is truncated"
            )
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        for end in range(self.position, min(self.position + 512, len(self.data))):
            if self.data[end] == 0x0A:
                text = self.take(end - self.position).tobytes().decode("utf-8")
                self.take(1)
                return text
        raise HubError("a name runs on without end, or the file is truncated")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise HubError("the pickle's stack is empty")
        return self.stack.pop()

    def above_mark(self) -> list[Any]:
        # From the end: groups are short, the stack may not be.
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise HubError("a group has no beginning")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise HubError(f"it wants a {kind.__name__} below its items")
        return self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def update(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise HubError("a dictionary has a key without value")
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a deeply nested tuple overruns the C stack; no tensor file needs one.
            if not isinstance(key, _KEYS):
                raise HubError(f"a dictionary key is a {type(key).__name__}, not text or a number")
            target[key] = value

    def recall(self, slot: int) -> None:
        if slot not in self.memo:
            raise HubError(f"it recalls the value {slot}, which was never kept")
        self.push(self.memo[slot])

    def keep(self, slot: int) -> None:
        self.memo[slot] = self.stack[-1]

    def whole(self, length: int) -> None:
        if not 0 <= length <= _LONGEST_NUMBER:
            raise HubError(f"a whole number of {quoted(length)} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise HubError("a global's name is no text")
        self.push(self.builder.find(module, name))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise HubError("a call's arguments are no tuple")
        self.push(self.builder.call(function, arguments))

    def build(self) -> None:
        state = self.pop()
        self.builder.set_state(self.stack[-1], state)


def _text(layout: str) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        m.push(m.take(m.number(layout)).tobytes().decode("utf-8", "surrogatepass"))

    return step


def _bytes(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.number(layout)).tobytes())


def _old_text(layout: str) -> Callable[[_Machine], None]:
    # Python 2's str: latin-1 takes any byte.
    return lambda m: m.push(m.take(m.number(layout)).tobytes().decode("latin-1"))


def _value(value: Any) -> Callable[[_Machine], None]:
    return lambda m: m.push(value)


def _number(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.number(layout))


def _small_tuple(count: int) -> Callable[[_Machine], None]:
    return lambda m: m.push(tuple(reversed([m.pop() for _ in range(count)])))


def _protocol(m: _Machine) -> None:
    if m.number("<B") > 5:
        raise HubError("a pickle protocol after 5")


def _stack_global(m: _Machine) -> None:
    name, module = m.pop(), m.pop()
    m.find(module, name)


def _set_item(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    m.update([key, value])


def _append(m: _Machine) -> None:
    item = m.pop()
    m.extend([item])


_OPCODES: dict[int, tuple[str, Callable[[_Machine], None]]] = {
    0x80: ("PROTO", _protocol),
    0x95: ("FRAME", lambda m: m.take(8).release()),
    0x28: ("MARK", _value(_MARK)),
    0x30: ("POP", lambda m: m.stack.pop() and None),
    0x4E: ("NONE", _value(None)),
    0x88: ("NEWTRUE", _value(True)),
    0x89: ("NEWFALSE", _value(False)),
    0x4A: ("BININT", _number("<i")),
    0x4B: ("BININT1", _number("<B")),
    0x4D: ("BININT2", _number("<H")),
    0x8A: ("LONG1", lambda m: m.whole(m.number("<B"))),
    0x8B: ("LONG4", lambda m: m.whole(m.number("<i"))),
    0x47: ("BINFLOAT", _number(">d")),
    0x58: ("BINUNICODE", _text("<I")),
    0x8C: ("SHORT_BINUNICODE", _text("<B")),
    0x8D: ("BINUNICODE8", _text("<Q")),
    0x54: ("BINSTRING", _old_text("<I")),
    0x55: ("SHORT_BINSTRING", _old_text("<B")),
    0x42: ("BINBYTES", _bytes("<I")),
    0x43: ("SHORT_BINBYTES", _bytes("<B")),
    0x8E: ("BINBYTES8", _bytes("<Q")),
    0x5D: ("EMPTY_LIST", lambda m: m.push([])),
    0x61: ("APPEND", _append),
    0x65: ("APPENDS", lambda m: m.extend(m.above_mark())),
    0x6C: ("LIST", lambda m: m.push(m.above_mark())),
    0x29: ("EMPTY_TUPLE", _value(())),
    0x74: ("TUPLE", lambda m: m.push(tuple(m.above_mark()))),
    0x85: ("TUPLE1", _small_tuple(1)),
    0x86: ("TUPLE2", _small_tuple(2)),
    0x87: ("TUPLE3", _small_tuple(3)),
    0x7D: ("EMPTY_DICT", lambda m: m.push({})),
    0x73: ("SETITEM", _set_item),
    0x75: ("SETITEMS", lambda m: m.update(m.above_mark())),
    0x68: ("BINGET", lambda m: m.recall(m.number("<B"))),
    0x6A: ("LONG_BINGET", lambda m: m.recall(m.number("<I"))),
    0x71: ("BINPUT", lambda m: m.keep(m.number("<B"))),
    0x72: ("LONG_BINPUT", lambda m: m.keep(m.number("<I"))),
    0x94: ("MEMOIZE", lambda m: m.keep(len(m.memo))),
    0x63: ("GLOBAL", lambda m: m.find(m.line(), m.line())),
    0x93: ("STACK_GLOBAL", _stack_global),
    0x52: ("REDUCE", _Machine.reduce),
    0x62: ("BUILD", _Machine.build),
    0x51: ("BINPERSID", lambda m: m.push(m.builder.persistent(m.pop()))),
}

# Named so that a refusal says what was met.
_REFUSED = {
    0x69: "INST",
    0x6F: "OBJ",
    0x81: "NEWOBJ",
    0x92: "NEWOBJ_EX",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x50: "PERSID",
    0x96: "BYTEARRAY8",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
    0x8F: "EMPTY_SET",
    0x90: "ADDITEMS",
    0x91: "FROZENSET",
    0x64: "DICT",
    0x32: "DUP",
    0x31: "POP_MARK",
    0x49: "INT",
    0x4C: "LONG",
    0x46: "FLOAT",
    0x53: "STRING",
    0x56: "UNICODE",
    0x67: "GET",
    0x70: "PUT",
}

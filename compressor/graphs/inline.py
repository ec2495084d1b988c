"""Move the weights of an ONNX file from the file beside it into it, one after the other.

A protobuf message is otherwise built in memory and then once more as bytes: three times the weights with those of the
network. The file that is written here is, byte for byte, the one that ``onnx.save`` would write.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
from google.protobuf.message import Message

GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
WEIGHTS = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
VALUES = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_LENGTH_DELIMITED = 2  # wire type of messages and bytes


def inline_(file: Path, weights: Path) -> None:
    """Replace a file whose weights lie in ``weights`` by one that holds them, and remove ``weights``.

    Parameters
    ----------
    file : Path
        An ONNX file that is smaller than 2 GiB together with its weights.
    weights : Path
        The only file of weights to which it refers.
    """
    proto = onnx.load(file, load_external_data=False)
    tensors = list(proto.graph.initializer)
    head, tail = _parts(proto.graph, WEIGHTS)
    of_tensors = sum(len(_key(WEIGHTS, size)) + size for size in map(_size, tensors))
    before, after = _parts(proto, GRAPH)
    with file.open("wb") as out, weights.open("rb") as source:
        out.write(before + _key(GRAPH, len(head) + of_tensors + len(tail)) + head)
        for tensor in tensors:
            out.write(_key(WEIGHTS, _size(tensor)))
            _write(tensor, source, out)
        out.write(tail + after)
    weights.unlink()


def _write(tensor: onnx.TensorProto, source: BinaryIO, out: BinaryIO) -> None:
    if not tensor.external_data:
        out.write(tensor.SerializeToString())
        return
    offset, length = _place(tensor)
    head, tail = _parts(_without_place(tensor), VALUES)
    source.seek(offset)
    out.write(head + _key(VALUES, length))
    out.write(source.read(length))
    out.write(tail)


def _size(tensor: onnx.TensorProto) -> int:
    """Count the bytes of a tensor with its values in it."""
    if not tensor.external_data:
        return int(tensor.ByteSize())
    _, length = _place(tensor)
    return int(_without_place(tensor).ByteSize()) + len(_key(VALUES, length)) + length


def _place(tensor: onnx.TensorProto) -> tuple[int, int]:
    """Offset and length of the values in the file beside it."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return int(entries.get("offset", 0)), int(entries["length"])


def _without_place(tensor: onnx.TensorProto) -> onnx.TensorProto:
    plain = onnx.TensorProto()
    plain.CopyFrom(tensor)
    plain.ClearField("external_data")
    plain.ClearField("data_location")
    return plain


def _parts(message: Message, number: int) -> tuple[bytes, bytes]:
    """Serialize the fields before one of that number, and those after it, as the format orders them."""
    return _fields(message, lambda each: each < number), _fields(message, lambda each: each > number)


def _fields(message: Message, is_taken: Callable[[int], bool]) -> bytes:
    part = type(message)()
    part.CopyFrom(message)
    for field, _ in part.ListFields():
        if not is_taken(field.number):
            part.ClearField(field.name)
    return bytes(part.SerializeToString())


def _key(number: int, length: int) -> bytes:
    """Encode the number of a field and the length of what follows."""
    return bytes([*_varint(number << 3 | _LENGTH_DELIMITED), *_varint(length)])


def _varint(value: int) -> Iterator[int]:
    """Encode a whole number, seven bits a byte, the lowest first."""
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value

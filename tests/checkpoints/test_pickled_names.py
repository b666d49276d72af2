"""Pickled names of tensors: read as ``pickle`` would, and nothing of them ever run."""

import base64
import os
import pickle
import random

import pytest

from ke_steps.checkpoints.pickled_names import plain_name, read_tuples
from ke_steps.job.errors import UserError

NAME = "transformer.blocks.11.att_proj.weight"
ONE = (NAME,)


def encode(program):
    return base64.urlsafe_b64encode(program).decode()


def refuse(program, says):
    with pytest.raises(UserError, match=says) as refusal:
        plain_name(encode(program), where="model.safetensors")
    line = str(refusal.value)
    assert line.startswith("model.safetensors: tensor ")
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "keys",
    [
        ONE,
        ("model", NAME),
        ("model", "blocks", NAME),
        ("a", "b", "c", "d", NAME),
        (NAME, NAME, NAME, NAME),  # the same object: kept in the memo, and fetched from it
        ("n" * 300,),  # a longer form of text
        ("Gewicht.größer",),
    ],
)
def test_round_trip(keys, protocol):
    for dumps in (pickle.dumps, pickle._dumps):  # in C, and in Python
        program = dumps((keys, False), protocol)
        assert read_tuples(program) == (keys, False)
        assert plain_name(encode(program), where="f") == ".".join(keys)
        assert plain_name(base64.b64encode(program).decode(), where="f") == ".".join(keys)


def test_all_forms_of_a_memo():
    """More than 256 entries, which need the longer opcodes."""
    value = tuple(f"key {number}" for number in range(300))
    value = (*value, *value)
    for protocol in (2, 4):
        assert read_tuples(pickle.dumps(value, protocol)) == value
    assert read_tuples(pickle.dumps((), 2)) == ()


@pytest.mark.parametrize(
    "name",
    [
        NAME, "model.embed_tokens.weight", "weight", "Zm9v", "gAS", "x=y", "", "größe",
        base64.b64encode(b"text").decode(),
    ],
)  # fmt: skip
def test_a_plain_name_stays(name):
    assert plain_name(name, where="f") == name


class Calls:
    """What a malicious pickle holds: unpickling it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def by_hand(marker):
    """Return programs that no pickler writes, but every unpickler runs."""
    command = f"touch {marker}".encode()
    text = b"X" + len(command).to_bytes(4, "little") + command
    return {
        "GLOBAL": b"\x80\x02cos\nsystem\n" + text + b"\x85R.",
        "MARK": b"\x80\x02(ios\nsystem\n.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text + b"\x85R.",
        "GLOBAL ": b"\x80\x02(cos\nsystem\n" + text + b"o.",
        "EXT1": b"\x80\x02\x82\x01" + text + b"\x85R.",
        "PERSID": b"\x80\x02Pname\n.",
        "REDUCE": b"\x80\x02" + text + b"\x85" + text + b"R.",
        "BUILD": b"\x80\x02" + text + text + b"b.",
        "NEWOBJ": b"\x80\x02" + text + b")\x81.",
        "INST": b"\x80\x02(" + text + b"ios\nsystem\n.",
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_call_is_refused_and_not_run(tmp_path, protocol):
    marker = tmp_path / "ran"
    for value in (Calls(marker), (Calls(marker), False), ((NAME, Calls(marker)), False)):
        program = pickle.dumps(value, protocol)
        refuse(
            program, r"pickle of more than text \(opcode (GLOBAL|STACK_GLOBAL)\), which is never"
        )
        assert not marker.exists()
    pickle.loads(program)
    assert marker.exists()


@pytest.mark.parametrize("opcode", by_hand("x"))
def test_a_call_made_by_hand_is_refused_and_not_run(tmp_path, opcode):
    marker = tmp_path / "ran"
    named = {"MARK": "INST", "GLOBAL ": "GLOBAL"}.get(opcode, opcode)
    refuse(by_hand(marker)[opcode], rf"\(opcode {named}\)")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ((ONE, True), "and so is its value, which is never run"),
        ((("step",), True), "and so is its value"),
        (((), False), "something else than keys and a truth value"),
        ((NAME, False), "something else"),
        (ONE, "something else"),
        ((ONE, ONE), "something else"),
        ((ONE, False, False), "something else"),
        (((ONE,), False), "something else"),
        (False, "something else"),
        (((3,), False), r"more than text \(opcode BININT1\)"),
        (((NAME, None), False), "opcode NONE"),
        (((b"x",), False), "opcode "),
        (((1.5,), False), "opcode BINFLOAT"),
        (([NAME], False), "opcode EMPTY_LIST"),
        ({"keys": ONE}, "opcode EMPTY_DICT"),
        ((frozenset(ONE), False), "opcode "),
    ],
)
def test_other_values_are_refused(value, says):
    for protocol in (2, 4):
        refuse(pickle.dumps(value, protocol), says)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (b"\x80\x04h\x07.", "BINGET finds nothing at byte 2"),
        (b"\x80\x04\x89t.", "TUPLE finds nothing"),
        (b"\x80\x04\x89\x86.", "TUPLE2 finds nothing"),
        (b"\x80\x04\x94.", "MEMOIZE finds nothing"),
        (b"\x80\x04q\x00.", "BINPUT finds nothing"),
        (b"\x80\x04.", "left over"),
        (b"\x80\x04\x89\x89.", "left over"),
        (b"\x80\x04\x89.\x89", "left over"),
        (b"\x80\x04(.", "something else"),
        (b"\x80\x04(\x89\x86.", "something else"),
        (b"\x80\x04\xff.", "opcode"),
        (b"\x80\x04X\xff\xff\xff\x7fabc.", "more than text"),
        (b"\x80\x04\x8c\x02\xff\xfe.", "more than text"),
    ],
)
def test_a_pickle_that_is_none_is_refused(program, says):
    refuse(program, says)


def test_half_a_pickle_is_refused():
    for protocol in (2, 3, 4, 5):
        program = pickle.dumps((ONE, False), protocol)
        for length in range(1, len(program)):
            refuse(program[:length], "more than text")


def test_no_damage_is_more_than_a_wrong_name():
    """Whatever bytes are changed: text comes back, or one error of one kind."""
    draw = random.Random(0)
    for _ in range(3000):
        program = bytearray(pickle.dumps((("a", NAME, "a", "b"), False), draw.choice([2, 3, 4, 5])))
        for _ in range(draw.randint(1, 4)):
            program[draw.randrange(1, len(program))] = draw.randrange(256)
        try:
            assert isinstance(plain_name(encode(program), where="f"), str)
        except UserError:
            continue

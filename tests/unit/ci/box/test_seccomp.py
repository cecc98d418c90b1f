"""The filter of system calls, carried out here as the kernel does it."""

import errno
import struct

import pytest

from kvsync.ci.box.seccomp import MACHINES, NUMBERS, program

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, UNKNOWN = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS

AUDITED = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKET = {"x86_64": 41, "aarch64": 198}


def answer(code: bytes, number: int, architecture: int, argument: int = 0) -> int:
    """Carry a filter out."""
    given = struct.pack("IIQQ", number, architecture, 0, argument)
    lines, at, value = list(struct.iter_unpack("HBBI", code)), 0, 0
    while True:
        operation, yes, no, constant = lines[at]
        at += 1
        match operation:
            case 0x20:
                (value,) = struct.unpack_from("I", given, constant)
            case 0x06:
                return int(constant)
            case 0x15:
                at += yes if value == constant else no
            case 0x35:
                at += yes if value >= constant else no
            case 0x45:
                at += yes if value & constant else no
            case other:
                raise AssertionError(other)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_listed_is_refused_and_the_rest_is_not(machine: str) -> None:
    """On every kind of machine, by its own numbers."""
    code, refused = program(machine), {numbers[[*MACHINES].index(machine)] for numbers in NUMBERS.values()}
    special = {435, CLONE[machine], SOCKET[machine]}

    answers = {number: answer(code, number, AUDITED[machine]) for number in set(range(500)) - special}

    assert {number for number, said in answers.items() if said == REFUSED} == refused
    assert {said for number, said in answers.items() if number not in refused} == {ALLOWED}


@pytest.mark.parametrize("machine", MACHINES)
def test_processes_are_made_and_namespaces_are_not(machine: str) -> None:
    """clone3 hides its flags from filters, so it does not exist; libraries take clone then."""
    code, fork, new_user, new_network = program(machine), 0x01200011, 0x10000000, 0x40000000

    said = [answer(code, CLONE[machine], AUDITED[machine], flags) for flags in (fork, new_user, new_network)]

    assert said == [ALLOWED, REFUSED, REFUSED]
    assert answer(code, 435, AUDITED[machine]) == UNKNOWN


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets_are_of_families_that_a_network_namespace_has(machine: str) -> None:
    """VSOCK (40) reaches the host of a virtual machine from each; ALG (38) is a history of holes."""
    code = program(machine)

    said = {
        family: answer(code, SOCKET[machine], AUDITED[machine], family)
        for family in (1, 2, 10, 16, 17, 38, 40)
    }

    assert [family for family, one in said.items() if one == ALLOWED] == [1, 2, 10, 16]


def test_another_way_of_calling_is_none() -> None:
    """A 32-bit call ends the process, one of the x32 kind is refused: the numbers mean others there."""
    code = program("x86_64")

    assert answer(code, 1, 0x40000003) == KILLED
    assert answer(code, 0x40000000 + 1, AUDITED["x86_64"]) == REFUSED


def test_a_machine_without_a_list_has_no_filter() -> None:
    """It is said, not guessed."""
    with pytest.raises(ValueError, match="no list of system calls for riscv64"):
        program("riscv64")

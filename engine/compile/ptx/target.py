"""What differs between a GPU and a processor that plays one: how a kernel learns its thread.

A kernel's body is one function, written once:

    void @body(.., i64 thread, i64 threads, i64 block, i64 blocks)

On a GPU the kernel reads the four numbers from registers. Emulated, they are parameters, and a
block's threads take turns. Memory is generic pointers and atomics LLVM's own instructions: each
back end lowers them, NVPTX to the global address space.
"""

from __future__ import annotations

from typing import Protocol

from foveal.engine.compile.llvm.text import Function, Value, integer

NUMBERS = ("thread", "threads", "block", "blocks")
MAX_THREADS = 256
"""Threads of a block at most: what registers are shared out for."""
_REGISTERS = {"thread": "tid", "threads": "ntid", "block": "ctaid", "blocks": "nctaid"}


class Target(Protocol):
    """Writes the function that is launched around a body."""

    name: str

    def kernel(self, name: str, body: Function, parameters: list[tuple[str, str]]) -> Function:
        """Return the function to be launched; `parameters`: the body's, without the numbers."""
        ...


class Nvptx:
    """A GPU: the numbers are in registers, every thread calls the body."""

    name = "nvptx"

    def kernel(self, name: str, body: Function, parameters: list[tuple[str, str]]) -> Function:
        """Return an entry point of a PTX module."""
        f = Function(
            name, "void", parameters, f'nounwind "nvvm.maxntid"="{MAX_THREADS}"', "ptx_kernel"
        )
        numbers: list[Value] = []
        for number in NUMBERS:
            register = f.call("i32", f"llvm.nvvm.read.ptx.sreg.{_REGISTERS[number]}.x")
            numbers.append(f.resize(register, "i64", signed=False))
        f.call("void", body.name, *(f.parameters[given] for _, given in parameters), *numbers)
        f.ret()
        return f


class Emulated:
    """This processor: `void @name(ptr words, i64 block, i64 blocks, i64 threads)` runs a block.

    `words`: the parameters, a 64-bit word each. The threads of the block run one after the other.
    """

    name = "emulated"

    def kernel(self, name: str, body: Function, parameters: list[tuple[str, str]]) -> Function:
        """Return a function that runs every thread of one block."""
        listed = [("ptr", "words"), ("i64", "block"), ("i64", "blocks"), ("i64", "threads")]
        f = Function(name, "void", listed, "nounwind")
        arguments: list[Value] = []
        for place, (type_, _) in enumerate(parameters):
            word = f.at(f.parameters["words"], "i64", integer(place))
            arguments.append(f.load(type_.split()[0], word, align=8))
        turn, done, entry = f.label("thread"), f.label("done"), f.block
        threads = f.parameters["threads"]
        f.branch_if(f.compare("sgt", threads, integer(0)), turn, done)
        f.open(turn)
        thread = f.phi("i64")
        thread.add(integer(0), entry)
        numbers = [thread.value, threads, f.parameters["block"], f.parameters["blocks"]]
        f.call("void", body.name, *arguments, *numbers)
        following = f.op("add", thread.value, integer(1))
        thread.add(following, turn)
        f.branch_if(f.compare("slt", following, threads), turn, done)
        f.open(done)
        f.ret()
        return f


def body(name: str, parameters: list[tuple[str, str]]) -> Function:
    """Open a kernel's body, to be inlined into what is launched."""
    numbers = [("i64", number) for number in NUMBERS]
    return Function(name, "void", [*parameters, *numbers], "alwaysinline nounwind", "internal")


def grid_place(f: Function) -> tuple[Value, Value]:
    """Return a thread's number in the whole grid, and how many threads that has."""
    thread, threads, block, blocks = (f.parameters[number] for number in NUMBERS)
    return f.op("add", f.op("mul", block, threads), thread), f.op("mul", threads, blocks)

"""Arrays on a device: those used again stay there, the one used longest ago leaves first."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from foveal.engine.compile.data import Array
from foveal.engine.compile.ptx.libcuda import OUT_OF_MEMORY, Device, DeviceError


@dataclass(slots=True)
class _Held:
    """One array's copy. `alive`: the array, while anybody has it; `users`: running programs."""

    address: int
    nbytes: int
    alive: weakref.ref[Array]
    users: int = 0


class Residency:
    """Copies of arrays by identity, within a bound of bytes.

    An array must not change while it has a copy; the copies of arrays that nobody has any longer
    leave at the next use. What a running program uses stays, bound or not. Not for several threads
    at once: the runner holds a lock.
    """

    def __init__(self, device: Device, limit: int) -> None:
        """Hold nothing. `limit`: bytes of all copies together."""
        self._device, self._limit = device, limit
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self.nbytes = 0
        self.uploaded = 0

    def __contains__(self, array: Array) -> bool:
        """Say whether an array has a copy."""
        found = self._held.get(id(array))
        return found is not None and found.alive() is array

    def missing(self, arrays: list[Array]) -> int:
        """Return the bytes that would have to be copied."""
        return sum({id(a): a.nbytes for a in arrays if a not in self}.values())

    def address(self, array: Array) -> int:
        """Return where an array's copy is, made now if there is none; it stays until `release`.

        Raises:
            DeviceError: the device has no room.
        """
        found = self._held.get(id(array))
        if found is None or found.alive() is not array:
            self._purge()
            found = self._copied(array)
        self._held.move_to_end(id(array))
        found.users += 1
        return found.address

    def release(self, array: Array) -> None:
        """Say that a program no longer uses an array."""
        self._held[id(array)].users -= 1

    def trim(self) -> None:
        """Drop copies beyond the bound."""
        self._purge()
        self._shrink(self._limit)

    def clear(self) -> None:
        """Drop all copies that no program uses."""
        while self._drop_oldest():
            pass

    def _copied(self, array: Array) -> _Held:
        self._shrink(max(self._limit - array.nbytes, 0))
        address = self.allocate(array.nbytes)
        try:
            self._device.upload(address, array)
        except BaseException:
            self._device.free(address)
            raise
        self.uploaded += array.nbytes
        self.nbytes += array.nbytes
        found = self._held[id(array)] = _Held(address, array.nbytes, weakref.ref(array))
        return found

    def allocate(self, nbytes: int) -> int:
        """Return memory of the device, copies that nobody uses making room.

        Raises:
            DeviceError: there is no room all the same.
        """
        while True:
            try:
                return self._device.allocate(nbytes)
            except DeviceError as error:
                if error.code != OUT_OF_MEMORY or not self._drop_oldest():
                    raise

    @contextmanager
    def scratch(self, nbytes: int) -> Generator[int]:
        """Lend memory of the device.

        Raises:
            DeviceError: there is no room.
        """
        address = self.allocate(nbytes)
        try:
            yield address
        finally:
            self._device.free(address)

    def _purge(self) -> None:
        """Drop the copies of arrays that are gone."""
        for key in [k for k, held in self._held.items() if held.alive() is None]:
            self._drop(key)

    def _shrink(self, limit: int) -> None:
        while self.nbytes > limit and self._drop_oldest():
            pass

    def _drop_oldest(self) -> bool:
        """Drop the unused copy used longest ago; return whether there was one."""
        key = next((k for k, held in self._held.items() if not held.users), None)
        if key is None:
            return False
        self._drop(key)
        return True

    def _drop(self, key: int) -> None:
        held = self._held.pop(key)
        self.nbytes -= held.nbytes
        self._device.free(held.address)

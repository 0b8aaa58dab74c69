"""An answer in pieces, while a network writes it in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

UNFINISHED = "\ufffd"
"""What a tokenizer makes of bytes that are no whole character yet."""


class Streamer:
    """What transformers' `generate` calls with new ids. The pieces joined are `read` of all of them.

    `name` is an id's token: behind one that is a byte (<0x0A>) nothing is sure until the run of bytes ends.
    """

    def __init__(self, read: Callable[[list[int]], str], name: Callable[[int], str]) -> None:
        self._read = read
        self._name = name
        self._ids: list[int] = []
        self._given = ""
        self._prompt = True
        self._pieces: SimpleQueue[str | BaseException | None] = SimpleQueue()

    def put(self, ids: Any) -> None:
        """Ids of the prompt first, then each new one."""
        if self._prompt:
            self._prompt = False
            return
        self._ids += ids.flatten().tolist()
        text = self._read(self._ids)
        if not text.endswith(UNFINISHED) and not self._name(self._ids[-1]).startswith("<0x"):
            self._give(text)

    def end(self) -> None:
        """Everything is written."""
        self._give(self._read(self._ids))

    def pieces(self, write: Callable[[Streamer], Any]) -> Iterator[str]:
        """What `write` makes the network write, in a thread. Raises what it raises."""

        def work() -> None:
            try:
                write(self)
                self._pieces.put(None)
            except BaseException as error:  # noqa: BLE001 - raised again where the pieces are read
                self._pieces.put(error)

        worker = Thread(target=work, daemon=True)
        worker.start()
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
        worker.join()

    def _give(self, text: str) -> None:
        if len(text) > len(self._given) and text.startswith(self._given):
            self._pieces.put(text[len(self._given) :])
            self._given = text

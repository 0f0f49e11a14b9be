"""The few threads that synchronous transactions run in, replaced when the XML library has worn them out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from ihe import xml

R = TypeVar("R")


class _Job:
    """One call and the future that waits for it."""

    __slots__ = ("_arguments", "_call", "_future")

    def __init__(self, future: Future[Any], call: Callable[..., Any], arguments: dict[str, Any], *given: Any) -> None:
        self._future = future
        self._call = call
        self._arguments = given, arguments

    def run(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        given, named = self._arguments
        try:
            self._future.set_result(self._call(*given, **named))
        except BaseException as raised:  # noqa: BLE001 - an executor hands over whatever its job raised
            self._future.set_exception(raised)
            # The exception leads to this frame, and this frame must not lead back to the exception.
            del self, given, named


class Pool(Executor):
    """A fixed number of threads. libxml2 keeps every name it has met until its thread ends, so a thread that has met
    too many (ihe.xml.worn) hands its place to a fresh one: hostile names cannot fill the memory."""

    def __init__(self, threads: int) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._closed = False
        self._threads: set[threading.Thread] = set()
        for _ in range(threads):
            self._hire()

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """See concurrent.futures.Executor."""
        future: Future[R] = Future()
        with self._turn:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._jobs.put(_Job(future, fn, kwargs, *args))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Every job submitted before is run, then the threads end; with `wait` they have ended when this returns.

        `cancel_futures` is not supported: a transaction that was admitted is carried out.
        """
        with self._turn:
            self._closed = True
            # One end serves all: whoever finds it passes it on, also when threads have been replaced meanwhile.
            self._jobs.put(None)
        while wait and (threads := self._hired()):
            for thread in threads:
                thread.join()

    def _hire(self) -> None:
        thread = threading.Thread(target=self._work, name="transaction", daemon=True)
        # Added and started in one step: nobody may wait for the end of a thread that has not begun.
        with self._turn:
            self._threads.add(thread)
            thread.start()

    def _hired(self) -> list[threading.Thread]:
        with self._turn:
            return list(self._threads)

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                job.run()
                del job
                if xml.worn():
                    return self._hire()
            self._jobs.put(None)
        finally:
            self._threads.discard(threading.current_thread())
        return None

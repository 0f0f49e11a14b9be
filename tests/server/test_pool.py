"""server.pool: a fixed number of threads, each replaced before hostile names fill it."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from ihe import xml
from server.pool import Pool

NAMES = b"<a>" + b"".join(b"<n%d/>" % each for each in range(40_000)) + b"</a>"


@pytest.fixture(autouse=True)
def others() -> set[threading.Thread]:
    """Threads of pools that earlier tests left to end by themselves."""
    OTHERS.clear()
    OTHERS.update(threading.enumerate())
    return OTHERS


OTHERS: set[threading.Thread] = set()


def transactions() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "transaction" and each not in OTHERS]


def test_jobs_run_in_no_more_threads_than_there_are_and_give_what_they_return_or_raise() -> None:
    pool = Pool(3)
    together = threading.Barrier(3)
    assert {job.result(5) for job in [pool.submit(together.wait, 5) for _ in range(3)]} == {0, 1, 2}
    assert pool.submit(int, "7", base=8).result(5) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        pool.submit(int, "x").result(5)
    with pytest.raises(SystemExit):
        pool.submit(exit, 1).result(5)
    assert len(transactions()) == 3
    pool.shutdown()
    assert not transactions()


def test_a_worn_thread_hands_its_place_to_a_fresh_one() -> None:
    pool = Pool(2)
    seen: set[int] = set()

    def job() -> None:
        xml.read(NAMES, xml.ANSWER)
        seen.add(threading.get_native_id())

    for number in range(100):
        pool.submit(job).result(5)
        assert len(transactions()) <= 2 * 2, number
    assert len(seen) > 2
    assert all(pool.submit(xml.worn).result(5) in (True, False) for _ in range(4))
    pool.shutdown()
    assert not transactions()


def test_what_was_submitted_before_the_end_is_done_and_nothing_after() -> None:
    pool = Pool(2)
    jobs = [pool.submit(time.sleep, 0.01) for _ in range(10)]
    pool.shutdown()
    assert all(job.done() for job in jobs)
    with pytest.raises(RuntimeError):
        pool.submit(int)


def test_a_job_that_was_cancelled_is_never_begun() -> None:
    pool = Pool(1)
    go = threading.Event()
    first, second, third = pool.submit(go.wait, 5), pool.submit(go.clear), pool.submit(go.is_set)
    assert second.cancel()
    go.set()
    assert (first.result(5), third.result(5)) == (True, True)
    pool.shutdown()


def test_a_failed_job_keeps_nothing_of_its_arguments_alive() -> None:
    class Request:
        """Something large."""

    def fail(request: Request) -> None:
        raise ValueError

    pool = Pool(1)
    gc.disable()
    try:
        request = Request()
        gone = weakref.ref(request)
        future = pool.submit(fail, request)
        with pytest.raises(ValueError):  # noqa: PT011 - the type is all there is to see
            future.result(5)
        del request, future
        assert gone() is None
    finally:
        gc.enable()
        pool.shutdown()

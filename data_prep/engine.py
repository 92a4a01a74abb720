"""Where the work of a stage runs: in this process, on this machine's cores, or on a Ray cluster.

An engine does one thing: it applies a function to items and yields the results in order. Everything else
(what a row becomes, which texts are near duplicates) is written once, in functions that do not know where they run.
"""

import contextlib
import itertools
import multiprocessing
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from data_prep.command import REPOSITORY, UserError
from data_prep.settings import EngineSettings

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items handed out per worker beyond the one it works on: none waits, and memory stays bounded


class Engine(Protocol):
    """Applies functions to items; `workers` of them at a time."""

    workers: int

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results in the items' order; function, items and results must be picklable."""


class Sequential:
    """Runs everything in this process."""

    workers = 1

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results in the items' order."""
        return map(function, items)


class Processes:
    """Runs items on this machine's cores. The processes start when there is a second item, so small jobs need none."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        # spawn: a fork of a process that has threads (Arrow's, tokenizers') can hang
        return ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results in the items' order.

        Raises
        ------
        UserError
            If a worker process was ended from outside.
        """
        items = iter(items)
        start = list(itertools.islice(items, 2))
        if len(start) < 2 or self.workers < 2:
            yield from map(function, itertools.chain(start, items))
            return
        try:
            yield from self._map(function, itertools.chain(start, items))
        except BrokenProcessPool:
            raise UserError(
                "a worker process was ended from outside, most often because memory ran out: repeat with engine.workers=1"
            ) from None

    def _map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(self._pool.submit(function, item))
            if len(pending) > AHEAD * self.workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if "_pool" in self.__dict__:
            self._pool.shutdown(cancel_futures=True)


class Ray:
    """Runs items as Ray tasks, on a cluster whose nodes see the same files as this one (see docs/scaling.md)."""

    def __init__(self, settings: EngineSettings) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("engine=ray needs Ray: run `pip install -r requirements-ray.lock`, or leave engine=local") from None
        self._ray: Any = ray
        _check_reachable(settings.address)
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            environment = {"env_vars": {"PYTHONPATH": str(REPOSITORY)}}
            options: dict[str, Any] = {"log_to_driver": False, "runtime_env": environment}
            if settings.address is None:
                options |= {"num_cpus": settings.workers, "include_dashboard": False}
            self._ray.init(settings.address or "local", **options)
        self.workers = int(self._ray.cluster_resources().get("CPU", 1))

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results in the items' order."""
        task = self._ray.remote(_apply)
        function_reference = self._ray.put(function)
        pending: deque[Any] = deque()
        for item in items:
            pending.append(task.remote(function_reference, item))
            if len(pending) > AHEAD * self.workers:
                yield self._result(pending.popleft())
        while pending:
            yield self._result(pending.popleft())

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None  # what the function raised, without Ray's account of where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_ours:
            self._ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise a `UserError` if nothing listens at host:port (Ray itself waits a minute and then ends the process)."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # Ray's own names: "auto", or none for a cluster of this machine
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"no Ray cluster at engine.address={address} ({error}): start one with `ray start --head`") from None


def _apply(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def open_engine(settings: EngineSettings) -> contextlib.AbstractContextManager[Engine]:
    """The engine that `engine=...` names; leaving the context ends its workers.

    Raises
    ------
    UserError
        If the name is unknown, or Ray is asked for and is not installed or not reachable.
    """
    match settings.name:
        case "local":
            return Processes(settings.workers or os.cpu_count() or 1)
        case "ray":
            return Ray(settings)
        case other:
            raise UserError(f"engine.name={other} is unknown: use local or ray")

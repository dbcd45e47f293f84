"""Runs on a Ray cluster: two nodes on loopback, in processes that end with these tests."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.engine.execution import Execution
from fedcore.harness.runs import ray as ray_pool
from fedcore.harness.runs.job import Failure, Job, execute
from fedcore.harness.runs.processes import RUN_ATTEMPTS, ProcessPool
from fedcore.harness.runs.ray import RayPool, on_node
from fedcore.ray_cluster import LOCAL, SETTINGS, RayError, cluster_of
from fedcore.records.inputs import inputs_of
from fedcore.records.record import Record
from fedcore.records.store import Run, Store
from tests.harness.runs.test_processes import attempts, jobs, mortal, silent, slow

pytest_plugins = ["pytester"]

TINY = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
HERE = Execution(device="cpu")

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason='Ray is not installed: pip install -c constraints.txt -e ".[flower]"',
)


def planned(folder: Path, seed: int = 0) -> Job:
    """A job as the lab makes it."""
    inputs = inputs_of(TINY, folder, HERE)
    return Job(Run(TINY, seed), inputs, Store(folder), folder, HERE)


def refused(run: Any) -> Failure:
    raise AssertionError("this node must not run it")


def where(job: Job) -> Failure:
    """Which node it ran on, once two runs are under way at the same time."""
    import ray

    (job.data_dir / str(job.run.seed)).touch()
    deadline = time.monotonic() + 30
    while len(list(job.data_dir.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return Failure(ray.get_runtime_context().get_node_id(), expected=True)


# without Ray


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"needs Ray .*pip install -c constraints.txt -e"):
        RayPool(None, 1)


@pytest.mark.parametrize("address", ["nowhere", "host:", ":1", "host:x", "host:0", "h:65536", ""])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(RayError, match="must be HOST:PORT, ray://HOST:PORT or auto, got"):
        RayPool(address, 1)


def test_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(RayError, match=f"no Ray cluster at 127.0.0.1:{port} .*Connection refused"):
        RayPool(f"127.0.0.1:{port}", 1)
    assert time.monotonic() - begun < ray_pool.ANSWER_SECONDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--executor=ray", "--ray-address=nowhere"], "--ray-address must be HOST:PORT"),
        (["--ray-address=127.0.0.1:1"], "--ray-address is for --executor ray"),
        (["--executor=rays"], "invalid choice: 'rays'"),
    ],
)
def test_the_suite_refuses_with_status_4(suite: Any, arguments: list[str], message: str) -> None:
    suite.pytester.plugins = []
    result = suite.pytester.runpytest_inprocess("-p", "fedcore.harness.plugin", *arguments)
    assert result.ret == 4
    assert message in suite.text(result)
    assert "Traceback" not in suite.text(result)


def test_a_node_stores_nothing_and_says_what_it_depended_on(tmp_path: Path) -> None:
    job = planned(tmp_path)
    inputs, record = on_node(execute, job)
    assert inputs == job.inputs
    assert isinstance(record, Record)
    assert not list((tmp_path / "records").iterdir())
    here = execute(job)
    assert isinstance(here, Record)
    assert record.model_digest == here.model_digest


@pytest.mark.parametrize("name", ["data", "weights", "code"])
def test_a_node_with_other_files_or_code_refuses(tmp_path: Path, name: str) -> None:
    job = planned(tmp_path)
    assert job.inputs is not None
    other = dataclasses.replace(job.inputs, **{name: "planned"})
    inputs, result = on_node(refused, dataclasses.replace(job, inputs=other))
    assert inputs is None
    assert isinstance(result, Failure)
    assert result.expected
    assert f"has other {name} than the machine that planned the run" in result.message
    assert "not planned): install the same fedcore" in result.message


def test_a_record_of_another_kind_of_machine_says_so(tmp_path: Path) -> None:
    job = planned(tmp_path)
    assert job.inputs is not None
    others = {"machine": "another kind", "kernels": "none", "versions": (("torch", "0"),)}
    elsewhere = dataclasses.replace(job.inputs, **others)
    inputs, record = on_node(execute, dataclasses.replace(job, inputs=elsewhere))
    assert inputs == job.inputs
    assert isinstance(record, Record)


def test_a_node_without_the_directory_reads_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(job: Job) -> Failure:
        seen.append(job.data_dir)
        return Failure("", expected=True)

    monkeypatch.setenv("FEDCORE_DATA", str(tmp_path / "own"))
    on_node(look, planned(tmp_path))
    on_node(look, dataclasses.replace(planned(tmp_path), data_dir=tmp_path / "planner's"))
    assert seen == [tmp_path, tmp_path / "own"]


def test_a_node_without_the_data_is_named(tmp_path: Path) -> None:
    job = planned(tmp_path)
    missing = TINY.but(dataset=f"npz:{tmp_path}/absent.npz")
    _, result = on_node(refused, dataclasses.replace(job, run=Run(missing, 0)))
    assert isinstance(result, Failure)
    assert result.expected
    assert f": DataError: {tmp_path}/absent.npz: there is no such file" in result.message


# with Ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes on loopback."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, **LOCAL}.items():  # and taken back afterwards
            patch.setenv(name, value)
        root = str(Path(__file__).resolve().parents[3])
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.getenv("PYTHONPATH")])))
        script = Path(__file__).parents[1] / "ray_cluster.py"
        with cluster_of([sys.executable, "-W", "ignore", str(script)]) as address:
            assert address.startswith("127.0.0.1:")
            yield address


@pytest.fixture
def pool(cluster: str, request: pytest.FixtureRequest) -> Iterator[RayPool]:
    made = RayPool(cluster, None, run=getattr(request, "param", mortal))
    yield made
    made.close()


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("pool", [where], indirect=True)
def test_both_nodes_work_one_cpu_a_run(pool: RayPool, tmp_path: Path) -> None:
    assert pool.workers == 2
    wanted = jobs(tmp_path, 0, 1)
    for job in wanted:
        pool.submit(job)
    nodes = [pool.result(job).message for job in wanted]  # type: ignore[union-attr]
    assert len(set(nodes)) == 2  # a node has one CPU


@needs_ray
@pytest.mark.slow
def test_a_run_that_kills_its_worker_twice_is_a_failure(pool: RayPool, tmp_path: Path) -> None:
    wanted = jobs(tmp_path, 0, 100, 200, 3)  # 100 always dies, 200 once: see `mortal`
    for job in wanted:
        pool.submit(job)
        pool.submit(job)
    found = {job.run.seed: pool.result(job) for job in reversed(wanted)}
    dead = found.pop(100)
    assert isinstance(dead, Failure)
    assert not dead.expected
    assert dead.message.startswith(f"the worker process of {wanted[1].run.id} died (")
    assert "twice" in dead.message
    assert len(pool.incidents()) == 2
    assert found == {seed: Failure(str(seed), True) for seed in (0, 200, 3)}
    assert attempts(tmp_path) == {0: 1, 100: RUN_ATTEMPTS, 200: 2, 3: 1}
    assert all(map(pool.done, wanted))


@needs_ray
@pytest.mark.slow
def test_a_task_that_hangs_is_named_ended_and_made_once_more(cluster: str, tmp_path: Path) -> None:
    pool = RayPool(cluster, None, run=silent, patience=2.0)
    always, once, good = jobs(tmp_path, 100, 200, 1)  # see `silent`
    try:
        for job in (always, once, good):
            pool.submit(job)
        assert pool.result(good) == Failure("1", True)
        assert pool.result(once) == Failure("200", True)
        dead = pool.result(always)
    finally:
        pool.close()
    assert isinstance(dead, Failure)
    assert "gave no sign of life for 2 s and was ended (process " in dead.message
    assert "raise --worker-timeout" in dead.message
    assert attempts(tmp_path) == {1: 1, 100: 2, 200: 2}
    assert len(pool.incidents()) == 2


@needs_ray
@pytest.mark.slow
def test_close_drops_what_waits_and_finishes_what_runs(cluster: str, tmp_path: Path) -> None:
    pool = RayPool(cluster, 1, run=slow)
    assert pool.workers == 1
    wanted = jobs(tmp_path, *range(20))
    for job in wanted:
        pool.submit(job)
    with pytest.raises(TimeoutError):
        pool.result(wanted[-1], timeout=0.01)
    while not any(map(pool.done, wanted)):
        time.sleep(0.01)
    pool.close()
    made = attempts(tmp_path)
    assert 1 <= len(made) < 20
    assert set(made.values()) == {1}
    pool.close()  # a second time changes nothing


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("pool", [execute], indirect=True)
def test_a_record_comes_back_and_is_stored_here(pool: RayPool, tmp_path: Path) -> None:
    job = planned(tmp_path)
    pool.submit(job)
    record = pool.result(job)
    assert isinstance(record, Record)
    assert job.store is not None
    assert job.inputs is not None
    assert job.store.get(job.run, job.inputs) == record
    same = ProcessPool(1)
    same.submit(job)
    here = same.result(job)
    assert isinstance(here, Record)
    assert (here.model_digest, here.loss) == (record.model_digest, record.loss)


@needs_ray
@pytest.mark.slow
def test_what_is_no_cluster_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "ANSWER_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RayError, match=f"{address} did not answer as a Ray cluster within 6 s"):
            RayPool(address, 1)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False], ids=["two nodes", "started here"])
def test_the_suite_gives_the_same_results(suite: Any, cluster: str, given: bool) -> None:
    # other processes: Ray marks the one that it has been started in
    there = ["--executor=ray", *([f"--ray-address={cluster}"] if given else [])]
    assert suite.run("--results=processes", jobs=2).ret == 0
    result = suite.pytester.runpytest_subprocess(
        "-p", "fedcore.harness.plugin", "-W", "error", "--jobs=2", "--results=ray", *there
    )
    assert result.ret == 0
    assert suite.effort(result) == (0, 16)
    assert "16 to make with 2 Ray workers on cpu" in suite.text(result)
    assert suite.results("ray") == suite.results("processes")
    names = [[path.name for path in suite.records(folder)] for folder in ("ray", "processes")]
    assert names[0] == names[1]  # so that either finds what the other made

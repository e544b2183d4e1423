"""The time that a stage may work on a document, by its worker's processor time and by its silence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from blocks.language_model.settings import LanguageModelSettings
from blocks.settings import Settings
from tasks.contract import SOURCE, DocumentInfo, Services
from tasks.job import Job
from tasks.registry import stage_named
from tasks.time_limit import LOOK_SECONDS, LimitExceeded, LimitWatch, TimeLimit, time_limit

LIMIT = TimeLimit(cpu_seconds=10.0, silence_seconds=5.0)


class Worker:
    """A process whose processor time, and a clock whose time, a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cpu_seconds = 3.0  # of the jobs before
        self.has_ended = False

    def cpu_times(self) -> SimpleNamespace:
        if self.has_ended:
            raise psutil.NoSuchProcess(1)
        half = self.cpu_seconds / 2
        return SimpleNamespace(user=half, system=0.0, children_user=half, children_system=0.0)

    def watch(self) -> LimitWatch:
        return LimitWatch(self, LIMIT, clock=lambda: self.now)

    def passes(self, watch: LimitWatch, seconds: float, *, cpu_share: float) -> None:
        """Let time pass in steps, as the pool looks."""
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.now += LOOK_SECONDS
            self.cpu_seconds += LOOK_SECONDS * cpu_share
            watch.check()


def test_a_worker_on_a_busy_machine_has_as_much_processor_time_as_on_any_other() -> None:
    worker = Worker()
    worker.passes(worker.watch(), 400.0, cpu_share=0.024)  # 9.6 s


def test_a_worker_that_uses_more_is_stopped() -> None:
    worker = Worker()
    watch = worker.watch()
    worker.passes(watch, 10.0, cpu_share=1.0)
    with pytest.raises(LimitExceeded, match=r"more than 10 s of processor time.*WAYBILL_STAGE_TIMEOUT_SECONDS"):
        worker.passes(watch, LOOK_SECONDS, cpu_share=1.0)


@pytest.mark.parametrize("cpu_share", [0.0, 0.001])
def test_a_worker_that_only_waits_is_stopped(cpu_share: float) -> None:
    worker = Worker()
    watch = worker.watch()
    worker.passes(watch, LIMIT.silence_seconds, cpu_share=cpu_share)
    with pytest.raises(LimitExceeded, match=r"did nothing for 5 s.*WAYBILL_STAGE_SILENCE_SECONDS"):
        worker.passes(watch, LOOK_SECONDS, cpu_share=cpu_share)


def test_progress_is_a_sign_of_work() -> None:
    worker = Worker()
    watch = worker.watch()
    for _ in range(10):
        worker.passes(watch, LIMIT.silence_seconds, cpu_share=0.0)
        watch.note_progress()


def test_time_in_which_nothing_ran_is_no_silence() -> None:
    worker = Worker()
    watch = worker.watch()
    worker.now += 3600.0  # a laptop that slept, a process that was stopped
    watch.check()
    worker.passes(watch, LIMIT.silence_seconds - 2 * LOOK_SECONDS, cpu_share=0.0)


def test_a_process_that_has_ended_has_exceeded_nothing() -> None:
    worker = Worker()
    watch = worker.watch()
    worker.has_ended = True
    worker.now += 3600.0
    watch.check()


def limit_of(tmp_path: Path, size: int, *, stage: str, model_seconds: float = 0.0) -> TimeLimit:
    source = tmp_path / "source"
    source.write_bytes(b"x" * size)
    document = DocumentInfo(name="a", sha256="0" * 64, size_bytes=size, media_type="text/plain", source="a")
    files = {SOURCE: source, "gone": tmp_path / "gone"}
    job = Job(stage_name=stage, stage_key="k", document=document, files=files, options={}, target=tmp_path / "out")
    model = LanguageModelSettings(base_url="http://127.0.0.1:9/v1", model="m", timeout_seconds=model_seconds or 60.0)
    services = Services(home=tmp_path, language_model=model if model_seconds else None)
    settings = Settings(home=tmp_path, stage_timeout_seconds=100.0, stage_silence_seconds=90.0)
    return time_limit(stage_named(stage), job, settings, services)


def test_a_larger_document_may_use_more(tmp_path: Path) -> None:
    assert limit_of(tmp_path, 0, stage="chunker").cpu_seconds == 100.0
    assert limit_of(tmp_path, 2 * 2**20, stage="chunker").cpu_seconds == 300.0
    assert limit_of(tmp_path, 2 * 2**20, stage="fact-generator").cpu_seconds == 150.0


def test_a_language_model_may_take_its_whole_time_for_an_answer(tmp_path: Path) -> None:
    assert limit_of(tmp_path, 0, stage="fact-generator").silence_seconds == 90.0
    assert limit_of(tmp_path, 0, stage="fact-generator", model_seconds=20.0).silence_seconds == 90.0
    assert limit_of(tmp_path, 0, stage="fact-generator", model_seconds=300.0).silence_seconds == 330.0

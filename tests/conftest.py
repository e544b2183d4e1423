"""What several folders share: the run's servers, a fresh database, a fresh bucket and a receiver of webhooks for each
test, and homes for the local stack."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import create_loader
from hypothesis import HealthCheck, settings

from blocks.runtime.quick_imports import quick_imports
from blocks.settings import current_settings
from tests.distribution import Groups, LongestFirst, Recorder
from tests.postgres_server import Postgres
from tests.s3 import S3Server
from tests.shared_servers import open_run, shared_postgres, shared_s3
from tests.stack_driver import end_everything, private_directory
from tests.webhooks import Receiver, running_receiver

# A shell's background jobs, and all that they start, are born with SIGINT ignored; what is tested here is interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about what else the machine is doing. Where a change is judged (`.ci/run`, CI),
# the same examples every time; everywhere else new ones.
settings.register_profile(
    "waybill",
    deadline=None,
    derandomize=not {"CI", "FIXED_EXAMPLES"}.isdisjoint(os.environ),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("waybill")


RUN = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `tests.distribution`."""
    parser.addoption("--record-durations", action="store_true", help="write tests/durations.json")


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run, or join that of the process that started this worker."""
    if (given := getattr(config, "workerinput", None)) is not None:
        config.stash[RUN] = Path(given["test_run"])
        return
    run = ExitStack()
    config.stash[RUN] = run.enter_context(open_run())
    config.add_cleanup(run.close)
    if config.getoption("record_durations"):
        config.pluginmanager.register(Recorder(Groups(config.stash[RUN])))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called in the process that starts the workers, for each of them."""
    node.workerinput["test_run"] = str(node.config.stash[RUN])


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    """Called in the process that starts the workers."""
    is_by_group = config.getoption("dist") == "loadgroup"
    return LongestFirst(config, log, Groups(config.stash[RUN])) if is_by_group else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Called in every process; one that runs all tests by itself keeps the order of the folders."""
    if (given := getattr(config, "workerinput", None)) is not None:
        Groups(config.stash[RUN]).sort_longest_first(items, given["workerid"])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all tests and what they need; the garbage collector never looks at what is there then."""
    with quick_imports():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Read the settings again for each test: a thread of an earlier one may have asked for them at its very end."""
    current_settings.cache_clear()


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of this run, which all of its processes share."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def postgres(run_folder: Path) -> Postgres:
    """Embedded Postgres, the same for the whole run: only databases of its own are a test's to look at."""
    return shared_postgres(run_folder)


@pytest.fixture(scope="session")
def curl() -> str:
    """The curl command; what it shows is tested with another client too."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("the curl command is not installed")
    return found


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh, migrated, empty database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def manifests_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No manifest fits into the header of its blob, as those with large reports do not."""
    monkeypatch.setattr("blocks.custody.inline_manifest.MAX_INLINE_BYTES", -1)


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh database without any schema."""
    with postgres.database_without_schema() as url:
        yield url


@pytest.fixture(scope="session")
def s3_server(run_folder: Path) -> Iterator[S3Server]:
    """OpenStack Swift with its S3 API, the same for the whole run; installed on first use."""
    server = shared_s3(run_folder)
    with pytest.MonkeyPatch.context() as patch:
        # Each client would read the description of the S3 API from its files, which takes a tenth of a second.
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        yield server
    server.administrator.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks that takes everything until it is told otherwise."""
    with running_receiver() as running:
        yield running


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of a fresh bucket. It goes with the server."""
    return s3_server.new_bucket()


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """One cluster for the whole module; making it is what takes the time."""
    with private_directory() as directory:
        yield directory / "home"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for a test that needs a home of its own."""
    with private_directory() as directory:
        yield directory


@pytest.fixture
def home(shared_home: Path) -> Iterator[Path]:
    """A home in which nothing runs before the test, and nothing may run after it."""
    yield shared_home
    left = end_everything(shared_home)
    assert left == [], "processes were left behind"

"""`waybill doctor` as a person and a program call it: exit codes, one object of JSON, and nothing is changed."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.acceptance.conftest import CommandLine


def test_a_home_is_examined_and_not_changed(on_postgres: CommandLine, tmp_path: Path) -> None:
    missing = on_postgres.with_environment(WAYBILL_HOME=tmp_path / "nowhere")
    assert "there is no home" in missing.json("doctor", expect=1)["checks"][1]["findings"][0]["message"]
    assert not (tmp_path / "nowhere").exists()

    (tmp_path / "letter.txt").write_text("A letter.\n")
    one = on_postgres.json("files", "put", tmp_path / "letter.txt")
    sound = on_postgres.json("doctor")
    assert (sound["status"], sound["problems"], sound["counts"]["files"]) == ("ok", 0, 1)

    Path(on_postgres.json("files", "show", one["file_id"])["location"]).unlink()
    on_postgres.home.chmod(0o755)
    shown = on_postgres.run("doctor", expect=1).stdout
    assert "problem  blobs" in shown
    assert one["file_id"] in shown
    assert "-> first mark them" in shown
    # What is found stands in the place of what was expected.
    assert "every available file has its stored bytes" not in shown
    assert "every available file has its manifest" in shown
    assert "None" not in shown
    assert stat.S_IMODE(on_postgres.home.stat().st_mode) == 0o755
    on_postgres.run("doctor", "--hours", "0", expect=2)
    broken = on_postgres.with_environment(WAYBILL_WORKERS="many").json("doctor", expect=1)
    assert [check["name"] for check in broken["checks"] if check["status"] == "problem"] == ["settings"]


def test_a_database_that_was_not_migrated_stays_so(on_postgres: CommandLine, empty_database_url: str) -> None:
    found = on_postgres.with_environment(WAYBILL_DATABASE_URL=empty_database_url).json("doctor", expect=1)
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert (status["schema"], status["database"], status["blobs"]) == ("problem", "ok", "problem")

"""The note on the state file: a file that somebody else wrote is of another generation."""

import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.states import SqliteRig, a_visit, an_upload, take
from tusd_py.core.upload import Status
from tusd_py.state.base import LeaseBusy, Purpose, Seen, StateStore
from tusd_py.state.sqlite_note import NAME, Note, Verdict


def overwrite(path: Path, copy: Path, *, keeps_times: bool = False) -> None:
    """Put a copy back in place, as ``cp`` (``cp -p``) does: the inode stays.

    Again, until the clock of the file system has moved on since the file was written last.
    """
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        shutil.copyfile(copy, path)
        if keeps_times:
            shutil.copystat(copy, path)
    assert path.stat().st_ino == before.st_ino


class TestNote:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "state.db"
        path.write_bytes(b"a file")
        return path

    @pytest.fixture
    def note(self, path: Path) -> Note:
        return Note(path, path.parent)

    def test_a_file_without_a_note(self, note: Note) -> None:
        assert note.judge() is Verdict.UNNOTED

    def test_a_file_that_is_as_it_was_noted(self, note: Note) -> None:
        note.renew()
        assert note.judge() is Verdict.OURS

    @pytest.mark.parametrize("keeps_times", [False, True], ids=["cp", "cp -p"])
    def test_a_file_that_was_overwritten_with_its_own_copy(
        self, note: Note, path: Path, keeps_times: bool
    ) -> None:
        """Same inode, same bytes, same times where wanted: it was written all the same."""
        copy = path.with_suffix(".copy")
        shutil.copy2(path, copy)
        note.renew()
        overwrite(path, copy, keeps_times=keeps_times)
        assert note.judge() is Verdict.ANOTHER
        note.renew()
        assert note.judge() is Verdict.OURS

    def test_what_is_written_while_it_is_said_to_be_is_ours(self, note: Note, path: Path) -> None:
        note.renew()
        with note.moving():
            path.write_bytes(b"more of the file")
        assert note.judge() is Verdict.OURS

    def test_a_move_that_fails_leaves_a_file_of_ours(self, note: Note, path: Path) -> None:
        with pytest.raises(ZeroDivisionError), note.moving():
            path.write_bytes(b"half of it")
            raise ZeroDivisionError
        assert note.judge() is Verdict.OURS

    @pytest.mark.parametrize(
        ("log", "verdict"),
        [
            pytest.param(b"frames", Verdict.OURS, id="its log is there, which has the rest"),
            pytest.param(b"", Verdict.ANOTHER, id="an empty log"),
            pytest.param(None, Verdict.ANOTHER, id="no log"),
        ],
    )
    def test_a_file_whose_writer_died_in_the_middle(
        self, note: Note, path: Path, log: bytes | None, verdict: Verdict
    ) -> None:
        moving = note.moving()  # kept: one that is thrown away ends
        moving.__enter__()
        path.write_bytes(b"half of it")
        if log is not None:
            path.with_name("state.db-wal").write_bytes(log)
        assert note.judge() is verdict

    def test_a_note_that_cannot_be_written_stops_nothing(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        note = Note(path, path.parent / "nowhere")
        with caplog.at_level(logging.WARNING), note.moving():
            path.write_bytes(b"more")
        assert {record.message for record in caplog.records} == {"state_note_failed"}


class TestStateFile:
    """What an operator puts back while the server is stopped."""

    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[SqliteRig]:
        rig = SqliteRig(tmp_path)
        yield rig
        await rig.close()

    @pytest.fixture
    async def state(self, rig: SqliteRig) -> StateStore:
        """Opened again, with an upload that a copy from before shows at 0 of 100 bytes."""
        upload = an_upload()
        await (await rig.open()).create(upload, [], with_lease=False)
        await rig.close()
        shutil.copy2(rig.path, self.copy_of(rig))
        state = await rig.open()
        got = await take(state, upload)
        await state.commit(got.lease, an_upload(status=Status.COMPLETE, offset=100), release=True)
        return state

    @staticmethod
    def copy_of(rig: SqliteRig) -> Path:
        return rig.path.with_suffix(".copy")

    async def test_a_copy_put_back_in_place_is_not_believed(
        self, rig: SqliteRig, state: StateStore
    ) -> None:
        """Its one upload is complete since; who asks has to look at the bytes first.

        Nobody else is alive, so that nobody has to wait for leases either.
        """
        await rig.close()
        overwrite(rig.path, self.copy_of(rig), keeps_times=True)
        state = await rig.open()
        got = await take(state, an_upload(), Purpose.READ)
        assert not got.is_settled and got.upload.offset == 0
        await state.commit(got.lease, got.upload, release=True)
        await rig.close()
        state = await rig.open()
        assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)

    async def test_a_file_that_nobody_touched_is_believed_after_every_restart(
        self, rig: SqliteRig, state: StateStore
    ) -> None:
        for _ in range(3):
            await rig.close()
            state = await rig.open()
            got = await state.take(a_visit(an_upload(), Purpose.READ))
            assert isinstance(got, Seen) and got.upload.is_complete

    async def test_who_joins_others_believes_them_and_not_the_note(
        self, rig: SqliteRig, state: StateStore
    ) -> None:
        """They may be about to write the next one."""
        note = rig.path.with_name("state.db.d") / NAME
        note.write_text("12 34 56")
        other = await rig.open()
        assert isinstance(await other.take(a_visit(an_upload(), Purpose.READ)), Seen)
        note.write_text("12 34 56")
        await rig.close()
        state = await rig.open()
        assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)

    async def test_grace_a_file_that_lost_its_folder_may_have_holders_that_nobody_sees(
        self, rig: SqliteRig, state: StateStore
    ) -> None:
        """[grace] Their locks were in there."""
        await rig.close()
        shutil.rmtree(rig.path.with_name("state.db.d"))
        state = await rig.open()
        with pytest.raises(LeaseBusy):
            await state.take(a_visit(an_upload(), Purpose.READ))
        await rig.let_grace_pass()
        assert not (await take(state, an_upload(), Purpose.READ)).is_settled

"""Records as Redis keeps them: whatever they hold comes back as it was."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.contract.states import a_visit, an_upload
from tests.redis.records import make_rig
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Kind, Status, Upload
from tusd_py.state.base import Purpose, Seen, Taken
from tusd_py.state.redis.codec import (
    KIND_LETTERS,
    STATUS_LETTERS,
    changing_fields,
    facts_text,
    fixed_fields,
    id_bytes,
    id_from,
    record_from,
)

TEXT: Final = st.text(st.characters(exclude_categories=()), max_size=20)
"""Lone surrogates, too, in any order; and nothing."""
IDS: Final = st.binary(min_size=16, max_size=16).map(lambda raw: UploadId(raw.hex()))
TIMES: Final = st.floats(allow_nan=False)
SIZES: Final = st.one_of(st.integers(0, 200), st.integers(2**53 - 2, 2**63 - 1))
BOOTS: Final = st.builds(Boot, TEXT, TEXT)
PAIRS: Final = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
UPLOADS: Final = st.builds(
    Upload,
    id=IDS,
    owner=st.builds(Owner, TEXT.map(VideoId), TEXT.map(ClientId)),
    length=st.none() | SIZES,
    created_at=TIMES,
    creator=BOOTS,
    writer=BOOTS,
    kind=st.sampled_from(Kind),
    parts=st.lists(IDS, max_size=3).map(tuple),
    status=st.sampled_from(Status),
    offset=SIZES,
    synced_offset=SIZES,
    suspect_length=SIZES,
    metadata=TEXT.map(Metadata),
    overrides=st.dictionaries(TEXT, TEXT, max_size=3),
    max_bytes=st.none() | SIZES,
    protocol=TEXT,
    changed_at=TIMES,
    expires_at=st.none() | TIMES,
    finished_at=st.none() | TIMES,
    interruptions=st.integers(0, 5),
    is_interrupted=st.booleans(),
    digests=PAIRS,
    place=st.none() | TEXT,
    refusal=st.none() | TEXT,
    concat=st.none() | TEXT,
    promised_digests=PAIRS,
    is_strict=st.booleans(),
    bytes_per_second=TIMES,
)


def kept(fields: Sequence[bytes]) -> list[bytes]:
    """As the scripts keep them: an empty value takes the field away."""
    pairs = zip(fields[::2], fields[1::2], strict=True)
    return [each for name, value in pairs if value for each in (name, value)]


PAIR_OF_SURROGATES: Final = "\ud83d\ude00"
"""Two characters; escaped in JSON they would come back as one."""


@given(upload=UPLOADS)
@example(
    upload=an_upload(
        metadata=Metadata(PAIR_OF_SURROGATES), digests=((PAIR_OF_SURROGATES, "x"),), place=""
    )
)
def test_a_record_comes_back_as_it_was_written(upload: Upload) -> None:
    flat = kept(fixed_fields(upload) + changing_fields(upload))
    assert record_from(upload.id, [facts_text(upload), *flat]) == upload


@given(upload=UPLOADS)
@settings(max_examples=30)
def test_a_record_comes_back_from_redis_as_it_was_written(upload: Upload) -> None:
    """At its creation, and with each of its changes; also what Lua must not touch."""

    async def run() -> None:
        async with make_rig(buckets=1) as rig:
            state = await rig.open()
            created = await state.create(upload, [], with_lease=True)
            assert created.lease is not None
            assert replace(created.upload, master="") == upload
            assert await state.find(upload.id) == created.upload
            changed = replace(upload, status=Status.RECEIVING, length=None, place=None)
            await state.commit(created.lease, changed, release=False)
            found = await state.find(upload.id)
            assert found is not None and replace(found, master="") == changed
            await state.commit(created.lease, upload, release=True)
            found = await state.find(upload.id)
            assert found is not None and replace(found, master="") == upload

    asyncio.run(run())


@pytest.mark.parametrize(
    ("offset", "length", "is_full"),
    [
        pytest.param(2**53, 2**53 + 1, False, id="one byte less, beyond what a double tells"),
        pytest.param(2**53 + 1, 2**53 + 1, True, id="all of them, beyond what a double tells"),
        pytest.param(9, 10, False, id="fewer digits"),
        pytest.param(99, 100, False, id="fewer digits, and higher ones"),
        pytest.param(10, 10, True, id="all of them"),
        pytest.param(11, 10, True, id="more than there should be"),
        pytest.param(0, 0, True, id="empty"),
        pytest.param(0, 1, False, id="nothing yet"),
    ],
)
async def test_no_length_is_rounded(offset: int, length: int, is_full: bool) -> None:
    """Lua has only doubles. Whether all bytes are there decides whether a HEAD takes the lease."""
    async with make_rig(buckets=1) as rig:
        state = await rig.open()
        upload = an_upload(offset=offset, length=length)
        assert upload.is_full == is_full
        await state.create(upload, [], with_lease=False)
        got = await state.take(a_visit(upload, Purpose.READ))
        assert isinstance(got, Taken if is_full else Seen)


@pytest.mark.parametrize("field", ["changed_at", "expires_at", "finished_at"])
async def test_a_time_that_is_no_number_is_refused_before_anything_is_written(field: str) -> None:
    """Redis would refuse it in the middle of a script, and keep what the script wrote before."""
    changes: dict[str, Any] = {field: float("nan")}
    async with make_rig(buckets=1) as rig:
        state = await rig.open()
        with pytest.raises(ValueError, match="no number"):
            await state.create(an_upload(**changes), [], with_lease=False)
        assert await state.find(an_upload().id) is None


def test_every_status_and_kind_has_a_letter_of_its_own() -> None:
    assert set(STATUS_LETTERS) == set(Status) and set(KIND_LETTERS) == set(Kind)
    assert len(set(STATUS_LETTERS.values())) == len(Status)
    assert len(set(KIND_LETTERS.values())) == len(Kind)


@given(upload_id=IDS)
def test_an_id_is_sixteen_bytes_in_an_index(upload_id: UploadId) -> None:
    assert len(id_bytes(upload_id)) == 16 and id_from(id_bytes(upload_id)) == upload_id

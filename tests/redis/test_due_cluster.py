"""What is due while a part of a cluster is away: the rest is looked after."""

from pathlib import Path

import pytest

from tests.contract.states import an_upload
from tests.redis.clustered import clustered
from tusd_py.state.base import Due, StateError

BUCKETS = 16


async def test_uploads_of_other_nodes_are_due_while_one_is_away(tmp_path: Path) -> None:
    """And where nobody can say anything, that is no "nothing"."""
    async with clustered(tmp_path, buckets=BUCKETS, connect_seconds=1.0) as it:
        state, cluster, victim = it.state, it.cluster, it.cluster.nodes[0]
        there, everywhere = [], []
        for bucket, owner in enumerate(it.owners):
            upload = an_upload(bucket * 256 // BUCKETS, expires_at=2000.0 + bucket)
            await state.create(upload, [], with_lease=False)
            everywhere.append(upload.id)
            if owner is not victim:
                there.append(upload.id)
        assert 0 < len(there) < BUCKETS
        assert await state.list_due(Due.EXPIRED, now=3000.0) == everywhere
        victim.pause()
        try:
            assert await state.list_due(Due.EXPIRED, now=3000.0) == there
            for node in cluster.nodes[1:]:
                node.pause()
            with pytest.raises(StateError):
                await state.list_due(Due.EXPIRED, now=3000.0)
        finally:
            for node in cluster.nodes:
                node.resume()

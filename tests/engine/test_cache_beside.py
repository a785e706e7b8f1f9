"""What lies beside the detections: derived tables by key, and measured speeds."""

from pathlib import Path

import pyarrow as pa
import pytest

from foveal.engine.cache.artifacts import ArtifactStore
from foveal.engine.cache.manifest import Manifest
from foveal.engine.cache.profiles import Profiles
from foveal.planner.protocols import DecodeCounters, VideoFacts

TRACKS = pa.Table.from_pydict({"track": [1, 1, 2]})
FACTS = VideoFacts("a.mp4", 1000, 40.0, 1000, 1000, mean_gop=10.0, cached=0)


def test_an_artifact_comes_back(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "c")
    store = ArtifactStore(manifest)
    assert store.get("tracks", "k") is None
    store.put("tracks", "k", TRACKS)
    store.put("tracks", "k", TRACKS.slice(0, 1))
    store.put("scores", "k", TRACKS.slice(0, 2))
    found = store.get("tracks", "k")
    assert found is not None
    assert found.equals(TRACKS)
    assert store.keys("tracks") == ["k"]
    manifest.close()
    manifest = Manifest(tmp_path / "c")
    store = ArtifactStore(manifest)
    assert store.get("tracks", "k") == TRACKS
    assert store.drop("tracks", "k")
    assert not store.drop("tracks", "k")
    assert store.get("tracks", "k") is None
    assert store.get("scores", "k") == TRACKS.slice(0, 2)
    manifest.close()
    assert len(list((tmp_path / "c" / "files").iterdir())) == 1


def test_a_damaged_artifact_is_none_and_can_be_put_again(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "c")
    store = ArtifactStore(manifest)
    store.put("tracks", "k", TRACKS)
    (file,) = (tmp_path / "c" / "files").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert store.get("tracks", "k") is None
    assert "tracks are damaged" in manifest.take_notices()[0].message
    store.put("tracks", "k", TRACKS)
    assert store.get("tracks", "k") == TRACKS
    manifest.close()


def test_speeds_start_from_constants() -> None:
    manifest = Manifest(None)
    profile = Profiles(manifest).profile("d", {"v": FACTS})
    assert profile.decode_frame == pytest.approx(5e-3)
    assert profile.seek == pytest.approx(5 * 5e-3 + 4e-3)
    assert profile.detect_frame == pytest.approx(40e-3)
    assert not profile.measured
    assert Profiles(manifest).profile("d", {}).decode_frame == pytest.approx(5e-3)
    manifest.close()


def test_speeds_follow_measurements(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "c")
    profiles = Profiles(manifest)
    profiles.decoded("v", FACTS, DecodeCounters(frames_decoded=100, seeks=0, seconds=0.2))
    profiles.detected("d", 10, 1.0)
    profiles.started("d", 0.5)
    manifest.close()
    manifest = Manifest(tmp_path / "c")
    profiles = Profiles(manifest)
    profile = profiles.profile("d", {"v": FACTS})
    assert profile.decode_frame == pytest.approx(2e-3)
    assert profile.detect_frame == pytest.approx(0.1)
    assert profile.startup == pytest.approx(0.5)
    assert profile.measured
    # A video never decoded is taken to cost the same per pixel.
    small = VideoFacts("b.mp4", 10, 1.0, 500, 500, mean_gop=10.0, cached=0)
    assert profiles.profile("d", {"w": small}).decode_frame == pytest.approx(5e-4)
    for _ in range(40):
        profiles.detected("d", 1, 0.3)
    assert profiles.profile("d", {"v": FACTS}).detect_frame == pytest.approx(0.3, rel=0.01)
    manifest.close()


def test_seeks_and_frames_are_told_apart() -> None:
    manifest = Manifest(None)
    profiles = Profiles(manifest)
    frame, seek = 1e-3, 30e-3
    for _ in range(60):
        for frames, seeks in ((500, 0), (100, 100)):
            seconds = frames * frame + seeks * seek
            profiles.decoded("v", FACTS, DecodeCounters(frames, seeks, seconds))
    profile = profiles.profile("d", {"v": FACTS})
    assert profile.decode_frame == pytest.approx(frame, rel=0.2)
    assert profile.seek == pytest.approx(5 * frame + seek, rel=0.2)
    manifest.close()

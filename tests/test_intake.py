"""Policies against the arithmetic of a queue in virtual time, and sources against files that are made here."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from PIL import Image

from fer_bench.live import sources
from fer_bench.live.intake import Intake, Policy
from fer_bench.live.sources import NO_PIXELS, Frame, SourceError, open_source
from fer_bench.records.errors import FerBenchError

FPS, FRAMES = 30, 240


class VirtualClock:
    """Time that passes only where somebody sleeps or works."""

    def __init__(self) -> None:
        self.now: float = Fraction(0)  # type: ignore[assignment]  # exact: ties are ties

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def frames(number: int = FRAMES, period: float = Fraction(1, FPS)) -> Iterator[Frame]:  # type: ignore[assignment]
    return (Frame(n, str(n), NO_PIXELS, due_s=n * period) for n in range(number))


def replay(
    policy: str,
    service_s: float,
    period: float = Fraction(1, FPS),  # type: ignore[assignment]
    **given: float,
) -> tuple[Intake, list[int], list[float]]:
    """Work on all frames for a constant time each; return numbers and latencies of those that were done."""
    clock = VirtualClock()
    intake = Intake(frames(period=period), Policy.of(policy), threaded=False, clock=clock, sleep=clock.sleep, **given)  # type: ignore[arg-type]
    numbers, latencies = [], []
    intake.start()
    while (taken := intake.take()) is not None:
        clock.now += service_s
        numbers.append(taken.frame.number)
        latencies.append(clock() - taken.captured_s)
    return intake, numbers, latencies


# Of a replay of 240 frames at 30 a second by another program: done, dropped, mean of the last three quarters and
# maximum of the latency in milliseconds, share of the offered frames within 41.67 ms. Where a service ends just when a
# frame comes, the means depend on the last digit of a float, so that the numbers here are milliseconds as theirs.
@pytest.mark.parametrize(
    ("service_ms", "policy", "done", "dropped", "mean_ms", "most_ms", "share"),
    [
        (20, "latest", 240, 0, 20, 20, 1.0),
        (33, "queue:4", 240, 0, 33, 33, 1.0),
        (33, "block", 240, 0, 33, 33, 1.0),
        (40, "latest", 201, 39, 56.1, 73.3, 0.11),
        (40, "queue:4", 204, 36, 182.7, 200.0, 0.0),
        (40, "block", 240, 0, 1036.7, 1633.3, 0.0),
        (50, "latest", 161, 79, 65.2, 83.3, 0.0),
        (50, "queue:4", 164, 76, 231.8, 250.0, 0.0),
        (50, "block", 240, 0, 2541.7, 4033.3, 0.0),
        (100, "latest", 81, 159, 113.7, 133.3, 0.0),
        (100, "queue:4", 84, 156, 481.0, 500.0, 0.0),
        (100, "block", 240, 0, 10066.7, 16033.3, 0.0),
    ],
)
def test_policies_in_virtual_time(
    service_ms: int, policy: str, done: int, dropped: int, mean_ms: float, most_ms: float, share: float
) -> None:
    intake, numbers, latencies = replay(policy, float(service_ms), period=1000 / FPS)
    assert (len(numbers), len(intake.dropped_at_s), intake.offered) == (done, dropped, FRAMES)
    assert fmean(latencies[len(latencies) // 4 :]) == pytest.approx(mean_ms, abs=0.06)
    assert max(latencies) == pytest.approx(most_ms, abs=0.05)
    assert sum(latency <= 1000 / 24 for latency in latencies) / FRAMES == pytest.approx(share, abs=0.01)
    assert numbers == sorted(set(numbers))  # none twice, and in order


@pytest.mark.parametrize("policy", ["latest", "queue:1", "queue:4", "block"])
@pytest.mark.parametrize("service_ms", [5, 40, 1000])
def test_each_frame_is_done_or_dropped(policy: str, service_ms: int) -> None:
    intake, numbers, _ = replay(policy, Fraction(service_ms, 1000))
    dropped = {round(at * FPS) for at in intake.dropped_at_s}
    assert set(numbers) | dropped == set(range(FRAMES))
    assert len(numbers) + len(intake.dropped_at_s) == FRAMES


@pytest.mark.parametrize("service_ms", [37, 41, 59, 103])
def test_what_queueing_theory_says(service_ms: int) -> None:
    period, service = Fraction(1, FPS), Fraction(service_ms, 1000)
    for policy, room in (("latest", 1), ("queue:4", 4)):
        intake, _, latencies = replay(policy, service)
        steady = latencies[len(latencies) // 2 : -room]
        assert len(intake.dropped_at_s) / FRAMES == pytest.approx(float(1 - period / service), abs=0.03)
        if room == 1:
            assert service <= min(steady) <= max(steady) < service + period
        else:  # a full queue before it: from room to room + 1 services
            assert room * service <= min(steady) <= max(steady) <= (room + 1) * service
    _, _, latencies = replay("block", service)
    grown = [float(latency - before) for before, latency in pairwise(latencies)]
    assert grown == pytest.approx([float(service - period)] * (FRAMES - 1))


def test_another_rate_than_the_source_has() -> None:
    _, numbers, latencies = replay("latest", Fraction(1, 200), fps=100.0)
    assert numbers == list(range(FRAMES))
    assert max(latencies) == pytest.approx(0.005)
    _, numbers, _ = replay("latest", Fraction(19, 1000), fps=100.0)
    assert len(numbers) == pytest.approx(FRAMES * 10 / 19, abs=1)


def test_seconds_end_the_offer() -> None:
    intake, numbers, _ = replay("latest", Fraction(1, 1000), seconds=2.0)
    assert intake.offered == len(numbers) == 60


def test_unpaced_frames_come_when_the_worker_is_free() -> None:
    _, numbers, latencies = replay("block", Fraction(1, 2), paced=False)
    assert len(numbers) == FRAMES
    assert max(latencies) == Fraction(1, 2)


def test_numbers_that_the_driver_dropped() -> None:
    clock = VirtualClock()
    gaps = (Frame(n, str(n), NO_PIXELS, due_s=0.0) for n in (0, 1, 4, 5))
    intake = Intake(gaps, Policy.of("block"), threaded=False, clock=clock, sleep=clock.sleep)
    intake.start()
    while intake.take() is not None:
        pass
    assert (intake.offered, intake.by_driver) == (4, 2)


@pytest.mark.parametrize("policy", ["latest", "queue:2", "block"])
def test_in_a_thread_each_frame_is_done_or_dropped(policy: str) -> None:
    intake = Intake(frames(50), Policy.of(policy), fps=5000.0)
    intake.start()
    numbers = []
    while (taken := intake.take()) is not None:
        numbers.append(taken.frame.number)
    intake.close()
    assert len(numbers) + len(intake.dropped_at_s) == intake.offered == 50
    assert policy != "block" or numbers == list(range(50))


def test_a_failure_of_the_thread_is_the_workers() -> None:
    def failing() -> Iterator[Frame]:
        yield Frame(0, "0", NO_PIXELS, due_s=0.0)
        raise SourceError("the camera is gone")

    intake = Intake(failing(), Policy.of("block"))
    intake.start()
    with pytest.raises(SourceError, match="the camera is gone"):
        list(iter(intake.take, None))


def test_closing_ends_an_endless_source() -> None:
    closed = []

    def endless() -> Iterator[Frame]:
        try:
            number = 0
            while True:
                yield Frame(number, str(number), NO_PIXELS, due_s=0.0)
                number += 1
        finally:
            closed.append(True)

    for threaded in (True, False):
        intake = Intake(endless(), Policy.of("block"), threaded=threaded)
        intake.start()
        assert intake.take() is not None
        intake.close()
    assert closed == [True, True]


@pytest.mark.parametrize("text", ["", "newest", "queue", "queue:0", "queue:x", "queue:-1", "latest:2"])
def test_policies_that_are_none(text: str) -> None:
    with pytest.raises(FerBenchError, match="try: latest, block, or queue:4"):
        Policy.of(text)


def test_synthetic() -> None:
    source = open_source("test:64x36@25:5")
    made = list(source.frames())
    assert [frame.due_s for frame in made] == [0.0, 0.04, 0.08, 0.12, 0.16]
    assert {frame.pixels.shape for frame in made} == {(36, 64, 3)}
    assert not np.array_equal(made[0].pixels, made[1].pixels)
    assert source.fps == 25


def test_images_of_a_folder_upright_and_in_order(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees, as phones write it
    Image.new("RGB", (40, 20), "red").save(tmp_path / "b.jpg", exif=exif)
    Image.new("L", (3, 5), 7).save(tmp_path / "a.png")
    Image.new("RGBA", (1, 1)).save(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes(b"none")
    source = open_source(str(tmp_path))
    made = list(source.frames())
    assert [frame.name for frame in made] == ["a.png", "b.jpg", "c.png", "d.jpg"]
    assert source.size == (5, 3)
    assert open_source(str(tmp_path / "b.jpg")).size == (40, 20)
    assert source.warnings == []
    assert [frame.pixels.shape for frame in made] == [(5, 3, 3), (40, 20, 3), (1, 1, 3), (0, 0, 3)]
    assert made[0].pixels.tolist() == [[[7, 7, 7]] * 3] * 5
    assert "d.jpg is no image that can be read" in made[3].error
    assert [bool(frame.error) for frame in made] == [False, False, False, True]


def test_a_folder_with_folders_in_natural_order(tmp_path: Path) -> None:
    names = ["face10.png", "face2.png", "her/2.png", "Face1.png", ".hidden.png", ".cache/x.png", "her/1/0.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / name)
    for name in ("notes.txt", "her/clip.mp4", ".DS_Store"):
        (tmp_path / name).write_text("no image")
    source = open_source(str(tmp_path))
    shown = [frame.name for frame in source.frames()]
    assert shown == ["Face1.png", "face2.png", "face10.png", "her/1/0.png", "her/2.png"]
    assert source.warnings == ["2 files of the folder are no images: her/clip.mp4, notes.txt"]


def write_video(path: Path, times: list[int], draw: Callable[[int], int] = lambda n: 10 * n) -> None:
    """Write grey pictures of 64x48 that are due at these milliseconds."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, time_ms in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), draw(number), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_video_has_its_own_times(tmp_path: Path) -> None:
    times = [0, 40, 80, 200, 240]  # a variable rate: three frames are missing
    write_video(tmp_path / "clip.mp4", times)
    source = open_source(str(tmp_path / "clip.mp4"))
    made = list(source.frames())
    assert [round(1e3 * (frame.due_s or 0)) for frame in made] == times
    assert [frame.number for frame in made] == [0, 1, 2, 3, 4]
    brightness = [frame.pixels.mean() for frame in made]
    assert brightness == pytest.approx([0, 10, 20, 30, 40], abs=3)
    assert source.warnings == ["the frame rate varies: between frames lie 40.0 to 120.0 ms"]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_a_phones_video_is_turned_upright(degrees: int, mirrored: bool, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    picture = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((24, 32), np.uint8))  # all quarters differ
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV writes no display matrix")
        stream.set_display_rotation(degrees, hflip=mirrored)  # against the clock, then mirrored
        frame = av.VideoFrame.from_ndarray(np.stack([picture] * 3, 2), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    shown = np.rot90(picture, degrees // 90)
    shown = np.fliplr(shown) if mirrored else shown
    source = open_source(str(tmp_path / "clip.mp4"))
    (made,) = source.frames()
    assert source.size == made.pixels.shape[:2] == shown.shape
    assert np.abs(made.pixels.mean(2) - shown).mean() < 5


def test_a_truncated_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    write_video(whole, list(range(0, 4000, 40)), draw=lambda n: n % 2 * 200)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_source(str(cut))
    made = list(source.frames())
    assert 0 < len(made) < 100
    assert any("truncated?" in warning for warning in source.warnings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nowhere.mp4", "there is no source nowhere.mp4; try: "),
        ("test:640x360", "no synthetic one; try: test:640x360@30"),
        ("test:640x360@0", "no synthetic one"),
        ("camera:", "is no camera; try: camera:0"),
        ("camera:0:big", "is no camera; try: camera:0"),
        ("camera:97", "there is no camera /dev/video97; try: ls /dev/video"),
    ],
)
def test_sources_that_are_none(text: str, expected: str) -> None:
    if text == "camera:97":
        pytest.importorskip("av")
    with pytest.raises(SourceError, match=expected):
        open_source(text)


def test_files_that_are_no_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    for name in ("text.mp4", "empty.mp4"):
        with pytest.raises(SourceError, match=r"no video that FFmpeg reads .*; try: "):
            open_source(str(tmp_path / name))
    with pytest.raises(SourceError, match="has no images; try: "):
        open_source(str(tmp_path / "folder"))


def test_a_camera_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")

    def busy(*_: object, **__: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(av, "open", busy)
    with pytest.raises(SourceError, match=r"/dev/video0 is in use by another program; try: fuser /dev/video0"):
        open_source("camera:0")


def test_frames_that_a_driver_lost() -> None:
    assert sources.lost_between(None, 1.0, 30) == 0
    assert sources.lost_between(1.0, 1.034, 30) == 0
    assert sources.lost_between(1.0, 1.1, 30) == 2  # three periods
    assert sources.lost_between(1.0, 9.0, None) == 0

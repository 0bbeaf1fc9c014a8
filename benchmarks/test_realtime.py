"""Our detector beside facenet-pytorch's own MTCNN, and our pipeline beside bare calls: interleaved, on one thread.

The detectors' ratios are of processor time, which other programs disturb less than the time on the wall. P-Net alone
stands beside the whole cascade: what R-Net and O-Net cost, which paper 004 leaves out. The pipeline is judged by both
times, of blocks of frames that alternate: inside ±3 % it passes, wholly outside it fails, and else nothing was shown.
"""

import gc
import time
from statistics import median

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from fer_bench.accuracy.transforms import crop, prepare
from fer_bench.live.mtcnn import Mtcnn
from fer_bench.live.pipeline import Pipeline
from fer_bench.live.realtime import Asked, _measure, _settings
from fer_bench.live.sources import Frame
from fer_bench.networks.build import Build, create
from fer_bench.networks.registry import find
from support.ratios import judge

_ROUNDS, _LEAST_ROUNDS, _LONGEST_S = 15, 6, 60.0  # of turns; on a busy machine fewer, so that a study ends
_PAIRS, _BLOCK = 60, 8  # of blocks, and frames of a block


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def frames():
    astronaut = pytest.importorskip("skimage.data").astronaut()
    wide = np.asarray(Image.fromarray(astronaut[:288]).resize((640, 360)))
    return {"512x512": astronaut, "640x360": wide, "1280x720": np.asarray(Image.fromarray(wide).resize((1280, 720)))}


def interleaved(*calls):
    """Return the median processor time of each call in seconds, taken in turns."""
    times, begun = [[] for _ in calls], time.monotonic()
    for number in range(_ROUNDS):
        if number >= _LEAST_ROUNDS and time.monotonic() - begun > _LONGEST_S:
            break
        for place, call in enumerate(calls):
            start = time.process_time()
            call()
            if number > 2:
                times[place].append(time.process_time() - start)
    return [median(each) for each in times]


def test_ours_takes_no_longer_than_facenet_pytorch(frames):
    original = pytest.importorskip("facenet_pytorch").MTCNN(keep_all=True)
    ours, alone = Mtcnn(), Mtcnn(only_proposals=True)
    for name, frame in frames.items():
        theirs_s, ours_s, alone_s = interleaved(
            lambda frame=frame: original.detect(frame, landmarks=True),
            lambda frame=frame: ours.detect([frame]),
            lambda frame=frame: alone.detect([frame]),
        )
        print(
            f"\n{name}: facenet-pytorch {1e3 * theirs_s:.1f} ms, ours {1e3 * ours_s:.1f} ms "
            f"({ours_s / theirs_s:.2f}x), P-Net alone {1e3 * alone_s:.1f} ms ({alone_s / ours_s:.2f} of the cascade)"
        )
        assert ours_s / theirs_s < 1.0


class Still:
    """A source that gives one picture again and again, and notes when it was asked for the first, and when no more."""

    name, kind, fps = "still", "images", None

    def __init__(self, picture):
        self.picture, self.size, self.warnings, self.asked = picture, picture.shape[:2], [], []

    def frames(self):
        self.asked.append((time.perf_counter(), time.process_time()))
        for number in range(_BLOCK):
            yield Frame(number, str(number), self.picture)
        self.asked.append((time.perf_counter(), time.process_time()))


@pytest.fixture(scope="module")
def blocks(frames):
    """Seconds of neighbouring blocks of frames, bare and ours: on the wall, and of the processor."""
    spec = find("mini_xception")
    contract, frame = spec.input, frames["640x360"]
    model = create(spec, Build(input_shape=contract.shape))
    detector = Mtcnn()
    pipeline = Pipeline(detector, model, contract)
    pipeline.warm_up(frame.shape[:2])
    asked = Asked("still", rate="max")

    def bare():
        moments = [(time.perf_counter(), time.process_time())]
        for _ in range(_BLOCK):
            (faces,) = detector.detect([frame])
            crops = [crop(frame, (x0, y0, x1 - x0, y1 - y0), contract) for x0, y0, x1, y1 in faces.boxes.tolist()]
            with torch.inference_mode():
                model(prepare(crops, contract)).softmax(1).max(1)
        return [*moments, (time.perf_counter(), time.process_time())]

    def ours():
        """All that a run does between two frames: queue, stages, ledger. What it does once is not timed."""
        source = Still(frame)
        settings = _settings(asked, source, detector, pipeline, "")
        _measure(pipeline, source, asked, settings, lambda piece: None, None, lambda progress: None)
        return source.asked

    pairs = []
    for number in range(_PAIRS + 1):
        seconds = {}
        for way in (bare, ours) if number % 2 else (ours, bare):
            gc.collect()  # as a run does before it begins
            (wall, cpu), (wall_after, cpu_after) = way()
            seconds[way] = wall_after - wall, cpu_after - cpu
        pairs.append((seconds[bare], seconds[ours]))
    return pairs[1:]  # the first is a warm-up


@pytest.mark.parametrize("place", [0, 1], ids=["wall", "processor"])
def test_the_pipeline_costs_little_beside_bare_calls(blocks, place):
    pairs = [(bare[place], ours[place]) for bare, ours in blocks]
    bare_ms = 1e3 * median(bare for bare, _ in pairs) / _BLOCK
    judge(f"pipeline over bare calls of {bare_ms:.1f} ms, {('wall', 'processor')[place]} time", pairs)


def test_memory_is_flat_over_pictures_of_varied_size(frames):
    """A thousand pictures, nearly each with levels and crops that oneDNN has not compiled for."""
    picture, detector, process = Image.fromarray(frames["512x512"]), Mtcnn(), psutil.Process()
    rng, rss = np.random.default_rng(0), []
    for number in range(1001):
        detector.detect([np.asarray(picture.resize(rng.integers(64, 480, 2).tolist()))])
        if number % 200 == 0:
            rss.append(process.memory_info().rss / 2**20)
    print("\nMiB behind each 200 pictures: " + ", ".join(f"{each:.0f}" for each in rss))
    assert rss[-1] - rss[1] < 16  # 100 to 150 before shapes were few

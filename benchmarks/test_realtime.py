"""Our detector beside facenet-pytorch's own MTCNN, and our pipeline beside bare calls: interleaved, on one thread.

Ratios of processor time, which other programs disturb less than the time on the wall. P-Net alone stands beside the
whole cascade: what R-Net and O-Net cost, which paper 004 leaves out.
"""

import time
from statistics import median

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from fer_bench.accuracy.transforms import crop, prepare
from fer_bench.live.intake import Taken
from fer_bench.live.mtcnn import Mtcnn
from fer_bench.live.pipeline import Pipeline
from fer_bench.live.sources import Frame
from fer_bench.networks.build import Build, create
from fer_bench.networks.registry import find

_ROUNDS, _LEAST_ROUNDS, _LONGEST_S = 15, 6, 60.0  # of turns; on a busy machine fewer, so that a study ends


@pytest.fixture(autouse=True)
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


def test_the_pipeline_costs_little_beside_bare_calls(frames):
    spec = find("mini_xception")
    contract, frame = spec.input, frames["640x360"]
    model = create(spec, Build(input_shape=contract.shape))
    detector = Mtcnn()
    pipeline = Pipeline(detector, model, contract)
    taken = Taken(Frame(0, "0", frame), 0.0, 0.0, 0.0)

    def bare():
        (faces,) = detector.detect([frame])
        crops = [crop(frame, (x0, y0, x1 - x0, y1 - y0), contract) for x0, y0, x1, y1 in faces.boxes.tolist()]
        with torch.inference_mode():
            model(prepare(crops, contract)).softmax(1).max(1)

    bare_s, ours_s = interleaved(bare, lambda: pipeline.process(taken, time.perf_counter))
    print(f"\nbare calls {1e3 * bare_s:.2f} ms, pipeline {1e3 * ours_s:.2f} ms ({ours_s / bare_s - 1:+.1%})")
    assert ours_s / bare_s < 1.03


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

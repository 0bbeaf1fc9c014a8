"""How many images of each class the published data sets have, to compare a copy with.

FER2013 was counted in the published CSV by several projects. The others' counts are given as the field knows them;
their sums are the published numbers of images.
"""

from collections.abc import Mapping

from fer_bench.networks.labels import expressions

Counts = Mapping[str, Mapping[str, int]]  # by split, by class


def _rows(classes: str, **splits: str) -> Counts:
    names = expressions(classes.split())
    return {
        split: dict(zip(names, (int(number) for number in numbers.split()), strict=True))
        for split, numbers in splits.items()
    }


COUNTS: Mapping[str, Counts] = {
    "FER2013": _rows(
        "angry disgust fear happy sad surprise neutral",
        training="3995 436 4097 7215 4830 3171 4965",
        public="467 56 496 895 653 415 607",
        private="491 55 528 879 594 416 626",
        test="958 111 1024 1774 1247 831 1233",
    ),
    "AffectNet": _rows(
        "neutral happy sad surprise fear disgust anger contempt",
        training="74874 134415 25459 14090 6378 3803 24882 3750",
        validation="500 500 500 500 500 500 500 499",
    ),
    "RAF-DB": _rows(
        "surprise fear disgust happiness sadness anger neutral",
        training="1290 281 717 4772 1982 705 2524",
        test="329 74 160 1185 478 162 680",
    ),
    "CK+": _rows("anger contempt disgust fear happy sadness surprise", all="45 18 59 25 69 28 83"),
    "CK+ 48x48": _rows("anger contempt disgust fear happy sadness surprise", all="135 54 177 75 207 84 249"),
    "JAFFE": _rows("AN DI FE HA NE SA SU", all="30 29 32 31 30 31 30"),
}

"""Names of expressions."""

import pytest

from fer_bench.networks.labels import EXPRESSIONS, expression, expressions
from fer_bench.records.errors import FerBenchError

# As each writes them: FER2013, FER+, KDEF, hsemotion, face-api.
ORDERS = (
    ("angry disgust fear happy sad surprise neutral", "angry disgust fear happy sad surprise neutral"),
    (
        "neutral happiness surprise sadness anger disgust fear contempt",
        "neutral happy surprise sad angry disgust fear contempt",
    ),
    ("AF AN DI HA NE SA SU", "fear angry disgust happy neutral sad surprise"),
    ("Anger Contempt Disgust Fear", "angry contempt disgust fear"),
    ("neutral happy sad angry fearful disgusted surprised", "neutral happy sad angry fear disgust surprise"),
)


@pytest.mark.parametrize(("written", "printed"), ORDERS)
def test_names_of_public_orders_are_known(written, printed):
    assert expressions(written.split()) == tuple(printed.split())


def test_the_names_that_we_print_are_their_own():
    assert expressions(EXPRESSIONS) == EXPRESSIONS


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(FerBenchError, match="'hapy' is no expression that we know; did you mean happy"):
        expression("hapy")
    with pytest.raises(FerBenchError, match="'0' is no expression"):
        expression("0")


def test_one_expression_under_two_names_is_refused():
    with pytest.raises(FerBenchError, match="angry is there twice"):
        expressions(["anger", "sad", "angry"])

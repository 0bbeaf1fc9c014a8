"""The five papers' figures against what a reading of the papers, years apart from this code, found of them.

The expectations are the specs' verdicts (their audits of papers 000 to 004) in our classes; none is our own output.
"""

import dataclasses
import re
from types import SimpleNamespace

import pytest

from fer_bench.auditing import claims_of, judge_all, needed, tables
from fer_bench.auditing.evidence import find, gather
from fer_bench.auditing.verdicts import COMPUTED, MEANINGS, WRONG, Kind
from fer_bench.networks.registry import Registry
from fer_bench.records import exchange
from fer_bench.reporting.analysis import sweeps
from support.samples import RECOUNTS, TRUNCATIONS


@pytest.fixture(scope="module")
def verdicts():
    registry = Registry()
    claims = claims_of(registry)
    evidence = gather(exchange.read_file(RECOUNTS))
    assert [spec.name for spec in needed(claims) if find(spec, evidence) is None] == []
    tried = sweeps.series(exchange.read_file(TRUNCATIONS), registry.networks)
    return judge_all(claims, evidence, registry.networks, tried=tried)


def found(verdicts, paper, subject, quantity, printed, where=""):
    hits = [
        verdict
        for verdict in verdicts
        if (verdict.claim.figure.paper, verdict.claim.figure.quantity) == (paper, quantity)
        and verdict.claim.figure.printed == printed
        and subject in (verdict.claim.network, verdict.claim.figure.subject)
        and verdict.claim.figure.where.startswith(where)
    ]
    assert hits
    return hits


# Paper, network or subject, quantity, printed, verdict, and what its arithmetic must name.
EXPECTED = [
    # 000: h, rows 1 to 8 and 13.
    ("000", "resnet50_patch_attn", "parameter_ratio", "6.17", Kind.contradiction, "6.34"),
    ("000", "resnet101_patch_attn", "parameter_ratio", "5.87", Kind.confirmed, "5.8697"),
    ("000", "resnet50_patch_attn", "parameter_reduction", "84.22", Kind.confirmed, "84.229, cut"),
    ("000", "resnet101_patch_attn", "parameter_reduction", "82.96", Kind.confirmed, "82.963"),
    (
        "000",
        "ResNet-50 patch variants that trained faster than vanilla",
        "share_of_models",
        "91.04",
        Kind.contradiction,
        "50",
    ),
    ("000", "ResNet-101 patch variants worse than vanilla", "share_of_models", "60.86", Kind.possible, "42 / 69"),
    ("000", "all patch variants", "model_count", "119", Kind.confirmed, "50 + 69"),
    # zoo_b g.3; the numbers follow from Keras's counts, see test_truncations.py.
    (
        "000",
        "ResNet-50 patch variants, parameters over depth",
        "claim",
        "constant upward trend",
        Kind.refuted,
        "42 of 49 steps go up, 1 is level (to pool1_pool) and 6 go down (to conv2_block2_1_relu, ",
    ),
    ("000", "GPU memory", "environment", "128", Kind.refuted, "48"),
    ("000", "all models on the GPU", "train_time", "11", Kind.possible, ""),
    ("000", "FER+", "image_count", "35,889", Kind.refuted, "35,887"),
    ("000", "resnet50_vanilla_fer", "parameters", "24,813,574", Kind.convention, "Keras"),
    ("000", "resnet101_vanilla_fer", "parameters", "42,724,070", Kind.convention, "Keras"),
    # 001: zoo_a 0.1 and h, rows 1 to 7.
    ("001", "resattnet56", "flops", "6.33", Kind.convention, "thop's MACs: 6,337,496,064, cut"),
    ("001", "densenet121", "flops", "2.89", Kind.convention, "thop's MACs: 2,895,990,272, cut"),
    ("001", "resnet152", "flops", "11.60", Kind.convention, "thop's MACs: 11,601,911,808"),
    ("001", "cbam_resnet50", "flops", "4.14", Kind.convention, "thop's MACs: 4,143,587,362"),
    ("001", "resmaskingnet", "flops", "26.76", Kind.convention, "26,767,821,312, cut"),
    ("001", "mobilenetv3_large", "flops", "0.23", Kind.convention, "column"),
    ("001", "mit_fusion", "flops", "0.425", Kind.convention, "thop's MACs: 425,306,368"),
    ("001", "resattnet56", "parameters", "29.77", Kind.confirmed, "29,776,071, cut"),
    ("001", "densenet121", "parameters", "6.96", Kind.confirmed, "6,961,031"),
    ("001", "resnet152", "parameters", "58.16", Kind.confirmed, "58,158,151, rounded"),
    ("001", "cbam_resnet50", "parameters", "26.05", Kind.confirmed, "26,054,967"),
    ("001", "resmaskingnet", "parameters", "142.9", Kind.convention, "137,796,423 + 5,147,008 = 142,943,431"),
    ("001", "mobilenetv3_large", "parameters", "5.48", Kind.build, "1000 classes: 5,483,032"),
    ("001", "mit_fusion", "parameters", "3.45", Kind.confirmed, "3,452,519"),
    ("001", "mit_fusion", "latency", "7.74", Kind.unit, "119 PFLOP/s"),
    ("001", "resmaskingnet", "latency", "17.63", Kind.unit, ""),
    ("001", "mit_fusion", "parameter_ratio", "41", Kind.confirmed, "41.4"),
    ("001", "FER2013", "image_count", "33,572", Kind.contradiction, "35,887"),
    ("001", "Transformer Block 3", "output_size", "128 × 14 × 14", Kind.refuted, "160x14x14"),
    ("001", "Transformer Block 1", "output_size", "32 × 56 × 56", Kind.confirmed, ""),
    ("001", "real-time model", "latency_budget", "41", Kind.confirmed, "41.667"),
    # 002: h, rows 1 and 2.
    ("002", "rarn", "accuracy_gain", "0.54", Kind.contradiction, "1.04"),
    ("002", "rarn", "accuracy_gain", "21.17", Kind.confirmed, "57.51 - 36.34 = 21.17"),
    # 003: h, rows 1, 2, 6, 10, 11.
    ("003", "resnetv2_50", "trainable_parameters", "23,527,431", Kind.confirmed, ""),
    ("003", "nonlocal_resnetv2_50_s3", "trainable_parameters", "36,131,847", Kind.confirmed, ""),
    ("003", "nonlocal_resnetv2_50_s4", "trainable_parameters", "48,714,759", Kind.confirmed, ""),
    ("003", "FER2013, test", "image_count", "1432", Kind.irreproducible, ""),
    ("003", "ResNet-50 (version 1)", "flops", "3.8", Kind.convention, "MACs"),
    ("003", "KDEF", "image_count", "4900", Kind.confirmed, "140 * 35"),
    # 004: h, rows 1 to 5, 7, 9, 10 to 12.
    ("004", "mini_xception", "parameters", "58423", Kind.convention, "Keras"),
    ("004", "mini_xception", "trainable_parameters", "56951", Kind.confirmed, ""),
    ("004", "mini_xception", "file_size", "872.9", Kind.confirmed, "Adam's moments in a Keras file"),
    ("004", "mini_xception", "pooling_layers", "9", Kind.refuted, "5"),
    ("004", "vgg13_ferplus", "parameters", "87566680", Kind.irreproducible, "8,756,679"),
    ("004", "resnet50", "parameters", "25500000", Kind.build, "1000 classes"),
    ("004", "resnet50", "conv_layers", "49", Kind.convention, "without those of shortcuts"),
    ("004", "mini_xception", "accuracy_gain", "3", Kind.undecidable, "3.91"),
    ("004", "mini_xception", "accuracy", "67.00", Kind.contradiction, "65.6 %"),
    ("004", "proposed network (mini-Xception)", "confusion_matrix", "", Kind.contradiction, "Angry 1.11"),
    ("004", "FER2013", "image_count", "35,887", Kind.confirmed, "28709 + 3589 + 3589"),
    ("004", "mini_xception", "memory", "0.496", Kind.confirmed, "3.1 / 100 * 16"),
]


@pytest.mark.parametrize(("paper", "subject", "quantity", "printed", "kind", "said"), EXPECTED)
def test_a_verdict_is_the_one_that_the_papers_were_found_to_deserve(
    verdicts, paper, subject, quantity, printed, kind, said
):
    if quantity == "confusion_matrix":
        printed = next(v.claim.figure.printed for v in verdicts if v.claim.figure.quantity == quantity)
    hits = found(verdicts, paper, subject, quantity, printed)
    assert kind in {verdict.kind for verdict in hits}
    assert any(said in verdict.line for verdict in hits if verdict.kind is kind)


def test_all_latencies_of_paper_001_are_in_an_impossible_unit(verdicts):
    times = [v for v in verdicts if (v.claim.figure.paper, v.claim.figure.quantity) == ("001", "latency")]
    assert len(times) == 9  # Table II has eight, and the text repeats one
    assert {verdict.kind for verdict in times} == {Kind.unit}
    assert all("possible units: ms" in v.ours or "; ms" in v.ours or "us" in v.ours for v in times)
    heavy = {v.claim.network for v in times if any("not that batch" in remark for remark in v.remarks)}
    assert {"resmaskingnet", "resnet152"} <= heavy


def test_nine_numbers_in_ten_get_a_computed_verdict_and_the_others_say_why_not(verdicts):
    results, computed, conditions = tables.coverage(verdicts)
    assert results > 250
    assert computed >= 0.9 * results
    assert results + conditions == sum(verdict.kind is not Kind.statement for verdict in verdicts)
    assert all(verdict.line for verdict in verdicts)


def test_no_verdict_depends_on_the_notes_of_the_sheets(verdicts):
    registry = Registry()
    specs = {
        name: dataclasses.replace(
            spec, published=tuple(dataclasses.replace(figure, note="wrong") for figure in spec.published)
        )
        for name, spec in registry.networks.items()
    }
    papers = {
        key: dataclasses.replace(paper, figures=tuple(dataclasses.replace(f, note="right") for f in paper.figures))
        for key, paper in registry.papers.items()
    }
    noted = SimpleNamespace(networks=specs, papers=papers, find=registry.find)
    tried = sweeps.series(exchange.read_file(TRUNCATIONS), registry.networks)
    again = judge_all(claims_of(noted), gather(exchange.read_file(RECOUNTS)), specs, tried=tried)
    assert [(v.kind, v.line, v.remarks) for v in again] == [(v.kind, v.line, v.remarks) for v in verdicts]


def test_the_trend_of_resnet_101_is_a_remark_and_would_be_confirmed(verdicts):
    (of_50,) = [verdict for verdict in verdicts if verdict.claim.figure.over]
    assert of_50.remarks == ("of resnet101_patch_attn, for which nothing is claimed: all 68 steps go up",)
    figure = dataclasses.replace(of_50.claim.figure, networks=of_50.claim.figure.networks[1:])
    of_101 = dataclasses.replace(of_50.claim, figure=figure, spec=of_50.claim.named[1], named=of_50.claim.named[1:])
    tried = sweeps.series(exchange.read_file(TRUNCATIONS), Registry().networks)
    (found,) = judge_all([of_101], [], {}, tried=tried)
    assert (found.kind, found.line, found.ours) == (Kind.confirmed, "all 68 steps go up", "up at 68 of 68 steps")
    assert found.evidence.startswith("Keras totals of the 69 variants of resnet101_patch_attn (3x224x224, 6 classes")


def test_every_verdict_has_a_meaning_and_is_computed_or_says_so():
    assert set(MEANINGS) == set(Kind)
    assert set(WRONG) < set(COMPUTED) < set(Kind)


def test_the_tables_hold_every_figure_once_with_all_its_places(verdicts):
    table = tables.verdicts(verdicts)
    assert sum(row["places"] for row in table.rows) == len(verdicts)
    summary = tables.summary(verdicts)
    assert sum(row["all"] for row in summary.rows) == len(verdicts)
    assert "have a computed verdict" in summary.caption


def test_no_text_of_the_audit_is_left_unfinished(verdicts):
    """Texts of checks and of sheets are put together: none ends in two full stops, or in a colon and nothing."""
    drawn = [
        tables.summary(verdicts),
        tables.verdicts(verdicts),
        *tables.by_paper(verdicts, Registry().papers).values(),
    ]
    texts = [text for table in drawn for notes in table.notes for text in notes]
    texts += [text for table in drawn for row in table.rows for text in row.values() if isinstance(text, str)]
    assert len(texts) > 500
    assert [text for text in texts if re.search(r"\.\.(?!\.)|perhaps:|[:;,] *$", text)] == []

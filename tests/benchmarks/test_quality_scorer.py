"""The scorer against transformers and PEFT on a small model, and against a bench folder's own score.py.

The latter where QUALITY_BENCH names such a folder: `QUALITY_BENCH=DIR pytest tests/benchmarks/test_quality.scorer.py`.
"""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest
import torch
from quality.merges import Merger
from quality.scorer import Bench, Scorer
from quality.tiny import EXAMPLES, RANKS, labels, reference, write_tiny

# PEFT 0.21 asks transformers 5 for a name of its past.
_PAST = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
pytestmark = [pytest.mark.benchmark, _PAST]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def base(bench):
    return bench.parent / "base"


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("adapter", [None, *RANKS])
def test_the_same_examples_are_right_as_with_transformers_and_peft(bench, base, adapter, split):
    scorer = Scorer(Bench(bench), base)
    update = Merger(Bench(bench), scorer.model.bare).update(adapter) if adapter else {}
    found = {head: scorer.correct(head, split, scorer.weights(update)).tolist() for head in RANKS}
    expected = {head: reference(bench, base, adapter, head, split) == labels(bench, head, split) for head in RANKS}
    assert found == {head: correct.tolist() for head, correct in expected.items()}
    rates = {sum(correct) / EXAMPLES for correct in found.values()}
    assert min(rates) < max(rates) < 1  # else there is nothing to tell apart


def test_features_are_those_of_transformers_with_padding_and_mask(bench, base):
    from transformers import BertModel

    sequences = [
        torch.randint(1, 60, (length,), generator=torch.Generator().manual_seed(length)) for length in (2, 5, 9)
    ]
    encoder = Scorer(Bench(bench), base).model.encoder
    model = BertModel.from_pretrained(base, add_pooling_layer=False).eval()
    with torch.inference_mode():
        expected = torch.cat([model(input_ids=ids[None]).last_hidden_state.mean(1) for ids in sequences])
        found = encoder.features(encoder.batch(sequences), encoder.weights)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close(bench, base):
    exact, rough = (Scorer(Bench(bench), base, precision=name) for name in ("float32", "bfloat16"))
    same = [exact.correct(n, "val", exact.weights({})) == rough.correct(n, "val", rough.weights({})) for n in RANKS]
    assert sum(map(sum, same)) >= 0.95 * len(RANKS) * EXAMPLES


def test_limit_keeps_the_first_examples(bench, base):
    full, short = Scorer(Bench(bench), base), Scorer(Bench(bench), base, limit=7)
    assert (short.correct("a", "val", short.weights({})) == full.correct("a", "val", full.weights({}))[:7]).all()


def test_scale_multiplies_the_update(bench, base):
    scorer = Scorer(Bench(bench), base)
    update = Merger(Bench(bench), scorer.model.bare).update("a")
    twice = scorer.weights({name: 2 * delta for name, delta in update.items()})
    for name, weight in scorer.weights(update, 2.0).items():
        torch.testing.assert_close(weight, twice[name])


@pytest.mark.skipif("QUALITY_BENCH" not in os.environ, reason="QUALITY_BENCH names no bench folder")
@pytest.mark.filterwarnings("ignore")
def test_accuracies_are_those_of_the_folders_own_score_py():
    folder = Path(os.environ["QUALITY_BENCH"])
    theirs = runpy.run_path(str(folder / "score.py"))["Scorer"](folder, threads=1)
    ours = Scorer(Bench(folder), Path(theirs.base))
    merger = Merger(Bench(folder), ours.model.bare)
    for name in list(json.loads((folder / "tasks.json").read_text(encoding="utf-8")))[:3]:
        model = theirs.model(folder / "adapters" / name, 0.5)
        found = {task: ours.correct(task, "val", ours.weights(merger.update(name), 0.5)).mean() for task in theirs.meta}
        assert {task: theirs.accuracy(model, task, "val") for task in theirs.meta} == pytest.approx(found, abs=1e-9)

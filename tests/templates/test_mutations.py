"""The bundle's mutations as files. What they do tests/cluster/test_mutations.py shows, as gator cannot judge them."""

import json
import re
from pathlib import Path

import pytest
import yaml

from controller.gatekeeper.documents import DocumentKind, MutationDocument, Origin, read_document

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "templates"
DEFINITIONS = ROOT.parent / "shared" / "azure-policy" / "definitions"
FOLDERS = sorted(path.parent for path in BUNDLE.glob("*/v*/mutation.yaml"))
STORE = re.compile(r"/kubernetes/([\w-]+/v\d+/mutation\.yaml)$")

every_mutation = pytest.mark.parametrize("folder", FOLDERS, ids=[folder.parent.name for folder in FOLDERS])


def test_every_mutation_that_azure_names_is_in_the_bundle() -> None:
    if not DEFINITIONS.is_dir():
        pytest.skip("Azure's definitions are not here")
    texts = [path.read_text(encoding="utf-8") for path in DEFINITIONS.glob("*/*.json")]
    details = [json.loads(text)["properties"]["policyRule"]["then"].get("details", {}) for text in texts]
    urls = {detail["mutationInfo"]["url"] for detail in details if "mutationInfo" in detail}

    named = {match.group(1) for url in urls if (match := STORE.search(url))}

    assert len(named) == len(urls)
    assert named == {f"{folder.relative_to(BUNDLE).as_posix()}/mutation.yaml" for folder in FOLDERS}


@every_mutation
def test_a_mutation_is_a_mutator_that_bears_the_name_of_its_folder(folder: Path) -> None:
    document = read_document(DocumentKind.MUTATION, (folder / "mutation.yaml").read_bytes(), Origin.BUNDLE)

    assert isinstance(document, MutationDocument)
    assert document.manifest["apiVersion"] == "mutations.gatekeeper.sh/v1"
    assert document.name == folder.parent.name.lower()


@every_mutation
def test_a_mutation_leaves_pods_that_exist_alone(folder: Path) -> None:
    """Most of a pod cannot be changed, so a mutation of its updates would have every update refused."""
    mutator = yaml.safe_load((folder / "mutation.yaml").read_text(encoding="utf-8"))

    for target in mutator["spec"]["applyTo"]:
        assert ("Pod" in target["kinds"]) == (target.get("operations") == ["CREATE"])


@every_mutation
def test_a_mutation_has_samples_of_the_same_objects_before_and_after(folder: Path) -> None:
    before, after = (
        list(yaml.safe_load_all((folder / "samples" / name).read_text(encoding="utf-8")))
        for name in ("before.yaml", "after.yaml")
    )

    assert before != after
    assert [(each["kind"], each["metadata"]) for each in before] == [(each["kind"], each["metadata"]) for each in after]

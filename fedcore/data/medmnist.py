"""The 2-D sets of MedMNIST v2 at 28x28 pixels, by name: ``bloodmnist``, ``pathmnist``, ...

Yang et al., "MedMNIST v2", Scientific Data 10 (2023), https://doi.org/10.1038/s41597-022-01721-8,
CC BY 4.0. Addresses, MD5s, class counts and names are those of the package medmnist 3.0.2. A file
is looked for as ``<data_dir>/<name>.npz`` and otherwise downloaded there. The published training
and test splits are used as they are; ``val_images`` and ``val_labels`` are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from fedcore.data.checks import build, refuse
from fedcore.data.dataset import DATASETS, Dataset, Source
from fedcore.data.download import fetch, md5_of
from fedcore.data.npz import read_npz
from fedcore.data.places import is_file
from fedcore.errors import DataError
from fedcore.outside.limits import MIB

PUBLISHER: Final = "https://zenodo.org/records/10519652/files"


class MedMnistSet(NamedTuple):
    """What the publisher states of one set: MD5 of the file, number of classes, content.

    ``most`` is what the file may have in MiB, its published size generously rounded up.
    """

    md5: str
    num_classes: int
    content: str
    most: int = 512


SETS: Final = {
    "pathmnist": MedMnistSet("a8b06965200029087d5bd730944a56c1", 9, "colon pathology, RGB", 256),
    "dermamnist": MedMnistSet("0744692d530f8e62ec473284d019b0c7", 7, "dermatoscopy, RGB", 32),
    "octmnist": MedMnistSet("c68d92d5b585d8d81f7112f81e2d0842", 4, "retinal OCT, grey", 96),
    "pneumoniamnist": MedMnistSet("28209eda62fecd6e6a2d98b1501bb15f", 2, "chest X-ray, grey", 8),
    "retinamnist": MedMnistSet(
        "bd4c0672f1bba3e3a89f0e4e876791e4", 5, "fundus camera, RGB, ordinal", 8
    ),
    "breastmnist": MedMnistSet("750601b1f35ba3300ea97c75c52ff8f6", 2, "breast ultrasound, grey", 2),
    "bloodmnist": MedMnistSet(
        "7053d0359d879ad8a5505303e11de1dc", 8, "blood-cell microscopy, RGB", 64
    ),
    "tissuemnist": MedMnistSet(
        "ebe78ee8b05294063de985d821c1c34b", 8, "kidney-cortex microscopy, grey", 192
    ),
    "organamnist": MedMnistSet(
        "68e3f8846a6bd62f0c9bf841c0d9eacc", 11, "axial abdominal CT, grey", 64
    ),
    "organcmnist": MedMnistSet(
        "b9ceb9546e10131b32923c5bbeaea2b1", 11, "coronal abdominal CT, grey", 32
    ),
    "organsmnist": MedMnistSet(
        "9ab87b696fb54e2a387ebe992d6ed5f1", 11, "sagittal abdominal CT, grey", 32
    ),
}

_ORGANS: Final = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

#: The publisher's names of the classes, in order of label; RetinaMNIST's are grades, numbers.
CLASS_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "pathmnist": (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    ),
    "octmnist": (
        "choroidal neovascularization",
        "diabetic macular edema",
        "drusen",
        "normal",
    ),
    "pneumoniamnist": (
        "normal",
        "pneumonia",
    ),
    "breastmnist": (
        "malignant",
        "normal, benign",
    ),
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocytes (myelocytes, metamyelocytes and promyelocytes)",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "tissuemnist": (
        "Collecting Duct, Connecting Tubule",
        "Distal Convoluted Tubule",
        "Glomerular endothelial cells",
        "Interstitial endothelial cells",
        "Leukocytes",
        "Podocytes",
        "Proximal Tubule Segments",
        "Thick Ascending Limb",
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}

_MULTI_LABEL: Final = (
    "dataset 'chestmnist' is multi-label (14 findings, any number of them on one image), while "
    "accuracy, label flipping and partitions by class need exactly one class per image; "
    "choose another set, such as pneumoniamnist"
)


class MedMnist(Source):
    """One of `SETS`; registered once under each name."""

    def load(self, data_dir: Path) -> Dataset:
        """``<data_dir>/<name>.npz``, downloaded and checked against its MD5 if it is not there.

        A file that is there but is not the publisher's is used, and `Dataset.notes` gives both
        digests. Raises `DataError` where the file can be neither found nor fetched, or is invalid.
        """
        refuse(self.argument_problems())
        name = self.name
        facts, path = SETS[name], data_dir / f"{name}.npz"
        if not is_file(path):
            most = facts.most * MIB
            fetch(f"{PUBLISHER}/{name}.npz", path, facts.md5, most=most)
        arrays, md5 = read_npz(path), md5_of(path)
        notes: tuple[str, ...] = ()
        if md5 != facts.md5:
            # no directory here: notes are stored with results, which must not depend on the machine
            notes = (
                f"{path.name} is not the publisher's file: its MD5 is {md5}, "
                f"the publisher's {facts.md5}",
            )
        return build(
            name,
            arrays,
            str(path),
            num_classes=facts.num_classes,
            class_names=CLASS_NAMES.get(name, ()),
            notes=notes,
        )


for _name, _facts in SETS.items():
    DATASETS.register(_name, f"MedMNIST: {_facts.content}, {_facts.num_classes} classes, 28x28")(
        MedMnist
    )


@DATASETS.register("chestmnist", "MedMNIST: refused, because it is multi-label")
class ChestMnist(Source):
    """Registered so that its name earns a reason instead of "unknown"."""

    def argument_problems(self) -> list[str]:
        """Always the one reason."""
        return [_MULTI_LABEL]

    def load(self, data_dir: Path) -> Dataset:
        """Raises `DataError` with the reason."""
        raise DataError(_MULTI_LABEL)

"""Train offline from the data set."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def pretrain(
    config: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
    checkpoint: dsl.Output[dsl.Model],
):
    """Train offline from the data set.

    Args:
        config: The resolved configuration.
        dataset: The data set folder.
        checkpoint: Weights, optimiser state and learning curve.
    """
    from pathlib import Path

    from qc_core.progress import step
    from qc_core.recipes.resolve import read_config
    from qc_core.training.pretrain import pretrain

    with step("pretrain", "learn offline from the data set"):
        pretrain(read_config(Path(config.path)), Path(dataset.path), Path(checkpoint.path))

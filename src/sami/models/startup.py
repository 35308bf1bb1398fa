"""Importing the libraries that run models, in a process that does nothing else."""

import gc


def import_libraries() -> None:
    """Imports torch and transformers without looking for garbage meanwhile, a third of the start of such a process.

    What is alive by then is never looked at again (`gc.freeze`), which is right for a stage, and not for a library: so
    a stage calls this, and importing `sami.models` does not.
    """
    gc.disable()
    try:
        import sami.models.pretrained  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()

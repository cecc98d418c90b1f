"""`kvsync-ci` as it is installed: it says what to install where the pipeline's packages are not there."""

import gc

OURS = frozenset({"deployments", "flows", "tasks", "kvsync"})


def main() -> None:
    """Run the command line of the pipeline."""
    gc.disable()  # what is imported stays: looking for garbage meanwhile takes a quarter of the time
    try:
        from deployments.cli import main as run
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] in OURS:
            raise
        raise SystemExit(
            f"kvsync-ci: {exc.name} is not installed; the pipeline needs: pip install 'kvsync[pipeline]'"
        ) from exc
    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()

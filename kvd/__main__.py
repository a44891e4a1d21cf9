"""The entry point of ``kvd`` and ``python -m kvd``."""

import os


def main() -> None:
    """Run the command line."""
    # The matrices are small: a second BLAS thread costs more than it gives, and would make sums depend on the machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from kvd.cli import app  # noqa: PLC0415 numpy reads the variable when it is first imported

    app(prog_name="kvd")


if __name__ == "__main__":
    main()

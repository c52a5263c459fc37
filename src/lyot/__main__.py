"""``python -m lyot`` is ``lyot``."""

from lyot.cli import main

if __name__ == "__main__":
    main()

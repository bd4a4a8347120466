"""``python -m plugind`` is the command ``plugind``."""

from plugind.entry import main

if __name__ == "__main__":
    main()
